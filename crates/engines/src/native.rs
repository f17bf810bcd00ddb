//! slicewise's own engine, always there.

use slicewise_graph::Graph;

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
        prepare(graph, options)?;
        Err(EngineError::Failed {
            engine: NAME,
            message: "its crate has no network to compile to yet".into(),
        })
    }
}
