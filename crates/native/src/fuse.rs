//! What becomes one step: the nodes after a producer that its kernel can finish on the way.

use slicewise_graph::{Activation, Binary, Conv, Graph, NodeId, Op, Resize, sampling};

/// Who uses what, and which nodes are already computed.
pub(crate) struct Uses<'a> {
    graph: &'a Graph,
    users: Vec<Vec<NodeId>>,
    outputs: Vec<bool>,
    /// Whether a value is there for the step that is being built.
    pub(crate) ready: Vec<bool>,
}

/// What follows a convolution or linear layer: `then(activation(sum) + residual)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Tail {
    /// The node whose value the step makes.
    pub(crate) end: NodeId,
    pub(crate) activation: Option<Activation>,
    pub(crate) residual: Option<NodeId>,
    pub(crate) then: Option<Activation>,
}

/// A pointwise, a depthwise and a pointwise convolution that follow each other, with the activations
/// between them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Chain {
    pub(crate) layers: [NodeId; 3],
    pub(crate) activations: [Option<Activation>; 2],
}

impl<'a> Uses<'a> {
    pub(crate) fn new(graph: &'a Graph) -> Self {
        let n = graph.nodes().len();
        let mut users = vec![Vec::new(); n];
        let mut outputs = vec![false; n];
        for (id, node) in graph.iter() {
            for input in &node.inputs {
                users[input.index()].push(id);
            }
        }
        for output in graph.outputs() {
            outputs[output.index()] = true;
        }
        Uses {
            graph,
            users,
            outputs,
            ready: vec![false; n],
        }
    }

    /// The one node that uses `id`, if nothing else does.
    fn only_user(&self, id: NodeId) -> Option<NodeId> {
        match self.users[id.index()][..] {
            [user] if !self.outputs[id.index()] => Some(user),
            _ => None,
        }
    }

    /// The activation that alone uses `id`.
    pub(crate) fn activation(&self, id: NodeId) -> Option<(NodeId, Activation)> {
        let user = self.only_user(id)?;
        match self.graph.node(user).op {
            Op::Activation(f) => Some((user, f)),
            _ => None,
        }
    }

    /// The addition that alone uses `id`, and the other operand, if that is ready and of the same
    /// shape.
    fn addition(&self, id: NodeId) -> Option<(NodeId, NodeId)> {
        let user = self.only_user(id)?;
        let node = self.graph.node(user);
        let other = match (&node.op, &node.inputs[..]) {
            (Op::Binary(Binary::Add), &[a, b]) if a == id => b,
            (Op::Binary(Binary::Add), &[a, _]) => a,
            _ => return None,
        };
        let same = self.graph.node(other).shape == self.graph.node(id).shape;
        (same && self.ready[other.index()]).then_some((user, other))
    }

    /// The convolution and the nearest upsampling by two on two axes that `id` adds, where nothing
    /// else uses either.
    pub(crate) fn upsampled_addition(&self, id: NodeId) -> Option<(NodeId, NodeId)> {
        let node = self.graph.node(id);
        let (Op::Binary(Binary::Add), &[a, b]) = (&node.op, &node.inputs[..]) else {
            return None;
        };
        let is_conv = |id: NodeId| matches!(self.graph.node(id).op, Op::Conv(_));
        let (conv, resized) = if is_conv(a) { (a, b) } else { (b, a) };
        let Op::Resize(spec) = &self.graph.node(resized).op else {
            return None;
        };
        let alone = |of: NodeId| self.only_user(of) == Some(id);
        let sizes = |id: NodeId| self.graph.node(id).shape.sizes();
        let coarse = sizes(self.graph.node(resized).inputs[0])?;
        let doubles = |axis: usize| {
            let mut taps = sampling::taps(spec, axis, coarse[axis + 2])
                .into_iter()
                .enumerate();
            spec.size[axis] == 2 * coarse[axis + 2] && taps.all(|(i, taps)| taps == [(i / 2, 1.0)])
        };
        let fits = is_conv(conv)
            && alone(conv)
            && alone(resized)
            && coarse.len() == 4
            && sizes(conv)? == sizes(resized)?
            && doubles(0)
            && doubles(1);
        fits.then_some((conv, resized))
    }

    /// The same, for one of the two operands.
    pub(crate) fn upsampled_addition_of(&self, id: NodeId) -> Option<(NodeId, NodeId)> {
        self.upsampled_addition(self.only_user(id)?)
    }

    /// The convolution that alone uses what `id` and an activation after it make, with that
    /// activation.
    fn convolution(&self, id: NodeId) -> Option<(NodeId, &'a Conv, Option<Activation>)> {
        let (id, activation) = match self.activation(id) {
            Some((end, f)) => (end, Some(f)),
            None => (id, None),
        };
        let user = self.only_user(id)?;
        let node = self.graph.node(user);
        match &node.op {
            Op::Conv(spec) if node.inputs[0] == id => Some((user, spec, activation)),
            _ => None,
        }
    }

    /// The depthwise and the pointwise convolution that follow the pointwise one `id`.
    pub(crate) fn separable(&self, id: NodeId) -> Option<Chain> {
        let Op::Conv(spec) = &self.graph.node(id).op else {
            return None;
        };
        let (depthwise, _, first) = self.convolution(id)?;
        let (project, last, second) = self.convolution(depthwise)?;
        let dense = |conv: &Conv| conv.is_pointwise() && conv.groups == 1;
        let fits = dense(spec) && self.is_depthwise(depthwise) && dense(last);
        fits.then_some(Chain {
            layers: [id, depthwise, project],
            activations: [first, second],
        })
    }

    /// Whether a convolution has as many groups as channels that it reads and makes.
    fn is_depthwise(&self, id: NodeId) -> bool {
        let node = self.graph.node(id);
        let channels = |id: NodeId| self.graph.node(id).shape.sizes()?.get(1).copied();
        match &node.op {
            Op::Conv(spec) => {
                spec.groups > 1
                    && channels(id) == Some(spec.groups)
                    && channels(node.inputs[0]) == Some(spec.groups)
            }
            _ => false,
        }
    }

    /// The arg-max over channels that alone uses `id`.
    pub(crate) fn arg_max(&self, id: NodeId) -> Option<NodeId> {
        let user = self.only_user(id)?;
        matches!(self.graph.node(user).op, Op::ArgMax { axis: 1, .. }).then_some(user)
    }

    /// The resampling that alone uses `id`, and the arg-max over channels that alone uses that.
    pub(crate) fn resized_arg_max(&self, id: NodeId) -> Option<(&'a Resize, NodeId)> {
        let user = self.only_user(id)?;
        match &self.graph.node(user).op {
            Op::Resize(spec) => Some((spec, self.arg_max(user)?)),
            _ => None,
        }
    }

    /// What the step that begins at `id` can take with it.
    pub(crate) fn tail(&self, id: NodeId) -> Tail {
        let mut tail = Tail {
            end: id,
            activation: None,
            residual: None,
            then: None,
        };
        if let Some((user, f)) = self.activation(tail.end) {
            tail.activation = Some(f);
            tail.end = user;
        }
        if let Some((user, other)) = self.addition(tail.end) {
            tail.residual = Some(other);
            tail.end = user;
            if let Some((user, f)) = self.activation(tail.end) {
                tail.then = Some(f);
                tail.end = user;
            }
        }
        tail
    }
}
