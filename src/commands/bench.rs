//! `slicewise bench [SUITE]`

use std::cell::Cell;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use slicewise_bench::campaign::{self, Event, Limits};
use slicewise_bench::conditions;
use slicewise_bench::lab::{EngineLab, Roster};
use slicewise_bench::machine::Machine;
use slicewise_bench::plan::{self, Request};
use slicewise_bench::record::{KIND, Options, Record, SCHEMA};
use slicewise_bench::rounds::{Protocol, SystemClock};
use slicewise_bench::{Suite, csv, now_rfc3339, program, ranking, store};
use slicewise_engines::Precision;
use slicewise_graph::Task;

use crate::failure::{INTERRUPTED, Usage};
use crate::options::{self, Size};
use crate::output;
use crate::progress::Progress;

/// Measure which network is fastest on this machine, on every engine that is installed.
///
/// Arms (model x engine x precision x threads) are measured in interleaved rounds; each is first
/// tried in a process of its own, where its peak memory is measured. Ends with a ranked table, a JSON
/// record and CSV files with the columns of the original benchmark. A record of the same suite in
/// the same folder is replaced.
///
/// Suites: quick (a handful of networks), encoders (with their classifier heads), fpn, unet,
/// combined (both decoders), 2d-vs-3d. The last compares images and volumes by "equivalent images",
/// voxels per second / 512², as the original does; that leaves out the overlap of tiles, which makes
/// real volumes cost a 3D network up to eight times as much.
///
/// Limits: threads of other engines may spin for some milliseconds after a run; a pause and an
/// uncounted run before each visit keep that out of the figures as far as possible.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  slicewise bench
  slicewise bench fpn --models mobilenetv4_conv_small,resnet18 --engines native,onnxruntime
  slicewise bench 2d-vs-3d --size 512x512,64x128x128 --seconds 120 --json > record.json

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
    /// Precisions: f32, bf16, int8 [default: f32]
    #[arg(long, value_delimiter = ',', value_name = "A,B")]
    precision: Vec<Precision>,
    /// Threads of a run [default: all that this process may use]
    #[arg(long, value_delimiter = ',', value_name = "N,M", value_parser = options::threads)]
    threads: Vec<usize>,
    /// labels or logits [default: labels for quick and 2d-vs-3d, else logits, as the original]
    #[arg(long)]
    task: Option<Task>,
    /// Input size, N or HxW for images, DxHxW for volumes [default: 512x512,128x128x64]
    #[arg(long, value_delimiter = ',', value_name = "SIZE")]
    size: Vec<Size>,
    /// Classes of the heads [default: 117 for quick and 2d-vs-3d, 1 for fpn, unet and combined, as
    /// the original]
    #[arg(long, value_name = "N")]
    classes: Option<usize>,
    /// The time to measure in; only runs that take longer than their share exceed it
    /// [default: 90 for quick, 300 for 2d-vs-3d, else 900]
    #[arg(long, value_name = "S")]
    seconds: Option<f64>,
    /// Exactly so many rounds, unless the time is over before [default: 15, and up to 60 for arms whose
    /// verdict is open]
    #[arg(long, value_name = "N")]
    rounds: Option<usize>,
    /// Do not try arms in processes of their own first: quicker, but without memory, and an
    /// engine that crashes ends the benchmark
    #[arg(long)]
    no_trials: bool,
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

/// Set by Ctrl-C.
static INTERRUPT: AtomicBool = AtomicBool::new(false);

/// How often the growing record is written.
const SAVE_EVERY: Duration = Duration::from_secs(1);

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let seconds = args.seconds.unwrap_or_else(|| args.suite.seconds());
    if !(seconds > 0.0 && seconds <= 1e6) {
        bail!(Usage(format!(
            "--seconds {seconds}: write more than 0 and at most 1000000"
        )));
    }
    let request = request(args);
    let roster = match args.engines.is_empty() {
        true => Roster::of_all(),
        false => Roster::of(&args.engines)?,
    };
    let machine = Machine::read();
    let time = Duration::from_secs_f64(seconds);
    let limits = Limits {
        time,
        memory_bytes: machine.usable_memory_bytes().unwrap_or(4 << 30) / 2,
        patience: (time * 2).max(Duration::from_secs(300)),
        trials: !args.no_trials,
    };
    let protocol = match args.rounds {
        Some(rounds) => Protocol {
            rounds,
            most_rounds: rounds,
            ..Protocol::default()
        },
        None => Protocol::default(),
    };
    let mut record = Record {
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
        options: recorded_options(seconds, &protocol, &limits, &request),
        machine,
        arms: plan::arms(&request, &roster.offers)?,
        engines: roster.facts,
        absent_engines: roster.absent,
        noise_floor: None,
        usage: conditions::Usage::default(),
    };
    let path = args.out.join(format!("{}.json", args.suite));
    // A folder that cannot be written is found out before the measurement, not after.
    record.save(&path)?;
    listen_for_interrupts()?;
    measure(&mut record, &protocol, &limits, &path)?;
    let mut written = vec![path.clone()];
    record.save(&path)?;
    for (name, text) in csv::files(&record) {
        let path = args.out.join(name);
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
        precisions: args.precision.clone(),
        threads: args.threads.clone(),
        task: args.task,
        image,
        volume,
        classes: args.classes,
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
    path: &std::path::Path,
) -> anyhow::Result<()> {
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    let stop = || INTERRUPT.load(Ordering::Relaxed);
    let mut lab = EngineLab::new((program, vec![OsString::from("trial")]), &stop);
    let progress = Progress::new(limits.time);
    for engine in &record.absent_engines {
        progress.say(&format!("{}: {}", engine.name, engine.reason));
    }
    let saved = Cell::new(Instant::now());
    let mut observe = |event: Event, record: &Record| {
        progress.show(event, record);
        if saved.get().elapsed() > SAVE_EVERY {
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
