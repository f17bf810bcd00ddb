//! MetaImage: `.mha`, and `.mhd` with its voxels in another file. World coordinates are LPS+, as ITK has
//! them.

use std::fs::File;
use std::path::Path;

use crate::stream::{Bytes, Layout, Packing, RawSlices};
use crate::text_header::{End, TextHeader, from_lps};
use crate::{Affine, Element, Grid, ImagingError, Scale, Scan, nifti};

/// The fields that matter.
#[derive(Default)]
struct Fields {
    axes: usize,
    size: Vec<usize>,
    element: String,
    spacing: Vec<f64>,
    offset: Vec<f64>,
    matrix: Vec<f64>,
    big_endian: bool,
    ascii: bool,
    compressed: bool,
    channels: usize,
    header_size: i64,
    data_file: String,
}

/// Opens a file at volume `volume`, 0 being the first.
///
/// # Errors
/// If the file is not MetaImage, contradicts itself, is shorter than it says, or has no such volume.
pub fn read(path: &Path, volume: usize) -> Result<Scan, ImagingError> {
    let header = TextHeader::read(path, &End::Key("ElementDataFile"))?;
    let fields = parse(&header)?;
    let (grid, volumes) = grid(&header, &fields, path)?;
    let layout = Layout {
        grid,
        element: element(&header, &fields.element)?,
        big_endian: fields.big_endian,
        scale: Scale::IDENTITY,
    };
    if volume >= volumes {
        return Err(header.unsupported(format!("volume {} of {volumes} was asked for", volume + 1)));
    }
    let (data, begin) = match fields.data_file.as_str() {
        "LOCAL" => (path.to_owned(), header.end),
        name if name == "LIST" || name.contains('%') => {
            return Err(header.unsupported("its voxels are in a file per slice".into()));
        }
        name => (header.data_file(path, name)?, 0),
    };
    let one = layout.bytes();
    let all = one.and_then(|n| n.checked_mul(volumes as u64));
    let file = File::open(&data).map_err(|e| ImagingError::io(&data, e))?;
    let packing = match fields.compressed {
        true => Packing::Zlib,
        false => Packing::Plain,
    };
    let begin = match (fields.header_size, all) {
        (0, _) => begin,
        // The voxels are the last bytes of the file.
        (-1, Some(all)) if !fields.compressed => {
            let length = file
                .metadata()
                .map_err(|e| ImagingError::io(&data, e))?
                .len();
            length.saturating_sub(all)
        }
        (n, _) if n > 0 => n as u64,
        (n, _) => return Err(header.malformed(format!("its HeaderSize is {n}"))),
    };
    let mut bytes = Bytes::from_file(&data, file, begin, packing)?;
    bytes.check_claim(all)?;
    // Known, because the claim was possible.
    bytes.skip(one.unwrap_or(0) * volume as u64, "its voxels")?;
    let mut warnings = Vec::new();
    if volumes > 1 {
        warnings.push(format!(
            "it has {volumes} volumes; number {} is taken",
            volume + 1
        ));
    }
    Ok(Scan {
        header: nifti::Header::of_grid(&layout.grid),
        source: Box::new(RawSlices::new(bytes, layout)),
        format: "MetaImage",
        volumes,
        warnings,
        series: None,
    })
}

fn parse(header: &TextHeader) -> Result<Fields, ImagingError> {
    let mut fields = Fields {
        channels: 1,
        ..Fields::default()
    };
    let is_true = |value: &str| value.eq_ignore_ascii_case("true") || value == "1";
    for line in &header.lines {
        let Some((key, value)) = line.split_once('=') else {
            return Err(header.malformed("its first lines are not 'Key = Value'".into()));
        };
        let (key, value) = (key.trim(), value.trim());
        let one = |list: Vec<i64>| list.first().copied().unwrap_or(0);
        match key {
            "NDims" => fields.axes = one(header.numbers(key, value)?).clamp(0, 9) as usize,
            "DimSize" => fields.size = header.numbers(key, value)?,
            "ElementType" => fields.element = value.to_owned(),
            "ElementSpacing" => fields.spacing = header.numbers(key, value)?,
            "Offset" | "Position" | "Origin" => fields.offset = header.numbers(key, value)?,
            "TransformMatrix" | "Rotation" | "Orientation" => {
                fields.matrix = header.numbers(key, value)?;
            }
            "ElementByteOrderMSB" | "BinaryDataByteOrderMSB" => fields.big_endian = is_true(value),
            "BinaryData" => fields.ascii = !is_true(value),
            "CompressedData" => fields.compressed = is_true(value),
            "ElementNumberOfChannels" => {
                fields.channels = one(header.numbers(key, value)?).max(0) as usize;
            }
            "HeaderSize" => fields.header_size = one(header.numbers(key, value)?),
            "ElementDataFile" => fields.data_file = value.to_owned(),
            _ => {}
        }
    }
    if fields.ascii {
        return Err(header.unsupported("its voxels are written as text".into()));
    }
    if fields.channels != 1 {
        return Err(header.unsupported(format!("its voxels have {} channels", fields.channels)));
    }
    Ok(fields)
}

fn element(header: &TextHeader, name: &str) -> Result<Element, ImagingError> {
    Ok(match name {
        "MET_CHAR" => Element::I8,
        "MET_UCHAR" => Element::U8,
        "MET_SHORT" => Element::I16,
        "MET_USHORT" => Element::U16,
        "MET_INT" | "MET_LONG" => Element::I32,
        "MET_UINT" | "MET_ULONG" => Element::U32,
        "MET_LONG_LONG" => Element::I64,
        "MET_ULONG_LONG" => Element::U64,
        "MET_FLOAT" => Element::F32,
        "MET_DOUBLE" => Element::F64,
        other => return Err(header.unsupported(format!("its voxels are of type '{other}'"))),
    })
}

/// The grid and the number of volumes.
fn grid(header: &TextHeader, fields: &Fields, path: &Path) -> Result<(Grid, usize), ImagingError> {
    let axes = fields.axes;
    if !(2..=4).contains(&axes) {
        return Err(header.malformed(format!("its NDims is {axes}, an image has 2 to 4")));
    }
    let want = |key: &str, got: usize, want: usize, optional: bool| match got == want
        || (optional && got == 0)
    {
        true => Ok(()),
        false => Err(header.malformed(format!("its {key} has {got} numbers, not {want}"))),
    };
    want("DimSize", fields.size.len(), axes, false)?;
    want("ElementSpacing", fields.spacing.len(), axes, true)?;
    want("Offset", fields.offset.len(), axes, true)?;
    want("TransformMatrix", fields.matrix.len(), axes * axes, true)?;
    if let Some(axis) = fields.size.iter().position(|&n| n == 0) {
        return Err(header.malformed(format!("its size along axis {} is 0", axis + 1)));
    }
    let of = |list: &[f64], a: usize, default: f64| list.get(a).copied().unwrap_or(default);
    let mut affine = Affine::of_spacing([1.0; 3]);
    for axis in 0..3 {
        let spacing = of(&fields.spacing, axis, 1.0);
        for row in 0..3 {
            let identity = f64::from(u8::from(row == axis));
            // A row of the matrix is the direction of an axis.
            let direction = match axis < axes && row < axes && !fields.matrix.is_empty() {
                true => fields.matrix[axis * axes + row],
                false => identity,
            };
            affine.matrix[row][axis] = direction * spacing;
        }
        affine.origin[axis] = of(&fields.offset, axis, 0.0);
    }
    let mut size = [1; 3];
    let kept = axes.min(3);
    size[..kept].copy_from_slice(&fields.size[..kept]);
    let grid = Grid::new(size, from_lps(affine)).map_err(|error| ImagingError::Grid {
        file: path.display().to_string(),
        error,
    })?;
    Ok((grid, fields.size.get(3).copied().unwrap_or(1)))
}
