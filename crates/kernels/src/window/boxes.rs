//! Windows of any geometry over single channels.
//!
//! A channel (or some rows of it) is copied with its padding into scratch memory, then four
//! registers of outputs at a time take up one tap after the other: four along a row, or four rows
//! of one register where rows are short. Per tap that is four loads and one broadcast for four
//! multiply-adds, so the loads are the limit (5 per 4), not the arithmetic; for small planes the
//! copy takes longer than both.

use super::{After, Window};
use crate::blocking::with_rows;
use crate::halo::{Halo, Region};
use crate::isa::{Simd, Task};
use crate::shared::Shared;
use crate::{Context, Geometry};

/// Elements of a copied box: 256 KB.
const BOX: usize = 64 * 1024;

/// How planes are cut into boxes.
#[derive(Debug)]
pub(crate) struct Boxes {
    geometry: Geometry,
    size: [usize; 3],
    halo: Halo,
    taps: Vec<u32>,
}

impl Boxes {
    pub(crate) fn new(context: &Context, geometry: Geometry, planes: usize) -> Self {
        let (g, lanes) = (&geometry, context.isa().lanes());
        let fits = |size| Halo::new(g, size, lanes).area() <= BOX;
        let mut size = with_rows(g, [1, 1, g.output[2]], fits);
        // A few planes only: cut them so that every thread has some rows.
        let wanted = 2 * context.threads();
        let axis = usize::from(g.output[0] == 1);
        if context.threads() > 1 && planes < wanted {
            let rows = g.output[axis].div_ceil(wanted.div_ceil(planes)).max(8);
            size[axis] = size[axis].min(rows);
        }
        let halo = Halo::new(g, size, lanes);
        let taps = halo.taps(g).into_iter().map(|t| t as u32).collect();
        Boxes {
            geometry,
            size,
            halo,
            taps,
        }
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
                    boxes: self,
                    window,
                    channel: plane % channels,
                    region: Region { start, size },
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

struct Job<'a, W, A> {
    boxes: &'a Boxes,
    window: W,
    channel: usize,
    region: Region,
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
        let p = self.boxes;
        p.halo
            .copy(&p.geometry, &self.region, self.x, self.copy, W::FILL);
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
        let (p, g) = (self.boxes, &self.boxes.geometry);
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
        let taps = self.boxes.taps.as_ptr();
        let count = if T == 0 { self.boxes.taps.len() } else { T };
        let mut sums = [self.window.start(s, self.channel); J];
        for t in 0..count {
            // SAFETY: t is below the number of taps; the caller vouches for what they reach.
            unsafe {
                let x = x.add(taps.add(t).read() as usize);
                let tap = self.window.tap(s, self.channel, t);
                for (j, sum) in sums.iter_mut().enumerate() {
                    *sum = self.window.step(s, tap, *sum, s.load(x.add(j * step)));
                }
            }
        }
        sums
    }
}
