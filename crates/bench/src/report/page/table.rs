//! Tables that can be sorted: every figure's exact value stands beside the rounded one.

use maud::{Markup, html};

use crate::accuracy::{Accuracy, finite, share};
use crate::recommend::figure;
use crate::report::row::Row;
use crate::report::{Group, Report};

/// A cell: what is shown, and what it is sorted by where that is a number.
pub(super) struct Cell {
    shown: String,
    value: Option<f64>,
}

impl Cell {
    pub(super) fn text(shown: impl Into<String>) -> Cell {
        Cell {
            shown: shown.into(),
            value: None,
        }
    }

    pub(super) fn number(value: Option<f64>, shown: fn(f64) -> String) -> Cell {
        Cell {
            shown: value.map_or("–".into(), shown),
            value,
        }
    }
}

/// A column: its header, whether it holds numbers, and its cells.
pub(super) struct Column<T> {
    pub(super) name: &'static str,
    pub(super) key: &'static str,
    pub(super) number: bool,
    pub(super) cell: fn(&T) -> Cell,
}

/// A table of `items`; the first column names the rows.
pub(super) fn table<T>(
    id: &str,
    caption: &str,
    columns: &[Column<T>],
    items: &[T],
    class: fn(&T) -> &'static str,
) -> Markup {
    html! {
        div.scroll tabindex="0" role="region" aria-label=(caption) {
            table id=(id) {
                caption { (caption) }
                thead {
                    tr {
                        @for column in columns {
                            th scope="col" class=(if column.number { "number" } else { "" }) { button type="button" disabled { (column.name) } }
                        }
                    }
                }
                tbody {
                    @for item in items {
                        tr class=(class(item)) {
                            @for (i, column) in columns.iter().enumerate() {
                                @let cell = (column.cell)(item);
                                @let value = cell.value.map(|v| v.to_string());
                                @let class = if column.number { "number" } else { "" };
                                @if i == 0 {
                                    th scope="row" data-key=(column.key) { (cell.shown) }
                                } @else {
                                    td class=(class) data-key=(column.key) data-value=[value] { (cell.shown) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn arm_columns(group: &Group) -> Vec<Column<(String, Row)>> {
    let mut columns: Vec<Column<(String, Row)>> = vec![
        Column {
            name: "Model",
            key: "model",
            number: false,
            cell: |(_, r)| Cell::text(&r.model),
        },
        Column {
            name: "On",
            key: "series",
            number: false,
            cell: |(s, _)| Cell::text(s),
        },
        Column {
            name: "Status",
            key: "status",
            number: false,
            cell: |(_, r)| Cell::text(r.status),
        },
        Column {
            name: "ms",
            key: "ms",
            number: true,
            cell: |(_, r)| Cell::number(r.ms, figure),
        },
        Column {
            name: "95 % interval",
            key: "interval",
            number: true,
            cell: |(_, r)| Cell {
                shown: match (r.interval, r.ms) {
                    (Some(i), _) => format!("{}–{}", figure(i.low), figure(i.high)),
                    (None, Some(_)) => "not measured".into(),
                    (None, None) => "–".into(),
                },
                value: r.interval.map(|i| i.low),
            },
        },
        Column {
            name: "img/s",
            key: "throughput",
            number: true,
            cell: |(_, r)| Cell::number(r.speed, figure),
        },
        Column {
            name: "Params M",
            key: "params",
            number: true,
            cell: |(_, r)| Cell::number(r.params, figure),
        },
        Column {
            name: "img/s/M",
            key: "efficiency",
            number: true,
            cell: |(_, r)| Cell::number(r.efficiency, figure),
        },
        Column {
            name: "GMAC",
            key: "gmacs",
            number: true,
            cell: |(_, r)| Cell::number(r.gmacs, figure),
        },
        Column {
            name: "Memory MB",
            key: "memory",
            number: true,
            cell: |(_, r)| Cell::number(r.memory, |m| format!("{m:.0}")),
        },
        Column {
            name: "Runs",
            key: "runs",
            number: true,
            cell: |(_, r)| Cell::number(r.runs.map(|n| n as f64), |n| n.to_string()),
        },
    ];
    if group.rows.iter().any(|r| r.volume) {
        columns[5].name = "vol/s";
        columns[7].name = "vol/s/M";
        columns.insert(
            6,
            Column {
                name: "Equiv img/s",
                key: "equivalent",
                number: true,
                cell: |(_, r)| Cell::number(r.equivalent, figure),
            },
        );
    }
    // Beside the times.
    columns.splice(5..5, columns_of_some(group));
    columns
}

/// Columns that only some records have figures for.
fn columns_of_some(group: &Group) -> Vec<Column<(String, Row)>> {
    let mut columns: Vec<Column<(String, Row)>> = Vec::new();
    if group.rows.iter().any(|r| r.verdict.is_some()) {
        columns.push(Column {
            name: "Time to reference",
            key: "verdict",
            number: true,
            cell: |(_, r)| match r.verdict {
                _ if r.reference => Cell::text("reference"),
                Some(v) => Cell {
                    shown: format!("{}× {}", figure(v.ratio), v.verdict),
                    value: Some(v.ratio),
                },
                None => Cell::text("–"),
            },
        });
    }
    if group.rows.iter().any(|r| r.percentiles[0].is_some()) {
        columns.push(Column {
            name: "p90 ms",
            key: "p90",
            number: true,
            cell: |(_, r)| Cell::number(r.percentiles[0], figure),
        });
    }
    if group.rows.iter().any(|r| r.percentiles[1].is_some()) {
        columns.push(Column {
            name: "p99 ms",
            key: "p99",
            number: true,
            cell: |(_, r)| Cell::number(r.percentiles[1], figure),
        });
    }
    for (i, (name, _, of)) in Accuracy::FIGURES.into_iter().enumerate() {
        let value = |r: &Row| finite(r.accuracy.as_ref().and_then(of));
        if group.rows.iter().any(|r| value(r).is_some()) {
            columns.push(Column {
                name,
                key: name,
                number: true,
                cell: ACCURACY[i],
            });
        }
    }
    if group.rows.iter().any(|r| r.scan.is_some()) {
        columns.push(Column {
            name: "s per scan",
            key: "scan",
            number: true,
            cell: |(_, r)| Cell::number(r.scan.map(|s| s.network_seconds), figure),
        });
    }
    columns
}

/// What stands in a column for an arm.
type CellOf = fn(&(String, Row)) -> Cell;

/// Cells of [`Accuracy::FIGURES`].
const ACCURACY: [CellOf; 5] = [
    |(_, r)| accuracy(r, 0, share),
    |(_, r)| accuracy(r, 1, share),
    |(_, r)| accuracy(r, 2, share),
    |(_, r)| accuracy(r, 3, share),
    |(_, r)| accuracy(r, 4, figure),
];

fn accuracy(row: &Row, figure: usize, shown: fn(f64) -> String) -> Cell {
    let value = row.accuracy.as_ref().and_then(Accuracy::FIGURES[figure].2);
    Cell::number(finite(value), shown)
}

/// All arms of a group, the fastest first, those without figures last, with their reasons below.
pub(super) fn arms(report: &Report, group: &Group) -> Markup {
    let same_threads = group.rows.windows(2).all(|w| w[0].threads == w[1].threads);
    let place = |r: &Row| match (group.series_of(r), same_threads) {
        (Some(series), _) => group.series[series].label.clone(),
        (None, true) => r.mode(),
        (None, false) => r.place(),
    };
    let mut rows: Vec<(String, Row)> = group.rows.iter().map(|r| (place(r), r.clone())).collect();
    rows.sort_by(|a, b| {
        b.1.speed
            .unwrap_or(0.0)
            .total_cmp(&a.1.speed.unwrap_or(0.0))
    });
    let caption = format!("All arms, {}", group.slug);
    let id = format!("{}-arms", group.slug);
    let class = |(_, row): &(String, Row)| match (row.wrong, row.is_measured()) {
        (true, _) => "wrong",
        (_, true) => "",
        (_, false) => "unranked",
    };
    html! {
        (table(&id, &caption, &arm_columns(group), &rows, class))
        (reasons(report, group))
    }
}

/// Why arms have no figures, and remarks on those that have; alike ones share a line.
fn reasons(report: &Report, group: &Group) -> Markup {
    let labels = report.labels();
    let many = labels.len() > 1;
    let mut lines: Vec<(String, Vec<&str>)> = Vec::new();
    for row in &group.rows {
        let why = match (row.is_measured(), &row.reason) {
            (true, None) => continue,
            (_, Some(reason)) => format!("{}: {reason}", row.status),
            (false, None) => row.status.to_owned(),
        };
        let record = if many {
            format!(" ({})", labels.get(row.record).map_or("?", |l| l))
        } else {
            String::new()
        };
        let line = format!("{}{record}: {why}", row.place());
        match lines.iter_mut().find(|(l, _)| *l == line) {
            Some((_, models)) => models.push(&row.model),
            None => lines.push((line, vec![&row.model])),
        }
    }
    html! {
        @if !lines.is_empty() {
            details {
                summary { "Remarks, and arms without figures" }
                ul {
                    @for (line, models) in lines {
                        li { (line) " — " span.soft { (models.join(", ")) } }
                    }
                }
            }
        }
    }
}
