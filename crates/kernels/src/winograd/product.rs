//! The products of one frequency: transformed weights `[out, in]` by transformed inputs
//! `[in, tiles]`.

use crate::isa::{Simd, Task};
use crate::tile::Steps;

/// A register tile of `R` output channels by `N` registers of tiles: [`crate::tile::Tile`] with nothing left out
/// and nothing to finish. It writes (or adds to) `N` registers at
/// `y + r * pitch` for each of the `R` rows. With the 16 registers of AVX2 four rows by three would fit as well, but
/// the compiler keeps one of the sums in memory: 1.7 times as long.
struct Product<const R: usize, const N: usize> {
    depth: usize,
    /// `[depth, R]`
    weights: *const f32,
    /// `[depth, N registers]`, a row every `pitch` elements.
    x: *const f32,
    y: *mut f32,
    pitch: usize,
    add: bool,
}

impl<const R: usize, const N: usize> Task for Product<R, N> {
    type Output = ();

    /// The pointers must be valid for what the type's description says is read and written.
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let mut sum = [[s.splat(0.0); N]; R];
        // SAFETY: see the type's description.
        unsafe {
            let steps = Steps::<_, R, N, false> {
                depth: self.depth,
                weights: std::array::from_fn(|r| self.weights.add(r)),
                width: R,
                x: std::array::from_fn(|j| self.x.add(j * S::LANES)),
                offsets: self.pitch,
                copy: std::ptr::null_mut(),
            };
            steps.add(s, &mut sum);
        }
        for r in 0..R {
            for j in 0..N {
                // SAFETY: see the type's description.
                unsafe {
                    let y = self.y.add(r * self.pitch + j * S::LANES);
                    let v = match self.add {
                        true => s.add(s.load(y), sum[r][j]),
                        false => sum[r][j],
                    };
                    s.store(y, v);
                }
            }
        }
    }
}

/// All products of a set of panels of output channels.
pub(super) struct Products<'a> {
    /// Products that are summed at each frequency, and how many at most before the sum is stored.
    pub(super) depths: &'a [usize],
    pub(super) chain: usize,
    /// Output channels of a panel, and panels.
    pub(super) rows: usize,
    pub(super) panels: usize,
    /// Registers of tiles in use.
    pub(super) vectors: usize,
    /// Elements from one channel to the next, of `x` and of `y`.
    pub(super) pitch: usize,
    /// In the order in which they are used: `[frequency, chain, panel, channel of the chain, R]`.
    pub(super) weights: *const f32,
    /// `[frequency, channel, tiles]` and elements from one frequency to the next.
    pub(super) x: (*const f32, usize),
    /// `[frequency, output channel, tiles]` and elements from one frequency to the next.
    pub(super) y: (*mut f32, usize),
}

impl Task for Products<'_> {
    type Output = ();

    /// The pointers must be valid for what the fields describe.
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        match self.rows {
            8 if S::ROWS == 8 => self.rows::<S, 8>(s),
            6 if S::ROWS == 6 => self.rows::<S, 6>(s),
            _ => self.rows::<S, 4>(s),
        }
    }
}

impl Products<'_> {
    #[inline(always)]
    fn rows<S: Simd, const R: usize>(&self, s: S) {
        match self.vectors {
            1 => self.sized::<S, R, 1>(s),
            2 => self.sized::<S, R, 2>(s),
            _ => self.sized::<S, R, 3>(s),
        }
    }

    #[inline(always)]
    fn sized<S: Simd, const R: usize, const N: usize>(&self, s: S) {
        let mut weights = self.weights;
        for (frequency, &all) in self.depths.iter().enumerate() {
            for from in (0..all).step_by(self.chain) {
                let depth = self.chain.min(all - from);
                for panel in 0..self.panels {
                    // SAFETY: within what the fields describe.
                    unsafe {
                        let (x, y) = (
                            self.x.0.add(frequency * self.x.1 + from * self.pitch),
                            self.y.0.add(frequency * self.y.1 + panel * R * self.pitch),
                        );
                        s.vectorize(Product::<R, N> {
                            depth,
                            weights,
                            x,
                            y,
                            pitch: self.pitch,
                            add: from > 0,
                        });
                        weights = weights.add(depth * R);
                    }
                }
            }
        }
    }
}
