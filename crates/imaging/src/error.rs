//! Why a scan could not be read, or a label map not written.

use std::io::{Error, ErrorKind};
use std::path::{Path, PathBuf};

use crate::GridError;

/// Why a file could not be read or written. Every message is one line that says what is wrong, where,
/// and how to mend it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImagingError {
    /// The operating system refused to read.
    #[error("{}: {}{}", path.display(), said(error), reading(error))]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What it said.
        error: Error,
    },
    /// The operating system refused to write.
    #[error("{}: it cannot be written: {}{}", path.display(), said(error), writing(error))]
    Unwritable {
        /// The file or folder.
        path: PathBuf,
        /// What it said.
        error: Error,
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
    /// What the operating system said when `path` was read.
    pub fn io(path: &Path, error: Error) -> Self {
        ImagingError::Io {
            path: path.to_owned(),
            error,
        }
    }

    /// What the operating system said when `path` was written.
    pub fn unwritable(path: &Path, error: Error) -> Self {
        ImagingError::Unwritable {
            path: path.to_owned(),
            error,
        }
    }
}

/// What the operating system said, without the name of a temporary file.
fn said(error: &Error) -> String {
    let text = error.to_string();
    match text.split_once(" at path ") {
        Some((said, _)) => said.to_owned(),
        None => text,
    }
}

/// How to mend what cannot be read.
fn reading(error: &Error) -> &'static str {
    match error.kind() {
        ErrorKind::NotFound => "; check the name",
        ErrorKind::PermissionDenied => "; let this user read it, and enter its folder",
        _ => "",
    }
}

/// How to mend what cannot be written.
fn writing(error: &Error) -> &'static str {
    match error.kind() {
        ErrorKind::PermissionDenied => {
            "; let this user write the file and its folder, or choose another output"
        }
        ErrorKind::ReadOnlyFilesystem => "; choose an output on a disk that can be written",
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            "; make room there, or choose an output on another disk"
        }
        ErrorKind::NotFound => "; make its folder first",
        ErrorKind::AlreadyExists | ErrorKind::NotADirectory => {
            "; a file is where a folder should be: remove it, or choose another output"
        }
        _ => "; choose another output",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_refuses_says_how_to_mend_it() {
        let path = Path::new("out/a.nii");
        let denied = || Error::from(ErrorKind::PermissionDenied);
        let read = ImagingError::io(path, denied()).to_string();
        assert!(
            read.starts_with("out/a.nii: ") && read.contains("let this user read it"),
            "{read}"
        );
        let written = ImagingError::unwritable(path, denied()).to_string();
        assert!(written.contains("choose another output"), "{written}");
        let temporary = Error::other("no at path \"out/.slicewise-abc.tmp\"");
        let told = ImagingError::unwritable(path, temporary).to_string();
        assert_eq!(
            told,
            "out/a.nii: it cannot be written: no; choose another output"
        );
    }
}
