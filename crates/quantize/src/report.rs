//! What was done to a graph, for people and as JSON.

use serde::Serialize;
use slicewise_graph::{Graph, Tensor, TensorData};

use crate::weights::integers;
use crate::{Agreement, Calibration, Comparison, Kept, Method, Options, Placement, agreement};

/// One convolution that multiplies integers.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct LayerReport {
    /// The convolution's name.
    pub name: String,
    /// The largest absolute weight.
    pub weight_max: f32,
    /// The largest weight of the channel with the smallest, as a share of `weight_max`: how uneven
    /// the channels are. What one scale for all of them would cost.
    pub channel_spread: f32,
    /// Signal to rounding noise of the weight, in dB.
    pub weight_sqnr_db: f64,
    /// Signal to noise of the layer's result with everything before it quantized too, in dB.
    pub sqnr_db: Option<f64>,
}

/// The range of one quantized tensor.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct TensorReport {
    /// The node that makes it.
    pub name: String,
    /// The least value seen.
    pub min: f32,
    /// The largest value seen.
    pub max: f32,
    /// The least value that is represented.
    pub low: f32,
    /// The largest value that is represented.
    pub high: f32,
}

/// What was done to a graph.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Report {
    /// The graph's name.
    pub model: String,
    /// How ranges were chosen.
    pub method: String,
    /// Images that the graph was calibrated on.
    pub images: usize,
    /// Whether weights keep to 7 bits.
    pub reduced_range: bool,
    /// Whether the ranges of layers that follow each other were equalized.
    pub equalized: bool,
    /// Whether the mean error of rounded weights was taken out of the biases.
    pub bias_corrected: bool,
    /// The convolutions in integers.
    pub layers: Vec<LayerReport>,
    /// The ranges.
    pub tensors: Vec<TensorReport>,
    /// The layers in f32, and why.
    pub kept: Vec<Kept>,
    /// Bytes of all weights before.
    pub bytes_before: usize,
    /// Bytes of all weights after.
    pub bytes_after: usize,
    /// How far the results agree with f32.
    pub agreement: Agreement,
}

/// Puts together what is known of a quantized graph.
pub fn report(
    graph: &Graph,
    quantized: &Graph,
    placement: &Placement,
    calibration: &Calibration,
    comparison: &Comparison,
    options: &Options,
    method: Method,
) -> Report {
    let layer = |l: &crate::Layer| {
        let node = graph.node(l.node);
        let weight = graph.constant(node.inputs[1]);
        let sizes = weight.map(|w| w.shape().to_vec()).unwrap_or_default();
        let weight = weight.and_then(Tensor::as_f32).unwrap_or_default();
        let channels = sizes.first().copied().unwrap_or(1).max(1);
        let each = (weight.len() / channels).max(1);
        let span = |w: &[f32]| w.iter().fold(0.0f32, |m, v| m.max(v.abs()));
        let largest = span(weight);
        let smallest = weight
            .chunks_exact(each)
            .map(span)
            .fold(f32::INFINITY, f32::min);
        let rounded = integers(weight, channels, options, |_| 0.0);
        let floats: Vec<f32> = (0..channels)
            .flat_map(|c| rounded.floats(c, each))
            .collect();
        let (signal, noise) = agreement::power(weight, &floats);
        LayerReport {
            name: node.name.clone(),
            weight_max: largest,
            channel_spread: if largest > 0.0 {
                smallest / largest
            } else {
                1.0
            },
            weight_sqnr_db: agreement::decibels(signal, noise),
            sqnr_db: comparison
                .tensors
                .iter()
                .find(|s| s.node == l.end)
                .map(|s| s.db),
        }
    };
    let tensor = |id| {
        let range = calibration.ranges.get(&id)?;
        Some(TensorReport {
            name: graph.node(id).name.clone(),
            min: range.min,
            max: range.max,
            low: range.low,
            high: range.high,
        })
    };
    Report {
        model: graph.name.clone(),
        method: method.to_string(),
        images: calibration.images,
        reduced_range: options.reduce_range,
        equalized: options.equalize,
        bias_corrected: options.correct_bias,
        layers: placement.layers.iter().map(layer).collect(),
        tensors: placement.roots().into_iter().filter_map(tensor).collect(),
        kept: placement.kept.clone(),
        bytes_before: bytes(graph),
        bytes_after: bytes(quantized),
        agreement: comparison.agreement.clone(),
    }
}

/// Bytes of all parameters.
fn bytes(graph: &Graph) -> usize {
    let data = graph.parameters().filter_map(|(_, p)| p.data.as_ref());
    data.map(Tensor::data)
        .map(|d: &TensorData| d.len() * d.dtype().bytes())
        .sum()
}
