use super::*;

/// Runs every operation on tails and full registers and returns what it made.
struct Operations<'a> {
    a: &'a [f32],
    b: &'a [f32],
}

impl Task for Operations<'_> {
    type Output = Vec<Vec<f32>>;
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> Vec<Vec<f32>> {
        let mut results = vec![vec![0.0; self.a.len()]; 13];
        let mut at = 0;
        while at < self.a.len() {
            let n = S::LANES.min(self.a.len() - at);
            // SAFETY: n elements from `at` on are in both slices and in each result.
            unsafe {
                let a = s.load_first(self.a.as_ptr().add(at), n);
                let b = s.load_first(self.b.as_ptr().add(at), n);
                let out = [
                    s.add(a, b),
                    s.sub(a, b),
                    s.mul(a, b),
                    s.div(a, b),
                    s.fma(a, b, a),
                    s.min(a, b),
                    s.max(a, b),
                    s.sqrt(s.abs(a)),
                    s.abs(a),
                    s.copysign(a, b),
                    s.round(a),
                    s.exp2_int(s.round(a)),
                    s.select_less(a, b, s.splat(1.0), s.splat(2.0)),
                ];
                for (result, v) in results.iter_mut().zip(out) {
                    s.store_first(result.as_mut_ptr().add(at), n, v);
                }
            }
            at += n;
        }
        results
    }
}

#[test]
fn every_instruction_set_does_the_same_arithmetic() {
    let value = |i: usize| ((i * 2_654_435_761) % 1999) as f32 / 50.0 - 20.0;
    for n in [1, 3, 4, 7, 8, 15, 16, 17, 33, 100] {
        let a: Vec<f32> = (0..n).map(value).collect();
        let b: Vec<f32> = (0..n).map(|i| value(i + 7919) + 0.013).collect();
        let ab = || a.iter().zip(&b);
        let want: Vec<Vec<f32>> = vec![
            ab().map(|(a, b)| a + b).collect(),
            ab().map(|(a, b)| a - b).collect(),
            ab().map(|(a, b)| a * b).collect(),
            ab().map(|(a, b)| a / b).collect(),
            ab().map(|(a, b)| a.mul_add(*b, *a)).collect(),
            ab().map(|(a, b)| a.min(*b)).collect(),
            ab().map(|(a, b)| a.max(*b)).collect(),
            a.iter().map(|a| a.abs().sqrt()).collect(),
            a.iter().map(|a| a.abs()).collect(),
            ab().map(|(a, b)| a.copysign(*b)).collect(),
            a.iter().map(|a| a.round_ties_even()).collect(),
            a.iter().map(|a| a.round_ties_even().exp2()).collect(),
            ab().map(|(a, b)| if a < b { 1.0 } else { 2.0 }).collect(),
        ];
        for isa in Isa::available() {
            let got = isa.run(Operations { a: &a, b: &b });
            for (op, (got, want)) in got.iter().zip(&want).enumerate() {
                for (g, w) in got.iter().zip(want) {
                    // Plain code rounds the product of a fused multiply-add.
                    let close = (g - w).abs() <= 1e-4 * w.abs().max(1.0);
                    let equal = if op == 4 { close } else { g == w };
                    assert!(equal, "operation {op} on {}: {g} is not {w}", isa.name());
                }
            }
        }
    }
}

/// Whether all elements of the first are less than the second's.
struct AllLess<'a>(&'a [f32], &'a [f32]);

impl Task for AllLess<'_> {
    type Output = bool;
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> bool {
        assert!(self.0.len() >= S::LANES && self.1.len() >= S::LANES);
        // SAFETY: both have a register of elements.
        unsafe { s.all_less(s.load(self.0.as_ptr()), s.load(self.1.as_ptr())) }
    }
}

#[test]
fn all_are_less_only_if_each_is_and_none_is_nan() {
    for isa in Isa::available() {
        let (low, high) = (vec![1.0; isa.lanes()], vec![1.5; isa.lanes()]);
        assert!(isa.run(AllLess(&low, &high)));
        for i in 0..isa.lanes() {
            for other in [1.5, 2.0, f32::NAN] {
                let mut a = low.clone();
                a[i] = other;
                assert!(
                    !isa.run(AllLess(&a, &high)),
                    "{other} at {i} on {}",
                    isa.name()
                );
            }
        }
    }
}

/// Copies registers past the caches.
struct Stream<'a>(&'a [f32], &'a mut [f32]);

impl Task for Stream<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for (from, to) in self
            .0
            .chunks_exact(S::LANES)
            .zip(self.1.chunks_exact_mut(S::LANES))
        {
            assert!(to.as_ptr().addr().is_multiple_of(4 * S::LANES));
            // SAFETY: a register each, the second aligned.
            unsafe { s.stream(to.as_mut_ptr(), s.load(from.as_ptr())) };
        }
        s.fence();
    }
}

#[test]
fn streamed_registers_arrive() {
    let from: Vec<f32> = (0..160).map(|i| i as f32).collect();
    for isa in Isa::available() {
        let mut to = crate::Buffer::floats(from.len());
        isa.run(Stream(&from, to.as_f32_mut()));
        assert!(to.as_f32() == from, "{}", isa.name());
    }
}

#[test]
fn an_unknown_or_missing_instruction_set_is_an_error() {
    let unknown = Isa::named("avx3").unwrap_err().to_string();
    assert_eq!(
        unknown,
        "SLICEWISE_ISA is 'avx3'; it may be: scalar, avx2, avx512, neon"
    );
    assert_eq!(Isa::named("scalar"), Ok(Isa::scalar()));
    for isa in Isa::available() {
        assert_eq!(Isa::named(isa.name()), Ok(isa));
    }
}

/// Reads the masked elements of a slice, `outside` elsewhere.
struct Masked<'a> {
    x: &'a [f32],
    from: usize,
    to: usize,
    outside: f32,
}

impl Task for Masked<'_> {
    type Output = Vec<f32>;
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> Vec<f32> {
        let mask = s.mask(self.from, self.to);
        let mut out = vec![0.0; S::LANES];
        // SAFETY: the slice has every element from `from` on up to `to` or a whole register; `out`
        // is a register.
        unsafe {
            let start = self.x.as_ptr().wrapping_sub(self.from);
            let v = s.load_masked(start, mask);
            s.store(out.as_mut_ptr(), s.blend(mask, v, s.splat(self.outside)));
        }
        out
    }
}

/// Both results of parting the numbers from 0 on, mended.
struct Parted;

impl Task for Parted {
    type Output = [Vec<f32>; 2];

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> Self::Output {
        let x: Vec<f32> = (0..2 * S::LANES).map(|i| i as f32).collect();
        let mut got = [vec![0.0; S::LANES], vec![0.0; S::LANES]];
        // SAFETY: two registers of elements, and one in each list.
        unsafe {
            let parts = s.part(s.load(x.as_ptr()), s.load(x.as_ptr().add(S::LANES)));
            s.store(got[0].as_mut_ptr(), s.mend(parts[0]));
            s.store(got[1].as_mut_ptr(), s.mend(parts[1]));
        }
        got
    }
}

#[test]
fn parted_registers_hold_the_even_and_the_odd_elements() {
    for isa in Isa::available() {
        let every_second = |from: usize| (0..isa.lanes()).map(move |i| (2 * i + from) as f32);
        let want = [0, 1].map(|from| every_second(from).collect::<Vec<f32>>());
        assert_eq!(isa.run(Parted), want, "{}", isa.name());
    }
}

/// Four registers of numbers, transposed.
struct Transposed;

impl Task for Transposed {
    type Output = Vec<f32>;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> Vec<f32> {
        let x: Vec<f32> = (0..4 * S::LANES).map(|i| i as f32).collect();
        let mut got = vec![0.0; 4 * S::LANES];
        let mut rows = [s.splat(0.0); 4];
        // SAFETY: four registers of elements in each list.
        unsafe {
            for i in 0..4 {
                rows[i] = s.load(x.as_ptr().add(i * S::LANES));
            }
            let columns = s.transpose(rows);
            for i in 0..4 {
                s.store(got.as_mut_ptr().add(i * S::LANES), columns[i]);
            }
        }
        got
    }
}

#[test]
fn transposing_swaps_registers_and_elements_in_every_four() {
    for isa in Isa::available() {
        let lanes = isa.lanes();
        let want: Vec<f32> = (0..4 * lanes)
            .map(|i| (i % 4 * lanes + i % lanes / 4 * 4 + i / lanes) as f32)
            .collect();
        assert_eq!(isa.run(Transposed), want, "{}", isa.name());
    }
}

#[test]
fn masked_loads_read_no_other_elements() {
    let x: Vec<f32> = (1..=16).map(|i| i as f32).collect();
    for isa in Isa::available() {
        let lanes = isa.lanes();
        for from in 0..=lanes + 1 {
            for to in 0..=lanes + 1 {
                for outside in [0.0, -1.0] {
                    // No more than what may be read.
                    let x = &x[..to.min(lanes).saturating_sub(from)];
                    let got = isa.run(Masked {
                        x,
                        from,
                        to,
                        outside,
                    });
                    let want = |i: usize| match i >= from && i < to {
                        true => (i - from + 1) as f32,
                        false => outside,
                    };
                    let want: Vec<f32> = (0..lanes).map(want).collect();
                    assert_eq!(got, want, "{} {from}..{to}", isa.name());
                }
            }
        }
    }
}
