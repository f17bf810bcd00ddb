//! The kernels of a plan, each with what was prepared for it.

use slicewise_graph::{Activation, Binary, Reduce, Slice};
use slicewise_kernels::{self as kernels, *};

use crate::values::{View, ViewMut, source};

/// What a step computes. Operands are in the order of the step's inputs.
#[derive(Debug)]
pub(crate) enum Kernel {
    /// Inputs: x and, with `residual`, what is added.
    Conv {
        conv: Convolution,
        epilogue: Finish,
    },
    /// Inputs as above.
    Winograd {
        conv: Winograd,
        epilogue: Finish,
    },
    /// A convolution of small numbers. Inputs: x and, with `residual`, what is added, perhaps
    /// `upsampled` from half the height and `width` of the result.
    Packed {
        conv: PackedConvolution,
        epilogue: Finish,
        upsampled: bool,
        width: usize,
        words: Packings,
    },
    /// Inputs: x and a map of half the height and width, which is upsampled and added.
    ConvUpsampled {
        conv: Convolution,
        width: usize,
    },
    /// Inputs as for a convolution.
    Depthwise {
        conv: Depthwise,
        epilogue: Finish,
    },
    /// A depthwise convolution with the pointwise ones around it. Inputs as above.
    Separable {
        conv: Separable,
        epilogue: Finish,
    },
    /// A convolution of which only the strongest channel is kept.
    ConvLabels(Convolution),
    /// A 1×1 convolution, or a transposed one without overlap, of which only the strongest channel
    /// is kept.
    LabelConvolution(LabelConvolution),
    /// A resampling on two axes of which only the strongest channel is kept, perhaps with the 1×1
    /// convolution before it.
    LabelHead(LabelHead),
    Upconvolution {
        conv: Upconvolution,
        activation: Option<Activation>,
    },
    ChannelAffine {
        scale: Vec<f32>,
        shift: Vec<f32>,
        area: usize,
        activation: Option<Activation>,
    },
    GroupNorm {
        groups: usize,
        eps: f32,
        weight: Vec<f32>,
        bias: Vec<f32>,
        area: usize,
        activation: Option<Activation>,
    },
    LayerNorm {
        eps: f32,
        weight: Vec<f32>,
        bias: Vec<f32>,
        inner: usize,
    },
    /// Inputs: x and, with `residual`, what is added.
    Linear {
        linear: Linear,
        epilogue: Finish,
    },
    MatMul(MatMul),
    Pool(Pooling),
    Activation(Activation),
    Binary(Binary, Broadcast),
    /// Elements of each input per outer place.
    Concat {
        outer: usize,
        sizes: Vec<usize>,
    },
    Resize(Resampling),
    /// A resampling of which only the strongest channel is kept.
    ResizeLabels {
        resampling: Resampling,
        classes: usize,
    },
    Softmax {
        n: usize,
        inner: usize,
    },
    Reduce(Reduce, Vec<usize>),
    Transpose(Vec<usize>, Vec<usize>),
    Slice(Slice, Vec<usize>),
    Pad {
        pads: Vec<(usize, usize)>,
        value: f32,
        shape: Vec<usize>,
    },
    L2Normalize {
        n: usize,
        inner: usize,
        eps: f32,
    },
    ArgMax {
        classes: usize,
        inner: usize,
    },
    Quantize(Scales),
    Dequantize(Scales),
}

/// What is done to sums before they are stored, without the residual's elements.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Finish {
    pub(crate) activation: Option<Activation>,
    pub(crate) residual: bool,
    pub(crate) then: Option<Activation>,
}

/// Which of a packed convolution's maps are words.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Packings {
    pub(crate) x: Option<Packing>,
    pub(crate) added: Option<Packing>,
    pub(crate) y: Option<Packing>,
}

/// The scales and zero points of a quantization.
#[derive(Debug)]
pub(crate) struct Scales {
    pub(crate) scale: Vec<f32>,
    pub(crate) zero: Vec<i32>,
    pub(crate) inner: usize,
}

impl Finish {
    fn with<'a>(&self, operands: &[Option<View<'a>>]) -> Option<Epilogue<'a>> {
        let residual = match self.residual {
            true => Some(first(operands, 1)?),
            false => None,
        };
        Some(Epilogue {
            activation: self.activation,
            residual,
            then: self.then,
        })
    }
}

/// Operand `i` as f32.
fn first<'a>(operands: &[Option<View<'a>>], i: usize) -> Option<&'a [f32]> {
    (*operands.get(i)?)?.f32()
}

/// Operand `i` as planes or words.
fn map<'a>(operands: &[Option<View<'a>>], i: usize, words: Option<Packing>) -> Option<Map<'a>> {
    match ((*operands.get(i)?)?, words) {
        (View::F32(v), None) => Some(Map::Planes(v)),
        (View::I32(v), Some(packing)) => Some(Map::Words(v, packing)),
        _ => None,
    }
}

/// Dispatches on the element type of an operand and the result, which are alike.
macro_rules! alike {
    ($x:expr, $y:expr, |$from:ident, $to:ident| $body:expr) => {
        match ($x, $y) {
            (View::F32($from), ViewMut::F32($to)) => $body,
            (View::I64($from), ViewMut::I64($to)) => $body,
            (View::I32($from), ViewMut::I32($to)) => $body,
            (View::U16($from), ViewMut::U16($to)) => $body,
            (View::U8($from), ViewMut::U8($to)) => $body,
            (View::I8($from), ViewMut::I8($to)) => $body,
            _ => return None,
        }
    };
}

impl Kernel {
    /// Whether the result may overwrite operand `i`, if both are of the same size.
    pub(crate) fn in_place(&self, i: usize) -> bool {
        match self {
            Kernel::ChannelAffine { .. }
            | Kernel::GroupNorm { .. }
            | Kernel::LayerNorm { .. }
            | Kernel::Activation(_)
            | Kernel::Softmax { .. }
            | Kernel::L2Normalize { .. } => i == 0,
            Kernel::Binary(..) => true,
            Kernel::Conv { .. }
            | Kernel::Winograd { .. }
            | Kernel::ConvUpsampled { .. }
            | Kernel::Packed { .. }
            | Kernel::Depthwise { .. }
            | Kernel::Separable { .. }
            | Kernel::ConvLabels(_)
            | Kernel::LabelConvolution(_)
            | Kernel::LabelHead(_)
            | Kernel::Upconvolution { .. }
            | Kernel::Linear { .. }
            | Kernel::MatMul(_)
            | Kernel::Pool(_)
            | Kernel::Concat { .. }
            | Kernel::Resize(_)
            | Kernel::ResizeLabels { .. }
            | Kernel::Reduce(..)
            | Kernel::Transpose(..)
            | Kernel::Slice(..)
            | Kernel::Pad { .. }
            | Kernel::ArgMax { .. }
            | Kernel::Quantize(_)
            | Kernel::Dequantize(_) => false,
        }
    }

    /// The name of the kernel, for profiles.
    pub(crate) fn describe(&self) -> &'static str {
        match self {
            Kernel::Conv { conv, .. } | Kernel::ConvUpsampled { conv, .. } => conv.describe(),
            Kernel::Winograd { conv, .. } => conv.describe(),
            Kernel::Packed { conv, .. } => conv.describe(),
            Kernel::Depthwise { .. } => "depthwise",
            Kernel::Separable { .. } => "separable",
            Kernel::ConvLabels(_) => "convolution to labels",
            Kernel::LabelConvolution(conv) => conv.describe(),
            Kernel::LabelHead(head) => head.describe(),
            Kernel::Upconvolution { conv, .. } => conv.describe(),
            Kernel::ChannelAffine { .. } => "channel affine",
            Kernel::GroupNorm { .. } => "group norm",
            Kernel::LayerNorm { .. } => "layer norm",
            Kernel::Linear { .. } => "linear",
            Kernel::MatMul(_) => "product",
            Kernel::Pool(_) => "pool",
            Kernel::Activation(_) => "element-wise",
            Kernel::Binary(..) => "element-wise",
            Kernel::Concat { .. } => "copy",
            Kernel::Resize(_) => "resampling",
            Kernel::ResizeLabels { .. } => "resampling to labels",
            Kernel::Softmax { .. } => "softmax",
            Kernel::Reduce(..) => "reduction",
            Kernel::Transpose(..) => "transposition",
            Kernel::Slice(..) | Kernel::Pad { .. } => "copy",
            Kernel::L2Normalize { .. } => "normalisation",
            Kernel::ArgMax { .. } => "arg-max",
            Kernel::Quantize(_) | Kernel::Dequantize(_) => "quantization",
        }
    }

    /// Computes the result `y`. An operand that is `None` is what `y` holds. `None` if an operand
    /// is of another type than was planned for.
    pub(crate) fn run(
        &self,
        context: &Context,
        operands: &[Option<View<'_>>],
        y: ViewMut<'_>,
    ) -> Option<()> {
        let x = || first(operands, 0);
        let source = || source(*operands.first()?);
        match self {
            Kernel::Conv { conv, epilogue } => {
                let to = Destination::Values(y.f32()?, epilogue.with(operands)?);
                conv.run(context, x()?, to);
            }
            Kernel::Winograd { conv, epilogue } => {
                conv.run(context, x()?, y.f32()?, epilogue.with(operands)?);
            }
            Kernel::Packed {
                conv,
                epilogue,
                upsampled,
                width,
                words,
            } => {
                let y = match words.y {
                    Some(packing) => MapMut::Words(y.i32()?, packing),
                    None => MapMut::Planes(y.f32()?),
                };
                let added = match epilogue.residual {
                    true => Some(PackedAdded {
                        map: map(operands, 1, words.added)?,
                        upsampled: *upsampled,
                    }),
                    false => None,
                };
                let epilogue = PackedEpilogue {
                    activation: epilogue.activation,
                    added,
                    then: epilogue.then,
                };
                conv.run(context, map(operands, 0, words.x)?, y, epilogue, *width);
            }
            Kernel::ConvUpsampled { conv, width } => {
                let coarse = Coarse {
                    values: first(operands, 1)?,
                    width: *width,
                };
                conv.run(context, x()?, Destination::Upsampled(y.f32()?, coarse));
            }
            Kernel::Depthwise { conv, epilogue } => {
                conv.run(context, x()?, y.f32()?, epilogue.with(operands)?);
            }
            Kernel::Separable { conv, epilogue } => {
                conv.run(context, x()?, y.f32()?, epilogue.with(operands)?);
            }
            Kernel::ConvLabels(conv) => {
                conv.run(context, x()?, Destination::Labels(y.labels()?));
            }
            Kernel::LabelConvolution(conv) => conv.run(context, x()?, y.labels()?),
            Kernel::LabelHead(head) => head.run(context, x()?, y.labels()?),
            Kernel::Upconvolution { conv, activation } => {
                conv.run(context, x()?, y.f32()?, *activation);
            }
            Kernel::ChannelAffine {
                scale,
                shift,
                area,
                activation,
            } => channel_affine(
                context,
                scale,
                shift,
                *area,
                source()?,
                y.f32()?,
                *activation,
            ),
            Kernel::GroupNorm {
                groups,
                eps,
                weight,
                bias,
                area,
                activation,
            } => {
                let spec = GroupNorm {
                    groups: *groups,
                    eps: *eps,
                    weight,
                    bias,
                    activation: *activation,
                };
                group_norm(context, &spec, *area, source()?, y.f32()?);
            }
            Kernel::LayerNorm {
                eps,
                weight,
                bias,
                inner,
            } => layer_norm(context, *eps, weight, bias, *inner, source()?, y.f32()?),
            Kernel::Linear { linear, epilogue } => {
                linear.run(context, x()?, y.f32()?, epilogue.with(operands)?);
            }
            Kernel::MatMul(product) => product.run(context, x()?, first(operands, 1)?, y.f32()?),
            Kernel::Pool(pool) => pool.run(context, x()?, y.f32()?),
            Kernel::Activation(f) => activate(context, *f, source()?, y.f32()?),
            Kernel::Binary(f, broadcast) => {
                let b = crate::values::source(*operands.get(1)?)?;
                binary(context, *f, broadcast, source()?, b, y.f32()?);
            }
            Kernel::Softmax { n, inner } => softmax(context, *n, *inner, source()?, y.f32()?),
            Kernel::L2Normalize { n, inner, eps } => {
                l2_normalize(context, *eps, *n, *inner, source()?, y.f32()?);
            }
            Kernel::Reduce(spec, shape) => reduce(context, spec, shape, x()?, y.f32()?),
            Kernel::Resize(resampling) => resampling.run(context, x()?, y.f32()?),
            Kernel::ResizeLabels {
                resampling,
                classes,
            } => resampling.labels(context, *classes, x()?, y.labels()?),
            Kernel::ArgMax { classes, inner } => {
                arg_max(context, x()?, *classes, *inner, y.labels()?);
            }
            Kernel::Pad { pads, value, shape } => {
                pad(context, pads, *value, shape, x()?, y.f32()?);
            }
            Kernel::Concat { outer, sizes } => {
                return concat_any(context, operands, *outer, sizes, y);
            }
            Kernel::Transpose(perm, shape) => {
                alike!((*operands.first()?)?, y, |x, y| transpose(
                    context, perm, shape, x, y
                ));
            }
            Kernel::Slice(spec, shape) => {
                alike!((*operands.first()?)?, y, |x, y| kernels::slice(
                    context, spec, shape, x, y
                ));
            }
            Kernel::Quantize(s) => {
                let x = x()?;
                match y {
                    ViewMut::U8(y) => quantize(context, x, &s.scale, &s.zero, s.inner, y, (0, 255)),
                    ViewMut::I8(y) => {
                        quantize(context, x, &s.scale, &s.zero, s.inner, y, (-128, 127));
                    }
                    _ => return None,
                }
            }
            Kernel::Dequantize(s) => {
                let y = y.f32()?;
                match (*operands.first()?)? {
                    View::U8(x) => dequantize(context, x, &s.scale, &s.zero, s.inner, y),
                    View::I8(x) => dequantize(context, x, &s.scale, &s.zero, s.inner, y),
                    View::I32(x) => dequantize(context, x, &s.scale, &s.zero, s.inner, y),
                    _ => return None,
                }
            }
        }
        Some(())
    }
}

/// Joins tensors of any one type; one that is `None` is in its place already.
fn concat_any(
    context: &Context,
    operands: &[Option<View<'_>>],
    outer: usize,
    sizes: &[usize],
    y: ViewMut<'_>,
) -> Option<()> {
    macro_rules! each {
        ($($variant:ident),*) => {
            match y {
                $(ViewMut::$variant(y) => {
                    let inputs = operands.iter().zip(sizes).map_while(|(operand, n)| {
                        match operand {
                            Some(View::$variant(x)) => Some((Some(*x), *n)),
                            None => Some((None, *n)),
                            _ => None,
                        }
                    });
                    if inputs.clone().count() < sizes.len() {
                        return None;
                    }
                    concat(context, inputs, outer, y);
                })*
            }
        };
    }
    each!(F32, I64, I32, U16, U8, I8);
    Some(())
}
