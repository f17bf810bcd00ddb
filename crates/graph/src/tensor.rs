//! Values: the one tensor type that weights, inputs and outputs share.

use std::fmt;
use std::sync::Arc;

use crate::GraphError;

/// The type of a tensor's elements.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum DType {
    /// 32-bit float.
    F32,
    /// 64-bit signed integer.
    I64,
    /// 32-bit signed integer.
    I32,
    /// 16-bit unsigned integer: label maps of more than 256 classes.
    U16,
    /// 8-bit unsigned integer: label maps, asymmetric quantized activations.
    U8,
    /// 8-bit signed integer: quantized weights.
    I8,
}

impl DType {
    /// Bytes in one element.
    pub fn bytes(self) -> usize {
        match self {
            DType::I64 => 8,
            DType::F32 | DType::I32 => 4,
            DType::U16 => 2,
            DType::U8 | DType::I8 => 1,
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DType::F32 => "f32",
            DType::I64 => "i64",
            DType::I32 => "i32",
            DType::U16 => "u16",
            DType::U8 => "u8",
            DType::I8 => "i8",
        })
    }
}

/// The elements of a tensor, row-major. Shared, so that a graph and the engines that compile it
/// hold one copy of the weights.
#[derive(Clone, PartialEq, Debug)]
#[allow(missing_docs)]
pub enum TensorData {
    F32(Arc<Vec<f32>>),
    I64(Arc<Vec<i64>>),
    I32(Arc<Vec<i32>>),
    U16(Arc<Vec<u16>>),
    U8(Arc<Vec<u8>>),
    I8(Arc<Vec<i8>>),
}

impl TensorData {
    /// The number of elements.
    pub fn len(&self) -> usize {
        match self {
            TensorData::F32(v) => v.len(),
            TensorData::I64(v) => v.len(),
            TensorData::I32(v) => v.len(),
            TensorData::U16(v) => v.len(),
            TensorData::U8(v) => v.len(),
            TensorData::I8(v) => v.len(),
        }
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The type of the elements.
    pub fn dtype(&self) -> DType {
        match self {
            TensorData::F32(_) => DType::F32,
            TensorData::I64(_) => DType::I64,
            TensorData::I32(_) => DType::I32,
            TensorData::U16(_) => DType::U16,
            TensorData::U8(_) => DType::U8,
            TensorData::I8(_) => DType::I8,
        }
    }
}

/// Implements `From<Vec<T>>` for each element type, so that a tensor is made from what one has.
macro_rules! from_vec {
    ($($t:ty => $variant:ident),*) => {$(
        impl From<Vec<$t>> for TensorData {
            fn from(v: Vec<$t>) -> Self {
                TensorData::$variant(Arc::new(v))
            }
        }
    )*};
}
from_vec!(f32 => F32, i64 => I64, i32 => I32, u16 => U16, u8 => U8, i8 => I8);

/// A value with known sizes: `data.len()` is the product of `shape`.
#[derive(Clone, PartialEq, Debug)]
pub struct Tensor {
    shape: Vec<usize>,
    data: TensorData,
}

impl Tensor {
    /// A tensor of row-major `data`.
    ///
    /// # Errors
    /// If the number of elements is not the product of `shape`.
    pub fn new(shape: &[usize], data: impl Into<TensorData>) -> Result<Self, GraphError> {
        Self::from_parts(shape.to_vec(), data.into())
    }

    /// The same of what [`Tensor::into_parts`] gave back; nothing is copied.
    ///
    /// # Errors
    /// As [`Tensor::new`].
    pub fn from_parts(shape: Vec<usize>, data: TensorData) -> Result<Self, GraphError> {
        let elements = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
        if elements != Some(data.len()) {
            return Err(GraphError::DataSize {
                shape,
                elements: data.len(),
            });
        }
        Ok(Tensor { shape, data })
    }

    /// The sizes and the elements; nothing is copied.
    pub fn into_parts(self) -> (Vec<usize>, TensorData) {
        (self.shape, self.data)
    }

    /// A tensor of `shape` whose element at row-major position `i` is `f(i)`.
    pub fn from_fn(shape: &[usize], f: impl FnMut(usize) -> f32) -> Self {
        let n = shape.iter().product();
        Tensor {
            shape: shape.to_vec(),
            data: TensorData::from((0..n).map(f).collect::<Vec<f32>>()),
        }
    }

    /// A tensor of one value, without axes.
    pub fn scalar(value: f32) -> Self {
        Tensor::from_fn(&[], |_| value)
    }

    /// The sizes, outermost axis first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The elements.
    pub fn data(&self) -> &TensorData {
        &self.data
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        self.data.len()
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    /// The type of the elements.
    pub fn dtype(&self) -> DType {
        self.data.dtype()
    }

    /// The elements, if they are 32-bit floats.
    pub fn as_f32(&self) -> Option<&[f32]> {
        match &self.data {
            TensorData::F32(v) => Some(v),
            _ => None,
        }
    }

    /// The elements for writing, if they are 32-bit floats. Copies them first where they are shared.
    pub fn as_f32_mut(&mut self) -> Option<&mut [f32]> {
        match &mut self.data {
            TensorData::F32(v) => Some(Arc::make_mut(v).as_mut_slice()),
            _ => None,
        }
    }

    /// The same elements under another shape.
    ///
    /// # Errors
    /// If the number of elements is not the product of `shape`.
    pub fn reshaped(&self, shape: &[usize]) -> Result<Self, GraphError> {
        Tensor::new(shape, self.data.clone())
    }
}
