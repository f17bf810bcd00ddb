//! Functions of two elements, with NumPy's broadcasting.

use slicewise_graph::Binary;

use crate::isa::{Simd, Task};
use crate::shared::Shared;
use crate::{Context, Source};

/// Elements per task.
const CHUNK: usize = 16 * 1024;

/// How two shapes stretch to one, with neighbouring axes that behave alike taken together.
#[derive(Clone, Debug, PartialEq)]
pub struct Broadcast {
    /// Sizes, steps of a and steps of b; outermost first, at least one.
    axes: Vec<(usize, usize, usize)>,
}

impl Broadcast {
    /// The stretching of `a` and `b`, which shape inference has found to fit.
    pub fn new(a: &[usize], b: &[usize]) -> Self {
        let rank = a.len().max(b.len());
        let size = |s: &[usize], i: usize| (i + s.len()).checked_sub(rank).map_or(1, |i| s[i]);
        let (mut step_a, mut step_b) = (1, 1);
        // Innermost first.
        let mut axes: Vec<(usize, usize, usize)> = Vec::new();
        for i in (0..rank).rev() {
            let (na, nb) = (size(a, i), size(b, i));
            let n = if na == 1 { nb } else { na };
            if n != 1 {
                let axis = (
                    n,
                    if na == 1 { 0 } else { step_a },
                    if nb == 1 { 0 } else { step_b },
                );
                match axes.last_mut() {
                    Some(inner) if axis.1 == inner.0 * inner.1 && axis.2 == inner.0 * inner.2 => {
                        inner.0 *= n;
                    }
                    _ => axes.push(axis),
                }
            }
            step_a *= na;
            step_b *= nb;
        }
        if axes.is_empty() {
            axes.push((1, 1, 1));
        }
        axes.reverse();
        Broadcast { axes }
    }

    /// The number of elements of the result.
    pub fn elements(&self) -> usize {
        self.axes.iter().map(|a| a.0).product()
    }

    /// The positions in a and b of the element `i` of the axes given.
    fn position(axes: &[(usize, usize, usize)], mut i: usize) -> (usize, usize) {
        let (mut a, mut b) = (0, 0);
        for &(n, step_a, step_b) in axes.iter().rev() {
            a += i % n * step_a;
            b += i % n * step_b;
            i /= n;
        }
        (a, b)
    }

    /// The positions in a and b of every element.
    pub(crate) fn pairs(&self) -> Vec<(usize, usize)> {
        (0..self.elements())
            .map(|i| Self::position(&self.axes, i))
            .collect()
    }

    /// Elements of each operand that are reached.
    fn reach(&self) -> (usize, usize) {
        let (a, b) = Self::position(&self.axes, self.elements().max(1) - 1);
        (a + 1, b + 1)
    }
}

/// A stretch of results whose operands each advance by one or stay.
struct Run {
    f: Binary,
    a: *const f32,
    b: *const f32,
    /// Whether a and b advance.
    steps: (bool, bool),
    y: *mut f32,
    n: usize,
}

impl Task for Run {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        match self.f {
            Binary::Add => self.each::<S, 0>(s),
            Binary::Sub => self.each::<S, 1>(s),
            Binary::Mul => self.each::<S, 2>(s),
            Binary::Div => self.each::<S, 3>(s),
        }
    }
}

impl Run {
    #[inline(always)]
    fn each<S: Simd, const F: u8>(&self, s: S) {
        let mut i = 0;
        while i < self.n {
            let n = S::LANES.min(self.n - i);
            // SAFETY: operands that advance have n elements from i on, the others one.
            unsafe {
                let operand = |p: *const f32, step: bool| match step {
                    true if n == S::LANES => s.load(p.add(i)),
                    true => s.load_first(p.add(i), n),
                    false => s.splat(*p),
                };
                let (a, b) = (operand(self.a, self.steps.0), operand(self.b, self.steps.1));
                let v = match F {
                    0 => s.add(a, b),
                    1 => s.sub(a, b),
                    2 => s.mul(a, b),
                    _ => s.div(a, b),
                };
                if n == S::LANES {
                    s.store(self.y.add(i), v);
                } else {
                    s.store_first(self.y.add(i), n, v);
                }
            }
            i += n;
        }
    }
}

/// `y = f(a, b)`. At most one of a and b may be [`Source::InPlace`], and it must have the result's
/// shape.
///
/// # Panics
/// If a slice is not as large as the broadcast says.
pub fn binary(
    context: &Context,
    f: Binary,
    broadcast: &Broadcast,
    a: Source<'_>,
    b: Source<'_>,
    y: &mut [f32],
) {
    let n = broadcast.elements();
    assert_eq!(y.len(), n, "the result's size");
    let (reach_a, reach_b) = broadcast.reach();
    let y = Shared::new(y);
    let operand = |source: Source<'_>, reach: usize| match source {
        Source::Slice(x) => {
            assert!(x.len() >= reach, "an operand's size");
            Operand(x.as_ptr())
        }
        Source::InPlace => {
            assert_eq!(
                reach, n,
                "only an operand of the result's shape is overwritten"
            );
            Operand(y.pointer(0).cast_const())
        }
    };
    let (a, b) = (operand(a, reach_a), operand(b, reach_b));
    let (outer, inner) = broadcast.axes.split_at(broadcast.axes.len() - 1);
    let (width, step_a, step_b) = inner[0];
    let rows = n / width.max(1);
    let pieces = width.div_ceil(CHUNK).max(1);
    let chunk = (CHUNK / width.max(1)).max(1);
    // Either some whole rows, or a piece of one.
    context.ranges(rows * pieces, chunk, |range| {
        for i in range {
            let (row, first) = (i / pieces, i % pieces * CHUNK);
            let (at_a, at_b) = Broadcast::position(outer, row);
            context.vectorize(Run {
                f,
                a: a.at(at_a + first * step_a),
                b: b.at(at_b + first * step_b),
                steps: (step_a == 1, step_b == 1),
                y: y.pointer(row * width + first),
                n: CHUNK.min(width - first),
            });
        }
    });
}

#[derive(Clone, Copy)]
struct Operand(*const f32);

// SAFETY: only read, and in place only at the elements that the reading thread writes.
unsafe impl Send for Operand {}
// SAFETY: as above.
unsafe impl Sync for Operand {}

impl Operand {
    fn at(&self, i: usize) -> *const f32 {
        // SAFETY: i is below the reach that `binary` has checked.
        unsafe { self.0.add(i) }
    }
}
