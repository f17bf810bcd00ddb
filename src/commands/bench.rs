//! `slicewise bench [SUITE]`

use std::cell::Cell;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use slicewise_bench::campaign::{self, Event, Limits};
use slicewise_bench::conditions;
use slicewise_bench::lab::{EngineLab, Roster};
use slicewise_bench::machine::Machine;
use slicewise_bench::model::Data;
use slicewise_bench::plan::{self, Request};
use slicewise_bench::record::{KIND, Options, Record, SCHEMA, Scenario};
use slicewise_bench::rounds::{Protocol, SystemClock};
use slicewise_bench::scan::Scan;
use slicewise_bench::{Suite, csv, now_rfc3339, program, ranking, resume, store};
use slicewise_engines::Precision;
use slicewise_graph::Task;

use crate::failure::{INTERRUPTED, Usage};
use crate::options::{self, Size};
use crate::output;
use crate::progress::Progress;

/// Measure which network is fastest on this machine, on every engine that is installed.
///
/// Arms (model x engine x precision x threads) are measured in interleaved rounds; each is first
/// tried in a process of its own, where its peak memory is measured, and its output is checked before it is
/// timed. The reference arm is visited twice a round, which gives the noise floor; every other arm gets
/// a verdict against it, and more rounds while that is open. Ends with a ranked table, a JSON record and
/// CSV files with the columns of the original benchmark. A record of the same suite in the same folder
/// is replaced.
///
/// Suites: quick (a handful of networks), encoders (with their classifier heads), fpn, unet, combined (both
/// decoders), quantization (f32, bf16, int8), 2d-vs-3d (by the original's "equivalent images", and by the network
/// time of a whole scan: slices for 2D, overlapping tiles after resampling for 3D).
///
/// Limits: threads of other engines may spin for some milliseconds after a run; a pause and an
/// uncounted run before each visit keep that out of the figures as far as possible.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  slicewise bench
  slicewise bench encoders --quick --engines native,onnxruntime,openvino
  slicewise bench fpn --models mobilenetv4_conv_small,resnet18 --engines native,onnxruntime
  slicewise bench fpn --scenario throughput
  slicewise bench 2d-vs-3d --size 512x512,64x128x128 --seconds 120 --json > record.json
  slicewise bench --resume slicewise-bench/fpn.json

Ctrl-C ends the measurement, keeps what there is (\"complete\": false) and exits with 130.")]
pub(crate) struct Args {
    /// What to measure
    #[arg(default_value = "quick", value_parser = suite_parser())]
    suite: Suite,
    /// Models instead of the suite's; in the suites of decoders an encoder's name is enough
    #[arg(long, value_delimiter = ',', value_name = "A,B")]
    models: Vec<String>,
    /// Engines instead of all that are installed; one that is not there is an error
    #[arg(long, value_delimiter = ',', value_name = "A,B")]
    engines: Vec<String>,
    /// Precisions: f32, bf16, int8 [default: f32; all for quantization]
    #[arg(long, value_delimiter = ',', value_name = "A,B")]
    precision: Vec<Precision>,
    /// Threads on one input [default: all that this process may use; 1 for throughput]
    #[arg(long, value_delimiter = ',', value_name = "N,M", value_parser = options::threads)]
    threads: Vec<usize>,
    /// latency: one input after the other. throughput: as many streams as fit, one thread each
    #[arg(long, default_value = "latency")]
    scenario: Scenario,
    /// labels or logits [default: labels for images in quick and 2d-vs-3d, else logits, as the original]
    #[arg(long)]
    task: Option<Task>,
    /// Input size, N or HxW for images, DxHxW for volumes [default: 512x512,128x128x64]
    #[arg(long, value_delimiter = ',', value_name = "SIZE")]
    size: Vec<Size>,
    /// Classes of the heads [default: 117 for quick, 2d-vs-3d and quantization, 1 for fpn, unet and
    /// combined, as the original]
    #[arg(long, value_name = "N")]
    classes: Option<usize>,
    /// A folder with trained weights, MODEL.safetensors; without them, a deterministic fill
    #[arg(long, value_name = "DIR")]
    weights: Option<PathBuf>,
    /// A folder of images (.npy, .png) to find the ranges of int8 with; without it, noise
    #[arg(long, value_name = "DIR")]
    calibrate: Option<PathBuf>,
    /// A folder of images to compare every arm's answers on with native f32: accuracy beside speed
    #[arg(long, value_name = "DIR", requires = "weights")]
    validate: Option<PathBuf>,
    /// The scan that 2d-vs-3d is about: voxels and millimetres [default: 512x512x300@0.8x0.8x1.5]
    #[arg(long, value_name = "XxYxZ@DXxDYxDZ")]
    scan: Option<Scan>,
    /// The arm that others are compared with: MODEL, MODEL@ENGINE or MODEL@ENGINE:PRECISION [default:
    /// the first]
    #[arg(long, value_name = "ARM")]
    reference: Option<String>,
    /// Ten models at most (the original's best), nine rounds, seven minutes
    #[arg(long)]
    quick: bool,
    /// The time to measure in; only runs that take longer than their share exceed it
    /// [default: 90 for quick, 300 for 2d-vs-3d, else 900]
    #[arg(long, value_name = "S")]
    seconds: Option<f64>,
    /// Exactly so many rounds, unless the time is over before [default: 15, and up to 60 for arms whose
    /// verdict is open]
    #[arg(long, value_name = "N", value_parser = rounds_parser)]
    rounds: Option<usize>,
    /// Do not try arms first, each in a process that does nothing else: quicker, but without memory
    #[arg(long)]
    no_trials: bool,
    /// Run other engines within this process rather than each arm in one of its own: takes less memory; an
    /// engine that crashes ends the benchmark, and threads of one may disturb the next
    #[arg(long)]
    in_process: bool,
    /// Go on with a record that was broken off; what was asked for is in it, only --seconds may be given anew
    #[arg(long, value_name = "RECORD", conflicts_with_all = [
        "suite", "models", "engines", "precision", "threads", "scenario", "task", "size", "classes", "weights",
        "calibrate", "validate", "scan", "reference", "quick", "rounds", "no_trials", "in_process", "out"
    ])]
    resume: Option<PathBuf>,
    /// Print the record as JSON instead of the table
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// Print the CSV instead of the table
    #[arg(long)]
    csv: bool,
    /// Where the record and the CSV files go
    #[arg(long, value_name = "DIR", default_value = "slicewise-bench")]
    out: PathBuf,
}

fn suite_parser() -> impl TypedValueParser<Value = Suite> {
    PossibleValuesParser::new(Suite::ALL.map(Suite::name)).try_map(|name| name.parse::<Suite>())
}

fn rounds_parser(text: &str) -> Result<usize, String> {
    let rounds = text.parse().ok().filter(|n| (1..=1_000_000).contains(n));
    rounds.ok_or_else(|| "write a number from 1 to 1000000".to_owned())
}

/// Set by Ctrl-C.
static INTERRUPT: AtomicBool = AtomicBool::new(false);

/// How often the growing record is written.
const SAVE_EVERY: Duration = Duration::from_secs(1);

/// No file takes that long to write.
const LEFTOVER_AGE: Duration = Duration::from_secs(60);

/// A record to fill, where it goes, and how.
struct Work {
    record: Record,
    path: PathBuf,
    protocol: Protocol,
    limits: Limits,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let work = match &args.resume {
        Some(path) => resumed(args, path)?,
        None => fresh(args)?,
    };
    let Work {
        mut record,
        path,
        protocol,
        limits,
    } = work;
    // A folder that cannot be written is found out before the measurement, not after.
    record.save(&path)?;
    let folder = path.parent().unwrap_or(Path::new("."));
    store::sweep(folder, LEFTOVER_AGE);
    listen_for_interrupts()?;
    measure(&mut record, &protocol, &limits, &path)?;
    let mut written = vec![path.clone()];
    record.save(&path)?;
    for (name, text) in csv::files(&record) {
        let path = folder.join(name);
        store::write_atomically(&path, text.as_bytes())?;
        written.push(path);
    }
    show(args, &record, &written)?;
    if !record.complete {
        return Ok(ExitCode::from(INTERRUPTED));
    }
    if record.ranked().is_empty() {
        bail!("nothing could be measured; the reasons are listed above");
    }
    Ok(ExitCode::SUCCESS)
}

/// The time to measure in: `given`, or else `usual` seconds.
fn seconds(given: Option<f64>, usual: f64) -> anyhow::Result<f64> {
    let seconds = given.unwrap_or(usual);
    if !(seconds > 0.0 && seconds <= 1e6) {
        bail!(Usage(format!(
            "--seconds {seconds}: write more than 0 and at most 1000000"
        )));
    }
    Ok(seconds)
}

fn limits(seconds: f64, machine: &Machine, trials: bool) -> Limits {
    let time = Duration::from_secs_f64(seconds);
    Limits {
        time,
        memory_bytes: machine.usable_memory_bytes().unwrap_or(4 << 30) / 2,
        patience: (time * 2).max(Duration::from_secs(300)),
        trials,
    }
}

/// In a hurry: fewer rounds, none of them for what is open, and a fixed time.
const QUICK_SECONDS: f64 = 420.0;
const QUICK_ROUNDS: usize = 9;

fn protocol(args: &Args) -> Protocol {
    let usual = Protocol::default();
    match args.rounds.or(args.quick.then_some(QUICK_ROUNDS)) {
        Some(rounds) => Protocol {
            rounds,
            most_rounds: rounds,
            ..usual
        },
        None => usual,
    }
}

fn fresh(args: &Args) -> anyhow::Result<Work> {
    let usual = match args.quick {
        true => args.suite.seconds().min(QUICK_SECONDS),
        false => args.suite.seconds(),
    };
    let seconds = seconds(args.seconds, usual)?;
    let request = request(args);
    let roster = match args.engines.is_empty() {
        true => Roster::of_all(),
        false => Roster::of(&args.engines)?,
    };
    let machine = Machine::read();
    let limits = limits(seconds, &machine, !args.no_trials);
    let protocol = protocol(args);
    let record = Record {
        kind: KIND.into(),
        schema: SCHEMA,
        slicewise: env!("CARGO_PKG_VERSION").into(),
        program_sha256: program::sha256(),
        command: std::env::args_os()
            .map(|a| a.to_string_lossy().into_owned())
            .collect(),
        started: now_rfc3339(),
        finished: None,
        complete: false,
        suite: args.suite.name().into(),
        options: Options {
            scan: (args.suite == Suite::TwoVsThree).then(|| args.scan.unwrap_or_default()),
            own_processes: !args.in_process,
            ..recorded_options(seconds, &protocol, &limits, &request)
        },
        machine,
        arms: plan::arms(&request, &roster.offers)?,
        engines: roster.facts,
        absent_engines: roster.absent,
        noise_floor: None,
        usage: conditions::Usage::default(),
    };
    Ok(Work {
        record,
        path: args.out.join(format!("{}.json", args.suite)),
        protocol,
        limits,
    })
}

/// The rest of a record that was broken off; by default in its share of the time.
fn resumed(args: &Args, path: &Path) -> anyhow::Result<Work> {
    let mut record = Record::load(path)?;
    let names: Vec<String> = record.engines.iter().map(|e| e.name.clone()).collect();
    let roster = Roster::of(&names)?;
    let machine = Machine::read();
    resume::prepare(
        &mut record,
        program::sha256().as_deref(),
        &roster.facts,
        &machine,
    )
    .map_err(|why| anyhow!("{}: {why}", path.display()))?;
    let left = record.arms.iter().filter(|a| !a.done).count();
    // Broken off after the last arm, it has only to be finished: that takes no time, but zero is none.
    let part = left.max(1) as f64 / record.arms.len().max(1) as f64;
    let seconds = seconds(args.seconds, record.options.seconds * part)?;
    Ok(Work {
        protocol: resume::protocol(&record),
        limits: limits(seconds, &machine, record.options.trials),
        path: path.to_owned(),
        record,
    })
}

fn request(args: &Args) -> Request {
    let image = args.size.iter().rev().find_map(|s| match s {
        Size::Image(s) => Some(*s),
        Size::Volume(_) => None,
    });
    let volume = args.size.iter().rev().find_map(|s| match s {
        Size::Volume(s) => Some(*s),
        Size::Image(_) => None,
    });
    Request {
        suite: args.suite,
        models: args.models.clone(),
        quick: args.quick,
        precisions: args.precision.clone(),
        threads: args.threads.clone(),
        scenario: args.scenario,
        reference: args.reference.clone(),
        task: args.task,
        image,
        volume,
        classes: args.classes,
        data: Data {
            weights: args.weights.clone(),
            calibration: args.calibrate.clone(),
            validation: args.validate.clone(),
        },
    }
}

fn recorded_options(
    seconds: f64,
    protocol: &Protocol,
    limits: &Limits,
    request: &Request,
) -> Options {
    Options {
        seconds,
        rounds: protocol.rounds,
        most_rounds: protocol.most_rounds,
        visit_ms: protocol.visit.as_secs_f64() * 1e3,
        settle_ms: protocol.settle.as_secs_f64() * 1e3,
        trials: limits.trials,
        threads: plan::threads(request),
        batch: 1,
        scenario: Some(request.scenario),
        ..Options::default()
    }
}

/// The first Ctrl-C asks for an end after the run that is under way, the second ends at once; the
/// record on the disk is whole at any time.
fn listen_for_interrupts() -> anyhow::Result<()> {
    ctrlc::set_handler(|| {
        if INTERRUPT.swap(true, Ordering::Relaxed) {
            std::process::exit(i32::from(INTERRUPTED));
        }
        eprintln!("\nending after this run; again to end at once");
    })
    .context("cannot listen for Ctrl-C")
}

fn measure(
    record: &mut Record,
    protocol: &Protocol,
    limits: &Limits,
    path: &Path,
) -> anyhow::Result<()> {
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    let stop = || INTERRUPT.load(Ordering::Relaxed);
    let trial = (program, vec![OsString::from("trial")]);
    let mut lab = EngineLab::new(trial, record.options.own_processes, &stop);
    let progress = Progress::new(limits.time);
    for engine in &record.absent_engines {
        progress.say(&format!("{}: {}", engine.name, engine.reason));
    }
    let saved = Cell::new(Instant::now());
    let mut observe = |event: Event, record: &Record| {
        progress.show(event, record);
        let done = matches!(event, Event::Done(_));
        if done || saved.get().elapsed() > SAVE_EVERY {
            // What is kept on the way is a courtesy; the last save reports its errors.
            let _ = record.save(path);
            saved.set(Instant::now());
        }
    };
    let clock = SystemClock::start();
    campaign::run(
        record,
        &mut lab,
        protocol,
        limits,
        &clock,
        &stop,
        &mut observe,
    );
    progress.end();
    Ok(())
}

fn show(args: &Args, record: &Record, written: &[PathBuf]) -> anyhow::Result<()> {
    if args.json {
        output::print(record.to_json())?;
    } else if args.csv {
        let tables: Vec<String> = csv::files(record).into_iter().map(|f| f.1).collect();
        output::print(tables.join("\n"))?;
    } else {
        if !record.ranked().is_empty() {
            let (table, caption) = (ranking::table(record), ranking::caption(record));
            output::print(format!("{table}\n{caption}\n"))?;
            if let Some(noise) = ranking::noise(record) {
                output::print(format!("{noise}\n"))?;
            }
        }
        let remarks = ranking::remarks(record);
        if !remarks.is_empty() {
            output::print(format!("\n{}\n", remarks.join("\n")))?;
        }
        if !record.complete {
            output::print("\ninterrupted: the record is incomplete\n")?;
        }
    }
    for path in written {
        eprintln!("wrote {}", path.display());
    }
    Ok(())
}
