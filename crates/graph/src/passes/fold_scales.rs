//! Constant factors per channel after convolutions and linear layers, as ConvNeXt's `gamma`.

use super::Rewriter;
use super::fold_batch_norm::{Affine, with_affine};
use crate::{Binary, Graph, GraphError, Node, NodeId, Op};

/// The graph with every product with a constant per channel that alone follows a convolution or
/// linear layer multiplied into its weight and bias. Products are computed in f64.
///
/// # Errors
/// None on a graph built by [`Graph::add`].
pub fn fold_scales(graph: &Graph) -> Result<Graph, GraphError> {
    let uses = graph.uses();
    let mut rewriter = Rewriter::new(graph);
    for (id, node) in graph.iter() {
        if let Some((producer, affine)) = scale(graph, node)
            && uses[producer.index()] == 1
            && let Some(new) = with_affine(&mut rewriter, graph, &affine, graph.node(producer))?
        {
            rewriter.replace(id, new);
        } else {
            rewriter.copy(id)?;
        }
    }
    super::remove_dead_code(&rewriter.finish()?)
}

/// The layer that `node` multiplies, and its factors, one per channel of that layer.
fn scale(graph: &Graph, node: &Node) -> Option<(NodeId, Affine)> {
    let (Op::Binary(Binary::Mul), &[a, b]) = (&node.op, &node.inputs[..]) else {
        return None;
    };
    let (layer, factors) = match graph.constant(b) {
        Some(factors) => (a, factors),
        None => (b, graph.constant(a)?),
    };
    let shape = &graph.node(layer).shape;
    let axis = match &graph.node(layer).op {
        Op::Conv(_) => 1,
        Op::Linear => shape.rank() - 1,
        _ => return None,
    };
    let channels = shape[axis].fixed()?;
    // Broadcasting aligns the last axes: all but the channels' must be of one element.
    let missing = shape.rank().checked_sub(factors.shape().len())?;
    let per_channel = (factors.shape().iter().enumerate())
        .all(|(i, &n)| n == if i + missing == axis { channels } else { 1 });
    let values = factors
        .as_f32()
        .filter(|v| per_channel && v.len() == channels)?;
    let affine = Affine {
        scale: values.iter().map(|&v| f64::from(v)).collect(),
        shift: vec![0.0; channels],
    };
    Some((layer, affine))
}
