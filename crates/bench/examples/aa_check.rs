//! Whether the benchmark can be believed here: runs of the same program are compared while another process keeps one
//! core half busy. Nothing may be called FASTER or SLOWER but what was slowed down on purpose.
//!
//! ```sh
//! cargo run --release -p slicewise-bench --example aa_check [ARMS [ROUNDS [REPEATS]]]
//! ```
//!
//! Every run is a process of its own and follows the protocol of `slicewise bench` with short visits; the comparison is that
//! of `slicewise compare`. Then 5 % slowdowns, by a spin after each run, are looked for in two ways: in two runs, the second one
//! with every third native arm slowed; and without that process in one run, where each native arm stands beside its equal
//! and its slowed twin and visits of a round are pairs. Ends with exit code 1 if anything was called wrongly, or half of
//! what was slowed down within the run was not found. Between runs as many are found as the machine's own changes
//! let through.

use std::error::Error;
use std::ffi::OsString;
use std::path::Path;
use std::process::{Child, Command, ExitCode};
use std::time::{Duration, Instant};

use slicewise_bench::campaign::{self, Laboratory, Limits, Loaded, Refusal, Trial, TrialError};
use slicewise_bench::compare::{self, Compared};
use slicewise_bench::lab::{EngineLab, Network, Roster};
use slicewise_bench::machine::Machine;
use slicewise_bench::plan::{self, Request};
use slicewise_bench::record::{Arm, KIND, Options, Record, SCHEMA};
use slicewise_bench::rounds::{Elsewhere, Protocol, SystemClock, Workload};
use slicewise_bench::verdict::Verdict;
use slicewise_bench::{conditions, now_rfc3339, program};

/// How much longer a slowed arm takes.
const SLOWDOWN: f64 = 1.05;
/// One native arm of so many is slowed, but not the first, which is the reference.
const EVERY: usize = 3;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let number = |i: usize, usual: usize| words.get(i).map_or(Ok(usual), |w| w.parse());
    match words[..] {
        ["serve", name] => slicewise_engines::serve(name)?,
        ["disturb"] => disturb(),
        ["measure", file, arms, rounds, what] => {
            measure(Path::new(file), arms.parse()?, rounds.parse()?, what)?;
        }
        _ => return check(number(0, 40)?, number(1, 30)?, number(2, 3)?),
    }
    Ok(ExitCode::SUCCESS)
}

/// The engine of the arms that are measured once more beside themselves, and of those that are slowed.
const EQUAL: &str = "native, once more";
const SLOWED: &str = "native, slowed";

/// The arms that are slowed down.
fn chosen<'a>(arms: impl Iterator<Item = &'a Arm>) -> impl Iterator<Item = &'a Arm> {
    let native = arms.filter(|a| a.engine == "native");
    native.skip(1).step_by(EVERY)
}

/// Keeps one core half busy until it is ended.
fn disturb() {
    let half = Duration::from_millis(10);
    loop {
        let begin = Instant::now();
        while begin.elapsed() < half {
            std::hint::spin_loop();
        }
        std::thread::sleep(half);
    }
}

/// A child that goes with this value.
struct Disturbance(Child);

impl Drop for Disturbance {
    fn drop(&mut self) {
        // Errors mean that it is gone.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn check(arms: usize, rounds: usize, repeats: usize) -> Result<ExitCode, Box<dyn Error>> {
    let program = std::env::current_exe()?;
    let folder = tempfile::tempdir()?;
    let disturbance = Disturbance(Command::new(&program).arg("disturb").spawn()?);
    let measured = |name: &str, what: &str| -> Result<Record, Box<dyn Error>> {
        let file = folder.path().join(name);
        let begin = Instant::now();
        let status = Command::new(&program)
            .arg("measure")
            .arg(&file)
            .args([arms.to_string(), rounds.to_string(), what.to_owned()])
            .status()?;
        if !status.success() {
            return Err(format!("measuring ended with {status}").into());
        }
        eprintln!("measured in {:.0} s", begin.elapsed().as_secs_f64());
        Ok(Record::load(&file)?)
    };
    let mut is_right = true;
    let mut last = None;
    for repeat in 1..=repeats {
        let (a, b) = (measured("a.json", "equal")?, measured("b.json", "equal")?);
        let compared = compare::between(&a, &b);
        println!("A/A {repeat}: {}", told(&compared, &a, &b));
        is_right &= named(&compared).count() == 0 && compared.changes.len() == arms;
        last = Some(b);
    }
    let a = last.ok_or("write one repeat or more")?;
    let mut b = measured("b.json", "slowed")?;
    drop(disturbance);
    let twins = measured("twins.json", "twins")?;
    let native = |arm: &Arm| arm.engine == "native";
    let beside = |engine: &str| compare::within(&twins, &native, &|arm| arm.engine == engine);
    let (equal, slowed) = (beside(EQUAL), beside(SLOWED));
    println!("within a run, equal: {}", told(&equal, &twins, &twins));
    println!(
        "within a run, 5 % slower: {}",
        told(&slowed, &twins, &twins)
    );
    let found = named(&slowed).filter(|c| c.comparison.verdict == Verdict::Slower);
    let found = found.count();
    println!("found {found} of {}", slowed.changes.len());
    is_right &= named(&equal).count() == 0 && named(&slowed).count() == found;
    is_right &= !slowed.changes.is_empty() && 2 * found >= slowed.changes.len();
    // As if the native engine were another build, and the foreign ones those of before.
    b.program_sha256 = None;
    let compared = compare::between(&a, &b);
    println!(
        "every {EVERY}rd native arm 5 % slower: {}",
        told(&compared, &a, &b)
    );
    let slowed: Vec<String> = chosen(b.arms.iter()).map(Arm::label).collect();
    let is_slowed = |c: &&compare::Change| slowed.contains(&format!("{}, {}", c.model, c.place));
    for change in compared.changes.iter().filter(is_slowed) {
        println!("  slowed: {}", line(change));
    }
    let found = named(&compared).filter(is_slowed);
    let found = found
        .filter(|c| c.comparison.verdict == Verdict::Slower)
        .count();
    is_right &= named(&compared).count() == found;
    println!("found {found} of {}", slowed.len());
    Ok(ExitCode::from(u8::from(!is_right)))
}

/// What is called different.
fn named(compared: &Compared) -> impl Iterator<Item = &compare::Change> {
    let different =
        |c: &&compare::Change| matches!(c.comparison.verdict, Verdict::Faster | Verdict::Slower);
    compared.changes.iter().filter(different)
}

fn line(change: &compare::Change) -> String {
    let c = &change.comparison;
    let interval = c
        .interval
        .map_or(String::new(), |i| format!(" [{:.3}, {:.3}]", i.low, i.high));
    format!(
        "{}, {}: {:.3}{interval} {}",
        change.model, change.place, c.ratio, c.verdict
    )
}

/// The number of each verdict, the noise, and what is called different.
fn told(compared: &Compared, a: &Record, b: &Record) -> String {
    let count = |v: Verdict| {
        let verdicts = compared.changes.iter().map(|c| c.comparison.verdict);
        verdicts.filter(|&w| w == v).count()
    };
    let percent = |v: Option<f64>| v.map_or("?".into(), |v| format!("{:.1} %", 100.0 * v));
    let mut text = format!(
        "{} arms: {} FASTER, {} SLOWER, {} SAME, {} INCONCLUSIVE; margin {}; noise floors {} and {}; others used {} and {}",
        compared.changes.len(),
        count(Verdict::Faster),
        count(Verdict::Slower),
        count(Verdict::Same),
        count(Verdict::Inconclusive),
        percent(compared.changes.first().map(|c| c.comparison.margin)),
        percent(a.noise_floor.map(|f| f.floor)),
        percent(b.noise_floor.map(|f| f.floor)),
        percent(a.usage.others),
        percent(b.usage.others),
    );
    if let Some(common) = &compared.common {
        text += &format!(
            "; common shift {:.3} {}",
            common.comparison.ratio, common.comparison.verdict
        );
    }
    for change in named(compared) {
        text += &format!("\n  {}", line(change));
    }
    text
}

/// Writes the record of one run.
fn measure(file: &Path, arms: usize, rounds: usize, what: &str) -> Result<(), Box<dyn Error>> {
    let program = std::env::current_exe()?;
    slicewise_engines::serve_with(program.clone(), vec![OsString::from("serve")]);
    let mut record = record(arms, rounds)?;
    if what == "twins" {
        record.arms = twins(record.arms);
    }
    let labels = record.arms.iter().filter(|_| what == "slowed");
    let mut lab = Slowing {
        slowed: chosen(labels).map(Arm::label).collect(),
        lab: EngineLab::new((program, Vec::new()), true, &|| false),
    };
    let protocol = Protocol {
        rounds,
        most_rounds: rounds,
        visit: Duration::from_millis(60),
        ..Protocol::default()
    };
    let limits = Limits {
        // Nothing is cut short.
        time: Duration::from_secs(36_000),
        memory_bytes: record.machine.usable_memory_bytes().unwrap_or(4 << 30) / 2,
        patience: Duration::from_secs(60),
        trials: false,
    };
    let clock = SystemClock::start();
    campaign::run(
        &mut record,
        &mut lab,
        &protocol,
        &limits,
        &clock,
        &|| false,
        &mut |_, _| {},
    );
    Ok(record.save(file)?)
}

/// Every native arm beside its equal and its slowed twin.
fn twins(arms: Vec<Arm>) -> Vec<Arm> {
    let mut all = Vec::new();
    for arm in arms.into_iter().filter(|arm| arm.engine == "native") {
        for engine in [EQUAL, SLOWED] {
            all.push(Arm {
                engine: engine.into(),
                reference: false,
                ..arm.clone()
            });
        }
        all.push(arm);
    }
    all
}

/// Small networks on every engine that is there.
fn record(arms: usize, rounds: usize) -> Result<Record, Box<dyn Error>> {
    let roster = Roster::of_all();
    let encoders = slicewise_bench::Suite::Encoders.models();
    let request = Request {
        models: encoders,
        image: Some([64, 64]),
        classes: Some(3),
        ..Request::default()
    };
    let mut all = plan::arms(&request, &roster.offers)?;
    // The smallest first; all engines of a model stay together.
    all.sort_by(|a, b| (a.macs, &a.model).cmp(&(b.macs, &b.model)));
    all.truncate(arms);
    if all.len() < arms {
        return Err(format!("there are {} arms here, not {arms}", all.len()).into());
    }
    Ok(Record {
        kind: KIND.into(),
        schema: SCHEMA,
        slicewise: env!("CARGO_PKG_VERSION").into(),
        program_sha256: program::sha256(),
        command: std::env::args().collect(),
        started: now_rfc3339(),
        finished: None,
        complete: false,
        suite: "encoders".into(),
        options: Options {
            rounds,
            most_rounds: rounds,
            own_processes: true,
            ..Options::default()
        },
        machine: Machine::read(),
        engines: roster.facts,
        absent_engines: roster.absent,
        noise_floor: None,
        usage: conditions::Usage::default(),
        arms: all,
    })
}

/// The laboratory, some of whose arms take longer.
struct Slowing<'a> {
    lab: EngineLab<'a>,
    slowed: Vec<String>,
}

impl Laboratory for Slowing<'_> {
    type Workload = Slow;

    fn trial(&mut self, arm: &Arm, patience: Duration) -> Result<Trial, TrialError> {
        self.lab.trial(arm, patience)
    }

    fn load(&mut self, arm: &Arm) -> Result<Loaded<Slow>, Refusal> {
        let is_slowed = arm.engine == SLOWED || self.slowed.contains(&arm.label());
        let loaded = match arm.engine.as_str() {
            EQUAL | SLOWED => self.lab.load(&Arm {
                engine: "native".into(),
                ..arm.clone()
            })?,
            _ => self.lab.load(arm)?,
        };
        let factor = match is_slowed {
            true => SLOWDOWN,
            false => 1.0,
        };
        Ok(Loaded {
            workload: Slow {
                network: loaded.workload,
                factor,
            },
            load_ms: loaded.load_ms,
            settings: loaded.settings,
            check: loaded.check,
            accuracy: None,
            first_ms: loaded.first_ms,
            burst: loaded.burst,
        })
    }
}

/// A network that takes `factor` times as long.
struct Slow {
    network: Network,
    factor: f64,
}

impl Workload for Slow {
    fn run(&mut self) -> Result<Option<Elsewhere>, String> {
        let begin = Instant::now();
        let ran = self.network.run()?;
        if self.factor == 1.0 {
            return Ok(ran);
        }
        let end = begin.elapsed().mul_f64(self.factor);
        while begin.elapsed() < end {
            std::hint::spin_loop();
        }
        Ok(None)
    }
}
