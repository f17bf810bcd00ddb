//! `slicewise trial ARM`: what `bench` starts in a process of its own to try an arm and to see how
//! much memory it takes. Not for people.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, anyhow};
use slicewise_bench::lab;

use crate::output;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The arm, as a record describes it in JSON
    arm: String,
    /// An ONNX file of its model; without it, the model is built
    model: Option<PathBuf>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let arm = serde_json::from_str(&args.arm).context("the arm is not what a record holds")?;
    let trial = lab::try_here(&arm, args.model.as_deref()).map_err(|e| anyhow!(e))?;
    output::print(serde_json::to_string(&trial)? + "\n")?;
    Ok(ExitCode::SUCCESS)
}
