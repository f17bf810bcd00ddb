//! The table: every operator in every form that the zoo and the ONNX reader can ask for, in two and
//! three dimensions. First what computes; what moves, resamples and quantizes is in [`layout`].

mod layout;
mod table;

use slicewise_graph::{
    Activation, Binary, Conv, ConvTranspose, Op, Pool, PoolKind, ReshapeDim, Tensor,
};

pub(crate) use layout::{quantized, wide};
use table::Table;
pub(crate) use table::{Case, random};

/// All cases.
pub(crate) fn cases() -> Vec<Case> {
    let mut table = Table(Vec::new());
    convolutions(&mut table);
    normalisations(&mut table);
    products(&mut table);
    pools(&mut table);
    elementwise(&mut table);
    layout::resizes(&mut table);
    layout::layout(&mut table);
    layout::reductions(&mut table);
    layout::quantization(&mut table);
    layout::networks(&mut table);
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
