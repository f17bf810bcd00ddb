//! The file through which a parent and its child hand each other tensors: in memory where the
//! system has such files, so that a run costs one copy and no pipe.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use slicewise_graph::{DType, TensorData};
use tempfile::{NamedTempFile, TempPath};

use crate::outputs::each_type;

/// Tensors begin at multiples of a page.
const ALIGNMENT: usize = 4096;

/// What is converted at a time.
const CHUNK: usize = 1 << 16;

/// Where a tensor lies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    pub(crate) dtype: String,
    pub(crate) shape: Vec<usize>,
    /// Its first byte in the file.
    pub(crate) offset: usize,
}

/// The shared file.
pub(crate) struct Shared {
    file: File,
    /// Until the child has opened it.
    path: Option<TempPath>,
}

impl Shared {
    /// A file with room for tensors of these types and shapes, and where each lies.
    pub(crate) fn new(specs: &[(DType, Vec<usize>)]) -> io::Result<(Self, Vec<Place>)> {
        let mut end = 0usize;
        let mut places = Vec::new();
        for (dtype, shape) in specs {
            places.push(Place {
                dtype: dtype_name(*dtype).into(),
                shape: shape.clone(),
                offset: end,
            });
            let bytes = shape.iter().product::<usize>() * dtype.bytes();
            end = (end + bytes).next_multiple_of(ALIGNMENT);
        }
        let end = end.max(ALIGNMENT);
        let memory = Path::new("/dev/shm");
        let file = match memory.is_dir() {
            // It may be small, as in containers.
            true => create(memory, end).or_else(|_| create(&std::env::temp_dir(), end)),
            false => create(&std::env::temp_dir(), end),
        };
        let (file, path) = file?.into_parts();
        let path = Some(path);
        Ok((Shared { file, path }, places))
    }

    /// The file that a parent has made.
    pub(crate) fn of(file: File) -> Self {
        Shared { file, path: None }
    }

    /// The file's path, for the child.
    pub(crate) fn path(&self) -> PathBuf {
        self.path
            .as_ref()
            .map(|p| p.to_path_buf())
            .unwrap_or_default()
    }

    /// Takes the file's name away: both ends hold it now, and nobody has to tidy up.
    pub(crate) fn unlink(&mut self) {
        // Where an open file cannot be removed, it goes with this value.
        #[cfg(unix)]
        drop(self.path.take());
    }

    /// The file's size.
    pub(crate) fn end(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// Gives the memory behind the first `bytes` back.
    pub(crate) fn shrink(&mut self, bytes: u64) -> io::Result<()> {
        self.file.set_len(bytes)
    }

    /// Makes the file `bytes` long again.
    pub(crate) fn extend(&mut self, bytes: u64) -> io::Result<()> {
        let end = self.file.seek(SeekFrom::End(0))?;
        add_zeros(&mut self.file, bytes.saturating_sub(end))
    }

    /// Writes a tensor's elements.
    pub(crate) fn write(&mut self, offset: usize, data: &TensorData) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(offset as u64))?;
        write_data(&mut self.file, data)
    }

    /// Reads a tensor's elements into `data`, which nobody else may hold.
    pub(crate) fn read(&mut self, offset: usize, data: &mut TensorData) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(offset as u64))?;
        read_data(&mut self.file, data)
    }
}

/// A file of `bytes` zeros.
fn create(folder: &Path, bytes: usize) -> io::Result<NamedTempFile> {
    let mut file = tempfile::Builder::new()
        .prefix("slicewise-")
        .tempfile_in(folder)?;
    add_zeros(file.as_file_mut(), bytes as u64)?;
    Ok(file)
}

/// Zeros that are really there: a full disk is an error now, and not a signal when the child first
/// touches a page.
fn add_zeros(file: &mut File, bytes: u64) -> io::Result<()> {
    io::copy(&mut io::repeat(0).take(bytes), file).map(|_| ())
}

/// An element type as it is written between parent and child.
pub(crate) fn dtype_name(dtype: DType) -> &'static str {
    match dtype {
        DType::F32 => "f32",
        DType::I64 => "i64",
        DType::I32 => "i32",
        DType::U16 => "u16",
        DType::U8 => "u8",
        DType::I8 => "i8",
    }
}

/// Zeros for what lies at a place.
pub(crate) fn zeros(place: &Place) -> io::Result<TensorData> {
    let types = [
        DType::F32,
        DType::I64,
        DType::I32,
        DType::U16,
        DType::U8,
        DType::I8,
    ];
    let dtype = types.into_iter().find(|t| dtype_name(*t) == place.dtype);
    let dtype = dtype.ok_or_else(|| io::Error::other(format!("'{}' is no type", place.dtype)))?;
    Ok(crate::outputs::zeros(dtype, place.shape.iter().product()))
}

/// Writes elements in the machine's byte order.
pub(crate) fn write_data(to: &mut dyn Write, data: &TensorData) -> io::Result<()> {
    each_type!(data, values => {
        let mut bytes = Vec::with_capacity(CHUNK);
        for part in values.chunks(CHUNK / 8) {
            bytes.clear();
            bytes.extend(part.iter().flat_map(|v| v.to_ne_bytes()));
            to.write_all(&bytes)?;
        }
    });
    Ok(())
}

/// Reads elements in the machine's byte order.
fn read_data(from: &mut impl Read, data: &mut TensorData) -> io::Result<()> {
    fn held() -> io::Error {
        io::Error::other("the elements are held elsewhere")
    }
    let mut bytes = vec![0; CHUNK];
    /// One element of `width` bytes after the other.
    macro_rules! fill {
        ($values:expr, $type:ty) => {{
            const WIDTH: usize = size_of::<$type>();
            let values = std::sync::Arc::get_mut($values).ok_or_else(held)?;
            for part in values.chunks_mut(CHUNK / WIDTH) {
                let bytes = &mut bytes[..part.len() * WIDTH];
                from.read_exact(bytes)?;
                for (value, bytes) in part.iter_mut().zip(bytes.as_chunks::<WIDTH>().0) {
                    *value = <$type>::from_ne_bytes(*bytes);
                }
            }
        }};
    }
    match data {
        TensorData::F32(v) => fill!(v, f32),
        TensorData::I64(v) => fill!(v, i64),
        TensorData::I32(v) => fill!(v, i32),
        TensorData::U16(v) => fill!(v, u16),
        TensorData::U8(v) => fill!(v, u8),
        TensorData::I8(v) => fill!(v, i8),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_the_name_can_go() {
        let specs = [(DType::F32, vec![2, 3]), (DType::U16, vec![40_000])];
        let (mut shared, places) = Shared::new(&specs).expect("a temporary folder");
        assert_eq!(places[1].offset, ALIGNMENT);
        let path = shared.path();
        assert!(path.is_file());
        shared.unlink();
        assert!(cfg!(not(unix)) || !path.exists());
        let floats = TensorData::from(vec![1.5f32, -2.0, f32::MAX, 0.0, -0.0, 1e-30]);
        let numbers: Vec<u16> = (0..40_000).collect();
        let numbers = TensorData::from(numbers);
        shared
            .write(places[0].offset, &floats)
            .expect("there is room");
        shared
            .write(places[1].offset, &numbers)
            .expect("there is room");
        for (place, want) in places.iter().zip([floats, numbers]) {
            let mut got = match want {
                TensorData::F32(_) => TensorData::from(vec![0f32; 6]),
                _ => TensorData::from(vec![0u16; 40_000]),
            };
            shared.read(place.offset, &mut got).expect("it was written");
            assert_eq!(got, want);
        }
    }
}
