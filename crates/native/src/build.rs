//! From nodes to steps: which kernel computes what, with its weights packed.

mod convolutions;

use std::borrow::Cow;
use std::collections::HashMap;

use slicewise_graph::{
    DType, Graph, Node, NodeId, Op, Resize, Tensor, TensorData, cost as costs, reference,
};
use slicewise_kernels::{
    Broadcast, Context, LabelHead, Linear, MatMul, Pooling, Quantization, Resampling,
};

use crate::NativeError;
use crate::choose::Accuracy;
use crate::formats::Precision;
use crate::fuse::{Tail, Uses};
use crate::kernel::{Finish, Kernel, Scales};

/// One kernel with what it reads and writes.
#[derive(Debug)]
pub(crate) struct Step {
    /// The node that it begins with.
    pub(crate) name: String,
    /// The operators that it computes, joined by `+`.
    pub(crate) op: String,
    pub(crate) kernel: Kernel,
    pub(crate) inputs: Vec<NodeId>,
    /// The node whose value it makes.
    pub(crate) output: NodeId,
    pub(crate) macs: u64,
}

/// The steps of a graph in order.
pub(crate) fn steps(
    graph: &Graph,
    context: &Context,
    accuracy: Accuracy,
    precision: Precision,
    quantized: &HashMap<NodeId, Quantization>,
) -> Result<Vec<Step>, NativeError> {
    let mut builder = Builder {
        graph,
        context,
        accuracy,
        precision,
        quantized,
        uses: Uses::new(graph),
        needed: needed(graph),
        steps: Vec::new(),
        constants: HashMap::new(),
    };
    for (id, node) in graph.iter() {
        builder.node(id, node)?;
    }
    Ok(builder.steps)
}

/// Whether each node contributes to an output.
fn needed(graph: &Graph) -> Vec<bool> {
    let mut needed = vec![false; graph.nodes().len()];
    for output in graph.outputs() {
        needed[output.index()] = true;
    }
    for (id, node) in graph.iter().rev() {
        if needed[id.index()] {
            for input in &node.inputs {
                needed[input.index()] = true;
            }
        }
    }
    needed
}

struct Builder<'a> {
    graph: &'a Graph,
    context: &'a Context,
    accuracy: Accuracy,
    precision: Precision,
    quantized: &'a HashMap<NodeId, Quantization>,
    uses: Uses<'a>,
    needed: Vec<bool>,
    steps: Vec<Step>,
    /// Weights that had to be computed from others.
    constants: HashMap<NodeId, Tensor>,
}

type Built = Result<Kernel, NativeError>;

impl<'a> Builder<'a> {
    fn node(&mut self, id: NodeId, node: &'a Node) -> Result<(), NativeError> {
        let done = self.uses.ready[id.index()] || !self.needed[id.index()];
        if done {
            return Ok(());
        }
        let dims = self.dims(id)?;
        if dims.contains(&0) {
            return Err(self.unsupported(node, format!("makes an empty tensor {dims:?}")));
        }
        match &node.op {
            Op::Input | Op::Parameter(_) | Op::Reshape { .. } => {
                self.uses.ready[id.index()] = true;
                return Ok(());
            }
            _ => {}
        }
        // Weights that are computed are computed now, where they are used.
        if self.is_constant(id) && self.only_weights(id) {
            self.uses.ready[id.index()] = true;
            return Ok(());
        }
        let mut tail = Tail {
            end: id,
            activation: None,
            residual: None,
            then: None,
        };
        match &node.op {
            // Made with the addition, when what is upsampled is there.
            Op::Conv(_) | Op::Resize(_)
                if self.adds_upsampled(self.uses.upsampled_addition_of(id))? =>
            {
                return Ok(());
            }
            Op::Binary(_) => {
                let both = self.uses.upsampled_addition(id);
                if let Some((conv, resized)) = both
                    && self.adds_upsampled(both)?
                {
                    return self.conv_upsampled(conv, resized, id);
                }
            }
            _ => {}
        }
        let mut inputs = vec![node.inputs[0]];
        let kernel = self.kernel(id, node, &mut tail, &mut inputs)?;
        self.push(id, node, kernel, inputs, tail);
        Ok(())
    }

    /// The kernel of a node that has one, with what it takes along and what it reads.
    fn kernel(
        &mut self,
        id: NodeId,
        node: &'a Node,
        tail: &mut Tail,
        inputs: &mut Vec<NodeId>,
    ) -> Built {
        let x = self.dims(node.inputs[0])?;
        let (n, inner) = match &node.op {
            Op::LayerNorm { axis, .. }
            | Op::Softmax { axis }
            | Op::L2Normalize { axis, .. }
            | Op::Concat { axis }
            | Op::ArgMax { axis, .. } => (x[*axis], x[axis + 1..].iter().product()),
            _ => (1, 1),
        };
        let area = || x.get(2..).unwrap_or_default().iter().product();
        Ok(match &node.op {
            Op::Input | Op::Parameter(_) | Op::Reshape { .. } => {
                return Err(NativeError::Plan(node.name.clone()));
            }
            Op::Conv(spec) => return self.conv(id, node, spec, tail, inputs),
            Op::ConvTranspose(spec) => return self.conv_transpose(id, node, spec, tail),
            Op::Resize(spec) => return self.resize(id, spec, tail),
            Op::BatchNorm { eps } => {
                let [weight, bias, mean, variance] = [1, 2, 3, 4].map(|i| self.f32s(node, i));
                let (weight, bias, mean, variance) = (weight?, bias?, mean?, variance?);
                let scale: Vec<f64> = (weight.iter().zip(&variance))
                    .map(|(w, v)| f64::from(*w) / (f64::from(*v) + f64::from(*eps)).sqrt())
                    .collect();
                let shift = (bias.iter().zip(&mean).zip(&scale))
                    .map(|((b, m), s)| (f64::from(*b) - f64::from(*m) * s) as f32);
                let shift = shift.collect();
                Kernel::ChannelAffine {
                    shift,
                    scale: scale.iter().map(|s| *s as f32).collect(),
                    area: area(),
                    activation: self.activation(id, tail),
                }
            }
            Op::GroupNorm { groups, eps } => Kernel::GroupNorm {
                groups: *groups,
                eps: *eps,
                weight: self.f32s(node, 1)?,
                bias: self.f32s(node, 2)?,
                area: area(),
                activation: self.activation(id, tail),
            },
            Op::LayerNorm { eps, .. } => Kernel::LayerNorm {
                eps: *eps,
                weight: self.f32s(node, 1)?,
                bias: self.f32s(node, 2)?,
                inner,
            },
            Op::Linear => {
                let (weight, bias) = (self.weight(node, 1)?, self.bias(node)?);
                let features = x.last().copied().unwrap_or(1);
                let weight = self.elements(node, &weight)?;
                let linear = Linear::new(self.context, features, weight, bias.as_deref());
                Kernel::Linear {
                    linear,
                    epilogue: self.finish(id, tail, inputs),
                }
            }
            Op::MatMul => {
                inputs.push(node.inputs[1]);
                Kernel::MatMul(MatMul::new(&x, &self.dims(node.inputs[1])?))
            }
            Op::Pool(spec) => {
                let y = self.dims(id)?;
                let planes = x[0] * x[1];
                Kernel::Pool(Pooling::new(self.context, spec, planes, &x[2..], &y[2..]))
            }
            Op::Activation(f) => Kernel::Activation(*f),
            Op::Binary(f) => {
                inputs.push(node.inputs[1]);
                Kernel::Binary(*f, Broadcast::new(&x, &self.dims(node.inputs[1])?))
            }
            Op::Concat { axis } => {
                inputs.clone_from(&node.inputs);
                let mut sizes = Vec::with_capacity(inputs.len());
                for input in inputs {
                    sizes.push(self.dims(*input)?[*axis] * inner);
                }
                Kernel::Concat {
                    outer: x[..*axis].iter().product(),
                    sizes,
                }
            }
            Op::Softmax { .. } => Kernel::Softmax { n, inner },
            Op::Reduce(spec) => Kernel::Reduce(spec.clone(), x),
            Op::Transpose { perm } => Kernel::Transpose(perm.clone(), x),
            Op::Slice(spec) => Kernel::Slice(*spec, x),
            Op::Pad { pads, value } => Kernel::Pad {
                pads: pads.clone(),
                value: *value,
                shape: x,
            },
            Op::L2Normalize { eps, .. } => Kernel::L2Normalize {
                n,
                inner,
                eps: *eps,
            },
            Op::ArgMax { .. } => Kernel::ArgMax { classes: n, inner },
            Op::Quantize { axis } => Kernel::Quantize(self.scales(node, *axis, &x)?),
            Op::Dequantize { axis } => Kernel::Dequantize(self.scales(node, *axis, &x)?),
        })
    }

    /// Adds a step and marks what it computes.
    fn push(&mut self, id: NodeId, node: &Node, kernel: Kernel, inputs: Vec<NodeId>, tail: Tail) {
        self.uses.ready[id.index()] = true;
        self.uses.ready[tail.end.index()] = true;
        let mut ops = Vec::new();
        let mut macs = 0;
        // What lies between is part of the step and has no value of its own.
        let mut at = tail.end;
        loop {
            self.uses.ready[at.index()] = true;
            ops.push(self.graph.node(at).op.name());
            if at == tail.end
                && matches!(
                    kernel,
                    Kernel::ConvUpsampled { .. }
                        | Kernel::Packed {
                            upsampled: true,
                            ..
                        }
                )
            {
                ops.push("Resize");
            }
            macs += costs::node(self.graph, at).macs;
            let inputs = &self.graph.node(at).inputs;
            let inner = inputs.iter().copied().find(|i| Some(*i) != tail.residual);
            match inner {
                Some(inner) if at != id && inner >= id => at = inner,
                _ => break,
            }
        }
        ops.reverse();
        self.steps.push(Step {
            name: node.name.clone(),
            op: ops.join("+"),
            kernel,
            inputs,
            output: tail.end,
            macs,
        });
    }

    fn resize(&mut self, id: NodeId, spec: &Resize, tail: &mut Tail) -> Built {
        let x = self.dims(self.graph.node(id).inputs[0])?;
        let labels = self.uses.arg_max(id);
        if let Some(labels) = labels
            && let Some(head) = LabelHead::resampled(self.context, spec, &x[2..], x[1])
        {
            tail.end = labels;
            return Ok(Kernel::LabelHead(head));
        }
        let resampling = Resampling::new(self.context, spec, &x[2..]);
        if let Some(labels) = labels.filter(|_| resampling.has_labels()) {
            tail.end = labels;
            return Ok(Kernel::ResizeLabels {
                resampling,
                classes: x[1],
            });
        }
        Ok(Kernel::Resize(resampling))
    }

    /// Takes what follows a convolution or linear layer into its step.
    fn finish(&self, id: NodeId, tail: &mut Tail, inputs: &mut Vec<NodeId>) -> Finish {
        *tail = self.uses.tail(id);
        inputs.extend(tail.residual);
        Finish {
            activation: tail.activation,
            residual: tail.residual.is_some(),
            then: tail.then,
        }
    }

    /// Takes an activation that follows into the step.
    fn activation(&self, id: NodeId, tail: &mut Tail) -> Option<slicewise_graph::Activation> {
        let (end, f) = self.uses.activation(id)?;
        tail.end = end;
        tail.activation = Some(f);
        Some(f)
    }

    fn unsupported(&self, node: &Node, problem: impl Into<String>) -> NativeError {
        NativeError::Unsupported {
            node: node.name.clone(),
            op: node.op.name(),
            problem: problem.into(),
        }
    }

    fn dims(&self, id: NodeId) -> Result<Vec<usize>, NativeError> {
        let node = self.graph.node(id);
        node.shape.sizes().ok_or_else(|| {
            self.unsupported(
                node,
                format!("has an open batch {}: set one first", node.shape),
            )
        })
    }

    /// Whether `id` depends on nothing given at run time.
    fn is_constant(&self, id: NodeId) -> bool {
        let node = self.graph.node(id);
        match node.op {
            Op::Input => false,
            Op::Parameter(_) => true,
            _ => node.inputs.iter().all(|i| self.is_constant(*i)),
        }
    }

    /// Whether `id` is used as nothing but a weight, which is taken when its user is built.
    fn only_weights(&self, id: NodeId) -> bool {
        self.graph.nodes().iter().all(|user| {
            let mut places = (0..user.inputs.len()).filter(|&i| user.inputs[i] == id);
            match user.op {
                Op::Conv(_)
                | Op::ConvTranspose(_)
                | Op::Linear
                | Op::BatchNorm { .. }
                | Op::GroupNorm { .. }
                | Op::LayerNorm { .. }
                | Op::Quantize { .. }
                | Op::Dequantize { .. } => places.all(|i| i > 0),
                _ => places.next().is_none(),
            }
        }) && !self.graph.outputs().contains(&id)
    }

    /// Operand `i` as a constant: a parameter's elements, or what is computed from some.
    fn weight(&mut self, node: &Node, i: usize) -> Result<Tensor, NativeError> {
        let id = node.inputs[i];
        if !self.is_constant(id) {
            let name = &self.graph.node(id).name;
            let problem = format!("takes '{name}' as a weight, which is computed at run time");
            return Err(self.unsupported(node, problem));
        }
        self.constant(id)
    }

    fn constant(&mut self, id: NodeId) -> Result<Tensor, NativeError> {
        let node = self.graph.node(id);
        if let Op::Parameter(p) = &node.op {
            let missing = || slicewise_graph::GraphError::NoData(node.name.clone());
            return Ok(p.data.clone().ok_or_else(missing)?);
        }
        if let Some(tensor) = self.constants.get(&id) {
            return Ok(tensor.clone());
        }
        let mut operands = Vec::with_capacity(node.inputs.len());
        for input in &node.inputs {
            operands.push(self.constant(*input)?);
        }
        let operands: Vec<&Tensor> = operands.iter().collect();
        let tensor = reference::evaluate(node, &operands)?;
        self.constants.insert(id, tensor.clone());
        Ok(tensor)
    }

    fn elements<'t>(&self, node: &Node, tensor: &'t Tensor) -> Result<&'t [f32], NativeError> {
        tensor
            .as_f32()
            .ok_or_else(|| self.unsupported(node, format!("has weights of {}", tensor.dtype())))
    }

    /// Operand `i`, a constant, as f32.
    fn f32s(&mut self, node: &Node, i: usize) -> Result<Vec<f32>, NativeError> {
        let tensor = self.weight(node, i)?;
        Ok(self.elements(node, &tensor)?.to_vec())
    }

    fn bias(&mut self, node: &Node) -> Result<Option<Vec<f32>>, NativeError> {
        match node.inputs.len() {
            3 => self.f32s(node, 2).map(Some),
            _ => Ok(None),
        }
    }

    fn scales(&mut self, node: &Node, axis: usize, x: &[usize]) -> Result<Scales, NativeError> {
        let zero = self.weight(node, 2)?;
        let zero: Cow<'_, [i32]> = match zero.data() {
            TensorData::U8(v) => v.iter().map(|v| i32::from(*v)).collect(),
            TensorData::I8(v) => v.iter().map(|v| i32::from(*v)).collect(),
            TensorData::I32(v) => Cow::Borrowed(&v[..]),
            TensorData::F32(_) | TensorData::I64(_) | TensorData::U16(_) => {
                let problem = format!("has a zero point of {}", zero.dtype());
                return Err(self.unsupported(node, problem));
            }
        };
        let zero = zero.into_owned();
        Ok(Scales {
            scale: self.f32s(node, 1)?,
            zero,
            inner: x.get(axis + 1..).unwrap_or_default().iter().product(),
        })
    }
}

/// Bytes of a node's value.
pub(crate) fn bytes(sizes: &[usize], dtype: DType) -> usize {
    sizes.iter().product::<usize>() * dtype.bytes()
}
