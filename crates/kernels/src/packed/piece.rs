//! One thread's piece of a packed convolution: its box of words, and the tiles over it.

use std::ops::Range;

use crate::halo::{Halo, Region};
use crate::isa::{Dot, DotTask, Simd};
use crate::packed::tile::{
    self, Added, Bytes, Finish, Halves, MOST, Quantization, Rows, Tile, Words,
};
use crate::packed::{Map, PackedConvolution, PackedEpilogue, Packing};
use crate::shared::Shared;

/// Registers of columns in a tile at most.
const COLUMNS: usize = 3;

/// Where results go, as the threads see it.
pub(super) struct Target<'a> {
    y: Shared<'a, f32>,
    words: Option<Packing>,
}

impl<'a> Target<'a> {
    pub(super) fn planes(y: Shared<'a, f32>) -> Self {
        Target { y, words: None }
    }

    pub(super) fn words(y: &'a mut [i32], packing: Packing) -> Self {
        // SAFETY: f32 and i32 are alike in size and alignment, and both hold any bits.
        let y = unsafe { std::slice::from_raw_parts_mut(y.as_mut_ptr().cast::<f32>(), y.len()) };
        Target {
            y: Shared::new(y),
            words: Some(packing),
        }
    }
}

/// A box of outputs of some groups of one image, some panels of their channels.
pub(super) struct Job<'a> {
    pub(super) conv: &'a PackedConvolution,
    pub(super) x: Map<'a>,
    pub(super) target: &'a Target<'a>,
    pub(super) epilogue: &'a PackedEpilogue<'a>,
    pub(super) width: usize,
    pub(super) image: usize,
    pub(super) groups: Range<usize>,
    pub(super) region: Region,
    pub(super) panels: Range<usize>,
    pub(super) scratch: &'a mut [f32],
}

/// The parameters of a packing as its words know them.
trait Scaled: Words {
    fn scale(packing: Packing) -> Self::Scale;
}

impl Scaled for Halves {
    #[inline(always)]
    fn scale(_: Packing) {}
}

impl Scaled for Bytes {
    #[inline(always)]
    fn scale(packing: Packing) -> Quantization {
        match packing {
            Packing::U8(q) => q,
            // Sizes were compared before: nothing else has four channels to a word.
            Packing::Bf16 => Quantization { step: 1.0, zero: 0 },
        }
    }
}

/// The elements of a map, whatever they are.
#[inline(always)]
fn elements<'a>(map: &Map<'a>) -> (&'a [f32], Option<Packing>) {
    match *map {
        Map::Planes(v) => (v, None),
        Map::Words(v, packing) => {
            // SAFETY: f32 and i32 are alike in size and alignment, and both hold any bits.
            let v = unsafe { std::slice::from_raw_parts(v.as_ptr().cast::<f32>(), v.len()) };
            (v, Some(packing))
        }
    }
}

/// Words of the first `n` elements of `count` planes that are `pitch` apart; zeros for others.
///
/// # Safety
/// These elements must be readable.
#[inline(always)]
unsafe fn pack_planes<D: Dot, W: Words>(
    d: D,
    scale: W::Scale,
    from: *const f32,
    pitch: usize,
    count: usize,
    n: usize,
) -> D::V {
    let s = d.plain();
    let mut channels = [s.splat(0.0); MOST];
    for i in 0..W::CHANNELS {
        if i < count {
            // SAFETY: as this function's.
            channels[i] = unsafe { s.load_first(from.add(i * pitch), n) };
        }
    }
    W::pack(d, scale, channels)
}

impl DotTask for Job<'_> {
    #[inline(always)]
    fn run<D: Dot>(mut self, d: D) {
        let c = self.conv;
        match (c.packing, c.rows) {
            (Packing::Bf16, 2) => self.groups::<D, Halves, 2>(d),
            (Packing::Bf16, 8) if D::DOT_ROWS == 8 => self.groups::<D, Halves, 8>(d),
            (Packing::Bf16, _) => self.groups::<D, Halves, 4>(d),
            (Packing::U8(_), 8) if D::DOT_ROWS == 8 => self.groups::<D, Bytes, 8>(d),
            (Packing::U8(_), _) => self.groups::<D, Bytes, 4>(d),
        }
    }
}

impl PackedConvolution {
    /// The planes of the input that a group's word is made from: the first, and how many. Of words it is
    /// one.
    #[inline(always)]
    fn planes(&self, image: usize, group: usize, word: usize, words: bool) -> (usize, usize) {
        let at = group * self.group_in + word;
        let channels = self.packing.channels();
        match words {
            true => (image * self.channels.div_ceil(channels) + at, 1),
            false => {
                // Groups are whole words, or there is one, or every word is one.
                let first = at * channels;
                let count = channels.min(self.channels - first);
                (image * self.channels + first, count)
            }
        }
    }
}

/// Columns gathered for a tile: where each register's words begin, where its results lie in a plane of
/// the output and in what is added, and how many there are.
#[derive(Clone, Copy)]
struct Column {
    x: *const f32,
    at: usize,
    added: usize,
    n: usize,
}

impl Job<'_> {
    #[inline(always)]
    fn groups<D: Dot, W: Scaled, const M: usize>(&mut self, d: D) {
        for group in self.groups.clone() {
            match self.conv.cut.halo {
                Some(halo) => self.windows::<D, W, M>(d, halo, group),
                None => self.points::<D, W, M>(d, group),
            }
        }
    }

    /// Where a row of the region lies in a plane of the output.
    #[inline(always)]
    fn row(&self, z: usize, y: usize) -> usize {
        let (start, output) = (self.region.start, self.conv.geometry.output);
        ((start[0] + z) * output[1] + start[1] + y) * output[2] + start[2]
    }

    /// Where the results at `at` of a plane lie in a plane of what is added.
    #[inline(always)]
    fn added(&self, at: usize) -> usize {
        match self.epilogue.added {
            Some(added) if added.upsampled => {
                at / self.width / 2 * (self.width / 2) + at % self.width / 2
            }
            _ => at,
        }
    }

    /// A pointwise layer: every tile's columns are packed side by side.
    #[inline(always)]
    fn points<D: Dot, W: Scaled, const M: usize>(&mut self, d: D, group: usize) {
        let s = d.plain();
        let c = self.conv;
        let (lanes, columns) = (<D::S as Simd>::LANES, D::DOT_COLUMNS);
        let tile = lanes * columns;
        let (x, words) = elements(&self.x);
        let area = c.geometry.input_area();
        let scale = W::scale(c.packing);
        let (start, total) = (self.region.start[2], self.region.size[2]);
        for first in (0..total).step_by(tile) {
            let left = total - first;
            let registers = left.div_ceil(lanes).min(columns);
            for word in 0..c.group_in {
                let (plane, count) = c.planes(self.image, group, word, words.is_some());
                let from = &x[plane * area + start + first..];
                let to = self.scratch[word * tile..][..tile].as_mut_ptr();
                for j in 0..registers {
                    let n = lanes.min(left - j * lanes);
                    // SAFETY: n elements of every channel from here on.
                    let v = unsafe {
                        let from = from[j * lanes..].as_ptr();
                        match words {
                            Some(_) => s.load_first(from, n),
                            None => pack_planes::<D, W>(d, scale, from, area, count, n),
                        }
                    };
                    // SAFETY: a whole register of the scratch memory.
                    unsafe { s.store(to.add(j * lanes), v) };
                }
            }
            let column = |j: usize| {
                let at = start + first + j * lanes;
                Column {
                    x: self.scratch[j * lanes..].as_ptr(),
                    at,
                    added: self.added(at),
                    n: lanes.min(left.saturating_sub(j * lanes)),
                }
            };
            let list: [Column; COLUMNS] = std::array::from_fn(|j| column(j.min(registers - 1)));
            self.tiles::<D, W, M>(d, group, &list[..registers]);
        }
    }

    /// Windows over a box of words with its padding.
    #[inline(always)]
    fn windows<D: Dot, W: Scaled, const M: usize>(&mut self, d: D, halo: Halo, group: usize) {
        self.fill::<D, W>(d, &halo, group);
        let g = &self.conv.geometry;
        let lanes = <D::S as Simd>::LANES;
        let [depth, height, width] = self.region.size;
        let nothing = Column {
            x: std::ptr::null(),
            at: 0,
            added: 0,
            n: 0,
        };
        let (mut list, mut filled) = ([nothing; COLUMNS], 0);
        for z in 0..depth {
            for y in 0..height {
                let origin = halo.origin(g, z, y);
                let row = self.row(z, y);
                for first in (0..width).step_by(lanes) {
                    list[filled] = Column {
                        x: self.scratch[origin + first..].as_ptr(),
                        at: row + first,
                        added: row + first,
                        n: lanes.min(width - first),
                    };
                    filled += 1;
                    if filled == D::DOT_COLUMNS {
                        self.tiles::<D, W, M>(d, group, &list[..filled]);
                        filled = 0;
                    }
                }
            }
        }
        self.tiles::<D, W, M>(d, group, &list[..filled]);
    }

    /// Copies a group's box of words with its padding into scratch memory.
    #[inline(always)]
    fn fill<D: Dot, W: Scaled>(&mut self, d: D, halo: &Halo, group: usize) {
        let s = d.plain();
        let c = self.conv;
        let g = &c.geometry;
        let (x, words) = elements(&self.x);
        let (input, area) = (g.input_area(), halo.area());
        let scale = W::scale(c.packing);
        let (boxes, beside) = self.scratch.split_at_mut(c.group_in * area);
        // The word of zeros.
        let mut zeros = [0f32; 16];
        // SAFETY: no instruction set has registers of more than 16 elements.
        unsafe { s.store(zeros.as_mut_ptr(), W::pack(d, scale, [s.splat(0.0); MOST])) };
        let padding = zeros[0];
        for (word, to) in boxes.chunks_exact_mut(area).enumerate() {
            let (plane, count) = c.planes(self.image, group, word, words.is_some());
            if words.is_some() {
                let from = &x[plane * input..][..input];
                match padding.to_bits() {
                    0 => halo.copy_zero(s, g, &self.region, from, to),
                    _ => halo.copy(g, &self.region, from, to, padding),
                }
                continue;
            }
            for (i, to) in beside.chunks_exact_mut(area).enumerate().take(count) {
                let from = &x[(plane + i) * input..][..input];
                halo.copy_zero(s, g, &self.region, from, to);
            }
            let lanes = <D::S as Simd>::LANES;
            for from in (0..area).step_by(lanes) {
                let n = lanes.min(area - from);
                // SAFETY: n elements of each box from here on.
                unsafe {
                    let v = pack_planes::<D, W>(d, scale, beside[from..].as_ptr(), area, count, n);
                    s.store_first(to[from..].as_mut_ptr(), n, v);
                }
            }
        }
    }

    /// Runs all panels over gathered columns.
    #[inline(always)]
    fn tiles<D: Dot, W: Scaled, const M: usize>(&self, d: D, group: usize, columns: &[Column]) {
        match *columns {
            [a, b, c] if D::DOT_COLUMNS == 3 => self.panels::<D, W, M, 3>(d, group, [a, b, c]),
            [a, b] => self.panels::<D, W, M, 2>(d, group, [a, b]),
            [a] => self.panels::<D, W, M, 1>(d, group, [a]),
            _ => {}
        }
    }

    #[inline(always)]
    fn panels<D: Dot, W: Scaled, const M: usize, const N: usize>(
        &self,
        d: D,
        group: usize,
        columns: [Column; N],
    ) {
        let c = self.conv;
        let depth = c.group_in * c.geometry.taps();
        let (output, taken) = (c.geometry.output_area(), W::CHANNELS);
        let count = c.group_out.div_ceil(M);
        for panel in self.panels.clone() {
            let index = group * count + panel;
            let channel = group * c.group_out + panel * M;
            // Where a map's planes or words of this panel begin.
            let plane = |words: bool| match words {
                true => self.image * c.out.div_ceil(taken) + channel / taken,
                false => self.image * c.out + channel,
            };
            let y = &self.target.y;
            let base = plane(self.target.words.is_some()) * output;
            let y: [*mut f32; N] = columns.map(|column| y.pointer(base + column.at));
            let added = self.epilogue.added.map(|added| {
                let (from, words) = elements(&added.map);
                let pitch = if added.upsampled { output / 4 } else { output };
                let from = &from[plane(words.is_some()) * pitch..];
                let from: [*const f32; N] = columns.map(|column| from[column.added..].as_ptr());
                Added {
                    map: match words {
                        Some(packing) => tile::Map::Words(from, W::scale(packing)),
                        None => tile::Map::Planes(from),
                    },
                    pitch,
                    twice: added.upsampled,
                }
            });
            d.compiled(Tile::<W, M, N> {
                depth,
                weights: c.weights.as_f32()[index * depth * M..].as_ptr(),
                offsets: c.cut.offsets.as_ptr(),
                parameters: Rows {
                    start: c.start.as_f32()[index * M..].as_ptr(),
                    scale: c.scale.as_f32()[index * M..].as_ptr(),
                    bias: c.bias.as_f32()[index * M..].as_ptr(),
                },
                x: columns.map(|column| column.x),
                y: match self.target.words {
                    Some(packing) => tile::Map::Words(y, W::scale(packing)),
                    None => tile::Map::Planes(y),
                },
                n: columns.map(|column| column.n),
                pitch: output,
                rows: M.min(c.group_out - panel * M).min(c.out - channel),
                finish: Finish {
                    activation: self.epilogue.activation,
                    added,
                    then: self.epilogue.then,
                },
            });
        }
    }
}
