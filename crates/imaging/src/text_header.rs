//! Headers that are lines of text before the voxels, as MetaImage and NRRD have them.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

use crate::{Affine, ImagingError};

/// The most bytes that a header may have.
const LONGEST: u64 = 1 << 20;

/// The lines of a header and where the bytes after it begin.
pub(crate) struct TextHeader {
    pub(crate) lines: Vec<String>,
    pub(crate) end: u64,
    file: String,
}

/// Which line is the last.
pub(crate) enum End {
    /// A blank one, or the end of the file.
    Blank,
    /// One that begins so.
    Key(&'static str),
}

impl TextHeader {
    pub(crate) fn read(path: &Path, end: &End) -> Result<Self, ImagingError> {
        let io = |e| ImagingError::io(path, e);
        let file = File::open(path).map_err(io)?;
        if file.metadata().map_err(io)?.is_dir() {
            return Err(ImagingError::Unsupported {
                file: path.display().to_string(),
                problem: "it is a folder".into(),
                mend: "name a file",
            });
        }
        let mut reader = BufReader::new(file.take(LONGEST));
        let mut header = TextHeader {
            lines: Vec::new(),
            end: 0,
            file: path.display().to_string(),
        };
        loop {
            let mut line = Vec::new();
            let read = reader.read_until(b'\n', &mut line).map_err(io)?;
            header.end += read as u64;
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            let last = match end {
                End::Blank => read == 0 || line.is_empty(),
                End::Key(key) => line.starts_with(key),
            };
            if header.end >= LONGEST || (read == 0 && !last) {
                return Err(header.malformed("its header does not end".into()));
            }
            if !line.is_empty() {
                header.lines.push(line);
            }
            if last {
                return Ok(header);
            }
        }
    }

    pub(crate) fn malformed(&self, problem: String) -> ImagingError {
        ImagingError::Malformed {
            file: self.file.clone(),
            problem,
            mend: "repair the header, or write the file again",
        }
    }

    pub(crate) fn unsupported(&self, problem: String) -> ImagingError {
        ImagingError::Unsupported {
            file: self.file.clone(),
            problem,
            mend: "convert it to NIfTI",
        }
    }

    /// The numbers of a field's value, separated by spaces, commas and brackets.
    pub(crate) fn numbers<T: FromStr>(
        &self,
        key: &str,
        value: &str,
    ) -> Result<Vec<T>, ImagingError> {
        let words = value.split(|c: char| c.is_whitespace() || ",()".contains(c));
        let numbers = words.filter(|w| !w.is_empty()).map(str::parse);
        let numbers: Result<Vec<T>, _> = numbers.collect();
        numbers.map_err(|_| self.malformed(format!("its {key} is '{value}', not numbers")))
    }

    /// The file that holds the voxels, which must be beside the header.
    pub(crate) fn data_file(&self, header: &Path, name: &str) -> Result<PathBuf, ImagingError> {
        let relative = Path::new(name);
        let plain = |c: Component| matches!(c, Component::Normal(_) | Component::CurDir);
        match relative.components().all(plain) && !name.is_empty() {
            true => Ok(header.with_file_name(relative)),
            false => Err(ImagingError::Unsupported {
                file: self.file.clone(),
                problem: format!("its voxels are in '{name}'"),
                mend: "put them beside the header, and name them there",
            }),
        }
    }
}

/// An affine to a world that runs to the left and to the back, as one that runs to the right and the
/// front.
pub(crate) fn from_lps(mut affine: Affine) -> Affine {
    for row in 0..2 {
        affine.matrix[row].iter_mut().for_each(|v| *v = -*v);
        affine.origin[row] = -affine.origin[row];
    }
    // No negative zeros, which would make equal affines look different.
    affine
        .matrix
        .as_flattened_mut()
        .iter_mut()
        .for_each(|v| *v += 0.0);
    affine.origin.iter_mut().for_each(|v| *v += 0.0);
    affine
}
