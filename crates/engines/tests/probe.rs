//! A library that hangs, crashes or lies costs a probe and nothing else. The test starts itself as
//! the child that it watches.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use slicewise_engines::{ProbeError, ProbeReport, probe_in_child, probe_in_this_process};

const CHILD: &str = "--be-the-child";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.as_slice() {
        [child, behaviour, name, path] if child == CHILD => be_the_child(behaviour, name, path),
        // The test runner asks for a list of tests; this file is one test without a name.
        [list, ..] if list == "--list" => ExitCode::SUCCESS,
        _ => {
            let failures = watch();
            for failure in &failures {
                eprintln!("{failure}");
            }
            println!("probe: {} failures", failures.len());
            ExitCode::from(u8::from(!failures.is_empty()))
        }
    }
}

fn be_the_child(behaviour: &str, name: &str, path: &str) -> ExitCode {
    match behaviour {
        "hang" => loop {
            std::thread::sleep(Duration::from_secs(1));
        },
        "abort" => std::process::abort(),
        "lie" => {
            println!("all is well");
            ExitCode::SUCCESS
        }
        "report" => {
            let report = ProbeReport {
                engine: name.to_owned(),
                version: path.to_owned(),
                precisions: Vec::new(),
            };
            println!("a library may print what it likes");
            println!("{}", serde_json::to_string(&report).expect("plain fields"));
            ExitCode::SUCCESS
        }
        _ => match probe_in_this_process(name, Path::new(path)) {
            Ok(report) => {
                println!("{}", serde_json::to_string(&report).expect("plain fields"));
                ExitCode::SUCCESS
            }
            Err(error) => {
                eprintln!("{error}");
                ExitCode::FAILURE
            }
        },
    }
}

fn probe(behaviour: &str, name: &str, path: &Path) -> Result<ProbeReport, ProbeError> {
    let program = std::env::current_exe().expect("the test runs from a file");
    let arguments = [CHILD, behaviour].map(OsString::from);
    let limit = if behaviour == "hang" { 1 } else { 20 };
    probe_in_child(&program, &arguments, name, path, Duration::from_secs(limit))
}

/// Every way for a child to end, and what is made of it.
fn watch() -> Vec<String> {
    let mut failures = Vec::new();
    let mut check = |what: &str, got: Result<ProbeReport, ProbeError>, want: &str| {
        let got = match got {
            Ok(report) => format!("{} {}", report.engine, report.version),
            Err(error) => error.to_string(),
        };
        if !got.contains(want) || got.contains('\n') {
            failures.push(format!("{what}: got '{got}', want '{want}'"));
        }
    };
    let here = Path::new("here");
    let start = Instant::now();
    check(
        "hang",
        probe("hang", "x", here),
        "did not answer within 1 s",
    );
    let took = start.elapsed();
    check("abort", probe("abort", "x", here), "aborted (signal 6)");
    check(
        "lie",
        probe("lie", "x", here),
        "'all is well' instead of a report",
    );
    check("report", probe("report", "x", here), "x here");
    let nowhere = probe_in_child(Path::new("/no/such/program"), &[], "x", here, Duration::MAX);
    check("nowhere", nowhere, "cannot start /no/such/program");
    check(
        "unknown",
        probe("really", "tensorrt", here),
        "'tensorrt' is not an engine",
    );

    let file = std::env::current_exe().expect("the test runs from a file");
    for engine in ["onnxruntime", "openvino"] {
        check(
            "not a library",
            probe("really", engine, &file),
            "does not work",
        );
        check("no file", probe("really", engine, here), "does not work");
    }
    for found in slicewise_engines::installed() {
        if let slicewise_engines::Availability::Found(found) = found
            && let Some(path) = &found.path
        {
            let want = format!("{} {}", found.engine, found.version);
            check(found.engine, probe("really", found.engine, path), &want);
        }
    }
    if took > Duration::from_secs(10) {
        failures.push(format!("stopping a child took {took:?}"));
    }
    failures
}
