//! Everything that can run a graph, behind one pair of traits: an [`Engine`] compiles a graph to a
//! [`Session`], a session runs it.
#![forbid(unsafe_code)]

mod engine;

pub use engine::{CompileOptions, Engine, EngineError, EngineInfo, Precision, Session, prepare};
