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

/// Both comparisons, where the report has networks of both kinds that do the same task.
pub(super) fn plots(report: &Report, groups: &[Group]) -> Vec<Plot> {
    let volumes = groups.iter().find(|g| g.measured().any(|r| r.volume));
    let Some(task) = volumes.and_then(|g| g.rows.first()).map(|r| r.task.clone()) else {
        return Vec::new();
    };
    let segments = |r: &Row| r.task == task && (r.volume || r.decoder.is_some());
    if !groups
        .iter()
        .flat_map(Group::measured)
        .any(|r| segments(r) && !r.volume)
    {
        return Vec::new();
    }
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
