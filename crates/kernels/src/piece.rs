//! One thread's piece of a convolution: where its results lie, and what becomes of them once they
//! are summed.

use slicewise_graph::Activation;

use crate::Convolution;
use crate::activation::in_place;
use crate::arg_max::{SharedLabels, arg_max_columns};
use crate::conv::{Coarse, Epilogue};
use crate::halo::Region;
use crate::isa::Simd;
use crate::shared::Shared;
use crate::tile::EVERYTHING;

/// Where a convolution's results go, as the threads see it.
pub(crate) enum Target<'a> {
    Values(Shared<'a, f32>, Epilogue<'a>),
    /// Added to a map of half the height and width, each of its elements to 2 × 2 results.
    Upsampled(Shared<'a, f32>, Coarse<'a>),
    Labels(SharedLabels<'a>),
    /// Channel `o · taps + t` is the upsampled channel `o` at the places of tap `t`.
    Spread(Shared<'a, f32>, [usize; 3], Option<Activation>),
}

/// A box of outputs of one group of one image, some panels of its channels.
pub(crate) struct Piece<'a> {
    pub(crate) conv: &'a Convolution,
    pub(crate) image: usize,
    pub(crate) group: usize,
    pub(crate) region: Region,
    pub(crate) panels: std::ops::Range<usize>,
    /// The box's results and one row more, where they do not go to the output as they are.
    pub(crate) results: &'a mut [f32],
    /// Elements from one channel of `results` to the next.
    pub(crate) columns: usize,
    pub(crate) target: &'a Target<'a>,
}

impl Piece<'_> {
    /// Where the channel `o` of this piece's group begins in the output.
    #[inline(always)]
    pub(crate) fn plane(&self, o: usize) -> usize {
        let c = self.conv;
        (self.image * c.out() + self.group * c.group_out + o) * c.geometry.output_area()
    }

    /// Where the row `(z, y)` of the region lies in a channel of the output.
    #[inline(always)]
    pub(crate) fn row(&self, z: usize, y: usize) -> usize {
        let (start, output) = (self.region.start, self.conv.geometry.output);
        ((start[0] + z) * output[1] + start[1] + y) * output[2] + start[2]
    }

    /// Whether sums go to the output itself.
    #[inline(always)]
    pub(crate) fn in_place(&self) -> bool {
        matches!(self.target, Target::Values(..) | Target::Upsampled(..))
    }

    /// The first channel of the sums, and elements from one to the next.
    #[inline(always)]
    pub(crate) fn sums(&mut self) -> (*mut f32, usize) {
        match self.target {
            Target::Values(y, _) | Target::Upsampled(y, _) => {
                (y.pointer(self.plane(0)), self.conv.geometry.output_area())
            }
            _ => (self.results.as_mut_ptr(), self.columns),
        }
    }

    /// What tiles do to sums that are whole: their ranges, and what is added, from the piece's first
    /// channel on.
    #[inline(always)]
    pub(crate) fn in_tile(&self) -> InTile {
        match self.target {
            Target::Values(_, epilogue) => epilogue.in_tile().map_or(InTile::NOTHING, |ranges| {
                let residual = epilogue.residual.map(|r| Residual {
                    from: r[self.plane(0)..].as_ptr(),
                    width: None,
                });
                InTile { ranges, residual }
            }),
            Target::Upsampled(_, coarse) => InTile {
                residual: Some(Residual {
                    from: coarse.values[self.plane(0) / 4..].as_ptr(),
                    width: Some(coarse.width),
                }),
                ..InTile::NOTHING
            },
            _ => InTile::NOTHING,
        }
    }

    /// Does what tiles could not do, when all sums of the piece are whole.
    #[inline(always)]
    pub(crate) fn after<S: Simd>(&mut self, s: S) {
        match self.target {
            Target::Values(y, epilogue) => {
                if epilogue.in_tile().is_none() {
                    self.finish(s, y, epilogue);
                }
            }
            Target::Upsampled(..) => {}
            Target::Labels(y) => self.labels(s, y),
            Target::Spread(y, factor, activation) => self.spread(s, y, *factor, *activation),
        }
    }

    /// Applies the epilogue to the rows of this piece.
    #[inline(always)]
    fn finish<S: Simd>(&self, s: S, y: &Shared<'_, f32>, epilogue: &Epilogue<'_>) {
        let c = self.conv;
        let [depth, height, width] = self.region.size;
        let end = (self.panels.end * c.rows).min(c.group_out);
        for o in self.panels.start * c.rows..end {
            for z in 0..depth {
                for row in 0..height {
                    let at = self.plane(o) + self.row(z, row);
                    // SAFETY: this piece alone writes these channels of the region.
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
                // SAFETY: this piece alone writes the labels of the region.
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
            // SAFETY: this piece alone writes the outputs above its region.
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
                in_place(s, f, to);
            }
        }
    }
}

/// What tiles do to whole sums.
#[derive(Clone, Copy)]
pub(crate) struct InTile {
    /// Cut to the first range, and to the second after the addition.
    pub(crate) ranges: [(f32, f32); 2],
    pub(crate) residual: Option<Residual>,
}

/// What is added, from the piece's first channel on.
#[derive(Clone, Copy)]
pub(crate) struct Residual {
    pub(crate) from: *const f32,
    /// The width of the results, where what is added has half of it.
    pub(crate) width: Option<usize>,
}

impl InTile {
    pub(crate) const NOTHING: Self = InTile {
        ranges: [EVERYTHING; 2],
        residual: None,
    };
}
