//! Means, sums and largest elements over axes.

use slicewise_graph::{Reduce, ReduceKind};

use crate::Context;
use crate::isa::{Simd, Task};
use crate::shared::Shared;

/// Elements per task.
const CHUNK: usize = 32 * 1024;

/// `[n, inner]` to `[inner]`, some columns of it.
struct Columns {
    max: bool,
    x: *const f32,
    y: *mut f32,
    n: usize,
    inner: usize,
    count: usize,
}

impl Task for Columns {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let start = if self.max { f32::NEG_INFINITY } else { 0.0 };
        let mut i = 0;
        while i < self.count {
            let count = S::LANES.min(self.count - i);
            // Sums of 64 rows at a time keep the error of long axes small.
            let mut total = s.splat(start);
            let mut k = 0;
            while k < self.n {
                let mut part = s.splat(start);
                for k in k..self.n.min(k + 64) {
                    // SAFETY: `count` columns from i on of row k < n.
                    let v = unsafe { s.load_first(self.x.add(k * self.inner + i), count) };
                    part = if self.max {
                        s.max(v, part)
                    } else {
                        s.add(part, v)
                    };
                }
                total = if self.max {
                    s.max(part, total)
                } else {
                    s.add(total, part)
                };
                k += 64;
            }
            // SAFETY: `count` results from i on.
            unsafe { s.store_first(self.y.add(i), count, total) };
            i += count;
        }
    }
}

/// One row to one element.
struct Row<'a> {
    max: bool,
    x: &'a [f32],
}

impl Task for Row<'_> {
    type Output = f32;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f32 {
        let start = if self.max { f32::NEG_INFINITY } else { 0.0 };
        let mut total = f64::from(start);
        // Sums of 64 elements per lane and register before they go to f64.
        for part in self.x.chunks(256 * S::LANES) {
            let mut sums = [s.splat(start); 4];
            let blocks = part.chunks_exact(4 * S::LANES);
            let rest = blocks.remainder();
            for block in blocks {
                for (j, sum) in sums.iter_mut().enumerate() {
                    // SAFETY: a block has four registers.
                    let v = unsafe { s.load(block.as_ptr().add(j * S::LANES)) };
                    *sum = if self.max {
                        s.max(v, *sum)
                    } else {
                        s.add(*sum, v)
                    };
                }
            }
            let mut lanes = [start; 64];
            for (j, sum) in sums.into_iter().enumerate() {
                // SAFETY: four registers of at most 16 lanes fit.
                unsafe { s.store(lanes.as_mut_ptr().add(j * S::LANES), sum) };
            }
            for v in lanes.iter().chain(rest) {
                let v = f64::from(*v);
                total = if self.max { total.max(v) } else { total + v };
            }
        }
        total as f32
    }
}

/// Reduces `[outer, n, inner]` to `[outer, inner]`.
fn reduce_axis(context: &Context, max: bool, n: usize, inner: usize, x: &[f32], y: &mut [f32]) {
    let outer = y.len() / inner;
    let y = Shared::new(y);
    if inner == 1 {
        context.ranges(outer, (CHUNK / n).max(1), |range| {
            for i in range {
                let x = &x[i * n..][..n];
                // SAFETY: ranges do not overlap.
                unsafe { y.part(i, 1)[0] = context.vectorize(Row { max, x }) };
            }
        });
        return;
    }
    let chunk = (CHUNK / n).max(1).next_multiple_of(64);
    let pieces = inner.div_ceil(chunk);
    context.ranges(outer * pieces, 1, |range| {
        for i in range {
            let first = i % pieces * chunk;
            let x = &x[i / pieces * n * inner..][..n * inner];
            context.vectorize(Columns {
                max,
                x: x[first..].as_ptr(),
                y: y.pointer(i / pieces * inner + first),
                n,
                inner,
                count: chunk.min(inner - first),
            });
        }
    });
}

/// Reduces `x` of `shape` over the axes of `spec` into `y`.
///
/// # Panics
/// If a slice is not of that size.
pub fn reduce(context: &Context, spec: &Reduce, shape: &[usize], x: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), shape.iter().product::<usize>(), "the input's size");
    let max = spec.kind == ReduceKind::Max;
    let mut shape = shape.to_vec();
    let mut partial: Option<Vec<f32>> = None;
    // Neighbouring axes go together; the innermost first, so that what is left is smallest.
    let mut axes = spec.axes.clone();
    while let Some(last) = axes.pop() {
        let mut first = last;
        while axes.last().is_some_and(|a| a + 1 == first) {
            first = axes.pop().unwrap_or(first);
        }
        let n: usize = shape[first..=last].iter().product();
        let inner: usize = shape[last + 1..].iter().product();
        let from = partial.as_deref().unwrap_or(x);
        shape[first..=last].fill(1);
        if axes.is_empty() {
            reduce_axis(context, max, n, inner, from, y);
        } else {
            let mut to = vec![0.0; from.len() / n];
            reduce_axis(context, max, n, inner, from, &mut to);
            partial = Some(to);
        }
    }
    if spec.kind == ReduceKind::Mean {
        let n = x.len() / y.len();
        for y in y {
            *y /= n as f32;
        }
    }
}
