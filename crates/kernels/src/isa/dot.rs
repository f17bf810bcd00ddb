//! Products of small numbers, several to a lane: what 8-bit integers and bf16 are summed with.
//!
//! A register holds a 32-bit word in each lane, and a word holds neighbouring *channels* of one pixel:
//! four u8, or two bf16. One instruction multiplies the channels of every word with those of a weight and
//! adds the products to the lane's sum. All registers are of the type of the plain operations; what is
//! in them is said by the operation.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

#[cfg(target_arch = "x86_64")]
use super::{Avx2, Avx512, Token};
use super::{Isa, Scalar, Simd};

/// An instruction set's products of words. An implementor is a token, as for [`Simd`].
pub(crate) trait Dot: Copy + Send + Sync + 'static {
    /// The instruction set's other operations.
    type S: Simd<V = Self::V>;
    /// One register.
    type V: Copy;
    /// Rows and registers of columns of the tile: 8 × 3 sums of 32 registers. Of 16 registers,
    /// 4 × 2 leave room for what products of bytes are unpacked to.
    const DOT_ROWS: usize;
    const DOT_COLUMNS: usize;

    /// The token of the other operations.
    fn plain(self) -> Self::S;
    /// Runs `task` compiled for this instruction set.
    fn compiled<T: DotTask>(self, task: T);
    /// `sum + Σ x[i] · w[i]` over four u8 `x` and i8 `w`, in i32, exact.
    fn dot4(self, sum: Self::V, x: Self::V, w: Self::V) -> Self::V;
    /// `sum + Σ x[i] · w[i]` over two bf16, in f32.
    fn dot2(self, sum: Self::V, x: Self::V, w: Self::V) -> Self::V;
    /// i32 as f32.
    fn to_float(self, v: Self::V) -> Self::V;
    /// Words of four f32 from 0 to 255, rounded to whole numbers, ties to even.
    fn pack4(self, channels: [Self::V; 4]) -> Self::V;
    /// Channel `i` of words of u8, as f32.
    fn unpack4(self, v: Self::V, i: usize) -> Self::V;
    /// Words of two f32, rounded to the nearest bf16, ties to even.
    fn pack2(self, channels: [Self::V; 2]) -> Self::V;
    /// Channel `i` of words of bf16, as f32.
    fn unpack2(self, v: Self::V, i: usize) -> Self::V;
}

/// Code to be compiled for each instruction set. `run` must be `#[inline(always)]`.
pub(crate) trait DotTask {
    fn run<D: Dot>(self, d: D);
}

/// The nearest bf16, ties to even, in the upper half of an f32's bits; a NaN stays one.
#[inline(always)]
pub(crate) fn to_bf16(x: f32) -> u32 {
    let bits = x.to_bits();
    match x.is_nan() {
        true => (bits | 0x0040_0000) & 0xffff_0000,
        false => bits.wrapping_add(0x7fff + (bits >> 16 & 1)) & 0xffff_0000,
    }
}

#[inline(always)]
fn word(x: f32) -> u32 {
    x.to_bits()
}

impl Dot for Scalar {
    type S = Scalar;
    type V = <Scalar as Simd>::V;
    const DOT_ROWS: usize = 4;
    const DOT_COLUMNS: usize = 2;

    #[inline(always)]
    fn plain(self) -> Scalar {
        self
    }

    #[inline(never)]
    fn compiled<T: DotTask>(self, task: T) {
        task.run(self);
    }

    #[inline(always)]
    fn dot4(self, sum: Self::V, x: Self::V, w: Self::V) -> Self::V {
        std::array::from_fn(|lane| {
            let (x, w) = (word(x[lane]).to_le_bytes(), word(w[lane]).to_le_bytes());
            let products = x
                .into_iter()
                .zip(w)
                .map(|(x, w)| i32::from(x) * i32::from(w as i8));
            let sum = (word(sum[lane]) as i32).wrapping_add(products.sum());
            f32::from_bits(sum as u32)
        })
    }

    #[inline(always)]
    fn dot2(self, sum: Self::V, x: Self::V, w: Self::V) -> Self::V {
        let product = |i: usize| self.mul(self.unpack2(x, i), self.unpack2(w, i));
        self.add(self.add(sum, product(0)), product(1))
    }

    #[inline(always)]
    fn to_float(self, v: Self::V) -> Self::V {
        v.map(|v| word(v) as i32 as f32)
    }

    #[inline(always)]
    fn pack4(self, channels: [Self::V; 4]) -> Self::V {
        std::array::from_fn(|lane| {
            let bytes = channels.map(|c| c[lane].round_ties_even() as u8);
            f32::from_bits(u32::from_le_bytes(bytes))
        })
    }

    #[inline(always)]
    fn unpack4(self, v: Self::V, i: usize) -> Self::V {
        v.map(|v| f32::from((word(v) >> (8 * i)) as u8))
    }

    #[inline(always)]
    fn pack2(self, channels: [Self::V; 2]) -> Self::V {
        std::array::from_fn(|lane| {
            let [low, high] = channels.map(|c| to_bf16(c[lane]));
            f32::from_bits(low >> 16 | high)
        })
    }

    #[inline(always)]
    fn unpack2(self, v: Self::V, i: usize) -> Self::V {
        v.map(|v| match i {
            0 => f32::from_bits(word(v) << 16),
            _ => f32::from_bits(word(v) & 0xffff_0000),
        })
    }
}

/// [`to_bf16`] of a register; the lower halves are of any bits. (No closure: one that is handed to
/// `map` is compiled without the instruction set.)
///
/// # Safety
/// The CPU must have AVX2.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn bf16_in_256(v: __m256) -> __m256i {
    // SAFETY: as this function's.
    unsafe {
        let bits = _mm256_castps_si256(v);
        let odd = _mm256_and_si256(_mm256_srli_epi32::<16>(bits), _mm256_set1_epi32(1));
        let near = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
        let nan = _mm256_or_si256(bits, _mm256_set1_epi32(0x0040_0000));
        let (near, nan) = (_mm256_castsi256_ps(near), _mm256_castsi256_ps(nan));
        _mm256_castps_si256(_mm256_blendv_ps(
            near,
            nan,
            _mm256_cmp_ps::<_CMP_UNORD_Q>(v, v),
        ))
    }
}

/// The same in 16 lanes.
///
/// # Safety
/// The CPU must have AVX-512.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn bf16_in_512(v: __m512) -> __m512i {
    // SAFETY: as this function's.
    unsafe {
        let bits = _mm512_castps_si512(v);
        let odd = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
        let near = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
        let is_nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(v, v);
        _mm512_mask_or_epi32(near, is_nan, bits, _mm512_set1_epi32(0x0040_0000))
    }
}

// SAFETY of every block below: the token proves that the CPU has the instruction.
#[cfg(target_arch = "x86_64")]
impl Dot for Avx2 {
    type S = Avx2;
    type V = <Avx2 as Simd>::V;
    const DOT_ROWS: usize = 4;
    const DOT_COLUMNS: usize = 2;

    #[inline(always)]
    fn plain(self) -> Avx2 {
        self
    }

    #[inline(always)]
    fn compiled<T: DotTask>(self, task: T) {
        /// # Safety
        /// The CPU must have the features named.
        #[target_feature(enable = "avx2,fma")]
        unsafe fn featured<T: DotTask>(token: Avx2, task: T) {
            task.run(token);
        }
        // SAFETY: see above.
        unsafe { featured(self, task) }
    }

    /// In 16-bit halves: `vpmaddubsw` would need one instruction less, but cuts a sum of two products
    /// to 16 bits, which weights of 8 bits exceed.
    #[inline(always)]
    fn dot4(self, sum: Self::V, x: Self::V, w: Self::V) -> Self::V {
        // SAFETY: see above.
        unsafe {
            let (x, w) = (_mm256_castps_si256(x), _mm256_castps_si256(w));
            let even = _mm256_and_si256(x, _mm256_set1_epi16(0xff));
            let odd = _mm256_srli_epi16::<8>(x);
            let even_w = _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(w));
            let odd_w = _mm256_srai_epi16::<8>(w);
            let products = _mm256_add_epi32(
                _mm256_madd_epi16(even, even_w),
                _mm256_madd_epi16(odd, odd_w),
            );
            _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(sum), products))
        }
    }

    #[inline(always)]
    fn dot2(self, sum: Self::V, x: Self::V, w: Self::V) -> Self::V {
        let sum = self.fma(self.unpack2(x, 0), self.unpack2(w, 0), sum);
        self.fma(self.unpack2(x, 1), self.unpack2(w, 1), sum)
    }

    #[inline(always)]
    fn to_float(self, v: Self::V) -> Self::V {
        // SAFETY: see above.
        unsafe { _mm256_cvtepi32_ps(_mm256_castps_si256(v)) }
    }

    #[inline(always)]
    fn pack4(self, channels: [Self::V; 4]) -> Self::V {
        // SAFETY: see above.
        unsafe {
            let [a, b, c, d] = channels;
            let (a, b) = (_mm256_cvtps_epi32(a), _mm256_cvtps_epi32(b));
            let (c, d) = (_mm256_cvtps_epi32(c), _mm256_cvtps_epi32(d));
            let low = _mm256_or_si256(a, _mm256_slli_epi32::<8>(b));
            let high = _mm256_or_si256(_mm256_slli_epi32::<16>(c), _mm256_slli_epi32::<24>(d));
            _mm256_castsi256_ps(_mm256_or_si256(low, high))
        }
    }

    #[inline(always)]
    fn unpack4(self, v: Self::V, i: usize) -> Self::V {
        // SAFETY: see above.
        unsafe {
            let shift = _mm_cvtsi32_si128(8 * i as i32);
            let v = _mm256_srl_epi32(_mm256_castps_si256(v), shift);
            _mm256_cvtepi32_ps(_mm256_and_si256(v, _mm256_set1_epi32(0xff)))
        }
    }

    #[inline(always)]
    fn pack2(self, channels: [Self::V; 2]) -> Self::V {
        // SAFETY: see above.
        unsafe {
            let (low, high) = (bf16_in_256(channels[0]), bf16_in_256(channels[1]));
            let high = _mm256_and_si256(high, _mm256_set1_epi32(0xffff_0000u32 as i32));
            _mm256_castsi256_ps(_mm256_or_si256(_mm256_srli_epi32::<16>(low), high))
        }
    }

    #[inline(always)]
    fn unpack2(self, v: Self::V, i: usize) -> Self::V {
        // SAFETY: see above.
        unsafe {
            let v = _mm256_castps_si256(v);
            _mm256_castsi256_ps(match i {
                0 => _mm256_slli_epi32::<16>(v),
                _ => _mm256_and_si256(v, _mm256_set1_epi32(0xffff_0000u32 as i32)),
            })
        }
    }
}

/// The token for AVX-512 with VNNI and, where `BF16` says so, products of bf16.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
pub(crate) struct Avx512Dot<const BF16: bool>(Avx512);

#[cfg(target_arch = "x86_64")]
impl<const BF16: bool> Avx512Dot<BF16> {
    pub(crate) fn new(plain: Avx512) -> Option<Self> {
        let present = is_x86_feature_detected!("avx512vnni")
            && (!BF16 || is_x86_feature_detected!("avx512bf16"));
        present.then_some(Avx512Dot(plain))
    }
}

// SAFETY of every block below: the token proves that the CPU has the instruction.
#[cfg(target_arch = "x86_64")]
impl<const BF16: bool> Dot for Avx512Dot<BF16> {
    type S = Avx512;
    type V = <Avx512 as Simd>::V;
    const DOT_ROWS: usize = 8;
    const DOT_COLUMNS: usize = 3;

    #[inline(always)]
    fn plain(self) -> Avx512 {
        self.0
    }

    #[inline(always)]
    fn compiled<T: DotTask>(self, task: T) {
        /// # Safety
        /// The CPU must have the features named.
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")]
        unsafe fn bytes<T: DotTask>(token: Avx512Dot<false>, task: T) {
            task.run(token);
        }
        /// # Safety
        /// The CPU must have the features named.
        #[target_feature(
            enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512bf16,avx2,fma"
        )]
        unsafe fn both<T: DotTask>(token: Avx512Dot<true>, task: T) {
            task.run(token);
        }
        match BF16 {
            // SAFETY: see above.
            true => unsafe { both(Avx512Dot(self.0), task) },
            // SAFETY: see above.
            false => unsafe { bytes(Avx512Dot(self.0), task) },
        }
    }

    #[inline(always)]
    fn dot4(self, sum: Self::V, x: Self::V, w: Self::V) -> Self::V {
        // SAFETY: see above.
        unsafe {
            let (x, w) = (_mm512_castps_si512(x), _mm512_castps_si512(w));
            _mm512_castsi512_ps(_mm512_dpbusd_epi32(_mm512_castps_si512(sum), x, w))
        }
    }

    #[inline(always)]
    fn dot2(self, sum: Self::V, x: Self::V, w: Self::V) -> Self::V {
        if BF16 {
            // SAFETY: see above; any bits are bf16.
            return unsafe {
                let x = std::mem::transmute::<__m512, __m512bh>(x);
                _mm512_dpbf16_ps(sum, x, std::mem::transmute::<__m512, __m512bh>(w))
            };
        }
        let s = self.0;
        let sum = s.fma(self.unpack2(x, 0), self.unpack2(w, 0), sum);
        s.fma(self.unpack2(x, 1), self.unpack2(w, 1), sum)
    }

    #[inline(always)]
    fn to_float(self, v: Self::V) -> Self::V {
        // SAFETY: see above.
        unsafe { _mm512_cvtepi32_ps(_mm512_castps_si512(v)) }
    }

    #[inline(always)]
    fn pack4(self, channels: [Self::V; 4]) -> Self::V {
        // SAFETY: see above.
        unsafe {
            let [a, b, c, d] = channels;
            let (a, b) = (_mm512_cvtps_epi32(a), _mm512_cvtps_epi32(b));
            let (c, d) = (_mm512_cvtps_epi32(c), _mm512_cvtps_epi32(d));
            let low = _mm512_or_si512(a, _mm512_slli_epi32::<8>(b));
            let high = _mm512_or_si512(_mm512_slli_epi32::<16>(c), _mm512_slli_epi32::<24>(d));
            _mm512_castsi512_ps(_mm512_or_si512(low, high))
        }
    }

    #[inline(always)]
    fn unpack4(self, v: Self::V, i: usize) -> Self::V {
        // SAFETY: see above.
        unsafe {
            let shift = _mm_cvtsi32_si128(8 * i as i32);
            let v = _mm512_srl_epi32(_mm512_castps_si512(v), shift);
            _mm512_cvtepi32_ps(_mm512_and_si512(v, _mm512_set1_epi32(0xff)))
        }
    }

    #[inline(always)]
    fn pack2(self, channels: [Self::V; 2]) -> Self::V {
        // SAFETY: see above.
        unsafe {
            let (low, high) = (bf16_in_512(channels[0]), bf16_in_512(channels[1]));
            let high = _mm512_and_si512(high, _mm512_set1_epi32(0xffff_0000u32 as i32));
            _mm512_castsi512_ps(_mm512_or_si512(_mm512_srli_epi32::<16>(low), high))
        }
    }

    #[inline(always)]
    fn unpack2(self, v: Self::V, i: usize) -> Self::V {
        // SAFETY: see above.
        unsafe {
            let v = _mm512_castps_si512(v);
            _mm512_castsi512_ps(match i {
                0 => _mm512_slli_epi32::<16>(v),
                _ => _mm512_and_si512(v, _mm512_set1_epi32(0xffff_0000u32 as i32)),
            })
        }
    }
}

/// The products of words that an instruction set's kernels use.
#[derive(Clone, Copy)]
enum Products {
    Scalar(Scalar),
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    #[cfg(target_arch = "x86_64")]
    Vnni(Avx512Dot<false>),
    #[cfg(target_arch = "x86_64")]
    Bf16(Avx512Dot<true>),
}

impl Isa {
    fn products(self) -> Products {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Token::Avx512(t) => match (Avx512Dot::new(t), Avx512Dot::new(t), Avx2::new()) {
                (Some(t), _, _) => Products::Bf16(t),
                (_, Some(t), _) => Products::Vnni(t),
                (_, _, Some(t)) => Products::Avx2(t),
                _ => Products::Scalar(Scalar),
            },
            #[cfg(target_arch = "x86_64")]
            Token::Avx2(t) => Products::Avx2(t),
            _ => Products::Scalar(Scalar),
        }
    }

    /// Multiply-adds of an instruction on u8 and on bf16, as a multiple of those on f32: what the
    /// CPU's own instructions make of a lane, 1 where products are put together from several.
    pub fn products_per_lane(self) -> [usize; 2] {
        match self.products() {
            #[cfg(target_arch = "x86_64")]
            Products::Vnni(_) => [4, 1],
            #[cfg(target_arch = "x86_64")]
            Products::Bf16(_) => [4, 2],
            _ => [1, 1],
        }
    }

    /// Elements of a register, rows and registers of columns of the tile of products.
    pub(crate) fn dot_tile(self) -> (usize, usize, usize) {
        fn of<D: Dot>(_: D) -> (usize, usize, usize) {
            (D::S::LANES, D::DOT_ROWS, D::DOT_COLUMNS)
        }
        match self.products() {
            Products::Scalar(d) => of(d),
            #[cfg(target_arch = "x86_64")]
            Products::Avx2(d) => of(d),
            #[cfg(target_arch = "x86_64")]
            Products::Vnni(d) => of(d),
            #[cfg(target_arch = "x86_64")]
            Products::Bf16(d) => of(d),
        }
    }

    /// Runs `task` compiled for this instruction set's products.
    pub(crate) fn run_dot<T: DotTask>(self, task: T) {
        match self.products() {
            Products::Scalar(d) => d.compiled(task),
            #[cfg(target_arch = "x86_64")]
            Products::Avx2(d) => d.compiled(task),
            #[cfg(target_arch = "x86_64")]
            Products::Vnni(d) => d.compiled(task),
            #[cfg(target_arch = "x86_64")]
            Products::Bf16(d) => d.compiled(task),
        }
    }
}
