//! Max and average pooling.

use slicewise_graph::{Pool, PoolKind};

use crate::isa::Simd;
use crate::window::{After, Sweep, Window};
use crate::{Context, Geometry};

/// What a pooling window makes of its elements.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum PoolingKind {
    /// The largest.
    Max,
    /// The mean.
    Average,
}

/// A pool prepared for one input size.
#[derive(Debug)]
pub struct Pooling {
    sweep: Sweep,
    kind: PoolingKind,
    /// Elements that a window's mean is divided by: per axis, per output.
    counts: [Vec<f32>; 3],
}

impl Pooling {
    /// A pool of `planes` planes from `input` to `output` spatial sizes.
    pub fn new(
        context: &Context,
        spec: &Pool,
        planes: usize,
        input: &[usize],
        output: &[usize],
    ) -> Self {
        let g = Geometry::pool(spec, input, output);
        let (kind, padding_counts) = match spec.kind {
            PoolKind::Max => (PoolingKind::Max, false),
            PoolKind::Average { count_include_pad } => (PoolingKind::Average, count_include_pad),
        };
        let missing = 3 - spec.pads.len();
        let counts = std::array::from_fn(|axis| {
            let after = if axis < missing {
                0
            } else {
                spec.pads[axis - missing].1
            };
            let before = g.before[axis].unsigned_abs();
            let count = |o: usize| {
                let (begin, end) = (o * g.stride[axis], o * g.stride[axis] + g.kernel[axis]);
                // The window is cut at the padded end, as PyTorch does in ceil mode.
                match padding_counts {
                    true => end.min(g.input[axis] + before + after) - begin,
                    false => end
                        .min(g.input[axis] + before)
                        .saturating_sub(begin.max(before)),
                }
            };
            (0..g.output[axis]).map(|o| count(o) as f32).collect()
        });
        Pooling {
            sweep: Sweep::new(context, g, planes),
            kind,
            counts,
        }
    }

    /// Pools `x` `[planes, spatial…]` into `y`.
    ///
    /// # Panics
    /// If a slice is not of that size.
    pub fn run(&self, context: &Context, x: &[f32], y: &mut [f32]) {
        match self.kind {
            PoolingKind::Max => self.sweep.run(context, Largest, 1, x, y, Nothing),
            PoolingKind::Average => {
                self.sweep.run(context, Sum, 1, x, y, Divide(&self.counts));
            }
        }
    }
}

#[derive(Clone, Copy)]
struct Largest;

impl Window for Largest {
    const FILL: f32 = f32::NEG_INFINITY;

    #[inline(always)]
    fn start<S: Simd>(self, s: S, _c: usize) -> S::V {
        s.splat(f32::NEG_INFINITY)
    }

    #[inline(always)]
    fn tap<S: Simd>(self, s: S, _c: usize, _t: usize) -> S::V {
        s.splat(1.0)
    }

    #[inline(always)]
    fn step<S: Simd>(self, s: S, _tap: S::V, sum: S::V, x: S::V) -> S::V {
        s.max(x, sum)
    }
}

#[derive(Clone, Copy)]
struct Sum;

impl Window for Sum {
    const FILL: f32 = 0.0;

    #[inline(always)]
    fn start<S: Simd>(self, s: S, _c: usize) -> S::V {
        s.splat(0.0)
    }

    #[inline(always)]
    fn tap<S: Simd>(self, s: S, _c: usize, _t: usize) -> S::V {
        s.splat(1.0)
    }

    #[inline(always)]
    fn step<S: Simd>(self, s: S, _tap: S::V, sum: S::V, x: S::V) -> S::V {
        s.add(sum, x)
    }
}

#[derive(Clone, Copy)]
struct Nothing;

impl After for Nothing {
    fn bounds(&self) -> Option<(f32, f32)> {
        Some((f32::NEG_INFINITY, f32::INFINITY))
    }

    #[inline(always)]
    unsafe fn row<S: Simd>(&self, _: S, _: usize, _: usize, _: *mut f32, _: usize, _: usize) {}
}

/// Divides sums by the number of elements they are of.
#[derive(Clone, Copy)]
struct Divide<'a>(&'a [Vec<f32>; 3]);

impl After for Divide<'_> {
    fn bounds(&self) -> Option<(f32, f32)> {
        None
    }

    #[inline(always)]
    unsafe fn row<S: Simd>(&self, s: S, z: usize, row: usize, y: *mut f32, _at: usize, n: usize) {
        let [depth, height, width] = self.0;
        let rows = s.splat(depth[z] * height[row]);
        assert_eq!(width.len(), n, "whole rows");
        let mut i = 0;
        while i < n {
            let count = S::LANES.min(n - i);
            // SAFETY: `count` elements from i < n on.
            unsafe {
                let divisor = s.mul(rows, s.load_first(width.as_ptr().add(i), count));
                let v = s.div(s.load_first(y.add(i), count), divisor);
                s.store_first(y.add(i), count, v);
            }
            i += count;
        }
    }
}
