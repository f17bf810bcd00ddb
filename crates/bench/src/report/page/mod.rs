//! The report as one page: no network, no other file, of use without its script.

mod facts;
mod profile;
mod summary;
mod table;

use maud::{DOCTYPE, Markup, PreEscaped, html};
use serde_json::Value;

use super::group::Group;
use super::plot::{Plot, theme};
use super::{Report, plots, volumes};

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

/// The whole page.
pub(super) fn html(report: &Report) -> String {
    let groups = Group::all(report);
    let sections = sections(report, &groups);
    let style = theme::properties(":root") + STYLE + &theme::page_rules();
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width,initial-scale=1";
                meta name="generator" content={ "slicewise " (env!("CARGO_PKG_VERSION")) };
                title { (title(report)) }
                link rel="icon" href="data:,";
                style { (PreEscaped(style)) }
            }
            body {
                a.skip href="#main" { "Skip to the report" }
                header {
                    div {
                        h1 { (title(report)) }
                        p.soft { (facts::provenance(report)) }
                    }
                    button #theme type="button" hidden { "Dark" }
                }
                nav aria-label="Sections" {
                    @for section in &sections { a href={ "#" (section.id) } { (section.short) } }
                }
                main #main {
                    @for section in &sections {
                        section id=(section.id) aria-labelledby={ (section.id) "-title" } {
                            h2 id={ (section.id) "-title" } { (section.title) }
                            (section.body)
                        }
                    }
                }
                footer { p.soft { "Made by slicewise " (env!("CARGO_PKG_VERSION")) ". This file is complete: it needs no network and no other file." } }
                @for (i, source) in report.sources.iter().enumerate() {
                    script type="application/json" id={ "source-" (i) } data-file=(source.file) { (PreEscaped(json(&source.json))) }
                }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    };
    page.into_string()
}

/// JSON that no parser of HTML takes for anything else.
fn json(value: &Value) -> String {
    value
        .to_string()
        .replace('<', "\\u003c")
        .replace('\u{2028}', "\\u2028")
        .replace('\u{2029}', "\\u2029")
}

/// A part of the page.
struct Section {
    id: String,
    /// Its name in the navigation.
    short: String,
    title: String,
    body: Markup,
}

impl Section {
    fn new(
        id: impl Into<String>,
        short: impl Into<String>,
        title: impl Into<String>,
        body: Markup,
    ) -> Section {
        Section {
            id: id.into(),
            short: short.into(),
            title: title.into(),
            body,
        }
    }
}

fn title(report: &Report) -> String {
    let mut suites: Vec<String> = report
        .records()
        .map(|(_, r)| super::name(&r.suite))
        .collect();
    suites.dedup();
    match suites.is_empty() {
        true => "Profile".into(),
        false => format!("Benchmark: {}", suites.join(", ")),
    }
}

fn sections(report: &Report, groups: &[Group]) -> Vec<Section> {
    let summary = summary::words(report, groups);
    let mut all = vec![Section::new("summary", "Summary", "Summary", summary)];
    for group in groups {
        all.push(Section::new(
            group.slug.clone(),
            group.slug.clone(),
            group.title.clone(),
            arms(report, group),
        ));
    }
    let volumes = volumes::plots(report, groups);
    if !volumes.is_empty() {
        let body = html! { @for plot in &volumes { (figure(plot)) } };
        let (short, title) = ("2D against 3D", "Slices against volumes");
        all.push(Section::new("volumes", short, title, body));
    }
    for (i, (source, record)) in report.profiles().enumerate() {
        let title = format!("Profile of {}", super::name(&record.model));
        all.push(Section::new(
            format!("profile-{i}"),
            "Profile",
            title,
            profile::section(source, record, i),
        ));
    }
    let machine = facts::machines(report);
    all.push(Section::new("machine", "Machine", "Machine", machine));
    all.push(Section::new(
        "commands",
        "Commands",
        "Commands",
        facts::commands(report),
    ));
    all.push(Section::new("data", "Data", "Data", facts::data(report)));
    all
}

/// Plots and table of a group.
fn arms(report: &Report, group: &Group) -> Markup {
    let plots = plots::of_group(report, group);
    let is = |p: &&Plot, names: &[&str]| {
        let own = p
            .name
            .strip_prefix(&format!("{}-", group.slug))
            .unwrap_or(&p.name);
        names.iter().any(|n| own.starts_with(n))
    };
    let first = |p: &&Plot| is(p, &["latency", "speed-up", "decoders", "decoder-size"]);
    let scatters = |p: &&Plot| is(p, &["scatter"]);
    let rest: Vec<&Plot> = plots.iter().filter(|p| !first(p) && !scatters(p)).collect();
    html! {
        @for plot in plots.iter().filter(first) { (figure(plot)) }
        @for plot in plots.iter().filter(scatters) { (figure(plot)) }
        (table::arms(report, group))
        @if !rest.is_empty() {
            details {
                summary { "More plots: throughput, efficiency, memory" }
                @for plot in rest { (figure(plot)) }
            }
        }
    }
}

/// A plot with its title and how to read it.
fn figure(plot: &Plot) -> Markup {
    html! {
        figure {
            figcaption {
                h3 { (plot.title) }
                p.soft { (plot.note) }
            }
            (plot.inline())
        }
    }
}

#[cfg(test)]
mod tests;
