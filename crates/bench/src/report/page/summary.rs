//! What a report says, in sentences.

use maud::{Markup, html};

use super::facts;
use crate::recommend::figure;
use crate::report::row::Row;
use crate::report::{Content, Group, Report, plots};

/// The findings of every group.
pub(super) fn words(report: &Report, groups: &[Group]) -> Markup {
    html! {
        @for group in groups {
            @if let Some(best) = fastest(group.measured()) {
                @if groups.len() > 1 { h3 { (group.title) } }
                (champion(group, best))
                ul {
                    @for line in lines(report, group) { li { (line) } }
                }
            } @else {
                p { (group.title) ": nothing was measured." }
            }
        }
        @if groups.is_empty() { p { "There is no record of a benchmark among the files, only profiles." } }
        @for line in noise(report) { p.soft { (line) } }
        @for line in cautions(report) { p.warning { (line) } }
    }
}

fn fastest<'a>(rows: impl Iterator<Item = &'a Row>) -> Option<&'a Row> {
    rows.max_by(|a, b| a.speed.unwrap_or(0.0).total_cmp(&b.speed.unwrap_or(0.0)))
}

/// The fastest arm, large.
fn champion(group: &Group, best: &Row) -> Markup {
    let on = group
        .series_of(best)
        .map_or_else(|| best.place(), |s| group.series[s].label.clone());
    let dash = |v: Option<f64>| v.map_or("–".into(), figure);
    html! {
        p { "Fastest: " strong { (best.model) } " on " (on) "." }
        dl.tiles {
            div { dt { (if group.is_offline() { "ms, a pile of images" } else { "ms, median" }) } dd { (dash(best.ms)) } @if let Some(i) = best.interval { dd.soft { "95 %: " (figure(i.low)) "–" (figure(i.high)) } } }
            div { dt { (best.unit()) "/s" } dd { (dash(best.speed)) } }
            div { dt { "million parameters" } dd { (dash(best.params)) } }
            div { dt { "MB of memory" } @match best.memory { Some(m) => dd { (format!("{m:.0}")) }, None => dd.none { "not measured" } } }
        }
    }
}

/// The fastest model of each engine with its speed-ups, and what has no figures.
fn lines(report: &Report, group: &Group) -> Vec<String> {
    let mut lines = Vec::new();
    if group.series.len() > 1 {
        let base = plots::base(report, group);
        for (i, series) in group.series.iter().enumerate() {
            if let Some(row) = fastest(group.of(i)) {
                let speed_up = base
                    .filter(|b| *b != i)
                    .and_then(|b| speed_up(report, group, b, i));
                lines.push(format!(
                    "{}: {} is fastest, {}{} {}/s{}.",
                    series.label,
                    row.model,
                    match row.ms.filter(|_| row.streams == 1) {
                        Some(ms) => format!("{} ms, ", figure(ms)),
                        None => String::new(),
                    },
                    figure(row.speed.unwrap_or(0.0)),
                    row.unit(),
                    speed_up.map_or(String::new(), |s| format!("; {s}")),
                ));
            }
        }
    }
    let without: Vec<&Row> = group.rows.iter().filter(|r| !r.is_measured()).collect();
    let mut states: Vec<&str> = without.iter().map(|r| r.status).collect();
    states.sort_unstable();
    states.dedup();
    let counts: Vec<String> = states
        .iter()
        .map(|s| format!("{} {s}", without.iter().filter(|r| r.status == *s).count()))
        .collect();
    let of = group.rows.len();
    match counts.is_empty() {
        true => lines.push(format!("All {of} arms have figures.")),
        false => lines.push(format!(
            "{} of {of} arms have figures; {}.",
            of - without.len(),
            counts.join(", ")
        )),
    }
    lines
}

/// How a series compares with the base, over the models that both ran.
fn speed_up(report: &Report, group: &Group, base: usize, series: usize) -> Option<String> {
    let mut ratios: Vec<f64> = Vec::new();
    for row in group.of(series) {
        let reference = group.of(base).find(|r| r.model == row.model);
        ratios.extend(
            reference
                .and_then(|r| plots::ratio(report, r, row))
                .map(|(ratio, _)| ratio),
        );
    }
    let mean = (ratios.iter().map(|r| r.ln()).sum::<f64>() / ratios.len() as f64).exp();
    let least = ratios.iter().copied().fold(f64::INFINITY, f64::min);
    let most = ratios.iter().copied().fold(0.0, f64::max);
    let over = match ratios.len() {
        0 => return None,
        1 => "on one model".to_owned(),
        n => format!(
            "on {n} models (geometric mean; {} to {})",
            figure(least),
            figure(most)
        ),
    };
    Some(format!(
        "{} times as fast as {} {over}",
        figure(mean),
        group.series[base].label
    ))
}

/// How small a difference may be and still be spoken of, by record.
fn noise(report: &Report) -> Vec<String> {
    let labels = report.labels();
    let floor = |(i, record): (usize, &crate::record::Record)| {
        let floor = record.noise_floor?;
        Some(format!(
            "Noise floor of {}: {:.1} %. By so much its reference arm may differ from itself, over {} rounds that \
             visited it twice; verdicts speak of differences above {:.1} %.",
            labels.get(i).map_or("?", |l| l),
            100.0 * floor.floor,
            floor.pairs,
            100.0 * crate::verdict::margin(Some(&floor)),
        ))
    };
    let records = report.records().map(|(_, r)| r).enumerate();
    records.filter_map(floor).collect()
}

/// What disturbed a measurement, if it was more than a trifle.
fn disturbances(label: &str, usage: &crate::conditions::Usage) -> Vec<String> {
    const TRIFLE: f64 = 0.02;
    let percent = |share: f64| format!("{:.0} %", 100.0 * share);
    let above = |share: Option<f64>| share.filter(|s| *s > TRIFLE).map(percent);
    let steal = above(usage.steal).map(|p| {
        format!("The hypervisor gave {p} of the CPU time to others while {label} was measured.")
    });
    let others = above(usage.others)
        .map(|p| format!("Other processes used {p} of the CPU time while {label} was measured."));
    let heat = usage.throttled.filter(|n| *n > 0).map(|n| {
        format!(
            "The CPU was slowed down {n} times because it was too hot while {label} was measured."
        )
    });
    [steal, others, heat].into_iter().flatten().collect()
}

/// What makes the figures less than they seem.
fn cautions(report: &Report) -> Vec<String> {
    let labels = report.labels();
    let mut lines = Vec::new();
    for ((_, record), label) in report.records().zip(&labels) {
        lines.extend(disturbances(label, &record.usage));
        if !record.complete {
            lines.push(format!(
                "{label} is incomplete: it was interrupted, or is still being measured."
            ));
        }
    }
    let machines = report.sources.iter().map(|s| match &s.content {
        Content::Bench(r) => &r.machine,
        Content::Profile(p) => &p.machine,
    });
    for line in machines.flat_map(facts::warnings) {
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    let mut cpus: Vec<_> = report
        .records()
        .map(|(_, r)| (&r.machine.cpu, r.machine.usable_threads))
        .collect();
    cpus.dedup();
    if cpus.len() > 1 {
        lines.push("The records come from different machines or different numbers of threads: absolute times cannot be compared.".into());
    } else if labels.len() > 1 {
        lines.push("Records of different runs are not paired: a difference of a few per cent between them means nothing.".into());
    }
    lines
}
