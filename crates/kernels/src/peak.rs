//! What the machine could do at best: multiply-adds and memory traffic without a network around
//! them. The roof that measured speeds are compared with.

use std::hint::black_box;
use std::time::{Duration, Instant};

use crate::isa::{Isa, Simd, Task};
use crate::shared::Shared;
use crate::{Buffer, Context};

/// Independent sums per thread: two units of latency 4 need 8, and 12 with two constants fit the 16
/// registers of AVX2.
const CHAINS: usize = 12;
/// How long each limit is tried to reach, over and over; the best time counts, because nothing makes a
/// CPU faster than it is.
const TRYING: Duration = Duration::from_millis(200);
/// How long one repetition of the multiply-adds takes: less than a scheduler's time slice, so that on
/// a busy machine some are left alone.
const REPETITION: Duration = Duration::from_millis(2);
/// Elements that a thread streams in one task.
const BLOCK: usize = 64 * 1024;

/// The machine's measured limits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Peak {
    /// The instruction set that was measured with.
    pub isa: &'static str,
    /// Threads that worked at the same time.
    pub threads: usize,
    /// Floating-point operations per second of one thread, in 10⁹; a multiply-add is two.
    pub gflops_one: f64,
    /// The same of all threads together.
    pub gflops: f64,
    /// Bytes read from memory per second by all threads, in 10⁹.
    pub read_gb_s: f64,
    /// Bytes per second of `a = b + s · c` by all threads, in 10⁹, counted as STREAM does: two
    /// reads and a write.
    pub triad_gb_s: f64,
}

/// Measures for about a second. `cache_bytes` is the size of the last cache: the arrays that
/// are streamed are four times as large, from 64 MiB to 1 GiB in total.
pub fn measure(isa: Isa, threads: usize, cache_bytes: usize) -> Peak {
    let one = Context::new(isa, 1);
    let all = Context::new(isa, threads);
    let bytes = (cache_bytes.saturating_mul(4)).clamp(64 << 20, 1 << 30);
    let mut memory = Memory::new(&all, bytes / 3 / size_of::<f32>());
    let (read_gb_s, triad_gb_s) = memory.bandwidths(&all);
    Peak {
        isa: isa.name(),
        threads: all.threads(),
        gflops_one: gflops(&one),
        gflops: gflops(&all),
        read_gb_s,
        triad_gb_s,
    }
}

/// Multiply-adds that need nothing but registers.
struct MultiplyAdds {
    steps: usize,
}

impl Task for MultiplyAdds {
    type Output = f32;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f32 {
        // Towards 1, so that nothing overflows or becomes subnormal.
        let (factor, addend) = (s.splat(black_box(0.5)), s.splat(black_box(0.5)));
        let mut sums = [s.splat(black_box(2.0)); CHAINS];
        for _ in 0..self.steps {
            for sum in &mut sums {
                *sum = s.fma(*sum, factor, addend);
            }
        }
        let total = sums.into_iter().reduce(|a, b| s.add(a, b));
        first_lane(s, total.unwrap_or(addend))
    }
}

/// The first element of a register, so that the work before it is not left out.
#[inline(always)]
fn first_lane<S: Simd>(s: S, v: S::V) -> f32 {
    let mut first = 0.0;
    // SAFETY: one element is written to one.
    unsafe { s.store_first(&raw mut first, 1, v) };
    first
}

/// Operations per second of all threads of a context, in 10⁹.
fn gflops(context: &Context) -> f64 {
    let time = |steps: usize| {
        let begin = Instant::now();
        context.each(context.threads(), |_, _| {
            black_box(context.vectorize(MultiplyAdds { steps }));
        });
        begin.elapsed()
    };
    let mut steps = 1 << 12;
    while time(steps) < REPETITION && steps < 1 << 40 {
        steps *= 2;
    }
    let seconds = best(|| {
        time(steps);
    });
    let operations = 2 * CHAINS * context.isa().lanes() * steps * context.threads();
    operations as f64 / seconds / 1e9
}

/// The sum of a block.
struct Sum<'a>(&'a [f32]);

impl Task for Sum<'_> {
    type Output = f32;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f32 {
        let mut sums = [s.splat(0.0); 8];
        for part in self.0.chunks_exact(8 * S::LANES) {
            for (i, sum) in sums.iter_mut().enumerate() {
                // SAFETY: a part has eight registers.
                *sum = s.add(*sum, unsafe { s.load(part.as_ptr().add(i * S::LANES)) });
            }
        }
        let total = sums.into_iter().reduce(|a, b| s.add(a, b));
        first_lane(s, total.unwrap_or(s.splat(0.0)))
    }
}

/// `a = b + 3 c` of a block.
struct Triad<'a> {
    a: &'a mut [f32],
    b: &'a [f32],
    c: &'a [f32],
}

impl Task for Triad<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let factor = s.splat(black_box(3.0));
        let n = self.a.len().min(self.b.len()).min(self.c.len());
        for i in (0..n - n % S::LANES).step_by(S::LANES) {
            // SAFETY: a register from i on lies in each of the three.
            unsafe {
                let (b, c) = (
                    s.load(self.b.as_ptr().add(i)),
                    s.load(self.c.as_ptr().add(i)),
                );
                s.store(self.a.as_mut_ptr().add(i), s.fma(c, factor, b));
            }
        }
    }
}

/// Three arrays larger than the caches.
struct Memory {
    a: Buffer,
    b: Buffer,
    c: Buffer,
    /// Elements of each, a multiple of [`BLOCK`].
    n: usize,
}

impl Memory {
    /// Arrays whose pages the threads that will read them have written.
    fn new(context: &Context, n: usize) -> Self {
        let n = n.next_multiple_of(BLOCK);
        let written = || {
            let mut buffer = Buffer::floats(n);
            let shared = Shared::new(buffer.as_f32_mut());
            context.each(n / BLOCK, |i, _| {
                // SAFETY: every task has a block of its own.
                unsafe { shared.part(i * BLOCK, BLOCK) }.fill(1.0);
            });
            buffer
        };
        Memory {
            a: written(),
            b: written(),
            c: written(),
            n,
        }
    }

    /// Bytes per second, in 10⁹: reading, and the triad.
    fn bandwidths(&mut self, context: &Context) -> (f64, f64) {
        let blocks = self.n / BLOCK;
        let bytes = self.n * size_of::<f32>();
        let (b, c) = (self.b.as_f32(), self.c.as_f32());
        let block = |i: usize| i * BLOCK..(i + 1) * BLOCK;
        let read = || {
            context.each(2 * blocks, |i, _| {
                let from = if i < blocks { b } else { c };
                black_box(context.vectorize(Sum(&from[block(i % blocks)])));
            });
        };
        let a = Shared::new(self.a.as_f32_mut());
        let triad = || {
            context.each(blocks, |i, _| {
                context.vectorize(Triad {
                    // SAFETY: every task has a block of its own.
                    a: unsafe { a.part(i * BLOCK, BLOCK) },
                    b: &b[block(i)],
                    c: &c[block(i)],
                });
            });
        };
        (rate(2 * bytes, read), rate(3 * bytes, triad))
    }
}

/// The bytes per second, in 10⁹, of the best pass over so many.
fn rate(bytes: usize, pass: impl FnMut()) -> f64 {
    bytes as f64 / best(pass) / 1e9
}

/// The time of the fastest repetition, in seconds.
fn best(mut work: impl FnMut()) -> f64 {
    let end = Instant::now() + TRYING;
    let mut best = Duration::MAX;
    while best == Duration::MAX || Instant::now() < end {
        let begin = Instant::now();
        work();
        best = best.min(begin.elapsed());
    }
    best.as_secs_f64().max(1e-9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_and_triads_compute_what_they_say() {
        for isa in Isa::available() {
            let context = Context::new(isa, 2);
            let mut memory = Memory::new(&context, 2 * BLOCK);
            memory.bandwidths(&context);
            assert!(
                memory.a.as_f32().iter().all(|&a| a == 4.0),
                "{}",
                isa.name()
            );
            let ones = vec![1.0; 8 * 64];
            let sum = context.vectorize(Sum(&ones)) * isa.lanes() as f32;
            assert_eq!(sum, 512.0, "{}", isa.name());
            let one = context.vectorize(MultiplyAdds { steps: 100 });
            assert_eq!(one, CHAINS as f32, "{}", isa.name());
        }
    }

    #[test]
    fn every_instruction_set_has_a_peak_and_wider_ones_a_higher() {
        let isas = Isa::available();
        let peaks: Vec<Peak> = isas.iter().map(|&isa| measure(isa, 1, 0)).collect();
        for peak in &peaks {
            assert!(
                peak.gflops_one > 0.1 && peak.read_gb_s > 0.1 && peak.triad_gb_s > 0.1,
                "{peak:?}"
            );
        }
        if let ([first, .., last], [narrow, .., wide]) = (&peaks[..], &isas[..])
            && wide.lanes() > narrow.lanes()
        {
            // Twice would be right; the margin is for machines that others use too.
            assert!(last.gflops_one > 1.5 * first.gflops_one, "{peaks:?}");
        }
    }
}
