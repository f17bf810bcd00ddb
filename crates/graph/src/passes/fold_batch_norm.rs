//! Batch norms after convolutions and linear layers.

use super::Rewriter;
use crate::{Graph, GraphError, Node, NodeId, Op, Role, Tensor};

/// Scale and shift per channel: `y = scale · x + shift`.
pub(super) struct Affine {
    pub(super) scale: Vec<f64>,
    pub(super) shift: Vec<f64>,
}

/// The affine function that an inference batch norm is; `None` without data.
pub(super) fn affine(graph: &Graph, node: &Node) -> Option<Affine> {
    let Op::BatchNorm { eps } = node.op else {
        return None;
    };
    let p = |i: usize| graph.constant(node.inputs[i])?.as_f32();
    let (weight, bias, mean, variance) = (p(1)?, p(2)?, p(3)?, p(4)?);
    let scale: Vec<f64> = (weight.iter().zip(variance))
        .map(|(&w, &v)| f64::from(w) / (f64::from(v) + f64::from(eps)).sqrt())
        .collect();
    let shift = (0..scale.len())
        .map(|c| f64::from(bias[c]) - f64::from(mean[c]) * scale[c])
        .collect();
    Some(Affine { scale, shift })
}

/// The graph with every batch norm that alone follows a convolution, transposed convolution or
/// linear layer multiplied into its weight and bias. Products are computed in f64.
///
/// # Errors
/// None on a graph built by [`Graph::add`].
pub fn fold_batch_norm(graph: &Graph) -> Result<Graph, GraphError> {
    let uses = graph.uses();
    let mut rewriter = Rewriter::new(graph);
    for (id, node) in graph.iter() {
        let before = node.inputs.first().map(|&i| (i, graph.node(i)));
        if let (Op::BatchNorm { .. }, Some((producer, conv))) = (&node.op, before)
            && uses[producer.index()] == 1
            && (conv.op != Op::Linear || conv.shape.rank() == 2)
            && let Some(affine) = affine(graph, node)
            && let Some(new) = with_affine(&mut rewriter, graph, &affine, conv)?
        {
            rewriter.replace(id, new);
        } else {
            rewriter.copy(id)?;
        }
    }
    super::remove_dead_code(&rewriter.finish()?)
}

/// Adds the layer `conv` with an affine function of its channels multiplied in, if it has data.
pub(super) fn with_affine(
    rewriter: &mut Rewriter<'_>,
    graph: &Graph,
    affine: &Affine,
    conv: &Node,
) -> Result<Option<NodeId>, GraphError> {
    let out_axis_is_first = match &conv.op {
        Op::Conv(_) | Op::Linear => true,
        Op::ConvTranspose(c) if c.groups == 1 => false,
        _ => return Ok(None),
    };
    let weight = graph.constant(conv.inputs[1]);
    let Some((weight, values)) = weight.and_then(|t| Some((t, t.as_f32()?))) else {
        return Ok(None);
    };
    let bias = match conv.inputs.get(2) {
        None => None,
        Some(&b) => match graph.constant(b).and_then(Tensor::as_f32) {
            Some(bias) => Some(bias),
            None => return Ok(None),
        },
    };
    let channels = affine.scale.len();
    let out_axis = usize::from(!out_axis_is_first);
    let inner: usize = weight.shape()[out_axis + 1..].iter().product();
    let scaled: Vec<f32> = (values.iter().enumerate())
        .map(|(i, &w)| (f64::from(w) * affine.scale[i / inner % channels]) as f32)
        .collect();
    let shifted: Vec<f32> = (0..channels)
        .map(|c| {
            let bias = bias.map_or(0.0, |b| f64::from(b[c]));
            (bias * affine.scale[c] + affine.shift[c]) as f32
        })
        .collect();
    let weight = Tensor::new(weight.shape(), scaled)?;
    let bias = Tensor::new(&[channels], shifted)?;
    let x = rewriter.get(conv.inputs[0])?;
    with_parameters(rewriter, &conv.name, conv.op.clone(), x, weight, bias).map(Some)
}

/// Adds an operator with a computed weight and bias, named after it.
pub(super) fn with_parameters(
    rewriter: &mut Rewriter<'_>,
    name: &str,
    op: Op,
    x: NodeId,
    weight: Tensor,
    bias: Tensor,
) -> Result<NodeId, GraphError> {
    let g = &mut rewriter.graph;
    let weight = g.constant_tensor(&format!("{name}.folded.weight"), Role::Trainable, weight)?;
    let bias = g.constant_tensor(&format!("{name}.folded.bias"), Role::Trainable, bias)?;
    g.add(name, op, &[x, weight, bias])
}
