//! From pixels to transformed tiles where windows move by two: even and odd rows and columns are
//! tiles of their own.

use super::input::{SOURCES, store};
use super::places::Grid;
use super::transform::{products, strided_input, taps};
use crate::isa::{Simd, Task};

/// Outputs of a tile on each axis of the plane, and its products.
pub(super) const OUTPUTS: usize = 4;
const PRODUCTS: usize = products(OUTPUTS, taps(2));
/// Rows and columns that a tile reads.
const READ: usize = 2 * OUTPUTS + 1;

/// Transforms the inputs of the vectors of tiles `first..first + vectors` of all channels to
/// `[frequency, channel · slice · filter, tiles]`: at most frequencies four filters, of even or odd
/// rows by even or odd columns, two or one at the frequencies at infinity. The slices that a window of
/// a volume covers are transformed one by one, as if they were channels.
pub(super) struct StridedInput<'a> {
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
    /// Elements from one frequency to the next and from one row of tiles to the next.
    pub(super) frequency: usize,
    pub(super) pitch: usize,
}

/// The pixels under a run: two registers and one pixel more.
#[derive(Clone, Copy)]
struct Run<S: Simd> {
    offset: isize,
    lanes: [S::Mask; 3],
}

/// The nine columns of the pixels of a vector of tiles, whose runs begin at `plane` and the offsets of
/// `sources`: first the five even ones, then the odd ones.
///
/// # Safety
/// The lanes that the sources name must be readable.
#[inline(always)]
unsafe fn columns<S: Simd>(s: S, plane: *const f32, sources: &[Run<S>]) -> [[S::V; 5]; 2] {
    let zero = s.splat(0.0);
    let (mut even, mut odd, mut after) = ([zero; 4], [zero; 4], [zero; 4]);
    for (i, source) in sources.iter().enumerate().take(OUTPUTS) {
        let at = plane.wrapping_offset(source.offset);
        // SAFETY: as this function's.
        let (a, b) = unsafe {
            after[i] = s.load_masked(at.wrapping_add(2 * S::LANES), source.lanes[2]);
            (
                s.load_masked(at, source.lanes[0]),
                s.load_masked(at.wrapping_add(S::LANES), source.lanes[1]),
            )
        };
        let parts = s.part(a, b);
        (even[i], odd[i]) = (s.mend(parts[0]), s.mend(parts[1]));
    }
    let (even, odd, after) = (s.transpose(even), s.transpose(odd), s.transpose(after));
    // SAFETY: the table names elements of two registers.
    let next = unsafe { s.lookup(even[0], after[0], NEXT.as_ptr()) };
    [
        [even[0], even[1], even[2], even[3], next],
        [odd[0], odd[1], odd[2], odd[3], zero],
    ]
}

/// From the first column of every tile and that of the tiles after the runs, the first column of every
/// next tile: tiles of four runs lie by turns, see [`Simd::transpose`].
static NEXT: [i32; 16] = [4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19];

impl StridedInput<'_> {
    /// Slices that a window covers.
    fn slices(&self) -> usize {
        self.grid.geometry.kernel[0]
    }

    /// Where each row of each slice of each vector of tiles comes from.
    #[inline(always)]
    fn sources<S: Simd>(&self, s: S) -> [Run<S>; SOURCES] {
        let none = Run {
            offset: 0,
            lanes: [s.mask(0, 0); 3],
        };
        let mut sources = [none; SOURCES];
        let slices = self.slices();
        let used = self.vectors * slices * READ * OUTPUTS;
        for (i, to) in sources[..used].iter_mut().enumerate() {
            let (at, run) = (i / OUTPUTS, i % OUTPUTS);
            let (at, row) = (at / READ, at % READ);
            let (vector, slice) = (at / slices, at % slices);
            let run = (self.first + vector) * OUTPUTS + run;
            let source = (self.grid).source(run, self.batch, self.all, slice, row);
            to.offset = source.offset;
            let [near, far, next] = source.lanes;
            // Not through a closure: it would be compiled without the instruction set.
            to.lanes = [
                s.mask(near.0, near.1),
                s.mask(far.0, far.1),
                s.mask(next.0, next.1.min(1)),
            ];
        }
        sources
    }
}

impl Task for StridedInput<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let last = (PRODUCTS * PRODUCTS - 1) * self.frequency;
        assert!(
            self.to.len() >= last + 4 * self.channels * self.slices() * self.pitch
                && self.vectors * S::LANES <= self.pitch,
            "room for the transformed tiles"
        );
        let sources = self.sources(s);
        let area = self.grid.geometry.input_area();
        let zero = s.splat(0.0);
        // Per row parity and column parity: rows of the tile by frequencies of its columns.
        let mut half = [[[[zero; 5]; 5]; 2]; 2];
        for channel in 0..self.channels {
            let plane = self.x.as_ptr().wrapping_add(channel * area);
            for i in 0..self.vectors * self.slices() {
                for row in 0..READ {
                    let from = (i * READ + row) * OUTPUTS;
                    let sources = &sources[from..from + OUTPUTS];
                    for source in sources {
                        let next = plane.wrapping_offset(source.offset + area as isize + 1);
                        s.prefetch(next);
                        s.prefetch(next.wrapping_add(S::LANES));
                    }
                    // SAFETY: the grid names lanes that lie in the input.
                    let [even, odd] = unsafe { columns(s, plane, sources) };
                    half[row % 2][0][row / 2] = strided_input(s, even);
                    half[row % 2][1][row / 2] = strided_input(s, odd);
                }
                let (vector, slice) = (i / self.slices(), i % self.slices());
                let line = channel * self.slices() + slice;
                let to = self.to.as_mut_ptr().wrapping_add(vector * S::LANES);
                for column in 0..PRODUCTS {
                    let across = filters(column);
                    for filter in 0..2 * across {
                        let (y, x) = (filter / across, filter % across);
                        let mut d = [zero; 5];
                        for (row, d) in d.iter_mut().enumerate() {
                            *d = half[y][x][row][column];
                        }
                        let v = strided_input(s, d);
                        for row in 0..PRODUCTS {
                            if y >= filters(row) {
                                continue;
                            }
                            let count = filters(row) * across;
                            let at = (row * PRODUCTS + column) * self.frequency
                                + (line * count + filter) * self.pitch;
                            // SAFETY: below the length asserted.
                            unsafe { store(s, to.add(at), count * self.pitch, v[row]) };
                        }
                    }
                }
            }
        }
    }
}

/// The filters of one axis that have a product at frequency `i`: the odd one has none at infinity.
const fn filters(i: usize) -> usize {
    if i + 1 == PRODUCTS { 1 } else { 2 }
}
