//! Normalisations: by channel constants, over groups of channels, along an axis.

use slicewise_graph::Activation;

use crate::activation::row;
use crate::isa::{Simd, Task};
use crate::shared::{Shared, SourcePointer};
use crate::{Context, Source};

/// Elements per task, and per partial mean and variance.
const CHUNK: usize = 16 * 1024;

/// `y = f(scale · x + shift)` for a stretch of elements.
struct Affine {
    x: *const f32,
    y: *mut f32,
    n: usize,
    scale: f32,
    shift: f32,
    activation: Option<Activation>,
}

impl Task for Affine {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (scale, shift) = (s.splat(self.scale), s.splat(self.shift));
        let mut i = 0;
        while i < self.n {
            let n = S::LANES.min(self.n - i);
            // SAFETY: n elements from i < self.n on, of both.
            unsafe {
                let v = s.fma(s.load_first(self.x.add(i), n), scale, shift);
                s.store_first(self.y.add(i), n, v);
            }
            i += n;
        }
        if let Some(f) = self.activation {
            // SAFETY: the elements just written.
            unsafe { row(s, f, self.y, self.y, self.n) };
        }
    }
}

/// `y = f(scale[c] · x + shift[c])` for `x` `[N, C, area]`.
///
/// # Panics
/// If a slice is not of that size.
pub fn channel_affine(
    context: &Context,
    scale: &[f32],
    shift: &[f32],
    area: usize,
    x: Source<'_>,
    y: &mut [f32],
    activation: Option<Activation>,
) {
    let channels = scale.len();
    let planes = y.len() / area;
    assert_eq!(
        (shift.len(), planes % channels),
        (channels, 0),
        "a scale per channel"
    );
    let y = Shared::new(y);
    let x = x.pointer(&y);
    each_channel(context, planes, area, |plane, at, n| Affine {
        x: x.at(at),
        y: y.pointer(at),
        n,
        scale: scale[plane % channels],
        shift: shift[plane % channels],
        activation,
    });
}

/// Runs what `task(plane, at, n)` makes for pieces of all planes.
fn each_channel<T: Task>(
    context: &Context,
    planes: usize,
    area: usize,
    task: impl Fn(usize, usize, usize) -> T + Sync,
) {
    let pieces = area.div_ceil(CHUNK);
    let chunk = (CHUNK / area.max(1)).max(1);
    context.ranges(planes * pieces, chunk, |range| {
        for i in range {
            let (plane, first) = (i / pieces, i % pieces * CHUNK);
            let n = CHUNK.min(area - first);
            context.vectorize(task(plane, plane * area + first, n));
        }
    });
}

/// Group normalisation of `[N, C, area]`; instance normalisation with as many groups as channels.
#[derive(Clone, Copy, Debug)]
pub struct GroupNorm<'a> {
    /// The number of groups.
    pub groups: usize,
    /// Added to the variance.
    pub eps: f32,
    /// `[C]`
    pub weight: &'a [f32],
    /// `[C]`
    pub bias: &'a [f32],
    /// Applied to the result.
    pub activation: Option<Activation>,
}

/// Number of elements, their mean, and the sum of squared deviations from it.
#[derive(Clone, Copy, Default)]
pub(crate) struct Moments {
    n: f64,
    mean: f64,
    squares: f64,
}

impl Moments {
    /// Those of both parts together (Chan, Golub and LeVeque 1979).
    fn with(self, other: Moments) -> Moments {
        let n = self.n + other.n;
        let delta = other.mean - self.mean;
        Moments {
            n,
            mean: self.mean + delta * other.n / n,
            squares: self.squares + other.squares + delta * delta * self.n * other.n / n,
        }
    }
}

/// Computes the moments of a stretch that fits the first caches, mean first.
struct Stretch {
    x: *const f32,
    n: usize,
}

impl Task for Stretch {
    type Output = Moments;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> Moments {
        // SAFETY: made from n elements of a slice.
        unsafe {
            let sum = deviations::<S, false>(s, self.x, self.n, 0.0);
            let mean = sum / self.n as f64;
            let squares = deviations::<S, true>(s, self.x, self.n, mean as f32);
            // The mean was rounded; what that adds to every square is known.
            let off = mean - f64::from(mean as f32);
            Moments {
                n: self.n as f64,
                mean,
                squares: (squares - self.n as f64 * off * off).max(0.0),
            }
        }
    }
}

/// The sum of `x - mean`, or of its square.
///
/// # Safety
/// `x` must be valid for reads of `n` elements.
#[inline(always)]
unsafe fn deviations<S: Simd, const SQUARE: bool>(s: S, x: *const f32, n: usize, mean: f32) -> f64 {
    // Sums of 256 elements per lane at most before they go to f64.
    let mut total = 0.0;
    let mut i = 0;
    let subtract = s.splat(mean);
    while i + 4 * S::LANES <= n {
        let mut sums = [s.splat(0.0); 4];
        let end = n.min(i + 1024 * S::LANES);
        while i + 4 * S::LANES <= end {
            for (j, sum) in sums.iter_mut().enumerate() {
                // SAFETY: i + 4 LANES <= n.
                let v = s.sub(unsafe { s.load(x.add(i + j * S::LANES)) }, subtract);
                *sum = if SQUARE {
                    s.fma(v, v, *sum)
                } else {
                    s.add(*sum, v)
                };
            }
            i += 4 * S::LANES;
        }
        let sum = s.add(s.add(sums[0], sums[1]), s.add(sums[2], sums[3]));
        let mut lanes = [0f32; 16];
        // SAFETY: no register is wider than 16.
        unsafe { s.store(lanes.as_mut_ptr(), sum) };
        total += lanes.iter().map(|&v| f64::from(v)).sum::<f64>();
    }
    while i < n {
        // SAFETY: i < n.
        let v = f64::from(unsafe { x.add(i).read() } - mean);
        total += if SQUARE { v * v } else { v };
        i += 1;
    }
    total
}

/// Normalises `x` `[N, C, area]` by the mean and variance of every group of channels.
///
/// # Panics
/// If a slice is not of that size.
pub fn group_norm(
    context: &Context,
    spec: &GroupNorm<'_>,
    area: usize,
    x: Source<'_>,
    y: &mut [f32],
) {
    let channels = spec.weight.len();
    let planes = y.len() / area;
    assert_eq!(
        (spec.bias.len(), planes % channels),
        (channels, 0),
        "a weight per channel"
    );
    let y = Shared::new(y);
    let x = x.pointer(&y);
    let group = channels / spec.groups * area;
    let groups = planes * area / group;
    // Moments of fixed stretches, whatever the number of threads.
    let stretches = group.div_ceil(CHUNK);
    let mut kept = context.moments();
    kept.clear();
    kept.resize(groups * stretches, Moments::default());
    let moments = &mut kept[..];
    let parts = Shared::new(moments);
    context.ranges(groups * stretches, 1, |range| {
        for i in range {
            let first = i % stretches * CHUNK;
            let n = CHUNK.min(group - first);
            let x = x.at(i / stretches * group + first);
            // SAFETY: every task writes the moments of its own number.
            unsafe { parts.part(i, 1)[0] = context.vectorize(Stretch { x, n }) };
        }
    });
    for group in moments.chunks_exact_mut(stretches) {
        group[0] = group.iter().fold(Moments::default(), |a, &b| a.with(b));
    }
    let moments = &*moments;
    each_channel(context, planes, area, |plane, at, n| {
        let channel = plane % channels;
        let m = moments[plane * area / group * stretches];
        let scale =
            f64::from(spec.weight[channel]) / (m.squares / m.n + f64::from(spec.eps)).sqrt();
        Affine {
            x: x.at(at),
            y: y.pointer(at),
            n,
            scale: scale as f32,
            shift: (f64::from(spec.bias[channel]) - m.mean * scale) as f32,
            activation: spec.activation,
        }
    });
}

/// Elements along an axis, per place around it.
#[derive(Clone, Copy)]
pub(crate) struct Axis {
    pub(crate) n: usize,
    pub(crate) inner: usize,
}

/// A function of the elements along an axis, for rows of their own and for columns side by side.
pub(crate) trait Along: Copy + Send + Sync {
    /// One row: `n` elements of `x` to `y`.
    ///
    /// # Safety
    /// `x` and `y` must be valid for `n` elements; they may be the same.
    unsafe fn row<S: Simd>(self, s: S, x: *const f32, y: *mut f32, n: usize);

    /// Four registers of columns side by side, likewise.
    ///
    /// # Safety
    /// As [`Along::columns`], with four times `LANES` columns.
    #[inline(always)]
    unsafe fn four<S: Simd>(self, s: S, x: *const f32, y: *mut f32, n: usize, step: usize) {
        for j in 0..4 {
            let at = j * S::LANES;
            // SAFETY: a quarter of the columns vouched for.
            unsafe { self.columns(s, x.add(at), y.add(at), n, step, S::LANES) };
        }
    }

    /// `count` columns, at most a register: `n` elements each, `step` apart.
    ///
    /// # Safety
    /// `x` and `y` must be valid for `count` elements at every multiple of `step` below
    /// `n * step`; they may be the same.
    unsafe fn columns<S: Simd>(
        self,
        s: S,
        x: *const f32,
        y: *mut f32,
        n: usize,
        step: usize,
        count: usize,
    );
}

struct Lines<F> {
    f: F,
    x: *const f32,
    y: *mut f32,
    axis: Axis,
    /// Rows, or columns of one outer place.
    count: usize,
}

impl<F: Along> Task for Lines<F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Axis { n, inner } = self.axis;
        // SAFETY: made below from ranges within the slices.
        unsafe {
            if inner == 1 {
                for i in 0..self.count {
                    self.f.row(s, self.x.add(i * n), self.y.add(i * n), n);
                }
            } else {
                let mut i = 0;
                while i + 4 * S::LANES <= self.count {
                    self.f.four(s, self.x.add(i), self.y.add(i), n, inner);
                    i += 4 * S::LANES;
                }
                while i < self.count {
                    let count = S::LANES.min(self.count - i);
                    self.f
                        .columns(s, self.x.add(i), self.y.add(i), n, inner, count);
                    i += count;
                }
            }
        }
    }
}

/// Applies `f` along an axis everywhere.
pub(crate) fn along<F: Along>(
    context: &Context,
    f: F,
    axis: Axis,
    x: SourcePointer<'_>,
    y: &Shared<'_, f32>,
) {
    let lines = y.len() / axis.n.max(1);
    let chunk = (CHUNK / axis.n.max(1)).max(1);
    if axis.inner == 1 {
        context.ranges(lines, chunk, |range| {
            let at = range.start * axis.n;
            let (x, y) = (x.at(at), y.pointer(at));
            let count = range.len();
            context.vectorize(Lines {
                f,
                x,
                y,
                axis,
                count,
            });
        });
        return;
    }
    let chunk = chunk.next_multiple_of(64);
    let pieces = axis.inner.div_ceil(chunk);
    context.ranges(lines / axis.inner * pieces, 1, |range| {
        for i in range {
            let first = i % pieces * chunk;
            let at = i / pieces * axis.n * axis.inner + first;
            let (x, y) = (x.at(at), y.pointer(at));
            let count = chunk.min(axis.inner - first);
            context.vectorize(Lines {
                f,
                x,
                y,
                axis,
                count,
            });
        }
    });
}

#[derive(Clone, Copy)]
struct LayerNormalize<'a> {
    eps: f32,
    weight: &'a [f32],
    bias: &'a [f32],
}

impl Along for LayerNormalize<'_> {
    #[inline(always)]
    unsafe fn row<S: Simd>(self, s: S, x: *const f32, y: *mut f32, n: usize) {
        // SAFETY: as this function's; weight and bias have n elements.
        unsafe {
            let mean = deviations::<S, false>(s, x, n, 0.0) / n as f64;
            let variance = deviations::<S, true>(s, x, n, mean as f32) / n as f64;
            let scale = s.splat((1.0 / (variance + f64::from(self.eps)).sqrt()) as f32);
            let mean = s.splat(mean as f32);
            let mut i = 0;
            while i < n {
                let count = S::LANES.min(n - i);
                let v = s.mul(s.sub(s.load_first(x.add(i), count), mean), scale);
                let w = s.load_first(self.weight.as_ptr().add(i), count);
                let b = s.load_first(self.bias.as_ptr().add(i), count);
                s.store_first(y.add(i), count, s.fma(v, w, b));
                i += count;
            }
        }
    }

    // One column of registers at a time would wait for each sum before the next addition to it.
    #[inline(always)]
    unsafe fn four<S: Simd>(self, s: S, x: *const f32, y: *mut f32, n: usize, step: usize) {
        // SAFETY: as this function's.
        unsafe {
            let share = s.splat(1.0 / n as f32);
            let load = |k: usize, j: usize| s.load(x.add(k * step + j * S::LANES));
            let mut mean = [s.splat(0.0); 4];
            for k in 0..n {
                for (j, sum) in mean.iter_mut().enumerate() {
                    *sum = s.add(*sum, load(k, j));
                }
            }
            for sum in &mut mean {
                *sum = s.mul(*sum, share);
            }
            let mut squares = [s.splat(0.0); 4];
            for k in 0..n {
                for (j, sum) in squares.iter_mut().enumerate() {
                    let v = s.sub(load(k, j), mean[j]);
                    *sum = s.fma(v, v, *sum);
                }
            }
            for sum in &mut squares {
                let deviation = s.sqrt(s.fma(*sum, share, s.splat(self.eps)));
                *sum = s.div(s.splat(1.0), deviation);
            }
            for k in 0..n {
                let (w, b) = (s.splat(self.weight[k]), s.splat(self.bias[k]));
                for j in 0..4 {
                    let v = s.mul(s.sub(load(k, j), mean[j]), squares[j]);
                    s.store(y.add(k * step + j * S::LANES), s.fma(v, w, b));
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn columns<S: Simd>(
        self,
        s: S,
        x: *const f32,
        y: *mut f32,
        n: usize,
        step: usize,
        count: usize,
    ) {
        // SAFETY: as this function's.
        unsafe {
            let share = s.splat(1.0 / n as f32);
            let mut sum = s.splat(0.0);
            for k in 0..n {
                sum = s.add(sum, s.load_first(x.add(k * step), count));
            }
            let mean = s.mul(sum, share);
            let mut squares = s.splat(0.0);
            for k in 0..n {
                let v = s.sub(s.load_first(x.add(k * step), count), mean);
                squares = s.fma(v, v, squares);
            }
            let deviation = s.sqrt(s.fma(squares, share, s.splat(self.eps)));
            let scale = s.div(s.splat(1.0), deviation);
            for k in 0..n {
                let v = s.mul(s.sub(s.load_first(x.add(k * step), count), mean), scale);
                let v = s.fma(v, s.splat(self.weight[k]), s.splat(self.bias[k]));
                s.store_first(y.add(k * step), count, v);
            }
        }
    }
}

/// Normalises `x` `[…, n, inner]` along the axis of `n` elements, weight and bias `[n]`.
///
/// # Panics
/// If a slice is not of that size.
pub fn layer_norm(
    context: &Context,
    eps: f32,
    weight: &[f32],
    bias: &[f32],
    inner: usize,
    x: Source<'_>,
    y: &mut [f32],
) {
    let n = weight.len();
    assert_eq!(
        (bias.len(), y.len() % (n * inner)),
        (n, 0),
        "a weight per element of the axis"
    );
    let y = Shared::new(y);
    let x = x.pointer(&y);
    along(
        context,
        LayerNormalize { eps, weight, bias },
        Axis { n, inner },
        x,
        &y,
    );
}

#[derive(Clone, Copy)]
struct L2Normalize {
    eps: f32,
}

impl Along for L2Normalize {
    #[inline(always)]
    unsafe fn row<S: Simd>(self, s: S, x: *const f32, y: *mut f32, n: usize) {
        // SAFETY: as this function's.
        unsafe {
            let norm = deviations::<S, true>(s, x, n, 0.0).sqrt() as f32;
            let norm = s.splat(norm.max(self.eps));
            let mut i = 0;
            while i < n {
                let count = S::LANES.min(n - i);
                s.store_first(y.add(i), count, s.div(s.load_first(x.add(i), count), norm));
                i += count;
            }
        }
    }

    #[inline(always)]
    unsafe fn columns<S: Simd>(
        self,
        s: S,
        x: *const f32,
        y: *mut f32,
        n: usize,
        step: usize,
        count: usize,
    ) {
        // SAFETY: as this function's.
        unsafe {
            let mut squares = s.splat(0.0);
            for k in 0..n {
                let v = s.load_first(x.add(k * step), count);
                squares = s.fma(v, v, squares);
            }
            let norm = s.max(s.splat(self.eps), s.sqrt(squares));
            for k in 0..n {
                let v = s.div(s.load_first(x.add(k * step), count), norm);
                s.store_first(y.add(k * step), count, v);
            }
        }
    }
}

/// Divides `x` `[…, n, inner]` by its norm along the axis of `n` elements, or by `eps` if that is
/// larger.
///
/// # Panics
/// If the slices differ in length.
pub fn l2_normalize(
    context: &Context,
    eps: f32,
    n: usize,
    inner: usize,
    x: Source<'_>,
    y: &mut [f32],
) {
    assert_eq!(y.len() % (n * inner), 0, "whole axes");
    let y = Shared::new(y);
    let x = x.pointer(&y);
    along(context, L2Normalize { eps }, Axis { n, inner }, x, &y);
}
