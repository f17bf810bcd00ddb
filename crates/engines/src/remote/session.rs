//! A session whose network is in a child process.

use std::io::{self, Write};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use slicewise_graph::{Graph, Tensor, TensorData};

use super::serve::Run;
use super::shared::{Place, Shared, zeros};
use super::{Peer, Ran, Reply};
use crate::inputs::{Spec, check_inputs, is_same};
use crate::outputs::Outputs;
use crate::{ChildRun, EngineError, Session};

/// How long a child may take to load its libraries from a cold disk.
const HELLO_LIMIT: Duration = Duration::from_secs(180);

/// How a session's child is started.
pub(crate) struct Start<'a> {
    /// The engine's name.
    pub(crate) engine: &'static str,
    /// The child.
    pub(crate) command: &'a mut Command,
    /// The prepared graph, for its inputs and outputs.
    pub(crate) graph: &'a Graph,
    /// What the child is asked to load, an object; where tensors lie is added to it.
    pub(crate) request: Value,
    /// The bytes that follow the request.
    pub(crate) payload: &'a dyn Fn(&mut dyn Write) -> io::Result<()>,
    /// How long it may take to make the network ready.
    pub(crate) limit: Duration,
}

/// A network in a child process, ready to run.
pub(crate) struct RemoteSession {
    engine: &'static str,
    inputs: Vec<Spec>,
    /// Nothing while nobody wants the results, which may be larger than the network.
    outputs: Outputs,
    /// Where the inputs lie, and after them the outputs.
    places: Vec<Place>,
    /// The file's size while results are wanted.
    end: u64,
    /// Whether it has that size.
    has_room: bool,
    peer: Peer,
    shared: Shared,
    /// What the child was given last: the same again need not be copied.
    given: Vec<TensorData>,
    settings: Vec<(String, String)>,
    ran: Option<Ran>,
}

impl RemoteSession {
    /// Starts the child and has it make the network ready.
    pub(crate) fn new(start: Start<'_>) -> Result<Self, EngineError> {
        let Start { engine, graph, .. } = start;
        let interface = graph
            .inputs()
            .into_iter()
            .chain(graph.outputs().iter().copied());
        let specs = interface.map(|id| {
            let node = graph.node(id);
            (node.dtype, node.shape.sizes().unwrap_or_default())
        });
        let shared = Shared::new(&specs.collect::<Vec<_>>());
        let (mut shared, places) = shared.map_err(|e| no_room(engine, &e))?;
        let end = shared.end().map_err(|e| no_room(engine, &e))?;
        let (inputs, outputs) = places.split_at(graph.inputs().len());
        let mut request = start.request;
        request["shared"] = json!(shared.path());
        request["inputs"] = json!(inputs);
        request["outputs"] = json!(outputs);

        let mut peer = Peer::start(engine, start.command)?;
        match peer.answer(Some(HELLO_LIMIT))? {
            Reply::Hello(_) => {}
            other => return Err(peer.failed(format!("its process answered {other:?}"))),
        }
        peer.ask(&request, start.payload)?;
        let settings = match peer.answer(Some(start.limit))? {
            Reply::Ready(settings) => settings,
            other => return Err(peer.failed(format!("its process answered {other:?}"))),
        };
        shared.unlink();
        Ok(RemoteSession {
            engine,
            inputs: Spec::inputs(graph),
            outputs: Outputs::default(),
            places,
            end,
            has_room: true,
            peer,
            shared,
            given: Vec::new(),
            settings,
            ran: None,
        })
    }

    /// What the last run took in the child.
    pub(crate) fn ran(&self) -> Option<&Ran> {
        self.ran.as_ref()
    }

    /// Gives the child its inputs; whether it did not have them.
    fn give(&mut self, inputs: &[Tensor]) -> io::Result<bool> {
        if is_same(&self.given, inputs) {
            return Ok(false);
        }
        self.given.clear();
        for (place, input) in self.places.iter().zip(inputs) {
            self.shared.write(place.offset, input.data())?;
        }
        // Held, so that nobody can change the elements that the child has.
        self.given = inputs.iter().map(|t| t.data().clone()).collect();
        Ok(true)
    }

    /// Has the child run the network.
    fn run_there(&mut self, inputs: &[Tensor], discard: bool) -> Result<(), EngineError> {
        check_inputs(self.engine, &self.inputs, inputs)?;
        let fresh = self
            .give(inputs)
            .map_err(|e| broken_file(self.engine, &e))?;
        self.peer.ask(&Run { fresh, discard }, &|_| Ok(()))?;
        match self.peer.answer(None)? {
            Reply::Ran(ran) => self.ran = Some(ran),
            other => return Err(self.peer.failed(format!("its process answered {other:?}"))),
        }
        Ok(())
    }

    /// Where the results lie.
    fn results(&self) -> &[Place] {
        &self.places[self.inputs.len()..]
    }

    /// Makes room for results, in the file and here.
    fn make_room(&mut self) -> Result<(), EngineError> {
        let extended = self.shared.extend(self.end);
        extended.map_err(|e| no_room(self.engine, &e))?;
        let mut tensors = Vec::new();
        for place in self.results() {
            let data = zeros(place).map_err(|e| broken_file(self.engine, &e))?;
            tensors.push(Tensor::new(&place.shape, data)?);
        }
        self.outputs = Outputs::of(tensors);
        self.has_room = true;
        Ok(())
    }
}

fn no_room(engine: &'static str, error: &io::Error) -> EngineError {
    EngineError::Failed {
        engine,
        message: format!("no room for inputs and outputs (set TMPDIR): {error}"),
    }
}

fn broken_file(engine: &'static str, error: &io::Error) -> EngineError {
    EngineError::Failed {
        engine,
        message: format!("the file between it and its process: {error}"),
    }
}

impl Session for RemoteSession {
    fn run(&mut self, inputs: &[Tensor]) -> Result<&[Tensor], EngineError> {
        if self.outputs.is_empty() {
            self.make_room()?;
        }
        self.run_there(inputs, false)?;
        let (shared, places) = (&mut self.shared, &self.places[self.inputs.len()..]);
        let read = self.outputs.write(|buffers| -> io::Result<()> {
            for (buffer, place) in buffers.iter_mut().zip(places) {
                shared.read(place.offset, &mut buffer.data)?;
            }
            Ok(())
        })?;
        read.map_err(|e| broken_file(self.engine, &e))?;
        Ok(self.outputs.tensors())
    }

    fn run_discarding(&mut self, inputs: &[Tensor]) -> Result<(), EngineError> {
        if std::mem::take(&mut self.has_room) {
            self.outputs = Outputs::default();
            let first = self.results().iter().map(|place| place.offset).min();
            // Where a file that is in use cannot shrink, it stays as it is.
            let _ = self.shared.shrink(first.unwrap_or(0) as u64);
        }
        self.run_there(inputs, true)
    }

    fn settings(&self) -> Vec<(String, String)> {
        self.settings.clone()
    }

    fn in_child(&self) -> Option<ChildRun> {
        let ran = self.ran.as_ref()?;
        Some(ChildRun {
            time: Duration::try_from_secs_f64(ran.seconds).ok()?,
            cpu_time: ran
                .cpu_seconds
                .and_then(|s| Duration::try_from_secs_f64(s).ok()),
            peak_rss_bytes: ran.peak_rss_bytes,
        })
    }
}
