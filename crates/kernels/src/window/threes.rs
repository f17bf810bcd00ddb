//! 3×3 windows at stride 1 or 2, a few rows of outputs at a time along the rows.
//!
//! The nine taps stay in registers, and so do the sums of one register of outputs (two, where there are
//! 32 registers) of `ROWS` rows. Of each row of the input that these see, three registers are loaded where
//! a tap each begins, and go into all sums that they are of: 18 loads for 36 multiply-adds at stride 1. At
//! stride 2 two registers are parted into their even and odd elements. What lies in no row is masked
//! at a row's ends alone.
//!
//! Rows are read from left to right, as memory likes it. Strips that walk down the plane and
//! keep the sums of three rows open load a third less, but read one or two lines of each row before they come
//! to the next: on Zen 3 they take a fifth longer in the first cache, 2.5 times as long at 96 channels of
//! 128 × 128, and 2.7 times at stride 2 from 256 × 256. Not measured with AVX-512.

use super::Window;
use super::rows::Band;
use crate::isa::Simd;

/// Taps of a side.
const SIDE: usize = 3;
/// Rows of outputs that are made together.
const ROWS: usize = 4;
/// Rows of the input that they see at most.
const LINES: usize = (ROWS - 1) * 2 + SIDE;

/// Which elements exist, by column of taps, register of outputs, and register of a pair that is parted.
type Masks<S, const STRIDE: usize> = [[[<S as Simd>::Mask; STRIDE]; 2]; SIDE];

impl<W: Window, const STRIDE: usize> Band<'_, W, SIDE, STRIDE> {
    /// Makes all rows of outputs.
    #[inline(always)]
    pub(super) fn rows<S: Simd>(&self, s: S) {
        let width = self.g.output[2];
        let wide = wide::<S>() * S::LANES;
        // The last register of a row begins earlier than it would, so that it is whole.
        let right = match width.is_multiple_of(wide) {
            true => width - wide,
            false => width.saturating_sub(S::LANES),
        };
        let mut taps = [[s.splat(0.0); SIDE]; SIDE];
        for y in 0..SIDE {
            for x in 0..SIDE {
                taps[y][x] = self.window.tap(s, self.channel, y * SIDE + x);
            }
        }
        let edges = [(0, self.masks(s, 0)), (right, self.masks(s, right))];
        let mut row = 0;
        while row < self.count {
            if self.count < ROWS {
                self.walk::<S, 1>(s, row, &taps, &edges);
                row += 1;
            } else {
                // The last rows are made together with some once more.
                self.walk::<S, ROWS>(s, row.min(self.count - ROWS), &taps, &edges);
                row += ROWS;
            }
        }
    }

    /// Makes `R` rows of outputs from `row` on.
    #[inline(always)]
    fn walk<S: Simd, const R: usize>(
        &self,
        s: S,
        row: usize,
        taps: &[[S::V; SIDE]; SIDE],
        edges: &[(usize, Masks<S, STRIDE>); 2],
    ) {
        let mut lines = [std::ptr::null(); LINES];
        let top = ((self.first + row) * STRIDE) as isize - self.g.before[1];
        for i in 0..(R - 1) * STRIDE + SIDE {
            lines[i] = self.row(top + i as isize).unwrap_or(std::ptr::null());
        }
        let blocks = Blocks {
            band: self,
            taps,
            edges,
            lines: &lines,
            row,
        };
        let (width, wide) = (self.g.output[2], wide::<S>());
        let mut at = 0;
        while at < width {
            let n = match width - at < wide * S::LANES {
                true => 1,
                false => wide,
            };
            let begin = at.min(width.saturating_sub(S::LANES));
            match (n, self.is_inside::<S>(begin, n)) {
                (2, true) => blocks.run::<R, 2, false>(s, begin),
                (2, false) => blocks.run::<R, 2, true>(s, begin),
                (_, true) if wide == 1 => blocks.run::<R, 1, false>(s, begin),
                _ => blocks.run::<R, 1, true>(s, begin),
            }
            at += n * S::LANES;
        }
    }

    /// Which elements exist of what two registers of outputs from column `at` on see.
    #[inline(always)]
    fn masks<S: Simd>(&self, s: S, at: usize) -> Masks<S, STRIDE> {
        let mut masks = [[[s.mask(0, 0); STRIDE]; 2]; SIDE];
        for x in (0..SIDE).step_by(STRIDE) {
            for j in 0..2 {
                for half in 0..STRIDE {
                    let first = self.column::<S>(at, j, x) + (half * S::LANES) as isize;
                    masks[x][j][half] = self.mask(s, first);
                }
            }
        }
        masks
    }

    /// Whether all that `n` registers of outputs from column `at` on see lies in the row, and they too.
    #[inline(always)]
    fn is_inside<S: Simd>(&self, at: usize, n: usize) -> bool {
        let end = at + n * S::LANES;
        let first = self.column::<S>(at, 0, 0);
        let seen = self.column::<S>(end, 0, SIDE - 1);
        end <= self.g.output[2] && first >= 0 && seen <= self.g.input[2] as isize
    }
}

/// Registers of outputs that are made together.
#[inline(always)]
fn wide<S: Simd>() -> usize {
    if S::REGISTERS > 16 { 2 } else { 1 }
}

/// Some rows of outputs, made a few registers at a time. Nothing in it changes, or the taps would stay in
/// memory.
struct Blocks<'a, S: Simd, W, const STRIDE: usize> {
    band: &'a Band<'a, W, SIDE, STRIDE>,
    taps: &'a [[S::V; SIDE]; SIDE],
    /// The masks of the blocks at a row's ends, by their first column.
    edges: &'a [(usize, Masks<S, STRIDE>); 2],
    /// The rows of the input that they see; null for those that are padding.
    lines: &'a [*const f32; LINES],
    /// The first of them, in the band.
    row: usize,
}

impl<S: Simd, W: Window, const STRIDE: usize> Blocks<'_, S, W, STRIDE> {
    /// `R` rows of `J` registers of outputs from column `at` on; `EDGE` where not all that they see lies
    /// in the row.
    #[inline(always)]
    fn run<const R: usize, const J: usize, const EDGE: bool>(&self, s: S, at: usize) {
        let mut sums = [[self.band.window.start(s, self.band.channel); J]; R];
        let [left, right] = self.edges;
        let made;
        let masks = if !EDGE || at == left.0 {
            &left.1
        } else if at == right.0 {
            &right.1
        } else {
            made = self.band.masks(s, at);
            &made
        };
        // Written out, because the compiler must know which sums a row goes into.
        macro_rules! lines {
            ($($i:literal)*) => {
                $(if $i < (R - 1) * STRIDE + SIDE {
                    self.line::<R, J, EDGE, $i>(s, at, masks, &mut sums);
                })*
            };
        }
        lines!(0 1 2 3 4 5 6 7 8);
        let (low, high) = (s.splat(self.band.cut.0), s.splat(self.band.cut.1));
        let width = self.band.g.output[2];
        for r in 0..R {
            for j in 0..J {
                let sum = match STRIDE {
                    1 => sums[r][j],
                    _ => s.mend(sums[r][j]),
                };
                let v = s.min(high, s.max(low, sum));
                // SAFETY: elements of row `row + r` of the band.
                unsafe {
                    let y = (self.band.y).add((self.row + r) * width + at + j * S::LANES);
                    if EDGE && width < S::LANES {
                        s.store_first(y, width, v);
                    } else {
                        s.store(y, v);
                    }
                }
            }
        }
    }

    /// Takes up row `I` of the input.
    #[inline(always)]
    fn line<const R: usize, const J: usize, const EDGE: bool, const I: usize>(
        &self,
        s: S,
        at: usize,
        masks: &Masks<S, STRIDE>,
        sums: &mut [[S::V; J]; R],
    ) {
        let line = self.lines[I];
        if line.is_null() {
            return;
        }
        for x in (0..SIDE).step_by(STRIDE) {
            let mut v = [[s.splat(0.0); J]; STRIDE];
            for j in 0..J {
                let first = self.band.column::<S>(at, j, x);
                // SAFETY: a row of the input; the masks leave out what lies outside of it, and without
                // EDGE nothing does.
                unsafe {
                    let low = self.load::<EDGE>(s, line, first, masks[x][j][0]);
                    if STRIDE == 1 {
                        v[0][j] = low;
                    } else {
                        let high = first + S::LANES as isize;
                        let high = self.load::<EDGE>(s, line, high, masks[x][j][STRIDE - 1]);
                        [v[0][j], v[1][j]] = s.part(low, high);
                    }
                }
            }
            for dx in 0..STRIDE {
                for r in 0..R {
                    if x + dx >= SIDE || I < r * STRIDE || I - r * STRIDE >= SIDE {
                        continue;
                    }
                    let tap = self.taps[I - r * STRIDE][x + dx];
                    for j in 0..J {
                        sums[r][j] = self.band.window.step(s, tap, sums[r][j], v[dx][j]);
                    }
                }
            }
        }
    }

    /// The elements of a row from column `first` on; with `EDGE` those outside of it as padding.
    ///
    /// # Safety
    /// `line` must be a row of the input; `mask` must be that of `first`, or without `EDGE` all elements exist.
    #[inline(always)]
    unsafe fn load<const EDGE: bool>(
        &self,
        s: S,
        line: *const f32,
        first: isize,
        mask: S::Mask,
    ) -> S::V {
        // SAFETY: as this function's.
        unsafe {
            match EDGE {
                true => self.band.load(s, line, first, mask),
                false => s.load(line.offset(first)),
            }
        }
    }
}
