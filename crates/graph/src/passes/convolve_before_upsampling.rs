//! 1×1 convolutions after nearest-neighbour upsampling, as in STU-Net's decoder.

use super::Rewriter;
use crate::{Graph, GraphError, Node, NodeId, Op, Resize, ResizeMode};

/// The graph with every pointwise convolution that alone uses a nearest-neighbour upsampling moved
/// before it: the same products are summed once per sample instead of once per copy of it, so the
/// values are the same to the last bit.
///
/// # Errors
/// None on a graph built by [`Graph::add`].
pub fn convolve_before_upsampling(graph: &Graph) -> Result<Graph, GraphError> {
    let uses = graph.uses();
    let mut rewriter = Rewriter::new(graph);
    for (id, node) in graph.iter() {
        match upsampled(graph, &uses, node) {
            Some((resize, spec)) => {
                let mut inputs = vec![rewriter.get(graph.node(resize).inputs[0])?];
                for &weight in &node.inputs[1..] {
                    inputs.push(rewriter.get(weight)?);
                }
                let conv = rewriter.graph.add(&node.name, node.op.clone(), &inputs)?;
                let name = format!("{}/resize", node.name);
                let op = Op::Resize(spec.clone());
                let new = rewriter.graph.add(&name, op, &[conv])?;
                rewriter.replace(id, new);
            }
            None => {
                rewriter.copy(id)?;
            }
        }
    }
    super::remove_dead_code(&rewriter.finish()?)
}

/// The upsampling that `node`, a pointwise convolution, alone uses.
fn upsampled<'a>(graph: &'a Graph, uses: &[usize], node: &'a Node) -> Option<(NodeId, &'a Resize)> {
    let Op::Conv(conv) = &node.op else {
        return None;
    };
    let id = node.inputs[0];
    let resize = graph.node(id);
    let Op::Resize(spec) = &resize.op else {
        return None;
    };
    let area = |n: &Node| {
        n.shape
            .dims()
            .iter()
            .skip(2)
            .map(|d| d.fixed())
            .product::<Option<usize>>()
    };
    let grows = area(resize)? > area(graph.node(resize.inputs[0]))?;
    let nearest = spec.mode == ResizeMode::Nearest;
    (conv.is_pointwise() && nearest && grows && uses[id.index()] == 1).then_some((id, spec))
}
