//! The one-dimensional transforms F(m, 3): `m` outputs of a filter of three taps from `m + 2`
//! products.
//!
//! Toom–Cook at points `p`: an input polynomial is divided by `x − p`, a filter evaluated at `p`
//! (divided by the differences of the points), an output is `Σ p^k · product`; at infinity the
//! leading coefficients are multiplied. For `m = 4` the points are 0, ±√½, ±√2, ∞: the largest error
//! is about a fifth of that of the textbook's 0, ±1, ±2, ∞. For `m = 2` they are 0, ±1, ∞.
//!
//! Filters are transformed once, in f64; inputs and outputs in registers, where one-dimensional
//! transforms of rows and then of columns make the two- and three-dimensional ones.

use crate::isa::Simd;

/// Products of the largest transform.
pub(super) const MOST: usize = 6;

/// The small points of F(4, 3): √½ and its cube; the large ones: √2 and its cube.
const SMALL: f32 = std::f32::consts::FRAC_1_SQRT_2;
const SMALL_CUBED: f32 = 0.353_553_39;
const LARGE: f32 = std::f32::consts::SQRT_2;
const LARGE_CUBED: f32 = 2.828_427;

/// Products per tile of `m` outputs on an axis; an axis without taps is not transformed.
pub(super) const fn products(m: usize) -> usize {
    if m == 1 { 1 } else { m + 2 }
}

/// What the taps of a filter contribute to each product.
pub(super) fn filter(m: usize) -> Vec<[f64; 3]> {
    use std::f64::consts::{FRAC_1_SQRT_2, SQRT_2};
    let points: &[f64] = match m {
        1 => return vec![[1.0, 0.0, 0.0]],
        2 => &[0.0, 1.0, -1.0],
        _ => &[0.0, FRAC_1_SQRT_2, -FRAC_1_SQRT_2, SQRT_2, -SQRT_2],
    };
    let at = |p: &f64| {
        let others = points.iter().filter(|q| *q != p);
        let differences: f64 = others.map(|q| p - q).product();
        [1.0, *p, p * p].map(|power| power / differences)
    };
    points.iter().map(at).chain([[0.0, 0.0, 1.0]]).collect()
}

/// Transforms the `M + 2` inputs of a tile.
#[inline(always)]
pub(super) fn input<S: Simd, const M: usize>(s: S, d: [S::V; MOST]) -> [S::V; MOST] {
    let zero = s.splat(0.0);
    if M == 2 {
        return [
            s.sub(d[2], d[0]),
            s.add(d[2], d[1]),
            s.sub(d[2], d[1]),
            s.sub(d[3], d[1]),
            zero,
            zero,
        ];
    }
    let sum = s.splat(-2.5);
    let (half, two) = (s.splat(-0.5), s.splat(-2.0));
    let (small, large) = (s.splat(SMALL), s.splat(LARGE));
    let even = [s.fma(two, d[2], d[4]), s.fma(half, d[2], d[4])];
    let odd = [
        s.mul(small, s.fma(two, d[1], d[3])),
        s.mul(large, s.fma(half, d[1], d[3])),
    ];
    [
        s.fma(sum, d[2], s.add(d[0], d[4])),
        s.add(even[0], odd[0]),
        s.sub(even[0], odd[0]),
        s.add(even[1], odd[1]),
        s.sub(even[1], odd[1]),
        s.fma(sum, d[3], s.add(d[1], d[5])),
    ]
}

/// Transforms the `M + 2` products of a tile back to its `M` outputs.
#[inline(always)]
pub(super) fn output<S: Simd, const M: usize>(s: S, m: [S::V; MOST]) -> [S::V; 4] {
    let zero = s.splat(0.0);
    let (sum, difference) = (s.add(m[1], m[2]), s.sub(m[1], m[2]));
    if M == 2 {
        return [s.add(m[0], sum), s.add(difference, m[3]), zero, zero];
    }
    let (sum_large, difference_large) = (s.add(m[3], m[4]), s.sub(m[3], m[4]));
    let weighed = |a: f32, x: S::V, b: f32, y: S::V| s.fma(s.splat(a), x, s.mul(s.splat(b), y));
    [
        s.add(m[0], s.add(sum, sum_large)),
        weighed(SMALL, difference, LARGE, difference_large),
        weighed(0.5, sum, 2.0, sum_large),
        s.add(
            m[5],
            weighed(SMALL_CUBED, difference, LARGE_CUBED, difference_large),
        ),
    ]
}
