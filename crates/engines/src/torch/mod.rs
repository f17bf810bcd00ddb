//! PyTorch: our graph in a Python process, eagerly or compiled, in f32 or under bf16 autocast.

pub(crate) mod find;
mod ops;
mod source;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use slicewise_graph::{Graph, Tensor};

use crate::remote::{RemoteSession, Start, dtype_name, write_data};
use crate::{
    CompileOptions, Engine, EngineError, EngineInfo, Operation, Precision, Profile, Profiler,
    Session, prepare,
};

/// Eager mode: one kernel after the other.
pub(crate) const EAGER: &str = "torch";
/// `torch.compile`.
pub(crate) const COMPILED: &str = "torch-compile";

/// The other end.
const SCRIPT: &str = include_str!("../../../../tools/torch_engine.py");

/// How long PyTorch may take to make a network ready; a large one takes its compiler minutes.
const READY_LIMIT: Duration = Duration::from_secs(20 * 60);

/// PyTorch on the CPU.
pub(crate) struct PyTorch {
    info: EngineInfo,
    python: std::path::PathBuf,
}

impl PyTorch {
    /// The engine `name` with the PyTorch of `python`.
    pub(crate) fn open(name: &'static str, python: &Path) -> Result<Self, EngineError> {
        let broken = |why: String| EngineError::Broken {
            engine: name,
            path: python.to_owned(),
            why,
        };
        let torch = find::ask(python).map_err(broken)?;
        let torch =
            torch.ok_or_else(|| broken("it has no PyTorch; run: pip install torch".into()))?;
        if let Some(remedy) = remedy(name) {
            return Err(broken(remedy));
        }
        let hash = crate::hash::file(&torch.version_file).map_err(|e| broken(e.to_string()))?;
        Ok(PyTorch {
            info: EngineInfo {
                name,
                version: torch.version,
                library: Some((torch.version_file, hash)),
            },
            python: torch.python,
        })
    }

    fn session(
        &self,
        graph: &Graph,
        options: &CompileOptions,
        marks: bool,
    ) -> Result<(RemoteSession, Vec<Operation>), EngineError> {
        let name = self.info.name;
        crate::check_precision(name, self.precisions(), graph, options.precision)?;
        let graph = prepare(graph, options)?;
        let source = source::write(&graph, marks)?;
        let mut command = Command::new(&self.python);
        // Unbuffered only matters for what a crash leaves on standard error.
        command.args(["-u", "-c", SCRIPT]);
        command.env("OMP_NUM_THREADS", options.threads.max(1).to_string());
        let session = RemoteSession::new(Start {
            engine: name,
            command: &mut command,
            graph: &graph,
            request: json!({
                "source": source.text,
                "parameters": source.parameters.iter().map(description).collect::<Vec<_>>(),
                "threads": options.threads.max(1),
                "bf16": options.precision == Precision::Bf16,
                "compile": name == COMPILED,
            }),
            payload: &|to| {
                let mut tensors = source.parameters.iter();
                tensors.try_for_each(|tensor| write_data(to, tensor.data()))
            },
            limit: READY_LIMIT,
        })?;
        let operations = source.nodes.iter().map(|&i| operation(&graph, i)).collect();
        Ok((session, operations))
    }
}

/// What has to be done before `name` runs with a PyTorch that is there.
pub(crate) fn remedy(name: &str) -> Option<String> {
    match name {
        COMPILED => find::compiler_remedy(),
        _ => None,
    }
}

/// A parameter as the child is told of it.
fn description(tensor: &Tensor) -> Value {
    json!({
        "dtype": dtype_name(tensor.dtype()),
        "shape": tensor.shape(),
        "bytes": tensor.len() * tensor.dtype().bytes(),
    })
}

/// A node that has not run.
fn operation(graph: &Graph, index: usize) -> Operation {
    let node = &graph.nodes()[index];
    Operation {
        name: node.name.clone(),
        operators: node.op.name().to_owned(),
        nodes: vec![node.name.clone()],
        output: Some(format!("{} {}", node.dtype, node.shape)),
        ..Operation::default()
    }
}

impl Engine for PyTorch {
    fn info(&self) -> &EngineInfo {
        &self.info
    }

    fn precisions(&self) -> &[Precision] {
        &[Precision::F32, Precision::Bf16]
    }

    fn compile(
        &self,
        graph: &Graph,
        options: &CompileOptions,
    ) -> Result<Box<dyn Session>, EngineError> {
        Ok(Box::new(self.session(graph, options, false)?.0))
    }

    fn profiler(
        &self,
        graph: &Graph,
        options: &CompileOptions,
    ) -> Result<Box<dyn Profiler>, EngineError> {
        if self.info.name == COMPILED {
            return Err(EngineError::Failed {
                engine: COMPILED,
                message: "compiled code does not say which node its time goes to; profile torch"
                    .into(),
            });
        }
        let (session, operations) = self.session(graph, options, true)?;
        Ok(Box::new(TorchProfiler {
            session,
            profile: Profile {
                runs: Vec::new(),
                operations,
            },
        }))
    }
}

struct TorchProfiler {
    session: RemoteSession,
    profile: Profile,
}

impl Profiler for TorchProfiler {
    fn run(&mut self, inputs: &[Tensor], counted: bool) -> Result<(), EngineError> {
        self.session.run(inputs)?;
        let ran = self.session.ran().cloned().unwrap_or_default();
        if counted {
            self.profile.runs.push(ran.seconds * 1e3);
            let mut before = 0.0;
            for (operation, mark) in self.profile.operations.iter_mut().zip(ran.marks) {
                operation.ms.push((mark - before) * 1e3);
                before = mark;
            }
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Profile, EngineError> {
        Ok(self.profile)
    }
}
