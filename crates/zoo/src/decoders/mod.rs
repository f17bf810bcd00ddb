//! What makes a segmentation network of an encoder.

mod fpn;
mod unet;

pub(crate) use fpn::fpn;
pub(crate) use unet::unet;
