//! A graph as the source of a Python module: one statement of PyTorch's functional interface per
//! node, so that eager mode pays for no interpreter of ours and `torch.compile` can trace it.

use std::fmt::Write as _;

use slicewise_graph::{DType, Graph, GraphError, Node, NodeId, Op, Tensor};

/// A network for PyTorch.
#[derive(Debug)]
pub(crate) struct Source {
    /// A class `Network`, whose `forward` takes the graph's inputs and returns a tuple of its
    /// outputs. It reads its parameters as `self.p0`, `self.p1`, …
    pub(crate) text: String,
    /// The parameters, in order.
    pub(crate) parameters: Vec<Tensor>,
    /// The index of the node that each statement computes, in order.
    pub(crate) nodes: Vec<usize>,
}

/// Writes `graph`, whose batch must be set and whose weights must be there. With `marks`, `mark()` is
/// called after the statement of every node.
pub(crate) fn write(graph: &Graph, marks: bool) -> Result<Source, GraphError> {
    let mut writer = Writer {
        graph,
        names: Vec::with_capacity(graph.nodes().len()),
        parameters: Vec::new(),
    };
    let mut uses = graph.uses();
    let mut body = String::new();
    let mut nodes = Vec::new();
    let mut inputs = Vec::new();
    for (id, node) in graph.iter() {
        let name = match &node.op {
            Op::Input => {
                let name = format!("x{}", inputs.len());
                inputs.push(name.clone());
                name
            }
            Op::Parameter(p) => {
                let data = p.data.clone();
                let data = data.ok_or_else(|| GraphError::NoData(node.name.clone()))?;
                writer.parameter(data)
            }
            _ => {
                let name = format!("v{}", id.index());
                let value = writer.expression(node)?;
                line(&mut body, &format!("{name} = {value}"));
                let last = writer.used_up(node, &mut uses);
                if !last.is_empty() {
                    // As in a module's own forward, what is not needed any more gives its memory back.
                    line(&mut body, &format!("del {}", last.join(", ")));
                }
                if marks {
                    line(&mut body, "mark()");
                }
                nodes.push(id.index());
                name
            }
        };
        writer.names.push(name);
    }
    let outputs = graph.outputs().iter().map(|id| writer.name(*id).to_owned());
    let outputs: String = outputs.map(|name| name + ", ").collect();
    line(&mut body, &format!("return ({})", outputs.trim_end()));
    let inputs: String = inputs.iter().map(|name| format!(", {name}")).collect();
    let head = format!("class Network(torch.nn.Module):\n    def forward(self{inputs}):\n");
    Ok(Source {
        text: head + &body,
        parameters: writer.parameters,
        nodes,
    })
}

fn line(body: &mut String, statement: &str) {
    // Writing into a string cannot fail.
    let _ = writeln!(body, "        {statement}");
}

/// A graph while it is written.
pub(super) struct Writer<'g> {
    graph: &'g Graph,
    /// What each node so far is called in Python.
    names: Vec<String>,
    parameters: Vec<Tensor>,
}

impl Writer<'_> {
    fn name(&self, id: NodeId) -> &str {
        &self.names[id.index()]
    }

    /// Adds a parameter and returns its name.
    pub(super) fn parameter(&mut self, tensor: Tensor) -> String {
        self.parameters.push(tensor);
        format!("self.p{}", self.parameters.len() - 1)
    }

    /// What input `i` of `node` is called.
    pub(super) fn input(&self, node: &Node, i: usize) -> String {
        self.name(node.inputs[i]).to_owned()
    }

    /// What the optional input `i` of `node` is called.
    pub(super) fn optional(&self, node: &Node, i: usize) -> String {
        let name = node.inputs.get(i).map(|&id| self.name(id));
        name.unwrap_or("None").to_owned()
    }

    /// The sizes of input `i` of `node`.
    pub(super) fn sizes(&self, node: &Node, i: usize) -> Result<Vec<usize>, GraphError> {
        fixed(self.graph.node(node.inputs[i]))
    }

    /// The element type of input `i` of `node`.
    pub(super) fn dtype(&self, node: &Node, i: usize) -> DType {
        self.graph.node(node.inputs[i]).dtype
    }

    /// The variables that `node` was the last to read.
    fn used_up(&self, node: &Node, uses: &mut [usize]) -> Vec<&str> {
        let mut last = Vec::new();
        for id in &node.inputs {
            uses[id.index()] -= 1;
            let is_variable = !matches!(self.graph.node(*id).op, Op::Input | Op::Parameter(_));
            if uses[id.index()] == 0 && is_variable {
                last.push(self.name(*id));
            }
        }
        last
    }
}

/// A node's sizes.
pub(super) fn fixed(node: &Node) -> Result<Vec<usize>, GraphError> {
    node.shape.sizes().ok_or_else(|| GraphError::Unsupported {
        node: node.name.clone(),
        op: node.op.name(),
        problem: "its batch is open".into(),
    })
}

/// `(1, 2,)`
pub(super) fn tuple(sizes: impl IntoIterator<Item = usize>) -> String {
    let items: String = sizes.into_iter().map(|n| format!("{n}, ")).collect();
    format!("({})", items.trim_end())
}

/// A number as Python writes it.
pub(super) fn number(x: f32) -> String {
    match x {
        x if x.is_nan() => "float('nan')".into(),
        x if x.is_infinite() && x > 0.0 => "float('inf')".into(),
        x if x.is_infinite() => "-float('inf')".into(),
        x => format!("{x:?}"),
    }
}

/// `True` or `False`
pub(super) fn truth(x: bool) -> &'static str {
    if x { "True" } else { "False" }
}

/// An element type as PyTorch calls it.
pub(super) fn torch_type(dtype: DType) -> &'static str {
    match dtype {
        DType::F32 => "torch.float32",
        DType::I64 => "torch.int64",
        DType::I32 => "torch.int32",
        DType::U16 => "torch.uint16",
        DType::U8 => "torch.uint8",
        DType::I8 => "torch.int8",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use slicewise_graph::{Activation, Conv, Role, Shape};

    #[test]
    fn a_network_is_one_statement_per_node_and_frees_what_is_used_up() {
        let mut graph = Graph::new("small");
        let x = graph
            .input("x", Shape::new(&[1, 1, 4, 4]), DType::F32)
            .expect("a new name");
        let weight = Tensor::from_fn(&[2, 1, 3, 3], |i| i as f32);
        let weight = graph
            .constant_tensor("w", Role::Trainable, weight)
            .expect("a new name");
        let y = graph
            .add("conv", Op::Conv(Conv::new(2, 3).pad(1)), &[x, weight])
            .expect("shapes fit");
        let y = graph
            .activation("relu", Activation::LeakyRelu { slope: 0.01 }, y)
            .expect("any shape fits");
        graph.set_outputs(vec![y]);
        let source = write(&graph, true).expect("everything is there");
        let want = "\
class Network(torch.nn.Module):
    def forward(self, x0):
        v2 = F.conv2d(x0, self.p0, None, (1, 1,), (1, 1,), (1, 1,), 1)
        mark()
        v3 = F.leaky_relu(v2, 0.01)
        del v2
        mark()
        return (v3,)
";
        assert_eq!(source.text, want);
        assert_eq!(source.parameters.len(), 1);
        assert_eq!(source.nodes, [2, 3]);
    }

    #[test]
    fn numbers_are_python() {
        let cases = [
            (1e-5, "1e-5"),
            (6.0, "6.0"),
            (-0.75, "-0.75"),
            (f32::INFINITY, "float('inf')"),
            (f32::NEG_INFINITY, "-float('inf')"),
        ];
        for (x, want) in cases {
            assert_eq!(number(x), want);
        }
    }
}
