//! What each operator is in PyTorch.

use slicewise_graph::{
    Activation, Binary, Conv, ConvTranspose, Coordinates, DType, GraphError, Node, Op, Pool,
    PoolKind, ReduceKind, Resize, ResizeMode, Tensor, sampling,
};

use super::source::{Writer, fixed, number, torch_type, truth, tuple};

impl Writer<'_> {
    /// The Python expression of what `node` computes.
    pub(super) fn expression(&mut self, node: &Node) -> Result<String, GraphError> {
        let x = self.input(node, 0);
        let second = |w: &Self| w.optional(node, 1);
        let third = |w: &Self| w.optional(node, 2);
        Ok(match &node.op {
            Op::Input | Op::Parameter(_) => {
                return Err(unsupported(node, "is not computed".into()));
            }
            Op::Conv(c) => conv(c, &x, &second(self), &third(self)),
            Op::ConvTranspose(c) => {
                let shape = fixed(node)?;
                conv_transpose(c, &x, &second(self), &third(self), &shape)
            }
            Op::BatchNorm { eps } => {
                let [w, b, mean, var] = [1, 2, 3, 4].map(|i| self.input(node, i));
                let eps = number(*eps);
                format!("F.batch_norm({x}, {mean}, {var}, {w}, {b}, False, 0.0, {eps})")
            }
            Op::GroupNorm { groups, eps } => {
                let (w, b) = (second(self), third(self));
                format!("F.group_norm({x}, {groups}, {w}, {b}, {})", number(*eps))
            }
            Op::LayerNorm { axis, eps } => {
                let sizes = fixed(node)?;
                let (w, b) = (second(self), third(self));
                let norm = |x: &str| {
                    let n = sizes[*axis];
                    format!("F.layer_norm({x}, ({n},), {w}, {b}, {})", number(*eps))
                };
                match axis + 1 == sizes.len() {
                    true => norm(&x),
                    false => {
                        let last = norm(&format!("{x}.movedim({axis}, -1)"));
                        format!("{last}.movedim(-1, {axis})")
                    }
                }
            }
            Op::Linear => format!("F.linear({x}, {}, {})", second(self), third(self)),
            Op::MatMul => format!("torch.matmul({x}, {})", second(self)),
            Op::Pool(p) => pool(p, &x, &self.sizes(node, 0)?, &fixed(node)?),
            Op::Activation(f) => activation(*f, &x),
            Op::Binary(f) => {
                let sign = match f {
                    Binary::Add => '+',
                    Binary::Sub => '-',
                    Binary::Mul => '*',
                    Binary::Div => '/',
                };
                format!("{x} {sign} {}", second(self))
            }
            Op::Concat { axis } => {
                let inputs = (0..node.inputs.len()).map(|i| self.input(node, i));
                let inputs: Vec<String> = inputs.collect();
                format!("torch.cat(({},), {axis})", inputs.join(", "))
            }
            Op::Resize(r) => {
                let sizes = self.sizes(node, 0)?;
                self.resize(r, x, &sizes[2..])
            }
            Op::Softmax { axis } => format!("torch.softmax({x}, {axis})"),
            Op::Reduce(r) => {
                let f = match r.kind {
                    ReduceKind::Mean => "mean",
                    ReduceKind::Sum => "sum",
                    ReduceKind::Max => "amax",
                };
                let axes = tuple(r.axes.iter().copied());
                format!("torch.{f}({x}, {axes}, keepdim={})", truth(r.keep_dims))
            }
            Op::Transpose { perm } => format!("{x}.permute({})", tuple(perm.iter().copied())),
            Op::Reshape { .. } => format!("{x}.reshape({})", tuple(fixed(node)?)),
            Op::Slice(s) => {
                let before = ":, ".repeat(s.axis);
                format!("{x}[{before}{}:{}:{}]", s.start, s.end, s.step)
            }
            Op::Pad { pads, value } => pad(&x, pads, *value),
            Op::L2Normalize { axis, eps } => {
                format!("F.normalize({x}, dim={axis}, eps={})", number(*eps))
            }
            Op::ArgMax { axis, dtype } => {
                format!("torch.argmax({x}, {axis}).to({})", torch_type(*dtype))
            }
            Op::Quantize { axis } => {
                let (scale, zero) = self.scale_and_zero(node, *axis)?;
                let (low, high) = match node.dtype {
                    DType::U8 => (0, 255),
                    _ => (-128, 127),
                };
                let rounded = format!("torch.round({x} / {scale}) + {zero}.to(torch.float32)");
                let dtype = torch_type(node.dtype);
                format!("({rounded}).clamp({low}, {high}).to({dtype})")
            }
            Op::Dequantize { axis } => {
                let (scale, zero) = self.scale_and_zero(node, *axis)?;
                let wide = "to(torch.int32)";
                format!("({x}.{wide} - {zero}.{wide}).to(torch.float32) * {scale}")
            }
        })
    }

    /// Scale and zero point of a quantization, stretched along the other axes.
    fn scale_and_zero(&self, node: &Node, axis: usize) -> Result<(String, String), GraphError> {
        let rank = fixed(node)?.len();
        let stretched = |i: usize| -> Result<String, GraphError> {
            let name = self.input(node, i);
            let sizes = self.sizes(node, i)?;
            if sizes.iter().product::<usize>() == 1 {
                return Ok(format!("{name}.reshape(())"));
            }
            let shape = (0..rank).map(|a| if a == axis { sizes[0] } else { 1 });
            Ok(format!("{name}.reshape({})", tuple(shape)))
        };
        debug_assert_ne!(self.dtype(node, 1), DType::I64, "scales are floats");
        Ok((stretched(1)?, stretched(2)?))
    }

    /// PyTorch's own resampling where it reads what the graph says, else one axis after the other by
    /// the taps that the graph defines.
    fn resize(&mut self, r: &Resize, x: String, input: &[usize]) -> String {
        if let Some(mode) = interpolation(r, input) {
            return format!("F.interpolate({x}, size={}, {mode})", tuple(r.size.clone()));
        }
        (0..input.len()).fold(x, |x, axis| {
            let taps = sampling::taps(r, axis, input[axis]);
            let at = axis + 2;
            if taps.iter().all(|t| t.len() == 1) {
                let index: Vec<i64> = taps.iter().map(|t| t[0].0 as i64).collect();
                return match Tensor::new(&[index.len()], index) {
                    Ok(index) => format!("{x}.index_select({at}, {})", self.parameter(index)),
                    Err(_) => x,
                };
            }
            let mut matrix = vec![0f32; taps.len() * input[axis]];
            for (i, taps) in taps.iter().enumerate() {
                for &(j, share) in taps {
                    matrix[i * input[axis] + j] += share as f32;
                }
            }
            let data = |i: usize| matrix[i];
            let matrix = self.parameter(Tensor::from_fn(&[taps.len(), input[axis]], data));
            format!("F.linear({x}.movedim({at}, -1), {matrix}).movedim(-1, {at})")
        })
    }
}

fn unsupported(node: &Node, problem: String) -> GraphError {
    GraphError::Unsupported {
        node: node.name.clone(),
        op: node.op.name(),
        problem,
    }
}

/// `F.pad` of `x`, which lists the last axis first.
fn pad(x: &str, pads: &[(usize, usize)], value: f32) -> String {
    let pads = pads
        .iter()
        .rev()
        .flat_map(|&(before, after)| [before, after]);
    format!("F.pad({x}, {}, value={})", tuple(pads), number(value))
}

fn is_even(pads: &[(usize, usize)]) -> bool {
    pads.iter().all(|(before, after)| before == after)
}

fn conv(c: &Conv, x: &str, weight: &str, bias: &str) -> String {
    let (x, pads) = match is_even(&c.pads) {
        true => (x.to_owned(), tuple(c.pads.iter().map(|p| p.0))),
        false => (pad(x, &c.pads, 0.0), tuple(c.pads.iter().map(|_| 0))),
    };
    let (stride, dilation) = (tuple(c.stride.clone()), tuple(c.dilation.clone()));
    let (rank, groups) = (c.kernel.len(), c.groups);
    format!("F.conv{rank}d({x}, {weight}, {bias}, {stride}, {pads}, {dilation}, {groups})")
}

/// PyTorch cuts the same from both ends; what is more at one of them is cut from the result.
fn conv_transpose(c: &ConvTranspose, x: &str, weight: &str, bias: &str, shape: &[usize]) -> String {
    let common = c.pads.iter().map(|&(before, after)| before.min(after));
    let (stride, dilation) = (tuple(c.stride.clone()), tuple(c.dilation.clone()));
    let (pads, extra) = (tuple(common), tuple(c.output_padding.clone()));
    let (rank, groups) = (c.kernel.len(), c.groups);
    let y = format!(
        "F.conv_transpose{rank}d({x}, {weight}, {bias}, {stride}, {pads}, {extra}, {groups}, \
         {dilation})"
    );
    if is_even(&c.pads) {
        return y;
    }
    let cuts = c.pads.iter().zip(&shape[2..]).map(|(&(before, after), n)| {
        let start = before - before.min(after);
        format!(", {start}:{}", start + n)
    });
    format!("{y}[:, :{}]", cuts.collect::<String>())
}

fn pool(p: &Pool, x: &str, input: &[usize], output: &[usize]) -> String {
    let rank = p.kernel.len();
    let (kernel, stride) = (tuple(p.kernel.clone()), tuple(p.stride.clone()));
    let fits = p.pads.iter().zip(&p.kernel).all(|(p, k)| p.0 * 2 <= *k);
    if is_even(&p.pads) && fits {
        let (pads, ceil) = (tuple(p.pads.iter().map(|p| p.0)), truth(p.ceil_mode));
        return match p.kind {
            PoolKind::Max => {
                format!("F.max_pool{rank}d({x}, {kernel}, {stride}, {pads}, 1, {ceil})")
            }
            PoolKind::Average { count_include_pad } => {
                let count = truth(count_include_pad);
                format!("F.avg_pool{rank}d({x}, {kernel}, {stride}, {pads}, {ceil}, {count})")
            }
        };
    }
    // Padded so that the last window ends where the input does: no rounding, no padding inside.
    let mut whole = vec![(0, 0), (0, 0)];
    let mut overhang = vec![(0, 0), (0, 0)];
    for i in 0..rank {
        let end = (output[i + 2] - 1) * p.stride[i] + p.kernel[i];
        let after = end.saturating_sub(input[i + 2] + p.pads[i].0);
        whole.push((p.pads[i].0, after));
        overhang.push((0, after.saturating_sub(p.pads[i].1)));
    }
    match p.kind {
        PoolKind::Max => {
            let x = pad(x, &whole, f32::NEG_INFINITY);
            format!("F.max_pool{rank}d({x}, {kernel}, {stride})")
        }
        PoolKind::Average { count_include_pad } => {
            // The share of each window that counts, by which the mean over all of it is divided.
            let ones = format!("torch.ones_like({x})");
            let counted = match count_include_pad {
                true => {
                    let inner: Vec<_> = (whole.iter().zip(&overhang))
                        .map(|(w, o)| (w.0, w.1 - o.1))
                        .collect();
                    pad(&pad(&ones, &inner, 1.0), &overhang, 0.0)
                }
                false => pad(&ones, &whole, 0.0),
            };
            let mean = |x: String| format!("F.avg_pool{rank}d({x}, {kernel}, {stride})");
            format!("{} / {}", mean(pad(x, &whole, 0.0)), mean(counted))
        }
    }
}

fn activation(f: Activation, x: &str) -> String {
    match f {
        Activation::Relu => format!("F.relu({x})"),
        Activation::Relu6 => format!("F.relu6({x})"),
        Activation::LeakyRelu { slope } => format!("F.leaky_relu({x}, {})", number(slope)),
        Activation::HardSwish => format!("F.hardswish({x})"),
        Activation::HardSigmoid => format!("F.hardsigmoid({x})"),
        Activation::Sigmoid => format!("torch.sigmoid({x})"),
        Activation::Silu => format!("F.silu({x})"),
        Activation::GeluErf => format!("F.gelu({x})"),
        Activation::GeluTanh => format!("F.gelu({x}, approximate='tanh')"),
        Activation::Tanh => format!("torch.tanh({x})"),
        Activation::Sqrt => format!("torch.sqrt({x})"),
        Activation::Clip { low, high } => {
            format!("torch.clamp({x}, {}, {})", number(low), number(high))
        }
    }
}

/// The arguments of `F.interpolate` that do what `r` says; `None` where there are none.
fn interpolation(r: &Resize, input: &[usize]) -> Option<String> {
    let own_scales = r.scales.is_some() && r.coordinates != Coordinates::AlignCorners;
    if own_scales {
        return None;
    }
    let aligned = match r.coordinates {
        Coordinates::HalfPixel => false,
        Coordinates::AlignCorners => true,
        Coordinates::Asymmetric if r.mode == ResizeMode::Nearest => {
            return nearest_agrees(r, input).then(|| "mode='nearest'".into());
        }
        Coordinates::Asymmetric => return None,
    };
    let mode = match (r.mode, input.len()) {
        (ResizeMode::Nearest, _) => return None,
        (ResizeMode::Linear, 1) => "linear",
        (ResizeMode::Linear, 2) => "bilinear",
        (ResizeMode::Linear, _) => "trilinear",
        (ResizeMode::Cubic { .. }, 2) => "bicubic",
        (ResizeMode::Cubic { .. }, _) => return None,
    };
    let antialias = match r.mode {
        ResizeMode::Cubic { antialias: true } => ", antialias=True",
        _ => "",
    };
    let aligned = truth(aligned);
    Some(format!("mode='{mode}', align_corners={aligned}{antialias}"))
}

/// Whether PyTorch's 32-bit coordinates select the same samples as exact ones.
fn nearest_agrees(r: &Resize, input: &[usize]) -> bool {
    input.iter().enumerate().all(|(axis, &n)| {
        let scale = n as f32 / r.size[axis] as f32;
        let taps = sampling::taps(r, axis, n);
        taps.iter().enumerate().all(|(i, taps)| {
            let selected = ((i as f32 * scale).floor() as usize).min(n - 1);
            taps.iter().all(|t| t.0 == selected)
        })
    })
}
