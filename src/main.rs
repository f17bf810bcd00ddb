//! The command line: parses, calls, prints.
#![forbid(unsafe_code)]

mod commands;
mod failure;
mod options;
mod output;
mod progress;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use commands::{
    bench, compare, completions, doctor, engines, kernels, models, profile, quantize, recommend,
    report, run, segment, trial,
};

/// Finds, tunes and runs the fastest medical-image segmentation network on the CPU at hand.
#[derive(Parser)]
#[command(
    name = "slicewise",
    version,
    after_help = "\
Examples:
  slicewise bench                          which network is fastest here, in a minute or two
  slicewise compare before.json after.json what has become faster or slower
  slicewise recommend                      which to take, and what to avoid
  slicewise report                         a page to look at and to send
  slicewise models list                    what there is to choose from
  slicewise engines add onnxruntime        one more engine to compare
  slicewise profile resnet18+fpn           where the time of a network goes
  slicewise segment ct.nii.gz -o labels.nii.gz --model organs.onnx
                                           a label map of a scan
  slicewise quantize resnet18+fpn --weights w.safetensors --calibrate slices -o resnet18.int8.onnx
  slicewise run mobilenetv4_conv_small+fpn --input x.npy --output labels.npy --task labels

Exit codes: 0 done, 1 failed, 2 bad usage, 3 something is slower (compare),
10 + n n scans failed (segment), 130 interrupted."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Bench(bench::Args),
    Compare(compare::Args),
    Recommend(recommend::Args),
    Report(report::Args),
    Models(models::Args),
    Run(run::Args),
    Segment(segment::Args),
    Quantize(quantize::Args),
    Profile(profile::Args),
    Kernels(kernels::Args),
    Doctor(doctor::Args),
    Engines(engines::Args),
    Completions(completions::Args),
    #[command(hide = true)]
    Trial(trial::Args),
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return failure::usage(&error, &Cli::command()),
    };
    engines::probe_libraries_in_children();
    let result = match cli.command {
        Command::Bench(args) => bench::run(&args),
        Command::Compare(args) => compare::run(&args),
        Command::Recommend(args) => recommend::run(&args),
        Command::Report(args) => report::run(&args),
        Command::Models(args) => models::run(&args),
        Command::Run(args) => run::run(&args),
        Command::Segment(args) => segment::run(&args),
        Command::Quantize(args) => quantize::run(&args),
        Command::Profile(args) => profile::run(&args),
        Command::Kernels(args) => kernels::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Engines(args) => engines::run(&args),
        Command::Completions(args) => completions::run(&args, &mut Cli::command()),
        Command::Trial(args) => trial::run(&args),
    };
    result.unwrap_or_else(|error| failure::report(&error))
}
