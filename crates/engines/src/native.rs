//! slicewise's own engine, always there.

use std::time::Instant;

use slicewise_graph::{Graph, Tensor};
use slicewise_native::{Network, Options, StepInfo};

use crate::inputs::{Spec, check_inputs};
use crate::{
    CompileOptions, Engine, EngineError, EngineInfo, Operation, Precision, Profile, Profiler,
    Session, prepare,
};

pub(crate) const NAME: &str = "native";

/// The engine that this program holds itself.
pub(crate) struct Native {
    info: EngineInfo,
    precisions: Vec<Precision>,
}

/// What the network is compiled to.
fn native(precision: Precision) -> slicewise_native::Precision {
    match precision {
        Precision::F32 => slicewise_native::Precision::F32,
        Precision::Bf16 => slicewise_native::Precision::Bf16,
        Precision::Int8 => slicewise_native::Precision::Int8,
    }
}

impl Native {
    pub(crate) fn new() -> Self {
        // An instruction set that the CPU lacks is an error when a network is compiled.
        let has = slicewise_native::Precision::available().unwrap_or_default();
        let all = [Precision::F32, Precision::Bf16, Precision::Int8];
        Native {
            precisions: (all.into_iter())
                .filter(|p| *p == Precision::F32 || has.contains(&native(*p)))
                .collect(),
            info: EngineInfo {
                name: NAME,
                version: env!("CARGO_PKG_VERSION").into(),
                library: None,
            },
        }
    }
}

fn failed(error: impl std::fmt::Display) -> EngineError {
    EngineError::Failed {
        engine: NAME,
        message: error.to_string(),
    }
}

impl Engine for Native {
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
        Ok(Box::new(self.session(graph, options)?))
    }

    fn profiler(
        &self,
        graph: &Graph,
        options: &CompileOptions,
    ) -> Result<Box<dyn Profiler>, EngineError> {
        let session = self.session(graph, options)?;
        let operations = session.network.steps().into_iter().map(operation).collect();
        let profile = Profile {
            runs: Vec::new(),
            operations,
        };
        Ok(Box::new(NativeProfiler { session, profile }))
    }
}

impl Native {
    fn session(
        &self,
        graph: &Graph,
        options: &CompileOptions,
    ) -> Result<NativeSession, EngineError> {
        crate::check_precision(NAME, self.precisions(), graph, options.precision)?;
        let graph = prepare(graph, options)?;
        let threads = options.threads.max(1);
        let network = slicewise_native::compile(
            &graph,
            &Options {
                threads,
                precision: native(options.precision),
                ..Options::default()
            },
        )
        .map_err(failed)?;
        Ok(NativeSession {
            inputs: Spec::inputs(&graph),
            network,
            threads,
        })
    }
}

/// A step that has not run.
fn operation(step: StepInfo) -> Operation {
    Operation {
        name: step.name,
        operators: step.op,
        kernel: Some(step.kernel.to_owned()),
        nodes: step.nodes,
        output: Some(step.output),
        macs: Some(step.macs),
        bytes: Some(step.bytes),
        ms: Vec::new(),
    }
}

struct NativeProfiler {
    session: NativeSession,
    profile: Profile,
}

impl Profiler for NativeProfiler {
    fn run(&mut self, inputs: &[Tensor], counted: bool) -> Result<(), EngineError> {
        check_inputs(NAME, &self.session.inputs, inputs)?;
        let network = &mut self.session.network;
        let begin = Instant::now();
        network.run_profiled(inputs).map_err(failed)?;
        let ms = begin.elapsed().as_secs_f64() * 1e3;
        if counted {
            self.profile.runs.push(ms);
            for (operation, step) in self.profile.operations.iter_mut().zip(network.steps()) {
                operation.ms.extend(step.ms);
            }
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Profile, EngineError> {
        Ok(self.profile)
    }
}

struct NativeSession {
    inputs: Vec<Spec>,
    network: Network,
    threads: usize,
}

impl Session for NativeSession {
    fn run(&mut self, inputs: &[Tensor]) -> Result<&[Tensor], EngineError> {
        check_inputs(NAME, &self.inputs, inputs)?;
        self.network.run(inputs).map_err(failed)
    }

    fn settings(&self) -> Vec<(String, String)> {
        let isa = self.network.isa().to_string();
        vec![
            ("threads".into(), self.threads.to_string()),
            ("isa".into(), isa),
        ]
    }
}
