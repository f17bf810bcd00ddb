//! Layers on the last axis of a transposed map, as in the blocks of ConvNeXt and EdgeNeXt.

use super::Rewriter;
use crate::{Conv, Graph, GraphError, Node, NodeId, Op, Role, Tensor};

/// To channels last, and back.
const LAST: [usize; 4] = [0, 2, 3, 1];
const FIRST: [usize; 4] = [0, 3, 1, 2];

/// The graph with what is computed on maps with channels last, and then brought back to channels
/// first, computed on channels first: linear layers become pointwise convolutions, layer norms
/// normalise axis 1, and the transposition moves before them, where it mostly meets its inverse.
///
/// # Errors
/// None on a graph built by [`Graph::add`].
pub fn channels_first(graph: &Graph) -> Result<Graph, GraphError> {
    let uses = graph.uses();
    let mut rewriter = Rewriter::new(graph);
    for (id, node) in graph.iter() {
        let chain = match is_transpose(node, FIRST) {
            true => chain(graph, &uses, node.inputs[0]),
            false => Vec::new(),
        };
        let Some(&first) = chain.last() else {
            rewriter.copy(id)?;
            continue;
        };
        let source = graph.node(first).inputs[0];
        let mut x = if is_transpose(graph.node(source), LAST) {
            rewriter.get(graph.node(source).inputs[0])?
        } else {
            let x = rewriter.get(source)?;
            let op = Op::Transpose {
                perm: FIRST.to_vec(),
            };
            rewriter.graph.add(&node.name, op, &[x])?
        };
        for layer in chain.into_iter().rev() {
            x = layer_first(&mut rewriter, graph, graph.node(layer), x)?;
        }
        rewriter.replace(id, x);
    }
    super::remove_dead_code(&rewriter.finish()?)
}

fn is_transpose(node: &Node, to: [usize; 4]) -> bool {
    matches!(&node.op, Op::Transpose { perm } if *perm == to)
}

/// The layers from `id` upwards that can be computed with channels first; none if there is nothing
/// among them that would gain by it.
fn chain(graph: &Graph, uses: &[usize], mut id: NodeId) -> Vec<NodeId> {
    let mut chain = Vec::new();
    let mut layers = 0;
    loop {
        let node = graph.node(id);
        let layer = match &node.op {
            _ if uses[id.index()] != 1 => break,
            Op::Activation(_) => 0,
            Op::LayerNorm { axis: 3, .. } => 1,
            Op::Linear if weight(graph, node).is_some() => 1,
            _ => break,
        };
        layers += layer;
        chain.push(id);
        id = node.inputs[0];
    }
    match layers {
        0 => Vec::new(),
        _ => chain,
    }
}

/// The weight of a linear layer on four axes.
fn weight<'a>(graph: &'a Graph, node: &Node) -> Option<&'a Tensor> {
    match node.op {
        Op::Linear if node.shape.rank() == 4 => graph.constant(node.inputs[1]),
        _ => None,
    }
}

/// Adds a layer of [`chain`] on `x`, which has its channels first.
fn layer_first(
    rewriter: &mut Rewriter<'_>,
    graph: &Graph,
    node: &Node,
    x: NodeId,
) -> Result<NodeId, GraphError> {
    let mut inputs = vec![x];
    let op = match (&node.op, weight(graph, node)) {
        (Op::Linear, Some(weight)) => {
            let shape = [weight.shape(), &[1, 1]].concat();
            let kernel = Tensor::new(&shape, weight.data().clone())?;
            let name = format!("{}.pointwise.weight", node.name);
            inputs.push((rewriter.graph).constant_tensor(&name, Role::Trainable, kernel)?);
            Op::Conv(Conv::new(2, 1))
        }
        (Op::LayerNorm { eps, .. }, _) => {
            inputs.push(rewriter.get(node.inputs[1])?);
            Op::LayerNorm { axis: 1, eps: *eps }
        }
        (op, _) => op.clone(),
    };
    for &rest in node.inputs.iter().skip(inputs.len()) {
        inputs.push(rewriter.get(rest)?);
    }
    rewriter.graph.add(&node.name, op, &inputs)
}
