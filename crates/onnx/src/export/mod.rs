//! A graph as an ONNX model.

mod elementwise;
mod linear;
mod lower;
mod resize;

pub(crate) use linear::{TRANSPOSED, transpose};

use std::collections::{HashMap, HashSet};
use std::path::Path;

use slicewise_graph::{DType, Dim, Graph, Node, NodeId, Op, Role, Shape, Tensor, passes};

use crate::OnnxError;
use crate::element;
use crate::file::{self, Model, Weight};
use crate::proto::attribute_proto::AttributeType;
use crate::proto::tensor_shape_proto::{Dimension, dimension};
use crate::proto::type_proto;
use crate::proto::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorShapeProto,
    TypeProto, ValueInfoProto,
};

/// The operator set written: the first with LayerNormalization, so that the most engines read it.
/// What later sets would add is worth less: Gelu (20) and a usable GroupNormalization (21) are said
/// in operators that engines fuse, antialiased Resize (18) in matrix products.
pub(crate) const OPSET: i64 = 17;

/// The version of the file format that belongs to [`OPSET`].
const IR_VERSION: i64 = 8;

/// The name of an open batch in the files written.
const BATCH: &str = "N";

/// The metadata key that holds the model's name.
pub(crate) const MODEL_KEY: &str = "model";

/// Writes a graph with weights as an ONNX file; weights that would take it past protobuf's 2 GiB go
/// into `<path>.data`. The file appears whole or not at all.
///
/// An open batch becomes the dimension `N`. Initializers keep the parameters' names; the weights of
/// linear layers on more than two axes are stored transposed, as `<name>.transposed`. The metadata
/// hold the graph's own and its name under `model`.
///
/// # Errors
/// If a parameter has no data, or the file cannot be written.
pub fn write(graph: &Graph, path: &Path) -> Result<(), OnnxError> {
    model(graph)?.write(path, file::PROTOBUF_LIMIT)
}

/// The bytes of the ONNX file that [`write()`] makes, weights included.
///
/// # Errors
/// If a parameter has no data, or the model is larger than protobuf's 2 GiB.
pub fn to_bytes(graph: &Graph) -> Result<Vec<u8>, OnnxError> {
    model(graph)?.to_bytes()
}

/// The model that says what `graph` computes.
pub(crate) fn model(graph: &Graph) -> Result<Model, OnnxError> {
    let graph = passes::remove_dead_code(graph).map_err(|error| OnnxError::Graph {
        file: graph.name.clone(),
        error,
    })?;
    let mut exporter = Exporter {
        graph: &graph,
        nodes: Vec::new(),
        weights: Vec::new(),
        names: graph.nodes().iter().map(|n| n.name.clone()).collect(),
        written: HashSet::new(),
        transposed: HashMap::new(),
    };
    for node in graph.nodes() {
        exporter.lower(node)?;
    }
    let mut outputs = Vec::new();
    for &id in graph.outputs() {
        outputs.push(exporter.output(id, &outputs)?);
    }
    let proto_graph = GraphProto {
        node: exporter.nodes,
        name: Some(graph.name.clone()),
        initializer: Vec::new(),
        input: graph
            .inputs()
            .into_iter()
            .map(|id| value_info(graph.node(id), None))
            .collect(),
        output: outputs,
    };
    let mut metadata = graph.metadata.clone();
    metadata.insert(MODEL_KEY.to_owned(), graph.name.clone());
    let proto = ModelProto {
        ir_version: Some(IR_VERSION),
        opset_import: vec![OperatorSetIdProto {
            domain: Some(String::new()),
            version: Some(OPSET),
        }],
        producer_name: Some("slicewise".to_owned()),
        producer_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
        graph: Some(proto_graph),
        metadata_props: metadata.iter().map(|(k, v)| file::entry(k, v)).collect(),
        functions: Vec::new(),
    };
    Ok(Model {
        proto,
        weights: exporter.weights,
    })
}

/// A model under construction. Values are known by name: a node's value has the node's name.
struct Exporter<'a> {
    graph: &'a Graph,
    nodes: Vec<NodeProto>,
    weights: Vec<Weight>,
    names: HashSet<String>,
    /// Initializers that are there already.
    written: HashSet<String>,
    /// Weights stored with their axes swapped.
    transposed: HashMap<NodeId, String>,
}

impl Exporter<'_> {
    /// The name of a node's value; a parameter becomes an initializer when it is first asked for.
    fn value(&mut self, id: NodeId) -> Result<String, OnnxError> {
        let node = self.graph.node(id);
        if let Op::Parameter(p) = &node.op
            && self.written.insert(node.name.clone())
        {
            let Some(data) = &p.data else {
                return Err(OnnxError::NoData(node.name.clone()));
            };
            self.weights.push(Weight {
                name: node.name.clone(),
                role: p.role,
                tensor: data.clone(),
            });
        }
        Ok(node.name.clone())
    }

    /// The names of all inputs of a node.
    fn values(&mut self, node: &Node) -> Result<Vec<String>, OnnxError> {
        node.inputs.iter().map(|&id| self.value(id)).collect()
    }

    /// A name that nothing in the model has.
    fn fresh(&mut self, base: &str) -> String {
        let mut name = base.to_owned();
        let mut n = 1;
        while !self.names.insert(name.clone()) {
            n += 1;
            name = format!("{base}_{n}");
        }
        name
    }

    /// Adds a node that makes the value `output`.
    fn emit(&mut self, op: &str, inputs: &[&str], output: &str, attributes: Vec<AttributeProto>) {
        self.nodes.push(NodeProto {
            input: inputs.iter().map(|&s| s.to_owned()).collect(),
            output: vec![output.to_owned()],
            name: Some(output.to_owned()),
            op_type: Some(op.to_owned()),
            attribute: attributes,
            ..NodeProto::default()
        });
    }

    /// Adds a node that makes a value on the way to that of `node`, and returns its name.
    fn step(
        &mut self,
        node: &Node,
        what: &str,
        op: &str,
        inputs: &[&str],
        attributes: Vec<AttributeProto>,
    ) -> String {
        let name = self.fresh(&format!("{}.{what}", node.name));
        self.emit(op, inputs, &name, attributes);
        name
    }

    /// Adds an initializer that `node` needs beside its parameters, and returns its name.
    fn constant(&mut self, node: &Node, what: &str, tensor: Tensor) -> String {
        let name = self.fresh(&format!("{}.{what}", node.name));
        self.weights.push(Weight {
            name: name.clone(),
            role: Role::Constant,
            tensor,
        });
        name
    }

    /// An initializer of one f32.
    fn scalar(&mut self, node: &Node, what: &str, value: f32) -> String {
        self.constant(node, what, Tensor::scalar(value))
    }

    /// An initializer `[len]` of 64-bit integers: sizes, axes, positions.
    fn indices(&mut self, node: &Node, what: &str, values: Vec<i64>) -> Result<String, OnnxError> {
        let tensor =
            Tensor::new(&[values.len()], values).map_err(|e| export_error(node, e.to_string()))?;
        Ok(self.constant(node, what, tensor))
    }

    /// Adds a reshape of `x` to `shape`, whose open batch is axis 0 of x or the only axis left open.
    fn reshape(
        &mut self,
        node: &Node,
        what: &str,
        x: &str,
        shape: &[Option<usize>],
    ) -> Result<String, OnnxError> {
        let sizes = shape.iter().enumerate().map(|(i, d)| match d {
            Some(n) => *n as i64,
            None if i == 0 => 0,
            None => -1,
        });
        let sizes = self.indices(node, &format!("{what}.shape"), sizes.collect())?;
        Ok(self.step(node, what, "Reshape", &[x, &sizes], vec![]))
    }

    /// A graph output for the value of `id`: an input, a weight or a value that is an output already
    /// goes through Identity, because not every engine takes it as it is.
    fn output(
        &mut self,
        id: NodeId,
        before: &[ValueInfoProto],
    ) -> Result<ValueInfoProto, OnnxError> {
        let node = self.graph.node(id);
        let value = self.value(id)?;
        let passed_on = matches!(node.op, Op::Input | Op::Parameter(_));
        let repeated = before.iter().any(|v| v.name.as_deref() == Some(&value));
        if passed_on || repeated {
            let name = self.step(node, "output", "Identity", &[&value], vec![]);
            return Ok(value_info(node, Some(name)));
        }
        Ok(value_info(node, None))
    }
}

/// The declaration of a node's value, under another name if one is given.
fn value_info(node: &Node, name: Option<String>) -> ValueInfoProto {
    let dim = |d: &Dim| Dimension {
        value: Some(match d {
            Dim::Fixed(n) => dimension::Value::DimValue(*n as i64),
            Dim::Batch => dimension::Value::DimParam(BATCH.to_owned()),
        }),
    };
    let tensor = type_proto::Tensor {
        elem_type: Some(element::code(node.dtype)),
        shape: Some(TensorShapeProto {
            dim: node.shape.dims().iter().map(dim).collect(),
        }),
    };
    ValueInfoProto {
        name: Some(name.unwrap_or_else(|| node.name.clone())),
        r#type: Some(TypeProto {
            value: Some(type_proto::Value::TensorType(tensor)),
        }),
    }
}

/// The sizes of a shape, with `None` for the open batch.
fn sizes(shape: &Shape) -> Vec<Option<usize>> {
    shape.dims().iter().map(|d| d.fixed()).collect()
}

fn export_error(node: &Node, problem: impl Into<String>) -> OnnxError {
    OnnxError::Export {
        op: node.op.name(),
        node: node.name.clone(),
        problem: problem.into(),
    }
}

fn float(name: &str, value: f32) -> AttributeProto {
    AttributeProto {
        name: Some(name.to_owned()),
        r#type: Some(AttributeType::Float as i32),
        f: Some(value),
        ..AttributeProto::default()
    }
}

fn int(name: &str, value: usize) -> AttributeProto {
    AttributeProto {
        name: Some(name.to_owned()),
        r#type: Some(AttributeType::Int as i32),
        i: Some(value as i64),
        ..AttributeProto::default()
    }
}

fn ints(name: &str, values: impl IntoIterator<Item = usize>) -> AttributeProto {
    AttributeProto {
        name: Some(name.to_owned()),
        r#type: Some(AttributeType::Ints as i32),
        ints: values.into_iter().map(|n| n as i64).collect(),
        ..AttributeProto::default()
    }
}

fn string(name: &str, value: &str) -> AttributeProto {
    AttributeProto {
        name: Some(name.to_owned()),
        r#type: Some(AttributeType::String as i32),
        s: Some(value.as_bytes().to_vec()),
        ..AttributeProto::default()
    }
}

/// ONNX's number of an element type, as an attribute.
fn element_type(name: &str, dtype: DType) -> AttributeProto {
    AttributeProto {
        name: Some(name.to_owned()),
        r#type: Some(AttributeType::Int as i32),
        i: Some(i64::from(element::code(dtype))),
        ..AttributeProto::default()
    }
}
