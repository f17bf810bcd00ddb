//! What slicewise reads from DICOM, for `tools/reference/dicom_check.py` to compare with pydicom and
//! SimpleITK: `dicom_dump image FILE…` and `dicom_dump series FOLDER_OR_ZIP`. One JSON object a line;
//! numbers are a checksum of little-endian f64, in the order in which NumPy has them.

use std::path::Path;

use serde_json::json;
use sha2::{Digest, Sha256};
use slicewise_imaging::dicom::{Image, Series};
use slicewise_imaging::{ImagingError, Scale, Slice, SliceSource, Voxels};

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
        _ => eprintln!("dicom_dump image FILE… | dicom_dump series FOLDER_OR_ZIP"),
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
