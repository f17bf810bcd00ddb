//! An ONNX model as a graph.
//!
//! Nodes are read in the file's order. Each name stands for a [`Value`]: a node of the graph so far, or
//! elements that are known. What a file computes from shapes alone is worked out on the way, with the
//! open batch as a symbol, so that nothing of it is left in the graph. [`patterns`] then puts together
//! what exporters take apart.

mod arithmetic;
mod array;
mod call;
mod combine;
mod elementwise;
mod evaluate;
mod functions;
mod inputs;
mod normalize;
mod patterns;
mod positions;
mod product;
mod reshape;
mod resize;
mod scan;
mod select;
mod tensor;
#[cfg(test)]
mod tests;
mod value;
mod window;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use prost::Message;
use prost::bytes::Bytes;
use slicewise_graph::{Binary, DType, Graph, NodeId, Op, Role, Shape, Tensor, TensorData};

use crate::OnnxError;
use crate::export::MODEL_KEY;
use crate::file::{PROTOBUF_LIMIT, io_error, role};
use crate::proto::{GraphProto, ModelProto, NodeProto};
use call::Call;
use tensor::{Decoded, External};
use value::{Constant, IntKind, Ints, Stretched, Value};

/// The oldest operator set read: from here on bounds, pads and slices are inputs.
const OLDEST_OPSET: i64 = 11;

/// The newest operator set that this reader was written against.
const NEWEST_OPSET: i64 = 28;

/// Elements that may be made from constants beyond four times the file's own size: with the copies that
/// one step takes, some 200 MB.
const SPARE_ELEMENTS: u64 = 1 << 22;

/// The most axes of a value; networks have five, views of windows twice that.
const MOST_AXES: usize = 16;

type Result<T, E = OnnxError> = std::result::Result<T, E>;

/// Reads an ONNX file: what [`write`](crate::write()) makes of a graph, or `torch.onnx.export` of a
/// network of this kind, with a batch that is fixed or open and all other sizes fixed. Weights may be
/// in other files of the same folder. Half and double precision become single.
///
/// # Errors
/// If the file cannot be read, is not a whole ONNX model, or uses what slicewise does not know; the
/// message names the file, and the node and operator where there is one.
pub fn read(path: &Path) -> Result<Graph> {
    let name = path.display().to_string();
    let fail = |error| io_error(path, error);
    let metadata = std::fs::metadata(path).map_err(fail)?;
    let malformed = |problem: &str| {
        Err(OnnxError::Malformed {
            file: name.clone(),
            problem: problem.to_owned(),
        })
    };
    if !metadata.is_file() {
        return malformed("is not a file");
    }
    if metadata.len() > PROTOBUF_LIMIT {
        return malformed(
            "is larger than the 2 GiB that an ONNX model may have; store the weights as external data",
        );
    }
    let bytes = Bytes::from(std::fs::read(path).map_err(fail)?);
    let folder = match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new(".").to_owned(),
        Some(parent) => parent.to_owned(),
        None => Path::new(".").to_owned(),
    };
    let external = External::beside(folder);
    model(&name, bytes, external)
}

/// Reads an ONNX model from memory; `name` stands for it in messages. See [`read`].
///
/// # Errors
/// As [`read`]; also if weights are in other files.
pub fn from_bytes(name: &str, bytes: &[u8]) -> Result<Graph> {
    model(name, Bytes::copy_from_slice(bytes), External::default())
}

fn model(file: &str, bytes: Bytes, external: External) -> Result<Graph> {
    let malformed = |problem: String| OnnxError::Malformed {
        file: file.to_owned(),
        problem,
    };
    scan::check(&bytes).map_err(malformed)?;
    let size = bytes.len() as u64;
    let mut model =
        ModelProto::decode(bytes).map_err(|e| malformed(format!("is not an ONNX model: {e}")))?;
    let Some(mut proto) = model.graph.take() else {
        return Err(malformed(
            "is not an ONNX model: it has no graph".to_owned(),
        ));
    };
    let own = |domain: Option<&str>| matches!(domain, None | Some("" | "ai.onnx"));
    let opset = model.opset_import.iter().find(|o| own(o.domain.as_deref()));
    let opset = opset.and_then(|o| o.version).unwrap_or(1);
    if !(OLDEST_OPSET..=NEWEST_OPSET).contains(&opset) {
        return Err(malformed(format!(
            "uses opset {opset}; slicewise reads {OLDEST_OPSET} to {NEWEST_OPSET}: export the model anew"
        )));
    }
    let nodes = functions::inline(file, std::mem::take(&mut proto.node), &model.functions)?;
    let named = model
        .metadata_props
        .iter()
        .find(|e| e.key.as_deref() == Some(MODEL_KEY));
    let name = named
        .and_then(|e| e.value.clone())
        .or(proto.name.take())
        .unwrap_or_default();
    let mut importer = Importer {
        file,
        opset,
        graph: Graph::new(name),
        values: HashMap::new(),
        parameters: HashMap::new(),
        swapped: HashMap::new(),
        next_key: 0,
        budget: size.saturating_mul(4).saturating_add(SPARE_ELEMENTS),
        scaled: HashMap::new(),
    };
    for entry in model.metadata_props {
        let (key, value) = (
            entry.key.unwrap_or_default(),
            entry.value.unwrap_or_default(),
        );
        if key != MODEL_KEY {
            importer.graph.metadata.insert(key, value);
        }
    }
    importer.read(proto, nodes, external)?;
    patterns::recognize(importer.graph).map_err(|error| OnnxError::Graph {
        file: file.to_owned(),
        error,
    })
}

/// A graph under construction.
struct Importer<'a> {
    file: &'a str,
    opset: i64,
    graph: Graph,
    values: HashMap<String, Value>,
    /// The parameters that constants have become, by their keys.
    parameters: HashMap<usize, NodeId>,
    next_key: usize,
    /// Elements that may still be made from constants.
    budget: u64,
    /// The parameters that constant matrices have become with their axes swapped.
    swapped: HashMap<usize, NodeId>,
    /// Nodes that are another node times a number.
    scaled: HashMap<NodeId, (NodeId, f32)>,
}

impl Importer<'_> {
    fn read(
        &mut self,
        mut proto: GraphProto,
        nodes: Vec<NodeProto>,
        mut external: External,
    ) -> Result<()> {
        for t in std::mem::take(&mut proto.initializer) {
            let name = t.name.clone().unwrap_or_default();
            let decoded = tensor::decode(&t, &mut external)
                .map_err(|problem| self.malformed(format!("tensor '{name}' {problem}")))?;
            if let (Decoded::Tensor(tensor), true) = (&decoded, t.data_location.is_some()) {
                // What lies beside the model is as real as what lies within.
                let beside = (tensor.len() as u64).saturating_mul(16);
                self.budget = self.budget.saturating_add(beside);
            }
            let mut value = self.decoded(&name, decoded, true);
            if let (Value::Constant(c), Some(role)) = (&mut value, role(t.doc_string.as_deref())) {
                c.role = role;
            }
            self.define(&name, value)?;
        }
        for input in &proto.input {
            let name = input.name.as_deref().unwrap_or_default();
            // Old files list weights among the inputs, too.
            if !self.values.contains_key(name) {
                let (shape, dtype) = self.input_type(name, input)?;
                let id = self.graph.input(name, shape, dtype);
                let id = id.map_err(|e| self.graph_error(e))?;
                self.define(name, Value::Node(id))?;
            }
        }
        self.check_batch(&proto.input)?;
        for node in &nodes {
            self.node_of_file(node, &mut external)?;
        }
        let mut outputs = Vec::new();
        for output in &proto.output {
            let name = output.name.as_deref().unwrap_or_default();
            let Some(value) = self.values.get(name).cloned() else {
                return Err(self.malformed(format!("output '{name}' is made by no node")));
            };
            let id = self
                .materialize(&value)
                .map_err(|p| self.malformed(format!("output '{name}' {p}")))?;
            self.check_output(output, id)?;
            outputs.push(id);
        }
        if outputs.is_empty() {
            return Err(self.malformed("has no outputs"));
        }
        self.graph.set_outputs(outputs);
        Ok(())
    }

    fn node_of_file(&mut self, node: &NodeProto, external: &mut External) -> Result<()> {
        let call = Call {
            file: self.file,
            op: node.op_type.as_deref().unwrap_or_default(),
            opset: self.opset,
            node,
        };
        let own = matches!(node.domain.as_deref(), None | Some("" | "ai.onnx"));
        if !own {
            return Err(self.unsupported(&call));
        }
        if call.output().is_empty() && node.output.iter().all(String::is_empty) {
            return call.fail("makes no value");
        }
        for name in node.input.iter().filter(|n| !n.is_empty()) {
            if !self.values.contains_key(name) {
                return call.fail(format!(
                    "needs '{name}', which is no input, no weight and made by no node before this one"
                ));
            }
        }
        let values = match call.op {
            "Constant" => vec![self.constant_node(&call, external)?],
            "Split" => self.split(&call)?,
            _ => vec![self.apply(&call)?],
        };
        for (name, value) in node.output.iter().zip(values) {
            if !name.is_empty() {
                self.define(name, value)?;
            }
        }
        Ok(())
    }

    /// The value of a node with one output.
    fn apply(&mut self, call: &Call) -> Result<Value> {
        if let Some(value) = self.evaluate(call)? {
            return Ok(value);
        }
        match call.op {
            "Conv" => self.conv(call),
            "ConvTranspose" => self.conv_transpose(call),
            "MaxPool" | "AveragePool" => self.pool(call),
            "GlobalAveragePool" | "GlobalMaxPool" => self.global_pool(call),
            "Resize" | "Upsample" => self.resize(call),
            "BatchNormalization" => self.batch_norm(call),
            "InstanceNormalization" | "GroupNormalization" => self.group_norm(call),
            "LayerNormalization" => self.layer_norm(call),
            "Softmax" => self.softmax(call),
            "ReduceMean" | "ReduceSum" | "ReduceMax" | "ReduceL2" => self.reduce(call),
            "ArgMax" => self.arg_max(call),
            "Gemm" => self.gemm(call),
            "MatMul" => self.matmul(call),
            "QuantizeLinear" | "DequantizeLinear" => self.quantize(call),
            "Add" | "Sub" | "Mul" | "Div" => self.binary(call),
            "Pow" => self.pow(call),
            "Clip" | "Min" | "Max" => self.clip(call),
            "Erf" => self.erf(call),
            "Relu" | "LeakyRelu" | "HardSwish" | "HardSigmoid" | "Sigmoid" | "Gelu" | "Tanh"
            | "Sqrt" | "Swish" => self.activation(call),
            "Neg" | "Reciprocal" => self.negate_or_invert(call),
            "Identity" | "Dropout" => self.first(call),
            "Cast" => self.cast(call),
            "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze" => self.reshape(call),
            "Transpose" => self.transpose(call),
            "Expand" => self.expand(call),
            "Concat" => self.concat(call),
            "Slice" => self.slice(call),
            "Gather" => self.gather(call),
            "Pad" => self.pad(call),
            _ => Err(self.unsupported(call)),
        }
    }

    /// Lets `name` stand for `value`.
    fn define(&mut self, name: &str, value: Value) -> Result<()> {
        // Every value of a long chain is kept, so none may be long for nothing.
        let (axes, numbers) = match &value {
            Value::Node(id) => (self.shape(*id).rank(), 0),
            Value::Constant(c) => (c.tensor.shape().len(), 0),
            Value::Ints(ints) => (ints.dims.len(), ints.values.len()),
            Value::Positions(p) => (p.offsets.dims.len(), p.offsets.values.len()),
            Value::Stretched(s) => (s.to.rank(), 0),
            Value::Erf(_) | Value::Merged(_) => (0, 0),
        };
        if axes > MOST_AXES {
            return Err(self.malformed(format!("value '{name}' has {axes} axes")));
        }
        self.budget = match self.budget.checked_sub(numbers as u64) {
            Some(left) => left,
            None => return Err(self.malformed("makes more shapes than its size justifies")),
        };
        match self.values.insert(name.to_owned(), value) {
            None => Ok(()),
            Some(_) => Err(self.malformed(format!("two values are named '{name}'"))),
        }
    }

    /// A tensor of the file as a value; `weight` if it may be trained.
    fn decoded(&mut self, name: &str, decoded: Decoded, weight: bool) -> Value {
        match decoded {
            Decoded::Bools(ints) => Value::Ints(ints),
            Decoded::Tensor(tensor) => {
                let trainable = weight && tensor.dtype() == DType::F32;
                let role = if trainable {
                    Role::Trainable
                } else {
                    Role::Constant
                };
                self.constant(name, role, tensor)
            }
        }
    }

    /// A constant of its own.
    fn constant(&mut self, name: &str, role: Role, tensor: Tensor) -> Value {
        self.next_key += 1;
        Value::Constant(Constant {
            name: Arc::from(name),
            role,
            tensor,
            key: self.next_key,
        })
    }

    /// The value of a Constant node.
    fn constant_node(&mut self, call: &Call, external: &mut External) -> Result<Value> {
        let name = call.output();
        if let Some(t) = call.attribute("value").and_then(|a| a.t.as_ref()) {
            let decoded =
                tensor::decode(t, external).map_err(|p| call.error(format!("its value {p}")))?;
            return Ok(self.decoded(name, decoded, false));
        }
        let (dims, data): (Vec<usize>, TensorData) = if let Some(a) = call.attribute("value_float")
        {
            (vec![], vec![a.f.unwrap_or(0.0)].into())
        } else if let Some(a) = call.attribute("value_int") {
            (vec![], vec![a.i.unwrap_or(0)].into())
        } else if let Some(a) = call.attribute("value_floats") {
            (vec![a.floats.len()], a.floats.clone().into())
        } else if let Some(a) = call.attribute("value_ints") {
            (vec![a.ints.len()], a.ints.clone().into())
        } else {
            return call.fail("has no value that slicewise reads");
        };
        let tensor = Tensor::new(&dims, data).map_err(|e| call.error(e.to_string()))?;
        Ok(self.constant(name, Role::Constant, tensor))
    }

    /// The value of input `i`, if the node has it.
    fn optional(&self, call: &Call, i: usize) -> Option<Value> {
        self.values.get(call.input(i)?).cloned()
    }

    /// The value of input `i`, which the operator needs.
    fn required(&self, call: &Call, i: usize) -> Result<Value> {
        match self.optional(call, i) {
            Some(value) => Ok(value),
            None => call.fail(format!("has no input {i}")),
        }
    }

    /// Input `i` as a node of the graph.
    fn node(&mut self, call: &Call, i: usize) -> Result<NodeId> {
        let value = self.required(call, i)?;
        self.materialize(&value)
            .map_err(|p| call.error(format!("input '{}' {p}", call.input(i).unwrap_or_default())))
    }

    /// The constant that input `i` is.
    fn weight(&self, call: &Call, i: usize) -> Result<Option<Constant>> {
        Ok(match self.required(call, i)? {
            Value::Constant(c) => Some(c),
            _ => None,
        })
    }

    /// The whole numbers that input `i` is, if the node has it.
    fn ints(&self, call: &Call, i: usize) -> Result<Option<Ints>> {
        let Some(value) = self.optional(call, i) else {
            return Ok(None);
        };
        match as_ints(&value) {
            Some(ints) => Ok(Some(ints)),
            None => call.fail(format!(
                "input '{}' must be whole numbers that follow from shapes",
                call.input(i).unwrap_or_default()
            )),
        }
    }

    /// The whole numbers that input `i` is, without the open batch.
    fn plain_ints(&self, call: &Call, i: usize) -> Result<Option<Vec<i64>>> {
        let Some(ints) = self.ints(call, i)? else {
            return Ok(None);
        };
        match ints.plain() {
            Some(plain) => Ok(Some(plain)),
            None => call.fail(format!(
                "input '{}' depends on the open batch; export the model with a fixed batch",
                call.input(i).unwrap_or_default()
            )),
        }
    }

    /// The one number that input `i` is, if the node has it.
    fn number(&self, call: &Call, i: usize) -> Result<Option<f32>> {
        match self.optional(call, i) {
            None => Ok(None),
            Some(value) => match scalar(&value) {
                Some(x) => Ok(Some(x)),
                None => call.fail(format!(
                    "input '{}' must be one known number",
                    call.input(i).unwrap_or_default()
                )),
            },
        }
    }

    /// Adds an operator to the graph.
    fn add(&mut self, call: &Call, op: Op, inputs: &[NodeId]) -> Result<NodeId> {
        self.graph
            .add(call.output(), op, inputs)
            .map_err(|e| self.graph_error(e))
    }

    /// Adds an operator on input 0.
    fn unary(&mut self, call: &Call, op: Op) -> Result<Value> {
        let x = self.node(call, 0)?;
        self.add(call, op, &[x]).map(Value::Node)
    }

    fn shape(&self, id: NodeId) -> &Shape {
        &self.graph.node(id).shape
    }

    /// A value as a node of the graph; what says why it cannot be one continues a sentence.
    fn materialize(&mut self, value: &Value) -> Result<NodeId, String> {
        match value {
            Value::Node(id) => Ok(*id),
            Value::Constant(c) => self.parameter(c),
            Value::Ints(ints) => {
                let Some(plain) = ints.plain() else {
                    return Err(
                        "is the open batch as a number, which a graph cannot hold".to_owned()
                    );
                };
                let data: TensorData = match ints.kind {
                    IntKind::I64 => plain.into(),
                    IntKind::I32 => plain.iter().map(|&n| n as i32).collect::<Vec<i32>>().into(),
                    IntKind::Bool => {
                        return Err("holds truth values, which a graph cannot".to_owned());
                    }
                };
                let tensor = Tensor::new(&ints.dims, data).map_err(|e| e.to_string())?;
                match self.constant("shape", Role::Constant, tensor) {
                    Value::Constant(c) => self.parameter(&c),
                    _ => Err("is not a tensor".to_owned()),
                }
            }
            Value::Stretched(s) => self.stretch_node(s),
            Value::Erf(_) => Err("is an error function outside of GELU".to_owned()),
            Value::Positions(_) => Err("depends on the number of images".to_owned()),
            Value::Merged(_) => Err(
                "merges the open batch with other axes; export the model with a fixed batch"
                    .to_owned(),
            ),
        }
    }

    /// Zeros of the new size stretch a node; an open batch is its own already.
    fn stretch_node(&mut self, s: &Stretched) -> Result<NodeId, String> {
        let sizes: Vec<usize> = s.to.dims().iter().map(|d| d.fixed().unwrap_or(1)).collect();
        let elements = array::elements(&sizes).filter(|&n| n as u64 <= self.budget);
        let Some(elements) = elements else {
            return Err(format!("is stretched to {}, which is too large", s.to));
        };
        self.budget -= elements as u64;
        let zeros = Tensor::from_fn(&sizes, |_| 0.0);
        let zeros = self.constant("zeros", Role::Constant, zeros);
        let zeros = self.materialize(&zeros)?;
        let add = Op::Binary(Binary::Add);
        self.graph
            .add("stretched", add, &[s.of, zeros])
            .map_err(|e| e.to_string())
    }

    /// The parameter that a constant becomes.
    fn parameter(&mut self, c: &Constant) -> Result<NodeId, String> {
        if let Some(&id) = self.parameters.get(&c.key) {
            return Ok(id);
        }
        let mut name = c.name.to_string();
        let mut tries = c.key;
        let id = loop {
            // A weight that is used in two layouts becomes two parameters.
            match self.graph.constant_tensor(&name, c.role, c.tensor.clone()) {
                Ok(id) => break id,
                Err(_) => name = format!("{}_{tries}", c.name),
            }
            tries += 1;
        };
        self.parameters.insert(c.key, id);
        Ok(id)
    }

    /// Takes `elements` from what may be made from constants.
    fn charge(&mut self, call: &Call, elements: Option<usize>) -> Result<()> {
        let left = elements.and_then(|n| self.budget.checked_sub(n as u64));
        match left {
            Some(left) => {
                self.budget = left;
                Ok(())
            }
            None => call.fail("makes more constant elements than the size of the file justifies"),
        }
    }

    fn malformed(&self, problem: impl Into<String>) -> OnnxError {
        OnnxError::Malformed {
            file: self.file.to_owned(),
            problem: problem.into(),
        }
    }

    fn unsupported(&self, call: &Call) -> OnnxError {
        let op = match call.node.domain.as_deref() {
            None | Some("" | "ai.onnx") => call.op.to_owned(),
            Some(domain) => format!("{domain}.{}", call.op),
        };
        OnnxError::UnsupportedOp {
            file: self.file.to_owned(),
            op,
            node: call.name().to_owned(),
        }
    }

    fn graph_error(&self, error: slicewise_graph::GraphError) -> OnnxError {
        OnnxError::Graph {
            file: self.file.to_owned(),
            error,
        }
    }
}

/// Whole numbers longer than this are weights, not shapes.
const MOST_INTS: usize = 1 << 16;

/// A value as whole numbers, if it is some.
fn as_ints(value: &Value) -> Option<Ints> {
    match value {
        Value::Ints(ints) => Some(ints.clone()),
        Value::Constant(c) if c.tensor.len() <= MOST_INTS => {
            let (kind, values) = match c.tensor.data() {
                TensorData::I64(v) => (
                    IntKind::I64,
                    v.iter().map(|&n| value::Int::known(n)).collect(),
                ),
                TensorData::I32(v) => (
                    IntKind::I32,
                    v.iter().map(|&n| value::Int::known(i64::from(n))).collect(),
                ),
                _ => return None,
            };
            Some(Ints {
                kind,
                dims: c.tensor.shape().to_vec(),
                values,
            })
        }
        _ => None,
    }
}

/// The one number that a value is.
fn scalar(value: &Value) -> Option<f32> {
    match value {
        Value::Constant(c) => match c.tensor.as_f32() {
            Some(&[x]) => Some(x),
            _ => None,
        },
        _ => None,
    }
}
