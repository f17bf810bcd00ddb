//! `slicewise models list|show|export`

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, anyhow, bail};
use serde::Serialize;
use slicewise_bench::plan;
use slicewise_bench::table::{Align, Table};
use slicewise_graph::{Dim, Graph, Op, Task, cost, passes};
use slicewise_segment::{Card, Intensity, bundle};
use slicewise_zoo::{self as zoo, Architecture, Form, ZooError};

use crate::failure::Usage;
use crate::options::{Batch, Size};
use crate::output;

/// List the models, show what one is made of, or export it as an ONNX file.
///
/// A model's name is an encoder (timm's name; a pretrained tag is ignored), an encoder with a decoder
/// (+fpn or +unet), or a volumetric network.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  slicewise models list
  slicewise models show mobilenetv4_conv_small+fpn --size 256
  slicewise models export resnet18+unet --weights w.safetensors -o resnet18_unet.onnx")]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(clap::Subcommand)]
enum Action {
    /// All encoders and volumetric networks with their parameters, channels and strides
    #[command(after_help = "Example:\n  slicewise models list --json")]
    List(List),
    /// The nodes of a model with their shapes and costs
    #[command(
        after_help = "Example:\n  slicewise models show resnet18+fpn --size 256x384 --classes 5"
    )]
    Show(Show),
    /// Write a model as an ONNX file; a 2D segmentation network becomes a bundle
    ///
    /// A bundle carries what segment needs beside the weights: classes with colours and codes, the
    /// window, orientation and neighbouring slices of the input, training, licence, and a checksum. They are
    /// read from --card, a JSON file of which every field may be left out (docs/segment.md).
    #[command(after_help = "\
Example:
  slicewise models export resnet18+fpn --weights w.safetensors --batch dynamic -o resnet18_fpn.onnx
  slicewise models export resnet18+fpn --weights w.safetensors --card organs.json -o organs.onnx")]
    Export(Export),
}

#[derive(clap::Args)]
struct List {
    /// Classes that heads are counted for
    #[arg(long, value_name = "N", default_value_t = 117)]
    classes: usize,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
struct Build {
    /// The model's name
    model: String,
    /// Classes of the head [default: 117, 1000 for an encoder alone]
    #[arg(long, value_name = "N")]
    classes: Option<usize>,
    /// Input size: N, HxW or DxHxW [default: 512x512 or 128x128x64]
    #[arg(long)]
    size: Option<Size>,
}

#[derive(clap::Args)]
struct Show {
    #[command(flatten)]
    build: Build,
    /// Show the form that is trained, where it differs from the one that is deployed
    #[arg(long)]
    train: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
struct Export {
    #[command(flatten)]
    build: Build,
    /// The file to write
    #[arg(short, long, value_name = "F.onnx")]
    output: PathBuf,
    /// The model's weights; without them a deterministic fill stands in
    #[arg(long, value_name = "F.safetensors")]
    weights: Option<PathBuf>,
    /// Images per run: a number, or dynamic
    #[arg(long, value_name = "N", default_value = "1")]
    batch: Batch,
    /// logits or labels; only logits make a bundle
    #[arg(long, default_value_t = Task::Logits)]
    task: Task,
    /// What is to be known about the model: classes, input, training, licence
    #[arg(long, value_name = "F.json")]
    card: Option<PathBuf>,
    /// The window of the input: ct-soft-tissue, ct-lung, ct-bone, z-score, imagenet, or LOW:HIGH [default:
    /// the card's, or ct-soft-tissue]
    #[arg(long, value_name = "WINDOW", allow_hyphen_values = true)]
    window: Option<Intensity>,
    /// Neighbouring slices that are the channels, an odd number [default: the card's, or 1]
    #[arg(long, value_name = "K")]
    slices: Option<usize>,
}

impl Build {
    fn options(&self) -> zoo::Options {
        zoo::Options {
            classes: self.classes,
            size: self.size.map(|s| s.extents().to_vec()),
            ..zoo::Options::default()
        }
    }
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.action {
        None => list(&List {
            classes: 117,
            json: false,
        })?,
        Some(Action::List(args)) => list(args)?,
        Some(Action::Show(args)) => show(args)?,
        Some(Action::Export(args)) => export(args)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// A model with the weights of a file or, if there is none, the deterministic fill. What the file
/// did not hold is told.
pub(crate) fn build_with_weights(
    model: &str,
    options: &zoo::Options,
    weights: Option<&Path>,
) -> anyhow::Result<Graph> {
    Ok(build_and_tell(model, options, weights)?.0)
}

/// The same, and whether all weights came from the file.
fn build_and_tell(
    model: &str,
    options: &zoo::Options,
    weights: Option<&Path>,
) -> anyhow::Result<(Graph, bool)> {
    let Some(file) = weights else {
        let mut graph = zoo::build(model, options)?;
        eprintln!(
            "note: no --weights given: a deterministic fill stands in, and the result means nothing"
        );
        zoo::fill(&mut graph)?;
        return Ok((graph, false));
    };
    let (graph, loaded) = zoo::build_with_weights(model, options, file)?;
    if loaded.encoder_only {
        eprintln!(
            "note: {} holds an encoder only: a deterministic fill stands in for the decoder",
            file.display()
        );
    }
    Ok((graph, !loaded.encoder_only))
}

/// A row of `models list`.
#[derive(Serialize)]
struct Entry {
    name: &'static str,
    family: &'static str,
    #[serde(rename = "type")]
    dimensions: &'static str,
    /// Of the classifier, or of the volumetric network.
    parameters_train: u64,
    parameters_deploy: u64,
    /// Of the encoder without its head.
    #[serde(skip_serializing_if = "Option::is_none")]
    encoder_parameters_deploy: Option<u64>,
    feature_channels: Vec<usize>,
    feature_strides: Vec<usize>,
    /// With a decoder; null where there is no such model.
    fpn_parameters: Option<u64>,
    unet_parameters: Option<u64>,
    /// Classes that the decoders and volumetric networks are counted for.
    classes: usize,
}

fn parameters(model: &str, options: &zoo::Options) -> Result<u64, ZooError> {
    Ok(cost::total(&zoo::build(model, options)?).parameters)
}

fn encoder_entry(name: &'static str, classes: usize) -> Result<Entry, ZooError> {
    let train = zoo::Options::default();
    let deploy = train.clone().form(Form::Deploy);
    let features = zoo::build(&format!("{name}+features"), &deploy)?;
    let (channels, strides) = levels(&features, 512);
    let decoded = |decoder: &str| match parameters(
        &format!("{name}+{decoder}"),
        &deploy.clone().classes(classes),
    ) {
        Ok(n) => Ok(Some(n)),
        Err(ZooError::NoDecoder { .. }) => Ok(None),
        Err(e) => Err(e),
    };
    Ok(Entry {
        name,
        family: Architecture::Classifier(name).family(),
        dimensions: "2D",
        parameters_train: parameters(name, &train)?,
        parameters_deploy: parameters(name, &deploy)?,
        encoder_parameters_deploy: Some(cost::total(&features).parameters),
        feature_channels: channels,
        feature_strides: strides,
        fpn_parameters: decoded("fpn")?,
        unet_parameters: decoded("unet")?,
        classes,
    })
}

/// Channels and strides of the feature maps `[N, C, H, W]` of an image of `size` pixels in height.
fn levels(features: &Graph, size: usize) -> (Vec<usize>, Vec<usize>) {
    let sizes = features.outputs().iter();
    sizes
        .filter_map(|&id| features.node(id).shape.sizes())
        .filter(|s| s.len() == 4)
        .map(|s| (s[1], size / s[2].max(1)))
        .unzip()
}

fn catalogue(classes: usize) -> Result<Vec<Entry>, ZooError> {
    let encoders = zoo::encoder_names()
        .into_iter()
        .map(|name| encoder_entry(name, classes));
    let volumes = zoo::model_names()
        .into_iter()
        .filter_map(|name| match zoo::parse(&name) {
            Ok(Architecture::Volume(name)) => Some(name),
            _ => None,
        });
    let volumes = volumes.map(|name| {
        let options = zoo::Options::default().classes(classes);
        let n = parameters(name, &options)?;
        Ok(Entry {
            name,
            family: Architecture::Volume(name).family(),
            dimensions: "3D",
            parameters_train: n,
            parameters_deploy: n,
            encoder_parameters_deploy: None,
            feature_channels: Vec::new(),
            feature_strides: Vec::new(),
            fpn_parameters: None,
            unet_parameters: None,
            classes,
        })
    });
    encoders.chain(volumes).collect()
}

fn list(args: &List) -> anyhow::Result<()> {
    use Align::{Left, Right};
    let entries = catalogue(args.classes)?;
    if args.json {
        return output::print_json(&entries);
    }
    let mut table = Table::new(&[
        ("model", Left),
        ("family", Left),
        ("type", Left),
        ("train M", Right),
        ("deploy M", Right),
        ("encoder M", Right),
        ("+fpn M", Right),
        ("+unet M", Right),
        ("channels", Left),
        ("strides", Left),
    ]);
    let join = |v: &[usize]| v.iter().map(usize::to_string).collect::<Vec<_>>().join(" ");
    for e in &entries {
        table.row([
            e.name.to_owned(),
            e.family.to_owned(),
            e.dimensions.to_owned(),
            millions(Some(e.parameters_train)),
            millions(Some(e.parameters_deploy)),
            millions(e.encoder_parameters_deploy),
            millions(e.fpn_parameters),
            millions(e.unet_parameters),
            join(&e.feature_channels),
            join(&e.feature_strides),
        ]);
    }
    output::print(table)?;
    output::print(format!(
        "\n+fpn, +unet and the 3D networks are counted for {} classes, encoders for 1000.\n",
        args.classes
    ))?;
    Ok(())
}

fn millions(parameters: Option<u64>) -> String {
    parameters.map_or("-".into(), |n| format!("{:.3}", n as f64 / 1e6))
}

#[derive(Serialize)]
struct NodeRow<'a> {
    name: &'a str,
    op: &'static str,
    shape: String,
    parameters: u64,
    macs: u64,
    activation_bytes: u64,
}

#[derive(Serialize)]
struct Shown<'a> {
    name: &'a str,
    family: &'static str,
    input: String,
    output: Vec<String>,
    parameters: u64,
    encoder_parameters: Option<u64>,
    macs: u64,
    activation_bytes: u64,
    operators: Vec<(&'static str, usize)>,
    nodes: Vec<NodeRow<'a>>,
}

fn show(args: &Show) -> anyhow::Result<()> {
    let model = &args.build.model;
    let form = if args.train {
        Form::Train
    } else {
        Form::Deploy
    };
    let options = args.build.options().form(form);
    let graph = zoo::build(model, &options)?;
    let facts = plan::model_facts(model, &options)?;
    let live = passes::remove_dead_code(&graph)?;
    let total = cost::total(&live);
    let shape = |id| live.node(id).shape.to_string();
    let shown = Shown {
        name: model,
        family: facts.family,
        input: live
            .inputs()
            .first()
            .map(|&id| shape(id))
            .unwrap_or_default(),
        output: live.outputs().iter().map(|&id| shape(id)).collect(),
        parameters: cost::total(&graph).parameters,
        encoder_parameters: facts.encoder_parameters,
        macs: total.macs,
        activation_bytes: total.activation_bytes,
        operators: plan::operators(&live),
        nodes: node_rows(&live),
    };
    if args.json {
        return output::print_json(&shown);
    }
    print_shown(&shown)
}

/// The operators with the parameters that are their inputs.
fn node_rows(graph: &Graph) -> Vec<NodeRow<'_>> {
    let operators = graph
        .iter()
        .filter(|(_, n)| !matches!(n.op, Op::Parameter(_)));
    operators
        .map(|(id, node)| {
            let own = cost::node(graph, id);
            let parameters = node.inputs.iter().map(|&i| cost::node(graph, i).parameters);
            NodeRow {
                name: &node.name,
                op: node.op.name(),
                shape: node.shape.to_string(),
                parameters: parameters.sum(),
                macs: own.macs,
                activation_bytes: own.activation_bytes,
            }
        })
        .collect()
}

fn print_shown(shown: &Shown) -> anyhow::Result<()> {
    use Align::{Left, Right};
    let mut table = Table::new(&[
        ("node", Left),
        ("op", Left),
        ("shape", Left),
        ("params", Right),
        ("MACs M", Right),
        ("KiB", Right),
    ]);
    for n in &shown.nodes {
        table.row([
            n.name.to_owned(),
            n.op.to_owned(),
            n.shape.clone(),
            n.parameters.to_string(),
            format!("{:.3}", n.macs as f64 / 1e6),
            (n.activation_bytes >> 10).to_string(),
        ]);
    }
    let operators: Vec<String> = shown
        .operators
        .iter()
        .map(|(op, n)| format!("{n} {op}"))
        .collect();
    output::print(format!(
        "{table}\n{} ({}), input {}, output {}\n{:.3} M parameters{}, {:.3} G MACs, {:.1} MiB of activations\n{}\n",
        shown.name,
        shown.family,
        shown.input,
        shown.output.join(" "),
        shown.parameters as f64 / 1e6,
        shown
            .encoder_parameters
            .map(|n| format!(" ({:.3} M in the encoder)", n as f64 / 1e6))
            .unwrap_or_default(),
        shown.macs as f64 / 1e9,
        shown.activation_bytes as f64 / f64::from(1 << 20),
        operators.join(", "),
    ))?;
    Ok(())
}

fn export(args: &Export) -> anyhow::Result<()> {
    let options = args.build.options().batch(args.batch.0);
    let model = &args.build.model;
    let (graph, trained) = build_and_tell(model, &options, args.weights.as_deref())?;
    let mut graph = passes::simplify(&graph.with_task(args.task)?)?;
    let version = env!("CARGO_PKG_VERSION").to_owned();
    graph.metadata.insert("slicewise".into(), version);
    let batch = match args.batch.0 {
        Dim::Batch => "a dynamic batch".to_owned(),
        Dim::Fixed(n) => format!("a batch of {n}"),
    };
    let what = match bundle::interface(&graph) {
        Ok(i) if args.task == Task::Logits => {
            let card = card(args, i.outputs, trained)?;
            let sha256 = bundle::write(&args.output, &graph, &card)?;
            format!(
                "a bundle of {} classes, SHA-256 {sha256}",
                card.classes.classes().len()
            )
        }
        _ if args.card.is_some() || args.window.is_some() || args.slices.is_some() => {
            bail!(Usage(format!(
                "--card, --window and --slices are for bundles, which {model} with {} is not; a bundle holds \
                 the logits of a 2D segmentation network",
                args.task
            )));
        }
        _ => {
            slicewise_onnx::write(&graph, &args.output)?;
            args.task.to_string()
        }
    };
    eprintln!("wrote {}: {model}, {what}, {batch}", args.output.display());
    Ok(())
}

/// What is to be known about a network of `outputs` scores, from the command line and the card's file.
fn card(args: &Export, outputs: usize, trained: bool) -> anyhow::Result<Card> {
    let mut card = Card::of_outputs(&args.build.model, outputs);
    card.training.trained = trained;
    if let Some(path) = &args.card {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        card = card
            .with_json(&text)
            .map_err(|problem| anyhow!("{}: {problem}", path.display()))?;
    }
    if let Some(window) = &args.window {
        card.input.intensity = window.clone();
    }
    if let Some(slices) = args.slices {
        card.input.slices = slices;
    }
    Ok(card)
}
