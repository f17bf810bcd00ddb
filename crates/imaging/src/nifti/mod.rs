//! NIfTI-1 and NIfTI-2: `.nii`, `.nii.gz`, and pairs of `.hdr` and `.img`.
//!
//! [`read`] opens a scan, [`LabelWriter`] writes a label map under a scan's own header. `nifti-rs` was
//! judged first: it allocates what a header claims, keeps the affine behind a feature that brings a
//! linear-algebra library, has no NIfTI-2, and cannot write slice by slice.

mod header;
mod read;
#[cfg(test)]
mod tests;
mod write;

pub use header::{Header, Version};
pub use read::{NiftiScan, is_name, read};
pub use write::{LabelWriter, write_labels};
