//! `slicewise run MODEL|F.onnx`

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::bail;
use serde::Serialize;
use slicewise_bench::machine;
use slicewise_engines::{self as engines, CompileOptions, Precision};
use slicewise_graph::{DType, Graph, Task, Tensor, npy};
use slicewise_segment::bundle;
use slicewise_zoo as zoo;

use super::models;
use crate::failure::Usage;
use crate::options;
use crate::output;

/// Run a network once, or time it, on an array from a .npy file.
///
/// The input is [N, 3, H, W] for images or [N, 1, D, H, W] for volumes, float32; its sizes are read from the
/// file. Logits are written as float32 [N, classes, ...], labels as uint8 or uint16 [N, ...].
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  slicewise run resnet18+fpn --weights resnet18_fpn.safetensors --input x.npy --output labels.npy --task labels
  slicewise run model.onnx --input x.npy --output logits.npy --engine onnxruntime --repeat 20")]
pub(crate) struct Args {
    /// A model's name, a bundle, or any ONNX file
    model: String,
    /// The input
    #[arg(long, value_name = "X.npy")]
    input: PathBuf,
    /// Where the result goes
    #[arg(long, value_name = "Y.npy")]
    output: PathBuf,
    /// The model's weights; without them a deterministic fill stands in
    #[arg(long, value_name = "F.safetensors")]
    weights: Option<PathBuf>,
    /// Classes of the head [default: 117, 1000 for an encoder alone]
    #[arg(long, value_name = "N")]
    classes: Option<usize>,
    /// native, onnxruntime, openvino, torch or torch-compile
    #[arg(long, default_value = "native")]
    engine: String,
    /// f32, bf16 or int8
    #[arg(long, default_value_t = Precision::F32)]
    precision: Precision,
    /// Threads [default: all that this process may use]
    #[arg(long, value_name = "N", value_parser = options::threads)]
    threads: Option<usize>,
    /// logits or labels
    #[arg(long, default_value_t = Task::Logits)]
    task: Task,
    /// Run N times and print load and run times and peak memory as JSON
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    repeat: Option<u32>,
}

/// What `--repeat` prints.
#[derive(Serialize)]
struct Timing {
    /// The time in which the engine made the model ready.
    load_ms: f64,
    /// Each run, the cold one first.
    ms: Vec<f64>,
    /// The most memory that this process held, or the engine's own process.
    peak_rss_bytes: Option<u64>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let folder = args.output.parent().filter(|p| !p.as_os_str().is_empty());
    if let Some(folder) = folder
        && !folder.is_dir()
    {
        bail!(
            "{}: there is no folder {}",
            args.output.display(),
            folder.display()
        );
    }
    let engine = engines::load(&args.engine)?;
    let input = npy::read(&args.input)?;
    let graph = graph(args, &input)?;
    let default = CompileOptions::default();
    let options = CompileOptions {
        task: args.task,
        precision: args.precision,
        threads: args.threads.unwrap_or(default.threads),
        batch: input.shape().first().copied().unwrap_or(1).max(1),
    };
    let begin = Instant::now();
    let mut session = engine.compile(&graph, &options)?;
    let load_ms = begin.elapsed().as_secs_f64() * 1e3;
    drop(graph);
    let inputs = [input];
    let runs = args.repeat.unwrap_or(1);
    let mut ms = Vec::new();
    for run in 1..=runs {
        let begin = Instant::now();
        let outputs = session.run(&inputs)?;
        let elapsed = begin.elapsed();
        match outputs {
            [output, ..] if run == runs => npy::write(&args.output, output)?,
            [] => bail!("'{}' has no output", args.model),
            _ => {}
        }
        let time = session.in_child().map_or(elapsed, |run| run.time);
        ms.push(time.as_secs_f64() * 1e3);
    }
    if args.repeat.is_some() {
        let timing = Timing {
            load_ms,
            ms,
            peak_rss_bytes: match session.in_child() {
                Some(run) => run.peak_rss_bytes,
                None => machine::peak_rss_bytes(),
            },
        };
        output::print(serde_json::to_string(&timing)? + "\n")?;
    }
    Ok(ExitCode::SUCCESS)
}

fn graph(args: &Args, input: &Tensor) -> anyhow::Result<Graph> {
    if input.dtype() != DType::F32 {
        bail!(
            "{}: the input must be float32, it is {}; convert it with: x.astype('float32')",
            args.input.display(),
            input.dtype()
        );
    }
    if Path::new(&args.model)
        .extension()
        .is_some_and(|e| e.eq_ignore_ascii_case("onnx"))
    {
        for (given, option) in [
            (args.weights.is_some(), "--weights"),
            (args.classes.is_some(), "--classes"),
        ] {
            if given {
                bail!(Usage(format!(
                    "{option} is for models by name; an ONNX file has its own"
                )));
            }
        }
        // A bundle is also checked against its checksum.
        bundle::verify(Path::new(&args.model))?;
        return Ok(slicewise_onnx::read(Path::new(&args.model))?);
    }
    let rank = zoo::parse(&args.model)?.spatial_rank();
    let shape = input.shape();
    if shape.len() != rank + 2 {
        let want = if rank == 3 {
            "[N, 1, D, H, W]"
        } else {
            "[N, 3, H, W]"
        };
        bail!(
            "{}: {} takes {want}, the array is {shape:?}",
            args.input.display(),
            args.model
        );
    }
    let mut options = zoo::Options::default()
        .size(&shape[2..])
        .batch(shape[0].into());
    options.classes = args.classes;
    models::build_with_weights(&args.model, &options, args.weights.as_deref())
}
