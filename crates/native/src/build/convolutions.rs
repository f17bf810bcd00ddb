//! Which kernel computes a convolution, with what follows it.

use slicewise_graph::{Conv, ConvTranspose, Node, NodeId, Op};
use slicewise_kernels::{
    Convolution, Depthwise, Geometry, LabelConvolution, LabelHead, LayerWeights, Linear,
    PackedConvolution, PackedWeights, Separable, Upconvolution, Winograd,
};

use super::{Builder, Built};
use crate::NativeError;
use crate::choose::{Algorithm, Layer, choose, cost, packed_cost};
use crate::formats::Precision;
use crate::fuse::Tail;
use crate::kernel::{Finish, Kernel, Packings};
use crate::pairs::integer_weight;

impl Builder<'_> {
    /// Whether this convolution can add what is upsampled on its way.
    pub(super) fn adds_upsampled(
        &self,
        both: Option<(NodeId, NodeId)>,
    ) -> Result<bool, NativeError> {
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
    pub(super) fn conv_upsampled(
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

    pub(super) fn conv(
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
        // Scores that are resampled to labels are worth writing, once: products of them take most of the time
        // that a head with its convolution takes in f32.
        if self.uses.arg_max(id).is_none()
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
            let conv = Winograd::new(
                self.context,
                geometry,
                tile,
                batch,
                spec.groups,
                out,
                weight,
                bias,
            );
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

    pub(super) fn conv_transpose(
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
}
