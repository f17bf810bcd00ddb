//! The register tile of words: as [`crate::tile`], with several channels to a lane.
//!
//! `M` rows (output channels) by `N` registers of columns (pixels); per step `N` loads of words, `M`
//! broadcasts of weights, `M·N` products of two or four channels each. Neighbouring pixels lie in
//! neighbouring lanes, so the `M` results of a pixel, which are its channels, become words again by
//! shifts within the lane: nothing is ever moved across lanes.

use slicewise_graph::Activation;

use crate::activation::{bounds, register};
use crate::isa::{Dot, DotTask, Simd, to_bf16};
use crate::tile::{EVERYTHING, TWICE};

/// Channels in a word at most.
pub(crate) const MOST: usize = 4;

/// How channels become words.
pub(crate) trait Words: Copy + Send + Sync + 'static {
    /// Channels in a word.
    const CHANNELS: usize;
    /// What stands for zero, and steps per unit.
    type Scale: Copy + Send + Sync;
    fn dot<D: Dot>(d: D, sum: D::V, x: D::V, w: D::V) -> D::V;
    /// Whether sums are integers, which are multiplied with a row's scale and added to its bias.
    const INTEGERS: bool;
    /// Steps per unit, and where zero lies, where numbers are steps.
    fn steps(scale: Self::Scale) -> (f32, f32);
    /// Words of the first [`Self::CHANNELS`] of these.
    fn pack<D: Dot>(d: D, scale: Self::Scale, channels: [D::V; MOST]) -> D::V;
    /// Channel `i` of words.
    fn unpack<D: Dot>(d: D, scale: Self::Scale, v: D::V, i: usize) -> D::V;
}

/// Two bf16 to a word.
#[derive(Clone, Copy)]
pub(crate) struct Halves;

/// Four u8 to a word.
#[derive(Clone, Copy)]
pub(crate) struct Bytes;

impl Words for Halves {
    const CHANNELS: usize = 2;
    const INTEGERS: bool = false;
    type Scale = ();

    fn steps(_: ()) -> (f32, f32) {
        (1.0, 0.0)
    }

    #[inline(always)]
    fn dot<D: Dot>(d: D, sum: D::V, x: D::V, w: D::V) -> D::V {
        d.dot2(sum, x, w)
    }

    #[inline(always)]
    fn pack<D: Dot>(d: D, _: (), channels: [D::V; MOST]) -> D::V {
        d.pack2([channels[0], channels[1]])
    }

    #[inline(always)]
    fn unpack<D: Dot>(d: D, _: (), v: D::V, i: usize) -> D::V {
        d.unpack2(v, i)
    }
}

/// `x = (q - zero) · step` for u8 `q`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quantization {
    /// What one step is worth; finite and above zero.
    pub step: f32,
    /// The `q` that stands for 0.
    pub zero: u8,
}

impl Words for Bytes {
    const CHANNELS: usize = 4;
    const INTEGERS: bool = true;
    type Scale = Quantization;

    #[inline(always)]
    fn steps(q: Quantization) -> (f32, f32) {
        (1.0 / q.step, f32::from(q.zero))
    }

    #[inline(always)]
    fn dot<D: Dot>(d: D, sum: D::V, x: D::V, w: D::V) -> D::V {
        d.dot4(sum, x, w)
    }

    #[inline(always)]
    fn pack<D: Dot>(d: D, q: Quantization, mut channels: [D::V; MOST]) -> D::V {
        let s = d.plain();
        let (steps, zero) = Self::steps(q);
        let (steps, zero) = (s.splat(steps), s.splat(zero));
        let (least, most) = (s.splat(0.0), s.splat(255.0));
        for v in &mut channels {
            let step = s.add(s.round(s.mul(*v, steps)), zero);
            // The constants come last: a NaN becomes one of them.
            *v = s.min(s.max(step, least), most);
        }
        d.pack4(channels)
    }

    #[inline(always)]
    fn unpack<D: Dot>(d: D, q: Quantization, v: D::V, i: usize) -> D::V {
        let s = d.plain();
        s.mul(
            s.sub(d.unpack4(v, i), s.splat(f32::from(q.zero))),
            s.splat(q.step),
        )
    }
}

/// One map, as the tile meets it.
#[derive(Clone, Copy)]
pub(crate) enum Map<P, W> {
    /// f32 planes, one per channel.
    Planes(P),
    /// Words, and their scale.
    Words(P, W),
}

/// What is added to the tile's results.
#[derive(Clone, Copy)]
pub(crate) struct Added<W: Words, const N: usize> {
    /// Where each register of columns begins, in the tile's first channel or word.
    pub(crate) map: Map<[*const f32; N], W::Scale>,
    /// Elements from one plane to the next.
    pub(crate) pitch: usize,
    /// Every element is added to two neighbours: half a register is read.
    pub(crate) twice: bool,
}

impl<W: Words, const N: usize> Added<W, N> {
    /// # Safety
    /// The first `n` elements (half of them with `twice`) must be readable.
    #[inline(always)]
    unsafe fn load<S: Simd>(&self, s: S, from: *const f32, n: usize) -> S::V {
        // SAFETY: as this function's; the table names elements of one register.
        unsafe {
            if self.twice {
                let half = s.load_first(from, n.div_ceil(2));
                s.lookup(half, half, TWICE.as_ptr())
            } else {
                s.load_first(from, n)
            }
        }
    }
}

/// `then(activation(sum) + added)`
#[derive(Clone, Copy)]
pub(crate) struct Finish<W: Words, const N: usize> {
    pub(crate) activation: Option<Activation>,
    pub(crate) added: Option<Added<W, N>>,
    pub(crate) then: Option<Activation>,
}

/// A row's parameters for each of the tile's rows.
#[derive(Clone, Copy)]
pub(crate) struct Rows {
    /// What sums begin with: an i32's bits, or f32.
    pub(crate) start: *const f32,
    /// What integer sums are multiplied with, and what is added then.
    pub(crate) scale: *const f32,
    pub(crate) bias: *const f32,
}

/// A tile of `M` rows by `N` registers. It reads `weights[k * M + m]` for `k < depth`, whole registers
/// at `x[j] + offsets[k]`, `M` of each of its rows' parameters, and writes `n[j]` elements of each of
/// the first `rows` planes from `y[j]` on, `pitch` apart, or of the words that hold these channels.
pub(crate) struct Tile<W: Words, const M: usize, const N: usize> {
    pub(crate) depth: usize,
    pub(crate) weights: *const f32,
    pub(crate) offsets: *const u32,
    pub(crate) parameters: Rows,
    pub(crate) x: [*const f32; N],
    pub(crate) y: Map<[*mut f32; N], W::Scale>,
    pub(crate) n: [usize; N],
    pub(crate) pitch: usize,
    pub(crate) rows: usize,
    pub(crate) finish: Finish<W, N>,
}

impl<W: Words, const M: usize, const N: usize> DotTask for Tile<W, M, N> {
    /// The pointers must be valid for what the type's description says is read and written; only
    /// this module makes tiles.
    #[inline(always)]
    fn run<D: Dot>(self, d: D) {
        let s = d.plain();
        let mut sum = [[s.splat(0.0); N]; M];
        for m in 0..M {
            // SAFETY: a parameter per row.
            sum[m] = [s.splat(unsafe { self.parameters.start.add(m).read() }); N];
        }
        for k in 0..self.depth {
            // SAFETY: steps below depth; see the type's description.
            unsafe {
                let at = self.offsets.add(k).read() as usize;
                let mut x = [s.splat(0.0); N];
                for j in 0..N {
                    x[j] = s.load(self.x[j].add(at));
                }
                for m in 0..M {
                    let w = s.splat(self.weights.add(k * M + m).read());
                    for j in 0..N {
                        sum[m][j] = W::dot(d, sum[m][j], x[j], w);
                    }
                }
            }
        }
        // What comes now works on a copy: a loop over it that is not unrolled needs it in memory, and
        // the compiler would store the sums there at every step (2.5 times the time).
        let mut done = sum;
        if let (true, Map::Words(y, scale)) = (W::INTEGERS, self.y)
            && self.finish.added.is_none()
            && let Some(range) = self.finish.activation.map_or(Some(EVERYTHING), bounds)
        {
            return self.store_steps(d, y, scale, range, &mut done);
        }
        if W::INTEGERS {
            for m in 0..M {
                // SAFETY: a parameter per row.
                let (scale, bias) = unsafe {
                    let Rows { scale, bias, .. } = self.parameters;
                    (s.splat(scale.add(m).read()), s.splat(bias.add(m).read()))
                };
                for j in 0..N {
                    done[m][j] = s.fma(d.to_float(done[m][j]), scale, bias);
                }
            }
        }
        apply(s, self.finish.activation, &mut done);
        if let Some(added) = self.finish.added {
            self.add(d, added, &mut done);
            apply(s, self.finish.then, &mut done);
        }
        self.store(d, &done);
    }
}

/// Applies an activation to all registers.
#[inline(always)]
fn apply<S: Simd, const M: usize, const N: usize>(
    s: S,
    activation: Option<Activation>,
    sum: &mut [[S::V; N]; M],
) {
    let (low, high) = activation.and_then(bounds).unwrap_or(EVERYTHING);
    let (low, high) = (s.splat(low), s.splat(high));
    for row in &mut *sum {
        for v in row {
            *v = s.min(high, s.max(low, *v));
        }
    }
    if let Some(f) = activation.filter(|f| bounds(*f).is_none()) {
        // Of a copy, which may lie in memory; the sums stay in registers otherwise.
        let mut copy = *sum;
        for v in copy.as_flattened_mut() {
            *v = register(s, f, *v);
        }
        *sum = copy;
    }
}

impl<W: Words, const M: usize, const N: usize> Tile<W, M, N> {
    #[inline(always)]
    fn add<D: Dot>(&self, d: D, added: Added<W, N>, sum: &mut [[D::V; N]; M]) {
        let s = d.plain();
        match added.map {
            Map::Planes(from) => {
                for m in 0..M {
                    if m < self.rows {
                        for j in 0..N {
                            // SAFETY: a row of the map.
                            let v =
                                unsafe { added.load(s, from[j].add(m * added.pitch), self.n[j]) };
                            sum[m][j] = s.add(sum[m][j], v);
                        }
                    }
                }
            }
            Map::Words(from, scale) => {
                for m in (0..M).step_by(W::CHANNELS) {
                    if m < self.rows {
                        for j in 0..N {
                            // SAFETY: a word of the map.
                            let v = unsafe {
                                let from = from[j].add(m / W::CHANNELS * added.pitch);
                                added.load(s, from, self.n[j])
                            };
                            for i in 0..W::CHANNELS {
                                let row = &mut sum[m + i][j];
                                *row = s.add(*row, W::unpack(d, scale, v, i));
                            }
                        }
                    }
                }
            }
        }
    }

    /// Scales integer sums to the steps of the result at once, where they are but cut to a range: half of
    /// the operations that go by way of f32.
    #[inline(always)]
    fn store_steps<D: Dot>(
        &self,
        d: D,
        y: [*mut f32; N],
        to: W::Scale,
        (low, high): (f32, f32),
        sum: &mut [[D::V; N]; M],
    ) {
        let s = d.plain();
        let (steps, zero) = W::steps(to);
        let step = |v: f32| (v * steps + zero).round_ties_even().clamp(0.0, 255.0);
        let (low, high) = (s.splat(step(low)), s.splat(step(high)));
        let (steps, zero) = (s.splat(steps), s.splat(zero));
        for m in 0..M {
            // SAFETY: a parameter per row.
            let (scale, bias) = unsafe {
                let Rows { scale, bias, .. } = self.parameters;
                (s.splat(scale.add(m).read()), s.splat(bias.add(m).read()))
            };
            let (scale, bias) = (s.mul(scale, steps), s.fma(bias, steps, zero));
            for j in 0..N {
                let v = s.fma(d.to_float(sum[m][j]), scale, bias);
                // The conversion to integers rounds; a NaN becomes one of the constants.
                sum[m][j] = s.min(s.max(v, low), high);
            }
        }
        self.store_words(d, y, None, sum);
    }

    /// Writes words of results: of whole steps already, or packed by `scale`.
    #[inline(always)]
    fn store_words<D: Dot>(
        &self,
        d: D,
        y: [*mut f32; N],
        scale: Option<W::Scale>,
        sum: &[[D::V; N]; M],
    ) {
        let s = d.plain();
        for m in (0..M).step_by(W::CHANNELS) {
            if m < self.rows {
                for j in 0..N {
                    let mut channels = [sum[m][j]; MOST];
                    for i in 1..W::CHANNELS {
                        channels[i] = sum[m + i][j];
                    }
                    let v = match scale {
                        Some(scale) => W::pack(d, scale, channels),
                        None => d.pack4(channels),
                    };
                    // SAFETY: see the type's description.
                    unsafe {
                        let to = y[j].add(m / W::CHANNELS * self.pitch);
                        s.store_first(to, self.n[j], v);
                    }
                }
            }
        }
    }

    #[inline(always)]
    fn store<D: Dot>(&self, d: D, sum: &[[D::V; N]; M]) {
        let s = d.plain();
        match self.y {
            Map::Planes(y) => {
                for m in 0..M {
                    if m < self.rows {
                        for j in 0..N {
                            // SAFETY: see the type's description.
                            unsafe {
                                s.store_first(y[j].add(m * self.pitch), self.n[j], sum[m][j]);
                            }
                        }
                    }
                }
            }
            Map::Words(y, scale) => self.store_words(d, y, Some(scale), sum),
        }
    }
}

/// The word of two weights.
pub(crate) fn halves(weights: [f32; 2]) -> u32 {
    to_bf16(weights[0]) >> 16 | to_bf16(weights[1])
}
