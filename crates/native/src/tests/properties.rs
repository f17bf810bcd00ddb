use proptest::prelude::*;
use slicewise_graph::*;

use super::{Maker, noise};
use crate::network::compile_with;
use slicewise_kernels::{Context, Isa};

fn axis() -> impl Strategy<Value = (usize, usize, usize, usize, usize, usize)> {
    // Size, kernel, stride, dilation, padding before and after.
    (
        1usize..40,
        1usize..5,
        1usize..4,
        1usize..3,
        0usize..4,
        0usize..4,
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 60 }))]

    #[test]
    fn convolutions_of_any_geometry(
        axes in prop::collection::vec(axis(), 1..4),
        groups in 1usize..5,
        group_in in 1usize..12,
        group_out in 1usize..12,
        seed in 0u64..1000,
    ) {
        let spec = Conv {
            kernel: axes.iter().map(|a| a.1).collect(),
            stride: axes.iter().map(|a| a.2).collect(),
            dilation: axes.iter().map(|a| a.3).collect(),
            pads: axes.iter().map(|a| (a.4, a.5)).collect(),
            groups,
        };
        // Volumes are kept small for the reference's sake.
        let most = [40, 24, 9][axes.len() - 1];
        let size = axes.iter().map(|a| a.0.min(most));
        let shape: Vec<usize> = [1 + seed as usize % 2, groups * group_in].into_iter().chain(size).collect();
        let weight = [&[groups * group_out, group_in], &spec.kernel[..]].concat();
        let mut m = Maker::new();
        let x = m.input(&shape);
        let (w, b) = (m.weight(&weight), m.weight(&weight[..1]));
        // A window that does not fit is not a case.
        if let Ok(y) = m.try_add(Op::Conv(spec), &[x, w, b]) {
            let checked = m.check(&[y]);
            prop_assert!(checked.is_ok(), "{checked:?}");
        }
    }

    #[test]
    fn transposed_convolutions_of_any_geometry(
        axes in prop::collection::vec(axis(), 1..4),
        groups in 1usize..3,
        group_in in 1usize..6,
        group_out in 1usize..6,
    ) {
        let spec = ConvTranspose {
            kernel: axes.iter().map(|a| a.1).collect(),
            stride: axes.iter().map(|a| a.2).collect(),
            dilation: axes.iter().map(|a| a.3).collect(),
            pads: axes.iter().map(|a| (a.4, a.5)).collect(),
            output_padding: axes.iter().map(|a| a.5 % a.2).collect(),
            groups,
        };
        let size = axes.iter().map(|a| a.0.min(7));
        let shape: Vec<usize> = [1, groups * group_in].into_iter().chain(size).collect();
        let weight = [&[groups * group_in, group_out], &spec.kernel[..]].concat();
        let mut m = Maker::new();
        let x = m.input(&shape);
        let (w, b) = (m.weight(&weight), m.weight(&[groups * group_out]));
        if let Ok(y) = m.try_add(Op::ConvTranspose(spec), &[x, w, b]) {
            let checked = m.check(&[y]);
            prop_assert!(checked.is_ok(), "{checked:?}");
        }
    }

    #[test]
    fn fused_labels_equal_the_arg_max_of_our_own_resampled_scores(
        sizes in prop::collection::vec((1usize..40, 1usize..90), 1..4),
        classes in 1usize..40,
        levels in 1u32..1000,
        convention in 0usize..6,
        seed in 0u64..1000,
    ) {
        let coordinates =
            [Coordinates::HalfPixel, Coordinates::AlignCorners, Coordinates::Asymmetric][convention % 3];
        let mode = if convention < 3 { ResizeMode::Linear } else { ResizeMode::Nearest };
        let most = [90, 50, 14][sizes.len() - 1];
        let input = sizes.iter().map(|s| s.0.min(most));
        let shape: Vec<usize> = [2, classes].into_iter().chain(input).collect();
        let size = sizes.iter().map(|s| s.1.min(most)).collect();
        // Rounded to few levels, so that ties are frequent.
        let scores = noise(seed, &shape);
        let values = scores.as_f32().unwrap_or_default();
        let scores = Tensor::from_fn(&shape, |i| (values[i] * levels as f32).round());
        let mut m = Maker::new();
        let x = m.input(&shape);
        let resized = m.add(Op::Resize(Resize { size, mode, coordinates, scales: None }), &[x]);
        let labels = m.add(Op::ArgMax { axis: 1, dtype: DType::U8 }, &[resized]);
        let mut apart = m.graph.clone();
        apart.set_outputs(vec![resized, labels]);
        let mut fused = m.graph;
        fused.set_outputs(vec![labels]);
        for isa in Isa::available() {
            for threads in [1, 3] {
                let compiled = |graph| compile_with(graph, Context::new(isa, threads), crate::Accuracy::Default, crate::Precision::F32);
                let (mut apart, mut fused) = (compiled(&apart).unwrap(), compiled(&fused).unwrap());
                prop_assert_eq!(fused.steps().len(), 1);
                let want = apart.run(std::slice::from_ref(&scores)).unwrap()[1].clone();
                let got = &fused.run(std::slice::from_ref(&scores)).unwrap()[0];
                prop_assert_eq!(&want, got, "{} {}", isa.name(), threads);
            }
        }
    }

    #[test]
    fn pools_of_any_geometry(
        axes in prop::collection::vec(axis(), 1..4),
        kind in 0usize..3,
        ceil_mode: bool,
    ) {
        let spec = Pool {
            kind: [
                PoolKind::Max,
                PoolKind::Average { count_include_pad: true },
                PoolKind::Average { count_include_pad: false },
            ][kind],
            kernel: axes.iter().map(|a| a.1).collect(),
            stride: axes.iter().map(|a| a.2).collect(),
            pads: axes.iter().map(|a| (a.4.min(a.1 / 2), a.5.min(a.1 / 2))).collect(),
            ceil_mode,
        };
        let shape: Vec<usize> = [2, 3].into_iter().chain(axes.iter().map(|a| a.0)).collect();
        let mut m = Maker::new();
        let x = m.input(&shape);
        if let Ok(y) = m.try_add(Op::Pool(spec), &[x]) {
            let checked = m.check(&[y]);
            prop_assert!(checked.is_ok(), "{checked:?}");
        }
    }

    #[test]
    fn products_of_any_size(
        batch in 1usize..4,
        rows in 1usize..140,
        inner in 1usize..500,
        out in 1usize..120,
    ) {
        let mut m = Maker::new();
        let x = m.input(&[batch, rows, inner]);
        let (w, b) = (m.weight(&[out, inner]), m.weight(&[out]));
        let y = m.add(Op::Linear, &[x, w, b]);
        let other = m.input(&[inner, out]);
        let z = m.add(Op::MatMul, &[x, other]);
        let checked = m.check(&[y, z]);
        prop_assert!(checked.is_ok(), "{checked:?}");
    }

    #[test]
    fn operators_of_any_shape(
        sizes in prop::collection::vec(1usize..30, 1..5),
        stretched in 0u32..256,
        order in 0usize..24,
        seed in 0usize..1000,
    ) {
        let rank = sizes.len();
        let axis = seed % rank;
        let n = sizes[axis];
        let bit = |i: usize| stretched & (1 << i) != 0;
        let mut m = Maker::new();
        let x = m.input(&sizes);
        // Both operands may be stretched, and may lack leading axes.
        let ones = |from: usize| -> Vec<usize> {
            sizes.iter().enumerate().map(|(i, n)| if bit(from + i) { 1 } else { *n }).collect()
        };
        let (a, b) = (m.input(&ones(0)), m.input(&ones(4)[seed % rank..]));
        let mut perm: Vec<usize> = (0..rank).collect();
        perm.rotate_left(order % rank);
        perm.swap(0, order / 4 % rank);
        let axes: Vec<usize> = (0..rank).filter(|i| bit(*i) || *i == axis).collect();
        let kind = [ReduceKind::Mean, ReduceKind::Sum, ReduceKind::Max][seed % 3];
        let reduce = Reduce { kind, axes, keep_dims: bit(7) };
        let slice = Slice { axis, start: seed % n, end: n, step: 1 + order % 3 };
        let (w, shift) = (m.positive(n), m.weight(&[n]));
        // A sum of both signs may cancel to less than the rounding of its terms.
        let positive = m.add(Op::Activation(Activation::HardSigmoid), &[x]);
        let outputs = [
            m.add(Op::Binary(Binary::Sub), &[a, b]),
            m.add(Op::Binary(Binary::Mul), &[x, b]),
            m.add(Op::Transpose { perm }, &[x]),
            m.add(Op::Reduce(reduce), &[positive]),
            m.add(Op::Slice(slice), &[x]),
            m.add(Op::Softmax { axis }, &[x]),
            m.add(Op::L2Normalize { axis, eps: 1e-12 }, &[x]),
            m.add(Op::LayerNorm { axis, eps: 1e-2 }, &[x, w, shift]),
            m.add(Op::Concat { axis }, &[x, x]),
            m.add(Op::ArgMax { axis, dtype: DType::I32 }, &[x]),
        ];
        let checked = m.check(&outputs);
        prop_assert!(checked.is_ok(), "{checked:?}");
    }

    #[test]
    fn resampling_to_any_size(
        sizes in prop::collection::vec((1usize..30, 1usize..60), 1..4),
        convention in 0usize..6,
    ) {
        let coordinates =
            [Coordinates::HalfPixel, Coordinates::AlignCorners, Coordinates::Asymmetric][convention % 3];
        let mode = if convention < 3 { ResizeMode::Linear } else { ResizeMode::Nearest };
        let most = [60, 40, 12][sizes.len() - 1];
        let shape: Vec<usize> = [2, 3].into_iter().chain(sizes.iter().map(|s| s.0.min(most))).collect();
        let size = sizes.iter().map(|s| s.1.min(most)).collect();
        let mut m = Maker::new();
        let x = m.input(&shape);
        let y = m.add(Op::Resize(Resize { size, mode, coordinates, scales: None }), &[x]);
        let checked = m.check(&[y]);
        prop_assert!(checked.is_ok(), "{checked:?}");
    }
}
