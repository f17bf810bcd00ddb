//! Exponential, error function and hyperbolic tangent of a register at a time.
//!
//! The polynomials are Chebyshev fits of f64 values; the errors named were measured against f64 on
//! every tenth float (see the tests).

use crate::isa::Simd;

/// `c[0] + x (c[1] + x (…))`
#[inline(always)]
pub(crate) fn polynomial<S: Simd, const N: usize>(s: S, x: S::V, c: [f32; N]) -> S::V {
    let mut sum = s.splat(c[N - 1]);
    for i in (0..N - 1).rev() {
        sum = s.fma(sum, x, s.splat(c[i]));
    }
    sum
}

/// `eˣ`, relative error below 2e-7; held at 1.2e-38 below -87.3 and at 2.4e38 above 88.3.
#[inline(always)]
pub(crate) fn exp<S: Simd>(s: S, x: S::V) -> S::V {
    // The constant comes first so that a NaN stays.
    let x = s.min(s.splat(88.37), s.max(s.splat(-87.33), x));
    let n = s.round(s.mul(x, s.splat(std::f32::consts::LOG2_E)));
    // ln 2 in two parts, the first with few enough bits that n times it is exact.
    let r = s.fma(n, s.splat(-0.693_359_4), x);
    let r = s.fma(n, s.splat(2.121_944_4e-4), r);
    let q = polynomial(
        s,
        r,
        [
            0.5,
            0.166_665_76,
            0.041_666_467,
            0.008_363_18,
            0.001_393_365_2,
        ],
    );
    let e = s.add(s.splat(1.0), s.fma(s.mul(r, r), q, r));
    s.mul(e, s.exp2_int(n))
}

/// `1 / (1 + e⁻ˣ)`
#[inline(always)]
pub(crate) fn sigmoid<S: Simd>(s: S, x: S::V) -> S::V {
    let one = s.splat(1.0);
    s.div(one, s.add(one, exp(s, s.sub(s.splat(0.0), x))))
}

/// `tanh x`, relative error below 3e-7.
#[inline(always)]
pub(crate) fn tanh<S: Simd>(s: S, x: S::V) -> S::V {
    let size = s.abs(x);
    let square = s.mul(x, x);
    let p = polynomial(
        s,
        square,
        [
            -0.333_333_28,
            0.133_327_34,
            -0.053_844_99,
            0.020_968_182,
            -0.006_053_691_7,
        ],
    );
    let small = s.fma(s.mul(x, square), p, x);
    let (one, two) = (s.splat(1.0), s.splat(2.0));
    let e = exp(s, s.add(size, size));
    let large = s.copysign(s.sub(one, s.div(two, s.add(e, one))), x);
    s.select_less(size, s.splat(0.625), small, large)
}

/// The error function, absolute error below 3.6e-7, relative below 2.5e-7 near zero: `x · P(x²) /
/// Q(x²)`, fitted for the least error of all on [-3.95, 3.95]; held beyond, where erf is 1 to 2.4e-8.
/// (A polynomial near zero and an exponential beyond took more than twice the instructions.)
#[inline(always)]
pub(crate) fn erf<S: Simd>(s: S, x: S::V) -> S::V {
    // The constant comes first so that a NaN stays.
    let x = s.min(s.splat(3.95), s.max(s.splat(-3.95), x));
    let square = s.mul(x, x);
    let p = polynomial(
        s,
        square,
        [
            std::f32::consts::FRAC_2_SQRT_PI,
            0.193_204_8,
            0.053_096_157,
            0.003_880_378,
            2.865_211_3e-4,
            2.015_476e-6,
        ],
    );
    let q = polynomial(
        s,
        square,
        [
            1.0,
            0.504_555_4,
            0.115_245_655,
            0.015_198_463,
            0.001_188_690_8,
            3.782_061_3e-5,
        ],
    );
    s.div(s.mul(x, p), q)
}
