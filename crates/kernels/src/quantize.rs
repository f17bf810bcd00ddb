//! Between f32 and 8-bit integers.

use crate::Context;
use crate::buffer::Element;
use crate::shared::Shared;

/// Elements per task.
const CHUNK: usize = 16 * 1024;

/// Which scale element `i` has: one for all, or one per element of an axis with `inner` elements
/// behind it.
#[inline]
fn index(i: usize, scales: usize, inner: usize) -> usize {
    if scales == 1 { 0 } else { i / inner % scales }
}

/// `y = saturate(round_half_even(x / scale) + zero)`.
///
/// # Panics
/// If the slices differ in length.
pub fn quantize<T: Element + TryFrom<i64>>(
    context: &Context,
    x: &[f32],
    scale: &[f32],
    zero: &[i32],
    inner: usize,
    y: &mut [T],
    range: (i32, i32),
) {
    assert_eq!((x.len(), scale.len()), (y.len(), zero.len()), "sizes");
    let y = Shared::new(y);
    context.ranges(x.len(), CHUNK, |part| {
        // SAFETY: ranges do not overlap.
        let y = unsafe { y.part(part.start, part.len()) };
        for (i, y) in part.zip(y) {
            let s = index(i, scale.len(), inner);
            let step = (x[i] / scale[s]).round_ties_even() + zero[s] as f32;
            let step = (step as i64).clamp(i64::from(range.0), i64::from(range.1));
            *y = T::try_from(step).unwrap_or_default();
        }
    });
}

/// `y = (x - zero) · scale`.
///
/// # Panics
/// If the slices differ in length.
pub fn dequantize<T: Element + Into<i32>>(
    context: &Context,
    x: &[T],
    scale: &[f32],
    zero: &[i32],
    inner: usize,
    y: &mut [f32],
) {
    assert_eq!((x.len(), scale.len()), (y.len(), zero.len()), "sizes");
    let y = Shared::new(y);
    context.ranges(x.len(), CHUNK, |part| {
        // SAFETY: ranges do not overlap.
        let y = unsafe { y.part(part.start, part.len()) };
        for (i, y) in part.zip(y) {
            let s = index(i, scale.len(), inner);
            let v: i32 = x[i].into();
            *y = v.wrapping_sub(zero[s]) as f32 * scale[s];
        }
    });
}
