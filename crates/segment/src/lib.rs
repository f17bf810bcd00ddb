//! From a scan to a label map with a 2D network, slice by slice.
//!
//! A [`Bundle`] is a network with everything that is needed to use it: what its classes are, how its
//! input is made, where it comes from. A [`Segmenter`] holds one ready to run and takes scan after scan
//! through it; reading, the network and writing go on at the same time.
#![forbid(unsafe_code)]

pub mod bundle;
mod card;
mod error;
mod intensity;
mod slicing;

pub use bundle::Bundle;
pub use card::{Card, InputSpec, PostProcess, Training};
pub use error::SegmentError;
pub use intensity::{Intensity, Preset, Scope};
pub use slicing::{Slicing, View};
