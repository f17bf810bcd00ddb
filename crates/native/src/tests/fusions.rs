use slicewise_graph::*;

use super::{Maker, report};

/// Checks a graph and the operators of its steps.
fn steps(name: &str, m: Maker, outputs: &[NodeId], want: &[&str]) {
    match m.check(outputs) {
        Ok(ops) => assert_eq!(ops, want, "{name}"),
        Err(e) => panic!("{name}: {e}"),
    }
}

fn conv3(m: &mut Maker, x: NodeId, channels: usize, groups: usize) -> NodeId {
    let (w, b) = (
        m.weight(&[channels, channels / groups, 3, 3]),
        m.weight(&[channels]),
    );
    m.add(Op::Conv(Conv::new(2, 3).pad(1).groups(groups)), &[x, w, b])
}

#[test]
fn activations_and_additions_become_part_of_a_convolution() {
    for groups in [1, 2, 8] {
        for f in [
            Activation::Relu,
            Activation::HardSwish,
            Activation::LeakyRelu { slope: 0.1 },
        ] {
            let mut m = Maker::new();
            let x = m.input(&[1, 8, 9, 40]);
            let a = conv3(&mut m, x, 8, groups);
            let a = m.add(Op::Activation(f), &[a]);
            let b = conv3(&mut m, a, 8, groups);
            let b = m.add(Op::Activation(Activation::Tanh), &[b]);
            let sum = m.add(Op::Binary(Binary::Add), &[a, b]);
            let y = m.add(Op::Activation(f), &[sum]);
            let (first, second) = (
                format!("Conv+{}", f.name()),
                format!("Conv+Tanh+Add+{}", f.name()),
            );
            steps("residual", m, &[y], &[&first, &second]);
        }
    }
}

#[test]
fn an_addition_of_two_convolutions_goes_with_the_later() {
    let mut m = Maker::new();
    let x = m.input(&[1, 8, 9, 10]);
    let a = conv3(&mut m, x, 8, 1);
    let b = conv3(&mut m, x, 8, 1);
    let sum = m.add(Op::Binary(Binary::Add), &[a, b]);
    let y = m.add(Op::Activation(Activation::Relu), &[sum]);
    steps("downsampling block", m, &[y], &["Conv", "Conv+Add+ReLU"]);
}

#[test]
fn a_value_that_is_used_twice_or_returned_is_not_fused_away() {
    let mut m = Maker::new();
    let x = m.input(&[1, 8, 9, 10]);
    let a = conv3(&mut m, x, 8, 1);
    let y = m.add(Op::Activation(Activation::Relu), &[a]);
    steps("returned", m, &[a, y], &["Conv", "ReLU"]);
    let mut m = Maker::new();
    let x = m.input(&[1, 8, 9, 10]);
    let a = conv3(&mut m, x, 8, 1);
    let y = m.add(Op::Activation(Activation::Relu), &[a]);
    let z = m.add(Op::Binary(Binary::Mul), &[a, y]);
    steps("used twice", m, &[z], &["Conv", "ReLU", "Mul"]);
}

#[test]
fn linear_layers_and_norms_take_activations_and_residuals() {
    let mut m = Maker::new();
    let x = m.input(&[2, 33, 48]);
    let (w, b) = (m.weight(&[96, 48]), m.weight(&[96]));
    let h = m.add(Op::Linear, &[x, w, b]);
    let h = m.add(Op::Activation(Activation::GeluErf), &[h]);
    let (w, b) = (m.weight(&[48, 96]), m.weight(&[48]));
    let h = m.add(Op::Linear, &[h, w, b]);
    let y = m.add(Op::Binary(Binary::Add), &[x, h]);
    steps("mlp", m, &[y], &["Linear+GELU", "Linear+Add"]);

    let mut m = Maker::new();
    let x = m.input(&[1, 4, 5, 6, 7]);
    let (w, b) = (m.positive(4), m.weight(&[4]));
    let h = m.add(
        Op::GroupNorm {
            groups: 4,
            eps: 1e-5,
        },
        &[x, w, b],
    );
    let y = m.add(Op::Activation(Activation::LeakyRelu { slope: 0.01 }), &[h]);
    steps("instance norm", m, &[y], &["GroupNorm+LeakyReLU"]);

    let mut m = Maker::new();
    let x = m.input(&[1, 4, 5, 6]);
    let w = m.weight(&[4, 3, 2, 2]);
    let h = m.add(Op::ConvTranspose(ConvTranspose::upsample(2, 2)), &[x, w]);
    let y = m.add(Op::Activation(Activation::Silu), &[h]);
    steps("upconvolution", m, &[y], &["ConvTranspose+SiLU"]);
}

#[test]
fn label_heads_never_write_scores() {
    let head = |m: &mut Maker, x: NodeId, classes: usize, channels: usize| {
        let (w, b) = (m.weight(&[classes, channels, 1, 1]), m.weight(&[classes]));
        m.add(Op::Conv(Conv::new(2, 1)), &[x, w, b])
    };
    let labels = Op::ArgMax {
        axis: 1,
        dtype: DType::U8,
    };
    let mut m = Maker::new();
    let x = m.input(&[2, 16, 10, 21]);
    let h = head(&mut m, x, 23, 16);
    let y = m.add(labels.clone(), &[h]);
    steps("1x1", m, &[y], &["Conv+ArgMax"]);

    let mut m = Maker::new();
    let x = m.input(&[2, 16, 10, 21]);
    let (w, b) = (m.weight(&[16, 23, 2, 2]), m.weight(&[23]));
    let h = m.add(Op::ConvTranspose(ConvTranspose::upsample(2, 2)), &[x, w, b]);
    let y = m.add(labels.clone(), &[h]);
    steps("transposed", m, &[y], &["ConvTranspose+ArgMax"]);

    let mut m = Maker::new();
    let x = m.input(&[2, 16, 10, 21]);
    let h = head(&mut m, x, 23, 16);
    let resize = Resize {
        size: vec![40, 84],
        mode: ResizeMode::Linear,
        coordinates: Coordinates::HalfPixel,
        scales: None,
    };
    let h = m.add(Op::Resize(resize), &[h]);
    let y = m.add(labels, &[h]);
    steps("upsampled", m, &[y], &["Conv+Resize+ArgMax"]);
}

#[test]
fn weights_that_are_computed_from_constants_are_computed_once() {
    let mut m = Maker::new();
    let x = m.input(&[1, 2, 5, 6]);
    let q = Tensor::new(&[3, 2, 1, 1], vec![1i8, -2, 3, -4, 5, -6]).expect("six values");
    let (q, scale) = (m.constant(q), m.positive(3));
    let zero = m.constant(Tensor::new(&[3], vec![0i8; 3]).expect("three values"));
    let w = m.add(Op::Dequantize { axis: 0 }, &[q, scale, zero]);
    let y = m.add(Op::Conv(Conv::new(2, 1)), &[x, w]);
    steps("quantized weight", m, &[y], &["Conv"]);
}

#[test]
fn outputs_may_be_inputs_constants_reshapes_and_each_other() {
    let mut m = Maker::new();
    let x = m.input(&[1, 6, 4]);
    let w = m.weight(&[2, 2]);
    let y = m.add(Op::Activation(Activation::Relu), &[x]);
    let dims = vec![ReshapeDim::Fixed(24)];
    let flat = m.add(Op::Reshape { dims }, &[y]);
    let z = m.add(Op::Activation(Activation::Tanh), &[flat]);
    report([("outputs".to_owned(), m.check(&[y, x, w, flat, y, z]))]);
}

#[test]
fn a_lateral_convolution_adds_the_upsampled_map_on_its_way() {
    for (width, size, coordinates, batch, fused) in [
        (16, 2, Coordinates::HalfPixel, 2, true),
        (48, 2, Coordinates::Asymmetric, 1, true),
        // A register would lie in two rows; not twice as large.
        (10, 2, Coordinates::HalfPixel, 1, false),
        (48, 3, Coordinates::HalfPixel, 1, false),
    ] {
        let mut m = Maker::new();
        let fine = m.input(&[batch, 7, 6, width]);
        let coarse = m.input(&[batch, 21, 6 / size, width / size]);
        let (w, b) = (m.weight(&[21, 7, 1, 1]), m.weight(&[21]));
        let lateral = m.add(Op::Conv(Conv::new(2, 1)), &[fine, w, b]);
        let top = m.add(Op::Activation(Activation::Tanh), &[coarse]);
        let resize = Resize {
            size: vec![6, width],
            mode: ResizeMode::Nearest,
            coordinates,
            scales: None,
        };
        let up = m.add(Op::Resize(resize), &[top]);
        let y = m.add(Op::Binary(Binary::Add), &[lateral, up]);
        let want: &[&str] = match fused {
            true => &["Tanh", "Conv+Resize+Add"],
            false => &["Conv", "Tanh", "Resize", "Add"],
        };
        steps(&format!("{width} {size}"), m, &[y], want);
    }
}

#[test]
fn a_large_inverted_bottleneck_is_one_step() {
    let bottleneck = |size: usize, pool: bool| {
        let mut m = Maker::new();
        let x = m.input(&[1, 4, size, size + 30]);
        let conv = |m: &mut Maker, x: NodeId, weight: [usize; 4], spec: Conv| {
            let (w, b) = (m.weight(&weight), m.weight(&weight[..1]));
            m.add(Op::Conv(spec), &[x, w, b])
        };
        let relu = Op::Activation(Activation::Relu6);
        let a = conv(&mut m, x, [48, 4, 1, 1], Conv::new(2, 1));
        let a = m.add(relu.clone(), &[a]);
        let b = conv(&mut m, a, [48, 1, 3, 3], Conv::new(2, 3).pad(1).groups(48));
        let b = m.add(relu, &[b]);
        let c = conv(&mut m, b, [4, 48, 1, 1], Conv::new(2, 1));
        let y = m.add(Op::Binary(Binary::Add), &[x, c]);
        // What is used a second time has to be written.
        let outputs = if pool { vec![y, b] } else { vec![y] };
        (m, outputs)
    };
    let (m, y) = bottleneck(170, false);
    let whole = ["Conv+ReLU6+Conv+ReLU6+Conv+Add"];
    steps("large", m, &y, &whole);
    let parts = ["Conv+ReLU6", "Conv+ReLU6", "Conv+Add"];
    let (m, y) = bottleneck(170, true);
    steps("used twice", m, &y, &parts);
    let (m, y) = bottleneck(20, false);
    steps("small", m, &y, &parts);
}
