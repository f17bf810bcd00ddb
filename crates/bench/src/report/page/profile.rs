//! A profile on the page: its plots, and every step as a table.

use maud::{Markup, html};

use super::table::{Cell, Column, table};
use crate::profile::{OperationTime, ProfileRecord};
use crate::recommend::figure;
use crate::report::row::name;
use crate::report::{Source, profiles};

pub(super) fn section(source: &Source, profile: &ProfileRecord, index: usize) -> Markup {
    html! {
        p.soft { (profiles::caption(profile)) }
        ul {
            @for engine in &profile.engines {
                li {
                    (name(&engine.engine)) " " (name(&engine.version)) ": " (figure(engine.total_ms)) " ms, median of "
                    (engine.runs) " runs; fastest " (figure(engine.min_ms)) " ms; " (figure(engine.between_ms)) " ms between the steps"
                }
            }
        }
        @for plot in profiles::plots(source, profile) { (super::figure(&plot)) }
        @if let Some(lead) = profile.engines.first() {
            @let steps: Vec<(usize, &OperationTime)> = lead.operations.iter().enumerate().collect();
            details {
                summary { "All " (steps.len()) " steps" }
                (table(&format!("steps-{index}"), &format!("Steps of {} on {}", name(&profile.model), name(&lead.engine)), &columns(), &steps, |_| ""))
            }
        }
    }
}

type Step<'a> = (usize, &'a OperationTime);

fn columns<'a>() -> [Column<Step<'a>>; 11] {
    [
        Column {
            name: "Step",
            key: "name",
            number: false,
            cell: |(_, o)| Cell::text(name(&o.name)),
        },
        Column {
            name: "#",
            key: "step",
            number: true,
            cell: |(i, _)| Cell::number(Some(*i as f64 + 1.0), |n| n.to_string()),
        },
        Column {
            name: "ms",
            key: "ms",
            number: true,
            cell: |(_, o)| Cell::number(Some(o.ms), |v| format!("{v:.3}")),
        },
        Column {
            name: "Share",
            key: "share",
            number: true,
            cell: |(_, o)| Cell::number(Some(o.share), |v| format!("{:.1} %", 100.0 * v)),
        },
        Column {
            name: "GFLOP/s",
            key: "gflops",
            number: true,
            cell: |(_, o)| Cell::number(o.gflops, figure),
        },
        Column {
            name: "Of peak",
            key: "peak",
            number: true,
            cell: |(_, o)| Cell::number(o.of_peak, |v| format!("{:.0} %", 100.0 * v)),
        },
        Column {
            name: "GB/s",
            key: "gb_s",
            number: true,
            cell: |(_, o)| Cell::number(o.gb_s, figure),
        },
        Column {
            name: "MMAC",
            key: "macs",
            number: true,
            cell: |(_, o)| Cell::number(o.macs.map(|m| m as f64 * 1e-6), figure),
        },
        Column {
            name: "Kernel",
            key: "kernel",
            number: false,
            cell: |(_, o)| Cell::text(profiles::kind(o)),
        },
        Column {
            name: "Operators",
            key: "operators",
            number: false,
            cell: |(_, o)| Cell::text(name(&o.operators)),
        },
        Column {
            name: "Output",
            key: "output",
            number: false,
            cell: |(_, o)| Cell::text(o.output.as_deref().map_or("–".into(), name)),
        },
    ]
}
