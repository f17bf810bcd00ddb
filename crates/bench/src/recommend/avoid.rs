//! What to avoid on this machine, with the figures that say so.

use serde::Serialize;
use slicewise_zoo::Decoder;

use super::figure;
use super::sure::{self, CLEARLY};
use crate::accuracy::share;
use crate::record::Record;
use crate::report::Row;
use crate::verdict::Verdict;

/// One thing to avoid.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Warning {
    /// The rule that found it.
    pub rule: &'static str,
    /// What to avoid.
    pub what: String,
    /// Why, with figures.
    pub why: String,
    /// How many times as good the alternative is; orders the warnings of a rule.
    pub factor: f64,
}

/// What to avoid, why, and how many times as good the alternative is.
type Found = (String, String, f64);

/// A rule: its name, and what it finds among all arms of a record.
struct Rule {
    name: &'static str,
    find: fn(&Record, &[Row]) -> Vec<Found>,
}

/// The most harmful first.
const RULES: &[Rule] = &[
    Rule {
        name: "wrong or failed here",
        find: wrong_or_failed,
    },
    Rule {
        name: "less precise and no faster",
        find: less_precise_and_no_faster,
    },
    Rule {
        name: "volumes slower than slices",
        find: volumes_slower_than_slices,
    },
    Rule {
        name: "an engine that another one beats on every model",
        find: beaten_engines,
    },
    Rule {
        name: "a model that another one beats in speed and size",
        find: beaten_models,
    },
];

/// All warnings. Models in `spared` are recommended for something and are not called beaten.
pub(super) fn warnings(
    record: &Record,
    rows: &[Row],
    spared: &[&str],
    keep_accuracy: Option<f64>,
) -> Vec<Warning> {
    let mut all: Vec<Warning> = (keep_accuracy.iter())
        .flat_map(|least| inaccurate(rows, *least))
        .collect();
    for rule in RULES {
        let mut found = (rule.find)(record, rows);
        found.retain(|(what, _, _)| !spared.contains(&what.as_str()));
        found.sort_by(|a, b| b.2.total_cmp(&a.2));
        all.extend(found.into_iter().map(|(what, why, factor)| Warning {
            rule: rule.name,
            what,
            why,
            factor,
        }));
    }
    all
}

/// Arms that keep less of a reference's answers than was asked for.
fn inaccurate(rows: &[Row], least: f64) -> Vec<Warning> {
    let below = |row: &Row| {
        let accuracy = row.accuracy.as_ref().filter(|_| row.is_measured())?;
        let (what, kept) = accuracy.kept().filter(|(_, kept)| *kept < least)?;
        Some(Warning {
            rule: "less accurate than asked for",
            what: format!("{} on {}", row.model, row.mode()),
            why: format!(
                "{what} {} is below {least} ({})",
                share(kept),
                accuracy.told()
            ),
            factor: least / kept.max(1e-9),
        })
    };
    let mut found: Vec<Warning> = rows.iter().filter_map(below).collect();
    found.sort_by(|a, b| b.factor.total_cmp(&a.factor));
    found
}

/// Whether `slow` takes at least a tenth more than `fast` by a measure in which it takes `factor` times as much, and
/// does so for sure.
fn is_clearly_slower(record: &Record, slow: &Row, fast: &Row, factor: f64) -> bool {
    factor > CLEARLY && sure::verdict(record, slow, fast, factor) == Verdict::Slower
}

fn wrong_or_failed(_: &Record, rows: &[Row]) -> Vec<Found> {
    let failed = rows.iter().filter(|r| r.failed || r.wrong);
    failed
        .map(|r| {
            let why = r.reason.as_deref().unwrap_or("no reason is recorded");
            (
                format!("{} on {}", r.model, r.place()),
                format!("{}: {why}", r.status),
                f64::MAX,
            )
        })
        .collect()
}

/// Whether two arms differ in their engine and precision alone.
fn same_work(a: &Row, b: &Row) -> bool {
    a.record == b.record
        && (&a.model, a.allotment(), &a.task, &a.input, a.classes)
            == (&b.model, b.allotment(), &b.task, &b.input, b.classes)
}

fn less_precise_and_no_faster(record: &Record, rows: &[Row]) -> Vec<Found> {
    let mut found = Vec::new();
    for row in rows.iter().filter(|r| r.precision != "f32") {
        let full = rows
            .iter()
            .find(|f| f.precision == "f32" && f.engine == row.engine && same_work(f, row));
        if let Some((full, (ours, theirs))) = full.and_then(|f| Some((f, row.speed.zip(f.speed)?)))
        {
            let told = match sure::verdict(record, row, full, theirs / ours) {
                Verdict::Slower => "",
                Verdict::Same => " (no difference)",
                _ => continue,
            };
            let why = format!(
                "{} {}/s, while f32 on the same engine reaches {}{told} and loses nothing",
                figure(ours),
                row.unit(),
                figure(theirs)
            );
            found.push((
                format!("{} on {}", row.model, row.mode()),
                why,
                theirs / ours,
            ));
        }
    }
    found
}

/// The fastest of some arms.
fn fastest<'a>(
    rows: impl Iterator<Item = &'a Row>,
    speed: fn(&Row) -> Option<f64>,
) -> Option<(&'a Row, f64)> {
    rows.filter_map(|r| Some((r, speed(r)?)))
        .max_by(|a, b| a.1.total_cmp(&b.1))
}

fn volumes_slower_than_slices(record: &Record, rows: &[Row]) -> Vec<Found> {
    // A whole scan's time is the fair measure; records without one have the original's.
    let per_scan = |r: &Row| r.scan.map(|s| 1.0 / s.network_seconds);
    let scans = [true, false].map(|v| rows.iter().any(|r| r.volume == v && per_scan(r).is_some()));
    type Measure = (fn(&Row) -> Option<f64>, fn(f64) -> String);
    let (speed_of, told): Measure = match scans {
        [true, true] => (per_scan, |s| {
            format!("{} s in the network for a scan", figure(1.0 / s))
        }),
        _ => (
            |r| r.equivalent,
            |s| format!("{} equivalent img/s without overlap of tiles", figure(s)),
        ),
    };
    let images = rows.iter().filter(|r| !r.volume && r.decoder.is_some());
    let Some((image, images_speed)) = fastest(images, speed_of) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for model in models(rows.iter().filter(|r| r.volume)) {
        let arms = rows.iter().filter(|r| r.volume && r.model == model);
        if let Some((row, speed)) = fastest(arms, speed_of)
            && is_clearly_slower(record, row, image, images_speed / speed)
        {
            let why = format!(
                "at best {} on {}, {} times the time of {} on {} ({})",
                told(speed),
                row.mode(),
                figure(images_speed / speed),
                image.model,
                image.mode(),
                told(images_speed),
            );
            found.push((model.to_owned(), why, images_speed / speed));
        }
    }
    found
}

/// The models of some arms, each once.
fn models<'a>(rows: impl Iterator<Item = &'a Row>) -> Vec<&'a str> {
    let mut names: Vec<&str> = Vec::new();
    for row in rows {
        if !names.contains(&&*row.model) {
            names.push(&row.model);
        }
    }
    names
}

fn beaten_engines(record: &Record, rows: &[Row]) -> Vec<Found> {
    let mut modes: Vec<String> = Vec::new();
    for row in rows.iter().filter(|r| r.is_measured()) {
        if !modes.contains(&row.mode()) {
            modes.push(row.mode());
        }
    }
    let mut found = Vec::new();
    for mode in &modes {
        // A winner that is no less precise, so that nobody is sent to fewer bits for speed alone.
        let beaten = (modes.iter().filter(|m| *m != mode && m.ends_with("f32")))
            .filter_map(|other| Some((other, ratios(record, rows, mode, other)?)))
            .max_by(|a, b| a.1.0.total_cmp(&b.1.0));
        if let Some((winner, (least, most, count))) = beaten {
            let times = match count {
                1 => format!("{least:.1} times as fast on the only model that both ran"),
                _ => format!("{least:.1} to {most:.1} times as fast on all {count} models"),
            };
            found.push((mode.clone(), format!("{winner} is {times}"), least));
        }
    }
    found
}

/// The least and the largest factor by which `other` is faster than `mode`, over what both ran; `None` unless it is
/// clearly so on all of it.
fn ratios(record: &Record, rows: &[Row], mode: &str, other: &str) -> Option<(f64, f64, usize)> {
    let mut all: Vec<f64> = Vec::new();
    for row in rows.iter().filter(|r| r.mode() == mode) {
        let rival = rows.iter().find(|r| r.mode() == other && same_work(r, row));
        let Some((rival, (ours, theirs))) = rival.and_then(|r| Some((r, row.speed.zip(r.speed)?)))
        else {
            continue;
        };
        if !is_clearly_slower(record, row, rival, theirs / ours) {
            return None;
        }
        all.push(theirs / ours);
    }
    let least = all.iter().copied().min_by(f64::total_cmp)?;
    let most = all.iter().copied().max_by(f64::total_cmp)?;
    Some((least, most, all.len()))
}

fn beaten_models(record: &Record, rows: &[Row]) -> Vec<Found> {
    let mut found = Vec::new();
    for decoder in [None, Some(Decoder::Fpn), Some(Decoder::Unet)] {
        let of_kind = || {
            rows.iter()
                .filter(move |r| !r.volume && r.decoder == decoder)
        };
        let best: Vec<(&Row, f64)> = models(of_kind())
            .into_iter()
            .filter_map(|m| fastest(of_kind().filter(|r| r.model == m), |r| r.speed))
            .collect();
        for &(row, speed) in &best {
            let beats = |&(rival, faster): &(&Row, f64)| {
                let smaller = row
                    .params
                    .zip(rival.params)
                    .is_some_and(|(a, b)| a > CLEARLY * b);
                let memory = row.memory.zip(rival.memory).is_none_or(|(a, b)| a >= b);
                smaller && memory && is_clearly_slower(record, row, rival, faster / speed)
            };
            let winner = (best.iter().copied().filter(beats)).max_by(|a, b| a.1.total_cmp(&b.1));
            if let Some((rival, faster)) = winner {
                let why = format!(
                    "{} is {:.1} times as fast ({} against {} img/s) with {} instead of {} M parameters; the accuracy of neither was measured",
                    rival.model,
                    faster / speed,
                    figure(faster),
                    figure(speed),
                    figure(rival.params.unwrap_or(0.0)),
                    figure(row.params.unwrap_or(0.0)),
                );
                found.push((row.model.clone(), why, faster / speed));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recommend::tests::row;
    use crate::record::Status;
    use crate::record::tests::sample;

    fn found(rows: &[Row]) -> Vec<(String, String)> {
        let all = warnings(&sample(), rows, &[], None).into_iter();
        all.map(|w| (w.what, w.why)).collect()
    }

    #[test]
    fn a_model_that_is_slower_and_larger_is_named_with_the_figures() {
        let rows = [
            row("resnet18+fpn", "native f32", 20.0, 12.0),
            row("mobileone_s0+fpn", "native f32", 50.0, 2.0),
            row("regnetx_004+fpn", "native f32", 49.0, 5.0),
        ];
        let why = "mobileone_s0+fpn is 2.5 times as fast (50.0 against 20.0 img/s) with 2.00 instead of 12.0 M \
                   parameters; the accuracy of neither was measured";
        assert_eq!(found(&rows), [("resnet18+fpn".to_owned(), why.to_owned())]);
        assert!(
            warnings(&sample(), &rows, &["resnet18+fpn"], None).is_empty(),
            "what is recommended is spared"
        );
    }

    #[test]
    fn decoders_are_not_played_off_against_each_other() {
        let rows = [
            row("resnet18+unet", "native f32", 20.0, 14.0),
            row("mobileone_s0+fpn", "native f32", 50.0, 2.0),
        ];
        assert!(found(&rows).is_empty());
    }

    #[test]
    fn an_engine_is_beaten_only_if_it_is_on_every_model() {
        let mut rows = vec![
            row("a+fpn", "native f32", 40.0, 2.0),
            row("a+fpn", "onnxruntime f32", 10.0, 2.0),
            row("b+fpn", "native f32", 40.0, 2.0),
            row("b+fpn", "onnxruntime f32", 20.0, 2.0),
        ];
        let want = (
            "onnxruntime f32".to_owned(),
            "native f32 is 2.0 to 4.0 times as fast on all 2 models".to_owned(),
        );
        assert_eq!(found(&rows), [want]);
        rows[3].speed = Some(41.0);
        assert!(found(&rows).is_empty());
    }

    #[test]
    fn fewer_bits_have_to_pay() {
        let rows = [
            row("a+fpn", "openvino f32", 40.0, 2.0),
            row("a+fpn", "openvino int8", 30.0, 2.0),
        ];
        let all = warnings(&sample(), &rows, &[], None);
        assert_eq!(all[0].rule, "less precise and no faster");
        assert_eq!(all[0].what, "a+fpn on openvino int8");
        assert!(
            all[0]
                .why
                .starts_with("30.0 img/s, while f32 on the same engine reaches 40.0"),
            "{all:?}"
        );
    }

    #[test]
    fn volumes_are_compared_by_the_images_they_amount_to() {
        let mut volume = row("stunet_s", "native f32", 4.0, 14.6);
        volume.volume = true;
        volume.decoder = None;
        volume.equivalent = Some(16.0);
        let rows = [row("regnetx_004+fpn", "native f32", 40.0, 2.0), volume];
        let all = found(&rows);
        assert_eq!(all.len(), 1, "{all:?}");
        let want = "at best 16.0 equivalent img/s without overlap of tiles on native f32, 2.50 times the time of \
                    regnetx_004+fpn on native f32 (40.0 equivalent img/s without overlap of tiles)";
        assert_eq!(all[0].1, want);

        let mut scanned = rows;
        for (row, seconds) in scanned.iter_mut().zip([7.5, 60.0]) {
            row.scan = Some(crate::scan::ScanTime {
                network_seconds: seconds,
                ..Default::default()
            });
        }
        let all = found(&scanned);
        let want = "at best 60.0 s in the network for a scan on native f32, 8.00 times the time of \
                    regnetx_004+fpn on native f32 (7.50 s in the network for a scan)";
        assert_eq!(all[0].1, want, "the scan counts, where there is one");
    }

    #[test]
    fn what_failed_or_was_wrong_is_named_with_its_reason() {
        let mut arm = sample().arms[2].clone();
        arm.reason = Some("out of memory".into());
        let mut rows = Vec::new();
        for status in [Status::Failed, Status::Wrong] {
            arm.status = status;
            rows.push(Row::new(0, (0, &arm)));
        }
        let what = "late+fpn on native f32, 2 threads".to_owned();
        assert_eq!(
            found(&rows),
            [
                (what.clone(), "failed: out of memory".to_owned()),
                (what, "WRONG: out of memory".to_owned())
            ]
        );
    }
}
