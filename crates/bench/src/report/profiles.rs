//! Plots of profiles: the roofline, and where the time goes.

use super::Source;
use super::group::slug;
use super::plot::{Bar, Bars, Cluster, Line, Mark, Plot, Point, Scale, Scatter, Shape};
use super::row::{name, positive};
use crate::profile::{EngineProfile, OperationTime, ProfileRecord};
use crate::recommend::figure;

/// Kernels that have a colour and a bar of their own.
const KERNELS: usize = 7;
/// Layers that have a bar.
const LAYERS: usize = 20;

/// All plots of a profile.
pub(super) fn plots(source: &Source, profile: &ProfileRecord) -> Vec<Plot> {
    let stem = slug(source.file.strip_suffix(".json").unwrap_or(&source.file));
    let caption = caption(profile);
    let all = [roofline(profile), kernels(profile), layers(profile)];
    let mut all: Vec<Plot> = all.into_iter().flatten().collect();
    for plot in &mut all {
        plot.name = format!("{stem}-{}", plot.name);
        plot.caption.clone_from(&caption);
    }
    all
}

/// Where a profile comes from, in a line.
pub(super) fn caption(profile: &ProfileRecord) -> String {
    format!(
        "{}, {}, {} threads; {}; {}",
        name(&profile.model),
        name(&profile.task),
        profile.threads,
        profile
            .machine
            .cpu
            .as_deref()
            .map_or("unknown CPU".into(), name),
        name(profile.started.split('T').next().unwrap_or(""))
    )
}

/// The kernel that computes an operation, or what stands for it where an engine names none.
pub(super) fn kind(operation: &OperationTime) -> String {
    name(operation.kernel.as_deref().unwrap_or(&operation.operators))
}

/// The kernels of an engine with the time that each takes in all, the longest first.
fn by_kernel(engine: &EngineProfile) -> Vec<(String, f64)> {
    let mut sums: Vec<(String, f64)> = Vec::new();
    for operation in &engine.operations {
        let kind = kind(operation);
        match sums.iter_mut().find(|(k, _)| *k == kind) {
            Some(sum) => sum.1 += operation.ms,
            None => sums.push((kind, operation.ms)),
        }
    }
    sums.sort_by(|a, b| b.1.total_cmp(&a.1));
    sums
}

/// The markers of kernels, by their rank.
fn mark(rank: usize) -> Mark {
    const SHAPES: [Shape; KERNELS] = [
        Shape::Circle,
        Shape::Square,
        Shape::Diamond,
        Shape::Triangle,
        Shape::Down,
        Shape::Hexagon,
        Shape::Star,
    ];
    Mark {
        shape: *SHAPES.get(rank).unwrap_or(&Shape::Cross),
        colour: rank.min(KERNELS),
        fill: "see",
    }
}

fn roofline(profile: &ProfileRecord) -> Option<Plot> {
    let engine = profile.engines.first()?;
    let peak = positive(profile.roof.gflops)?;
    let bandwidth = positive(profile.roof.read_gb_s)?;
    let kernels: Vec<String> = by_kernel(engine)
        .into_iter()
        .map(|k| k.0)
        .take(KERNELS)
        .collect();
    let mut points: Vec<(f64, Point)> = Vec::new();
    for operation in &engine.operations {
        let flops = operation.macs.and_then(|m| positive(2.0 * m as f64));
        let place = || {
            let intensity = positive(flops? / positive(operation.bytes? as f64)?)?;
            Some((
                intensity,
                positive(flops? * 1e-6 / positive(operation.ms)?)?,
            ))
        };
        let Some((x, y)) = place() else { continue };
        let kind = kind(operation);
        let rank = kernels.iter().position(|k| *k == kind).unwrap_or(KERNELS);
        let point = Point {
            x,
            y,
            interval: None,
            mark: mark(rank),
            radius: (34.0 * operation.share.clamp(0.0, 1.0).sqrt()).clamp(2.5, 16.0),
            name: name(&operation.name),
            told: format!(
                "{}: {} ms, {} GFLOP/s, {} FLOP per byte, {kind}",
                name(&operation.name),
                figure(operation.ms),
                figure(y),
                figure(x)
            ),
        };
        points.push((operation.ms, point));
    }
    points.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut points: Vec<Point> = points.into_iter().map(|p| p.1).collect();
    // Only what takes time is named.
    for point in points.iter_mut().skip(6) {
        point.name.clear();
    }
    let ridge = peak / bandwidth;
    let bounds = |of: fn(&Point) -> f64, also: f64| {
        let all = || points.iter().map(of).chain([also]);
        (
            all().fold(f64::INFINITY, f64::min),
            all().fold(0.0, f64::max),
        )
    };
    let x = Scale::log(bounds(|p| p.x, ridge), (0.0, 1.0));
    let y = Scale::log(bounds(|p| p.y, peak), (0.0, 1.0));
    let (left, right) = x.domain();
    let through = vec![(left, bandwidth * left), (ridge, peak), (right, peak)];
    // Below the chart's floor a line would run along the floor.
    let (floor, _) = y.domain();
    let first = left.max(floor / bandwidth);
    let through: Vec<_> = std::iter::once((first, bandwidth * first))
        .chain(through.into_iter().skip(1))
        .collect();
    let mut legend: Vec<(Mark, String)> = kernels
        .iter()
        .enumerate()
        .map(|(i, k)| (mark(i), k.clone()))
        .collect();
    if engine
        .operations
        .iter()
        .any(|o| !kernels.contains(&kind(o)) && o.macs.is_some())
    {
        legend.push((mark(KERNELS), "others".into()));
    }
    let note = format!(
        "Layers of {} against what this machine reaches without a network: {} GFLOP/s in registers ({}), {} GB/s from memory. \
         Multiplications are those of the direct algorithm, so one that needs fewer may lie above the roof. Larger markers take more time.",
        name(&profile.model),
        figure(peak),
        name(&profile.roof.isa),
        figure(bandwidth)
    );
    let chart = Scatter {
        points,
        lines: vec![Line {
            class: "roof".into(),
            through,
        }],
        legend,
        x: (x, "FLOP per byte of operands, weights and result".into()),
        y: (y, "GFLOP/s".into()),
    };
    let title = format!(
        "Roofline, {} on {}",
        name(&profile.model),
        name(&engine.engine)
    );
    Some(Plot::new("roofline", title, note, move |w| chart.draw(w)))
}

/// The engines of a profile as series.
fn series(profile: &ProfileRecord) -> Vec<(Mark, String)> {
    (profile.engines.iter())
        .map(|e| (super::group::engine_mark(&e.engine), name(&e.engine)))
        .collect()
}

/// The time of what other engines do for some of the leading engine's operations.
fn counterpart_ms(other: &EngineProfile, at: impl Fn(usize) -> bool) -> Option<f64> {
    let found = other
        .operations
        .iter()
        .filter(|o| o.counterpart.is_some_and(|c| at(c.operation)));
    let times: Vec<f64> = found.map(|o| o.ms).collect();
    (!times.is_empty()).then(|| times.iter().sum())
}

fn bar(series: usize, ms: f64, what: &str) -> Option<Bar> {
    let value = positive(ms)?;
    Some(Bar {
        series,
        value,
        interval: None,
        text: format!("{} ms", figure(value)),
        told: format!("{what}: {} ms", figure(value)),
    })
}

fn kernels(profile: &ProfileRecord) -> Option<Plot> {
    let (lead, others) = profile.engines.split_first()?;
    let clusters = by_kernel(lead).into_iter().take(12).map(|(kernel, ms)| {
        let of_kernel = |i: usize| lead.operations.get(i).is_some_and(|o| kind(o) == kernel);
        let rest = others
            .iter()
            .enumerate()
            .filter_map(|(i, other)| bar(i + 1, counterpart_ms(other, of_kernel)?, &kernel));
        Cluster {
            bars: bar(0, ms, &kernel).into_iter().chain(rest).collect(),
            label: kernel,
        }
    });
    let chart = Bars {
        clusters: clusters.collect(),
        series: series(profile),
        axis: "ms in all layers that the kernel computes; shorter is better".into(),
        base: None,
    };
    let title = format!("Time by kernel, {}", name(&profile.model));
    let note = "What other engines take for the same nodes stands beside it; what has no counterpart is left out.";
    (!chart.is_empty()).then(|| Plot::new("kernels", title, note, move |w| chart.draw(w)))
}

fn layers(profile: &ProfileRecord) -> Option<Plot> {
    let (lead, others) = profile.engines.split_first()?;
    let mut slowest: Vec<usize> = (0..lead.operations.len()).collect();
    slowest.sort_by(|&a, &b| lead.operations[b].ms.total_cmp(&lead.operations[a].ms));
    slowest.truncate(LAYERS);
    slowest.sort_unstable();
    let clusters = slowest.iter().map(|&i| {
        let operation = &lead.operations[i];
        let label = name(&operation.name);
        let rest = others
            .iter()
            .enumerate()
            .filter_map(|(e, other)| bar(e + 1, counterpart_ms(other, |at| at == i)?, &label));
        Cluster {
            bars: bar(0, operation.ms, &label)
                .into_iter()
                .chain(rest)
                .collect(),
            label,
        }
    });
    let chart = Bars {
        clusters: clusters.collect(),
        series: series(profile),
        axis: "ms per run, median; shorter is better".into(),
        base: None,
    };
    let title = format!("Slowest layers, {}", name(&profile.model));
    let note = format!(
        "The {} layers that take longest, in the order in which they are computed.",
        slowest.len()
    );
    (!chart.is_empty()).then(|| Plot::new("layers", title, note, move |w| chart.draw(w)))
}
