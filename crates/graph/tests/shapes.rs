//! Shape inference: the sizes that PyTorch gives, and refusals that name the node and the shapes.

use slicewise_graph::{
    Binary, Conv, ConvTranspose, Coordinates, DType, Graph, GraphError, NodeId, Op, Pool, PoolKind,
    Reduce, ReduceKind, ReshapeDim, Resize, ResizeMode, Role, Shape, Slice,
};

/// The shapes of an operator's inputs.
type Sizes<'a> = &'a [&'a [usize]];

fn inferred(op: Op, inputs: &[&[usize]]) -> Result<Shape, GraphError> {
    let mut graph = Graph::new("t");
    let ids: Vec<NodeId> = (inputs.iter().enumerate())
        .map(|(i, sizes)| match i {
            0 => graph.input("x", Shape::new(sizes), DType::F32),
            _ => graph.parameter(&format!("p{i}"), sizes, Role::Trainable),
        })
        .collect::<Result<_, _>>()?;
    let y = graph.add("layer", op, &ids)?;
    Ok(graph.node(y).shape.clone())
}

fn pool(kernel: usize, stride: usize, pad: usize, ceil_mode: bool) -> Op {
    Op::Pool(Pool {
        kind: PoolKind::Max,
        kernel: vec![kernel; 2],
        stride: vec![stride; 2],
        pads: vec![(pad, pad); 2],
        ceil_mode,
    })
}

fn resize(size: &[usize]) -> Op {
    Op::Resize(Resize {
        size: size.to_vec(),
        mode: ResizeMode::Linear,
        coordinates: Coordinates::HalfPixel,
        scales: None,
    })
}

#[test]
fn sizes_are_those_of_pytorch() {
    let c = |k: usize| Conv::new(2, k);
    let up = ConvTranspose::upsample(2, 2);
    let padded = ConvTranspose {
        kernel: vec![3; 2],
        pads: vec![(1, 1); 2],
        output_padding: vec![1; 2],
        ..up.clone()
    };
    let x: &[usize] = &[2, 8, 15, 10];
    let cases: &[(Op, Sizes, &[usize])] = &[
        (Op::Conv(c(3).pad(1)), &[x, &[5, 8, 3, 3]], &[2, 5, 15, 10]),
        (
            Op::Conv(c(3).stride(2).pad(1)),
            &[x, &[5, 8, 3, 3], &[5]],
            &[2, 5, 8, 5],
        ),
        (
            Op::Conv(c(3).dilation(3).groups(4)),
            &[x, &[4, 2, 3, 3]],
            &[2, 4, 9, 4],
        ),
        (Op::ConvTranspose(up), &[x, &[8, 3, 2, 2]], &[2, 3, 30, 20]),
        (
            Op::ConvTranspose(padded),
            &[x, &[8, 3, 3, 3]],
            &[2, 3, 30, 20],
        ),
        (pool(3, 2, 1, false), &[x], &[2, 8, 8, 5]),
        (pool(2, 2, 0, true), &[x], &[2, 8, 8, 5]),
        // The last window would begin in the padding: PyTorch does not count it.
        (pool(2, 2, 1, true), &[&[1, 1, 3, 3]], &[1, 1, 2, 2]),
        (Op::Linear, &[&[2, 7, 4], &[9, 4], &[9]], &[2, 7, 9]),
        (Op::MatMul, &[&[2, 1, 3, 4], &[5, 4, 6]], &[2, 5, 3, 6]),
        (Op::Binary(Binary::Mul), &[x, &[8, 1, 1]], x),
        (
            Op::Concat { axis: 1 },
            &[x, &[2, 3, 15, 10]],
            &[2, 11, 15, 10],
        ),
        (resize(&[30, 7]), &[x], &[2, 8, 30, 7]),
        (Op::Softmax { axis: 1 }, &[x], x),
        (
            Op::Transpose {
                perm: vec![0, 2, 3, 1],
            },
            &[x],
            &[2, 15, 10, 8],
        ),
        (
            Op::Reshape {
                dims: vec![ReshapeDim::Copy, ReshapeDim::Infer],
            },
            &[x],
            &[2, 1200],
        ),
        (
            Op::Slice(Slice {
                axis: 2,
                start: 1,
                end: 15,
                step: 4,
            }),
            &[x],
            &[2, 8, 4, 10],
        ),
        (
            Op::Reduce(Reduce {
                kind: ReduceKind::Mean,
                axes: vec![2, 3],
                keep_dims: true,
            }),
            &[x],
            &[2, 8, 1, 1],
        ),
        (
            Op::ArgMax {
                axis: 1,
                dtype: DType::U8,
            },
            &[x],
            &[2, 15, 10],
        ),
        (
            Op::Pad {
                pads: vec![(0, 0), (1, 2), (0, 0), (3, 0)],
                value: 0.0,
            },
            &[x],
            &[2, 11, 15, 13],
        ),
        (
            Op::GroupNorm {
                groups: 4,
                eps: 1e-5,
            },
            &[x, &[8], &[8]],
            x,
        ),
        (Op::LayerNorm { axis: 3, eps: 1e-5 }, &[x, &[10], &[10]], x),
    ];
    let wrong: Vec<String> = (cases.iter())
        .filter_map(|(op, inputs, want)| match inferred(op.clone(), inputs) {
            Ok(got) if got == Shape::new(want) => None,
            got => Some(format!(
                "{} of {inputs:?}: {got:?} instead of {want:?}",
                op.name()
            )),
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_refusal_names_the_node_both_shapes_and_what_would_fit() {
    let x: &[usize] = &[2, 8, 15, 10];
    let huge = usize::MAX / 2;
    let cases: &[(Op, Sizes, &str)] = &[
        (
            Op::Conv(Conv::new(2, 3)),
            &[x, &[5, 7, 3, 3]],
            "[out, 8 / 1 groups, [3, 3]]",
        ),
        (
            Op::Conv(Conv::new(2, 3).groups(3)),
            &[x, &[6, 2, 3, 3]],
            "8 / 3 groups",
        ),
        (
            Op::Conv(Conv::new(3, 3)),
            &[x, &[5, 8, 3, 3, 3]],
            "must each name 2 axes",
        ),
        (
            Op::Conv(Conv::new(2, 3).stride(0)),
            &[x, &[5, 8, 3, 3]],
            "above zero",
        ),
        (
            Op::Conv(Conv::new(2, 11)),
            &[x, &[5, 8, 11, 11]],
            "does not fit a size of 10",
        ),
        (
            Op::Conv(Conv::new(2, 3).pad(huge)),
            &[x, &[5, 8, 3, 3]],
            "does not fit",
        ),
        (
            Op::Conv(Conv::new(2, 3).dilation(huge)),
            &[x, &[5, 8, 3, 3]],
            "does not fit",
        ),
        (Op::Linear, &[&[2, 4], &[9, 5]], "[out, 4]"),
        (
            Op::Linear,
            &[&[2, 4], &[9, 4], &[8]],
            "the bias must be [9]",
        ),
        (Op::MatMul, &[&[3, 4], &[5, 6]], "inner sizes differ"),
        (
            Op::Binary(Binary::Add),
            &[x, &[2, 7, 15, 10]],
            "[2, 7, 15, 10]",
        ),
        (
            Op::Concat { axis: 1 },
            &[x, &[2, 3, 15, 9]],
            "only axis 1 may differ",
        ),
        (Op::Concat { axis: 9 }, &[x, x], "axis 9 is not one of 4"),
        (resize(&[3]), &[x], "1 target sizes for 2 spatial axes"),
        (resize(&[0, 1]), &[x], "above zero"),
        (resize(&[huge, huge]), &[x], "too large to address"),
        (
            Op::Transpose {
                perm: vec![0, 0, 1, 2],
            },
            &[x],
            "not a permutation",
        ),
        (
            Op::Reshape {
                dims: vec![ReshapeDim::Fixed(7)],
            },
            &[x],
            "do not fill",
        ),
        (
            Op::Reshape {
                dims: vec![ReshapeDim::Infer, ReshapeDim::Fixed(0)],
            },
            &[x],
            "do not fill",
        ),
        (
            Op::Slice(Slice {
                axis: 1,
                start: 3,
                end: 9,
                step: 1,
            }),
            &[x],
            "3..9",
        ),
        (
            Op::ArgMax {
                axis: 1,
                dtype: DType::U8,
            },
            &[&[1, 300, 2]],
            "300 classes do not fit u8",
        ),
        (
            Op::GroupNorm {
                groups: 3,
                eps: 0.0,
            },
            &[x, &[8], &[8]],
            "3 groups do not divide 8",
        ),
        (Op::BatchNorm { eps: 0.0 }, &[x, &[8]], "5 to 5 inputs"),
        (
            Op::LayerNorm { axis: 3, eps: 0.0 },
            &[x, &[8], &[8]],
            "must be [10]",
        ),
    ];
    let wrong: Vec<String> = (cases.iter())
        .filter_map(|(op, inputs, want)| match inferred(op.clone(), inputs) {
            Err(e) if e.to_string().contains(want) && e.to_string().contains("'layer'") => None,
            got => Some(format!(
                "{} of {inputs:?}: {got:?} instead of '{want}'",
                op.name()
            )),
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
