//! Normalisations.

use slicewise_graph::{Activation, Binary, Node, NodeId, Op, Reduce, ReduceKind};

use super::{Found, Operand, View};

impl View<'_> {
    /// `(x − mean) / √(mean((x − mean)²) + eps) · weight + bias` over the last axis.
    pub(super) fn layer_norm(&self, node: &Node) -> Option<Found> {
        let &[a, b] = &node.inputs[..] else {
            return None;
        };
        let rank = node.shape.rank();
        let axis = rank.checked_sub(1)?;
        let n = node.shape[axis].fixed()?;
        let (scaled, bias) = self.vector([a, b], n, axis, rank)?;
        let (quotient, weight) = self.vector(self.pair(scaled, Binary::Mul)?, n, axis, rank)?;
        let [centred, deviation] = self.pair(quotient, Binary::Div)?;
        let [x, mean] = self.pair(centred, Binary::Sub)?;
        if self.mean(mean, axis)? != x || self.node(x).shape != node.shape {
            return None;
        }
        let root = self.node(deviation);
        if root.op != Op::Activation(Activation::Sqrt) {
            return None;
        }
        let [c, d] = self.pair(root.inputs[0], Binary::Add)?;
        let (variance, eps) = match (self.number(c), self.number(d)) {
            (_, Some(eps)) => (c, eps),
            (Some(eps), None) => (d, eps),
            _ => return None,
        };
        let square = self.mean(variance, axis)?;
        if self.pair(square, Binary::Mul)? != [centred, centred] {
            return None;
        }
        Some(Found {
            op: Op::LayerNorm { axis, eps },
            inputs: vec![Operand::Node(x), Operand::Flat(weight), Operand::Flat(bias)],
        })
    }

    /// What `id` is the mean of along `axis`, which stays.
    fn mean(&self, id: NodeId, axis: usize) -> Option<NodeId> {
        let node = self.node(id);
        let wanted = Reduce {
            kind: ReduceKind::Mean,
            axes: vec![axis],
            keep_dims: true,
        };
        (node.op == Op::Reduce(wanted)).then(|| node.inputs[0])
    }

    /// A layer norm over the last axis between a transpose and its inverse.
    pub(super) fn channel_norm(&self, node: &Node) -> Option<Found> {
        let Op::Transpose { perm: back } = &node.op else {
            return None;
        };
        let norm = self.node(node.inputs[0]);
        let Op::LayerNorm { axis, eps } = norm.op else {
            return None;
        };
        let moved = self.node(norm.inputs[0]);
        let Op::Transpose { perm } = &moved.op else {
            return None;
        };
        if !self.single(node.inputs[0]) || !back.iter().map(|&i| perm[i]).eq(0..perm.len()) {
            return None;
        }
        Some(Found {
            op: Op::LayerNorm {
                axis: perm[axis],
                eps,
            },
            inputs: vec![
                Operand::Node(moved.inputs[0]),
                Operand::Node(norm.inputs[1]),
                Operand::Node(norm.inputs[2]),
            ],
        })
    }

    /// Instance norm of groups laid out as channels, then the channels' own scale and shift.
    pub(super) fn group_norm(&self, node: &Node) -> Option<Found> {
        let &[a, b] = &node.inputs[..] else {
            return None;
        };
        let rank = node.shape.rank();
        if rank < 2 {
            return None;
        }
        let channels = node.shape[1].fixed()?;
        let (scaled, bias) = self.vector([a, b], channels, 1, rank)?;
        let (ungrouped, weight) =
            self.vector(self.pair(scaled, Binary::Mul)?, channels, 1, rank)?;
        let ungrouped = self.node(ungrouped);
        let Op::Reshape { .. } = ungrouped.op else {
            return None;
        };
        let norm = self.node(ungrouped.inputs[0]);
        let Op::GroupNorm { groups, eps } = norm.op else {
            return None;
        };
        let all = |id: NodeId, value: f32| {
            let elements = self.constant(id).and_then(|t| t.as_f32());
            elements.is_some_and(|v| v.iter().all(|&x| x == value))
        };
        let grouped = self.node(norm.inputs[0]);
        let Op::Reshape { .. } = grouped.op else {
            return None;
        };
        let x = self.node(grouped.inputs[0]);
        // One group for each channel of [N, G, rest]: the statistics of groups of x's channels.
        let plain = norm.shape.rank() == 3
            && norm.shape[0] == x.shape.dims().first().copied()?
            && norm.shape[1].fixed() == Some(groups)
            && x.shape == node.shape
            && ungrouped.shape == node.shape
            && groups > 0
            && channels % groups == 0
            && all(norm.inputs[1], 1.0)
            && all(norm.inputs[2], 0.0);
        plain.then(|| Found {
            op: Op::GroupNorm { groups, eps },
            inputs: vec![
                Operand::Node(grouped.inputs[0]),
                Operand::Flat(weight),
                Operand::Flat(bias),
            ],
        })
    }

    /// `x / max(√Σx², eps)` along one axis.
    pub(super) fn l2_normalize(&self, node: &Node) -> Option<Found> {
        let &[x, bounded] = &node.inputs[..] else {
            return None;
        };
        let bounded = self.node(bounded);
        let Op::Activation(Activation::Clip { low: eps, high }) = bounded.op else {
            return None;
        };
        let norm = self.node(bounded.inputs[0]);
        let sum = match norm.op {
            Op::Activation(Activation::Sqrt) => self.node(norm.inputs[0]),
            _ => return None,
        };
        let axis = match &sum.op {
            Op::Reduce(Reduce {
                kind: ReduceKind::Sum,
                axes,
                keep_dims: true,
            }) => match axes[..] {
                [axis] => axis,
                _ => return None,
            },
            _ => return None,
        };
        let square = self.pair(sum.inputs[0], Binary::Mul)?;
        // Nothing finite is above this bound, so it is none.
        let open = high >= f32::MAX;
        (open && eps >= 0.0 && square == [x, x]).then(|| Found {
            op: Op::L2Normalize { axis, eps },
            inputs: vec![Operand::Node(x)],
        })
    }
}
