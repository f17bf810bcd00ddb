//! Functions of single elements.

use slicewise_graph::Activation;

use crate::isa::{Simd, Task};
use crate::shared::Shared;
use crate::{Context, Source, math};

/// Elements per task: 64 KB, which stays in a core's first or second cache.
const CHUNK: usize = 16 * 1024;

/// A function of one register, with its constants.
trait Unary: Copy {
    fn apply<S: Simd>(self, s: S, x: S::V) -> S::V;
}

macro_rules! unary {
    ($($name:ident |$this:ident, $s:ident, $x:ident| $body:expr;)*) => {$(
        #[derive(Clone, Copy)]
        struct $name;
        impl Unary for $name {
            #[inline(always)]
            fn apply<S: Simd>($this, $s: S, $x: S::V) -> S::V {
                $body
            }
        }
    )*};
}

unary! {
    HardSwish |self, s, x| s.mul(x, HardSigmoid.apply(s, x));
    HardSigmoid |self, s, x| {
        let y = s.fma(x, s.splat(1.0 / 6.0), s.splat(0.5));
        s.min(s.splat(1.0), s.max(s.splat(0.0), y))
    };
    Sigmoid |self, s, x| math::sigmoid(s, x);
    Silu |self, s, x| s.mul(x, math::sigmoid(s, x));
    GeluErf |self, s, x| {
        // Far to the left a rounding error of erf would be multiplied by x.
        let half = s.mul(s.max(s.splat(-5.6), x), s.splat(0.5));
        let erf = math::erf(s, s.mul(x, s.splat(std::f32::consts::FRAC_1_SQRT_2)));
        s.fma(half, erf, half)
    };
    GeluTanh |self, s, x| {
        let half = s.mul(x, s.splat(0.5));
        let cube = s.mul(x, s.mul(x, x));
        let inner = s.fma(cube, s.splat(0.044_715), x);
        // √(2/π)
        let tanh = math::tanh(s, s.mul(inner, s.splat(0.797_884_6)));
        s.fma(half, tanh, half)
    };
    Tanh |self, s, x| math::tanh(s, x);
    Sqrt |self, s, x| s.sqrt(x);
}

#[derive(Clone, Copy)]
struct Clamp(f32, f32);
impl Unary for Clamp {
    #[inline(always)]
    fn apply<S: Simd>(self, s: S, x: S::V) -> S::V {
        // The constant comes first so that a NaN stays.
        s.min(s.splat(self.1), s.max(s.splat(self.0), x))
    }
}

#[derive(Clone, Copy)]
struct LeakyRelu(f32);
impl Unary for LeakyRelu {
    #[inline(always)]
    fn apply<S: Simd>(self, s: S, x: S::V) -> S::V {
        let below = s.mul(x, s.splat(self.0));
        s.select_less(x, s.splat(0.0), below, x)
    }
}

/// # Safety
/// `x` must be valid for reads and `y` for writes of `n` elements; they may be the same.
#[inline(always)]
unsafe fn map<S: Simd, U: Unary>(s: S, f: U, x: *const f32, y: *mut f32, n: usize) {
    let mut i = 0;
    while i + S::LANES <= n {
        // SAFETY: i + LANES <= n.
        unsafe { s.store(y.add(i), f.apply(s, s.load(x.add(i)))) };
        i += S::LANES;
    }
    if i < n {
        // SAFETY: the last n - i < LANES elements.
        unsafe { s.store_first(y.add(i), n - i, f.apply(s, s.load_first(x.add(i), n - i))) };
    }
}

/// `y = f(x)` for `n` elements.
///
/// # Safety
/// `x` must be valid for reads and `y` for writes of `n` elements; they may be the same.
#[inline(always)]
pub(crate) unsafe fn row<S: Simd>(s: S, f: Activation, x: *const f32, y: *mut f32, n: usize) {
    // SAFETY: as this function's.
    unsafe {
        if let Some((low, high)) = bounds(f) {
            return map(s, Clamp(low, high), x, y, n);
        }
        match f {
            Activation::LeakyRelu { slope } => map(s, LeakyRelu(slope), x, y, n),
            Activation::HardSwish => map(s, HardSwish, x, y, n),
            Activation::HardSigmoid => map(s, HardSigmoid, x, y, n),
            Activation::Sigmoid => map(s, Sigmoid, x, y, n),
            Activation::Silu => map(s, Silu, x, y, n),
            Activation::GeluErf => map(s, GeluErf, x, y, n),
            Activation::GeluTanh => map(s, GeluTanh, x, y, n),
            Activation::Tanh => map(s, Tanh, x, y, n),
            Activation::Sqrt => map(s, Sqrt, x, y, n),
            // `bounds` has them.
            Activation::Relu | Activation::Relu6 | Activation::Clip { .. } => {}
        }
    }
}

/// `f` of every value, in its place.
#[inline(always)]
pub(crate) fn in_place<S: Simd>(s: S, f: Activation, values: &mut [f32]) {
    let (y, n) = (values.as_mut_ptr(), values.len());
    // SAFETY: the slice has n elements.
    unsafe { row(s, f, y, y, n) };
}

/// `f` of one register.
#[inline(always)]
pub(crate) fn register<S: Simd>(s: S, f: Activation, x: S::V) -> S::V {
    if let Some((low, high)) = bounds(f) {
        return Clamp(low, high).apply(s, x);
    }
    match f {
        Activation::LeakyRelu { slope } => LeakyRelu(slope).apply(s, x),
        Activation::HardSwish => HardSwish.apply(s, x),
        Activation::HardSigmoid => HardSigmoid.apply(s, x),
        Activation::Sigmoid => Sigmoid.apply(s, x),
        Activation::Silu => Silu.apply(s, x),
        Activation::GeluErf => GeluErf.apply(s, x),
        Activation::GeluTanh => GeluTanh.apply(s, x),
        Activation::Tanh => Tanh.apply(s, x),
        Activation::Sqrt => Sqrt.apply(s, x),
        // `bounds` has them.
        Activation::Relu | Activation::Relu6 | Activation::Clip { .. } => x,
    }
}

/// Least and greatest result of an activation that does nothing but cut there; such a one costs
/// two instructions in the register tile.
pub(crate) fn bounds(f: Activation) -> Option<(f32, f32)> {
    match f {
        Activation::Relu => Some((0.0, f32::INFINITY)),
        Activation::Relu6 => Some((0.0, 6.0)),
        Activation::Clip { low, high } => Some((low, high)),
        _ => None,
    }
}

/// Adds `other` to a row and cuts the sums to a range.
///
/// # Safety
/// `y` must be valid for reads and writes of `n` elements, `other` for reads.
#[inline(always)]
pub(crate) unsafe fn add_row<S: Simd>(
    s: S,
    y: *mut f32,
    other: *const f32,
    n: usize,
    (low, high): (f32, f32),
) {
    let (low, high) = (s.splat(low), s.splat(high));
    let mut i = 0;
    while i + S::LANES <= n {
        // SAFETY: i + LANES <= n.
        unsafe {
            let sum = s.add(s.load(y.add(i)), s.load(other.add(i)));
            s.store(y.add(i), s.min(high, s.max(low, sum)));
        }
        i += S::LANES;
    }
    if i < n {
        let n = n - i;
        // SAFETY: the last n < LANES elements.
        unsafe {
            let sum = s.add(s.load_first(y.add(i), n), s.load_first(other.add(i), n));
            s.store_first(y.add(i), n, s.min(high, s.max(low, sum)));
        }
    }
}

struct Row {
    f: Activation,
    x: *const f32,
    y: *mut f32,
    n: usize,
}

impl Task for Row {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        // SAFETY: made only below, for a range of both slices that no other thread has.
        unsafe { row(s, self.f, self.x, self.y, self.n) }
    }
}

/// `y = f(x)` for each element.
///
/// # Panics
/// If the slices differ in length.
pub fn activate(context: &Context, f: Activation, x: Source<'_>, y: &mut [f32]) {
    let n = y.len();
    let y = Shared::new(y);
    let x = x.pointer(&y);
    context.ranges(n, CHUNK, |range| {
        context.vectorize(Row {
            f,
            x: x.at(range.start),
            y: y.pointer(range.start),
            n: range.len(),
        });
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Isa;

    const ALL: &[Activation] = &[
        Activation::Relu,
        Activation::Relu6,
        Activation::LeakyRelu { slope: 0.01 },
        Activation::HardSwish,
        Activation::HardSigmoid,
        Activation::Sigmoid,
        Activation::Silu,
        Activation::GeluErf,
        Activation::GeluTanh,
        Activation::Tanh,
        Activation::Clip {
            low: -0.5,
            high: 2.5,
        },
    ];

    /// Inputs from 1e-6 to 1e2 on both sides, and zero.
    fn inputs() -> Vec<f32> {
        // Miri takes a thousand times as long.
        let n = if cfg!(miri) { 31 } else { 20_011 };
        let sizes = (0..n).map(|i| 10f32.powf(-6.0 + 8.0 * i as f32 / (n - 1) as f32));
        sizes.flat_map(|v| [v, -v]).chain([0.0]).collect()
    }

    #[test]
    fn activations_are_within_a_millionth_of_f64() {
        let x = inputs();
        for isa in Isa::available() {
            let context = Context::new(isa, 2);
            for &f in ALL {
                let mut y = vec![0.0; x.len()];
                activate(&context, f, Source::Slice(&x), &mut y);
                let error = |(x, y): (&f32, &f32)| {
                    let want = f.apply(*x);
                    // Relative to the result, or for a function that vanishes to the left, to 1.
                    f64::from((y - want).abs()) / f64::from(want.abs().max(x.abs().min(1.0)))
                };
                let worst = x
                    .iter()
                    .zip(&y)
                    .filter(|(x, _)| **x != 0.0)
                    .map(error)
                    .fold(0.0, f64::max);
                assert!(worst < 1e-6, "{} on {}: {worst:e}", f.name(), isa.name());
                let mut same = x.clone();
                activate(&context, f, Source::InPlace, &mut same);
                assert_eq!(same, y, "{} in place", f.name());
            }
            let square: Vec<f32> = x.iter().map(|x| x.abs()).collect();
            let mut y = vec![0.0; x.len()];
            activate(&context, Activation::Sqrt, Source::Slice(&square), &mut y);
            assert!(y.iter().zip(&square).all(|(y, x)| *y == x.sqrt()));
        }
    }

    #[test]
    fn a_nan_stays_a_nan() {
        for isa in Isa::available() {
            let context = Context::new(isa, 1);
            for &f in ALL {
                let mut y = [f32::NAN; 3];
                activate(&context, f, Source::InPlace, &mut y);
                assert!(
                    y.iter().all(|y| y.is_nan()),
                    "{} on {}",
                    f.name(),
                    isa.name()
                );
            }
        }
    }
}
