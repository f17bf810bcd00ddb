//! A record as a person reads it: the arms from fast to slow, and why others are not among them.

use std::collections::BTreeSet;

use crate::accuracy::{Accuracy, share};
use crate::record::{Arm, Record, Status};
use crate::statistics::Interval;
use crate::table::{Align, Table};
use crate::verdict::margin;

/// A column: its header, and what stands in it for an arm.
type Column = (&'static str, Align, fn(&Arm) -> String);

/// The measured arms, the fastest first. The number of threads is shown where it differs; where there
/// are volumes, the speed in images of 512×512 is shown too and ranked by. The record holds more than a
/// terminal is wide: percentiles, quartiles, operations.
pub fn table(record: &Record) -> Table {
    use Align::{Left, Right};
    let mut columns: Vec<Column> = vec![
        ("model", Left, |a| a.model.clone()),
        ("on", Left, Arm::mode),
        ("params M", Right, |a| scaled(a.parameters, 1e6)),
        ("img/s", Right, |a| figure(a.throughput)),
        ("ms", Right, |a| figure(a.statistics.map(|s| s.median_ms))),
        ("95% interval", Right, |a| {
            a.interval.map_or("-".into(), |i| range(&i))
        }),
        ("runs", Right, |a| {
            a.statistics.map_or("-".into(), |s| s.runs.to_string())
        }),
        ("img/s/M", Right, |a| figure(a.efficiency())),
        ("memory MB", Right, |a| {
            let mebibytes = |b: u64| b.div_ceil(1 << 20).to_string();
            a.peak_rss_bytes.map_or("-".into(), mebibytes)
        }),
    ];
    if facts(record, |a| a.threads.to_string()).len() > 1 {
        columns.insert(2, ("threads", Right, |a| a.threads.to_string()));
    }
    if record.arms.iter().any(|a| a.versus_reference.is_some()) {
        columns.push(("time / reference", Right, versus));
        columns.push(("verdict", Left, verdict));
    }
    if record.arms.iter().any(|a| a.streams > 1) {
        columns.insert(2, ("streams", Right, |a| a.streams.max(1).to_string()));
    }
    let is_known = |(_, _, cell): &Column| record.arms.iter().any(|a| cell(a) != "-");
    columns.extend(ACCURACY.into_iter().filter(is_known));
    if record.has_volumes() {
        columns.insert(1, ("type", Left, |a| a.dimensions.clone()));
        let speed = |a: &Arm| figure(a.equivalent_images());
        columns.push(("equiv img/s", Right, speed));
    }
    if record.arms.iter().any(|a| a.scan.is_some()) {
        columns.push(("runs/scan", Right, |a| {
            a.scan.map_or("-".into(), |s| s.runs.to_string())
        }));
        columns.push(("s/scan, network", Right, |a| {
            figure(a.scan.map(|s| s.network_seconds))
        }));
    }
    let header = columns.iter().map(|(name, align, _)| (*name, *align));
    let header: Vec<_> = std::iter::once(("#", Right)).chain(header).collect();
    let mut table = Table::new(&header);
    for (place, arm) in record.ranked().into_iter().enumerate() {
        let cells = columns.iter().map(|(_, _, cell)| cell(arm));
        table.row(std::iter::once((place + 1).to_string()).chain(cells));
    }
    table
}

/// Columns of what arms keep of a reference's answers, each shown where any arm has it.
const ACCURACY: [Column; 5] = [
    ("labels", Align::Right, |a| {
        accuracy(a, |a| a.label_agreement.map(share))
    }),
    ("foreground", Align::Right, |a| {
        accuracy(a, |a| a.foreground_agreement.map(share))
    }),
    ("Dice", Align::Right, |a| {
        accuracy(a, |a| a.mean_dice.map(share))
    }),
    ("worst Dice", Align::Right, |a| {
        accuracy(a, |a| a.worst_class_dice.map(share))
    }),
    ("SQNR dB", Align::Right, |a| {
        accuracy(a, |a| a.sqnr_db.map(short))
    }),
];

fn accuracy(arm: &Arm, of: fn(&Accuracy) -> Option<String>) -> String {
    arm.accuracy.as_ref().and_then(of).unwrap_or("-".into())
}

/// The `most` fastest arms so far as lines of a table, for a terminal that shows them growing.
pub fn leaders(record: &Record, most: usize) -> Vec<String> {
    use Align::{Left, Right};
    let header = [
        ("#", Right),
        ("model", Left),
        ("on", Left),
        ("img/s", Right),
        ("ms", Right),
        ("runs", Right),
        ("time / reference", Right),
        ("verdict", Left),
    ];
    let mut table = Table::new(&header);
    for (place, arm) in record.ranked().into_iter().take(most).enumerate() {
        table.row([
            (place + 1).to_string(),
            arm.model.clone(),
            arm.place(),
            figure(arm.throughput),
            figure(arm.statistics.map(|s| s.median_ms)),
            arm.statistics.map_or("-".into(), |s| s.runs.to_string()),
            versus(arm),
            verdict(arm),
        ]);
    }
    match table.is_empty() {
        true => Vec::new(),
        false => table.to_string().lines().map(str::to_owned).collect(),
    }
}

fn range(interval: &Interval) -> String {
    format!("{}-{}", short(interval.low), short(interval.high))
}

/// The arm's time in units of the reference's, with the interval.
fn versus(arm: &Arm) -> String {
    match arm.versus_reference {
        Some(c) => match c.interval {
            Some(i) => format!("{} [{}]", short(c.ratio), range(&i)),
            None => short(c.ratio),
        },
        None if arm.reference => "1".into(),
        None => "-".into(),
    }
}

fn verdict(arm: &Arm) -> String {
    match arm.versus_reference {
        Some(c) => c.verdict.to_string(),
        None if arm.reference => "reference".into(),
        None => "-".into(),
    }
}

/// What verdicts are worth here, in one line; `None` where there are none.
pub fn noise(record: &Record) -> Option<String> {
    let floor = record.noise_floor?;
    let reference = record.arms.iter().find(|a| a.reference)?;
    let percent = |fraction: f64| format!("{:.1} %", 100.0 * fraction);
    let mut text = format!(
        "noise floor {} ({}, twice a round, {} rounds); differences below {} count as none",
        percent(floor.floor),
        reference.label(),
        floor.pairs,
        percent(margin(Some(&floor))),
    );
    for (what, share) in [
        ("others used", record.usage.others),
        ("stolen", record.usage.steal),
    ] {
        if let Some(share) = share.filter(|s| *s >= 0.01) {
            text += &format!("; {what} {} of the CPUs", percent(share));
        }
    }
    Some(text)
}

/// What was measured and where, in one line: CPU, threads, inputs, tasks, classes.
pub fn caption(record: &Record) -> String {
    let list = |values: BTreeSet<String>| values.into_iter().collect::<Vec<_>>().join(", ");
    let sizes = |a: &Arm| {
        let sizes: Vec<String> = a.input.iter().map(usize::to_string).collect();
        sizes.join("x")
    };
    let classes = |a: &Arm| a.classes.map_or("?".into(), |c| c.to_string());
    format!(
        "{}; threads: {}; input: {}; {} of {} classes; median of interleaved runs",
        record.machine.cpu.as_deref().unwrap_or("unknown CPU"),
        list(facts(record, |a| a.threads.to_string())),
        list(facts(record, sizes)),
        list(facts(record, |a| a.task.clone())),
        list(facts(record, classes)),
    )
}

/// The values that a fact takes among the measured arms.
fn facts(record: &Record, of: impl Fn(&Arm) -> String) -> BTreeSet<String> {
    record.ranked().into_iter().map(of).collect()
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

/// One line for each engine that was absent, and for the arms that have no figures or a remark;
/// models with the same remark on the same engine share it.
pub fn remarks(record: &Record) -> Vec<String> {
    let absent = record
        .absent_engines
        .iter()
        .map(|e| format!("{}: {}", e.name, e.reason));
    let mut remarks: Vec<(String, String, Vec<&str>)> = Vec::new();
    for arm in &record.arms {
        let why = arm.reason.as_deref();
        let remark = match arm.status {
            Status::Measured => match why {
                Some(why) => why.to_owned(),
                None => continue,
            },
            Status::NotRun => "not run".to_owned(),
            Status::Skipped => format!("skipped: {}", why.unwrap_or("-")),
            Status::Failed => format!("failed: {}", why.unwrap_or("-")),
            Status::Wrong => format!("WRONG: {}", why.unwrap_or("-")),
            Status::Unknown => why.unwrap_or("-").to_owned(),
        };
        let place = arm.place();
        match remarks.iter_mut().find(|r| r.0 == place && r.1 == remark) {
            Some(known) => known.2.push(&arm.model),
            None => remarks.push((place, remark, vec![&arm.model])),
        }
    }
    let arms = remarks
        .into_iter()
        .map(|(place, remark, models)| format!("{}, {place}: {remark}", models.join(", ")));
    absent.chain(arms).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::judge;
    use crate::record::tests::sample;
    use crate::record::{AbsentEngine, Visit};

    #[test]
    fn the_fastest_arm_comes_first() {
        let text = table(&sample()).to_string();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 4, "{text}");
        let cells: Vec<_> = lines[2].split_whitespace().collect();
        let want = "1 fast+fpn native f32 2.00 100 10.0 - 3 50.0 100";
        let want: Vec<_> = want.split(' ').collect();
        assert_eq!(cells, want);
        assert!(lines[3].contains("slow+fpn"));
    }

    #[test]
    fn verdicts_are_shown_beside_the_noise_that_they_are_made_in() {
        let mut record = sample();
        assert_eq!(noise(&record), None);
        let visit = |round: usize, ms: f64| Visit {
            round,
            ms: vec![ms],
            ..Visit::default()
        };
        for (arm, ms) in [(0, 40.0), (1, 10.0)] {
            record.arms[arm].visits = (0..9).map(|r| visit(r, ms)).collect();
            record.arms[arm].summarise();
        }
        record.arms[0].reference = true;
        record.arms[0].control = record.arms[0].visits.clone();
        record.usage.others = Some(0.25);
        judge(&mut record);
        let text = table(&record).to_string();
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[2].contains("10.0-10.0"), "{text}");
        assert!(lines[2].ends_with("0.250 [0.250-0.250]  FASTER"), "{text}");
        assert!(lines[3].ends_with("1  reference"), "{text}");
        assert_eq!(
            noise(&record).unwrap(),
            "noise floor 0.0 % (slow+fpn, native f32, 2 threads, twice a round, 9 rounds); \
             differences below 2.0 % count as none; others used 25.0 % of the CPUs"
        );
    }

    #[test]
    fn the_caption_says_what_all_arms_have_in_common() {
        let mut record = sample();
        record.machine.cpu = Some("Some CPU".into());
        let want = "Some CPU; threads: 2; input: 1x3x64x64; labels of 117 classes; median of \
                    interleaved runs";
        assert_eq!(caption(&record), want);
        assert!(!table(&record).to_string().contains("threads"));
        record.arms[0].threads = 1;
        assert!(caption(&record).contains("threads: 1, 2"));
        assert!(table(&record).to_string().contains("threads"));
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
    fn accuracy_is_shown_where_any_arm_has_it() {
        let mut record = sample();
        record.arms[0].accuracy = Some(Accuracy {
            mean_dice: Some(0.991_26),
            sqnr_db: Some(31.04),
            ..Accuracy::default()
        });
        let text = table(&record).to_string();
        let lines: Vec<_> = text.lines().collect();
        assert!(
            lines[0].ends_with("Dice  SQNR dB") && !text.contains("worst"),
            "{text}"
        );
        assert!(lines[3].ends_with("0.9913     31.0"), "{text}");
        assert!(lines[2].trim_end().ends_with("-        -"), "{text}");
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
        record.arms.push(Arm {
            model: "last+fpn".into(),
            ..record.arms[2].clone()
        });
        assert_eq!(
            remarks(&record),
            [
                "openvino: not installed",
                "slow+fpn, native f32, 2 threads: failed: out of memory",
                "late+fpn, last+fpn, native f32, 2 threads: not run",
            ]
        );
    }
}
