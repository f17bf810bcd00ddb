//! What slicewise reads from DICOM, for `tools/reference/dicom_check.py` to compare with pydicom and
//! SimpleITK: `dicom_dump image FILE…` and `dicom_dump series FOLDER_OR_ZIP`. One JSON object a line;
//! numbers are a checksum of little-endian f64, in the order in which NumPy has them. `dicom_dump raw FILE`
//! writes these f64 themselves to standard output, for what is not equal to the bit, and
//! `dicom_dump seg SERIES LABELS binary|labelmap OUT` a segmentation, for `dicom_seg_check.py`.

use std::io::{BufWriter, Write};
use std::path::Path;

use serde_json::json;
use sha2::{Digest, Sha256};
use slicewise_imaging::dicom::{Image, SegKind, SegOptions, Series, write_seg};
use slicewise_imaging::{
    ClassTable, ImagingError, LabelMap, Labels, Scale, Slice, SliceSource, Voxels,
};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.split_first() {
        Some((verb, files)) if verb == "image" => {
            for file in files {
                let line = match image(Path::new(file)) {
                    Ok(frames) => json!({"file": file, "frames": frames}),
                    Err(error) => json!({"file": file, "error": error.to_string()}),
                };
                println!("{line}");
            }
        }
        Some((verb, [path])) if verb == "series" => match series(Path::new(path)) {
            Ok(()) => {}
            Err(error) => println!("{}", json!({"error": error.to_string()})),
        },
        Some((verb, [path])) if verb == "raw" => {
            if let Err(error) = raw(Path::new(path)) {
                eprintln!("{error}");
                std::process::exit(1);
            }
        }
        Some((verb, [folder, labels, kind, out])) if verb == "seg" => {
            if let Err(error) = segment(Path::new(folder), Path::new(labels), kind, Path::new(out))
            {
                eprintln!("{error}");
                std::process::exit(1);
            }
        }
        _ => eprintln!(
            "dicom_dump image FILE… | series FOLDER_OR_ZIP | raw FILE \
             | seg SERIES LABELS binary|labelmap OUT"
        ),
    }
}

/// The stored numbers of every frame.
fn image(path: &Path) -> Result<Vec<serde_json::Value>, ImagingError> {
    let mut image = Image::open(path)?;
    let [columns, rows, frames] = image.size();
    let area = columns as usize * rows as usize;
    (0..frames)
        .map(|frame| {
            let voxels = image.frame(frame)?;
            let values = values(&voxels, Scale::IDENTITY);
            assert_eq!(values.len(), area);
            Ok(
                json!({"columns": columns, "rows": rows, "type": voxels.element().name(),
                "sha256": checksum(&values)}),
            )
        })
        .collect()
}

/// All stored numbers of a file.
fn raw(path: &Path) -> Result<(), ImagingError> {
    let mut image = Image::open(path)?;
    let mut out = BufWriter::new(std::io::stdout().lock());
    for frame in 0..image.size()[2] {
        for value in values(&image.frame(frame)?, Scale::IDENTITY) {
            out.write_all(&value.to_le_bytes())
                .map_err(|e| ImagingError::io(path, e))?;
        }
    }
    out.flush().map_err(|e| ImagingError::io(path, e))
}

/// Writes labels, given as bytes with i fastest, as a segmentation of the one series in `folder`.
fn segment(folder: &Path, labels: &Path, kind: &str, out: &Path) -> Result<(), ImagingError> {
    let series = Series::find(folder)?.one(folder, None)?;
    let labels = std::fs::read(labels).map_err(|e| ImagingError::io(labels, e))?;
    let classes = ClassTable::numbered(200);
    let map = LabelMap::new(series.grid().clone(), Labels::U8(labels), classes)?;
    let options = SegOptions {
        kind: match kind {
            "labelmap" => SegKind::LabelMap,
            _ => SegKind::Binary,
        },
        algorithm: "check".into(),
        series_number: 100,
        created: None,
    };
    write_seg(out, &map, &series, &options)
}

/// The grid and the values of every stack.
fn series(path: &Path) -> Result<(), ImagingError> {
    let found = Series::find(path)?;
    for series in &found.series {
        let mut source = series.source();
        let mut slice = Slice::of(&source);
        let mut slices = Vec::new();
        let failure = loop {
            match source.next_slice(&mut slice) {
                Ok(true) => slices.push(checksum(&values(&slice.voxels, slice.scale))),
                Ok(false) => break None,
                Err(error) => break Some(error.to_string()),
            }
        };
        let grid = series.grid();
        println!(
            "{}",
            json!({"uid": series.uid(), "part": series.part(), "size": grid.size(),
                "affine": grid.affine().rows(), "slices": slices, "error": failure,
                "warnings": series.warnings()})
        );
    }
    for refused in &found.refused {
        println!("{}", json!({"refused": refused.to_string()}));
    }
    println!("{}", json!({"ignored": found.ignored}));
    Ok(())
}

fn values(voxels: &Voxels, scale: Scale) -> Vec<f64> {
    macro_rules! scaled {
        ($($variant:ident),*) => {
            match voxels {
                $(Voxels::$variant(v) => v.iter().map(|&n| n as f64 * scale.slope + scale.intercept).collect(),)*
            }
        };
    }
    scaled!(U8, I8, U16, I16, U32, I32, U64, I64, F32, F64)
}

fn checksum(values: &[f64]) -> String {
    let mut hash = Sha256::new();
    // Adding 0.0 makes of -0.0 what NumPy's integers are.
    values
        .iter()
        .for_each(|v| hash.update((v + 0.0).to_le_bytes()));
    hash.finalize().iter().map(|b| format!("{b:02x}")).collect()
}
