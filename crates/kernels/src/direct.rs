//! Direct convolution: boxes of the input are copied with their padding into scratch memory that
//! stays in the second cache, and register tiles read them where windows lie.
//!
//! For every box of outputs, for every block of input channels: copy the block's box once, then for
//! every tile's columns run all panels of output channels over it. A panel of one channel block is
//! 9 KB, a tile's columns up to 30 KB: both stay in the first cache; the box (128 KB) and the
//! weights of the block stay in the second. Partial sums of earlier channel blocks are read back
//! from the output, in the same order as one long sum.

use crate::blocking::Block;
use crate::halo::Halo;
use crate::isa::{Simd, Task};
use crate::piece::{InTile, Piece};
use crate::strip::{Panels, Strip};
use crate::{Context, Geometry};

/// How boxes are cut and laid out.
#[derive(Debug)]
pub(crate) struct Direct {
    pub(crate) block: Block,
    halo: Halo,
    /// Where each product of a channel block finds its column.
    offsets: Vec<u32>,
}

impl Direct {
    pub(crate) fn new(context: &Context, geometry: &Geometry, block: Block) -> Self {
        let halo = Halo::new(geometry, block.size, context.isa().lanes());
        let places = halo.taps(geometry);
        let offsets = (0..block.channels)
            .flat_map(|c| places.iter().map(move |t| (c, t)))
            .map(|(c, t)| (c * halo.area() + t) as u32)
            .collect();
        Direct {
            block,
            halo,
            offsets,
        }
    }

    /// Elements of scratch memory that a piece needs.
    pub(crate) fn scratch(&self) -> usize {
        self.block.channels * self.halo.area()
    }
}

/// One piece, with the memory for its boxes.
pub(crate) struct DirectJob<'a> {
    pub(crate) direct: &'a Direct,
    pub(crate) piece: Piece<'a>,
    pub(crate) x: &'a [f32],
    pub(crate) copy: &'a mut [f32],
}

impl Task for DirectJob<'_> {
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

impl DirectJob<'_> {
    /// Sums all products of the region.
    #[inline(always)]
    fn sums<S: Simd, const M: usize>(&mut self, s: S) {
        let (c, direct) = (self.piece.conv, self.direct);
        let g = &c.geometry;
        let taps = g.taps();
        let area = g.input_area();
        let first = (self.piece.image * c.groups + self.piece.group) * c.group_in;
        let (y, pitch) = self.piece.sums();
        let in_place = self.piece.in_place();
        let region = self.piece.region;
        for from in (0..c.group_in).step_by(direct.block.channels) {
            let channels = direct.block.channels.min(c.group_in - from);
            let planes = self.copy.chunks_exact_mut(direct.halo.area());
            for (i, plane) in planes.take(channels).enumerate() {
                let x = &self.x[(first + from + i) * area..][..area];
                direct.halo.copy_zero(s, g, &region, x, plane);
            }
            let last = from + channels == c.group_in;
            let in_tile = match last {
                true => self.piece.in_tile(),
                false => InTile::NOTHING,
            };
            let mut strip = Strip::<M>::new(Panels {
                weights: c.weights.as_f32(),
                bias: c.bias.as_f32(),
                offsets: &direct.offsets,
                group: self.piece.group,
                group_out: c.group_out,
                range: self.piece.panels.clone(),
                depth: c.group_in * taps,
                from: from * taps,
                count: channels * taps,
                channels,
                y,
                pitch,
                in_tile,
            });
            let [depth, height, width] = region.size;
            for z in 0..depth {
                for y in 0..height {
                    let row = match in_place {
                        true => self.piece.row(z, y),
                        false => (z * height + y) * width,
                    };
                    let origin = direct.halo.origin(g, z, y);
                    let mut x = 0;
                    while x < width {
                        let from = &self.copy[origin + x..];
                        strip.push(s, from.as_ptr(), row + x, S::LANES.min(width - x));
                        x += S::LANES;
                    }
                }
            }
            strip.flush(s);
        }
    }
}
