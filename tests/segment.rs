//! `slicewise segment` as a person uses it: folders of scans, bad scans, shares, and being killed.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use slicewise_imaging::nifti::{Header, write_labels};
use slicewise_imaging::{Affine, ClassTable, Grid, LabelMap, Labels};
use tempfile::TempDir;

/// The program with nothing of this machine's environment.
fn slicewise(folder: &Path, line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_slicewise"));
    command
        .current_dir(folder)
        .args(line.split_whitespace())
        .env_clear()
        .env("SLICEWISE_CACHE", folder.join("cache"));
    command
}

struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

fn run(folder: &Path, line: &str) -> Ran {
    let output = slicewise(folder, line)
        .output()
        .expect("the program starts");
    Ran {
        code: output.status.code(),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// A folder with a bundle for slices of 64×32 and a folder `scans` of `names`.
fn folder(names: &[&str]) -> TempDir {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path();
    let line = "models export mobilenetv4_conv_small+fpn --size 32x64 --classes 5 -o bundle.onnx --window 0:255";
    let ran = run(path, line);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    for (n, name) in names.iter().enumerate() {
        let grid = Grid::new([64, 32, 24], Affine::of_spacing([0.8, 0.8, 2.0])).expect("a grid");
        let voxel = |at: usize| ((at * 2_654_435_761 + n * 97) >> 7) as u8;
        let voxels = Labels::U8((0..grid.voxels()).map(voxel).collect());
        let map = LabelMap::new(grid.clone(), voxels, ClassTable::default()).expect("sizes fit");
        let scan = path.join("scans").join(name);
        fs::create_dir_all(scan.parent().expect("a parent")).expect("writable");
        write_labels(&scan, &Header::of_grid(&grid), &map).expect("writable");
    }
    folder
}

fn events(ran: &Ran) -> Vec<Value> {
    let lines = ran.out.lines().map(serde_json::from_str);
    lines.collect::<Result<_, _>>().expect("JSON lines")
}

/// Every file below a folder; of manifests what does not tell the time.
fn contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).expect("a folder").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let mut bytes = fs::read(&path).expect("readable");
            if path.to_string_lossy().ends_with(".manifest.json") {
                let mut manifest: Value = serde_json::from_slice(&bytes).expect("JSON");
                manifest["timing"].take();
                bytes = manifest.to_string().into_bytes();
            }
            let name = path
                .strip_prefix(folder)
                .expect("below")
                .display()
                .to_string();
            files.insert(name, bytes);
        }
    }
    files
}

const ALL: &str =
    "segment scans -o out --model bundle.onnx --threads 1 --statistics --preview --progress json";

#[test]
fn a_folder_becomes_a_folder_and_what_is_done_is_skipped() {
    let folder = folder(&["a.nii.gz", "sub/b.nii"]);
    let ran = run(folder.path(), ALL);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let events = events(&ran);
    assert_eq!(
        (&events[0]["event"], &events[0]["scans"]),
        (&"begin".into(), &2.into())
    );
    assert_eq!(events.last().expect("an end")["done"], 2);
    let files = contents(&folder.path().join("out"));
    let ends = [
        "ctbl",
        "labels.txt",
        "manifest.json",
        "nii.gz",
        "preview.png",
        "statistics.json",
    ];
    let want: Vec<String> = ["a", "sub/b"]
        .iter()
        .flat_map(|stem| ends.iter().map(move |end| format!("{stem}.{end}")))
        .collect();
    assert_eq!(files.keys().cloned().collect::<Vec<_>>(), want);
    for end in ["ctbl", "labels.txt", "manifest.json", "statistics.json"] {
        let text = String::from_utf8_lossy(&files[&format!("a.{end}")]).into_owned();
        assert!(text.contains("not a medical device"), "{end}: {text}");
    }
    let again = run(folder.path(), ALL);
    assert_eq!(events_with(&again, "skipped"), 2);
    let forced = run(folder.path(), &format!("{ALL} --force"));
    assert_eq!(events_with(&forced, "done"), 2);
    assert_eq!(contents(&folder.path().join("out")), files);
    let other = run(folder.path(), &format!("{ALL} --window 0:200"));
    assert_eq!(
        events_with(&other, "done"),
        2,
        "another window is another result"
    );
}

fn events_with(ran: &Ran, status: &str) -> usize {
    events(ran).iter().filter(|e| e["status"] == status).count()
}

#[test]
fn one_bad_scan_does_not_stop_the_others_and_the_exit_code_counts_them() {
    let folder = folder(&["a.nii.gz", "b.nii.gz", "c.nii.gz", "d.nii"]);
    let scan = |name: &str| folder.path().join("scans").join(name);
    let bytes = fs::read(scan("b.nii.gz")).expect("readable");
    fs::write(scan("b.nii.gz"), &bytes[..bytes.len() / 2]).expect("writable");
    let mut bytes = fs::read(scan("d.nii")).expect("readable");
    bytes[42..44].copy_from_slice(&(-5i16).to_le_bytes());
    fs::write(scan("d.nii"), &bytes).expect("writable");
    let ran = run(folder.path(), ALL);
    assert_eq!(ran.code, Some(12), "{}", ran.err);
    for part in [
        "b.nii.gz: it ends within slice",
        "d.nii: its size along axis 1 is -5",
    ] {
        assert!(ran.err.contains(part), "{}", ran.err);
    }
    assert_eq!(events_with(&ran, "failed"), 2);
    let files = contents(&folder.path().join("out"));
    assert_eq!(files.keys().filter(|n| n.ends_with(".nii.gz")).count(), 2);
    assert!(
        files
            .keys()
            .all(|n| !n.starts_with("b.") && !n.starts_with("d.")),
        "{:?}",
        files.keys()
    );
}

#[test]
fn what_cannot_be_read_or_written_does_not_stop_the_others_and_costs_no_work() {
    let folder = folder(&["a.nii", "b.nii", "sub/c.nii"]);
    let path = folder.path();
    fs::create_dir_all(path.join("out/b.preview.png")).expect("writable");
    fs::create_dir(path.join("empty")).expect("writable");
    fs::write(path.join("out/sub"), "a file").expect("writable");
    let line = ALL.replace("segment scans", "segment scans nowhere empty");
    let ran = run(path, &line);
    assert_eq!(ran.code, Some(14), "{}", ran.err);
    let told = ran.err.lines().filter(|l| l.starts_with("error: "));
    assert_eq!(told.count(), 4, "{}", ran.err);
    for part in [
        "nowhere: No such file or directory (os error 2); check the name",
        "empty: the folder holds no scan; give",
        "out/b.preview.png: it is there already, and no file; remove it",
        "out/sub: it cannot be written: ",
    ] {
        assert!(ran.err.contains(part), "{part}: {}", ran.err);
    }
    let all = contents(&path.join("out"));
    let others = all.keys().filter(|name| !name.starts_with("a."));
    assert_eq!(others.collect::<Vec<_>>(), ["sub"]);
}

#[cfg(unix)]
#[test]
fn what_may_not_be_written_is_left_as_it_is() {
    use std::os::unix::fs::PermissionsExt;
    let folder = folder(&["a.nii"]);
    let path = folder.path();
    let labels = path.join("out/a.nii.gz");
    fs::create_dir(path.join("out")).expect("writable");
    fs::write(&labels, "corrected by hand").expect("writable");
    fs::set_permissions(&labels, fs::Permissions::from_mode(0o444)).expect("own");
    if fs::OpenOptions::new().write(true).open(&labels).is_ok() {
        // An administrator may write everything.
        return;
    }
    let ran = run(path, ALL);
    assert_eq!(ran.code, Some(11), "{}", ran.err);
    assert!(ran.err.contains("choose another output"), "{}", ran.err);
    let kept = contents(&path.join("out"));
    assert_eq!(
        kept.into_iter().collect::<Vec<_>>(),
        [("a.nii.gz".to_owned(), b"corrected by hand".to_vec())]
    );
}

#[test]
fn post_processing_is_the_bundles_own_where_it_is_not_asked_for() {
    let folder = folder(&["a.nii"]);
    let path = folder.path();
    let card = r#"{"post_process": {"largest_component": [1], "fill_holes": [2]}}"#;
    fs::write(path.join("card.json"), card).expect("writable");
    let line = "models export mobilenetv4_conv_small+fpn --size 32x64 --classes 5 --card card.json -o own.onnx";
    assert_eq!(run(path, line).code, Some(0));
    for (options, largest, holes) in [
        ("", r#"[1]"#, r#"[2]"#),
        ("--largest-component 3,class_4", r#"[3,4]"#, r#"[2]"#),
        (
            "--largest-component all --fill-holes none",
            r#"[1,2,3,4]"#,
            "null",
        ),
    ] {
        let line = format!("segment scans -o out --model own.onnx {options}");
        assert_eq!(run(path, &line).code, Some(0), "{options}");
        let text = fs::read_to_string(path.join("out/a.manifest.json")).expect("there");
        let manifest: Value = serde_json::from_str(&text).expect("JSON");
        let post = &manifest["asked"]["post_process"];
        let got = [&post["largest_component"], &post["fill_holes"]].map(Value::to_string);
        assert_eq!(got, [largest, holes], "{options}");
    }
}

#[test]
fn a_quantized_bundle_is_a_bundle() {
    let folder = folder(&["a.nii"]);
    let path = folder.path();
    let ran = run(path, "quantize bundle.onnx --synthetic -o int8.onnx");
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let ran = run(
        path,
        "segment scans -o out --model int8.onnx --precision int8",
    );
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(path.join("out/a.nii.gz").exists());
}

#[test]
fn shares_of_a_job_array_make_together_what_one_run_makes() {
    let folder = folder(&["a.nii", "b.nii", "c.nii"]);
    assert_eq!(run(folder.path(), ALL).code, Some(0));
    let whole = contents(&folder.path().join("out"));
    let parts = ALL.replace("-o out", "-o parts");
    let first = run(folder.path(), &format!("{parts} --shard 1/2"));
    assert_eq!(events_with(&first, "done"), 2, "{}", first.err);
    let second = slicewise(folder.path(), &format!("{parts} --shard auto"))
        .env("AWS_BATCH_JOB_ARRAY_INDEX", "1")
        .env("AWS_BATCH_JOB_ARRAY_SIZE", "2")
        .status()
        .expect("the program starts");
    assert!(second.success());
    assert_eq!(contents(&folder.path().join("parts")), whole);
}

#[test]
fn what_cannot_be_begun_is_one_line_and_the_right_exit_code() {
    let folder = folder(&["a.nii", "b.nii"]);
    fs::write(folder.path().join("file"), "").expect("writable");
    fs::create_dir(folder.path().join("empty")).expect("writable");
    let exported = run(
        folder.path(),
        "models export resnet18+fpn --size 32 --task labels -o plain.onnx",
    );
    assert_eq!(exported.code, Some(0));
    let cases = [
        ("segment scans -o out", 2, "--model"),
        ("segment scans -o out --model none.onnx", 1, "none.onnx"),
        ("segment scans -o out --model file", 1, "file"),
        (
            "segment scans -o out --model plain.onnx",
            1,
            "without classes",
        ),
        ("segment nowhere -o out --model bundle.onnx", 1, "nowhere"),
        (
            "segment empty -o out --model bundle.onnx",
            1,
            "holds no scan",
        ),
        (
            "segment scans -o out.nii --model bundle.onnx",
            2,
            "give a folder",
        ),
        (
            "segment scans/a.nii -o out.mha --model bundle.onnx",
            2,
            "end it in .nii or .nii.gz",
        ),
        (
            "segment scans -o file/out --model bundle.onnx",
            1,
            "file/out",
        ),
        (
            "segment scans/a.nii -o scans/a.nii --model bundle.onnx",
            2,
            "overwritten",
        ),
        (
            "segment scans -o out --model bundle.onnx --view axial,coronal",
            2,
            "1 or 3 views",
        ),
        (
            "segment scans -o out --model bundle.onnx --view oblique",
            2,
            "there are: axial",
        ),
        (
            "segment scans -o out --model bundle.onnx --window 9:1",
            2,
            "is empty",
        ),
        (
            "segment scans -o out --model bundle.onnx --shard 3/2",
            2,
            "is no share",
        ),
        (
            "segment scans -o out --model bundle.onnx --shard auto",
            2,
            "no job array",
        ),
        (
            "segment scans -o out --model bundle.onnx --fill-holes liver",
            2,
            "'liver' is no class",
        ),
        (
            "segment scans -o out --model bundle.onnx --batch 2",
            1,
            "--batch dynamic",
        ),
        (
            "segment scans -o out --model bundle.onnx --engine caffe",
            2,
            "caffe",
        ),
        (
            "segment scans -o out --model bundle.onnx --precision int8",
            1,
            "native",
        ),
    ];
    let mut wrong = Vec::new();
    for (line, code, want) in cases {
        let ran = run(folder.path(), line);
        if ran.code != Some(code) || !ran.err.contains(want) || !ran.out.is_empty() {
            wrong.push(format!("{line}: {:?} {}", ran.code, ran.err));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(!folder.path().join("out.nii").exists());
}

#[test]
fn killed_at_any_moment_a_second_run_gives_the_files_of_an_undisturbed_one() {
    let folder = folder(&["a.nii.gz", "b.nii.gz", "c.nii"]);
    assert_eq!(run(folder.path(), ALL).code, Some(0));
    let undisturbed = contents(&folder.path().join("out"));
    let killed = ALL.replace("-o out", "-o killed");
    let mut early = 0;
    for delay in [15, 40, 80, 130, 200, 300, 450, 700, 1000] {
        let child = slicewise(folder.path(), &format!("{killed} --force"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let mut child = child.expect("the program starts");
        std::thread::sleep(Duration::from_millis(delay));
        // The signal of kill -9, unless it has ended already.
        early += usize::from(child.try_wait().expect("a child").is_none());
        let _ = child.kill();
        child.wait().expect("a child");
    }
    assert!(early > 0, "it was never killed before its end");
    assert_eq!(run(folder.path(), &killed).code, Some(0));
    assert_eq!(contents(&folder.path().join("killed")), undisturbed);
}

#[test]
fn a_card_names_the_classes_in_every_table_and_a_bundle_runs_like_any_onnx_file() {
    let folder = folder(&["a.nii"]);
    let card = r#"{"name": "organs", "licence": "CC-BY-4.0", "training": {"data": "none", "epochs": 3},
        "classes": [{"label": 1, "name": "left kidney", "colour": [185, 102, 83],
                     "kind": {"value": "18639004", "scheme": "SCT", "meaning": "Left kidney"}}]}"#;
    fs::write(folder.path().join("card.json"), card).expect("writable");
    let line = "models export mobilenetv4_conv_small+fpn --size 32x64 --classes 2 --card card.json -o organs.onnx";
    assert_eq!(run(folder.path(), line).code, Some(0));
    let ran = run(
        folder.path(),
        "segment scans/a.nii -o a_labels.nii --model organs.onnx --progress none",
    );
    assert_eq!(
        (ran.code, ran.err.as_str(), ran.out.as_str()),
        (Some(0), "", "")
    );
    let text = |name: &str| fs::read_to_string(folder.path().join(name)).expect(name);
    assert!(text("a_labels.ctbl").contains("\n1 left_kidney 185 102 83 255\n"));
    assert!(text("a_labels.labels.txt").contains("\"left kidney\""));
    let manifest: Value = serde_json::from_str(&text("a_labels.manifest.json")).expect("JSON");
    assert_eq!(manifest["asked"]["model"]["licence"], "CC-BY-4.0");
    let labels = fs::read(folder.path().join("a_labels.nii")).expect("readable");
    assert!(labels.windows(11).any(|w| w == b"left kidney"));
    // A changed bundle is refused by run as well.
    let mut bytes = fs::read(folder.path().join("organs.onnx")).expect("readable");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(folder.path().join("changed.onnx"), bytes).expect("writable");
    let ran = run(
        folder.path(),
        "run changed.onnx --input x.npy --output y.npy",
    );
    assert_eq!(ran.code, Some(1));
}

#[test]
fn a_dicom_series_becomes_a_label_map_and_a_dicom_segmentation() {
    let folder = folder(&["a.nii.gz"]);
    let path = folder.path();
    let phantom = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/imaging/tests/dicom");
    for name in ["explicit.zip", "mixed.zip", "missing.zip"] {
        fs::copy(phantom.join(name), path.join(name)).expect("a fixture");
    }
    let archive = fs::File::open(path.join("explicit.zip")).expect("a fixture");
    let mut archive = zip::ZipArchive::new(archive).expect("an archive");
    archive.extract(path.join("series")).expect("writable");

    let line = "segment explicit.zip series/explicit -o out --model bundle.onnx --dicom-seg";
    let ran = run(path, line);
    assert_eq!(
        ran.code,
        Some(2),
        "both would be named 'explicit': {}",
        ran.err
    );
    let line = "segment series -o out --model bundle.onnx --dicom-seg --progress json";
    let ran = run(path, line);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let segmentation = fs::read(path.join("out/explicit.seg.dcm")).expect("a segmentation");
    assert_eq!(&segmentation[128..132], b"DICM");
    let labels = fs::read(path.join("out/explicit.nii.gz")).expect("a label map");
    let line = "segment explicit.zip -o again --model bundle.onnx --dicom-seg=binary";
    assert_eq!(run(path, line).code, Some(0));
    assert!(segmentation == fs::read(path.join("again/explicit.seg.dcm")).expect("there"));
    assert!(labels == fs::read(path.join("again/explicit.nii.gz")).expect("there"));
    let line = "segment explicit.zip -o labelmap --model bundle.onnx --dicom-seg=labelmap";
    assert_eq!(run(path, line).code, Some(0));

    for (line, reason) in [
        (
            "segment scans -o no --model bundle.onnx --dicom-seg",
            "refers to the images of a DICOM series",
        ),
        (
            "segment mixed.zip -o no --model bundle.onnx",
            "it has 2 scans",
        ),
        (
            "segment missing.zip -o no --model bundle.onnx",
            "1 slice is missing",
        ),
        (
            "segment explicit.zip -o no --model bundle.onnx --series 1.2",
            "no readable series 1.2",
        ),
        (
            "segment explicit.zip -o no --model bundle.onnx --volume 2",
            "volume 2 of 1 was asked for",
        ),
        (
            "segment scans -o no --model bundle.onnx --series 1.2",
            "it is no DICOM",
        ),
    ] {
        let ran = run(path, line);
        assert_eq!(ran.code, Some(11), "{line}: {}", ran.err);
        assert!((ran.err + &ran.out).contains(reason), "{line}");
        assert!(
            fs::read_dir(path.join("no"))
                .expect("made")
                .next()
                .is_none(),
            "{line}"
        );
    }
}
