//! From nodes to steps: which kernel computes what, with its weights packed.

use std::borrow::Cow;
use std::collections::HashMap;

use slicewise_graph::{
    Conv, ConvTranspose, DType, Graph, Node, NodeId, Op, Resize, Tensor, TensorData, cost as costs,
    reference,
};
use slicewise_kernels::{
    Broadcast, Context, Convolution, Depthwise, Geometry, LabelConvolution, LabelHead,
    LayerWeights, Linear, MatMul, PackedConvolution, PackedWeights, Pooling, Quantization,
    Resampling, Separable, Upconvolution, Winograd,
};

use crate::NativeError;
use crate::choose::{Accuracy, Algorithm, Layer, choose, cost, packed_cost};
use crate::formats::Precision;
use crate::fuse::{Tail, Uses};
use crate::kernel::{Finish, Kernel, Packings, Scales};
use crate::pairs::integer_weight;

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

    /// Whether this convolution can add what is upsampled on its way.
    fn adds_upsampled(&self, both: Option<(NodeId, NodeId)>) -> Result<bool, NativeError> {
        let Some((id, _)) = both else {
            return Ok(false);
        };
        let node = self.graph.node(id);
        let (x, y) = (self.dims(node.inputs[0])?, self.dims(id)?);
        Ok(match &node.op {
            Op::Conv(spec) => {
                let depthwise = spec.groups == x[1] && spec.groups == y[1];
                let geometry = Geometry::conv(spec, &x[2..], &y[2..]);
                !depthwise && Convolution::adds_upsampled(self.context, &geometry)
            }
            _ => false,
        })
    }

    /// The step that convolves and adds the upsampled map `resized`, as `end` says.
    fn conv_upsampled(
        &mut self,
        id: NodeId,
        resized: NodeId,
        end: NodeId,
    ) -> Result<(), NativeError> {
        let node = self.graph.node(id);
        let Op::Conv(spec) = &node.op else {
            return Err(NativeError::Plan(node.name.clone()));
        };
        let (x, y) = (self.dims(node.inputs[0])?, self.dims(id)?);
        let (weight, bias) = (self.weight(node, 1)?, self.bias(node)?);
        let weight = self.elements(node, &weight)?;
        let geometry = Geometry::conv(spec, &x[2..], &y[2..]);
        let layer = Layer {
            geometry,
            batch: x[0],
            groups: spec.groups,
            channels: x[1],
            out: y[1],
        };
        let bias = bias.as_deref();
        let kernel = match self.packed(node, &layer, weight, bias) {
            Some(conv) => Kernel::Packed {
                conv,
                epilogue: Finish {
                    residual: true,
                    ..Finish::default()
                },
                upsampled: true,
                width: y[3],
                words: Packings::default(),
            },
            None => Kernel::ConvUpsampled {
                conv: self.direct(&layer, weight, bias),
                width: y[3],
            },
        };
        let inputs = vec![node.inputs[0], self.graph.node(resized).inputs[0]];
        let tail = Tail {
            end,
            activation: None,
            residual: Some(resized),
            then: None,
        };
        self.push(id, node, kernel, inputs, tail);
        Ok(())
    }

    /// A convolution of every product.
    fn direct(&self, layer: &Layer, weight: &[f32], bias: Option<&[f32]>) -> Convolution {
        let Layer {
            geometry,
            batch,
            groups,
            out,
            ..
        } = *layer;
        Convolution::new(self.context, geometry, batch, groups, out, weight, bias)
    }

    /// A convolution of small numbers, where this network computes in such: of integers where the graph
    /// is quantized, of bf16 where that is faster than what f32 has.
    fn packed(
        &self,
        node: &Node,
        layer: &Layer,
        weight: &[f32],
        bias: Option<&[f32]>,
    ) -> Option<PackedConvolution> {
        let isa = self.context.isa();
        let integers = match self.precision {
            Precision::F32 => return None,
            Precision::Bf16 => None,
            Precision::Int8 => Some(integer_weight(self.graph, node.inputs[1])?),
        };
        let weights = match &integers {
            Some((weight, scale)) => PackedWeights::I8 {
                weight,
                scale,
                input: *self.quantized.get(&node.inputs[0])?,
            },
            None => {
                let [_, per_lane] = isa.products_per_lane();
                let best = choose(isa, layer, self.accuracy);
                let faster = packed_cost(isa, layer, per_lane) < cost(isa, layer, best);
                if per_lane == 1 || !faster {
                    return None;
                }
                PackedWeights::Bf16(weight)
            }
        };
        let &Layer {
            geometry,
            batch,
            groups,
            channels,
            out,
        } = layer;
        let fits = PackedConvolution::fits(weights.packing(), groups, channels, out);
        fits.then(|| {
            let channels = [channels, out];
            PackedConvolution::new(
                self.context,
                geometry,
                batch,
                groups,
                channels,
                weights,
                bias,
            )
        })
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
                Kernel::MatMul(MatMul::new(self.context, &x, &self.dims(node.inputs[1])?))
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

    fn conv(
        &mut self,
        id: NodeId,
        node: &Node,
        spec: &Conv,
        tail: &mut Tail,
        inputs: &mut Vec<NodeId>,
    ) -> Built {
        if let Some(kernel) = self.separable(id, tail, inputs)? {
            return Ok(kernel);
        }
        let (x, y) = (self.dims(node.inputs[0])?, self.dims(id)?);
        let (weight, bias) = (self.weight(node, 1)?, self.bias(node)?);
        let weight = self.elements(node, &weight)?;
        let geometry = Geometry::conv(spec, &x[2..], &y[2..]);
        let (channels, out) = (x[1], y[1]);
        let layer = Layer {
            geometry,
            batch: x[0],
            groups: spec.groups,
            channels,
            out,
        };
        let depthwise = spec.groups > 1 && spec.groups == channels && spec.groups == out;
        let labels = self.uses.arg_max(id).is_some() || self.uses.resized_arg_max(id).is_some();
        if !labels
            && !(depthwise && self.precision == Precision::Bf16)
            && let Some(conv) = self.packed(node, &layer, weight, bias.as_deref())
        {
            return Ok(Kernel::Packed {
                conv,
                epilogue: self.finish(id, tail, inputs),
                upsampled: false,
                width: y.last().copied().unwrap_or(1),
                words: Packings::default(),
            });
        }
        if spec.groups == channels && spec.groups == out {
            let conv = Depthwise::new(self.context, geometry, x[0], out, weight, bias.as_deref());
            return Ok(Kernel::Depthwise {
                conv,
                epilogue: self.finish(id, tail, inputs),
            });
        }
        let (batch, bias) = (x[0], bias.as_deref());
        if let Some((resize, labels)) = self.uses.resized_arg_max(id)
            && spec.groups == 1
            && geometry.is_pointwise()
            && let Some(head) =
                LabelHead::convolved(self.context, resize, &x[2..], out, weight, bias)
        {
            tail.end = labels;
            return Ok(Kernel::LabelHead(head));
        }
        if let Some(labels) = self.uses.arg_max(id)
            && spec.groups == 1
            && geometry.is_pointwise()
            && let Some(conv) = LabelConvolution::new(self.context, &x[2..], out, weight, bias)
        {
            tail.end = labels;
            return Ok(Kernel::LabelConvolution(conv));
        }
        let single = geometry.taps() == 1 && geometry.output_area() == 1;
        if single && geometry.is_pointwise() && spec.groups == 1 && self.uses.arg_max(id).is_none()
        {
            // One element per channel: a row of features, and a tile of pixels would be empty.
            let linear = Linear::new(self.context, channels, weight, bias);
            return Ok(Kernel::Linear {
                linear,
                epilogue: self.finish(id, tail, inputs),
            });
        }
        let labels = self.uses.arg_max(id).filter(|_| spec.groups == 1);
        if labels.is_none()
            && let Algorithm::Winograd(tile) = choose(self.context.isa(), &layer, self.accuracy)
        {
            let conv = Winograd::new(self.context, geometry, tile, batch, out, weight, bias);
            return Ok(Kernel::Winograd {
                conv,
                epilogue: self.finish(id, tail, inputs),
            });
        }
        let conv = self.direct(&layer, weight, bias);
        if let Some(labels) = labels {
            tail.end = labels;
            return Ok(Kernel::ConvLabels(conv));
        }
        Ok(Kernel::Conv {
            conv,
            epilogue: self.finish(id, tail, inputs),
        })
    }

    /// The convolutions around a depthwise one as one step, if `id` begins such.
    fn separable(
        &mut self,
        id: NodeId,
        tail: &mut Tail,
        inputs: &mut Vec<NodeId>,
    ) -> Result<Option<Kernel>, NativeError> {
        // Packed, its maps are half as large or less, and its products as many times faster.
        let Some(chain) = (self.uses.separable(id)).filter(|_| self.precision == Precision::F32)
        else {
            return Ok(None);
        };
        let graph = self.graph;
        let nodes = chain.layers.map(|id| graph.node(id));
        let Op::Conv(spec) = &nodes[1].op else {
            return Ok(None);
        };
        let (x, y) = (self.dims(nodes[0].inputs[0])?, self.dims(chain.layers[2])?);
        let (middle, windows) = (self.dims(id)?, self.dims(chain.layers[1])?);
        let geometry = Geometry::conv(spec, &middle[2..], &windows[2..]);
        if !Separable::fits(&geometry) || !Separable::pays(&geometry, x[1], middle[1], y[1]) {
            return Ok(None);
        }
        let mut weights = Vec::new();
        for node in nodes {
            weights.push((self.weight(node, 1)?, self.bias(node)?));
        }
        let layer = |i: usize| -> Result<LayerWeights<'_>, NativeError> {
            Ok(LayerWeights {
                weight: self.elements(nodes[i], &weights[i].0)?,
                bias: weights[i].1.as_deref(),
                activation: chain.activations.get(i).copied().flatten(),
            })
        };
        let layers = [layer(0)?, layer(1)?, layer(2)?];
        let conv = Separable::new(self.context, geometry, x[0], layers, y[1]);
        Ok(Some(Kernel::Separable {
            conv,
            epilogue: self.finish(chain.layers[2], tail, inputs),
        }))
    }

    fn conv_transpose(
        &mut self,
        id: NodeId,
        node: &Node,
        spec: &ConvTranspose,
        tail: &mut Tail,
    ) -> Built {
        let (x, y) = (self.dims(node.inputs[0])?, self.dims(id)?);
        let (weight, bias) = (self.weight(node, 1)?, self.bias(node)?);
        let weight = self.elements(node, &weight)?;
        let (input, output) = (&x[2..], &y[2..]);
        if let Some(labels) = self.uses.arg_max(id)
            && let Some(conv) = LabelConvolution::transposed(
                self.context,
                spec,
                input,
                y[1],
                weight,
                bias.as_deref(),
            )
        {
            tail.end = labels;
            return Ok(Kernel::LabelConvolution(conv));
        }
        let conv = Upconvolution::new(
            self.context,
            spec,
            input,
            output,
            x[0],
            x[1],
            weight,
            bias.as_deref(),
        );
        let activation = self.activation(id, tail);
        Ok(Kernel::Upconvolution { conv, activation })
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
