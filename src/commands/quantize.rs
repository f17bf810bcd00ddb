//! `slicewise quantize MODEL|F.onnx`

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use indicatif::{ProgressBar, ProgressStyle};
use slicewise_bench::table::{Align, Table};
use slicewise_bench::{json, store};
use slicewise_engines::{self as engines, CompileOptions};
use slicewise_graph::{Graph, passes};
use slicewise_quantize::{
    self as quantize, Activations, Calibration, Folder, Granularity, Head, Images, Method, Options,
    PixelRange, Placement, Quantized, Report, Run, Synthetic,
};
use slicewise_segment::bundle;
use slicewise_zoo as zoo;

use super::models;
use crate::failure::Usage;
use crate::options::{self, Size};
use crate::output;

/// Images that stand in where there are no real ones.
const SYNTHETIC: usize = 8;

/// Make a network of 8-bit integers, calibrated on images, and say what that does to its accuracy.
///
/// The result is an ONNX file of quantize/dequantize pairs, which ONNX Runtime, OpenVINO and the native
/// engine run in integers. Images are .npy arrays, float32 [C, H, W] or [N, C, H, W] as the network takes them, or PNG
/// files. How far the result agrees with f32 is measured on the same images, or on those of --validate.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  slicewise quantize resnet18+fpn --weights w.safetensors --classes 11 --size 256 --calibrate slices -o resnet18.int8.onnx
  slicewise quantize model.onnx --calibrate slices --keep-accuracy 0.99 -o model.int8.onnx
  slicewise quantize mobilenetv4_conv_small+fpn --synthetic -o for_speed_only.onnx")]
pub(crate) struct Args {
    /// A model's name, or an ONNX file
    model: String,
    /// The file to write
    #[arg(short, long, value_name = "F.onnx")]
    output: PathBuf,
    /// A folder of images to find the ranges with
    #[arg(
        long,
        value_name = "DIR",
        required_unless_present = "synthetic",
        conflicts_with = "synthetic"
    )]
    calibrate: Option<PathBuf>,
    /// Noise instead of images: for measuring speed, not accuracy
    #[arg(long)]
    synthetic: bool,
    /// A folder of images to measure accuracy on [default: those of --calibrate]
    #[arg(long, value_name = "DIR")]
    validate: Option<PathBuf>,
    /// The most images taken from a folder, spread evenly over it
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..))]
    images: u32,
    /// What black and white of a PNG stand for
    #[arg(long, value_name = "LOW:HIGH", default_value = "0:1", allow_hyphen_values = true, value_parser = |s: &str| s.parse::<PixelRange>())]
    pixels: PixelRange,
    /// The model's weights; without them a deterministic fill stands in
    #[arg(long, value_name = "F.safetensors")]
    weights: Option<PathBuf>,
    /// Classes of the head [default: 117, 1000 for an encoder alone]
    #[arg(long, value_name = "N")]
    classes: Option<usize>,
    /// Input size: N, HxW or DxHxW [default: 512x512 or 128x128x64]
    #[arg(long)]
    size: Option<Size>,
    /// How ranges are chosen: mse, minmax, percentile[:99.99] or entropy
    #[arg(long, default_value_t = Method::default(), value_parser = |s: &str| s.parse::<Method>())]
    method: Method,
    /// Activations: u8 with a zero point, or i8 around zero
    #[arg(long, value_name = "TYPE", default_value = "u8", value_parser = ["u8", "i8"])]
    activations: String,
    /// Scales of a weight: one per channel, or one per tensor
    #[arg(long, value_name = "SCALES", default_value = "channel", value_parser = ["channel", "tensor"])]
    weight_scales: String,
    /// 7-bit weights, for CPUs that add products in 16 bits; auto: where this CPU has no VNNI
    #[arg(long, value_name = "WHEN", default_value = "auto", value_parser = ["auto", "always", "never"])]
    reduce_range: String,
    /// The layer that makes the class scores, and what follows: int8, scores (integers in, f32 out) or f32
    #[arg(long, default_value = "int8", value_parser = ["int8", "scores", "f32"])]
    head: String,
    /// Leave the ranges of layers that follow each other as they are, instead of equalizing them
    #[arg(long)]
    no_equalize: bool,
    /// Leave the mean error of rounded weights in, instead of taking it out of the biases
    #[arg(long)]
    no_bias_correction: bool,
    /// A layer that stays in f32 (repeatable)
    #[arg(long, value_name = "LAYER")]
    keep: Vec<String>,
    /// Put the worst layers back to f32 until this share of the foreground's labels agrees with f32
    #[arg(long, value_name = "SHARE", value_parser = share)]
    keep_accuracy: Option<f64>,
    /// The engine that runs calibration and comparison
    #[arg(long, default_value = "native")]
    engine: String,
    /// Threads [default: all that this process may use]
    #[arg(long, value_name = "N", value_parser = options::threads)]
    threads: Option<usize>,
    /// Also write the report as JSON to a file
    #[arg(long, value_name = "F.json")]
    report: Option<PathBuf>,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("write a share from 0 to 1, as in 0.99".into()),
    }
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    for file in [Some(&args.output), args.report.as_ref()]
        .into_iter()
        .flatten()
    {
        check_folder(file)?;
    }
    let graph = passes::simplify(&load(args)?)?;
    let images: Box<dyn Images> = match &args.calibrate {
        Some(folder) => Box::new(open(args, folder, &graph)?),
        None => Box::new(Synthetic::new(&graph, SYNTHETIC)?),
    };
    let validation = match &args.validate {
        Some(folder) => Some(open(args, folder, &graph)?),
        None => None,
    };
    let validation: &dyn Images = match &validation {
        Some(folder) => folder,
        None => &*images,
    };
    if args.synthetic {
        eprintln!(
            "note: ranges come from noise: the file is for measuring speed, its accuracy means nothing"
        );
    }
    let bar = bar();
    let work = Work {
        args,
        images: &*images,
        validation,
        bar: &bar,
    };
    let done = work.quantize(&graph);
    bar.finish_and_clear();
    let done = done?;
    bundle::write_derived(&args.output, &done.quantized.graph)?;
    let report = &done.report;
    if let Some(file) = &args.report {
        store::write_atomically(file, json::pretty(report).as_bytes())?;
    }
    match args.json {
        true => output::print_json(report)?,
        false => print(report, &args.output)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// What came out.
struct Done {
    quantized: Quantized,
    report: Report,
}

struct Work<'a> {
    args: &'a Args,
    images: &'a dyn Images,
    validation: &'a dyn Images,
    bar: &'a ProgressBar,
}

impl Work<'_> {
    fn quantize(&self, original: &Graph) -> anyhow::Result<Done> {
        let engine = engines::load(&self.args.engine)?;
        let default = CompileOptions::default();
        let compiled = CompileOptions {
            threads: self.args.threads.unwrap_or(default.threads),
            ..default
        };
        let mut compile = |graph: &Graph| -> Result<Run, String> {
            let session = engine.compile(graph, &compiled);
            let mut session = session.map_err(|e| e.to_string())?;
            Ok(Box::new(move |inputs| {
                let outputs = session.run(inputs).map_err(|e| e.to_string())?;
                Ok(outputs.to_vec())
            }))
        };
        let mut progress = |what: &str, done: usize, total: usize| {
            self.bar.set_message(what.to_owned());
            self.bar.set_length(total as u64);
            self.bar.set_position(done as u64);
        };
        let options = quantize_options(self.args);
        let graph = &*quantize::prepared(original, &options)?;
        let placement = quantize::place(graph, &options)?;
        let calibration = quantize::calibrate(
            graph,
            &placement.watched(),
            self.images,
            self.args.method,
            options.levels(),
            &mut compile,
            &mut progress,
        )?;
        let (quantized, placement, options) = match self.args.keep_accuracy {
            None => {
                let quantized = quantize::quantize(graph, &placement, &calibration, &options)?;
                (quantized, placement, options)
            }
            Some(target) => {
                let kept = quantize::keep_accuracy(
                    graph,
                    &calibration,
                    &options,
                    target,
                    self.validation,
                    &mut compile,
                    &mut progress,
                )?;
                (kept.quantized, kept.placement, kept.options)
            }
        };
        let ends: Vec<_> = placement.layers.iter().map(|l| l.end).collect();
        let comparison = quantize::compare(
            graph,
            &quantized,
            &ends,
            self.validation,
            &mut compile,
            &mut progress,
        )?;
        let report = self.report(
            graph,
            &quantized,
            &placement,
            &calibration,
            &comparison,
            &options,
        );
        Ok(Done { quantized, report })
    }

    fn report(
        &self,
        graph: &Graph,
        quantized: &Quantized,
        placement: &Placement,
        calibration: &Calibration,
        comparison: &quantize::Comparison,
        options: &Options,
    ) -> Report {
        let method = self.args.method;
        quantize::report(
            graph,
            &quantized.graph,
            placement,
            calibration,
            comparison,
            options,
            method,
        )
    }
}

fn quantize_options(args: &Args) -> Options {
    let reduce_range = match args.reduce_range.as_str() {
        "always" => true,
        "never" => false,
        _ => {
            let reduce = !quantize::sums_in_32_bits();
            if reduce {
                eprintln!(
                    "note: this CPU has no VNNI and adds two products in 16 bits: weights keep to 7 bits so that \
                     the sum fits (--reduce-range never for a file that runs elsewhere)"
                );
            }
            reduce
        }
    };
    Options {
        activations: match args.activations.as_str() {
            "i8" => Activations::Symmetric,
            _ => Activations::Asymmetric,
        },
        granularity: match args.weight_scales.as_str() {
            "tensor" => Granularity::PerTensor,
            _ => Granularity::PerChannel,
        },
        reduce_range,
        head: match args.head.as_str() {
            "f32" => Head::F32,
            "scores" => Head::Scores,
            _ => Head::Int8,
        },
        equalize: !args.no_equalize,
        correct_bias: !args.no_bias_correction,
        keep: args.keep.iter().cloned().collect::<BTreeSet<_>>(),
    }
}

fn load(args: &Args) -> anyhow::Result<Graph> {
    let is_file = Path::new(&args.model)
        .extension()
        .is_some_and(|e| e.eq_ignore_ascii_case("onnx"));
    if is_file {
        for (given, option) in [
            (args.weights.is_some(), "--weights"),
            (args.classes.is_some(), "--classes"),
            (args.size.is_some(), "--size"),
        ] {
            if given {
                bail!(Usage(format!(
                    "{option} is for models by name; an ONNX file has its own"
                )));
            }
        }
        return Ok(slicewise_onnx::read(Path::new(&args.model))?);
    }
    let options = zoo::Options {
        classes: args.classes,
        size: args.size.map(|s| s.extents().to_vec()),
        ..zoo::Options::default()
    };
    models::build_with_weights(&args.model, &options, args.weights.as_deref())
}

fn open(args: &Args, folder: &Path, graph: &Graph) -> anyhow::Result<Folder> {
    Ok(Folder::open(
        folder,
        graph,
        args.images as usize,
        args.pixels,
    )?)
}

/// A result's folder must be there before the work begins.
fn check_folder(file: &Path) -> anyhow::Result<()> {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() && !folder.is_dir() => {
            bail!(
                "{}: there is no folder {}",
                file.display(),
                folder.display()
            )
        }
        _ => Ok(()),
    }
}

/// A bar on a terminal, nothing elsewhere. On standard error.
fn bar() -> ProgressBar {
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("{bar:24} {elapsed} {pos}/{len} {wide_msg}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(500));
    bar
}

fn print(report: &Report, file: &Path) -> anyhow::Result<()> {
    use Align::{Left, Right};
    let mut layers = Table::new(&[
        ("layer", Left),
        ("SQNR dB", Right),
        ("weight SQNR dB", Right),
        ("weight max", Right),
        ("least/largest channel", Right),
    ]);
    for l in &report.layers {
        layers.row([
            l.name.clone(),
            l.sqnr_db.map_or("-".into(), |db| format!("{db:.1}")),
            format!("{:.1}", l.weight_sqnr_db),
            format!("{:.4}", l.weight_max),
            format!("{:.4}", l.channel_spread),
        ]);
    }
    let mut ranges = Table::new(&[
        ("tensor", Left),
        ("least", Right),
        ("largest", Right),
        ("from", Right),
        ("to", Right),
    ]);
    for t in &report.tensors {
        let number = |v: f32| format!("{v:.4}");
        ranges.row([
            t.name.clone(),
            number(t.min),
            number(t.max),
            number(t.low),
            number(t.high),
        ]);
    }
    let mut kept = Table::new(&[("kept in f32", Left), ("op", Left), ("why", Left)]);
    for k in &report.kept {
        kept.row([k.name.clone(), k.op.clone(), k.why.clone()]);
    }
    output::print(format!("{layers}\n{ranges}\n"))?;
    if !report.kept.is_empty() {
        output::print(format!("{kept}\n"))?;
    }
    let a = &report.agreement;
    let share = |v: f64| format!("{:.3} %", v * 100.0);
    let worst = a
        .worst_class
        .map(|c| format!(", worst {:.4} (class {c})", a.worst_dice));
    let scores = a.sqnr_db.map(|db| format!(", scores {db:.1} dB"));
    output::print(format!(
        "{} layers in int8, {} in f32; weights {:.2} MB, were {:.2} MB; ranges by {} of {} images\n\
         agreement with f32: labels {}, foreground {}, mean Dice {:.4}{}{}\n\
         wrote {}\n",
        report.layers.len(),
        report.kept.len(),
        report.bytes_after as f64 / 1e6,
        report.bytes_before as f64 / 1e6,
        report.method,
        report.images,
        share(a.labels),
        share(a.foreground),
        a.mean_dice,
        worst.unwrap_or_default(),
        scores.unwrap_or_default(),
        file.display()
    ))?;
    Ok(())
}
