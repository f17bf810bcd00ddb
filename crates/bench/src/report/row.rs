//! One arm of a record as it is shown: names made harmless, figures that are finite.
//!
//! A record is foreign bytes. What is read here can be put into a page, a picture or a terminal
//! without a second look.

use serde::Serialize;
use slicewise_zoo::{Architecture, Decoder};

use super::interval;
use crate::accuracy::Accuracy;
use crate::record::{Arm, Record, Status};
use crate::scan::ScanTime;
use crate::statistics::Interval;
use crate::verdict::Comparison;

/// Characters of a name that are shown.
const NAME: usize = 80;
/// Characters of a longer text that are shown.
const TEXT: usize = 400;

/// An arm as it is shown.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Row {
    /// Its record, an index from 0.
    pub record: usize,
    /// Its place among the record's arms, from 0.
    pub arm: usize,
    /// The model's name.
    pub model: String,
    /// The encoder's name, or the model's where it has none.
    pub encoder: String,
    /// What follows the encoder.
    #[serde(skip)]
    pub decoder: Option<Decoder>,
    /// The family, or nothing for a model that the zoo does not know.
    pub family: &'static str,
    /// Whether it takes volumes.
    pub volume: bool,
    /// The engine's name.
    pub engine: String,
    /// `f32`, `bf16`, `int8`.
    pub precision: String,
    /// Threads of a run.
    pub threads: usize,
    /// Images or volumes that are worked on at the same time; 1 is one after the other.
    pub streams: usize,
    /// `logits` or `labels`.
    pub task: String,
    /// The input's sizes.
    pub input: Vec<usize>,
    /// Classes of the head.
    pub classes: Option<usize>,
    /// What became of it, in words.
    pub status: &'static str,
    /// Whether it ran and gave a wrong output.
    pub wrong: bool,
    /// Whether it was tried and failed.
    pub failed: bool,
    /// Why there is no figure, or what limits it.
    pub reason: Option<String>,
    /// The median time of a run in ms; nothing unless the arm counts as measured.
    pub ms: Option<f64>,
    /// The interval that holds the median.
    pub interval: Option<Interval>,
    /// The time that nine of ten runs, and that 99 of 100 do not exceed, in ms.
    pub percentiles: [Option<f64>; 2],
    /// The time in units of the reference arm's, and what may be said of it.
    pub verdict: Option<Comparison>,
    /// Whether it is the reference arm.
    pub reference: bool,
    /// Images or volumes per second.
    pub speed: Option<f64>,
    /// What a whole scan costs.
    pub scan: Option<ScanTime>,
    /// Voxels or pixels per second in images of 512×512.
    pub equivalent: Option<f64>,
    /// Parameters in millions.
    pub params: Option<f64>,
    /// Parameters of the encoder in millions.
    pub encoder_params: Option<f64>,
    /// Multiply-accumulates in 10⁹.
    pub gmacs: Option<f64>,
    /// Images per second and million parameters.
    pub efficiency: Option<f64>,
    /// Peak resident memory in MiB.
    pub memory: Option<f64>,
    /// How much of a reference's answers it keeps.
    pub accuracy: Option<Accuracy>,
    /// Runs that count.
    pub runs: Option<usize>,
}

impl Row {
    /// Reads the arm of a record, each with its index.
    pub fn new(record: usize, (index, arm): (usize, &Arm)) -> Row {
        let known = slicewise_zoo::parse(&arm.model).ok();
        let encoder = arm.model.split_once('+').map_or(&*arm.model, |(e, _)| e);
        let measured = arm.status == Status::Measured;
        let statistics = arm.statistics.filter(|_| measured);
        let ms = statistics.and_then(|s| positive(s.median_ms));
        let speed = arm.throughput.and_then(positive).filter(|_| ms.is_some());
        let params = arm.parameters.filter(|&p| p > 0).map(|p| p as f64 / 1e6);
        Row {
            record,
            arm: index,
            model: name(&arm.model),
            encoder: name(encoder),
            decoder: match known {
                Some(Architecture::Segmentation(_, decoder)) => Some(decoder),
                _ => None,
            },
            family: known.map_or("", Architecture::family),
            volume: arm.dimensions == "3D",
            engine: name(&arm.engine),
            precision: name(&arm.precision),
            threads: arm.threads,
            streams: arm.streams.max(1),
            task: name(&arm.task),
            input: arm.input.iter().copied().take(8).collect(),
            classes: arm.classes,
            status: status(arm.status),
            wrong: arm.status == Status::Wrong,
            failed: arm.status == Status::Failed,
            reason: match (arm.status, &arm.check) {
                (Status::Wrong, Some(check)) => Some(text(&check.to_string())),
                _ => arm.reason.as_deref().map(text),
            },
            ms,
            interval: ms.and_then(|_| interval::of_arm(arm)),
            percentiles: match arm.latency.filter(|_| ms.is_some()) {
                Some(latency) => [latency.p90_ms, latency.p99_ms],
                None => [None; 2],
            },
            verdict: arm.versus_reference.filter(|_| ms.is_some()),
            reference: arm.reference,
            speed,
            scan: arm
                .scan
                .filter(|s| speed.is_some() && positive(s.network_seconds).is_some()),
            equivalent: speed.and(arm.equivalent_images()).and_then(positive),
            params,
            encoder_params: arm.encoder_parameters.map(|p| p as f64 / 1e6),
            gmacs: arm.macs.map(|m| m as f64 / 1e9),
            efficiency: speed.zip(params).map(|(s, p)| s / p),
            memory: arm.peak_rss_bytes.map(|b| b as f64 / f64::from(1 << 20)),
            accuracy: arm.accuracy.as_ref().map(|a| Accuracy {
                against: name(&a.against),
                data: a.data.as_deref().map(text),
                ..a.clone()
            }),
            runs: statistics.map(|s| s.runs),
        }
    }

    /// All arms of a record.
    pub fn all(index: usize, record: &Record) -> Vec<Row> {
        record
            .arms
            .iter()
            .enumerate()
            .map(|arm| Row::new(index, arm))
            .collect()
    }

    /// Engine and precision: `native f32`.
    pub fn mode(&self) -> String {
        format!("{} {}", self.engine, self.precision)
    }

    /// What the model runs on: `native f32, 2 threads`.
    pub fn place(&self) -> String {
        format!("{}, {}", self.mode(), self.allotment())
    }

    /// What a run is given of the machine: `2 threads`, `2 streams of 1 thread`.
    pub fn allotment(&self) -> String {
        let many = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
        match self.streams {
            1 => many(self.threads, "thread"),
            n => format!("{} of {}", many(n, "stream"), many(self.threads, "thread")),
        }
    }

    /// Whether there are figures that may be ranked.
    pub fn is_measured(&self) -> bool {
        self.ms.is_some() && self.speed.is_some()
    }

    /// What is counted: `images` or `volumes`.
    pub fn unit(&self) -> &'static str {
        if self.volume { "vol" } else { "img" }
    }
}

/// A status as people read it.
fn status(status: Status) -> &'static str {
    match status {
        Status::Measured => "measured",
        Status::NotRun => "not run",
        Status::Skipped => "skipped",
        Status::Failed => "failed",
        Status::Wrong => "WRONG",
        Status::Unknown => "unknown to this version",
    }
}

/// A figure that can be drawn and divided by.
pub(crate) fn positive(value: f64) -> Option<f64> {
    (value.is_finite() && value > 0.0).then_some(value)
}

/// A foreign name in one short line.
pub(crate) fn name(text: &str) -> String {
    harmless(text, NAME)
}

/// A foreign text in one line.
pub(crate) fn text(text: &str) -> String {
    harmless(text, TEXT)
}

/// What neither XML nor a terminal takes, and what turns the direction of writing around, becomes a
/// replacement character; what is too long ends in an ellipsis.
fn harmless(text: &str, most: usize) -> String {
    let forbidden = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
            || matches!(c, '\u{fffe}' | '\u{ffff}')
    };
    let mut clean: String = text
        .chars()
        .take(most)
        .map(|c| if forbidden(c) { '\u{fffd}' } else { c })
        .collect();
    if text.chars().nth(most).is_some() {
        clean.pop();
        clean.push('…');
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::sample;

    #[test]
    fn a_row_holds_the_arms_figures() {
        let row = Row::new(0, (0, &sample().arms[1]));
        assert_eq!((row.ms, row.speed), (Some(10.0), Some(100.0)));
        assert_eq!((row.params, row.efficiency), (Some(2.0), Some(50.0)));
        assert_eq!((row.memory, row.equivalent), (Some(100.0), Some(1.5625)));
        assert_eq!(row.place(), "native f32, 2 threads");
    }

    #[test]
    fn families_and_decoders_are_the_zoos() {
        let of = |model: &str| {
            let mut arm = sample().arms[1].clone();
            arm.model = model.into();
            let row = Row::new(0, (0, &arm));
            (row.family, row.decoder)
        };
        assert_eq!(of("regnetx_004+fpn"), ("regnetx", Some(Decoder::Fpn)));
        assert_eq!(of("resnet18+unet"), ("resnet", Some(Decoder::Unet)));
        assert_eq!(of("stunet_s"), ("stunet_s", None));
        assert_eq!(of("<b>+fpn"), ("", None));
    }

    #[test]
    fn figures_that_cannot_be_are_not_shown() {
        let mut arm = sample().arms[1].clone();
        arm.input = vec![1, 3, usize::MAX, usize::MAX];
        arm.parameters = Some(0);
        let row = Row::new(0, (0, &arm));
        assert!(row.equivalent.is_some_and(f64::is_finite));
        assert_eq!((row.params, row.efficiency), (None, None));
        let mut zero = arm.clone();
        if let Some(s) = &mut zero.statistics {
            s.median_ms = 0.0;
        }
        assert!(!Row::new(0, (0, &zero)).is_measured());
        arm.status = Status::Unknown;
        assert!(
            !Row::new(0, (0, &arm)).is_measured(),
            "what is not known to be right is not ranked"
        );
    }

    #[test]
    fn names_are_made_harmless() {
        assert_eq!(name("a\0b\u{1b}[2J\u{202e}c\n"), "a�b�[2J�c�");
        assert_eq!(name("<script>"), "<script>");
        let long = name(&"x".repeat(1000));
        assert_eq!((long.chars().count(), long.ends_with('…')), (NAME, true));
    }
}
