//! The strongest class of every output of a two-sample resampling, without the resampled scores.
//!
//! A *cell* is the square between four neighbouring samples (its corners); all outputs in it are
//! mixed from the corners with shares that are not negative and add up to one. A register holds one
//! corner of neighbouring cells. For each register of cells:
//! 1. every class gets its highest corner, and `floor` is the largest of all classes' lowest
//!    corners: a class whose highest corner is below it by more than rounding can change is nowhere
//!    the strongest in that cell;
//! 2. the classes that some cell of the register has left are the candidates; with only one, the
//!    cells are filled with it;
//! 3. else their scores are mixed at every place in the order in which [`crate::Resampling`] mixes
//!    them, columns first, so the labels are exactly those of the resampled scores, the first class
//!    on a tie.
//!
//! Rounding: products and sums are monotone, so a class that is lower at all corners is nowhere
//! higher; but it may come out equal, and then the lower index wins. Each of the two stages rounds
//! three times (share, product, sum), each time by at most 2⁻²⁴ of the value: a class that lies
//! below by 2⁻¹⁸ of the values stays below. Numbers that are not finite, or so large that a sum
//! could overflow, take a path without cells ([`Cells::plain`]).

use std::ops::Range;

use crate::arg_max::SharedLabels;
use crate::isa::Simd;
use crate::resize::Mix;

/// How far below the floor a class must be to be dropped, as a share of the floor.
const MARGIN: f32 = 1.0 / (1 << 18) as f32;
/// The same where the floor is nearly zero and results may lose bits: far above the smallest normal.
const LEAST: f32 = 1e-35;
/// Scores up to here, and sums of all scores of a row, cannot overflow (times 2⁻⁶⁴).
const HUGE: f32 = (1u64 << 62) as f32;
/// 2⁻⁶⁴
const SHRINK: f32 = 1.0 / (1u128 << 64) as f32;

/// The outputs of one axis by the pair of neighbouring samples that they lie between.
#[derive(Debug)]
pub(crate) struct Axis {
    mixes: Vec<Mix>,
    /// Per pair: the different shares of its outputs.
    shares: Vec<Vec<[f32; 2]>>,
    /// Per output: which of its pair's shares it has.
    phase: Vec<usize>,
    /// Per pair, and one more: its first output.
    first: Vec<usize>,
}

impl Axis {
    fn new(mixes: Vec<Mix>, input: usize) -> Self {
        let pairs = (input - 1).max(1);
        let mut shares: Vec<Vec<[f32; 2]>> = vec![Vec::new(); pairs];
        let mut phase = Vec::with_capacity(mixes.len());
        let mut first = vec![0; pairs + 1];
        for mix in &mixes {
            // A single sample is the first of its pair, the last sample of all the second of its.
            let pair = mix.at[0].min(pairs - 1);
            let share = match (mix.share[1] == 0.0, mix.at[0] == pair) {
                (true, true) => [1.0, 0.0],
                (true, false) => [0.0, 1.0],
                (false, _) => mix.share,
            };
            let of_pair = &mut shares[pair];
            let known = of_pair.iter().position(|s| *s == share);
            phase.push(known.unwrap_or(of_pair.len()));
            if known.is_none() {
                of_pair.push(share);
            }
            first[pair + 1] += 1;
        }
        for pair in 0..pairs {
            first[pair + 1] += first[pair];
        }
        Axis {
            mixes,
            shares,
            phase,
            first,
        }
    }

    /// The number of pairs.
    pub(crate) fn pairs(&self) -> usize {
        self.shares.len()
    }

    /// The outputs of some pairs.
    pub(crate) fn outputs(&self, pairs: Range<usize>) -> Range<usize> {
        self.first[pairs.start]..self.first[pairs.end]
    }

    /// The most different shares that a pair has.
    fn most(&self) -> usize {
        self.shares.iter().map(Vec::len).max().unwrap_or(0)
    }
}

/// A register of cells: where its shares begin, and how many different ones a cell has.
#[derive(Debug)]
struct Group {
    at: usize,
    phases: usize,
}

/// Cells whose outputs are simply its phases in order, as many in each.
#[derive(Debug, Default)]
struct Even {
    cells: Range<usize>,
    factor: usize,
}

/// A two-sample resampling of planes, cut into cells.
#[derive(Debug)]
pub(crate) struct Cells {
    pub(crate) rows: Axis,
    pub(crate) columns: Axis,
    /// Whether every output column is one sample: such columns are not mixed at all.
    single: bool,
    lanes: usize,
    groups: Vec<Group>,
    /// Per group, per phase: registers of the first and second sample's shares.
    shares: Vec<f32>,
    even: Even,
}

/// The scores of two neighbouring rows: class `c` of the first column at `c * pitch`, readable for
/// one register beyond the columns.
#[derive(Clone, Copy)]
pub(crate) struct Rows {
    pub(crate) top: *const f32,
    pub(crate) bottom: *const f32,
    pub(crate) pitch: usize,
    pub(crate) classes: usize,
    /// Whether all scores are finite and none is huge.
    pub(crate) tame: bool,
}

/// Memory to work in.
pub(crate) struct Work<'a> {
    /// The highest corners of every class.
    high: &'a mut [f32],
    candidates: &'a mut [u32],
    /// Labels as f32: `[row share, column share, cell]`.
    best: &'a mut [f32],
    /// A row of labels.
    line: &'a mut [f32],
}

impl Cells {
    /// The cells of a resampling of `[height, width]` samples.
    pub(crate) fn new(mixes: [Vec<Mix>; 2], input: [usize; 2], lanes: usize) -> Self {
        let [rows, columns] = mixes;
        let single = columns.iter().all(|m| m.share[1] == 0.0);
        let (rows, columns) = (Axis::new(rows, input[0]), Axis::new(columns, input[1]));
        let mut groups = Vec::new();
        let mut shares = Vec::new();
        for cells in columns.shares.chunks(lanes) {
            let phases = cells.iter().map(Vec::len).max().unwrap_or(0);
            groups.push(Group {
                at: shares.len(),
                phases,
            });
            for phase in 0..phases {
                for k in 0..2 {
                    // Where a cell has fewer, the first sample stands for it.
                    let share = |i: usize| cells.get(i).and_then(|c| c.get(phase));
                    let none = [1.0, 0.0];
                    shares.extend((0..lanes).map(|i| share(i).unwrap_or(&none)[k]));
                }
            }
        }
        let even = Even::new(&columns);
        Cells {
            rows,
            columns,
            single,
            lanes,
            groups,
            shares,
            even,
        }
    }

    /// Elements of memory to work in, for the cells of `pairs` of columns.
    pub(crate) fn work(&self, classes: usize, pairs: &Range<usize>) -> usize {
        let best = self.rows.most() * self.columns.most() * self.pitch(pairs);
        classes * self.lanes + classes + best + self.columns.outputs(pairs.clone()).len()
    }

    /// Elements from one column share to the next.
    fn pitch(&self, pairs: &Range<usize>) -> usize {
        pairs.len().next_multiple_of(self.lanes)
    }

    /// Parts of memory of the size of [`Cells::work`].
    pub(crate) fn split<'a>(
        &self,
        memory: &'a mut [f32],
        classes: usize,
        pairs: &Range<usize>,
    ) -> Work<'a> {
        let (high, rest) = memory.split_at_mut(classes * self.lanes);
        let (candidates, rest) = rest.split_at_mut(classes);
        let line = self.columns.outputs(pairs.clone()).len();
        let (best, line) = rest.split_at_mut(rest.len() - line);
        // SAFETY: f32 and u32 are of one size and alignment, and every pattern of bits is both.
        let candidates = unsafe {
            std::slice::from_raw_parts_mut(candidates.as_mut_ptr().cast::<u32>(), classes)
        };
        Work {
            high,
            candidates,
            best,
            line,
        }
    }

    /// Writes the labels of all outputs between two rows of samples and in the cells of `pairs` of
    /// columns, which begin on a register. `at(row)` is where an output row begins in `to`.
    ///
    /// # Safety
    /// `rows` must be readable as its description says, from the first column of `pairs` on; no
    /// other thread may touch these labels.
    #[inline(always)]
    pub(crate) unsafe fn write<S: Simd>(
        &self,
        s: S,
        pair: usize,
        pairs: &Range<usize>,
        rows: Rows,
        work: &mut Work<'_>,
        to: &SharedLabels<'_>,
        at: impl Fn(usize) -> usize,
    ) {
        let outputs = self.rows.outputs(pair..pair + 1);
        if outputs.is_empty() {
            return;
        }
        if !rows.tame {
            // SAFETY: as this function's.
            return unsafe { self.plain(s, pair, pairs, rows, work, to, at) };
        }
        let pitch = self.pitch(pairs);
        for group in pairs.start / S::LANES..pairs.end.div_ceil(S::LANES) {
            let first = group * S::LANES - pairs.start;
            let live = S::LANES.min(pairs.len() - first);
            let rows = Rows {
                top: rows.top.wrapping_add(first),
                bottom: rows.bottom.wrapping_add(first),
                ..rows
            };
            // SAFETY: as this function's; `best` has a register of every phase and row share.
            unsafe {
                let count = candidates(s, rows, live, work);
                let candidates = &work.candidates[..count];
                let best = work.best.as_mut_ptr().add(first);
                self.mix(s, pair, group, rows, candidates, best, pitch);
            }
        }
        for row in outputs {
            let from = self.rows.phase[row] * self.columns.most() * pitch;
            // SAFETY: as this function's.
            unsafe { self.spread(pairs, &work.best[from..], pitch, work.line, to, at(row)) };
        }
    }

    /// The strongest candidate at every row share and phase of a register of cells.
    ///
    /// # Safety
    /// As [`Cells::write`]; `best` must be writable for a register at each of
    /// `(row share · most phases + phase) · pitch`.
    #[inline(always)]
    unsafe fn mix<S: Simd>(
        &self,
        s: S,
        pair: usize,
        group: usize,
        rows: Rows,
        candidates: &[u32],
        best: *mut f32,
        pitch: usize,
    ) {
        let heights = &self.rows.shares[pair];
        let most = self.columns.most();
        let Group { at, phases } = self.groups[group];
        if let [only] = candidates {
            let label = s.splat(*only as f32);
            for y in 0..heights.len() {
                for x in 0..phases {
                    // SAFETY: as this function's.
                    unsafe { s.store(best.add((y * most + x) * pitch), label) };
                }
            }
            return;
        }
        let mut y = 0;
        while y < heights.len() {
            let left = heights.len() - y;
            let step = if left >= 4 { 4 } else { left.min(2) };
            let mut x = 0;
            while x < phases {
                let both = S::REGISTERS == 32 && x + 2 <= phases;
                let block = Block {
                    rows,
                    candidates,
                    shares: self.shares[at + 2 * x * S::LANES..].as_ptr(),
                    heights: &heights[y..],
                    best: best.wrapping_add((y * most + x) * pitch),
                    x_pitch: pitch,
                    y_pitch: most * pitch,
                };
                // SAFETY: as this function's.
                unsafe {
                    match (step, both) {
                        (4, true) => block.run::<S, 2, 4>(s),
                        (4, false) => block.run::<S, 1, 4>(s),
                        (2, true) => block.run::<S, 2, 2>(s),
                        (2, false) => block.run::<S, 1, 2>(s),
                        (_, true) => block.run::<S, 2, 1>(s),
                        (_, false) => block.run::<S, 1, 1>(s),
                    }
                }
                x += if both { 2 } else { 1 };
            }
            y += step;
        }
    }

    /// Writes a row of labels from those of each phase and cell.
    ///
    /// # Safety
    /// No other thread may touch these labels.
    #[inline(always)]
    unsafe fn spread(
        &self,
        pairs: &Range<usize>,
        best: &[f32],
        pitch: usize,
        line: &mut [f32],
        to: &SharedLabels<'_>,
        at: usize,
    ) {
        let even = self.even.within(pairs);
        let edges = [pairs.start..even.start, even.end..pairs.end];
        for cells in edges {
            let outputs = self.columns.outputs(cells.clone());
            let mut n = 0;
            for cell in cells {
                for x in self.columns.outputs(cell..cell + 1) {
                    line[n] = best[self.columns.phase[x] * pitch + cell - pairs.start];
                    n += 1;
                }
            }
            // SAFETY: as this function's.
            unsafe { to.write(at + outputs.start, &line[..n]) };
        }
        let (n, first) = (even.len(), self.columns.first[even.start]);
        if n == 0 {
            return;
        }
        let from = |phase: usize| &best[phase * pitch + even.start - pairs.start..][..n];
        // SAFETY: as this function's.
        unsafe {
            match self.even.factor {
                1 => to.write(at + first, from(0)),
                2 => to.weave(at + first, [from(0), from(1)]),
                _ => to.weave(at + first, [from(0), from(1), from(2), from(3)]),
            }
        }
    }

    /// The same for any numbers: every class at every output, mixed from its own samples.
    ///
    /// # Safety
    /// As [`Cells::write`].
    #[inline(always)]
    unsafe fn plain<S: Simd>(
        &self,
        s: S,
        pair: usize,
        pairs: &Range<usize>,
        rows: Rows,
        work: &mut Work<'_>,
        to: &SharedLabels<'_>,
        at: impl Fn(usize) -> usize,
    ) {
        let columns = self.columns.outputs(pairs.clone());
        for row in self.rows.outputs(pair..pair + 1) {
            let height = self.rows.mixes[row];
            // An output at the last sample lies on the second row of its pair.
            let upper = if height.at[0] == pair {
                rows.top
            } else {
                rows.bottom
            };
            let mut x = columns.start;
            while x < columns.end {
                let n = S::LANES.min(columns.end - x);
                let mix = |i: usize| self.columns.mixes[x + i.min(n - 1)];
                let gather = |from: *const f32, k: usize| {
                    let mut v = [0.0; 16];
                    for (i, v) in v.iter_mut().enumerate().take(S::LANES) {
                        // SAFETY: the samples of these outputs are among the columns.
                        *v = unsafe { from.add(mix(i).at[k] - pairs.start).read() };
                    }
                    // SAFETY: a register has at most 16 elements.
                    unsafe { s.load(v.as_ptr()) }
                };
                let share = |k: usize| {
                    let v: [f32; 16] = std::array::from_fn(|i| mix(i).share[k]);
                    // SAFETY: a register has at most 16 elements.
                    unsafe { s.load(v.as_ptr()) }
                };
                let shares = [share(0), share(1)];
                let score = |class: usize| {
                    let stretched = |row: *const f32| {
                        let row = row.wrapping_add(class * rows.pitch);
                        let a = gather(row, 0);
                        match self.single {
                            true => a,
                            false => s.fma(gather(row, 1), shares[1], s.mul(a, shares[0])),
                        }
                    };
                    let a = stretched(upper);
                    if height.share[1] == 0.0 {
                        return a;
                    }
                    let share = height.share.map(|v| s.splat(v));
                    s.fma(stretched(rows.bottom), share[1], s.mul(a, share[0]))
                };
                let (mut largest, mut label) = (score(0), s.splat(0.0));
                for class in 1..rows.classes {
                    let v = score(class);
                    label = s.select_less(largest, v, s.splat(class as f32), label);
                    largest = s.select_less(largest, v, v, largest);
                }
                let line = &mut work.line[x - columns.start..][..n];
                // SAFETY: n elements of the line; as this function's.
                unsafe { s.store_first(line.as_mut_ptr(), n, label) };
                x += n;
            }
            // SAFETY: as this function's.
            unsafe { to.write(at(row) + columns.start, &work.line[..columns.len()]) };
        }
    }
}

impl Even {
    /// The longest run of cells with 1, 2 or 4 outputs each, its phases in order.
    fn new(columns: &Axis) -> Self {
        let factor = columns.outputs(columns.pairs() / 2..columns.pairs() / 2 + 1);
        let factor = factor.len();
        let regular = |cell: usize| {
            let outputs = columns.outputs(cell..cell + 1);
            outputs.len() == factor && columns.phase[outputs].iter().copied().eq(0..factor)
        };
        if !matches!(factor, 1 | 2 | 4) {
            return Even::default();
        }
        let middle = columns.pairs() / 2;
        let begin = (0..=middle).rev().take_while(|c| regular(*c)).last();
        let end = (middle..columns.pairs()).take_while(|c| regular(*c)).last();
        match (begin, end) {
            (Some(begin), Some(end)) => Even {
                cells: begin..end + 1,
                factor,
            },
            _ => Even::default(),
        }
    }

    /// Those among the cells of `pairs`; none at their end otherwise.
    #[inline(always)]
    fn within(&self, pairs: &Range<usize>) -> Range<usize> {
        let start = self.cells.start.max(pairs.start);
        let end = self.cells.end.min(pairs.end);
        if start < end {
            start..end
        } else {
            pairs.end..pairs.end
        }
    }
}

/// Whether all scores of `classes` rows of `n` columns are finite and none is huge.
///
/// # Safety
/// `x` must be valid for reads of `n` elements from each multiple of `pitch` below
/// `classes * pitch` on.
#[inline(always)]
pub(crate) unsafe fn tame<S: Simd>(
    s: S,
    x: *const f32,
    classes: usize,
    pitch: usize,
    n: usize,
) -> bool {
    let shrink = s.splat(SHRINK);
    let mut sums = [s.splat(0.0); 2];
    for class in 0..classes {
        let x = x.wrapping_add(class * pitch);
        let mut i = 0;
        // SAFETY: elements below n.
        unsafe {
            while i + 2 * S::LANES <= n {
                let (a, b) = (s.load(x.add(i)), s.load(x.add(i + S::LANES)));
                sums[0] = s.fma(s.abs(a), shrink, sums[0]);
                sums[1] = s.fma(s.abs(b), shrink, sums[1]);
                i += 2 * S::LANES;
            }
            while i < n {
                let count = S::LANES.min(n - i);
                sums[0] = s.fma(s.abs(s.load_first(x.add(i), count)), shrink, sums[0]);
                i += count;
            }
        }
    }
    // A sum that is not a number is not less.
    s.all_less(sums[0], s.splat(HUGE)) && s.all_less(sums[1], s.splat(HUGE))
}

/// Lists the classes that may be the strongest in one of the first `live` cells of a register.
///
/// # Safety
/// `rows` must be readable for a register and one element more of every class; all scores tame.
#[inline(always)]
unsafe fn candidates<S: Simd>(s: S, rows: Rows, live: usize, work: &mut Work<'_>) -> usize {
    assert!(work.high.len() >= rows.classes * S::LANES && work.candidates.len() >= rows.classes);
    let high = work.high.as_mut_ptr();
    let mut floor = s.splat(f32::NEG_INFINITY);
    for class in 0..rows.classes {
        // SAFETY: as this function's; `high` has a register per class.
        unsafe {
            let (top, bottom) = (
                rows.top.add(class * rows.pitch),
                rows.bottom.add(class * rows.pitch),
            );
            let (a, b) = (s.load(top), s.load(top.add(1)));
            let (c, d) = (s.load(bottom), s.load(bottom.add(1)));
            floor = s.max(floor, s.min(s.min(a, b), s.min(c, d)));
            s.store(high.add(class * S::LANES), s.max(s.max(a, b), s.max(c, d)));
        }
    }
    // Cells that are not there have no candidates.
    let mut none = [f32::INFINITY; 16];
    none[..live].fill(f32::NEG_INFINITY);
    let margin = s.fma(s.abs(floor), s.splat(MARGIN), s.splat(LEAST));
    // SAFETY: a register has at most 16 elements.
    let floor = s.max(s.sub(floor, margin), unsafe { s.load(none.as_ptr()) });
    let mut count = 0;
    for class in 0..rows.classes {
        work.candidates[count] = class as u32;
        // SAFETY: as above.
        let high = unsafe { s.load(high.add(class * S::LANES)) };
        count += usize::from(!s.all_less(high, floor));
    }
    count
}

/// Some row shares and phases of a register of cells.
struct Block<'a> {
    rows: Rows,
    candidates: &'a [u32],
    /// Of each phase, registers of the first and second sample's shares.
    shares: *const f32,
    heights: &'a [[f32; 2]],
    best: *mut f32,
    x_pitch: usize,
    y_pitch: usize,
}

impl Block<'_> {
    /// # Safety
    /// There must be `X` phases and `Y` row shares, candidates among the classes, and `best`
    /// writable for a register of each.
    #[inline(always)]
    unsafe fn run<S: Simd, const X: usize, const Y: usize>(&self, s: S) {
        let rows = self.rows;
        let mut heights = [[s.splat(0.0); 2]; Y];
        for y in 0..Y {
            let [top, bottom] = self.heights[y];
            heights[y] = [s.splat(top), s.splat(bottom)];
        }
        let mut largest = [[s.splat(f32::NEG_INFINITY); X]; Y];
        let mut label = [[s.splat(0.0); X]; Y];
        // SAFETY: as this function's.
        unsafe {
            for class in self.candidates {
                let this = s.splat(*class as f32);
                let at = *class as usize * rows.pitch;
                let (top, bottom) = (rows.top.add(at), rows.bottom.add(at));
                let (a, b) = (s.load(top), s.load(top.add(1)));
                let (c, d) = (s.load(bottom), s.load(bottom.add(1)));
                for x in 0..X {
                    let shares = self.shares.add(2 * x * S::LANES);
                    let shares = [s.load(shares), s.load(shares.add(S::LANES))];
                    let upper = s.fma(b, shares[1], s.mul(a, shares[0]));
                    let lower = s.fma(d, shares[1], s.mul(c, shares[0]));
                    for y in 0..Y {
                        let v = s.fma(lower, heights[y][1], s.mul(upper, heights[y][0]));
                        label[y][x] = s.select_less(largest[y][x], v, this, label[y][x]);
                        largest[y][x] = s.max(v, largest[y][x]);
                    }
                }
            }
            for y in 0..Y {
                for x in 0..X {
                    s.store(
                        self.best.add(y * self.y_pitch + x * self.x_pitch),
                        label[y][x],
                    );
                }
            }
        }
    }
}
