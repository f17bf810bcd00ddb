//! Columns gathered into register tiles.
//!
//! All panels run over one tile, then over the next; over few input channels, whose products are soon
//! done, one panel runs over several tiles first. Channels of a large map lie far apart, and with
//! AVX2 a tile is one cache line wide: results are then written line after line in 6 channels, not one
//! line in each of 64. With 3 channels that takes 45 % off a 3 × 3 layer to 64 at 512 × 512 (Zen 3);
//! from 16 channels on nothing is gained.

use crate::blocking::LINE;
use crate::isa::Simd;
use crate::piece::InTile;
use crate::tile::{Added, Finish, Start, Tile};

/// Tiles that one panel runs over, where there are few input channels.
const TILES: usize = 8;
/// What few are.
const FEW: usize = 8;
/// Registers of columns that are gathered at most.
const MOST: usize = 3 * TILES;

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
    /// Input channels of this block.
    pub(crate) channels: usize,
    /// What is done to the sums when this block completes them.
    pub(crate) in_tile: InTile,
}

/// Gathers registers of columns until there are enough, then runs all panels over them.
pub(crate) struct Strip<'a, const M: usize> {
    panels: Panels<'a>,
    x: [*const f32; MOST],
    at: [usize; MOST],
    n: [usize; MOST],
    filled: usize,
}

impl<'a, const M: usize> Strip<'a, M> {
    #[inline(always)]
    pub(crate) fn new(panels: Panels<'a>) -> Self {
        Strip {
            panels,
            x: [std::ptr::null(); MOST],
            at: [0; MOST],
            n: [0; MOST],
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
        let tiles = match S::LANES * S::COLUMNS <= LINE && self.panels.channels <= FEW {
            true => TILES,
            false => 1,
        };
        if self.filled == tiles * S::COLUMNS {
            self.flush(s);
        }
    }

    /// Computes what is left.
    #[inline(always)]
    pub(crate) fn flush<S: Simd>(&mut self, s: S) {
        let filled = std::mem::take(&mut self.filled);
        for panel in self.panels.range.clone() {
            for first in (0..filled).step_by(S::COLUMNS) {
                match filled - first {
                    1 => self.tile::<S, 1>(s, panel, first),
                    2 => self.tile::<S, 2>(s, panel, first),
                    _ if S::COLUMNS == 3 => self.tile::<S, 3>(s, panel, first),
                    _ => self.tile::<S, 2>(s, panel, first),
                }
            }
        }
    }

    /// One panel over the `N` registers of columns from `first` on.
    #[inline(always)]
    fn tile<S: Simd, const N: usize>(&self, s: S, panel: usize, first: usize) {
        let p = &self.panels;
        let panels = p.group_out.div_ceil(M);
        let index = p.group * panels + panel;
        let weights = &p.weights[(index * p.depth + p.from) * M..];
        let start = match p.from {
            0 => Start::Rows(p.bias[index * M..].as_ptr()),
            _ => Start::Sum,
        };
        let place = |j: usize| panel * M * p.pitch + self.at[first + j];
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
        s.vectorize(Tile::<_, M, N, true, false> {
            depth: p.count,
            weights: weights.as_ptr(),
            row: 0,
            offsets: p.offsets.as_ptr(),
            x: std::array::from_fn(|j| self.x[first + j]),
            y,
            n: std::array::from_fn(|j| self.n[first + j]),
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
