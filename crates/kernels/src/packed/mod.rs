//! Convolution of small numbers: maps whose words hold two channels as bf16 or four as u8.
//!
//! A packed map is `[N, ⌈C / c⌉, spatial…]` of 32-bit words, each with the `c` neighbouring channels of
//! one place. It is read as an f32 map of fewer channels is, so boxes with their padding
//! ([`crate::halo`]) and tables of offsets serve it too. A convolution reads words, or f32 planes that it
//! packs on the way into its boxes, and writes either, so a network may mix them layer by layer.
//!
//! Products are direct ones. bf16 sums in f32. u8 sums in i32, exactly and alike on every instruction
//! set; what the input's zero stands for is subtracted once, with the weights' sums; a row's sums are
//! then multiplied with its scale, finished in f32 and rounded to the next map's steps.

mod cut;
mod piece;
mod tile;

use slicewise_graph::Activation;

use crate::halo::Region;
use crate::packed::cut::{Cut, Work};
use crate::packed::piece::{Job, Target};
use crate::packed::tile::{Bytes, Halves, Words, halves};
use crate::shared::Shared;
use crate::{Buffer, Context, Geometry};

pub use tile::Quantization;

/// What words hold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Packing {
    /// Two bf16.
    Bf16,
    /// Four u8.
    U8(Quantization),
}

impl Packing {
    /// Channels in a word.
    pub fn channels(self) -> usize {
        match self {
            Packing::Bf16 => Halves::CHANNELS,
            Packing::U8(_) => Bytes::CHANNELS,
        }
    }
}

/// A map that is read.
#[derive(Clone, Copy, Debug)]
pub enum Map<'a> {
    /// `[N, C, spatial…]`
    Planes(&'a [f32]),
    /// `[N, ⌈C / c⌉, spatial…]` of words.
    Words(&'a [i32], Packing),
}

/// A map that is written.
#[derive(Debug)]
pub enum MapMut<'a> {
    /// `[N, C, spatial…]`
    Planes(&'a mut [f32]),
    /// `[N, ⌈C / c⌉, spatial…]` of words. Channels past the last are of any value.
    Words(&'a mut [i32], Packing),
}

/// What happens to sums before they are stored: `then(activation(sum) + added)`.
#[derive(Clone, Copy, Debug, Default)]
pub struct PackedEpilogue<'a> {
    /// Applied to the sum with its bias.
    pub activation: Option<Activation>,
    /// Added, of the output's channels.
    pub added: Option<PackedAdded<'a>>,
    /// Applied last; only with a map that is added.
    pub then: Option<Activation>,
}

/// A map that is added to results.
#[derive(Clone, Copy, Debug)]
pub struct PackedAdded<'a> {
    /// Of the output's size, or half its height and width.
    pub map: Map<'a>,
    /// Of half the height and width: each element is added to its 2 × 2 results; only where
    /// [`PackedConvolution::adds_upsampled`].
    pub upsampled: bool,
}

/// Weights `[O, I/groups, kernel…]`.
#[derive(Clone, Copy, Debug)]
pub enum PackedWeights<'a> {
    /// To be rounded to bf16.
    Bf16(&'a [f32]),
    /// `weight · scale[o]`, for an input that is quantized so.
    I8 {
        /// The numbers.
        weight: &'a [i8],
        /// One per output channel.
        scale: &'a [f32],
        /// The input's steps.
        input: Quantization,
    },
}

impl PackedWeights<'_> {
    /// What words of the input hold.
    pub fn packing(&self) -> Packing {
        match *self {
            PackedWeights::Bf16(_) => Packing::Bf16,
            PackedWeights::I8 { input, .. } => Packing::U8(input),
        }
    }

    fn len(&self) -> usize {
        match self {
            PackedWeights::Bf16(w) => w.len(),
            PackedWeights::I8 { weight, .. } => weight.len(),
        }
    }

    /// The word of the weights named, where there are such.
    fn word(&self, at: impl Fn(usize) -> Option<usize>) -> u32 {
        match self {
            PackedWeights::Bf16(w) => {
                halves(std::array::from_fn(|i| at(i).map_or(0.0, |at| w[at])))
            }
            PackedWeights::I8 { weight, .. } => u32::from_le_bytes(std::array::from_fn(|i| {
                at(i).map_or(0, |at| weight[at] as u8)
            })),
        }
    }
}

/// Which channels meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// All.
    Dense,
    /// Those of a group.
    Grouped,
    /// Each itself.
    Depthwise,
}

impl Kind {
    fn of(groups: usize, channels: usize, out: usize) -> Self {
        match groups {
            1 => Kind::Dense,
            _ if groups == channels && groups == out => Kind::Depthwise,
            _ => Kind::Grouped,
        }
    }
}

/// A convolution of packed maps.
#[derive(Debug)]
pub struct PackedConvolution {
    geometry: Geometry,
    kind: Kind,
    /// Of the input.
    packing: Packing,
    channels: usize,
    out: usize,
    /// Groups of words: one, as many as the layer has, or for depthwise ones as many as there are words.
    groups: usize,
    /// Words of a group's input, and output channels of a group.
    group_in: usize,
    group_out: usize,
    /// Rows of a tile.
    rows: usize,
    /// Per group, per panel of `rows` output channels: `[word, tap, row]`.
    weights: Buffer,
    /// Per group, padded to whole panels: what sums begin with, their scale, and the bias.
    start: Buffer,
    scale: Buffer,
    bias: Buffer,
    cut: Cut,
}

impl PackedConvolution {
    /// Whether such groups of channels are made of whole words, or of one channel each.
    pub fn fits(packing: Packing, groups: usize, channels: usize, out: usize) -> bool {
        let c = packing.channels();
        let whole = |n: usize| (n / groups).is_multiple_of(c);
        match Kind::of(groups, channels, out) {
            Kind::Dense | Kind::Depthwise => true,
            Kind::Grouped => whole(channels) && whole(out),
        }
    }

    /// Packs weights and `bias` `[O]` for `context`.
    ///
    /// # Panics
    /// If the weight does not have `out · channels/groups · taps` elements, or [`Self::fits`] does not hold.
    pub fn new(
        context: &Context,
        geometry: Geometry,
        batch: usize,
        groups: usize,
        [channels, out]: [usize; 2],
        weights: PackedWeights<'_>,
        bias: Option<&[f32]>,
    ) -> Self {
        let packing = weights.packing();
        assert!(
            Self::fits(packing, groups, channels, out),
            "groups of words"
        );
        let (c, taps) = (packing.channels(), geometry.taps());
        let of_layer = [channels / groups, out / groups];
        assert_eq!(
            weights.len(),
            out * of_layer[0] * taps,
            "a weight per output, input and tap"
        );
        let kind = Kind::of(groups, channels, out);
        let depthwise = kind == Kind::Depthwise;
        let geometry = geometry.flattened();
        let (groups, group_in, group_out) = match depthwise {
            true => (out.div_ceil(c), 1, c),
            false => (groups, of_layer[0].div_ceil(c), of_layer[1]),
        };
        let (_, most, _) = context.isa().dot_tile();
        let rows = match depthwise {
            true => c,
            false => most,
        };
        let panels = group_out.div_ceil(rows);
        let depth = group_in * taps;
        let mut packed = Buffer::floats(groups * panels * depth * rows);
        let parameters = || Buffer::floats(groups * panels * rows);
        let (mut start, mut scale, mut biases) = (parameters(), parameters(), parameters());
        for o in 0..out {
            let (group, row) = (o / group_out, o % group_out);
            let panel = group * panels + row / rows;
            let mut sum = 0i32;
            for k in 0..depth {
                let (word, tap) = (k / taps, k % taps);
                let w = weights.word(|i| match depthwise {
                    true => (i == row).then_some(o * taps + tap),
                    false => {
                        let channel = word * c + i;
                        (channel < of_layer[0]).then_some((o * of_layer[0] + channel) * taps + tap)
                    }
                });
                let sums = w.to_le_bytes().map(|b| i32::from(b as i8));
                sum += sums.iter().sum::<i32>();
                let at = (panel * depth + k) * rows + row % rows;
                packed.as_f32_mut()[at] = f32::from_bits(w);
            }
            let at = panel * rows + row % rows;
            let bias = bias.map_or(0.0, |b| b[o]);
            match weights {
                PackedWeights::Bf16(_) => start.as_f32_mut()[at] = bias,
                PackedWeights::I8 {
                    scale: of, input, ..
                } => {
                    let zero = -i32::from(input.zero) * sum;
                    start.as_f32_mut()[at] = f32::from_bits(zero as u32);
                    scale.as_f32_mut()[at] = of[o] * input.step;
                    biases.as_f32_mut()[at] = bias;
                }
            }
        }
        let work = Work {
            images: batch,
            groups,
            group_in,
            group_out,
            rows,
            channels: c,
        };
        PackedConvolution {
            geometry,
            kind,
            packing,
            channels,
            out,
            groups,
            group_in,
            group_out,
            rows,
            weights: packed,
            start,
            scale,
            bias: biases,
            cut: Cut::new(context, &geometry, &work),
        }
    }

    /// Whether a convolution of this geometry can add an upsampled map on the way: every register
    /// of its results must lie in one row.
    pub fn adds_upsampled(context: &Context, geometry: &Geometry) -> bool {
        let [depth, height, width] = geometry.output;
        let (lanes, ..) = context.isa().dot_tile();
        geometry.is_pointwise()
            && depth == 1
            && height.is_multiple_of(2)
            && width.is_multiple_of(lanes)
    }

    /// What its input's words hold.
    pub fn packing(&self) -> Packing {
        self.packing
    }

    /// How it is computed, for profiles.
    pub fn describe(&self) -> &'static str {
        match (self.packing, self.kind) {
            (Packing::Bf16, Kind::Dense) => "bf16",
            (Packing::Bf16, Kind::Grouped) => "bf16 grouped",
            (Packing::Bf16, Kind::Depthwise) => "bf16 depthwise",
            (Packing::U8(_), Kind::Dense) => "int8",
            (Packing::U8(_), Kind::Grouped) => "int8 grouped",
            (Packing::U8(_), Kind::Depthwise) => "int8 depthwise",
        }
    }

    /// Convolves `x` into `y`. `width` is the output's, if the epilogue adds an upsampled map.
    ///
    /// # Panics
    /// If a map is not as large as its channels need, or words are not what this convolution was made for.
    pub fn run(
        &self,
        context: &Context,
        x: Map<'_>,
        y: MapMut<'_>,
        epilogue: PackedEpilogue<'_>,
        width: usize,
    ) {
        let c = self.packing.channels();
        let planes = |map: &Map<'_>, channels: usize| match map {
            Map::Planes(v) => (v.len(), channels),
            Map::Words(v, packing) => {
                assert_eq!(packing.channels(), c, "words of one packing");
                (v.len(), channels.div_ceil(c))
            }
        };
        let (len, count) = planes(&x, self.channels);
        let image = count * self.geometry.input_area();
        assert!(len.is_multiple_of(image), "the input of a convolution");
        if let Map::Words(_, packing) = x {
            assert_eq!(packing, self.packing, "the input's words");
        }
        let batch = len / image;
        let area = batch * self.geometry.output_area();
        if let Some(added) = &epilogue.added {
            let (len, count) = planes(&added.map, self.out);
            let times = if added.upsampled { 4 } else { 1 };
            assert_eq!(len * times, count * area, "the size of what is added");
        }
        let target = match y {
            MapMut::Planes(y) => {
                assert_eq!(y.len(), self.out * area, "the output of a convolution");
                Target::planes(Shared::new(y))
            }
            MapMut::Words(y, packing) => {
                assert_eq!(packing.channels(), c, "words of one packing");
                assert_eq!(
                    y.len(),
                    self.out.div_ceil(c) * area,
                    "the output of a convolution"
                );
                Target::words(y, packing)
            }
        };
        self.sweep(context, x, batch, &target, &epilogue, width);
    }

    fn sweep(
        &self,
        context: &Context,
        x: Map<'_>,
        batch: usize,
        target: &Target<'_>,
        epilogue: &PackedEpilogue<'_>,
        width: usize,
    ) {
        let Cut {
            size, parts, step, ..
        } = self.cut;
        let g = &self.geometry;
        let boxes: [usize; 3] = std::array::from_fn(|i| g.output[i].div_ceil(size[i]));
        let count = boxes.iter().product::<usize>();
        let group_steps = self.groups.div_ceil(step);
        let panels = self.group_out.div_ceil(self.rows);
        context.each(batch * group_steps * count * parts, |i, scratch| {
            let (i, part) = (i / parts, i % parts);
            let (i, at) = (i / count, i % count);
            let (image, first) = (i / group_steps, i % group_steps * step);
            let at = [
                at / (boxes[1] * boxes[2]),
                at / boxes[2] % boxes[1],
                at % boxes[2],
            ];
            let start: [usize; 3] = std::array::from_fn(|i| at[i] * size[i]);
            let region = Region {
                start,
                size: std::array::from_fn(|i| size[i].min(g.output[i] - start[i])),
            };
            let job = Job {
                conv: self,
                x,
                target,
                epilogue,
                width,
                image,
                groups: first..(first + step).min(self.groups),
                region,
                panels: part * panels / parts..(part + 1) * panels / parts,
                scratch: scratch.floats(self.cut.scratch),
            };
            context.isa().run_dot(job);
        });
    }
}

#[cfg(test)]
mod tests;
