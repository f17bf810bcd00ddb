//! Resampling, and the label map made from it without the resampled scores.
//!
//! Separable, innermost axis first: a row of the input is stretched to the output's width once and
//! kept while the output rows that lie between it and its neighbour are mixed from the two. The
//! label head mixes the same rows in the same order, so its labels are exactly those of the
//! resampled scores.

use slicewise_graph::{Resize, sampling};

use crate::arg_max::SharedLabels;
use crate::isa::{Simd, Task};
use crate::shared::Shared;
use crate::{Context, LabelsMut};

/// Elements of stretched rows that a label task keeps: 256 KB.
const ROWS: usize = 64 * 1024;
/// Elements of a result above which it is written past the caches: 32 MB. The 123 MB of logits of
/// 117 classes at 512² take 5.9 ms instead of 7.1 on two threads, 12.0 instead of 12.8 on one.
const STREAMED: usize = if cfg!(miri) { 512 } else { 8 * 1024 * 1024 };
/// Output rows per task at least, so that few input rows are stretched twice.
const BAND: usize = 16;

/// An output sample of one axis: two input samples and their shares; one sample has its share 1
/// and the other's 0.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Mix {
    pub(crate) at: [usize; 2],
    pub(crate) share: [f32; 2],
}

/// A resampling prepared for one input size.
#[derive(Debug)]
pub struct Resampling {
    input: [usize; 3],
    output: [usize; 3],
    /// Of depth and height.
    mixes: [Vec<Mix>; 2],
    stretch: Stretch,
    /// All taps of every axis where some sample has more than two.
    taps: Option<[Vec<Vec<sampling::Tap>>; 3]>,
}

impl Resampling {
    /// The resampling of images of `input` spatial sizes.
    pub fn new(context: &Context, spec: &Resize, input: &[usize]) -> Self {
        let missing = 3 - input.len();
        let size = |sizes: &[usize]| {
            let mut out = [1; 3];
            out[missing..].copy_from_slice(sizes);
            out
        };
        let (input, output) = (size(input), size(&spec.size));
        let taps: [Vec<Vec<sampling::Tap>>; 3] =
            std::array::from_fn(|i| match i.checked_sub(missing) {
                Some(axis) => sampling::taps(spec, axis, input[i]),
                None => vec![vec![(0, 1.0)]],
            });
        let mixes = taps
            .each_ref()
            .map(|axis| axis.iter().map(|t| mix(t)).collect::<Vec<_>>());
        let many = taps.iter().flatten().any(|t| t.len() > 2);
        let [depth, height, width] = mixes;
        Resampling {
            input,
            output,
            mixes: [depth, height],
            stretch: Stretch::new(&width, input[2], context.isa().lanes()),
            taps: many.then_some(taps),
        }
    }

    /// Whether labels can be made from it directly: at most two samples are mixed per axis.
    pub fn has_labels(&self) -> bool {
        self.taps.is_none()
    }

    /// Resamples `x` `[planes, spatial…]` into `y`.
    ///
    /// # Panics
    /// If a slice is not of that size.
    pub fn run(&self, context: &Context, x: &[f32], y: &mut [f32]) {
        let (area_in, area_out) = (
            self.input.iter().product::<usize>(),
            self.output.iter().product::<usize>(),
        );
        let planes = x.len() / area_in;
        assert_eq!(
            (x.len(), y.len()),
            (planes * area_in, planes * area_out),
            "sizes"
        );
        if let Some(taps) = &self.taps {
            return self.separable(context, taps, x, y);
        }
        let [depth, height, width] = self.output;
        let band = BAND.min(height);
        let bands = height.div_ceil(band);
        let (stream, lanes) = (y.len() > STREAMED, context.isa().lanes());
        let y = Shared::new(y);
        context.each(planes * depth * bands, |i, scratch| {
            let (plane, z, first) = (i / (depth * bands), i / bands % depth, i % bands * band);
            let rows = band.min(height - first);
            let at = plane * area_out + (z * height + first) * width;
            context.vectorize(Band {
                head: self,
                x: &x[plane * area_in..][..area_in],
                z,
                rows: first..first + rows,
                stream,
                scratch: scratch.floats(4 * (self.stretch.padded + lanes) + self.stretch.source),
                // SAFETY: bands do not overlap.
                y: unsafe { y.part(at, rows * width) },
            });
        });
    }

    /// Resamples axis by axis with any number of taps; for small constant maps, not for speed.
    fn separable(
        &self,
        context: &Context,
        taps: &[Vec<Vec<sampling::Tap>>; 3],
        x: &[f32],
        y: &mut [f32],
    ) {
        let [_, hi, wi] = self.input;
        let [depth, height, width] = self.output;
        let area_in: usize = self.input.iter().product();
        let area_out: usize = self.output.iter().product();
        let shared = Shared::new(y);
        context.ranges(x.len() / area_in, 1, |range| {
            for plane in range {
                let x = &x[plane * area_in..][..area_in];
                // SAFETY: every plane is written once.
                let y = unsafe { shared.part(plane * area_out, area_out) };
                let at = |z: usize, y: usize, taps: &[sampling::Tap]| -> f64 {
                    let row = &x[(z * hi + y) * wi..][..wi];
                    taps.iter().map(|&(i, w)| f64::from(row[i]) * w).sum()
                };
                for (i, y) in y.iter_mut().enumerate() {
                    let (oz, oy, ox) = (i / width / height % depth, i / width % height, i % width);
                    let mut sum = 0.0;
                    for &(z, wz) in &taps[0][oz] {
                        for &(row, wy) in &taps[1][oy] {
                            sum += wz * wy * at(z, row, &taps[2][ox]);
                        }
                    }
                    *y = sum as f32;
                }
            }
        });
    }

    /// The labels of the resampling of `x` `[N, classes, spatial…]`, `[N, output…]`.
    ///
    /// # Panics
    /// If a slice is not of that size, or there are more than 2²⁴ classes, or
    /// [`Resampling::has_labels`] is false.
    pub fn labels(&self, context: &Context, classes: usize, x: &[f32], labels: LabelsMut<'_>) {
        let area_in: usize = self.input.iter().product();
        let [depth, height, width] = self.output;
        let images = x.len() / (classes * area_in);
        assert!(
            self.has_labels() && classes <= 1 << 24,
            "labels of two samples per axis"
        );
        assert_eq!(x.len(), images * classes * area_in, "whole images");
        assert_eq!(
            labels.len(),
            images * depth * height * width,
            "one label per place"
        );
        let lanes = context.isa().lanes();
        let slots = if self.input[0] > 1 { 4 } else { 2 };
        let strip = (ROWS / (slots * classes))
            .next_multiple_of(4 * lanes)
            .max(4 * lanes);
        let strip = strip.min(self.stretch.padded);
        let strips = self.stretch.padded.div_ceil(strip);
        let band = (2 * BAND).min(height);
        let bands = height.div_ceil(band);
        let to = labels.shared();
        context.each(images * depth * bands * strips, |i, scratch| {
            let (i, strip_index) = (i / strips, i % strips);
            let (image, z, first) = (i / (depth * bands), i / bands % depth, i % bands * band);
            let begin = strip_index * strip;
            let size = slots * classes * strip + self.stretch.source + strip;
            context.vectorize(LabelBand {
                head: self,
                x: &x[image * classes * area_in..][..classes * area_in],
                classes,
                z,
                rows: first..height.min(first + band),
                columns: begin..self.stretch.padded.min(begin + strip),
                strip,
                slots,
                scratch: scratch.floats(size),
                to: &to,
                at: (image * depth + z) * height * width,
            });
        });
    }
}

/// The samples of every output on spatial axis `axis`; `None` if one has more than two.
pub(crate) fn mixes(spec: &Resize, axis: usize, input: usize) -> Option<Vec<Mix>> {
    let taps = sampling::taps(spec, axis, input);
    let two = taps.iter().all(|t| t.len() <= 2);
    two.then(|| taps.iter().map(|t| mix(t)).collect())
}

fn mix(taps: &[sampling::Tap]) -> Mix {
    match *taps {
        [(at, _)] => Mix {
            at: [at, at],
            share: [1.0, 0.0],
        },
        [(low, a), (high, b), ..] => Mix {
            at: [low, high],
            share: [a as f32, b as f32],
        },
        [] => Mix {
            at: [0, 0],
            share: [1.0, 0.0],
        },
    }
}

/// How a row is stretched to the output's width.
#[derive(Debug)]
struct Stretch {
    /// The output's width, and the same in whole registers.
    width: usize,
    padded: usize,
    /// Elements of the input row with what a register may read beyond it.
    source: usize,
    /// Per output: shares of the two samples.
    shares: [Vec<f32>; 2],
    /// Per output: positions of the two samples.
    places: [Vec<usize>; 2],
    /// Per register of outputs: where two registers with all its samples begin, if two suffice.
    bases: Vec<Option<usize>>,
    /// Per output: positions of the two samples from there.
    steps: [Vec<i32>; 2],
    /// Whether every output is one sample.
    single: bool,
}

impl Stretch {
    fn new(mixes: &[Mix], input: usize, lanes: usize) -> Self {
        let width = mixes.len();
        let padded = width.next_multiple_of(lanes);
        // Outputs past the end repeat the last.
        let at = |i: usize| mixes[i.min(width - 1)];
        let shares = [0, 1].map(|k| (0..padded).map(|i| at(i).share[k]).collect());
        let places = [0, 1].map(|k| (0..padded).map(|i| at(i).at[k]).collect::<Vec<_>>());
        let mut bases = Vec::with_capacity(padded / lanes);
        let mut steps = [vec![0; padded], vec![0; padded]];
        for block in 0..padded / lanes {
            let range = block * lanes..(block + 1) * lanes;
            let all = || range.clone().flat_map(|i| at(i).at);
            let (low, high) = (all().min().unwrap_or(0), all().max().unwrap_or(0));
            let near = high - low < 2 * lanes;
            bases.push(near.then_some(low));
            if near {
                for i in range.clone() {
                    for k in 0..2 {
                        steps[k][i] = (at(i).at[k] - low) as i32;
                    }
                }
            }
        }
        Stretch {
            width,
            padded,
            source: input + 2 * lanes,
            shares,
            places,
            bases,
            steps,
            single: mixes.iter().all(|m| m.share[1] == 0.0),
        }
    }

    /// Stretches the input row `from` to the outputs `columns` (whole registers).
    #[inline(always)]
    fn run<S: Simd>(
        &self,
        s: S,
        from: &[f32],
        source: &mut [f32],
        columns: std::ops::Range<usize>,
        to: &mut [f32],
    ) {
        source[..from.len()].copy_from_slice(from);
        assert!(
            columns.end <= self.padded && to.len() >= columns.len(),
            "whole registers"
        );
        let mut i = columns.start;
        while i < columns.end {
            let out = &mut to[i - columns.start..];
            if let Some(base) = self.bases[i / S::LANES] {
                // SAFETY: two registers from `base` lie in the padded row, and the tables have
                // whole registers.
                unsafe {
                    let low = s.load(source.as_ptr().add(base));
                    let high = s.load(source.as_ptr().add(base + S::LANES));
                    let mut v = s.lookup(low, high, self.steps[0].as_ptr().add(i));
                    if !self.single {
                        let b = s.lookup(low, high, self.steps[1].as_ptr().add(i));
                        let share = |k: usize| s.load(self.shares[k].as_ptr().add(i));
                        v = s.fma(b, share(1), s.mul(v, share(0)));
                    }
                    s.store(out.as_mut_ptr(), v);
                }
            } else {
                // Sampled one by one, mixed in the same way.
                let mut samples = [[0.0; 16]; 2];
                for (samples, places) in samples.iter_mut().zip(&self.places) {
                    for (sample, place) in samples.iter_mut().zip(&places[i..i + S::LANES]) {
                        *sample = from[*place];
                    }
                }
                // SAFETY: a register has at most 16 elements, and the tables have whole registers.
                unsafe {
                    let mut v = s.load(samples[0].as_ptr());
                    if !self.single {
                        let b = s.load(samples[1].as_ptr());
                        let share = |k: usize| s.load(self.shares[k].as_ptr().add(i));
                        v = s.fma(b, share(1), s.mul(v, share(0)));
                    }
                    s.store(out.as_mut_ptr(), v);
                }
            }
            i += S::LANES;
        }
    }
}

/// Mixes registers of up to four stretched rows: heights first, then depths.
#[derive(Clone, Copy)]
struct Mixer<V> {
    height: [V; 2],
    depth: [V; 2],
    two_heights: bool,
    two_depths: bool,
}

impl<V: Copy> Mixer<V> {
    #[inline(always)]
    fn new<S: Simd<V = V>>(s: S, z: &Mix, y: &Mix) -> Self {
        Mixer {
            height: y.share.map(|v| s.splat(v)),
            depth: z.share.map(|v| s.splat(v)),
            two_heights: y.share[1] != 0.0,
            two_depths: z.share[1] != 0.0,
        }
    }

    /// # Safety
    /// The rows that are used must be readable for a register.
    #[inline(always)]
    unsafe fn run<S: Simd<V = V>>(&self, s: S, rows: [*const f32; 4]) -> V {
        // SAFETY: as this function's.
        unsafe {
            let plane = |a: *const f32, b: *const f32| {
                let v = s.load(a);
                match self.two_heights {
                    true => s.fma(s.load(b), self.height[1], s.mul(v, self.height[0])),
                    false => v,
                }
            };
            let v = plane(rows[0], rows[1]);
            match self.two_depths {
                true => {
                    let w = plane(rows[2], rows[3]);
                    s.fma(w, self.depth[1], s.mul(v, self.depth[0]))
                }
                false => v,
            }
        }
    }
}

/// Which input rows are stretched already.
struct Slots {
    held: [Option<usize>; 4],
}

impl Slots {
    /// The slots of four input rows (some may be the same); `fill(slot, row)` is called for those
    /// that are new.
    #[inline(always)]
    fn find(
        &mut self,
        count: usize,
        rows: [usize; 4],
        mut fill: impl FnMut(usize, usize),
    ) -> [usize; 4] {
        let mut slots = [usize::MAX; 4];
        for (i, row) in rows.iter().enumerate() {
            if let Some(slot) = self.held[..count].iter().position(|h| *h == Some(*row)) {
                slots[i] = slot;
            }
        }
        for i in 0..4 {
            if slots[i] != usize::MAX {
                continue;
            }
            // As many slots as different rows, so one is not in use.
            let free = (0..count).find(|slot| !slots.contains(slot)).unwrap_or(0);
            self.held[free] = Some(rows[i]);
            fill(free, rows[i]);
            for j in i..4 {
                if rows[j] == rows[i] {
                    slots[j] = free;
                }
            }
        }
        slots
    }
}

impl Resampling {
    /// The input rows that output row `(z, y)` is mixed from.
    #[inline(always)]
    fn rows(&self, z: usize, y: usize) -> [usize; 4] {
        let (z, y) = (&self.mixes[0][z], &self.mixes[1][y]);
        let row = |k: usize, l: usize| z.at[k] * self.input[1] + y.at[l];
        [row(0, 0), row(0, 1), row(1, 0), row(1, 1)]
    }
}

/// Some output rows of one plane.
struct Band<'a> {
    head: &'a Resampling,
    x: &'a [f32],
    z: usize,
    rows: std::ops::Range<usize>,
    /// Whether results are written past the caches.
    stream: bool,
    scratch: &'a mut [f32],
    y: &'a mut [f32],
}

impl Task for Band<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (h, stretch) = (self.head, &self.head.stretch);
        // Where results are streamed, registers begin anywhere: one may be read beyond a row.
        let (width_in, pitch) = (h.input[2], stretch.padded + S::LANES);
        let (cache, source) = self.scratch.split_at_mut(4 * pitch);
        let mut slots = Slots { held: [None; 4] };
        for (row, to) in self.rows.zip(self.y.chunks_exact_mut(stretch.width)) {
            let at = slots.find(4, h.rows(self.z, row), |slot, row| {
                let from = &self.x[row * width_in..][..width_in];
                let to = &mut cache[slot * pitch..][..pitch];
                stretch.run(s, from, source, 0..stretch.padded, to);
            });
            let mixer = Mixer::new(s, &h.mixes[0][self.z], &h.mixes[1][row]);
            let mut i = 0;
            // SAFETY: every slot holds whole registers, of which none is left after the last
            // result; n results from i on. Streamed registers are aligned.
            unsafe {
                let mixed =
                    |i: usize| mixer.run(s, at.map(|slot| cache.as_ptr().add(slot * pitch + i)));
                if self.stream {
                    let line = 4 * S::LANES;
                    i = (to.as_ptr().addr().wrapping_neg() % line / 4).min(to.len());
                    s.store_first(to.as_mut_ptr(), i, mixed(0));
                    while i + S::LANES <= to.len() {
                        s.stream(to.as_mut_ptr().add(i), mixed(i));
                        i += S::LANES;
                    }
                }
                while i < to.len() {
                    let n = S::LANES.min(to.len() - i);
                    s.store_first(to.as_mut_ptr().add(i), n, mixed(i));
                    i += n;
                }
            }
        }
        if self.stream {
            s.fence();
        }
    }
}

/// Some columns of some rows of labels.
struct LabelBand<'a> {
    head: &'a Resampling,
    /// All classes of one image.
    x: &'a [f32],
    classes: usize,
    z: usize,
    rows: std::ops::Range<usize>,
    /// Whole registers.
    columns: std::ops::Range<usize>,
    /// Elements from one class to the next in the cache.
    strip: usize,
    slots: usize,
    scratch: &'a mut [f32],
    to: &'a SharedLabels<'a>,
    /// Where this depth's labels begin.
    at: usize,
}

impl Task for LabelBand<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (h, stretch) = (self.head, &self.head.stretch);
        let width_in = h.input[2];
        let area: usize = h.input.iter().product();
        let held = self.classes * self.strip;
        let classes = Classes {
            count: self.classes,
            strip: self.strip,
        };
        let (cache, rest) = self.scratch.split_at_mut(self.slots * held);
        let (source, best) = rest.split_at_mut(stretch.source);
        let mut slots = Slots { held: [None; 4] };
        let end = self.columns.end.min(stretch.width);
        for row in self.rows.clone() {
            let rows = h.rows(self.z, row);
            let at = slots.find(self.slots, rows, |slot, row| {
                for class in 0..self.classes {
                    let from = &self.x[class * area + row * width_in..][..width_in];
                    let to = &mut cache[slot * held + class * self.strip..][..self.strip];
                    stretch.run(s, from, source, self.columns.clone(), to);
                }
            });
            let mixer = Mixer::new(s, &h.mixes[0][self.z], &h.mixes[1][row]);
            let base = cache.as_ptr();
            let mut i = 0;
            // SAFETY: i is below the strip's columns, whole registers of which are in the cache
            // for every class and slot.
            unsafe {
                while i + 4 * S::LANES <= self.columns.len() {
                    let rows = at.map(|slot| base.add(slot * held + i));
                    classes.strongest::<S, 4>(s, &mixer, rows, best.as_mut_ptr().add(i));
                    i += 4 * S::LANES;
                }
                while i < self.columns.len() {
                    let rows = at.map(|slot| base.add(slot * held + i));
                    classes.strongest::<S, 1>(s, &mixer, rows, best.as_mut_ptr().add(i));
                    i += S::LANES;
                }
                let at = self.at + row * stretch.width + self.columns.start;
                self.to.write(at, &best[..end - self.columns.start]);
            }
        }
    }
}

/// How the classes of a strip lie in the cache.
#[derive(Clone, Copy)]
struct Classes {
    count: usize,
    /// Elements from one class to the next.
    strip: usize,
}

impl Classes {
    /// The first strongest class of `J` registers of places.
    ///
    /// # Safety
    /// `rows` must be readable for `J` registers of every class, `best` writable.
    #[inline(always)]
    unsafe fn strongest<S: Simd, const J: usize>(
        self,
        s: S,
        mixer: &Mixer<S::V>,
        rows: [*const f32; 4],
        best: *mut f32,
    ) {
        let mut largest = [s.splat(0.0); J];
        let mut label = [s.splat(0.0); J];
        // SAFETY: as this function's.
        unsafe {
            for j in 0..J {
                largest[j] = mixer.run(s, rows.map(|r| r.add(j * S::LANES)));
            }
            for class in 1..self.count {
                let this = s.splat(class as f32);
                for j in 0..J {
                    let at = class * self.strip + j * S::LANES;
                    let v = mixer.run(s, rows.map(|r| r.add(at)));
                    label[j] = s.select_less(largest[j], v, this, label[j]);
                    largest[j] = s.select_less(largest[j], v, v, largest[j]);
                }
            }
            for j in 0..J {
                s.store(best.add(j * S::LANES), label[j]);
            }
        }
    }
}

#[cfg(test)]
mod tests;
