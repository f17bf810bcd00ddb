//! Trying an engine's library out in a child process: a library built for another CPU, or half
//! installed, hangs or takes the process with it instead of returning an error.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use slicewise_graph::{
    Activation, Conv, DType, Graph, GraphError, Op, Role, Shape, Tensor, reference,
};

use crate::process::{describe, last_line, run};
use crate::{Availability, CompileOptions, EngineError, Found, Precision, cache, known, open};

/// How long a child may take: loading and compiling takes one second on a slow disk.
const LIMIT: Duration = Duration::from_secs(20);

/// What a library is, seen from the inside.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ProbeReport {
    /// The engine's name.
    pub engine: String,
    /// The version that the library states of itself.
    pub version: String,
    /// What it computes in on this CPU.
    pub precisions: Vec<Precision>,
}

/// Why a probe did not end well.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProbeError {
    /// The child could not be started.
    #[error("cannot start {}: {why}", program.display())]
    Start {
        /// What was to be started.
        program: PathBuf,
        /// The system's words.
        why: String,
    },
    /// The child did not end in time and was stopped.
    #[error("it did not answer within {0} s")]
    TimedOut(u64),
    /// The child ended badly.
    #[error("{how}{}{said}", if said.is_empty() { "" } else { ": " })]
    Failed {
        /// Signal or exit code, in words.
        how: String,
        /// Its last line on standard error.
        said: String,
    },
    /// The child ended well, but not with a report.
    #[error("it answered '{0}' instead of a report")]
    Answer(String),
}

/// Loads the library at `path` as engine `name`, runs a small network and checks the result. For
/// the child process: a broken library may take the caller with it.
///
/// # Errors
/// If there is no such engine, or it does not load, run or compute correctly.
pub fn probe_in_this_process(name: &str, path: &Path) -> Result<ProbeReport, EngineError> {
    let name = known(name)?;
    let engine = open(name, path)?;
    let (graph, input) = small_network()?;
    let want = reference::run(&graph, std::slice::from_ref(&input))?;
    let options = CompileOptions {
        threads: 1,
        ..CompileOptions::default()
    };
    let mut session = engine.compile(&graph, &options)?;
    let got = session.run(&[input])?;
    let pairs = got.iter().zip(&want).map(|(a, b)| (a.as_f32(), b.as_f32()));
    let close = |a: &[f32], b: &[f32]| {
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-4)
    };
    let right = |pair| matches!(pair, (Some(a), Some(b)) if close(a, b));
    if got.len() != want.len() || !pairs.into_iter().all(right) {
        return Err(EngineError::Broken {
            engine: name,
            path: path.to_owned(),
            why: "it computes a small network wrongly".into(),
        });
    }
    Ok(ProbeReport {
        engine: name.into(),
        version: engine.info().version.clone(),
        precisions: engine.precisions().to_vec(),
    })
}

/// A convolution with padding and an activation, and something to feed it.
fn small_network() -> Result<(Graph, Tensor), GraphError> {
    let mut graph = Graph::new("probe");
    let x = graph.input("x", Shape::new(&[1, 3, 9, 11]), DType::F32)?;
    let wave = |i: usize| (i as f32 * 0.37).sin();
    let weight = Tensor::from_fn(&[4, 3, 3, 3], wave);
    let weight = graph.constant_tensor("weight", Role::Trainable, weight)?;
    let conv = graph.add("conv", Op::Conv(Conv::new(2, 3).pad(1)), &[x, weight])?;
    let y = graph.activation("relu", Activation::Relu, conv)?;
    graph.set_outputs(vec![y]);
    Ok((graph, Tensor::from_fn(&[1, 3, 9, 11], wave)))
}

/// Has `program arguments… name path` call [`probe_in_this_process`] and print its report as JSON on
/// the last line of its standard output.
///
/// # Errors
/// If the child does not end, ends badly or answers something else.
pub fn probe_in_child(
    program: &Path,
    arguments: &[OsString],
    name: &str,
    path: &Path,
    limit: Duration,
) -> Result<ProbeReport, ProbeError> {
    let mut command = Command::new(program);
    command.args(arguments).arg(name).arg(path);
    let outcome = run(&mut command, limit).map_err(|e| ProbeError::Start {
        program: program.to_owned(),
        why: e.to_string(),
    })?;
    match outcome.status {
        None => Err(ProbeError::TimedOut(limit.as_secs())),
        Some(status) if !status.success() => Err(ProbeError::Failed {
            how: describe(status),
            said: last_line(&outcome.stderr).to_owned(),
        }),
        Some(_) => {
            let line = last_line(&outcome.stdout);
            serde_json::from_str(line).map_err(|_| ProbeError::Answer(line.to_owned()))
        }
    }
}

static PROBER: OnceLock<(PathBuf, Vec<OsString>)> = OnceLock::new();

/// Says which program probes libraries from now on: [`crate::load`] and [`crate::installed`] then
/// have every library tried by `program arguments… NAME PATH` before this process loads it.
pub fn probe_with(program: PathBuf, arguments: Vec<OsString>) {
    // The first caller is the program itself; a second one has nothing else to say.
    let _ = PROBER.set((program, arguments));
}

/// What was found, after a child has tried it out, if there is a program to do so. What runs in a child
/// anyway cannot harm this process: its errors come when it is asked to compile.
pub(crate) fn checked(availability: Availability) -> Availability {
    let Availability::Found(found) = availability else {
        return availability;
    };
    if found.runs_in_child() {
        return Availability::Found(found);
    }
    let (Some((program, arguments)), Some(path)) = (PROBER.get(), &found.path) else {
        return Availability::Found(found);
    };
    let root = cache::root();
    let probe = || probe_in_child(program, arguments, found.engine, path, LIMIT);
    match remembered(root.as_deref(), found.engine, path, probe) {
        Ok(report) => Availability::Found(Found {
            version: report.version,
            ..found
        }),
        Err(why) => Availability::Broken {
            engine: found.engine,
            path: path.clone(),
            why,
        },
    }
}

/// The outcome of a probe: what it reported, or why not.
type Verdict = Result<ProbeReport, String>;

/// The outcome for this very file, from the cache where it is known. Only what would be the same
/// next time is kept: a time-out may have been a busy machine.
fn remembered(
    root: Option<&Path>,
    engine: &str,
    path: &Path,
    probe: impl FnOnce() -> Result<ProbeReport, ProbeError>,
) -> Verdict {
    let file = root.map(|root| root.join("probes.json"));
    let key = fs::metadata(path).ok().and_then(|data| {
        let modified = data.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
        let version = env!("CARGO_PKG_VERSION");
        let (size, time) = (data.len(), modified.as_nanos());
        Some(format!(
            "{version} {engine} {} {size} {time}",
            path.display()
        ))
    });
    let (Some(file), Some(key)) = (file, key) else {
        return probe().map_err(|e| e.to_string());
    };
    // A cache that cannot be read or written costs a probe, nothing else.
    let text = fs::read(&file).unwrap_or_default();
    let mut known: BTreeMap<String, Verdict> = serde_json::from_slice(&text).unwrap_or_default();
    if let Some(verdict) = known.get(&key) {
        return verdict.clone();
    }
    let outcome = probe();
    let lasting = matches!(outcome, Ok(_) | Err(ProbeError::Failed { .. }));
    let verdict = outcome.map_err(|e| e.to_string());
    if lasting {
        known.insert(key, verdict.clone());
        if let Ok(text) = serde_json::to_vec_pretty(&known) {
            let _ = cache::write(&file, &text);
        }
    }
    verdict
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    fn report() -> ProbeReport {
        ProbeReport {
            engine: "onnxruntime".into(),
            version: "1.32.0".into(),
            precisions: vec![Precision::F32],
        }
    }

    fn crash() -> ProbeError {
        ProbeError::Failed {
            how: "aborted (signal 6)".into(),
            said: String::new(),
        }
    }

    #[test]
    fn a_file_is_probed_once_unless_it_changes_or_the_machine_was_busy() {
        let root = tempfile::tempdir().expect("a folder");
        let library = root.path().join("library");
        fs::write(&library, "one").expect("a file");
        let probes = Cell::new(0);
        let ask = |outcome: Result<ProbeReport, ProbeError>| {
            remembered(Some(root.path()), "onnxruntime", &library, || {
                probes.set(probes.get() + 1);
                outcome
            })
        };
        assert!(ask(Err(ProbeError::TimedOut(20))).is_err());
        assert_eq!(ask(Ok(report())), Ok(report()));
        assert_eq!(ask(Err(crash())), Ok(report()));
        assert_eq!(probes.get(), 2);

        fs::write(&library, "another").expect("a file");
        let verdict = Err("aborted (signal 6)".to_owned());
        assert_eq!(ask(Err(crash())), verdict);
        assert_eq!(ask(Ok(report())), verdict);
        assert_eq!(probes.get(), 3);

        fs::write(root.path().join("probes.json"), "not JSON").expect("a file");
        assert_eq!(ask(Ok(report())), Ok(report()));
        assert_eq!(probes.get(), 4);
    }
}
