//! Planes of a scan as the network takes them: clipped, at its size, scaled, with their neighbours.

use std::sync::Arc;

use slicewise_graph::{GraphError, Tensor};

use crate::bundle::Interface;
use crate::intensity::{Intensity, Moments, Sums};

/// Makes the network's input.
#[derive(Clone, Debug)]
pub(crate) struct Images {
    pub(crate) interface: Interface,
    pub(crate) intensity: Intensity,
    /// Neighbouring slices that are the channels, or 1.
    pub(crate) slices: usize,
    /// The moments of the whole scan, where they are taken over it.
    pub(crate) scan: Option<Moments>,
}

/// A plane at the network's size, clipped but not yet scaled.
#[derive(Clone, Debug)]
pub(crate) struct Plane {
    values: Arc<Vec<f32>>,
    moments: Option<Moments>,
}

impl Images {
    /// Clips a plane of `[columns, rows]` values and brings it to the network's size.
    pub(crate) fn plane(&self, mut values: Vec<f32>, [columns, rows]: [usize; 2]) -> Plane {
        self.intensity.clip(&mut values);
        let moments = self.scan.or_else(|| {
            self.intensity.z_score.map(|_| {
                let mut sums = Sums::default();
                sums.add(&values);
                sums.moments()
            })
        });
        let want = [self.interface.width, self.interface.height];
        let values = match [columns, rows] == want {
            true => values,
            false => linear(&values, [columns, rows], want),
        };
        Plane {
            values: Arc::new(values),
            moments,
        }
    }

    /// The input of a batch of images, of which each is the planes of its neighbouring slices; zeros where
    /// `batch` is larger than what is given.
    pub(crate) fn tensor(&self, images: &[Vec<Plane>], batch: usize) -> Result<Tensor, GraphError> {
        let Interface {
            channels,
            height,
            width,
            ..
        } = self.interface;
        let pixels = height * width;
        let mut data = vec![0f32; batch * channels * pixels];
        for (image, out) in images.iter().zip(data.chunks_exact_mut(channels * pixels)) {
            for (channel, out) in out.chunks_exact_mut(pixels).enumerate() {
                let plane = &image[channel.min(image.len() - 1)];
                self.intensity
                    .apply(&plane.values, channel, plane.moments, out);
            }
        }
        Tensor::new(&[batch, channels, height, width], data)
    }
}

/// For every output position along an axis: the two input positions and the weight of the second, half
/// a pixel being the border (`align_corners=False` of PyTorch, `INTER_LINEAR` of OpenCV).
fn taps(from: usize, to: usize) -> Vec<(usize, usize, f32)> {
    let scale = from as f64 / to as f64;
    let tap = |x: usize| {
        let at = ((x as f64 + 0.5) * scale - 0.5).clamp(0.0, (from - 1) as f64);
        let low = at.floor();
        let first = low as usize;
        (first, (first + 1).min(from - 1), (at - low) as f32)
    };
    (0..to).map(tap).collect()
}

/// A plane of `from` columns and rows at another size, linearly interpolated.
fn linear(values: &[f32], from: [usize; 2], to: [usize; 2]) -> Vec<f32> {
    let (x, y) = (taps(from[0], to[0]), taps(from[1], to[1]));
    let mut out = Vec::with_capacity(to[0] * to[1]);
    let mut row = vec![0f32; from[0]];
    for &(above, below, share) in &y {
        let above = &values[above * from[0]..][..from[0]];
        let below = &values[below * from[0]..][..from[0]];
        for ((r, a), b) in row.iter_mut().zip(above).zip(below) {
            *r = a + (b - a) * share;
        }
        out.extend(
            x.iter()
                .map(|&(l, r, share)| row[l] + (row[r] - row[l]) * share),
        );
    }
    out
}

/// For every position along an axis of a scan, the position in the network's labels: that of the pixel
/// that its centre falls into.
pub(crate) fn nearest(from: usize, to: usize) -> Vec<usize> {
    // In integers, so that no rounding decides: floor((x + ½) · from / to).
    let source = |x: usize| ((2 * x + 1) as u128 * from as u128 / (2 * to as u128)) as usize;
    (0..to).map(source).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resizing_keeps_the_half_pixel_borders() {
        // torch.nn.functional.interpolate(mode="bilinear", align_corners=False).
        let got = linear(&[0.0, 1.0, 2.0, 3.0], [4, 1], [2, 1]);
        assert_eq!(got, [0.5, 2.5]);
        let got = linear(&[0.0, 4.0], [2, 1], [4, 1]);
        assert_eq!(got, [0.0, 1.0, 3.0, 4.0]);
        let got = linear(&[1.0, 2.0, 3.0, 4.0], [2, 2], [2, 2]);
        assert_eq!(got, [1.0, 2.0, 3.0, 4.0]);
    }

    #[test]
    fn labels_come_back_from_the_pixel_that_a_voxel_lies_in() {
        assert_eq!(nearest(2, 4), [0, 0, 1, 1]);
        assert_eq!(nearest(4, 2), [1, 3]);
        assert_eq!(nearest(3, 5), [0, 0, 1, 2, 2]);
        for (from, to) in [(512, 300), (512, 777), (7, 7)] {
            let there = nearest(from, to);
            // Symmetric: neither end is favoured, but for exact ties.
            for (x, &source) in there.iter().enumerate() {
                let mirrored = from - 1 - there[to - 1 - x];
                let tie = ((2 * x + 1) * from).is_multiple_of(2 * to);
                assert!(source == mirrored || tie, "{from} {to} {x}");
            }
        }
    }
}
