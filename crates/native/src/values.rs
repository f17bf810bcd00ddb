//! Views of tensors of any type, and the owned results.

use std::sync::Arc;

use slicewise_graph::{DType, TensorData};
use slicewise_kernels::{LabelsMut, Source, cast, cast_mut};

macro_rules! views {
    ($($variant:ident $t:ty),*) => {
        /// A tensor's elements.
        #[derive(Clone, Copy, Debug)]
        pub(crate) enum View<'a> {
            $($variant(&'a [$t]),)*
        }

        /// A tensor's elements, to be written.
        #[derive(Debug)]
        pub(crate) enum ViewMut<'a> {
            $($variant(&'a mut [$t]),)*
        }

        impl<'a> View<'a> {
            /// Bytes seen as elements.
            pub(crate) fn of_bytes(bytes: &'a [u8], dtype: DType) -> Self {
                match dtype {
                    $(DType::$variant => View::$variant(cast(bytes)),)*
                }
            }

            /// The elements of a tensor.
            pub(crate) fn of_data(data: &'a TensorData) -> Self {
                match data {
                    $(TensorData::$variant(v) => View::$variant(v),)*
                }
            }
        }

        impl<'a> ViewMut<'a> {
            /// Bytes seen as elements.
            pub(crate) fn of_bytes(bytes: &'a mut [u8], dtype: DType) -> Self {
                match dtype {
                    $(DType::$variant => ViewMut::$variant(cast_mut(bytes)),)*
                }
            }

            /// The elements of a result that nobody else holds; of another's copy otherwise.
            pub(crate) fn of_data(data: &'a mut TensorData) -> Self {
                match data {
                    $(TensorData::$variant(v) => {
                        if Arc::get_mut(v).is_none() {
                            *v = Arc::new(vec![Default::default(); v.len()]);
                        }
                        ViewMut::$variant(Arc::make_mut(v).as_mut_slice())
                    })*
                }
            }

            /// Copies all elements of `from`; false if it is of another type or size.
            pub(crate) fn copy_from(self, from: View<'_>) -> bool {
                match (self, from) {
                    $((ViewMut::$variant(to), View::$variant(from)) if to.len() == from.len() => {
                        to.copy_from_slice(from);
                        true
                    })*
                    _ => false,
                }
            }
        }

        /// `elements` zeros of a type, or `None` if there is not so much memory.
        pub(crate) fn try_zeros(dtype: DType, elements: usize) -> Option<TensorData> {
            match dtype {
                $(DType::$variant => {
                    let mut zeros: Vec<$t> = Vec::new();
                    zeros.try_reserve_exact(elements).ok()?;
                    zeros.resize(elements, <$t>::default());
                    Some(TensorData::from(zeros))
                })*
            }
        }
    };
}
views!(F32 f32, I64 i64, I32 i32, U16 u16, U8 u8, I8 i8);

impl<'a> View<'a> {
    pub(crate) fn f32(self) -> Option<&'a [f32]> {
        match self {
            View::F32(v) => Some(v),
            _ => None,
        }
    }
}

impl<'a> ViewMut<'a> {
    pub(crate) fn f32(self) -> Option<&'a mut [f32]> {
        match self {
            ViewMut::F32(v) => Some(v),
            _ => None,
        }
    }

    pub(crate) fn i32(self) -> Option<&'a mut [i32]> {
        match self {
            ViewMut::I32(v) => Some(v),
            _ => None,
        }
    }

    pub(crate) fn labels(self) -> Option<LabelsMut<'a>> {
        match self {
            ViewMut::U8(v) => Some(LabelsMut::U8(v)),
            ViewMut::U16(v) => Some(LabelsMut::U16(v)),
            ViewMut::I32(v) => Some(LabelsMut::I32(v)),
            ViewMut::I64(v) => Some(LabelsMut::I64(v)),
            ViewMut::F32(_) | ViewMut::I8(_) => None,
        }
    }
}

/// What a step reads as its operand `i`: a tensor, or for `None` the tensor that it writes.
pub(crate) fn source(view: Option<View<'_>>) -> Option<Source<'_>> {
    match view {
        Some(view) => view.f32().map(Source::Slice),
        None => Some(Source::InPlace),
    }
}
