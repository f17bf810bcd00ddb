//! The end of a segmentation network in one sweep: class convolution, resampling, arg-max. Neither
//! the scores nor the resampled scores are ever written to memory.
//!
//! A task makes the labels between some rows of samples. It computes the scores of a few rows at a
//! time into a ring of rows in the second cache (117 classes of 128 columns are 67 KB a row), and
//! then the labels between each two of them (see `label_cells`). Neighbouring tasks both compute the
//! row between them.

use std::ops::Range;

use slicewise_graph::Resize;

use crate::arg_max::SharedLabels;
use crate::class_product::{COLUMNS, ClassProduct, Columns, prefetch};
use crate::isa::{Simd, Task};
use crate::label_cells::{Cells, Rows, tame};
use crate::resize::mixes;
use crate::{Context, LabelsMut};

/// Elements of two rows' scores that a task keeps: 256 KB, wider images are cut into strips.
const STRIP: usize = 64 * 1024;
/// Elements of a copy of the convolution's input: 128 KB.
const COPY: usize = 32 * 1024;
/// Rows of scores that are computed at a time at most.
const AT_ONCE: usize = 4;
/// Rows of samples per task at least: one more is computed.
const BAND: usize = 8;
/// Elements between the classes of a row beyond its columns: what a register reads beyond them, and
/// classes do not fall on the same lines of the first cache.
const APART: usize = 16;

/// What scores are resampled from.
#[derive(Debug)]
enum Samples {
    /// Scores that are given, of so many classes.
    Given(usize),
    /// A 1×1 convolution's.
    Product(ClassProduct),
}

impl Samples {
    fn classes(&self) -> usize {
        match self {
            Samples::Given(classes) => *classes,
            Samples::Product(p) => p.classes,
        }
    }

    /// Classes as they are written.
    fn padded(&self) -> usize {
        match self {
            Samples::Given(classes) => *classes,
            Samples::Product(p) => p.padded(),
        }
    }

    /// Planes of the input.
    fn planes(&self) -> usize {
        match self {
            Samples::Given(classes) => *classes,
            Samples::Product(p) => p.channels,
        }
    }
}

/// The labels of resampled class scores, prepared for one input size.
#[derive(Debug)]
pub struct LabelHead {
    samples: Samples,
    input: [usize; 2],
    output: [usize; 2],
    cells: Cells,
    /// Pairs of columns per strip, whole registers.
    strip: usize,
    /// Rows of scores computed at a time.
    rows: usize,
}

impl LabelHead {
    /// The labels of scores `[N, classes, height, width]` resampled; `None` if more than two samples
    /// are mixed on an axis, or not on two axes.
    pub fn resampled(
        context: &Context,
        spec: &Resize,
        input: &[usize],
        classes: usize,
    ) -> Option<Self> {
        Self::new(context, spec, input, Samples::Given(classes))
    }

    /// The same for the scores that a 1×1 convolution with `weight` `[classes, I]` and `bias`
    /// `[classes]` makes of an input `[N, I, height, width]`.
    ///
    /// # Panics
    /// If the weight is not of so many classes.
    pub fn convolved(
        context: &Context,
        spec: &Resize,
        input: &[usize],
        classes: usize,
        weight: &[f32],
        bias: Option<&[f32]>,
    ) -> Option<Self> {
        let product = ClassProduct::new(context.isa(), 1, classes, weight, bias);
        Self::new(context, spec, input, Samples::Product(product))
    }

    fn new(context: &Context, spec: &Resize, input: &[usize], samples: Samples) -> Option<Self> {
        let input: [usize; 2] = input.try_into().ok()?;
        let classes = samples.classes();
        // Labels are counted in f32.
        if classes > 1 << 24 {
            return None;
        }
        let rows = mixes(spec, 0, input[0])?;
        let columns = mixes(spec, 1, input[1])?;
        let output = [rows.len(), columns.len()];
        let lanes = context.isa().lanes();
        let cells = Cells::new([rows, columns], input, lanes);
        let step = COLUMNS * lanes;
        let strip = (STRIP / (2 * samples.padded()))
            .next_multiple_of(step)
            .max(step)
            .min(cells.columns.pairs().next_multiple_of(lanes));
        let rows = match &samples {
            Samples::Given(_) => 1,
            Samples::Product(p) => (COPY / (p.channels * strip)).clamp(1, AT_ONCE),
        };
        Some(LabelHead {
            samples,
            input,
            output,
            cells,
            strip,
            rows,
        })
    }

    /// How it is computed, for profiles.
    pub fn describe(&self) -> &'static str {
        match self.samples {
            Samples::Given(_) => "resampling to labels",
            Samples::Product(_) => "label head",
        }
    }

    /// The labels `[N, height, width]` of `x`: of scores, or of a convolution's input.
    ///
    /// # Panics
    /// If a slice is not of that size.
    pub fn run(&self, context: &Context, x: &[f32], labels: LabelsMut<'_>) {
        let image = self.samples.planes() * self.input[0] * self.input[1];
        let images = x.len() / image;
        assert_eq!(x.len(), images * image, "whole images");
        let size = images * self.output[0] * self.output[1];
        assert_eq!(labels.len(), size, "one label per place");
        let to = labels.shared();
        let (pairs, width) = (self.cells.rows.pairs(), self.cells.columns.pairs());
        let strips = width.div_ceil(self.strip);
        let parts = match context.threads() {
            1 => 1,
            n => (2 * n).div_ceil(images * strips),
        };
        let band = pairs.div_ceil(parts).max(BAND.min(pairs));
        let bands = pairs.div_ceil(band);
        context.each(images * bands * strips, |i, scratch| {
            let (i, strip) = (i / strips, i % strips);
            let (image_index, band_index) = (i / bands, i % bands);
            let first = strip * self.strip;
            let columns = first..width.min(first + self.strip);
            let memory = scratch.floats(self.memory(context.isa().lanes(), &columns));
            context.vectorize(Band {
                head: self,
                x: &x[image_index * image..][..image],
                pairs: band_index * band..pairs.min((band_index + 1) * band),
                columns,
                memory,
                to: &to,
                at: image_index * self.output[0] * self.output[1],
            });
        });
    }

    /// Columns of samples that pairs of columns are between, in whole registers.
    fn width(&self, lanes: usize, pairs: &Range<usize>) -> usize {
        (pairs.len() + 1).next_multiple_of(lanes)
    }

    /// Elements of a row's scores.
    fn row(&self, lanes: usize, pairs: &Range<usize>) -> usize {
        self.samples.padded() * (self.width(lanes, pairs) + APART)
    }

    /// Elements of the copy of the input.
    fn copy(&self, lanes: usize, pairs: &Range<usize>) -> usize {
        match &self.samples {
            Samples::Given(_) => 0,
            Samples::Product(p) => {
                p.channels * ClassProduct::pitch(self.rows * self.width(lanes, pairs))
            }
        }
    }

    fn memory(&self, lanes: usize, pairs: &Range<usize>) -> usize {
        let work = self.cells.work(self.samples.classes(), pairs);
        self.copy(lanes, pairs) + (self.rows + 1) * self.row(lanes, pairs) + work
    }
}

/// The labels between some rows of samples, and between some columns of them.
struct Band<'a> {
    head: &'a LabelHead,
    /// One image.
    x: &'a [f32],
    pairs: Range<usize>,
    columns: Range<usize>,
    memory: &'a mut [f32],
    to: &'a SharedLabels<'a>,
    /// Where the image's labels begin.
    at: usize,
}

impl Task for Band<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let h = self.head;
        let classes = h.samples.classes();
        let pitch = h.width(S::LANES, &self.columns) + APART;
        let held = h.row(S::LANES, &self.columns);
        let (copy, rest) = self.memory.split_at_mut(h.copy(S::LANES, &self.columns));
        let (ring, rest) = rest.split_at_mut((h.rows + 1) * held);
        let mut work = h.cells.split(rest, classes, &self.columns);
        // What registers read beyond the columns is the same every time.
        for row in ring.chunks_exact_mut(pitch) {
            row[pitch - APART..].fill(0.0);
        }
        let mut ring = Ring {
            head: h,
            x: self.x,
            columns: self.columns.start..h.input[1].min(self.columns.end + 1),
            width: pitch - APART,
            copy,
            rows: ring,
            tame: [false; AT_ONCE + 1],
        };
        let end = h.input[0].min(self.pairs.end + 1);
        let mut filled = self.pairs.start;
        for pair in self.pairs.clone() {
            let last = (pair + 1).min(h.input[0] - 1);
            while filled <= last {
                let rows = filled..end.min(filled + h.rows);
                ring.fill(s, rows.clone());
                filled = rows.end;
            }
            let (top, bottom) = (ring.slot(pair), ring.slot(last));
            let rows = Rows {
                top: ring.rows[top * held..].as_ptr(),
                bottom: ring.rows[bottom * held..].as_ptr(),
                pitch,
                classes,
                tame: ring.tame[top] && ring.tame[bottom],
            };
            let at = |row: usize| self.at + row * h.output[1];
            // SAFETY: the ring's rows have a whole register beyond the columns of every class;
            // tasks write disjoint labels.
            unsafe {
                h.cells
                    .write(s, pair, &self.columns, rows, &mut work, self.to, at);
            }
        }
    }
}

/// The scores of a few rows of samples, of some columns.
struct Ring<'a> {
    head: &'a LabelHead,
    x: &'a [f32],
    columns: Range<usize>,
    /// The columns in whole registers.
    width: usize,
    copy: &'a mut [f32],
    /// Per slot: `[class, width + APART]`.
    rows: &'a mut [f32],
    /// Per slot: whether all scores are finite and none is huge.
    tame: [bool; AT_ONCE + 1],
}

impl Ring<'_> {
    /// Where a row is kept.
    #[inline(always)]
    fn slot(&self, row: usize) -> usize {
        row % (self.head.rows + 1)
    }

    /// Makes the scores of `rows`, at most as many as are computed at a time.
    #[inline(always)]
    fn fill<S: Simd>(&mut self, s: S, rows: Range<usize>) {
        match &self.head.samples {
            Samples::Given(_) => self.take::<S>(rows.clone()),
            Samples::Product(product) => self.compute(s, product, rows.clone()),
        }
        let (pitch, classes) = (self.width + APART, self.head.samples.classes());
        let held = self.head.samples.padded() * pitch;
        for row in rows {
            let slot = self.slot(row);
            let from = &self.rows[slot * held..][..held];
            // SAFETY: a slot has all classes' columns.
            self.tame[slot] = unsafe { tame(s, from.as_ptr(), classes, pitch, self.columns.len()) };
        }
    }

    /// Copies given scores.
    #[inline(always)]
    fn take<S: Simd>(&mut self, rows: Range<usize>) {
        let [height, width] = self.head.input;
        let (pitch, n) = (self.width + APART, self.columns.len());
        let held = self.head.samples.padded() * pitch;
        for row in rows {
            let slot = self.slot(row);
            let planes = self.rows[slot * held..][..held].chunks_exact_mut(pitch);
            for (to, from) in planes.zip(self.x.chunks_exact(height * width)) {
                to[..n].copy_from_slice(&from[row * width + self.columns.start..][..n]);
                to[n..].fill(0.0);
            }
        }
    }

    /// Convolves.
    #[inline(always)]
    fn compute<S: Simd>(&mut self, s: S, product: &ClassProduct, rows: Range<usize>) {
        let [height, width] = self.head.input;
        let (n, count) = (self.columns.len(), rows.len());
        let x_pitch = ClassProduct::pitch(count * self.width);
        let planes = self.copy.chunks_exact_mut(x_pitch);
        for (to, from) in planes.zip(self.x.chunks_exact(height * width)) {
            for (to, row) in to.chunks_exact_mut(self.width).zip(rows.clone()) {
                to[..n].copy_from_slice(&from[row * width + self.columns.start..][..n]);
                to[n..].fill(0.0);
            }
        }
        let pitch = self.width + APART;
        let held = product.padded() * pitch;
        let registers = self.width / S::LANES;
        // Registers of columns of all rows, one row after the other.
        let place = |i: usize| {
            let (row, column) = (i / registers, i % registers * S::LANES);
            let slot = (rows.start + row) % (self.head.rows + 1);
            (row * self.width + column, slot * held + column)
        };
        let mut i = 0;
        while i < count * registers {
            // The same columns of the rows that come next.
            let next = (rows.end + i / registers) * width;
            let next = next + self.columns.start + i % registers * S::LANES;
            let next = self.x.as_ptr().wrapping_add(next);
            prefetch(s, next, product.channels, height * width);
            // SAFETY: the copy has whole registers of every channel, a slot of every class.
            unsafe {
                let (x, y) = (self.copy.as_ptr(), self.rows.as_mut_ptr());
                let (a, to_a) = place(i);
                if i + COLUMNS <= count * registers {
                    let (b, to_b) = place(i + 1);
                    let columns = Columns {
                        x: [x.add(a), x.add(b)],
                        pitch: x_pitch,
                    };
                    product.scores(s, columns, [y.add(to_a), y.add(to_b)], pitch);
                } else {
                    let columns = Columns {
                        x: [x.add(a)],
                        pitch: x_pitch,
                    };
                    product.scores(s, columns, [y.add(to_a)], pitch);
                }
            }
            i += COLUMNS;
        }
    }
}

#[cfg(test)]
mod tests;
