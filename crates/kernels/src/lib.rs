//! Arithmetic on raw slices: the only crate whose code is written for particular instruction sets.
//!
//! Four layers, one idea each:
//! - [`isa`]: a token per instruction set that only a CPU with it can hand out, and the few vector
//!   operations that hang off the token;
//! - kernels written once over that token (`math`, `tile`, `direct`, …), never public;
//! - functions on slices and spec structs that pick the token and split the work over threads:
//!   everything this crate exports;
//! - [`Context`]: the instruction set and the threads that these functions work with.
//!
//! Every result is the same for every number of threads, because threads share out results and
//! never the terms of one sum.

mod activation;
mod arg_max;
mod binary;
mod blocking;
mod buffer;
mod class_product;
mod columns;
mod context;
mod conv;
mod depthwise;
mod direct;
mod geometry;
mod halo;
pub mod isa;
mod label_cells;
mod label_conv;
mod label_head;
mod layout;
mod linear;
mod math;
mod norm;
mod packed;
pub mod peak;
mod piece;
mod pool;
mod quantize;
mod reduce;
mod resize;
mod separable;
mod shared;
mod softmax;
mod strip;
mod threads;
mod tile;
mod transposed;
mod window;
mod winograd;

pub use activation::activate;
pub use arg_max::{LabelsMut, arg_max};
pub use binary::{Broadcast, binary};
pub use buffer::{Buffer, Element, cast, cast_mut};
pub use context::Context;
pub use conv::{Coarse, Convolution, Destination, Epilogue};
pub use depthwise::Depthwise;
pub use geometry::Geometry;
pub use isa::{Isa, IsaError};
pub use label_conv::LabelConvolution;
pub use label_head::LabelHead;
pub use layout::{concat, pad, slice, transpose};
pub use linear::{Linear, MatMul};
pub use norm::{GroupNorm, channel_affine, group_norm, l2_normalize, layer_norm};
pub use packed::{
    Map, MapMut, PackedAdded, PackedConvolution, PackedEpilogue, PackedWeights, Packing,
    Quantization,
};
pub use pool::Pooling;
pub use quantize::{dequantize, quantize};
pub use reduce::reduce;
pub use resize::Resampling;
pub use separable::{LayerWeights, Separable};
pub use shared::Source;
pub use softmax::softmax;
pub use transposed::Upconvolution;
pub use winograd::{Winograd, WinogradTile};
