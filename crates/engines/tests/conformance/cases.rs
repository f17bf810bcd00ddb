//! The table: every operator in every form that the zoo and the ONNX reader can ask for, in two and
//! three dimensions.

use slicewise_graph::{
    Activation, Binary, Conv, ConvTranspose, Coordinates, DType, Dim, Graph, NodeId, Op, Pool,
    PoolKind, Reduce, ReduceKind, ReshapeDim, Resize, ResizeMode, Role, Shape, Slice, Task, Tensor,
};

/// One graph to run on every engine.
pub(crate) struct Case {
    /// What it shows.
    pub(crate) name: String,
    /// The graph, with weights.
    pub(crate) graph: Graph,
    /// What is asked of it.
    pub(crate) task: Task,
    /// Images per run.
    pub(crate) batch: usize,
}

/// Uniform values in [-1, 1), the same for the same seed.
pub(crate) fn random(shape: &[usize], seed: u64) -> Tensor {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0xd1b5_4a32_d192_ed03;
    Tensor::from_fn(shape, |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    })
}

/// A graph under construction; names and seeds count up.
struct Net {
    graph: Graph,
    named: u64,
}

impl Net {
    fn next(&mut self, kind: &str) -> String {
        self.named += 1;
        format!("{kind}{}", self.named)
    }

    /// An input whose first axis is the open batch.
    fn input(&mut self, sizes: &[usize]) -> NodeId {
        let name = self.next("x");
        let dims = sizes.iter().map(|&n| Dim::Fixed(n));
        let shape: Shape = std::iter::once(Dim::Batch).chain(dims).collect();
        self.graph
            .input(&name, shape, DType::F32)
            .expect("a new name")
    }

    fn constant(&mut self, tensor: Tensor) -> NodeId {
        let name = self.next("w");
        self.graph
            .constant_tensor(&name, Role::Trainable, tensor)
            .expect("a new name")
    }

    fn weight(&mut self, sizes: &[usize]) -> NodeId {
        let tensor = random(sizes, self.named);
        self.constant(tensor)
    }

    /// Values in (0, 2): variances and scales.
    fn positive(&mut self, n: usize) -> NodeId {
        let values = random(&[n], self.named);
        let values = values.as_f32().expect("f32").to_vec();
        self.constant(Tensor::from_fn(&[n], |i| 1.05 + values[i]))
    }

    fn add(&mut self, op: Op, inputs: &[NodeId]) -> NodeId {
        let name = self.next("node");
        self.graph
            .add(&name, op, inputs)
            .expect("the case's shapes fit")
    }
}

/// The table while it grows.
struct Table(Vec<Case>);

impl Table {
    fn graph(&mut self, name: &str, build: impl FnOnce(&mut Net) -> NodeId) -> &mut Case {
        let mut net = Net {
            graph: Graph::new(name),
            named: 0,
        };
        let output = build(&mut net);
        net.graph.set_outputs(vec![output]);
        self.0.push(Case {
            name: name.to_owned(),
            graph: net.graph,
            task: Task::Logits,
            batch: 1,
        });
        self.0.last_mut().expect("just pushed")
    }

    /// A case of one operator on one input of these sizes (without the batch), for batches 1 and 2.
    fn unary(&mut self, name: &str, sizes: &[usize], op: Op) {
        for batch in [1, 2] {
            let op = op.clone();
            let build = |net: &mut Net| {
                let x = net.input(sizes);
                net.add(op, &[x])
            };
            self.graph(&format!("{name}, batch {batch}"), build).batch = batch;
        }
    }

    /// A convolution, with and without bias.
    fn conv(&mut self, name: &str, x: &[usize], out: usize, conv: Conv) {
        for bias in [false, true] {
            let conv = conv.clone();
            let mut weight = vec![out, x[0] / conv.groups];
            weight.extend(&conv.kernel);
            let build = |net: &mut Net| {
                let x = net.input(x);
                let mut inputs = vec![x, net.weight(&weight)];
                if bias {
                    inputs.push(net.weight(&[out]));
                }
                net.add(Op::Conv(conv), &inputs)
            };
            self.graph(&format!("{name}, bias {bias}"), build).batch = 1 + usize::from(bias);
        }
    }

    fn conv_transpose(&mut self, name: &str, x: &[usize], out: usize, conv: ConvTranspose) {
        let mut weight = vec![x[0], out / conv.groups];
        weight.extend(&conv.kernel);
        self.graph(name, |net| {
            let x = net.input(x);
            let (weight, bias) = (net.weight(&weight), net.weight(&[out]));
            net.add(Op::ConvTranspose(conv), &[x, weight, bias])
        });
    }
}

/// All cases.
pub(crate) fn cases() -> Vec<Case> {
    let mut table = Table(Vec::new());
    convolutions(&mut table);
    normalisations(&mut table);
    products(&mut table);
    pools(&mut table);
    elementwise(&mut table);
    resizes(&mut table);
    layout(&mut table);
    reductions(&mut table);
    quantization(&mut table);
    networks(&mut table);
    table.0
}

fn convolutions(t: &mut Table) {
    t.conv("1×1 convolution", &[5, 7, 9], 6, Conv::new(2, 1));
    t.conv("3×3 convolution", &[3, 9, 11], 17, Conv::new(2, 3).pad(1));
    t.conv(
        "3×3 convolution, stride 2",
        &[4, 9, 12],
        5,
        Conv::new(2, 3).pad(1).stride(2),
    );
    t.conv(
        "3×3 convolution, dilation 2",
        &[3, 10, 9],
        4,
        Conv::new(2, 3).pad(2).dilation(2),
    );
    t.conv(
        "2×2 convolution, stride 2",
        &[4, 8, 10],
        8,
        Conv::new(2, 2).stride(2),
    );
    t.conv(
        "7×7 convolution, stride 4",
        &[3, 18, 21],
        8,
        Conv::new(2, 7).pad(3).stride(4),
    );
    t.conv(
        "16×16 patches",
        &[3, 32, 48],
        7,
        Conv::new(2, 16).stride(16),
    );
    t.conv(
        "grouped convolution",
        &[8, 7, 7],
        12,
        Conv::new(2, 3).pad(1).groups(4),
    );
    t.conv(
        "depthwise 3×3",
        &[19, 9, 8],
        19,
        Conv::new(2, 3).pad(1).groups(19),
    );
    let wide = Conv::new(2, 5).pad(2).stride(2).groups(6);
    t.conv("depthwise 5×5, stride 2", &[6, 11, 13], 6, wide);
    t.conv(
        "depthwise, two outputs each",
        &[4, 6, 7],
        8,
        Conv::new(2, 3).pad(1).groups(4),
    );
    let uneven = Conv {
        kernel: vec![3, 1],
        stride: vec![1, 2],
        dilation: vec![2, 1],
        pads: vec![(0, 3), (1, 0)],
        groups: 1,
    };
    t.conv(
        "uneven kernel, stride, dilation and padding",
        &[3, 8, 9],
        4,
        uneven,
    );
    t.conv(
        "1D convolution",
        &[3, 13],
        5,
        Conv::new(1, 3).pad(1).stride(2),
    );
    t.conv(
        "3×3×3 convolution",
        &[2, 5, 6, 7],
        9,
        Conv::new(3, 3).pad(1),
    );
    t.conv(
        "3×3×3 convolution, stride 2",
        &[3, 6, 7, 5],
        4,
        Conv::new(3, 3).pad(1).stride(2),
    );
    t.conv("1×1×1 convolution", &[5, 3, 4, 5], 6, Conv::new(3, 1));
    t.conv(
        "3D depthwise",
        &[4, 4, 5, 6],
        4,
        Conv::new(3, 3).pad(1).groups(4),
    );
    t.conv_transpose(
        "2×2 upsampling",
        &[5, 4, 6],
        3,
        ConvTranspose::upsample(2, 2),
    );
    t.conv_transpose(
        "2×2×2 upsampling",
        &[4, 2, 3, 4],
        3,
        ConvTranspose::upsample(3, 2),
    );
    let anisotropic = ConvTranspose {
        kernel: vec![1, 2, 2],
        stride: vec![1, 2, 2],
        ..ConvTranspose::upsample(3, 2)
    };
    t.conv_transpose("1×2×2 upsampling", &[3, 2, 3, 4], 2, anisotropic);
    let overlapping = ConvTranspose {
        kernel: vec![3, 4],
        stride: vec![2, 2],
        dilation: vec![1, 1],
        pads: vec![(1, 1), (1, 2)],
        output_padding: vec![1, 0],
        groups: 1,
    };
    t.conv_transpose(
        "overlapping transposed convolution",
        &[4, 4, 5],
        3,
        overlapping,
    );
    let grouped = ConvTranspose {
        groups: 2,
        ..ConvTranspose::upsample(2, 2)
    };
    t.conv_transpose("grouped transposed convolution", &[4, 3, 3], 6, grouped);
}

fn normalisations(t: &mut Table) {
    for sizes in [&[6, 5, 7][..], &[4, 3, 4, 5], &[5]] {
        let c = sizes[0];
        t.graph(&format!("batch norm of {sizes:?}"), |net| {
            let x = net.input(sizes);
            let (weight, bias, mean) = (net.weight(&[c]), net.weight(&[c]), net.weight(&[c]));
            let variance = net.positive(c);
            net.add(
                Op::BatchNorm { eps: 1e-3 },
                &[x, weight, bias, mean, variance],
            )
        })
        .batch = 2;
    }
    for (groups, sizes) in [
        (1, &[6, 5, 7][..]),
        (3, &[6, 5, 7]),
        (6, &[6, 5, 7]),
        (4, &[4, 3, 4, 5]),
    ] {
        let c = sizes[0];
        t.graph(
            &format!("group norm, {groups} groups of {sizes:?}"),
            |net| {
                let x = net.input(sizes);
                let (weight, bias) = (net.weight(&[c]), net.weight(&[c]));
                net.add(Op::GroupNorm { groups, eps: 1e-5 }, &[x, weight, bias])
            },
        )
        .batch = 2;
    }
    for (axis, sizes) in [(1, &[6, 5, 7][..]), (2, &[9, 12]), (3, &[4, 5, 6])] {
        let n = sizes[axis - 1];
        t.graph(
            &format!("layer norm over axis {axis} of {sizes:?}"),
            |net| {
                let x = net.input(sizes);
                let (weight, bias) = (net.weight(&[n]), net.weight(&[n]));
                net.add(Op::LayerNorm { axis, eps: 1e-6 }, &[x, weight, bias])
            },
        )
        .batch = 2;
    }
    t.unary(
        "L2 normalise the last axis",
        &[3, 4, 6],
        Op::L2Normalize {
            axis: 3,
            eps: 1e-12,
        },
    );
    t.unary(
        "L2 normalise axis 1",
        &[5, 4],
        Op::L2Normalize {
            axis: 1,
            eps: 1e-12,
        },
    );
    t.unary(
        "softmax of the last axis",
        &[3, 5, 7],
        Op::Softmax { axis: 3 },
    );
    t.unary(
        "softmax of the channels",
        &[5, 3, 4],
        Op::Softmax { axis: 1 },
    );
}

fn products(t: &mut Table) {
    for (sizes, bias) in [
        (&[10][..], true),
        (&[10], false),
        (&[7, 10], true),
        (&[2, 3, 10], false),
    ] {
        t.graph(&format!("linear of {sizes:?}, bias {bias}"), |net| {
            let x = net.input(sizes);
            let mut inputs = vec![x, net.weight(&[13, 10])];
            if bias {
                inputs.push(net.weight(&[13]));
            }
            net.add(Op::Linear, &inputs)
        })
        .batch = 2;
    }
    for (a, b) in [
        (&[4, 5][..], &[5, 6][..]),
        (&[3, 4, 5], &[3, 5, 2]),
        (&[3, 4, 5], &[1, 5, 2]),
    ] {
        t.graph(&format!("product of {a:?} and {b:?}"), |net| {
            let (a, b) = (net.input(a), net.input(b));
            net.add(Op::MatMul, &[a, b])
        })
        .batch = 2;
    }
    t.graph("product with a constant", |net| {
        let (a, b) = (net.input(&[4, 5]), net.weight(&[5, 3]));
        net.add(Op::MatMul, &[a, b])
    });
}

fn pools(t: &mut Table) {
    let average = |count_include_pad| PoolKind::Average { count_include_pad };
    let pool = |kind, rank: usize, kernel: usize, stride: usize, pad: usize, ceil_mode| Pool {
        kind,
        kernel: vec![kernel; rank],
        stride: vec![stride; rank],
        pads: vec![(pad, pad); rank],
        ceil_mode,
    };
    let cases = [
        (
            "max 3×3, stride 2",
            &[3, 9, 10][..],
            pool(PoolKind::Max, 2, 3, 2, 1, false),
        ),
        (
            "max 2×2, rounded up",
            &[3, 7, 9],
            pool(PoolKind::Max, 2, 2, 2, 0, true),
        ),
        (
            "max 2×2×2",
            &[2, 4, 6, 5],
            pool(PoolKind::Max, 3, 2, 2, 0, false),
        ),
        (
            "mean 2×2",
            &[3, 8, 6],
            pool(average(false), 2, 2, 2, 0, false),
        ),
        (
            "mean 3×3 without padding",
            &[3, 7, 6],
            pool(average(false), 2, 3, 1, 1, false),
        ),
        (
            "mean 3×3 with padding",
            &[3, 7, 6],
            pool(average(true), 2, 3, 1, 1, false),
        ),
        (
            "mean 2×2, rounded up",
            &[3, 7, 9],
            pool(average(false), 2, 2, 2, 0, true),
        ),
        (
            "mean 2×2×2",
            &[2, 4, 6, 5],
            pool(average(true), 3, 2, 2, 0, false),
        ),
    ];
    for (name, sizes, pool) in cases {
        t.unary(&format!("pool: {name}"), sizes, Op::Pool(pool));
    }
}

fn elementwise(t: &mut Table) {
    let activations = [
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
            low: -0.3,
            high: 2.5,
        },
    ];
    for activation in activations {
        // Spread over the range where the functions bend: inputs alone are in [-1, 1).
        t.graph(&format!("{} over [-8, 8)", activation.name()), |net| {
            let x = net.input(&[3, 5, 67]);
            let factor = net.constant(Tensor::scalar(8.0));
            let x = net.add(Op::Binary(Binary::Mul), &[x, factor]);
            net.add(Op::Activation(activation), &[x])
        });
    }
    t.graph("square root of squares", |net| {
        let x = net.input(&[4, 5]);
        let square = net.add(Op::Binary(Binary::Mul), &[x, x]);
        net.add(Op::Activation(Activation::Sqrt), &[square])
    });
    for f in [Binary::Add, Binary::Sub, Binary::Mul] {
        for (a, b) in [
            (&[3, 4, 5][..], &[3, 4, 5][..]),
            (&[3, 4, 5], &[3, 1, 1]),
            (&[1, 4, 1], &[3, 1, 5]),
            (&[2, 3, 4, 5], &[2, 1, 1, 1]),
        ] {
            t.graph(&format!("{} of {a:?} and {b:?}", f.name()), |net| {
                let (a, b) = (net.input(a), net.input(b));
                net.add(Op::Binary(f), &[a, b])
            })
            .batch = 2;
        }
    }
    for f in [Binary::Add, Binary::Sub, Binary::Mul, Binary::Div] {
        for channels in [1, 4] {
            t.graph(&format!("{} of {channels} constants", f.name()), |net| {
                let x = net.input(&[4, 3, 5]);
                let b = net.positive(channels);
                let dims = vec![
                    ReshapeDim::Infer,
                    ReshapeDim::Fixed(1),
                    ReshapeDim::Fixed(1),
                ];
                let b = net.add(Op::Reshape { dims }, &[b]);
                net.add(Op::Binary(f), &[x, b])
            });
        }
    }
    t.graph("a constant divided by values", |net| {
        let x = net.input(&[4, 3]);
        let (one, shift) = (
            net.constant(Tensor::scalar(1.0)),
            net.constant(Tensor::scalar(2.0)),
        );
        let x = net.add(Op::Binary(Binary::Add), &[x, shift]);
        net.add(Op::Binary(Binary::Div), &[one, x])
    });
}

fn resizes(t: &mut Table) {
    use Coordinates::{AlignCorners, Asymmetric, HalfPixel};
    let modes = [
        ("nearest", ResizeMode::Nearest, Asymmetric),
        ("nearest", ResizeMode::Nearest, HalfPixel),
        ("linear", ResizeMode::Linear, HalfPixel),
        ("linear", ResizeMode::Linear, AlignCorners),
        ("linear", ResizeMode::Linear, Asymmetric),
    ];
    let sizes: [(&[usize], &[usize]); 6] = [
        (&[3, 4, 6], &[8, 12]),
        (&[2, 5, 7], &[13, 9]),
        (&[2, 9, 11], &[4, 5]),
        (&[2, 5, 7], &[5, 7]),
        (&[2, 2, 3, 4], &[4, 6, 8]),
        (&[2, 3, 4, 5], &[5, 7, 4]),
    ];
    for (name, mode, coordinates) in modes {
        for (from, to) in sizes {
            let resize = Resize {
                size: to.to_vec(),
                mode,
                coordinates,
                scales: None,
            };
            let name = format!("{name} {coordinates:?} {from:?} to {to:?}");
            t.unary(&name, from, Op::Resize(resize));
        }
    }
    for (antialias, from, to) in [(false, [2, 5, 7], [9, 8]), (true, [2, 9, 11], [4, 6])] {
        let resize = Resize {
            size: to.to_vec(),
            mode: ResizeMode::Cubic { antialias },
            coordinates: HalfPixel,
            scales: None,
        };
        t.unary(
            &format!("cubic, antialias {antialias}, {from:?} to {to:?}"),
            &from,
            Op::Resize(resize),
        );
    }
}

fn layout(t: &mut Table) {
    t.unary(
        "transpose to channels last",
        &[3, 4, 5],
        Op::Transpose {
            perm: vec![0, 2, 3, 1],
        },
    );
    t.unary(
        "transpose of tokens",
        &[4, 6],
        Op::Transpose {
            perm: vec![0, 2, 1],
        },
    );
    t.unary(
        "3D transpose",
        &[2, 3, 4, 5],
        Op::Transpose {
            perm: vec![0, 4, 1, 3, 2],
        },
    );
    let dims = vec![ReshapeDim::Copy, ReshapeDim::Infer];
    t.unary("flatten", &[3, 4, 5], Op::Reshape { dims });
    let dims = vec![
        ReshapeDim::Copy,
        ReshapeDim::Fixed(2),
        ReshapeDim::Infer,
        ReshapeDim::Fixed(5),
    ];
    t.unary("reshape into heads", &[4, 3, 5], Op::Reshape { dims });
    let slices = [
        Slice {
            axis: 1,
            start: 1,
            end: 5,
            step: 1,
        },
        Slice {
            axis: 3,
            start: 0,
            end: 7,
            step: 3,
        },
        Slice {
            axis: 2,
            start: 2,
            end: 3,
            step: 1,
        },
    ];
    for slice in slices {
        t.unary(&format!("{slice:?}"), &[6, 4, 7], Op::Slice(slice));
    }
    let pads = vec![(0, 0), (1, 0), (2, 1), (0, 3)];
    t.unary("pad with 0.5", &[2, 3, 4], Op::Pad { pads, value: 0.5 });
    let pads = vec![(0, 0), (0, 0), (1, 1), (0, 2), (1, 0)];
    t.unary("3D pad", &[2, 2, 3, 4], Op::Pad { pads, value: 0.0 });
    for axis in [1, 2, 3] {
        t.graph(&format!("concat along axis {axis}"), |net| {
            let mut sizes = [vec![2, 3, 4], vec![2, 3, 4], vec![2, 3, 4]];
            sizes[1][axis - 1] = 5;
            let inputs: Vec<NodeId> = sizes.iter().map(|s| net.input(s)).collect();
            net.add(Op::Concat { axis }, &inputs)
        })
        .batch = 2;
    }
}

fn reductions(t: &mut Table) {
    let kinds = [ReduceKind::Mean, ReduceKind::Sum, ReduceKind::Max];
    for kind in kinds {
        for (axes, keep_dims) in [
            (vec![2, 3], true),
            (vec![2, 3], false),
            (vec![1], true),
            (vec![3], false),
        ] {
            let name = format!("{kind:?} over {axes:?}, kept {keep_dims}");
            t.unary(
                &name,
                &[5, 6, 7],
                Op::Reduce(Reduce {
                    kind,
                    axes,
                    keep_dims,
                }),
            );
        }
    }
    let axes = vec![2, 3, 4];
    let volume = Reduce {
        kind: ReduceKind::Mean,
        axes,
        keep_dims: true,
    };
    t.unary("mean of a volume", &[3, 4, 5, 6], Op::Reduce(volume));
    for dtype in [DType::U8, DType::U16, DType::I32, DType::I64] {
        t.unary(
            &format!("arg-max as {dtype}"),
            &[5, 6, 7],
            Op::ArgMax { axis: 1, dtype },
        );
    }
    t.unary(
        "arg-max of a volume",
        &[5, 3, 4, 6],
        Op::ArgMax {
            axis: 1,
            dtype: DType::U8,
        },
    );
    t.graph("arg-max takes the first of equals", |net| {
        let x = net.input(&[4, 3, 3]);
        let zero = net.constant(Tensor::scalar(0.0));
        let flat = net.add(Op::Binary(Binary::Mul), &[x, zero]);
        net.add(
            Op::ArgMax {
                axis: 1,
                dtype: DType::U8,
            },
            &[flat],
        )
    });
}

fn quantization(t: &mut Table) {
    let zero = |dtype: DType, n: usize| match dtype {
        DType::I8 => Tensor::new(&[n], (0..n).map(|i| i as i8 - 2).collect::<Vec<_>>()),
        _ => Tensor::new(&[n], (0..n).map(|i| 120 + i as u8).collect::<Vec<_>>()),
    };
    for dtype in [DType::U8, DType::I8] {
        for n in [1, 4] {
            t.graph(&format!("to {dtype} and back, {n} scales"), |net| {
                let x = net.input(&[4, 5, 6]);
                let scale = net.constant(Tensor::from_fn(&[n], |i| 0.01 * (1 + i) as f32));
                let zero = net.constant(zero(dtype, n).expect("the size fits"));
                let q = net.add(Op::Quantize { axis: 1 }, &[x, scale, zero]);
                net.add(Op::Dequantize { axis: 1 }, &[q, scale, zero])
            });
        }
    }
}

fn networks(t: &mut Table) {
    // The end of every segmentation network, as labels: what the fused head must reproduce.
    for (name, classes, size) in [
        ("2D", 5, vec![17, 22]),
        ("2D", 300, vec![8, 12]),
        ("3D", 5, vec![6, 8, 10]),
    ] {
        let rank = size.len();
        let small: Vec<usize> = size.iter().map(|n: &usize| n.div_ceil(2)).collect();
        for batch in [1, 2] {
            let case = t.graph(
                &format!("{name} labels of {classes} classes, batch {batch}"),
                |net| {
                    let mut sizes = vec![4];
                    sizes.extend(&small);
                    let x = net.input(&sizes);
                    let mut weight = vec![classes, 4];
                    weight.extend(vec![1; rank]);
                    let inputs = [x, net.weight(&weight), net.weight(&[classes])];
                    let head = net.add(Op::Conv(Conv::new(rank, 1)), &inputs);
                    let resize = Resize {
                        size: size.clone(),
                        mode: ResizeMode::Linear,
                        coordinates: Coordinates::HalfPixel,
                        scales: None,
                    };
                    net.add(Op::Resize(resize), &[head])
                },
            );
            case.task = Task::Labels;
            case.batch = batch;
        }
    }
    t.graph("a residual block with squeeze and excitation", |net| {
        let x = net.input(&[8, 9, 10]);
        let inputs = [x, net.weight(&[8, 1, 3, 3]), net.weight(&[8])];
        let y = net.add(Op::Conv(Conv::new(2, 3).pad(1).groups(8)), &inputs);
        let y = net.add(Op::Activation(Activation::Silu), &[y]);
        let mean = Reduce {
            kind: ReduceKind::Mean,
            axes: vec![2, 3],
            keep_dims: true,
        };
        let gate = net.add(Op::Reduce(mean), &[y]);
        let inputs = [gate, net.weight(&[8, 8, 1, 1]), net.weight(&[8])];
        let gate = net.add(Op::Conv(Conv::new(2, 1)), &inputs);
        let gate = net.add(Op::Activation(Activation::Sigmoid), &[gate]);
        let y = net.add(Op::Binary(Binary::Mul), &[y, gate]);
        net.add(Op::Binary(Binary::Add), &[y, x])
    })
    .batch = 2;
    t.graph("attention over tokens", |net| {
        let (q, k, v) = (
            net.input(&[2, 7, 4]),
            net.input(&[2, 7, 4]),
            net.input(&[2, 7, 4]),
        );
        let k = net.add(
            Op::Transpose {
                perm: vec![0, 1, 3, 2],
            },
            &[k],
        );
        let scores = net.add(Op::MatMul, &[q, k]);
        let weights = net.add(Op::Softmax { axis: 3 }, &[scores]);
        net.add(Op::MatMul, &[weights, v])
    })
    .batch = 2;
}

/// A quantized convolution as post-training quantization writes it: activations u8 with one scale,
/// weights i8 with a scale per output channel, one step of quantization after the convolution.
pub(crate) fn quantized() -> Graph {
    let mut net = Net {
        graph: Graph::new("quantized"),
        named: 0,
    };
    let x = net.input(&[16, 12, 14]);
    let x = through_u8(&mut net, x, 2.0 / 255.0, 128);
    let values = random(&[24, 16, 3, 3], 5);
    let values = values.as_f32().expect("f32").iter();
    let values: Vec<i8> = values.map(|v| (v * 127.0) as i8).collect();
    let weight = Tensor::new(&[24, 16, 3, 3], values).expect("the size fits");
    let weight = net.constant(weight);
    let scale = net.constant(Tensor::from_fn(&[24], |i| (1.0 + i as f32 / 24.0) / 1270.0));
    let zero = net.constant(Tensor::new(&[24], vec![0i8; 24]).expect("the size fits"));
    let weight = net.add(Op::Dequantize { axis: 0 }, &[weight, scale, zero]);
    let bias = net.weight(&[24]);
    let y = net.add(Op::Conv(Conv::new(2, 3).pad(1)), &[x, weight, bias]);
    let y = net.add(Op::Activation(Activation::Relu), &[y]);
    let y = through_u8(&mut net, y, 4.0 / 255.0, 0);
    net.graph.set_outputs(vec![y]);
    net.graph
}

fn through_u8(net: &mut Net, x: NodeId, scale: f32, zero: u8) -> NodeId {
    let scale = net.constant(Tensor::scalar(scale));
    let zero = net.constant(Tensor::new(&[], vec![zero]).expect("one value"));
    let q = net.add(Op::Quantize { axis: 1 }, &[x, scale, zero]);
    net.add(Op::Dequantize { axis: 1 }, &[q, scale, zero])
}

/// A convolution wide enough that sums of rounded products show.
pub(crate) fn wide() -> Graph {
    let mut net = Net {
        graph: Graph::new("wide"),
        named: 0,
    };
    let x = net.input(&[64, 16, 16]);
    let weight = net.weight(&[64, 64, 3, 3]);
    let y = net.add(Op::Conv(Conv::new(2, 3).pad(1)), &[x, weight]);
    net.graph.set_outputs(vec![y]);
    net.graph
}
