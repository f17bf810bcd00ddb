//! `slicewise kernels [MODEL…]`

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::bail;
use slicewise_bench::statistics::median;
use slicewise_bench::table::{Align, Table};
use slicewise_engines::{CompileOptions, prepare};
use slicewise_graph::{Graph, Op, Task};
use slicewise_kernels::{
    Context, Convolution, Destination, Epilogue, Geometry, Isa, Winograd, WinogradTile,
};
use slicewise_native::{Accuracy, Algorithm, Layer, candidates, choose};
use slicewise_zoo as zoo;

use crate::options::{self, Size};
use crate::output;

/// What is measured if nothing is named: encoders of several families, both decoders, a volume.
const MODELS: [&str; 6] = [
    "mobilenetv4_conv_small+fpn",
    "mobilenetv4_conv_medium+fpn",
    "resnet18+unet",
    "repvgg_a0+fpn",
    "regnetx_004+fpn",
    "totalsegmentator",
];

/// How much longer than the best the chosen algorithm may take.
const MARGIN: f64 = 1.05;
/// How long the candidates of a layer take turns, and how often at least.
const TIME: Duration = Duration::from_millis(400);
const ROUNDS: usize = 5;
/// A candidate that takes so much longer than the best in a first round has no more turns.
const HOPELESS: f64 = 1.5;

/// Time every algorithm that can compute a network's convolutions against the one that is chosen.
///
/// For each distinct convolution layer but depthwise ones the candidates run in turns, alone and on the same data;
/// what is compared is the median of the ratios within a round. A choice that seems to lag is measured
/// again, three times as long, before it is said to. Algorithms that the choice leaves out for
/// their accuracy are timed, but not held against it.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  slicewise kernels
  slicewise kernels resnet18+fpn stunet_s --threads 1 --assert")]
pub(crate) struct Args {
    /// Models [default: six of different kinds]
    models: Vec<String>,
    /// Input size, N, HxW or DxHxW, that all models take [default: 512x512 or 128x128x64]
    #[arg(long)]
    size: Option<Size>,
    /// Fail if a choice takes over 5 % longer than the best candidate
    #[arg(long)]
    assert: bool,
    /// Threads [default: all that this process may use]
    #[arg(long, value_name = "N", value_parser = options::threads)]
    threads: Option<usize>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let mut models: Vec<&str> = args.models.iter().map(String::as_str).collect();
    if models.is_empty() {
        models.extend(MODELS);
    }
    let threads = args.threads.unwrap_or(CompileOptions::default().threads);
    let context = Context::new(Isa::from_env()?, threads);
    let mut layers: BTreeMap<String, (Layer, usize)> = BTreeMap::new();
    let mut direct_only = 0;
    for model in models {
        for layer in convolutions(model, args.size)? {
            match candidates(&layer).len() {
                0 | 1 => direct_only += 1,
                _ => layers.entry(describe(&layer)).or_insert((layer, 0)).1 += 1,
            }
        }
    }
    let mut table = Table::new(&[
        ("layer", Align::Left),
        ("times", Align::Right),
        ("chosen", Align::Left),
        ("ms", Align::Right),
        ("lag", Align::Right),
        ("others, ms", Align::Left),
    ]);
    let mut lagging = Vec::new();
    for (name, (layer, times)) in &layers {
        let verdict = measure(&context, layer);
        let others = verdict.others.iter();
        let others = others.map(|(algorithm, ms)| format!("{} {ms:.3}", called(*algorithm)));
        table.row([
            name.clone(),
            times.to_string(),
            called(verdict.chosen).to_owned(),
            format!("{:.3}", verdict.ms),
            format!("{:+.1}%", 100.0 * (verdict.lag - 1.0)),
            others.collect::<Vec<_>>().join(", "),
        ]);
        if verdict.lag > MARGIN {
            lagging.push(name.as_str());
        }
    }
    output::print(&table)?;
    output::print(format!(
        "{} distinct layers on {} with {threads} threads; {direct_only} more have one algorithm only\n",
        layers.len(),
        context.isa().name(),
    ))?;
    if args.assert && !lagging.is_empty() {
        bail!(
            "the choice lags the best candidate by more than 5 % in {} of {} layers: {}",
            lagging.len(),
            layers.len(),
            lagging.join("; ")
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// The convolutions of a model but those that see one channel only, as the engine gets them.
fn convolutions(model: &str, size: Option<Size>) -> anyhow::Result<Vec<Layer>> {
    let options = zoo::Options {
        size: size.map(|s| s.extents().to_vec()),
        ..zoo::Options::default()
    };
    let mut graph = zoo::build(model, &options)?;
    zoo::fill(&mut graph)?;
    let options = CompileOptions {
        task: Task::Logits,
        ..CompileOptions::default()
    };
    let graph = prepare(&graph, &options)?;
    let sizes = |graph: &Graph, id| graph.node(id).shape.sizes().unwrap_or_default();
    let mut layers = Vec::new();
    for (id, node) in graph.iter() {
        let Op::Conv(spec) = &node.op else { continue };
        let (x, y) = (sizes(&graph, node.inputs[0]), sizes(&graph, id));
        if spec.groups < x[1] {
            layers.push(Layer {
                geometry: Geometry::conv(spec, &x[2..], &y[2..]),
                batch: x[0],
                groups: spec.groups,
                channels: x[1],
                out: y[1],
            });
        }
    }
    Ok(layers)
}

fn describe(layer: &Layer) -> String {
    let g = &layer.geometry;
    // Images are volumes of one slice.
    let skip = usize::from(g.input[0] == 1 && g.kernel[0] == 1);
    let joined = |sizes: &[usize; 3]| {
        let sizes: Vec<String> = sizes[skip..].iter().map(usize::to_string).collect();
        sizes.join("x")
    };
    let groups = match layer.groups {
        1 => String::new(),
        groups => format!(" by {}", layer.channels / groups),
    };
    format!(
        "{} s{} {}>{}{groups} @{}",
        joined(&g.kernel),
        g.stride[2],
        layer.channels,
        layer.out,
        joined(&g.input)
    )
}

fn called(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::Direct => "direct",
        Algorithm::Winograd(WinogradTile { depth: 1, plane: 2 }) => "winograd 2x2",
        Algorithm::Winograd(WinogradTile { depth: 1, .. }) => "winograd 4x4",
        Algorithm::Winograd(WinogradTile { depth: 2, plane: 2 }) => "winograd 2x2x2",
        Algorithm::Winograd(WinogradTile { depth: 2, .. }) => "winograd 2x4x4",
        Algorithm::Winograd(_) => "winograd 4x4x4",
    }
}

/// What came of one layer.
struct Verdict {
    chosen: Algorithm,
    ms: f64,
    /// The chosen one's time over that of the best candidate, 1 or more.
    lag: f64,
    others: Vec<(Algorithm, f64)>,
}

fn measure(context: &Context, layer: &Layer) -> Verdict {
    let chosen = choose(context.isa(), layer, Accuracy::default());
    let mut contest = Contest::new(context, layer);
    let first = contest.run(context, chosen, ROUNDS, TIME);
    match first.lag > MARGIN {
        true => contest.run(context, chosen, 3 * ROUNDS, 3 * TIME),
        false => first,
    }
}

enum Kernel {
    Direct(Convolution),
    Winograd(Winograd),
}

/// The candidates of a layer, ready to run.
struct Contest {
    kernels: Vec<(Algorithm, Kernel)>,
    x: Vec<f32>,
    y: Vec<f32>,
}

impl Contest {
    fn new(context: &Context, layer: &Layer) -> Self {
        let g = layer.geometry;
        let elements = layer.out * (layer.channels / layer.groups) * g.taps();
        let wave = |n: usize| -> Vec<f32> { (0..n).map(|i| (i as f32 * 0.37).sin()).collect() };
        let (weight, bias) = (wave(elements), wave(layer.out));
        let (batch, out) = (layer.batch, layer.out);
        let kernels = candidates(layer).into_iter().map(|algorithm| {
            let bias = Some(&bias[..]);
            let kernel = match algorithm {
                Algorithm::Direct => Kernel::Direct(Convolution::new(
                    context,
                    g,
                    batch,
                    layer.groups,
                    out,
                    &weight,
                    bias,
                )),
                Algorithm::Winograd(tile) => Kernel::Winograd(Winograd::new(
                    context,
                    g,
                    tile,
                    batch,
                    layer.groups,
                    out,
                    &weight,
                    bias,
                )),
            };
            (algorithm, kernel)
        });
        Contest {
            kernels: kernels.collect(),
            x: wave(batch * layer.channels * g.input_area()),
            y: vec![0.0; batch * out * g.output_area()],
        }
    }

    /// The time of one run, in ms.
    fn time(&mut self, context: &Context, kernel: usize) -> f64 {
        let begin = Instant::now();
        match &self.kernels[kernel].1 {
            Kernel::Direct(conv) => {
                let to = Destination::Values(&mut self.y, Epilogue::default());
                conv.run(context, &self.x, to);
            }
            Kernel::Winograd(conv) => {
                conv.run(context, &self.x, &mut self.y, Epilogue::default());
            }
        }
        begin.elapsed().as_secs_f64() * 1e3
    }

    /// Has the candidates take turns, `rounds` times at least and until `time` is over.
    fn run(
        &mut self,
        context: &Context,
        chosen: Algorithm,
        rounds: usize,
        time: Duration,
    ) -> Verdict {
        let n = self.kernels.len();
        let own = (0..n).find(|&k| self.kernels[k].0 == chosen).unwrap_or(0);
        // The first runs touch fresh memory; the second say who is out of the question.
        (0..n).for_each(|k| {
            self.time(context, k);
        });
        let once: Vec<f64> = (0..n).map(|k| self.time(context, k)).collect();
        let best = once.iter().copied().fold(f64::INFINITY, f64::min);
        let open = |k: usize| k == own || once[k] < HOPELESS * best;
        let mut times: Vec<Vec<f64>> = vec![Vec::new(); n];
        let begin = Instant::now();
        while times[own].len() < rounds || begin.elapsed() < time {
            for k in (0..n).filter(|&k| open(k)) {
                let ms = self.time(context, k);
                times[k].push(ms);
            }
        }
        let held = |k: usize| open(k) && is_accurate(self.kernels[k].0);
        let ratio = |k: usize| {
            let pairs = times[own].iter().zip(&times[k]);
            median(&pairs.map(|(own, other)| own / other).collect::<Vec<_>>())
        };
        let lag = (0..n)
            .filter(|&k| held(k))
            .filter_map(ratio)
            .fold(1.0, f64::max);
        let ms = |k: usize| median(&times[k]).unwrap_or(once[k]);
        Verdict {
            chosen,
            ms: ms(own),
            lag,
            others: (0..n)
                .filter(|&k| k != own)
                .map(|k| (self.kernels[k].0, ms(k)))
                .collect(),
        }
    }
}

/// Whether the choice may fall on an algorithm: four outputs on each of three axes cost too much
/// accuracy.
fn is_accurate(algorithm: Algorithm) -> bool {
    !matches!(algorithm, Algorithm::Winograd(tile) if tile.depth == 4)
}
