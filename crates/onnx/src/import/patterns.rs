//! Operators put together again that exporters take apart.

use slicewise_graph::{Graph, GraphError, passes};

/// The graph with what exporters take apart put together again, and without what nothing needs.
pub(super) fn recognize(graph: Graph) -> Result<Graph, GraphError> {
    passes::remove_dead_code(&graph)
}
