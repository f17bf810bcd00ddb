//! One arm of a benchmark: what is measured, and everything that was.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::accuracy::Accuracy;
use crate::conditions::Usage;
use crate::model::Data;
use crate::scan::ScanTime;
use crate::statistics::{CONFIDENCE, Interval, Latency, Summary, median, median_interval};
use crate::verdict::Comparison;

/// One thing that is measured: a model on an engine, in a precision, with so many threads.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Arm {
    /// The model's name.
    pub model: String,
    /// Whether it takes images or volumes: `2D` or `3D`.
    #[serde(rename = "type")]
    pub dimensions: String,
    /// The engine's name.
    pub engine: String,
    /// `f32`, `bf16` or `int8`.
    pub precision: String,
    /// Threads that work on one image or volume.
    pub threads: usize,
    /// Images or volumes that are worked on at the same time, each by threads of its own; 0 and 1 are one
    /// after the other.
    pub streams: usize,
    /// `logits` or `labels`.
    pub task: String,
    /// The input's sizes, `[N, C, H, W]` or `[N, C, D, H, W]`.
    pub input: Vec<usize>,
    /// Classes of the head.
    pub classes: Option<usize>,
    /// Weights and images of the user's, where they stand in the place of the fill and of noise.
    #[serde(skip_serializing_if = "Data::is_empty")]
    pub data: Data,
    /// Parameters of the deployed form, as the reference counts them.
    pub parameters: Option<u64>,
    /// Those of the encoder alone.
    pub encoder_parameters: Option<u64>,
    /// Multiply-accumulates of one image or volume, without dead branches.
    pub macs: Option<u64>,
    /// Whether this is the arm that others are compared with: it is visited twice a round.
    pub reference: bool,
    /// What became of it.
    pub status: Status,
    /// Whether its visits are all there: false while they are made, and after an interruption.
    pub done: bool,
    /// Why it was not measured, or what limits the measurement.
    pub reason: Option<String>,
    /// The time that the engine took to make the model ready, in milliseconds; in the trial if there was
    /// one. Of PyTorch, the start of its process is part of it.
    pub load_ms: Option<f64>,
    /// The first run after loading, in milliseconds.
    pub first_ms: Option<f64>,
    /// Its output beside that of another engine or of plain arithmetic.
    pub check: Option<Check>,
    /// How much of a reference's answers it keeps, if that was measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<Accuracy>,
    /// How it was brought to a steady time.
    pub warm_up: Option<WarmUp>,
    /// Images or volumes in a run, over all streams, if not as many as the input holds.
    pub burst: Option<usize>,
    /// The runs, visit by visit.
    pub visits: Vec<Visit>,
    /// The reference arm's second visits of the same rounds. They are no part of its figures.
    pub control: Vec<Visit>,
    /// What the visits come to.
    pub statistics: Option<Summary>,
    /// Where the median of the visits' medians lies, in milliseconds; `None` with too few visits.
    pub interval: Option<Interval>,
    /// The percentiles of single runs.
    pub latency: Option<Latency>,
    /// The time in units of the reference arm's, from pairs of visits in the same round.
    pub versus_reference: Option<Comparison>,
    /// Images or volumes per second at the median.
    pub throughput: Option<f64>,
    /// What a run costs beside time.
    pub per_run: Option<PerRun>,
    /// What a whole scan costs, in the suite that is about scans.
    pub scan: Option<ScanTime>,
    /// The most memory that a process held which did nothing but load and run this arm.
    pub peak_rss_bytes: Option<u64>,
    /// What the engine says of its settings.
    pub settings: BTreeMap<String, String>,
}

/// The back-to-back runs of one arm in one round. Visits of the same round are comparable pairs.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Visit {
    /// The round, from 0. Arms that were measured at different times have different rounds.
    pub round: usize,
    /// Each run's duration in milliseconds.
    pub ms: Vec<f64>,
    /// What all runs together cost, and what disturbed them.
    #[serde(default, skip_serializing_if = "Usage::is_empty")]
    pub usage: Usage,
}

impl Visit {
    /// The median of its runs in milliseconds.
    pub fn median_ms(&self) -> Option<f64> {
        median(&self.ms)
    }
}

/// The runs before an arm's first visit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct WarmUp {
    /// How many.
    pub runs: usize,
    /// Whether the time was steady at the end, rather than the time for it over.
    pub steady: bool,
}

/// What a run costs beside time: totals of an arm's visits divided by its runs.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PerRun {
    /// CPU time of all threads in milliseconds, in whichever process they are.
    pub cpu_ms: Option<f64>,
    /// Energy of the whole machine in joules.
    pub joules: Option<f64>,
    /// Pages that were given to the process.
    pub page_faults: Option<f64>,
    /// The share of the machine's CPU time that the hypervisor gave to others, from 0 to 1.
    pub steal: Option<f64>,
    /// The share of the machine's CPU time that other processes used, from 0 to 1.
    pub others: Option<f64>,
}

/// An arm's output beside what it should be, for the same input and weights.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Check {
    /// What it was compared with: `native f32`, or `plain arithmetic` for small inputs.
    pub against: String,
    /// What `error` is: `relative error` of scores, or `labels that differ` as a share of all.
    pub measure: String,
    /// How far off it is.
    pub error: f64,
    /// How far off an arm of this precision may be.
    pub tolerance: f64,
}

impl Check {
    /// Whether the output is close enough. Not a number is not.
    pub fn passed(&self) -> bool {
        self.error <= self.tolerance
    }
}

impl std::fmt::Display for Check {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Check {
            against,
            measure,
            error,
            tolerance,
        } = self;
        write!(
            f,
            "{measure} {error:.2e} against {against}, {tolerance:.0e} allowed"
        )
    }
}

impl AsRef<[f64]> for Visit {
    fn as_ref(&self) -> &[f64] {
        &self.ms
    }
}

/// What became of an arm.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Status {
    /// Its turn has not come, or the benchmark was interrupted before.
    #[default]
    NotRun,
    /// There are figures.
    Measured,
    /// It cannot run here, for a reason known beforehand.
    Skipped,
    /// It was tried and failed.
    Failed,
    /// It runs, and its output is wrong: [`Arm::check`] says how far. It was not timed.
    Wrong,
    /// A newer slicewise says something that this one does not know.
    #[serde(other)]
    Unknown,
}

impl Arm {
    /// How the arm is named in one line: `mobilenetv4_conv_small+fpn, native f32, 2 threads`.
    pub fn label(&self) -> String {
        format!("{}, {}", self.model, self.place())
    }

    /// What the model runs on: `native f32, 2 threads`.
    pub fn place(&self) -> String {
        let many = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
        let streams = match self.streams {
            0 | 1 => String::new(),
            n => format!("{} of ", many(n, "stream")),
        };
        format!("{}, {streams}{}", self.mode(), many(self.threads, "thread"))
    }

    /// Engine and precision: `native f32`.
    pub fn mode(&self) -> String {
        format!("{} {}", self.engine, self.precision)
    }

    /// Images or volumes in an input.
    pub fn batch(&self) -> usize {
        self.input.first().copied().unwrap_or(1).max(1)
    }

    /// Whether both are the same thing to measure, in the same record or another.
    pub fn is_like(&self, other: &Arm) -> bool {
        let streams = |a: &Arm| a.streams.max(1);
        self.model == other.model
            && self.engine == other.engine
            && self.precision == other.precision
            && self.threads == other.threads
            && streams(self) == streams(other)
            && self.task == other.task
            && self.input == other.input
            && self.classes == other.classes
    }

    /// Works out what [`Arm::visits`] come to.
    pub fn summarise(&mut self) {
        self.statistics = Summary::of(&self.visits);
        let images = self.burst.unwrap_or_else(|| self.batch());
        self.throughput = self.statistics.map(|s| s.per_second(images));
        let medians: Vec<f64> = self.visits.iter().filter_map(Visit::median_ms).collect();
        self.interval = median_interval(&medians, CONFIDENCE);
        let runs: Vec<f64> = self.visits.iter().flat_map(|v| &v.ms).copied().collect();
        // A run of a burst is not what anybody waits for.
        self.latency = (self.streams < 2 && !runs.is_empty()).then(|| Latency::of(&runs));
        self.per_run = PerRun::of(&self.visits);
        if self.statistics.is_some() {
            self.status = Status::Measured;
        }
    }

    /// Images per second and million parameters: what the original calls efficiency.
    pub fn efficiency(&self) -> Option<f64> {
        let parameters = self.parameters.filter(|&p| p > 0)?;
        Some(self.throughput? / (parameters as f64 / 1e6))
    }

    /// Pixels or voxels per second in images of 512×512, as the original makes 2D and 3D comparable:
    /// see [`Suite::TwoVsThree`](crate::Suite::TwoVsThree) for what that leaves out.
    pub fn equivalent_images(&self) -> Option<f64> {
        // In floating point, because the sizes of a foreign record may overflow an integer.
        let points: f64 = self.input.get(2..)?.iter().map(|&n| n as f64).product();
        Some(self.throughput? * points / f64::from(512 * 512))
    }
}

impl PerRun {
    fn of(visits: &[Visit]) -> Option<PerRun> {
        let runs: usize = visits.iter().map(|v| v.ms.len()).sum();
        let mut spent = 0.0;
        let mut all = Usage::default();
        for visit in visits {
            let ms = visit.ms.iter().sum();
            all = all.and(&visit.usage, [spent, ms]);
            spent += ms;
        }
        let each = |total: f64| total / runs as f64;
        (runs > 0 && !all.is_empty()).then(|| PerRun {
            cpu_ms: all.cpu_ms.map(each),
            joules: all.joules.map(each),
            page_faults: all.minor_faults.map(|n| each(n as f64)),
            steal: all.steal,
            others: all.others,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_of_a_foreign_record_do_not_overflow() {
        let arm = Arm {
            input: vec![1, 3, usize::MAX, usize::MAX],
            throughput: Some(2.0),
            ..Arm::default()
        };
        assert!(arm.equivalent_images().is_some_and(|n| n > 1e30));
    }
}
