//! Scans and label maps: reading and writing their files, and where their voxels lie in the world.
//!
//! A scan is a [`Volume`]: a [`Grid`] and its stored numbers. What does not fit into memory is read
//! through a [`SliceSource`], one slice after the other. A segmentation is a [`LabelMap`] on the grid
//! of its scan. World coordinates are in mm, to the patient's right, front and head being positive
//! (RAS+), as in NIfTI and nibabel; DICOM's LPS+ is converted where it is read and written.
//!
//! This crate knows nothing of networks, and uses no other crate of slicewise.
#![forbid(unsafe_code)]

pub mod dicom;
mod error;
pub mod geometry;
mod labels;
pub mod metaimage;
pub mod nifti;
pub mod nrrd;
pub mod orientation;
pub mod resample;
pub mod scan;
mod stream;
pub mod tables;
mod text_header;
mod volume;
pub mod whole;

pub use error::ImagingError;
pub use geometry::{Affine, Grid, GridError};
pub use labels::{Class, ClassTable, Code, LabelMap, Labels, LabelsMut, distinct_colour};
pub use orientation::{Orientation, Reorder};
pub use scan::Scan;
pub use volume::{Element, Scale, Slice, SliceSource, Volume, Voxels};

/// What every output says.
pub const NOTICE: &str = concat!(
    "slicewise ",
    env!("CARGO_PKG_VERSION"),
    ": for research, not a medical device"
);
