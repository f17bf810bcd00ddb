//! Kernels that move elements of any type without changing them.

use slicewise_graph::Slice;

use crate::Context;
use crate::buffer::Element;
use crate::shared::Shared;

/// Elements per task.
const CHUNK: usize = 32 * 1024;
/// Columns that a transposition moves at once, so that a cache line read is used whole.
const STRIP: usize = 16;

/// Copies `rows` stretches of `n` elements, row `i` from `from(i)` to `to(i)`.
fn copy_rows<T: Element>(
    context: &Context,
    rows: usize,
    n: usize,
    x: &[T],
    y: &Shared<'_, T>,
    place: impl Fn(usize) -> (usize, usize) + Sync,
) {
    let pieces = n.div_ceil(CHUNK).max(1);
    let chunk = (CHUNK / n.max(1)).max(1);
    context.ranges(rows * pieces, chunk, |range| {
        for i in range {
            let first = i % pieces * CHUNK;
            let count = CHUNK.min(n - first);
            let (from, to) = place(i / pieces);
            // SAFETY: rows are written to different places.
            let y = unsafe { y.part(to + first, count) };
            y.copy_from_slice(&x[from + first..][..count]);
        }
    });
}

/// Joins `inputs`, each `[outer, n, inner]` with its own `n · inner`, along the middle axis. `None`
/// is an input that is in its place of `y` already.
///
/// # Panics
/// If a slice is not of that size.
pub fn concat<'a, T: Element>(
    context: &Context,
    inputs: impl Iterator<Item = (Option<&'a [T]>, usize)> + Clone,
    outer: usize,
    y: &mut [T],
) {
    let total: usize = inputs.clone().map(|i| i.1).sum();
    assert_eq!(y.len(), outer * total, "the joined size");
    let y = Shared::new(y);
    let mut before = 0;
    for (x, n) in inputs {
        if let Some(x) = x {
            assert_eq!(x.len(), outer * n, "an input's size");
            copy_rows(context, outer, n, x, &y, |o| (o * n, o * total + before));
        }
        before += n;
    }
}

/// Selects along one axis of `x` of `shape`.
///
/// # Panics
/// If a slice is not of that size.
pub fn slice<T: Element>(context: &Context, spec: &Slice, shape: &[usize], x: &[T], y: &mut [T]) {
    let inner: usize = shape[spec.axis + 1..].iter().product();
    let outer: usize = shape[..spec.axis].iter().product();
    let n = shape[spec.axis];
    let kept = (spec.end - spec.start).div_ceil(spec.step);
    assert_eq!(
        (x.len(), y.len()),
        (outer * n * inner, outer * kept * inner),
        "sizes"
    );
    let y = Shared::new(y);
    if spec.step == 1 {
        let run = kept * inner;
        copy_rows(context, outer, run, x, &y, |o| {
            ((o * n + spec.start) * inner, o * run)
        });
        return;
    }
    context.ranges(outer * kept, (CHUNK / inner.max(1)).max(1), |range| {
        for i in range {
            let from = (i / kept * n + spec.start + i % kept * spec.step) * inner;
            // SAFETY: every row is written once.
            unsafe { y.part(i * inner, inner) }.copy_from_slice(&x[from..][..inner]);
        }
    });
}

/// Adds elements of `value` around `x` of `shape`.
///
/// # Panics
/// If a slice is not of that size.
pub fn pad(
    context: &Context,
    pads: &[(usize, usize)],
    value: f32,
    shape: &[usize],
    x: &[f32],
    y: &mut [f32],
) {
    let sizes: Vec<usize> = shape.iter().zip(pads).map(|(n, p)| n + p.0 + p.1).collect();
    assert_eq!(x.len(), shape.iter().product::<usize>(), "the input's size");
    assert_eq!(y.len(), sizes.iter().product::<usize>(), "the padded size");
    let (Some(&width), Some(&(before, after))) = (sizes.last(), pads.last()) else {
        y.copy_from_slice(x);
        return;
    };
    let n = width - before - after;
    let y = Shared::new(y);
    context.ranges(
        y.len() / width.max(1),
        (CHUNK / width.max(1)).max(1),
        |range| {
            for row in range {
                // SAFETY: every row is written once.
                let y = unsafe { y.part(row * width, width) };
                let (mut rest, mut from, mut step) = (row, 0, n);
                let mut inside = true;
                for axis in (0..sizes.len() - 1).rev() {
                    let at = (rest % sizes[axis]).checked_sub(pads[axis].0);
                    rest /= sizes[axis];
                    match at.filter(|at| *at < shape[axis]) {
                        Some(at) => from += at * step,
                        None => inside = false,
                    }
                    step *= shape[axis];
                }
                if inside {
                    y[..before].fill(value);
                    y[before..before + n].copy_from_slice(&x[from..][..n]);
                    y[before + n..].fill(value);
                } else {
                    y.fill(value);
                }
            }
        },
    );
}

/// Reorders the axes of `x` of `shape`: axis `i` of the result is axis `perm[i]`.
///
/// # Panics
/// If a slice is not of that size.
pub fn transpose<T: Element>(
    context: &Context,
    perm: &[usize],
    shape: &[usize],
    x: &[T],
    y: &mut [T],
) {
    assert_eq!(
        (x.len(), y.len()),
        (shape.iter().product(), x.len()),
        "sizes"
    );
    // Result axes with the input's steps; neighbours that stay neighbours are one axis.
    let mut steps = vec![1; shape.len()];
    for i in (1..shape.len()).rev() {
        steps[i - 1] = steps[i] * shape[i];
    }
    let mut axes: Vec<(usize, usize)> = Vec::new();
    for (n, step) in perm
        .iter()
        .map(|&p| (shape[p], steps[p]))
        .filter(|a| a.0 != 1)
    {
        match axes.last_mut() {
            Some(outer) if outer.1 == n * step => *outer = (outer.0 * n, step),
            _ => axes.push((n, step)),
        }
    }
    let y = Shared::new(y);
    let Some(&(width, step)) = axes.last() else {
        copy_rows(context, 1, x.len(), x, &y, |_| (0, 0));
        return;
    };
    let outer = &axes[..axes.len() - 1];
    if step == 1 {
        let rows = x.len() / width;
        copy_rows(context, rows, width, x, &y, |row| {
            (position(outer, row), row * width)
        });
        return;
    }
    // The axis that the input runs along moves as strips of columns.
    let fast = outer.iter().position(|a| a.1 == 1).unwrap_or(0);
    let (columns, column_step) = outer[fast];
    let others: Vec<(usize, usize)> = outer
        .iter()
        .enumerate()
        .filter(|(i, _)| *i != fast)
        .map(|(_, a)| *a)
        .collect();
    // Steps of the other axes in the result.
    let mut to_steps = vec![width; axes.len()];
    for i in (1..outer.len()).rev() {
        to_steps[i - 1] = to_steps[i] * outer[i].0;
    }
    let to_others: Vec<usize> = (0..outer.len())
        .filter(|i| *i != fast)
        .map(|i| to_steps[i])
        .collect();
    let strips = columns.div_ceil(STRIP);
    let count = others.iter().map(|a| a.0).product::<usize>() * strips;
    context.ranges(count, (CHUNK / (width * STRIP)).max(1), |range| {
        for i in range {
            let first = i % strips * STRIP;
            let n = STRIP.min(columns - first);
            let (mut rest, mut from, mut to) = (i / strips, first * column_step, 0);
            for (axis, to_step) in others.iter().zip(&to_others).rev() {
                from += rest % axis.0 * axis.1;
                to += rest % axis.0 * to_step;
                rest /= axis.0;
            }
            to += first * to_steps[fast];
            for column in 0..n {
                // SAFETY: every row of the result is written by one strip.
                let y = unsafe { y.part(to + column * to_steps[fast], width) };
                let x = &x[from + column * column_step..];
                for (y, x) in y.iter_mut().zip(x.iter().step_by(step)) {
                    *y = *x;
                }
            }
        }
    });
}

/// The input position of the element `i` of the axes given.
fn position(axes: &[(usize, usize)], mut i: usize) -> usize {
    let mut from = 0;
    for &(n, step) in axes.iter().rev() {
        from += i % n * step;
        i /= n;
    }
    from
}
