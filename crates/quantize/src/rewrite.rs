//! The graph with quantize/dequantize pairs, as ONNX operators of set 13 mean them.
//!
//! A quantized tensor `t` becomes `t → Quantize → Dequantize`, and everything that read `t` reads
//! the latter, so that an engine finds a convolution between the pairs of its input, weight and
//! result and runs it in integers. A weight is stored as `I8` with its `Dequantize`, a bias as `I32`
//! in steps of the input's scale times the weight's, as ONNX Runtime's QLinearConv asks for.

use std::collections::BTreeMap;

use slicewise_graph::passes::Rewriter;
use slicewise_graph::{Conv, Graph, GraphError, Node, NodeId, Op, Role, Tensor};

use crate::weights::{Integers, integers};
use crate::{Activations, Calibration, Options, Placement, QuantizeError, Range, bias};

/// A quantized graph and where it came from.
#[derive(Clone, Debug)]
pub struct Quantized {
    /// The graph with its pairs.
    pub graph: Graph,
    /// Where the value of each node of the graph of floats is now: past its pair where it has one.
    pub values: BTreeMap<NodeId, NodeId>,
}

/// The scale and the zero point of a tensor's integers.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Steps {
    pub(crate) scale: f32,
    pub(crate) zero: i32,
}

/// The steps that cover a range: `U8` with a zero point, or `I8` around zero.
pub(crate) fn steps(range: &Range, activations: Activations) -> Steps {
    let usable = |scale: f32| if scale.is_normal() { scale } else { 1.0 };
    match activations {
        Activations::Asymmetric => {
            let scale = usable((range.high - range.low) / 255.0);
            Steps {
                scale,
                zero: ((-range.low / scale).round_ties_even() as i32).clamp(0, 255),
            }
        }
        Activations::Symmetric => Steps {
            scale: usable(range.high.max(-range.low) / 127.0),
            zero: 0,
        },
    }
}

/// Rewrites `graph` by plan and ranges.
///
/// # Errors
/// If a tensor of the plan has no range, or the graph does not hold together.
pub fn quantize(
    graph: &Graph,
    placement: &Placement,
    calibration: &Calibration,
    options: &Options,
) -> Result<Quantized, QuantizeError> {
    let mut writer = Writer {
        graph,
        placement,
        calibration,
        options,
        rewriter: Rewriter::new(graph),
        steps: BTreeMap::new(),
        values: BTreeMap::new(),
    };
    let layers: Vec<NodeId> = placement.layers.iter().map(|l| l.node).collect();
    for (id, node) in graph.iter() {
        if matches!(node.op, Op::Parameter(_)) {
            // Copied by whoever needs it: a quantized weight is not.
            continue;
        }
        let mut value = match &node.op {
            Op::Conv(conv) if layers.contains(&id) => writer.layer(node, conv)?,
            _ => writer.rewriter.copy(id)?,
        };
        if let Some(&root) = placement.tensors.get(&id) {
            value = writer.pair(&node.name, value, root)?;
        }
        writer.rewriter.replace(id, value);
        writer.values.insert(id, value);
    }
    let mut quantized = writer.rewriter.finish()?;
    quantized
        .metadata
        .insert("quantized".into(), "int8 QDQ by slicewise".into());
    Ok(Quantized {
        graph: quantized,
        values: writer.values,
    })
}

struct Writer<'a> {
    graph: &'a Graph,
    placement: &'a Placement,
    calibration: &'a Calibration,
    options: &'a Options,
    rewriter: Rewriter<'a>,
    /// Scale and zero point of each root, as nodes of the new graph.
    steps: BTreeMap<NodeId, (NodeId, NodeId)>,
    values: BTreeMap<NodeId, NodeId>,
}

impl Writer<'_> {
    fn range(&self, root: NodeId) -> Result<&Range, QuantizeError> {
        let name = || GraphError::NoData(format!("{} (its range)", self.graph.node(root).name));
        Ok(self.calibration.ranges.get(&root).ok_or_else(name)?)
    }

    fn constant(&mut self, name: &str, tensor: Tensor) -> Result<NodeId, GraphError> {
        self.rewriter
            .graph
            .constant_tensor(name, Role::Constant, tensor)
    }

    /// Puts a pair behind the value of the node called `name`.
    fn pair(&mut self, name: &str, value: NodeId, root: NodeId) -> Result<NodeId, QuantizeError> {
        let (scale, zero) = match self.steps.get(&root) {
            Some(&nodes) => nodes,
            None => {
                let steps = steps(self.range(root)?, self.options.activations);
                let of = self.graph.node(root).name.clone();
                let zero = match self.options.activations {
                    Activations::Asymmetric => Tensor::new(&[], vec![steps.zero as u8])?,
                    Activations::Symmetric => Tensor::new(&[], vec![steps.zero as i8])?,
                };
                let scale = self.constant(&format!("{of}.scale"), Tensor::scalar(steps.scale))?;
                let zero = self.constant(&format!("{of}.zero_point"), zero)?;
                self.steps.insert(root, (scale, zero));
                (scale, zero)
            }
        };
        let graph = &mut self.rewriter.graph;
        let name = format!("{name}.quantized");
        let integers = graph.add(&name, Op::Quantize { axis: 0 }, &[value, scale, zero])?;
        let name = name.replace(".quantized", ".dequantized");
        Ok(graph.add(&name, Op::Dequantize { axis: 0 }, &[integers, scale, zero])?)
    }

    /// A convolution of integers: its weight and bias as such with their scales.
    fn layer(&mut self, node: &Node, conv: &Conv) -> Result<NodeId, QuantizeError> {
        let [x, weight_id, ref rest @ ..] = node.inputs[..] else {
            return Err(GraphError::NoData(node.name.clone()).into());
        };
        let root = self.placement.tensors[&x];
        let input = steps(self.range(root)?, self.options.activations);
        let floats = |id: NodeId| self.graph.constant(id).and_then(Tensor::as_f32);
        let name = |id: NodeId| self.graph.node(id).name.clone();
        let weight = floats(weight_id).ok_or_else(|| GraphError::NoData(name(weight_id)))?;
        let sizes = self.graph.node(weight_id).shape.sizes().unwrap_or_default();
        let channels = sizes[0];
        let mut bias = match rest.first() {
            Some(&id) => floats(id)
                .ok_or_else(|| GraphError::NoData(name(id)))?
                .to_vec(),
            None => Vec::new(),
        };
        // Half the range of the sums is left to the products.
        let least = |c: usize| {
            bias.get(c)
                .map_or(0.0, |b| b.abs() / input.scale / (1u32 << 30) as f32)
        };
        let rounded = integers(weight, channels, self.options, least);
        if self.options.correct_bias
            && let Some(range) = self.calibration.ranges.get(&x)
        {
            bias.resize(channels, 0.0);
            let shifts = bias::shifts(conv, weight, &rounded, &range.means);
            bias.iter_mut().zip(shifts).for_each(|(b, s)| *b -= s);
        }
        let mut inputs = vec![self.rewriter.get(x)?];
        let base = name(weight_id);
        let own = self.free_name(&base, &node.name);
        inputs.push(self.weight(&own, &sizes, &rounded)?);
        if !bias.is_empty() {
            let own = match rest.first() {
                Some(&id) => self.free_name(&name(id), &format!("{}.bias", node.name)),
                None => self.free_name(&format!("{}.bias", node.name), &node.name),
            };
            inputs.push(self.bias(&own, &bias, &rounded, input.scale)?);
        }
        Ok(self
            .rewriter
            .graph
            .add(&node.name, node.op.clone(), &inputs)?)
    }

    /// The parameter's name, or one with its layer's where several layers share the parameter.
    fn free_name(&self, base: &str, layer: &str) -> String {
        let taken = format!("{base}.dequantized");
        match self.rewriter.graph.nodes().iter().any(|n| n.name == taken) {
            true => format!("{layer}.{base}"),
            false => base.to_owned(),
        }
    }

    fn weight(
        &mut self,
        name: &str,
        sizes: &[usize],
        w: &Integers,
    ) -> Result<NodeId, QuantizeError> {
        let scales = match w.scales.len() {
            1 if sizes[0] != 1 => Tensor::scalar(w.scales[0]),
            n => Tensor::new(&[n], w.scales.clone())?,
        };
        let zeros = Tensor::new(scales.shape(), vec![0i8; w.scales.len()])?;
        let values = Tensor::new(sizes, w.values.clone())?;
        self.stored(name, values, scales, zeros)
    }

    fn bias(
        &mut self,
        name: &str,
        bias: &[f32],
        weight: &Integers,
        input_scale: f32,
    ) -> Result<NodeId, QuantizeError> {
        let scale = |c: usize| weight.scale(c) * input_scale;
        let round =
            |(c, b): (usize, &f32)| (f64::from(*b) / f64::from(scale(c))).round_ties_even() as i32;
        let values: Vec<i32> = bias.iter().enumerate().map(round).collect();
        let n = weight.scales.len();
        let scales: Vec<f32> = (0..n).map(scale).collect();
        let shape: &[usize] = if n == 1 && bias.len() != 1 { &[] } else { &[n] };
        let zeros = Tensor::new(shape, vec![0i32; n])?;
        self.stored(
            name,
            Tensor::new(&[bias.len()], values)?,
            Tensor::new(shape, scales)?,
            zeros,
        )
    }

    /// Integers of the model and what they stand for.
    fn stored(
        &mut self,
        name: &str,
        values: Tensor,
        scales: Tensor,
        zeros: Tensor,
    ) -> Result<NodeId, QuantizeError> {
        let graph = &mut self.rewriter.graph;
        let values =
            graph.constant_tensor(&format!("{name}.quantized"), Role::Trainable, values)?;
        let scales = graph.constant_tensor(&format!("{name}.scale"), Role::Constant, scales)?;
        let zeros = graph.constant_tensor(&format!("{name}.zero_point"), Role::Constant, zeros)?;
        let op = Op::Dequantize { axis: 0 };
        Ok(graph.add(&format!("{name}.dequantized"), op, &[values, scales, zeros])?)
    }
}
