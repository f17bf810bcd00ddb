//! The child's end: an engine of this program that answers a parent's requests.

use std::fs::{self, OpenOptions};
use std::io::{self, BufRead, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use slicewise_graph::{Graph, Tensor};

use super::shared::{Place, Shared, zeros};
use super::{Ran, Reply};
use crate::{CompileOptions, EngineError, Precision, Session};

/// What a child is asked to load.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Load {
    pub(super) precision: Precision,
    pub(super) threads: usize,
    /// The length of the ONNX model that follows, or 0 if it is in `file`.
    pub(super) bytes: usize,
    pub(super) file: Option<PathBuf>,
}

/// A request as it comes.
#[derive(Default)]
struct Request {
    text: String,
    /// What follows the first one.
    payload: Vec<u8>,
}

/// Answers the requests that a parent writes to standard input with the engine `name`, until there are
/// no more: for a child process that does nothing else.
///
/// # Errors
/// What could not be told to the parent.
pub fn serve(name: &str) -> io::Result<()> {
    let (sender, requests) = channel();
    thread::spawn(move || {
        // Whatever ended the input, the parent is gone, and nobody waits for a run any longer.
        let _ = listen(&sender);
        std::process::exit(0);
    });
    let mut served = None;
    let mut begin = || -> Result<(), String> {
        let engine = crate::load(name).map_err(|e| e.to_string())?;
        say(&Reply::Hello(engine.info().version.clone())).map_err(|e| e.to_string())?;
        let request = requests.recv().map_err(|e| e.to_string())?;
        let new = Served::new(engine.as_ref(), request)?;
        say(&Reply::Ready(new.settings())).map_err(|e| e.to_string())?;
        served = Some(new);
        Ok(())
    };
    if let Err(error) = begin() {
        return say(&Reply::Error(error));
    }
    while let (Some(served), Ok(request)) = (&mut served, requests.recv()) {
        match served.run(&request.text) {
            Ok(ran) => say(&Reply::Ran(ran))?,
            Err(error) => return say(&Reply::Error(error)),
        }
    }
    Ok(())
}

fn say(reply: &Reply) -> io::Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer(&mut out, reply)?;
    out.write_all(b"\n")?;
    out.flush()
}

/// Passes requests on until the input ends.
fn listen(to: &Sender<Request>) -> io::Result<()> {
    let mut input = io::stdin().lock();
    let mut is_first = true;
    loop {
        let mut request = Request::default();
        if input.read_line(&mut request.text)? == 0 {
            return Ok(());
        }
        if std::mem::take(&mut is_first)
            && let Ok(load) = serde_json::from_str::<Load>(&request.text)
        {
            input
                .by_ref()
                .take(load.bytes as u64)
                .read_to_end(&mut request.payload)?;
        }
        if to.send(request).is_err() {
            return Ok(());
        }
    }
}

/// A session and where its tensors come from and go to.
struct Served {
    session: Box<dyn Session>,
    shared: Shared,
    inputs: Vec<Place>,
    outputs: Vec<Place>,
    /// What was read last.
    given: Vec<Tensor>,
}

/// Where tensors lie.
#[derive(Deserialize)]
struct Places {
    shared: PathBuf,
    inputs: Vec<Place>,
    outputs: Vec<Place>,
}

/// A run.
#[derive(Serialize, Deserialize)]
pub(super) struct Run {
    /// Whether other inputs are there than last time.
    pub(super) fresh: bool,
    /// Whether nobody wants the results.
    pub(super) discard: bool,
}

impl Served {
    fn new(engine: &dyn crate::Engine, request: Request) -> Result<Self, String> {
        fn text(e: impl std::fmt::Display) -> String {
            e.to_string()
        }
        let load: Load = serde_json::from_str(&request.text).map_err(text)?;
        let places: Places = serde_json::from_str(&request.text).map_err(text)?;
        let graph: Graph = match &load.file {
            Some(file) => slicewise_onnx::read(file).map_err(text)?,
            None => slicewise_onnx::from_bytes("the parent", &request.payload).map_err(text)?,
        };
        drop(request);
        let options = CompileOptions {
            precision: load.precision,
            threads: load.threads,
            // The graph holds its task and its batch.
            ..CompileOptions::default()
        };
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&places.shared);
        Ok(Served {
            session: engine
                .compile(&graph, &options)
                .map_err(|e| own_words(&e))?,
            shared: Shared::of(file.map_err(text)?),
            inputs: places.inputs,
            outputs: places.outputs,
            given: Vec::new(),
        })
    }

    fn settings(&self) -> Vec<(String, String)> {
        let mut settings = self.session.settings();
        settings.push(("process".into(), "own".into()));
        settings
    }

    fn run(&mut self, request: &str) -> Result<Ran, String> {
        let run: Run = serde_json::from_str(request).map_err(|e| e.to_string())?;
        if run.fresh || self.given.len() != self.inputs.len() {
            self.given.clear();
            for place in &self.inputs {
                let tensor = self.shared.take(place).map_err(|e| e.to_string())?;
                self.given.push(tensor);
            }
        }
        let cpu = cpu_seconds();
        let begin = Instant::now();
        let outputs = self.session.run(&self.given).map_err(|e| own_words(&e))?;
        let seconds = begin.elapsed().as_secs_f64();
        let cpu_seconds = cpu.zip(cpu_seconds()).map(|(before, after)| after - before);
        let wanted = if run.discard { &[][..] } else { &self.outputs };
        for (place, output) in wanted.iter().zip(outputs) {
            let written = self.shared.write(place.offset, output.data());
            written.map_err(|e| e.to_string())?;
        }
        Ok(Ran {
            seconds,
            cpu_seconds,
            peak_rss_bytes: peak_rss_bytes(),
            marks: Vec::new(),
        })
    }
}

/// An error without the engine's name, which the parent adds.
fn own_words(error: &EngineError) -> String {
    match error {
        EngineError::Failed { message, .. } => message.clone(),
        other => other.to_string(),
    }
}

/// The processor time of all threads that live, where the system tells.
fn cpu_seconds() -> Option<f64> {
    let mut nanoseconds = 0u64;
    for task in fs::read_dir("/proc/self/task").ok()?.flatten() {
        // A thread may end while it is looked at.
        if let Ok(text) = fs::read_to_string(task.path().join("schedstat")) {
            let ran = text.split(' ').next().and_then(|n| n.parse::<u64>().ok());
            nanoseconds += ran?;
        }
    }
    Some(nanoseconds as f64 / 1e9)
}

/// The most memory that this process held, where the system tells.
fn peak_rss_bytes() -> Option<u64> {
    let status = fs::read_to_string(Path::new("/proc/self/status")).ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

impl Shared {
    /// The tensor at `place`.
    fn take(&mut self, place: &Place) -> io::Result<Tensor> {
        let mut data = zeros(place)?;
        self.read(place.offset, &mut data)?;
        Tensor::new(&place.shape, data).map_err(io::Error::other)
    }
}
