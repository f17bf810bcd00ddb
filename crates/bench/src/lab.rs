//! The laboratory with real engines: arms are models of the zoo, tried in a child process and
//! loaded into this one.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use slicewise_engines::{self as engines, Availability, CompileOptions, Engine, Session, process};
use slicewise_graph::Tensor;
use slicewise_zoo as zoo;

use crate::campaign::{Laboratory, Loaded, Trial, TrialError};
use crate::machine;
use crate::plan::{self, Offer};
use crate::record::{AbsentEngine, Arm, EngineFacts};
use crate::rounds::Workload;

/// A trial makes a second run if the first took less: only then is there a warm one.
const WARM_RUN_UP_TO: Duration = Duration::from_secs(5);

/// A compiled model and what it is fed.
pub struct Network {
    session: Box<dyn Session>,
    input: Tensor,
}

impl Workload for Network {
    fn run(&mut self) -> Result<(), String> {
        let inputs = std::slice::from_ref(&self.input);
        self.session.run(inputs).map(|_| ()).map_err(one_line)
    }
}

/// Loads arms into this process and tries them in others.
pub struct EngineLab<'a> {
    /// The program and the arguments that precede an arm as JSON; it calls [`try_here`] and prints
    /// the trial as JSON on the last line of its output.
    pub trial_command: (PathBuf, Vec<OsString>),
    /// Ends a trial early.
    pub stop: &'a dyn Fn() -> bool,
}

impl Laboratory for EngineLab<'_> {
    type Workload = Network;

    fn trial(&mut self, arm: &Arm, patience: Duration) -> Result<Trial, TrialError> {
        let unavailable = |e: &dyn std::fmt::Display| TrialError::Unavailable(e.to_string());
        let question = serde_json::to_string(arm).map_err(|e| unavailable(&e))?;
        let (program, arguments) = &self.trial_command;
        let mut command = Command::new(program);
        command.args(arguments).arg(question);
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

    fn load(&mut self, arm: &Arm) -> Result<Loaded<Network>, String> {
        load(arm)
    }
}

/// Loads and runs an arm in this process, which does nothing else: what a trial's child does.
///
/// # Errors
/// What went wrong, in one line.
pub fn try_here(arm: &Arm) -> Result<Trial, String> {
    let mut loaded = load(arm)?;
    let mut ms = Vec::new();
    for _ in 0..2 {
        let begin = Instant::now();
        loaded.workload.run()?;
        let time = begin.elapsed();
        ms.push(time.as_secs_f64() * 1e3);
        if time > WARM_RUN_UP_TO {
            break;
        }
    }
    Ok(Trial {
        load_ms: loaded.load_ms,
        ms,
        peak_rss_bytes: machine::peak_rss_bytes(),
    })
}

/// Builds the arm's model with the deterministic fill and compiles it; the time is the engine's alone.
fn load(arm: &Arm) -> Result<Loaded<Network>, String> {
    let engine = engines::load(&arm.engine).map_err(one_line)?;
    let options = CompileOptions {
        task: arm.task.parse()?,
        precision: arm.precision.parse()?,
        threads: arm.threads.max(1),
        batch: arm.batch(),
    };
    let mut graph = zoo::build(&arm.model, &plan::options_of(arm)).map_err(one_line)?;
    zoo::fill(&mut graph).map_err(one_line)?;
    let begin = Instant::now();
    let session = engine.compile(&graph, &options).map_err(one_line)?;
    let load_ms = begin.elapsed().as_secs_f64() * 1e3;
    let settings: BTreeMap<_, _> = session.settings().into_iter().collect();
    Ok(Loaded {
        workload: Network {
            session,
            input: zoo::fill_input(&arm.input),
        },
        load_ms,
        settings,
    })
}

fn one_line(error: impl std::fmt::Display) -> String {
    error.to_string().lines().collect::<Vec<_>>().join(" ")
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
