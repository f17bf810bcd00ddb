//! Winograd convolution: a 3×3 (or 3×3×3) convolution of stride 1 with 4 (or 5.1) times fewer
//! multiplications.
//!
//! For every block of tiles, on one thread: all input channels are transformed to
//! `[frequency, channel, tile]`; then, group of output channels by group, one matrix product per
//! frequency makes `[frequency, output channel, tile]`, which is transformed back, finished and
//! stored. Pixels are read from and written to plain planes: a register holds one element of
//! `LANES` tiles (see [`places`]).
//!
//! On AVX-512 a block of F(4×4) is 48 tiles. With 128 channels its transformed inputs are
//! 48 × 36 × 128 elements, 885 KB, and the sums of a group of 64 channels 442 KB: together a little
//! more than the second cache, but the products read one frequency (12 KB per 64 channels) over and
//! over from the first, and weights from the third, one after the other as they were packed.

mod input;
mod output;
mod places;
mod product;
mod transform;

use std::ops::Range;

use crate::conv::Epilogue;
use crate::isa::{Simd, Task};
use crate::shared::Shared;
use crate::{Buffer, Context, Geometry};
use input::Input;
use output::Output;
use places::{Grid, Place, RUNS};
use product::Products;
use transform::{filter, products};

/// Outputs of a tile on the depth axis and on each of the other two.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct WinogradTile {
    /// 1 where the kernel has one slice, else 2 or 4.
    pub depth: usize,
    /// 2 or 4.
    pub plane: usize,
}

impl WinogradTile {
    /// Whether convolutions of this geometry, of one group, can be computed with these tiles.
    pub fn fits(self, g: &Geometry) -> bool {
        let depth = match g.kernel[0] {
            1 => self.depth == 1,
            3 => matches!(self.depth, 2 | 4),
            _ => false,
        };
        depth
            && matches!(self.plane, 2 | 4)
            && self.depth <= self.plane
            && g.kernel[1..] == [3, 3]
            && g.stride == [1; 3]
            && g.dilation == [1; 3]
            && g.spread == [1; 3]
    }

    /// Products per tile.
    pub fn products(self) -> usize {
        products(self.depth) * products(self.plane).pow(2)
    }

    fn sizes(self) -> [usize; 3] {
        [self.depth, self.plane, self.plane]
    }
}

/// How the work is cut.
#[derive(Clone, Copy, Debug)]
struct Cut {
    /// Vectors of tiles per block.
    vectors: usize,
    /// Panels of output channels per group.
    panels: usize,
    /// Parts that the groups are cut into.
    parts: usize,
}

/// Input channels that are summed before the sum is stored: as accurate as the direct convolution's
/// one long sum.
const CHAIN: usize = 64;

/// A convolution with transformed weights.
#[derive(Debug)]
pub struct Winograd {
    grid: Grid,
    tile: WinogradTile,
    channels: usize,
    out: usize,
    /// Rows of a register tile.
    rows: usize,
    cut: Cut,
    /// In the order in which they are used: `[group, frequency, chain, panel, channel, row]`.
    weights: Buffer,
    bias: Vec<f32>,
}

/// Elements between the frequencies of transformed tiles: not a power of two, so that they do not
/// all fall on the same lines of the caches.
fn step(channels: usize, pitch: usize) -> usize {
    channels * pitch + 16
}

impl Winograd {
    /// Transforms `weight` `[O, I, kernel…]` for `context`, with `bias` `[O]`. `batch` is the usual
    /// number of images; it steers how the work is cut, not what is computed.
    ///
    /// # Panics
    /// If the tile does not fit the geometry, or the weight does not have `out · in · taps`
    /// elements.
    pub fn new(
        context: &Context,
        geometry: Geometry,
        tile: WinogradTile,
        batch: usize,
        out: usize,
        weight: &[f32],
        bias: Option<&[f32]>,
    ) -> Self {
        assert!(tile.fits(&geometry), "a tile for the geometry");
        let taps = geometry.taps();
        let channels = weight.len() / (out * taps);
        assert_eq!(
            weight.len(),
            out * channels * taps,
            "a weight per output, input and tap"
        );
        let grid = Grid::new(geometry, tile.sizes(), context.isa().lanes());
        let (rows, _) = context.isa().tile();
        let panels = out.div_ceil(rows);
        let cut = cut(context, &grid, batch, panels);
        let mut winograd = Winograd {
            grid,
            tile,
            channels,
            out,
            rows,
            cut,
            weights: Buffer::floats(panels * rows * channels * tile.products()),
            bias: bias.map_or_else(|| vec![0.0; out], <[f32]>::to_vec),
        };
        winograd.pack(context, weight);
        winograd
    }

    /// The number of output channels.
    pub fn out(&self) -> usize {
        self.out
    }

    /// What this does, for profiles.
    pub fn describe(&self) -> &'static str {
        match (self.tile.depth, self.tile.plane) {
            (1, 2) => "winograd 2x2",
            (1, _) => "winograd 4x4",
            (2, 2) => "winograd 2x2x2",
            (2, _) => "winograd 2x4x4",
            _ => "winograd 4x4x4",
        }
    }

    fn panels(&self) -> usize {
        self.out.div_ceil(self.rows)
    }

    fn groups(&self) -> usize {
        self.panels().div_ceil(self.cut.panels)
    }

    /// Transforms and packs the weights, group by group.
    fn pack(&mut self, context: &Context, weight: &[f32]) {
        let group = self.cut.panels * self.rows * self.channels * self.tile.products();
        let mut weights = std::mem::replace(&mut self.weights, Buffer::floats(0));
        let to = Shared::new(weights.as_f32_mut());
        context.each(self.groups(), |i, _| {
            let n = group.min(to.len() - i * group);
            // SAFETY: every group has its own part.
            let to = unsafe { to.part(i * group, n) };
            context.vectorize(Pack {
                winograd: self,
                panels: i * self.cut.panels..self.panels().min((i + 1) * self.cut.panels),
                weight,
                to,
            });
        });
        self.weights = weights;
    }

    /// Convolves `x` `[N, I, spatial…]` into `y` `[N, O, spatial…]`.
    ///
    /// # Panics
    /// If `x` is not a number of images, or `y` or a residual is not as large as the result.
    pub fn run(&self, context: &Context, x: &[f32], y: &mut [f32], epilogue: Epilogue<'_>) {
        let g = &self.grid.geometry;
        let batch = x.len() / (self.channels * g.input_area()).max(1);
        assert_eq!(
            x.len(),
            batch * self.channels * g.input_area(),
            "whole images"
        );
        let out = batch * self.out * g.output_area();
        assert_eq!(y.len(), out, "the output of a convolution");
        assert!(
            epilogue.residual.is_none_or(|r| r.len() == out),
            "the residual's size"
        );
        let y = Shared::new(y);
        let vectors = (batch * self.grid.runs()).div_ceil(self.tile.plane);
        let parts = self.cut.parts;
        let groups = self.groups();
        let blocks = vectors.div_ceil(self.cut.vectors);
        let pitch = self.cut.vectors * context.isa().lanes();
        let sizes = [
            self.tile.products() * step(self.channels, pitch),
            self.tile.products() * step(self.cut.panels * self.rows, pitch),
        ];
        context.each(blocks * parts, |i, scratch| {
            let (block, part) = (i / parts, i % parts);
            let first = block * self.cut.vectors;
            let (tiles, sums) = scratch.floats(sizes[0] + sizes[1]).split_at_mut(sizes[0]);
            context.vectorize(Job {
                winograd: self,
                batch,
                first,
                vectors: self.cut.vectors.min(vectors - first),
                groups: part * groups / parts..(part + 1) * groups / parts,
                pitch,
                x,
                tiles,
                sums,
                y: &y,
                epilogue: &epilogue,
            });
        });
    }
}

/// Panels of output channels per group: their sums of one frequency stay in the first cache. 2 and 4
/// are 1 to 3 % slower on large maps, 25 % on small ones, where weights come from memory.
const GROUP: usize = 8;

/// Chooses blocks that fit the caches and are enough for all threads.
fn cut(context: &Context, grid: &Grid, batch: usize, panels: usize) -> Cut {
    let vectors = (batch * grid.runs()).div_ceil(grid.tile[2]).max(1);
    // Two or three vectors are equal within 2 %; one is 15 % slower.
    let blocks = vectors.div_ceil(context.isa().tile().1);
    let threads = context.threads();
    let wanted = if threads == 1 { 1 } else { 2 * threads };
    let group = GROUP.min(panels.div_ceil(wanted.div_ceil(blocks))).max(1);
    let groups = panels.div_ceil(group);
    Cut {
        vectors: vectors.div_ceil(blocks),
        panels: group,
        parts: wanted.div_ceil(blocks).min(groups).max(1),
    }
}

/// Transforms the weights of some panels.
struct Pack<'a> {
    winograd: &'a Winograd,
    panels: Range<usize>,
    /// `[O, I, taps]`
    weight: &'a [f32],
    /// `[frequency, chain, panel, channel, row]`
    to: &'a mut [f32],
}

impl Task for Pack<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let w = self.winograd;
        let (along_z, along) = (filter(w.tile.depth), filter(w.tile.plane));
        let slices = w.grid.geometry.kernel[0];
        let (planes, count) = (along_z.len(), along.len());
        let chain = CHAIN;
        for (p, panel) in self.panels.clone().enumerate() {
            for row in 0..w.rows.min(w.out - (panel * w.rows).min(w.out)) {
                let o = panel * w.rows + row;
                for channel in 0..w.channels {
                    let taps = slices * 9;
                    let from = &self.weight[(o * w.channels + channel) * taps..][..taps];
                    let (from_chain, at) = (channel / chain * chain, channel % chain);
                    let depth = chain.min(w.channels - from_chain);
                    let place = (from_chain * self.panels.len() + p * depth + at) * w.rows + row;
                    let frequency = self.panels.len() * w.channels * w.rows;
                    for z in 0..planes {
                        let mut flat = [0.0; 9];
                        for (i, flat) in flat.iter_mut().enumerate() {
                            for slice in 0..slices {
                                *flat += along_z[z][slice] * f64::from(from[slice * 9 + i]);
                            }
                        }
                        for i in 0..count {
                            let mut half = [0.0; 3];
                            for x in 0..3 {
                                for y in 0..3 {
                                    half[x] += along[i][y] * flat[y * 3 + x];
                                }
                            }
                            for j in 0..count {
                                let sum: f64 = (0..3).map(|x| along[j][x] * half[x]).sum();
                                let f = (z * count + i) * count + j;
                                self.to[f * frequency + place] = sum as f32;
                            }
                        }
                    }
                }
            }
        }
    }
}

/// One thread's piece: a block of tiles, some groups of output channels.
struct Job<'a> {
    winograd: &'a Winograd,
    batch: usize,
    /// The first vector of tiles and how many.
    first: usize,
    vectors: usize,
    groups: Range<usize>,
    /// Elements from one channel of tiles to the next.
    pitch: usize,
    x: &'a [f32],
    tiles: &'a mut [f32],
    sums: &'a mut [f32],
    y: &'a Shared<'a, f32>,
    epilogue: &'a Epilogue<'a>,
}

impl Task for Job<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        match (self.winograd.tile.depth, self.winograd.tile.plane) {
            (1, 4) => self.tiles::<S, 1, 4>(s),
            (1, _) => self.tiles::<S, 1, 2>(s),
            (2, 4) => self.tiles::<S, 2, 4>(s),
            (2, _) => self.tiles::<S, 2, 2>(s),
            _ => self.tiles::<S, 4, 4>(s),
        }
    }
}

impl Job<'_> {
    #[inline(always)]
    fn tiles<S: Simd, const Z: usize, const M: usize>(&mut self, s: S) {
        let w = self.winograd;
        s.vectorize(Input::<Z, M> {
            grid: &w.grid,
            batch: self.batch,
            channels: w.channels,
            first: self.first,
            vectors: self.vectors,
            x: self.x,
            to: self.tiles,
            frequency: step(w.channels, self.pitch),
            pitch: self.pitch,
        });
        let mut places = [Place::default(); RUNS];
        for (i, place) in places[..self.vectors * M].iter_mut().enumerate() {
            *place = w.grid.place(self.first * M + i, self.batch);
        }
        let g = &w.grid.geometry;
        let step_y = step(w.cut.panels * w.rows, self.pitch);
        for group in self.groups.clone() {
            let first = group * w.cut.panels;
            let panels = w.cut.panels.min(w.panels() - first);
            // The weights hold the group's panels, the scratch memory was asked for with these sizes.
            s.vectorize(Products {
                frequencies: w.tile.products(),
                depth: w.channels,
                chain: CHAIN,
                panels,
                vectors: self.vectors,
                pitch: self.pitch,
                weights: w.weights.as_f32()[first * w.rows * w.channels * w.tile.products()..]
                    .as_ptr(),
                x: (self.tiles.as_ptr(), step(w.channels, self.pitch)),
                y: (self.sums.as_mut_ptr(), step_y),
            });
            s.vectorize(Output::<Z, M> {
                places: &places,
                vectors: self.vectors,
                sums: self.sums,
                frequency: step_y,
                pitch: self.pitch,
                channels: first * w.rows..w.out.min((first + panels) * w.rows),
                out: w.out,
                bias: &w.bias,
                size: [g.output[1], g.output[2], g.output_area()],
                y: self.y,
                epilogue: self.epilogue,
            });
        }
    }
}

#[cfg(test)]
mod tests;
