//! The only unsafe code of this crate: calls into the shared libraries of other engines where their
//! Rust bindings offer no way to run on memory that is ours. Everything here takes and returns safe
//! types; the adapters know no pointers.
#![allow(unsafe_code)]

#[cfg(feature = "onnxruntime")]
pub(crate) mod onnxruntime;
#[cfg(feature = "openvino")]
pub(crate) mod openvino;
