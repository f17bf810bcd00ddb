//! The instruction set of every CPU: four elements in an array, which the compiler turns into the
//! baseline's vectors (SSE2, NEON).

use super::{Simd, Task};

/// The token for plain code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Scalar;

const LANES: usize = 4;

#[inline(always)]
fn map(a: [f32; LANES], f: impl Fn(f32) -> f32) -> [f32; LANES] {
    [f(a[0]), f(a[1]), f(a[2]), f(a[3])]
}

#[inline(always)]
fn zip(a: [f32; LANES], b: [f32; LANES], f: impl Fn(f32, f32) -> f32) -> [f32; LANES] {
    [f(a[0], b[0]), f(a[1], b[1]), f(a[2], b[2]), f(a[3], b[3])]
}

/// `a * b + c`. Without an instruction for it, `f32::mul_add` would be a call into the C library.
#[inline(always)]
fn mul_add(a: f32, b: f32, c: f32) -> f32 {
    if cfg!(any(target_arch = "aarch64", target_feature = "fma")) {
        a.mul_add(b, c)
    } else {
        a * b + c
    }
}

impl Simd for Scalar {
    type V = [f32; LANES];
    type Mask = [bool; LANES];
    const LANES: usize = LANES;
    // AArch64 has 32 registers, the others 16.
    const ROWS: usize = if cfg!(target_arch = "aarch64") { 8 } else { 6 };
    const COLUMNS: usize = if cfg!(target_arch = "aarch64") { 3 } else { 2 };
    const REGISTERS: usize = if cfg!(target_arch = "aarch64") {
        32
    } else {
        16
    };

    /// A function of its own, as with the other sets: within their callers, tiles would be compiled once for
    /// each call.
    #[inline(never)]
    fn vectorize<T: Task>(self, task: T) -> T::Output {
        task.run(self)
    }

    #[inline(always)]
    fn splat(self, x: f32) -> Self::V {
        [x; LANES]
    }

    #[inline(always)]
    unsafe fn load(self, p: *const f32) -> Self::V {
        // SAFETY: the caller vouches for LANES readable elements; arrays align like elements.
        unsafe { p.cast::<Self::V>().read() }
    }

    #[inline(always)]
    unsafe fn store(self, p: *mut f32, v: Self::V) {
        // SAFETY: the caller vouches for LANES writable elements; arrays align like elements.
        unsafe { p.cast::<Self::V>().write(v) }
    }

    #[inline(always)]
    unsafe fn stream(self, p: *mut f32, v: Self::V) {
        // SAFETY: as this function's.
        unsafe { self.store(p, v) }
    }

    #[inline(always)]
    fn fence(self) {}

    #[inline(always)]
    unsafe fn load_first(self, p: *const f32, n: usize) -> Self::V {
        let mut v = [0.0; LANES];
        for (i, v) in v.iter_mut().enumerate().take(n) {
            // SAFETY: i < n, and the caller vouches for n readable elements.
            *v = unsafe { p.add(i).read() };
        }
        v
    }

    #[inline(always)]
    fn mask(self, from: usize, to: usize) -> Self::Mask {
        std::array::from_fn(|i| i >= from && i < to)
    }

    #[inline(always)]
    unsafe fn load_masked(self, p: *const f32, mask: Self::Mask) -> Self::V {
        std::array::from_fn(|i| match mask[i] {
            // SAFETY: the caller vouches for the elements of the mask.
            true => unsafe { p.wrapping_add(i).read() },
            false => 0.0,
        })
    }

    #[inline(always)]
    fn blend(self, mask: Self::Mask, a: Self::V, b: Self::V) -> Self::V {
        std::array::from_fn(|i| if mask[i] { a[i] } else { b[i] })
    }

    #[inline(always)]
    unsafe fn store_first(self, p: *mut f32, n: usize, v: Self::V) {
        for (i, v) in v.iter().enumerate().take(n) {
            // SAFETY: i < n, and the caller vouches for n writable elements.
            unsafe { p.add(i).write(*v) };
        }
    }

    #[inline(always)]
    fn add(self, a: Self::V, b: Self::V) -> Self::V {
        zip(a, b, |a, b| a + b)
    }

    #[inline(always)]
    fn sub(self, a: Self::V, b: Self::V) -> Self::V {
        zip(a, b, |a, b| a - b)
    }

    #[inline(always)]
    fn mul(self, a: Self::V, b: Self::V) -> Self::V {
        zip(a, b, |a, b| a * b)
    }

    #[inline(always)]
    fn div(self, a: Self::V, b: Self::V) -> Self::V {
        zip(a, b, |a, b| a / b)
    }

    #[inline(always)]
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        [
            mul_add(a[0], b[0], c[0]),
            mul_add(a[1], b[1], c[1]),
            mul_add(a[2], b[2], c[2]),
            mul_add(a[3], b[3], c[3]),
        ]
    }

    #[inline(always)]
    fn min(self, a: Self::V, b: Self::V) -> Self::V {
        zip(a, b, |a, b| if a < b { a } else { b })
    }

    #[inline(always)]
    fn max(self, a: Self::V, b: Self::V) -> Self::V {
        zip(a, b, |a, b| if a > b { a } else { b })
    }

    #[inline(always)]
    fn sqrt(self, a: Self::V) -> Self::V {
        map(a, f32::sqrt)
    }

    #[inline(always)]
    fn abs(self, a: Self::V) -> Self::V {
        map(a, f32::abs)
    }

    #[inline(always)]
    fn copysign(self, a: Self::V, b: Self::V) -> Self::V {
        zip(a, b, f32::copysign)
    }

    #[inline(always)]
    fn round(self, a: Self::V) -> Self::V {
        // Adding and taking away 1.5 * 2^23 leaves the nearest integer, ties to even, without a
        // call; exact below 2^22, beyond which kernels do not go.
        const MAGIC: f32 = 12_582_912.0;
        map(a, |a| (a + MAGIC) - MAGIC)
    }

    #[inline(always)]
    fn exp2_int(self, n: Self::V) -> Self::V {
        map(n, |n| f32::from_bits(((n as i32 + 127) as u32) << 23))
    }

    #[inline(always)]
    fn select_less(self, a: Self::V, b: Self::V, x: Self::V, y: Self::V) -> Self::V {
        let pick = |i: usize| if a[i] < b[i] { x[i] } else { y[i] };
        [pick(0), pick(1), pick(2), pick(3)]
    }

    #[inline(always)]
    fn all_less(self, a: Self::V, b: Self::V) -> bool {
        (a[0] < b[0]) & (a[1] < b[1]) & (a[2] < b[2]) & (a[3] < b[3])
    }

    #[inline(always)]
    unsafe fn lookup(self, low: Self::V, high: Self::V, index: *const i32) -> Self::V {
        let mut out = [0.0; LANES];
        for (i, out) in out.iter_mut().enumerate() {
            // SAFETY: the caller vouches for LANES readable indices.
            let k = unsafe { index.add(i).read() } as usize;
            *out = if k < LANES { low[k] } else { high[k - LANES] };
        }
        out
    }

    #[inline(always)]
    fn part(self, low: Self::V, high: Self::V) -> [Self::V; 2] {
        [
            [low[0], low[2], high[0], high[2]],
            [low[1], low[3], high[1], high[3]],
        ]
    }

    #[inline(always)]
    fn mend(self, v: Self::V) -> Self::V {
        v
    }

    #[inline(always)]
    fn transpose(self, [a, b, c, d]: [Self::V; 4]) -> [Self::V; 4] {
        [
            [a[0], b[0], c[0], d[0]],
            [a[1], b[1], c[1], d[1]],
            [a[2], b[2], c[2], d[2]],
            [a[3], b[3], c[3], d[3]],
        ]
    }
}
