//! slicewise's own engine: a graph becomes a plan once, and the plan runs.
//!
//! 1. [`compile`] walks the graph and makes *steps*: one kernel each, with its weights packed. An
//!    activation or an addition after a convolution becomes part of it; resampling or a convolution
//!    before an arg-max becomes a label head, which never writes the scores.
//! 2. Every value that a step makes gets a place: a region of the arena (regions are shared by
//!    values that are never needed at the same time), or one of the results.
//! 3. [`Network::run`] runs the steps in order.
//!
//! All arithmetic is in `slicewise-kernels`; nothing here is unsafe.
#![forbid(unsafe_code)]

mod arena;
mod build;
mod choose;
mod error;
mod formats;
mod fuse;
mod kernel;
mod network;
mod pairs;
mod values;

pub use choose::{Accuracy, Algorithm, Layer, candidates, choose, cost};
pub use error::NativeError;
pub use formats::Precision;
pub use network::{Network, Options, StepInfo, compile};

#[cfg(test)]
mod tests;
