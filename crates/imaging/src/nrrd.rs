//! NRRD: `.nrrd`, and `.nhdr` with its voxels in another file; raw or gzipped.

use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::path::Path;

use crate::stream::{Bytes, Layout, Packing, RawSlices};
use crate::text_header::{End, TextHeader, from_lps};
use crate::{Affine, Element, Grid, ImagingError, Scale, Scan, nifti};

/// The fields that matter.
#[derive(Default)]
struct Fields {
    axes: usize,
    sizes: Vec<usize>,
    element: String,
    encoding: String,
    big_endian: bool,
    space: String,
    /// A vector per axis, and nothing for axes that are not of space.
    directions: Vec<Option<Vec<f64>>>,
    spacings: Vec<f64>,
    origin: Vec<f64>,
    byte_skip: i64,
    line_skip: i64,
    data_file: Option<String>,
}

/// Opens a file at volume `volume`, 0 being the first.
///
/// # Errors
/// If the file is not NRRD, contradicts itself, is shorter than it says, or has no such volume.
pub fn read(path: &Path, volume: usize) -> Result<Scan, ImagingError> {
    let header = TextHeader::read(path, &End::Blank)?;
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
    let (data, begin) = match &fields.data_file {
        None => (path.to_owned(), header.end),
        Some(name) if name.starts_with("LIST") || name.contains('%') => {
            return Err(header.unsupported("its voxels are in a file per slice".into()));
        }
        Some(name) => (header.data_file(path, name)?, 0),
    };
    let packing = match fields.encoding.as_str() {
        "raw" => Packing::Plain,
        "gzip" | "gz" => Packing::Gzip,
        other => return Err(header.unsupported(format!("its encoding is '{other}'"))),
    };
    let one = layout.bytes();
    let all = one.and_then(|n| n.checked_mul(volumes as u64));
    let io = |e| ImagingError::io(&data, e);
    let file = File::open(&data).map_err(io)?;
    let mut begin = skip_lines(&file, begin, fields.line_skip).map_err(io)?;
    if fields.byte_skip == -1 && packing == Packing::Plain {
        // The voxels are the last bytes of the file.
        let length = file.metadata().map_err(io)?.len();
        begin = length.saturating_sub(all.unwrap_or(length));
    } else if fields.byte_skip < 0 {
        return Err(header.malformed(format!("its byte skip is {}", fields.byte_skip)));
    }
    let mut bytes = Bytes::from_file(&data, file, begin, packing)?;
    // Bytes are passed over after they are unpacked.
    let skip = fields.byte_skip.max(0) as u64;
    bytes.check_claim(all.and_then(|n| n.checked_add(skip)))?;
    // Known, because the claim was possible.
    bytes.skip(skip + one.unwrap_or(0) * volume as u64, "its voxels")?;
    let mut warnings = Vec::new();
    if volumes > 1 {
        warnings.push(format!(
            "it has {volumes} volumes; number {} is taken",
            volume + 1
        ));
    }
    if fields.space.is_empty() {
        warnings
            .push("the header does not say where left and right are; it is taken as LPS".into());
    }
    Ok(Scan {
        header: nifti::Header::of_grid(&layout.grid),
        source: Box::new(RawSlices::new(bytes, layout)),
        format: "NRRD",
        volumes,
        warnings,
        series: None,
    })
}

/// Where the bytes after so many lines begin.
fn skip_lines(file: &File, begin: u64, lines: i64) -> std::io::Result<u64> {
    let mut reader = BufReader::new(file);
    let mut at = reader.seek(SeekFrom::Start(begin))?;
    for _ in 0..lines {
        match reader.skip_until(b'\n')? {
            0 => break,
            n => at += n as u64,
        }
    }
    Ok(at)
}

fn parse(header: &TextHeader) -> Result<Fields, ImagingError> {
    let mut lines = header.lines.iter();
    if !lines.next().is_some_and(|l| l.starts_with("NRRD000")) {
        return Err(header.malformed("it does not begin like NRRD".into()));
    }
    let mut fields = Fields::default();
    for line in lines.filter(|l| !l.starts_with('#') && !l.contains(":=")) {
        let Some((key, value)) = line.split_once(':') else {
            return Err(header.malformed(format!("its line '{line}' is no field")));
        };
        let (key, value) = (key.trim().to_ascii_lowercase(), value.trim());
        let one = |list: Vec<i64>| list.first().copied().unwrap_or(0);
        match key.as_str() {
            "dimension" => fields.axes = one(header.numbers(&key, value)?).clamp(0, 17) as usize,
            "sizes" => fields.sizes = header.numbers(&key, value)?,
            "type" => fields.element = value.to_ascii_lowercase(),
            "encoding" => fields.encoding = value.to_ascii_lowercase(),
            "endian" => fields.big_endian = value.eq_ignore_ascii_case("big"),
            "space" => fields.space = value.to_ascii_lowercase(),
            "space directions" => fields.directions = directions(header, value)?,
            "spacings" => fields.spacings = header.numbers(&key, value)?,
            "space origin" => fields.origin = header.numbers(&key, value)?,
            "byte skip" | "byteskip" => fields.byte_skip = one(header.numbers(&key, value)?),
            "line skip" | "lineskip" => fields.line_skip = one(header.numbers(&key, value)?),
            "data file" | "datafile" => fields.data_file = Some(value.to_owned()),
            _ => {}
        }
    }
    Ok(fields)
}

/// `(1,0,0) (0,1,0) none`.
fn directions(header: &TextHeader, value: &str) -> Result<Vec<Option<Vec<f64>>>, ImagingError> {
    let mut directions = Vec::new();
    let mut rest = value.trim();
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix("none") {
            directions.push(None);
            rest = after.trim_start();
            continue;
        }
        let vector = rest.strip_prefix('(').and_then(|r| r.split_once(')'));
        let (vector, after) = vector.ok_or_else(|| {
            header.malformed(format!("its space directions are '{value}', not vectors"))
        })?;
        directions.push(Some(header.numbers("space directions", vector)?));
        rest = after.trim_start();
    }
    Ok(directions)
}

fn element(header: &TextHeader, name: &str) -> Result<Element, ImagingError> {
    let words: Vec<&str> = name.split_whitespace().collect();
    Ok(match words.join(" ").as_str() {
        "signed char" | "int8" | "int8_t" => Element::I8,
        "uchar" | "unsigned char" | "uint8" | "uint8_t" => Element::U8,
        "short" | "short int" | "signed short" | "signed short int" | "int16" | "int16_t" => {
            Element::I16
        }
        "ushort" | "unsigned short" | "unsigned short int" | "uint16" | "uint16_t" => Element::U16,
        "int" | "signed int" | "int32" | "int32_t" => Element::I32,
        "uint" | "unsigned int" | "uint32" | "uint32_t" => Element::U32,
        "longlong"
        | "long long"
        | "long long int"
        | "signed long long"
        | "signed long long int"
        | "int64"
        | "int64_t" => Element::I64,
        "ulonglong" | "unsigned long long" | "unsigned long long int" | "uint64" | "uint64_t" => {
            Element::U64
        }
        "float" => Element::F32,
        "double" => Element::F64,
        other => return Err(header.unsupported(format!("its voxels are of type '{other}'"))),
    })
}

/// The grid and the number of volumes.
fn grid(header: &TextHeader, fields: &Fields, path: &Path) -> Result<(Grid, usize), ImagingError> {
    let axes = fields.axes;
    if !(2..=4).contains(&axes) || fields.sizes.len() != axes {
        return Err(header.malformed(format!(
            "its dimension is {axes} and it has {} sizes; an image has 2 to 4",
            fields.sizes.len()
        )));
    }
    if let Some(axis) = fields.sizes.iter().position(|&n| n == 0) {
        return Err(header.malformed(format!("its size along axis {} is 0", axis + 1)));
    }
    let spatial = axes.min(3);
    let mut affine = Affine::of_spacing([1.0; 3]);
    if fields.directions.is_empty() {
        for axis in 0..spatial.min(fields.spacings.len()) {
            let spacing = fields.spacings[axis];
            affine.matrix[axis][axis] = if spacing.is_nan() { 1.0 } else { spacing };
        }
    } else {
        for axis in 0..spatial {
            let Some(Some(vector)) = fields.directions.get(axis) else {
                return Err(header.unsupported("its voxels have several channels".into()));
            };
            let vector: &[f64; 3] = vector.as_slice().try_into().map_err(|_| {
                header.malformed(format!(
                    "its space direction {vector:?} is not of 3 numbers"
                ))
            })?;
            (0..3).for_each(|row| affine.matrix[row][axis] = vector[row]);
        }
        if axes == 4 && !matches!(fields.directions.get(3), Some(None)) {
            return Err(header.unsupported("it has four axes of space".into()));
        }
    }
    if let Ok(origin) = <[f64; 3]>::try_from(fields.origin.as_slice()) {
        affine.origin = origin;
    } else if !fields.origin.is_empty() {
        return Err(header.malformed(format!("its space origin is {:?}", fields.origin)));
    }
    let affine = match fields.space.as_str() {
        "" | "left-posterior-superior" | "lps" => from_lps(affine),
        "right-anterior-superior" | "ras" => affine,
        "left-anterior-superior" | "las" => {
            affine.matrix[0].iter_mut().for_each(|v| *v = -*v);
            affine.origin[0] = -affine.origin[0];
            affine
        }
        other => return Err(header.unsupported(format!("its space is '{other}'"))),
    };
    let mut size = [1; 3];
    size[..spatial].copy_from_slice(&fields.sizes[..spatial]);
    let grid = Grid::new(size, affine).map_err(|error| ImagingError::Grid {
        file: path.display().to_string(),
        error,
    })?;
    Ok((grid, fields.sizes.get(3).copied().unwrap_or(1)))
}
