//! Bias correction: rounded weights shift the mean of what a layer makes; the shift is known from
//! the mean of its input and goes into the bias (Nagel et al. 2019, section 4.2; Banner et al. 2019).

use slicewise_graph::Conv;

use crate::weights::Integers;

/// What to take from each output channel's bias: the mean of `(W_q − W) · x` over the calibration
/// images, from the means of the input's channels. The zeros around the image are not counted.
pub(crate) fn shifts(conv: &Conv, weight: &[f32], rounded: &Integers, means: &[f32]) -> Vec<f32> {
    let taps: usize = conv.kernel.iter().product();
    let per_group = (means.len() / conv.groups.max(1)).max(1);
    let per_channel = (per_group * taps).max(1);
    let channels = weight.len() / per_channel;
    let outputs_per_group = (channels / conv.groups.max(1)).max(1);
    let shift = |channel: usize| {
        let first = channel / outputs_per_group * per_group;
        let original = &weight[channel * per_channel..][..per_channel];
        let errors = rounded.floats(channel, per_channel).zip(original);
        let products = errors.enumerate().map(|(i, (q, w))| {
            let mean = means.get(first + i / taps).copied().unwrap_or(0.0);
            f64::from(q - w) * f64::from(mean)
        });
        products.sum::<f64>() as f32
    };
    (0..channels).map(shift).collect()
}
