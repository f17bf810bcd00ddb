//! From products back to pixels.

use super::places::{Place, RUNS};
use super::transform::{MOST, output, products};
use crate::activation::bounds;
use crate::conv::Epilogue;
use crate::isa::{Simd, Task};
use crate::shared::Shared;

/// Transforms the sums of some output channels back and stores them with their bias and epilogue:
/// of F(Z, 3) on the depth axis, F(M, TAPS) on the others.
pub(super) struct Output<'a, const Z: usize, const M: usize, const TAPS: usize> {
    /// Where the runs of the block go, and how many vectors of tiles they make.
    pub(super) places: &'a [Place; RUNS],
    pub(super) vectors: usize,
    /// `[frequency, channel, tiles]`, elements from one frequency and channel to the next.
    pub(super) sums: &'a [f32],
    pub(super) frequency: usize,
    pub(super) pitch: usize,
    /// The output channels, of how many.
    pub(super) channels: std::ops::Range<usize>,
    pub(super) out: usize,
    /// One per output channel.
    pub(super) bias: &'a [f32],
    /// Rows, columns and elements of an output channel.
    pub(super) size: [usize; 3],
    pub(super) y: &'a Shared<'a, f32>,
    pub(super) epilogue: &'a Epilogue<'a>,
}

/// What is done with a register of results before it is stored.
struct Finish<'a> {
    /// The range of `activation(sum)`.
    cut: (f32, f32),
    residual: Option<&'a [f32]>,
    /// The range of the sum with the residual.
    then: (f32, f32),
    /// Whether that is all there is to do.
    whole: bool,
}

impl<'a> Finish<'a> {
    fn new(epilogue: &Epilogue<'a>) -> Self {
        let all = Some((f32::NEG_INFINITY, f32::INFINITY));
        let range = |f: Option<_>| f.map_or(all, bounds);
        match (range(epilogue.activation), range(epilogue.then)) {
            (Some(cut), Some(then)) => Finish {
                cut,
                residual: epilogue.residual,
                then,
                whole: true,
            },
            _ => Finish {
                cut: (f32::NEG_INFINITY, f32::INFINITY),
                residual: None,
                then: (f32::NEG_INFINITY, f32::INFINITY),
                whole: false,
            },
        }
    }
}

/// The same in registers, with how columns become runs.
struct Vectors<'a, S: Simd> {
    cut: [S::V; 2],
    then: [S::V; 2],
    bias: S::V,
    residual: Option<&'a [f32]>,
    join: Join,
}

impl<S: Simd> Vectors<'_, S> {
    #[inline(always)]
    fn cut(&self, s: S, v: S::V) -> S::V {
        s.min(self.cut[1], s.max(self.cut[0], v))
    }

    /// Adds the residual's `n` elements at `from` and cuts.
    ///
    /// # Safety
    /// There must be so many.
    #[inline(always)]
    unsafe fn then(&self, s: S, v: S::V, from: *const f32, n: usize) -> S::V {
        // SAFETY: as this function's.
        let other = unsafe { s.load_first(from, n) };
        s.min(self.then[1], s.max(self.then[0], s.add(v, other)))
    }
}

/// Which elements of two columns of tiles make up two runs of pixels.
struct Join([[i32; 16]; 2]);

impl Join {
    #[inline(always)]
    fn new<S: Simd>() -> Self {
        let mut runs = [[0; 16]; 2];
        for (part, run) in runs.iter_mut().enumerate() {
            for (i, lane) in run[..S::LANES].iter_mut().enumerate() {
                *lane = (i % 2 * S::LANES + part * S::LANES / 2 + i / 2) as i32;
            }
        }
        Join(runs)
    }

    /// Columns of tiles joined to runs of pixels.
    #[inline(always)]
    fn runs<S: Simd, const M: usize>(&self, s: S, columns: [S::V; 4]) -> [S::V; 4] {
        if M == 4 {
            return s.transpose(columns);
        }
        let zero = s.splat(0.0);
        // SAFETY: all indices are below 2 · LANES.
        let run = |i: usize| unsafe { s.lookup(columns[0], columns[1], self.0[i].as_ptr()) };
        [run(0), run(1), zero, zero]
    }
}

impl<const Z: usize, const M: usize, const TAPS: usize> Output<'_, Z, M, TAPS> {
    /// What frequency `i` of a channel's vector of tiles sums to, which begins at `at`; asks for the
    /// next channel's, because frequencies lie far apart.
    #[inline(always)]
    fn load<S: Simd>(&self, s: S, at: usize, i: usize) -> S::V {
        let from = self.sums.as_ptr().wrapping_add(at + i * self.frequency);
        s.prefetch(from.wrapping_add(self.pitch));
        // SAFETY: below the length asserted in `run`.
        unsafe { s.load(from) }
    }

    /// Transforms the sums at `at` back along the depth axis: per slice the frequencies of the plane.
    #[inline(always)]
    fn slices<S: Simd>(&self, s: S, at: usize) -> [[S::V; MOST * MOST]; 4] {
        let plane = products(M, TAPS) * products(M, TAPS);
        let mut slices = [[s.splat(0.0); MOST * MOST]; 4];
        for i in 0..plane {
            let mut m = [s.splat(0.0); MOST];
            for k in 0..products(Z, 3) {
                m[k] = self.load(s, at, k * plane + i);
            }
            let v = output::<S, Z, 3>(s, m);
            for slice in 0..Z {
                slices[slice][i] = v[slice];
            }
        }
        slices
    }

    /// Transforms the frequencies of a plane back along the columns of tiles.
    #[inline(always)]
    fn columns<S: Simd>(&self, s: S, frequency: impl Fn(usize) -> S::V) -> [[S::V; MOST]; 4] {
        let rows = products(M, TAPS);
        let zero = s.splat(0.0);
        let mut half = [[zero; MOST]; 4];
        for column in 0..rows {
            let mut m = [zero; MOST];
            for row in 0..rows {
                m[row] = frequency(row * rows + column);
            }
            let v = output::<S, M, TAPS>(s, m);
            for row in 0..M {
                half[row][column] = v[row];
            }
        }
        half
    }

    /// Transforms the sums of a vector of tiles at `from` back and stores them, finished as far as
    /// registers can. `at` is where its runs begin in the output; with `WHOLE` the output has every
    /// pixel of them.
    #[inline(always)]
    fn vector<S: Simd, const WHOLE: bool>(
        &self,
        s: S,
        finish: &Vectors<'_, S>,
        from: usize,
        places: &[Place],
        at: [usize; 4],
    ) {
        let [height, width, area] = self.size;
        let starts = at.map(|at| self.y.pointer(at));
        let slices = match Z {
            1 => [[s.splat(0.0); MOST * MOST]; 4],
            _ => self.slices(s, from),
        };
        for slice in 0..Z {
            let half = match Z {
                1 => self.columns(s, |i| self.load(s, from, i)),
                _ => self.columns(s, |i| slices[slice][i]),
            };
            for row in 0..M {
                let columns = output::<S, M, TAPS>(s, half[row]).map(|v| s.add(v, finish.bias));
                let runs = finish.join.runs::<S, M>(s, columns);
                let line = (slice * height + row) * width;
                for run in 0..M {
                    let [depth, rows, n] = places[run].size;
                    if !WHOLE && (slice >= depth || row >= rows) {
                        continue;
                    }
                    let n = if WHOLE { S::LANES } else { n };
                    s.prefetch_to_write(starts[run].wrapping_add(area + line));
                    let v = finish.cut(s, runs[run]);
                    // SAFETY: the output and the residual have n elements there, as the place says,
                    // and this job alone writes these channels of its runs.
                    unsafe {
                        let to = starts[run].add(line);
                        let v = match finish.residual {
                            Some(r) => finish.then(s, v, r.as_ptr().add(at[run] + line), n),
                            None => v,
                        };
                        match WHOLE {
                            true => s.store(to, v),
                            false => s.store_first(to, n, v),
                        }
                    }
                }
            }
        }
    }

    /// Applies what the registers did not.
    #[inline(always)]
    fn finish<S: Simd>(&self, s: S, channel: usize) {
        let [height, width, area] = self.size;
        for place in &self.places[..self.vectors * M] {
            let first = (place.image * self.out + channel) * area + place.at;
            for row in 0..place.size[0] * place.size[1] {
                let (slice, row) = (row / place.size[1], row % place.size[1]);
                let at = first + (slice * height + row) * width;
                // SAFETY: this job alone writes these channels of its runs.
                unsafe {
                    let y = self.y.part(at, place.size[2]);
                    self.epilogue.finish(s, y.as_mut_ptr(), at, y.len());
                }
            }
        }
    }
}

impl<const Z: usize, const M: usize, const TAPS: usize> Task for Output<'_, Z, M, TAPS> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let rows = products(M, TAPS);
        let last = (products(Z, 3) * rows * rows - 1) * self.frequency;
        assert!(
            self.sums.len() >= last + self.channels.len() * self.pitch
                && self.vectors * S::LANES <= self.pitch,
            "a sum per frequency, channel and tile"
        );
        let finish = Finish::new(self.epilogue);
        let mut vectors = Vectors {
            cut: [s.splat(finish.cut.0), s.splat(finish.cut.1)],
            then: [s.splat(finish.then.0), s.splat(finish.then.1)],
            bias: s.splat(0.0),
            residual: finish.residual,
            join: Join::new::<S>(),
        };
        let area = self.size[2];
        for (i, channel) in self.channels.clone().enumerate() {
            vectors.bias = s.splat(self.bias[channel]);
            for vector in 0..self.vectors {
                let from = i * self.pitch + vector * S::LANES;
                let places = &self.places[vector * M..][..M];
                let mut at = [0; 4];
                for (at, place) in at.iter_mut().zip(places) {
                    *at = (place.image * self.out + channel) * area + place.at;
                }
                match places.iter().all(|p| p.size == [Z, M, S::LANES]) {
                    true => self.vector::<S, true>(s, &vectors, from, places, at),
                    false => self.vector::<S, false>(s, &vectors, from, places, at),
                }
            }
            if !finish.whole {
                self.finish(s, channel);
            }
        }
    }
}
