//! DICOM: series of slices in, segmentations out.
//!
//! [`Series::find`] reads the headers of all files in a folder or zip archive and stacks what belongs
//! together, in the order in which slices lie in the patient. [`Series::source`] reads the slices one after
//! the other, so that a scan need not fit into memory. [`SegWriter`] writes a label map as a DICOM
//! SEG object that refers to those slices.
//!
//! What is read and what is refused, by transfer syntax, stands in `docs/dicom.md`. The reader is ours
//! because files come from strangers: dicom-rs 0.10 allocates what a length field claims before it reads.

mod codec;
mod colour;
mod data_set;
mod encode;
mod fault;
mod files;
mod header;
mod image;
mod parse;
mod pixels;
mod seg;
mod seg_writer;
mod series;
mod stack;
mod syntax;
mod tag;
mod uid;

pub use files::{extent, holds_dicom, is_dicom};
pub use image::Image;
pub use seg::{SegKind, SegOptions};
pub use seg_writer::{SegWriter, write_seg};
pub use series::{Found, Series, SeriesSource};

use fault::Fault;
use files::Skip;
