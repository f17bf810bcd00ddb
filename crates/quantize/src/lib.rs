//! Static post-training quantization: a graph of floats in, the same graph with explicit
//! quantize/dequantize pairs (QDQ) out, which every engine that knows INT8 reads.
//!
//! The way through: the graph is simplified and its layers are equalized ([`equalize()`]); a plan
//! says which tensors become integers ([`place`]); calibration runs the graph on real inputs and
//! settles their ranges ([`calibrate()`]); the rewrite puts the pairs in
//! ([`quantize()`]); and the result is compared with the original on the same inputs
//! ([`compare()`]), layer by layer and as label maps, until enough of it agrees
//! ([`keep_accuracy()`]).
//!
//! Nothing here runs a network by itself: whoever calls hands over a function that makes a graph
//! ready to run ([`Compile`]).
#![forbid(unsafe_code)]

mod agreement;
mod bias;
mod calibrate;
mod compare;
mod equalize;
mod error;
mod fallback;
mod histogram;
mod images;
mod place;
mod report;
mod rewrite;
mod weights;

pub use agreement::{Agreement, Counts};
pub use calibrate::{Calibration, Range, calibrate};
pub use compare::{Comparison, Sqnr, compare};
pub use equalize::equalize;
pub use error::QuantizeError;
pub use fallback::{Fallback, keep_accuracy};
pub use histogram::Method;
pub use images::{Folder, Images, PixelRange, Synthetic};
pub use place::{Kept, Layer, Placement, place};
pub use report::{LayerReport, Report, TensorReport, report};
pub use rewrite::{Quantized, quantize};

use std::borrow::Cow;
use std::collections::BTreeSet;

use slicewise_graph::{Graph, Tensor};

/// A network ready to run: inputs in, outputs out, or the reason why not.
pub type Run = Box<dyn FnMut(&[Tensor]) -> Result<Vec<Tensor>, String>>;

/// Makes a graph ready to run in f32.
pub type Compile<'a> = dyn FnMut(&Graph) -> Result<Run, String> + 'a;

/// Told what is under way: what, how much of it is done, and how much there is.
pub type Progress<'a> = dyn FnMut(&str, usize, usize) + 'a;

/// The integers that activations become.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Activations {
    /// `U8` with a zero point of its own per tensor: the whole range is used.
    Asymmetric,
    /// `I8` around zero.
    Symmetric,
}

/// How many scales a weight has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Granularity {
    /// One per output channel.
    PerChannel,
    /// One for all.
    PerTensor,
}

/// What becomes of the layer that makes the class scores, and of what follows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Head {
    /// The layer stays in f32.
    F32,
    /// The layer multiplies integers, its scores stay f32.
    Scores,
    /// Scores are integers, also while they are resampled.
    Int8,
}

/// How a graph is quantized.
#[derive(Clone, PartialEq, Debug)]
pub struct Options {
    /// The integers that activations become.
    pub activations: Activations,
    /// How many scales a weight has. Weights are `I8` around zero.
    pub granularity: Granularity,
    /// Whether weights keep to 7 bits (-64 to 64), so that the sum of two products fits the 16 bits
    /// that CPUs without VNNI add them in (`vpmaddubsw`: 2 · 255 · 64 = 32640 < 32768).
    pub reduce_range: bool,
    /// What becomes of the class scores.
    pub head: Head,
    /// Whether the ranges of layers that follow each other are equalized before anything else
    /// ([`prepared`]).
    pub equalize: bool,
    /// Whether the mean error that rounded weights make is taken out of the biases.
    pub correct_bias: bool,
    /// Layers that stay in f32, by the node's name.
    pub keep: BTreeSet<String>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            activations: Activations::Asymmetric,
            granularity: Granularity::PerChannel,
            reduce_range: false,
            head: Head::Int8,
            equalize: true,
            correct_bias: true,
            keep: BTreeSet::new(),
        }
    }
}

impl Options {
    /// The defaults, with weights of 7 bits where this CPU has no VNNI.
    pub fn for_this_cpu() -> Self {
        Options {
            reduce_range: !sums_in_32_bits(),
            ..Options::default()
        }
    }

    /// Steps between the ends of an activation's range.
    pub fn levels(&self) -> f64 {
        match self.activations {
            Activations::Asymmetric => 255.0,
            Activations::Symmetric => 254.0,
        }
    }

    /// The largest integer of a weight.
    pub fn weight_limit(&self) -> i32 {
        if self.reduce_range { 64 } else { 127 }
    }
}

/// Whether this CPU sums products of 8 bits in 32 bits at once, as VNNI does.
pub fn sums_in_32_bits() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        is_x86_feature_detected!("avx512vnni") || is_x86_feature_detected!("avxvnni")
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        true
    }
}

/// The graph that is to be placed, calibrated and quantized: a simplified one, equalized if `options` say so.
///
/// # Errors
/// As [`equalize()`].
pub fn prepared<'a>(graph: &'a Graph, options: &Options) -> Result<Cow<'a, Graph>, QuantizeError> {
    Ok(match options.equalize {
        true => Cow::Owned(equalize(graph)?.0),
        false => Cow::Borrowed(graph),
    })
}

/// Prepares, places, calibrates and quantizes in one go: a simplified graph and images to the graph of integers.
///
/// # Errors
/// As [`prepared`], [`place()`], [`calibrate()`] and [`quantize()`].
pub fn quantize_on(
    graph: &Graph,
    images: &dyn Images,
    method: Method,
    options: &Options,
    compile: &mut Compile<'_>,
) -> Result<Quantized, QuantizeError> {
    let graph = &*prepared(graph, options)?;
    let placement = place(graph, options)?;
    let tensors = placement.watched();
    let mut silent = |_: &str, _: usize, _: usize| {};
    let levels = options.levels();
    let calibration = calibrate(
        graph,
        &tensors,
        images,
        method,
        levels,
        compile,
        &mut silent,
    )?;
    quantize(graph, &placement, &calibration, options)
}
