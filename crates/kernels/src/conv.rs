//! Convolution with packed weights: the layer, and how its work is cut into pieces for the threads.
//!
//! Two ways lead to the register tile: [`crate::direct`] reads windows in a copy of the input with
//! its padding, [`crate::columns`] packs what a tile reads. Both sum the products of an output in
//! the same order: channel by channel, tap by tap.

use slicewise_graph::Activation;

use crate::activation::{add_row, bounds, row};
use crate::blocking::{Work, cut, cut_columns, gathers, tile_rows};
use crate::columns::{Columns, ColumnsJob};
use crate::direct::{Direct, DirectJob};
use crate::halo::Region;
use crate::isa::Simd;
use crate::piece::{Piece, Target};
use crate::shared::Shared;
use crate::tile::EVERYTHING;
use crate::{Buffer, Context, Geometry, Isa, LabelsMut};

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

    /// The ranges that sums are cut to before and after the addition, where that is all there is to
    /// do besides it.
    pub(crate) fn in_tile(&self) -> Option<[(f32, f32); 2]> {
        let range = |f: Option<Activation>| f.map_or(Some(EVERYTHING), bounds);
        Some([range(self.activation)?, range(self.then)?])
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

/// A map that is added to one of twice its height and width.
#[derive(Clone, Copy, Debug)]
pub struct Coarse<'a> {
    /// `[N, O, H / 2, W / 2]`
    pub values: &'a [f32],
    /// The finer map's width.
    pub width: usize,
}

/// Where a convolution's results go.
pub enum Destination<'a> {
    /// Into `[N, O, spatial…]`.
    Values(&'a mut [f32], Epilogue<'a>),
    /// Into `[N, O, H, W]`, each element of the coarser map added to its 2 × 2 results; only where
    /// [`Convolution::adds_upsampled`].
    Upsampled(&'a mut [f32], Coarse<'a>),
    /// Only the channel with the largest result at each place, into `[N, spatial…]`; one group.
    Labels(LabelsMut<'a>),
}

/// A convolution whose weights are packed.
#[derive(Debug)]
pub struct Convolution {
    pub(crate) geometry: Geometry,
    pub(crate) groups: usize,
    pub(crate) group_in: usize,
    pub(crate) group_out: usize,
    /// Rows of a tile.
    pub(crate) rows: usize,
    /// Per group, per panel of `rows` output channels: `[channel, tap, row]`.
    pub(crate) weights: Buffer,
    /// Per group, padded to whole panels.
    pub(crate) bias: Buffer,
    method: Method,
}

/// The way from the input to the register tile.
#[derive(Debug)]
enum Method {
    Direct(Direct),
    Columns(Columns),
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
        let work = Work {
            images: batch * groups,
            group_in,
            group_out,
            rows,
        };
        let packs = geometry.is_pointwise()
            || geometry.is_subsampling()
            || gathers(context.isa(), &geometry, group_out);
        let method = if packs {
            let block = cut_columns(context, &geometry, &work);
            Method::Columns(Columns::new(context, &geometry, block))
        } else {
            let block = cut(context, &geometry, &work);
            Method::Direct(Direct::new(context, &geometry, block))
        };
        Convolution {
            geometry,
            groups,
            group_in,
            group_out,
            rows,
            weights,
            bias,
            method,
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
            Destination::Upsampled(y, coarse) => {
                assert!(
                    self.geometry.is_pointwise()
                        && coarse.width.is_multiple_of(context.isa().lanes()),
                    "a convolution that adds an upsampled map"
                );
                assert_eq!((y.len(), 4 * coarse.values.len()), (out, out), "sizes");
                Target::Upsampled(Shared::new(y), coarse)
            }
            Destination::Labels(y) => {
                assert_eq!((y.len(), self.groups), (labels, 1), "labels of one group");
                Target::Labels(y.shared())
            }
        };
        self.sweep(context, x, batch, &target);
    }

    /// Whether a convolution of this geometry can add an upsampled map on the way: every register
    /// of its results must lie in one row.
    pub fn adds_upsampled(context: &Context, geometry: &Geometry) -> bool {
        let [depth, height, width] = geometry.output;
        geometry.is_pointwise()
            && depth == 1
            && height.is_multiple_of(2)
            && width.is_multiple_of(context.isa().lanes())
    }

    /// Whether the windows of a group of `out` channels are gathered into whole registers first, as
    /// those of narrow maps are.
    pub fn gathers(isa: Isa, geometry: &Geometry, out: usize) -> bool {
        gathers(isa, geometry, out)
    }

    /// The number of channel groups.
    pub fn groups(&self) -> usize {
        self.groups
    }

    /// How it is computed, for profiles.
    pub fn describe(&self) -> &'static str {
        match (&self.method, self.groups) {
            (Method::Columns(columns), _) => columns.describe(),
            (Method::Direct(_), 1) => "direct",
            (Method::Direct(_), _) => "direct grouped",
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
        let image = self.groups * self.group_in * self.geometry.input_area();
        assert!(x.len().is_multiple_of(image), "the input of a convolution");
        x.len() / image
    }

    /// Panels of each group.
    pub(crate) fn panels(&self) -> usize {
        self.group_out.div_ceil(self.rows)
    }

    fn sweep(&self, context: &Context, x: &[f32], batch: usize, target: &Target<'_>) {
        let (block, copied) = match &self.method {
            Method::Direct(direct) => (&direct.block, direct.scratch()),
            Method::Columns(columns) => (&columns.block, columns.scratch()),
        };
        let boxes: [usize; 3] =
            std::array::from_fn(|i| self.geometry.output[i].div_ceil(block.size[i]));
        let whole = matches!(target, Target::Labels(..) | Target::Spread(..));
        // Labels are chosen among all channels, so one thread must have them all.
        let parts = if whole { 1 } else { block.parts };
        let count = boxes.iter().product::<usize>();
        context.each(batch * self.groups * count * parts, |i, scratch| {
            let (i, part) = (i / parts, i % parts);
            let (image_group, at) = (i / count, i % count);
            let at = [
                at / (boxes[1] * boxes[2]),
                at / boxes[2] % boxes[1],
                at % boxes[2],
            ];
            let start: [usize; 3] = std::array::from_fn(|i| at[i] * block.size[i]);
            let size =
                std::array::from_fn(|i| block.size[i].min(self.geometry.output[i] - start[i]));
            let region = Region { start, size };
            let split = |p: usize| p * self.panels() / parts;
            let columns = region.area().next_multiple_of(context.isa().lanes());
            let results = if whole {
                (self.group_out + 1) * columns
            } else {
                0
            };
            let (copy, results) = scratch.floats(copied + results).split_at_mut(copied);
            let piece = Piece {
                conv: self,
                image: image_group / self.groups,
                group: image_group % self.groups,
                region,
                panels: split(part)..split(part + 1),
                results,
                columns,
                target,
            };
            match &self.method {
                Method::Direct(direct) => context.vectorize(DirectJob {
                    direct,
                    piece,
                    x,
                    copy,
                }),
                Method::Columns(plan) => context.vectorize(ColumnsJob {
                    plan,
                    piece,
                    x,
                    copy,
                }),
            }
        });
    }
}

/// Packs weights `[groups · out, depth]` into panels `[depth, rows]`, and the bias likewise.
pub(crate) fn pack(
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

#[cfg(test)]
mod tests;
