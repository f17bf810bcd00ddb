use std::fs;
use std::io::Write;
use std::path::PathBuf;

use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;

use super::*;
use crate::{Affine, ClassTable, Element, Grid, ImagingError, LabelMap, Labels, Volume};

/// The bytes of a NIfTI-1 file whose voxels are 0, 1, 2 …, changed by `edit` before it is packed.
fn file(size: [i16; 3], edit: impl Fn(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = vec![0u8; 352];
    bytes[..4].copy_from_slice(&348i32.to_le_bytes());
    let dim = [3, size[0], size[1], size[2], 1, 1, 1, 1];
    for (i, n) in dim.iter().enumerate() {
        bytes[40 + 2 * i..42 + 2 * i].copy_from_slice(&i16::to_le_bytes(*n));
    }
    bytes[70..72].copy_from_slice(&4i16.to_le_bytes());
    bytes[72..74].copy_from_slice(&16i16.to_le_bytes());
    for i in 0..8 {
        bytes[76 + 4 * i..80 + 4 * i].copy_from_slice(&1f32.to_le_bytes());
    }
    bytes[108..112].copy_from_slice(&352f32.to_le_bytes());
    bytes[254..256].copy_from_slice(&1i16.to_le_bytes());
    for r in 0..3 {
        let at = 280 + 20 * r;
        bytes[at..at + 4].copy_from_slice(&2f32.to_le_bytes());
    }
    bytes[344..348].copy_from_slice(b"n+1\0");
    let voxels = size.iter().map(|&n| i64::from(n.max(0))).product::<i64>();
    bytes.extend((0..voxels).flat_map(|v| (v as i16).to_le_bytes()));
    edit(&mut bytes);
    bytes
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

fn gzipped(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::new(6));
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Folder(tempfile::tempdir().unwrap())
    }

    fn put(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    }
}

fn load(path: &std::path::Path) -> Result<Volume, ImagingError> {
    Volume::read(&mut *read(path, 0)?.source)
}

#[test]
fn voxels_are_read_plain_gzipped_and_in_pairs() {
    let folder = Folder::new();
    let bytes = file([2, 3, 4], |_| {});
    let pair = file([2, 3, 4], |b| {
        put(b, 344, b"ni1\0");
        put(b, 108, &0f32.to_le_bytes());
    });
    let paths = [
        folder.put("a.nii", &bytes),
        folder.put("b.nii.gz", &gzipped(&bytes)),
        folder.put("misnamed.nii", &gzipped(&bytes)),
        folder.put("c.hdr", &pair[..348]),
    ];
    folder.put("c.img.gz", &gzipped(&pair[352..]));
    for path in paths {
        let volume = load(&path).unwrap();
        assert_eq!(volume.grid().size(), [2, 3, 4]);
        assert_eq!(volume.grid().spacing(), [2.0; 3]);
        assert_eq!(volume.value([1, 2, 3]), 23.0, "{}", path.display());
        assert_eq!(volume.value([1, 0, 0]), 1.0);
    }
}

#[test]
fn another_volume_of_four_dimensions_is_read_when_it_is_asked_for() {
    let folder = Folder::new();
    let path = folder.put(
        "a.nii.gz",
        &gzipped(&file([2, 3, 4], |b| {
            put(b, 40, &4i16.to_le_bytes());
            put(b, 46, &2i16.to_le_bytes());
            put(b, 48, &2i16.to_le_bytes());
        })),
    );
    let mut scan = read(&path, 1).unwrap();
    assert_eq!((scan.volumes, scan.warnings.len()), (2, 1));
    let volume = Volume::read(&mut *scan.source).unwrap();
    assert_eq!(volume.value([0, 0, 0]), 12.0);
    assert!(read(&path, 2).is_err());
}

#[test]
fn what_is_wrong_with_a_file_is_said_and_nothing_is_allocated_for_it() {
    type Edit = fn(&mut Vec<u8>);
    let cases: &[(&str, Edit, &str)] = &[
        ("empty", |b| b.clear(), "ends within its header"),
        (
            "text",
            |b| *b = b"hello, world".to_vec(),
            "does not begin like NIfTI",
        ),
        ("header cut", |b| b.truncate(200), "ends within its header"),
        (
            "voxels cut",
            |b| b.truncate(360),
            "its header says 400 bytes",
        ),
        (
            "negative size",
            |b| put(b, 42, &(-2i16).to_le_bytes()),
            "size along axis 1 is -2",
        ),
        (
            "zero size",
            |b| put(b, 46, &0i16.to_le_bytes()),
            "size along axis 3 is 0",
        ),
        (
            "huge size",
            |b| {
                put(b, 40, &7i16.to_le_bytes());
                (0..7).for_each(|i| put(b, 42 + 2 * i, &i16::MAX.to_le_bytes()));
            },
            "more bytes than any file has",
        ),
        ("no axes", |b| put(b, 40, &0i16.to_le_bytes()), "0 axes"),
        (
            "NaN affine",
            |b| put(b, 284, &f32::NAN.to_le_bytes()),
            "not of numbers",
        ),
        (
            "flat affine",
            |b| put(b, 280, &0f32.to_le_bytes()),
            "do not span",
        ),
        (
            "colours",
            |b| put(b, 70, &128i16.to_le_bytes()),
            "RGB colours",
        ),
        (
            "unknown type",
            |b| put(b, 70, &999i16.to_le_bytes()),
            "unknown type 999",
        ),
        (
            "infinite intercept",
            |b| {
                put(b, 112, &1f32.to_le_bytes());
                put(b, 116, &f32::INFINITY.to_le_bytes());
            },
            "scl_inter is inf",
        ),
        (
            "voxels in the header",
            |b| put(b, 108, &16f32.to_le_bytes()),
            "begin at byte 16",
        ),
        (
            "voxels nowhere",
            |b| put(b, 108, &f32::NAN.to_le_bytes()),
            "begin at byte NaN",
        ),
        ("no signature", |b| put(b, 344, b"\0\0\0\0"), "Analyze"),
        (
            "no rotation",
            |b| {
                put(b, 252, &1i16.to_le_bytes());
                put(b, 254, &0i16.to_le_bytes());
                put(b, 256, &2f32.to_le_bytes());
            },
            "no rotation",
        ),
    ];
    let folder = Folder::new();
    let mut wrong = Vec::new();
    for (name, edit, want) in cases {
        let bytes = file([2, 3, 4], edit);
        let plain = folder.put("a.nii", &bytes);
        for path in [plain, folder.put("a.nii.gz", &gzipped(&bytes))] {
            let gzip = path.extension().unwrap() == "gz";
            let got = load(&path).expect_err(name).to_string();
            // How much a packed file holds is known when it ends.
            let want = if gzip && *name == "voxels cut" {
                "it ends within slice 1 of 4"
            } else {
                want
            };
            if !got.contains(want) || !got.contains(path.to_str().unwrap()) {
                wrong.push(format!("{name}: {got}, not {want}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_packed_file_cut_or_damaged_anywhere_is_an_error() {
    let folder = Folder::new();
    let packed = gzipped(&file([3, 5, 7], |_| {}));
    for cut in 2..packed.len() {
        let path = folder.put("a.nii.gz", &packed[..cut]);
        assert!(load(&path).is_err(), "cut at {cut} of {}", packed.len());
    }
    let mut damaged = packed.clone();
    let end = packed.len();
    damaged[end - 6] ^= 1;
    let error = load(&folder.put("a.nii.gz", &damaged)).unwrap_err();
    assert!(error.to_string().contains("damaged"), "{error}");
    let mut followed = packed;
    followed.extend([0; 512]);
    assert!(load(&folder.put("a.nii.gz", &followed)).is_ok());
}

#[test]
fn no_change_of_a_header_makes_the_reader_panic() {
    let folder = Folder::new();
    let good = file([2, 3, 4], |_| {});
    for at in 0..352 {
        for value in [0, 1, 0x7f, 0x80, 0xff] {
            let mut bad = good.clone();
            bad[at] = value;
            let _ = load(&folder.put("a.nii", &bad));
        }
    }
}

#[test]
fn a_label_map_has_its_scans_affine_and_codes_and_is_read_back() {
    let folder = Folder::new();
    let classes = ClassTable::numbered(3);
    for (code_q, code_s) in [(0, 0), (1, 0), (0, 2), (1, 1), (4, 3)] {
        let scan = folder.put(
            "scan.nii",
            &file([2, 3, 4], |b| {
                put(b, 252, &i16::to_le_bytes(code_q));
                put(b, 254, &i16::to_le_bytes(code_s));
                put(b, 256, &0.25f32.to_le_bytes());
                put(b, 76, &(-1f32).to_le_bytes());
                put(b, 268, &(-17.3f32).to_le_bytes());
            }),
        );
        let scan = read(&scan, 0).unwrap();
        let grid = scan.source.grid().clone();
        for wide in [false, true] {
            let labels = match wide {
                false => Labels::U8((0..24).map(|v| v % 4).collect()),
                true => Labels::U16((0..24).map(|v| v * 1000).collect()),
            };
            let map = LabelMap::new(grid.clone(), labels.clone(), classes.clone()).unwrap();
            for name in ["labels.nii", "labels.nii.gz"] {
                let path = folder.0.path().join(name);
                write_labels(&path, &scan.header, &map).unwrap();
                let mut back = read(&path, 0).unwrap();
                assert_eq!(*back.source.grid(), grid);
                let same = |h: &Header| (h.qform_code, h.sform_code, h.quatern, h.qoffset, h.srow);
                assert_eq!(same(&back.header), same(&scan.header));
                assert_eq!(back.header.pixdim[..4], scan.header.pixdim[..4]);
                let volume = Volume::read(&mut *back.source).unwrap();
                let element = if wide { Element::U16 } else { Element::U8 };
                assert_eq!(volume.voxels().element(), element);
                for at in 0..24 {
                    let got = volume.value([at % 2, at / 2 % 3, at / 6]);
                    assert_eq!(got, f32::from(labels.get(at)));
                }
            }
        }
    }
}

#[test]
fn a_label_map_that_cannot_be_written_leaves_nothing() {
    let folder = Folder::new();
    let grid = Grid::new([2, 2, 2], Affine::of_spacing([1.0; 3])).unwrap();
    let path = folder.0.path().join("a.nii.gz");
    let classes = ClassTable::numbered(1);
    let create = || LabelWriter::create(&path, &Header::of_grid(&grid), &grid, false, &classes);
    let mut writer = create().unwrap();
    writer.write(&Labels::U8(vec![0; 4])).unwrap();
    assert!(matches!(writer.finish(), Err(ImagingError::Count { .. })));
    let mut writer = create().unwrap();
    assert!(writer.write(&Labels::U8(vec![0; 9])).is_err());
    drop(writer);
    assert_eq!(fs::read_dir(folder.0.path()).unwrap().count(), 0);
    let nowhere = folder.0.path().join("none/a.nii");
    let map = LabelMap::new(grid.clone(), Labels::U8(vec![0; 8]), classes.clone()).unwrap();
    let error = write_labels(&nowhere, &Header::of_grid(&grid), &map).unwrap_err();
    assert!(error.to_string().contains("none"), "{error}");
}

proptest! {
    #[test]
    fn the_qform_of_a_grid_is_its_affine(
        angles in prop::array::uniform3(-3.2f64..3.2),
        spacing in prop::array::uniform3(0.1f64..9.0),
        origin in prop::array::uniform3(-500f64..500.0),
        mirrored in any::<bool>(),
    ) {
        let mut affine = Affine::of_spacing([1.0; 3]);
        for (axis, angle) in angles.iter().enumerate() {
            let (s, c) = angle.sin_cos();
            let mut turn = Affine::of_spacing([1.0; 3]);
            let (a, b) = ((axis + 1) % 3, (axis + 2) % 3);
            turn.matrix[a][a] = c;
            turn.matrix[a][b] = -s;
            turn.matrix[b][a] = s;
            turn.matrix[b][b] = c;
            affine = turn.after(&affine);
        }
        for row in &mut affine.matrix {
            (0..3).for_each(|c| row[c] *= spacing[c]);
            if mirrored { row[1] = -row[1]; }
        }
        affine.origin = origin;
        let grid = Grid::new([5, 6, 7], affine).unwrap();
        // In 32 bits a half turn is known to three digits only.
        let header = Header { version: Version::Two, ..Header::of_grid(&grid) };
        let qform = header.qform().unwrap();
        for (got, want) in qform.rows().as_flattened().iter().zip(affine.rows().as_flattened()) {
            prop_assert!((got - want).abs() < 1e-5, "{qform:?} {affine:?}");
        }
        prop_assert_eq!(header.affine().unwrap(), affine);
    }
}
