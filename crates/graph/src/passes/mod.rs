//! Rewrites that keep what a graph computes and leave less to compute.

mod dead_code;
mod rewriter;

pub use dead_code::remove_dead_code;
pub use rewriter::Rewriter;

use crate::{Graph, GraphError};

/// Everything that every engine profits from.
///
/// # Errors
/// If a parameter has no data.
pub fn simplify(graph: &Graph) -> Result<Graph, GraphError> {
    remove_dead_code(graph)
}
