//! The graph that every slicewise model is: a list of nodes in execution order, each with one
//! operator, its inputs, and the shape and type of the one tensor it makes.
//!
//! Everything that makes models (the zoo, the ONNX reader, quantization) ends in a [`Graph`], and
//! everything that runs or writes them starts from one. Shapes are checked when a node is added
//! ([`Graph::add`]), so a graph that exists is consistent.
#![forbid(unsafe_code)]

pub mod cost;
mod graph;
mod infer;
pub mod npy;
mod op;
pub mod passes;
pub mod reference;
pub mod sampling;
mod shape;
mod tensor;

pub use graph::{Graph, GraphError, Node, NodeId, Task};
pub use op::*;
pub use shape::{Dim, Shape};
pub use tensor::{DType, Tensor, TensorData};
