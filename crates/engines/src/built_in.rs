//! What the engines that are built in by features share: they own their tensors, so results are
//! copied or moved into ours.

use slicewise_graph::{Graph, Tensor, TensorData};

use crate::inputs::{Spec, check_inputs, is_same};
use crate::model_file::OnnxModel;
use crate::{CompileOptions, EngineError, Precision, Session, prepare};

/// A foreign engine of this program, compiled for one network.
pub(crate) trait Runner: Send {
    /// Takes other inputs than last time.
    fn give(&mut self, inputs: &[Tensor]) -> Result<(), String>;

    /// Computes every output from what was given.
    fn run(&mut self) -> Result<Vec<Tensor>, String>;

    /// What it was told.
    fn settings(&self) -> Vec<(String, String)>;
}

/// The prepared graph and the ONNX file of it.
pub(crate) fn model(
    engine: &'static str,
    graph: &Graph,
    options: &CompileOptions,
) -> Result<(Graph, Vec<u8>), EngineError> {
    crate::check_precision(engine, &[Precision::F32], graph, options.precision)?;
    let graph = prepare(graph, options)?;
    let failed = |message: String| EngineError::Failed { engine, message };
    match OnnxModel::new(&graph).map_err(failed)? {
        OnnxModel::Bytes(bytes) => Ok((graph, bytes)),
        OnnxModel::File { .. } => Err(failed("takes no model of more than 1 GiB here".into())),
    }
}

/// A session of such an engine.
pub(crate) struct BuiltInSession<R> {
    engine: &'static str,
    inputs: Vec<Spec>,
    runner: R,
    /// What was given last: the same again need not be copied.
    given: Vec<TensorData>,
    outputs: Vec<Tensor>,
}

impl<R: Runner> BuiltInSession<R> {
    pub(crate) fn new(engine: &'static str, graph: &Graph, runner: R) -> Self {
        BuiltInSession {
            engine,
            inputs: Spec::inputs(graph),
            runner,
            given: Vec::new(),
            outputs: Vec::new(),
        }
    }
}

impl<R: Runner> Session for BuiltInSession<R> {
    fn run(&mut self, inputs: &[Tensor]) -> Result<&[Tensor], EngineError> {
        let engine = self.engine;
        check_inputs(engine, &self.inputs, inputs)?;
        let failed = |message: String| EngineError::Failed {
            engine,
            message: crate::text::one_line(&message),
        };
        if !is_same(&self.given, inputs) {
            self.given.clear();
            self.runner.give(inputs).map_err(failed)?;
            self.given = inputs.iter().map(|t| t.data().clone()).collect();
        }
        self.outputs = self.runner.run().map_err(failed)?;
        Ok(&self.outputs)
    }

    fn settings(&self) -> Vec<(String, String)> {
        self.runner.settings()
    }
}

/// The failure of an engine that keeps no account of its time.
pub(crate) fn no_profile(engine: &'static str) -> EngineError {
    EngineError::Failed {
        engine,
        message: "slicewise does not read its account of time".into(),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_stated_versions_are_those_of_the_lock_file() {
        let lock = include_str!("../../../Cargo.lock");
        let stated = [
            #[cfg(feature = "tract")]
            ("tract-onnx", crate::tract::VERSION),
            #[cfg(feature = "rten")]
            ("rten", crate::rten::VERSION),
        ];
        for (name, version) in stated {
            let entry = format!("name = \"{name}\"\nversion = \"{version}\"\n");
            assert!(lock.contains(&entry), "{name} {version}");
        }
    }
}
