//! Operators put together again that exporters take apart.
//!
//! Each rule looks at one node of the old graph and what it takes, and says the one operator that
//! computes the same. A part of the pattern that something else needs, too, stays.

mod activations;
mod norms;

use slicewise_graph::passes::{self, Rewriter};
use slicewise_graph::{Binary, Graph, GraphError, Node, NodeId, Op, Tensor};

/// Rounds of recognition: a pattern may have another one within it, and no more than that.
const ROUNDS: usize = 3;

/// The graph with what exporters take apart put together again, and without what nothing needs.
pub(super) fn recognize(graph: Graph) -> Result<Graph, GraphError> {
    let mut graph = passes::remove_dead_code(&graph)?;
    for _ in 0..ROUNDS {
        let (next, found) = round(&graph)?;
        graph = passes::remove_dead_code(&next)?;
        if found == 0 {
            break;
        }
    }
    Ok(graph)
}

/// What a node is replaced by.
struct Found {
    op: Op,
    inputs: Vec<Operand>,
}

/// What the replacement takes.
enum Operand {
    /// A node of the old graph.
    Node(NodeId),
    /// The elements of the parameter that a node is, as a list along one axis.
    Flat(NodeId),
}

/// One pass over the graph: the new one and how often a pattern was found.
fn round(graph: &Graph) -> Result<(Graph, usize), GraphError> {
    let view = View {
        graph,
        uses: graph.uses(),
    };
    let replacements: Vec<Option<Found>> = graph.nodes().iter().map(|n| view.rules(n)).collect();
    let live = live(graph, &replacements);
    let mut rewriter = Rewriter::new(graph);
    let mut found = 0;
    for (id, node) in graph.iter() {
        // Parameters come with the nodes that take them, so that a rule may have one in another shape.
        let parameter = matches!(node.op, Op::Parameter(_));
        if parameter || !(live[id.index()] || node.op == Op::Input) {
            continue;
        }
        let Some(replacement) = &replacements[id.index()] else {
            rewriter.copy(id)?;
            continue;
        };
        let mut inputs = Vec::with_capacity(replacement.inputs.len());
        for operand in &replacement.inputs {
            inputs.push(match *operand {
                Operand::Node(id) => rewriter.get(id)?,
                Operand::Flat(id) => flat(graph, &mut rewriter, id)?,
            });
        }
        let op = replacement.op.clone();
        let new = rewriter.graph.add(&node.name, op, &inputs)?;
        rewriter.replace(id, new);
        found += 1;
    }
    Ok((rewriter.finish()?, found))
}

/// Which nodes the outputs still need once the replacements are made.
fn live(graph: &Graph, replacements: &[Option<Found>]) -> Vec<bool> {
    let mut live = vec![false; graph.nodes().len()];
    for id in graph.outputs() {
        live[id.index()] = true;
    }
    for (id, node) in graph.iter().rev().filter(|(_, n)| !n.inputs.is_empty()) {
        if !live[id.index()] {
            continue;
        }
        match &replacements[id.index()] {
            None => node.inputs.iter().for_each(|i| live[i.index()] = true),
            Some(found) => {
                for Operand::Node(i) | Operand::Flat(i) in &found.inputs {
                    live[i.index()] = true;
                }
            }
        }
    }
    live
}

/// The parameter `id` of the old graph as a list in the new one.
fn flat(graph: &Graph, rewriter: &mut Rewriter, id: NodeId) -> Result<NodeId, GraphError> {
    let node = graph.node(id);
    let (Op::Parameter(p), Some(tensor)) = (&node.op, graph.constant(id)) else {
        return Err(GraphError::NoData(node.name.clone()));
    };
    if tensor.shape().len() == 1 {
        return rewriter.get(id);
    }
    let list = tensor.reshaped(&[tensor.len()])?;
    let mut name = node.name.clone();
    let mut tries = 1;
    loop {
        match rewriter.graph.constant_tensor(&name, p.role, list.clone()) {
            Err(GraphError::Duplicate(_)) if tries < 1000 => {
                tries += 1;
                name = format!("{}_{tries}", node.name);
            }
            result => return result,
        }
    }
}

/// The old graph, as rules look at it.
struct View<'a> {
    graph: &'a Graph,
    uses: Vec<usize>,
}

impl<'a> View<'a> {
    /// The first rule that fits a node.
    fn rules(&self, node: &'a Node) -> Option<Found> {
        match &node.op {
            Op::Binary(Binary::Mul) => self.gated(node).or_else(|| self.gelu_tanh(node)),
            Op::Binary(Binary::Div) => self.l2_normalize(node).or_else(|| self.hard_gate(node)),
            Op::Binary(Binary::Add) => self
                .layer_norm(node)
                .or_else(|| self.group_norm(node))
                .or_else(|| self.bias(node)),
            Op::Transpose { .. } => self.channel_norm(node),
            _ => None,
        }
    }

    fn node(&self, id: NodeId) -> &'a Node {
        self.graph.node(id)
    }

    /// The inputs of `id` if it is this function of two elements.
    fn pair(&self, id: NodeId, f: Binary) -> Option<[NodeId; 2]> {
        let node = self.node(id);
        match (&node.op, &node.inputs[..]) {
            (Op::Binary(own), &[a, b]) if *own == f => Some([a, b]),
            _ => None,
        }
    }

    /// The other input of `id`, if it is this commutative function with the number `c` in a tensor of
    /// one element without more axes than the other has.
    fn with_number(&self, id: NodeId, f: Binary, c: f32) -> Option<NodeId> {
        let [a, b] = self.pair(id, f)?;
        let is = |n: NodeId| self.number(n).is_some_and(|x| near(x, c));
        let shape = |n: NodeId| &self.node(n).shape;
        [(a, b), (b, a)]
            .into_iter()
            .find(|&(x, n)| is(n) && shape(x) == shape(id))
            .map(|(x, _)| x)
    }

    /// The one number that a parameter is.
    fn number(&self, id: NodeId) -> Option<f32> {
        match self.constant(id)?.as_f32()? {
            &[x] => Some(x),
            _ => None,
        }
    }

    fn constant(&self, id: NodeId) -> Option<&'a Tensor> {
        self.graph.constant(id)
    }

    /// Whether nothing but one node takes `id`.
    fn single(&self, id: NodeId) -> bool {
        self.uses[id.index()] == 1
    }

    /// The parameter among two operands that has `n` elements, all along one axis of the result: the
    /// `axis`-th of `rank`. Comes after the other operand.
    fn vector(
        &self,
        operands: [NodeId; 2],
        n: usize,
        axis: usize,
        rank: usize,
    ) -> Option<(NodeId, NodeId)> {
        let fits = |id: NodeId| {
            self.constant(id).is_some_and(|t| {
                let sizes = t.shape();
                let behind = rank - axis - 1;
                t.len() == n
                    && t.as_f32().is_some()
                    && sizes.len() > behind
                    && sizes.len() <= rank
                    && sizes[sizes.len() - 1 - behind] == n
            })
        };
        let [a, b] = operands;
        match (fits(a), fits(b)) {
            (_, true) => Some((a, b)),
            (true, false) => Some((b, a)),
            _ => None,
        }
    }
}

/// Whether two numbers are alike but for rounding.
fn near(a: f32, b: f32) -> bool {
    (a - b).abs() <= 1e-5 * b.abs().max(1e-30)
}
