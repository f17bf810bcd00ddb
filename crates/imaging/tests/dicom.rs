//! Series of a known phantom, made by `tools/reference/dicom_phantom.py` with pydicom, in every variant
//! that is read or refused. The affines are SimpleITK's and the values pydicom's.

use std::path::{Path, PathBuf};

use serde_json::Value;
use sha2::{Digest, Sha256};
use slicewise_imaging::dicom::{Found, SegKind, SegOptions, Series, write_seg};
use slicewise_imaging::{ClassTable, LabelMap, Labels, Slice, SliceSource, Voxels};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dicom")
}

fn archive(name: &str) -> PathBuf {
    folder().join(format!("{name}.zip"))
}

fn expected() -> serde_json::Map<String, Value> {
    let text = std::fs::read_to_string(folder().join("expected.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn checksum(slice: &Slice) -> String {
    let mut hash = Sha256::new();
    macro_rules! add {
        ($($variant:ident),*) => {
            match &slice.voxels {
                $(Voxels::$variant(v) => for &n in v {
                    let value = n as f64 * slice.scale.slope + slice.scale.intercept;
                    hash.update((value + 0.0).to_le_bytes());
                })*
            }
        };
    }
    add!(U8, I8, U16, I16, U32, I32, U64, I64, F32, F64);
    hash.finalize().iter().map(|b| format!("{b:02x}")).collect()
}

/// Every slice's checksum, or the message of the one that cannot be read.
fn read(series: &Series) -> Result<Vec<String>, String> {
    let mut source = series.source();
    let mut slice = Slice::of(&source);
    let mut slices = Vec::new();
    while source.next_slice(&mut slice).map_err(|e| e.to_string())? {
        assert_eq!(slice.voxels.element(), source.element());
        slices.push(checksum(&slice));
    }
    Ok(slices)
}

/// What is wrong with how a variant is read.
fn problems(name: &str, found: &Found, want: &Value) -> Vec<String> {
    let mut problems = Vec::new();
    let series = found.series.iter().find(|s| s.grid().size()[2] == 5);
    if let Some(refusal) = want["refused"].as_str() {
        let mut reasons: Vec<String> = found.refused.iter().map(|e| e.to_string()).collect();
        reasons.extend(series.and_then(|s| read(s).err()));
        if !reasons
            .iter()
            .any(|r| r.contains(refusal) && !r.contains('\n'))
        {
            problems.push(format!(
                "{name}: should be refused by '{refusal}', got {reasons:?}"
            ));
        }
        return problems;
    }
    let Some(series) = series else {
        return vec![format!("{name}: is not found: {:?}", found.refused)];
    };
    let affine = series.grid().affine().rows();
    for (r, row) in affine.iter().enumerate() {
        for (c, got) in row.iter().enumerate() {
            let want = want["affine"][r][c].as_f64().unwrap();
            if (got - want).abs() > 1e-6 {
                problems.push(format!(
                    "{name}: affine [{r}][{c}] is {got} instead of {want}"
                ));
            }
        }
    }
    let slices: Vec<&str> = want["slices"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| s.as_str().unwrap())
        .collect();
    match read(series) {
        Ok(got) => {
            let wrong: Vec<usize> = (0..5).filter(|&k| got[k] != slices[k]).collect();
            if !wrong.is_empty() {
                problems.push(format!("{name}: slices {wrong:?} differ"));
            }
        }
        Err(error) => problems.push(format!("{name}: {error}")),
    }
    if let Some(warning) = want["warned"].as_str()
        && !series.warnings().iter().any(|w| w.contains(warning))
    {
        problems.push(format!(
            "{name}: warns {:?} instead of '{warning}'",
            series.warnings()
        ));
    }
    problems
}

#[test]
fn every_variant_of_the_phantom_is_read_or_refused_as_it_should_be() {
    let mut all = Vec::new();
    for (name, want) in expected() {
        let found = Series::find(&archive(&name)).unwrap();
        all.extend(problems(&name, &found, &want));
    }
    assert!(all.is_empty(), "{}", all.join("\n"));
}

#[test]
fn a_folder_reads_as_its_archive_does() {
    let folder = tempfile::tempdir().unwrap();
    let file = std::fs::File::open(archive("explicit")).unwrap();
    zip::ZipArchive::new(file)
        .unwrap()
        .extract(folder.path())
        .unwrap();
    std::fs::write(folder.path().join("notes.txt"), "no image").unwrap();
    let found = Series::find(folder.path()).unwrap();
    assert_eq!(found.ignored, 1);
    assert!(problems("folder", &found, &expected()["explicit"]).is_empty());
}

#[test]
fn a_localizer_and_time_points_are_stacks_of_their_own() {
    let found = Series::find(&archive("mixed")).unwrap();
    let parts: Vec<_> = found
        .series
        .iter()
        .map(|s| (s.grid().size(), s.part()))
        .collect();
    let want = [
        ([40, 33, 5], Some("stack 1, AcquisitionNumber 1")),
        ([40, 33, 5], Some("stack 1, AcquisitionNumber 2")),
        ([40, 33, 1], Some("stack 2")),
    ];
    let mut sorted = parts.clone();
    sorted.sort();
    assert_eq!(sorted.len(), 3, "{parts:?}");
    assert!(want.iter().all(|w| parts.contains(w)), "{parts:?}");
    let error = found.one(&archive("mixed"), None).unwrap_err().to_string();
    assert!(error.contains("it has 2 scans"), "{error}");
}

#[test]
fn slices_are_read_in_any_order() {
    let found = Series::find(&archive("enhanced_rle")).unwrap();
    let series = &found.series[0];
    let in_order = read(series).unwrap();
    let mut source = series.source();
    let mut slice = Slice::of(&source);
    for k in [4, 0, 2, 2, 1, 3] {
        source.read_slice(k, &mut slice).unwrap();
        assert_eq!(checksum(&slice), in_order[k]);
    }
}

#[test]
fn segmentations_are_whole_and_repeatable() {
    let folder = tempfile::tempdir().unwrap();
    let series = Series::find(&archive("explicit")).unwrap().series.remove(0);
    let labels = (0..series.grid().voxels())
        .map(|n| (n % 7 % 4) as u8)
        .collect();
    let map = LabelMap::new(
        series.grid().clone(),
        Labels::U8(labels),
        ClassTable::numbered(3),
    );
    let map = map.unwrap();
    for kind in [SegKind::Binary, SegKind::LabelMap] {
        let options = SegOptions {
            kind,
            algorithm: "test".into(),
            series_number: 9,
            created: None,
        };
        let write = |name: &str| {
            let path = folder.path().join(name);
            write_seg(&path, &map, &series, &options).unwrap();
            std::fs::read(path).unwrap()
        };
        assert_eq!(write("a.dcm"), write("b.dcm"));
    }
    let nowhere = folder.path().join("no/such/folder.dcm");
    let options = SegOptions {
        kind: SegKind::Binary,
        algorithm: "test".into(),
        series_number: 9,
        created: None,
    };
    assert!(write_seg(&nowhere, &map, &series, &options).is_err());
}
