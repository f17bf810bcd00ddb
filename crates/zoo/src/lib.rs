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
//! [`build_with_weights`] reads a safetensors file under the reference's state-dict names and builds
//! the model that the file holds: its form, and its classes where the options leave them open.
//! [`load_safetensors`] loads a file into a graph that is built already, and [`fill`] stands in
//! where there is no file.
//!
//! ```no_run
//! use slicewise_zoo::{Options, build_with_weights};
//! let file = std::path::Path::new("resnet18.safetensors");
//! let (graph, loaded) = build_with_weights("resnet18+fpn", &Options::default(), file)?;
//! if loaded.encoder_only {
//!     println!("a classifier's file: the decoder has the deterministic fill");
//! }
//! # Ok::<(), slicewise_zoo::ZooError>(())
//! ```
//!
//! An encoder of a known family is a row in that family's table (`families/…`); a new family is
//! one file and its line in `families::ALL`.
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
