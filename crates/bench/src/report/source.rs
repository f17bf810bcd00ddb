//! What a report is made of: records of benchmarks, and profiles.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::row::name;
use crate::profile::{self, ProfileRecord};
use crate::record::{self, Record};

/// A file as it was read.
#[derive(Clone, PartialEq, Debug)]
pub struct Source {
    /// The file's name, without its folders.
    pub file: String,
    /// All that it holds, with what this version does not know.
    pub json: Value,
    /// What it is.
    pub content: Content,
}

/// What a file holds.
#[derive(Clone, PartialEq, Debug)]
pub enum Content {
    /// A benchmark's record.
    Bench(Box<Record>),
    /// A profile.
    Profile(Box<ProfileRecord>),
}

/// Why a file is no part of a report.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// The file or the folder could not be read.
    #[error("cannot read {file}: {source}")]
    Read {
        /// The file or the folder.
        file: String,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The file is something else.
    #[error("{file} is neither a benchmark's record nor a profile: {problem}")]
    Other {
        /// The file.
        file: String,
        /// What is wrong with it.
        problem: String,
    },
    /// There is no record in the folder.
    #[error("no record in {folder}; slicewise bench makes one")]
    None {
        /// The folder.
        folder: String,
    },
}

impl Source {
    /// Reads a file.
    ///
    /// # Errors
    /// If it cannot be read or is neither a record nor a profile.
    pub fn read(path: &Path) -> Result<Source, SourceError> {
        let text = fs::read_to_string(path).map_err(|source| SourceError::Read {
            file: path.display().to_string(),
            source,
        })?;
        let file = path
            .file_name()
            .map_or_else(Default::default, |f| f.to_string_lossy());
        Source::parse(&file, &text).map_err(|problem| SourceError::Other {
            file: path.display().to_string(),
            problem,
        })
    }

    /// Reads the text of a file of that name.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn parse(file: &str, text: &str) -> Result<Source, String> {
        let json: Value = serde_json::from_str(text).map_err(|e| e.to_string())?;
        let kind = json.get("kind").and_then(Value::as_str).map(name);
        let content = match kind.as_deref() {
            Some(record::KIND) => Content::Bench(Box::new(Record::parse(text)?)),
            Some(profile::KIND) => {
                let profile = serde_json::from_str(text).map_err(|e| e.to_string())?;
                Content::Profile(Box::new(profile))
            }
            Some(other) => return Err(format!("its kind is '{other}'")),
            None => return Err("it has no kind".into()),
        };
        Ok(Source {
            file: name(file),
            json,
            content,
        })
    }
}

/// The record in a folder that was begun last.
///
/// # Errors
/// If the folder cannot be read or holds no record. Files that are no records are passed over.
pub fn newest_record(folder: &Path) -> Result<(PathBuf, Record), SourceError> {
    let error = |source| SourceError::Read {
        file: folder.display().to_string(),
        source,
    };
    let none = || SourceError::None {
        folder: folder.display().to_string(),
    };
    let entries = match fs::read_dir(folder) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Err(none()),
        other => other.map_err(error)?,
    };
    let mut newest: Option<(PathBuf, Record)> = None;
    for entry in entries {
        let path = entry.map_err(error)?.path();
        if path.extension().is_some_and(|e| e == "json")
            && let Ok(record) = Record::load(&path)
            && newest
                .as_ref()
                .is_none_or(|(_, r)| r.started < record.started)
        {
            newest = Some((path, record));
        }
    }
    newest.ok_or_else(none)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::sample;

    #[test]
    fn records_and_profiles_are_told_apart() {
        let record = Source::parse("r.json", &sample().to_json()).unwrap();
        assert!(matches!(record.content, Content::Bench(_)));
        let cases = [
            ("", "EOF"),
            ("{}", "no kind"),
            (r#"{"kind": "advice"}"#, "its kind is 'advice'"),
            (r#"{"kind": "slicewise-profile"}"#, "missing field"),
            (r#"{"kind": "slicewise-bench"}"#, "missing field"),
        ];
        for (text, want) in cases {
            let error = Source::parse("x", text).unwrap_err();
            assert!(error.contains(want), "{text}: {error}");
        }
    }

    #[test]
    fn the_newest_record_is_the_one_begun_last() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(
            newest_record(dir.path()),
            Err(SourceError::None { .. })
        ));
        let nowhere = newest_record(&dir.path().join("none")).unwrap_err();
        assert!(
            nowhere.to_string().contains("slicewise bench makes one"),
            "{nowhere}"
        );
        for (file, started) in [
            ("b.json", "2026-11-22T18:03:59Z"),
            ("a.json", "2026-11-23T00:00:00Z"),
        ] {
            let mut record = sample();
            record.started = started.into();
            record.save(&dir.path().join(file)).unwrap();
        }
        fs::write(dir.path().join("c.json"), "{").unwrap();
        let (path, _) = newest_record(dir.path()).unwrap();
        assert_eq!(path, dir.path().join("a.json"));
    }
}
