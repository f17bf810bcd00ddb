//! A record as a person reads it: the arms from fast to slow, and why others are not among them.

use crate::record::{Arm, Record, Status};
use crate::table::{Align, Table};

/// The measured arms, the fastest first. Where there are volumes, the speed in images of 512×512 is
/// shown too and ranked by.
pub fn table(record: &Record) -> Table {
    use Align::{Left, Right};
    let volumes = record.has_volumes();
    let mut columns = vec![
        ("#", Right),
        ("model", Left),
        ("type", Left),
        ("engine", Left),
        ("precision", Left),
        ("threads", Right),
        ("params M", Right),
        ("MACs G", Right),
        ("img/s", Right),
        ("ms", Right),
        ("p25-p75", Right),
        ("runs", Right),
        ("img/s/M", Right),
        ("memory MB", Right),
    ];
    if volumes {
        columns.push(("equiv img/s", Right));
    }
    let mut table = Table::new(&columns);
    for (place, arm) in record.ranked().into_iter().enumerate() {
        let mut cells = row(place + 1, arm);
        if volumes {
            cells.push(figure(arm.equivalent_images()));
        }
        table.row(cells);
    }
    table
}

fn row(place: usize, arm: &Arm) -> Vec<String> {
    let s = arm.statistics;
    vec![
        place.to_string(),
        arm.model.clone(),
        arm.dimensions.clone(),
        arm.engine.clone(),
        arm.precision.clone(),
        arm.threads.to_string(),
        scaled(arm.parameters, 1e6),
        scaled(arm.macs, 1e9),
        figure(arm.throughput),
        figure(s.map(|s| s.median_ms)),
        s.map_or("-".into(), |s| {
            format!("{}-{}", short(s.p25_ms), short(s.p75_ms))
        }),
        s.map_or("-".into(), |s| s.runs.to_string()),
        figure(arm.efficiency()),
        arm.peak_rss_bytes
            .map_or("-".into(), |b| format!("{}", b.div_ceil(1 << 20))),
    ]
}

fn scaled(value: Option<u64>, unit: f64) -> String {
    value.map_or("-".into(), |v| format!("{:.2}", v as f64 / unit))
}

fn figure(value: Option<f64>) -> String {
    value.map_or("-".into(), short)
}

/// Three significant digits or, for large numbers, no fraction.
fn short(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        v if v >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// One line for each engine that was absent, each arm that has no figures, and each remark.
pub fn remarks(record: &Record) -> Vec<String> {
    let absent = record
        .absent_engines
        .iter()
        .map(|e| format!("{}: {}", e.name, e.reason));
    let arms = record.arms.iter().filter_map(|a| {
        let why = a.reason.as_deref();
        match a.status {
            Status::Measured => why.map(|w| format!("{}: {w}", a.label())),
            Status::NotRun => Some(format!("{}: not run", a.label())),
            Status::Skipped => Some(format!("{}: skipped: {}", a.label(), why.unwrap_or("-"))),
            Status::Failed => Some(format!("{}: failed: {}", a.label(), why.unwrap_or("-"))),
            Status::Unknown => Some(format!("{}: {}", a.label(), why.unwrap_or("-"))),
        }
    });
    absent.chain(arms).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::AbsentEngine;
    use crate::record::tests::sample;

    #[test]
    fn the_fastest_arm_comes_first() {
        let text = table(&sample()).to_string();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 4, "{text}");
        let cells: Vec<_> = lines[2].split_whitespace().collect();
        let want = [
            "1",
            "fast+fpn",
            "2D",
            "native",
            "f32",
            "2",
            "2.00",
            "3.00",
            "100",
            "10.0",
            "9.50-10.5",
            "3",
            "50.0",
            "100",
        ];
        assert_eq!(cells, want);
        assert!(lines[3].contains("slow+fpn"));
    }

    #[test]
    fn volumes_are_ranked_by_the_images_they_amount_to() {
        let mut record = sample();
        record.arms[0].dimensions = "3D".into();
        record.arms[0].input = vec![1, 1, 64, 64, 64];
        let text = table(&record).to_string();
        let lines: Vec<_> = text.lines().collect();
        assert!(
            lines[2].contains("slow+fpn") && lines[2].ends_with("25.0"),
            "{text}"
        );
        assert!(
            lines[3].contains("fast+fpn") && lines[3].ends_with("1.56"),
            "{text}"
        );
    }

    #[test]
    fn whatever_has_no_figures_is_listed_with_its_reason() {
        let mut record = sample();
        record.absent_engines.push(AbsentEngine {
            name: "openvino".into(),
            reason: "not installed".into(),
        });
        record.arms[0].status = Status::Failed;
        record.arms[0].reason = Some("out of memory".into());
        assert_eq!(
            remarks(&record),
            [
                "openvino: not installed",
                "slow+fpn, native f32, 2 threads: failed: out of memory",
                "late+fpn, native f32, 2 threads: not run",
            ]
        );
    }
}
