//! The zoo: every encoder, decoder and volumetric network of slicewise as a [`Graph`], under the
//! parameter names of its reference implementation.
//!
//! ```
//! use slicewise_zoo::{Options, build};
//! let graph = build("mobilenetv4_conv_small+fpn", &Options::default().classes(117))?;
//! assert_eq!(graph.outputs().len(), 1);
//! # Ok::<(), slicewise_zoo::ZooError>(())
//! ```
//!
//! An encoder of a known family is a row in that family's table (`families/…`); a new family is
//! one file and its line in [`families::ALL`].
#![forbid(unsafe_code)]

mod decoders;
mod error;
mod families;
mod fill;
mod model;
mod net;
mod volumetric;
mod weights;

pub use error::ZooError;
pub use fill::{fill, fill_input, fill_parameter};
pub use model::{Architecture, Decoder, Form, Options, build, encoder_names, model_names, parse};
pub use weights::{Loaded, build_with_weights, check_safetensors, load_safetensors};

#[cfg(doc)]
use slicewise_graph::Graph;
