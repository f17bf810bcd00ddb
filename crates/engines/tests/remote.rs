//! Sessions in processes of their own: they compute the same, their deaths are errors, and they go when
//! the parent goes. The test starts itself as parents and as children.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use slicewise_engines::{
    Availability, CompileOptions, Engine, Session, installed, load, load_in_child, serve,
    serve_with,
};
use slicewise_graph::{Graph, Task, Tensor};
use slicewise_zoo as zoo;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let failures = match arguments.as_slice() {
        ["--child", "serve", name] => {
            serve(name).expect("somebody listens");
            Vec::new()
        }
        ["--child", "die", _] => die(),
        ["--parent", behaviour, engine] => be_a_parent(behaviour, engine),
        // The test runner asks for a list of tests; this file is one test without a name.
        ["--list", ..] => Vec::new(),
        _ => check_all(),
    };
    for failure in &failures {
        eprintln!("{failure}");
    }
    ExitCode::from(u8::from(!failures.is_empty()))
}

fn check_all() -> Vec<String> {
    let engines: Vec<&str> = installed()
        .into_iter()
        .filter_map(|a| match a {
            Availability::Found(found) => Some(found.engine),
            other => {
                println!("{}: skipped", other.engine());
                None
            }
        })
        .collect();
    let mut failures = Vec::new();
    // In processes of their own, so that each can say who serves.
    for name in engines.iter().filter(|n| **n != "torch-compile") {
        let behaviour = if *name == "torch" { "cost" } else { "same" };
        let output = parent(behaviour, name).output().expect("it starts");
        print!("{}", String::from_utf8_lossy(&output.stdout));
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            failures.push(format!("{name}: {said}"));
        }
    }
    let output = parent("error", "native").output().expect("it starts");
    let said = String::from_utf8_lossy(&output.stdout);
    let want = "native: its process ended, aborted (signal 6): what went wrong";
    if said.trim() != want && cfg!(unix) {
        failures.push(format!("a child that dies: got '{said}', want '{want}'"));
    }
    if cfg!(target_os = "linux") {
        for name in engines.iter().filter(|n| **n != "torch-compile") {
            failures.extend(orphan(name).err().map(|e| format!("{name}: {e}")));
            failures.extend(killed(name).err().map(|e| format!("{name}: {e}")));
        }
    }
    println!(
        "remote: {} engines, {} failures",
        engines.len(),
        failures.len()
    );
    failures
}

fn parent(behaviour: &str, engine: &str) -> Command {
    let program = std::env::current_exe().expect("the test runs from a file");
    let mut command = Command::new(program);
    command.args(["--parent", behaviour, engine]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Answers as a child should, and dies instead of running.
fn die() -> Vec<String> {
    std::thread::spawn(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink()));
    println!("{{\"hello\": \"1\"}}");
    println!("what libraries print is no reply");
    println!("{{\"ready\": []}}");
    std::thread::sleep(Duration::from_millis(300));
    eprintln!("what went wrong");
    std::process::abort();
}

fn network(name: &str, size: &[usize]) -> (Graph, Tensor) {
    let options = zoo::Options::default().size(size).classes(5);
    let mut graph = zoo::build(name, &options).expect("a name of the zoo");
    zoo::fill(&mut graph).expect("every parameter can be filled");
    let id = graph.inputs()[0];
    let shape = graph.node(id).shape.with_batch(1);
    (graph, zoo::fill_input(&shape.sizes().expect("fixed")))
}

fn session(engine: &dyn Engine, task: Task) -> (Box<dyn Session>, Tensor) {
    let (graph, input) = network("mobilenetv4_conv_small+fpn", &[64, 96]);
    let options = CompileOptions {
        task,
        threads: 2,
        ..CompileOptions::default()
    };
    let session = engine.compile(&graph, &options).expect("it compiles");
    (session, input)
}

fn be_a_parent(behaviour: &str, name: &str) -> Vec<String> {
    let program = std::env::current_exe().expect("the test runs from a file");
    let child = if behaviour == "error" { "die" } else { "serve" };
    serve_with(program, vec!["--child".into(), child.into()]);
    let remote = load_in_child(name).expect("it is installed");
    match behaviour {
        "same" => {
            let failures = same(name, remote.as_ref());
            cost(name, remote.as_ref());
            return failures;
        }
        "cost" => cost(name, remote.as_ref()),
        "error" => {
            let (mut session, input) = session(remote.as_ref(), Task::Logits);
            std::thread::sleep(Duration::from_millis(600));
            let error = session.run(&[input]).expect_err("it is dead");
            println!("{error}");
        }
        // Says who its child is, and runs until something happens.
        _ => {
            let (mut session, input) = session(remote.as_ref(), Task::Labels);
            session.run(std::slice::from_ref(&input)).expect("it runs");
            println!("{}", child_of(std::process::id()).expect("it has one"));
            loop {
                if let Err(error) = session.run(std::slice::from_ref(&input)) {
                    println!("{error}");
                    break;
                }
            }
        }
    }
    Vec::new()
}

/// The one child of a process.
fn child_of(process: u32) -> Option<u32> {
    let tasks = std::fs::read_dir(format!("/proc/{process}/task")).ok()?;
    let children = tasks
        .flatten()
        .filter_map(|t| std::fs::read_to_string(t.path().join("children")).ok());
    children
        .collect::<String>()
        .split_whitespace()
        .next()?
        .parse()
        .ok()
}

/// In a child an engine computes what it computes here, bit by bit, and says what it took.
fn same(name: &str, remote: &dyn Engine) -> Vec<String> {
    let here = load(name).expect("it is installed");
    let mut failures = Vec::new();
    for task in [Task::Logits, Task::Labels] {
        let (mut a, input) = session(here.as_ref(), task);
        let (mut b, _) = session(remote, task);
        let other = Tensor::from_fn(input.shape(), |i| (i as f32 * 0.37).sin());
        for input in [&input, &other, &other, &input] {
            // The results of the run after one whose results stayed there are all there again.
            b.run_discarding(std::slice::from_ref(&other))
                .expect("it runs");
            let want = a.run(std::slice::from_ref(input)).expect("it runs")[0].clone();
            let begin = Instant::now();
            let got = b.run(std::slice::from_ref(input)).expect("it runs")[0].clone();
            let round = begin.elapsed();
            if got != want {
                failures.push(format!("{task} differ"));
            }
            match b.in_child() {
                Some(run) if run.time > Duration::ZERO && run.time <= round => {}
                other => failures.push(format!("took {other:?} of {round:?}")),
            }
        }
        let own = ("process".to_owned(), "own".to_owned());
        if !b.settings().contains(&own) || a.in_child().is_some() {
            failures.push(format!("settings: {:?}", b.settings()));
        }
    }
    failures
}

/// Prints what the way to the child and back costs, which no figure contains.
fn cost(name: &str, remote: &dyn Engine) {
    let cases = [
        (Task::Labels, false),
        (Task::Logits, false),
        (Task::Logits, true),
    ];
    for (task, discard) in cases {
        let (mut session, input) = session(remote, task);
        let mut ms: Vec<f64> = (0..21)
            .map(|_| {
                let begin = Instant::now();
                match discard {
                    true => session.run_discarding(std::slice::from_ref(&input)),
                    false => session.run(std::slice::from_ref(&input)).map(|_| ()),
                }
                .expect("it runs");
                let round = begin.elapsed();
                let inside = session.in_child().expect("it ran").time;
                (round - inside).as_secs_f64() * 1e3
            })
            .collect();
        ms.sort_by(f64::total_cmp);
        let what = if discard { "nothing" } else { "results" };
        println!(
            "{name} {task}: the way there and back with {what} takes {:.2} ms",
            ms[10]
        );
    }
}

/// Whether a process is there and is not just waiting to be counted.
fn lives(process: u32) -> bool {
    let status = std::fs::read_to_string(Path::new(&format!("/proc/{process}/stat")));
    status.is_ok_and(|text| !text.contains(") Z "))
}

fn kill(process: u32) {
    let status = Command::new("kill")
        .args(["-9", &process.to_string()])
        .status();
    assert!(status.expect("kill is there").success());
}

/// When the parent is killed, the child ends.
fn orphan(name: &str) -> Result<(), String> {
    let mut parent = parent("run", name).spawn().expect("it starts");
    let mut line = String::new();
    let out = parent.stdout.take().expect("it is piped");
    BufReader::new(out).read_line(&mut line).expect("a line");
    let child: u32 = line.trim().parse().expect("it says who its child is");
    assert!(lives(child));
    kill(parent.id());
    parent.wait().expect("it ends");
    let begin = Instant::now();
    while lives(child) {
        if begin.elapsed() > Duration::from_secs(20) {
            return Err("its process outlived the parent".into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    println!("{name}: its process was gone in {:?}", begin.elapsed());
    Ok(())
}

/// When the child is killed, the run is an error that says so.
fn killed(name: &str) -> Result<(), String> {
    let mut parent = parent("run", name).spawn().expect("it starts");
    let mut out = BufReader::new(parent.stdout.take().expect("it is piped")).lines();
    let mut line = || out.next().and_then(Result::ok).unwrap_or_default();
    let child: u32 = line().parse().expect("it says who its child is");
    kill(child);
    let said = line();
    parent.wait().expect("it ends");
    match said.starts_with(&format!("{name}: its process ended, killed (signal 9)")) {
        true => Ok(()),
        false => Err(format!("said '{said}'")),
    }
}
