//! An engine of this program whose sessions run in processes of their own.

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde_json::json;
use slicewise_graph::Graph;

use super::serve::Load;
use super::{RemoteSession, Start};
use crate::model_file::OnnxModel;
use crate::{
    CompileOptions, Engine, EngineError, EngineInfo, Precision, Profiler, Session, prepare,
};

/// How long a child may take to compile a network.
const READY_LIMIT: Duration = Duration::from_secs(10 * 60);

static SERVER: OnceLock<(PathBuf, Vec<OsString>)> = OnceLock::new();

/// Says which program runs engines in processes of their own: `program arguments… NAME` has to call
/// [`crate::serve`]. [`crate::load_in_child`] needs it.
pub fn serve_with(program: PathBuf, arguments: Vec<OsString>) {
    // The first caller is the program itself; a second one has nothing else to say.
    let _ = SERVER.set((program, arguments));
}

/// The engine of that name with every session in a process of its own, so that its threads, memory
/// and crashes are its own. PyTorch is so already.
///
/// # Errors
/// As [`crate::load`], or if no program was named with [`serve_with`].
pub fn load_in_child(name: &str) -> Result<Arc<dyn Engine>, EngineError> {
    let engine = crate::load(name)?;
    let name = engine.info().name;
    if crate::is_on_request(name) {
        return Ok(engine);
    }
    let server = SERVER.get().cloned();
    let (program, arguments) = server.ok_or_else(|| EngineError::Failed {
        engine: name,
        message: "no program was named to run it in a process of its own".into(),
    })?;
    Ok(Arc::new(Remote {
        engine,
        program,
        arguments,
    }))
}

struct Remote {
    engine: Arc<dyn Engine>,
    program: PathBuf,
    arguments: Vec<OsString>,
}

impl Engine for Remote {
    fn info(&self) -> &EngineInfo {
        self.engine.info()
    }

    fn precisions(&self) -> &[Precision] {
        self.engine.precisions()
    }

    fn compile(
        &self,
        graph: &Graph,
        options: &CompileOptions,
    ) -> Result<Box<dyn Session>, EngineError> {
        let engine = self.info().name;
        crate::check_precision(engine, self.precisions(), graph, options.precision)?;
        let graph = prepare(graph, options)?;
        let model = OnnxModel::new(&graph);
        let model = model.map_err(|message| EngineError::Failed { engine, message })?;
        let (bytes, file) = match &model {
            OnnxModel::Bytes(bytes) => (bytes.as_slice(), None),
            OnnxModel::File { path, .. } => (&[][..], Some(path.clone())),
        };
        let load = Load {
            precision: options.precision,
            threads: options.threads.max(1),
            bytes: bytes.len(),
            file,
        };
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).arg(engine);
        let session = RemoteSession::new(Start {
            engine,
            command: &mut command,
            graph: &graph,
            request: json!(load),
            payload: &|to: &mut dyn Write| to.write_all(bytes),
            limit: READY_LIMIT,
        })?;
        Ok(Box::new(session))
    }

    /// In this process: where time goes is no matter of who is disturbed.
    fn profiler(
        &self,
        graph: &Graph,
        options: &CompileOptions,
    ) -> Result<Box<dyn Profiler>, EngineError> {
        self.engine.profiler(graph, options)
    }
}
