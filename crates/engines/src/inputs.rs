//! What a session was given, against what its graph takes.

use std::sync::Arc;

use slicewise_graph::{DType, Graph, Tensor, TensorData};

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

/// Whether a run is given the very elements in memory that it was `given` before. Whoever keeps a clone
/// of them can be sure that they did not change.
pub(crate) fn is_same(given: &[TensorData], inputs: &[Tensor]) -> bool {
    let same = |(a, b): (&TensorData, &Tensor)| match (a, b.data()) {
        (TensorData::F32(a), TensorData::F32(b)) => Arc::ptr_eq(a, b),
        (TensorData::I64(a), TensorData::I64(b)) => Arc::ptr_eq(a, b),
        (TensorData::I32(a), TensorData::I32(b)) => Arc::ptr_eq(a, b),
        (TensorData::U16(a), TensorData::U16(b)) => Arc::ptr_eq(a, b),
        (TensorData::U8(a), TensorData::U8(b)) => Arc::ptr_eq(a, b),
        (TensorData::I8(a), TensorData::I8(b)) => Arc::ptr_eq(a, b),
        _ => false,
    };
    given.len() == inputs.len() && given.iter().zip(inputs).all(same)
}
