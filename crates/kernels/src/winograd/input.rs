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

/// Transforms the inputs of the vectors of tiles `first..first + vectors` of all channels to
/// `[frequency, channel, tiles]`.
pub(super) struct Input<'a, const Z: usize, const M: usize> {
    pub(super) grid: &'a Grid,
    pub(super) batch: usize,
    /// How many are transformed, of how many that an image has.
    pub(super) channels: usize,
    pub(super) all: usize,
    pub(super) first: usize,
    pub(super) vectors: usize,
    /// `[batch, all, spatial…]`, from the first channel on that is transformed.
    pub(super) x: &'a [f32],
    pub(super) to: &'a mut [f32],
    /// Elements from one frequency to the next and from one channel to the next.
    pub(super) frequency: usize,
    pub(super) pitch: usize,
}

/// The columns of the `M + 2` pixels of every tile of `M` runs: `near` are the runs, `far` those that
/// begin a tile further right.
#[inline(always)]
fn columns<S: Simd, const M: usize>(s: S, near: [S::V; 4], far: [S::V; 4]) -> [S::V; MOST] {
    if M == 2 {
        let zero = s.splat(0.0);
        let (near, far) = (s.part(near[0], near[1]), s.part(far[0], far[1]));
        return [
            s.mend(near[0]),
            s.mend(near[1]),
            s.mend(far[0]),
            s.mend(far[1]),
            zero,
            zero,
        ];
    }
    let (near, far) = (s.transpose(near), s.transpose(far));
    [near[0], near[1], near[2], near[3], far[0], far[1]]
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
    fn row<S: Simd>(&self, s: S, plane: *const f32, sources: &[Run<S>]) -> [S::V; MOST] {
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
        input::<S, M>(s, columns::<S, M>(s, near, far))
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
            let source = (self.grid).source(run, self.batch, self.all, slice, row);
            to.offset = source.offset;
            let [near, far, _] = source.lanes;
            // Not through a closure: it would be compiled without the instruction set.
            to.lanes = [s.mask(near.0, near.1), s.mask(far.0, far.1)];
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
                        half[row] = self.row(s, plane, &sources[from..from + M]);
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
