//! The operators: a closed list, so that a pass, a cost rule, the ONNX writer and an engine each
//! match all of them and a new one is a list of compile errors to work through.

use crate::{DType, Tensor};

/// What a node does. The inputs that each operator takes are listed with it, in order;
/// `x` is `[N, C, spatial…]` unless said otherwise, with one to three spatial axes.
#[derive(Clone, PartialEq, Debug)]
pub enum Op {
    /// A value given at run time. No inputs.
    Input,
    /// A weight, buffer or constant. No inputs; its name is the node's.
    Parameter(Parameter),
    /// Convolution. Inputs: x, weight `[O, C/groups, kernel…]`, optional bias `[O]`.
    Conv(Conv),
    /// Transposed convolution. Inputs: x, weight `[C, O/groups, kernel…]`, optional bias `[O]`.
    ConvTranspose(ConvTranspose),
    /// Inference batch normalisation over axis 1.
    /// Inputs: x, weight, bias, running mean, running variance, each `[C]`.
    BatchNorm {
        /// Added to the variance.
        eps: f32,
    },
    /// Normalisation of every group of channels of every image by its own mean and variance.
    /// Inputs: x, weight `[C]`, bias `[C]`. Instance norm has as many groups as channels.
    GroupNorm {
        /// The number of groups; divides the channels.
        groups: usize,
        /// Added to the variance.
        eps: f32,
    },
    /// Normalisation along one axis. Inputs: x of any rank, weight and bias of that axis's size.
    LayerNorm {
        /// The axis whose elements share a mean and variance: 1 for channels-first maps, last for tokens.
        axis: usize,
        /// Added to the variance.
        eps: f32,
    },
    /// `x · weightᵀ + bias` on the last axis. Inputs: x `[…, I]`, weight `[O, I]`, optional bias `[O]`.
    Linear,
    /// Matrix product of the last two axes. Inputs: a `[…, M, K]`, b `[…, K, N]`; the rest broadcasts.
    MatMul,
    /// Max or average pooling. Input: x.
    Pool(Pool),
    /// A function of each element. Input: x of any rank.
    Activation(Activation),
    /// A function of two elements, with NumPy's broadcasting. Inputs: a, b.
    Binary(Binary),
    /// Inputs of equal rank joined along an axis. Inputs: two or more.
    Concat {
        /// The axis along which sizes add up.
        axis: usize,
    },
    /// Spatial resampling. Input: x.
    Resize(Resize),
    /// Softmax along an axis. Input: x of any rank.
    Softmax {
        /// The axis whose elements sum to one.
        axis: usize,
    },
    /// Mean, sum or maximum over axes. Input: x of any rank.
    Reduce(Reduce),
    /// Axes reordered: axis `i` of the result is axis `perm[i]` of x.
    Transpose {
        /// A permutation of the axes.
        perm: Vec<usize>,
    },
    /// The same elements in the same order under another shape. Input: x of any rank.
    Reshape {
        /// The new axes.
        dims: Vec<ReshapeDim>,
    },
    /// A regular selection along one axis. Input: x of any rank.
    Slice(Slice),
    /// Elements of one value added around x of any rank.
    Pad {
        /// Elements before and after, per axis.
        pads: Vec<(usize, usize)>,
        /// The value added.
        value: f32,
    },
    /// `x / max(‖x‖₂, eps)` along an axis. Input: x of any rank.
    L2Normalize {
        /// The axis whose elements form a vector.
        axis: usize,
        /// The least norm divided by.
        eps: f32,
    },
    /// The position of the largest element along an axis, the first on a tie; the axis is dropped.
    /// Input: x of any rank.
    ArgMax {
        /// The axis searched.
        axis: usize,
        /// `U8`, `U16`, `I32` or `I64`.
        dtype: DType,
    },
    /// `saturate(round_half_even(x / scale) + zero_point)`. Inputs: x f32, scale f32, zero point of
    /// the result's type (`U8` or `I8`); scale and zero point are scalars or `[size of axis]`.
    Quantize {
        /// The axis along which scales differ, where they do.
        axis: usize,
    },
    /// `(x - zero_point) · scale`. Inputs: x `U8`, `I8` or `I32`, scale f32, zero point of x's type.
    Dequantize {
        /// The axis along which scales differ, where they do.
        axis: usize,
    },
}

impl Op {
    /// The operator's name as the field writes it, for messages and profiles.
    pub fn name(&self) -> &'static str {
        match self {
            Op::Input => "Input",
            Op::Parameter(_) => "Parameter",
            Op::Conv(_) => "Conv",
            Op::ConvTranspose(_) => "ConvTranspose",
            Op::BatchNorm { .. } => "BatchNorm",
            Op::GroupNorm { .. } => "GroupNorm",
            Op::LayerNorm { .. } => "LayerNorm",
            Op::Linear => "Linear",
            Op::MatMul => "MatMul",
            Op::Pool(p) => match p.kind {
                PoolKind::Max => "MaxPool",
                PoolKind::Average { .. } => "AveragePool",
            },
            Op::Activation(a) => a.name(),
            Op::Binary(b) => b.name(),
            Op::Concat { .. } => "Concat",
            Op::Resize(_) => "Resize",
            Op::Softmax { .. } => "Softmax",
            Op::Reduce(r) => match r.kind {
                ReduceKind::Mean => "ReduceMean",
                ReduceKind::Sum => "ReduceSum",
                ReduceKind::Max => "ReduceMax",
            },
            Op::Transpose { .. } => "Transpose",
            Op::Reshape { .. } => "Reshape",
            Op::Slice(_) => "Slice",
            Op::Pad { .. } => "Pad",
            Op::L2Normalize { .. } => "L2Normalize",
            Op::ArgMax { .. } => "ArgMax",
            Op::Quantize { .. } => "Quantize",
            Op::Dequantize { .. } => "Dequantize",
        }
    }
}

/// A value that belongs to the model.
#[derive(Clone, PartialEq, Debug)]
pub struct Parameter {
    /// What it is to training and to parameter counts.
    pub role: Role,
    /// Its elements; absent until weights are loaded or filled.
    pub data: Option<Tensor>,
}

/// What a parameter is to training and to parameter counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Learnt: counted as a parameter.
    Trainable,
    /// Kept in the state dict but not learnt: running statistics.
    Buffer,
    /// Computed from the architecture; not in the state dict.
    Constant,
}

/// A convolution; the sizes per spatial axis.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Conv {
    /// Kernel sizes.
    pub kernel: Vec<usize>,
    /// Steps between outputs.
    pub stride: Vec<usize>,
    /// Steps between taps.
    pub dilation: Vec<usize>,
    /// Zeros before and after each spatial axis.
    pub pads: Vec<(usize, usize)>,
    /// Channel groups that see only each other.
    pub groups: usize,
}

impl Conv {
    /// A convolution with the same odd or even `kernel` on `rank` axes, stride 1 and no padding.
    pub fn new(rank: usize, kernel: usize) -> Self {
        Conv {
            kernel: vec![kernel; rank],
            stride: vec![1; rank],
            dilation: vec![1; rank],
            pads: vec![(0, 0); rank],
            groups: 1,
        }
    }

    /// The same with `stride` on every axis.
    pub fn stride(mut self, stride: usize) -> Self {
        self.stride.fill(stride);
        self
    }

    /// The same with `pad` zeros on every side.
    pub fn pad(mut self, pad: usize) -> Self {
        self.pads.fill((pad, pad));
        self
    }

    /// The same with `dilation` on every axis.
    pub fn dilation(mut self, dilation: usize) -> Self {
        self.dilation.fill(dilation);
        self
    }

    /// The same with `groups`.
    pub fn groups(mut self, groups: usize) -> Self {
        self.groups = groups;
        self
    }

    /// Whether every output element is made from the elements at its own place alone.
    pub fn is_pointwise(&self) -> bool {
        let ones = |v: &[usize]| v.iter().all(|&n| n == 1);
        ones(&self.kernel) && ones(&self.stride) && self.pads.iter().all(|&p| p == (0, 0))
    }
}

/// A transposed convolution; the sizes per spatial axis.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct ConvTranspose {
    /// Kernel sizes.
    pub kernel: Vec<usize>,
    /// Output steps per input step.
    pub stride: Vec<usize>,
    /// Steps between taps.
    pub dilation: Vec<usize>,
    /// Elements cut before and after each spatial axis.
    pub pads: Vec<(usize, usize)>,
    /// Elements added after each spatial axis.
    pub output_padding: Vec<usize>,
    /// Channel groups that see only each other.
    pub groups: usize,
}

impl ConvTranspose {
    /// The usual upsampling by `factor`: kernel and stride alike, nothing overlaps.
    pub fn upsample(rank: usize, factor: usize) -> Self {
        ConvTranspose {
            kernel: vec![factor; rank],
            stride: vec![factor; rank],
            dilation: vec![1; rank],
            pads: vec![(0, 0); rank],
            output_padding: vec![0; rank],
            groups: 1,
        }
    }

    /// Whether every output element is made from exactly one input element.
    pub fn is_disjoint(&self) -> bool {
        self.groups == 1
            && self.kernel == self.stride
            && self.dilation.iter().all(|d| *d == 1)
            && self.pads.iter().all(|p| *p == (0, 0))
            && self.output_padding.iter().all(|p| *p == 0)
    }
}

/// A pooling window; the sizes per spatial axis.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Pool {
    /// What is made of the window.
    pub kind: PoolKind,
    /// Window sizes.
    pub kernel: Vec<usize>,
    /// Steps between windows.
    pub stride: Vec<usize>,
    /// Elements that the windows may overhang before and after each axis.
    pub pads: Vec<(usize, usize)>,
    /// Whether a last window that overhangs the end still counts.
    pub ceil_mode: bool,
}

impl Pool {
    /// The number of windows along one axis whose padded size holds at least one.
    pub fn positions(
        &self,
        size: usize,
        kernel: usize,
        stride: usize,
        (before, after): (usize, usize),
    ) -> usize {
        let room = size + before + after - kernel;
        if !self.ceil_mode {
            return room / stride + 1;
        }
        // A window that would begin in the padding after the end is not counted, as in PyTorch.
        let last = room.div_ceil(stride);
        if last * stride < size + before {
            last + 1
        } else {
            last
        }
    }
}

/// What is made of a pooling window.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum PoolKind {
    /// Its largest element; padding never wins.
    Max,
    /// Its mean.
    Average {
        /// Whether padding counts into the divisor.
        count_include_pad: bool,
    },
}

/// A function of one element.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Activation {
    /// `max(x, 0)`
    Relu,
    /// `min(max(x, 0), 6)`
    Relu6,
    /// `x` or, below zero, `slope · x`
    LeakyRelu {
        /// The factor below zero.
        slope: f32,
    },
    /// `x · hard_sigmoid(x)`
    HardSwish,
    /// `min(max(x/6 + 1/2, 0), 1)`
    HardSigmoid,
    /// `1 / (1 + e⁻ˣ)`
    Sigmoid,
    /// `x · sigmoid(x)`
    Silu,
    /// `x · Φ(x)`, exact
    GeluErf,
    /// `x/2 · (1 + tanh(√(2/π) (x + 0.044715 x³)))`
    GeluTanh,
    /// `tanh x`
    Tanh,
    /// `√x`
    Sqrt,
    /// `min(max(x, low), high)`
    Clip {
        /// The least result.
        low: f32,
        /// The greatest result.
        high: f32,
    },
}

impl Activation {
    /// The function's usual name.
    pub fn name(self) -> &'static str {
        match self {
            Activation::Relu => "ReLU",
            Activation::Relu6 => "ReLU6",
            Activation::LeakyRelu { .. } => "LeakyReLU",
            Activation::HardSwish => "HardSwish",
            Activation::HardSigmoid => "HardSigmoid",
            Activation::Sigmoid => "Sigmoid",
            Activation::Silu => "SiLU",
            Activation::GeluErf => "GELU",
            Activation::GeluTanh => "GELU(tanh)",
            Activation::Tanh => "Tanh",
            Activation::Sqrt => "Sqrt",
            Activation::Clip { .. } => "Clip",
        }
    }
}

/// A function of two elements.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs)]
pub enum Binary {
    Add,
    Sub,
    Mul,
    Div,
}

impl Binary {
    /// The function's usual name.
    pub fn name(self) -> &'static str {
        match self {
            Binary::Add => "Add",
            Binary::Sub => "Sub",
            Binary::Mul => "Mul",
            Binary::Div => "Div",
        }
    }

    /// The function itself.
    pub fn apply(self, a: f32, b: f32) -> f32 {
        match self {
            Binary::Add => a + b,
            Binary::Sub => a - b,
            Binary::Mul => a * b,
            Binary::Div => a / b,
        }
    }
}

/// Spatial resampling to a given size.
#[derive(Clone, PartialEq, Debug)]
pub struct Resize {
    /// The new sizes of the spatial axes (all axes but the first two).
    pub size: Vec<usize>,
    /// How values between samples are made.
    pub mode: ResizeMode,
    /// Where output samples lie on the input.
    pub coordinates: Coordinates,
    /// Input samples per output sample, where that is not the quotient of the sizes: a file may
    /// state a scale factor whose product with the input size was rounded down.
    pub scales: Option<Vec<f32>>,
}

/// How values between samples are made.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ResizeMode {
    /// The sample at `floor` of the coordinate with [`Coordinates::Asymmetric`], as PyTorch's
    /// `nearest`; the nearest one with ties downwards for the other conventions.
    Nearest,
    /// Linear along every spatial axis.
    Linear,
    /// Keys' cubic convolution along every spatial axis; 2D only.
    Cubic {
        /// Whether shrinking widens the kernel to cover every sample (then `a = -0.5`, else `-0.75`).
        antialias: bool,
    },
}

/// Where output sample `i` lies on the input.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Coordinates {
    /// `(i + ½) · in/out − ½`: PyTorch's `align_corners=False`.
    HalfPixel,
    /// `i · (in−1)/(out−1)`: PyTorch's `align_corners=True`.
    AlignCorners,
    /// `i · in/out`: PyTorch's `nearest`.
    Asymmetric,
}

/// Mean, sum or maximum over axes.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Reduce {
    /// What is made of the elements.
    pub kind: ReduceKind,
    /// The axes reduced, ascending.
    pub axes: Vec<usize>,
    /// Whether reduced axes stay with size 1.
    pub keep_dims: bool,
}

/// What a reduction makes of the elements.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs)]
pub enum ReduceKind {
    Mean,
    Sum,
    Max,
}

/// One axis of a reshape's result.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ReshapeDim {
    /// The size of the input's axis at the same position, an open batch included.
    Copy,
    /// A given size.
    Fixed(usize),
    /// Whatever is left; at most one.
    Infer,
}

/// A regular selection `start, start+step, …` below `end` along one axis.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Slice {
    /// The axis selected from.
    pub axis: usize,
    /// The first index.
    pub start: usize,
    /// One past the last possible index; at most the axis's size.
    pub end: usize,
    /// The step, at least 1.
    pub step: usize,
}
