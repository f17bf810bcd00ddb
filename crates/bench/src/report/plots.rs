//! Which plots a report has: each of the original's, and those that it lacked.

use slicewise_zoo::Decoder;

use super::group::{Group, family};
use super::plot::{Bar, Bars, Cluster, Line, Mark, Plot, Point, Scale, Scatter, Shape};
use super::row::Row;
use super::{Report, interval};
use crate::recommend::{figure, pareto};
use crate::statistics::Interval;

/// A figure that bars show.
struct Figure {
    name: &'static str,
    title: &'static str,
    axis: fn(&str) -> String,
    note: &'static str,
    value: fn(&Row) -> Option<f64>,
    text: fn(&Row, f64) -> String,
    /// Whether the arm's interval is one of this figure.
    interval: bool,
}

const LATENCY: Figure = Figure {
    name: "latency",
    title: "Time of one run",
    axis: |unit| {
        format!(
            "ms per {}, median; shorter is better",
            if unit == "img" { "image" } else { "volume" }
        )
    },
    note: "Bars or markers are medians; lines are 95 % intervals where there were six rounds or more.",
    // A run of several streams is a pile of images: nothing that anybody waits for.
    value: |r| r.ms.filter(|_| r.streams == 1),
    text: |_, v| format!("{} ms", figure(v)),
    interval: true,
};

const THROUGHPUT: Figure = Figure {
    name: "throughput",
    title: "Throughput",
    axis: |unit| format!("{unit}/s; longer is better"),
    note: "Images or volumes per second at the median.",
    value: |r| r.speed,
    text: |r, v| format!("{} {}/s", figure(v), r.unit()),
    interval: false,
};

const EFFICIENCY: Figure = Figure {
    name: "efficiency",
    title: "Throughput for the size",
    axis: |unit| format!("{unit}/s per million parameters; longer is better"),
    note: "What the original calls efficiency.",
    value: |r| r.efficiency,
    text: |_, v| figure(v),
    interval: false,
};

const MEMORY: Figure = Figure {
    name: "memory",
    title: "Peak memory",
    axis: |_| "MB at most, of a process that only loads and runs the arm; shorter is better".into(),
    note: "The largest resident size of the arm's trial.",
    value: |r| r.memory,
    text: |_, v| format!("{v:.0} MB"),
    interval: false,
};

/// The plots of a group.
pub(super) fn of_group(report: &Report, group: &Group) -> Vec<Plot> {
    let mut all = vec![bars(group, &LATENCY)];
    all.extend(speed_up(report, group).map(Some));
    all.extend(scatters(group).into_iter().map(Some));
    all.extend(decoders(group).into_iter().map(Some));
    all.extend([
        bars(group, &THROUGHPUT),
        bars(group, &EFFICIENCY),
        bars(group, &MEMORY),
    ]);
    let mut all: Vec<Plot> = all.into_iter().flatten().collect();
    for plot in &mut all {
        plot.name = format!("{}-{}", group.slug, plot.name);
        plot.caption = caption(report, group);
    }
    all
}

/// Where the figures of a group come from, in a line.
fn caption(report: &Report, group: &Group) -> String {
    let mut records: Vec<usize> = group.rows.iter().map(|r| r.record).collect();
    records.dedup();
    let facts = records.iter().filter_map(|&i| report.records().nth(i));
    let facts: Vec<String> = facts
        .map(|(_, r)| {
            let cpu = r
                .machine
                .cpu
                .as_deref()
                .map_or("unknown CPU".into(), super::name);
            format!(
                "{cpu}, {}",
                super::name(r.started.split('T').next().unwrap_or(""))
            )
        })
        .collect();
    let mut facts: Vec<&String> = facts.iter().collect();
    facts.dedup();
    let facts: Vec<&str> = facts.into_iter().map(String::as_str).collect();
    format!("{}; {}", group.title, facts.join("; "))
}

/// All that is known of an arm, in a line.
pub(super) fn told(row: &Row) -> String {
    let mut parts = Vec::new();
    if let Some(ms) = row.ms {
        let within = row.interval.map_or(String::new(), |i| {
            format!(" ({} to {})", figure(i.low), figure(i.high))
        });
        parts.push(format!("{} ms{within}", figure(ms)));
    }
    parts.extend(row.speed.map(|s| format!("{} {}/s", figure(s), row.unit())));
    parts.extend(row.params.map(|p| format!("{} M parameters", figure(p))));
    parts.extend(row.memory.map(|m| format!("{m:.0} MB")));
    format!("{}, {}: {}", row.model, row.place(), parts.join(", "))
}

fn bars(group: &Group, figure: &'static Figure) -> Option<Plot> {
    let clusters = group.models().into_iter().map(|model| {
        let bar = |series: usize, row: &Row| {
            let value = (figure.value)(row)?;
            Some(Bar {
                series,
                value,
                interval: row.interval.filter(|_| figure.interval),
                text: (figure.text)(row, value),
                told: told(row),
            })
        };
        Cluster {
            label: model.to_owned(),
            bars: in_series(group, model)
                .filter_map(|(s, r)| bar(s, r))
                .collect(),
        }
    });
    let chart = Bars {
        clusters: clusters.filter(|c| !c.bars.is_empty()).collect(),
        series: group
            .series
            .iter()
            .map(|s| (s.mark, s.label.clone()))
            .collect(),
        axis: (figure.axis)(group.unit()),
        base: None,
    };
    let draw = move |width| chart.draw(width);
    (!draw_is_empty(group, figure)).then(|| Plot::new(figure.name, figure.title, figure.note, draw))
}

fn draw_is_empty(group: &Group, figure: &Figure) -> bool {
    group.measured().all(|r| (figure.value)(r).is_none())
}

/// A model's arms with the index of their series, in the order of the series.
fn in_series<'a>(group: &'a Group, model: &'a str) -> impl Iterator<Item = (usize, &'a Row)> {
    let series = 0..group.series.len();
    series.filter_map(move |s| Some((s, group.of(s).find(|r| r.model == model)?)))
}

/// The series that others are compared with: the one asked for, else the most usual engine.
pub(super) fn base(report: &Report, group: &Group) -> Option<usize> {
    let usual = ["torch f32", "onnxruntime f32"];
    let asked = report.base.as_deref().into_iter().chain(usual);
    let named = |name: &str| group.series.iter().position(|s| s.label.starts_with(name));
    asked
        .into_iter()
        .find_map(named)
        .or(match group.series.len() {
            0 | 1 => None,
            n => Some(n - 1),
        })
}

/// How many times as fast as the base every other series is, model by model.
fn speed_up(report: &Report, group: &Group) -> Option<Plot> {
    let base = base(report, group)?;
    let base_label = group.series.get(base)?.label.clone();
    let mut clusters = Vec::new();
    for model in group.models() {
        let Some(reference) = group.of(base).find(|r| r.model == model) else {
            continue;
        };
        let bar = |(series, row): (usize, &Row)| {
            let (value, interval) = ratio(report, reference, row)?;
            let text = format!("{}×", figure(value));
            Some(Bar {
                series,
                value,
                interval,
                told: format!("{}: {text} {base_label}", told(row)),
                text,
            })
        };
        let others = in_series(group, model).filter(|(s, _)| *s != base);
        clusters.push(Cluster {
            label: model.to_owned(),
            bars: others.filter_map(bar).collect(),
        });
    }
    clusters.retain(|c| !c.bars.is_empty());
    let chart = Bars {
        clusters,
        series: group
            .series
            .iter()
            .map(|s| (s.mark, s.label.clone()))
            .collect(),
        axis: format!("times as fast as {base_label}"),
        base: Some(1.0),
    };
    let title = format!("Speed-up over {base_label}");
    let note = "Medians of the ratios in rounds that both took part in, with 95 % intervals; beyond the line at 1 is faster.";
    (!chart.is_empty()).then(|| Plot::new("speed-up", title, note, move |w| chart.draw(w)))
}

/// How many times as fast as a reference: in paired rounds where there are any, else by the medians.
pub(super) fn ratio(
    report: &Report,
    reference: &Row,
    row: &Row,
) -> Option<(f64, Option<Interval>)> {
    let paired = match reference.record == row.record {
        true => report
            .arm(reference)
            .zip(report.arm(row))
            .and_then(|(a, b)| interval::speed_up(a, b)),
        false => None,
    };
    paired.or_else(|| Some((row.speed? / reference.speed?, None)))
}

/// Throughput against parameters, a plot for each series, all on the same scales.
fn scatters(group: &Group) -> Vec<Plot> {
    let places = || group.measured().filter_map(|r| Some((r.params?, r.speed?)));
    if places().count() < 2 {
        return Vec::new();
    }
    let x = Scale::around(
        places().map(|p| p.0).collect::<Vec<_>>().into_iter(),
        (0.0, 1.0),
    );
    let y = Scale::around(
        places().map(|p| p.1).collect::<Vec<_>>().into_iter(),
        (0.0, 1.0),
    );
    let most = group
        .measured()
        .filter_map(|r| r.memory)
        .fold(0.0, f64::max);
    (0..group.series.len())
        .filter_map(|s| scatter(group, s, (x, y), most))
        .collect()
}

fn scatter(group: &Group, series: usize, (x, y): (Scale, Scale), most_memory: f64) -> Option<Plot> {
    let rows: Vec<(&Row, f64, f64)> = group
        .of(series)
        .filter_map(|r| Some((r, r.params?, r.speed?)))
        .collect();
    if rows.len() < 2 {
        return None;
    }
    let merits: Vec<pareto::Merits> = rows
        .iter()
        .map(|(_, p, s)| vec![Some(*s), Some(-p)])
        .collect();
    let front = pareto::front(&merits);
    let both = [Decoder::Fpn, Decoder::Unet].map(|d| rows.iter().any(|r| r.0.decoder == Some(d)));
    let mixed = both == [true, true];
    let mark = |row: &Row| {
        let mark = family(row).1;
        match mixed && row.decoder == Some(Decoder::Unet) {
            true => Mark {
                fill: "hollow",
                ..mark
            },
            false => mark,
        }
    };
    let radius = |row: &Row| match row.memory {
        Some(memory) if most_memory > 0.0 => (11.0 * (memory / most_memory).sqrt()).max(4.5),
        _ => 5.0,
    };
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_by(|&a, &b| {
        (front.contains(&b), rows[b].2)
            .partial_cmp(&(front.contains(&a), rows[a].2))
            .unwrap_or(std::cmp::Ordering::Equal)
    });
    let points = order.iter().map(|&i| {
        let (row, params, speed) = rows[i];
        Point {
            x: params,
            y: speed,
            interval: row.interval.zip(row.ms).map(|(i, ms)| Interval {
                low: speed * ms / i.high,
                high: speed * ms / i.low,
            }),
            mark: mark(row),
            radius: radius(row),
            name: if mixed {
                row.model.clone()
            } else {
                row.encoder.clone()
            },
            told: told(row),
        }
    });
    let mut lines = kin(&rows);
    lines.push(Line {
        class: "front".into(),
        through: steps(&rows, &front),
    });
    let mut legend: Vec<(Mark, String)> = Vec::new();
    for (row, _, _) in &rows {
        let (name, mark) = family(row);
        if legend.iter().all(|(_, n)| *n != name) {
            legend.push((mark, name));
        }
    }
    legend.sort_by(|a, b| a.1.cmp(&b.1));
    let unit = group.unit();
    let chart = Scatter {
        points: points.collect(),
        lines,
        legend,
        x: (x, "million parameters".into()),
        y: (y, format!("{unit}/s")),
    };
    let label = &group.series.get(series)?.label;
    let title = format!("Throughput and parameters, {label}");
    let size = if most_memory > 0.0 {
        " The larger a marker, the more memory."
    } else {
        ""
    };
    let hollow = if mixed {
        " Hollow markers are U-Nets."
    } else {
        ""
    };
    let note = format!(
        "Up and left is better. Dashed: the Pareto front. Thin lines join a family.{size}{hollow}"
    );
    let name = format!("scatter-{}", super::group::slug(label));
    Some(Plot::new(name, title, note, move |w| chart.draw(w)))
}

/// Lines that join the members of a family and decoder, by size.
fn kin(rows: &[(&Row, f64, f64)]) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    let mut seen: Vec<(&str, Option<Decoder>)> = Vec::new();
    for (row, _, _) in rows {
        let kind = (row.family, row.decoder);
        if row.family.is_empty() || seen.contains(&kind) {
            continue;
        }
        seen.push(kind);
        let members = rows.iter().filter(|r| (r.0.family, r.0.decoder) == kind);
        let mut through: Vec<(f64, f64)> = members.map(|(_, p, s)| (*p, *s)).collect();
        through.sort_by(|a, b| a.0.total_cmp(&b.0));
        if through.len() > 1 {
            lines.push(Line {
                class: format!("f{} kin", family(row).1.colour),
                through,
            });
        }
    }
    lines
}

/// The front as steps: at a size, what is reached with no more parameters.
fn steps(rows: &[(&Row, f64, f64)], front: &[usize]) -> Vec<(f64, f64)> {
    let mut corners: Vec<(f64, f64)> = front.iter().map(|&i| (rows[i].1, rows[i].2)).collect();
    corners.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut steps: Vec<(f64, f64)> = Vec::new();
    if let Some(first) = corners.first() {
        steps.push((first.0, 0.0));
    }
    for (x, y) in corners {
        if let Some(&(_, before)) = steps.last()
            && steps.len() > 1
        {
            steps.push((x, before));
        }
        steps.push((x, y));
    }
    if let Some(&(_, y)) = steps.last() {
        steps.push((f64::MAX, y));
    }
    steps
}

/// Encoders with both decoders: throughput, and what each decoder adds.
fn decoders(group: &Group) -> Vec<Plot> {
    let pairs = |series: usize| -> Vec<(&Row, &Row)> {
        let with = |d| move |r: &&Row| r.decoder == Some(d);
        (group.of(series).filter(with(Decoder::Fpn)))
            .filter_map(|fpn| {
                let unet = group
                    .of(series)
                    .filter(with(Decoder::Unet))
                    .find(|u| u.encoder == fpn.encoder)?;
                Some((fpn, unet))
            })
            .collect()
    };
    let Some(series) =
        (0..group.series.len()).max_by_key(|&s| (pairs(s).len(), std::cmp::Reverse(s)))
    else {
        return Vec::new();
    };
    let mut pairs = pairs(series);
    pairs.sort_by(|a, b| {
        b.0.speed
            .unwrap_or(0.0)
            .total_cmp(&a.0.speed.unwrap_or(0.0))
    });
    let mark = |colour, fill| Mark {
        shape: Shape::Bar,
        colour,
        fill,
    };
    let chart = |value: fn(&Row) -> Option<f64>, unit: &str, axis: String| Bars {
        series: vec![(mark(0, ""), "FPN".into()), (mark(1, ""), "U-Net".into())],
        clusters: (pairs.iter())
            .map(|(fpn, unet)| Cluster {
                label: fpn.encoder.clone(),
                bars: ([fpn, unet].iter().enumerate())
                    .filter_map(|(series, row)| {
                        let value = value(row)?;
                        Some(Bar {
                            series,
                            value,
                            interval: None,
                            text: format!("{} {unit}", figure(value)),
                            told: told(row),
                        })
                    })
                    .collect(),
            })
            .collect(),
        axis,
        base: None,
    };
    let label = group.series.get(series).map_or("", |s| &s.label);
    let speed = chart(
        |r| r.speed,
        "img/s",
        format!("img/s on {label}; longer is better"),
    );
    let added = |r: &Row| {
        r.params
            .zip(r.encoder_params)
            .map(|(all, encoder)| all - encoder)
            .filter(|p| *p > 0.0)
    };
    let size = chart(
        added,
        "M",
        "million parameters that the decoder adds".into(),
    );
    let mut plots = Vec::new();
    if !speed.is_empty() {
        let note = format!("The same encoders with both decoders, on {label}.");
        plots.push(Plot::new("decoders", "FPN against U-Net", note, move |w| {
            speed.draw(w)
        }));
    }
    if !size.is_empty() {
        let note = "Parameters of the whole network less those of the encoder.";
        plots.push(Plot::new(
            "decoder-size",
            "Size of the decoders",
            note,
            move |w| size.draw(w),
        ));
    }
    plots
}
