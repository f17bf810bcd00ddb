//! Softmax along an axis.

use crate::isa::Simd;
use crate::norm::{Along, Axis, along};
use crate::shared::Shared;
use crate::{Context, Source, math};

#[derive(Clone, Copy)]
struct Softmax;

impl Along for Softmax {
    #[inline(always)]
    unsafe fn row<S: Simd>(self, s: S, x: *const f32, y: *mut f32, n: usize) {
        // SAFETY: as this function's; no register is wider than 16.
        unsafe {
            let mut largest = f32::NEG_INFINITY;
            let mut i = 0;
            let mut lanes = [f32::NEG_INFINITY; 16];
            if n >= S::LANES {
                let mut v = s.splat(f32::NEG_INFINITY);
                while i + S::LANES <= n {
                    v = s.max(s.load(x.add(i)), v);
                    i += S::LANES;
                }
                s.store(lanes.as_mut_ptr(), v);
            }
            for v in lanes {
                largest = largest.max(v);
            }
            while i < n {
                largest = largest.max(x.add(i).read());
                i += 1;
            }
            let mut sum = s.splat(0.0);
            let shift = s.splat(largest);
            let mut total = 0.0;
            i = 0;
            while i < n {
                let count = S::LANES.min(n - i);
                let e = math::exp(s, s.sub(s.load_first(x.add(i), count), shift));
                s.store_first(y.add(i), count, e);
                if count == S::LANES {
                    sum = s.add(sum, e);
                } else {
                    for k in i..n {
                        total += y.add(k).read();
                    }
                }
                i += count;
            }
            lanes = [0.0; 16];
            s.store(lanes.as_mut_ptr(), sum);
            total += lanes.iter().sum::<f32>();
            let scale = s.splat(1.0 / total);
            i = 0;
            while i < n {
                let count = S::LANES.min(n - i);
                let v = s.mul(s.load_first(y.add(i), count), scale);
                s.store_first(y.add(i), count, v);
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
            let mut largest = s.splat(f32::NEG_INFINITY);
            for k in 0..n {
                largest = s.max(s.load_first(x.add(k * step), count), largest);
            }
            let mut sum = s.splat(0.0);
            for k in 0..n {
                let v = s.sub(s.load_first(x.add(k * step), count), largest);
                let e = math::exp(s, v);
                s.store_first(y.add(k * step), count, e);
                sum = s.add(sum, e);
            }
            for k in 0..n {
                let v = s.div(s.load_first(y.add(k * step), count), sum);
                s.store_first(y.add(k * step), count, v);
            }
        }
    }
}

/// Softmax of `x` `[…, n, inner]` along the axis of `n` elements.
///
/// # Panics
/// If the slices differ in length.
pub fn softmax(context: &Context, n: usize, inner: usize, x: Source<'_>, y: &mut [f32]) {
    assert_eq!(y.len() % (n * inner), 0, "whole axes");
    let y = Shared::new(y);
    let x = x.pointer(&y);
    along(context, Softmax, Axis { n, inner }, x, &y);
}
