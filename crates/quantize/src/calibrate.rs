//! Running the network on real inputs to learn what its tensors hold.

use std::collections::BTreeMap;

use slicewise_graph::{Graph, NodeId, Tensor};

use crate::histogram::Histogram;
use crate::{Compile, Images, Method, Progress, QuantizeError, Run};

/// The most that the tensors watched in one run may take together; more of them are watched in
/// turns, each of which runs the images again.
const WATCHED_BYTES: usize = 1 << 30;

/// What calibration found out about one tensor.
#[derive(Clone, PartialEq, Debug)]
pub struct Range {
    /// The least value seen.
    pub min: f32,
    /// The largest value seen.
    pub max: f32,
    /// The least value that is represented; at most 0.
    pub low: f32,
    /// The largest value that is represented; at least 0.
    pub high: f32,
    /// The mean of every channel (axis 1).
    pub means: Vec<f32>,
}

/// The ranges of all tensors that were watched.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Calibration {
    /// By node of the graph that was run.
    pub ranges: BTreeMap<NodeId, Range>,
    /// How many images were run.
    pub images: usize,
}

/// What is gathered of one tensor.
struct Watch {
    node: NodeId,
    min: f32,
    max: f32,
    sums: Vec<f64>,
    per_channel: u64,
    histogram: Option<Histogram>,
}

/// Runs `graph` on all `images` and chooses the ranges of `tensors` by `method`, for `levels` steps.
/// Images are read one at a time; of the tensors only ends, sums and histograms are kept.
///
/// # Errors
/// If an image cannot be used, the engine fails, or a tensor's values are not finite.
pub fn calibrate(
    graph: &Graph,
    tensors: &[NodeId],
    images: &dyn Images,
    method: Method,
    levels: f64,
    compile: &mut Compile<'_>,
    progress: &mut Progress<'_>,
) -> Result<Calibration, QuantizeError> {
    let turns = turns(graph, tensors);
    let passes = if method.needs_histogram() { 2 } else { 1 };
    let total = turns.len() * passes * images.count();
    let mut done = 0;
    let mut calibration = Calibration {
        images: images.count(),
        ..Calibration::default()
    };
    for turn in turns {
        let mut watched = graph.clone();
        watched.set_outputs(turn.clone());
        let mut run = compile(&watched).map_err(QuantizeError::Engine)?;
        let mut watches: Vec<Watch> = turn.into_iter().map(Watch::new).collect();
        for pass in 0..passes {
            for index in 0..images.count() {
                progress("calibrating", done, total);
                done += 1;
                let outputs = observe(&mut run, images, index)?;
                for (watch, output) in watches.iter_mut().zip(&outputs) {
                    let values = output.as_f32().unwrap_or_default();
                    match &mut watch.histogram {
                        None => watch.ends(graph, output, &images.name(index))?,
                        Some(histogram) => histogram.add(values),
                    }
                }
            }
            if pass + 1 < passes {
                watches.iter_mut().for_each(Watch::begin_histogram);
            }
        }
        let ranges = watches
            .into_iter()
            .map(|w| (w.node, w.range(method, levels)));
        calibration.ranges.extend(ranges);
    }
    progress("calibrating", total, total);
    Ok(calibration)
}

/// One run on one image.
pub(crate) fn observe(
    run: &mut Run,
    images: &dyn Images,
    index: usize,
) -> Result<Vec<Tensor>, QuantizeError> {
    let input = images.load(index)?;
    run(&[input])
        .map_err(|problem| QuantizeError::Engine(format!("{}: {problem}", images.name(index))))
}

/// The tensors in groups that may be watched together.
pub(crate) fn turns(graph: &Graph, tensors: &[NodeId]) -> Vec<Vec<NodeId>> {
    let mut turns: Vec<Vec<NodeId>> = Vec::new();
    let mut room = 0;
    for &id in tensors {
        let bytes = graph
            .node(id)
            .shape
            .elements()
            .unwrap_or(usize::MAX)
            .saturating_mul(4);
        if turns.is_empty() || bytes > room {
            turns.push(Vec::new());
            room = WATCHED_BYTES;
        }
        room = room.saturating_sub(bytes);
        if let Some(turn) = turns.last_mut() {
            turn.push(id);
        }
    }
    turns
}

impl Watch {
    fn new(node: NodeId) -> Self {
        Watch {
            node,
            min: f32::INFINITY,
            max: f32::NEG_INFINITY,
            sums: Vec::new(),
            per_channel: 0,
            histogram: None,
        }
    }

    /// Takes the ends and the channels' sums from one image's values `[1, C, …]`.
    fn ends(&mut self, graph: &Graph, output: &Tensor, image: &str) -> Result<(), QuantizeError> {
        let values = output.as_f32().unwrap_or_default();
        let channels = output.shape().get(1).copied().unwrap_or(1).max(1);
        self.sums.resize(channels, 0.0);
        let plane = (values.len() / channels).max(1);
        self.per_channel += plane as u64;
        let mut finite = true;
        for (sum, plane) in self.sums.iter_mut().zip(values.chunks_exact(plane)) {
            let mut total = 0.0f64;
            for &v in plane {
                finite &= v.is_finite();
                self.min = self.min.min(v);
                self.max = self.max.max(v);
                total += f64::from(v);
            }
            *sum += total;
        }
        match finite {
            true => Ok(()),
            false => Err(QuantizeError::Overflow {
                node: graph.node(self.node).name.clone(),
                file: image.into(),
            }),
        }
    }

    fn begin_histogram(&mut self) {
        self.histogram = Some(Histogram::new(self.min, self.max));
    }

    fn range(self, method: Method, levels: f64) -> Range {
        let chosen = match &self.histogram {
            // A tensor of one value has no distribution.
            Some(histogram) if self.max > self.min => histogram.range(method, levels),
            _ => (self.min, self.max),
        };
        let n = self.per_channel.max(1) as f64;
        Range {
            min: self.min,
            max: self.max,
            // Padding is zero, so zero must be exact.
            low: chosen.0.min(0.0),
            high: chosen.1.max(0.0),
            means: self.sums.iter().map(|s| (s / n) as f32).collect(),
        }
    }
}
