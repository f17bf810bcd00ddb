//! NIfTI-1 and NIfTI-2: `.nii`, `.nii.gz`, and pairs of `.hdr` and `.img`.
//!
//! [`read`] opens a scan, [`LabelWriter`] writes a label map under a scan's own header. The crate
//! `nifti` was judged first: `docs/dependencies.md` says why it is not used.

mod header;
mod read;
#[cfg(test)]
mod tests;
mod write;

pub use header::{Header, Version};
pub use read::{NiftiScan, is_name, read};
pub use write::{LabelWriter, write_labels};
