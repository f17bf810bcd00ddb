//! Volumes at another size: nearest, linear and cubic B-spline interpolation, one axis after the other.
//!
//! The two conventions of where samples lie, and who keeps to them:
//!
//! - [`Alignment::HalfPixel`]: the borders of the volume stay where they are. `grid_mode=True` of
//!   `scipy.ndimage.zoom`, `skimage.transform.resize` (and so nnU-Net), `align_corners=False` of PyTorch.
//! - [`Alignment::Corners`]: the centres of the first and the last voxel stay where they are.
//!   `scipy.ndimage.zoom` by default (and so TotalSegmentator), `align_corners=True`.
//!
//! Beyond its border a volume goes on as it ends (`mode="nearest"` of scipy). Nothing is smoothed before
//! it is made smaller.

use crate::{Affine, Grid, GridError};

/// How a value between voxels is made.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Interpolation {
    /// The value of the nearest voxel; at a tie that of the higher index.
    Nearest,
    /// Between the two neighbours.
    Linear,
    /// The cubic B-spline through the voxels: prefiltered, so that it meets their values (Unser 1999).
    Cubic,
}

/// Where the voxels of the new size lie.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Alignment {
    /// Borders stay.
    HalfPixel,
    /// Centres of the outermost voxels stay.
    Corners,
}

impl Alignment {
    /// Where voxel `at` of `to` lies among `from` voxels.
    fn position(self, at: usize, from: usize, to: usize) -> f64 {
        match self {
            Alignment::HalfPixel => (at as f64 + 0.5) * (from as f64 / to as f64) - 0.5,
            Alignment::Corners if to > 1 => at as f64 * ((from - 1) as f64 / (to - 1) as f64),
            Alignment::Corners => 0.0,
        }
    }
}

/// The size at which voxels of `grid` have about this spacing, in mm.
pub fn size_for_spacing(grid: &Grid, spacing: [f64; 3]) -> [usize; 3] {
    let (size, own) = (grid.size(), grid.spacing());
    [0, 1, 2].map(|a| ((size[a] as f64 * own[a] / spacing[a]).round() as usize).max(1))
}

/// Where the voxels lie after a volume on `grid` was brought to another size.
///
/// # Errors
/// If the size is none that a volume can have.
pub fn resized_grid(grid: &Grid, to: [usize; 3], alignment: Alignment) -> Result<Grid, GridError> {
    let from = grid.size();
    let mut change = Affine::of_spacing([1.0; 3]);
    for axis in 0..3 {
        // A grid has voxels along every axis; so must the new one, which is checked below.
        let to = to[axis].max(1);
        let first = alignment.position(0, from[axis], to);
        let step = match to {
            1 => alignment.position(1, from[axis], 1) - first,
            _ => alignment.position(1, from[axis], to) - first,
        };
        // A single voxel between corners keeps its size.
        change.matrix[axis][axis] = if step > 0.0 { step } else { 1.0 };
        change.origin[axis] = first;
    }
    Grid::new(to, grid.affine().after(&change))
}

/// Values of a volume of `from` voxels, i fastest, at size `to`.
///
/// # Panics
/// If there are not as many values as `from` says, or an extent is 0.
pub fn resample(
    values: &[f32],
    from: [usize; 3],
    to: [usize; 3],
    interpolation: Interpolation,
    alignment: Alignment,
) -> Vec<f32> {
    assert_eq!(values.len(), from.iter().product::<usize>());
    let mut size = from;
    let mut values = values.to_vec();
    // The axes that shrink first, so that the others have less to do.
    let mut axes = [0, 1, 2];
    axes.sort_by_key(|&a| (to[a] * 1000) / from[a].max(1));
    for axis in axes.into_iter().filter(|&a| to[a] != from[a]) {
        values = along(&values, size, axis, to[axis], interpolation, alignment);
        size[axis] = to[axis];
    }
    values
}

/// Labels of a volume of `from` voxels, i fastest, at size `to`: those of the nearest voxels.
///
/// # Panics
/// As [`resample`].
pub fn resample_labels<T: Copy>(
    labels: &[T],
    from: [usize; 3],
    to: [usize; 3],
    alignment: Alignment,
) -> Vec<T> {
    assert_eq!(labels.len(), from.iter().product::<usize>());
    let [i, j, k] = [0, 1, 2].map(|a| nearest(from[a], to[a], alignment));
    let mut out = Vec::with_capacity(to.iter().product());
    for &k in &k {
        for &j in &j {
            let row = (k * from[1] + j) * from[0];
            out.extend(i.iter().map(|&i| labels[row + i]));
        }
    }
    out
}

fn nearest(from: usize, to: usize, alignment: Alignment) -> Vec<usize> {
    let last = (from - 1) as f64;
    let voxel = |at| {
        (alignment.position(at, from, to) + 0.5)
            .floor()
            .clamp(0.0, last) as usize
    };
    (0..to).map(voxel).collect()
}

/// Voxels that a line is continued by before it is filtered: the filter's memory has faded to 1e-9 there.
const PAD: usize = 16;

/// The voxels that a new one is made of, and their weights.
struct Tap {
    first: usize,
    weights: [f64; 4],
    count: usize,
}

fn taps(from: usize, to: usize, interpolation: Interpolation, alignment: Alignment) -> Vec<Tap> {
    let last = (from - 1) as f64;
    let tap = |at| {
        let position = alignment.position(at, from, to);
        let mut weights = [0.0; 4];
        match interpolation {
            Interpolation::Nearest => {
                weights[0] = 1.0;
                Tap {
                    first: (position + 0.5).floor().clamp(0.0, last) as usize,
                    weights,
                    count: 1,
                }
            }
            Interpolation::Linear => {
                let position = position.clamp(0.0, last);
                let first = position.floor().min((last - 1.0).max(0.0));
                let share = position - first;
                weights[..2].copy_from_slice(&[1.0 - share, share]);
                Tap {
                    first: first as usize,
                    weights,
                    count: from.min(2),
                }
            }
            Interpolation::Cubic => {
                let below = position.floor();
                let t = position - below;
                let (t2, t3) = (t * t, t * t * t);
                Tap {
                    // Within the continued line.
                    first: (below as isize - 1 + PAD as isize) as usize,
                    weights: [
                        (1.0 - t).powi(3) / 6.0,
                        (3.0 * t3 - 6.0 * t2 + 4.0) / 6.0,
                        (-3.0 * t3 + 3.0 * t2 + 3.0 * t + 1.0) / 6.0,
                        t3 / 6.0,
                    ],
                    count: 4,
                }
            }
        }
    };
    (0..to).map(tap).collect()
}

/// One axis at another size.
fn along(
    values: &[f32],
    size: [usize; 3],
    axis: usize,
    to: usize,
    interpolation: Interpolation,
    alignment: Alignment,
) -> Vec<f32> {
    let from = size[axis];
    let inner: usize = size[..axis].iter().product();
    let outer: usize = size[axis + 1..].iter().product();
    let taps = taps(from, to, interpolation, alignment);
    let pad = if interpolation == Interpolation::Cubic {
        PAD
    } else {
        0
    };
    let mut line = vec![0f64; from + 2 * pad];
    let mut out = vec![0f32; inner * to * outer];
    for o in 0..outer {
        for i in 0..inner {
            let begin = o * from * inner + i;
            for n in 0..from {
                line[pad + n] = f64::from(values[begin + n * inner]);
            }
            if pad > 0 {
                let (first, last) = (line[pad], line[pad + from - 1]);
                line[..pad].fill(first);
                line[pad + from..].fill(last);
                to_coefficients(&mut line);
            }
            let begin = o * to * inner + i;
            for (n, tap) in taps.iter().enumerate() {
                let used = &line[tap.first..tap.first + tap.count];
                let sum: f64 = used.iter().zip(tap.weights).map(|(v, w)| v * w).sum();
                out[begin + n * inner] = sum as f32;
            }
        }
    }
    out
}

/// Values to cubic B-spline coefficients, mirrored at the ends (Unser, Aldroubi and Eden 1993): a causal
/// and an anticausal recursion with the pole √3 - 2.
fn to_coefficients(line: &mut [f64]) {
    let pole = 3f64.sqrt() - 2.0;
    let n = line.len();
    let gain = (1.0 - pole) * (1.0 - 1.0 / pole);
    line.iter_mut().for_each(|v| *v *= gain);
    // The line is padded by far more than the terms that count.
    let mut power = 1.0;
    let mut first = 0.0;
    for &value in line.iter().take(40) {
        first += value * power;
        power *= pole;
    }
    line[0] = first;
    for x in 1..n {
        line[x] += pole * line[x - 1];
    }
    line[n - 1] = pole / (pole * pole - 1.0) * (line[n - 1] + pole * line[n - 2]);
    for x in (0..n - 1).rev() {
        line[x] = pole * (line[x + 1] - line[x]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ALL: [Interpolation; 3] = [
        Interpolation::Nearest,
        Interpolation::Linear,
        Interpolation::Cubic,
    ];
    const BOTH: [Alignment; 2] = [Alignment::HalfPixel, Alignment::Corners];

    #[test]
    fn the_grid_says_where_resampled_voxels_lie() {
        // A ramp of world coordinates stays one, where no border interferes.
        let mut affine = Affine::of_spacing([0.5, 2.0, 3.0]);
        affine.origin = [4.0, -1.0, 7.0];
        let grid = Grid::new([12, 9, 10], affine).unwrap();
        let values: Vec<f32> = (0..12 * 9 * 10)
            .map(|at| {
                grid.affine()
                    .apply([(at % 12) as f64, (at / 12 % 9) as f64, (at / 108) as f64])[1]
                    as f32
            })
            .collect();
        let to = [7, 15, 10];
        for alignment in BOTH {
            let resized = resized_grid(&grid, to, alignment).unwrap();
            let got = resample(&values, grid.size(), to, Interpolation::Linear, alignment);
            for at in 7 * 3..7 * 12 {
                let index = [(at % 7) as f64, (at / 7) as f64, 0.0];
                let want = resized.affine().apply(index)[1];
                assert!(
                    (f64::from(got[at]) - want).abs() < 1e-4,
                    "{alignment:?} {at}"
                );
            }
        }
        assert_eq!(size_for_spacing(&grid, [1.0, 1.0, 1.0]), [6, 18, 30]);
    }

    proptest! {
        #[test]
        fn the_same_size_is_the_same_volume_and_constants_stay(
            from in prop::array::uniform3(1usize..6),
            to in prop::array::uniform3(1usize..9),
            value in -2000f32..3000.0,
        ) {
            let constant = vec![value; from.iter().product()];
            let ramp: Vec<f32> = (0..constant.len()).map(|v| v as f32).collect();
            for interpolation in ALL {
                for alignment in BOTH {
                    prop_assert_eq!(&resample(&ramp, from, from, interpolation, alignment), &ramp);
                    let got = resample(&constant, from, to, interpolation, alignment);
                    prop_assert_eq!(got.len(), to.iter().product::<usize>());
                    prop_assert!(got.iter().all(|v| (v - value).abs() < 1e-3));
                }
            }
        }

        #[test]
        fn voxels_that_stay_keep_their_values(n in 2usize..9, factor in 1usize..5) {
            // Between corners, every factor-th voxel of the larger volume is one of the smaller.
            let values: Vec<f32> = (0..n).map(|v| ((v * 37) % 11) as f32).collect();
            let to = (n - 1) * factor + 1;
            for interpolation in ALL {
                let got = resample(&values, [1, n, 1], [1, to, 1], interpolation, Alignment::Corners);
                for (at, want) in values.iter().enumerate() {
                    prop_assert!((got[at * factor] - want).abs() < 1e-4);
                }
            }
        }

        #[test]
        fn labels_are_those_of_the_nearest_values(
            from in prop::array::uniform3(1usize..6),
            to in prop::array::uniform3(1usize..9),
        ) {
            let labels: Vec<u16> = (0..from.iter().product::<usize>() as u16).collect();
            let values: Vec<f32> = labels.iter().map(|&l| f32::from(l)).collect();
            for alignment in BOTH {
                let got = resample_labels(&labels, from, to, alignment);
                let want = resample(&values, from, to, Interpolation::Nearest, alignment);
                let got: Vec<f32> = got.into_iter().map(f32::from).collect();
                prop_assert_eq!(got, want);
            }
        }
    }
}
