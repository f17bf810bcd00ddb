//! Which tensors become integers: those that an engine's INT8 kernels take and make, and no others.
//!
//! Convolutions are what INT8 is for. A tensor is quantized where a quantized convolution reads it
//! or makes it, and where an operator between such tensors has an INT8 form in ONNX Runtime and
//! OpenVINO (sums, products, concatenation, pooling, resampling, sigmoid). Everything else stays
//! f32: a quantized tensor that only a float operator reads would be made to be undone at once.
//! The pair goes behind an activation that the engines take into the operator before it (ReLU and
//! its bounded forms); the zero point then cuts off what is negative.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use slicewise_graph::{
    Activation, Binary, DType, Graph, NodeId, Op, PoolKind, ReduceKind, ResizeMode,
};

use crate::{Head, Options, QuantizeError};

/// A convolution that multiplies integers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Layer {
    /// The convolution.
    pub node: NodeId,
    /// Its result once an activation that belongs to it is applied.
    pub end: NodeId,
}

/// A layer that stays in f32.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize)]
pub struct Kept {
    /// The node's name.
    pub name: String,
    /// The operator.
    pub op: String,
    /// Why.
    pub why: String,
}

/// What becomes integers in a graph.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Placement {
    /// The convolutions, in execution order.
    pub layers: Vec<Layer>,
    /// The quantized tensors, each with the tensor whose scale and zero point it has: itself, or
    /// the one that it is a selection of (max pooling, resampling).
    pub tensors: BTreeMap<NodeId, NodeId>,
    /// The quantized tensors that quantized convolutions read.
    pub read: BTreeSet<NodeId>,
    /// The layers with weights that stay in f32, and why.
    pub kept: Vec<Kept>,
}

impl Placement {
    /// The tensors to calibrate, in execution order: those that have a range of their own, and those
    /// that would have one if the layers before them stayed in f32.
    pub fn watched(&self) -> Vec<NodeId> {
        let mut watched = self.roots();
        watched.extend(
            self.read
                .iter()
                .filter(|id| self.tensors.get(id) != Some(id)),
        );
        watched.sort();
        watched
    }

    /// The tensors that need a range of their own, in execution order.
    pub fn roots(&self) -> Vec<NodeId> {
        let own = self.tensors.iter().filter(|(id, root)| id == root);
        own.map(|(id, _)| *id).collect()
    }
}

/// Plans which tensors of `graph` become integers. The graph must be simplified
/// ([`slicewise_graph::passes::simplify`]): a batch norm that was not folded stays f32.
///
/// # Errors
/// If no convolution can be quantized, or a name to be kept is no layer's.
pub fn place(graph: &Graph, options: &Options) -> Result<Placement, QuantizeError> {
    if graph
        .nodes()
        .iter()
        .any(|n| matches!(n.op, Op::Quantize { .. } | Op::Dequantize { .. }))
    {
        return Err(unsuitable(
            graph,
            "is quantized already; give the graph of floats",
        ));
    }
    check_names(graph, options)?;
    let mut planner = Planner {
        graph,
        options,
        readers: readers(graph),
        placement: Placement::default(),
    };
    planner.layers();
    if planner.placement.layers.is_empty() {
        return Err(unsuitable(
            graph,
            "has no convolution with constant weights that could be quantized",
        ));
    }
    planner.tensors();
    Ok(planner.placement)
}

fn unsuitable(graph: &Graph, problem: &str) -> QuantizeError {
    QuantizeError::Unsuitable {
        graph: graph.name.clone(),
        problem: problem.into(),
    }
}

/// The names of layers that could be kept must exist.
fn check_names(graph: &Graph, options: &Options) -> Result<(), QuantizeError> {
    let names: Vec<&str> = (graph.nodes().iter())
        .filter(|n| matches!(n.op, Op::Conv(_)))
        .map(|n| n.name.as_str())
        .collect();
    let unknown = options.keep.iter().find(|k| !names.contains(&k.as_str()));
    let Some(name) = unknown else { return Ok(()) };
    let common = |n: &&&str| {
        n.bytes()
            .zip(name.bytes())
            .take_while(|(a, b)| a == b)
            .count()
    };
    Err(QuantizeError::NoLayer {
        name: name.clone(),
        closest: names
            .iter()
            .max_by_key(common)
            .map_or(String::new(), |n| n.to_string()),
    })
}

/// The nodes that read each node.
fn readers(graph: &Graph) -> Vec<Vec<NodeId>> {
    let mut readers = vec![Vec::new(); graph.nodes().len()];
    for (id, node) in graph.iter() {
        for input in &node.inputs {
            readers[input.index()].push(id);
        }
    }
    readers
}

struct Planner<'a> {
    graph: &'a Graph,
    options: &'a Options,
    readers: Vec<Vec<NodeId>>,
    placement: Placement,
}

impl Planner<'_> {
    /// Finds the convolutions, and says why others stay.
    fn layers(&mut self) {
        let head = self.head();
        for (id, node) in self.graph.iter() {
            let why = match &node.op {
                Op::Conv(_) => self.obstacle(id, head),
                Op::ConvTranspose(_) => {
                    Some("ONNX Runtime has no INT8 transposed convolution on CPUs".into())
                }
                Op::Linear | Op::MatMul => Some("only convolutions are quantized".into()),
                _ => continue,
            };
            match why {
                None => self.placement.layers.push(Layer {
                    node: id,
                    end: self.end(id),
                }),
                Some(why) => self.placement.kept.push(Kept {
                    name: node.name.clone(),
                    op: node.op.name().into(),
                    why,
                }),
            }
        }
    }

    /// Why a convolution stays in f32.
    fn obstacle(&self, id: NodeId, head: Option<NodeId>) -> Option<String> {
        let node = self.graph.node(id);
        if self.options.keep.contains(&node.name) {
            return Some("kept in f32 for its accuracy, or on request".into());
        }
        if head == Some(id) && self.options.head == Head::F32 {
            return Some("makes the class scores (head f32)".into());
        }
        let constant = |i: NodeId| self.graph.constant(i).is_some_and(|t| t.as_f32().is_some());
        if !node.inputs[1..].iter().all(|&i| constant(i)) {
            return Some("its weights are computed, not constant".into());
        }
        None
    }

    /// The convolution that makes the class scores: nothing but resampling, reshaping and the
    /// choice of the largest is between it and the first output.
    fn head(&self) -> Option<NodeId> {
        let mut id = *self.graph.outputs().first()?;
        loop {
            let node = self.graph.node(id);
            match &node.op {
                Op::Conv(_) => return Some(id),
                Op::Resize(_) | Op::ArgMax { .. } | Op::Softmax { .. } => id = node.inputs[0],
                _ => return None,
            }
        }
    }

    /// The result of `id` once an activation that engines take into it is applied.
    fn end(&self, id: NodeId) -> NodeId {
        let outputs = self.graph.outputs();
        match self.readers[id.index()][..] {
            [reader] if !outputs.contains(&id) => match self.graph.node(reader).op {
                Op::Activation(Activation::Relu | Activation::Relu6) => reader,
                Op::Activation(Activation::Clip { low: 0.0, .. }) => reader,
                _ => id,
            },
            _ => id,
        }
    }

    fn tensors(&mut self) {
        let head = self.head();
        let layers: HashSet<NodeId> = self.placement.layers.iter().map(|l| l.node).collect();
        // What quantized convolutions read is quantized, whoever makes it.
        let read: BTreeSet<NodeId> =
            (layers.iter().map(|l| self.graph.node(*l).inputs[0])).collect();
        let mut ends: HashMap<NodeId, NodeId> = HashMap::new();
        for (id, node) in self.graph.iter() {
            if node.dtype != DType::F32 || matches!(node.op, Op::Parameter(_)) {
                continue;
            }
            let scores = head == Some(id) && self.options.head != Head::Int8;
            if (layers.contains(&id) && !scores) || self.runs_in_integers(id) {
                ends.insert(self.end(id), id);
            }
            let made = ends.contains_key(&id);
            if made || read.contains(&id) {
                let root = match ends.get(&id) {
                    Some(&producer) => self.root(id, producer),
                    None => id,
                };
                self.placement.tensors.insert(id, root);
            }
        }
        self.placement.read = read;
    }

    /// The tensor whose scale a result has: its own, unless it is made of another's values alone.
    fn root(&self, id: NodeId, producer: NodeId) -> NodeId {
        let node = self.graph.node(producer);
        let selects = match &node.op {
            Op::Pool(p) => p.kind == PoolKind::Max,
            // A linear interpolation stays within the range of what it interpolates.
            Op::Resize(r) => r.mode != (ResizeMode::Cubic { antialias: false }),
            _ => false,
        };
        match selects {
            true if producer == id => self.placement.tensors[&node.inputs[0]],
            _ => id,
        }
    }

    /// Whether an operator other than a convolution has an INT8 form, and integers to work on.
    fn runs_in_integers(&self, id: NodeId) -> bool {
        let node = self.graph.node(id);
        let fits = match &node.op {
            Op::Binary(f) => matches!(f, Binary::Add | Binary::Mul),
            Op::Concat { .. } | Op::Pool(_) => true,
            Op::Resize(r) => !matches!(r.mode, ResizeMode::Cubic { .. }),
            Op::Reduce(r) => {
                let rank = self.graph.node(node.inputs[0]).shape.rank();
                r.kind == ReduceKind::Mean && r.keep_dims && r.axes.iter().copied().eq(2..rank)
            }
            Op::Activation(f) => matches!(
                f,
                Activation::Sigmoid | Activation::LeakyRelu { .. } | Activation::Relu
            ),
            _ => false,
        };
        let quantized = |i: &NodeId| self.placement.tensors.contains_key(i);
        fits && node.inputs.iter().all(quantized)
    }
}
