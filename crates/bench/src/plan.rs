//! From what a user asks for to the arms that are measured.

use std::path::PathBuf;

use slicewise_engines::Precision;
use slicewise_graph::{Op, Task, cost, passes};
use slicewise_zoo::{self as zoo, Architecture, Form, ZooError};

use crate::model::Data;
use crate::record::{Arm, Scenario, Status};
use crate::suite::Suite;

/// What a user asks for. What is empty or `None` is the suite's own choice.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Request {
    /// The suite.
    pub suite: Suite,
    /// Models, in the suite's words: an encoder's name gets the suite's decoders.
    pub models: Vec<String>,
    /// Whether to measure fewer models.
    pub quick: bool,
    /// Precisions; by default f32 alone, except where the suite is about them.
    pub precisions: Vec<Precision>,
    /// Threads on one input; by default all that this process may use, and one in streams.
    pub threads: Vec<usize>,
    /// How inputs come.
    pub scenario: Scenario,
    /// The arm that others are compared with: `MODEL`, `MODEL@ENGINE` or `MODEL@ENGINE:PRECISION`.
    pub reference: Option<String>,
    /// What is asked of the network.
    pub task: Option<Task>,
    /// The size of images: height and width.
    pub image: Option<[usize; 2]>,
    /// The size of volumes: depth, height and width.
    pub volume: Option<[usize; 3]>,
    /// Classes of the head.
    pub classes: Option<usize>,
    /// The user's own data; `weights` is a folder here, of files named as the models are.
    pub data: Data,
}

/// An engine that may run arms.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Offer {
    /// Its name.
    pub engine: String,
    /// The precisions that it computes in here.
    pub precisions: Vec<Precision>,
}

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// A model that does not exist, or does not fit what was asked.
    #[error(transparent)]
    Model(#[from] ZooError),
    /// A model that the suite is not about.
    #[error("{0}")]
    Suite(String),
    /// The arm that others are to be compared with is not among them.
    #[error("--reference {0}: no arm is that; write MODEL, MODEL@ENGINE or MODEL@ENGINE:PRECISION")]
    Reference(String),
}

/// What is known of a model before it runs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ModelFacts {
    /// The encoder's family, or the volumetric network's own name.
    pub family: &'static str,
    /// The input's sizes, `[1, C, H, W]` or `[1, C, D, H, W]`.
    pub input: Vec<usize>,
    /// Classes of the head.
    pub classes: Option<usize>,
    /// Parameters of the deployed form, as the reference counts them.
    pub parameters: u64,
    /// Those of the encoder without its head, where there is an encoder.
    pub encoder_parameters: Option<u64>,
    /// Multiply-accumulates of one input; what does not reach the output is left out.
    pub macs: u64,
}

/// Counts a model's parameters and operations, in the form in which it is deployed.
///
/// # Errors
/// If there is no such model or the options do not fit it.
pub fn model_facts(model: &str, options: &zoo::Options) -> Result<ModelFacts, ZooError> {
    let options = options.clone().form(Form::Deploy);
    let architecture = zoo::parse(model)?;
    let graph = zoo::build(model, &options)?;
    let inputs = graph.inputs();
    let input = inputs.first().map(|&i| graph.node(i).shape.with_batch(1));
    let live = passes::remove_dead_code(&graph)?;
    let encoder_parameters = match architecture {
        Architecture::Segmentation(encoder, _)
        | Architecture::Classifier(encoder)
        | Architecture::Features(encoder) => {
            let features = zoo::build(&format!("{encoder}+features"), &options)?;
            Some(cost::total(&features).parameters)
        }
        Architecture::Volume(_) => None,
    };
    Ok(ModelFacts {
        family: architecture.family(),
        input: input.and_then(|s| s.sizes()).unwrap_or_default(),
        classes: graph.metadata.get("classes").and_then(|c| c.parse().ok()),
        parameters: cost::total(&graph).parameters,
        encoder_parameters,
        macs: cost::total(&live).macs,
    })
}

/// The arms of a request on the engines there are: all engines of a model beside each other, so that
/// they are measured in the same rounds. Those that cannot run are [`Status::Skipped`] already.
///
/// # Errors
/// If a model does not exist, is not the suite's, or does not fit the size or classes.
pub fn arms(request: &Request, offers: &[Offer]) -> Result<Vec<Arm>, PlanError> {
    let mut arms = Vec::new();
    for model in models(request)? {
        let facts = model_facts(&model, &options_for(request, &model)?)?;
        let task = task_for(request, &model)?;
        let data = data_for(request, &model);
        for &threads in &threads(request) {
            for precision in precisions(request) {
                for offer in offers {
                    let mut arm = describe(&model, &facts, offer, precision);
                    arm.task = task.to_string();
                    arm.threads = threads;
                    arm.data = data.clone();
                    if request.scenario == Scenario::Throughput {
                        arm.streams = (usable_threads() / threads).max(1);
                    }
                    arms.push(arm);
                }
            }
        }
    }
    if let Some(name) = &request.reference {
        let is = |arm: &Arm| {
            let (model, engine, precision) = (&arm.model, &arm.engine, &arm.precision);
            name == model
                || *name == format!("{model}@{engine}")
                || *name == format!("{model}@{engine}:{precision}")
        };
        let runs = |arm: &&mut Arm| arm.status == Status::NotRun && is(arm);
        match arms.iter_mut().find(runs) {
            Some(arm) => arm.reference = true,
            None => return Err(PlanError::Reference(name.clone())),
        }
    }
    Ok(arms)
}

/// The zoo's options for an arm: the form in which it is deployed, at the arm's size and classes.
pub fn options_of(arm: &Arm) -> zoo::Options {
    let options = zoo::Options {
        classes: arm.classes,
        ..zoo::Options::default()
    };
    options
        .size(arm.input.get(2..).unwrap_or_default())
        .batch(arm.batch().into())
        .form(Form::Deploy)
}

fn models(request: &Request) -> Result<Vec<String>, PlanError> {
    let mut models = Vec::new();
    for name in &request.models {
        models.extend(request.suite.expand(name).map_err(PlanError::Suite)?);
    }
    if request.models.is_empty() {
        models = match request.quick {
            true => request.suite.quick_models(),
            false => request.suite.models(),
        };
    }
    let mut seen = std::collections::HashSet::new();
    models.retain(|m| seen.insert(m.clone()));
    Ok(models)
}

/// Threads of arms: what was asked for, or one in streams, or all that this process may use.
pub fn threads(request: &Request) -> Vec<usize> {
    match (request.threads.is_empty(), request.scenario) {
        (true, Scenario::Throughput) => vec![1],
        (true, _) => vec![usable_threads()],
        (false, _) => request.threads.clone(),
    }
}

fn usable_threads() -> usize {
    std::thread::available_parallelism().map_or(1, |n| n.get())
}

fn precisions(request: &Request) -> Vec<Precision> {
    match request.precisions.is_empty() {
        true => request.suite.precisions().to_vec(),
        false => request.precisions.clone(),
    }
}

fn options_for(request: &Request, model: &str) -> Result<zoo::Options, PlanError> {
    let architecture = zoo::parse(model)?;
    let suite = request.suite.classes();
    let classifier = matches!(architecture, Architecture::Classifier(_));
    let size = match architecture.spatial_rank() {
        3 => request.volume.map(|s| s.to_vec()),
        _ => request.image.map(|s| s.to_vec()),
    };
    Ok(zoo::Options {
        classes: request.classes.or(if classifier { None } else { suite }),
        size,
        ..zoo::Options::default()
    })
}

/// Classifiers have no label map, and 3D networks run on tiles that overlap, whose scores have to be added
/// up: both are asked for logits unless the user insists.
fn task_for(request: &Request, model: &str) -> Result<Task, PlanError> {
    let architecture = zoo::parse(model)?;
    let has_map = !matches!(architecture, Architecture::Classifier(_));
    Ok(request.task.unwrap_or({
        if request.suite.asks_for_labels() && has_map && architecture.spatial_rank() == 2 {
            Task::Labels
        } else {
            Task::Logits
        }
    }))
}

/// The user's data for a model: its own file of weights, if there is one.
fn data_for(request: &Request, model: &str) -> Data {
    let of_model = |folder: &PathBuf| folder.join(format!("{model}.safetensors"));
    Data {
        weights: (request.data.weights.as_ref())
            .map(of_model)
            .filter(|file| file.exists()),
        ..request.data.clone()
    }
}

fn describe(model: &str, facts: &ModelFacts, offer: &Offer, precision: Precision) -> Arm {
    let mut arm = Arm {
        model: model.to_owned(),
        dimensions: if facts.input.len() == 5 { "3D" } else { "2D" }.into(),
        engine: offer.engine.clone(),
        precision: precision.to_string(),
        input: facts.input.clone(),
        classes: facts.classes,
        parameters: Some(facts.parameters),
        encoder_parameters: facts.encoder_parameters,
        macs: Some(facts.macs),
        ..Arm::default()
    };
    if !offer.precisions.contains(&precision) {
        arm.status = Status::Skipped;
        arm.reason = Some(format!("{} does not run {precision} here", offer.engine));
    }
    arm
}

/// Operators by name with their number, the most frequent first: what a graph is made of.
pub fn operators(graph: &slicewise_graph::Graph) -> Vec<(&'static str, usize)> {
    let mut counts = std::collections::BTreeMap::new();
    for node in graph.nodes() {
        if !matches!(node.op, Op::Input | Op::Parameter(_)) {
            *counts.entry(node.op.name()).or_insert(0) += 1;
        }
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|&(name, n)| (std::cmp::Reverse(n), name));
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offers() -> Vec<Offer> {
        let offer = |engine: &str, precisions: &[Precision]| Offer {
            engine: engine.into(),
            precisions: precisions.to_vec(),
        };
        vec![
            offer("native", &[Precision::F32]),
            offer("openvino", &[Precision::F32, Precision::Bf16]),
        ]
    }

    #[test]
    fn the_champion_has_the_originals_figures() {
        let request = Request {
            models: vec!["mobilenetv4_conv_small+fpn".into()],
            ..Request::default()
        };
        let arms = arms(&request, &offers()).unwrap();
        let modes: Vec<_> = arms.iter().map(Arm::mode).collect();
        assert_eq!(modes, ["native f32", "openvino f32"]);
        let arm = &arms[0];
        assert_eq!(arm.parameters, Some(2_162_901));
        assert_eq!(arm.encoder_parameters, Some(1_261_664));
        assert_eq!(arm.input, [1, 3, 512, 512]);
        assert_eq!((arm.task.as_str(), arm.classes), ("labels", Some(117)));
    }

    #[test]
    fn a_model_takes_the_file_of_its_name_from_the_folder_of_weights() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("resnet18+fpn.safetensors");
        std::fs::write(&file, "").unwrap();
        let request = Request {
            models: vec!["resnet18+fpn".into(), "lcnet_100+fpn".into()],
            data: Data {
                weights: Some(folder.path().to_owned()),
                validation: Some("images".into()),
                ..Data::default()
            },
            ..Request::default()
        };
        let arms = arms(&request, &offers()[..1]).unwrap();
        let weights: Vec<_> = arms.iter().map(|a| a.data.weights.clone()).collect();
        assert_eq!(weights, [Some(file), None]);
        assert!(
            arms.iter()
                .all(|a| a.data.validation == Some("images".into()))
        );
    }

    #[test]
    fn the_decoder_suites_count_parameters_for_one_class() {
        let request = Request {
            suite: Suite::Combined,
            models: vec!["mobileone_s0".into()],
            image: Some([64, 96]),
            ..Request::default()
        };
        let arms = arms(&request, &offers()[..1]).unwrap();
        let got: Vec<_> = arms
            .iter()
            .map(|a| (a.model.as_str(), a.parameters, a.task.as_str()))
            .collect();
        assert_eq!(
            got,
            [
                ("mobileone_s0+fpn", Some(1_978_689), "logits"),
                ("mobileone_s0+unet", Some(4_626_145), "logits"),
            ]
        );
        assert_eq!(arms[0].input, [1, 3, 64, 96]);
    }

    #[test]
    fn volumes_take_the_volume_size_and_images_the_image_size() {
        let request = Request {
            suite: Suite::TwoVsThree,
            models: vec!["stunet_s".into(), "resnet18+fpn".into()],
            image: Some([64, 64]),
            volume: Some([32, 64, 32]),
            ..Request::default()
        };
        let arms = arms(&request, &offers()[..1]).unwrap();
        assert_eq!(arms[0].input, [1, 1, 32, 64, 32]);
        assert_eq!(arms[0].dimensions, "3D");
        assert_eq!(
            (arms[0].parameters, arms[0].encoder_parameters),
            (Some(14_602_953), None)
        );
        assert_eq!(arms[1].input, [1, 3, 64, 64]);
    }

    #[test]
    fn a_precision_that_an_engine_lacks_is_skipped_with_the_reason() {
        let request = Request {
            models: vec!["resnet18".into(), "resnet18".into()],
            precisions: vec![Precision::Bf16, Precision::Int8],
            threads: vec![1, 2],
            image: Some([32, 32]),
            ..Request::default()
        };
        let arms = arms(&request, &offers()).unwrap();
        assert_eq!(arms.len(), 2 * 2 * 2, "the same model twice is one");
        let first = &arms[0];
        assert_eq!((first.threads, first.status), (1, Status::Skipped));
        assert_eq!(
            first.reason.as_deref(),
            Some("native does not run bf16 here")
        );
        assert_eq!(
            (arms[1].mode(), arms[1].status),
            ("openvino bf16".into(), Status::NotRun)
        );
        assert_eq!(arms[3].status, Status::Skipped);
        assert_eq!(arms[0].task, "logits", "a classifier has no label map");
    }

    #[test]
    fn streams_take_a_thread_each_and_the_reference_is_the_one_that_is_named() {
        let request = Request {
            models: vec!["resnet18+fpn".into()],
            image: Some([32, 32]),
            scenario: Scenario::Throughput,
            reference: Some("resnet18+fpn@openvino".into()),
            ..Request::default()
        };
        let planned = arms(&request, &offers()).unwrap();
        let cpus = std::thread::available_parallelism().unwrap().get();
        for arm in &planned {
            assert_eq!((arm.threads, arm.streams), (1, cpus));
            assert_eq!(arm.reference, arm.engine == "openvino");
        }
        let wrong = Request {
            reference: Some("resnet18@native".into()),
            ..request
        };
        let error = arms(&wrong, &offers()).unwrap_err().to_string();
        assert!(error.contains("no arm is that"), "{error}");
    }

    #[test]
    fn in_a_hurry_the_originals_top_ten_are_measured() {
        let request = |suite| Request {
            suite,
            quick: true,
            ..Request::default()
        };
        let count = |suite| arms(&request(suite), &offers()[..1]).unwrap().len();
        assert_eq!(count(Suite::Encoders), 10);
        assert_eq!(
            count(Suite::Fpn),
            9,
            "EdgeNeXt has no decoder in the original"
        );
        assert_eq!(count(Suite::TwoVsThree), 7);
    }

    #[test]
    fn every_model_of_every_suite_can_be_planned() {
        let problems: Vec<_> = Suite::ALL
            .into_iter()
            .filter_map(|suite| {
                let request = Request {
                    suite,
                    ..Request::default()
                };
                arms(&request, &offers()[..1])
                    .err()
                    .map(|e| format!("{suite}: {e}"))
            })
            .collect();
        assert!(problems.is_empty(), "{problems:#?}");
    }

    #[test]
    fn what_does_not_exist_is_said_so() {
        let fails = |suite, model: &str| {
            let request = Request {
                suite,
                models: vec![model.into()],
                ..Request::default()
            };
            arms(&request, &offers()).unwrap_err().to_string()
        };
        let error = fails(Suite::Quick, "resnet81+fpn");
        assert!(error.contains("resnet18+fpn"), "{error}");
        let error = fails(Suite::Fpn, "resnet18+unet");
        assert!(error.contains("does not measure"), "{error}");
    }
}
