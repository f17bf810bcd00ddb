//! Every model of the zoo gives what its reference implementation gives: the native engine on every
//! golden case, the other engines on a sample.
//!
//! The golden files hold samples of outputs that PyTorch computed in f64 from the deterministic fill
//! (`tools/reference/golden.py`, which documents their format). A model without a golden case fails
//! the test, and so does a golden case without a model.

#[path = "../common/mod.rs"]
mod common;
mod golden;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Mutex;
use std::time::Instant;

use slicewise_engines::{CompileOptions, Engine, EngineError};
use slicewise_graph::{Dim, Graph, GraphError, Tensor};
use slicewise_zoo as zoo;

use golden::{Case, Golden};

/// The largest error allowed, as a part of the range of the reference's whole output.
const TOLERANCE: f64 = 1e-4;
/// Classes of the segmentation networks in the golden files.
const CLASSES: usize = 5;
/// The sizes of every two-dimensional case; a ViT takes the first alone.
const SIZES: [&str; 2] = ["64x96", "75x101"];

/// What is enough of an engine whose sessions take seconds to minutes to start.
const FEW: [(&str, &[(&str, &str)]); 2] = [
    (
        "torch",
        &[
            ("mobilenetv4_conv_small", "fpn"),
            ("mobilenetv4_conv_small", "unet"),
            ("resnet18", "fpn"),
            ("repvgg_a0", "fpn"),
            ("regnetx_004", "fpn"),
            ("edgenext_x_small", "fpn"),
            ("convnext_tiny", "fpn"),
            ("vit_tiny_patch16_224", "classifier"),
            ("totalsegmentator", "volume"),
        ],
    ),
    (
        "torch-compile",
        &[
            ("mobilenetv4_conv_small", "fpn"),
            ("vit_tiny_patch16_224", "classifier"),
            ("totalsegmentator", "volume"),
        ],
    ),
];

/// Held while networks run: two of the largest would not fit in memory together.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// The model that a golden case is of.
fn model_of(file: &str, case: &Case) -> Result<String, String> {
    match case.label.split('.').next().unwrap_or_default() {
        "classifier" | "volume" => Ok(file.to_owned()),
        label @ ("features" | "fpn" | "unet") => Ok(format!("{file}+{label}")),
        _ => Err(format!("{file}: no model has a case '{}'", case.label)),
    }
}

/// Every model whose output the golden files must hold: all of the zoo and the features of every
/// encoder that a decoder stands on.
fn models() -> BTreeSet<String> {
    let mut names: BTreeSet<String> = zoo::model_names().into_iter().collect();
    let on_features = names.iter().filter_map(|n| n.strip_suffix("+fpn"));
    let features: Vec<String> = on_features.map(|e| format!("{e}+features")).collect();
    names.extend(features);
    names
}

#[test]
fn every_model_has_golden_cases_and_every_golden_case_has_a_model() {
    let models = models();
    let mut failures = Vec::new();
    let mut covered: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for golden in Golden::all() {
        for case in &golden.cases {
            match model_of(&golden.name, case) {
                Ok(model) if models.contains(&model) => {
                    covered.entry(model).or_default().insert(case.size_text());
                }
                Ok(model) => failures.push(format!("the zoo has no model '{model}'")),
                Err(error) => failures.push(error),
            }
        }
    }
    for model in &models {
        let sizes = covered.remove(model).unwrap_or_default();
        let is_vit = model.starts_with("vit_");
        let wanted = match zoo::parse(model) {
            Ok(a) if a.spatial_rank() == 3 => &[][..],
            Ok(_) if is_vit || model.ends_with("+features") => &SIZES[..1],
            Ok(_) => &SIZES[..],
            Err(error) => {
                failures.push(error.to_string());
                continue;
            }
        };
        if sizes.is_empty() {
            failures.push(format!("{model} has no golden case"));
        }
        for size in wanted.iter().filter(|s| !sizes.contains(**s)) {
            failures.push(format!("{model} has no golden case at {size}"));
        }
    }
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
    println!("{} models have golden cases", models.len());
}

#[test]
fn every_model_gives_its_golden_outputs_on_the_native_engine() {
    let engine = slicewise_engines::load("native").expect("it is built in");
    check(engine.as_ref(), |_, _| true);
}

#[test]
fn a_model_of_every_family_gives_its_golden_outputs_on_the_other_engines() {
    let mut families = BTreeSet::new();
    let mut sample = BTreeSet::new();
    for encoder in zoo::encoder_names() {
        let family = zoo::parse(encoder).expect("a name of the zoo").family();
        if families.insert(family) {
            sample.insert(encoder.to_owned());
        }
    }
    sample.extend(["totalsegmentator".to_owned(), "stunet_s".to_owned()]);
    for engine in common::engines_present() {
        let few = FEW.iter().find(|(name, _)| *name == engine.info().name);
        if let Some((_, few)) = few {
            check(engine.as_ref(), |golden, case| {
                let is_named = |name: &str| name == golden.name && golden.gain == 1.0;
                case.size_text() != SIZES[1]
                    && few
                        .iter()
                        .any(|(n, label)| is_named(n) && *label == case.label)
            });
        } else if engine.info().name != "native" {
            check(engine.as_ref(), |golden, case| {
                // Of two sizes, the one that no stride divides.
                let other = SIZES[1].to_owned();
                let same = |c: &Case| c.label == case.label && c.size_text() == other;
                let is_harder = case.size_text() == other || !golden.cases.iter().any(same);
                sample.contains(&golden.name) && is_harder
            });
        }
    }
}

/// Runs the chosen golden cases, prints the largest error of each model and fails with
/// the list of those that are too large.
fn check(engine: &dyn Engine, chosen: impl Fn(&Golden, &Case) -> bool) {
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(|e| e.into_inner());
    let name = engine.info().name;
    let start = Instant::now();
    let mut worst: Vec<(f64, String)> = Vec::new();
    let mut failures = Vec::new();
    for golden in Golden::all() {
        let mut weights = Weights {
            gain: golden.gain,
            ..Weights::default()
        };
        for (model, size, cases) in golden.runs(&chosen) {
            let title = format!("{model} at {}{}", cases[0].size_text(), golden.note());
            match run(engine, &mut weights, &model, &size, &cases) {
                Ok(None) => println!("{name}: {title}: refused"),
                Ok(Some(error)) if error <= TOLERANCE => worst.push((error, title)),
                Ok(Some(error)) => failures.push(format!("{name}: {title}: off by {error:.2e}")),
                Err(error) => failures.push(format!("{name}: {title}: {error}")),
            }
        }
    }
    worst.sort_by(|a, b| b.0.total_cmp(&a.0));
    println!(
        "{name}: {} runs within {TOLERANCE:e} of the range in {:.1} s; the largest errors:",
        worst.len(),
        start.elapsed().as_secs_f64()
    );
    for (error, title) in worst.iter().take(12) {
        println!("  {error:.1e}  {title}");
    }
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
    assert!(!worst.is_empty(), "{name}: nothing was compared");
}

impl Golden {
    /// The cases by the run that makes them: all levels of one encoder's features come at once.
    fn runs(
        &self,
        chosen: impl Fn(&Golden, &Case) -> bool,
    ) -> Vec<(String, Vec<usize>, Vec<&Case>)> {
        let mut runs: BTreeMap<(String, Vec<usize>), Vec<&Case>> = BTreeMap::new();
        for case in self.cases.iter().filter(|c| chosen(self, c)) {
            // The other test reports a case that no model has.
            if let Ok(model) = model_of(&self.name, case) {
                runs.entry((model, case.size.clone()))
                    .or_default()
                    .push(case);
            }
        }
        runs.into_iter()
            .map(|((model, size), cases)| (model, size, cases))
            .collect()
    }

    fn note(&self) -> String {
        match self.gain {
            1.0 => String::new(),
            gain => format!(", gain {gain}"),
        }
    }
}

/// The largest error of one run over its cases, relative to each case's range; `None` if another engine
/// says that it lacks an operator.
fn run(
    engine: &dyn Engine,
    weights: &mut Weights,
    model: &str,
    size: &[usize],
    cases: &[&Case],
) -> Result<Option<f64>, String> {
    let graph = weights.network(model, size)?;
    let input = graph.inputs()[0];
    let shape = graph
        .node(input)
        .shape
        .sizes()
        .ok_or("the input's sizes are open")?;
    let options = CompileOptions {
        threads: 2,
        ..CompileOptions::default()
    };
    let mut session = match engine.compile(&graph, &options) {
        Err(EngineError::Unsupported { .. }) if engine.info().name != "native" => return Ok(None),
        result => result.map_err(|e| e.to_string())?,
    };
    // Weights of 5.8 GB are held once from here on.
    drop(graph);
    let outputs = session
        .run(&[zoo::fill_input(&shape)])
        .map_err(|e| e.to_string())?;
    let mut worst = 0f64;
    for case in cases {
        let output = outputs.get(case.level()).ok_or_else(|| {
            format!(
                "{} outputs, and the reference has '{}'",
                outputs.len(),
                case.label
            )
        })?;
        let error = case.error(output)?;
        if error.is_nan() {
            return Err(format!("'{}' holds NaN", case.label));
        }
        worst = worst.max(error);
    }
    Ok(Some(worst))
}

/// The deterministic fill; what several networks of one encoder share is made once.
#[derive(Default)]
struct Weights {
    gain: f32,
    known: HashMap<String, Tensor>,
}

impl Weights {
    /// A network of the zoo at the golden files' number of classes, with its weights.
    fn network(&mut self, model: &str, size: &[usize]) -> Result<Graph, String> {
        let is_volume = size.len() == 3;
        let mut options = zoo::Options::default().size(size).batch(Dim::Fixed(1));
        if model.contains("+fpn") || model.contains("+unet") || is_volume {
            options = options.classes(CLASSES);
        }
        let mut graph = zoo::build(model, &options).map_err(|e| e.to_string())?;
        let filled = graph.load(|name, sizes| -> Result<Tensor, GraphError> {
            if let Some(tensor) = self.known.get(name).filter(|t| t.shape() == sizes) {
                return Ok(tensor.clone());
            }
            let tensor = zoo::fill_parameter(name, sizes, self.gain);
            // Volumetric networks run once, and the largest has 5.8 GB.
            if !is_volume {
                self.known.insert(name.to_owned(), tensor.clone());
            }
            Ok(tensor)
        });
        filled.map_err(|e| e.to_string())?;
        Ok(graph)
    }
}
