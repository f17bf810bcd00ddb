//! Models as bytes: protobuf with the weights streamed, so that they are not held twice, and in a
//! file of their own where the model would pass protobuf's limit.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use prost::Message;
use slicewise_graph::{DType, Role, Tensor};

use crate::OnnxError;
use crate::element;
use crate::proto::tensor_proto::DataLocation;
use crate::proto::{ModelProto, StringStringEntryProto, TensorProto};

/// The most bytes that a protobuf message may have.
pub(crate) const PROTOBUF_LIMIT: u64 = i32::MAX as u64;

/// Weights from this size on go into the file beside the model, where there is one.
const EXTERNAL_BYTES: u64 = 1024;

/// Where weights begin in the file beside the model: readers map whole pages.
const EXTERNAL_ALIGNMENT: u64 = 4096;

/// Field numbers of `ModelProto.graph`, `GraphProto.initializer` and `TensorProto.raw_data`.
const GRAPH: u32 = 7;
const INITIALIZER: u32 = 5;
const RAW_DATA: u32 = 9;

/// A model whose weights are not yet in the protobuf message.
pub(crate) struct Model {
    /// Everything but the initializers.
    pub(crate) proto: ModelProto,
    /// The initializers, by name.
    pub(crate) weights: Vec<Weight>,
}

/// An initializer.
pub(crate) struct Weight {
    pub(crate) name: String,
    pub(crate) role: Role,
    pub(crate) tensor: Tensor,
}

/// The role of an initializer as its documentation says it; learnt floats need no word, as in the
/// files of others.
const ROLES: [(Role, &str); 3] = [
    (Role::Trainable, "trainable"),
    (Role::Buffer, "buffer"),
    (Role::Constant, "constant"),
];

/// The role that an initializer's documentation says, if it says one.
pub(crate) fn role(documentation: Option<&str>) -> Option<Role> {
    let found = ROLES.iter().find(|(_, text)| Some(*text) == documentation);
    found.map(|(role, _)| *role)
}

impl Model {
    /// The model as one protobuf message.
    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>, OnnxError> {
        let layout = Layout::inside(self);
        let mut bytes = Vec::with_capacity(layout.bytes as usize);
        layout
            .write(self, &mut bytes)
            .map_err(|error| io_error(Path::new("ONNX model"), error))?;
        Ok(bytes)
    }

    /// Writes the model to `path`, and weights to `<path>.data` if it would be larger than `limit`.
    /// Both files appear whole or not at all.
    pub(crate) fn write(&self, path: &Path, limit: u64) -> Result<(), OnnxError> {
        let mut layout = Layout::inside(self);
        if layout.bytes <= limit {
            return replace(path, |out| layout.write(self, out));
        }
        let data_path = path_with(path, ".data");
        let name = data_path.file_name().and_then(|n| n.to_str());
        let Some(name) = name else {
            let error = io::Error::new(io::ErrorKind::InvalidInput, "the file name is not Unicode");
            return Err(io_error(path, error));
        };
        layout = Layout::beside(self, name);
        replace(&data_path, |out| layout.write_external(self, out))?;
        replace(path, |out| layout.write(self, out))
    }
}

/// Where every weight goes and how long the message gets.
struct Layout {
    headers: Vec<TensorProto>,
    /// Offset in the file beside the model, for weights that are there.
    offsets: Vec<Option<u64>>,
    graph_bytes: u64,
    bytes: u64,
}

impl Layout {
    /// All weights within the message.
    fn inside(model: &Model) -> Self {
        let headers = model.weights.iter().map(header).collect();
        Layout::of(model, headers, vec![None; model.weights.len()])
    }

    /// Large weights in the file `name` beside the message.
    fn beside(model: &Model, name: &str) -> Self {
        let mut end = 0u64;
        let mut headers = Vec::new();
        let mut offsets = Vec::new();
        for weight in &model.weights {
            let mut header = header(weight);
            let bytes = raw_bytes(&weight.tensor);
            let offset = end.next_multiple_of(EXTERNAL_ALIGNMENT);
            if bytes >= EXTERNAL_BYTES {
                header.data_location = Some(DataLocation::External as i32);
                header.external_data = [
                    ("location", name.to_owned()),
                    ("offset", offset.to_string()),
                    ("length", bytes.to_string()),
                ]
                .map(|(key, value)| entry(key, &value))
                .to_vec();
                end = offset + bytes;
                offsets.push(Some(offset));
            } else {
                offsets.push(None);
            }
            headers.push(header);
        }
        Layout::of(model, headers, offsets)
    }

    fn of(model: &Model, headers: Vec<TensorProto>, offsets: Vec<Option<u64>>) -> Self {
        let mut layout = Layout {
            headers,
            offsets,
            graph_bytes: 0,
            bytes: 0,
        };
        let rest = model
            .proto
            .graph
            .as_ref()
            .map_or(0, |g| g.encoded_len() as u64);
        let weights = (0..model.weights.len()).map(|i| field_bytes(layout.tensor_bytes(model, i)));
        layout.graph_bytes = rest + weights.sum::<u64>();
        layout.bytes = outer(&model.proto).encoded_len() as u64 + field_bytes(layout.graph_bytes);
        layout
    }

    /// The length of initializer `i` as a message.
    fn tensor_bytes(&self, model: &Model, i: usize) -> u64 {
        let header = self.headers[i].encoded_len() as u64;
        match self.offsets[i] {
            Some(_) => header,
            None => header + field_bytes(raw_bytes(&model.weights[i].tensor)),
        }
    }

    fn write(&self, model: &Model, out: &mut dyn Write) -> io::Result<()> {
        out.write_all(&outer(&model.proto).encode_to_vec())?;
        begin_field(GRAPH, self.graph_bytes, out)?;
        if let Some(graph) = &model.proto.graph {
            out.write_all(&graph.encode_to_vec())?;
        }
        for (i, weight) in model.weights.iter().enumerate() {
            begin_field(INITIALIZER, self.tensor_bytes(model, i), out)?;
            out.write_all(&self.headers[i].encode_to_vec())?;
            if self.offsets[i].is_none() {
                begin_field(RAW_DATA, raw_bytes(&weight.tensor), out)?;
                element::write_raw(weight.tensor.data(), out)?;
            }
        }
        Ok(())
    }

    fn write_external(&self, model: &Model, out: &mut dyn Write) -> io::Result<()> {
        let mut at = 0u64;
        for (weight, offset) in model.weights.iter().zip(&self.offsets) {
            let Some(offset) = *offset else { continue };
            out.write_all(&vec![0; (offset - at) as usize])?;
            element::write_raw(weight.tensor.data(), out)?;
            at = offset + raw_bytes(&weight.tensor);
        }
        Ok(())
    }
}

/// A metadata entry.
pub(crate) fn entry(key: &str, value: &str) -> StringStringEntryProto {
    StringStringEntryProto {
        key: Some(key.to_owned()),
        value: Some(value.to_owned()),
    }
}

/// The model without its graph.
fn outer(model: &ModelProto) -> ModelProto {
    ModelProto {
        ir_version: model.ir_version,
        opset_import: model.opset_import.clone(),
        producer_name: model.producer_name.clone(),
        producer_version: model.producer_version.clone(),
        graph: None,
        metadata_props: model.metadata_props.clone(),
        functions: Vec::new(),
    }
}

/// Name, role, type and sizes of a weight.
fn header(weight: &Weight) -> TensorProto {
    let plain = (weight.role, weight.tensor.dtype()) == (Role::Trainable, DType::F32);
    let said = ROLES
        .iter()
        .find(|(role, _)| *role == weight.role && !plain);
    TensorProto {
        dims: weight.tensor.shape().iter().map(|&n| n as i64).collect(),
        data_type: Some(element::code(weight.tensor.dtype())),
        name: Some(weight.name.clone()),
        doc_string: said.map(|(_, text)| (*text).to_owned()),
        ..TensorProto::default()
    }
}

fn raw_bytes(tensor: &Tensor) -> u64 {
    (tensor.len() * tensor.dtype().bytes()) as u64
}

/// The bytes of a length-delimited field: key, length and content. All keys here take one byte.
fn field_bytes(content: u64) -> u64 {
    1 + prost::encoding::encoded_len_varint(content) as u64 + content
}

fn begin_field(number: u32, content: u64, out: &mut dyn Write) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(11);
    let length_delimited = 2;
    prost::encoding::encode_varint(u64::from(number << 3 | length_delimited), &mut bytes);
    prost::encoding::encode_varint(content, &mut bytes);
    out.write_all(&bytes)
}

/// Writes a file under another name and renames it when it is whole.
fn replace(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), OnnxError> {
    let partial = path_with(path, &format!(".partial-{}", std::process::id()));
    let attempt = || -> io::Result<()> {
        let mut out = BufWriter::with_capacity(1 << 20, File::create(&partial)?);
        write(&mut out)?;
        out.into_inner()?.sync_all()?;
        std::fs::rename(&partial, path)
    };
    attempt().map_err(|error| {
        // The first error is the one to report; the partial file may not even exist.
        let _ = std::fs::remove_file(&partial);
        io_error(path, error)
    })
}

/// The path with `suffix` after its whole name.
fn path_with(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

pub(crate) fn io_error(path: &Path, error: io::Error) -> OnnxError {
    OnnxError::Io {
        path: path.to_owned(),
        error,
    }
}
