//! OpenVINO, from its shared libraries.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Instant;

use slicewise_graph::{Graph, Tensor};

use crate::ffi::openvino::{Compiled, Core, Request, Timing, load};
use crate::inputs::{Spec, check_inputs};
use crate::model_file::OnnxModel;
use crate::outputs::Outputs;
use crate::text::one_line;
use crate::{
    CompileOptions, Engine, EngineError, EngineInfo, Operation, Precision, Profile, Profiler,
    Session, prepare,
};

pub(crate) const NAME: &str = "openvino";

/// The process holds one OpenVINO from the first load to its end.
static LOADED: Mutex<Option<PathBuf>> = Mutex::new(None);

/// OpenVINO on the CPU.
pub(crate) struct OpenVino {
    info: EngineInfo,
    precisions: Vec<Precision>,
    // Locked while a model is compiled: how to compile is said to the core, not to the call.
    core: Mutex<Core>,
}

fn failed(message: impl std::fmt::Display) -> EngineError {
    EngineError::Failed {
        engine: NAME,
        message: one_line(&message.to_string()),
    }
}

impl OpenVino {
    /// Loads the library at `path`; the process keeps the first one that works.
    pub(crate) fn load(path: &Path) -> Result<Self, EngineError> {
        let broken = |why: String| EngineError::Broken {
            engine: NAME,
            path: path.to_owned(),
            why: one_line(&why),
        };
        let mut loaded = LOADED.lock().unwrap_or_else(|e| e.into_inner());
        if let Some(loaded) = loaded.as_ref().filter(|loaded| *loaded != path) {
            return Err(broken(format!(
                "this process already runs on {}",
                loaded.display()
            )));
        }
        let version = load(path).map_err(broken)?;
        *loaded = Some(path.to_owned());
        let core = Core::new().map_err(broken)?;
        let capabilities = core.property("OPTIMIZATION_CAPABILITIES").map_err(broken)?;
        let hash = crate::hash::file(path).map_err(|e| broken(e.to_string()))?;
        Ok(OpenVino {
            info: EngineInfo {
                name: NAME,
                version: short(&version).to_owned(),
                library: Some((path.to_owned(), hash)),
            },
            precisions: precisions(&capabilities),
            core: Mutex::new(core),
        })
    }

    fn compile_model(
        &self,
        model: &OnnxModel,
        options: &CompileOptions,
        profiled: bool,
    ) -> Result<Compiled, String> {
        let mut core = self.core.lock().unwrap_or_else(|e| e.into_inner());
        let settings = [
            ("PERFORMANCE_HINT", "LATENCY"),
            ("NUM_STREAMS", "1"),
            ("INFERENCE_NUM_THREADS", &options.threads.max(1).to_string()),
            // Left alone, OpenVINO takes bf16 wherever the CPU has it, and says nothing.
            ("INFERENCE_PRECISION_HINT", hint(options.precision)),
            ("PERF_COUNT", if profiled { "YES" } else { "NO" }),
        ];
        for (key, value) in settings {
            core.set_property(key, value)?;
        }
        match model {
            OnnxModel::Bytes(bytes) => core.compile_bytes(bytes),
            OnnxModel::File { path, .. } => core.compile_file(path),
        }
    }
}

/// Version and build number of `2026.4.1-22982-e213a147257-releases/2026/4`.
fn short(version: &str) -> &str {
    let mut dashes = version.match_indices('-').map(|(at, _)| at);
    dashes.nth(1).map_or(version, |end| &version[..end])
}

/// The precisions among the CPU device's capabilities (`FP32 INT8 BIN EXPORT_IMPORT BF16`).
fn precisions(capabilities: &str) -> Vec<Precision> {
    let known = [
        ("FP32", Precision::F32),
        ("BF16", Precision::Bf16),
        ("INT8", Precision::Int8),
    ];
    let has = |name: &str| capabilities.split([' ', ',']).any(|c| c == name);
    let present = known.into_iter().filter(|(name, _)| has(name));
    present.map(|(_, precision)| precision).collect()
}

/// What OpenVINO calls the type of everything that is not quantized.
fn hint(precision: Precision) -> &'static str {
    match precision {
        Precision::F32 | Precision::Int8 => "f32",
        Precision::Bf16 => "bf16",
    }
}

impl Engine for OpenVino {
    fn info(&self) -> &EngineInfo {
        &self.info
    }

    fn precisions(&self) -> &[Precision] {
        &self.precisions
    }

    fn compile(
        &self,
        graph: &Graph,
        options: &CompileOptions,
    ) -> Result<Box<dyn Session>, EngineError> {
        Ok(Box::new(self.session(graph, options, false)?))
    }

    fn profiler(
        &self,
        graph: &Graph,
        options: &CompileOptions,
    ) -> Result<Box<dyn Profiler>, EngineError> {
        Ok(Box::new(OpenVinoProfiler {
            session: self.session(graph, options, true)?,
            account: Account::default(),
            runs: Vec::new(),
        }))
    }
}

impl OpenVino {
    fn session(
        &self,
        graph: &Graph,
        options: &CompileOptions,
        profiled: bool,
    ) -> Result<OpenVinoSession, EngineError> {
        crate::check_precision(NAME, self.precisions(), graph, options.precision)?;
        let graph = prepare(graph, options)?;
        let model = OnnxModel::new(&graph).map_err(failed)?;
        let compiled = self
            .compile_model(&model, options, profiled)
            .map_err(failed)?;
        let runs_in = compiled
            .property("INFERENCE_PRECISION_HINT")
            .map_err(failed)?;
        if runs_in != hint(options.precision) {
            return Err(failed(format!(
                "was asked for {} and compiled for {runs_in}",
                hint(options.precision)
            )));
        }
        let inputs = Spec::inputs(&graph);
        let (takes, makes) = compiled.arity().map_err(failed)?;
        if (takes, makes) != (inputs.len(), graph.outputs().len()) {
            return Err(failed(format!(
                "compiled {takes} inputs and {makes} outputs of {} and {}",
                inputs.len(),
                graph.outputs().len()
            )));
        }
        Ok(OpenVinoSession {
            inputs,
            outputs: Outputs::new(&graph)?,
            request: compiled.request().map_err(failed)?,
            compiled,
            _model: match model {
                OnnxModel::Bytes(_) => None,
                file => Some(file),
            },
        })
    }
}

struct OpenVinoSession {
    inputs: Vec<Spec>,
    outputs: Outputs,
    request: Request,
    compiled: Compiled,
    /// Files that the model may have mapped.
    _model: Option<OnnxModel>,
}

impl Session for OpenVinoSession {
    fn run(&mut self, inputs: &[Tensor]) -> Result<&[Tensor], EngineError> {
        check_inputs(NAME, &self.inputs, inputs)?;
        let request = &mut self.request;
        self.outputs
            .write(|outputs| request.run(inputs, outputs))?
            .map_err(failed)?;
        Ok(self.outputs.tensors())
    }

    fn settings(&self) -> Vec<(String, String)> {
        let keys = [
            "INFERENCE_NUM_THREADS",
            "NUM_STREAMS",
            "PERFORMANCE_HINT",
            "INFERENCE_PRECISION_HINT",
            "ENABLE_CPU_PINNING",
            "ENABLE_HYPER_THREADING",
            "SCHEDULING_CORE_TYPE",
        ];
        let stated = keys.into_iter().filter_map(|key| {
            let value = self.compiled.property(key).ok()?;
            Some((key.to_lowercase(), value))
        });
        stated.collect()
    }
}

/// OpenVINO states the mean time of each operation over all runs so far, the first one with its
/// fresh memory among them. So what the counted runs of a visit took on average is the difference of two
/// sums, and that is all there is to know.
#[derive(Default)]
struct Account {
    operations: Vec<Operation>,
    /// Runs so far.
    runs: usize,
    /// Runs and every operation's time in them, in ms, when the visit began and now.
    begin: (usize, Vec<f64>),
    end: (usize, Vec<f64>),
}

impl Account {
    /// Takes what is stated after a run.
    fn add(&mut self, timings: &[Timing], counted: bool) -> Result<(), String> {
        if self.operations.is_empty() {
            self.operations = operations(timings);
            self.begin.1 = vec![0.0; self.operations.len()];
        }
        if !counted {
            self.close();
        }
        let executed: Vec<&Timing> = timings.iter().filter(|t| t.executed).collect();
        let same = |(o, t): (&Operation, &&Timing)| o.name == t.name;
        if executed.len() != self.operations.len()
            || !self.operations.iter().zip(&executed).all(same)
        {
            return Err("executed other operations than in the run before".into());
        }
        self.runs += 1;
        let sums = executed.iter().map(|t| t.mean_ms * self.runs as f64);
        self.end = (self.runs, sums.collect());
        if !counted {
            self.begin = self.end.clone();
        }
        Ok(())
    }

    /// Ends a visit.
    fn close(&mut self) {
        let runs = self.end.0.saturating_sub(self.begin.0);
        if runs > 0 {
            let sums = self.begin.1.iter().zip(&self.end.1);
            for (operation, (begin, end)) in self.operations.iter_mut().zip(sums) {
                // What is stated is rounded to a µs.
                operation.ms.push(((end - begin) / runs as f64).max(0.0));
            }
        }
        self.begin = self.end.clone();
    }
}

/// The operations executed. What is listed after one and was not executed was fused into it.
fn operations(timings: &[Timing]) -> Vec<Operation> {
    let mut operations: Vec<Operation> = Vec::new();
    for timing in timings {
        match (timing.executed, operations.last_mut()) {
            (true, _) => operations.push(Operation {
                name: timing.name.clone(),
                operators: timing.operator.clone(),
                kernel: Some(timing.kernel.clone()),
                nodes: vec![timing.name.clone()],
                ..Operation::default()
            }),
            (false, Some(before)) => before.nodes.push(timing.name.clone()),
            (false, None) => {}
        }
    }
    operations
}

struct OpenVinoProfiler {
    session: OpenVinoSession,
    account: Account,
    runs: Vec<f64>,
}

impl Profiler for OpenVinoProfiler {
    fn run(&mut self, inputs: &[Tensor], counted: bool) -> Result<(), EngineError> {
        let begin = Instant::now();
        self.session.run(inputs)?;
        let ms = begin.elapsed().as_secs_f64() * 1e3;
        if counted {
            self.runs.push(ms);
        }
        let timings = self.session.request.timings().map_err(failed)?;
        self.account.add(&timings, counted).map_err(failed)
    }

    fn finish(mut self: Box<Self>) -> Result<Profile, EngineError> {
        self.account.close();
        Ok(Profile {
            runs: self.runs,
            operations: self.account.operations,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_over_all_runs_become_the_times_of_the_runs_that_count() {
        let timing = |name: &str, executed: bool, mean_ms: f64| Timing {
            name: name.into(),
            operator: String::new(),
            kernel: String::new(),
            executed,
            mean_ms,
        };
        let state = |conv: f64, pool: f64| {
            vec![
                timing("x", false, 0.0),
                timing("conv", true, conv),
                timing("relu", false, 0.0),
                timing("pool", true, pool),
            ]
        };
        // conv takes 9, 1, 3, then 6, 4 ms; pool always 2.
        let mut account = Account::default();
        for (mean, counted) in [(9.0, false), (5.0, true), (13.0 / 3.0, true)] {
            account.add(&state(mean, 2.0), counted).unwrap();
        }
        for (mean, counted) in [(19.0 / 4.0, false), (23.0 / 5.0, true)] {
            account.add(&state(mean, 2.0), counted).unwrap();
        }
        account.close();
        let [conv, pool] = &account.operations[..] else {
            panic!("two operations are executed");
        };
        assert_eq!(conv.nodes, ["conv", "relu"]);
        for (got, want) in [(&conv.ms, [2.0, 4.0]), (&pool.ms, [2.0, 2.0])] {
            let close = |(a, b): (&f64, &f64)| (a - b).abs() < 1e-9;
            assert!(
                got.len() == 2 && got.iter().zip(&want).all(close),
                "{got:?}"
            );
        }
        assert!(account.add(&state(1.0, 1.0)[..2], true).is_err());
    }

    #[test]
    fn the_version_keeps_its_build_number_and_drops_the_branch() {
        let long = "2026.4.1-22982-e213a147257-releases/2026/4";
        for (version, want) in [
            (long, "2026.4.1-22982"),
            ("2026.4.1-1", "2026.4.1-1"),
            ("", ""),
        ] {
            assert_eq!(short(version), want);
        }
    }

    #[test]
    fn bf16_is_offered_where_the_cpu_has_it() {
        use Precision::*;
        let cases: &[(&str, &[Precision])] = &[
            ("FP32 INT8 BIN EXPORT_IMPORT", &[F32, Int8]),
            ("FP32 INT8 BIN EXPORT_IMPORT BF16", &[F32, Bf16, Int8]),
            ("BF16 FP16 FP32", &[F32, Bf16]),
            ("", &[]),
        ];
        for (capabilities, want) in cases {
            assert_eq!(precisions(capabilities), *want, "{capabilities}");
        }
    }
}
