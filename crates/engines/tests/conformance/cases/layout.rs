//! Resampling, moving elements, reductions, quantization, and the ends of networks.

use slicewise_graph::{
    Activation, Binary, Conv, Coordinates, DType, Graph, NodeId, Op, Reduce, ReduceKind,
    ReshapeDim, Resize, ResizeMode, Slice, Task, Tensor,
};

use super::table::{Net, Table, random};

pub(super) fn resizes(t: &mut Table) {
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

pub(super) fn layout(t: &mut Table) {
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

pub(super) fn reductions(t: &mut Table) {
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

pub(super) fn quantization(t: &mut Table) {
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

pub(super) fn networks(t: &mut Table) {
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
/// weights i8 up to `most` with a scale per output channel, one step of quantization after the convolution.
pub(crate) fn quantized(most: i8) -> Graph {
    let most = f32::from(most);
    let mut net = Net {
        graph: Graph::new("quantized"),
        named: 0,
    };
    let x = net.input(&[16, 12, 14]);
    let x = through_u8(&mut net, x, 2.0 / 255.0, 128);
    let values = random(&[24, 16, 3, 3], 5);
    let values = values.as_f32().expect("f32").iter();
    let values: Vec<i8> = values.map(|v| (v * most) as i8).collect();
    let weight = Tensor::new(&[24, 16, 3, 3], values).expect("the size fits");
    let weight = net.constant(weight);
    let scale = net.constant(Tensor::from_fn(&[24], |i| {
        (1.0 + i as f32 / 24.0) / (10.0 * most)
    }));
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
    let weight = net.weight(&[64, 64, 5, 5]);
    // Windows of 3×3 would be Winograd's in f32, which no bf16 product is faster than.
    let y = net.add(Op::Conv(Conv::new(2, 5).pad(2)), &[x, weight]);
    net.graph.set_outputs(vec![y]);
    net.graph
}
