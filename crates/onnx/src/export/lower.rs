//! Every operator in ONNX's terms.

use slicewise_graph::{
    Conv, ConvTranspose, DType, Node, NodeId, Op, Pool, PoolKind, Reduce, ReduceKind, ReshapeDim,
    Slice, Tensor, TensorData,
};

use super::{Exporter, element_type, export_error, float, int, ints, sizes};
use crate::OnnxError;
use crate::proto::AttributeProto;

impl Exporter<'_> {
    /// Adds what makes the value of `node`.
    pub(super) fn lower(&mut self, node: &Node) -> Result<(), OnnxError> {
        match &node.op {
            Op::Input | Op::Parameter(_) => Ok(()),
            Op::Conv(c) => self.direct(node, "Conv", conv(c)),
            Op::ConvTranspose(c) => self.direct(node, "ConvTranspose", conv_transpose(c)),
            Op::BatchNorm { eps } => {
                self.direct(node, "BatchNormalization", vec![float("epsilon", *eps)])
            }
            Op::GroupNorm { groups, eps } => self.group_norm(node, *groups, *eps),
            Op::LayerNorm { axis, eps } => self.layer_norm(node, *axis, *eps),
            Op::Linear => self.linear(node),
            Op::MatMul => self.direct(node, "MatMul", vec![]),
            Op::Pool(p) => self.pool(node, p),
            Op::Activation(f) => self.activation(node, *f),
            Op::Binary(f) => self.direct(node, f.name(), vec![]),
            Op::Concat { axis } => self.direct(node, "Concat", vec![int("axis", *axis)]),
            Op::Resize(r) => self.resize(node, r),
            Op::Softmax { axis } => self.direct(node, "Softmax", vec![int("axis", *axis)]),
            Op::Reduce(r) => self.reduce(node, r),
            Op::Transpose { perm } => {
                self.direct(node, "Transpose", vec![ints("perm", perm.iter().copied())])
            }
            Op::Reshape { dims } => self.reshape_node(node, dims),
            Op::Slice(s) => self.slice(node, s),
            Op::Pad { pads, value } => self.pad(node, pads, *value),
            Op::L2Normalize { axis, eps } => self.l2_normalize(node, *axis, *eps),
            Op::ArgMax { axis, dtype } => self.arg_max(node, *axis, *dtype),
            Op::Quantize { axis } => self.quantize(node, *axis),
            Op::Dequantize { axis } => self.dequantize(node, *axis),
        }
    }

    /// Adds one ONNX node that takes what `node` takes.
    fn direct(
        &mut self,
        node: &Node,
        op: &str,
        attributes: Vec<AttributeProto>,
    ) -> Result<(), OnnxError> {
        let inputs = self.values(node)?;
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        self.emit(op, &inputs, &node.name, attributes);
        Ok(())
    }

    /// InstanceNormalization where every channel is its own group; else of the groups laid out as
    /// channels, then the channels' own scale and shift: what PyTorch's exporter writes, too.
    fn group_norm(&mut self, node: &Node, groups: usize, eps: f32) -> Result<(), OnnxError> {
        let channels = node.shape[1].fixed().unwrap_or(0);
        if groups == channels && node.shape.rank() > 2 {
            return self.direct(node, "InstanceNormalization", vec![float("epsilon", eps)]);
        }
        let inputs = self.values(node)?;
        let batch = node.shape[0].fixed();
        // The last axis is what is left, which an open batch at axis 0 does not touch.
        let minus_one = None;
        let grouped = self.reshape(
            node,
            "grouped",
            &inputs[0],
            &[batch, Some(groups), minus_one],
        )?;
        let ones = self.constant(node, "ones", Tensor::from_fn(&[groups], |_| 1.0));
        let zeros = self.constant(node, "zeros", Tensor::from_fn(&[groups], |_| 0.0));
        let normalized = self.step(
            node,
            "normalized",
            "InstanceNormalization",
            &[&grouped, &ones, &zeros],
            vec![float("epsilon", eps)],
        );
        let ungrouped = self.reshape(node, "ungrouped", &normalized, &sizes(&node.shape))?;
        let mut per_channel = vec![Some(1); node.shape.rank() - 1];
        per_channel[0] = Some(channels);
        let weight = self.reshape(node, "weight_per_channel", &inputs[1], &per_channel)?;
        let bias = self.reshape(node, "bias_per_channel", &inputs[2], &per_channel)?;
        let scaled = self.step(node, "scaled", "Mul", &[&ungrouped, &weight], vec![]);
        self.emit("Add", &[&scaled, &bias], &node.name, vec![]);
        Ok(())
    }

    fn layer_norm(&mut self, node: &Node, axis: usize, eps: f32) -> Result<(), OnnxError> {
        let last = node.shape.rank() - 1;
        let attributes = vec![int("axis", last), float("epsilon", eps)];
        if axis == last {
            return self.direct(node, "LayerNormalization", attributes);
        }
        let inputs = self.values(node)?;
        let mut to_last: Vec<usize> = (0..=last).filter(|&i| i != axis).collect();
        to_last.push(axis);
        let mut back = vec![0; last + 1];
        for (i, &from) in to_last.iter().enumerate() {
            back[from] = i;
        }
        let moved = self.step(
            node,
            "axis_last",
            "Transpose",
            &[&inputs[0]],
            vec![ints("perm", to_last)],
        );
        let normalized = self.step(
            node,
            "normalized",
            "LayerNormalization",
            &[&moved, &inputs[1], &inputs[2]],
            attributes,
        );
        self.emit(
            "Transpose",
            &[&normalized],
            &node.name,
            vec![ints("perm", back)],
        );
        Ok(())
    }

    /// ONNX's `ceil_mode` is read in several ways, so a last window that overhangs becomes padding
    /// at the end: it never wins a maximum, and a mean that leaves padding out does not see it.
    fn pool(&mut self, node: &Node, p: &Pool) -> Result<(), OnnxError> {
        let id = node.inputs[0];
        let mut x = self.value(id)?;
        let input = &self.graph.node(id).shape;
        let mut pads = p.pads.clone();
        for (i, pad) in pads.iter_mut().enumerate() {
            let (size, windows) = match (input[i + 2].fixed(), node.shape[i + 2].fixed()) {
                (Some(size), Some(windows)) => (size, windows),
                _ => return Err(export_error(node, "the spatial sizes must be fixed")),
            };
            let reach = (windows - 1) * p.stride[i] + p.kernel[i];
            pad.1 = pad.1.max(reach.saturating_sub(size + pad.0));
        }
        let (op, include) = match p.kind {
            PoolKind::Max => ("MaxPool", None),
            PoolKind::Average { count_include_pad } if count_include_pad && pads != p.pads => {
                // The true padding counts into the mean, the overhang does not.
                let mut all = vec![(0, 0); 2];
                all.extend(&p.pads);
                let padding = self.pads(node, &all, 0.0)?;
                x = self.step(node, "padded", "Pad", &[&x, &padding.0, &padding.1], vec![]);
                for (pad, own) in pads.iter_mut().zip(&p.pads) {
                    *pad = (0, pad.1 - own.1);
                }
                ("AveragePool", Some(false))
            }
            PoolKind::Average { count_include_pad } => ("AveragePool", Some(count_include_pad)),
        };
        let mut attributes = vec![
            ints("kernel_shape", p.kernel.iter().copied()),
            ints("strides", p.stride.iter().copied()),
            pads_attribute(&pads),
        ];
        if let Some(include) = include {
            attributes.push(int("count_include_pad", usize::from(include)));
        }
        self.emit(op, &[&x], &node.name, attributes);
        Ok(())
    }

    fn reduce(&mut self, node: &Node, r: &Reduce) -> Result<(), OnnxError> {
        let x = self.value(node.inputs[0])?;
        let keep = int("keepdims", usize::from(r.keep_dims));
        let axes = || ints("axes", r.axes.iter().copied());
        let spatial = 2..self.graph.node(node.inputs[0]).shape.rank();
        match r.kind {
            // The same by a name that ONNX Runtime has an INT8 kernel for.
            ReduceKind::Mean
                if r.keep_dims && !spatial.is_empty() && r.axes.iter().copied().eq(spatial) =>
            {
                self.emit("GlobalAveragePool", &[&x], &node.name, vec![]);
            }
            ReduceKind::Mean => self.emit("ReduceMean", &[&x], &node.name, vec![axes(), keep]),
            ReduceKind::Max => self.emit("ReduceMax", &[&x], &node.name, vec![axes(), keep]),
            // The only one whose axes are an input by opset 17.
            ReduceKind::Sum => {
                let axes = r.axes.iter().map(|&a| a as i64).collect();
                let axes = self.indices(node, "axes", axes)?;
                self.emit("ReduceSum", &[&x, &axes], &node.name, vec![keep]);
            }
        }
        Ok(())
    }

    fn reshape_node(&mut self, node: &Node, dims: &[ReshapeDim]) -> Result<(), OnnxError> {
        let x = self.value(node.inputs[0])?;
        let mut shape = Vec::with_capacity(dims.len());
        for d in dims {
            shape.push(match d {
                ReshapeDim::Copy => 0,
                ReshapeDim::Infer => -1,
                ReshapeDim::Fixed(0) => return Err(export_error(node, "an axis is empty")),
                ReshapeDim::Fixed(n) => *n as i64,
            });
        }
        let shape = self.indices(node, "shape", shape)?;
        self.emit("Reshape", &[&x, &shape], &node.name, vec![]);
        Ok(())
    }

    fn slice(&mut self, node: &Node, s: &Slice) -> Result<(), OnnxError> {
        let x = self.value(node.inputs[0])?;
        let starts = self.indices(node, "starts", vec![s.start as i64])?;
        let ends = self.indices(node, "ends", vec![s.end as i64])?;
        let axes = self.indices(node, "axes", vec![s.axis as i64])?;
        let steps = self.indices(node, "steps", vec![s.step as i64])?;
        self.emit(
            "Slice",
            &[&x, &starts, &ends, &axes, &steps],
            &node.name,
            vec![],
        );
        Ok(())
    }

    fn pad(&mut self, node: &Node, pads: &[(usize, usize)], value: f32) -> Result<(), OnnxError> {
        let x = self.value(node.inputs[0])?;
        let (pads, value) = self.pads(node, pads, value)?;
        self.emit("Pad", &[&x, &pads, &value], &node.name, vec![]);
        Ok(())
    }

    /// The two inputs that Pad takes beside x.
    fn pads(
        &mut self,
        node: &Node,
        pads: &[(usize, usize)],
        value: f32,
    ) -> Result<(String, String), OnnxError> {
        let before = pads.iter().map(|p| p.0 as i64);
        let after = pads.iter().map(|p| p.1 as i64);
        let pads = self.indices(node, "pads", before.chain(after).collect())?;
        Ok((pads, self.scalar(node, "value", value)))
    }

    /// LpNormalization has no least norm, so the norm is worked out and bounded.
    fn l2_normalize(&mut self, node: &Node, axis: usize, eps: f32) -> Result<(), OnnxError> {
        let x = self.value(node.inputs[0])?;
        let attributes = vec![ints("axes", [axis]), int("keepdims", 1)];
        let norm = self.step(node, "norm", "ReduceL2", &[&x], attributes);
        let eps = self.scalar(node, "eps", eps);
        let bounded = self.step(node, "bounded", "Clip", &[&norm, &eps], vec![]);
        self.emit("Div", &[&x, &bounded], &node.name, vec![]);
        Ok(())
    }

    fn arg_max(&mut self, node: &Node, axis: usize, dtype: DType) -> Result<(), OnnxError> {
        let attributes = vec![int("axis", axis), int("keepdims", 0)];
        if dtype == DType::I64 {
            return self.direct(node, "ArgMax", attributes);
        }
        let x = self.value(node.inputs[0])?;
        let index = self.step(node, "index", "ArgMax", &[&x], attributes);
        self.emit(
            "Cast",
            &[&index],
            &node.name,
            vec![element_type("to", dtype)],
        );
        Ok(())
    }

    fn quantize(&mut self, node: &Node, axis: usize) -> Result<(), OnnxError> {
        let x = self.value(node.inputs[0])?;
        let (scale, attributes) = self.scale(node, axis)?;
        let zero_point = self.vector(node, node.inputs[2])?;
        self.emit(
            "QuantizeLinear",
            &[&x, &scale, &zero_point],
            &node.name,
            attributes,
        );
        Ok(())
    }

    fn dequantize(&mut self, node: &Node, axis: usize) -> Result<(), OnnxError> {
        let x = self.value(node.inputs[0])?;
        let (scale, attributes) = self.scale(node, axis)?;
        if self.graph.node(node.inputs[0]).dtype == DType::I32 {
            // ONNX takes 32-bit integers without a zero point only.
            let zeros =
                |t: &Tensor| matches!(t.data(), TensorData::I32(v) if v.iter().all(|&z| z == 0));
            if !self.graph.constant(node.inputs[2]).is_some_and(zeros) {
                return Err(export_error(node, "the zero point of i32 values must be 0"));
            }
            self.emit("DequantizeLinear", &[&x, &scale], &node.name, attributes);
            return Ok(());
        }
        let zero_point = self.vector(node, node.inputs[2])?;
        self.emit(
            "DequantizeLinear",
            &[&x, &scale, &zero_point],
            &node.name,
            attributes,
        );
        Ok(())
    }

    /// The scale of a quantizing node and, where there is one per element of an axis, that axis.
    pub(super) fn scale(
        &mut self,
        node: &Node,
        axis: usize,
    ) -> Result<(String, Vec<AttributeProto>), OnnxError> {
        let per_axis = self.graph.node(node.inputs[1]).shape.elements() != Some(1);
        let attributes = if per_axis {
            vec![int("axis", axis)]
        } else {
            vec![]
        };
        Ok((self.vector(node, node.inputs[1])?, attributes))
    }

    /// A value of at most one axis: one element under more axes is freed of them.
    pub(super) fn vector(&mut self, node: &Node, id: NodeId) -> Result<String, OnnxError> {
        let value = self.value(id)?;
        if self.graph.node(id).shape.rank() <= 1 {
            return Ok(value);
        }
        Ok(self.step(node, "scalar", "Squeeze", &[&value], vec![]))
    }
}

fn conv(c: &Conv) -> Vec<AttributeProto> {
    vec![
        ints("kernel_shape", c.kernel.iter().copied()),
        ints("strides", c.stride.iter().copied()),
        ints("dilations", c.dilation.iter().copied()),
        pads_attribute(&c.pads),
        int("group", c.groups),
    ]
}

fn conv_transpose(c: &ConvTranspose) -> Vec<AttributeProto> {
    vec![
        ints("kernel_shape", c.kernel.iter().copied()),
        ints("strides", c.stride.iter().copied()),
        ints("dilations", c.dilation.iter().copied()),
        pads_attribute(&c.pads),
        ints("output_padding", c.output_padding.iter().copied()),
        int("group", c.groups),
    ]
}

/// Padding as ONNX lists it: all beginnings, then all ends.
fn pads_attribute(pads: &[(usize, usize)]) -> AttributeProto {
    ints(
        "pads",
        pads.iter().map(|p| p.0).chain(pads.iter().map(|p| p.1)),
    )
}
