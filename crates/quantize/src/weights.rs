//! Weights as 8-bit integers around zero.

use slicewise_graph::{Graph, GraphError, NodeId, Op, Tensor, passes::Rewriter};

use crate::{Granularity, Options};

/// A convolution's weight in integers.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Integers {
    /// `[O, C/groups, kernel…]`, as the floats were.
    pub(crate) values: Vec<i8>,
    /// What one step stands for, per output channel, or one for all.
    pub(crate) scales: Vec<f32>,
}

impl Integers {
    /// The scale of an output channel.
    pub(crate) fn scale(&self, channel: usize) -> f32 {
        self.scales[channel % self.scales.len()]
    }

    /// What output channel `channel` stands for, with `per_channel` elements.
    pub(crate) fn floats(&self, channel: usize, per_channel: usize) -> impl Iterator<Item = f32> {
        let scale = self.scale(channel);
        let values = &self.values[channel * per_channel..][..per_channel];
        values.iter().map(move |&q| f32::from(q) * scale)
    }
}

/// Rounds a weight of `channels` output channels. `least` says the least scale that each channel
/// may have, so that its bias fits 32 bits in steps of that scale times the input's.
pub(crate) fn integers(
    weight: &[f32],
    channels: usize,
    options: &Options,
    least: impl Fn(usize) -> f32,
) -> Integers {
    let per_channel = (weight.len() / channels.max(1)).max(1);
    let limit = options.weight_limit() as f32;
    let scale = |largest: f32, least: f32| {
        let scale = (largest / limit).max(least);
        // A channel of zeros, or of numbers too small to divide by, has no scale of its own.
        if scale.is_normal() { scale } else { 1.0 }
    };
    let largest = |w: &[f32]| w.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    let scales: Vec<f32> = match options.granularity {
        Granularity::PerChannel => (weight.chunks_exact(per_channel).enumerate())
            .map(|(c, w)| scale(largest(w), least(c)))
            .collect(),
        Granularity::PerTensor => {
            let least = (0..channels).map(&least).fold(0.0, f32::max);
            vec![scale(largest(weight), least)]
        }
    };
    let mut values = Vec::with_capacity(weight.len());
    for (c, w) in weight.chunks_exact(per_channel).enumerate() {
        let scale = scales[c % scales.len()];
        let round = |v: &f32| (v / scale).round_ties_even().clamp(-limit, limit) as i8;
        values.extend(w.iter().map(round));
    }
    Integers { values, scales }
}

/// The graph with other values for some of its parameters; names and roles stay.
pub(crate) fn with_parameters(
    graph: &Graph,
    values: &std::collections::BTreeMap<NodeId, Vec<f32>>,
) -> Result<Graph, GraphError> {
    let mut rewriter = Rewriter::new(graph);
    for (id, node) in graph.iter() {
        if let (Some(data), Op::Parameter(p)) = (values.get(&id), &node.op) {
            let shape = node.shape.sizes().unwrap_or_default();
            let tensor = Tensor::new(&shape, data.clone())?;
            let new = rewriter.graph.constant_tensor(&node.name, p.role, tensor)?;
            rewriter.replace(id, new);
        } else {
            rewriter.copy(id)?;
        }
    }
    rewriter.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_channel_uses_its_whole_range_and_zeros_stay_zeros() {
        let weight = [1.27, -0.635, 0.0, 0.0, 0.0127, 0.01];
        let got = integers(&weight, 3, &Options::default(), |_| 0.0);
        assert_eq!(got.values, [127, -64, 0, 0, 127, 100]);
        assert_eq!(got.scales[1], 1.0);
        let tensor = Options {
            granularity: Granularity::PerTensor,
            ..Options::default()
        };
        assert_eq!(
            integers(&weight, 3, &tensor, |_| 0.0).values,
            [127, -64, 0, 0, 1, 1]
        );
        let narrow = Options {
            reduce_range: true,
            ..Options::default()
        };
        assert_eq!(
            integers(&weight, 3, &narrow, |_| 0.0).values[..2],
            [64, -32]
        );
    }

    #[test]
    fn a_scale_is_widened_where_the_bias_would_not_fit() {
        let got = integers(&[1e-9, 2e-9], 2, &Options::default(), |c| [0.0, 0.5][c]);
        assert_eq!(got.values, [127, 0]);
        assert_eq!(got.scales[1], 0.5);
    }
}
