//! Graphs to ONNX files and back.
//!
//! [`write`] turns any [`Graph`] with weights into a file of opset 17 that ONNX Runtime, OpenVINO and
//! others run with the same result; [`read`] turns such a file, or what `torch.onnx.export` writes
//! for a network of this kind, into a [`Graph`]. What a file holds is checked before it is believed:
//! a truncated or hostile one ends in an [`OnnxError`], never in a panic or an allocation that the
//! file's own size does not justify.
#![forbid(unsafe_code)]

mod element;
mod error;
mod export;
mod file;
mod import;
#[allow(missing_docs, unreachable_pub, clippy::all)]
mod proto;

pub use error::OnnxError;
pub use export::{to_bytes, write};
pub use import::{from_bytes, read};
