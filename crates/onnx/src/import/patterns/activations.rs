//! Activations and biases.

use slicewise_graph::{Activation, Binary, Node, NodeId, Op};

use super::{Found, Operand, View, near};

impl View<'_> {
    /// `x · sigmoid(x)` and `x · hard_sigmoid(x)`.
    pub(super) fn gated(&self, node: &Node) -> Option<Found> {
        let &[a, b] = &node.inputs[..] else {
            return None;
        };
        [(a, b), (b, a)].into_iter().find_map(|(x, gate)| {
            let gate = self.node(gate);
            let f = match gate.op {
                Op::Activation(Activation::Sigmoid) => Activation::Silu,
                Op::Activation(Activation::HardSigmoid) => Activation::HardSwish,
                _ => return None,
            };
            (gate.inputs[0] == x).then(|| found(f, x))
        })
    }

    /// `relu6(x + 3) / 6`, and that times x.
    pub(super) fn hard_gate(&self, node: &Node) -> Option<Found> {
        let &[top, six] = &node.inputs[..] else {
            return None;
        };
        if !self.number(six).is_some_and(|c| near(c, 6.0)) || self.node(top).shape != node.shape {
            return None;
        }
        if let Some(x) = self.shifted(top) {
            return Some(found(Activation::HardSigmoid, x));
        }
        let [a, b] = self.pair(top, Binary::Mul)?;
        let product = [(a, b), (b, a)]
            .into_iter()
            .find(|&(x, g)| self.shifted(g) == Some(x));
        product.map(|(x, _)| found(Activation::HardSwish, x))
    }

    /// The x of `relu6(x + 3)`.
    fn shifted(&self, id: NodeId) -> Option<NodeId> {
        let node = self.node(id);
        match node.op {
            Op::Activation(Activation::Relu6) => self.with_number(node.inputs[0], Binary::Add, 3.0),
            _ => None,
        }
    }

    /// `½x · (1 + tanh(√(2/π) · (x + 0.044715 x³)))`, its factors in any order.
    pub(super) fn gelu_tanh(&self, node: &Node) -> Option<Found> {
        // The half may be a factor of x, of the sum, or of both.
        let mut factors = Vec::new();
        let mut half = false;
        let mut pending = node.inputs.clone();
        while let Some(id) = pending.pop() {
            if self.number(id).is_some_and(|c| near(c, 0.5)) && !half {
                half = true;
                continue;
            }
            match self.pair(id, Binary::Mul) {
                Some([a, b]) if factors.len() + pending.len() < 3 => pending.extend([a, b]),
                _ => factors.push(id),
            }
        }
        let &[a, b] = &factors[..] else {
            return None;
        };
        let gate = |x: NodeId, sum: NodeId| {
            let tanh = self.with_number(sum, Binary::Add, 1.0)?;
            let tanh = self.node(tanh);
            if tanh.op != Op::Activation(Activation::Tanh) {
                return None;
            }
            let root = std::f32::consts::FRAC_2_PI.sqrt();
            let inner = self.with_number(tanh.inputs[0], Binary::Mul, root)?;
            let [p, q] = self.pair(inner, Binary::Add)?;
            let cube = |x: NodeId, c: NodeId| {
                let cube = self.with_number(c, Binary::Mul, 0.044715);
                cube.is_some_and(|c| self.is_cube(c, x))
            };
            let fits = (p == x && cube(x, q)) || (q == x && cube(x, p));
            (half && fits && self.node(x).shape == node.shape).then_some(x)
        };
        let x = gate(a, b).or_else(|| gate(b, a))?;
        Some(found(Activation::GeluTanh, x))
    }

    /// Whether `id` is `x · x · x`.
    fn is_cube(&self, id: NodeId, x: NodeId) -> bool {
        let square = |s: NodeId| self.pair(s, Binary::Mul) == Some([x, x]);
        match self.pair(id, Binary::Mul) {
            Some([a, b]) => (a == x && square(b)) || (b == x && square(a)),
            None => false,
        }
    }

    /// A linear layer's bias that is added after it.
    pub(super) fn bias(&self, node: &Node) -> Option<Found> {
        let &[a, b] = &node.inputs[..] else {
            return None;
        };
        let rank = node.shape.rank();
        let features = node.shape.dims().last()?.fixed()?;
        let (product, bias) = self.vector([a, b], features, rank.checked_sub(1)?, rank)?;
        let linear = self.node(product);
        if linear.op != Op::Linear || linear.inputs.len() != 2 || !self.single(product) {
            return None;
        }
        if linear.shape != node.shape {
            return None;
        }
        let mut inputs: Vec<Operand> = linear.inputs.iter().map(|&i| Operand::Node(i)).collect();
        inputs.push(Operand::Flat(bias));
        Some(Found {
            op: Op::Linear,
            inputs,
        })
    }
}

fn found(f: Activation, x: NodeId) -> Found {
    Found {
        op: Op::Activation(f),
        inputs: vec![Operand::Node(x)],
    }
}
