//! Convolution with packed weights: boxes of the input are copied with their padding into scratch
//! memory that stays in the second cache, and register tiles sweep over them.
//!
//! For every box of outputs, for every block of input channels: copy the block's box once, then for
//! every tile's columns run all panels of output channels over it. A panel of one channel block is
//! 9 KB, a tile's columns up to 30 KB: both stay in the first cache; the box (128 KB) and the
//! weights of the block stay in the second. Partial sums of earlier channel blocks are read back
//! from the output, in the same order as one long sum.

use slicewise_graph::Activation;

use crate::activation::{add_row, bounds, row};
use crate::arg_max::{SharedLabels, arg_max_columns};
use crate::blocking::{Block, cut, gathers, tile_rows};
use crate::halo::{Halo, Region, gather};
use crate::isa::{Simd, Task};
use crate::shared::Shared;
use crate::strip::{Panels, Strip};
use crate::{Buffer, Context, Geometry, LabelsMut};

/// What happens to a convolution's sums before they are stored:
/// `then(activation(sum) + residual)`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Epilogue<'a> {
    /// Applied to the sum with its bias.
    pub activation: Option<Activation>,
    /// Added, of the output's shape.
    pub residual: Option<&'a [f32]>,
    /// Applied last; only with a residual.
    pub then: Option<Activation>,
}

impl Epilogue<'_> {
    /// The range results are cut to, where that is all there is to do.
    pub(crate) fn bounds(&self) -> Option<(f32, f32)> {
        match (self.activation, self.residual, self.then) {
            (None, None, None) => Some((f32::NEG_INFINITY, f32::INFINITY)),
            (Some(f), None, None) => bounds(f),
            _ => None,
        }
    }

    /// Finishes a row of results that lies at `at` of the output.
    ///
    /// # Safety
    /// `y` must be valid for reads and writes of `n` elements, which the output has from `at` on.
    #[inline(always)]
    pub(crate) unsafe fn finish<S: Simd>(&self, s: S, y: *mut f32, at: usize, n: usize) {
        // SAFETY: as this function's; the residual is of the output's size.
        unsafe {
            if let Some(f) = self.activation {
                row(s, f, y, y, n);
            }
            let cut = self.then.and_then(bounds);
            if let Some(residual) = self.residual {
                let range = cut.unwrap_or((f32::NEG_INFINITY, f32::INFINITY));
                add_row(s, y, residual[at..at + n].as_ptr(), n, range);
            }
            if let Some(f) = self.then.filter(|_| cut.is_none()) {
                row(s, f, y, y, n);
            }
        }
    }
}

/// Where a convolution's results go.
pub enum Destination<'a> {
    /// Into `[N, O, spatial…]`.
    Values(&'a mut [f32], Epilogue<'a>),
    /// Only the channel with the largest result at each place, into `[N, spatial…]`; one group.
    Labels(LabelsMut<'a>),
}

/// The same, as the threads see it.
enum Target<'a> {
    Values(Shared<'a, f32>, Epilogue<'a>),
    Labels(SharedLabels<'a>),
    /// Channel `o · taps + t` is the upsampled channel `o` at the places of tap `t`.
    Spread(Shared<'a, f32>, [usize; 3], Option<Activation>),
}

/// A convolution whose weights are packed.
#[derive(Debug)]
pub struct Convolution {
    /// What is swept: the convolution, or with `gathered` the product of its columns.
    geometry: Geometry,
    /// The convolution whose windows are gathered into columns, one "channel" per channel and tap.
    gathered: Option<Geometry>,
    groups: usize,
    group_in: usize,
    group_out: usize,
    /// Rows of a tile.
    rows: usize,
    /// Per group, per panel of `rows` output channels: `[channel, tap, row]`.
    weights: Buffer,
    /// Per group, padded to whole panels.
    bias: Buffer,
    block: Block,
    halo: Halo,
    /// Where each product of a channel block finds its column.
    offsets: Vec<u32>,
}

impl Convolution {
    /// Packs `weight` `[O, I/groups, kernel…]` and `bias` `[O]` for `context`. `batch` is the usual
    /// number of images; it steers how the work is cut, not what is computed.
    ///
    /// # Panics
    /// If the weight does not have `out · in/groups · taps` elements.
    pub fn new(
        context: &Context,
        geometry: Geometry,
        batch: usize,
        groups: usize,
        out: usize,
        weight: &[f32],
        bias: Option<&[f32]>,
    ) -> Self {
        Self::packed(
            context,
            geometry.flattened(),
            batch,
            groups,
            out,
            weight,
            bias,
        )
    }

    /// The same with one group and its rows kept apart even where rows do not matter.
    pub(crate) fn with_rows(
        context: &Context,
        geometry: Geometry,
        batch: usize,
        out: usize,
        weight: &[f32],
        bias: Option<&[f32]>,
    ) -> Self {
        Self::packed(context, geometry, batch, 1, out, weight, bias)
    }

    fn packed(
        context: &Context,
        geometry: Geometry,
        batch: usize,
        groups: usize,
        out: usize,
        weight: &[f32],
        bias: Option<&[f32]>,
    ) -> Self {
        let taps = geometry.taps();
        let group_in = weight.len() / (out * taps);
        assert_eq!(
            weight.len(),
            out * group_in * taps,
            "a weight per output, input and tap"
        );
        let group_out = out / groups;
        let rows = tile_rows(context.isa(), group_out);
        let (weights, bias) = pack(weight, bias, groups, group_out, group_in * taps, rows);
        let gathered = gathers(context.isa(), &geometry, group_out).then_some(geometry);
        let (geometry, group_in) = match gathered {
            Some(g) => (g.columns(), group_in * taps),
            None => (geometry, group_in),
        };
        let block = cut(
            context,
            &geometry,
            batch * groups,
            group_in,
            group_out,
            rows,
        );
        let halo = Halo::new(&geometry, block.size, context.isa().lanes());
        let places = halo.taps(&geometry);
        let offsets = (0..block.channels)
            .flat_map(|c| places.iter().map(move |t| (c, t)))
            .map(|(c, t)| (c * halo.area() + t) as u32)
            .collect();
        Convolution {
            geometry,
            gathered,
            groups,
            group_in,
            group_out,
            rows,
            weights,
            bias,
            block,
            halo,
            offsets,
        }
    }

    /// The number of output channels.
    pub fn out(&self) -> usize {
        self.groups * self.group_out
    }

    /// Convolves `x` `[N, I, spatial…]`.
    ///
    /// # Panics
    /// If `x` is not a number of images, or the destination is not as large as the result, or
    /// labels are asked for of several groups.
    pub fn run(&self, context: &Context, x: &[f32], to: Destination<'_>) {
        let batch = self.batch(x);
        let labels = batch * self.geometry.output_area();
        let out = labels * self.out();
        let target = match to {
            Destination::Values(y, epilogue) => {
                assert_eq!(y.len(), out, "the output of a convolution");
                assert!(
                    epilogue.residual.is_none_or(|r| r.len() == out),
                    "the residual's size"
                );
                Target::Values(Shared::new(y), epilogue)
            }
            Destination::Labels(y) => {
                assert_eq!((y.len(), self.groups), (labels, 1), "labels of one group");
                Target::Labels(y.shared())
            }
        };
        self.sweep(context, x, batch, &target);
    }

    /// The number of channel groups.
    pub fn groups(&self) -> usize {
        self.groups
    }

    /// How it is computed, for profiles.
    pub fn describe(&self) -> &'static str {
        match (&self.gathered, self.geometry.is_pointwise(), self.groups) {
            (Some(_), ..) => "gathered columns",
            (None, true, _) => "pointwise",
            (None, false, 1) => "direct",
            (None, false, _) => "direct grouped",
        }
    }

    /// Runs as the matrix product of an upconvolution by `factor`.
    pub(crate) fn run_spread(
        &self,
        context: &Context,
        x: &[f32],
        y: &mut [f32],
        factor: [usize; 3],
        activation: Option<Activation>,
    ) {
        let batch = self.batch(x);
        assert_eq!(y.len(), batch * self.out() * self.geometry.output_area());
        let target = Target::Spread(Shared::new(y), factor, activation);
        self.sweep(context, x, batch, &target);
    }

    fn batch(&self, x: &[f32]) -> usize {
        let channels = match &self.gathered {
            Some(g) => self.group_in / g.taps() * g.input_area(),
            None => self.group_in * self.geometry.input_area(),
        };
        let image = self.groups * channels;
        assert!(x.len().is_multiple_of(image), "the input of a convolution");
        x.len() / image
    }

    fn panels(&self) -> usize {
        self.group_out.div_ceil(self.rows)
    }

    fn sweep(&self, context: &Context, x: &[f32], batch: usize, target: &Target<'_>) {
        let boxes: [usize; 3] =
            std::array::from_fn(|i| self.geometry.output[i].div_ceil(self.block.size[i]));
        let whole = !matches!(target, Target::Values(..));
        // Labels are chosen among all channels, so one thread must have them all.
        let parts = if whole { 1 } else { self.block.parts };
        let count = boxes.iter().product::<usize>();
        context.each(batch * self.groups * count * parts, |i, scratch| {
            let (i, part) = (i / parts, i % parts);
            let (image_group, at) = (i / count, i % count);
            let at = [
                at / (boxes[1] * boxes[2]),
                at / boxes[2] % boxes[1],
                at % boxes[2],
            ];
            let start: [usize; 3] = std::array::from_fn(|i| at[i] * self.block.size[i]);
            let size =
                std::array::from_fn(|i| self.block.size[i].min(self.geometry.output[i] - start[i]));
            let region = Region { start, size };
            let split = |p: usize| p * self.panels() / parts;
            let copied = self.block.channels * self.halo.area();
            let columns = region.area().next_multiple_of(context.isa().lanes());
            let results = if whole {
                (self.group_out + 1) * columns
            } else {
                0
            };
            let (copy, results) = scratch.floats(copied + results).split_at_mut(copied);
            context.vectorize(Job {
                conv: self,
                image: image_group / self.groups,
                group: image_group % self.groups,
                region,
                panels: split(part)..split(part + 1),
                x,
                copy,
                results,
                columns,
                target,
            });
        });
    }
}

/// Packs weights `[groups · out, depth]` into panels `[depth, rows]`, and the bias likewise.
fn pack(
    weight: &[f32],
    bias: Option<&[f32]>,
    groups: usize,
    out: usize,
    depth: usize,
    rows: usize,
) -> (Buffer, Buffer) {
    let padded = out.next_multiple_of(rows);
    let mut packed = Buffer::floats(groups * padded * depth);
    let mut biases = Buffer::floats(groups * padded);
    let panels = packed.as_f32_mut().chunks_exact_mut((depth * rows).max(1));
    for (p, panel) in panels.enumerate() {
        let (group, first) = (p / (padded / rows), p % (padded / rows) * rows);
        for m in 0..rows.min(out - first) {
            let from = &weight[(group * out + first + m) * depth..][..depth];
            for (k, w) in from.iter().enumerate() {
                panel[k * rows + m] = *w;
            }
        }
    }
    if let Some(bias) = bias {
        let to = biases.as_f32_mut().chunks_exact_mut(padded);
        for (to, from) in to.zip(bias.chunks_exact(out)) {
            to[..out].copy_from_slice(from);
        }
    }
    (packed, biases)
}

/// One thread's piece: a box of outputs of one group of one image, some panels of its channels.
struct Job<'a> {
    conv: &'a Convolution,
    image: usize,
    group: usize,
    region: Region,
    panels: std::ops::Range<usize>,
    x: &'a [f32],
    copy: &'a mut [f32],
    /// The box's results and one row more, where they do not go to the output as they are.
    results: &'a mut [f32],
    /// Elements from one channel of `results` to the next.
    columns: usize,
    target: &'a Target<'a>,
}

impl Task for Job<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        match self.conv.rows {
            1 => self.sums::<S, 1>(s),
            8 if S::ROWS == 8 => self.sums::<S, 8>(s),
            6 if S::ROWS == 6 => self.sums::<S, 6>(s),
            _ => self.sums::<S, 4>(s),
        }
        match self.target {
            Target::Values(y, epilogue) => {
                if epilogue.bounds().is_none() {
                    self.finish(s, y, epilogue);
                }
            }
            Target::Labels(y) => self.labels(s, y),
            Target::Spread(y, factor, activation) => self.spread(s, y, *factor, *activation),
        }
    }
}

impl Job<'_> {
    /// Where the channel `o` of this job's group begins in the output.
    #[inline(always)]
    fn plane(&self, o: usize) -> usize {
        let c = self.conv;
        (self.image * c.out() + self.group * c.group_out + o) * c.geometry.output_area()
    }

    /// Where the row `(z, y)` of the region lies in a channel of the output.
    #[inline(always)]
    fn row(&self, z: usize, y: usize) -> usize {
        let (start, output) = (self.region.start, self.conv.geometry.output);
        ((start[0] + z) * output[1] + start[1] + y) * output[2] + start[2]
    }

    /// Sums all products of the region.
    #[inline(always)]
    fn sums<S: Simd, const M: usize>(&mut self, s: S) {
        let c = self.conv;
        let g = &c.geometry;
        let taps = g.taps();
        let first = (self.image * c.groups + self.group) * c.group_in;
        let (y, pitch) = match self.target {
            Target::Values(y, _) => (y.pointer(self.plane(0)), g.output_area()),
            _ => (self.results.as_mut_ptr(), self.columns),
        };
        let in_place = matches!(self.target, Target::Values(..));
        for from in (0..c.group_in).step_by(c.block.channels) {
            let channels = c.block.channels.min(c.group_in - from);
            let planes = self.copy.chunks_exact_mut(c.halo.area());
            for (i, plane) in planes.take(channels).enumerate() {
                let channel = first + from + i;
                if let Some(windows) = &c.gathered {
                    let (taps, area) = (windows.taps(), windows.input_area());
                    let x = &self.x[channel / taps * area..][..area];
                    let plane = &mut plane[..self.region.size[2]];
                    gather(windows, channel % taps, x, self.region.start[2], plane);
                } else {
                    let area = g.input_area();
                    let x = &self.x[channel * area..][..area];
                    c.halo.copy(g, &self.region, x, plane, 0.0);
                }
            }
            let last = from + channels == c.group_in;
            let (low, high) = match self.target {
                Target::Values(_, epilogue) if last => epilogue.bounds(),
                _ => None,
            }
            .unwrap_or((f32::NEG_INFINITY, f32::INFINITY));
            let mut strip = Strip::<M>::new(Panels {
                weights: c.weights.as_f32(),
                bias: c.bias.as_f32(),
                offsets: &c.offsets,
                group: self.group,
                group_out: c.group_out,
                range: self.panels.clone(),
                depth: c.group_in * taps,
                from: from * taps,
                count: channels * taps,
                y,
                pitch,
                low,
                high,
            });
            let [depth, height, width] = self.region.size;
            for z in 0..depth {
                for y in 0..height {
                    let row = match in_place {
                        true => self.row(z, y),
                        false => (z * height + y) * width,
                    };
                    let origin = c.halo.origin(g, z, y);
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

    /// Applies the epilogue to the rows of this job.
    #[inline(always)]
    fn finish<S: Simd>(&self, s: S, y: &Shared<'_, f32>, epilogue: &Epilogue<'_>) {
        let c = self.conv;
        let [depth, height, width] = self.region.size;
        let end = (self.panels.end * c.rows).min(c.group_out);
        for o in self.panels.start * c.rows..end {
            for z in 0..depth {
                for row in 0..height {
                    let at = self.plane(o) + self.row(z, row);
                    // SAFETY: this job alone writes these channels of the region.
                    unsafe {
                        let y = y.part(at, width);
                        epilogue.finish(s, y.as_mut_ptr(), at, width);
                    }
                }
            }
        }
    }

    /// Writes the largest channel of every place of the region.
    #[inline(always)]
    fn labels<S: Simd>(&mut self, s: S, y: &SharedLabels<'_>) {
        let c = self.conv;
        let (results, best) = self.results.split_at_mut(c.group_out * self.columns);
        // SAFETY: `results` holds group_out rows of `columns` elements, a multiple of LANES.
        unsafe {
            arg_max_columns(
                s,
                results.as_ptr(),
                c.group_out,
                self.columns,
                best.as_mut_ptr(),
                self.columns,
            );
        }
        let best = &self.results[c.group_out * self.columns..];
        let [depth, height, width] = self.region.size;
        for z in 0..depth {
            for row in 0..height {
                let at = self.image * c.geometry.output_area() + self.row(z, row);
                // SAFETY: this job alone writes the labels of the region.
                unsafe { y.write(at, &best[(z * height + row) * width..][..width]) };
            }
        }
    }

    /// Writes every channel to the places of its tap in the upsampled output.
    #[inline(always)]
    fn spread<S: Simd>(
        &self,
        s: S,
        y: &Shared<'_, f32>,
        factor: [usize; 3],
        activation: Option<Activation>,
    ) {
        let c = self.conv;
        let [fz, fy, fx] = factor;
        let taps = fz * fy * fx;
        let (input, start) = (c.geometry.output, self.region.start);
        let [depth, height, width] = self.region.size;
        let size = [input[0] * fz, input[1] * fy, input[2] * fx];
        let area: usize = size.iter().product();
        let channels = c.out() / taps;
        for row in 0..channels * fz * fy * depth * height {
            let (rest, line) = (row / height, row % height);
            let (rest, z) = (rest / depth, rest % depth);
            let (o, ky) = (rest / fy, rest % fy);
            let (o, kz) = (o / fz, o % fz);
            let to_row = ((start[0] + z) * fz + kz) * size[1] + (start[1] + line) * fy + ky;
            let at = (self.image * channels + o) * area + to_row * size[2] + start[2] * fx;
            // SAFETY: this job alone writes the outputs above its region.
            let to = unsafe { y.part(at, width * fx) };
            let from = |kx: usize| {
                let channel = ((o * fz + kz) * fy + ky) * fx + kx;
                &self.results[channel * self.columns + (z * height + line) * width..][..width]
            };
            if fx == 2 {
                let pairs = from(0).iter().zip(from(1));
                for (to, (a, b)) in to.chunks_exact_mut(2).zip(pairs) {
                    to[0] = *a;
                    to[1] = *b;
                }
            } else {
                for kx in 0..fx {
                    for (to, v) in to.iter_mut().skip(kx).step_by(fx).zip(from(kx)) {
                        *to = *v;
                    }
                }
            }
            if let Some(f) = activation {
                // SAFETY: one row of width * fx elements, in place.
                unsafe { crate::activation::row(s, f, to.as_ptr(), to.as_mut_ptr(), to.len()) };
            }
        }
    }
}
