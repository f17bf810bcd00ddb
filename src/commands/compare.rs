//! `slicewise compare A B`

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{anyhow, bail};
use slicewise_bench::compare::{self, Common, Compared, Yardstick};
use slicewise_bench::record::{Arm, Record};
use slicewise_bench::table::{Align, Table};
use slicewise_bench::verdict::Verdict;

use crate::failure::Usage;
use crate::output;

/// The exit code if something is slower or broken: distinct from failure and bad usage.
const WORSE: u8 = 3;

/// Compare two records arm by arm: FASTER, SLOWER, SAME or INCONCLUSIVE.
///
/// Ratios are times of B in units of A's. Two records were made at different times: what everything
/// moved by is taken off and told apart, and a difference counts only beyond the noise floors of both and
/// beyond what arms whose code is the same scatter by. More rounds make it sharper: `bench --rounds 40`.
/// Several pairs of records, each of other processes, make it surer: an arm is FASTER or SLOWER if every
/// pair says so.
///
/// With --between, two engines (or ENGINE:PRECISION) are compared within one record, in pairs of visits of
/// the same rounds, which is sharper than any two records can be.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  slicewise compare before/quick.json after/quick.json
  slicewise compare main.json branch.json --json > verdict.json
  slicewise compare main1.json branch1.json main2.json branch2.json
  slicewise compare slicewise-bench/fpn.json --between onnxruntime,native

Exit codes: 0 nothing is slower, 1 failed, 2 bad usage, 3 something is slower or no longer works.")]
pub(crate) struct Args {
    /// The record before and the one after; several pairs if one change has to recur
    #[arg(required = true, value_name = "RECORD")]
    records: Vec<PathBuf>,
    /// Two engines within one record
    #[arg(long, value_delimiter = ',', value_name = "E,F", num_args = 1)]
    between: Vec<String>,
    /// Print the comparison as JSON instead of the table
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let compared = match (args.between.is_empty(), &args.records[..]) {
        (false, [record]) => within(&Record::load(record)?, &args.between)?,
        (false, _) => bail!(Usage("--between takes one record".into())),
        (true, records) => pairs(records)?,
    };
    if compared.changes.is_empty() && compared.broken.is_empty() {
        bail!(
            "the records have no measured arm in common; arms are the same if model, engine, precision, threads, task, input and classes are"
        );
    }
    match args.json {
        true => output::print_json(&compared)?,
        false => show(&compared)?,
    }
    let code = if compared.is_worse() { WORSE } else { 0 };
    Ok(ExitCode::from(code))
}

fn pairs(records: &[PathBuf]) -> anyhow::Result<Compared> {
    let (pairs, []) = records.as_chunks::<2>() else {
        bail!(Usage(
            "write records in pairs, A B or A B A2 B2, or one record with --between".into()
        ));
    };
    let mut compared = Vec::new();
    for [a, b] in pairs {
        compared.push(compare::between(&Record::load(a)?, &Record::load(b)?));
    }
    compare::recurring(compared).ok_or_else(|| anyhow!("no records"))
}

fn within(record: &Record, between: &[String]) -> anyhow::Result<Compared> {
    let [from, to] = between else {
        bail!(Usage(
            "--between: write two engines, as in --between onnxruntime,native".into()
        ));
    };
    let is = |name: &str| {
        let name = name.to_owned();
        move |arm: &Arm| match name.split_once(':') {
            Some((engine, precision)) => arm.engine == engine && arm.precision == precision,
            None => arm.engine == name,
        }
    };
    for name in [from, to] {
        if !record.arms.iter().any(|arm| is(name)(arm)) {
            bail!(Usage(format!(
                "--between: the record has no arm of '{name}'"
            )));
        }
    }
    Ok(compare::within(record, &is(from), &is(to)))
}

fn show(compared: &Compared) -> std::io::Result<()> {
    use Align::{Left, Right};
    let mut table = Table::new(&[
        ("model", Left),
        ("on", Left),
        ("A ms", Right),
        ("B ms", Right),
        ("change", Right),
        ("95% interval", Right),
        ("margin", Right),
        ("verdict", Left),
    ]);
    for change in &compared.changes {
        let c = &change.comparison;
        let interval = c
            .interval
            .map(|i| format!("{}..{}", percent(i.low), percent(i.high)));
        table.row([
            change.model.clone(),
            change.place.clone(),
            format!("{:.2}", change.a_ms),
            format!("{:.2}", change.b_ms),
            percent(c.ratio),
            interval.unwrap_or_else(|| "-".into()),
            format!("{:.1}%", 100.0 * c.margin),
            c.verdict.to_string(),
        ]);
    }
    output::print(&table)?;
    let mut lines = Vec::new();
    lines.extend(compared.common.as_ref().map(common));
    lines.push(summary(compared));
    for broken in &compared.broken {
        lines.push(format!(
            "no longer works: {}: {}",
            broken.arm, broken.reason
        ));
    }
    for (side, arms) in [("A", &compared.only_a), ("B", &compared.only_b)] {
        lines.extend(arms.iter().map(|arm| format!("only in {side}: {arm}")));
    }
    lines.extend(compared.remarks.iter().cloned());
    output::print(format!("\n{}\n", lines.join("\n")))
}

/// A time ratio as a change: `+5.0%` is slower.
fn percent(ratio: f64) -> String {
    format!("{:+.1}%", 100.0 * (ratio - 1.0))
}

fn common(common: &Common) -> String {
    let yardstick = match common.yardstick {
        Yardstick::Unchanged => "of code that is the same in both: the machine's doing",
        Yardstick::All => "of all arms: the machine's doing or the program's",
        Yardstick::Reference => "of the reference arm: the machine's doing or the program's",
    };
    let c = &common.comparison;
    let mut text = format!(
        "common shift, taken off above: {} {yardstick}: {} (margin {:.1}%)",
        percent(c.ratio),
        c.verdict,
        100.0 * c.margin
    );
    if let Some(scatter) = common.scatter {
        text += &format!("; {} arms scatter by {:.1}%", common.arms, 100.0 * scatter);
    }
    text
}

fn summary(compared: &Compared) -> String {
    let count = |verdict: Verdict| {
        let is = |c: &&compare::Change| c.comparison.verdict == verdict;
        compared.changes.iter().filter(is).count()
    };
    let how = if compared.paired {
        "paired"
    } else {
        "unpaired"
    };
    format!(
        "{} arms, {how}: {} faster, {} slower, {} the same, {} inconclusive",
        compared.changes.len(),
        count(Verdict::Faster),
        count(Verdict::Slower),
        count(Verdict::Same),
        count(Verdict::Inconclusive)
    )
}
