//! The one-dimensional transforms F(m, r): `m` outputs of a filter of `r` taps from `m + r - 1`
//! products.
//!
//! Toom–Cook at points `p`: an input polynomial is divided by `x − p`, a filter evaluated at `p`
//! (divided by the differences of the points), an output is `Σ p^k · product`; at infinity the
//! leading coefficients are multiplied. For F(4, 3) the points are 0, ±√½, ±√2, ∞: the largest error
//! is about a fifth of that of the textbook's 0, ±1, ±2, ∞. For F(2, 3) they are 0, ±1, ∞.
//!
//! A stride of 2 is two filters: the even inputs with taps 0 and 2, the odd ones with tap 1. Both go
//! through F(4, 2), whose points are ±½, ±1¼, ∞ (of those tried the ones with the least error; with
//! 0, ±1, 2, ∞ it is twice as large), and their products are summed before they are transformed
//! back. A filter of one tap has no product at infinity, so there are 9 instead of 12.
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

/// The points of F(4, 2) and their squares and cubes: the small pair, the large pair.
const NEAR: [f32; 3] = [0.5, 0.25, 0.125];
const FAR: [f32; 3] = [1.25, 1.5625, 1.953_125];

/// Taps of the filters that an axis with this stride is transformed for.
pub(super) const fn taps(stride: usize) -> usize {
    4 - stride
}

/// Products per tile of `m` outputs of a filter of `taps` on an axis; an axis of one output is not
/// transformed.
pub(super) const fn products(m: usize, taps: usize) -> usize {
    if m == 1 { 1 } else { m + taps - 1 }
}

/// What each of three taps contributes to each product of a tile of `m` outputs: per product a row
/// for each of the filters that the taps are made into.
pub(super) fn filters(m: usize, stride: usize) -> Vec<Vec<[f64; 3]>> {
    use std::f64::consts::{FRAC_1_SQRT_2, SQRT_2};
    let points: &[f64] = match (m, stride) {
        (1, _) => return vec![vec![[1.0, 0.0, 0.0]]],
        (_, 2) => &[0.5, -0.5, 1.25, -1.25],
        (2, _) => &[0.0, 1.0, -1.0],
        _ => &[0.0, FRAC_1_SQRT_2, -FRAC_1_SQRT_2, SQRT_2, -SQRT_2],
    };
    let at = |p: &f64| {
        let others = points.iter().filter(|q| *q != p);
        let differences: f64 = others.map(|q| p - q).product();
        [1.0, *p, p * p].map(|power| power / differences)
    };
    let finite = points.iter().map(at);
    match stride {
        2 => finite
            .map(|p| vec![[p[0], 0.0, p[1]], [0.0, p[0], 0.0]])
            .chain([vec![[0.0, 0.0, 1.0]]])
            .collect(),
        _ => finite
            .chain([[0.0, 0.0, 1.0]])
            .map(|row| vec![row])
            .collect(),
    }
}

/// Transforms the `M + 2` inputs of a tile for F(M, 3).
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
    let small = pair(s, SMALL, s.fma(two, d[1], d[3]), s.fma(two, d[2], d[4]));
    let large = pair(s, LARGE, s.fma(half, d[1], d[3]), s.fma(half, d[2], d[4]));
    [
        s.fma(sum, d[2], s.add(d[0], d[4])),
        small[0],
        small[1],
        large[0],
        large[1],
        s.fma(sum, d[3], s.add(d[1], d[5])),
    ]
}

/// `even + p · odd` and `even - p · odd`.
#[inline(always)]
fn pair<S: Simd>(s: S, p: f32, odd: S::V, even: S::V) -> [S::V; 2] {
    [s.fma(s.splat(p), odd, even), s.fma(s.splat(-p), odd, even)]
}

/// Transforms a tile's inputs for F(4, 2): five even ones, or four odd ones, of which the fifth
/// product means nothing.
#[inline(always)]
pub(super) fn strided_input<S: Simd>(s: S, d: [S::V; 5]) -> [S::V; 5] {
    let less = |p: f32, a: S::V, b: S::V| s.fma(s.splat(-p), a, b);
    let near = pair(
        s,
        NEAR[0],
        less(FAR[1], d[0], d[2]),
        less(FAR[1], d[1], d[3]),
    );
    let far = pair(
        s,
        FAR[0],
        less(NEAR[1], d[0], d[2]),
        less(NEAR[1], d[1], d[3]),
    );
    let last = s.fma(s.splat(NEAR[1] * FAR[1]), d[0], d[4]);
    [
        near[0],
        near[1],
        far[0],
        far[1],
        less(NEAR[1] + FAR[1], d[2], last),
    ]
}

/// Transforms the products of a tile of F(M, TAPS) back to its `M` outputs.
#[inline(always)]
pub(super) fn output<S: Simd, const M: usize, const TAPS: usize>(
    s: S,
    m: [S::V; MOST],
) -> [S::V; 4] {
    let zero = s.splat(0.0);
    // Products at a point and its negative, twice, and those at 0, if it is a point, and infinity.
    let (pairs, first, last) = match TAPS {
        2 => ([m[0], m[1], m[2], m[3]], zero, m[4]),
        _ => ([m[1], m[2], m[3], m[4]], m[0], m[M + 1]),
    };
    let (sum, difference) = (s.add(pairs[0], pairs[1]), s.sub(pairs[0], pairs[1]));
    if M == 2 {
        return [s.add(first, sum), s.add(difference, last), zero, zero];
    }
    let (sum_large, difference_large) = (s.add(pairs[2], pairs[3]), s.sub(pairs[2], pairs[3]));
    let weighed = |a: f32, x: S::V, b: f32, y: S::V| s.fma(s.splat(a), x, s.mul(s.splat(b), y));
    let [near, far] = match TAPS {
        2 => [NEAR, FAR],
        _ => [[SMALL, 0.5, SMALL_CUBED], [LARGE, 2.0, LARGE_CUBED]],
    };
    let both = s.add(sum, sum_large);
    [
        if TAPS == 2 { both } else { s.add(first, both) },
        weighed(near[0], difference, far[0], difference_large),
        weighed(near[1], sum, far[1], sum_large),
        s.add(last, weighed(near[2], difference, far[2], difference_large)),
    ]
}
