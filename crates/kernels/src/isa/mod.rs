//! Instruction sets as proof tokens: a token exists only where the CPU has what it names.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod dot;
#[cfg(target_arch = "aarch64")]
mod neon;
mod scalar;

#[cfg(target_arch = "x86_64")]
pub(crate) use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) use avx512::Avx512;
pub(crate) use dot::{Dot, DotTask, to_bf16};
#[cfg(target_arch = "aarch64")]
pub(crate) use neon::Neon;
pub(crate) use scalar::Scalar;

/// The vector operations that kernels are written in. An implementor is a token: whoever holds one
/// may use its instructions.
pub(crate) trait Simd: Copy + Send + Sync + 'static {
    /// One register of f32.
    type V: Copy;
    /// A choice of a register's elements.
    type Mask: Copy;
    /// Elements in a register.
    const LANES: usize;
    /// Rows of the register tile that convolution weights are packed for: with `COLUMNS`, 8 × 3
    /// fill 24 of 32 registers with sums, 6 × 2 fill 12 of 16. (4 × 3 with 16 registers makes the
    /// compiler spill one sum and takes more than twice as long.)
    const ROWS: usize;
    /// Registers of columns of the tile.
    const COLUMNS: usize;
    /// Vector registers that the compiler has: 16 or 32.
    const REGISTERS: usize;

    /// Runs `task` compiled for this instruction set. Everything that `task` calls must be inlined
    /// into it or be called through here again; a plain function would be compiled without the
    /// instruction set and its vectors would go through memory.
    fn vectorize<T: Task>(self, task: T) -> T::Output;

    /// `x` in every element.
    fn splat(self, x: f32) -> Self::V;
    /// Reads a register.
    ///
    /// # Safety
    /// `p` must be valid for reads of `LANES` elements; any alignment of f32.
    unsafe fn load(self, p: *const f32) -> Self::V;
    /// Writes a register.
    ///
    /// # Safety
    /// `p` must be valid for writes of `LANES` elements; any alignment of f32.
    unsafe fn store(self, p: *mut f32, v: Self::V);
    /// Writes a register past the caches, for results that do not fit into them: the memory is not
    /// read first. Other threads see it only after [`Simd::fence`].
    ///
    /// # Safety
    /// `p` must be valid for writes of `LANES` elements and aligned to a register.
    unsafe fn stream(self, p: *mut f32, v: Self::V);
    /// Makes streamed registers visible before anything written later.
    fn fence(self);
    /// Reads the first `n` elements, the others are zero.
    ///
    /// # Safety
    /// `n <= LANES`, and `p` must be valid for reads of `n` elements.
    unsafe fn load_first(self, p: *const f32, n: usize) -> Self::V;
    /// The elements from `from` up to but not `to`, at most `LANES`; none if there are none between.
    fn mask(self, from: usize, to: usize) -> Self::Mask;
    /// Reads the elements of `mask`, the others are zero.
    ///
    /// # Safety
    /// `p + i` must be valid for reads for each element `i` of the mask; it may point to nothing
    /// for the others.
    unsafe fn load_masked(self, p: *const f32, mask: Self::Mask) -> Self::V;
    /// `a` at the elements of `mask`, `b` elsewhere.
    fn blend(self, mask: Self::Mask, a: Self::V, b: Self::V) -> Self::V;
    /// Writes the first `n` elements.
    ///
    /// # Safety
    /// `n <= LANES`, and `p` must be valid for writes of `n` elements.
    unsafe fn store_first(self, p: *mut f32, n: usize, v: Self::V);
    /// Asks for the cache line of `p`, which may be anything, to be read soon.
    #[inline(always)]
    fn prefetch(self, p: *const f32) {
        let _ = p;
    }
    /// The same for a line to be written.
    #[inline(always)]
    fn prefetch_to_write(self, p: *const f32) {
        let _ = p;
    }
    /// `a + b`
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a - b`
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a * b`
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a / b`
    fn div(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a * b + c`, rounded once where the CPU does that.
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// The smaller; `b` where either is NaN.
    fn min(self, a: Self::V, b: Self::V) -> Self::V;
    /// The larger; `b` where either is NaN.
    fn max(self, a: Self::V, b: Self::V) -> Self::V;
    /// The square root.
    fn sqrt(self, a: Self::V) -> Self::V;
    /// The absolute value.
    fn abs(self, a: Self::V) -> Self::V;
    /// The size of `a` with the sign of `b`.
    fn copysign(self, a: Self::V, b: Self::V) -> Self::V;
    /// The nearest integer, ties to even.
    fn round(self, a: Self::V) -> Self::V;
    /// `2^n` for whole numbers `-126 <= n <= 127`.
    fn exp2_int(self, n: Self::V) -> Self::V;
    /// `x` where `a < b`, else `y`.
    fn select_less(self, a: Self::V, b: Self::V, x: Self::V, y: Self::V) -> Self::V;
    /// Whether `a < b` in every element.
    fn all_less(self, a: Self::V, b: Self::V) -> bool;
    /// Element `i` is element `index[i]` of the two registers `low`, `high` taken as one list.
    ///
    /// # Safety
    /// `index` must be valid for reads of `LANES` elements, each below `2 * LANES`.
    unsafe fn lookup(self, low: Self::V, high: Self::V, index: *const i32) -> Self::V;
    /// The even and the odd elements of the two registers taken as one list, in an order of this
    /// set's own: cheaper than two lookups where registers have halves.
    fn part(self, low: Self::V, high: Self::V) -> [Self::V; 2];
    /// Elements in the order of [`Simd::part`] in their own.
    fn mend(self, v: Self::V) -> Self::V;
    /// Every four elements of four registers as a matrix, transposed: element `4 i + k` of result `j` is
    /// element `4 i + j` of register `k`.
    fn transpose(self, rows: [Self::V; 4]) -> [Self::V; 4];
}

/// Asks for the cache line of `p` to be written soon. The compiler's own intrinsic needs a feature
/// that older CPUs lack; the instruction does nothing on those.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn prefetch_to_write(p: *const f32) {
    // SAFETY: a prefetch touches neither memory nor registers nor flags, whatever the address.
    unsafe {
        std::arch::asm!("prefetchw [{p}]", p = in(reg) p, options(nostack, preserves_flags, readonly));
    }
}

/// Code to be compiled for each instruction set. `run` must be `#[inline(always)]`.
pub(crate) trait Task {
    /// What it returns.
    type Output;
    /// The code, generic over the instruction set.
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

/// The instruction set that a [`crate::Context`] computes with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Isa(Token);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    Scalar(Scalar),
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
    #[cfg(target_arch = "aarch64")]
    Neon(Neon),
}

/// Why an instruction set cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IsaError {
    /// There is none of that name.
    #[error("SLICEWISE_ISA is '{0}'; it may be: scalar, avx2, avx512, neon")]
    Unknown(String),
    /// This CPU does not have it.
    #[error("SLICEWISE_ISA asks for {0}, which this CPU does not have; it has: {1}")]
    Missing(&'static str, String),
}

impl Isa {
    /// Plain loops, on every CPU.
    pub fn scalar() -> Self {
        Isa(Token::Scalar(Scalar))
    }

    /// AVX2 with FMA, where the CPU has them.
    pub fn avx2() -> Option<Self> {
        #[cfg(target_arch = "x86_64")]
        return Avx2::new().map(|t| Isa(Token::Avx2(t)));
        #[cfg(not(target_arch = "x86_64"))]
        None
    }

    /// AVX-512 (F, BW, DQ, VL), where the CPU has it.
    pub fn avx512() -> Option<Self> {
        #[cfg(target_arch = "x86_64")]
        return Avx512::new().map(|t| Isa(Token::Avx512(t)));
        #[cfg(not(target_arch = "x86_64"))]
        None
    }

    /// NEON, where the CPU has it.
    pub fn neon() -> Option<Self> {
        #[cfg(target_arch = "aarch64")]
        return Neon::new().map(|t| Isa(Token::Neon(t)));
        #[cfg(not(target_arch = "aarch64"))]
        None
    }

    /// Every instruction set that this CPU has, the plainest first.
    pub fn available() -> Vec<Self> {
        let mut all = vec![Isa::scalar()];
        all.extend(Isa::avx2());
        all.extend(Isa::avx512());
        all.extend(Isa::neon());
        all
    }

    /// The best of this CPU.
    pub fn best() -> Self {
        let vectors = Isa::avx512().or_else(Isa::avx2).or_else(Isa::neon);
        vectors.unwrap_or_else(Isa::scalar)
    }

    /// The one named `scalar`, `avx2`, `avx512` or `neon`.
    ///
    /// # Errors
    /// If there is none of that name, or not on this CPU.
    pub fn named(name: &str) -> Result<Self, IsaError> {
        let missing = |name| {
            let have: Vec<&str> = Isa::available().iter().map(|i| i.name()).collect();
            IsaError::Missing(name, have.join(", "))
        };
        match name {
            "scalar" => Ok(Isa::scalar()),
            "avx2" => Isa::avx2().ok_or_else(|| missing("avx2")),
            "avx512" => Isa::avx512().ok_or_else(|| missing("avx512")),
            "neon" => Isa::neon().ok_or_else(|| missing("neon")),
            _ => Err(IsaError::Unknown(name.to_owned())),
        }
    }

    /// What the environment variable `SLICEWISE_ISA` asks for, or else the best of this CPU.
    ///
    /// # Errors
    /// As [`Isa::named`].
    pub fn from_env() -> Result<Self, IsaError> {
        match std::env::var_os("SLICEWISE_ISA") {
            Some(name) => Isa::named(&name.to_string_lossy()),
            None => Ok(Isa::best()),
        }
    }

    /// The name that `SLICEWISE_ISA` takes.
    pub fn name(self) -> &'static str {
        match self.0 {
            Token::Scalar(_) => "scalar",
            #[cfg(target_arch = "x86_64")]
            Token::Avx2(_) => "avx2",
            #[cfg(target_arch = "x86_64")]
            Token::Avx512(_) => "avx512",
            #[cfg(target_arch = "aarch64")]
            Token::Neon(_) => "neon",
        }
    }

    /// f32 elements in one register.
    pub fn lanes(self) -> usize {
        match self.0 {
            Token::Scalar(_) => Scalar::LANES,
            #[cfg(target_arch = "x86_64")]
            Token::Avx2(_) => Avx2::LANES,
            #[cfg(target_arch = "x86_64")]
            Token::Avx512(_) => Avx512::LANES,
            #[cfg(target_arch = "aarch64")]
            Token::Neon(_) => Neon::LANES,
        }
    }

    /// Rows and registers of columns of the register tile.
    pub(crate) fn tile(self) -> (usize, usize) {
        match self.0 {
            Token::Scalar(_) => (Scalar::ROWS, Scalar::COLUMNS),
            #[cfg(target_arch = "x86_64")]
            Token::Avx2(_) => (Avx2::ROWS, Avx2::COLUMNS),
            #[cfg(target_arch = "x86_64")]
            Token::Avx512(_) => (Avx512::ROWS, Avx512::COLUMNS),
            #[cfg(target_arch = "aarch64")]
            Token::Neon(_) => (Neon::ROWS, Neon::COLUMNS),
        }
    }

    /// Vector registers.
    pub(crate) fn registers(self) -> usize {
        match self.0 {
            Token::Scalar(_) => Scalar::REGISTERS,
            #[cfg(target_arch = "x86_64")]
            Token::Avx2(_) => Avx2::REGISTERS,
            #[cfg(target_arch = "x86_64")]
            Token::Avx512(_) => Avx512::REGISTERS,
            #[cfg(target_arch = "aarch64")]
            Token::Neon(_) => Neon::REGISTERS,
        }
    }

    /// Runs `task` compiled for this instruction set.
    pub(crate) fn run<T: Task>(self, task: T) -> T::Output {
        match self.0 {
            Token::Scalar(t) => t.vectorize(task),
            #[cfg(target_arch = "x86_64")]
            Token::Avx2(t) => t.vectorize(task),
            #[cfg(target_arch = "x86_64")]
            Token::Avx512(t) => t.vectorize(task),
            #[cfg(target_arch = "aarch64")]
            Token::Neon(t) => t.vectorize(task),
        }
    }
}

#[cfg(test)]
mod tests;
