//! Nodes that no output needs.

use super::Rewriter;
use crate::{Graph, GraphError, Op};

/// The graph without the nodes that no output needs. Inputs stay: a caller still gives them.
///
/// # Errors
/// None on a graph built by [`Graph::add`].
pub fn remove_dead_code(graph: &Graph) -> Result<Graph, GraphError> {
    let mut live = vec![false; graph.nodes().len()];
    for id in graph.outputs() {
        live[id.index()] = true;
    }
    for (id, node) in graph.iter().rev() {
        if live[id.index()] {
            for input in &node.inputs {
                live[input.index()] = true;
            }
        }
    }
    let mut rewriter = Rewriter::new(graph);
    for (id, node) in graph.iter() {
        if live[id.index()] || node.op == Op::Input {
            rewriter.copy(id)?;
        }
    }
    rewriter.finish()
}
