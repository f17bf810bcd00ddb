//! The strongest class at every place of a 1×1 class convolution, or above every place of a
//! transposed one whose windows do not overlap: only labels are written.
//!
//! A task copies some columns of all channels (at most 128 KB, second cache) and sweeps all classes
//! over two registers of columns at a time; the largest score and its class stay in registers
//! between the panels of classes.

use slicewise_graph::ConvTranspose;

use crate::arg_max::SharedLabels;
use crate::class_product::{COLUMNS, ClassProduct, Columns, prefetch};
use crate::isa::{Simd, Task};
use crate::{Context, LabelsMut};

/// Elements of a copy of the input: 128 KB.
const COPY: usize = 32 * 1024;
/// Columns of a copy at most.
const MOST: usize = 1024;

/// A class convolution of which only the strongest class is kept, prepared for one input size.
#[derive(Debug)]
pub struct LabelConvolution {
    product: ClassProduct,
    input: [usize; 3],
    /// Outputs above an input on each axis.
    factor: [usize; 3],
}

impl LabelConvolution {
    /// Packs a 1×1 convolution's `weight` `[classes, I]` and `bias` `[classes]` for images of
    /// `input` spatial sizes; `None` if labels could not be counted in f32.
    pub fn new(
        context: &Context,
        input: &[usize],
        classes: usize,
        weight: &[f32],
        bias: Option<&[f32]>,
    ) -> Option<Self> {
        (classes <= 1 << 24).then(|| LabelConvolution {
            product: ClassProduct::new(context.isa(), 1, classes, weight, bias),
            input: three(input),
            factor: [1; 3],
        })
    }

    /// Packs a transposed convolution's `weight` `[I, classes, kernel…]` and `bias` `[classes]`;
    /// `None` if its windows overlap or leave gaps.
    pub fn transposed(
        context: &Context,
        spec: &ConvTranspose,
        input: &[usize],
        classes: usize,
        weight: &[f32],
        bias: Option<&[f32]>,
    ) -> Option<Self> {
        if !spec.is_disjoint() || classes > 1 << 24 {
            return None;
        }
        let taps = spec.kernel.iter().product::<usize>();
        let channels = weight.len() / (classes * taps);
        let mut turned = vec![0.0; weight.len()];
        for (i, w) in weight.iter().enumerate() {
            let (channel, class, tap) = (i / taps / classes, i / taps % classes, i % taps);
            turned[(tap * classes + class) * channels + channel] = *w;
        }
        Some(LabelConvolution {
            product: ClassProduct::new(context.isa(), taps, classes, &turned, bias),
            input: three(input),
            factor: three(&spec.kernel),
        })
    }

    /// How it is computed, for profiles.
    pub fn describe(&self) -> &'static str {
        match self.product.taps {
            1 => "convolution to labels",
            _ => "product+spread labels",
        }
    }

    /// The labels `[N, output…]` of `x` `[N, I, input…]`.
    ///
    /// # Panics
    /// If a slice is not of that size.
    pub fn run(&self, context: &Context, x: &[f32], labels: LabelsMut<'_>) {
        let area: usize = self.input.iter().product();
        let image = self.product.channels * area;
        let images = x.len() / image;
        assert_eq!(x.len(), images * image, "whole images");
        let outputs = area * self.product.taps;
        assert_eq!(labels.len(), images * outputs, "one label per place");
        let to = labels.shared();
        let step = COLUMNS * context.isa().lanes();
        let fits = (COPY / self.product.channels).min(MOST);
        let fair = (images * area).div_ceil(8 * context.threads());
        let columns = fits.min(fair).max(step) / step * step;
        let parts = area.div_ceil(columns);
        let pitch = ClassProduct::pitch(columns);
        let taps = self.product.taps;
        context.each(images * parts, |i, scratch| {
            let (image_index, first) = (i / parts, i % parts * columns);
            let copied = self.product.channels * pitch;
            let memory = scratch.floats(copied + 2 * taps * columns);
            let (copy, rest) = memory.split_at_mut(copied);
            let (best, line) = rest.split_at_mut(taps * columns);
            context.vectorize(Job {
                conv: self,
                x: &x[image_index * image..][..image],
                first,
                n: columns.min(area - first),
                columns,
                copy,
                best,
                line,
                to: &to,
                at: image_index * outputs,
            });
        });
    }
}

/// Three sizes, missing ones in front 1.
fn three(sizes: &[usize]) -> [usize; 3] {
    let mut out = [1; 3];
    out[3 - sizes.len()..].copy_from_slice(sizes);
    out
}

/// The labels of (above) some places of an image.
struct Job<'a> {
    conv: &'a LabelConvolution,
    x: &'a [f32],
    first: usize,
    n: usize,
    /// Columns of a whole task.
    columns: usize,
    copy: &'a mut [f32],
    /// Per tap, per column.
    best: &'a mut [f32],
    line: &'a mut [f32],
    to: &'a SharedLabels<'a>,
    /// Where the image's labels begin.
    at: usize,
}

impl Task for Job<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let product = &self.conv.product;
        let area: usize = self.conv.input.iter().product();
        let pitch = ClassProduct::pitch(self.columns);
        let whole = self.n.next_multiple_of(S::LANES);
        let planes = self.copy.chunks_exact_mut(pitch);
        for (to, from) in planes.zip(self.x.chunks_exact(area)) {
            to[..self.n].copy_from_slice(&from[self.first..][..self.n]);
            to[self.n..whole].fill(0.0);
        }
        for at in (0..whole).step_by(COLUMNS * S::LANES) {
            // The next task's columns, which this thread most likely gets.
            let next = self.x.as_ptr().wrapping_add(self.first + self.columns + at);
            prefetch(s, next, product.channels, area);
            for tap in 0..product.taps {
                let x = self.copy[at..].as_ptr();
                let best = self.best[tap * self.columns + at..].as_mut_ptr();
                // SAFETY: the copy has whole registers of every channel, `best` of every tap.
                unsafe {
                    if at + COLUMNS * S::LANES <= whole {
                        let x = [x, x.add(S::LANES)];
                        product.labels(s, tap, Columns { x, pitch }, best);
                    } else {
                        product.labels(s, tap, Columns { x: [x], pitch }, best);
                    }
                }
            }
        }
        match product.taps {
            // SAFETY: this task alone writes the labels of its places.
            1 => unsafe { self.to.write(self.at + self.first, &self.best[..self.n]) },
            _ => self.spread(),
        }
    }
}

impl Job<'_> {
    /// Writes the labels of every tap to their places.
    #[inline(always)]
    fn spread(&mut self) {
        let [_, height, width] = self.conv.input;
        let [fz, fy, fx] = self.conv.factor;
        let mut begin = 0;
        while begin < self.n {
            let (row, column) = ((self.first + begin) / width, (self.first + begin) % width);
            let n = (width - column).min(self.n - begin);
            for tap_row in 0..fz * fy {
                let (kz, ky) = (tap_row / fy, tap_row % fy);
                let (z, y) = (row / height * fz + kz, row % height * fy + ky);
                let at = self.at + ((z * height * fy + y) * width + column) * fx;
                let from =
                    |kx: usize| &self.best[(tap_row * fx + kx) * self.columns + begin..][..n];
                // SAFETY: this task alone writes the labels above its places.
                unsafe {
                    if fx == 2 {
                        self.to.weave(at, [from(0), from(1)]);
                    } else {
                        let line = &mut self.line[..n * fx];
                        for kx in 0..fx {
                            let places = line.iter_mut().skip(kx).step_by(fx);
                            for (to, label) in places.zip(from(kx)) {
                                *to = *label;
                            }
                        }
                        self.to.write(at, line);
                    }
                }
            }
            begin += n;
        }
    }
}

#[cfg(test)]
mod tests;
