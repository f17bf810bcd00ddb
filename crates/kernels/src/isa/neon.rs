//! NEON: 32 registers of 4 elements, on every AArch64 CPU.

use std::arch::aarch64::*;
use std::arch::is_aarch64_feature_detected;

use super::{Simd, Task};

/// The token for NEON: made only on a CPU that has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Neon(());

impl Neon {
    pub(crate) fn new() -> Option<Self> {
        is_aarch64_feature_detected!("neon").then_some(Neon(()))
    }
}

/// The one place where these instructions are switched on.
///
/// # Safety
/// The CPU must have the feature named.
#[target_feature(enable = "neon")]
unsafe fn featured<T: Task>(token: Neon, task: T) -> T::Output {
    task.run(token)
}

const LANES: usize = 4;

static POSITIONS: [u32; LANES] = [0, 1, 2, 3];

// SAFETY of every block below: the token proves that the CPU has the instruction; where a pointer
// is read or written, the trait's contract vouches for it.
impl Simd for Neon {
    type V = float32x4_t;
    type Mask = uint32x4_t;
    const LANES: usize = LANES;
    const ROWS: usize = 8;
    const COLUMNS: usize = 3;
    const REGISTERS: usize = 32;

    #[inline(always)]
    fn vectorize<T: Task>(self, task: T) -> T::Output {
        // SAFETY: the token proves the feature.
        unsafe { featured(self, task) }
    }

    #[inline(always)]
    fn splat(self, x: f32) -> Self::V {
        // SAFETY: see above.
        unsafe { vdupq_n_f32(x) }
    }

    #[inline(always)]
    unsafe fn load(self, p: *const f32) -> Self::V {
        // SAFETY: see above.
        unsafe { vld1q_f32(p) }
    }

    #[inline(always)]
    unsafe fn store(self, p: *mut f32, v: Self::V) {
        // SAFETY: see above.
        unsafe { vst1q_f32(p, v) }
    }

    // No instruction that this compiler offers writes past the caches.
    #[inline(always)]
    unsafe fn stream(self, p: *mut f32, v: Self::V) {
        // SAFETY: as this function's.
        unsafe { self.store(p, v) }
    }

    #[inline(always)]
    fn fence(self) {}

    #[inline(always)]
    unsafe fn load_first(self, p: *const f32, n: usize) -> Self::V {
        if n == LANES {
            // SAFETY: see above.
            return unsafe { vld1q_f32(p) };
        }
        let mut v = [0.0; LANES];
        for (i, v) in v.iter_mut().enumerate().take(n) {
            // SAFETY: i < n, and the caller vouches for n readable elements.
            *v = unsafe { p.add(i).read() };
        }
        // SAFETY: see above; the array is a register long.
        unsafe { vld1q_f32(v.as_ptr()) }
    }

    #[inline(always)]
    fn mask(self, from: usize, to: usize) -> Self::Mask {
        let bound = |n: usize| n.min(LANES) as u32;
        // SAFETY: see above; the positions are a register long.
        unsafe {
            let positions = vld1q_u32(POSITIONS.as_ptr());
            vandq_u32(
                vcgeq_u32(positions, vdupq_n_u32(bound(from))),
                vcltq_u32(positions, vdupq_n_u32(bound(to))),
            )
        }
    }

    #[inline(always)]
    unsafe fn load_masked(self, p: *const f32, mask: Self::Mask) -> Self::V {
        let mut wanted = [0u32; LANES];
        // SAFETY: see above; the array is a register long.
        unsafe { vst1q_u32(wanted.as_mut_ptr(), mask) };
        if wanted.iter().all(|&w| w != 0) {
            // SAFETY: see above; the mask names all elements.
            return unsafe { vld1q_f32(p) };
        }
        let mut v = [0.0; LANES];
        for (i, (v, wanted)) in v.iter_mut().zip(wanted).enumerate() {
            if wanted != 0 {
                // SAFETY: the caller vouches for the elements of the mask.
                *v = unsafe { p.wrapping_add(i).read() };
            }
        }
        // SAFETY: see above; the array is a register long.
        unsafe { vld1q_f32(v.as_ptr()) }
    }

    #[inline(always)]
    fn blend(self, mask: Self::Mask, a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: see above.
        unsafe { vbslq_f32(mask, a, b) }
    }

    #[inline(always)]
    unsafe fn store_first(self, p: *mut f32, n: usize, v: Self::V) {
        if n == LANES {
            // SAFETY: see above.
            return unsafe { vst1q_f32(p, v) };
        }
        let mut elements = [0.0; LANES];
        // SAFETY: see above; the array is a register long.
        unsafe { vst1q_f32(elements.as_mut_ptr(), v) };
        for (i, element) in elements.iter().enumerate().take(n) {
            // SAFETY: i < n, and the caller vouches for n writable elements.
            unsafe { p.add(i).write(*element) };
        }
    }

    #[inline(always)]
    fn add(self, a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: see above.
        unsafe { vaddq_f32(a, b) }
    }

    #[inline(always)]
    fn sub(self, a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: see above.
        unsafe { vsubq_f32(a, b) }
    }

    #[inline(always)]
    fn mul(self, a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: see above.
        unsafe { vmulq_f32(a, b) }
    }

    #[inline(always)]
    fn div(self, a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: see above.
        unsafe { vdivq_f32(a, b) }
    }

    #[inline(always)]
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        // SAFETY: see above.
        unsafe { vfmaq_f32(c, a, b) }
    }

    // NEON's own minimum and maximum are NaN where either operand is.
    #[inline(always)]
    fn min(self, a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: see above.
        unsafe { vbslq_f32(vcltq_f32(a, b), a, b) }
    }

    #[inline(always)]
    fn max(self, a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: see above.
        unsafe { vbslq_f32(vcgtq_f32(a, b), a, b) }
    }

    #[inline(always)]
    fn sqrt(self, a: Self::V) -> Self::V {
        // SAFETY: see above.
        unsafe { vsqrtq_f32(a) }
    }

    #[inline(always)]
    fn abs(self, a: Self::V) -> Self::V {
        // SAFETY: see above.
        unsafe { vabsq_f32(a) }
    }

    #[inline(always)]
    fn copysign(self, a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: see above.
        unsafe { vbslq_f32(vdupq_n_u32(1 << 31), b, a) }
    }

    #[inline(always)]
    fn round(self, a: Self::V) -> Self::V {
        // SAFETY: see above.
        unsafe { vrndnq_f32(a) }
    }

    #[inline(always)]
    fn exp2_int(self, n: Self::V) -> Self::V {
        // SAFETY: see above.
        unsafe {
            let biased = vaddq_s32(vcvtq_s32_f32(n), vdupq_n_s32(127));
            vreinterpretq_f32_s32(vshlq_n_s32::<23>(biased))
        }
    }

    #[inline(always)]
    fn select_less(self, a: Self::V, b: Self::V, x: Self::V, y: Self::V) -> Self::V {
        // SAFETY: see above.
        unsafe { vbslq_f32(vcltq_f32(a, b), x, y) }
    }

    #[inline(always)]
    fn all_less(self, a: Self::V, b: Self::V) -> bool {
        // SAFETY: see above.
        unsafe { vminvq_u32(vcltq_f32(a, b)) != 0 }
    }

    #[inline(always)]
    unsafe fn lookup(self, low: Self::V, high: Self::V, index: *const i32) -> Self::V {
        // SAFETY: see above.
        unsafe {
            // The table is one of bytes: element k is bytes 4 k to 4 k + 3.
            let index = vld1q_u32(index.cast());
            let first = vmulq_u32(index, vdupq_n_u32(0x0404_0404));
            let bytes = vaddq_u32(first, vdupq_n_u32(0x0302_0100));
            let table = uint8x16x2_t(vreinterpretq_u8_f32(low), vreinterpretq_u8_f32(high));
            vreinterpretq_f32_u8(vqtbl2q_u8(table, vreinterpretq_u8_u32(bytes)))
        }
    }

    #[inline(always)]
    fn part(self, low: Self::V, high: Self::V) -> [Self::V; 2] {
        // SAFETY: see above.
        unsafe { [vuzp1q_f32(low, high), vuzp2q_f32(low, high)] }
    }

    #[inline(always)]
    fn mend(self, v: Self::V) -> Self::V {
        v
    }

    #[inline(always)]
    fn transpose(self, [a, b, c, d]: [Self::V; 4]) -> [Self::V; 4] {
        // SAFETY: see above.
        unsafe {
            let (ab, cd) = (vtrnq_f32(a, b), vtrnq_f32(c, d));
            let low = |x, y| vcombine_f32(vget_low_f32(x), vget_low_f32(y));
            let high = |x, y| vcombine_f32(vget_high_f32(x), vget_high_f32(y));
            [
                low(ab.0, cd.0),
                low(ab.1, cd.1),
                high(ab.0, cd.0),
                high(ab.1, cd.1),
            ]
        }
    }
}
