//! A compiled network: its steps, its memory, and running them.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Instant;

use slicewise_graph::{DType, Graph, NodeId, Op, Shape, Tensor, TensorData, passes};
use slicewise_kernels::{Buffer, Context, Isa};

use crate::NativeError;
use crate::arena::{self, Storage};
use crate::build::{self, Step, bytes};
use crate::choose::Accuracy;
use crate::formats::{Formats, Precision};
use crate::kernel::Kernel;
use crate::pairs::{Quantized, without_pairs};
use crate::values::{View, ViewMut, try_zeros};

/// What a network is compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Threads that work on one run; 0 counts as 1.
    pub threads: usize,
    /// How far results may be from the definition's.
    pub accuracy: Accuracy,
    /// What is computed in.
    pub precision: Precision,
}

impl Default for Options {
    /// Every CPU that affinity and control groups leave to this process.
    fn default() -> Self {
        Options {
            threads: std::thread::available_parallelism().map_or(1, |n| n.get()),
            accuracy: Accuracy::Default,
            precision: Precision::F32,
        }
    }
}

/// What one step of a network is, for profiles.
#[derive(Clone, Debug, PartialEq)]
pub struct StepInfo {
    /// The node that it begins with.
    pub name: String,
    /// The operators that it computes, joined by `+`.
    pub op: String,
    /// The kernel chosen.
    pub kernel: &'static str,
    /// Type and shape of what it makes.
    pub output: String,
    /// The nodes that it computes.
    pub nodes: Vec<String>,
    /// Multiply-accumulates.
    pub macs: u64,
    /// Bytes of its operands, weights and result, each counted once.
    pub bytes: u64,
    /// Time of the last profiled run.
    pub ms: Option<f64>,
}

/// Where a value lies.
#[derive(Clone, Debug)]
enum Place {
    /// Nowhere: it is a weight that was packed, or part of a step.
    None,
    Input(usize),
    Constant(Tensor),
    /// Bytes of the arena.
    Arena(std::ops::Range<usize>),
    Output(usize),
}

/// A step with its memory.
#[derive(Debug)]
struct Planned {
    step: Step,
    inputs: Vec<(Place, DType)>,
    output: (Place, DType),
    /// The inputs that lie where the output does: one that is overwritten, or those of a
    /// concatenation that were made in their places.
    in_place: Vec<usize>,
}

#[derive(Clone)]
struct InputSpec {
    name: String,
    shape: Vec<usize>,
    dtype: DType,
}

#[derive(Clone)]
struct OutputSpec {
    shape: Vec<usize>,
    dtype: DType,
    /// Where it is copied from, if no step writes it.
    copy: Option<Place>,
}

/// Where results are taken apart while they are written: empty between runs, kept because a run
/// allocates nothing.
#[derive(Default)]
struct Parts {
    shapes: Vec<Vec<usize>>,
    data: Vec<Option<TensorData>>,
}

/// A graph ready to run.
pub struct Network {
    context: Context,
    inputs: Vec<InputSpec>,
    outputs: Vec<OutputSpec>,
    /// With their packed weights, which replicas share.
    steps: Arc<[Planned]>,
    arena: Buffer,
    results: Vec<Tensor>,
    parts: Parts,
    times: Vec<Option<f64>>,
    infos: Vec<StepInfo>,
}

/// Makes `graph` ready to run. Its batch must be fixed and its weights loaded; folding constants and
/// batch normalisation beforehand makes it faster, not different.
///
/// # Errors
/// If a weight is missing, an operator is used in a way that no kernel computes, or
/// `SLICEWISE_ISA` names an instruction set that this CPU does not have.
pub fn compile(graph: &Graph, options: &Options) -> Result<Network, NativeError> {
    let context = Context::new(Isa::from_env()?, options.threads.max(1));
    compile_with(graph, context, options.accuracy, options.precision)
}

/// The same with given instruction set and threads.
pub(crate) fn compile_with(
    graph: &Graph,
    context: Context,
    accuracy: Accuracy,
    precision: Precision,
) -> Result<Network, NativeError> {
    let graph = &passes::convolve_before_upsampling(graph)?;
    let graph = &passes::compose_convolutions(graph)?;
    let graph = passes::channels_first(graph)?;
    let Quantized { graph, steps } = match precision {
        Precision::Int8 => without_pairs(&graph)?,
        Precision::F32 | Precision::Bf16 => Quantized {
            graph,
            steps: HashMap::new(),
        },
    };
    let (graph, quantized) = (&graph, steps);
    let mut steps = build::steps(graph, &context, accuracy, precision, &quantized)?;
    let formats = Formats::assign(graph, &mut steps, &quantized);
    let planner = Planner::new(graph, formats)?;
    planner.plan(steps, context)
}

/// Assigns memory.
struct Planner<'a> {
    graph: &'a Graph,
    formats: Formats,
    sizes: Vec<Vec<usize>>,
    /// The node whose memory each node's value is: another's for a reshape.
    root: Vec<NodeId>,
}

impl<'a> Planner<'a> {
    fn new(graph: &'a Graph, formats: Formats) -> Result<Self, NativeError> {
        let mut sizes = Vec::with_capacity(graph.nodes().len());
        let mut root = Vec::with_capacity(graph.nodes().len());
        for (id, node) in graph.iter() {
            // An open batch that matters was found when steps were built.
            sizes.push(node.shape.with_batch(1).sizes().unwrap_or_default());
            root.push(match (&node.op, node.inputs.first()) {
                (Op::Reshape { .. }, Some(input)) => root[input.index()],
                _ => id,
            });
        }
        Ok(Planner {
            graph,
            formats,
            sizes,
            root,
        })
    }

    fn bytes(&self, id: NodeId) -> usize {
        let sizes = self.formats.sizes(id, &self.sizes[id.index()]);
        bytes(&sizes, self.formats.dtype(self.graph, id))
    }

    fn plan(&self, steps: Vec<Step>, context: Context) -> Result<Network, NativeError> {
        let mut places = vec![Place::None; self.graph.nodes().len()];
        for (i, id) in self.graph.inputs().into_iter().enumerate() {
            places[id.index()] = Place::Input(i);
        }
        for (id, node) in self.graph.iter() {
            if let Op::Parameter(p) = &node.op
                && let Some(tensor) = &p.data
                && self.is_operand(id, &steps)
            {
                places[id.index()] = Place::Constant(tensor.clone());
            }
        }
        let made: Vec<NodeId> = steps.iter().map(|s| s.output).collect();
        for (i, id) in self.graph.outputs().iter().enumerate() {
            let root = self.root[id.index()];
            if made.contains(&root) && matches!(places[root.index()], Place::None) {
                places[root.index()] = Place::Output(i);
            }
        }
        let (in_place, arena) = self.place(&steps, &mut places);
        let outputs = self.outputs(&places)?;
        let mut infos: Vec<StepInfo> = steps.iter().map(|s| self.info(s)).collect();
        for ((step, in_place), info) in steps.iter().zip(&in_place).zip(&mut infos) {
            if matches!(step.kernel, Kernel::Concat { .. }) && in_place.len() == step.inputs.len() {
                info.kernel = "made in place";
            }
        }
        let place = |id: &NodeId| {
            let root = self.root[id.index()];
            (
                places[root.index()].clone(),
                self.formats.dtype(self.graph, *id),
            )
        };
        let steps: Vec<Planned> = (steps.into_iter().zip(in_place))
            .map(|(step, in_place)| Planned {
                inputs: step.inputs.iter().map(place).collect(),
                output: place(&step.output),
                in_place,
                step,
            })
            .collect();
        let inputs = self.graph.inputs().into_iter().map(|id| {
            let node = self.graph.node(id);
            InputSpec {
                name: node.name.clone(),
                shape: self.sizes[id.index()].clone(),
                dtype: node.dtype,
            }
        });
        let inputs = inputs.collect();
        Network::assemble(context, inputs, outputs, Arc::from(steps), arena, infos)
    }

    /// Whether a parameter is read at run time: by a step, or as an output.
    fn is_operand(&self, id: NodeId, steps: &[Step]) -> bool {
        let is = |other: &NodeId| self.root[other.index()] == id;
        self.graph.outputs().iter().any(is) || steps.iter().any(|s| s.inputs.iter().any(is))
    }

    /// Places what steps make in the arena. Returns which inputs lie where each step's output
    /// does, and the arena's size.
    fn place(&self, steps: &[Step], places: &mut [Place]) -> (Vec<Vec<usize>>, usize) {
        let mut last_use = vec![0; places.len()];
        for (at, step) in steps.iter().enumerate() {
            for input in &step.inputs {
                last_use[self.root[input.index()].index()] = at;
            }
        }
        for output in self.graph.outputs() {
            last_use[self.root[output.index()].index()] = steps.len();
        }
        let mut storages: Vec<Storage> = Vec::new();
        let mut storage_of: Vec<Option<usize>> = vec![None; places.len()];
        let mut in_place = vec![Vec::new(); steps.len()];
        // The value that a storage holds in the end.
        let mut holder: Vec<NodeId> = Vec::new();
        for (at, step) in steps.iter().enumerate() {
            let output = step.output.index();
            if !matches!(places[output], Place::None) {
                continue;
            }
            let size = self.bytes(step.output);
            let storage = |i: usize| storage_of[self.root[step.inputs[i].index()].index()];
            let reusable = (0..step.inputs.len()).find(|&i| {
                let root = self.root[step.inputs[i].index()];
                let alone = (0..step.inputs.len()).all(|j| j == i || storage(j) != storage(i));
                step.kernel.in_place(i)
                    && alone
                    && storage(i).is_some()
                    && last_use[root.index()] == at
                    && self.bytes(root) == size
            });
            if let Some(i) = reusable
                && let Some(s) = storage(i)
            {
                storages[s].last = last_use[output].max(at);
                storage_of[output] = Some(s);
                holder[s] = step.output;
                in_place[at].push(i);
            } else {
                storage_of[output] = Some(storages.len());
                holder.push(step.output);
                storages.push(Storage {
                    bytes: size,
                    first: at,
                    last: last_use[output].max(at),
                    within: None,
                    offset: 0,
                });
            }
        }
        let dead_after = |value: NodeId, at: usize| last_use[value.index()] == at;
        self.join(steps, &storage_of, &mut storages, |s, value, at| {
            holder[s] == value && dead_after(value, at)
        })
        .into_iter()
        .for_each(|(at, i)| in_place[at].push(i));
        let size = arena::place(&mut storages);
        for (place, storage) in places.iter_mut().zip(storage_of) {
            if let Some(s) = storage {
                let s = &storages[s];
                *place = Place::Arena(s.offset..s.offset + s.bytes);
            }
        }
        (in_place, size)
    }

    /// Makes the operands of a concatenation parts of its storage, where `only(storage, value, step)`
    /// says that the storage holds nothing but the value in the end and nothing needs it after the
    /// step. Returns the steps and operands.
    fn join(
        &self,
        steps: &[Step],
        storage_of: &[Option<usize>],
        storages: &mut [Storage],
        only: impl Fn(usize, NodeId, usize) -> bool,
    ) -> Vec<(usize, usize)> {
        let mut joined = Vec::new();
        for (at, step) in steps.iter().enumerate() {
            let Kernel::Concat { outer: 1, sizes } = &step.kernel else {
                continue;
            };
            let Some(whole) = storage_of[step.output.index()] else {
                continue;
            };
            let mut begin = 0;
            for (i, (input, n)) in step.inputs.iter().zip(sizes).enumerate() {
                let root = self.root[input.index()];
                let bytes = n * self.graph.node(*input).dtype.bytes();
                if let Some(s) = storage_of[root.index()]
                    && s != whole
                    && storages[s].within.is_none()
                    && storages[s].bytes == bytes
                    && only(s, root, at)
                {
                    storages[s].within = Some((whole, begin));
                    storages[whole].first = storages[whole].first.min(storages[s].first);
                    joined.push((at, i));
                }
                begin += bytes;
            }
        }
        joined
    }

    fn outputs(&self, places: &[Place]) -> Result<Vec<OutputSpec>, NativeError> {
        let ids = self.graph.outputs().iter().enumerate();
        ids.map(|(i, id)| {
            let node = self.graph.node(*id);
            let place = &places[self.root[id.index()].index()];
            let copy = match place {
                Place::Output(j) if *j == i => None,
                Place::None => return Err(NativeError::Plan(node.name.clone())),
                other => Some(other.clone()),
            };
            Ok(OutputSpec {
                shape: self.sizes[id.index()].clone(),
                dtype: node.dtype,
                copy,
            })
        })
        .collect()
    }

    fn info(&self, step: &Step) -> StepInfo {
        let node = self.graph.node(step.output);
        let (computed, weights) = self.inside(step);
        let tensors: BTreeSet<NodeId> = (step.inputs.iter().copied())
            .chain(weights)
            .chain([step.output])
            .collect();
        let name = |id: &NodeId| self.graph.node(*id).name.clone();
        StepInfo {
            name: step.name.clone(),
            op: step.op.clone(),
            kernel: step.kernel.describe(),
            output: format!(
                "{} {}",
                self.formats.name(self.graph, step.output),
                node.shape
            ),
            nodes: computed.iter().map(name).collect(),
            macs: step.macs,
            bytes: tensors.into_iter().map(|id| self.bytes(id) as u64).sum(),
            ms: None,
        }
    }

    /// The nodes that a step computes, and the weights among what they read.
    fn inside(&self, step: &Step) -> (BTreeSet<NodeId>, BTreeSet<NodeId>) {
        let (mut computed, mut weights) = (BTreeSet::new(), BTreeSet::new());
        let mut open = vec![step.output];
        while let Some(id) = open.pop() {
            let node = self.graph.node(id);
            if step.inputs.contains(&id) || matches!(node.op, Op::Input) {
                continue;
            }
            match node.op {
                Op::Parameter(_) => weights.insert(id),
                _ if computed.insert(id) => {
                    open.extend(&node.inputs);
                    true
                }
                _ => false,
            };
        }
        (computed, weights)
    }
}

impl OutputSpec {
    fn empty(&self) -> Result<Tensor, NativeError> {
        let elements = self.shape.iter().product();
        let bytes = bytes(&self.shape, self.dtype);
        let zeros = try_zeros(self.dtype, elements).ok_or(NativeError::Memory { bytes })?;
        Ok(Tensor::new(&self.shape, zeros)?)
    }
}

impl Network {
    /// A network with memory of its own for steps that others may share.
    fn assemble(
        context: Context,
        inputs: Vec<InputSpec>,
        outputs: Vec<OutputSpec>,
        steps: Arc<[Planned]>,
        arena: usize,
        infos: Vec<StepInfo>,
    ) -> Result<Network, NativeError> {
        let results = outputs.iter().map(OutputSpec::empty);
        Ok(Network {
            context,
            inputs,
            times: vec![None; steps.len()],
            results: results.collect::<Result<_, _>>()?,
            outputs,
            parts: Parts::default(),
            steps,
            arena: Buffer::try_new(arena).ok_or(NativeError::Memory { bytes: arena })?,
            infos,
        })
    }

    /// The same network once more, for another stream of inputs: it shares the packed weights and
    /// has memory and threads of its own, so that both can run at the same time. As many one-thread
    /// networks as there are CPUs, each run by a thread of the caller's, take the most inputs per
    /// second; one network with all threads answers soonest.
    ///
    /// # Errors
    /// If there is not so much memory.
    pub fn replicate(&self) -> Result<Network, NativeError> {
        Network::assemble(
            Context::new(self.context.isa(), self.context.threads()),
            self.inputs.clone(),
            self.outputs.clone(),
            Arc::clone(&self.steps),
            self.arena.len(),
            self.infos.clone(),
        )
    }

    /// Runs the network once. `inputs` are in the order of the graph's inputs; the results are in
    /// the order of its outputs and are overwritten by the next run.
    ///
    /// # Errors
    /// If an input has another shape or type than the graph says.
    pub fn run(&mut self, inputs: &[Tensor]) -> Result<&[Tensor], NativeError> {
        self.run_steps(inputs, false)?;
        Ok(&self.results)
    }

    /// The same, with the time of every step kept for [`Network::steps`].
    ///
    /// # Errors
    /// As [`Network::run`].
    pub fn run_profiled(&mut self, inputs: &[Tensor]) -> Result<&[Tensor], NativeError> {
        self.run_steps(inputs, true)?;
        Ok(&self.results)
    }

    /// The steps in order.
    pub fn steps(&self) -> Vec<StepInfo> {
        let with_time = |(info, ms): (&StepInfo, &Option<f64>)| StepInfo {
            ms: *ms,
            ..info.clone()
        };
        self.infos.iter().zip(&self.times).map(with_time).collect()
    }

    /// Bytes of memory for the values between inputs and outputs.
    pub fn arena_bytes(&self) -> usize {
        self.arena.len()
    }

    /// The instruction set that it computes with: `scalar`, `avx2`, `avx512` or `neon`.
    pub fn isa(&self) -> &'static str {
        self.context.isa().name()
    }

    /// The threads that share a run.
    pub fn threads(&self) -> usize {
        self.context.threads()
    }

    fn check(&self, inputs: &[Tensor]) -> Result<(), NativeError> {
        if inputs.len() != self.inputs.len() {
            return Err(NativeError::InputCount {
                want: self.inputs.len(),
                got: inputs.len(),
            });
        }
        for (spec, input) in self.inputs.iter().zip(inputs) {
            if input.shape() != spec.shape || input.dtype() != spec.dtype {
                return Err(NativeError::Input {
                    name: spec.name.clone(),
                    want: format!("{} {}", spec.dtype, Shape::new(&spec.shape)),
                    got: format!("{} {}", input.dtype(), Shape::new(input.shape())),
                });
            }
        }
        Ok(())
    }

    fn run_steps(&mut self, inputs: &[Tensor], timed: bool) -> Result<(), NativeError> {
        self.check(inputs)?;
        // Results are written where the last run's were, unless the caller has kept those.
        let Parts { shapes, data } = &mut self.parts;
        for tensor in self.results.drain(..) {
            let (shape, elements) = tensor.into_parts();
            shapes.push(shape);
            data.push(Some(elements));
        }
        let mut data = std::mem::take(data);
        let done = self.run_all(inputs, &mut data, timed);
        let parts = self.parts.shapes.drain(..).zip(data.drain(..));
        for (shape, elements) in parts {
            self.results
                .extend(elements.and_then(|e| Tensor::from_parts(shape, e).ok()));
        }
        self.parts.data = data;
        done
    }

    fn run_all(
        &mut self,
        inputs: &[Tensor],
        results: &mut [Option<TensorData>],
        timed: bool,
    ) -> Result<(), NativeError> {
        for (planned, time) in self.steps.iter().zip(&mut self.times) {
            let start = timed.then(Instant::now);
            let arena = self.arena.bytes_mut();
            run_step(&self.context, planned, inputs, results, arena)
                .ok_or_else(|| NativeError::Plan(planned.step.name.clone()))?;
            *time = start.map(|s| s.elapsed().as_secs_f64() * 1e3);
        }
        for (i, spec) in self.outputs.iter().enumerate() {
            let Some(place) = &spec.copy else { continue };
            let mut own = results[i].take();
            let arena = self.arena.bytes();
            let from = view(place, spec.dtype, inputs, results, (arena, 0, &[]));
            let copied = (own.as_mut().zip(from))
                .is_some_and(|(own, from)| ViewMut::of_data(own).copy_from(from));
            results[i] = own;
            if !copied {
                return Err(NativeError::Plan(format!("output {i}")));
            }
        }
        Ok(())
    }
}

/// Runs one step. `None` if its operands are not what it was planned for.
fn run_step(
    context: &Context,
    planned: &Planned,
    inputs: &[Tensor],
    results: &mut [Option<TensorData>],
    arena: &mut [u8],
) -> Option<()> {
    let (place, dtype) = &planned.output;
    match place {
        Place::Arena(range) => {
            // Everything that this step reads lies before or after what it writes.
            let (before, rest) = arena.split_at_mut(range.start);
            let (own, after) = rest.split_at_mut(range.len());
            let rest = (&*before, range.end, &*after);
            with_operands(planned, inputs, results, rest, |operands| {
                let y = ViewMut::of_bytes(own, *dtype);
                planned.step.kernel.run(context, operands, y)
            })
        }
        Place::Output(i) => {
            let mut own = results.get_mut(*i)?.take();
            let rest = (&*arena, 0, &[][..]);
            let done = with_operands(planned, inputs, results, rest, |operands| {
                let y = ViewMut::of_data(own.as_mut()?);
                planned.step.kernel.run(context, operands, y)
            });
            results[*i] = own;
            done
        }
        Place::None | Place::Input(_) | Place::Constant(_) => None,
    }
}

/// Memory of the arena that may be read: what lies before the region written, and from an offset on
/// what lies after it.
type Readable<'a> = (&'a [u8], usize, &'a [u8]);

/// Operands that fit on the stack: DenseNet-201 joins 49.
const OPERANDS: usize = 64;

/// Calls `run` with what a step reads.
fn with_operands(
    planned: &Planned,
    inputs: &[Tensor],
    results: &[Option<TensorData>],
    arena: Readable<'_>,
    run: impl FnOnce(&[Option<View<'_>>]) -> Option<()>,
) -> Option<()> {
    let count = planned.inputs.len();
    let mut few = [None; OPERANDS];
    let mut many = Vec::new();
    let operands = match few.get_mut(..count) {
        Some(few) => few,
        None => {
            many.resize(count, None);
            &mut many[..]
        }
    };
    for (i, (place, dtype)) in planned.inputs.iter().enumerate() {
        if !planned.in_place.contains(&i) {
            operands[i] = Some(view(place, *dtype, inputs, results, arena)?);
        }
    }
    run(operands)
}

fn view<'a>(
    place: &'a Place,
    dtype: DType,
    inputs: &'a [Tensor],
    results: &'a [Option<TensorData>],
    (before, offset, after): Readable<'a>,
) -> Option<View<'a>> {
    match place {
        Place::None => None,
        Place::Input(i) => Some(View::of_data(inputs.get(*i)?.data())),
        Place::Constant(tensor) => Some(View::of_data(tensor.data())),
        Place::Output(i) => Some(View::of_data(results.get(*i)?.as_ref()?)),
        Place::Arena(range) => {
            let bytes = match range.end <= before.len() {
                true => &before[range.clone()],
                false => {
                    let start = range.start.checked_sub(offset)?;
                    after.get(start..start + range.len())?
                }
            };
            Some(View::of_bytes(bytes, dtype))
        }
    }
}
