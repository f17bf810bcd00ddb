//! Rewrites that keep what a graph computes and leave less to compute.
//!
//! Every engine is given the same simplified graph ([`simplify`]), so that none is compared on
//! work that another was spared. The other passes are an engine's own choice.

mod channels_first;
mod compose_convolutions;
mod convolve_before_upsampling;
mod dead_code;
mod fold_batch_norm;
mod fold_constants;
mod fold_scales;
mod merge_branches;
mod rewriter;

pub use channels_first::channels_first;
pub use compose_convolutions::compose_convolutions;
pub use convolve_before_upsampling::convolve_before_upsampling;
pub use dead_code::remove_dead_code;
pub use fold_batch_norm::fold_batch_norm;
pub use fold_constants::fold_constants;
pub use fold_scales::fold_scales;
pub use merge_branches::merge_branches;
pub use rewriter::Rewriter;

use crate::{Graph, GraphError};

/// Everything that every engine profits from: dead code gone, constants computed, batch norms and
/// factors per channel folded into the layers before them, parallel linear branches merged into one
/// convolution.
///
/// # Errors
/// If a parameter has no data.
pub fn simplify(graph: &Graph) -> Result<Graph, GraphError> {
    let graph = remove_dead_code(graph)?;
    let graph = fold_constants(&graph)?;
    let graph = fold_batch_norm(&graph)?;
    let graph = fold_scales(&graph)?;
    let graph = merge_branches(&graph)?;
    remove_dead_code(&graph)
}
