//! Records as pictures and as one page that stands on its own.

mod group;
mod interval;
mod page;
mod plot;
mod plots;
mod profiles;
mod row;
mod source;
mod volumes;

pub use group::{Group, Series};
pub use interval::speed_up;
pub use plot::{Plot, PngError, Width};
pub use row::Row;
pub(crate) use row::name;
pub use source::{Content, Source, SourceError, newest_record};

use crate::profile::ProfileRecord;
use crate::record::{Arm, Record};

/// What is reported: records and profiles, in the order given.
pub struct Report {
    sources: Vec<Source>,
    /// The series that speed-ups are told against; `engine precision`.
    base: Option<String>,
}

impl Report {
    /// Of these files.
    pub fn new(sources: Vec<Source>) -> Report {
        Report {
            sources,
            base: None,
        }
    }

    /// The same with speed-ups against this engine and precision, `onnxruntime f32`.
    pub fn base(mut self, mode: Option<String>) -> Report {
        self.base = mode;
        self
    }

    /// The whole report as one HTML file.
    pub fn html(&self) -> String {
        page::html(self)
    }

    /// All plots.
    pub fn plots(&self) -> Vec<Plot> {
        let groups = Group::all(self);
        let mut all: Vec<Plot> = groups
            .iter()
            .flat_map(|g| plots::of_group(self, g))
            .collect();
        all.extend(volumes::plots(self, &groups));
        all.extend(self.profiles().flat_map(|(s, p)| profiles::plots(s, p)));
        all
    }

    fn records(&self) -> impl Iterator<Item = (&Source, &Record)> {
        self.sources.iter().filter_map(|s| match &s.content {
            Content::Bench(record) => Some((s, &**record)),
            Content::Profile(_) => None,
        })
    }

    fn profiles(&self) -> impl Iterator<Item = (&Source, &ProfileRecord)> {
        self.sources.iter().filter_map(|s| match &s.content {
            Content::Profile(profile) => Some((s, &**profile)),
            Content::Bench(_) => None,
        })
    }

    /// Short names of the records: their files', without the ending, numbered where they are alike.
    fn labels(&self) -> Vec<String> {
        let mut labels: Vec<String> = Vec::new();
        for (source, _) in self.records() {
            let stem = source.file.strip_suffix(".json").unwrap_or(&source.file);
            let numbered = (2..).map(|n| format!("{stem} {n}"));
            let mut names = std::iter::once(stem.to_owned()).chain(numbered);
            labels.extend(names.find(|name| !labels.contains(name)));
        }
        labels
    }

    /// The arm that a row was read from.
    fn arm(&self, row: &Row) -> Option<&Arm> {
        self.records().nth(row.record)?.1.arms.get(row.arm)
    }
}
