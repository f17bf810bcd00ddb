//! The register tile: the one inner loop that convolutions and matrix products share.
//!
//! `M` rows (output channels) by `N` registers of columns (pixels) stay in registers while `depth`
//! products are summed: per step `N` loads of columns, `M` broadcasts of packed weights, `M·N`
//! multiply-adds. With `M = 8`, `N = 3` on AVX-512 that is 24 accumulators, 3 columns and one
//! broadcast of 32 registers and 24 multiply-adds per 11 loads; on AVX2 `6 × 2` are 12 of 16.
//! Where step `k` finds its column is looked up in a table of offsets, so the same loop serves
//! 1×1, k×k, strided and 3D windows and packed matrices.

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
/// registers at `x[j] + offsets[k]`, and writes (and with [`Start::Sum`] first reads) `n[j]`
/// elements at `y[j] + m * pitch` for `m < rows`.
///
/// Weights that are not packed (`PACKED` is false) are read at `weights + m * row + k`, the last
/// row's again for rows past it.
pub(crate) struct Tile<const M: usize, const N: usize, const PACKED: bool> {
    pub(crate) depth: usize,
    pub(crate) weights: *const f32,
    /// Elements from one row of unpacked weights to the next.
    pub(crate) row: usize,
    pub(crate) offsets: *const u32,
    pub(crate) x: [*const f32; N],
    pub(crate) y: [*mut f32; N],
    pub(crate) n: [usize; N],
    pub(crate) pitch: usize,
    pub(crate) rows: usize,
    pub(crate) start: Start<N>,
    /// Results are cut to this range.
    pub(crate) low: f32,
    pub(crate) high: f32,
}

impl<const M: usize, const N: usize, const PACKED: bool> Task for Tile<M, N, PACKED> {
    type Output = ();

    /// The pointers must be valid for what the type's description says is read and written; only
    /// this crate makes tiles.
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let mut sum = [[s.splat(0.0); N]; M];
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
        // SAFETY: rows below `rows`; see the type's description.
        let rows: [*const f32; M] = std::array::from_fn(|m| unsafe {
            match PACKED {
                true => self.weights.add(m),
                false => self.weights.add(m.min(self.rows - 1) * self.row),
            }
        });
        let step = if PACKED { M } else { 1 };
        for k in 0..self.depth {
            // SAFETY: steps below depth; see the type's description.
            unsafe {
                let at = self.offsets.add(k).read() as usize;
                let mut x = [s.splat(0.0); N];
                for j in 0..N {
                    x[j] = s.load(self.x[j].add(at));
                }
                for m in 0..M {
                    let w = s.splat(rows[m].add(k * step).read());
                    for j in 0..N {
                        sum[m][j] = s.fma(w, x[j], sum[m][j]);
                    }
                }
            }
        }
        let (low, high) = (s.splat(self.low), s.splat(self.high));
        for m in 0..M {
            if m < self.rows {
                for j in 0..N {
                    let v = s.min(high, s.max(low, sum[m][j]));
                    // SAFETY: see the type's description.
                    unsafe {
                        let y = self.y[j].add(m * self.pitch);
                        if self.n[j] == S::LANES {
                            s.store(y, v);
                        } else {
                            s.store_first(y, self.n[j], v);
                        }
                    }
                }
            }
        }
    }
}
