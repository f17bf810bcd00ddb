//! `slicewise report` and `slicewise recommend` as a user meets them, on the records in `results/`.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn slicewise(folder: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_slicewise"));
    command.current_dir(folder).args(args).output().unwrap()
}

fn result(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("results/engine")
        .join(name)
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn the_newest_record_is_taken_and_named() {
    let dir = tempfile::tempdir().unwrap();
    let none = slicewise(dir.path(), &["recommend"]);
    assert_eq!(none.status.code(), Some(1));
    assert!(err(&none).contains("no record in slicewise-bench; slicewise bench makes one"));

    let folder = dir.path().join("slicewise-bench");
    std::fs::create_dir(&folder).unwrap();
    std::fs::copy(result("labels.json"), folder.join("labels.json")).unwrap();
    std::fs::write(folder.join("broken.json"), "{").unwrap();
    let advice = slicewise(dir.path(), &["recommend"]);
    assert!(advice.status.success(), "{}", err(&advice));
    assert!(out(&advice).starts_with("slicewise-bench/labels.json: networks of images"));
    assert!(
        out(&advice).contains("not measured"),
        "accuracy is not claimed"
    );

    let report = slicewise(dir.path(), &["report"]);
    assert!(report.status.success() && err(&report).contains("read slicewise-bench/labels.json"));
    assert!(dir.path().join("report.html").is_file());
}

#[test]
fn limits_that_nobody_meets_fail_with_the_nearest_miss() {
    let record = result("labels.json");
    let args = ["recommend", record.to_str().unwrap(), "--min-speed", "1e6"];
    let advice = slicewise(Path::new("."), &args);
    assert_eq!(advice.status.code(), Some(1));
    assert!(
        out(&advice).contains("leaves out 24 of 24 arms"),
        "{}",
        out(&advice)
    );
    assert!(out(&advice).contains("nearest is mobilenetv4_conv_small+fpn on native f32"));
    let bad = slicewise(Path::new("."), &["recommend", "--memory", "-1"]);
    assert_eq!(bad.status.code(), Some(2));
}

#[test]
fn advice_as_json_holds_the_records_figures() {
    let record = result("labels.json");
    let advice = slicewise(
        Path::new("."),
        &["recommend", record.to_str().unwrap(), "--json"],
    );
    let advice: serde_json::Value = serde_json::from_slice(&advice.stdout).unwrap();
    let record: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(record).unwrap()).unwrap();
    let best = &advice["uses"][0]["choices"][0];
    let index = best["arm"]["arm"].as_u64().unwrap() as usize;
    let arm = &record["arms"][index];
    assert_eq!(best["arm"]["model"], arm["model"]);
    assert_eq!(best["arm"]["speed"], arm["throughput"]);
    let fastest = record["arms"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|a| a["throughput"].as_f64());
    assert_eq!(
        best["arm"]["speed"].as_f64(),
        fastest.max_by(f64::total_cmp)
    );
    assert!(best["accuracy"].is_null());
}

#[test]
fn plots_are_written_as_svg_and_png() {
    let dir = tempfile::tempdir().unwrap();
    let (labels, volumes) = (result("labels.json"), result("volumes.json"));
    let files = [labels.to_str().unwrap(), volumes.to_str().unwrap()];
    let report = slicewise(
        dir.path(),
        &[
            "report", files[0], files[1], "-o", "r.html", "--plots", "plots",
        ],
    );
    assert!(report.status.success(), "{}", err(&report));
    for stem in [
        "quick-latency",
        "quick-speed-up",
        "quick-scatter-native-f32",
        "2d-against-3d",
    ] {
        let svg = std::fs::read_to_string(dir.path().join(format!("plots/{stem}.svg"))).unwrap();
        assert!(svg.starts_with("<svg xmlns="), "{stem}");
        let png = std::fs::read(dir.path().join(format!("plots/{stem}.png"))).unwrap();
        assert!(png.starts_with(b"\x89PNG") && png.len() > 10_000, "{stem}");
    }
}

#[test]
fn what_is_no_record_is_told_in_one_line() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("x.json"), "{\"kind\": \"cake\"}").unwrap();
    for (file, want) in [
        (
            "x.json",
            "x.json is neither a benchmark's record nor a profile: its kind is 'cake'",
        ),
        ("y.json", "cannot read y.json"),
    ] {
        let report = slicewise(dir.path(), &["report", file]);
        assert_eq!(report.status.code(), Some(1));
        assert!(
            err(&report).contains(want) && err(&report).lines().count() == 1,
            "{}",
            err(&report)
        );
        assert!(!dir.path().join("report.html").exists());
    }
}
