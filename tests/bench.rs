//! Benchmarks from the command line: verdicts, broken runs that are gone on with, records beside each
//! other.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use slicewise_bench::record::{Record, Status};
use tempfile::TempDir;

const SMALL: &str = "bench --models lcnet_100+fpn,mobilenetv3_small_100+fpn --size 32 --classes 3 --threads 1 \
    --engines native --no-trials";

fn slicewise(folder: &Path, line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_slicewise"));
    command
        .current_dir(folder)
        .env_clear()
        .env("SLICEWISE_CACHE", folder.join("cache"))
        .args(line.split_whitespace());
    command
}

fn run(folder: &Path, line: &str) -> (Option<i32>, String, String) {
    let output: Output = slicewise(folder, line)
        .output()
        .expect("the program starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.code(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

/// A folder with the record of a benchmark, and its path.
fn measured(line: &str) -> (TempDir, PathBuf) {
    let folder = TempDir::new().expect("a folder");
    let (code, _, err) = run(folder.path(), line);
    assert_eq!(code, Some(0), "{err}");
    let path = folder.path().join("slicewise-bench/quick.json");
    (folder, path)
}

/// The record with times of `ms` for each arm, up to 2 % longer by turns: a loaded machine has no part in it.
fn timed(record: &Record, ms: impl Fn(usize) -> f64) -> Record {
    let mut timed = record.clone();
    for (i, arm) in timed.arms.iter_mut().enumerate() {
        for (turn, visit) in arm.visits.iter_mut().chain(&mut arm.control).enumerate() {
            for (run, to) in visit.ms.iter_mut().enumerate() {
                *to = ms(i) * (1.0 + 0.01 * ((turn + run) % 3) as f64);
            }
        }
        arm.summarise();
    }
    timed
}

#[test]
fn a_record_holds_what_its_verdicts_came_from() {
    let (_folder, path) = measured(&format!("{SMALL} --rounds 6"));
    let record = Record::load(&path).expect("a record");
    let [reference, other] = &record.arms[..] else {
        panic!("two arms")
    };
    assert!(reference.reference && !other.reference);
    assert_eq!((reference.control.len(), other.control.len()), (6, 0));
    assert_eq!(other.versus_reference.expect("a verdict").pairs, 6);
    assert_eq!(record.noise_floor.expect("a floor").pairs, 6);
    assert!(record.arms.iter().all(|a| a.done && a.warm_up.is_some()));
    assert!(record.program_sha256.is_some());
    for arm in &record.arms {
        let check = arm.check.as_ref().expect("small networks are checked");
        assert!(
            check.passed() && check.against == "plain arithmetic",
            "{check}"
        );
    }
    if cfg!(target_os = "linux") {
        assert!(record.usage.cpu_ms > Some(0.0), "{:?}", record.usage);
    }
}

#[test]
fn a_slowdown_ends_in_an_exit_code_of_its_own() {
    let (folder, path) = measured(&format!("{SMALL} --rounds 15"));
    let record = Record::load(&path).expect("a record");
    let ms = |arm: usize| 2.0 + arm as f64;
    let before = timed(&record, ms);
    before.save(&path).expect("writable");
    let compare = |name: &str, record: &Record| {
        record.save(&folder.path().join(name)).expect("writable");
        run(
            folder.path(),
            &format!("compare slicewise-bench/quick.json {name}"),
        )
    };
    let (code, out, _) = compare("same.json", &before);
    assert_eq!(code, Some(0), "{out}");
    assert!(!out.contains("SLOWER"), "{out}");
    let (code, out, _) = compare(
        "slow.json",
        &timed(&record, |arm| ms(arm) * (1.0 + arm as f64)),
    );
    assert_eq!(code, Some(3), "{out}");
    assert!(out.contains("+100.0%") && out.contains("SLOWER"), "{out}");

    let mut wrong = before.clone();
    wrong.arms[1].status = Status::Wrong;
    let (code, out, _) = compare("wrong.json", &wrong);
    assert_eq!(code, Some(3), "{out}");
    assert!(out.contains("no longer works"), "{out}");

    let line = "compare slicewise-bench/quick.json slow.json --json";
    let (code, out, _) = run(folder.path(), line);
    assert_eq!(code, Some(3));
    let json: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(json["changes"][1]["comparison"]["verdict"], "slower");
}

#[test]
fn records_that_cannot_be_compared_or_read_are_one_line() {
    let (folder, path) = measured(&format!("{SMALL} --rounds 1"));
    let text = fs::read_to_string(&path).expect("a record");
    fs::write(folder.path().join("torn.json"), &text[..text.len() / 2]).expect("writable");
    let mut other = Record::load(&path).expect("a record");
    other.arms.iter_mut().for_each(|a| a.model += "x");
    other
        .save(&folder.path().join("other.json"))
        .expect("writable");
    let cases = [
        ("torn.json", 1, "torn.json is not a benchmark record: EOF"),
        ("none.json", 1, "none.json"),
        ("other.json", 1, "no measured arm in common"),
        ("slicewise-bench/quick.json torn.json", 2, "in pairs"),
        ("--between native", 2, "write two engines"),
        ("--between native,openvino", 2, "no arm of 'openvino'"),
        (
            "other.json --between native,openvino",
            2,
            "takes one record",
        ),
    ];
    for (what, want, said) in cases {
        let (code, _, err) = run(
            folder.path(),
            &format!("compare slicewise-bench/quick.json {what}"),
        );
        assert_eq!(code, Some(want), "{what}: {err}");
        assert!(
            err.contains(said) && err.trim().lines().count() == 1,
            "{err}"
        );
    }
}

/// Starts a long benchmark and kills it as soon as `enough` of its record is there.
fn killed(folder: &Path, line: &str, enough: impl Fn(&Record) -> bool) -> Record {
    let path = folder.join("slicewise-bench/quick.json");
    let mut child = slicewise(folder, line)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts");
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(120) {
        // Whenever one looks, there is a whole record or none.
        if path.exists() && enough(&Record::load(&path).expect("a whole record")) {
            break;
        }
        std::thread::sleep(Duration::from_millis(7));
    }
    child.kill().expect("it runs");
    child.wait().expect("it ends");
    Record::load(&path).expect("a whole record after the end")
}

#[test]
fn a_killed_benchmark_leaves_a_record_that_can_be_gone_on_with() {
    let folder = TempDir::new().expect("a folder");
    // So long that it is killed before its end wherever it runs.
    let line = format!("{SMALL} --rounds 100000 --seconds 300");
    // Killed at different moments: before, during and between the first visits.
    for visits in [0, 1, 2] {
        let enough = |r: &Record| r.arms.iter().map(|a| a.visits.len()).sum::<usize>() >= visits;
        let record = killed(folder.path(), &line, enough);
        assert!(!record.complete && record.finished.is_none());
    }
    let resume = "bench --resume slicewise-bench/quick.json --seconds 2";
    let (code, out, err) = run(folder.path(), resume);
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("lcnet_100+fpn"), "{out}");
    let path = folder.path().join("slicewise-bench/quick.json");
    let record = Record::load(&path).expect("a record");
    assert!(record.complete && record.arms.iter().all(|a| a.done));
    assert_eq!(record.options.rounds, 100_000, "what was asked for stays");

    // Killed after the last arm and before the end.
    let mut late = record.clone();
    (late.complete, late.finished) = (false, None);
    late.save(&path).expect("writable");
    let (code, _, err) = run(folder.path(), resume);
    assert_eq!(code, Some(0), "{err}");
    assert!(Record::load(&path).expect("a record").complete);

    let (code, _, err) = run(folder.path(), resume);
    assert_eq!(code, Some(1));
    assert!(err.contains("nothing is left to measure"), "{err}");
    let (code, _, err) = run(folder.path(), &format!("{resume} --rounds 3"));
    assert_eq!(code, Some(2));
    assert!(
        err.contains("--resume") && err.contains("--rounds"),
        "{err}"
    );
}

#[test]
fn streams_work_at_the_same_time_and_are_counted_together() {
    let (_folder, path) = measured(&format!(
        "{} --rounds 2 --scenario throughput",
        SMALL.replace("--threads 1", "")
    ));
    let record = Record::load(&path).expect("a record");
    for arm in &record.arms {
        let s = arm.statistics.expect("figures");
        let burst = arm.burst.unwrap_or(1);
        let cpus = std::thread::available_parallelism().expect("CPUs").get();
        assert_eq!((arm.threads, arm.streams), (1, cpus));
        assert_eq!(burst % cpus, 0);
        let per_second = 1000.0 * burst as f64 / s.median_ms;
        assert!((arm.throughput.expect("figures") - per_second).abs() < 1e-6);
        assert_eq!(arm.latency, None, "nobody waits for a burst");
    }
}
