//! What can go wrong.

use slicewise_graph::GraphError;
use slicewise_kernels::IsaError;

/// Why a graph could not be compiled or run.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum NativeError {
    /// `SLICEWISE_ISA` asks for something else than this CPU has.
    #[error(transparent)]
    Isa(#[from] IsaError),
    /// The graph itself does not hold together.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// An operator is used in a way that no kernel computes.
    #[error("{op} '{node}': {problem}")]
    Unsupported {
        /// The node's name.
        node: String,
        /// The operator's name.
        op: &'static str,
        /// What is missing, and what to do about it.
        problem: String,
    },
    /// The values between inputs and outputs do not fit into memory.
    #[error(
        "needs {bytes} bytes of memory at once, more than there are: choose a smaller input or batch"
    )]
    Memory {
        /// What is needed.
        bytes: usize,
    },
    /// A run was given another number of inputs.
    #[error("takes {want} inputs, got {got}")]
    InputCount {
        /// What the graph takes.
        want: usize,
        /// What was given.
        got: usize,
    },
    /// A run was given another type or shape than the graph says.
    #[error("input '{name}' must be {want}, got {got}")]
    Input {
        /// The input's name.
        name: String,
        /// Type and shape that the graph says.
        want: String,
        /// Type and shape that were given.
        got: String,
    },
    /// A step was planned with tensors of another type than its kernel takes: a fault of this
    /// engine.
    #[error("'{0}' was planned wrongly; please report it with the model")]
    Plan(String),
}
