//! ONNX Runtime, from its shared library.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Instant;

use ort::environment::Environment;
use ort::session::Session as OrtSession;
use ort::session::builder::GraphOptimizationLevel;
use ort::value::{TensorElementType, ValueType};
use slicewise_graph::{DType, Graph, Tensor};
use tempfile::TempDir;

use crate::ffi::onnxruntime::{Runner, library_version};
use crate::inputs::{Spec, check_inputs};
use crate::model_file::OnnxModel;
use crate::outputs::Outputs;
use crate::text::one_line;
use crate::{
    CompileOptions, Engine, EngineError, EngineInfo, Operation, Precision, Profile, Profiler,
    Session, prepare,
};

pub(crate) const NAME: &str = "onnxruntime";

/// The least minor version: what the binding was told to rely on (`api-24`).
const MINOR: u32 = ort::MINOR_VERSION;

/// The process holds one ONNX Runtime and one environment of it, from the first load to its end.
static ENVIRONMENT: Mutex<Option<(PathBuf, Environment)>> = Mutex::new(None);

/// ONNX Runtime on the CPU.
pub(crate) struct OnnxRuntime {
    info: EngineInfo,
    environment: Environment,
}

fn failed(message: impl std::fmt::Display) -> EngineError {
    EngineError::Failed {
        engine: NAME,
        message: one_line(&message.to_string()),
    }
}

impl OnnxRuntime {
    /// Loads the library at `path`; the process keeps the first one that works.
    pub(crate) fn load(path: &Path) -> Result<Self, EngineError> {
        let broken = |why: String| EngineError::Broken {
            engine: NAME,
            path: path.to_owned(),
            why: one_line(&why),
        };
        // Before the binding is asked anything: it would settle on a library, or panic.
        let version = library_version(path).map_err(broken)?;
        if !is_supported(&version) {
            return Err(broken(format!(
                "it is version {version}, and 1.{MINOR} or later is needed"
            )));
        }
        let mut global = ENVIRONMENT.lock().unwrap_or_else(|e| e.into_inner());
        let environment = match &*global {
            Some((loaded, environment)) if loaded == path => environment.clone(),
            Some((loaded, _)) => {
                return Err(broken(format!(
                    "this process already runs on {}",
                    loaded.display()
                )));
            }
            None => {
                let builder = ort::init_from(path).map_err(|e| broken(e.to_string()))?;
                let environment = builder
                    .with_name("slicewise")
                    .with_telemetry(false)
                    .build()
                    .map_err(|e| broken(e.to_string()))?;
                // Warnings are about its own optimiser; errors come back as results.
                environment.set_log_level(ort::logging::LogLevel::Fatal);
                *global = Some((path.to_owned(), environment.clone()));
                environment
            }
        };
        let hash = crate::hash::file(path).map_err(|e| broken(e.to_string()))?;
        Ok(OnnxRuntime {
            info: EngineInfo {
                name: NAME,
                version,
                library: Some((path.to_owned(), hash)),
            },
            environment,
        })
    }

    /// Compiles a model, with its account of time going to `profile` if there is one.
    fn compile_model(
        &self,
        model: &OnnxModel,
        options: &CompileOptions,
        profile: Option<&Path>,
    ) -> Result<OrtSession, EngineError> {
        let build = || -> Result<OrtSession, ort::Error> {
            let mut builder = OrtSession::builder(&self.environment)?
                .with_intra_threads(options.threads.max(1))?
                .with_inter_threads(1)?
                .with_parallel_execution(false)?
                .with_optimization_level(GraphOptimizationLevel::All)?
                .with_intra_op_spinning(true)?
                // Without this, a quantized graph would run in integers when asked for f32.
                .with_quant_qdq(options.precision == Precision::Int8)?;
            if let Some(prefix) = profile {
                builder = builder.with_profiling(prefix)?;
            }
            match model {
                OnnxModel::Bytes(bytes) => builder.commit_from_memory(bytes),
                OnnxModel::File { path, .. } => builder.commit_from_file(path),
            }
        };
        build().map_err(failed)
    }

    fn session(
        &self,
        graph: &Graph,
        options: &CompileOptions,
        profile: Option<&Path>,
    ) -> Result<OnnxRuntimeSession, EngineError> {
        crate::check_precision(NAME, self.precisions(), graph, options.precision)?;
        let graph = prepare(graph, options)?;
        let model = OnnxModel::new(&graph).map_err(failed)?;
        let session = self.compile_model(&model, options, profile)?;
        check_interface(&graph, &session)?;
        Ok(OnnxRuntimeSession {
            inputs: Spec::inputs(&graph),
            outputs: Outputs::new(&graph)?,
            runner: Runner::new(session).map_err(failed)?,
            threads: options.threads.max(1),
            _model: match model {
                // Copied by the session; not needed any more.
                OnnxModel::Bytes(_) => None,
                file => Some(file),
            },
        })
    }
}

/// Whether a version as the library states it is one that the binding can talk to.
fn is_supported(version: &str) -> bool {
    let mut numbers = version.split('.').map(|n| n.parse::<u32>().ok());
    numbers.next() == Some(Some(1)) && numbers.next().flatten().is_some_and(|n| n >= MINOR)
}

impl Engine for OnnxRuntime {
    fn info(&self) -> &EngineInfo {
        &self.info
    }

    fn precisions(&self) -> &[Precision] {
        &[Precision::F32, Precision::Int8]
    }

    fn compile(
        &self,
        graph: &Graph,
        options: &CompileOptions,
    ) -> Result<Box<dyn Session>, EngineError> {
        Ok(Box::new(self.session(graph, options, None)?))
    }

    fn profiler(
        &self,
        graph: &Graph,
        options: &CompileOptions,
    ) -> Result<Box<dyn Profiler>, EngineError> {
        let folder = tempfile::Builder::new()
            .prefix("slicewise-")
            .tempdir()
            .map_err(|e| failed(format!("no folder for its profile (set TMPDIR): {e}")))?;
        let session = self.session(graph, options, Some(&folder.path().join("profile")))?;
        Ok(Box::new(OnnxRuntimeProfiler {
            session,
            folder,
            counted: Vec::new(),
            runs: Vec::new(),
        }))
    }
}

/// Checks that the session takes and makes what the graph says: it is run by the graph's inputs and
/// writes into buffers made by the graph.
fn check_interface(graph: &Graph, session: &OrtSession) -> Result<(), EngineError> {
    let nodes = graph.outputs().iter().map(|&id| graph.node(id));
    let got = (session.inputs().len(), session.outputs().len());
    let want = (graph.inputs().len(), nodes.len());
    if got != want {
        return Err(failed(format!(
            "the session has {} inputs and {} outputs, the graph {} and {}",
            got.0, got.1, want.0, want.1
        )));
    }
    for (node, outlet) in nodes.zip(session.outputs()) {
        let same = match outlet.dtype() {
            ValueType::Tensor { ty, .. } => *ty == element_type(node.dtype),
            _ => false,
        };
        if !same {
            return Err(failed(format!(
                "output '{}' is {}, and the graph says {}",
                node.name,
                outlet.dtype(),
                node.dtype
            )));
        }
    }
    Ok(())
}

fn element_type(dtype: DType) -> TensorElementType {
    match dtype {
        DType::F32 => TensorElementType::Float32,
        DType::I64 => TensorElementType::Int64,
        DType::I32 => TensorElementType::Int32,
        DType::U16 => TensorElementType::Uint16,
        DType::U8 => TensorElementType::Uint8,
        DType::I8 => TensorElementType::Int8,
    }
}

struct OnnxRuntimeSession {
    inputs: Vec<Spec>,
    outputs: Outputs,
    runner: Runner,
    threads: usize,
    /// Files that the session may have mapped.
    _model: Option<OnnxModel>,
}

impl Session for OnnxRuntimeSession {
    fn run(&mut self, inputs: &[Tensor]) -> Result<&[Tensor], EngineError> {
        check_inputs(NAME, &self.inputs, inputs)?;
        let runner = &mut self.runner;
        self.outputs
            .write(|outputs| runner.run(inputs, outputs))?
            .map_err(failed)?;
        Ok(self.outputs.tensors())
    }

    fn settings(&self) -> Vec<(String, String)> {
        let settings = [
            ("threads", self.threads.to_string()),
            ("inter_op_threads", "1".into()),
            ("execution", "sequential".into()),
            ("graph_optimization", "all".into()),
            ("intra_op_spinning", "true".into()),
        ];
        settings.map(|(k, v)| (k.to_owned(), v)).into()
    }
}

struct OnnxRuntimeProfiler {
    session: OnnxRuntimeSession,
    /// Where the library writes its account.
    folder: TempDir,
    /// Whether each run counts.
    counted: Vec<bool>,
    /// The time of those that do, in ms.
    runs: Vec<f64>,
}

impl Profiler for OnnxRuntimeProfiler {
    fn run(&mut self, inputs: &[Tensor], counted: bool) -> Result<(), EngineError> {
        let begin = Instant::now();
        self.session.run(inputs)?;
        let ms = begin.elapsed().as_secs_f64() * 1e3;
        self.counted.push(counted);
        if counted {
            self.runs.push(ms);
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<Profile, EngineError> {
        let file = self.session.runner.end_profiling().map_err(failed)?;
        let read = || -> Result<Vec<Operation>, String> {
            let text = std::fs::read(&file).map_err(|e| e.to_string())?;
            operations(&text, &self.counted)
        };
        let operations = read().map_err(|e| failed(format!("{file}: {e}")))?;
        self.folder.close().map_err(failed)?;
        Ok(Profile {
            runs: self.runs,
            operations,
        })
    }
}

/// An event of the library's account; all times in µs.
#[derive(serde::Deserialize)]
struct TraceEvent {
    #[serde(default)]
    cat: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    dur: f64,
    #[serde(default)]
    args: TraceArguments,
}

#[derive(serde::Deserialize, Default)]
struct TraceArguments {
    #[serde(default)]
    op_name: String,
    #[serde(default)]
    output_type_shape: Vec<BTreeMap<String, Vec<u64>>>,
}

/// What the runs that are `counted` executed, of the library's account of all of them. Nodes come in
/// the order of execution, which is the same in every run.
fn operations(account: &[u8], counted: &[bool]) -> Result<Vec<Operation>, String> {
    let events: Vec<TraceEvent> = serde_json::from_slice(account).map_err(|e| e.to_string())?;
    let nodes: Vec<(&str, &TraceEvent)> = events
        .iter()
        .filter(|event| event.cat == "Node")
        .filter_map(|event| Some((event.name.strip_suffix("_kernel_time")?, event)))
        .collect();
    let per_run = nodes.len() / counted.len().max(1);
    if per_run * counted.len() != nodes.len() {
        let (nodes, runs) = (nodes.len(), counted.len());
        return Err(format!(
            "its {nodes} events are not those of {runs} equal runs"
        ));
    }
    let mut operations: Vec<Operation> = nodes[..per_run]
        .iter()
        .map(|(name, event)| Operation {
            name: (*name).to_owned(),
            operators: event.args.op_name.clone(),
            nodes: vec![(*name).to_owned()],
            output: event.args.output_type_shape.first().and_then(described),
            ..Operation::default()
        })
        .collect();
    for (run, counted) in nodes.chunks(per_run.max(1)).zip(counted) {
        for (operation, (name, event)) in operations.iter_mut().zip(run) {
            if operation.name != *name {
                return Err(format!(
                    "'{name}' was executed in the place of '{}'",
                    operation.name
                ));
            }
            if *counted {
                operation.ms.push(event.dur * 1e-3);
            }
        }
    }
    Ok(operations)
}

/// Type and shape of a tensor in the account, as this program writes them.
fn described(tensor: &BTreeMap<String, Vec<u64>>) -> Option<String> {
    let (dtype, shape) = tensor.first_key_value()?;
    let dtype = match dtype.as_str() {
        "float" => "f32",
        "int64" => "i64",
        "int32" => "i32",
        "uint8" => "u8",
        other => other,
    };
    Some(format!("{dtype} {shape:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_account_of_several_runs_becomes_the_times_of_those_that_count() {
        let event = |name: &str, us: u32| {
            let args = r#"{"op_name": "Conv", "output_type_shape": [{"float": [1, 8, 4, 4]}]}"#;
            format!(
                r#"{{"cat": "Node", "name": "{name}_kernel_time", "dur": {us}, "args": {args}}}"#
            )
        };
        let session = r#"{"cat": "Session", "name": "model_run", "dur": 9, "args": {}}"#.to_owned();
        let events = [
            session,
            event("a", 500),
            event("b", 90),
            event("a", 10),
            event("b", 20),
            event("a", 30),
            event("b", 40),
        ];
        let account = format!("[{}]", events.join(","));
        let got = operations(account.as_bytes(), &[false, true, true]).unwrap();
        let ms: Vec<_> = got
            .iter()
            .map(|o| (o.name.as_str(), o.ms.clone()))
            .collect();
        assert_eq!(ms, [("a", vec![0.01, 0.03]), ("b", vec![0.02, 0.04])]);
        assert_eq!(got[0].output.as_deref(), Some("f32 [1, 8, 4, 4]"));
        assert!(
            operations(account.as_bytes(), &[true; 4]).is_err(),
            "6 events of 4 runs"
        );
        assert!(operations(b"[", &[true]).is_err());
        let mixed = format!("[{},{}]", event("a", 1), event("b", 1));
        assert!(operations(mixed.as_bytes(), &[true, true]).is_err());
    }

    #[test]
    fn versions_before_the_bindings_are_refused() {
        let cases = [
            ("1.32.0", true),
            ("1.24.1", true),
            ("1.23.2", false),
            ("2.0.0", false),
            ("", false),
            ("1.x", false),
        ];
        for (version, want) in cases {
            assert_eq!(is_supported(version), want, "{version}");
        }
    }
}
