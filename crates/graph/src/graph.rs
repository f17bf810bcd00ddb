//! Nodes in execution order.

use std::collections::{BTreeMap, HashSet};

use crate::{Activation, Binary, DType, Op, Parameter, Role, Shape, Tensor};

/// A node's position in its graph.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct NodeId(pub(crate) u32);

impl NodeId {
    /// The position as an index into [`Graph::nodes`].
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// One operator and the one tensor it makes.
#[derive(Clone, PartialEq, Debug)]
pub struct Node {
    /// Unique in the graph. A parameter's is its state-dict key; the others' say where in the
    /// architecture they stand (`encoder.blocks.0.0.conv`).
    pub name: String,
    /// What it does.
    pub op: Op,
    /// What it takes, all before it in the graph.
    pub inputs: Vec<NodeId>,
    /// The shape of what it makes.
    pub shape: Shape,
    /// The element type of what it makes.
    pub dtype: DType,
}

/// What a segmentation network is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Task {
    /// The scores of every class at every pixel, f32.
    Logits,
    /// The class with the largest score at every pixel, the lowest index on a tie: `U8` up to 256
    /// classes, `U16` above.
    Labels,
}

impl std::fmt::Display for Task {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Task::Logits => "logits",
            Task::Labels => "labels",
        })
    }
}

impl std::str::FromStr for Task {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        match s {
            "logits" => Ok(Task::Logits),
            "labels" => Ok(Task::Labels),
            _ => Err(format!("'{s}' is not a task; there are: logits, labels")),
        }
    }
}

/// Why a graph could not be built or changed. Every variant names the node.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum GraphError {
    /// An operator was given tensors that do not fit it.
    #[error("{op} '{node}': {problem} (inputs: {inputs})")]
    Shape {
        /// The node's name.
        node: String,
        /// The operator's name.
        op: &'static str,
        /// The shapes it was given.
        inputs: String,
        /// What was expected of them.
        problem: String,
    },
    /// A tensor's elements are not as many as its shape says.
    #[error("{elements} elements do not fill a tensor of shape {shape:?}")]
    DataSize {
        /// The shape.
        shape: Vec<usize>,
        /// The number of elements given.
        elements: usize,
    },
    /// A name is taken.
    #[error("two parameters or inputs are named '{0}'")]
    Duplicate(String),
    /// Elements are needed, but no weights were loaded.
    #[error("parameter '{0}' has no data: load weights or fill them first")]
    NoData(String),
    /// An operator cannot be evaluated on these values.
    #[error("{op} '{node}': {problem}")]
    Unsupported {
        /// The node's name.
        node: String,
        /// The operator's name.
        op: &'static str,
        /// What is missing.
        problem: String,
    },
}

/// A network: nodes in execution order, the outputs, and facts about it as key and value.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Graph {
    /// The model's name.
    pub name: String,
    /// Facts that travel with the model into files: classes, version, licence.
    pub metadata: BTreeMap<String, String>,
    nodes: Vec<Node>,
    outputs: Vec<NodeId>,
    names: HashSet<String>,
}

impl Graph {
    /// An empty graph.
    pub fn new(name: impl Into<String>) -> Self {
        Graph {
            name: name.into(),
            ..Graph::default()
        }
    }

    /// All nodes; each comes after its inputs.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// A node.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.index()]
    }

    /// The nodes with their positions.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (NodeId, &Node)> {
        self.nodes
            .iter()
            .enumerate()
            .map(|(i, n)| (NodeId(i as u32), n))
    }

    /// The values given at run time, in order.
    pub fn inputs(&self) -> Vec<NodeId> {
        self.iter()
            .filter(|(_, n)| n.op == Op::Input)
            .map(|(id, _)| id)
            .collect()
    }

    /// The values returned, in order.
    pub fn outputs(&self) -> &[NodeId] {
        &self.outputs
    }

    /// Says which values are returned.
    pub fn set_outputs(&mut self, outputs: impl Into<Vec<NodeId>>) {
        self.outputs = outputs.into();
    }

    /// The parameters with their nodes.
    pub fn parameters(&self) -> impl Iterator<Item = (&Node, &Parameter)> {
        self.nodes.iter().filter_map(|n| match &n.op {
            Op::Parameter(p) => Some((n, p)),
            _ => None,
        })
    }

    /// Gives every parameter of the state dict its elements: `f` is called with name and sizes.
    ///
    /// # Errors
    /// The first error of `f`, or a tensor of another shape than asked for.
    pub fn load<E: From<GraphError>>(
        &mut self,
        mut f: impl FnMut(&str, &[usize]) -> Result<Tensor, E>,
    ) -> Result<(), E> {
        for node in &mut self.nodes {
            let Op::Parameter(p) = &mut node.op else {
                continue;
            };
            if p.role == Role::Constant {
                continue;
            }
            let sizes = node.shape.sizes().unwrap_or_default();
            let tensor = f(&node.name, &sizes)?;
            if tensor.shape() != sizes {
                return Err(E::from(GraphError::DataSize {
                    shape: sizes,
                    elements: tensor.len(),
                }));
            }
            p.data = Some(tensor);
        }
        Ok(())
    }

    /// The elements of the parameter that `id` is, if it is one and has them.
    pub fn constant(&self, id: NodeId) -> Option<&Tensor> {
        match &self.node(id).op {
            Op::Parameter(p) => p.data.as_ref(),
            _ => None,
        }
    }

    /// How many inputs of nodes, and outputs of the graph, each node is.
    pub fn uses(&self) -> Vec<usize> {
        let mut uses = vec![0; self.nodes.len()];
        for node in &self.nodes {
            for input in &node.inputs {
                uses[input.index()] += 1;
            }
        }
        for output in &self.outputs {
            uses[output.index()] += 1;
        }
        uses
    }

    /// Adds a value given at run time.
    ///
    /// # Errors
    /// If the name is taken.
    pub fn input(&mut self, name: &str, shape: Shape, dtype: DType) -> Result<NodeId, GraphError> {
        self.push_named(name, Op::Input, shape, dtype)
    }

    /// Declares a parameter of the state dict; its elements come later ([`Graph::load`]).
    ///
    /// # Errors
    /// If the name is taken.
    pub fn parameter(
        &mut self,
        name: &str,
        sizes: &[usize],
        role: Role,
    ) -> Result<NodeId, GraphError> {
        let op = Op::Parameter(Parameter { role, data: None });
        self.push_named(name, op, Shape::new(sizes), DType::F32)
    }

    /// Adds a value computed from the architecture, or a weight that is already at hand.
    ///
    /// # Errors
    /// If the name is taken.
    pub fn constant_tensor(
        &mut self,
        name: &str,
        role: Role,
        tensor: Tensor,
    ) -> Result<NodeId, GraphError> {
        let shape = Shape::new(tensor.shape());
        let dtype = tensor.dtype();
        let op = Op::Parameter(Parameter {
            role,
            data: Some(tensor),
        });
        self.push_named(name, op, shape, dtype)
    }

    /// Adds a parameter as it stands in another graph.
    pub(crate) fn declare(&mut self, node: &Node, p: Parameter) -> Result<NodeId, GraphError> {
        self.push_named(&node.name, Op::Parameter(p), node.shape.clone(), node.dtype)
    }

    fn push_named(
        &mut self,
        name: &str,
        op: Op,
        shape: Shape,
        dtype: DType,
    ) -> Result<NodeId, GraphError> {
        if !self.names.insert(name.to_owned()) {
            return Err(GraphError::Duplicate(name.to_owned()));
        }
        Ok(self.push(Node {
            name: name.to_owned(),
            op,
            inputs: Vec::new(),
            shape,
            dtype,
        }))
    }

    fn push(&mut self, node: Node) -> NodeId {
        let id = NodeId(self.nodes.len() as u32);
        self.nodes.push(node);
        id
    }

    /// Adds an operator on nodes of this graph; `name` gets a number where it is taken.
    ///
    /// # Errors
    /// If the inputs do not fit the operator.
    ///
    /// # Panics
    /// If an input is not a node of this graph.
    pub fn add(&mut self, name: &str, op: Op, inputs: &[NodeId]) -> Result<NodeId, GraphError> {
        let (shape, dtype) = {
            let nodes: Vec<&Node> = inputs.iter().map(|&i| self.node(i)).collect();
            crate::infer::infer(name, &op, &nodes)?
        };
        let mut unique = name.to_owned();
        let mut n = 1;
        while self.names.contains(&unique) {
            n += 1;
            unique = format!("{name}_{n}");
        }
        self.names.insert(unique.clone());
        Ok(self.push(Node {
            name: unique,
            op,
            inputs: inputs.to_vec(),
            shape,
            dtype,
        }))
    }

    /// Adds an activation.
    ///
    /// # Errors
    /// As [`Graph::add`].
    pub fn activation(
        &mut self,
        name: &str,
        f: Activation,
        x: NodeId,
    ) -> Result<NodeId, GraphError> {
        self.add(name, Op::Activation(f), &[x])
    }

    /// Adds an element-wise operator of two nodes.
    ///
    /// # Errors
    /// As [`Graph::add`].
    pub fn binary(
        &mut self,
        name: &str,
        f: Binary,
        a: NodeId,
        b: NodeId,
    ) -> Result<NodeId, GraphError> {
        self.add(name, Op::Binary(f), &[a, b])
    }

    /// The same network asked for `task`: for labels an [`Op::ArgMax`] over axis 1 follows the
    /// first output, unless it is one already.
    ///
    /// # Errors
    /// If the output has no class axis, or more than 65536 classes.
    pub fn with_task(&self, task: Task) -> Result<Graph, GraphError> {
        let mut graph = self.clone();
        let Some(&output) = self.outputs.first() else {
            return Ok(graph);
        };
        let node = self.node(output);
        if task == Task::Logits || matches!(node.op, Op::ArgMax { .. }) {
            return Ok(graph);
        }
        let fail = |problem: &str| GraphError::Shape {
            node: "labels".into(),
            op: "ArgMax",
            inputs: node.shape.to_string(),
            problem: problem.into(),
        };
        if node.shape.rank() < 2 {
            return Err(fail(
                "labels need an output with a class axis at position 1",
            ));
        }
        let dtype = match node.shape[1].fixed() {
            Some(n) if n <= 256 => DType::U8,
            Some(n) if n <= 65536 => DType::U16,
            _ => return Err(fail("labels need at most 65536 classes")),
        };
        let labels = graph.add("labels", Op::ArgMax { axis: 1, dtype }, &[output])?;
        graph.outputs[0] = labels;
        Ok(graph)
    }

    /// The same network with every open batch set to `batch`, shapes worked out anew.
    ///
    /// # Errors
    /// If a shape does not fit that batch.
    pub fn with_batch(&self, batch: usize) -> Result<Graph, GraphError> {
        let mut rewriter = crate::passes::Rewriter::new(self);
        for (id, node) in self.iter() {
            if node.op == Op::Input {
                let shape = node.shape.with_batch(batch);
                let new = rewriter.graph.input(&node.name, shape, node.dtype)?;
                rewriter.replace(id, new);
            } else {
                rewriter.copy(id)?;
            }
        }
        rewriter.finish()
    }
}
