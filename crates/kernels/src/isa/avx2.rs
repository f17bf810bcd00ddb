//! AVX2 with FMA: 16 registers of 8 elements.

use std::arch::x86_64::*;

use super::{Simd, Task};

/// The token for AVX2 with FMA: made only on a CPU that has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Avx2(());

impl Avx2 {
    pub(crate) fn new() -> Option<Self> {
        let present = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        present.then_some(Avx2(()))
    }
}

/// The one place where these instructions are switched on.
///
/// # Safety
/// The CPU must have the features named.
#[target_feature(enable = "avx2,fma")]
unsafe fn featured<T: Task>(token: Avx2, task: T) -> T::Output {
    task.run(token)
}

const LANES: usize = 8;

/// Eight set lanes, then eight clear ones: a load at `LANES - n` is the mask of the first `n`.
static MASK: [i32; 2 * LANES] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];

/// # Safety
/// The CPU must have AVX2, and `n <= LANES`.
#[inline(always)]
unsafe fn first(n: usize) -> __m256i {
    // SAFETY: the eight elements from LANES - n on lie in the table for every n <= LANES.
    unsafe { _mm256_loadu_si256(MASK.as_ptr().add(LANES - n).cast()) }
}

// SAFETY of every block below: the token proves that the CPU has the instruction; where a pointer
// is read or written, the trait's contract vouches for it.
impl Simd for Avx2 {
    type V = __m256;
    type Mask = __m256i;
    const LANES: usize = LANES;
    // 4 × 3 would load less, but leaves no register over and is compiled to spills: half as fast.
    const ROWS: usize = 6;
    const COLUMNS: usize = 2;
    const REGISTERS: usize = 16;

    #[inline(always)]
    fn vectorize<T: Task>(self, task: T) -> T::Output {
        // SAFETY: the token proves the features.
        unsafe { featured(self, task) }
    }

    #[inline(always)]
    fn splat(self, x: f32) -> Self::V {
        // SAFETY: see above.
        unsafe { _mm256_set1_ps(x) }
    }

    #[inline(always)]
    unsafe fn load(self, p: *const f32) -> Self::V {
        // SAFETY: see above.
        unsafe { _mm256_loadu_ps(p) }
    }

    #[inline(always)]
    unsafe fn store(self, p: *mut f32, v: Self::V) {
        // SAFETY: see above.
        unsafe { _mm256_storeu_ps(p, v) }
    }

    #[inline(always)]
    unsafe fn stream(self, p: *mut f32, v: Self::V) {
        // SAFETY: see above; a fence follows.
        unsafe { _mm256_stream_ps(p, v) }
    }

    #[inline(always)]
    fn fence(self) {
        // SAFETY: every x86-64 CPU has it.
        unsafe { _mm_sfence() }
    }

    #[inline(always)]
    unsafe fn load_first(self, p: *const f32, n: usize) -> Self::V {
        if n == LANES {
            // SAFETY: see above.
            return unsafe { _mm256_loadu_ps(p) };
        }
        // SAFETY: see above; masked elements are not touched.
        unsafe { _mm256_maskload_ps(p, first(n)) }
    }

    #[inline(always)]
    fn mask(self, from: usize, to: usize) -> Self::Mask {
        // SAFETY: see above; neither count is above LANES.
        unsafe { _mm256_andnot_si256(first(from.min(LANES)), first(to.min(LANES))) }
    }

    #[inline(always)]
    unsafe fn load_masked(self, p: *const f32, mask: Self::Mask) -> Self::V {
        // SAFETY: see above; masked elements are not touched.
        unsafe { _mm256_maskload_ps(p, mask) }
    }

    #[inline(always)]
    fn blend(self, mask: Self::Mask, a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: see above.
        unsafe { _mm256_blendv_ps(b, a, _mm256_castsi256_ps(mask)) }
    }

    #[inline(always)]
    unsafe fn store_first(self, p: *mut f32, n: usize, v: Self::V) {
        // A masked store takes tens of cycles on AMD's cores, so whole registers go without.
        if n == LANES {
            // SAFETY: see above.
            return unsafe { _mm256_storeu_ps(p, v) };
        }
        // SAFETY: see above; masked elements are not touched.
        unsafe { _mm256_maskstore_ps(p, first(n), v) }
    }

    #[inline(always)]
    fn prefetch(self, p: *const f32) {
        // SAFETY: see above; a prefetch takes any address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(p.cast()) }
    }

    #[inline(always)]
    fn prefetch_to_write(self, p: *const f32) {
        super::prefetch_to_write(p);
    }

    #[inline(always)]
    fn add(self, a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: see above.
        unsafe { _mm256_add_ps(a, b) }
    }

    #[inline(always)]
    fn sub(self, a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: see above.
        unsafe { _mm256_sub_ps(a, b) }
    }

    #[inline(always)]
    fn mul(self, a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: see above.
        unsafe { _mm256_mul_ps(a, b) }
    }

    #[inline(always)]
    fn div(self, a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: see above.
        unsafe { _mm256_div_ps(a, b) }
    }

    #[inline(always)]
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        // SAFETY: see above.
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn min(self, a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: see above.
        unsafe { _mm256_min_ps(a, b) }
    }

    #[inline(always)]
    fn max(self, a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: see above.
        unsafe { _mm256_max_ps(a, b) }
    }

    #[inline(always)]
    fn sqrt(self, a: Self::V) -> Self::V {
        // SAFETY: see above.
        unsafe { _mm256_sqrt_ps(a) }
    }

    #[inline(always)]
    fn abs(self, a: Self::V) -> Self::V {
        // SAFETY: see above.
        unsafe { _mm256_andnot_ps(_mm256_set1_ps(-0.0), a) }
    }

    #[inline(always)]
    fn copysign(self, a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: see above.
        unsafe {
            let sign = _mm256_set1_ps(-0.0);
            _mm256_or_ps(_mm256_andnot_ps(sign, a), _mm256_and_ps(sign, b))
        }
    }

    #[inline(always)]
    fn round(self, a: Self::V) -> Self::V {
        // SAFETY: see above.
        unsafe { _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a) }
    }

    #[inline(always)]
    fn exp2_int(self, n: Self::V) -> Self::V {
        // SAFETY: see above.
        unsafe {
            let biased = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
            _mm256_castsi256_ps(_mm256_slli_epi32::<23>(biased))
        }
    }

    #[inline(always)]
    fn select_less(self, a: Self::V, b: Self::V, x: Self::V, y: Self::V) -> Self::V {
        // SAFETY: see above.
        unsafe { _mm256_blendv_ps(y, x, _mm256_cmp_ps::<_CMP_LT_OQ>(a, b)) }
    }

    #[inline(always)]
    fn all_less(self, a: Self::V, b: Self::V) -> bool {
        // SAFETY: see above.
        unsafe { _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_LT_OQ>(a, b)) == 0xff }
    }

    #[inline(always)]
    unsafe fn lookup(self, low: Self::V, high: Self::V, index: *const i32) -> Self::V {
        // SAFETY: see above.
        unsafe {
            let index = _mm256_loadu_si256(index.cast());
            // Bit 3 of an index says which register; moved to the sign it steers the blend.
            let upper = _mm256_castsi256_ps(_mm256_slli_epi32::<28>(index));
            _mm256_blendv_ps(
                _mm256_permutevar8x32_ps(low, index),
                _mm256_permutevar8x32_ps(high, index),
                upper,
            )
        }
    }

    #[inline(always)]
    fn part(self, low: Self::V, high: Self::V) -> [Self::V; 2] {
        // SAFETY: see above.
        unsafe {
            [
                _mm256_shuffle_ps::<0b10_00_10_00>(low, high),
                _mm256_shuffle_ps::<0b11_01_11_01>(low, high),
            ]
        }
    }

    #[inline(always)]
    fn mend(self, v: Self::V) -> Self::V {
        // The halves of registers were parted each for itself: pairs 0 and 2 are of the low register.
        // SAFETY: see above.
        unsafe {
            let pairs = _mm256_permute4x64_pd::<0b11_01_10_00>(_mm256_castps_pd(v));
            _mm256_castpd_ps(pairs)
        }
    }

    #[inline(always)]
    fn transpose(self, [a, b, c, d]: [Self::V; 4]) -> [Self::V; 4] {
        // SAFETY: see above.
        unsafe {
            let (ab, cd) = (_mm256_unpacklo_ps(a, b), _mm256_unpacklo_ps(c, d));
            let (ab_high, cd_high) = (_mm256_unpackhi_ps(a, b), _mm256_unpackhi_ps(c, d));
            [
                _mm256_shuffle_ps::<0b01_00_01_00>(ab, cd),
                _mm256_shuffle_ps::<0b11_10_11_10>(ab, cd),
                _mm256_shuffle_ps::<0b01_00_01_00>(ab_high, cd_high),
                _mm256_shuffle_ps::<0b11_10_11_10>(ab_high, cd_high),
            ]
        }
    }
}
