//! Why a graph could not be quantized.

use slicewise_graph::GraphError;

/// Why a graph could not be quantized. Every message says what, where, and how to mend it.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum QuantizeError {
    /// There is nothing to calibrate with.
    #[error("{folder}: holds no calibration image; put .npy or .png files there")]
    Empty {
        /// The folder.
        folder: String,
    },
    /// A file or folder cannot be read.
    #[error("{file}: {problem}")]
    File {
        /// The file, and the image in it where it holds several.
        file: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A calibration image does not fit the network.
    #[error("{file}: the network takes {want}, this is {got}")]
    Shape {
        /// The file, and the image in it where it holds several.
        file: String,
        /// What the network takes.
        want: String,
        /// What was found.
        got: String,
    },
    /// A calibration image holds values that are no numbers.
    #[error("{file}: {count} of its values are NaN or infinite; leave the image out or mend it")]
    NotFinite {
        /// The file, and the image in it where it holds several.
        file: String,
        /// How many.
        count: usize,
    },
    /// A calibration image has one value throughout.
    #[error(
        "{file}: every value is {value}; a constant image says nothing about ranges, leave it out"
    )]
    Constant {
        /// The file, and the image in it where it holds several.
        file: String,
        /// The value.
        value: f32,
    },
    /// The network itself makes values that are no numbers.
    #[error(
        "'{node}' makes NaN or infinite values of {file}: check the weights and the input's scale"
    )]
    Overflow {
        /// The node.
        node: String,
        /// The image.
        file: String,
    },
    /// The graph cannot be quantized.
    #[error("'{graph}': {problem}")]
    Unsuitable {
        /// The graph's name.
        graph: String,
        /// Why not.
        problem: String,
    },
    /// A layer to be kept is none of the graph's.
    #[error("no layer is named '{name}'; the closest is '{closest}'")]
    NoLayer {
        /// The name given.
        name: String,
        /// The layer whose name is most like it.
        closest: String,
    },
    /// The engine that runs the calibration failed.
    #[error("calibration: {0}")]
    Engine(String),
    /// The graph does not hold together.
    #[error(transparent)]
    Graph(#[from] GraphError),
}
