//! Operators that look along an axis: normalisations, softmax, reductions, arg-max.

use super::View;
use crate::{DType, GraphError, Reduce, ReduceKind, Tensor, TensorData};

/// Mean and biased variance.
fn moments(values: impl Iterator<Item = f32> + Clone) -> (f64, f64) {
    let n = values.clone().count() as f64;
    let mean = values.clone().map(f64::from).sum::<f64>() / n;
    let variance = values.map(|v| (f64::from(v) - mean).powi(2)).sum::<f64>() / n;
    (mean, variance)
}

/// `f` on every vector along `axis`: given its elements, writes as many.
fn along(
    x: View<'_>,
    axis: usize,
    mut f: impl FnMut(&[f32], &mut [f32]),
) -> Result<Tensor, GraphError> {
    let (outer, n, inner) = x.around(axis);
    let mut data = vec![0f32; x.data.len()];
    let (mut from, mut to) = (vec![0f32; n], vec![0f32; n]);
    for o in 0..outer {
        for i in 0..inner {
            let at = |k: usize| (o * n + k) * inner + i;
            for k in 0..n {
                from[k] = x.data[at(k)];
            }
            f(&from, &mut to);
            for k in 0..n {
                data[at(k)] = to[k];
            }
        }
    }
    Tensor::new(x.shape, data)
}

pub(super) fn batch_norm(
    x: View<'_>,
    [weight, bias, mean, variance]: [&[f32]; 4],
    eps: f32,
) -> Result<Tensor, GraphError> {
    let (_, channels, inner) = x.around(1);
    let data: Vec<f32> = (x.data.iter().enumerate())
        .map(|(i, &v)| {
            let c = i / inner % channels;
            let scale = f64::from(weight[c]) / (f64::from(variance[c]) + f64::from(eps)).sqrt();
            ((f64::from(v) - f64::from(mean[c])) * scale + f64::from(bias[c])) as f32
        })
        .collect();
    Tensor::new(x.shape, data)
}

pub(super) fn group_norm(
    x: View<'_>,
    weight: &[f32],
    bias: &[f32],
    groups: usize,
    eps: f32,
) -> Result<Tensor, GraphError> {
    let (_, channels, inner) = x.around(1);
    let size = channels / groups * inner;
    let mut data = Vec::with_capacity(x.data.len());
    for (g, group) in x.data.chunks_exact(size.max(1)).enumerate() {
        let (mean, variance) = moments(group.iter().copied());
        let scale = 1.0 / (variance + f64::from(eps)).sqrt();
        for (i, &v) in group.iter().enumerate() {
            let c = g % groups * (channels / groups) + i / inner;
            let normal = (f64::from(v) - mean) * scale;
            data.push((normal * f64::from(weight[c]) + f64::from(bias[c])) as f32);
        }
    }
    Tensor::new(x.shape, data)
}

pub(super) fn layer_norm(
    x: View<'_>,
    weight: &[f32],
    bias: &[f32],
    axis: usize,
    eps: f32,
) -> Result<Tensor, GraphError> {
    along(x, axis, |from, to| {
        let (mean, variance) = moments(from.iter().copied());
        let scale = 1.0 / (variance + f64::from(eps)).sqrt();
        for (k, v) in from.iter().enumerate() {
            let normal = (f64::from(*v) - mean) * scale;
            to[k] = (normal * f64::from(weight[k]) + f64::from(bias[k])) as f32;
        }
    })
}

pub(super) fn l2_normalize(x: View<'_>, axis: usize, eps: f32) -> Result<Tensor, GraphError> {
    along(x, axis, |from, to| {
        let square: f64 = from.iter().map(|&v| f64::from(v).powi(2)).sum();
        let norm = square.sqrt().max(f64::from(eps));
        for (to, v) in to.iter_mut().zip(from) {
            *to = (f64::from(*v) / norm) as f32;
        }
    })
}

pub(super) fn softmax(x: View<'_>, axis: usize) -> Result<Tensor, GraphError> {
    along(x, axis, |from, to| {
        let max = from.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let e = |v: f32| (f64::from(v) - f64::from(max)).exp();
        let sum: f64 = from.iter().map(|&v| e(v)).sum();
        for (to, v) in to.iter_mut().zip(from) {
            *to = (e(*v) / sum) as f32;
        }
    })
}

pub(super) fn reduce(r: &Reduce, x: View<'_>) -> Result<Tensor, GraphError> {
    let kept: Vec<usize> = (x.shape.iter().enumerate())
        .map(|(i, &n)| if r.axes.contains(&i) { 1 } else { n })
        .collect();
    let start = match r.kind {
        ReduceKind::Max => f64::NEG_INFINITY,
        ReduceKind::Mean | ReduceKind::Sum => 0.0,
    };
    let mut sums = vec![start; kept.iter().product()];
    for (i, &v) in x.data.iter().enumerate() {
        // The position in the result: the row-major index with reduced axes at zero.
        let (mut rest, mut at, mut step) = (i, 0, 1);
        for axis in (0..x.shape.len()).rev() {
            if kept[axis] > 1 {
                at += rest % x.shape[axis] * step;
                step *= x.shape[axis];
            }
            rest /= x.shape[axis];
        }
        sums[at] = match r.kind {
            ReduceKind::Max => sums[at].max(f64::from(v)),
            ReduceKind::Mean | ReduceKind::Sum => sums[at] + f64::from(v),
        };
    }
    let n: usize = r.axes.iter().map(|&a| x.shape[a]).product();
    let divisor = if r.kind == ReduceKind::Mean {
        n as f64
    } else {
        1.0
    };
    let data: Vec<f32> = sums.iter().map(|s| (s / divisor) as f32).collect();
    let tensor = Tensor::new(&kept, data)?;
    if r.keep_dims {
        return Ok(tensor);
    }
    let dims = x.shape.iter().enumerate();
    let shape: Vec<usize> = dims
        .filter(|(i, _)| !r.axes.contains(i))
        .map(|(_, &n)| n)
        .collect();
    tensor.reshaped(&shape)
}

pub(super) fn arg_max(x: View<'_>, axis: usize, dtype: DType) -> Result<Tensor, GraphError> {
    let (outer, n, inner) = x.around(axis);
    let mut labels = Vec::with_capacity(outer * inner);
    for o in 0..outer {
        for i in 0..inner {
            let at = |k: usize| x.data[(o * n + k) * inner + i];
            let best = (1..n).fold(0, |best, k| if at(k) > at(best) { k } else { best });
            labels.push(best);
        }
    }
    let mut shape = x.shape.to_vec();
    shape.remove(axis);
    let data: TensorData = match dtype {
        DType::U8 => labels.iter().map(|&l| l as u8).collect::<Vec<_>>().into(),
        DType::U16 => labels.iter().map(|&l| l as u16).collect::<Vec<_>>().into(),
        DType::I32 => labels.iter().map(|&l| l as i32).collect::<Vec<_>>().into(),
        _ => labels.iter().map(|&l| l as i64).collect::<Vec<_>>().into(),
    };
    Tensor::new(&shape, data)
}
