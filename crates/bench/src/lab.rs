//! The laboratory with real engines: arms are models of the zoo, tried in a child process, loaded into this
//! one or a child of their own, and checked.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use slicewise_engines::{
    self as engines, Availability, CompileOptions, Engine, Precision, Session, process,
};
use slicewise_graph::{Graph, Tensor, reference};
use slicewise_quantize::{Counts, Images};

use crate::accuracy::Accuracy;
use crate::campaign::{Laboratory, Loaded, Refusal, Trial, TrialError};
use crate::check;
use crate::machine;
use crate::model::{self, one_line};
use crate::plan::Offer;
use crate::record::{AbsentEngine, Arm, Check, EngineFacts};
use crate::rounds::{Elsewhere, Workload};

/// A trial makes a second run if the first took less: only then is there a warm one.
const WARM_RUN_UP_TO: Duration = Duration::from_secs(5);

/// How long a burst of images on several streams takes, about.
const BURST: Duration = Duration::from_millis(200);
/// Images of a burst and stream at most.
const LONGEST_BURST: usize = 64;

/// Networks of at most this many multiply-accumulates are checked against plain arithmetic, which takes
/// about a second for as many.
const PLAIN_MACS: u64 = 50_000_000;

/// What the output of other arms is compared with.
pub(crate) const NATIVE: &str = "native";

/// A compiled model on one stream or several, and what it is fed.
pub struct Network {
    streams: Vec<Box<dyn Session>>,
    input: Tensor,
    /// Inputs of a run, over all streams.
    inputs: usize,
}

impl Network {
    /// The most memory that the processes held in which its sessions run; this one, if they run here.
    fn peak_rss_bytes(&self) -> Option<u64> {
        let children: Vec<_> = self.streams.iter().filter_map(|s| s.in_child()).collect();
        match children.is_empty() {
            true => machine::peak_rss_bytes(),
            false => children.iter().map(|c| c.peak_rss_bytes).sum(),
        }
    }
}

/// A run of one stream.
fn run_stream(
    session: &mut Box<dyn Session>,
    input: &[Tensor],
) -> Result<Option<Elsewhere>, String> {
    session.run_discarding(input).map_err(one_line)?;
    Ok(session.in_child().map(|ran| Elsewhere {
        time: ran.time,
        cpu_time: ran.cpu_time,
    }))
}

/// Two pieces of work in other processes, as if they were one whose time is `time` of theirs.
fn both(
    a: Option<Elsewhere>,
    b: Option<Elsewhere>,
    time: fn(Duration, Duration) -> Duration,
) -> Option<Elsewhere> {
    match (a, b) {
        (Some(a), Some(b)) => Some(Elsewhere {
            time: time(a.time, b.time),
            cpu_time: a.cpu_time.zip(b.cpu_time).map(|(a, b)| a + b),
        }),
        (a, b) => a.or(b),
    }
}

impl Workload for Network {
    fn run(&mut self) -> Result<Option<Elsewhere>, String> {
        let input = std::slice::from_ref(&self.input);
        if let [session] = self.streams.as_mut_slice() {
            return run_stream(session, input);
        }
        let next = AtomicUsize::new(0);
        let (next, all) = (&next, self.inputs);
        std::thread::scope(|scope| {
            let work = |session: &mut Box<dyn Session>| -> Result<Option<Elsewhere>, String> {
                let mut took = None;
                while next.fetch_add(1, Ordering::Relaxed) < all {
                    let one = run_stream(session, input)?;
                    took = both(took, one, |a, b| a + b);
                }
                Ok(took)
            };
            let threads: Vec<_> = self
                .streams
                .iter_mut()
                .map(|session| scope.spawn(move || work(session)))
                .collect();
            // Every thread is waited for, whatever the others say.
            let results: Vec<_> = threads.into_iter().map(|t| t.join()).collect();
            let mut took = None;
            for result in results {
                let stream = result.unwrap_or_else(|_| Err("a stream panicked".into()))?;
                // The pile is done when the last stream is.
                took = both(took, stream, Duration::max);
            }
            Ok(took)
        })
    }
}

/// Loads arms and tries them, the latter always in processes of their own.
pub struct EngineLab<'a> {
    own_processes: bool,
    trial_command: (PathBuf, Vec<OsString>),
    stop: &'a dyn Fn() -> bool,
    /// The last model's output, which the next arms are likely to be compared with too.
    expected: Option<Expected>,
    /// The last model in integers, which the next engine is likely to be measured on too.
    quantized: Option<Quantized>,
}

/// A model in integers.
struct Quantized {
    /// An arm of that model, input and data.
    arm: Arm,
    graph: Graph,
    /// The same as a file, for trials: a process that quantizes would be said to need the memory of that.
    file: tempfile::NamedTempFile,
}

/// Whether two arms have the same network in floats, fed with the same sizes.
fn same_model(a: &Arm, b: &Arm) -> bool {
    a.model == b.model && a.input == b.input && a.classes == b.classes && a.data == b.data
}

/// What a model should give.
struct Expected {
    /// An arm of that model, input and task.
    arm: Arm,
    outputs: Vec<Tensor>,
    /// Where it comes from.
    source: String,
}

impl<'a> EngineLab<'a> {
    /// `trial_command` is the program and the arguments that precede an arm as JSON and perhaps an ONNX
    /// file of its model; it calls [`try_here`] and prints the trial as JSON on the last line of its
    /// output. `stop` ends a trial early. With `own_processes` foreign engines are measured in processes
    /// of their own too, one for each stream of each arm, so that their threads, memory and crashes are
    /// theirs; the program has to be named with [`engines::serve_with`] then.
    pub fn new(
        trial_command: (PathBuf, Vec<OsString>),
        own_processes: bool,
        stop: &'a dyn Fn() -> bool,
    ) -> Self {
        EngineLab {
            own_processes,
            trial_command,
            stop,
            expected: None,
            quantized: None,
        }
    }

    /// The arm's model in integers, if its precision asks for those.
    fn quantized(&mut self, arm: &Arm) -> Result<Option<&Quantized>, String> {
        if arm.precision.parse() != Ok(Precision::Int8) {
            return Ok(None);
        }
        let known = self.quantized.take().filter(|q| same_model(&q.arm, arm));
        let quantized = match known {
            Some(quantized) => quantized,
            None => {
                let graph = model::quantized(arm)?;
                let file = tempfile::Builder::new().suffix(".onnx").tempfile();
                let file = file.map_err(one_line)?;
                slicewise_onnx::write(&graph, file.path()).map_err(one_line)?;
                Quantized {
                    arm: arm.clone(),
                    graph,
                    file,
                }
            }
        };
        Ok(Some(self.quantized.insert(quantized)))
    }

    /// Compares the arm's output with what it should be. `None` where there is nothing to compare with:
    /// the native engine is what others are compared with.
    fn check(&mut self, arm: &Arm, network: &mut Network) -> Result<Option<Check>, Refusal> {
        let is_small = arm.macs.is_some_and(|macs| macs <= PLAIN_MACS);
        if arm.engine == NATIVE && !is_small {
            return Ok(None);
        }
        let known = self
            .expected
            .take()
            .filter(|e| same_model(&e.arm, arm) && e.arm.task == arm.task);
        let expected = match known {
            Some(expected) => expected,
            None => expect(arm, is_small).map_err(Refusal::Failed)?,
        };
        let precision = arm.precision.parse().map_err(Refusal::Failed)?;
        let input = std::slice::from_ref(&network.input);
        let mut last = None;
        for session in &mut network.streams {
            let failed = |e| Refusal::Failed(one_line(e));
            let got = session.run(input).map_err(failed)?;
            let check = check::compare(got, &expected.outputs, precision, &expected.source);
            let check = check.map_err(Refusal::Failed)?;
            if !check.passed() {
                self.expected = Some(expected);
                return Err(Refusal::Wrong(check));
            }
            last = Some(check);
        }
        self.expected = Some(expected);
        Ok(last)
    }

    /// How far the arm's answers on the user's images agree with those of the native engine in f32; `None`
    /// where there are no images, or nothing to compare.
    fn accuracy(&self, arm: &Arm, network: &mut Network) -> Result<Option<Accuracy>, String> {
        let exact = arm.engine == NATIVE && arm.precision.parse() == Ok(Precision::F32);
        let (Some(images), [session, ..]) = (model::validation(arm)?, &mut network.streams[..])
        else {
            return Ok(None);
        };
        if exact || arm.batch() != 1 {
            return Ok(None);
        }
        let options = CompileOptions {
            precision: Precision::F32,
            threads: CompileOptions::default().threads,
            ..compile_options(arm)?
        };
        let engine = engines::load(NATIVE).map_err(one_line)?;
        let reference = engine.compile(&model::floats(arm)?, &options);
        let mut reference = reference.map_err(one_line)?;
        let mut counts = Counts::default();
        for i in 0..images.count() {
            if (self.stop)() {
                return Ok(None);
            }
            let image = [images.load(i).map_err(one_line)?];
            let want = reference.run(&image).map_err(one_line)?;
            let got = session.run(&image).map_err(one_line)?;
            for (want, got) in want.iter().zip(got).take(1) {
                counts.add(want, got)?;
            }
        }
        let agreement = counts.agreement();
        let folder = arm.data.validation.as_ref();
        Ok(Some(Accuracy {
            against: "native f32".to_owned(),
            data: folder.map(|f| f.display().to_string()),
            inputs: Some(images.count()),
            label_agreement: Some(agreement.labels),
            foreground_agreement: Some(agreement.foreground),
            mean_dice: Some(agreement.mean_dice),
            worst_class_dice: Some(agreement.worst_dice),
            sqnr_db: agreement.sqnr_db,
        }))
    }
}

impl Laboratory for EngineLab<'_> {
    type Workload = Network;

    fn trial(&mut self, arm: &Arm, patience: Duration) -> Result<Trial, TrialError> {
        let unavailable = |e: &dyn std::fmt::Display| TrialError::Unavailable(e.to_string());
        let question = serde_json::to_string(arm).map_err(|e| unavailable(&e))?;
        let (program, arguments) = self.trial_command.clone();
        let mut command = Command::new(program);
        command.args(arguments).arg(question);
        if let Some(q) = self.quantized(arm).map_err(TrialError::Failed)? {
            command.arg(q.file.path());
        }
        let outcome =
            process::run_until(&mut command, patience, self.stop).map_err(|e| unavailable(&e))?;
        match outcome.status {
            None if (self.stop)() => Err(TrialError::Failed("interrupted".into())),
            None => Err(TrialError::Failed(format!(
                "no answer within {:.0} s",
                patience.as_secs_f64()
            ))),
            Some(status) if status.success() => {
                let line = process::last_line(&outcome.stdout);
                serde_json::from_str(line).map_err(|e| unavailable(&e))
            }
            Some(status) => Err(TrialError::Failed(
                match process::last_line(&outcome.stderr).strip_prefix("error: ") {
                    Some(said) => said.to_owned(),
                    None => process::describe(status),
                },
            )),
        }
    }

    fn load(&mut self, arm: &Arm) -> Result<Loaded<Network>, Refusal> {
        let engine = match self.own_processes && arm.engine != NATIVE {
            true => engines::load_in_child(&arm.engine),
            false => engines::load(&arm.engine),
        };
        let engine = engine.map_err(|e| Refusal::Failed(one_line(e)))?;
        let quantized = self.quantized(arm).map_err(Refusal::Failed)?;
        let mut loaded = match quantized {
            Some(q) => load(engine.as_ref(), arm, &q.graph),
            None => model::floats(arm).and_then(|graph| load(engine.as_ref(), arm, &graph)),
        }
        .map_err(Refusal::Failed)?;
        let network = &mut loaded.workload;
        let first = run_once(network).map_err(Refusal::Failed)?;
        loaded.first_ms = (network.streams.len() == 1).then_some(first * 1e3);
        loaded.check = self.check(arm, network)?;
        loaded.accuracy = self.accuracy(arm, network).map_err(Refusal::Failed)?;
        if network.streams.len() > 1 {
            let warm = run_once(network).map_err(Refusal::Failed)?;
            let longest = (BURST.as_secs_f64() / warm.max(1e-6)).ceil() as usize;
            network.inputs = network.streams.len() * longest.clamp(1, LONGEST_BURST);
            loaded.burst = Some(network.inputs * arm.batch());
        }
        Ok(loaded)
    }
}

/// Loads and runs an arm in this process, which does nothing else: what a trial's child does. Its model is
/// read from `file`, or built.
///
/// # Errors
/// What went wrong, in one line.
pub fn try_here(arm: &Arm, file: Option<&Path>) -> Result<Trial, String> {
    let engine = engines::load(&arm.engine).map_err(one_line)?;
    let graph = match file {
        Some(file) => slicewise_onnx::read(file).map_err(one_line)?,
        None => model::floats(arm)?,
    };
    trial_of(load(engine.as_ref(), arm, &graph)?)
}

/// One run or two of an arm that was loaded just now.
fn trial_of(mut loaded: Loaded<Network>) -> Result<Trial, String> {
    let mut ms = Vec::new();
    for _ in 0..2 {
        let seconds = run_once(&mut loaded.workload)?;
        ms.push(seconds * 1e3);
        if seconds > WARM_RUN_UP_TO.as_secs_f64() {
            break;
        }
    }
    Ok(Trial {
        load_ms: loaded.load_ms,
        ms,
        peak_rss_bytes: loaded.workload.peak_rss_bytes(),
    })
}

/// The seconds of a run, in the process that made it.
fn run_once(network: &mut Network) -> Result<f64, String> {
    let begin = Instant::now();
    let elsewhere = network.run()?;
    let time = elsewhere.map_or_else(|| begin.elapsed(), |e| e.time);
    Ok(time.as_secs_f64())
}

fn compile_options(arm: &Arm) -> Result<CompileOptions, String> {
    Ok(CompileOptions {
        task: arm.task.parse()?,
        precision: arm.precision.parse()?,
        threads: arm.threads.max(1),
        batch: arm.batch(),
    })
}

/// Compiles the arm's model, once per stream; the time is the engine's alone.
fn load(engine: &dyn Engine, arm: &Arm, graph: &Graph) -> Result<Loaded<Network>, String> {
    let options = compile_options(arm)?;
    let begin = Instant::now();
    let streams = (0..arm.streams.max(1)).map(|_| engine.compile(graph, &options));
    let streams: Vec<_> = streams.collect::<Result<_, _>>().map_err(one_line)?;
    let load_ms = begin.elapsed().as_secs_f64() * 1e3;
    let settings: Vec<_> = streams.first().map(|s| s.settings()).unwrap_or_default();
    Ok(Loaded {
        workload: Network {
            inputs: streams.len(),
            streams,
            input: model::input(arm)?,
        },
        load_ms,
        settings: settings.into_iter().collect(),
        check: None,
        accuracy: None,
        first_ms: None,
        burst: None,
    })
}

/// What the arm's model gives for the arm's input: by plain arithmetic if asked for, else by the native
/// engine.
fn expect(arm: &Arm, plain: bool) -> Result<Expected, String> {
    let graph = model::floats(arm)?;
    let options = CompileOptions {
        precision: Precision::F32,
        threads: CompileOptions::default().threads,
        ..compile_options(arm)?
    };
    let input = [model::input(arm)?];
    let (outputs, source) = if plain {
        let graph = engines::prepare(&graph, &options).map_err(one_line)?;
        let outputs = reference::run(&graph, &input).map_err(one_line)?;
        (outputs, "plain arithmetic")
    } else {
        let engine = engines::load(NATIVE).map_err(one_line)?;
        let mut session = engine.compile(&graph, &options).map_err(one_line)?;
        let outputs = session.run(&input).map_err(one_line)?.to_vec();
        (outputs, "native f32")
    };
    Ok(Expected {
        arm: arm.clone(),
        outputs,
        source: source.to_owned(),
    })
}

/// The engines that a benchmark has to do with.
#[derive(Default)]
pub struct Roster {
    /// Those that are there.
    pub facts: Vec<EngineFacts>,
    /// What they can do.
    pub offers: Vec<Offer>,
    /// Those that are not there, or do not work.
    pub absent: Vec<AbsentEngine>,
}

impl Roster {
    /// Loads every engine that is there, without those that take part only where they are named; the
    /// others are data.
    pub fn of_all() -> Roster {
        let mut roster = Roster::default();
        let installed = engines::installed().into_iter();
        for availability in installed.filter(|a| !engines::is_on_request(a.engine())) {
            let (name, reason) = match availability {
                Availability::Found(found) => match engines::load(found.engine) {
                    Ok(engine) => {
                        roster.add(&engine);
                        continue;
                    }
                    Err(e) => (found.engine, one_line(e)),
                },
                Availability::Missing { engine, fix } => (engine, format!("not installed; {fix}")),
                Availability::Broken { engine, path, why } => {
                    (engine, format!("{} does not work: {why}", path.display()))
                }
            };
            roster.absent.push(AbsentEngine {
                name: name.to_owned(),
                reason,
            });
        }
        roster
    }

    /// Loads the engines of these names.
    ///
    /// # Errors
    /// The first that is not there.
    pub fn of(names: &[String]) -> Result<Roster, engines::EngineError> {
        let mut roster = Roster::default();
        for name in names {
            roster.add(&engines::load(name)?);
        }
        Ok(roster)
    }

    fn add(&mut self, engine: &Arc<dyn Engine>) {
        let info = engine.info();
        if self.facts.iter().any(|f| f.name == info.name) {
            return;
        }
        let library = info.library.as_ref();
        self.facts.push(EngineFacts {
            name: info.name.to_owned(),
            version: info.version.clone(),
            library: library
                .and_then(|(path, _)| path.file_name())
                .map(|name| name.to_string_lossy().into_owned()),
            sha256: library.map(|(_, hash)| hash.clone()),
        });
        self.offers.push(Offer {
            engine: info.name.to_owned(),
            precisions: engine.precisions().to_vec(),
        });
    }
}

#[cfg(test)]
mod tests;
