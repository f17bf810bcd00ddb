//! Why a scan could not be read, or a label map not written.

use std::path::{Path, PathBuf};

use crate::GridError;

/// Why a file could not be read or written. Every message is one line that says what is wrong, where,
/// and how to mend it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImagingError {
    /// The operating system refused.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What it said.
        error: std::io::Error,
    },
    /// The file is damaged, or contradicts itself.
    #[error("{file}: {problem}; {mend}")]
    Malformed {
        /// The file's name.
        file: String,
        /// What was got, what was expected, and where in the file.
        problem: String,
        /// What to do about it.
        mend: &'static str,
    },
    /// The file is sound, but holds what slicewise does not read or write.
    #[error("{file}: {problem}; {mend}")]
    Unsupported {
        /// The file's name.
        file: String,
        /// What it holds.
        problem: String,
        /// What to do about it.
        mend: &'static str,
    },
    /// The file's voxels do not lie on a grid in the world.
    #[error("{file}: {error}")]
    Grid {
        /// The file's name.
        file: String,
        /// What is wrong.
        error: GridError,
    },
    /// Numbers that belong together are not as many as each other.
    #[error("{what}: got {got}, expected {want}")]
    Count {
        /// What was counted.
        what: &'static str,
        /// How many there are.
        got: usize,
        /// How many there should be.
        want: usize,
    },
    /// The voxels do not fit into memory.
    #[error(
        "{what} needs {bytes} bytes, which this process cannot have; use a machine with more memory"
    )]
    Memory {
        /// What was to be held.
        what: String,
        /// How much of it.
        bytes: u64,
    },
}

impl ImagingError {
    /// What the operating system said about `path`.
    pub fn io(path: &Path, error: std::io::Error) -> Self {
        ImagingError::Io {
            path: path.to_owned(),
            error,
        }
    }
}
