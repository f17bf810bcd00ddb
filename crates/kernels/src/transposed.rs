//! Transposed convolution: where windows do not overlap, one matrix product whose channels are
//! written to their places; else the convolution over the spread input.

use slicewise_graph::{Activation, ConvTranspose};

use crate::conv::{Convolution, Destination, Epilogue};
use crate::{Context, Geometry};

/// A transposed convolution whose weights are packed.
#[derive(Debug)]
pub struct Upconvolution {
    conv: Convolution,
    /// The factors of an upsampling without overlap.
    factor: Option<[usize; 3]>,
}

impl Upconvolution {
    /// Packs `weight` `[I, O/groups, kernel…]` and `bias` `[O]` for images of `input` spatial sizes.
    pub fn new(
        context: &Context,
        spec: &ConvTranspose,
        input: &[usize],
        output: &[usize],
        batch: usize,
        channels: usize,
        weight: &[f32],
        bias: Option<&[f32]>,
    ) -> Self {
        let geometry = Geometry::conv_transpose(spec, input, output);
        let taps = geometry.taps();
        let (groups, group_in) = (spec.groups, channels / spec.groups);
        let group_out = weight.len() / (channels * taps);
        let disjoint = groups == 1
            && spec.kernel == spec.stride
            && spec.dilation.iter().all(|d| *d == 1)
            && spec.pads.iter().all(|p| *p == (0, 0))
            && spec.output_padding.iter().all(|p| *p == 0);
        if disjoint {
            // Row o · taps + t of the product is the output channel o at tap t.
            let rows = group_out * taps;
            let mut turned = vec![0.0; weight.len()];
            for (i, row) in weight.chunks_exact(rows).enumerate() {
                for (r, w) in row.iter().enumerate() {
                    turned[r * channels + i] = *w;
                }
            }
            let bias: Option<Vec<f32>> = bias.map(|b| (0..rows).map(|r| b[r / taps]).collect());
            let pointwise = Geometry {
                output: geometry.input,
                kernel: [1; 3],
                dilation: [1; 3],
                before: [0; 3],
                spread: [1; 3],
                ..geometry
            };
            // Not flattened: results are written row by row.
            let conv =
                Convolution::with_rows(context, pointwise, batch, rows, &turned, bias.as_deref());
            return Upconvolution {
                conv,
                factor: Some(geometry.kernel),
            };
        }
        let mut turned = vec![0.0; weight.len()];
        for (i, from) in weight.chunks_exact(group_out * taps).enumerate() {
            let (group, i) = (i / group_in, i % group_in);
            for (o, from) in from.chunks_exact(taps).enumerate() {
                let to = ((group * group_out + o) * group_in + i) * taps;
                for (t, w) in from.iter().enumerate() {
                    turned[to + taps - 1 - t] = *w;
                }
            }
        }
        let out = groups * group_out;
        Upconvolution {
            conv: Convolution::new(context, geometry, batch, groups, out, &turned, bias),
            factor: None,
        }
    }

    /// How it is computed, for profiles.
    pub fn describe(&self) -> &'static str {
        match self.factor {
            Some(_) => "product+spread",
            None => "spread input",
        }
    }

    /// Computes `y` `[N, O, spatial…]` from `x` `[N, I, spatial…]`.
    ///
    /// # Panics
    /// If a slice is not of that size.
    pub fn run(&self, context: &Context, x: &[f32], y: &mut [f32], activation: Option<Activation>) {
        match self.factor {
            Some(factor) => self.conv.run_spread(context, x, y, factor, activation),
            None => {
                let epilogue = Epilogue {
                    activation,
                    ..Epilogue::default()
                };
                self.conv.run(context, x, Destination::Values(y, epilogue));
            }
        }
    }
}
