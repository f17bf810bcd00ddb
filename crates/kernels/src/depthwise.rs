//! Depthwise convolution: every channel sees only itself.

use crate::conv::Epilogue;
use crate::isa::Simd;
use crate::window::{Sweep, Window};
use crate::{Context, Geometry};

/// A convolution in which every channel sees only itself.
#[derive(Debug)]
pub struct Depthwise {
    sweep: Sweep,
    taps: usize,
    weight: Vec<f32>,
    bias: Vec<f32>,
}

/// Weights of all channels, and what their sums start from.
#[derive(Clone, Copy)]
pub(crate) struct Weights<'a> {
    pub(crate) weight: &'a [f32],
    pub(crate) bias: &'a [f32],
    /// Weights of a channel.
    pub(crate) taps: usize,
}

impl Window for Weights<'_> {
    const FILL: f32 = 0.0;

    #[inline(always)]
    fn start<S: Simd>(self, s: S, c: usize) -> S::V {
        s.splat(self.bias[c])
    }

    #[inline(always)]
    fn tap<S: Simd>(self, s: S, c: usize, t: usize) -> S::V {
        // SAFETY: one weight per channel and tap, checked when the convolution was made.
        s.splat(unsafe { *self.weight.get_unchecked(c * self.taps + t) })
    }

    #[inline(always)]
    fn step<S: Simd>(self, s: S, tap: S::V, sum: S::V, x: S::V) -> S::V {
        s.fma(tap, x, sum)
    }
}

impl Depthwise {
    /// Keeps `weight` `[C, 1, kernel…]` and `bias` `[C]`.
    ///
    /// # Panics
    /// If there is not one weight per channel and tap.
    pub fn new(
        context: &Context,
        geometry: Geometry,
        batch: usize,
        channels: usize,
        weight: &[f32],
        bias: Option<&[f32]>,
    ) -> Self {
        assert_eq!(
            weight.len(),
            channels * geometry.taps(),
            "a weight per channel and tap"
        );
        assert!(
            bias.is_none_or(|b| b.len() == channels),
            "a bias per channel"
        );
        Depthwise {
            taps: geometry.taps(),
            sweep: Sweep::new(context, geometry, batch * channels),
            weight: weight.to_vec(),
            bias: bias.map_or_else(|| vec![0.0; channels], <[f32]>::to_vec),
        }
    }

    /// Convolves `x` `[N, C, spatial…]` into `y`.
    ///
    /// # Panics
    /// If a slice is not of that size.
    pub fn run(&self, context: &Context, x: &[f32], y: &mut [f32], epilogue: Epilogue<'_>) {
        assert!(
            epilogue.residual.is_none_or(|r| r.len() == y.len()),
            "the residual's size"
        );
        let window = Weights {
            weight: &self.weight,
            bias: &self.bias,
            taps: self.taps,
        };
        let channels = self.bias.len();
        self.sweep.run(context, window, channels, x, y, epilogue);
    }
}
