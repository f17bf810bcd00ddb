//! Windows over single channels: depthwise convolution, and the sweep that pooling shares.
//!
//! A channel (or some rows of it) is copied with its padding into scratch memory, then four
//! registers of outputs at a time take up one tap after the other: four along a row, or four rows
//! of one register where rows are short. Per tap that is four loads and one broadcast for four
//! multiply-adds, so the loads are the limit (5 per 4), not the arithmetic.

use crate::conv::Epilogue;
use crate::halo::{Halo, Region};
use crate::isa::{Simd, Task};
use crate::shared::Shared;
use crate::{Context, Geometry};

/// Elements of a copied box: 256 KB.
const BOX: usize = 64 * 1024;

/// What a window makes of its taps.
pub(crate) trait Window: Copy + Send + Sync {
    /// What channel `c` starts from.
    fn start<S: Simd>(self, s: S, c: usize) -> S::V;
    /// Takes up tap `t` of channel `c`.
    fn step<S: Simd>(self, s: S, c: usize, t: usize, sum: S::V, x: S::V) -> S::V;
}

/// How planes are cut and swept.
#[derive(Debug)]
pub(crate) struct Planes {
    pub(crate) geometry: Geometry,
    size: [usize; 3],
    halo: Halo,
    taps: Vec<u32>,
}

impl Planes {
    pub(crate) fn new(context: &Context, geometry: Geometry, planes: usize) -> Self {
        let (g, lanes) = (&geometry, context.isa().lanes());
        let fits = |size| Halo::new(g, size, lanes).area() <= BOX;
        let mut size = [1, 1, g.output[2]];
        for axis in [1, 0] {
            let inner_whole = (axis + 1..3).all(|i| size[i] == g.output[i]);
            while inner_whole && size[axis] < g.output[axis] {
                let mut larger = size;
                larger[axis] += 1;
                if !fits(larger) {
                    break;
                }
                size = larger;
            }
        }
        // A few planes only: cut them so that every thread has some rows.
        let wanted = 2 * context.threads();
        let axis = usize::from(g.output[0] == 1);
        if context.threads() > 1 && planes < wanted {
            let rows = g.output[axis].div_ceil(wanted.div_ceil(planes)).max(8);
            size[axis] = size[axis].min(rows);
        }
        let halo = Halo::new(g, size, lanes);
        let taps = halo.taps(g).into_iter().map(|t| t as u32).collect();
        Planes {
            geometry,
            size,
            halo,
            taps,
        }
    }

    /// Sweeps `window` over every plane of `x` `[planes, input…]`; plane `p` is of channel
    /// `p % channels`. `fill` is what padding holds.
    pub(crate) fn run<W: Window>(
        &self,
        context: &Context,
        window: W,
        fill: f32,
        channels: usize,
        x: &[f32],
        y: &mut [f32],
        after: impl After,
    ) {
        let g = &self.geometry;
        let planes = x.len() / g.input_area();
        assert_eq!(x.len(), planes * g.input_area(), "whole planes");
        assert_eq!(y.len(), planes * g.output_area(), "one result per window");
        let boxes: [usize; 3] = std::array::from_fn(|i| g.output[i].div_ceil(self.size[i]));
        let count: usize = boxes.iter().product();
        let total = planes * count;
        let chunk = (total / (16 * context.threads())).max(1);
        let y = Shared::new(y);
        context.each(total.div_ceil(chunk), |task, scratch| {
            let copy = scratch.floats(self.halo.area());
            for i in task * chunk..total.min((task + 1) * chunk) {
                let (plane, at) = (i / count, i % count);
                let at = [at / boxes[1], at % boxes[1], 0];
                let start: [usize; 3] = std::array::from_fn(|i| at[i] * self.size[i]);
                let size = std::array::from_fn(|i| self.size[i].min(g.output[i] - start[i]));
                context.vectorize(Job {
                    planes: self,
                    window,
                    channel: plane % channels,
                    region: Region { start, size },
                    fill,
                    x: &x[plane * g.input_area()..][..g.input_area()],
                    copy,
                    plane: plane * g.output_area(),
                    y: &y,
                    after,
                });
            }
        });
    }
}

/// What is done to a finished row of outputs.
pub(crate) trait After: Copy + Send + Sync {
    /// The range that results are cut to in registers, where that is all there is to do; the row
    /// would have to be read back while it is still being stored.
    fn bounds(&self) -> Option<(f32, f32)>;

    /// Finishes row `(z, row)` of a plane; `y` is `n` elements that lie at `at` of the output.
    ///
    /// # Safety
    /// `y` must be valid for reads and writes of `n` elements.
    unsafe fn row<S: Simd>(&self, s: S, z: usize, row: usize, y: *mut f32, at: usize, n: usize);
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
}

struct Job<'a, W, A> {
    planes: &'a Planes,
    window: W,
    channel: usize,
    region: Region,
    fill: f32,
    x: &'a [f32],
    copy: &'a mut [f32],
    /// Where this plane begins in the output.
    plane: usize,
    y: &'a Shared<'a, f32>,
    after: A,
}

impl<W: Window, A: After> Task for Job<'_, W, A> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let p = self.planes;
        p.halo
            .copy(&p.geometry, &self.region, self.x, self.copy, self.fill);
        // A constant number of taps lets the compiler unroll them.
        match p.taps.len() {
            9 => self.sweep::<S, 9>(s),
            25 => self.sweep::<S, 25>(s),
            49 => self.sweep::<S, 49>(s),
            _ => self.sweep::<S, 0>(s),
        }
    }
}

impl<W: Window, A: After> Job<'_, W, A> {
    #[inline(always)]
    fn sweep<S: Simd, const T: usize>(&self, s: S) {
        let (p, g) = (self.planes, &self.planes.geometry);
        let [depth, height, width] = self.region.size;
        let start = self.region.start;
        let x = self.copy.as_ptr();
        let bounds = self.after.bounds();
        let cut = bounds.unwrap_or((f32::NEG_INFINITY, f32::INFINITY));
        for z in 0..depth {
            let place = |y: usize| {
                let row = (start[0] + z) * g.output[1] + start[1] + y;
                self.plane + row * g.output[2]
            };
            let down = p.halo.origin(g, 0, 1);
            let mut row = 0;
            while row < height {
                let rows = if width <= S::LANES && row + 4 <= height {
                    4
                } else {
                    1
                };
                // SAFETY: `rows` rows of `width` outputs from here on are this job's alone, and
                // the copied box has all taps of whole registers of them.
                unsafe {
                    let from = x.add(p.halo.origin(g, z, row));
                    let to = self.y.part(place(row), (rows - 1) * g.output[2] + width);
                    let to = to.as_mut_ptr();
                    if rows == 4 {
                        self.four::<S, T>(s, cut, from, down, to, g.output[2], width);
                    } else {
                        self.line::<S, T>(s, cut, from, to, width);
                    }
                    let unfinished = if bounds.is_some() { 0 } else { rows };
                    for i in 0..unfinished {
                        let at = place(row + i);
                        let to = to.add(i * g.output[2]);
                        self.after
                            .row(s, start[0] + z, start[1] + row + i, to, at, width);
                    }
                }
                row += rows;
            }
        }
    }

    /// One row of `n` outputs.
    ///
    /// # Safety
    /// See [`Job::four`], with its registers along the row.
    #[inline(always)]
    unsafe fn line<S: Simd, const T: usize>(
        &self,
        s: S,
        cut: (f32, f32),
        x: *const f32,
        y: *mut f32,
        n: usize,
    ) {
        let mut i = 0;
        // SAFETY: i + 4 LANES <= n, then single registers of at most n - i elements.
        unsafe {
            while i + 4 * S::LANES <= n {
                let (x, y) = (x.add(i), y.add(i));
                self.four::<S, T>(s, cut, x, S::LANES, y, S::LANES, S::LANES);
                i += 4 * S::LANES;
            }
            while i < n {
                let sum = self.registers::<S, T, 1>(s, x.add(i), 0);
                let sum = s.min(s.splat(cut.1), s.max(s.splat(cut.0), sum[0]));
                let n = S::LANES.min(n - i);
                if n == S::LANES {
                    s.store(y.add(i), sum);
                } else {
                    s.store_first(y.add(i), n, sum);
                }
                i += n;
            }
        }
    }

    /// Four registers of outputs, `n` elements of each.
    ///
    /// # Safety
    /// All taps of four registers, `x_step` apart, must be readable, and `n` elements writable in
    /// four places `y_step` apart.
    #[inline(always)]
    unsafe fn four<S: Simd, const T: usize>(
        &self,
        s: S,
        cut: (f32, f32),
        x: *const f32,
        x_step: usize,
        y: *mut f32,
        y_step: usize,
        n: usize,
    ) {
        // SAFETY: as this function's.
        unsafe {
            let sums = self.registers::<S, T, 4>(s, x, x_step);
            let (low, high) = (s.splat(cut.0), s.splat(cut.1));
            for (i, sum) in sums.into_iter().enumerate() {
                let sum = s.min(high, s.max(low, sum));
                let y = y.add(i * y_step);
                if n == S::LANES {
                    s.store(y, sum);
                } else {
                    s.store_first(y, n, sum);
                }
            }
        }
    }

    /// The results of `J` registers of windows, `step` apart.
    ///
    /// # Safety
    /// All their taps must be readable.
    #[inline(always)]
    unsafe fn registers<S: Simd, const T: usize, const J: usize>(
        &self,
        s: S,
        x: *const f32,
        step: usize,
    ) -> [S::V; J] {
        let taps = self.planes.taps.as_ptr();
        let count = if T == 0 { self.planes.taps.len() } else { T };
        let mut sums = [self.window.start(s, self.channel); J];
        for t in 0..count {
            // SAFETY: t is below the number of taps; the caller vouches for what they reach.
            unsafe {
                let x = x.add(taps.add(t).read() as usize);
                for (j, sum) in sums.iter_mut().enumerate() {
                    *sum = self
                        .window
                        .step(s, self.channel, t, *sum, s.load(x.add(j * step)));
                }
            }
        }
        sums
    }
}

/// A convolution in which every channel sees only itself.
#[derive(Debug)]
pub struct Depthwise {
    planes: Planes,
    weight: Vec<f32>,
    bias: Vec<f32>,
}

#[derive(Clone, Copy)]
struct Weights<'a> {
    weight: &'a [f32],
    bias: &'a [f32],
    taps: usize,
}

impl Window for Weights<'_> {
    #[inline(always)]
    fn start<S: Simd>(self, s: S, c: usize) -> S::V {
        s.splat(self.bias[c])
    }

    #[inline(always)]
    fn step<S: Simd>(self, s: S, c: usize, t: usize, sum: S::V, x: S::V) -> S::V {
        // SAFETY: one weight per channel and tap, checked when the convolution was made.
        let w = unsafe { *self.weight.get_unchecked(c * self.taps + t) };
        s.fma(s.splat(w), x, sum)
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
            planes: Planes::new(context, geometry, batch * channels),
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
            taps: self.planes.geometry.taps(),
        };
        let channels = self.bias.len();
        self.planes
            .run(context, window, 0.0, channels, x, y, epilogue);
    }
}
