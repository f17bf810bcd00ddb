//! Winograd convolution: a 3×3 (or 3×3×3) convolution of stride 1 with 4 (or 5.1) times fewer
//! multiplications, a 3×3 convolution of stride 2 with 1.8 times fewer. Groups of channels are
//! convolutions of their own.
//!
//! For every block of tiles, on one thread: all input channels are transformed to
//! `[frequency, channel, tile]`; then, set of output channels by set, one matrix product per
//! frequency makes `[frequency, output channel, tile]`, which is transformed back, finished and
//! stored. Pixels are read from and written to plain planes: a register holds one element of
//! `LANES` tiles (see [`places`]).
//!
//! On AVX-512 a block of F(4×4) is 48 tiles. With 128 channels its transformed inputs are
//! 48 × 36 × 128 elements, 885 KB, and the sums of a set of 64 channels 442 KB: together a little
//! more than the second cache, but the products read one frequency (12 KB per 64 channels) over and
//! over from the first, and weights from the third, one after the other as they were packed.

mod input;
mod output;
mod places;
mod product;
mod strided;
mod transform;

use std::ops::Range;

use crate::blocking::tile_rows;
use crate::conv::Epilogue;
use crate::isa::{Simd, Task};
use crate::shared::Shared;
use crate::{Buffer, Context, Geometry};
use input::Input;
use output::Output;
use places::{Grid, Place, RUNS};
use product::Products;
use strided::StridedInput;
use transform::{filters, taps};

/// Outputs of a tile on the depth axis and on each of the other two.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct WinogradTile {
    /// 1 where the kernel has one slice, else 2 or 4.
    pub depth: usize,
    /// 2 or 4.
    pub plane: usize,
}

impl WinogradTile {
    /// Whether convolutions of this geometry can be computed with these tiles.
    pub fn fits(self, g: &Geometry) -> bool {
        let depth = match g.kernel[0] {
            1 => self.depth == 1,
            3 if g.stride[2] == 2 => self.depth == 1,
            3 => matches!(self.depth, 2 | 4),
            _ => false,
        };
        let plane = match g.stride {
            [1, 1, 1] => matches!(self.plane, 2 | 4),
            [1 | 2, 2, 2] => self.plane == strided::OUTPUTS,
            _ => false,
        };
        depth
            && plane
            && self.depth <= self.plane
            && g.kernel[1..] == [3, 3]
            && g.dilation == [1; 3]
            && g.spread == [1; 3]
    }

    /// Products per tile, input and output channel of a convolution of this geometry.
    pub fn products(self, g: &Geometry) -> usize {
        self.depths(g).iter().sum()
    }

    /// How many of them are summed at each frequency.
    fn depths(self, g: &Geometry) -> Vec<usize> {
        let [along_z, along] = self.filters(g);
        let count = along.len();
        (0..along_z.len() * count * count)
            .map(|f| {
                let (z, y, x) = (f / count / count, f / count % count, f % count);
                along_z[z].len() * along[y].len() * along[x].len()
            })
            .collect()
    }

    /// What taps contribute to each product on the depth axis and on the others, see [`filters`].
    fn filters(self, g: &Geometry) -> [Vec<Vec<[f64; 3]>>; 2] {
        let unit = |i: usize| std::array::from_fn(|j| f64::from(u8::from(i == j)));
        let along_z = match self.depth {
            // Slices are summed as channels are.
            1 => vec![(0..g.kernel[0]).map(unit).collect()],
            depth => filters(depth, 1),
        };
        [along_z, filters(self.plane, g.stride[2])]
    }

    /// What transforms take, in multiply-adds of a register: of one input channel of one register of
    /// tiles, of one output channel. Measured with AVX-512, with a stride on Zen 4, else on Zen 5.
    pub fn transforms(self, g: &Geometry) -> (f64, f64) {
        match (self.depth, self.plane) {
            _ if g.stride[2] == 2 => (1100.0 * g.kernel[0] as f64, 480.0),
            (1, 2) => (200.0, 200.0),
            (1, _) => (870.0, 870.0),
            (2, 2) => (900.0, 600.0),
            (2, _) => (5500.0, 2400.0),
            _ => (8500.0, 4000.0),
        }
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
    /// Panels of output channels per set.
    panels: usize,
    /// Parts that the sets of a group of channels are cut into.
    parts: usize,
}

/// Products that are summed before the sum is stored: as accurate as the direct convolution's
/// one long sum.
const CHAIN: usize = 64;

/// A convolution with transformed weights.
#[derive(Debug)]
pub struct Winograd {
    grid: Grid,
    tile: WinogradTile,
    groups: usize,
    /// Channels of a group.
    group_in: usize,
    group_out: usize,
    /// Rows of a register tile.
    rows: usize,
    cut: Cut,
    /// Products that are summed at each frequency.
    depths: Vec<usize>,
    /// In the order in which they are used: `[group, set, frequency, chain, panel, product, row]`.
    weights: Buffer,
    bias: Vec<f32>,
}

/// Elements between the frequencies of transformed tiles of so many rows: not a power of two, so that
/// they do not all fall on the same lines of the caches.
fn step(rows: usize, pitch: usize) -> usize {
    rows * pitch + 16
}

impl Winograd {
    /// Transforms `weight` `[O, I/groups, kernel…]` for `context`, with `bias` `[O]`. `batch` is the usual
    /// number of images; it steers how the work is cut, not what is computed.
    ///
    /// # Panics
    /// If the tile does not fit the geometry, or the weight does not have
    /// `out · in/groups · taps` elements.
    pub fn new(
        context: &Context,
        geometry: Geometry,
        tile: WinogradTile,
        batch: usize,
        groups: usize,
        out: usize,
        weight: &[f32],
        bias: Option<&[f32]>,
    ) -> Self {
        assert!(tile.fits(&geometry), "a tile for the geometry");
        let taps = geometry.taps();
        let group_in = weight.len() / (out * taps);
        assert_eq!(
            weight.len(),
            out * group_in * taps,
            "a weight per output, input and tap"
        );
        let grid = Grid::new(geometry, tile.sizes(), context.isa().lanes());
        let group_out = out / groups;
        // One output channel takes four rows as well.
        let rows = tile_rows(context.isa(), group_out.max(2));
        let panels = group_out.div_ceil(rows);
        let products = tile.products(&geometry);
        let depths = tile.depths(&geometry);
        let work = Work {
            groups,
            channels: group_in,
            panels,
            rows,
            products: (products * group_in) as f64,
            transforms: tile.transforms(&geometry),
        };
        let cut = cut(context, &grid, batch, &work);
        let mut winograd = Winograd {
            grid,
            tile,
            groups,
            group_in,
            group_out,
            rows,
            cut,
            depths: depths.iter().map(|n| n * group_in).collect(),
            weights: Buffer::floats(groups * panels * rows * group_in * products),
            bias: bias.map_or_else(|| vec![0.0; out], <[f32]>::to_vec),
        };
        winograd.pack(context, weight);
        winograd
    }

    /// The number of output channels.
    pub fn out(&self) -> usize {
        self.groups * self.group_out
    }

    /// What this does, for profiles.
    pub fn describe(&self) -> &'static str {
        match (self.tile.depth, self.tile.plane) {
            _ if self.is_strided() => "winograd 4x4 strided",
            (1, 2) => "winograd 2x2",
            (1, _) => "winograd 4x4",
            (2, 2) => "winograd 2x2x2",
            (2, _) => "winograd 2x4x4",
            _ => "winograd 4x4x4",
        }
    }

    /// Panels of a group of channels.
    fn panels(&self) -> usize {
        self.group_out.div_ceil(self.rows)
    }

    fn is_strided(&self) -> bool {
        self.grid.geometry.stride[2] == 2
    }

    /// Weights of a panel of output channels.
    fn panel(&self) -> usize {
        self.rows * self.depths.iter().sum::<usize>()
    }

    /// Elements between the frequencies of transformed inputs.
    fn step_x(&self, pitch: usize) -> usize {
        step(self.depths.iter().copied().max().unwrap_or(0), pitch)
    }

    /// Elements between the frequencies of sums.
    fn step_y(&self, pitch: usize) -> usize {
        step(self.cut.panels * self.rows, pitch)
    }

    /// Sets of panels of a group of channels.
    fn sets(&self) -> usize {
        self.panels().div_ceil(self.cut.panels)
    }

    /// Transforms and packs the weights, set by set.
    fn pack(&mut self, context: &Context, weight: &[f32]) {
        let mut weights = std::mem::replace(&mut self.weights, Buffer::floats(0));
        let to = Shared::new(weights.as_f32_mut());
        let of_group = weight.len() / self.groups;
        context.each(self.groups * self.sets(), |i, _| {
            let (group, set) = (i / self.sets(), i % self.sets());
            let first = set * self.cut.panels;
            let panels = first..self.panels().min(first + self.cut.panels);
            let at = (group * self.panels() + first) * self.panel();
            // SAFETY: every set of a group has its own part.
            let to = unsafe { to.part(at, panels.len() * self.panel()) };
            context.vectorize(Pack {
                winograd: self,
                panels,
                weight: &weight[group * of_group..][..of_group],
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
        let image = self.groups * self.group_in * g.input_area();
        let batch = x.len() / image.max(1);
        assert_eq!(x.len(), batch * image, "whole images");
        let out = batch * self.out() * g.output_area();
        assert_eq!(y.len(), out, "the output of a convolution");
        assert!(
            epilogue.residual.is_none_or(|r| r.len() == out),
            "the residual's size"
        );
        let y = Shared::new(y);
        let vectors = (batch * self.grid.runs()).div_ceil(self.tile.plane);
        let parts = self.cut.parts;
        let sets = self.sets();
        let blocks = vectors.div_ceil(self.cut.vectors);
        let pitch = self.cut.vectors * context.isa().lanes();
        let sizes = [
            self.depths.len() * self.step_x(pitch),
            self.depths.len() * self.step_y(pitch),
        ];
        context.each(self.groups * blocks * parts, |i, scratch| {
            let (i, part) = (i / parts, i % parts);
            let (group, block) = (i / blocks, i % blocks);
            let first = block * self.cut.vectors;
            let (tiles, sums) = scratch.floats(sizes[0] + sizes[1]).split_at_mut(sizes[0]);
            context.vectorize(Job {
                winograd: self,
                batch,
                first,
                vectors: self.cut.vectors.min(vectors - first),
                group,
                sets: part * sets / parts..(part + 1) * sets / parts,
                pitch,
                x: &x[group * self.group_in * g.input_area()..],
                tiles,
                sums,
                y: &y,
                epilogue: &epilogue,
            });
        });
    }
}

/// Panels of output channels per set: their sums of one frequency stay in the first cache. 2 and 4
/// are 1 to 3 % slower on large maps, 25 % on small ones, where weights come from memory.
const SET: usize = 8;

/// Chooses blocks that keep all threads busy for the least time.
fn cut(context: &Context, grid: &Grid, batch: usize, work: &Work) -> Cut {
    let vectors = (batch * grid.runs()).div_ceil(grid.tile[2]).max(1);
    let threads = context.threads();
    // What a piece takes, in multiply-adds of a register.
    let time = |cut: &Cut| {
        let (input, output) = work.transforms;
        let sets = work.panels.div_ceil(cut.panels).div_ceil(cut.parts);
        let rows = (sets * cut.panels).min(work.panels) as f64 * work.rows as f64;
        // Tiles of fewer vectors load as many weights as those of three.
        let products = work.products * [1.15, 1.05, 1.0][cut.vectors - 1];
        let vector = input * work.channels as f64 + rows * (products + output);
        let pieces = work.groups * vectors.div_ceil(cut.vectors) * cut.parts;
        let rounds = pieces.div_ceil(threads);
        rounds as f64 * cut.vectors as f64 * vector
    };
    let most = context.isa().tile().1;
    let widths = (1..=most)
        .rev()
        .map(|n| vectors.div_ceil(vectors.div_ceil(n)));
    let cuts = widths.flat_map(|vectors| {
        (1..=(2 * threads).min(work.panels)).map(move |parts| {
            let part = work.panels.div_ceil(parts);
            let panels = part.div_ceil(part.div_ceil(SET));
            Cut {
                vectors,
                panels,
                parts,
            }
        })
    });
    let best = cuts.min_by(|a, b| time(a).total_cmp(&time(b)));
    best.expect("at least one vector and one part")
}

/// What [`cut`] cuts.
struct Work {
    groups: usize,
    /// Input channels of a group, and panels of its output channels.
    channels: usize,
    panels: usize,
    rows: usize,
    /// Multiply-adds of a register per output channel and vector of tiles.
    products: f64,
    /// What transforms of a vector of tiles of an input and an output channel take.
    transforms: (f64, f64),
}

/// Transforms the weights of some panels of a group of channels.
struct Pack<'a> {
    winograd: &'a Winograd,
    panels: Range<usize>,
    /// `[O, I, taps]`
    weight: &'a [f32],
    /// `[frequency, chain, panel, product, row]`
    to: &'a mut [f32],
}

impl Task for Pack<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let w = self.winograd;
        let taps = w.grid.geometry.taps();
        let [along_z, along] = w.tile.filters(&w.grid.geometry);
        // Where the weights of each frequency begin, and how many each input channel has there.
        let panels = self.panels.len();
        let counts: Vec<usize> = w.depths.iter().map(|n| n / w.group_in.max(1)).collect();
        let begins: Vec<usize> = (w.depths.iter())
            .scan(0, |end, depth| {
                Some(std::mem::replace(end, *end + panels * depth * w.rows))
            })
            .collect();
        for (p, panel) in self.panels.clone().enumerate() {
            for row in 0..w.rows.min(w.group_out - panel * w.rows) {
                for channel in 0..w.group_in {
                    let from = (panel * w.rows + row) * w.group_in + channel;
                    let from = &self.weight[from * taps..][..taps];
                    transform_filter(from, &along_z, &along, |frequency, i, weight| {
                        let all = w.depths[frequency];
                        let at = channel * counts[frequency] + i;
                        let (chain, at) = (at / CHAIN * CHAIN, at % CHAIN);
                        let depth = CHAIN.min(all - chain);
                        let place = chain * panels + p * depth + at;
                        self.to[begins[frequency] + place * w.rows + row] = weight;
                    });
                }
            }
        }
    }
}

/// Gives what the taps `[depth, 3, 3]` of a filter contribute to each product: the frequency, the
/// number of the product among those of an input channel there, the weight.
#[inline(always)]
fn transform_filter(
    taps: &[f32],
    along_z: &[Vec<[f64; 3]>],
    along: &[Vec<[f64; 3]>],
    mut put: impl FnMut(usize, usize, f32),
) {
    let count = along.len();
    for (fz, z) in along_z.iter().enumerate() {
        for (iz, z) in z.iter().enumerate() {
            let mut flat = [0.0; 9];
            for (slice, weight) in taps.chunks_exact(9).zip(z) {
                for (flat, tap) in flat.iter_mut().zip(slice) {
                    *flat += weight * f64::from(*tap);
                }
            }
            for (fy, y) in along.iter().enumerate() {
                for (iy, weights) in y.iter().enumerate() {
                    let half: [f64; 3] =
                        std::array::from_fn(|x| (0..3).map(|y| weights[y] * flat[y * 3 + x]).sum());
                    for (fx, x) in along.iter().enumerate() {
                        for (ix, weights) in x.iter().enumerate() {
                            let sum: f64 = (0..3).map(|x| weights[x] * half[x]).sum();
                            let i = (iz * y.len() + iy) * x.len() + ix;
                            put((fz * count + fy) * count + fx, i, sum as f32);
                        }
                    }
                }
            }
        }
    }
}

/// One thread's piece: a block of tiles of a group of channels, some sets of its output channels.
struct Job<'a> {
    winograd: &'a Winograd,
    batch: usize,
    /// The first vector of tiles and how many.
    first: usize,
    vectors: usize,
    group: usize,
    sets: Range<usize>,
    /// Elements from one channel of tiles to the next.
    pitch: usize,
    /// From the group's first channel of the first image on.
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
            _ if self.winograd.is_strided() => self.strided(s),
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
            channels: w.group_in,
            all: w.groups * w.group_in,
            first: self.first,
            vectors: self.vectors,
            x: self.x,
            to: self.tiles,
            frequency: w.step_x(self.pitch),
            pitch: self.pitch,
        });
        self.outputs::<S, Z, M, 3>(s);
    }

    #[inline(always)]
    fn strided<S: Simd>(&mut self, s: S) {
        let w = self.winograd;
        s.vectorize(StridedInput {
            grid: &w.grid,
            batch: self.batch,
            channels: w.group_in,
            all: w.groups * w.group_in,
            first: self.first,
            vectors: self.vectors,
            x: self.x,
            to: self.tiles,
            frequency: w.step_x(self.pitch),
            pitch: self.pitch,
        });
        self.outputs::<S, 1, { strided::OUTPUTS }, { taps(2) }>(s);
    }

    /// Multiplies the transformed tiles and transforms the sums back, set by set.
    #[inline(always)]
    fn outputs<S: Simd, const Z: usize, const M: usize, const TAPS: usize>(&mut self, s: S) {
        let w = self.winograd;
        let mut places = [Place::default(); RUNS];
        for (i, place) in places[..self.vectors * M].iter_mut().enumerate() {
            *place = w.grid.place(self.first * M + i, self.batch);
        }
        let g = &w.grid.geometry;
        let group = self.group * w.group_out;
        for set in self.sets.clone() {
            let first = set * w.cut.panels;
            let panels = w.cut.panels.min(w.panels() - first);
            let weights = (self.group * w.panels() + first) * w.panel();
            // The weights hold the set's panels, the scratch memory was asked for with these sizes.
            s.vectorize(Products {
                depths: &w.depths,
                chain: CHAIN,
                rows: w.rows,
                panels,
                vectors: self.vectors,
                pitch: self.pitch,
                weights: w.weights.as_f32()[weights..].as_ptr(),
                x: (self.tiles.as_ptr(), w.step_x(self.pitch)),
                y: (self.sums.as_mut_ptr(), w.step_y(self.pitch)),
            });
            s.vectorize(Output::<Z, M, TAPS> {
                places: &places,
                vectors: self.vectors,
                sums: self.sums,
                frequency: w.step_y(self.pitch),
                pitch: self.pitch,
                channels: group + first * w.rows
                    ..group + w.group_out.min((first + panels) * w.rows),
                out: w.out(),
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
