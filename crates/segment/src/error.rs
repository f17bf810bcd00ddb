//! Why a scan could not be segmented, or a bundle not read.

use slicewise_engines::EngineError;
use slicewise_imaging::ImagingError;
use slicewise_onnx::OnnxError;

/// Why a scan could not be segmented. Every message is one line that says what is wrong and how to mend
/// it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SegmentError {
    /// The scan could not be read, or an output not written.
    #[error(transparent)]
    Imaging(#[from] ImagingError),
    /// The network did not run.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The bundle's network could not be read or written.
    #[error(transparent)]
    Onnx(#[from] OnnxError),
    /// The file is a network, or not even that, but no bundle.
    #[error("{file}: {problem}; {mend}")]
    Bundle {
        /// The file's name.
        file: String,
        /// What is wrong.
        problem: String,
        /// What to do about it.
        mend: &'static str,
    },
    /// What was given holds no scan, or cannot be looked into.
    #[error("{0}")]
    NoScan(String),
    /// The model and what was asked of it do not go together.
    #[error("{0}")]
    Options(String),
    /// Segmenting needs more memory than there is.
    #[error("{what} needs about {need}, and {have} are free: {parts}; {mend}")]
    Memory {
        /// The scan.
        what: String,
        /// How much.
        need: String,
        /// How much there is.
        have: String,
        /// What it is for.
        parts: String,
        /// What to do about it.
        mend: &'static str,
    },
    /// The preview could not be drawn.
    #[error("cannot draw the preview: {0}")]
    Picture(String),
    /// Somebody asked for an end.
    #[error("interrupted")]
    Interrupted,
}
