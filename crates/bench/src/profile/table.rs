//! A profile as tables of at most [`WIDTH`] columns.

use std::collections::BTreeMap;

use super::{EngineProfile, Found, OperationTime, ProfileRecord};
use crate::table::{Align, Table};

/// Columns that a table may take.
pub const WIDTH: usize = 120;
/// Columns that a name takes at least, however long the others are.
const NAME: usize = 14;
/// Columns that a kernel's name takes at most, and a list of operators.
const KERNEL: usize = 22;
const OPERATORS: usize = 16;

/// What a row stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum By {
    /// One operation of the leading engine.
    #[default]
    Step,
    /// All operations that one kernel computes.
    Kernel,
}

/// The profile as text: the rows asked for, the sums by kernel, and what there is to know of them.
pub fn render(record: &ProfileRecord, by: By) -> String {
    let Some((lead, others)) = record.engines.split_first() else {
        return String::new();
    };
    let mut text = String::new();
    if by == By::Step {
        text += &format!("{}\n", steps(lead, others));
    }
    text += &format!("{}\n", kernels(lead, others, record.roof.gflops));
    text + &caption(record, lead, others)
}

fn steps(lead: &EngineProfile, others: &[EngineProfile]) -> Table {
    let alone = others.is_empty();
    let mut columns = vec![("ms", Align::Right), ("share", Align::Right)];
    columns.extend(others.iter().map(|o| (short(&o.engine), Align::Right)));
    columns.extend([("GFLOP/s", Align::Right), ("peak", Align::Right)]);
    if alone {
        columns.push(("MB", Align::Right));
    }
    columns.extend([("GB/s", Align::Right), ("kernel", Align::Left)]);
    if alone {
        columns.push(("operators", Align::Left));
    }
    columns.extend([("output", Align::Left), ("name", Align::Left)]);

    let mut rows = Vec::new();
    for (i, o) in lead.operations.iter().enumerate() {
        let mut row = vec![milliseconds(o.ms), percent(o.share)];
        row.extend(
            others
                .iter()
                .map(|other| counterpart_ms(other, |at| at == i)),
        );
        row.extend([number(o.gflops, 0), o.of_peak.map_or_else(none, percent)]);
        if alone {
            row.push(number(o.bytes.map(|n| n as f64 * 1e-6), 2));
        }
        row.extend([number(o.gb_s, 1), shortened(o.kind(), KERNEL, true)]);
        if alone {
            row.push(shortened(&o.operators, OPERATORS, true));
        }
        row.extend([o.output.as_deref().map_or_else(none, sizes), o.name.clone()]);
        rows.push(row);
    }
    let blank = |cells: usize| vec![String::new(); cells];
    let names = columns.len() - 1;
    let mut extra = |lead_ms: String, others_ms: Vec<String>, name: &str| {
        let mut row = vec![lead_ms, String::new()];
        row.extend(others_ms);
        row.extend(blank(names - row.len()));
        row.push(name.to_owned());
        rows.push(row);
    };
    for (at, other) in others.iter().enumerate() {
        for (operators, (count, ms)) in without_counterpart(other) {
            let mut cells = blank(others.len());
            cells[at] = milliseconds(ms);
            extra(String::new(), cells, &format!("({count} {operators})"));
        }
    }
    let each = |f: &dyn Fn(&EngineProfile) -> f64| -> Vec<String> {
        others.iter().map(|o| milliseconds(f(o))).collect()
    };
    let between = |o: &EngineProfile| o.between_ms;
    let total = |o: &EngineProfile| o.total_ms;
    extra(milliseconds(between(lead)), each(&between), "(between)");
    extra(milliseconds(total(lead)), each(&total), "(total)");
    fitted(&columns, rows)
}

/// A table whose last column is shortened to what the others leave of [`WIDTH`].
fn fitted(columns: &[(&str, Align)], rows: Vec<Vec<String>>) -> Table {
    let last = columns.len() - 1;
    let width = |c: usize| {
        let cells = rows.iter().map(|row| row[c].chars().count());
        cells
            .chain([columns[c].0.chars().count()])
            .max()
            .unwrap_or(0)
    };
    let taken: usize = (0..last).map(|c| width(c) + 2).sum();
    let room = WIDTH.saturating_sub(taken).max(NAME);
    let mut table = Table::new(columns);
    for mut row in rows {
        row[last] = shortened(&row[last], room, false);
        table.row(row);
    }
    table
}

/// Sums of what one kernel computes.
#[derive(Default)]
struct Sum {
    count: usize,
    ms: f64,
    share: f64,
    macs: u64,
    bytes: u64,
    others: Vec<f64>,
}

fn kernels(lead: &EngineProfile, others: &[EngineProfile], peak: f64) -> Table {
    let mut columns = vec![("ms", Align::Right), ("share", Align::Right)];
    columns.extend(others.iter().map(|o| (short(&o.engine), Align::Right)));
    columns.extend([
        ("GFLOP/s", Align::Right),
        ("peak", Align::Right),
        ("MB", Align::Right),
        ("GB/s", Align::Right),
        ("steps", Align::Right),
        ("kernel", Align::Left),
    ]);
    let mut sums: BTreeMap<&str, Sum> = BTreeMap::new();
    for (i, o) in lead.operations.iter().enumerate() {
        let sum = sums.entry(o.kind()).or_default();
        sum.count += 1;
        sum.ms += o.ms;
        sum.share += o.share;
        sum.macs += o.macs.unwrap_or(0);
        sum.bytes += o.bytes.unwrap_or(0);
        sum.others.resize(others.len(), 0.0);
        for (total, other) in sum.others.iter_mut().zip(others) {
            *total += with_counterpart(other, |at| at == i)
                .map(|o| o.ms)
                .sum::<f64>();
        }
    }
    let mut sums: Vec<(&str, Sum)> = sums.into_iter().collect();
    sums.sort_by(|a, b| b.1.ms.total_cmp(&a.1.ms));
    let mut table = Table::new(&columns);
    for (kernel, sum) in sums {
        let rate = |n: f64| Some(n * 1e-6 / sum.ms).filter(|r| r.is_finite() && *r > 0.0);
        let gflops = rate(2.0 * sum.macs as f64);
        let mut row = vec![milliseconds(sum.ms), percent(sum.share)];
        row.extend(sum.others.iter().map(|&ms| milliseconds(ms)));
        row.extend([
            number(gflops, 0),
            gflops
                .filter(|_| peak > 0.0)
                .map_or_else(none, |g| percent(g / peak)),
            number((sum.bytes > 0).then_some(sum.bytes as f64 * 1e-6), 1),
            number(rate(sum.bytes as f64), 1),
            sum.count.to_string(),
            kernel.to_owned(),
        ]);
        table.row(row);
    }
    table
}

fn caption(record: &ProfileRecord, lead: &EngineProfile, others: &[EngineProfile]) -> String {
    let inputs: Vec<String> = record.inputs.iter().map(|s| by_x(s)).collect();
    let mut text = format!(
        "{} to {}, input {}\n{:.2} ms in the median, {:.2} ms at best of {} runs on {} {} with {} threads\n",
        record.model,
        record.task,
        inputs.join(" and "),
        lead.total_ms,
        lead.min_ms,
        lead.runs,
        lead.engine,
        lead.version,
        record.threads,
    );
    text += &format!(
        "peak: {:.0} GFLOP/s with {}, {:.1} GB/s read from memory, measured just now on as many threads\n",
        record.roof.gflops, record.roof.isa, record.roof.read_gb_s,
    );
    for other in others {
        let sum = |found| -> (usize, f64) {
            let matched = other.operations.iter();
            let matched = matched.filter(|o| o.counterpart.map(|c| c.found) == found);
            matched.fold((0, 0.0), |(n, ms), o| (n + 1, ms + o.ms))
        };
        let (named, placed, alone) = (sum(Some(Found::Name)), sum(Some(Found::Place)), sum(None));
        text += &format!(
            "{} {}: {:.2} ms, {:.2}x as long\n  {} operations ({:.2} ms) matched by name, {} \
             ({:.2} ms) by their place, {} ({:.2} ms) without counterpart\n",
            other.engine,
            other.version,
            other.total_ms,
            other.total_ms / lead.total_ms,
            named.0,
            named.1,
            placed.0,
            placed.1,
            alone.0,
            alone.1,
        );
    }
    if !others.is_empty() {
        text += "'-': done in another operation there. Engines draw the lines between operations \
                 differently;\nthe totals are what can be compared.\n";
    }
    text
}

fn with_counterpart(
    other: &EngineProfile,
    of: impl Fn(usize) -> bool,
) -> impl Iterator<Item = &OperationTime> {
    let is = move |o: &&OperationTime| o.counterpart.is_some_and(|c| of(c.operation));
    other.operations.iter().filter(is)
}

fn counterpart_ms(other: &EngineProfile, of: impl Fn(usize) -> bool) -> String {
    let times: Vec<f64> = with_counterpart(other, of).map(|o| o.ms).collect();
    match times.is_empty() {
        true => none(),
        false => milliseconds(times.iter().sum()),
    }
}

/// Number and time of what has no counterpart, by operator.
fn without_counterpart(other: &EngineProfile) -> BTreeMap<&str, (usize, f64)> {
    let mut sums: BTreeMap<&str, (usize, f64)> = BTreeMap::new();
    for o in other.operations.iter().filter(|o| o.counterpart.is_none()) {
        let sum = sums.entry(&o.operators).or_default();
        *sum = (sum.0 + 1, sum.1 + o.ms);
    }
    sums
}

/// An engine's name as a column's header.
fn short(engine: &str) -> &str {
    match engine {
        "onnxruntime" => "ort",
        other => other,
    }
}

fn none() -> String {
    "-".into()
}

fn milliseconds(ms: f64) -> String {
    format!("{ms:.3}")
}

fn percent(part: f64) -> String {
    format!("{:.0}%", 100.0 * part)
}

fn number(value: Option<f64>, decimals: usize) -> String {
    value.map_or_else(none, |v| format!("{v:.decimals$}"))
}

fn by_x(sizes: &[usize]) -> String {
    let sizes: Vec<String> = sizes.iter().map(usize::to_string).collect();
    sizes.join("x")
}

/// The sizes of a type and shape (`f32 [1, 8, 4]` as `1x8x4`), with the type if it is not f32.
fn sizes(output: &str) -> String {
    let (dtype, shape) = output.split_once(' ').unwrap_or(("", output));
    let sizes = shape.trim_matches(['[', ']']).replace(", ", "x");
    match dtype {
        "f32" => sizes,
        _ => format!("{sizes} {dtype}"),
    }
}

/// A text in at most `room` characters: its beginning, or else its end.
fn shortened(text: &str, room: usize, beginning: bool) -> String {
    let n = text.chars().count();
    if n <= room {
        return text.to_owned();
    }
    let keep = room.saturating_sub(1);
    match beginning {
        true => text.chars().take(keep).chain(['…']).collect(),
        false => ['…']
            .into_iter()
            .chain(text.chars().skip(n - keep))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Counterpart, Roof, match_engines};
    use super::*;
    use crate::machine::Machine;

    fn operation(name: &str, operators: &str, ms: f64) -> OperationTime {
        OperationTime {
            name: name.into(),
            operators: operators.into(),
            nodes: vec![name.into()],
            output: Some("f32 [1, 64, 128, 128]".into()),
            macs: Some(1_000_000),
            bytes: Some(2_000_000),
            ms,
            share: ms / 10.0,
            ..OperationTime::default()
        }
    }

    fn engine(name: &str, operations: Vec<OperationTime>) -> EngineProfile {
        EngineProfile {
            engine: name.into(),
            version: "1".into(),
            runs: 3,
            total_ms: 10.0,
            min_ms: 9.0,
            between_ms: 10.0 - operations.iter().map(|o| o.ms).sum::<f64>(),
            operations,
        }
    }

    fn record(engines: Vec<EngineProfile>) -> ProfileRecord {
        ProfileRecord {
            kind: super::super::KIND.into(),
            schema: super::super::SCHEMA,
            slicewise: "0".into(),
            started: String::new(),
            model: "m".into(),
            task: "labels".into(),
            precision: "f32".into(),
            threads: 2,
            inputs: vec![vec![1, 3, 8, 8]],
            roof: Roof {
                isa: "avx2".into(),
                gflops: 100.0,
                read_gb_s: 10.0,
            },
            machine: Machine::default(),
            engines,
        }
    }

    #[test]
    fn a_row_of_another_engine_adds_up_to_its_total() {
        let lead = engine(
            "native",
            vec![
                operation("conv", "Conv", 4.0),
                operation("up", "Resize", 5.0),
            ],
        );
        let others = vec![
            operation("reorder", "Reorder", 1.5),
            operation("conv_nchwc", "Conv", 6.0),
            operation("up", "Resize", 2.0),
        ];
        let mut engines = vec![lead, engine("onnxruntime", others)];
        match_engines(&mut engines);
        let counterpart = engines[1].operations[1].counterpart;
        assert_eq!(counterpart.map(|c: Counterpart| c.operation), Some(0));
        let text = render(&record(engines), By::Step);
        let column = |line: &str| line.split_whitespace().nth(2).map(str::to_owned);
        let line = |name: &str| text.lines().find(|l| l.ends_with(name)).expect(name);
        assert_eq!(column(line("  conv")).as_deref(), Some("6.000"));
        assert!(line("(1 Reorder)").trim().starts_with("1.500"));
        assert!(line("(between)").contains("0.500"));
        assert!(line("(total)").contains("10.000"));
        assert!(text.contains("2 operations (8.00 ms) matched by name"));
    }

    #[test]
    fn no_line_is_wider_than_the_screen() {
        let long = "encoder.blocks.3.12.very_long_name_of_a_layer/relu/add/concat/resize/and/so/on";
        let mut step = operation(long, "Conv+HardSwish+Add+Relu+Resize", 123.456);
        step.kernel = Some("transposed convolution 3d".into());
        step.output = Some("f32 [1, 1024, 128, 128, 128]".into());
        for others in [vec![], vec!["onnxruntime", "openvino"]] {
            let mut engines = vec![engine("native", vec![step.clone()])];
            engines.extend(others.iter().map(|n| engine(n, vec![step.clone()])));
            match_engines(&mut engines);
            let text = render(&record(engines), By::Step);
            let tables = text.split("\nm to labels").next().unwrap_or_default();
            let widest = tables.lines().map(|l| l.chars().count()).max();
            assert!(widest <= Some(WIDTH), "{text}");
            assert!(text.contains("/so/on"), "{text}");
        }
    }
}
