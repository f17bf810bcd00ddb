//! A small graph for every operator and every way of writing it.
// Every test uses its own part of this.
#![allow(dead_code)]

use slicewise_graph::{
    Activation, Binary, Conv, ConvTranspose, Coordinates, DType, Dim, Graph, GraphError, NodeId,
    Op, Pool, PoolKind, Reduce, ReduceKind, ReshapeDim, Resize, ResizeMode, Role, Shape, Slice,
    Tensor, TensorData,
};

/// A graph of one subject.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) graph: Graph,
}

/// A graph under construction whose parameters are filled by their position.
pub(crate) struct Builder {
    pub(crate) graph: Graph,
    x: NodeId,
    parameters: usize,
}

impl Builder {
    fn new(name: &str, shape: &[usize]) -> Self {
        Builder::open(name, shape.iter().copied().map(Dim::Fixed).collect())
    }

    fn open(name: &str, shape: Shape) -> Self {
        let mut graph = Graph::new(name);
        let x = graph.input("x", shape, DType::F32).unwrap();
        Builder {
            graph,
            x,
            parameters: 0,
        }
    }

    fn parameter(&mut self, name: &str, shape: &[usize]) -> NodeId {
        self.parameters += 1;
        let seed = self.parameters as u64 * 7919;
        // Positive, so that they do for variances and scales, too.
        let tensor = Tensor::from_fn(shape, |i| 0.75 + 0.5 * noise(seed + i as u64));
        self.constant(name, tensor)
    }

    fn constant(&mut self, name: &str, tensor: Tensor) -> NodeId {
        let role = match name.split('_').next() {
            Some("running") => Role::Buffer,
            _ if name.ends_with("zero_point") => Role::Constant,
            _ => Role::Trainable,
        };
        self.graph.constant_tensor(name, role, tensor).unwrap()
    }

    fn add(&mut self, op: Op, inputs: &[NodeId]) -> NodeId {
        self.graph.add("y", op, inputs).unwrap()
    }

    fn done(mut self, output: NodeId) -> Case {
        self.graph.set_outputs([output]);
        Case {
            name: self.graph.name.clone(),
            graph: self.graph,
        }
    }

    /// The case of one operator on x alone.
    fn unary(mut self, op: Op) -> Case {
        let y = self.add(op, &[self.x]);
        self.done(y)
    }
}

/// Values in [-1, 1) that look random.
pub(crate) fn noise(i: u64) -> f32 {
    let mut z = i.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z >> 40) as f32 / (1u64 << 23) as f32 - 1.0
}

/// Inputs for a graph, an open batch set to 2.
pub(crate) fn inputs(graph: &Graph) -> Vec<Tensor> {
    let shapes = graph
        .inputs()
        .into_iter()
        .map(|id| graph.node(id).shape.with_batch(2));
    shapes
        .enumerate()
        .map(|(k, shape)| {
            let sizes = shape.sizes().unwrap();
            Tensor::from_fn(&sizes, |i| 3.0 * noise((k * 1_000_003 + i) as u64))
        })
        .collect()
}

/// What the graph makes of those inputs.
pub(crate) fn run(graph: &Graph) -> Result<Vec<Tensor>, GraphError> {
    slicewise_graph::reference::run(&graph.with_batch(2)?, &inputs(graph))
}

/// Every operator, in every way that the writer tells apart.
pub(crate) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    windows(&mut cases);
    normalizations(&mut cases);
    products(&mut cases);
    elementwise(&mut cases);
    resizes(&mut cases);
    shapes(&mut cases);
    quantized(&mut cases);
    outputs(&mut cases);
    cases
}

fn windows(cases: &mut Vec<Case>) {
    for (name, shape, weight, conv, bias) in [
        (
            "conv_2d",
            &[2, 4, 9, 11][..],
            &[6, 4, 3, 3][..],
            Conv::new(2, 3).stride(2).pad(1),
            true,
        ),
        (
            "conv_2d_depthwise",
            &[2, 4, 9, 11],
            &[4, 1, 3, 3],
            Conv::new(2, 3).pad(1).groups(4),
            false,
        ),
        (
            "conv_2d_dilated",
            &[2, 4, 9, 11],
            &[3, 4, 3, 3],
            Conv::new(2, 3).pad(2).dilation(2),
            true,
        ),
        (
            "conv_3d",
            &[1, 2, 5, 6, 7],
            &[4, 2, 3, 3, 3],
            Conv::new(3, 3).pad(1),
            true,
        ),
        (
            "conv_3d_strided",
            &[1, 2, 6, 6, 7],
            &[4, 2, 3, 3, 3],
            Conv::new(3, 3).pad(1).stride(2),
            true,
        ),
    ] {
        let mut b = Builder::new(name, shape);
        let mut inputs = vec![b.x, b.parameter("conv.weight", weight)];
        if bias {
            inputs.push(b.parameter("conv.bias", &weight[..1]));
        }
        let y = b.add(Op::Conv(conv), &inputs);
        cases.push(b.done(y));
    }
    let uneven = Conv {
        pads: vec![(0, 1), (2, 1)],
        ..Conv::new(2, 3)
    };
    let mut b = Builder::new("conv_2d_uneven_padding", &[1, 2, 5, 6]);
    let w = b.parameter("conv.weight", &[3, 2, 3, 3]);
    let y = b.add(Op::Conv(uneven), &[b.x, w]);
    cases.push(b.done(y));

    let overlapping = ConvTranspose {
        kernel: vec![3, 3],
        stride: vec![2, 2],
        dilation: vec![1, 1],
        pads: vec![(1, 1); 2],
        output_padding: vec![1, 0],
        groups: 2,
    };
    for (name, shape, weight, op) in [
        (
            "conv_transpose_2d",
            &[2, 4, 5, 6][..],
            &[4, 3, 2, 2][..],
            ConvTranspose::upsample(2, 2),
        ),
        (
            "conv_transpose_2d_overlapping",
            &[2, 4, 5, 6],
            &[4, 3, 3, 3],
            overlapping,
        ),
        (
            "conv_transpose_3d",
            &[1, 4, 3, 4, 5],
            &[4, 3, 2, 2, 2],
            ConvTranspose::upsample(3, 2),
        ),
    ] {
        let mut b = Builder::new(name, shape);
        let w = b.parameter("up.weight", weight);
        let bias = b.parameter("up.bias", &[weight[1] * op.groups]);
        let y = b.add(Op::ConvTranspose(op), &[b.x, w, bias]);
        cases.push(b.done(y));
    }

    let kinds = [
        ("max", PoolKind::Max),
        (
            "mean",
            PoolKind::Average {
                count_include_pad: false,
            },
        ),
        (
            "mean_with_padding",
            PoolKind::Average {
                count_include_pad: true,
            },
        ),
    ];
    for (name, kind) in kinds {
        for ceil_mode in [false, true] {
            let name = if ceil_mode {
                format!("pool_{name}_ceil")
            } else {
                format!("pool_{name}")
            };
            let pool = Pool {
                kind,
                kernel: vec![3, 2],
                stride: vec![2, 3],
                pads: vec![(1, 1), (0, 0)],
                ceil_mode,
            };
            cases.push(Builder::new(&name, &[2, 3, 8, 9]).unary(Op::Pool(pool)));
        }
    }
    let pool = Pool {
        kind: PoolKind::Max,
        kernel: vec![2; 3],
        stride: vec![2; 3],
        pads: vec![(0, 0); 3],
        ceil_mode: true,
    };
    cases.push(Builder::new("pool_3d", &[1, 3, 5, 4, 7]).unary(Op::Pool(pool)));
}

fn normalizations(cases: &mut Vec<Case>) {
    let mut b = Builder::new("batch_norm", &[2, 4, 5, 3]);
    let p: Vec<NodeId> = ["weight", "bias", "running_mean", "running_var"]
        .iter()
        .map(|n| b.parameter(n, &[4]))
        .collect();
    let y = b.add(Op::BatchNorm { eps: 1e-3 }, &[b.x, p[0], p[1], p[2], p[3]]);
    cases.push(b.done(y));

    let open: Shape = [Dim::Batch, 6.into(), 5.into(), 4.into()]
        .into_iter()
        .collect();
    let volume = Shape::new(&[2, 6, 3, 4, 5]);
    for (name, shape, groups) in [
        ("instance_norm", open.clone(), 6),
        ("instance_norm_3d", volume.clone(), 6),
        ("group_norm", open.clone(), 2),
        ("group_norm_of_one", open.clone(), 1),
        ("group_norm_3d", volume, 3),
    ] {
        let mut b = Builder::open(name, shape);
        let (w, bias) = (
            b.parameter("norm.weight", &[6]),
            b.parameter("norm.bias", &[6]),
        );
        let y = b.add(Op::GroupNorm { groups, eps: 1e-5 }, &[b.x, w, bias]);
        cases.push(b.done(y));
    }
    for (name, shape, axis) in [
        ("layer_norm_of_tokens", Shape::new(&[2, 7, 6]), 2),
        ("layer_norm_of_channels", open.clone(), 1),
    ] {
        let mut b = Builder::open(name, shape);
        let (w, bias) = (
            b.parameter("norm.weight", &[6]),
            b.parameter("norm.bias", &[6]),
        );
        let y = b.add(Op::LayerNorm { axis, eps: 1e-6 }, &[b.x, w, bias]);
        cases.push(b.done(y));
    }
    for (name, axis) in [("l2_normalize_rows", 3), ("l2_normalize_channels", 1)] {
        let op = Op::L2Normalize { axis, eps: 1e-12 };
        cases.push(Builder::new(name, &[2, 3, 4, 5]).unary(op));
    }
    cases.push(Builder::new("softmax_rows", &[2, 3, 4, 5]).unary(Op::Softmax { axis: 3 }));
    cases.push(Builder::open("softmax_channels", open).unary(Op::Softmax { axis: 1 }));
}

fn products(cases: &mut Vec<Case>) {
    let n = Dim::Batch;
    for (name, shape, bias) in [
        (
            "linear_2_axes",
            [n, 8.into()].into_iter().collect::<Shape>(),
            true,
        ),
        ("linear_2_axes_without_bias", Shape::new(&[2, 8]), false),
        (
            "linear_3_axes",
            [n, 5.into(), 8.into()].into_iter().collect(),
            true,
        ),
        (
            "linear_4_axes_without_bias",
            Shape::new(&[2, 3, 4, 8]),
            false,
        ),
    ] {
        let mut b = Builder::open(name, shape);
        let mut inputs = vec![b.x, b.parameter("fc.weight", &[5, 8])];
        if bias {
            inputs.push(b.parameter("fc.bias", &[5]));
        }
        let y = b.add(Op::Linear, &inputs);
        cases.push(b.done(y));
    }
    let mut b = Builder::new("matmul", &[2, 3, 4, 5]);
    let t = b.add(
        Op::Transpose {
            perm: vec![0, 1, 3, 2],
        },
        &[b.x],
    );
    let y = b.add(Op::MatMul, &[b.x, t]);
    cases.push(b.done(y));
    let mut b = Builder::new("matmul_broadcast", &[2, 3, 4, 5]);
    let w = b.parameter("w", &[3, 5, 6]);
    let y = b.add(Op::MatMul, &[b.x, w]);
    cases.push(b.done(y));
    cases.push(attention());
}

/// Attention as vision transformers compute it, with an open batch.
fn attention() -> Case {
    let (tokens, heads, width) = (6, 2, 4);
    let shape: Shape = [Dim::Batch, tokens.into(), (heads * width).into()]
        .into_iter()
        .collect();
    let mut b = Builder::open("attention", shape);
    let w = b.parameter("qkv.weight", &[3 * heads * width, heads * width]);
    let bias = b.parameter("qkv.bias", &[3 * heads * width]);
    let qkv = b.add(Op::Linear, &[b.x, w, bias]);
    let dims = vec![
        ReshapeDim::Copy,
        ReshapeDim::Fixed(tokens),
        ReshapeDim::Fixed(3),
        ReshapeDim::Fixed(heads),
        ReshapeDim::Infer,
    ];
    let split = b.add(Op::Reshape { dims }, &[qkv]);
    let split = b.add(
        Op::Transpose {
            perm: vec![2, 0, 3, 1, 4],
        },
        &[split],
    );
    let part = |b: &mut Builder, i: usize| {
        let slice = Slice {
            axis: 0,
            start: i,
            end: i + 1,
            step: 1,
        };
        let part = b.add(Op::Slice(slice), &[split]);
        let dims = vec![
            ReshapeDim::Infer,
            heads.into_dim(),
            tokens.into_dim(),
            width.into_dim(),
        ];
        b.add(Op::Reshape { dims }, &[part])
    };
    let (q, k, v) = (part(&mut b, 0), part(&mut b, 1), part(&mut b, 2));
    let scale = b.constant("scale", Tensor::scalar(0.5));
    let q = b.add(Op::Binary(Binary::Mul), &[q, scale]);
    let k = b.add(
        Op::Transpose {
            perm: vec![0, 1, 3, 2],
        },
        &[k],
    );
    let scores = b.add(Op::MatMul, &[q, k]);
    let shares = b.add(Op::Softmax { axis: 3 }, &[scores]);
    let mixed = b.add(Op::MatMul, &[shares, v]);
    let mixed = b.add(
        Op::Transpose {
            perm: vec![0, 2, 1, 3],
        },
        &[mixed],
    );
    let dims = vec![
        ReshapeDim::Copy,
        ReshapeDim::Copy,
        ReshapeDim::Fixed(heads * width),
    ];
    let y = b.add(Op::Reshape { dims }, &[mixed]);
    b.done(y)
}

trait IntoDim {
    fn into_dim(self) -> ReshapeDim;
}

impl IntoDim for usize {
    fn into_dim(self) -> ReshapeDim {
        ReshapeDim::Fixed(self)
    }
}

/// Every activation; a new one is a compile error here.
fn activations() -> Vec<Activation> {
    let all = vec![
        Activation::Relu,
        Activation::Relu6,
        Activation::LeakyRelu { slope: 0.01 },
        Activation::HardSwish,
        Activation::HardSigmoid,
        Activation::Sigmoid,
        Activation::Silu,
        Activation::GeluErf,
        Activation::GeluTanh,
        Activation::Tanh,
        Activation::Clip {
            low: -0.5,
            high: 1.25,
        },
    ];
    for f in &all {
        match f {
            Activation::Relu
            | Activation::Relu6
            | Activation::LeakyRelu { .. }
            | Activation::HardSwish
            | Activation::HardSigmoid
            | Activation::Sigmoid
            | Activation::Silu
            | Activation::GeluErf
            | Activation::GeluTanh
            | Activation::Tanh
            | Activation::Sqrt
            | Activation::Clip { .. } => {}
        }
    }
    all
}

fn elementwise(cases: &mut Vec<Case>) {
    for f in activations() {
        let name = format!("activation_{}", f.name());
        cases.push(Builder::new(&name, &[2, 3, 4, 5]).unary(Op::Activation(f)));
    }
    let mut b = Builder::new("activation_sqrt", &[2, 3, 4]);
    let square = b.add(Op::Binary(Binary::Mul), &[b.x, b.x]);
    let y = b.add(Op::Activation(Activation::Sqrt), &[square]);
    cases.push(b.done(y));
    for f in [Binary::Add, Binary::Sub, Binary::Mul, Binary::Div] {
        let mut b = Builder::new(&format!("binary_{}", f.name()), &[2, 3, 4, 5]);
        let other = b.parameter("scale", &[3, 1, 1]);
        let y = b.add(Op::Binary(f), &[b.x, other]);
        cases.push(b.done(y));
    }
    let mut b = Builder::new("squeeze_and_excitation", &[2, 4, 5, 6]);
    let mean = Reduce {
        kind: ReduceKind::Mean,
        axes: vec![2, 3],
        keep_dims: true,
    };
    let pooled = b.add(Op::Reduce(mean), &[b.x]);
    let w = b.parameter("fc.weight", &[4, 4, 1, 1]);
    let gate = b.add(Op::Conv(Conv::new(2, 1)), &[pooled, w]);
    let gate = b.add(Op::Activation(Activation::HardSigmoid), &[gate]);
    let y = b.add(Op::Binary(Binary::Mul), &[b.x, gate]);
    cases.push(b.done(y));
}

fn resizes(cases: &mut Vec<Case>) {
    let modes = [
        ("nearest", ResizeMode::Nearest, Coordinates::Asymmetric),
        ("nearest_half", ResizeMode::Nearest, Coordinates::HalfPixel),
        ("linear", ResizeMode::Linear, Coordinates::HalfPixel),
        (
            "linear_corners",
            ResizeMode::Linear,
            Coordinates::AlignCorners,
        ),
        (
            "cubic",
            ResizeMode::Cubic { antialias: false },
            Coordinates::HalfPixel,
        ),
        (
            "cubic_antialiased",
            ResizeMode::Cubic { antialias: true },
            Coordinates::HalfPixel,
        ),
    ];
    let sizes = [
        ("double", &[5, 6][..], &[10, 12][..]),
        ("odd", &[4, 7], &[7, 13]),
        // Exact coordinates that 32-bit ones miss: 5 · 6/10.
        ("six_to_ten", &[6, 9], &[10, 15]),
        ("shrink", &[9, 8], &[4, 5]),
        ("to_one", &[3, 4], &[1, 1]),
        ("volume", &[3, 4, 5], &[6, 8, 7]),
    ];
    for (mode_name, mode, coordinates) in modes {
        for (size_name, from, to) in sizes {
            if matches!(mode, ResizeMode::Cubic { .. }) && from.len() != 2 {
                continue;
            }
            for open in [false, true] {
                let name = format!(
                    "resize_{mode_name}_{size_name}{}",
                    if open { "_open" } else { "" }
                );
                let n = if open { Dim::Batch } else { Dim::Fixed(2) };
                let dims = [n, Dim::Fixed(3)].into_iter();
                let shape = dims.chain(from.iter().map(|&d| Dim::Fixed(d))).collect();
                let op = Resize {
                    size: to.to_vec(),
                    mode,
                    coordinates,
                    scales: None,
                };
                cases.push(Builder::open(&name, shape).unary(Op::Resize(op)));
            }
        }
    }
    let by_scale = Resize {
        size: vec![7, 9],
        mode: ResizeMode::Linear,
        coordinates: Coordinates::HalfPixel,
        scales: Some(vec![1.0 / 1.5, 1.0 / 1.6]),
    };
    cases.push(Builder::new("resize_linear_by_scale", &[2, 3, 5, 6]).unary(Op::Resize(by_scale)));
    let line = Resize {
        size: vec![9],
        mode: ResizeMode::Linear,
        coordinates: Coordinates::HalfPixel,
        scales: None,
    };
    cases.push(Builder::new("resize_linear_1d", &[2, 3, 5]).unary(Op::Resize(line)));
}

fn shapes(cases: &mut Vec<Case>) {
    let mut b = Builder::new("concat", &[2, 3, 4, 5]);
    let p = b.parameter("p", &[2, 2, 4, 5]);
    let y = b.add(Op::Concat { axis: 1 }, &[b.x, p, b.x]);
    cases.push(b.done(y));
    for kind in [ReduceKind::Mean, ReduceKind::Sum, ReduceKind::Max] {
        for keep_dims in [false, true] {
            let name = format!("reduce_{kind:?}_{keep_dims}");
            let op = Op::Reduce(Reduce {
                kind,
                axes: vec![1, 3],
                keep_dims,
            });
            cases.push(Builder::new(&name, &[2, 3, 4, 5]).unary(op));
        }
    }
    let perm = vec![0, 2, 3, 1];
    cases.push(Builder::new("transpose", &[2, 3, 4, 5]).unary(Op::Transpose { perm }));
    let open: Shape = [Dim::Batch, 3.into(), 4.into(), 5.into()]
        .into_iter()
        .collect();
    let dims = vec![ReshapeDim::Copy, ReshapeDim::Copy, ReshapeDim::Infer];
    cases.push(Builder::open("reshape", open.clone()).unary(Op::Reshape { dims }));
    let dims = vec![ReshapeDim::Infer, ReshapeDim::Fixed(60)];
    cases.push(Builder::open("reshape_infers_the_batch", open.clone()).unary(Op::Reshape { dims }));
    let slice = Slice {
        axis: 3,
        start: 1,
        end: 5,
        step: 2,
    };
    cases.push(Builder::open("slice", open.clone()).unary(Op::Slice(slice)));
    let pads = vec![(0, 0), (1, 0), (0, 2), (1, 1)];
    cases.push(Builder::open("pad", open.clone()).unary(Op::Pad { pads, value: -1.5 }));
    for (name, dtype) in [
        ("u8", DType::U8),
        ("u16", DType::U16),
        ("i32", DType::I32),
        ("i64", DType::I64),
    ] {
        let op = Op::ArgMax { axis: 1, dtype };
        cases.push(Builder::open(&format!("arg_max_{name}"), open.clone()).unary(op));
    }
}

fn quantized(cases: &mut Vec<Case>) {
    let u8s = |v: Vec<u8>, shape: &[usize]| Tensor::new(shape, TensorData::from(v)).unwrap();
    let i8s = |v: Vec<i8>, shape: &[usize]| Tensor::new(shape, TensorData::from(v)).unwrap();
    let qdq = |b: &mut Builder| {
        let scale = b.constant("x.scale", Tensor::scalar(0.025));
        let zero = b.constant("x.zero_point", u8s(vec![117], &[]));
        let q = b.add(Op::Quantize { axis: 0 }, &[b.x, scale, zero]);
        b.add(Op::Dequantize { axis: 0 }, &[q, scale, zero])
    };
    let mut b = Builder::new("quantize_conv", &[1, 2, 6, 5]);
    let x = qdq(&mut b);
    let values = (0..54).map(|i| (100.0 * noise(i)) as i8).collect();
    let w = b.constant("conv.weight", i8s(values, &[3, 2, 3, 3]));
    let scale = b.parameter("conv.weight.scale", &[3]);
    let zero = b.constant("conv.weight.zero_point", i8s(vec![0; 3], &[3]));
    let w = b.add(Op::Dequantize { axis: 0 }, &[w, scale, zero]);
    let bias = Tensor::new(&[3], TensorData::from(vec![5000i32, -300, 7])).unwrap();
    let bias = b.constant("conv.bias", bias);
    let scale = b.constant(
        "conv.bias.scale",
        Tensor::from_fn(&[3], |i| 1e-3 * (i + 1) as f32),
    );
    let zero = Tensor::new(&[3], TensorData::from(vec![0i32; 3])).unwrap();
    let zero = b.constant("conv.bias.zero_point", zero);
    let bias = b.add(Op::Dequantize { axis: 0 }, &[bias, scale, zero]);
    let y = b.add(Op::Conv(Conv::new(2, 3).pad(1)), &[x, w, bias]);
    cases.push(b.done(y));

    let mut b = Builder::new("quantize_linear", &[2, 3, 4]);
    let x = qdq(&mut b);
    let values = (0..20).map(|i| (100.0 * noise(i)) as i8).collect();
    let w = b.constant("fc.weight", i8s(values, &[5, 4]));
    let scale = b.parameter("fc.weight.scale", &[5]);
    let zero = b.constant("fc.weight.zero_point", i8s(vec![0; 5], &[5]));
    let w = b.add(Op::Dequantize { axis: 0 }, &[w, scale, zero]);
    let y = b.add(Op::Linear, &[x, w]);
    cases.push(b.done(y));
}

fn outputs(cases: &mut Vec<Case>) {
    let mut b = Builder::new("outputs_that_are_inputs_weights_or_repeated", &[2, 3]);
    let p = b.parameter("p", &[3]);
    let y = b.add(Op::Binary(Binary::Add), &[b.x, p]);
    b.graph.metadata.insert("classes".into(), "117".into());
    let x = b.x;
    b.graph.set_outputs([y, x, p, y]);
    let name = b.graph.name.clone();
    cases.push(Case {
        name,
        graph: b.graph,
    });
    let mut b = Builder::new("two_inputs", &[2, 3]);
    let z = b.graph.input("z", Shape::new(&[2, 3]), DType::F32).unwrap();
    let y = b.add(Op::Binary(Binary::Sub), &[z, b.x]);
    cases.push(b.done(y));
}
