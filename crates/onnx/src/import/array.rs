//! Row-major arrays of any element type: what constants go through before they reach a graph.

/// The number of elements of `dims`; `None` if it does not fit.
pub(super) fn elements(dims: &[usize]) -> Option<usize> {
    dims.iter().try_fold(1usize, |n, &d| n.checked_mul(d))
}

/// Axis `i` of the result is axis `perm[i]`.
pub(super) fn permute<T: Copy>(dims: &[usize], v: &[T], perm: &[usize]) -> (Vec<usize>, Vec<T>) {
    let strides = strides(dims);
    let to: Vec<usize> = perm.iter().map(|&p| dims[p]).collect();
    let steps: Vec<usize> = perm.iter().map(|&p| strides[p]).collect();
    (to.clone(), walk(&to, &steps, v))
}

/// The elements stretched to `to`, whose axes fit by NumPy's rules.
pub(super) fn expand<T: Copy>(dims: &[usize], v: &[T], to: &[usize]) -> Vec<T> {
    let missing = to.len() - dims.len();
    let strides = strides(dims);
    let steps: Vec<usize> = (0..to.len())
        .map(|i| match i.checked_sub(missing) {
            Some(own) if dims[own] != 1 => strides[own],
            _ => 0,
        })
        .collect();
    walk(to, &steps, v)
}

/// The shape that both stretch to by NumPy's rules.
pub(super) fn broadcast(a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
    let rank = a.len().max(b.len());
    let axis = |s: &[usize], i: usize| (i + s.len()).checked_sub(rank).map_or(1, |i| s[i]);
    (0..rank)
        .map(|i| match (axis(a, i), axis(b, i)) {
            (a, b) if a == b => Some(a),
            (1, n) | (n, 1) => Some(n),
            _ => None,
        })
        .collect()
}

/// The elements at `positions` along `axis`.
pub(super) fn select<T: Copy>(dims: &[usize], v: &[T], axis: usize, positions: &[usize]) -> Vec<T> {
    let inner: usize = dims[axis + 1..].iter().product();
    let outer: usize = dims[..axis].iter().product();
    let mut out = Vec::with_capacity(outer * positions.len() * inner);
    for o in 0..outer {
        for &p in positions {
            let at = (o * dims[axis] + p) * inner;
            out.extend_from_slice(&v[at..at + inner]);
        }
    }
    out
}

/// Arrays joined along `axis`; all other axes are alike.
pub(super) fn concat<T: Copy>(parts: &[(&[usize], &[T])], axis: usize) -> Vec<T> {
    let outer: usize = parts[0].0[..axis].iter().product();
    let mut out = Vec::new();
    for o in 0..outer {
        for (dims, v) in parts {
            let chunk: usize = dims[axis..].iter().product();
            out.extend_from_slice(&v[o * chunk..(o + 1) * chunk]);
        }
    }
    out
}

/// Running sums along `axis`.
pub(super) fn running_sums(dims: &[usize], v: &[f32], axis: usize) -> Vec<f32> {
    let inner: usize = dims[axis + 1..].iter().product();
    let mut out = v.to_vec();
    for i in 0..out.len() {
        if inner > 0 && !(i / inner).is_multiple_of(dims[axis]) {
            out[i] += out[i - inner];
        }
    }
    out
}

fn strides(dims: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; dims.len()];
    for i in (1..dims.len()).rev() {
        strides[i - 1] = strides[i] * dims[i];
    }
    strides
}

/// Reads `v` in row-major order of `dims`, stepping `steps[i]` along axis `i`.
fn walk<T: Copy>(dims: &[usize], steps: &[usize], v: &[T]) -> Vec<T> {
    let total: usize = dims.iter().product();
    let mut out = Vec::with_capacity(total);
    let mut index = vec![0usize; dims.len()];
    let mut at = 0;
    for _ in 0..total {
        out.push(v[at]);
        for i in (0..dims.len()).rev() {
            index[i] += 1;
            at += steps[i];
            if index[i] < dims[i] {
                break;
            }
            at -= steps[i] * dims[i];
            index[i] = 0;
        }
    }
    out
}
