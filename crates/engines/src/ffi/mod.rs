//! The only unsafe code of this crate: calls into the shared libraries of other engines where their
//! Rust bindings offer no way to run on memory that is ours. Everything here takes and returns safe
//! types; the adapters know no pointers.
#![allow(unsafe_code)]

#[cfg(feature = "onnxruntime")]
pub(crate) mod onnxruntime;
#[cfg(feature = "openvino")]
pub(crate) mod openvino;

/// A foreign message on one line, at most a few hundred characters of it.
pub(crate) fn one_line(message: &str) -> String {
    let lines = message.lines().map(str::trim).filter(|l| !l.is_empty());
    let joined = lines.collect::<Vec<_>>().join("; ");
    match joined.char_indices().nth(500) {
        Some((end, _)) => format!("{}…", &joined[..end]),
        None => joined,
    }
}
