//! Reading safetensors files without trusting them.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::io::{Read, Seek, SeekFrom};

use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};
use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use slicewise_graph::Tensor;

use crate::ZooError;

/// Headers above this are refused, as by the format's own implementation.
const MAX_HEADER: u64 = 100_000_000;

/// Elements converted at a time: large enough for the disk, small beside any model.
const CHUNK: usize = 1 << 18;

/// The element types that weights are read from, for messages.
pub(super) const READABLE: &str = "F32, F16, BF16 and F64";

/// An opened file whose header was checked: every tensor lies inside the file, none overlaps
/// another, and no size overflows. Elements are read when they are asked for.
pub(super) struct Checkpoint<R> {
    file: String,
    reader: R,
    /// Where the tensors' bytes start.
    data: u64,
    tensors: BTreeMap<String, TensorInfo>,
}

impl<R: Read + Seek> Checkpoint<R> {
    /// Reads and checks the header; `file` is the name that errors give.
    pub(super) fn open(file: &str, mut reader: R) -> Result<Self, ZooError> {
        let bad = |problem: String| ZooError::File {
            file: file.to_owned(),
            problem: one_line(&problem),
        };
        let unreadable = |e: std::io::Error| bad(format!("cannot be read: {e}"));
        let length = reader.seek(SeekFrom::End(0)).map_err(unreadable)?;
        reader.rewind().map_err(unreadable)?;
        if length < 8 {
            return Err(bad(format!(
                "is no safetensors file: it has {length} bytes"
            )));
        }
        let mut prefix = [0; 8];
        reader.read_exact(&mut prefix).map_err(unreadable)?;
        if prefix.starts_with(b"PK\x03\x04") {
            let mend = "save the state dict with safetensors.torch.save_file";
            return Err(bad(format!(
                "is a zip archive, perhaps of torch.save: {mend}"
            )));
        }
        let header = u64::from_le_bytes(prefix);
        let left = length - 8;
        if header > left || header > MAX_HEADER {
            return Err(bad(format!(
                "is cut short or no safetensors file: it has {length} bytes and announces a header of {header}"
            )));
        }
        let mut json = Vec::new();
        let limited = reader.by_ref().take(header);
        let read = { limited }.read_to_end(&mut json).map_err(unreadable)?;
        if read as u64 != header {
            return Err(bad("changed while it was read".into()));
        }
        let metadata = parse(&json).map_err(|e| bad(format!("has a damaged header: {e}")))?;
        let (got, want) = (left - header, metadata.data_len() as u64);
        if got != want {
            return Err(bad(format!(
                "is cut short or damaged: its tensors need {want} bytes, it has {got} for them"
            )));
        }
        let tensors = metadata.tensors().into_iter();
        Ok(Checkpoint {
            file: file.to_owned(),
            reader,
            data: 8 + header,
            tensors: tensors.map(|(key, info)| (key, info.clone())).collect(),
        })
    }

    /// The tensors' keys and descriptions, in the keys' order.
    pub(super) fn tensors(&self) -> &BTreeMap<String, TensorInfo> {
        &self.tensors
    }

    /// The file's name, for messages.
    pub(super) fn file(&self) -> &str {
        &self.file
    }

    /// Reads one tensor's elements as f32.
    pub(super) fn read(&mut self, key: &str) -> Result<Tensor, ZooError> {
        let bad = |file: &str, problem: String| ZooError::File {
            file: file.to_owned(),
            problem: format!("'{}' {problem}", one_line(key)),
        };
        let Some(info) = self.tensors.get(key) else {
            return Err(bad(&self.file, "is not in it".into()));
        };
        let Some((bytes, convert)) = conversion(info.dtype) else {
            let dtype = info.dtype;
            return Err(bad(
                &self.file,
                format!("is {dtype}; weights are read from {READABLE}"),
            ));
        };
        let (start, end) = info.data_offsets;
        let elements = (end - start) / bytes;
        let mut values: Vec<f32> = Vec::new();
        if values.try_reserve_exact(elements).is_err() {
            let problem = format!("needs {} bytes of memory", 4 * elements as u128);
            return Err(bad(&self.file, problem));
        }
        let at = SeekFrom::Start(self.data + start as u64);
        let unreadable = |e: std::io::Error| bad(&self.file, format!("cannot be read: {e}"));
        self.reader.seek(at).map_err(unreadable)?;
        let mut chunk = vec![0; elements.min(CHUNK) * bytes];
        while values.len() < elements {
            let n = (elements - values.len()).min(CHUNK) * bytes;
            self.reader
                .read_exact(&mut chunk[..n])
                .map_err(unreadable)?;
            convert(&chunk[..n], &mut values);
        }
        Ok(Tensor::new(&info.shape, values)?)
    }
}

/// Whether elements of this type can be read.
pub(super) fn is_readable(dtype: Dtype) -> bool {
    conversion(dtype).is_some()
}

/// Appends little-endian elements as f32.
type Convert = fn(&[u8], &mut Vec<f32>);

/// The bytes of an element and how elements become f32.
fn conversion(dtype: Dtype) -> Option<(usize, Convert)> {
    fn append<const N: usize>(bytes: &[u8], to: &mut Vec<f32>, f: fn([u8; N]) -> f32) {
        to.extend(bytes.as_chunks::<N>().0.iter().map(|&b| f(b)));
    }
    match dtype {
        Dtype::F32 => Some((4, |b, to| append(b, to, f32::from_le_bytes))),
        Dtype::F64 => Some((8, |b, to| append(b, to, |e| f64::from_le_bytes(e) as f32))),
        Dtype::F16 => Some((2, |b, to| {
            append(b, to, |e| from_f16(u16::from_le_bytes(e)))
        })),
        Dtype::BF16 => Some((2, |b, to| {
            append(b, to, |e| {
                f32::from_bits(u32::from(u16::from_le_bytes(e)) << 16)
            });
        })),
        _ => None,
    }
}

/// The value of a half-precision float, exactly.
fn from_f16(half: u16) -> f32 {
    const TO_112: f32 = f32::from_bits((127 + 112) << 23);
    const INFINITE: u32 = 0x7c00 << 13;
    let sign = u32::from(half & 0x8000) << 16;
    let magnitude = u32::from(half & 0x7fff) << 13;
    let magnitude = if magnitude < INFINITE {
        // The exponent's bias is 15 instead of 127; multiplying also lifts subnormals.
        (f32::from_bits(magnitude) * TO_112).to_bits()
    } else {
        magnitude | f32::INFINITY.to_bits()
    };
    f32::from_bits(sign | magnitude)
}

/// Reads the header; the library checks offsets and sizes, but lets a key come twice.
fn parse(json: &[u8]) -> Result<Metadata, serde_json::Error> {
    serde_json::from_slice::<UniqueKeys>(json)?;
    serde_json::from_slice(json)
}

/// An object of which no key comes twice.
struct UniqueKeys;

impl<'de> Deserialize<'de> for UniqueKeys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = UniqueKeys;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tensors")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<UniqueKeys, A::Error> {
                let mut seen = HashSet::new();
                while let Some((key, IgnoredAny)) = map.next_entry::<String, IgnoredAny>()? {
                    if seen.contains(&key) {
                        return Err(A::Error::custom(format!("the key '{key}' comes twice")));
                    }
                    seen.insert(key);
                }
                Ok(UniqueKeys)
            }
        }
        deserializer.deserialize_map(Keys)
    }
}

/// A file's text without line breaks and other control characters, and of bounded length.
pub(super) fn one_line(text: &str) -> String {
    const MOST: usize = 300;
    let clean = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    let mut line: String = text.chars().take(MOST).map(clean).collect();
    if text.chars().nth(MOST).is_some() {
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::from_f16;

    #[test]
    fn every_half_precision_float_is_converted_exactly() {
        for bits in 0..=u16::MAX {
            let (exponent, fraction) = (i32::from(bits >> 10 & 31), f64::from(bits & 1023));
            let magnitude = match exponent {
                31 if fraction == 0.0 => f64::INFINITY,
                31 => f64::NAN,
                0 => fraction * 2f64.powi(-24),
                _ => (1024.0 + fraction) * 2f64.powi(exponent - 25),
            };
            let want = if bits < 0x8000 { magnitude } else { -magnitude } as f32;
            let got = from_f16(bits);
            let same = got.to_bits() == want.to_bits() || got.is_nan() && want.is_nan();
            assert!(same, "{bits:#06x}: got {got}, expected {want}");
        }
    }
}
