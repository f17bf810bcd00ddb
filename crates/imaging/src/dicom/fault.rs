//! What is wrong with bytes whose file is known only further up.

use crate::ImagingError;

/// A reason to refuse a file, before it has the file's name.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Fault {
    problem: String,
    mend: &'static str,
    /// Whether the file is damaged, not just of a kind that is not read.
    damaged: bool,
}

impl Fault {
    /// The file is damaged or contradicts itself.
    pub(crate) fn malformed(problem: impl Into<String>) -> Self {
        Fault::broken(problem, "export it again from where it came from")
    }

    /// The file is damaged or contradicts itself, and there is more to say about how to mend it.
    pub(crate) fn broken(problem: impl Into<String>, mend: &'static str) -> Self {
        Fault {
            problem: problem.into(),
            mend,
            damaged: true,
        }
    }

    /// The file is sound, but not one that is read.
    pub(crate) fn unsupported(problem: impl Into<String>, mend: &'static str) -> Self {
        Fault {
            problem: problem.into(),
            mend,
            damaged: false,
        }
    }

    /// The same fault, with where it is before it.
    pub(crate) fn prefixed(mut self, place: &str) -> Self {
        self.problem.insert_str(0, place);
        self
    }

    /// The fault of a file with a name.
    pub(crate) fn of(self, file: impl Into<String>) -> ImagingError {
        let (file, problem, mend) = (file.into(), self.problem, self.mend);
        if self.damaged {
            ImagingError::Malformed {
                file,
                problem,
                mend,
            }
        } else {
            ImagingError::Unsupported {
                file,
                problem,
                mend,
            }
        }
    }
}

impl From<std::io::Error> for Fault {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::UnexpectedEof => Fault::malformed("it ends too early"),
            _ => Fault::malformed(format!("it cannot be read: {error}")),
        }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}; {}", self.problem, self.mend)
    }
}
