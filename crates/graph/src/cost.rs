//! What a graph costs: parameters, multiplications and memory, per node and in total.

use std::ops::AddAssign;

use crate::{Graph, Node, NodeId, Op, Role};

/// The cost of a node or a whole graph. An open batch counts as one image.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Cost {
    /// Learnt values, each counted once, as PyTorch's `sum(p.numel() for p in parameters())`.
    pub parameters: u64,
    /// Multiply-accumulates of convolutions, linear layers and matrix products; for the other
    /// operators none, as in the field's usual counts.
    pub macs: u64,
    /// Bytes of all tensors that nodes make, weights not included.
    pub activation_bytes: u64,
}

impl AddAssign for Cost {
    fn add_assign(&mut self, other: Cost) {
        self.parameters += other.parameters;
        self.macs = self.macs.saturating_add(other.macs);
        self.activation_bytes = self.activation_bytes.saturating_add(other.activation_bytes);
    }
}

/// The cost of a whole graph.
pub fn total(graph: &Graph) -> Cost {
    let mut sum = Cost::default();
    for (id, _) in graph.iter() {
        sum += node(graph, id);
    }
    sum
}

/// The cost of one node. A parameter's cost stands at the parameter, not at its users.
pub fn node(graph: &Graph, id: NodeId) -> Cost {
    let node = graph.node(id);
    let elements = node.shape.elements().unwrap_or(usize::MAX) as u64;
    match &node.op {
        Op::Parameter(p) => Cost {
            parameters: if p.role == Role::Trainable {
                elements
            } else {
                0
            },
            ..Cost::default()
        },
        _ => Cost {
            parameters: 0,
            macs: macs(graph, node, elements),
            activation_bytes: elements.saturating_mul(node.dtype.bytes() as u64),
        },
    }
}

/// The products that `elements` results of `node` are summed from.
fn macs(graph: &Graph, node: &Node, elements: u64) -> u64 {
    let shape = |i: usize| &graph.node(node.inputs[i]).shape;
    let after = |i: usize, skip: usize| -> u64 {
        let sizes = shape(i).dims().iter().skip(skip);
        sizes.map(|d| d.fixed().unwrap_or(1) as u64).product()
    };
    match &node.op {
        // Per result: every tap of every input channel of the group.
        Op::Conv(_) => elements.saturating_mul(after(1, 1)),
        // Per input element: every tap of every output channel of the group.
        Op::ConvTranspose(_) => {
            (shape(0).elements().unwrap_or(usize::MAX) as u64).saturating_mul(after(1, 1))
        }
        Op::Linear => elements.saturating_mul(after(1, 1)),
        Op::MatMul => elements.saturating_mul(after(0, shape(0).rank() - 1)),
        Op::Input
        | Op::Parameter(_)
        | Op::BatchNorm { .. }
        | Op::GroupNorm { .. }
        | Op::LayerNorm { .. }
        | Op::Pool(_)
        | Op::Activation(_)
        | Op::Binary(_)
        | Op::Concat { .. }
        | Op::Resize(_)
        | Op::Softmax { .. }
        | Op::Reduce(_)
        | Op::Transpose { .. }
        | Op::Reshape { .. }
        | Op::Slice(_)
        | Op::Pad { .. }
        | Op::L2Normalize { .. }
        | Op::ArgMax { .. }
        | Op::Quantize { .. }
        | Op::Dequantize { .. } => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Conv, ConvTranspose, DType, Shape};

    #[test]
    fn a_grouped_convolution_counts_only_its_groups_taps() {
        let mut g = Graph::new("t");
        let x = g
            .input("x", Shape::new(&[1, 8, 10, 10]), DType::F32)
            .unwrap();
        let w = g.parameter("w", &[16, 2, 3, 3], Role::Trainable).unwrap();
        let y = g
            .add("y", Op::Conv(Conv::new(2, 3).pad(1).groups(4)), &[x, w])
            .unwrap();
        let up = g.parameter("up", &[16, 4, 2, 2], Role::Trainable).unwrap();
        let z = g
            .add(
                "z",
                Op::ConvTranspose(ConvTranspose::upsample(2, 2)),
                &[y, up],
            )
            .unwrap();
        assert_eq!(node(&g, y).macs, 16 * 100 * 2 * 9);
        assert_eq!(node(&g, z).macs, 16 * 100 * 4 * 4);
        let total = total(&g);
        assert_eq!(total.parameters, 16 * 2 * 9 + 16 * 4 * 4);
        assert_eq!(total.activation_bytes, 4 * (800 + 1600 + 4 * 400));
    }
}
