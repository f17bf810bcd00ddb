//! Operators on single elements and pairs, products of matrices, quantization.

use super::{View, f32s};
use crate::{Activation, Binary, DType, GraphError, Node, Tensor, TensorData};

impl Activation {
    /// The function itself, computed in f64 and rounded once.
    pub fn apply(self, x: f32) -> f32 {
        let v = f64::from(x);
        let hard_sigmoid = |v: f64| (v / 6.0 + 0.5).clamp(0.0, 1.0);
        let sigmoid = |v: f64| 1.0 / (1.0 + (-v).exp());
        let y = match self {
            Activation::Relu => v.max(0.0),
            Activation::Relu6 => v.clamp(0.0, 6.0),
            Activation::LeakyRelu { slope } if v < 0.0 => v * f64::from(slope),
            Activation::LeakyRelu { .. } => v,
            Activation::HardSwish => v * hard_sigmoid(v),
            Activation::HardSigmoid => hard_sigmoid(v),
            Activation::Sigmoid => sigmoid(v),
            Activation::Silu => v * sigmoid(v),
            Activation::GeluErf => 0.5 * v * (1.0 + libm::erf(v * std::f64::consts::FRAC_1_SQRT_2)),
            Activation::GeluTanh => {
                let inner = (2.0 / std::f64::consts::PI).sqrt() * (v + 0.044_715 * v * v * v);
                0.5 * v * (1.0 + inner.tanh())
            }
            Activation::Tanh => v.tanh(),
            Activation::Sqrt => v.sqrt(),
            Activation::Clip { low, high } => v.max(f64::from(low)).min(f64::from(high)),
        };
        y as f32
    }
}

/// The position in `operand` of element `i` of the broadcast result.
fn broadcast_index(i: usize, result: &[usize], operand: &[usize]) -> usize {
    let missing = result.len() - operand.len();
    let (mut rest, mut at, mut step) = (i, 0, 1);
    for axis in (0..result.len()).rev() {
        let k = rest % result[axis];
        rest /= result[axis];
        if axis >= missing {
            let n = operand[axis - missing];
            at += if n == 1 { 0 } else { k * step };
            step *= n;
        }
    }
    at
}

/// The shape that both stretch to; shape inference has checked that they fit.
fn broadcast(a: &[usize], b: &[usize]) -> Vec<usize> {
    let rank = a.len().max(b.len());
    let axis = |s: &[usize], i: usize| (i + s.len()).checked_sub(rank).map_or(1, |i| s[i]);
    (0..rank)
        .map(|i| match (axis(a, i), axis(b, i)) {
            (1, n) => n,
            (n, _) => n,
        })
        .collect()
}

pub(super) fn binary(f: Binary, a: View<'_>, b: View<'_>) -> Result<Tensor, GraphError> {
    let shape = broadcast(a.shape, b.shape);
    let data: Vec<f32> = (0..shape.iter().product())
        .map(|i| {
            let at = |v: View<'_>| v.data[broadcast_index(i, &shape, v.shape)];
            f.apply(at(a), at(b))
        })
        .collect();
    Tensor::new(&shape, data)
}

pub(super) fn linear(
    x: View<'_>,
    weight: View<'_>,
    bias: Option<&[f32]>,
) -> Result<Tensor, GraphError> {
    let (out, features) = (weight.shape[0], weight.shape[1]);
    let mut data = Vec::with_capacity(x.data.len() / features.max(1) * out);
    for row in x.data.chunks_exact(features.max(1)) {
        for o in 0..out {
            let w = &weight.data[o * features..][..features];
            data.push((dot(row, w) + bias.map_or(0.0, |b| f64::from(b[o]))) as f32);
        }
    }
    let mut shape = x.shape.to_vec();
    shape[x.shape.len() - 1] = out;
    Tensor::new(&shape, data)
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter()
        .zip(b)
        .map(|(&a, &b)| f64::from(a) * f64::from(b))
        .sum()
}

pub(super) fn matmul(a: View<'_>, b: View<'_>) -> Result<Tensor, GraphError> {
    let (ra, rb) = (a.shape.len(), b.shape.len());
    let (m, k, n) = (a.shape[ra - 2], a.shape[ra - 1], b.shape[rb - 1]);
    let (lead_a, lead_b) = (&a.shape[..ra - 2], &b.shape[..rb - 2]);
    let lead = broadcast(lead_a, lead_b);
    let mut data = Vec::new();
    for batch in 0..lead.iter().product() {
        let a = &a.data[broadcast_index(batch, &lead, lead_a) * m * k..][..m * k];
        let b = &b.data[broadcast_index(batch, &lead, lead_b) * k * n..][..k * n];
        for i in 0..m {
            for j in 0..n {
                let product = |l: usize| f64::from(a[i * k + l]) * f64::from(b[l * n + j]);
                data.push((0..k).map(product).sum::<f64>() as f32);
            }
        }
    }
    Tensor::new(&[&lead[..], &[m, n]].concat(), data)
}

/// Which scale applies to element `i`.
fn scale_index(i: usize, shape: &[usize], axis: usize, scales: usize) -> usize {
    if scales == 1 {
        return 0;
    }
    let (_, n, inner) = super::around(shape, axis);
    i / inner % n
}

/// The elements as integers.
fn integers(tensor: &Tensor) -> Vec<i32> {
    match tensor.data() {
        TensorData::U8(v) => v.iter().map(|&v| i32::from(v)).collect(),
        TensorData::I8(v) => v.iter().map(|&v| i32::from(v)).collect(),
        TensorData::U16(v) => v.iter().map(|&v| i32::from(v)).collect(),
        TensorData::I32(v) => v.to_vec(),
        TensorData::I64(v) => v.iter().map(|&v| v as i32).collect(),
        TensorData::F32(v) => v.iter().map(|&v| v as i32).collect(),
    }
}

pub(super) fn quantize(node: &Node, inputs: &[&Tensor], axis: usize) -> Result<Tensor, GraphError> {
    let (x, scale) = (f32s(node, inputs[0])?, f32s(node, inputs[1])?);
    let zero = integers(inputs[2]);
    let shape = inputs[0].shape();
    let steps = x.iter().enumerate().map(|(i, v)| {
        let s = scale_index(i, shape, axis, scale.len());
        (v / scale[s]).round_ties_even() + zero[s] as f32
    });
    match inputs[2].dtype() {
        DType::U8 => Tensor::new(shape, steps.map(|q| q as u8).collect::<Vec<_>>()),
        _ => Tensor::new(shape, steps.map(|q| q as i8).collect::<Vec<_>>()),
    }
}

pub(super) fn dequantize(
    node: &Node,
    inputs: &[&Tensor],
    axis: usize,
) -> Result<Tensor, GraphError> {
    let (x, scale, zero) = (
        integers(inputs[0]),
        f32s(node, inputs[1])?,
        integers(inputs[2]),
    );
    let shape = inputs[0].shape();
    let values = x.iter().enumerate().map(|(i, v)| {
        let s = scale_index(i, shape, axis, scale.len());
        (v - zero[s]) as f32 * scale[s]
    });
    Tensor::new(shape, values.collect::<Vec<f32>>())
}
