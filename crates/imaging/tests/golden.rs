//! What nibabel, SimpleITK and scipy make of small files, and that we make the same of them. The files and
//! `golden.json` come from `tools/reference/imaging.py`.

use std::path::{Path, PathBuf};

use serde_json::Value;
use slicewise_imaging::resample::{Alignment, Interpolation, resample};
use slicewise_imaging::{Affine, Element, Orientation, Reorder, Volume, scan};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn golden(part: &str) -> Vec<Value> {
    let text = std::fs::read(folder().join("golden.json")).unwrap();
    let mut golden: Value = serde_json::from_slice(&text).unwrap();
    match golden[part].take() {
        Value::Array(cases) => cases,
        _ => panic!("golden.json has no '{part}'"),
    }
}

fn numbers(value: &Value) -> Vec<f64> {
    match value {
        Value::Array(items) => items.iter().flat_map(numbers).collect(),
        Value::Number(n) => vec![n.as_f64().unwrap()],
        other => panic!("{other} is no number"),
    }
}

fn close(got: &[f64], want: &[f64], tolerance: f64) -> bool {
    got.len() == want.len()
        && got
            .iter()
            .zip(want)
            .all(|(g, w)| (g - w).abs() <= tolerance * w.abs().max(1.0))
}

fn rows(affine: &Affine) -> Vec<f64> {
    affine.rows().as_flattened().to_vec()
}

fn values(volume: &Volume) -> Vec<f32> {
    let [ni, nj, nk] = volume.grid().size();
    let index = |at: usize| [at % ni, at / ni % nj, at / (ni * nj)];
    (0..ni * nj * nk)
        .map(|at| volume.value(index(at)))
        .collect()
}

/// Sizes, affine and values as they should be; what is wrong.
fn compare(case: &Value) -> Vec<String> {
    let mut wrong = Vec::new();
    let name = case["file"].as_str().unwrap();
    let mut scan = match scan::open(&folder().join(name), 0) {
        Ok(scan) => scan,
        Err(e) => return vec![e.to_string()],
    };
    let volume = match Volume::read(&mut *scan.source) {
        Ok(volume) => volume,
        Err(e) => return vec![e.to_string()],
    };
    let size = volume.grid().size().map(|n| n as f64);
    let affine = rows(volume.grid().affine());
    let got: Vec<f64> = values(&volume).into_iter().map(f64::from).collect();
    // Values are held in 32 bits.
    let want: Vec<f64> = numbers(&case["values"])
        .iter()
        .map(|v| f64::from(*v as f32))
        .collect();
    for (what, got, want, tolerance) in [
        ("size", size.as_slice(), numbers(&case["shape"]), 0.0),
        ("affine", affine.as_slice(), numbers(&case["affine"]), 2e-7),
        ("values", got.as_slice(), want, 0.0),
    ] {
        if !close(got, &want, tolerance) {
            wrong.push(format!("{name}: {what} {got:?}, not {want:?}"));
        }
    }
    wrong
}

#[test]
fn nifti_files_are_read_as_nibabel_reads_them() {
    let cases = golden("nifti");
    assert!(cases.len() > 90);
    let wrong: Vec<String> = cases.iter().flat_map(compare).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn metaimage_and_nrrd_files_are_read_as_itk_reads_them() {
    let cases = golden("itk");
    assert_eq!(cases.len(), 10);
    let wrong: Vec<String> = cases.iter().flat_map(compare).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn itk_agrees_on_where_voxels_lie() {
    // ITK has the axes of DICOM where there is no form, and refuses sheared axes and NIfTI-2.
    let others = ["no_form.nii", "sheared.nii"];
    let mut agreed = 0;
    for case in golden("nifti") {
        let name = case["file"].as_str().unwrap();
        if case["itk"].is_null() || others.contains(&name) {
            continue;
        }
        let scan = scan::open(&folder().join(name), 0).unwrap();
        let got = rows(scan.grid().affine());
        assert!(
            close(&got, &numbers(&case["itk"]), 1e-5),
            "{name}: {got:?} {}",
            case["itk"]
        );
        agreed += 1;
    }
    assert_eq!(agreed, 79);
}

#[test]
fn canonical_volumes_are_those_of_nibabel_and_come_back_exactly() {
    for case in golden("nifti") {
        let name = case["file"].as_str().unwrap();
        let mut scan = scan::open(&folder().join(name), 0).unwrap();
        let volume = Volume::read(&mut *scan.source).unwrap();
        let (grid, own) = (volume.grid(), values(&volume));
        assert_eq!(
            grid.orientation().to_string(),
            case["axes"].as_str().unwrap(),
            "{name}"
        );
        let there = Reorder::between(grid.orientation(), Orientation::RAS);
        let canonical = there.apply(grid.size(), &own);
        let canonical_grid = there.grid(grid);
        let want: Vec<f32> = numbers(&case["canonical_values"])
            .iter()
            .map(|v| *v as f32)
            .collect();
        assert_eq!(canonical, want, "{name}");
        let got = rows(canonical_grid.affine());
        assert!(
            close(&got, &numbers(&case["canonical_affine"]), 1e-6),
            "{name}: {got:?}"
        );
        let back = there.inverse();
        assert_eq!(back.apply(canonical_grid.size(), &canonical), own, "{name}");
        assert!(close(
            &rows(back.grid(&canonical_grid).affine()),
            &rows(grid.affine()),
            1e-12
        ));
    }
}

#[test]
fn every_type_is_among_the_files() {
    let mut elements = std::collections::BTreeSet::new();
    for case in golden("nifti") {
        let scan = scan::open(&folder().join(case["file"].as_str().unwrap()), 0).unwrap();
        elements.insert(scan.source.element().name());
    }
    assert_eq!(elements.len(), 10);
    assert!(elements.contains(Element::F64.name()));
}

#[test]
fn volumes_are_resampled_as_scipy_resamples_them() {
    for case in golden("resampled") {
        let size = |key: &str| -> [usize; 3] {
            let size: Vec<usize> = numbers(&case[key]).iter().map(|n| *n as usize).collect();
            size.try_into().unwrap()
        };
        let interpolation = match case["interpolation"].as_str().unwrap() {
            "nearest" => Interpolation::Nearest,
            "linear" => Interpolation::Linear,
            _ => Interpolation::Cubic,
        };
        let alignment = match case["alignment"].as_str().unwrap() {
            "corners" => Alignment::Corners,
            _ => Alignment::HalfPixel,
        };
        let own: Vec<f32> = numbers(&case["values"]).iter().map(|v| *v as f32).collect();
        let got = resample(&own, size("from"), size("to"), interpolation, alignment);
        let got: Vec<f64> = got.into_iter().map(f64::from).collect();
        let worst = (got.iter().zip(numbers(&case["want"])))
            .map(|(g, w)| (g - w).abs())
            .fold(0.0, f64::max);
        // Values reach 1000, and are rounded to 32 bits after each axis.
        assert!(
            worst < 1e-3,
            "{interpolation:?} {alignment:?} {:?}: {worst}",
            size("to")
        );
    }
}
