//! The traits that engines implement and their users hold.

use std::path::PathBuf;
use std::time::Duration;

use slicewise_graph::{Graph, GraphError, Task, Tensor, passes};

use crate::Profiler;

/// The arithmetic that a session computes in.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32-bit floats throughout.
    F32,
    /// bfloat16 products where the engine has them, 32-bit sums.
    Bf16,
    /// 8-bit integers where the graph is quantized.
    Int8,
}

impl std::fmt::Display for Precision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Precision::F32 => "f32",
            Precision::Bf16 => "bf16",
            Precision::Int8 => "int8",
        })
    }
}

impl std::str::FromStr for Precision {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        match s {
            "f32" => Ok(Precision::F32),
            "bf16" => Ok(Precision::Bf16),
            "int8" => Ok(Precision::Int8),
            _ => Err(format!(
                "'{s}' is not a precision; there are: f32, bf16, int8"
            )),
        }
    }
}

/// What a graph is compiled for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CompileOptions {
    /// What the session returns.
    pub task: Task,
    /// What it computes in.
    pub precision: Precision,
    /// Threads that work on one run; at least 1.
    pub threads: usize,
    /// Images per run, for a graph whose batch is open.
    pub batch: usize,
}

impl Default for CompileOptions {
    /// Logits of one image in f32 on every CPU that this process may use.
    fn default() -> Self {
        CompileOptions {
            task: Task::Logits,
            precision: Precision::F32,
            threads: std::thread::available_parallelism().map_or(1, |n| n.get()),
            batch: 1,
        }
    }
}

/// Which engine a figure came from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EngineInfo {
    /// The name that commands take: one of [`crate::ENGINES`].
    pub name: &'static str,
    /// The version that the engine states of itself.
    pub version: String,
    /// The shared library and its SHA-256, for an engine that was loaded at run time; for PyTorch, the
    /// file of the package that states its version and revision.
    pub library: Option<(PathBuf, String)>,
}

/// Something that runs graphs.
pub trait Engine: Send + Sync {
    /// Name, version and library.
    fn info(&self) -> &EngineInfo;

    /// The precisions that this engine computes in on this CPU.
    fn precisions(&self) -> &[Precision];

    /// Makes `graph` ready to run: everything that can be done once is done here.
    ///
    /// # Errors
    /// If the graph has no weights, or the engine cannot run it as asked.
    fn compile(
        &self,
        graph: &Graph,
        options: &CompileOptions,
    ) -> Result<Box<dyn Session>, EngineError>;

    /// The same for finding out where a run's time goes. The accounting itself takes time, so a
    /// profile's runs are no measurement of the engine.
    ///
    /// # Errors
    /// As [`Engine::compile`].
    fn profiler(
        &self,
        graph: &Graph,
        options: &CompileOptions,
    ) -> Result<Box<dyn Profiler>, EngineError>;
}

/// A network ready to run.
pub trait Session: Send {
    /// Runs the network once. `inputs` are in the order of the graph's inputs; the results are in
    /// the order of its outputs and are overwritten by the next run.
    ///
    /// # Errors
    /// If an input has another shape or type than the graph says, or the engine fails.
    fn run(&mut self, inputs: &[Tensor]) -> Result<&[Tensor], EngineError>;

    /// Runs the network once and leaves the results where they are: what a measurement repeats. For a
    /// session in a child process it saves the way of the results to this one, which may take longer than
    /// the run and throws out of the caches what the next run needs.
    ///
    /// # Errors
    /// As [`Session::run`].
    fn run_discarding(&mut self, inputs: &[Tensor]) -> Result<(), EngineError> {
        self.run(inputs).map(|_| ())
    }

    /// What the engine was told, and what it says it does, as key and value: threads, spinning,
    /// precision. Belongs into every record of a measurement.
    fn settings(&self) -> Vec<(String, String)> {
        Vec::new()
    }

    /// What the last run took in the process that made it, for a session that runs in a child; `None`
    /// where runs happen in this process. The way there and back is not the engine's time, so a
    /// measurement takes these figures instead of its own.
    fn in_child(&self) -> Option<ChildRun> {
        None
    }
}

/// What a run took in a child process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ChildRun {
    /// Its time, with the inputs already there and the results not yet copied.
    pub time: Duration,
    /// The processor time of all its threads, where the system tells.
    pub cpu_time: Option<Duration>,
    /// The most memory that the child held so far, where the system tells.
    pub peak_rss_bytes: Option<u64>,
}

/// Why an engine is not there or could not do what was asked. Every message names the engine.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The engine is not on this machine.
    #[error("engine '{engine}' is not installed; {fix}")]
    NotInstalled {
        /// The engine's name.
        engine: &'static str,
        /// What to do about it.
        fix: String,
    },
    /// There is no engine of that name.
    #[error("'{0}' is not an engine; there are: {names}", names = crate::ENGINES.join(", "))]
    Unknown(String),
    /// This build holds no adapter of the engine.
    #[error("engine '{engine}' was left out of this build; build it with: --features {engine}")]
    NotBuilt {
        /// The engine's name.
        engine: &'static str,
    },
    /// The engine does not compute in that precision here.
    #[error("{engine} does not run {precision} here")]
    Precision {
        /// The engine's name.
        engine: &'static str,
        /// What was asked for.
        precision: Precision,
    },
    /// The engine's library is there but cannot be used.
    #[error("engine '{engine}' at {} does not work: {why}", path.display())]
    Broken {
        /// The engine's name.
        engine: &'static str,
        /// Its library.
        path: PathBuf,
        /// What went wrong.
        why: String,
    },
    /// 8-bit integers were asked of a graph of floats.
    #[error("{engine} runs int8 on a quantized graph only, and '{graph}' is not one")]
    NotQuantized {
        /// The engine's name.
        engine: &'static str,
        /// The graph's name.
        graph: String,
    },
    /// A run was given another number of inputs than the graph takes.
    #[error("{engine}: the graph takes {want} inputs, got {got}")]
    InputCount {
        /// The engine's name.
        engine: &'static str,
        /// How many the graph has.
        want: usize,
        /// How many were given.
        got: usize,
    },
    /// A run was given other inputs than the graph takes.
    #[error("{engine}: input {index} must be {want}, got {got}")]
    Input {
        /// The engine's name.
        engine: &'static str,
        /// The input's position.
        index: usize,
        /// Type and shape that the graph says.
        want: String,
        /// Type and shape that were given.
        got: String,
    },
    /// The engine lacks an operator, or computes it in its own way.
    #[error("{engine} cannot run {op} '{node}': {problem}")]
    Unsupported {
        /// The engine's name.
        engine: &'static str,
        /// The node's name.
        node: String,
        /// The operator's name.
        op: &'static str,
        /// What is missing.
        problem: &'static str,
    },
    /// The engine's own failure, in its words.
    #[error("{engine}: {message}")]
    Failed {
        /// The engine's name.
        engine: &'static str,
        /// What it said.
        message: String,
    },
    /// The graph itself does not hold together.
    #[error(transparent)]
    Graph(#[from] GraphError),
}

/// The graph as every engine gets it: the task appended, the batch set, everything simplified that
/// can be, so that no engine is compared on work that another was spared.
///
/// # Errors
/// If the graph has no weights or no class axis for labels.
pub fn prepare(graph: &Graph, options: &CompileOptions) -> Result<Graph, GraphError> {
    let graph = graph.with_task(options.task)?.with_batch(options.batch)?;
    let graph = passes::simplify(&graph)?;
    let missing = graph.parameters().find(|(_, p)| p.data.is_none());
    let missing = missing.map(|(node, _)| node.name.clone());
    match missing {
        Some(name) => Err(GraphError::NoData(name)),
        None => Ok(graph),
    }
}
