//! From pixels to transformed tiles.
//!
//! In volumes slices are transformed one by one and then along the depth axis. Tried and slower, 1.04
//! to 1.3 times: to sum the slices of one frequency first, so that a quarter of the transformed tiles
//! is kept at a time and stays in the second cache; every slice is then loaded twice.

use super::places::{Grid, RUNS};
use super::transform::{MOST, input, products};
use crate::isa::{Simd, Task};

/// Sources of a block at most: per run the rows of its slices.
pub(super) const SOURCES: usize = RUNS * MOST * MOST;

/// A run of pixels of a row: see [`super::places::Source`].
#[derive(Clone, Copy)]
struct Run<S: Simd> {
    offset: isize,
    lanes: [S::Mask; 2],
}

/// Which lanes of two registers make up one, for [`Simd::lookup`].
pub(super) type Lanes = [i32; 16];

/// Transforms the inputs of the vectors of tiles `first..first + vectors` of all channels to
/// `[frequency, channel, tiles]`.
pub(super) struct Input<'a, const Z: usize, const M: usize> {
    pub(super) grid: &'a Grid,
    pub(super) batch: usize,
    pub(super) channels: usize,
    pub(super) first: usize,
    pub(super) vectors: usize,
    /// `[batch, channels, spatial…]`
    pub(super) x: &'a [f32],
    pub(super) to: &'a mut [f32],
    /// Elements from one frequency to the next and from one channel to the next.
    pub(super) frequency: usize,
    pub(super) pitch: usize,
}

/// How pixels are split by their column in the tile.
pub(super) struct Split {
    /// From two runs: columns 0 and 1 of their tiles, columns 2 and 3.
    pairs: [Lanes; 2],
    /// From two registers: their first halves, their second halves.
    halves: [Lanes; 2],
}

impl Split {
    #[inline(always)]
    pub(super) fn new<S: Simd, const M: usize>() -> Self {
        let half = S::LANES / 2;
        let lanes = |lane: &dyn Fn(usize, usize) -> usize| {
            let mut all = [0; 16];
            for i in 0..S::LANES {
                all[i] = lane(i / half, i % half) as i32;
            }
            all
        };
        let column = |from: usize| {
            let mut all = [0; 16];
            for i in 0..S::LANES {
                all[i] = match M {
                    2 => (i * 2 + from) as i32,
                    _ => (i % half * 4 + from + i / half) as i32,
                };
            }
            all
        };
        let pairs = match M {
            2 => [column(0), column(1)],
            _ => [column(0), column(2)],
        };
        Split {
            pairs,
            halves: [
                lanes(&|second, i| second * S::LANES + i),
                lanes(&|second, i| second * S::LANES + half + i),
            ],
        }
    }

    /// The columns of `M + 2` pixels of every tile: `near` are the runs, `far` those that begin a
    /// tile further right.
    #[inline(always)]
    fn columns<S: Simd, const M: usize>(
        &self,
        s: S,
        near: [S::V; 4],
        far: [S::V; 4],
    ) -> [S::V; MOST] {
        if M == 2 {
            // SAFETY: all indices are below 2 · LANES.
            let pick = |a, b, lanes: &Lanes| unsafe { s.lookup(a, b, lanes.as_ptr()) };
            let zero = s.splat(0.0);
            let both = |x: [S::V; 4]| self.pairs.map(|lanes| pick(x[0], x[1], &lanes));
            let (near, far) = (both(near), both(far));
            return [near[0], near[1], far[0], far[1], zero, zero];
        }
        let (near, far) = (self.four(s, near), self.two(s, far, 0));
        [near[0], near[1], near[2], near[3], far[0], far[1]]
    }

    /// The columns of four runs of tiles of four pixels.
    #[inline(always)]
    pub(super) fn four<S: Simd>(&self, s: S, runs: [S::V; 4]) -> [S::V; 4] {
        let (first, second) = (self.two(s, runs, 0), self.two(s, runs, 1));
        [first[0], first[1], second[0], second[1]]
    }

    /// The first two or the last two of them.
    #[inline(always)]
    fn two<S: Simd>(&self, s: S, runs: [S::V; 4], pair: usize) -> [S::V; 2] {
        // SAFETY: all indices are below 2 · LANES.
        let pick = |a, b, lanes: &Lanes| unsafe { s.lookup(a, b, lanes.as_ptr()) };
        let pairs = [
            pick(runs[0], runs[1], &self.pairs[pair]),
            pick(runs[2], runs[3], &self.pairs[pair]),
        ];
        [
            self.first_halves(s, pairs),
            pick(pairs[0], pairs[1], &self.halves[1]),
        ]
    }

    /// The first halves of two registers.
    #[inline(always)]
    pub(super) fn first_halves<S: Simd>(&self, s: S, pair: [S::V; 2]) -> S::V {
        // SAFETY: all indices are below 2 · LANES.
        unsafe { s.lookup(pair[0], pair[1], self.halves[0].as_ptr()) }
    }
}

/// Stores a register of one frequency at `to`, and asks for where the next channel's goes, `next`
/// elements further: frequencies lie so far apart that each store would wait for its line.
///
/// # Safety
/// `to` must be valid for writes of a register.
#[inline(always)]
pub(super) unsafe fn store<S: Simd>(s: S, to: *mut f32, next: usize, v: S::V) {
    s.prefetch_to_write(to.wrapping_add(next));
    // SAFETY: as this function's.
    unsafe { s.store(to, v) };
}

impl<const Z: usize, const M: usize> Input<'_, Z, M> {
    /// One row of a vector of tiles of the channel at `plane`, transformed along the row.
    #[inline(always)]
    fn row<S: Simd>(
        &self,
        s: S,
        split: &Split,
        plane: *const f32,
        sources: &[Run<S>],
    ) -> [S::V; MOST] {
        let zero = s.splat(0.0);
        let (mut near, mut far) = ([zero; 4], [zero; 4]);
        for i in 0..M {
            let source = &sources[i];
            let at = plane.wrapping_offset(source.offset);
            // SAFETY: the lanes named lie in the input.
            unsafe {
                near[i] = s.load_masked(at, source.lanes[0]);
                far[i] = s.load_masked(at.wrapping_add(M), source.lanes[1]);
            }
        }
        input::<S, M>(s, split.columns::<S, M>(s, near, far))
    }

    /// Where each row of each slice of each vector of tiles comes from.
    #[inline(always)]
    fn sources<S: Simd>(&self, s: S) -> [Run<S>; SOURCES] {
        let (slices, rows) = (products(Z, 3), products(M, 3));
        let none = Run {
            offset: 0,
            lanes: [s.mask(0, 0); 2],
        };
        let mut sources = [none; SOURCES];
        let used = self.vectors * slices * rows * M;
        for (i, to) in sources[..used].iter_mut().enumerate() {
            let (at, run) = (i / M, i % M);
            let (vector, at) = (at / (slices * rows), at % (slices * rows));
            let run = (self.first + vector) * M + run;
            let (slice, row) = (at / rows, at % rows);
            let source = (self.grid).source(run, self.batch, self.channels, slice, row);
            to.offset = source.offset;
            let [near, far, _] = source.lanes;
            to.lanes = [near, far].map(|(from, end)| s.mask(from, end));
        }
        sources
    }
}

impl<const Z: usize, const M: usize> Task for Input<'_, Z, M> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (slices, rows) = (products(Z, 3), products(M, 3));
        let last = (slices * rows * rows - 1) * self.frequency;
        assert!(
            self.to.len() >= last + self.channels * self.pitch
                && self.vectors * S::LANES <= self.pitch,
            "room for the transformed tiles"
        );
        let sources = self.sources(s);
        let split = Split::new::<S, M>();
        let area = self.grid.geometry.input_area();
        let zero = [s.splat(0.0); MOST];
        // Outside the loops: made anew for each vector they would be cleared each time, which took a
        // sixth of this function's time.
        let mut planes = [[zero; MOST]; MOST];
        let mut half = [zero; MOST];
        for channel in 0..self.channels {
            let plane = self.x.as_ptr().wrapping_add(channel * area);
            for vector in 0..self.vectors {
                let to = channel * self.pitch + vector * S::LANES;
                for slice in 0..slices {
                    for row in 0..rows {
                        let from = ((vector * slices + slice) * rows + row) * M;
                        for source in &sources[from..from + M] {
                            s.prefetch(plane.wrapping_offset(source.offset + area as isize + 1));
                        }
                        half[row] = self.row(s, &split, plane, &sources[from..from + M]);
                    }
                    for column in 0..rows {
                        let mut d = zero;
                        for row in 0..rows {
                            d[row] = half[row][column];
                        }
                        let v = input::<S, M>(s, d);
                        for row in 0..rows {
                            if Z > 1 {
                                planes[slice][row][column] = v[row];
                            } else {
                                let at = to + (row * rows + column) * self.frequency;
                                // SAFETY: below the length asserted.
                                unsafe {
                                    store(s, self.to.as_mut_ptr().add(at), self.pitch, v[row])
                                };
                            }
                        }
                    }
                }
                if Z > 1 {
                    for at in 0..rows * rows {
                        let mut d = zero;
                        for slice in 0..slices {
                            d[slice] = planes[slice][at / rows][at % rows];
                        }
                        let v = input::<S, Z>(s, d);
                        for slice in 0..slices {
                            let at = to + (slice * rows * rows + at) * self.frequency;
                            // SAFETY: below the length asserted.
                            unsafe {
                                store(s, self.to.as_mut_ptr().add(at), self.pitch, v[slice]);
                            }
                        }
                    }
                }
            }
        }
    }
}
