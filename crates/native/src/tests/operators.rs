use slicewise_graph::*;

use super::{Maker, report};

type Case = (&'static str, Box<dyn Fn(&mut Maker) -> NodeId>);

fn case(name: &'static str, f: impl Fn(&mut Maker) -> NodeId + 'static) -> Case {
    (name, Box::new(f))
}

fn run(cases: Vec<Case>) {
    report(cases.into_iter().map(|(name, make)| {
        let mut maker = Maker::new();
        let output = make(&mut maker);
        (name.to_owned(), maker.check(&[output]))
    }));
}

/// A convolution of an input `x` to `out` channels with bias.
fn conv(x: &[usize], out: usize, spec: Conv) -> impl Fn(&mut Maker) -> NodeId + use<> {
    let x = x.to_vec();
    move |m| {
        let input = m.input(&x);
        let shape = [&[out, x[1] / spec.groups], &spec.kernel[..]].concat();
        let (weight, bias) = (m.weight(&shape), m.weight(&[out]));
        m.add(Op::Conv(spec.clone()), &[input, weight, bias])
    }
}

#[test]
fn convolutions_in_one_to_three_dimensions() {
    let uneven = Conv {
        kernel: vec![3, 1, 2],
        stride: vec![1, 2, 3],
        dilation: vec![2, 1, 1],
        pads: vec![(0, 3), (1, 0), (2, 1)],
        groups: 2,
    };
    run(vec![
        case("1d", conv(&[2, 3, 37], 5, Conv::new(1, 3).pad(1))),
        case("pointwise", conv(&[1, 19, 5, 7], 13, Conv::new(2, 1))),
        case("pointwise, deep", conv(&[1, 700, 3, 5], 9, Conv::new(2, 1))),
        case(
            "pointwise, stride 2",
            conv(&[2, 8, 9, 11], 16, Conv::new(2, 1).stride(2)),
        ),
        case("one element", conv(&[1, 37, 1, 1], 50, Conv::new(2, 1))),
        case(
            "one element, a batch",
            conv(&[5, 100, 1, 1], 3, Conv::new(2, 1)),
        ),
        case("3x3", conv(&[1, 16, 20, 33], 24, Conv::new(2, 3).pad(1))),
        case(
            "3x3, wide",
            conv(&[1, 3, 4, 1100], 4, Conv::new(2, 3).pad(1)),
        ),
        case(
            "3x3, stride 2",
            conv(&[1, 3, 31, 34], 32, Conv::new(2, 3).stride(2).pad(1)),
        ),
        case(
            "3x3, deep",
            conv(&[1, 130, 7, 7], 11, Conv::new(2, 3).pad(1)),
        ),
        case(
            "3x3, dilation 2",
            conv(&[1, 6, 13, 17], 7, Conv::new(2, 3).dilation(2).pad(2)),
        ),
        case(
            "7x7, stride 2",
            conv(&[1, 3, 40, 40], 8, Conv::new(2, 7).stride(2).pad(3)),
        ),
        case(
            "4x4, stride 4",
            conv(&[1, 3, 32, 36], 20, Conv::new(2, 4).stride(4)),
        ),
        case(
            "groups of 8",
            conv(&[1, 24, 9, 18], 24, Conv::new(2, 3).pad(1).groups(3)),
        ),
        case(
            "groups of 24, stride 2",
            conv(
                &[1, 48, 9, 18],
                48,
                Conv::new(2, 3).stride(2).pad(1).groups(2),
            ),
        ),
        case(
            "two outputs per group",
            conv(&[1, 6, 8, 8], 12, Conv::new(2, 3).pad(1).groups(6)),
        ),
        case(
            "one output",
            conv(&[1, 6, 8, 30], 1, Conv::new(2, 3).pad(1)),
        ),
        case(
            "depthwise 3x3",
            conv(&[2, 5, 19, 70], 5, Conv::new(2, 3).pad(1).groups(5)),
        ),
        case(
            "depthwise 5x5, stride 2",
            conv(
                &[1, 4, 33, 35],
                4,
                Conv::new(2, 5).stride(2).pad(2).groups(4),
            ),
        ),
        case(
            "depthwise 7x7",
            conv(&[1, 3, 14, 14], 3, Conv::new(2, 7).pad(3).groups(3)),
        ),
        case(
            "depthwise, dilation 3",
            conv(
                &[1, 3, 14, 20],
                3,
                Conv::new(2, 3).dilation(3).pad(3).groups(3),
            ),
        ),
        case(
            "depthwise 3d",
            conv(&[1, 3, 6, 9, 20], 3, Conv::new(3, 3).pad(1).groups(3)),
        ),
        case(
            "depthwise, tall",
            conv(&[1, 1, 500, 300], 1, Conv::new(2, 3).pad(1)),
        ),
        case("3d", conv(&[1, 5, 7, 9, 18], 6, Conv::new(3, 3).pad(1))),
        case(
            "3d, stride 2",
            conv(&[2, 4, 8, 9, 10], 8, Conv::new(3, 3).stride(2).pad(1)),
        ),
        case("3d, uneven", conv(&[1, 4, 6, 8, 9], 6, uneven)),
    ]);
}

#[test]
fn a_convolution_without_bias() {
    let mut m = Maker::new();
    let x = m.input(&[1, 3, 8, 8]);
    let w = m.weight(&[4, 3, 3, 3]);
    let y = m.add(Op::Conv(Conv::new(2, 3)), &[x, w]);
    report([("no bias".to_owned(), m.check(&[y]))]);
}

/// A transposed convolution of an input `x` to `out` channels with bias.
fn up(x: &[usize], out: usize, spec: ConvTranspose) -> impl Fn(&mut Maker) -> NodeId + use<> {
    let x = x.to_vec();
    move |m| {
        let input = m.input(&x);
        let shape = [&[x[1], out / spec.groups], &spec.kernel[..]].concat();
        let (weight, bias) = (m.weight(&shape), m.weight(&[out]));
        m.add(Op::ConvTranspose(spec.clone()), &[input, weight, bias])
    }
}

#[test]
fn transposed_convolutions() {
    let overlapping = ConvTranspose {
        kernel: vec![4, 3],
        stride: vec![2, 2],
        dilation: vec![1, 2],
        pads: vec![(1, 1), (0, 3)],
        output_padding: vec![1, 0],
        groups: 2,
    };
    let dilated = ConvTranspose {
        dilation: vec![2, 1],
        ..ConvTranspose::upsample(2, 2)
    };
    let cut = ConvTranspose {
        pads: vec![(1, 0); 2],
        ..ConvTranspose::upsample(2, 2)
    };
    run(vec![
        case("1d", up(&[1, 4, 9], 3, ConvTranspose::upsample(1, 2))),
        case("2x2", up(&[2, 9, 5, 18], 7, ConvTranspose::upsample(2, 2))),
        case("4x4", up(&[1, 6, 5, 6], 3, ConvTranspose::upsample(2, 4))),
        case(
            "2x2x2",
            up(&[1, 6, 3, 5, 17], 4, ConvTranspose::upsample(3, 2)),
        ),
        case("overlapping", up(&[1, 4, 7, 6], 6, overlapping)),
        case("dilated", up(&[1, 4, 7, 6], 6, dilated)),
        case("cut", up(&[1, 4, 7, 6], 6, cut)),
    ]);
}

#[test]
fn pools_in_every_mode() {
    let mut cases = Vec::new();
    for kind in [
        PoolKind::Max,
        PoolKind::Average {
            count_include_pad: true,
        },
        PoolKind::Average {
            count_include_pad: false,
        },
    ] {
        for ceil_mode in [false, true] {
            for (kernel, stride, pad) in [(3, 2, 1), (2, 2, 0), (3, 1, 1), (3, 3, 1)] {
                for rank in 1..=3 {
                    let spec = Pool {
                        kind,
                        kernel: vec![kernel; rank],
                        stride: vec![stride; rank],
                        pads: vec![(pad, pad); rank],
                        ceil_mode,
                    };
                    cases.push((format!("{spec:?}"), spec));
                }
            }
        }
    }
    report(cases.into_iter().map(|(name, spec)| {
        let mut m = Maker::new();
        let x = m.input(&[&[1, 3], &[8, 11, 19][3 - spec.kernel.len()..]].concat());
        let y = m.add(Op::Pool(spec), &[x]);
        (name, m.check(&[y]))
    }));
}

#[test]
fn resampling_in_every_convention() {
    let mut cases = Vec::new();
    let inputs: [&[usize]; 3] = [&[9], &[6, 11], &[3, 5, 7]];
    for coordinates in [
        Coordinates::HalfPixel,
        Coordinates::AlignCorners,
        Coordinates::Asymmetric,
    ] {
        for mode in [ResizeMode::Nearest, ResizeMode::Linear] {
            for input in inputs {
                let factors: [fn(usize) -> usize; 5] =
                    [|n| 2 * n, |n| 4 * n, |n| n, |n| n / 2, |n| 3 * n + 1];
                for factor in factors {
                    let size = input.iter().map(|n| factor(*n)).collect();
                    cases.push((
                        input,
                        Resize {
                            size,
                            mode,
                            coordinates,
                            scales: None,
                        },
                    ));
                }
                // A stated factor of 1.9 whose product was rounded down.
                let size = input.iter().map(|n| (*n as f32 * 1.9) as usize).collect();
                let scales = Some(vec![1.0 / 1.9; input.len()]);
                cases.push((
                    input,
                    Resize {
                        size,
                        mode,
                        coordinates,
                        scales,
                    },
                ));
            }
        }
    }
    for antialias in [false, true] {
        let mode = ResizeMode::Cubic { antialias };
        for size in [[12, 22], [4, 5]] {
            let size = size.to_vec();
            let coordinates = Coordinates::HalfPixel;
            cases.push((
                &[6, 11],
                Resize {
                    size,
                    mode,
                    coordinates,
                    scales: None,
                },
            ));
        }
    }
    report(cases.into_iter().map(|(input, spec)| {
        let mut m = Maker::new();
        let x = m.input(&[&[2, 3], input].concat());
        let name = format!("{input:?} {spec:?}");
        let y = m.add(Op::Resize(spec), &[x]);
        (name, m.check(&[y]))
    }));
}

#[test]
fn normalisations_and_softmax_along_any_axis() {
    let mut cases = Vec::new();
    for axis in 0..4 {
        cases.push(case("layer norm", move |m| {
            let x = m.input(&[3, 6, 5, 37]);
            let n = [3, 6, 5, 37][axis];
            let (w, b) = (m.positive(n), m.weight(&[n]));
            m.add(Op::LayerNorm { axis, eps: 1e-5 }, &[x, w, b])
        }));
        cases.push(case("softmax", move |m| {
            let x = m.input(&[3, 6, 5, 37]);
            m.add(Op::Softmax { axis }, &[x])
        }));
        cases.push(case("l2", move |m| {
            let x = m.input(&[3, 6, 5, 37]);
            m.add(Op::L2Normalize { axis, eps: 1e-12 }, &[x])
        }));
    }
    for groups in [1, 2, 6] {
        cases.push(case("group norm", move |m| {
            let x = m.input(&[2, 6, 90, 91]);
            let (w, b) = (m.positive(6), m.weight(&[6]));
            m.add(Op::GroupNorm { groups, eps: 1e-5 }, &[x, w, b])
        }));
    }
    cases.push(case("batch norm", |m| {
        let x = m.input(&[2, 5, 7, 9]);
        let (w, b, mean, var) = (
            m.weight(&[5]),
            m.weight(&[5]),
            m.weight(&[5]),
            m.positive(5),
        );
        m.add(Op::BatchNorm { eps: 1e-5 }, &[x, w, b, mean, var])
    }));
    run(cases);
}

#[test]
fn instance_norm_of_values_far_from_zero_keeps_its_accuracy() {
    let mut m = Maker::new();
    let x = m.input(&[1, 2, 40, 1000]);
    let far = m.constant(Tensor::scalar(1000.0));
    let x = m.add(Op::Binary(Binary::Add), &[x, far]);
    let (w, b) = (m.positive(2), m.weight(&[2]));
    let y = m.add(
        Op::GroupNorm {
            groups: 2,
            eps: 1e-5,
        },
        &[x, w, b],
    );
    m.graph.set_outputs(vec![y]);
    let want = reference::run(&m.graph, &m.inputs).expect("a graph that runs");
    let mut network = crate::compile(
        &m.graph,
        &crate::Options {
            threads: 2,
            ..crate::Options::default()
        },
    )
    .expect("compiles");
    let got = network.run(&m.inputs).expect("runs");
    let pairs = got[0]
        .as_f32()
        .into_iter()
        .flatten()
        .zip(want[0].as_f32().into_iter().flatten());
    // One rounding of 1000 + x is 3e-5 of x's range.
    let worst = pairs.map(|(g, w)| (g - w).abs()).fold(0.0, f32::max);
    assert!(worst < 2e-4, "{worst}");
}

#[test]
fn products() {
    let linear = |x: &'static [usize], out: usize| {
        case("linear", move |m| {
            let input = m.input(x);
            let features = x[x.len() - 1];
            let (w, b) = (m.weight(&[out, features]), m.weight(&[out]));
            m.add(Op::Linear, &[input, w, b])
        })
    };
    let matmul = |a: &'static [usize], b: &'static [usize]| {
        case("matmul", move |m| {
            let (a, b) = (m.input(a), m.input(b));
            m.add(Op::MatMul, &[a, b])
        })
    };
    run(vec![
        linear(&[1, 300], 100),
        linear(&[2, 70, 33], 131),
        linear(&[3, 800], 1),
        linear(&[1000], 17),
        matmul(&[5, 7], &[7, 9]),
        matmul(&[2, 3, 65, 33], &[2, 3, 33, 65]),
        matmul(&[2, 1, 3, 400], &[4, 400, 50]),
        matmul(&[1, 8], &[8, 1]),
    ]);
}

#[test]
fn elementwise_operators_broadcast() {
    let shapes: [(&[usize], &[usize]); 9] = [
        (&[2, 3, 4, 5], &[2, 3, 4, 5]),
        (&[2, 3, 4, 5], &[1, 3, 1, 1]),
        (&[2, 3, 4, 50], &[50]),
        (&[2, 3, 4, 5], &[]),
        (&[4, 1], &[1, 7]),
        (&[2, 1, 4, 1], &[3, 1, 5]),
        (&[1, 3, 200, 200], &[1, 3, 1, 1]),
        (&[], &[]),
        (&[1, 1, 70, 700], &[70, 1]),
    ];
    let mut results = Vec::new();
    for (a, b) in shapes {
        for f in [Binary::Add, Binary::Sub, Binary::Mul, Binary::Div] {
            for (a, b) in [(a, b), (b, a)] {
                // Once from inputs, once over values that may be overwritten.
                for copied in [false, true] {
                    let mut m = Maker::new();
                    let (mut x, mut y) = (m.input(a), m.input(b));
                    let shift = m.constant(Tensor::scalar(1.5));
                    y = m.add(Op::Binary(Binary::Add), &[y, shift]);
                    if copied {
                        x = m.add(Op::Activation(Activation::Tanh), &[x]);
                    }
                    let z = m.add(Op::Binary(f), &[x, y]);
                    results.push((format!("{a:?} {} {b:?} {copied}", f.name()), m.check(&[z])));
                }
            }
        }
    }
    report(results);
}

#[test]
fn reductions_over_any_axes() {
    let mut results = Vec::new();
    for kind in [ReduceKind::Mean, ReduceKind::Sum, ReduceKind::Max] {
        for axes in [
            &[0][..],
            &[1],
            &[3],
            &[2, 3],
            &[0, 2],
            &[1, 3],
            &[0, 1, 2, 3],
            &[0, 1],
        ] {
            for keep_dims in [false, true] {
                let mut m = Maker::new();
                let x = m.input(&[3, 70, 5, 301]);
                let spec = Reduce {
                    kind,
                    axes: axes.to_vec(),
                    keep_dims,
                };
                let name = format!("{spec:?}");
                let y = m.add(Op::Reduce(spec), &[x]);
                results.push((name, m.check(&[y])));
            }
        }
    }
    report(results);
}

#[test]
fn movements() {
    let mut cases = Vec::new();
    let perms: [&'static [usize]; 8] = [
        &[0, 1, 2, 3],
        &[0, 2, 3, 1],
        &[0, 3, 1, 2],
        &[3, 2, 1, 0],
        &[1, 0, 2, 3],
        &[0, 1, 3, 2],
        &[2, 0, 1, 3],
        &[2, 3, 0, 1],
    ];
    for perm in perms {
        cases.push(case("transpose", move |m| {
            let x = m.input(&[2, 19, 5, 37]);
            m.add(
                Op::Transpose {
                    perm: perm.to_vec(),
                },
                &[x],
            )
        }));
    }
    cases.push(case("transpose with ones", |m| {
        let x = m.input(&[1, 7, 1, 9]);
        m.add(
            Op::Transpose {
                perm: vec![2, 3, 0, 1],
            },
            &[x],
        )
    }));
    for axis in 0..3 {
        for (start, end, step) in [(1, 4, 1), (0, 5, 2), (2, 5, 3)] {
            cases.push(case("slice", move |m| {
                let x = m.input(&[5, 6, 7]);
                m.add(
                    Op::Slice(Slice {
                        axis,
                        start,
                        end,
                        step,
                    }),
                    &[x],
                )
            }));
        }
        cases.push(case("concat", move |m| {
            let mut shape = [3, 4, 5];
            let a = m.input(&shape);
            shape[axis] = 2;
            let b = m.input(&shape);
            m.add(Op::Concat { axis }, &[a, b, a])
        }));
    }
    cases.push(case("pad", |m| {
        let x = m.input(&[2, 3, 4]);
        let pads = vec![(1, 0), (2, 1), (0, 3)];
        m.add(Op::Pad { pads, value: 0.5 }, &[x])
    }));
    cases.push(case("reshape", |m| {
        let x = m.input(&[2, 3, 4]);
        let x = m.add(Op::Activation(Activation::Relu), &[x]);
        let dims = vec![ReshapeDim::Copy, ReshapeDim::Infer];
        let y = m.add(Op::Reshape { dims }, &[x]);
        m.add(Op::Activation(Activation::Tanh), &[y])
    }));
    run(cases);
}

#[test]
fn arg_max_takes_the_first_of_equals() {
    let mut results = Vec::new();
    for dtype in [DType::U8, DType::U16, DType::I32, DType::I64] {
        for axis in 0..3 {
            let mut m = Maker::new();
            let x = m.input(&[3, 9, 70]);
            // Few different values, so that there are ties everywhere.
            let four = m.constant(Tensor::scalar(2.0));
            let x = m.add(Op::Binary(Binary::Mul), &[x, four]);
            let x = m.add(Op::Activation(Activation::HardSigmoid), &[x]);
            let low = Activation::Clip {
                low: 0.4,
                high: 0.6,
            };
            let x = m.add(Op::Activation(low), &[x]);
            let y = m.add(Op::ArgMax { axis, dtype }, &[x]);
            results.push((format!("{dtype} axis {axis}"), m.check(&[y])));
        }
    }
    report(results);
}

#[test]
fn quantization_per_tensor_and_per_channel() {
    let mut results = Vec::new();
    for zero in [
        Tensor::new(&[3], vec![3u8, 128, 255]),
        Tensor::new(&[3], vec![0i8, -5, 7]),
    ] {
        let zero = zero.expect("three values");
        let name = zero.dtype().to_string();
        let mut m = Maker::new();
        let x = m.input(&[2, 3, 40]);
        let scale = m.constant(Tensor::from_fn(&[3], |i| 0.01 * (i + 1) as f32));
        let zero = m.constant(zero);
        let q = m.add(Op::Quantize { axis: 1 }, &[x, scale, zero]);
        let y = m.add(Op::Dequantize { axis: 1 }, &[q, scale, zero]);
        results.push((name, m.check(&[q, y])));
    }
    report(results);
}

#[test]
fn every_activation() {
    let all = [
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
            high: 0.25,
        },
    ];
    report(all.into_iter().map(|f| {
        let mut m = Maker::new();
        let x = m.input(&[3, 7001]);
        let ten = m.constant(Tensor::scalar(9.0));
        let scaled = m.add(Op::Binary(Binary::Mul), &[x, ten]);
        let y = m.add(Op::Activation(f), &[scaled]);
        let z = m.add(Op::Activation(f), &[x]);
        (f.name().to_owned(), m.check(&[y, z]))
    }));
}
