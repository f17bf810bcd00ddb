//! A box of the input copied into scratch memory with its padding, so that kernels read without
//! looking where the input ends.
//!
//! Layout of one channel: planes of rows; a row is split by the horizontal stride into phases
//! (`x = stride · i + phase` lies at `i` of its phase), so that neighbouring outputs read
//! neighbouring elements whatever the stride.

use crate::Geometry;
use crate::isa::Simd;

/// A region of the output: first element and sizes on each axis.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Region {
    pub(crate) start: [usize; 3],
    pub(crate) size: [usize; 3],
}

impl Region {
    /// The elements in it.
    pub(crate) fn area(&self) -> usize {
        self.size.iter().product()
    }
}

/// The layout of the input under one output region of at most `size`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Halo {
    /// Rows on the depth and height axes.
    rows: [usize; 2],
    phases: usize,
    /// Elements from one phase to the next.
    pitch: usize,
}

impl Halo {
    pub(crate) fn new(g: &Geometry, size: [usize; 3], lanes: usize) -> Self {
        let extent = |axis: usize| (size[axis] - 1) * g.stride[axis] + g.span(axis);
        Halo {
            rows: [extent(0), extent(1)],
            phases: if g.kernel[2] == 1 { 1 } else { g.stride[2] },
            // Whole registers are read, and past the last tap's shift.
            pitch: size[2].next_multiple_of(lanes) + (g.span(2) - 1) / g.stride[2],
        }
    }

    fn row(&self) -> usize {
        self.phases * self.pitch
    }

    /// Elements of one channel.
    pub(crate) fn area(&self) -> usize {
        self.rows[0] * self.rows[1] * self.row()
    }

    /// Where the window of the output at `(z, y, 0)` of the region begins.
    pub(crate) fn origin(&self, g: &Geometry, z: usize, y: usize) -> usize {
        (z * g.stride[0] * self.rows[1] + y * g.stride[1]) * self.row()
    }

    /// Where each tap lies from the window's beginning, in the order of the weights.
    pub(crate) fn taps(&self, g: &Geometry) -> Vec<usize> {
        let mut taps = Vec::with_capacity(g.taps());
        for z in 0..g.kernel[0] {
            for y in 0..g.kernel[1] {
                for x in 0..g.kernel[2] {
                    let row = z * g.dilation[0] * self.rows[1] + y * g.dilation[1];
                    let x = x * g.dilation[2];
                    let phase = x % g.stride[2] * self.pitch;
                    taps.push(row * self.row() + phase + x / g.stride[2]);
                }
            }
        }
        taps
    }

    /// Copies what lies under `region` from one channel `x` of the input to `to`, `fill` outside.
    #[inline(always)]
    pub(crate) fn copy(&self, g: &Geometry, region: &Region, x: &[f32], to: &mut [f32], fill: f32) {
        // Of a smaller region at the edge only the rows it needs.
        let extent = |axis: usize| (region.size[axis] - 1) * g.stride[axis] + g.span(axis);
        for z in 0..extent(0) {
            let from_z = source(g, 0, region.start[0] * g.stride[0] + z);
            for y in 0..extent(1) {
                let from_y = source(g, 1, region.start[1] * g.stride[1] + y);
                let row = &mut to[(z * self.rows[1] + y) * self.row()..][..self.row()];
                match (from_z, from_y) {
                    (Some(z), Some(y)) => {
                        let from = &x[(z * g.input[1] + y) * g.input[2]..][..g.input[2]];
                        for phase in 0..self.phases {
                            let first = (region.start[2] * g.stride[2] + phase) as isize;
                            let to = &mut row[phase * self.pitch..][..self.pitch];
                            copy_phase(g, from, first - g.before[2], to, fill);
                        }
                    }
                    _ => row.fill(fill),
                }
            }
        }
    }
}

impl Halo {
    /// As [`Halo::copy`] with zeros outside, in registers.
    #[inline(always)]
    pub(crate) fn copy_zero<S: Simd>(
        &self,
        s: S,
        g: &Geometry,
        region: &Region,
        x: &[f32],
        to: &mut [f32],
    ) {
        let step = match (g.stride[2], self.phases, g.spread[2]) {
            (1, 1, 1) if self.pitch >= S::LANES => 1,
            (2, 2, 1) if self.pitch >= S::LANES => 2,
            _ => return self.copy(g, region, x, to, 0.0),
        };
        let extent = |axis: usize| (region.size[axis] - 1) * g.stride[axis] + g.span(axis);
        let first = (region.start[2] * step) as isize - g.before[2];
        for z in 0..extent(0) {
            let from_z = source(g, 0, region.start[0] * g.stride[0] + z);
            for y in 0..extent(1) {
                let from_y = source(g, 1, region.start[1] * g.stride[1] + y);
                let row = &mut to[(z * self.rows[1] + y) * self.row()..][..self.row()];
                let from = match (from_z, from_y) {
                    (Some(z), Some(y)) => &x[(z * g.input[1] + y) * g.input[2]..][..g.input[2]],
                    _ => &[],
                };
                match step {
                    1 => shift(s, from, first, row),
                    _ => split(s, from, first, row),
                }
            }
        }
    }
}

/// Copies `from`, position `first` of it to the beginning of `to`; zeros outside.
#[inline(always)]
fn shift<S: Simd>(s: S, from: &[f32], first: isize, to: &mut [f32]) {
    let mut i = 0;
    while i < to.len() {
        i = i.min(to.len() - S::LANES);
        let v = register(s, from, first + i as isize);
        // SAFETY: `to` has a register from i on.
        unsafe { s.store(to.as_mut_ptr().add(i), v) };
        i += S::LANES;
    }
}

/// Deals the elements of `from`, from position `first` on, out to the two halves of `to` by turns;
/// zeros outside.
#[inline(always)]
fn split<S: Simd>(s: S, from: &[f32], first: isize, to: &mut [f32]) {
    let (even, odd) = to.split_at_mut(to.len() / 2);
    let mut i = 0;
    while i < even.len() {
        i = i.min(even.len() - S::LANES);
        let at = first + 2 * i as isize;
        let low = register(s, from, at);
        let high = register(s, from, at + S::LANES as isize);
        let parts = s.part(low, high);
        // SAFETY: both halves have a register from i on.
        unsafe {
            s.store(even.as_mut_ptr().add(i), s.mend(parts[0]));
            s.store(odd.as_mut_ptr().add(i), s.mend(parts[1]));
        }
        i += S::LANES;
    }
}

/// The elements of `from` from position `at` on, zeros outside.
#[inline(always)]
pub(crate) fn register<S: Simd>(s: S, from: &[f32], at: isize) -> S::V {
    let inside = |n: isize| n.clamp(0, S::LANES as isize) as usize;
    let (begin, end) = (inside(-at), inside(from.len() as isize - at));
    if begin >= end {
        return s.splat(0.0);
    }
    let from = from.as_ptr().wrapping_offset(at);
    // SAFETY: elements `begin..end` of these are the slice's; no others are read.
    unsafe {
        match end - begin == S::LANES {
            true => s.load(from),
            false => s.load_masked(from, s.mask(begin, end)),
        }
    }
}

/// The input element that lies at position `at` of the padded, spread axis.
#[inline(always)]
fn source(g: &Geometry, axis: usize, at: usize) -> Option<usize> {
    let at = usize::try_from(at as isize - g.before[axis]).ok()?;
    let spread = g.spread[axis];
    (at.is_multiple_of(spread) && at / spread < g.input[axis]).then_some(at / spread)
}

/// Copies every `stride`-th element from position `first` of the spread row `from` on.
#[inline(always)]
fn copy_phase(g: &Geometry, from: &[f32], first: isize, to: &mut [f32], fill: f32) {
    let (stride, spread) = (g.stride[2], g.spread[2]);
    if spread > 1 {
        for (i, to) in to.iter_mut().enumerate() {
            let at = usize::try_from(first + (i * stride) as isize).ok();
            let at = at.filter(|at| at.is_multiple_of(spread) && at / spread < from.len());
            *to = at.map_or(fill, |at| from[at / spread]);
        }
        return;
    }
    let begin = usize::try_from(-first)
        .unwrap_or(0)
        .div_ceil(stride)
        .min(to.len());
    let end = usize::try_from(from.len() as isize - first).unwrap_or(0);
    let end = end.div_ceil(stride).clamp(begin, to.len());
    to[..begin].fill(fill);
    to[end..].fill(fill);
    if begin < end {
        let at = (first + (begin * stride) as isize) as usize;
        let (from, to) = (&from[at..], &mut to[begin..end]);
        match stride {
            1 => to.copy_from_slice(&from[..to.len()]),
            2 => every::<2>(from, to),
            _ => {
                for (to, from) in to.iter_mut().zip(from.iter().step_by(stride)) {
                    *to = *from;
                }
            }
        }
    }
}

/// Copies every `STEP`-th element; a constant step is what the compiler needs to shuffle registers.
#[inline(always)]
fn every<const STEP: usize>(from: &[f32], to: &mut [f32]) {
    let (last, body) = match to.split_last_mut() {
        Some(parts) => parts,
        None => return,
    };
    for (to, from) in body.iter_mut().zip(from.chunks_exact(STEP)) {
        *to = from[0];
    }
    *last = from[body.len() * STEP];
}
