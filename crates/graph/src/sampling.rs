//! Where resampling reads: the one place that holds PyTorch's coordinate conventions.

use crate::{Coordinates, Resize, ResizeMode};

/// One input position that an output sample is made from, and its share; shares add up to one.
pub type Tap = (usize, f64);

/// The taps of every output sample along spatial axis `axis` of an input of `input` samples.
///
/// Coordinates follow PyTorch's `area_pixel_compute_source_index` (clamped below zero for linear,
/// open for cubic) and `_compute_weights_aa` for antialiasing, computed in f64.
pub fn taps(resize: &Resize, axis: usize, input: usize) -> Vec<Vec<Tap>> {
    let output = resize.size[axis];
    let scale = match (&resize.scales, resize.coordinates) {
        (_, Coordinates::AlignCorners) if output > 1 => (input - 1) as f64 / (output - 1) as f64,
        (_, Coordinates::AlignCorners) => 0.0,
        (Some(scales), _) => f64::from(scales[axis]),
        (None, _) => input as f64 / output as f64,
    };
    (0..output)
        .map(|i| sample(resize, i as f64, scale, input))
        .collect()
}

fn sample(resize: &Resize, i: f64, scale: f64, input: usize) -> Vec<Tap> {
    let last = input - 1;
    let at = match resize.coordinates {
        Coordinates::HalfPixel => (i + 0.5) * scale - 0.5,
        Coordinates::AlignCorners | Coordinates::Asymmetric => i * scale,
    };
    match resize.mode {
        ResizeMode::Nearest => {
            let nearest = match resize.coordinates {
                Coordinates::Asymmetric => at.floor(),
                // Ties go down: 0.5 is nearest to 0.
                _ => (at - 0.5).ceil(),
            };
            vec![((nearest.max(0.0) as usize).min(last), 1.0)]
        }
        ResizeMode::Linear => {
            let at = at.max(0.0);
            let low = (at.floor() as usize).min(last);
            let high = (low + 1).min(last);
            let share = (at - low as f64).min(1.0);
            if share == 0.0 || high == low {
                vec![(low, 1.0)]
            } else {
                vec![(low, 1.0 - share), (high, share)]
            }
        }
        ResizeMode::Cubic { antialias: false } => {
            let low = at.floor();
            (-1..=2)
                .map(|k| {
                    let position = (low + f64::from(k)).clamp(0.0, last as f64);
                    (position as usize, cubic(at - low - f64::from(k), -0.75))
                })
                .collect()
        }
        ResizeMode::Cubic { antialias: true } => {
            let widen = scale.max(1.0);
            let (centre, support) = (scale * (i + 0.5), 2.0 * widen);
            let begin = ((centre - support + 0.5) as isize).max(0) as usize;
            let end = ((centre + support + 0.5) as usize).min(input);
            let weight = |j: usize| cubic((j as f64 - centre + 0.5) / widen, -0.5);
            let total: f64 = (begin..end).map(weight).sum();
            (begin..end).map(|j| (j, weight(j) / total)).collect()
        }
    }
}

/// Keys' cubic convolution kernel with parameter `a`.
fn cubic(x: f64, a: f64) -> f64 {
    let x = x.abs();
    if x < 1.0 {
        ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * a
    } else {
        0.0
    }
}
