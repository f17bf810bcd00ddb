//! slicewise's own engine, always there.

use slicewise_graph::{Graph, Tensor};
use slicewise_native::{Network, Options};

use crate::inputs::{Spec, check_inputs};
use crate::{CompileOptions, Engine, EngineError, EngineInfo, Precision, Session, prepare};

pub(crate) const NAME: &str = "native";

/// The engine that this program holds itself.
pub(crate) struct Native {
    info: EngineInfo,
}

impl Native {
    pub(crate) fn new() -> Self {
        Native {
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
        &[Precision::F32]
    }

    fn compile(
        &self,
        graph: &Graph,
        options: &CompileOptions,
    ) -> Result<Box<dyn Session>, EngineError> {
        crate::check_precision(NAME, self.precisions(), graph, options.precision)?;
        let graph = prepare(graph, options)?;
        let threads = options.threads.max(1);
        let network = slicewise_native::compile(&graph, &Options { threads }).map_err(failed)?;
        Ok(Box::new(NativeSession {
            inputs: Spec::inputs(&graph),
            network,
            threads,
        }))
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
