//! Everything that can run a graph, behind one pair of traits: an [`Engine`] compiles a graph to a
//! [`Session`], a session runs it.
//!
//! The native engine is part of the program. The others are shared libraries and Python packages that
//! are looked for when they are asked for ([`installed`], [`load`]); their absence is a value, not an
//! error. What would disturb this process runs in one of its own.
#![deny(unsafe_code)] // allowed in `ffi` alone, which says why

#[cfg(any(feature = "tract", feature = "rten"))]
mod built_in;
mod cache;
mod discover;
mod engine;
#[cfg(any(feature = "onnxruntime", feature = "openvino"))]
mod ffi;
mod hash;
mod inputs;
mod install;
mod model_file;
mod native;
#[cfg(feature = "onnxruntime")]
mod onnxruntime;
#[cfg(feature = "openvino")]
mod openvino;
mod outputs;
mod probe;
pub mod process;
mod profile;
mod remote;
#[cfg(feature = "rten")]
mod rten;
mod text;
mod torch;
#[cfg(feature = "tract")]
mod tract;
mod wheels;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use slicewise_graph::{Graph, Op};

pub use discover::{Availability, Found, How, Places, Searched};
pub use engine::{
    ChildRun, CompileOptions, Engine, EngineError, EngineInfo, Precision, Session, prepare,
};
pub use install::{InstallError, Installed, add};
pub use probe::{ProbeError, ProbeReport, probe_in_child, probe_in_this_process, probe_with};
pub use profile::{Operation, Profile, Profiler, node_names, plain_name};
pub use remote::{load_in_child, serve, serve_with};

/// Every engine's name, the preferred one first.
pub const ENGINES: [&str; 7] = [
    native::NAME,
    "onnxruntime",
    "openvino",
    torch::EAGER,
    torch::COMPILED,
    "tract",
    "rten",
];

/// Whether an engine takes part only where it is named: starting it takes seconds to minutes.
pub fn is_on_request(name: &str) -> bool {
    [torch::EAGER, torch::COMPILED].contains(&name)
}

/// The engine of that name, loaded once per process.
///
/// # Errors
/// If there is no such engine, it is not installed, or its library does not work.
pub fn load(name: &str) -> Result<Arc<dyn Engine>, EngineError> {
    static LOADED: Mutex<BTreeMap<&str, Arc<dyn Engine>>> = Mutex::new(BTreeMap::new());
    let name = known(name)?;
    let mut loaded = LOADED.lock().unwrap_or_else(|e| e.into_inner());
    if let Some(engine) = loaded.get(name) {
        return Ok(engine.clone());
    }
    let engine = match probe::checked(Places::from_environment().find(name)) {
        Availability::Found(Found { path: None, .. }) => built_in_engine(name)?,
        Availability::Found(Found {
            path: Some(path), ..
        }) => open(name, &path)?,
        Availability::Missing { fix, .. } => return Err(absent(name, fix)),
        Availability::Broken { engine, path, why } => {
            return Err(EngineError::Broken { engine, path, why });
        }
    };
    loaded.insert(name, engine.clone());
    Ok(engine)
}

/// What is there of every engine, in the order of [`ENGINES`].
pub fn installed() -> Vec<Availability> {
    let places = Places::from_environment();
    let found = ENGINES.into_iter().map(|name| places.find(name));
    found.map(probe::checked).collect()
}

/// The engine's name as it is written here.
fn known(name: &str) -> Result<&'static str, EngineError> {
    let known = ENGINES.into_iter().find(|known| *known == name);
    known.ok_or_else(|| EngineError::Unknown(name.into()))
}

/// Whether this build holds the adapter of an engine.
fn is_built(name: &str) -> bool {
    let optional = [
        ("onnxruntime", cfg!(feature = "onnxruntime")),
        ("openvino", cfg!(feature = "openvino")),
        ("tract", cfg!(feature = "tract")),
        ("rten", cfg!(feature = "rten")),
    ];
    optional.iter().all(|(n, built)| *n != name || *built)
}

fn absent(engine: &'static str, fix: String) -> EngineError {
    match is_built(engine) {
        true => EngineError::NotInstalled { engine, fix },
        false => EngineError::NotBuilt { engine },
    }
}

/// The version of an engine that is part of this build.
fn built_in_version(name: &str) -> &'static str {
    match name {
        #[cfg(feature = "tract")]
        tract::NAME => tract::VERSION,
        #[cfg(feature = "rten")]
        rten::NAME => rten::VERSION,
        _ => env!("CARGO_PKG_VERSION"),
    }
}

/// An engine that is part of this build.
fn built_in_engine(name: &'static str) -> Result<Arc<dyn Engine>, EngineError> {
    match name {
        native::NAME => Ok(Arc::new(native::Native::new())),
        #[cfg(feature = "tract")]
        tract::NAME => Ok(Arc::new(tract::Tract::new())),
        #[cfg(feature = "rten")]
        rten::NAME => Ok(Arc::new(rten::Rten::new())),
        _ => Err(EngineError::NotBuilt { engine: name }),
    }
}

/// Loads the library, or takes the Python, at `path`, which has been probed if anything is there to
/// probe it.
fn open(name: &'static str, path: &Path) -> Result<Arc<dyn Engine>, EngineError> {
    match name {
        #[cfg(feature = "onnxruntime")]
        "onnxruntime" => Ok(Arc::new(onnxruntime::OnnxRuntime::load(path)?)),
        #[cfg(feature = "openvino")]
        "openvino" => Ok(Arc::new(openvino::OpenVino::load(path)?)),
        torch::EAGER | torch::COMPILED => Ok(Arc::new(torch::PyTorch::open(name, path)?)),
        native::NAME => Err(EngineError::Broken {
            engine: name,
            path: path.to_owned(),
            why: "the native engine has no library".into(),
        }),
        _ => Err(EngineError::NotBuilt { engine: name }),
    }
}

/// Refuses a precision that the engine does not have, and 8-bit integers for a graph of floats.
fn check_precision(
    engine: &'static str,
    offered: &[Precision],
    graph: &Graph,
    precision: Precision,
) -> Result<(), EngineError> {
    if !offered.contains(&precision) {
        return Err(EngineError::Precision { engine, precision });
    }
    let quantized = |op: &Op| matches!(op, Op::Quantize { .. } | Op::Dequantize { .. });
    if precision == Precision::Int8 && !graph.nodes().iter().any(|n| quantized(&n.op)) {
        return Err(EngineError::NotQuantized {
            engine,
            graph: graph.name.clone(),
        });
    }
    Ok(())
}
