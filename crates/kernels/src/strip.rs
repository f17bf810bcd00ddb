//! Columns gathered into register tiles.

use crate::isa::Simd;
use crate::piece::InTile;
use crate::tile::{Added, Finish, Start, Tile};

/// Registers of columns in a tile at most.
const COLUMNS: usize = 3;

/// Packed weights and where their sums go.
pub(crate) struct Panels<'a> {
    /// Per group, per panel of `M` output channels: `[depth, M]`.
    pub(crate) weights: &'a [f32],
    /// Per group, padded to whole panels.
    pub(crate) bias: &'a [f32],
    /// Where each product finds its column.
    pub(crate) offsets: &'a [u32],
    pub(crate) group: usize,
    pub(crate) group_out: usize,
    /// The panels of the group that are computed.
    pub(crate) range: std::ops::Range<usize>,
    /// Products of a whole sum, the first one of this block, and how many.
    pub(crate) depth: usize,
    pub(crate) from: usize,
    pub(crate) count: usize,
    /// The group's first output channel, and elements from one channel to the next.
    pub(crate) y: *mut f32,
    pub(crate) pitch: usize,
    /// What is done to the sums when this block completes them.
    pub(crate) in_tile: InTile,
}

/// Gathers registers of columns until a tile is full, then runs all panels over it.
pub(crate) struct Strip<'a, const M: usize> {
    panels: Panels<'a>,
    x: [*const f32; COLUMNS],
    at: [usize; COLUMNS],
    n: [usize; COLUMNS],
    filled: usize,
}

impl<'a, const M: usize> Strip<'a, M> {
    #[inline(always)]
    pub(crate) fn new(panels: Panels<'a>) -> Self {
        Strip {
            panels,
            x: [std::ptr::null(); COLUMNS],
            at: [0; COLUMNS],
            n: [0; COLUMNS],
            filled: 0,
        }
    }

    /// Takes a register of columns: `x` is what its offsets count from, `at` where its `n` results
    /// lie in a channel of the output.
    #[inline(always)]
    pub(crate) fn push<S: Simd>(&mut self, s: S, x: *const f32, at: usize, n: usize) {
        self.x[self.filled] = x;
        self.at[self.filled] = at;
        self.n[self.filled] = n;
        self.filled += 1;
        if self.filled == S::COLUMNS {
            self.flush(s);
        }
    }

    /// Computes what is left.
    #[inline(always)]
    pub(crate) fn flush<S: Simd>(&mut self, s: S) {
        match self.filled {
            3 if S::COLUMNS == 3 => self.tiles::<S, 3>(s),
            2 => self.tiles::<S, 2>(s),
            1 => self.tiles::<S, 1>(s),
            _ => {}
        }
        self.filled = 0;
    }

    #[inline(always)]
    fn tiles<S: Simd, const N: usize>(&mut self, s: S) {
        let p = &self.panels;
        let panels = p.group_out.div_ceil(M);
        for panel in p.range.clone() {
            let index = p.group * panels + panel;
            let weights = &p.weights[(index * p.depth + p.from) * M..];
            let start = match p.from {
                0 => Start::Rows(p.bias[index * M..].as_ptr()),
                _ => Start::Sum,
            };
            let place = |j: usize| panel * M * p.pitch + self.at[j];
            // SAFETY: the columns named lie in the output, and in what is added to it, for all
            // channels of the panel.
            let (y, residual) = unsafe {
                (
                    std::array::from_fn(|j| p.y.add(place(j))),
                    (p.in_tile.residual).map(|r| Added {
                        from: std::array::from_fn(|j| r.from.add(place(j))),
                        pitch: p.pitch,
                        twice: false,
                    }),
                )
            };
            let [range, then] = p.in_tile.ranges;
            s.vectorize(Tile::<M, N, true, false> {
                depth: p.count,
                weights: weights.as_ptr(),
                row: 0,
                offsets: p.offsets.as_ptr(),
                x: std::array::from_fn(|j| self.x[j]),
                y,
                n: std::array::from_fn(|j| self.n[j]),
                pitch: p.pitch,
                rows: M.min(p.group_out - panel * M),
                start,
                finish: Finish {
                    range,
                    residual,
                    then,
                },
                copy: std::ptr::null_mut(),
            });
        }
    }
}
