//! Networks of images beside networks of volumes: by the original's equivalent images, and by what a
//! whole scan costs.

use super::group::Group;
use super::plot::{Bar, Bars, Cluster, Mark, Plot};
use super::plots::told;
use super::row::Row;
use super::{Report, name};
use crate::recommend::figure;

/// A way to compare slices with volumes.
struct Measure {
    name: &'static str,
    title: &'static str,
    axis: &'static str,
    value: fn(&Row) -> Option<f64>,
    unit: &'static str,
    /// Whether less is better.
    less: bool,
}

const EQUIVALENT: Measure = Measure {
    name: "2d-against-3d",
    title: "Slices against volumes",
    axis: "equivalent img/s: pixels or voxels per second / 512²; longer is better",
    value: |r| r.equivalent,
    unit: "img/s",
    less: false,
};

const SCAN: Measure = Measure {
    name: "2d-against-3d-scan",
    title: "A whole scan",
    axis: "seconds in the network for one scan; shorter is better",
    value: |r| r.scan.map(|s| s.network_seconds),
    unit: "s",
    less: true,
};

/// Both comparisons, where the report has networks of both kinds.
pub(super) fn plots(report: &Report, groups: &[Group]) -> Vec<Plot> {
    let rows: Vec<&Row> = groups.iter().flat_map(Group::measured).collect();
    let Some(segments) = comparable(&rows) else {
        return Vec::new();
    };
    let note = "The original's measure. It leaves out that 3D networks run on tiles that overlap: with half a \
                tile of overlap every voxel is computed up to eight times.";
    let scan_note = scan_note(report);
    let all = [(&EQUIVALENT, note.to_owned()), (&SCAN, scan_note)].map(|(measure, note)| {
        let chart = bars(groups, &segments, measure);
        let mut plot = (!chart.is_empty())
            .then(|| Plot::new(measure.name, measure.title, note, move |w| chart.draw(w)))?;
        let record = report.records().next()?.1;
        plot.caption = record.machine.cpu.as_deref().map_or(String::new(), name);
        Some(plot)
    });
    all.into_iter().flatten().collect()
}

/// Which arms stand beside each other: those of records that measured both kinds, because those were meant
/// to; else those of all records that did the same task, one input after the other.
fn comparable(rows: &[&Row]) -> Option<impl Fn(&Row) -> bool + use<>> {
    let network = |r: &Row| r.volume || r.decoder.is_some();
    let has = |volume: bool, fits: &dyn Fn(&Row) -> bool| {
        rows.iter()
            .any(|r| r.volume == volume && network(r) && fits(r))
    };
    let both = |fits: &dyn Fn(&Row) -> bool| has(true, fits) && has(false, fits);
    let records: Vec<usize> = (rows.iter().map(|r| r.record))
        .filter(|&record| both(&|r| r.record == record))
        .collect();
    let mut tasks = rows.iter().map(|r| r.task.clone());
    let task = tasks.find(|task| both(&|r| r.task == *task && r.streams == 1));
    if records.is_empty() && task.is_none() {
        return None;
    }
    Some(move |r: &Row| {
        let meant = match records.is_empty() {
            true => r.streams == 1 && task.as_ref() == Some(&r.task),
            false => records.contains(&r.record),
        };
        network(r) && meant
    })
}

/// What scan the seconds are of, and what is not in them.
fn scan_note(report: &Report) -> String {
    let scan = report.records().find_map(|(_, r)| r.options.scan);
    let scan = scan.map_or("The record's scan".to_owned(), |s| {
        format!("A scan of {s} mm")
    });
    format!(
        "{scan}: 2D networks run once for each slice, 3D networks on tiles that overlap by half, after resampling. \
         The runs are counted and the time of one is measured; reading, resampling and joining are not in it."
    )
}

fn bars(groups: &[Group], segments: &dyn Fn(&Row) -> bool, measure: &Measure) -> Bars {
    let mut series: Vec<(Mark, String)> = Vec::new();
    let mut clusters: Vec<Cluster> = Vec::new();
    for group in groups {
        for row in group.measured().filter(|r| segments(r)) {
            let (Some(value), Some(own)) = ((measure.value)(row), group.series_of(row)) else {
                continue;
            };
            let mode = row.mode();
            let known = series.iter().position(|(_, m)| *m == mode);
            let at = known.unwrap_or_else(|| {
                series.push((group.series[own].mark, mode));
                series.len() - 1
            });
            let runs = row
                .scan
                .map_or(String::new(), |s| format!("; {} runs for a scan", s.runs));
            let bar = Bar {
                series: at,
                value,
                interval: None,
                text: format!("{} {}", figure(value), measure.unit),
                told: told(row) + &runs,
            };
            let label = format!("{}{}", row.model, if row.volume { " (3D)" } else { "" });
            match clusters.iter_mut().find(|c| c.label == label) {
                // Of several records the first counts.
                Some(cluster) if cluster.bars.iter().any(|b| b.series == at) => {}
                Some(cluster) => cluster.bars.push(bar),
                None => clusters.push(Cluster {
                    label,
                    bars: vec![bar],
                }),
            }
        }
    }
    let merit = |b: &Bar| if measure.less { -b.value } else { b.value };
    let best = |c: &Cluster| c.bars.iter().map(merit).fold(f64::NEG_INFINITY, f64::max);
    clusters.sort_by(|a, b| best(b).total_cmp(&best(a)));
    for cluster in &mut clusters {
        cluster.bars.sort_by_key(|b| b.series);
    }
    Bars {
        series,
        clusters,
        axis: measure.axis.into(),
        base: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recommend::tests::row;

    fn rows(arms: &[(&str, usize, &str, bool)]) -> Vec<Row> {
        let arm = |&(model, record, task, volume): &(&str, usize, &str, bool)| Row {
            record,
            task: task.into(),
            volume,
            ..row(model, "native f32", 10.0, 2.0)
        };
        arms.iter().map(arm).collect()
    }

    #[test]
    fn kinds_are_compared_within_records_and_else_by_their_task() {
        let image = "resnet18+fpn";
        type Case<'a> = (&'a [(&'a str, usize, &'a str, bool)], Option<&'a [bool]>);
        let cases: &[Case<'_>] = &[
            (&[(image, 0, "labels", false)], None),
            // A record of both counts, whatever their tasks, and others do not.
            (
                &[
                    (image, 0, "labels", false),
                    ("stunet_s", 0, "logits", true),
                    (image, 1, "logits", false),
                ],
                Some(&[true, true, false]),
            ),
            (
                &[
                    (image, 0, "labels", false),
                    ("stunet_s", 1, "labels", true),
                    (image, 0, "logits", false),
                ],
                Some(&[true, true, false]),
            ),
            (
                &[(image, 0, "labels", false), ("stunet_s", 1, "logits", true)],
                None,
            ),
            // An encoder alone segments nothing.
            (
                &[
                    ("resnet18", 0, "labels", false),
                    ("stunet_s", 0, "labels", true),
                ],
                None,
            ),
        ];
        for (arms, want) in cases {
            let rows = rows(arms);
            let all: Vec<&Row> = rows.iter().collect();
            let fits = comparable(&all);
            let got = fits.map(|fits| rows.iter().map(&fits).collect::<Vec<_>>());
            assert_eq!(got.as_deref(), *want, "{arms:?}");
        }
    }
}
