//! Operators that look at a neighbourhood: convolutions, pools, resampling.

use super::View;
use crate::{Conv, ConvTranspose, GraphError, Pool, PoolKind, Resize, Tensor, sampling};

/// Three spatial sizes; missing leading axes are 1 (0 for paddings).
fn three<T: Copy>(sizes: &[T], missing: T) -> [T; 3] {
    let mut out = [missing; 3];
    out[3 - sizes.len()..].copy_from_slice(sizes);
    out
}

/// All positions below `size`, in row-major order.
fn positions(size: [usize; 3]) -> impl Iterator<Item = [usize; 3]> {
    let [d, h, w] = size;
    (0..d).flat_map(move |z| (0..h).flat_map(move |y| (0..w).map(move |x| [z, y, x])))
}

fn index(size: [usize; 3], [z, y, x]: [usize; 3]) -> usize {
    (z * size[1] + y) * size[2] + x
}

fn output(shape: &[usize], channels: usize, size: [usize; 3]) -> Vec<usize> {
    let spatial = shape.len() - 2;
    [&[shape[0], channels], &size[3 - spatial..]].concat()
}

/// Where tap `k` of the window at `o` lies on an input of `size`, unless in the padding.
fn tap(
    o: [usize; 3],
    k: [usize; 3],
    stride: [usize; 3],
    dilation: [usize; 3],
    pads: [(usize, usize); 3],
    size: [usize; 3],
) -> Option<[usize; 3]> {
    let mut at = [0; 3];
    for i in 0..3 {
        at[i] = (o[i] * stride[i] + k[i] * dilation[i]).checked_sub(pads[i].0)?;
        if at[i] >= size[i] {
            return None;
        }
    }
    Some(at)
}

pub(super) fn conv(
    c: &Conv,
    x: View<'_>,
    weight: View<'_>,
    bias: Option<&[f32]>,
) -> Result<Tensor, GraphError> {
    let size = three(&x.shape[2..], 1);
    let kernel = three(&c.kernel, 1);
    let (stride, dilation) = (three(&c.stride, 1), three(&c.dilation, 1));
    let pads = three(&c.pads, (0, 0));
    let mut out_size = [0; 3];
    for i in 0..3 {
        let span = (kernel[i] - 1) * dilation[i] + 1;
        out_size[i] = (size[i] + pads[i].0 + pads[i].1 - span) / stride[i] + 1;
    }
    let (channels, out) = (x.shape[1], weight.shape[0]);
    let (group_in, group_out) = (channels / c.groups, out / c.groups);
    let (area, taps) = (
        size.iter().product::<usize>(),
        kernel.iter().product::<usize>(),
    );
    let mut data = Vec::with_capacity(x.shape[0] * out * out_size.iter().product::<usize>());
    for n in 0..x.shape[0] {
        for o in 0..out {
            let first = o / group_out * group_in;
            for at in positions(out_size) {
                let mut sum = bias.map_or(0.0, |b| f64::from(b[o]));
                for (t, k) in positions(kernel).enumerate() {
                    let Some(p) = tap(at, k, stride, dilation, pads, size) else {
                        continue;
                    };
                    for i in 0..group_in {
                        let v = x.data[(n * channels + first + i) * area + index(size, p)];
                        let w = weight.data[(o * group_in + i) * taps + t];
                        sum += f64::from(v) * f64::from(w);
                    }
                }
                data.push(sum as f32);
            }
        }
    }
    Tensor::new(&output(x.shape, out, out_size), data)
}

pub(super) fn conv_transpose(
    c: &ConvTranspose,
    x: View<'_>,
    weight: View<'_>,
    bias: Option<&[f32]>,
) -> Result<Tensor, GraphError> {
    let size = three(&x.shape[2..], 1);
    let kernel = three(&c.kernel, 1);
    let (stride, dilation) = (three(&c.stride, 1), three(&c.dilation, 1));
    let (pads, extra) = (three(&c.pads, (0, 0)), three(&c.output_padding, 0));
    let mut out_size = [0; 3];
    for i in 0..3 {
        let full = (size[i] - 1) * stride[i] + (kernel[i] - 1) * dilation[i] + 1 + extra[i];
        out_size[i] = full - pads[i].0 - pads[i].1;
    }
    let (channels, group_out) = (x.shape[1], weight.shape[1]);
    let (group_in, out) = (channels / c.groups, group_out * c.groups);
    let (area, taps) = (
        size.iter().product::<usize>(),
        kernel.iter().product::<usize>(),
    );
    let out_area = out_size.iter().product::<usize>();
    let mut sums = vec![0f64; x.shape[0] * out * out_area];
    for n in 0..x.shape[0] {
        for i in 0..channels {
            let first = i / group_in * group_out;
            for at in positions(size) {
                let v = f64::from(x.data[(n * channels + i) * area + index(size, at)]);
                for (t, k) in positions(kernel).enumerate() {
                    // A transposed convolution scatters where a convolution would gather.
                    let Some(p) = tap(at, k, stride, dilation, pads, out_size) else {
                        continue;
                    };
                    for o in 0..group_out {
                        let w = f64::from(weight.data[(i * group_out + o) * taps + t]);
                        sums[(n * out + first + o) * out_area + index(out_size, p)] += v * w;
                    }
                }
            }
        }
    }
    let data: Vec<f32> = (sums.iter().enumerate())
        .map(|(i, s)| (s + bias.map_or(0.0, |b| f64::from(b[i / out_area % out]))) as f32)
        .collect();
    Tensor::new(&output(x.shape, out, out_size), data)
}

pub(super) fn pool(p: &Pool, x: View<'_>) -> Result<Tensor, GraphError> {
    let size = three(&x.shape[2..], 1);
    let (kernel, stride) = (three(&p.kernel, 1), three(&p.stride, 1));
    let pads = three(&p.pads, (0, 0));
    let mut out_size = [0; 3];
    for i in 0..3 {
        out_size[i] = p.positions(size[i], kernel[i], stride[i], pads[i]);
    }
    let area = size.iter().product::<usize>();
    let mut data = Vec::with_capacity(x.shape[0] * x.shape[1] * out_size.iter().product::<usize>());
    for plane in x.data.chunks_exact(area) {
        for at in positions(out_size) {
            let inside = positions(kernel)
                .filter_map(|k| tap(at, k, stride, [1; 3], pads, size))
                .map(|p| plane[index(size, p)]);
            data.push(match p.kind {
                PoolKind::Max => inside.fold(f32::NEG_INFINITY, f32::max),
                PoolKind::Average { count_include_pad } => {
                    let (sum, n) = inside.fold((0.0, 0), |(s, n), v| (s + f64::from(v), n + 1));
                    let n = match count_include_pad {
                        // The window is cut at the padded end, as PyTorch does in ceil mode.
                        true => (0..3)
                            .map(|i| {
                                let begin = at[i] * stride[i];
                                kernel[i].min(size[i] + pads[i].0 + pads[i].1 - begin)
                            })
                            .product(),
                        false => n,
                    };
                    (sum / n as f64) as f32
                }
            });
        }
    }
    Tensor::new(&output(x.shape, x.shape[1], out_size), data)
}

pub(super) fn resize(r: &Resize, x: View<'_>) -> Result<Tensor, GraphError> {
    let mut shape = x.shape.to_vec();
    let mut data: Vec<f64> = x.data.iter().map(|&v| f64::from(v)).collect();
    // Separable: one axis after the other.
    for axis in (2..shape.len()).rev() {
        let taps = sampling::taps(r, axis - 2, shape[axis]);
        let (outer, n, inner) = super::around(&shape, axis);
        let mut next = Vec::with_capacity(outer * taps.len() * inner);
        for o in 0..outer {
            for taps in &taps {
                for i in 0..inner {
                    let at = |p: usize| data[(o * n + p) * inner + i];
                    next.push(taps.iter().map(|&(p, w)| at(p) * w).sum());
                }
            }
        }
        shape[axis] = taps.len();
        data = next;
    }
    Tensor::new(&shape, data.iter().map(|&v| v as f32).collect::<Vec<f32>>())
}
