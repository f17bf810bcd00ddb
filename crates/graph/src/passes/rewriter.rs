//! Making a changed copy of a graph.

use crate::{Graph, GraphError, Node, NodeId, Op};

/// A new graph growing from an old one: nodes are copied, or replaced by others.
pub struct Rewriter<'a> {
    old: &'a Graph,
    /// The graph so far.
    pub graph: Graph,
    map: Vec<Option<NodeId>>,
}

impl<'a> Rewriter<'a> {
    /// An empty copy of `old`.
    pub fn new(old: &'a Graph) -> Self {
        let mut graph = Graph::new(old.name.clone());
        graph.metadata.clone_from(&old.metadata);
        Rewriter {
            old,
            graph,
            map: vec![None; old.nodes().len()],
        }
    }

    /// Where the old node `id` is in the new graph; copies it, and what it needs, if it is not yet.
    ///
    /// # Errors
    /// If the node does not fit its new inputs.
    pub fn get(&mut self, id: NodeId) -> Result<NodeId, GraphError> {
        match self.map[id.index()] {
            Some(new) => Ok(new),
            None => self.copy(id),
        }
    }

    /// Copies an old node, unless that was done or it was replaced.
    ///
    /// # Errors
    /// If the node does not fit its new inputs.
    pub fn copy(&mut self, id: NodeId) -> Result<NodeId, GraphError> {
        if let Some(new) = self.map[id.index()] {
            return Ok(new);
        }
        let old: &'a Graph = self.old;
        let node: &'a Node = old.node(id);
        let new = match &node.op {
            Op::Input => self
                .graph
                .input(&node.name, node.shape.clone(), node.dtype)?,
            Op::Parameter(p) => self.graph.declare(node, p.clone())?,
            op => {
                // Inputs come before their node, so this goes one level deep for passes that walk
                // the old graph in order.
                let mut inputs = Vec::with_capacity(node.inputs.len());
                for &input in &node.inputs {
                    inputs.push(self.get(input)?);
                }
                self.graph.add(&node.name, op.clone(), &inputs)?
            }
        };
        self.map[id.index()] = Some(new);
        Ok(new)
    }

    /// Lets the old node `id` be the new node `new`.
    pub fn replace(&mut self, id: NodeId, new: NodeId) {
        self.map[id.index()] = Some(new);
    }

    /// The new graph, with the outputs of the old one; outputs not reached yet are copied.
    pub fn finish(mut self) -> Result<Graph, GraphError> {
        let mut outputs = Vec::new();
        for &id in self.old.outputs() {
            outputs.push(self.get(id)?);
        }
        self.graph.set_outputs(outputs);
        Ok(self.graph)
    }
}
