//! `slicewise profile MODEL|F.onnx`

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::bail;
use slicewise_bench::machine::Machine;
use slicewise_bench::profile::{self, By, EngineProfile, KIND, ProfileRecord, Roof, SCHEMA};
use slicewise_bench::{json, now_rfc3339, store};
use slicewise_engines::{self as engines, CompileOptions, Engine, Precision};
use slicewise_graph::{DType, Graph, Task, Tensor};
use slicewise_kernels::{Isa, peak};
use slicewise_zoo::{self as zoo, Architecture};

use crate::failure::Usage;
use crate::options::{self, Size};
use crate::output;

/// Show where a network's time goes, step by step, and beside it where it goes in other engines.
///
/// Times are medians. GFLOP/s count the multiplications of the direct algorithm (a multiply-add is
/// two), so that one which needs fewer may exceed the peak; the peak is measured at the start. Bytes are
/// those of operands, weights and result, each counted once. Weights are a deterministic fill; an ONNX
/// file has its own.
///
/// The first engine leads: what others execute is matched to its steps by the names of the nodes, and
/// where an engine makes up a name, by what comes before and after it. What has no counterpart (changes
/// of layout, say) has a line of its own, so that every column adds up to the engine's total.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  slicewise profile mobilenetv4_conv_small+fpn
  slicewise profile resnet18+unet --engines native,onnxruntime,openvino --threads 1
  slicewise profile stunet_s --size 64x64x64 --runs 5 --by kernel --json profile.json")]
pub(crate) struct Args {
    /// A model's name, or an ONNX file
    model: String,
    /// labels or logits [default: labels; logits for an encoder alone and for an ONNX file]
    #[arg(long)]
    task: Option<Task>,
    /// Input size: N, HxW or DxHxW [default: 512x512 or 128x128x64]
    #[arg(long)]
    size: Option<Size>,
    /// Classes of the head [default: 117, 1000 for an encoder alone]
    #[arg(long, value_name = "N")]
    classes: Option<usize>,
    /// f32, bf16 or int8 (an ONNX file that is quantized)
    #[arg(long, default_value_t = Precision::F32)]
    precision: Precision,
    /// Threads [default: all that this process may use]
    #[arg(long, value_name = "N", value_parser = options::threads)]
    threads: Option<usize>,
    /// Runs that count, of each engine
    #[arg(long, value_name = "N", default_value = "20",
        value_parser = clap::value_parser!(u32).range(1..=100_000))]
    runs: u32,
    /// Engines, the leading one first; one that is not there is an error
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "A,B",
        default_value = "native"
    )]
    engines: Vec<String>,
    /// A row per step, or only the sums by kernel
    #[arg(long, value_enum, default_value_t = Rows::Step)]
    by: Rows,
    /// Write the profile as JSON, too; '-' prints it instead of the tables
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Rows {
    Step,
    Kernel,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let engines = load(&args.engines)?;
    let (graph, task) = graph(args)?;
    let inputs = inputs(&graph)?;
    let default = CompileOptions::default();
    let options = CompileOptions {
        task,
        precision: args.precision,
        threads: args.threads.unwrap_or(default.threads),
        ..default
    };
    let machine = Machine::read();
    let roof = roof(&machine, options.threads)?;
    let profilers = engines.iter().map(|e| e.profiler(&graph, &options));
    let profilers = profilers.collect::<Result<Vec<_>, _>>()?;
    let started = now_rfc3339();
    let profiles = profile::measure(profilers, &inputs, args.runs as usize)?;
    let mut found: Vec<EngineProfile> = (engines.iter().zip(&profiles))
        .map(|(e, p)| EngineProfile::new(e.info().name, &e.info().version, p, &roof))
        .collect();
    profile::match_engines(&mut found);
    let record = ProfileRecord {
        kind: KIND.into(),
        schema: SCHEMA,
        slicewise: env!("CARGO_PKG_VERSION").into(),
        started,
        model: args.model.clone(),
        task: task.to_string(),
        precision: args.precision.to_string(),
        threads: options.threads,
        inputs: inputs.iter().map(|t| t.shape().to_vec()).collect(),
        roof,
        machine,
        engines: found,
    };
    show(args, &record)?;
    Ok(ExitCode::SUCCESS)
}

fn show(args: &Args, record: &ProfileRecord) -> anyhow::Result<()> {
    if let Some(file) = &args.json {
        let text = json::pretty(record);
        if file.as_os_str() == "-" {
            output::print(text)?;
            return Ok(());
        }
        store::write_atomically(file, text.as_bytes())?;
    }
    let by = match args.by {
        Rows::Step => By::Step,
        Rows::Kernel => By::Kernel,
    };
    output::print(profile::render(record, by))?;
    if let Some(file) = &args.json {
        eprintln!("wrote {}", file.display());
    }
    Ok(())
}

/// The engines of these names, each once.
fn load(names: &[String]) -> anyhow::Result<Vec<Arc<dyn Engine>>> {
    let mut loaded: Vec<Arc<dyn Engine>> = Vec::new();
    for name in names {
        let engine = engines::load(name)?;
        if loaded.iter().all(|e| e.info().name != engine.info().name) {
            loaded.push(engine);
        }
    }
    Ok(loaded)
}

/// The network, and what is asked of it.
fn graph(args: &Args) -> anyhow::Result<(Graph, Task)> {
    let path = Path::new(&args.model);
    if path
        .extension()
        .is_some_and(|e| e.eq_ignore_ascii_case("onnx"))
    {
        for (given, option) in [
            (args.size.is_some(), "--size"),
            (args.classes.is_some(), "--classes"),
        ] {
            if given {
                bail!(Usage(format!(
                    "{option} is for models by name; an ONNX file has its own"
                )));
            }
        }
        return Ok((
            slicewise_onnx::read(path)?,
            args.task.unwrap_or(Task::Logits),
        ));
    }
    let encoder = matches!(
        zoo::parse(&args.model)?,
        Architecture::Classifier(_) | Architecture::Features(_)
    );
    let options = zoo::Options {
        classes: args.classes,
        size: args.size.map(|s| s.extents().to_vec()),
        ..zoo::Options::default()
    };
    let mut graph = zoo::build(&args.model, &options)?;
    zoo::fill(&mut graph)?;
    let default = if encoder { Task::Logits } else { Task::Labels };
    Ok((graph, args.task.unwrap_or(default)))
}

/// Something to feed the network, one image per open batch.
fn inputs(graph: &Graph) -> anyhow::Result<Vec<Tensor>> {
    let mut inputs = Vec::new();
    for id in graph.inputs() {
        let node = graph.node(id);
        let sizes = node.shape.with_batch(1).sizes().unwrap_or_default();
        if node.dtype != DType::F32 {
            bail!(
                "input '{}' is {}; only networks of f32 inputs can be profiled",
                node.name,
                node.dtype
            );
        }
        inputs.push(zoo::fill_input(&sizes));
    }
    Ok(inputs)
}

fn roof(machine: &Machine, threads: usize) -> anyhow::Result<Roof> {
    let last = machine.caches.iter().map(|c| c.bytes).max();
    let cache = usize::try_from(last.unwrap_or(0)).unwrap_or(usize::MAX);
    let peak = peak::measure(Isa::from_env()?, threads, cache);
    Ok(Roof {
        isa: peak.isa.into(),
        gflops: peak.gflops,
        read_gb_s: peak.read_gb_s,
    })
}
