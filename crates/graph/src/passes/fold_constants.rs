//! Nodes whose inputs are all constant.

use super::Rewriter;
use crate::{Graph, GraphError, Op, Role, Tensor, reference};

/// The graph with every node that depends on parameters alone replaced by its value.
///
/// Dequantized weights stay as they are: the pair of integer weight and scale is what an engine's
/// INT8 kernels look for.
///
/// # Errors
/// If a node cannot be evaluated.
pub fn fold_constants(graph: &Graph) -> Result<Graph, GraphError> {
    let mut rewriter = Rewriter::new(graph);
    for (id, node) in graph.iter() {
        let new = rewriter.copy(id)?;
        if node.inputs.is_empty() || matches!(node.op, Op::Dequantize { .. }) {
            continue;
        }
        let copied = rewriter.graph.node(new);
        let operands: Option<Vec<&Tensor>> = (copied.inputs.iter())
            .map(|&i| rewriter.graph.constant(i))
            .collect();
        if let Some(operands) = operands {
            let value = reference::evaluate(copied, &operands)?;
            let name = format!("{}/value", copied.name);
            let value = rewriter
                .graph
                .constant_tensor(&name, Role::Constant, value)?;
            rewriter.replace(id, value);
        }
    }
    rewriter.finish()
}
