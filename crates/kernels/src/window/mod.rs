//! Windows over single channels: what depthwise convolutions and pools share.

mod boxes;
mod rows;
mod threes;

use crate::conv::Epilogue;
use crate::isa::Simd;
use crate::{Context, Geometry};
use boxes::Boxes;
use rows::Rows;
pub(crate) use rows::{Band, is_usual};

/// What a window makes of its taps.
pub(crate) trait Window: Copy + Send + Sync {
    /// What padding counts as.
    const FILL: f32;

    /// What channel `c` starts from.
    fn start<S: Simd>(self, s: S, c: usize) -> S::V;
    /// The weight of tap `t` of channel `c`.
    fn tap<S: Simd>(self, s: S, c: usize, t: usize) -> S::V;
    /// Takes up the elements `x` of a tap.
    fn step<S: Simd>(self, s: S, tap: S::V, sum: S::V, x: S::V) -> S::V;
}

/// What is done to finished rows of outputs.
pub(crate) trait After: Copy + Send + Sync {
    /// The range that results are cut to in registers, where that is all there is to do; a row
    /// would have to be read back while it is still being stored.
    fn bounds(&self) -> Option<(f32, f32)>;

    /// Finishes row `(z, row)` of a plane; `y` is `n` elements that lie at `at` of the output.
    ///
    /// # Safety
    /// `y` must be valid for reads and writes of `n` elements.
    unsafe fn row<S: Simd>(&self, s: S, z: usize, row: usize, y: *mut f32, at: usize, n: usize);

    /// Finishes `rows` whole rows of `width` from row `(z, row)` on, likewise.
    ///
    /// # Safety
    /// `y` must be valid for reads and writes of `rows * width` elements.
    #[inline(always)]
    #[allow(clippy::too_many_arguments)]
    unsafe fn band<S: Simd>(
        &self,
        s: S,
        z: usize,
        row: usize,
        y: *mut f32,
        at: usize,
        rows: usize,
        width: usize,
    ) {
        for i in 0..rows {
            // SAFETY: row i of those vouched for.
            unsafe { self.row(s, z, row + i, y.add(i * width), at + i * width, width) };
        }
    }
}

impl After for Epilogue<'_> {
    fn bounds(&self) -> Option<(f32, f32)> {
        Epilogue::bounds(self)
    }

    #[inline(always)]
    unsafe fn row<S: Simd>(&self, s: S, _z: usize, _row: usize, y: *mut f32, at: usize, n: usize) {
        // SAFETY: as this function's.
        unsafe { self.finish(s, y, at, n) }
    }

    #[inline(always)]
    unsafe fn band<S: Simd>(
        &self,
        s: S,
        _z: usize,
        _row: usize,
        y: *mut f32,
        at: usize,
        rows: usize,
        width: usize,
    ) {
        // SAFETY: rows lie one after the other.
        unsafe { self.finish(s, y, at, rows * width) }
    }
}

/// How windows are swept over planes.
#[derive(Debug)]
pub(crate) enum Sweep {
    /// Square windows of usual sizes, where the planes lie.
    Rows(Rows),
    /// Any windows, over copies.
    Boxes(Boxes),
}

impl Sweep {
    pub(crate) fn new(context: &Context, geometry: Geometry, planes: usize) -> Self {
        match Rows::new(context, geometry, planes) {
            Some(rows) => Sweep::Rows(rows),
            None => Sweep::Boxes(Boxes::new(context, geometry, planes)),
        }
    }

    /// Sweeps `window` over every plane of `x` `[planes, input…]`; plane `p` is of channel
    /// `p % channels`.
    ///
    /// # Panics
    /// If a slice is not of that size.
    pub(crate) fn run<W: Window>(
        &self,
        context: &Context,
        window: W,
        channels: usize,
        x: &[f32],
        y: &mut [f32],
        after: impl After,
    ) {
        match self {
            Sweep::Rows(rows) => rows.run(context, window, channels, x, y, after),
            Sweep::Boxes(boxes) => boxes.run(context, window, channels, x, y, after),
        }
    }
}
