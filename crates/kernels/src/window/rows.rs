//! Square windows of 3, 5, 7 or 9 taps a side at stride 1 or 2, swept over planes where they lie.
//!
//! Those of 3 taps a side have a way of their own (`threes`). Else a strip of `J` registers of outputs walks down a plane. For each row of the input its elements
//! are loaded once per column of taps, masked where the row ends, and go into all sums that are
//! open: at stride 1 the sums of `K` rows of outputs, at stride 2 those of `(K + 1) / 2`. At stride 2 two
//! registers of a row are parted into their even and odd elements. Taps are broadcast from memory.

use super::{After, Window};
use crate::isa::{Simd, Task};
use crate::shared::Shared;
use crate::{Context, Geometry};

/// Elements of a band of outputs: strips find the rows that they share in the first cache, and so
/// does the sweep that finishes them.
const BAND: usize = 4 * 1024;
/// Rows of a band at least: it reads `K - 1` rows besides its own.
const LEAST: usize = 8;

/// Whether windows are of a size and stride that this module sweeps.
pub(crate) fn is_usual(g: &Geometry) -> bool {
    let flat = g.kernel[0] == 1
        && g.stride[0] == 1
        && g.before[0] == 0
        && g.input[0] == g.output[0]
        && g.dilation == [1; 3]
        && g.spread == [1; 3];
    let square = g.kernel[1] == g.kernel[2] && g.stride[1] == g.stride[2];
    flat && square && matches!(g.kernel[1], 3 | 5 | 7 | 9) && matches!(g.stride[1], 1 | 2)
}

/// How planes are cut into bands of rows.
#[derive(Debug)]
pub(crate) struct Rows {
    geometry: Geometry,
    /// Rows of a band.
    band: usize,
}

impl Rows {
    /// `None` for windows that need another kernel.
    pub(crate) fn new(context: &Context, g: Geometry, planes: usize) -> Option<Self> {
        if !is_usual(&g) {
            return None;
        }
        let [_, height, width] = g.output;
        let mut band = (BAND / width).clamp(LEAST, height.max(LEAST));
        // A few planes only: cut them so that every thread has some rows.
        let wanted = 2 * context.threads();
        let planes = planes * g.output[0];
        if context.threads() > 1 && planes < wanted {
            band = band.min(height.div_ceil(wanted.div_ceil(planes)).max(LEAST));
        }
        Some(Rows { geometry: g, band })
    }

    /// See [`super::Sweep::run`].
    pub(crate) fn run<W: Window>(
        &self,
        context: &Context,
        window: W,
        channels: usize,
        x: &[f32],
        y: &mut [f32],
        after: impl After,
    ) {
        let g = &self.geometry;
        let planes = x.len() / g.input_area();
        assert_eq!(x.len(), planes * g.input_area(), "whole planes");
        assert_eq!(y.len(), planes * g.output_area(), "one result per window");
        let bands = g.output[1].div_ceil(self.band);
        let total = planes * g.output[0] * bands;
        let chunk = (total / (16 * context.threads())).max(1);
        let y = Shared::new(y);
        context.each(total.div_ceil(chunk), |task, _| {
            context.vectorize(Bands {
                rows: self,
                window,
                channels,
                x,
                y: &y,
                after,
                range: task * chunk..total.min((task + 1) * chunk),
                bands,
            });
        });
    }
}

/// Some bands of planes, on one thread.
struct Bands<'a, W, A> {
    rows: &'a Rows,
    window: W,
    channels: usize,
    x: &'a [f32],
    y: &'a Shared<'a, f32>,
    after: A,
    /// Which bands of all planes and depths.
    range: std::ops::Range<usize>,
    /// Bands of one plane.
    bands: usize,
}

impl<W: Window, A: After> Task for Bands<'_, W, A> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        match (self.rows.geometry.kernel[1], self.rows.geometry.stride[1]) {
            (3, 1) => self.sweep::<S, 3, 1>(s),
            (5, 1) => self.sweep::<S, 5, 1>(s),
            (7, 1) => self.sweep::<S, 7, 1>(s),
            (9, 1) => self.sweep::<S, 9, 1>(s),
            (3, 2) => self.sweep::<S, 3, 2>(s),
            (5, 2) => self.sweep::<S, 5, 2>(s),
            (7, 2) => self.sweep::<S, 7, 2>(s),
            (9, 2) => self.sweep::<S, 9, 2>(s),
            _ => {}
        }
    }
}

impl<W: Window, A: After> Bands<'_, W, A> {
    #[inline(always)]
    fn sweep<S: Simd, const K: usize, const STRIDE: usize>(&self, s: S) {
        let g = &self.rows.geometry;
        let [depth, height, width] = g.output;
        let area = g.input[1] * g.input[2];
        let bounds = self.after.bounds();
        for i in self.range.clone() {
            let (plane, first) = (i / self.bands, i % self.bands * self.rows.band);
            let count = self.rows.band.min(height - first);
            let x = &self.x[plane * area..][..area];
            let at = (plane * height + first) * width;
            // SAFETY: these rows of outputs are this task's alone.
            let y = unsafe { self.y.part(at, count * width) };
            s.vectorize(Band::<W, K, STRIDE> {
                window: self.window,
                channel: plane / depth % self.channels,
                g,
                x,
                rows: 0..g.input[1],
                first,
                count,
                y: y.as_mut_ptr(),
                cut: bounds.unwrap_or((f32::NEG_INFINITY, f32::INFINITY)),
            });
            if bounds.is_none() {
                // SAFETY: the rows just written.
                unsafe {
                    let z = plane % depth;
                    (self.after).band(s, z, first, y.as_mut_ptr(), at, count, width);
                }
            }
        }
    }
}

/// `count` rows of outputs of one plane from `first` on.
pub(crate) struct Band<'a, W, const K: usize, const STRIDE: usize> {
    pub(crate) window: W,
    pub(crate) channel: usize,
    pub(crate) g: &'a Geometry,
    /// Rows of the input, at least those that the windows see.
    pub(crate) x: &'a [f32],
    /// Which rows these are.
    pub(crate) rows: std::ops::Range<usize>,
    pub(crate) first: usize,
    pub(crate) count: usize,
    pub(crate) y: *mut f32,
    /// Results are cut to this range.
    pub(crate) cut: (f32, f32),
}

impl<W: Window, const K: usize, const STRIDE: usize> Task for Band<'_, W, K, STRIDE> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        if K == 3 {
            return self.of_three().rows(s);
        }
        let width = self.g.output[2];
        // With 16 registers the sums of two registers of a large window would be spilt.
        let pairs = K <= 5 || S::COLUMNS > 2;
        let mut at = 0;
        while at < width {
            let two = pairs && at + S::LANES < width;
            match (STRIDE, two) {
                (1, true) => self.dense::<S, 2>(s, at),
                (1, false) => self.dense::<S, 1>(s, at),
                (_, true) => self.strided::<S, 2>(s, at),
                (_, false) => self.strided::<S, 1>(s, at),
            }
            at += if two { 2 } else { 1 } * S::LANES;
        }
    }
}

impl<'a, W: Window, const K: usize, const STRIDE: usize> Band<'a, W, K, STRIDE> {
    /// The same as the type says where `K` is 3.
    #[inline(always)]
    fn of_three(self) -> Band<'a, W, 3, STRIDE> {
        Band {
            window: self.window,
            channel: self.channel,
            g: self.g,
            x: self.x,
            rows: self.rows,
            first: self.first,
            count: self.count,
            y: self.y,
            cut: self.cut,
        }
    }

    /// Row `r` of the input, if there is one.
    #[inline(always)]
    pub(super) fn row(&self, r: isize) -> Option<*const f32> {
        let r = usize::try_from(r).ok().filter(|r| self.rows.contains(r))?;
        Some(self.x[(r - self.rows.start) * self.g.input[2]..].as_ptr())
    }

    /// Which elements of a register that begins at column `first` of the input exist.
    #[inline(always)]
    pub(super) fn mask<S: Simd>(&self, s: S, first: isize) -> S::Mask {
        let from = usize::try_from(-first).unwrap_or(0);
        let to = usize::try_from(self.g.input[2] as isize - first).unwrap_or(0);
        s.mask(from, to)
    }

    /// The elements of a row from column `first` on.
    ///
    /// # Safety
    /// `row` must be a row of the input and `mask` that of `first`.
    #[inline(always)]
    pub(super) unsafe fn load<S: Simd>(
        &self,
        s: S,
        row: *const f32,
        first: isize,
        mask: S::Mask,
    ) -> S::V {
        // SAFETY: the mask leaves out what lies outside the row.
        let v = unsafe { s.load_masked(row.wrapping_offset(first), mask) };
        if W::FILL == 0.0 {
            v
        } else {
            s.blend(mask, v, s.splat(W::FILL))
        }
    }

    /// Writes a row of outputs of this strip.
    #[inline(always)]
    fn store<S: Simd, const J: usize>(&self, s: S, at: usize, row: usize, sums: [S::V; J]) {
        let width = self.g.output[2];
        let (low, high) = (s.splat(self.cut.0), s.splat(self.cut.1));
        for (j, sum) in sums.into_iter().enumerate() {
            let sum = match STRIDE {
                1 => sum,
                _ => s.mend(sum),
            };
            let v = s.min(high, s.max(low, sum));
            let at = at + j * S::LANES;
            let n = S::LANES.min(width - at);
            // SAFETY: n elements of row `row` of the band.
            unsafe {
                let y = self.y.add(row * width + at);
                if n == S::LANES {
                    s.store(y, v);
                } else {
                    s.store_first(y, n, v);
                }
            }
        }
    }

    #[inline(always)]
    fn tap<S: Simd>(&self, s: S, y: usize, x: usize) -> S::V {
        self.window.tap(s, self.channel, y * K + x)
    }

    /// `J` registers of columns from `at` on, stride 1.
    #[inline(always)]
    fn dense<S: Simd, const J: usize>(&self, s: S, at: usize) {
        let mut masks = [[s.mask(0, 0); J]; K];
        for x in 0..K {
            for j in 0..J {
                masks[x][j] = self.mask(s, self.column::<S>(at, j, x));
            }
        }
        let start = [self.window.start(s, self.channel); J];
        // The sums of K rows of outputs, the oldest first.
        let mut sums = [start; K];
        for i in 0..self.count + K - 1 {
            let all = i + 1 >= K && i < self.count;
            if let Some(row) = self.row((self.first + i) as isize - self.g.before[1]) {
                for x in 0..K {
                    let mut v = start;
                    for j in 0..J {
                        let first = self.column::<S>(at, j, x);
                        // SAFETY: a row of the input, with the masks of these columns.
                        v[j] = unsafe { self.load(s, row, first, masks[x][j]) };
                    }
                    for y in 0..K {
                        // Rows of outputs that are not of this band are left out.
                        if !all && (y > i || i - y >= self.count) {
                            continue;
                        }
                        let tap = self.tap(s, y, x);
                        for j in 0..J {
                            let sum = &mut sums[K - 1 - y][j];
                            *sum = self.window.step(s, tap, *sum, v[j]);
                        }
                    }
                }
            }
            if i + 1 >= K {
                self.store(s, at, i + 1 - K, sums[0]);
            }
            for k in 1..K {
                sums[k - 1] = sums[k];
            }
            sums[K - 1] = start;
        }
    }

    /// The column of the input where tap column `x` of register `j` of outputs begins.
    #[inline(always)]
    pub(super) fn column<S: Simd>(&self, at: usize, j: usize, x: usize) -> isize {
        (STRIDE * (at + j * S::LANES) + x) as isize - self.g.before[2]
    }

    /// The elements of a row that each column of taps sees, stride 2: even and odd elements of two
    /// registers serve two columns.
    ///
    /// # Safety
    /// `row` must be a row of the input and `masks` those of both registers per pair of columns.
    #[inline(always)]
    unsafe fn parted<S: Simd, const J: usize>(
        &self,
        s: S,
        at: usize,
        row: *const f32,
        masks: &[[[S::Mask; 2]; J]; K],
    ) -> [[S::V; J]; K] {
        let mut v = [[s.splat(0.0); J]; K];
        for x in 0..K.div_ceil(2) {
            for j in 0..J {
                let first = self.column::<S>(at, j, 2 * x);
                let [low, high] = masks[x][j];
                // SAFETY: the caller vouches for row and masks.
                unsafe {
                    let low = self.load(s, row, first, low);
                    let high = self.load(s, row, first + S::LANES as isize, high);
                    let [even, odd] = s.part(low, high);
                    v[2 * x][j] = even;
                    if 2 * x + 1 < K {
                        v[2 * x + 1][j] = odd;
                    }
                }
            }
        }
        v
    }

    /// Takes up the elements `v` of row `y` of the taps.
    #[inline(always)]
    fn take<S: Simd, const J: usize>(
        &self,
        s: S,
        y: usize,
        sums: &mut [S::V; J],
        v: &[[S::V; J]; K],
    ) {
        for x in 0..K {
            let tap = self.tap(s, y, x);
            for j in 0..J {
                sums[j] = self.window.step(s, tap, sums[j], v[x][j]);
            }
        }
    }

    /// `J` registers of columns from `at` on, stride 2.
    #[inline(always)]
    fn strided<S: Simd, const J: usize>(&self, s: S, at: usize) {
        let mut masks = [[[s.mask(0, 0); 2]; J]; K];
        for x in 0..K.div_ceil(2) {
            for j in 0..J {
                let first = self.column::<S>(at, j, 2 * x);
                masks[x][j] = [self.mask(s, first), self.mask(s, first + S::LANES as isize)];
            }
        }
        let start = [self.window.start(s, self.channel); J];
        // The sums of the last (K + 1) / 2 rows of outputs, the oldest first.
        let open = K.div_ceil(2);
        let mut sums = [start; K];
        for i in 0..self.count + open - 1 {
            let r = 2 * (self.first + i) as isize - self.g.before[1];
            if let Some(row) = self.row(r) {
                // SAFETY: a row of the input, with the masks of these columns.
                let v = unsafe { self.parted(s, at, row, &masks) };
                for y in 0..open {
                    if y <= i && i - y < self.count {
                        self.take(s, 2 * y, &mut sums[open - 1 - y], &v);
                    }
                }
            }
            if i + 1 >= open {
                self.store(s, at, i + 1 - open, sums[0]);
            }
            for k in 1..open {
                sums[k - 1] = sums[k];
            }
            sums[open - 1] = start;
            if let Some(row) = self.row(r + 1) {
                // SAFETY: as above.
                let v = unsafe { self.parted(s, at, row, &masks) };
                for y in 0..open - 1 {
                    if y <= i && i - y < self.count {
                        self.take(s, 2 * y + 1, &mut sums[open - 2 - y], &v);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Depthwise, Epilogue, Isa};
    use proptest::prelude::*;

    fn noise(n: usize, seed: usize) -> Vec<f32> {
        let value = |i: usize| ((i * 2_654_435_761 + seed * 40_503) % 2003) as f32 / 1000.0 - 1.0;
        (0..n).map(value).collect()
    }

    fn geometry(kernel: usize, stride: usize, input: [usize; 2], pads: [usize; 4]) -> Geometry {
        let size = |i: usize| (input[i] + pads[i] + pads[i + 2] - kernel) / stride + 1;
        Geometry {
            input: [1, input[0], input[1]],
            output: [1, size(0), size(1)],
            kernel: [1, kernel, kernel],
            stride: [1, stride, stride],
            dilation: [1; 3],
            before: [0, pads[0] as isize, pads[1] as isize],
            spread: [1; 3],
        }
    }

    /// Sums of all taps, one output after the other.
    fn reference(g: &Geometry, weight: &[f32], bias: &[f32], x: &[f32]) -> Vec<f32> {
        let (k, stride) = (g.kernel[1], g.stride[1]);
        let mut y = Vec::new();
        for (plane, x) in x.chunks_exact(g.input_area()).enumerate() {
            let channel = plane % bias.len();
            for i in 0..g.output_area() {
                let (row, column) = (i / g.output[2], i % g.output[2]);
                let mut sum = f64::from(bias[channel]);
                for t in 0..k * k {
                    let r = (row * stride + t / k) as isize - g.before[1];
                    let c = (column * stride + t % k) as isize - g.before[2];
                    let inside = |v: isize, n: usize| v >= 0 && (v as usize) < n;
                    if inside(r, g.input[1]) && inside(c, g.input[2]) {
                        let x = x[r as usize * g.input[2] + c as usize];
                        sum += f64::from(x) * f64::from(weight[channel * k * k + t]);
                    }
                }
                y.push(sum as f32);
            }
        }
        y
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 3 } else { 300 }))]

        #[test]
        fn windows_of_any_size_equal_the_sum_of_their_taps(
            kernel in prop::sample::select(vec![3usize, 5, 7, 9]),
            stride in 1usize..=2,
            input in [1usize..40, 1usize..80],
            pads in [0usize..5, 0usize..5, 0usize..5, 0usize..5],
            batch in 1usize..3,
            channels in 1usize..4,
            seed in 0usize..1000,
        ) {
            prop_assume!((0..2).all(|i| input[i] + pads[i] + pads[i + 2] >= kernel));
            let g = geometry(kernel, stride, input, pads);
            let products = batch * channels * g.output_area() * g.taps();
            prop_assume!(!crate::is_long_for_miri(products / 8));
            let x = noise(batch * channels * g.input_area(), seed);
            let weight = noise(channels * g.taps(), seed + 1);
            let bias = noise(channels, seed + 2);
            let want = reference(&g, &weight, &bias, &x);
            for isa in Isa::available() {
                let mut first: Option<Vec<f32>> = None;
                for &threads in crate::TEST_THREADS {
                    let context = Context::new(isa, threads);
                    prop_assert!(Rows::new(&context, g, batch * channels).is_some());
                    let conv = Depthwise::new(&context, g, batch, channels, &weight, Some(&bias));
                    let mut y = vec![f32::NAN; want.len()];
                    conv.run(&context, &x, &mut y, Epilogue::default());
                    for (i, (y, want)) in y.iter().zip(&want).enumerate() {
                        let close = (y - want).abs() < 2e-5;
                        prop_assert!(close, "{} of {i} is {y}, not {want}", isa.name());
                    }
                    let first = first.get_or_insert_with(|| y.clone());
                    prop_assert_eq!(&y, first, "{} threads", threads);
                }
            }
        }
    }
}
