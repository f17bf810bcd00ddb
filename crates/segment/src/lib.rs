//! From a scan to a label map with a 2D network, slice by slice.
//!
//! A [`Bundle`] is a network with everything that is needed to use it: what its classes are, how its
//! input is made, where it comes from. A [`Segmenter`] holds one ready to run and takes scan after scan
//! through it; reading, the network and writing go on at the same time.
#![forbid(unsafe_code)]

pub mod bundle;
mod card;
pub mod cases;
mod components;
mod error;
mod feed;
mod forecast;
mod images;
mod intensity;
pub mod manifest;
mod pipeline;
mod preview;
mod restore;
mod segmenter;
mod shard;
mod slicing;
mod statistics;
mod timing;

pub use bundle::Bundle;
pub use card::{Card, InputSpec, PostProcess, Training};
pub use error::SegmentError;
pub use intensity::{Intensity, Preset, Scope};
pub use segmenter::{Options, OutputFiles, Request, Segmented, Segmenter};
pub use shard::{Shard, ShardChoice};
pub use slicing::{Slicing, View};
pub use statistics::ClassStatistics;
pub use timing::Timing;
