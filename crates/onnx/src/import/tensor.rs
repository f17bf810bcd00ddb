//! Tensors of the file: every claimed size is checked against the bytes that are there.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};

use prost::bytes::Bytes;
use slicewise_graph::{Tensor, TensorData};

use super::array;
use super::value::{Int, IntKind, Ints};
use crate::proto::TensorProto;
use crate::proto::tensor_proto::{DataLocation, DataType};

/// A tensor of the file.
pub(super) enum Decoded {
    Tensor(Tensor),
    Bools(Ints),
}

/// The files beside the model that hold weights.
#[derive(Default)]
pub(super) struct External {
    /// The model's folder; absent for a model in memory.
    folder: Option<PathBuf>,
    files: HashMap<String, Opened>,
}

struct Opened {
    file: File,
    bytes: u64,
    /// Bytes that may still be read: a file that many tensors claim is not read over and over.
    left: u64,
}

/// Turns a tensor of the file into one of ours; half and double precision become single.
pub(super) fn decode(t: &TensorProto, external: &mut External) -> Result<Decoded, String> {
    let dims: Option<Vec<usize>> = t.dims.iter().map(|&d| usize::try_from(d).ok()).collect();
    let Some(dims) = dims else {
        return Err(format!("has a negative size among {:?}", t.dims));
    };
    let Some(elements) = array::elements(&dims) else {
        return Err(format!(
            "claims the sizes {dims:?}, more than can be addressed"
        ));
    };
    if elements == 0 && dims.len() > 1 {
        return Err(format!("has an empty axis: {dims:?}"));
    }
    let data_type = t.data_type.and_then(|d| DataType::try_from(d).ok());
    let Some(data_type) = data_type else {
        let code = t.data_type.unwrap_or(0);
        return Err(format!(
            "has elements of type {code}, which is not supported"
        ));
    };
    let source = Source {
        tensor: t,
        raw: raw(t, elements, data_type, external)?,
        elements,
    };
    let data: TensorData = match data_type {
        DataType::Float => source
            .read(f32::from_le_bytes, &t.float_data, |&x| x)?
            .into(),
        DataType::Double => source
            .read(
                |b| f64::from_le_bytes(b) as f32,
                &t.double_data,
                |&x| x as f32,
            )?
            .into(),
        DataType::Float16 => source
            .read(
                |b| half(u16::from_le_bytes(b)),
                &t.int32_data,
                |&x| half(x as u16),
            )?
            .into(),
        DataType::Bfloat16 => source
            .read(
                |b| brain(u16::from_le_bytes(b)),
                &t.int32_data,
                |&x| brain(x as u16),
            )?
            .into(),
        DataType::Int64 => source
            .read(i64::from_le_bytes, &t.int64_data, |&x| x)?
            .into(),
        DataType::Int32 => source
            .read(i32::from_le_bytes, &t.int32_data, |&x| x)?
            .into(),
        DataType::Uint16 => source
            .read(u16::from_le_bytes, &t.int32_data, |&x| x as u16)?
            .into(),
        DataType::Uint8 => source
            .read(u8::from_le_bytes, &t.int32_data, |&x| x as u8)?
            .into(),
        DataType::Int8 => source
            .read(i8::from_le_bytes, &t.int32_data, |&x| x as i8)?
            .into(),
        DataType::Bool => {
            let values = source.read(|[b]| b != 0, &t.int32_data, |&x| x != 0)?;
            return Ok(Decoded::Bools(Ints {
                kind: IntKind::Bool,
                dims,
                values: values
                    .into_iter()
                    .map(|b| Int::known(i64::from(b)))
                    .collect(),
            }));
        }
        DataType::Undefined
        | DataType::Int16
        | DataType::Uint32
        | DataType::Uint64
        | DataType::String => {
            return Err(format!(
                "has elements of type {}, which is not supported",
                data_type.as_str_name()
            ));
        }
    };
    Tensor::new(&dims, data)
        .map(Decoded::Tensor)
        .map_err(|e| e.to_string())
}

/// Where the elements of one tensor are.
struct Source<'a> {
    tensor: &'a TensorProto,
    raw: Option<Bytes>,
    elements: usize,
}

impl Source<'_> {
    fn read<T, U, const N: usize>(
        &self,
        from_bytes: impl Fn([u8; N]) -> T,
        listed: &[U],
        from_listed: impl Fn(&U) -> T,
    ) -> Result<Vec<T>, String> {
        let (have, bytes) = match &self.raw {
            Some(raw) => (raw.len(), N),
            None => (listed.len(), 1),
        };
        if self.elements.checked_mul(bytes) != Some(have) {
            let unit = if self.raw.is_some() {
                "bytes"
            } else {
                "elements"
            };
            return Err(format!(
                "claims the sizes {:?} but holds {have} {unit}",
                self.tensor.dims
            ));
        }
        Ok(match &self.raw {
            Some(raw) => raw
                .as_chunks::<N>()
                .0
                .iter()
                .map(|&c| from_bytes(c))
                .collect(),
            None => listed.iter().map(from_listed).collect(),
        })
    }
}

/// The elements as bytes, if they are stored so.
fn raw(
    t: &TensorProto,
    elements: usize,
    data_type: DataType,
    external: &mut External,
) -> Result<Option<Bytes>, String> {
    if t.data_location == Some(DataLocation::External as i32) {
        let size = match data_type {
            DataType::Double | DataType::Int64 => 8u64,
            DataType::Float | DataType::Int32 => 4,
            DataType::Float16 | DataType::Bfloat16 | DataType::Uint16 => 2,
            _ => 1,
        };
        let bytes = (elements as u64).checked_mul(size).ok_or("is too large")?;
        return external.read(t, bytes).map(|v| Some(Bytes::from(v)));
    }
    Ok(match &t.raw_data {
        Some(raw) => Some(raw.clone()),
        None if elements == 0 => Some(Bytes::new()),
        None => None,
    })
}

impl External {
    /// The files beside a model in `folder`.
    pub(super) fn beside(folder: PathBuf) -> Self {
        External {
            folder: Some(folder),
            files: HashMap::new(),
        }
    }

    /// The `bytes` bytes that a tensor says are in another file.
    fn read(&mut self, t: &TensorProto, bytes: u64) -> Result<Vec<u8>, String> {
        let value = |key: &str| {
            let entry = t
                .external_data
                .iter()
                .find(|e| e.key.as_deref() == Some(key));
            entry.and_then(|e| e.value.as_deref())
        };
        let number = |key: &str| match value(key) {
            None => Ok(None),
            Some(text) => match text.parse::<u64>() {
                Ok(n) => Ok(Some(n)),
                Err(_) => Err(format!("says that its data have the {key} '{text}'")),
            },
        };
        let location = value("location").ok_or("says its data are elsewhere, but not where")?;
        let offset = number("offset")?.unwrap_or(0);
        let length = number("length")?.unwrap_or(bytes);
        if length != bytes {
            let dims = &t.dims;
            return Err(format!(
                "claims the sizes {dims:?} but has {length} bytes in '{location}'"
            ));
        }
        if !self.files.contains_key(location) {
            let opened = self.open(location)?;
            self.files.insert(location.to_owned(), opened);
        }
        let Some(opened) = self.files.get_mut(location) else {
            return Err(format!(
                "has its data in '{location}', which cannot be opened"
            ));
        };
        if offset
            .checked_add(bytes)
            .is_none_or(|end| end > opened.bytes)
        {
            return Err(format!(
                "has {bytes} bytes at {offset} of '{location}', which has {} bytes",
                opened.bytes
            ));
        }
        opened.left = match opened.left.checked_sub(bytes) {
            Some(left) => left,
            None => return Err(format!("reads '{location}' again and again")),
        };
        let mut out = vec![0; usize::try_from(bytes).map_err(|_| "is too large")?];
        let read = opened
            .file
            .seek(SeekFrom::Start(offset))
            .and_then(|_| opened.file.read_exact(&mut out));
        read.map_err(|e| format!("has its data in '{location}': {e}"))?;
        Ok(out)
    }

    /// Opens a file in the model's folder, and nowhere else.
    fn open(&self, location: &str) -> Result<Opened, String> {
        let Some(folder) = &self.folder else {
            return Err(format!(
                "has its data in '{location}'; read the model from its file, not from memory"
            ));
        };
        let outside = || format!("has its data in '{location}', outside the model's folder");
        let path = Path::new(location);
        let inside = |c: Component| matches!(c, Component::Normal(_) | Component::CurDir);
        if location.is_empty() || !path.components().all(inside) {
            return Err(outside());
        }
        let problem = |e: std::io::Error| format!("has its data in '{location}': {e}");
        let folder = folder.canonicalize().map_err(problem)?;
        // A link may lead out of the folder, too.
        let path = folder.join(path).canonicalize().map_err(problem)?;
        if !path.starts_with(&folder) {
            return Err(outside());
        }
        let metadata = std::fs::metadata(&path).map_err(problem)?;
        if !metadata.is_file() {
            return Err(format!("has its data in '{location}', which is not a file"));
        }
        Ok(Opened {
            file: File::open(&path).map_err(problem)?,
            bytes: metadata.len(),
            left: metadata.len().saturating_mul(2),
        })
    }
}

/// A number of half precision.
fn half(bits: u16) -> f32 {
    let sign = if bits & 0x8000 == 0 { 1.0 } else { -1.0 };
    let fraction = f32::from(bits & 0x3ff);
    let magnitude = match bits >> 10 & 0x1f {
        0 => fraction * 2f32.powi(-24),
        31 if fraction == 0.0 => f32::INFINITY,
        31 => f32::NAN,
        exponent => (1024.0 + fraction) * 2f32.powi(i32::from(exponent) - 25),
    };
    sign * magnitude
}

/// A number of bfloat16.
fn brain(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}
