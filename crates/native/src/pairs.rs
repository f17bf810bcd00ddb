//! What a quantized graph says, without its pairs of quantization and dequantization.
//!
//! Such a graph rounds a value to steps and turns the steps back into floats at once; what is meant is
//! that the value may be kept as steps and its user computed with integers. Here the pairs go and the
//! steps are noted beside the values, so that what is fused in a graph of floats is fused in a quantized
//! one too. A value whose users have no integer kernel is then not rounded at all.

use std::collections::HashMap;

use slicewise_graph::{
    Activation, DType, Graph, GraphError, Node, NodeId, Op, TensorData, passes::Rewriter,
};
use slicewise_kernels::Quantization;

/// A graph of floats, and the steps of its values.
pub(crate) struct Quantized {
    pub(crate) graph: Graph,
    pub(crate) steps: HashMap<NodeId, Quantization>,
}

/// Takes the pairs out of `graph`. Those with a scale for each channel stay, and so do weights.
pub(crate) fn without_pairs(graph: &Graph) -> Result<Quantized, GraphError> {
    let mut rewriter = Rewriter::new(graph);
    let mut steps: HashMap<NodeId, Quantization> = HashMap::new();
    // What values became, which several pairs may follow.
    let mut cut: HashMap<NodeId, NodeId> = HashMap::new();
    let mut rounded_only = vec![true; graph.nodes().len()];
    for user in graph.nodes() {
        let rounds = matches!(user.op, Op::Quantize { .. });
        for input in user.inputs.iter().filter(|_| !rounds) {
            rounded_only[input.index()] = false;
        }
    }
    for (id, node) in graph.iter() {
        let Some((of, quantization)) = pair(graph, node) else {
            // What may become part of a pair is copied when something else needs it.
            let pairs = matches!(node.op, Op::Quantize { .. })
                || matches!(node.op, Op::Activation(_)) && rounded_only[id.index()];
            if !pairs {
                rewriter.copy(id)?;
            }
            continue;
        };
        let now = match cut.get(&of) {
            Some(now) => *now,
            None => {
                let alone = rounded_only[of.index()];
                cut_to_range(&mut rewriter, graph, of, alone, quantization, &steps)?
            }
        };
        if *steps.entry(now).or_insert(quantization) != quantization {
            // Two scales of one value: this one is computed as it says.
            rewriter.copy(id)?;
            continue;
        }
        cut.insert(of, now);
        rewriter.replace(id, now);
    }
    let graph = rewriter.finish()?;
    Ok(Quantized { graph, steps })
}

/// The value that a dequantization and the quantization before it leave as it is but for rounding.
fn pair(graph: &Graph, node: &Node) -> Option<(NodeId, Quantization)> {
    let Op::Dequantize { .. } = node.op else {
        return None;
    };
    let from = graph.node(node.inputs[0]);
    let Op::Quantize { .. } = from.op else {
        return None;
    };
    let steps = quantization(graph, node)?;
    (quantization(graph, from)? == steps).then_some((from.inputs[0], steps))
}

/// The scale and zero point of a quantization or dequantization that has one of each.
fn quantization(graph: &Graph, node: &Node) -> Option<Quantization> {
    let constant = |i: usize| graph.constant(node.inputs[i]);
    let &[step] = constant(1)?.as_f32()? else {
        return None;
    };
    // i8 steps are u8 ones with another zero.
    let zero = match constant(2)?.data() {
        TensorData::U8(v) if v.len() == 1 => v[0],
        TensorData::I8(v) if v.len() == 1 => (i16::from(v[0]) + 128) as u8,
        _ => return None,
    };
    (step.is_finite() && step > 0.0).then_some(Quantization { step, zero })
}

/// The value `of` cut to what its steps hold, where that may stand for an activation: other tools leave a
/// ReLU away before steps that begin with zero. `alone` says that nothing needs the value unrounded.
fn cut_to_range(
    rewriter: &mut Rewriter<'_>,
    graph: &Graph,
    of: NodeId,
    alone: bool,
    q: Quantization,
    steps: &HashMap<NodeId, Quantization>,
) -> Result<NodeId, GraphError> {
    let node = graph.node(of);
    let mut moved = matches!(node.op, Op::Resize(_) | Op::Concat { .. } | Op::Pool(_));
    for input in &node.inputs {
        moved = moved && steps.contains_key(&rewriter.get(*input)?);
    }
    let ends = q.zero == 0 || q.zero == u8::MAX;
    if !ends || moved || matches!(node.op, Op::Input) || node.dtype != DType::F32 {
        return rewriter.get(of);
    }
    let bound = |steps: u8| (f32::from(steps) - f32::from(q.zero)) * q.step;
    let (mut low, mut high) = (bound(0), bound(u8::MAX));
    let mut from = of;
    if let Op::Activation(f) = node.op {
        let range = match f {
            Activation::Relu => (0.0, f32::INFINITY),
            Activation::Relu6 => (0.0, 6.0),
            Activation::Clip { low, high } => (low, high),
            // Nothing was left away where there is an activation.
            _ => return rewriter.get(of),
        };
        if !alone {
            return rewriter.get(of);
        }
        (low, high) = (low.max(range.0), high.min(range.1));
        from = node.inputs[0];
    }
    let from = rewriter.get(from)?;
    let name = format!("{}/range", node.name);
    let range = Activation::Clip { low, high };
    rewriter.graph.activation(&name, range, from)
}

/// An integer weight `[O, …]` with a scale per output or one for all, if `id` is such.
pub(crate) fn integer_weight(graph: &Graph, id: NodeId) -> Option<(&[i8], Vec<f32>)> {
    let node = graph.node(id);
    let Op::Dequantize { axis } = node.op else {
        return None;
    };
    let [weight, scale, zero] = [0, 1, 2].map(|i| graph.constant(node.inputs[i]));
    let (weight, scale) = (weight?, scale?.as_f32()?);
    let symmetric = match zero?.data() {
        TensorData::I8(v) => v.iter().all(|z| *z == 0),
        _ => false,
    };
    let outputs = *weight.shape().first()?;
    let scale = match scale.len() {
        1 => vec![scale[0]; outputs],
        n if n == outputs && axis == 0 => scale.to_vec(),
        _ => return None,
    };
    match weight.data() {
        TensorData::I8(v) if symmetric => Some((v, scale)),
        _ => None,
    }
}
