//! An arm's network: with the user's weights or a deterministic fill, in floats or quantized, and what it is
//! fed.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use slicewise_engines::{self as engines, CompileOptions};
use slicewise_graph::{Graph, GraphError, Tensor, passes};
use slicewise_quantize::{self as quantize, Folder, Images, Method, PixelRange, Run, Synthetic};
use slicewise_zoo as zoo;

use crate::arm::Arm;
use crate::lab::NATIVE;
use crate::plan;

/// GhostNet multiplies by sigmoids, which the usual fill drives so far that rounding alone changes the
/// answer by a quarter; then no output would be right. See `tools/reference/README.md`.
const GATED: (&str, f32) = ("ghostnet", 0.75);

/// Images of a folder that ranges are found with at most, and that answers are compared on.
const CALIBRATION: usize = 64;
const VALIDATION: usize = 48;
/// Images of noise where there are no real ones: enough for ranges that speed does not depend on.
const NOISE: usize = 2;

/// The user's own data in place of the fill and of noise.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Data {
    /// The weights, a `.safetensors` file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weights: Option<PathBuf>,
    /// A folder of images that the ranges of int8 are found with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calibration: Option<PathBuf>,
    /// A folder of images that answers are compared on with those of native f32.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validation: Option<PathBuf>,
}

impl Data {
    /// Whether there is nothing of the user's.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Data::default()
    }
}

/// The arm's model in floats.
pub(crate) fn floats(arm: &Arm) -> Result<Graph, String> {
    let options = plan::options_of(arm);
    if let Some(file) = &arm.data.weights {
        let (graph, _) = zoo::build_with_weights(&arm.model, &options, file).map_err(one_line)?;
        return Ok(graph);
    }
    let mut graph = zoo::build(&arm.model, &options).map_err(one_line)?;
    let gain = match arm.model.starts_with(GATED.0) {
        true => GATED.1,
        false => 1.0,
    };
    graph
        .load(|name, sizes| Ok::<_, GraphError>(zoo::fill_parameter(name, sizes, gain)))
        .map_err(one_line)?;
    Ok(graph)
}

/// The arm's model in integers; the ranges are found with the native engine.
pub(crate) fn quantized(arm: &Arm) -> Result<Graph, String> {
    let graph = passes::simplify(&floats(arm)?).map_err(one_line)?;
    let images: Box<dyn Images> = match &arm.data.calibration {
        Some(folder) => Box::new(folder_of(folder, &graph, CALIBRATION)?),
        None => Box::new(Synthetic::new(&graph, NOISE).map_err(one_line)?),
    };
    let engine = engines::load(NATIVE).map_err(one_line)?;
    let mut compile = |graph: &Graph| -> Result<Run, String> {
        let session = engine.compile(graph, &CompileOptions::default());
        let mut session = session.map_err(one_line)?;
        Ok(Box::new(move |inputs: &[Tensor]| {
            Ok(session.run(inputs).map_err(one_line)?.to_vec())
        }))
    };
    let options = quantize::Options::for_this_cpu();
    let method = Method::default();
    let quantized = quantize::quantize_on(&graph, images.as_ref(), method, &options, &mut compile);
    Ok(quantized.map_err(one_line)?.graph)
}

fn folder_of(folder: &std::path::Path, graph: &Graph, most: usize) -> Result<Folder, String> {
    Folder::open(folder, graph, most, PixelRange::default()).map_err(one_line)
}

/// The images that the arm's answers are compared on, if there are any.
pub(crate) fn validation(arm: &Arm) -> Result<Option<Folder>, String> {
    let Some(folder) = &arm.data.validation else {
        return Ok(None);
    };
    let graph = zoo::build(&arm.model, &plan::options_of(arm)).map_err(one_line)?;
    folder_of(folder, &graph, VALIDATION).map(Some)
}

/// What the arm is timed and checked on: an image of the user's, or the deterministic fill.
pub(crate) fn input(arm: &Arm) -> Result<Tensor, String> {
    match validation(arm)? {
        Some(images) if arm.batch() == 1 => images.load(0).map_err(one_line),
        _ => Ok(zoo::fill_input(&arm.input)),
    }
}

pub(crate) fn one_line(error: impl std::fmt::Display) -> String {
    error.to_string().lines().collect::<Vec<_>>().join(" ")
}
