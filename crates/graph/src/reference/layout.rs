//! Operators that move elements without changing them.

use super::{View, around};
use crate::{GraphError, Node, Slice, Tensor, TensorData};

/// A tensor of `shape` whose element `i` is element `from(i)` of `x`, for every type.
fn gather(
    x: &Tensor,
    shape: &[usize],
    from: impl Fn(usize) -> usize,
) -> Result<Tensor, GraphError> {
    let n = shape.iter().product();
    macro_rules! each {
        ($($variant:ident),*) => {
            match x.data() {
                $(TensorData::$variant(v) => (0..n).map(|i| v[from(i)]).collect::<Vec<_>>().into(),)*
            }
        };
    }
    let data: TensorData = each!(F32, I64, I32, U16, U8, I8);
    Tensor::new(shape, data)
}

pub(super) fn concat(inputs: &[&Tensor], axis: usize) -> Result<Tensor, GraphError> {
    let sizes: Vec<usize> = inputs.iter().map(|t| t.shape()[axis]).collect();
    let mut shape = inputs[0].shape().to_vec();
    shape[axis] = sizes.iter().sum();
    let (outer, _, inner) = around(&shape, axis);
    macro_rules! each {
        ($($variant:ident),*) => {
            match inputs[0].data() {
                $(TensorData::$variant(_) => {
                    let mut out = Vec::with_capacity(shape.iter().product());
                    for o in 0..outer {
                        for (tensor, n) in inputs.iter().zip(&sizes) {
                            if let TensorData::$variant(v) = tensor.data() {
                                out.extend_from_slice(&v[o * n * inner..][..n * inner]);
                            }
                        }
                    }
                    TensorData::from(out)
                })*
            }
        };
    }
    let data = each!(F32, I64, I32, U16, U8, I8);
    Tensor::new(&shape, data)
}

pub(crate) fn transpose(x: &Tensor, perm: &[usize]) -> Result<Tensor, GraphError> {
    let shape: Vec<usize> = perm.iter().map(|&p| x.shape()[p]).collect();
    let mut strides = vec![1; perm.len()];
    for i in (1..perm.len()).rev() {
        strides[i - 1] = strides[i] * x.shape()[i];
    }
    gather(x, &shape, |i| {
        let (mut rest, mut at) = (i, 0);
        for axis in (0..shape.len()).rev() {
            at += rest % shape[axis] * strides[perm[axis]];
            rest /= shape[axis];
        }
        at
    })
}

pub(super) fn reshape(node: &Node, x: &Tensor) -> Result<Tensor, GraphError> {
    // The node's shape is what inference made of the request; an open batch is what is left.
    let known = node.shape.elements().unwrap_or(0).max(1);
    x.reshaped(
        &node
            .shape
            .with_batch(x.len() / known)
            .sizes()
            .unwrap_or_default(),
    )
}

pub(super) fn slice(x: &Tensor, s: &Slice) -> Result<Tensor, GraphError> {
    let (_, n, inner) = around(x.shape(), s.axis);
    let kept = (s.end - s.start).div_ceil(s.step);
    let mut shape = x.shape().to_vec();
    shape[s.axis] = kept;
    gather(x, &shape, |i| {
        let (o, k, rest) = (i / inner / kept, i / inner % kept, i % inner);
        (o * n + s.start + k * s.step) * inner + rest
    })
}

pub(super) fn pad(x: View<'_>, pads: &[(usize, usize)], value: f32) -> Result<Tensor, GraphError> {
    let sizes = x.shape.iter().zip(pads);
    let shape: Vec<usize> = sizes
        .map(|(&n, &(before, after))| n + before + after)
        .collect();
    let mut data = vec![value; shape.iter().product()];
    for (i, &v) in x.data.iter().enumerate() {
        let (mut rest, mut at, mut step) = (i, 0, 1);
        for axis in (0..shape.len()).rev() {
            at += (rest % x.shape[axis] + pads[axis].0) * step;
            rest /= x.shape[axis];
            step *= shape[axis];
        }
        data[at] = v;
    }
    Tensor::new(&shape, data)
}
