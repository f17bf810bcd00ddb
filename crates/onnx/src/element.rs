//! Element types of the two sides, and elements as bytes.

use std::io::{self, Write};

use slicewise_graph::{DType, TensorData};

use crate::proto::tensor_proto::DataType;

/// ONNX's number for an element type.
pub(crate) fn code(dtype: DType) -> i32 {
    let data_type = match dtype {
        DType::F32 => DataType::Float,
        DType::I64 => DataType::Int64,
        DType::I32 => DataType::Int32,
        DType::U16 => DataType::Uint16,
        DType::U8 => DataType::Uint8,
        DType::I8 => DataType::Int8,
    };
    data_type as i32
}

/// Elements converted at a time: large enough for the file system, small beside any weight.
const CHUNK: usize = 16 * 1024;

/// Writes elements as ONNX stores them: little-endian, without padding.
pub(crate) fn write_raw(data: &TensorData, out: &mut dyn Write) -> io::Result<()> {
    match data {
        TensorData::F32(v) => write_chunks(v, out, |x| x.to_le_bytes()),
        TensorData::I64(v) => write_chunks(v, out, |x| x.to_le_bytes()),
        TensorData::I32(v) => write_chunks(v, out, |x| x.to_le_bytes()),
        TensorData::U16(v) => write_chunks(v, out, |x| x.to_le_bytes()),
        TensorData::U8(v) => out.write_all(v),
        TensorData::I8(v) => write_chunks(v, out, |x| x.to_le_bytes()),
    }
}

fn write_chunks<T: Copy, const N: usize>(
    elements: &[T],
    out: &mut dyn Write,
    bytes: impl Fn(T) -> [u8; N],
) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(N * CHUNK.min(elements.len()));
    for chunk in elements.chunks(CHUNK) {
        buffer.clear();
        for &x in chunk {
            buffer.extend_from_slice(&bytes(x));
        }
        out.write_all(&buffer)?;
    }
    Ok(())
}
