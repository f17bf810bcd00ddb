//! Convolution of packed columns: the columns of one register tile lie side by side in the first
//! cache while all panels of output channels run over them.
//!
//! For pointwise layers, whose columns are the input itself, the first panel's tile copies them as
//! it reads them. Read in place by every panel they would evict each other: channels of a 32 × 32
//! map are 4 KB apart, which is one set of the first cache. Elsewhere columns are put together from
//! stretches of rows: of the input for 1×1 layers with strides, of a copy with its padding for the
//! windows of maps so narrow that rows of their own would leave registers half empty.
//!
//! Tiles of AVX2 are one cache line wide, and the channels of a large map lie far apart: a CPU reads
//! and writes single lines so at a quarter of its bandwidth. So the columns of several tiles are packed
//! in a pass of its own, and each panel runs over all of them. On Zen 3 that takes 46 % off 32 > 32 at 256 × 256,
//! 40 % off 24 > 144 and 12 % off 144 > 24 at 128 × 128, 15 % off 512 > 512 at 32 × 32, nothing off 96 > 96 at
//! 128 × 128; four tiles take up to 10 % longer than eight.
//!
//! While panels run over a large map's tiles, the columns of the next ones are asked for, a few lines
//! before each tile: 23 % off 32 > 16 and up to 28 % off a 1×1 layer with stride 2 at 256 × 256, 13 % off 32 > 32, 8 %
//! off 96 > 96 at 128 × 128. All at once before each panel they are more than can be on their way: that gains 6 %
//! where channels are no power of two apart and loses 7 to 12 % where they are. Smaller maps are in the
//! third cache as it is, and lines of 64 × 64 maps evict each other: 5 % slower. Spread over the products of
//! a tile they gain another 10 % with four panels, and lose 5 % with forty. A channel pitch that is no power
//! of two gains 2 to 7 % on top, asking for the next panel's weights nothing.

use crate::blocking::{Block, LINE};
use crate::halo::{Halo, register};
use crate::isa::{Simd, Task};
use crate::piece::{InTile, Piece};
use crate::tile::{Added, FAR, Finish, Start, Tile};
use crate::{Context, Geometry};

/// Where columns come from.
#[derive(Debug)]
enum Source {
    /// The input as it lies.
    InPlace,
    /// Every stride-th element of the input's rows; one tap, no padding.
    Strided,
    /// Rows of a copy with its padding, shifted by each tap.
    Halo(Halo, Vec<u32>),
}

/// Tiles that are packed together where they are narrow.
const TILES: usize = 8;

/// How columns are cut and packed.
#[derive(Debug)]
pub(crate) struct Columns {
    pub(crate) block: Block,
    source: Source,
    /// Tiles that are packed together.
    tiles: usize,
    /// Elements from one tile's packed columns to the next one's.
    pitch: usize,
    /// Elements of one block's packed columns.
    packed: usize,
}

impl Columns {
    pub(crate) fn new(context: &Context, g: &Geometry, block: Block) -> Self {
        let (_, registers) = context.isa().tile();
        let lanes = context.isa().lanes();
        let depth = block.channels * g.taps();
        let width = registers * lanes;
        let source = if g.is_pointwise() {
            Source::InPlace
        } else if g.is_subsampling() {
            Source::Strided
        } else {
            let halo = Halo::new(g, block.size, lanes);
            let taps = halo.taps(g).into_iter().map(|t| t as u32).collect();
            Source::Halo(halo, taps)
        };
        let tiles = if width <= LINE { TILES } else { 1 };
        // Whole registers are written, past the last stretch of a row too.
        let pitch = depth * width + lanes;
        Columns {
            block,
            source,
            tiles,
            pitch,
            packed: tiles * pitch,
        }
    }

    /// Elements of scratch memory that a piece needs.
    pub(crate) fn scratch(&self) -> usize {
        match &self.source {
            // Whole registers are read, past the last stretch of a row too.
            Source::Halo(halo, _) => self.packed + self.block.channels * halo.area() + 16,
            _ => self.packed,
        }
    }

    /// How it is computed, for profiles.
    pub(crate) fn describe(&self) -> &'static str {
        match self.source {
            Source::InPlace => "pointwise",
            Source::Strided => "pointwise strided",
            Source::Halo(..) => "gathered columns",
        }
    }
}

/// One piece, with the memory for its columns. Its region is one stretch of the output.
pub(crate) struct ColumnsJob<'a> {
    pub(crate) plan: &'a Columns,
    pub(crate) piece: Piece<'a>,
    pub(crate) x: &'a [f32],
    pub(crate) copy: &'a mut [f32],
}

/// A block of input channels.
struct Depth {
    /// The first channel in `x`, and how many.
    first: usize,
    channels: usize,
    /// The first product of the sums, and how many.
    from: usize,
    count: usize,
    in_tile: InTile,
    /// Where sums go: the piece's first, and elements from one channel to the next.
    y: *mut f32,
    pitch: usize,
    /// Where the piece begins in a channel of `y`.
    start: usize,
}

/// A panel of output channels over a block of input channels.
struct Panel {
    weights: *const f32,
    /// What its sums start from, if this block is the first.
    bias: Option<*const f32>,
    /// The first output channel of the group, and how many.
    first: usize,
    rows: usize,
}

/// A stretch of a row that becomes neighbouring columns.
#[derive(Clone, Copy, Default)]
struct Stretch {
    from: u32,
    to: u32,
    count: u32,
}

/// Columns that are packed together at most, and so the most stretches.
const MOST: usize = TILES * LINE;

impl Task for ColumnsJob<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        match self.piece.conv.rows {
            1 => self.sums::<S, 1>(s),
            8 if S::ROWS == 8 => self.sums::<S, 8>(s),
            6 if S::ROWS == 6 => self.sums::<S, 6>(s),
            _ => self.sums::<S, 4>(s),
        }
        self.piece.after(s);
    }
}

impl ColumnsJob<'_> {
    #[inline(always)]
    fn sums<S: Simd, const M: usize>(&mut self, s: S) {
        let c = self.piece.conv;
        let taps = c.geometry.taps();
        let first = (self.piece.image * c.groups + self.piece.group) * c.group_in;
        let (y, pitch) = self.piece.sums();
        let start = match self.piece.in_place() {
            true => self.piece.row(0, 0),
            false => 0,
        };
        let area = self.piece.region.area();
        let whole = match self.plan.tiles > 1 && self.piece.panels.len() > 1 {
            true => area / (S::COLUMNS * S::LANES),
            false => 0,
        };
        let rest = whole * S::COLUMNS;
        let registers = area.div_ceil(S::LANES) - rest;
        let tiles = registers.div_ceil(S::COLUMNS);
        for from in (0..c.group_in).step_by(self.plan.block.channels) {
            let channels = self.plan.block.channels.min(c.group_in - from);
            let block = Depth {
                first: first + from,
                channels,
                from: from * taps,
                count: channels * taps,
                in_tile: match from + channels == c.group_in {
                    true => self.piece.in_tile(),
                    false => InTile::NOTHING,
                },
                y,
                pitch,
                start,
            };
            self.copy_halo(s, &block);
            for tile in (0..whole).step_by(self.plan.tiles) {
                let count = self.plan.tiles.min(whole - tile);
                match S::COLUMNS {
                    3 => self.together::<S, M, 3>(s, &block, tile, [count, whole]),
                    _ => self.together::<S, M, 2>(s, &block, tile, [count, whole]),
                }
            }
            for t in 0..tiles {
                // Tiles of nearly equal width: 4 registers are 2 + 2, not 3 + 1.
                let (begin, end) = (t * registers / tiles, (t + 1) * registers / tiles);
                match end - begin {
                    3 if S::COLUMNS == 3 => self.tiles::<S, M, 3>(s, &block, rest + begin),
                    2 => self.tiles::<S, M, 2>(s, &block, rest + begin),
                    _ => self.tiles::<S, M, 1>(s, &block, rest + begin),
                }
            }
        }
    }

    /// Copies the boxes of a block's channels where columns come from those.
    #[inline(always)]
    fn copy_halo<S: Simd>(&mut self, s: S, block: &Depth) {
        let Source::Halo(halo, _) = &self.plan.source else {
            return;
        };
        let g = &self.piece.conv.geometry;
        let area = g.input_area();
        let planes = self.copy[self.plan.packed..].chunks_exact_mut(halo.area());
        for (i, plane) in planes.take(block.channels).enumerate() {
            let x = &self.x[(block.first + i) * area..][..area];
            halo.copy_zero(s, g, &self.piece.region, x, plane);
        }
    }

    /// All panels over `count` of `whole` tiles of `N` registers, from tile `first` on, each panel over
    /// all of them before the next.
    #[inline(always)]
    fn together<S: Simd, const M: usize, const N: usize>(
        &mut self,
        s: S,
        block: &Depth,
        first: usize,
        [count, whole]: [usize; 2],
    ) {
        let width = N * S::LANES;
        self.pack(s, block, first * width, count * width);
        let copy = self.copy.as_mut_ptr();
        let panels = self.piece.panels.clone();
        let far = self.piece.conv.geometry.input_area() >= FAR;
        for (i, index) in panels.clone().enumerate() {
            let panel = self.panel::<M>(block, index);
            for t in 0..count {
                let mut x = [copy.cast_const(); N];
                for (j, x) in x.iter_mut().enumerate() {
                    // SAFETY: register j of the packed columns of tile t.
                    *x = unsafe { copy.add(t * self.plan.pitch + j * S::LANES) };
                }
                let (at, n) = ((first + t) * width, [S::LANES; N]);
                if far && at + count * width < whole * width {
                    self.ask(s, block, (i, panels.len()), at + count * width);
                }
                self.tile::<S, M, N, false>(s, block, &panel, (at, n), (x, width), copy);
            }
        }
    }

    /// Asks for what the tile from `at` of the region on is packed of, in every channel that is panel `i`'s
    /// of `panels`.
    #[inline(always)]
    fn ask<S: Simd>(&self, s: S, block: &Depth, (i, panels): (usize, usize), at: usize) {
        let g = &self.piece.conv.geometry;
        let width = self.piece.region.size[2];
        let (from, lines) = match self.plan.source {
            Source::InPlace => (self.piece.row(0, 0) + at, 1),
            Source::Strided => (
                self.line(at / width) + at % width * g.stride[2],
                g.stride[2],
            ),
            Source::Halo(..) => return,
        };
        for c in (i..block.channels).step_by(panels) {
            let from = from + (block.first + c) * g.input_area();
            for line in 0..lines {
                s.prefetch(self.x.as_ptr().wrapping_add(from + line * LINE));
            }
        }
    }

    /// Where a row of the region finds its first column in a channel of the input, without padding.
    #[inline(always)]
    fn line(&self, row: usize) -> usize {
        let g = &self.piece.conv.geometry;
        let region = &self.piece.region;
        let z = region.start[0] + row / region.size[1];
        let y = region.start[1] + row % region.size[1];
        let line = z * g.stride[0] * g.input[1] + y * g.stride[1];
        line * g.input[2] + region.start[2] * g.stride[2]
    }

    /// All panels over the `N` registers of columns from `register` on.
    #[inline(always)]
    fn tiles<S: Simd, const M: usize, const N: usize>(
        &mut self,
        s: S,
        block: &Depth,
        register: usize,
    ) {
        let at = register * S::LANES;
        let left = self.piece.region.area() - at;
        let n: [usize; N] = std::array::from_fn(|j| S::LANES.min(left - j * S::LANES));
        // A last register that is not whole would be read past the channel.
        let in_place = matches!(self.plan.source, Source::InPlace) && n[N - 1] == S::LANES;
        if !in_place {
            self.pack(s, block, at, left.min(N * S::LANES));
        }
        let copy = self.copy.as_mut_ptr();
        let own: [*const f32; N] =
            // SAFETY: register j < COLUMNS of the packed columns.
            std::array::from_fn(|j| unsafe { copy.cast_const().add(j * S::LANES) });
        let packed = (own, S::COLUMNS * S::LANES);
        let mut panels = self.piece.panels.clone();
        if in_place {
            let area = self.piece.conv.geometry.input_area();
            let from = &self.x[block.first * area + self.piece.row(0, 0) + at..];
            // SAFETY: left >= (j + 1) * LANES, as the last register is whole.
            let x = std::array::from_fn(|j| unsafe { from.as_ptr().add(j * S::LANES) });
            let columns = (x, area);
            if panels.len() == 1 {
                let only = self.panel::<M>(block, panels.start);
                self.tile::<S, M, N, false>(s, block, &only, (at, n), columns, copy);
                return;
            }
            if let Some(first) = panels.next() {
                let first = self.panel::<M>(block, first);
                self.tile::<S, M, N, true>(s, block, &first, (at, n), columns, copy);
            }
        }
        for panel in panels {
            let panel = self.panel::<M>(block, panel);
            self.tile::<S, M, N, false>(s, block, &panel, (at, n), packed, copy);
        }
    }

    /// Where a panel's weights and bias lie, once for all its tiles.
    #[inline(always)]
    fn panel<const M: usize>(&self, block: &Depth, panel: usize) -> Panel {
        let c = self.piece.conv;
        let index = self.piece.group * c.panels() + panel;
        let depth = c.group_in * c.geometry.taps();
        let weights = &c.weights.as_f32()[(index * depth + block.from) * M..];
        let first = panel * M;
        Panel {
            weights: weights.as_ptr(),
            bias: match block.from {
                0 => Some(c.bias.as_f32()[index * M..].as_ptr()),
                _ => None,
            },
            first,
            rows: M.min(c.group_out - first),
        }
    }

    /// One panel over `N` registers of columns, whose `n` results each lie from `at` of the region on.
    #[inline(always)]
    fn tile<S: Simd, const M: usize, const N: usize, const COPY: bool>(
        &self,
        s: S,
        block: &Depth,
        panel: &Panel,
        (at, n): (usize, [usize; N]),
        (x, from_pitch): ([*const f32; N], usize),
        copy: *mut f32,
    ) {
        let start = panel.bias.map_or(Start::Sum, Start::Rows);
        let place = |j: usize| panel.first * block.pitch + block.start + at + j * S::LANES;
        // SAFETY: the registers named lie in the sums, for all channels of the panel.
        let y = std::array::from_fn(|j| unsafe { block.y.add(place(j)) });
        let residual = block.in_tile.residual.map(|r| match r.width {
            None => Added {
                // SAFETY: what is added is as large as the output.
                from: std::array::from_fn(|j| unsafe { r.from.add(place(j)) }),
                pitch: block.pitch,
                twice: false,
            },
            Some(width) => Added {
                from: std::array::from_fn(|j| {
                    let at = block.start + at + j * S::LANES;
                    let (row, column) = (at / width, at % width);
                    let at = row / 2 * (width / 2) + column / 2;
                    // SAFETY: a quarter of the output's size; a register is one row's.
                    unsafe { r.from.add(panel.first * (block.pitch / 4) + at) }
                }),
                pitch: block.pitch / 4,
                twice: true,
            },
        });
        let [range, then] = block.in_tile.ranges;
        s.vectorize(Tile::<_, M, N, true, COPY> {
            depth: block.count,
            weights: panel.weights,
            row: 0,
            offsets: from_pitch,
            x,
            y,
            n,
            pitch: block.pitch,
            rows: panel.rows,
            start,
            finish: Finish {
                range,
                residual,
                then,
            },
            copy,
        });
    }

    /// Packs `count` columns from `at` of the region on, tile after tile.
    #[inline(always)]
    fn pack<S: Simd>(&mut self, s: S, block: &Depth, at: usize, count: usize) {
        if matches!(self.plan.source, Source::InPlace) && count.is_multiple_of(S::LANES) {
            return self.pack_registers(s, block, at, count / S::LANES);
        }
        let mut stretches = [Stretch::default(); MOST];
        let used = self.stretches::<S>(at, count, &mut stretches);
        let stretches = &stretches[..used];
        let g = &self.piece.conv.geometry;
        let width = S::COLUMNS * S::LANES;
        let (packed, boxes) = self.copy.split_at_mut(self.plan.packed);
        if let Source::Halo(halo, taps) = &self.plan.source {
            for c in 0..block.channels {
                for (t, tap) in taps.iter().enumerate() {
                    let row = &mut packed[(c * taps.len() + t) * width..];
                    let from = &boxes[c * halo.area() + *tap as usize..];
                    for stretch in stretches {
                        // SAFETY: the stretch lies in the box, and registers in the memory behind
                        // both.
                        unsafe {
                            let v = s.load(from.as_ptr().add(stretch.from as usize));
                            s.store(row.as_mut_ptr().add(stretch.to as usize), v);
                        }
                    }
                }
            }
            return;
        }
        let (area, step) = (g.input_area(), g.stride[2]);
        for c in 0..block.channels {
            let from = &self.x[(block.first + c) * area..][..area];
            let row = &mut packed[c * width..];
            for stretch in stretches {
                let n = stretch.count as usize;
                let from = &from[stretch.from as usize..][..(n - 1) * step + 1];
                let to = &mut row[stretch.to as usize..];
                // SAFETY: a register lies behind `to`.
                unsafe { s.store(to.as_mut_ptr(), every(s, from, step)) };
            }
        }
    }

    /// The same for `count` registers that lie one after the other.
    #[inline(always)]
    fn pack_registers<S: Simd>(&mut self, s: S, block: &Depth, at: usize, count: usize) {
        let area = self.piece.conv.geometry.input_area();
        let start = self.piece.row(0, 0) + at;
        let (width, pitch) = (S::COLUMNS * S::LANES, self.plan.pitch);
        for c in 0..block.channels {
            let from = &self.x[(block.first + c) * area + start..][..count * S::LANES];
            let row = &mut self.copy[c * width..];
            for r in 0..count {
                let to = r / S::COLUMNS * pitch + r % S::COLUMNS * S::LANES;
                // SAFETY: register r of this channel, and of the packed columns of its tile.
                unsafe {
                    let v = s.load(from.as_ptr().add(r * S::LANES));
                    s.store(row.as_mut_ptr().add(to), v);
                }
            }
        }
    }

    /// Cuts `count` columns from `at` of the region on into stretches of rows of at most a register,
    /// each in one tile. Returns how many there are.
    #[inline(always)]
    fn stretches<S: Simd>(&self, at: usize, count: usize, to: &mut [Stretch; MOST]) -> usize {
        let g = &self.piece.conv.geometry;
        let region = &self.piece.region;
        let [_, height, width] = region.size;
        let (mut row, mut column) = (at / width, at % width);
        let tile = S::COLUMNS * S::LANES;
        let (mut done, mut used) = (0, 0);
        while done < count {
            let n = S::LANES.min(width - column).min(count - done);
            let n = n.min(tile - done % tile);
            let from = match &self.plan.source {
                Source::Halo(halo, _) => halo.origin(g, row / height, row % height) + column,
                _ => self.line(row) + column * g.stride[2],
            };
            to[used] = Stretch {
                from: from as u32,
                to: (done / tile * self.plan.pitch + done % tile) as u32,
                count: n as u32,
            };
            used += 1;
            done += n;
            column += n;
            if column == width {
                (row, column) = (row + 1, 0);
            }
        }
        used
    }
}

/// Every `step`-th element of `from`, which ends with the last of them.
#[inline(always)]
fn every<S: Simd>(s: S, from: &[f32], step: usize) -> S::V {
    match step {
        1 => register(s, from, 0),
        2 => {
            let (low, high) = (register(s, from, 0), register(s, from, S::LANES as isize));
            s.mend(s.part(low, high)[0])
        }
        _ => {
            let mut list = [0.0; 16];
            for (to, from) in list.iter_mut().zip(from.iter().step_by(step)) {
                *to = *from;
            }
            // SAFETY: a register has at most 16 elements.
            unsafe { s.load(list.as_ptr()) }
        }
    }
}
