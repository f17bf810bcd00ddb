//! Decoders of compressed frames. Every frame is of one number per pixel, and its size is known from
//! outside; one that says otherwise is refused before anything is allocated.

pub(crate) mod jpeg;
pub(crate) mod jpeg_2000;
mod jpeg_dct;
mod jpeg_lossless;
pub(crate) mod jpeg_ls;
mod markers;
pub(crate) mod rle;

/// A decoded frame.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Image {
    /// The numbers, row after row.
    pub(crate) samples: Vec<i32>,
    /// The bits that a number has.
    pub(crate) precision: u32,
}
