//! What a session was given, against what its graph takes.

use slicewise_graph::{DType, Graph, Tensor};

use crate::EngineError;

/// Type and sizes of one tensor that a graph takes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Spec {
    dtype: DType,
    shape: Vec<usize>,
}

impl Spec {
    /// What `graph` takes, in order. Its batch must be set.
    pub(crate) fn inputs(graph: &Graph) -> Vec<Spec> {
        let inputs = graph.inputs();
        let nodes = inputs.iter().map(|&id| graph.node(id));
        nodes
            .map(|node| Spec {
                dtype: node.dtype,
                shape: node.shape.sizes().unwrap_or_default(),
            })
            .collect()
    }
}

/// Checks that a run was given what the graph takes.
pub(crate) fn check_inputs(
    engine: &'static str,
    specs: &[Spec],
    inputs: &[Tensor],
) -> Result<(), EngineError> {
    if specs.len() != inputs.len() {
        return Err(EngineError::InputCount {
            engine,
            want: specs.len(),
            got: inputs.len(),
        });
    }
    for (index, (spec, input)) in specs.iter().zip(inputs).enumerate() {
        if spec.dtype != input.dtype() || spec.shape != input.shape() {
            return Err(EngineError::Input {
                engine,
                index,
                want: format!("{} {:?}", spec.dtype, spec.shape),
                got: format!("{} {:?}", input.dtype(), input.shape()),
            });
        }
    }
    Ok(())
}
