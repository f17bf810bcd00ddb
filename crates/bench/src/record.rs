//! The record of a benchmark: every figure, and everything that could explain it, as JSON.
//!
//! A field is never renamed and never changes its meaning; new ones are added with a default. So an
//! older slicewise reads a newer record (it ignores what it does not know) and a newer one an older
//! record. What could not be read that way would raise [`SCHEMA`].

use std::path::Path;

use serde::{Deserialize, Serialize};

pub use crate::arm::{Arm, Check, PerRun, Status, Visit, WarmUp};
use crate::conditions::Usage;
use crate::json;
use crate::machine::Machine;
use crate::scan::Scan;
use crate::store;
use crate::verdict::NoiseFloor;

/// What [`Record::kind`] says.
pub const KIND: &str = "slicewise-bench";
/// The version of the record's layout.
pub const SCHEMA: u32 = 1;

/// One run of one suite.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Record {
    /// Always `slicewise-bench`: tells a record from other JSON.
    pub kind: String,
    /// The layout's version: [`SCHEMA`].
    pub schema: u32,
    /// The version of slicewise that measured.
    pub slicewise: String,
    /// The SHA-256 of the program that measured: the native engine is part of it.
    #[serde(default)]
    pub program_sha256: Option<String>,
    /// The command line that was given.
    #[serde(default)]
    pub command: Vec<String>,
    /// When the measurement began: RFC 3339, UTC.
    pub started: String,
    /// When it ended, if it did.
    #[serde(default)]
    pub finished: Option<String>,
    /// Whether every arm had its turn: false while the suite runs and after an interruption.
    pub complete: bool,
    /// The suite's name.
    pub suite: String,
    /// What was asked for.
    #[serde(default)]
    pub options: Options,
    /// Where it was measured.
    #[serde(default)]
    pub machine: Machine,
    /// The engines that were there.
    #[serde(default)]
    pub engines: Vec<EngineFacts>,
    /// The engines that were not, with the reason.
    #[serde(default)]
    pub absent_engines: Vec<AbsentEngine>,
    /// How different the reference arm looked from itself.
    #[serde(default)]
    pub noise_floor: Option<NoiseFloor>,
    /// What the whole measurement cost, and what disturbed it.
    #[serde(default)]
    pub usage: Usage,
    /// What was measured.
    pub arms: Vec<Arm>,
}

/// What a benchmark was asked for, and the protocol that it followed.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Options {
    /// The time that the suite may take, in seconds; a slow arm's only run may exceed it.
    pub seconds: f64,
    /// Rounds in which every arm is visited, unless its share of the time is over.
    pub rounds: usize,
    /// Rounds at most: those beyond [`Options::rounds`] are for arms whose verdict is open. 0 in records of
    /// versions without verdicts.
    pub most_rounds: usize,
    /// How long a visit's back-to-back runs go on, in milliseconds.
    pub visit_ms: f64,
    /// The pause before each visit, in which the threads of other engines come to rest.
    pub settle_ms: f64,
    /// Whether each arm was first tried in a process of its own, which is where its memory is
    /// measured.
    pub trials: bool,
    /// Whether foreign engines were measured in processes of their own, one for each stream of each arm. PyTorch
    /// always is.
    pub own_processes: bool,
    /// Threads asked for.
    pub threads: Vec<usize>,
    /// Images or volumes in a run.
    pub batch: usize,
    /// What was asked of the arms; nothing in records of versions that knew one scenario only.
    pub scenario: Option<Scenario>,
    /// The scan that networks are compared on, in the suite that is about scans.
    pub scan: Option<Scan>,
}

/// How inputs come.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Scenario {
    /// One input after the other, all threads on each: how long one waits.
    #[default]
    Latency,
    /// All inputs are there at once, one stream of one thread per CPU: how many one gets done.
    Throughput,
    /// A newer slicewise says something that this one does not know.
    #[serde(other)]
    Unknown,
}

impl std::str::FromStr for Scenario {
    type Err = String;
    fn from_str(name: &str) -> Result<Scenario, String> {
        match name {
            "latency" => Ok(Scenario::Latency),
            "throughput" => Ok(Scenario::Throughput),
            _ => Err(format!(
                "'{name}' is not a scenario; there are: latency, throughput"
            )),
        }
    }
}

/// An engine as it was found.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct EngineFacts {
    /// `native`, `onnxruntime`, `openvino`.
    pub name: String,
    /// The version that it states of itself.
    pub version: String,
    /// The file name of its shared library, without the folders above, which name users.
    #[serde(default)]
    pub library: Option<String>,
    /// The library's SHA-256.
    #[serde(default)]
    pub sha256: Option<String>,
}

/// An engine that was not there.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct AbsentEngine {
    /// Its name.
    pub name: String,
    /// Why, and how to mend it.
    pub reason: String,
}

/// Why a record could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// The file could not be read.
    #[error("{file}: {source}")]
    Read {
        /// The file.
        file: String,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The file could not be written.
    #[error(transparent)]
    Write(#[from] store::StoreError),
    /// The file is no JSON, or JSON of something else.
    #[error(
        "{file} is not a benchmark record: {problem}; give the .json file of 'slicewise bench', or measure again"
    )]
    NotARecord {
        /// The file.
        file: String,
        /// What is wrong with it.
        problem: String,
    },
}

impl Record {
    /// The record as indented JSON with a line end.
    pub fn to_json(&self) -> String {
        json::pretty(self)
    }

    /// Writes the record so that a reader sees all of it or the one before.
    ///
    /// # Errors
    /// If the folder cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), RecordError> {
        Ok(store::write_atomically(path, self.to_json().as_bytes())?)
    }

    /// Reads a record; fields that this version does not know are ignored.
    ///
    /// # Errors
    /// If the file cannot be read or is not a record.
    pub fn load(path: &Path) -> Result<Record, RecordError> {
        let file = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|source| RecordError::Read {
            file: file.clone(),
            source,
        })?;
        Record::parse(&text).map_err(|problem| RecordError::NotARecord { file, problem })
    }

    /// Reads a record's JSON.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn parse(text: &str) -> Result<Record, String> {
        let record: Record = serde_json::from_str(text).map_err(|e| e.to_string())?;
        match record.kind.as_str() {
            KIND => Ok(record),
            other => Err(format!("its kind is '{other}', not '{KIND}'")),
        }
    }

    /// Whether any arm takes volumes.
    pub fn has_volumes(&self) -> bool {
        self.arms.iter().any(|a| a.dimensions == "3D")
    }

    /// The measured arms, the highest throughput first; where there are volumes, by
    /// [`Arm::equivalent_images`].
    pub fn ranked(&self) -> Vec<&Arm> {
        let volumes = self.has_volumes();
        let speed = |a: &Arm| match volumes {
            true => a.equivalent_images().or(a.throughput).unwrap_or(0.0),
            false => a.throughput.unwrap_or(0.0),
        };
        let mut arms: Vec<&Arm> = self
            .arms
            .iter()
            .filter(|a| a.status == Status::Measured && a.throughput.is_some())
            .collect();
        arms.sort_by(|a, b| speed(b).total_cmp(&speed(a)));
        arms
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A record of two measured arms and one that was not reached.
    pub(crate) fn sample() -> Record {
        let arm = |model: &str, ms: &[f64]| {
            let mut arm = Arm {
                model: model.into(),
                dimensions: "2D".into(),
                engine: "native".into(),
                precision: "f32".into(),
                threads: 2,
                task: "labels".into(),
                input: vec![1, 3, 64, 64],
                classes: Some(117),
                parameters: Some(2_000_000),
                encoder_parameters: Some(1_500_000),
                macs: Some(3_000_000_000),
                peak_rss_bytes: Some(100 << 20),
                load_ms: Some(12.5),
                ..Arm::default()
            };
            if !ms.is_empty() {
                arm.visits.push(Visit {
                    ms: ms.to_vec(),
                    ..Visit::default()
                });
                arm.summarise();
            }
            arm
        };
        Record {
            kind: KIND.into(),
            schema: SCHEMA,
            slicewise: "0.1.0".into(),
            command: vec!["slicewise".into(), "bench".into()],
            program_sha256: None,
            started: "2026-11-22T18:03:59Z".into(),
            finished: None,
            complete: false,
            suite: "quick".into(),
            options: Options::default(),
            machine: Machine::default(),
            engines: vec![EngineFacts {
                name: "native".into(),
                version: "0.1.0".into(),
                library: None,
                sha256: None,
            }],
            absent_engines: vec![],
            noise_floor: None,
            usage: Usage::default(),
            arms: vec![
                arm("slow+fpn", &[40.0]),
                arm("fast+fpn", &[9.0, 10.0, 11.0]),
                arm("late+fpn", &[]),
            ],
        }
    }

    #[test]
    fn a_record_survives_writing_and_reading() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/folder/record.json");
        let record = sample();
        record.save(&path).unwrap();
        assert_eq!(Record::load(&path).unwrap(), record);
        assert_eq!(
            std::fs::read_dir(path.parent().unwrap()).unwrap().count(),
            1
        );
    }

    #[test]
    fn a_partial_record_says_so_and_ranks_what_it_has() {
        let text = sample().to_json();
        let record = Record::parse(&text).unwrap();
        assert!(text.contains("\"complete\": false"), "{text}");
        let names: Vec<_> = record.ranked().iter().map(|a| a.model.clone()).collect();
        assert_eq!(names, ["fast+fpn", "slow+fpn"]);
        assert_eq!(record.arms[2].status, Status::NotRun);
        assert_eq!(record.ranked()[0].throughput, Some(100.0));
        assert_eq!(record.ranked()[0].efficiency(), Some(50.0));
    }

    #[test]
    fn older_and_newer_records_are_read() {
        let newer = r#"{"kind": "slicewise-bench", "schema": 9, "slicewise": "7.0.0", "started": "x",
            "complete": true, "suite": "quick", "verdicts": [], "machine": {"gpu": "none"},
            "arms": [{"model": "a", "type": "2D", "status": "verdict_wrong", "energy": 3}]}"#;
        let record = Record::parse(newer).unwrap();
        assert_eq!(record.arms[0].status, Status::Unknown);
        assert_eq!(
            (record.arms[0].model.as_str(), record.arms[0].threads),
            ("a", 0)
        );
        assert!(record.ranked().is_empty());
    }

    #[test]
    fn what_is_no_record_is_an_error_that_says_why() {
        let dir = tempfile::tempdir().unwrap();
        let whole = sample().to_json();
        let cases = [
            ("", "EOF"),
            ("[1, 2]", "expected a string"),
            (&whole[..whole.len() / 2], "EOF"),
            (
                &whole.replace(KIND, "package"),
                "its kind is 'package', not 'slicewise-bench'",
            ),
        ];
        for (text, want) in cases {
            let path = dir.path().join("r.json");
            std::fs::write(&path, text).unwrap();
            let error = Record::load(&path).unwrap_err().to_string();
            assert!(
                error.contains("is not a benchmark record") && error.contains(want),
                "{error}"
            );
        }
        let error = Record::load(&dir.path().join("none.json")).unwrap_err();
        assert!(error.to_string().contains("none.json"), "{error}");
    }
}
