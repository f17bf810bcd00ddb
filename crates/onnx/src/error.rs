//! Why a file could not be read or written.

use std::path::PathBuf;

use slicewise_graph::GraphError;

/// Why a file could not be read or written. Every message of one line names the file, or the node.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OnnxError {
    /// The operating system refused.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What it said.
        error: std::io::Error,
    },
    /// The file is not an ONNX model, or contradicts itself.
    #[error("{file}: {problem}")]
    Malformed {
        /// The file's name.
        file: String,
        /// What is wrong.
        problem: String,
    },
    /// The file uses an operator that slicewise does not know.
    #[error("{file}: operator {op} of node '{node}' is not supported")]
    UnsupportedOp {
        /// The file's name.
        file: String,
        /// The operator, with its domain where that is not ONNX's own.
        op: String,
        /// The node's name, or that of its first output.
        node: String,
    },
    /// A node of the file uses its operator in a way that is wrong or not supported.
    #[error("{file}: {op} '{node}': {problem}")]
    Node {
        /// The file's name.
        file: String,
        /// The operator.
        op: String,
        /// The node's name, or that of its first output.
        node: String,
        /// What was got and what was expected.
        problem: String,
    },
    /// A parameter of the graph to be written has no elements.
    #[error("parameter '{0}' has no data: load weights or fill them before writing ONNX")]
    NoData(String),
    /// A node of the graph to be written cannot be said in ONNX.
    #[error("{op} '{node}' cannot be written as ONNX: {problem}")]
    Export {
        /// The operator.
        op: &'static str,
        /// The node's name.
        node: String,
        /// Why not.
        problem: String,
    },
    /// The nodes do not fit together.
    #[error("{file}: {error}")]
    Graph {
        /// The file's name.
        file: String,
        /// What the graph said.
        error: GraphError,
    },
}
