//! The register tile: the one inner loop that convolutions and matrix products share.
//!
//! `M` rows (output channels) by `N` registers of columns (pixels) stay in registers while `depth`
//! products are summed: per step `N` loads of columns, `M` broadcasts of packed weights, `M·N`
//! multiply-adds. With `M = 8`, `N = 3` on AVX-512 that is 24 accumulators, 3 columns and one
//! broadcast of 32 registers and 24 multiply-adds per 11 loads; on AVX2 `6 × 2` are 12 of 16.
//! Step `k` finds its column a constant pitch after the last one's or, in windows, where a table
//! says, so the same loop serves 1×1, k×k, strided and 3D windows and packed matrices.

use crate::isa::{Simd, Task};

/// What sums start from.
#[derive(Clone, Copy)]
pub(crate) enum Start<const N: usize> {
    /// One value per row.
    Rows(*const f32),
    /// One register per column register.
    Columns([*const f32; N]),
    /// What is already there.
    Sum,
}

/// A tile of `M` rows by `N` registers. It reads `weights[k * M + m]` for `k < depth`, whole
/// registers at `x[j] + offsets.at(k)`, and writes (and with [`Start::Sum`] first reads) `n[j]`
/// elements at `y[j] + m * pitch` for `m < rows`.
///
/// Weights that are not packed (`PACKED` is false) are read at `weights + m * row + k`, the last
/// row's again for rows past it. With `COPY` the columns read are written to
/// `copy + (k * S::COLUMNS + j) * S::LANES` on the way, for the next tile of the same columns: that
/// costs three stores among 24 multiply-adds, where copying beforehand takes a pass of its own.
pub(crate) struct Tile<O, const M: usize, const N: usize, const PACKED: bool, const COPY: bool> {
    pub(crate) depth: usize,
    pub(crate) weights: *const f32,
    /// Elements from one row of unpacked weights to the next.
    pub(crate) row: usize,
    pub(crate) offsets: O,
    pub(crate) x: [*const f32; N],
    pub(crate) y: [*mut f32; N],
    pub(crate) n: [usize; N],
    pub(crate) pitch: usize,
    pub(crate) rows: usize,
    pub(crate) start: Start<N>,
    pub(crate) finish: Finish<N>,
    /// Where columns are copied to; null without `COPY`.
    pub(crate) copy: *mut f32,
}

/// Where each step finds its column.
pub(crate) trait Offsets: Copy {
    /// # Safety
    /// There must be a step `k`.
    unsafe fn at(self, k: usize) -> usize;
}

/// Elements from one step's to the next one's.
impl Offsets for usize {
    #[inline(always)]
    unsafe fn at(self, k: usize) -> usize {
        k * self
    }
}

/// A table with an entry for each step.
impl Offsets for *const u32 {
    #[inline(always)]
    unsafe fn at(self, k: usize) -> usize {
        // SAFETY: as this function's.
        unsafe { self.add(k).read() as usize }
    }
}

/// Steps in a row without a jump. With AVX2, one step of six by two registers is 12 multiply-adds and 12 other
/// instructions, four are 48 and 36. On Zen 3 that takes 1 to 3 % off pointwise layers, and 7 to 17 % in phases
/// in which, by all signs, a virtual machine's neighbour shares the core's front end.
const IN_A_ROW: usize = 4;

/// The products of a tile, step by step: step `k` multiplies the register at `x[j] + offsets.at(k)` with
/// `weights[m][k * width]`. With `COPY`, see [`Tile`].
pub(crate) struct Steps<O, const M: usize, const N: usize, const COPY: bool> {
    pub(crate) depth: usize,
    pub(crate) weights: [*const f32; M],
    pub(crate) width: usize,
    pub(crate) x: [*const f32; N],
    pub(crate) offsets: O,
    pub(crate) copy: *mut f32,
}

impl<O: Offsets, const M: usize, const N: usize, const COPY: bool> Steps<O, M, N, COPY> {
    /// Adds the products to `sum`.
    ///
    /// # Safety
    /// The pointers must be valid for what the type's description says.
    #[inline(always)]
    pub(crate) unsafe fn add<S: Simd>(&self, s: S, sum: &mut [[S::V; N]; M]) {
        let rows = self.depth / IN_A_ROW;
        // SAFETY: steps below depth.
        unsafe {
            for i in 0..rows {
                for k in 0..IN_A_ROW {
                    self.step(s, i * IN_A_ROW + k, sum);
                }
            }
            for k in rows * IN_A_ROW..self.depth {
                self.step(s, k, sum);
            }
        }
    }

    /// # Safety
    /// As [`Steps::add`]'s, for step `k`.
    #[inline(always)]
    unsafe fn step<S: Simd>(&self, s: S, k: usize, sum: &mut [[S::V; N]; M]) {
        // SAFETY: as this function's.
        unsafe {
            let at = self.offsets.at(k);
            let mut x = [s.splat(0.0); N];
            for j in 0..N {
                x[j] = s.load(self.x[j].add(at));
                if COPY {
                    s.store(self.copy.add((k * S::COLUMNS + j) * S::LANES), x[j]);
                }
            }
            for m in 0..M {
                let w = s.splat(self.weights[m].add(k * self.width).read());
                for j in 0..N {
                    sum[m][j] = s.fma(w, x[j], sum[m][j]);
                }
            }
        }
    }
}

/// What happens to the sums in registers: cut to a range, then perhaps something is added and the
/// result cut to another.
#[derive(Clone, Copy)]
pub(crate) struct Finish<const N: usize> {
    pub(crate) range: (f32, f32),
    pub(crate) residual: Option<Added<N>>,
    pub(crate) then: (f32, f32),
}

/// What is added to the sums.
#[derive(Clone, Copy)]
pub(crate) struct Added<const N: usize> {
    /// Where each register of columns begins, and elements from one row to the next.
    pub(crate) from: [*const f32; N],
    pub(crate) pitch: usize,
    /// Every element is added to two neighbours: half a register is read.
    pub(crate) twice: bool,
}

impl<const N: usize> Added<N> {
    /// # Safety
    /// The first `n` elements (half of them with `twice`) must be readable.
    #[inline(always)]
    unsafe fn load<S: Simd>(&self, s: S, m: usize, j: usize, n: usize) -> S::V {
        // SAFETY: as this function's; the table names elements of one register.
        unsafe {
            let from = self.from[j].add(m * self.pitch);
            if self.twice {
                let half = s.load_first(from, n.div_ceil(2));
                s.lookup(half, half, TWICE.as_ptr())
            } else {
                s.load_first(from, n)
            }
        }
    }
}

/// Every element of half a register twice.
pub(crate) static TWICE: [i32; 16] = [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7];

/// Elements from one row to the next from which on results are expected not to be in the second
/// cache: 32 KB. Asking for their lines takes 7 % off 32 to 128 channels at 128 × 128, and adds 2 % at
/// 64 × 64. Pointwise layers ask for inputs from here on as well.
pub(crate) const FAR: usize = 8 * 1024;

/// No cut.
pub(crate) const EVERYTHING: (f32, f32) = (f32::NEG_INFINITY, f32::INFINITY);

impl<const N: usize> Finish<N> {
    /// Leaves sums as they are.
    pub(crate) fn nothing() -> Self {
        Finish {
            range: EVERYTHING,
            residual: None,
            then: EVERYTHING,
        }
    }
}

impl<O: Offsets, const M: usize, const N: usize, const PACKED: bool, const COPY: bool> Task
    for Tile<O, M, N, PACKED, COPY>
{
    type Output = ();

    /// The pointers must be valid for what the type's description says is read and written; only
    /// this crate makes tiles.
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let mut sum = [[s.splat(0.0); N]; M];
        if PACKED && self.pitch >= FAR && matches!(self.start, Start::Rows(_)) {
            self.ask(s);
        }
        // SAFETY: reads of the starting values, within what the caller vouches for.
        unsafe {
            match self.start {
                Start::Rows(bias) => {
                    for m in 0..M {
                        sum[m] = [s.splat(*bias.add(m)); N];
                    }
                }
                Start::Columns(bias) => {
                    for j in 0..N {
                        let v = s.load_first(bias[j], self.n[j]);
                        for row in &mut sum {
                            row[j] = v;
                        }
                    }
                }
                Start::Sum if self.is_whole::<S>() => {
                    for m in 0..M {
                        for j in 0..N {
                            sum[m][j] = s.load(self.y[j].add(m * self.pitch));
                        }
                    }
                }
                Start::Sum => {
                    for m in 0..M {
                        if m < self.rows {
                            for j in 0..N {
                                let y = self.y[j].add(m * self.pitch);
                                sum[m][j] = s.load_first(y, self.n[j]);
                            }
                        }
                    }
                }
            }
        }
        // SAFETY: rows below `rows`, steps below depth; see the type's description.
        unsafe {
            let steps = Steps::<_, M, N, COPY> {
                depth: self.depth,
                weights: std::array::from_fn(|m| match PACKED {
                    true => self.weights.add(m),
                    false => self.weights.add(m.min(self.rows - 1) * self.row),
                }),
                width: if PACKED { M } else { 1 },
                x: self.x,
                offsets: self.offsets,
                copy: self.copy,
            };
            steps.add(s, &mut sum);
        }
        let (low, high) = (s.splat(self.finish.range.0), s.splat(self.finish.range.1));
        for row in &mut sum {
            for v in row {
                *v = s.min(high, s.max(low, *v));
            }
        }
        if self.is_whole::<S>() {
            self.store_whole(s, &sum);
        } else {
            self.store_part(s, &sum);
        }
    }
}

impl<O: Offsets, const M: usize, const N: usize, const PACKED: bool, const COPY: bool>
    Tile<O, M, N, PACKED, COPY>
{
    /// Asks for the lines that will be written: they lie in the third cache or beyond, and each store
    /// would wait for its own.
    #[inline(always)]
    fn ask<S: Simd>(&self, s: S) {
        for m in 0..M {
            for j in 0..N {
                s.prefetch_to_write(self.y[j].wrapping_add(m * self.pitch));
            }
        }
    }

    #[inline(always)]
    fn is_whole<S: Simd>(&self) -> bool {
        self.rows == M && self.n.iter().all(|n| *n == S::LANES)
    }

    /// Adds and writes a tile without rows or columns to leave out, without a branch.
    #[inline(always)]
    fn store_whole<S: Simd>(&self, s: S, sum: &[[S::V; N]; M]) {
        // SAFETY: see the type's description.
        unsafe {
            match self.finish.residual {
                Some(residual) => {
                    let then = self.finish.then;
                    let (low, high) = (s.splat(then.0), s.splat(then.1));
                    for m in 0..M {
                        for j in 0..N {
                            let v = s.add(sum[m][j], residual.load(s, m, j, S::LANES));
                            let v = s.min(high, s.max(low, v));
                            s.store(self.y[j].add(m * self.pitch), v);
                        }
                    }
                }
                None => {
                    for m in 0..M {
                        for j in 0..N {
                            s.store(self.y[j].add(m * self.pitch), sum[m][j]);
                        }
                    }
                }
            }
        }
    }

    /// The same with rows or columns to leave out.
    #[inline(always)]
    fn store_part<S: Simd>(&self, s: S, sum: &[[S::V; N]; M]) {
        let (low, high) = (s.splat(self.finish.then.0), s.splat(self.finish.then.1));
        // A loop counted at run time needs the sums in memory; of a copy, or else the compiler keeps
        // them there from the start.
        let copy = *sum;
        for (m, row) in copy.iter().enumerate().take(self.rows) {
            for j in 0..N {
                let (at, n) = (m * self.pitch, self.n[j]);
                let mut v = row[j];
                // SAFETY: see the type's description.
                unsafe {
                    if let Some(residual) = self.finish.residual {
                        v = s.add(v, residual.load(s, m, j, n));
                        v = s.min(high, s.max(low, v));
                    }
                    s.store_first(self.y[j].add(at), n, v);
                }
            }
        }
    }
}
