//! `slicewise recommend [RECORD]`

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::bail;
use slicewise_bench::recommend::{self, Advice, Limits};
use slicewise_bench::record::Record;
use slicewise_bench::report;

use crate::options;
use crate::output;

/// Say which network to take on this machine, for which use, and what to avoid.
///
/// Everything follows from one record of `slicewise bench`: the fastest network, the fastest for its
/// size, the fastest ResNet, the fastest U-Net, the one that needs least memory, what is beaten and by how
/// much, and the networks that no other beats in speed, parameters and memory at once. Accuracy is
/// shown where it was measured; nothing is claimed.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  slicewise recommend                                  from the newest record in slicewise-bench/
  slicewise recommend results/fpn.json --top 3
  slicewise recommend --max-params 5 --min-speed 20 --memory 500
  slicewise recommend results/quantization.json --keep-accuracy 0.99
  slicewise recommend --json | jq '.uses[0].choices[0].arm.model'

Limits that nobody meets end with exit code 1 and the nearest miss.")]
pub(crate) struct Args {
    /// A record of slicewise bench [default: the newest in slicewise-bench/]
    record: Option<PathBuf>,
    /// The most parameters, in millions
    #[arg(long, value_name = "M", value_parser = options::positive)]
    max_params: Option<f64>,
    /// The fewest images (or volumes) per second
    #[arg(long, value_name = "IMG/S", value_parser = options::positive)]
    min_speed: Option<f64>,
    /// The most peak memory, in MiB; what was not measured does not count as little
    #[arg(long, value_name = "MB", value_parser = options::positive)]
    memory: Option<f64>,
    /// The least that an arm keeps of full precision's answers, from 0 to 1: the smallest of label agreement,
    /// foreground agreement and mean Dice. What was not measured stays and says so
    #[arg(long, value_name = "SHARE", value_parser = share)]
    keep_accuracy: Option<f64>,
    /// Models for each use
    #[arg(long, value_name = "N", default_value_t = 1,
        value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=1000))]
    top: usize,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|v| (0.0..=1.0).contains(v));
    share.ok_or_else(|| "write a share from 0 to 1, like 0.99".to_owned())
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let (path, record) = match &args.record {
        Some(path) => (path.clone(), Record::load(path)?),
        None => report::newest_record(Path::new("slicewise-bench"))?,
    };
    let limits = Limits {
        max_params: args.max_params,
        min_speed: args.min_speed,
        memory: args.memory,
        keep_accuracy: args.keep_accuracy,
    };
    let advice = recommend::advise(&path.display().to_string(), &record, &limits, args.top);
    if args.json {
        output::print_json(&advice)?;
    } else {
        output::print(format!(
            "{}\n{}",
            heading(&advice, &record),
            recommend::render(&advice)
        ))?;
    }
    if advice.nearest_miss.is_some() {
        bail!("no arm of {} is within the limits", path.display());
    }
    if advice.candidates == "nothing" {
        bail!("{} holds no measured arm", path.display());
    }
    Ok(ExitCode::SUCCESS)
}

/// Which record speaks.
fn heading(advice: &Advice, record: &Record) -> String {
    let incomplete = if record.complete { "" } else { "; incomplete" };
    format!(
        "{}: {}, {} on {}{incomplete}\n",
        advice.record,
        advice.candidates,
        advice.started,
        advice.cpu.as_deref().unwrap_or("an unknown CPU")
    )
}
