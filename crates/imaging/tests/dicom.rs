//! Series of a known phantom, made by `tools/reference/dicom_phantom.py` with pydicom, in every variant
//! that is read or refused. The affines are SimpleITK's and the values pydicom's.

use std::path::{Path, PathBuf};

use serde_json::Value;
use sha2::{Digest, Sha256};
use slicewise_imaging::dicom::{Found, Image, SegKind, SegOptions, Series, write_seg};
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
    let mut classes = ClassTable::numbered(3).classes().to_vec();
    classes[1].name = "Wirbelsäule ≥ L1".into();
    let map = LabelMap::new(
        series.grid().clone(),
        Labels::U8(labels),
        ClassTable::new(classes).unwrap(),
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
        let bytes = write("a.dcm");
        assert!(bytes == write("b.dcm"), "{kind:?}");
        // The phantom's character set is Latin-1, which has no letter for the other sign.
        let name = b"Wirbels\xe4ule ? L1";
        assert!(bytes.windows(name.len()).any(|w| w == name), "{kind:?}");
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

/// An explicit little-endian file of `elements`: tag, representation, value.
fn file(elements: &[(u32, &[u8; 2], &[u8])]) -> Vec<u8> {
    let mut bytes = vec![0; 128];
    bytes.extend_from_slice(b"DICM");
    for (tag, vr, value) in elements {
        bytes.extend_from_slice(&tag.rotate_left(16).to_le_bytes());
        bytes.extend_from_slice(*vr);
        if matches!(*vr, b"OB" | b"OW" | b"SQ" | b"UN") {
            bytes.extend_from_slice(&[0, 0]);
            bytes.extend_from_slice(&(value.len() as u32).to_le_bytes());
        } else {
            bytes.extend_from_slice(&(value.len() as u16).to_le_bytes());
        }
        bytes.extend_from_slice(value);
    }
    bytes
}

/// A file of `rows` x `columns` numbers of 16 bits whose pixels are `pixels`.
fn image(syntax: &[u8], [rows, columns]: [u16; 2], frames: &[u8], pixels: &[u8]) -> Vec<u8> {
    let (rows, columns) = (rows.to_le_bytes(), columns.to_le_bytes());
    let mut bytes = file(&[
        (0x0002_0010, b"UI", syntax),
        (0x0028_0008, b"IS", frames),
        (0x0028_0010, b"US", &rows),
        (0x0028_0011, b"US", &columns),
        (0x0028_0100, b"US", &[16, 0]),
        (0x0028_0101, b"US", &[16, 0]),
    ]);
    bytes.extend_from_slice(pixels);
    bytes
}

const EXPLICIT: &[u8] = b"1.2.840.10008.1.2.1\0";
const JPEG_2000: &[u8] = b"1.2.840.10008.1.2.4.90";

/// Pixel data of a claimed length; `u32::MAX` for encapsulated ones.
fn pixels(length: u32, value: &[u8]) -> Vec<u8> {
    [
        &[0xE0, 0x7F, 0x10, 0, b'O', b'W', 0, 0][..],
        &length.to_le_bytes(),
        value,
    ]
    .concat()
}

/// Encapsulated pixels of one fragment.
fn fragment(frame: &[u8]) -> Vec<u8> {
    let item = |length: u32| [&[0xFE, 0xFF, 0x00, 0xE0][..], &length.to_le_bytes()].concat();
    let end = [0xFE, 0xFF, 0xDD, 0xE0, 0, 0, 0, 0];
    let value = [&item(0)[..], &item(frame.len() as u32), frame, &end].concat();
    pixels(u32::MAX, &value)
}

#[test]
fn files_that_lie_are_refused_in_one_line_that_says_what_and_where() {
    let deep: Vec<u8> = [
        0x08, 0, 0x40, 0x11, b'S', b'Q', 0, 0, 255, 255, 255, 255, 0xFE, 0xFF, 0, 0xE0, 255, 255,
        255, 255,
    ]
    .repeat(100_000);
    let mut nested = file(&[(0x0002_0010, b"UI", EXPLICIT)]);
    nested.extend(deep);
    let mut long_text = file(&[(0x0002_0010, b"UI", EXPLICIT)]);
    // PatientID, as an unknown of 4 GB less 2.
    long_text.extend([0x10, 0, 0x20, 0, b'U', b'N', 0, 0, 0xFE, 0xFF, 0xFF, 0xFF]);
    let huge = [
        &[0xFF, 0x4F, 0xFF, 0x51, 0, 41, 0, 0][..],
        &[0xFF; 8],
        &[0; 8],
        &[0, 0, 0, 1].repeat(2),
        &[0; 8],
        &[0, 1, 15, 1, 1],
    ]
    .concat();
    let tiles = |size: u32, tile: u32| {
        let numbers = [size, size, 0, 0, tile, tile, 0, 0];
        let numbers: Vec<u8> = numbers.iter().flat_map(|n| n.to_be_bytes()).collect();
        [
            &[0xFF, 0x4F, 0xFF, 0x51, 0, 41, 0, 0][..],
            &numbers,
            &[0, 1, 15, 1, 1],
        ]
        .concat()
    };
    let lossless = [
        &[
            0xFF, 0xD8, 0xFF, 0xC3, 0, 11, 16, 0x1F, 0xFF, 0x1F, 0xFF, 1, 1, 0x11, 0,
        ][..],
        &[0xFF, 0xDA, 0, 8, 1, 1, 0, 1, 0, 0],
    ]
    .concat();
    let jpeg: &[u8] = b"1.2.840.10008.1.2.4.70";
    let cases: &[(Vec<u8>, &str)] = &[
        (Vec::new(), "no DICOM file"),
        (file(&[]), "no pixels"),
        (
            image(EXPLICIT, [65535, 65535], b"1 ", &pixels(4, &[0; 4])),
            "larger than",
        ),
        (
            image(EXPLICIT, [8192, 8192], b"2147483647", &pixels(4, &[0; 4])),
            "need",
        ),
        (
            image(EXPLICIT, [0, 4], b"1 ", &pixels(4, &[0; 4])),
            "0 rows",
        ),
        (
            image(EXPLICIT, [4, 4], b"-1", &pixels(4, &[0; 4])),
            "not a count",
        ),
        (
            image(EXPLICIT, [4096, 4096], b"1 ", &pixels(1 << 30, &[0; 4])),
            "4 of 33554432 bytes",
        ),
        (
            image(EXPLICIT, [4, 4], b"1 ", &fragment(&[])),
            "encapsulated",
        ),
        (image(JPEG_2000, [4, 4], b"1 ", &fragment(&huge)), "columns"),
        (
            image(JPEG_2000, [4096, 4096], b"1 ", &fragment(&tiles(4096, 1))),
            "parts",
        ),
        (
            image(JPEG_2000, [4, 4], b"3 ", &fragment(&tiles(4, 4))),
            "no table says",
        ),
        (
            image(jpeg, [8191, 8191], b"1 ", &fragment(&lossless)),
            "cannot hold",
        ),
        (
            image(b"1.2.840.10008.1.2.4.201\0", [4, 4], b"1 ", &fragment(&[])),
            "High-Throughput JPEG 2000",
        ),
        (nested, "inside each other"),
        (long_text, "claims 4294967294 bytes"),
    ];
    let mut wrong = Vec::new();
    for (bytes, part) in cases {
        let read = Image::from_bytes("lie.dcm", bytes.clone()).and_then(|mut i| i.frame(0));
        match read {
            Ok(_) => wrong.push(format!("'{part}' was read")),
            Err(error) => {
                let error = error.to_string();
                if !error.contains(part) || error.contains('\n') || !error.contains("lie.dcm") {
                    wrong.push(format!("'{error}' instead of '{part}'"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
