//! Passes keep what a graph computes, and do what they are for.

use slicewise_graph::{
    Activation, Binary, Conv, ConvTranspose, Coordinates, DType, Dim, Graph, NodeId, Op,
    ReshapeDim, Resize, ResizeMode, Role, Shape, Task, Tensor, passes, reference,
};

/// Numbers in [-1, 1) that differ from call to call but not from run to run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> f32 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    fn tensor(&mut self, shape: &[usize]) -> Tensor {
        Tensor::from_fn(shape, |_| self.next())
    }
}

/// A graph under construction with random weights.
struct Net {
    graph: Graph,
    numbers: Numbers,
    x: NodeId,
}

impl Net {
    fn new(shape: &[usize]) -> Self {
        let mut graph = Graph::new("test");
        let x = graph.input("x", Shape::new(shape), DType::F32).unwrap();
        Net {
            graph,
            numbers: Numbers(7),
            x,
        }
    }

    fn parameter(&mut self, name: &str, shape: &[usize]) -> NodeId {
        let tensor = self.numbers.tensor(shape);
        self.graph
            .constant_tensor(name, Role::Trainable, tensor)
            .unwrap()
    }

    fn conv(&mut self, name: &str, x: NodeId, out: usize, conv: Conv, bias: bool) -> NodeId {
        let channels = self.graph.node(x).shape[1].fixed().unwrap();
        let shape = [&[out, channels / conv.groups], &conv.kernel[..]].concat();
        let mut inputs = vec![x, self.parameter(&format!("{name}.weight"), &shape)];
        if bias {
            inputs.push(self.parameter(&format!("{name}.bias"), &[out]));
        }
        self.graph.add(name, Op::Conv(conv), &inputs).unwrap()
    }

    fn norm(&mut self, name: &str, x: NodeId) -> NodeId {
        let channels = self.graph.node(x).shape[1].fixed().unwrap();
        let mut inputs = vec![x];
        for key in ["weight", "bias", "mean"] {
            inputs.push(self.parameter(&format!("{name}.{key}"), &[channels]));
        }
        let variance = Tensor::from_fn(&[channels], |i| 0.5 + i as f32 / 7.0);
        let name_var = format!("{name}.variance");
        inputs.push(
            self.graph
                .constant_tensor(&name_var, Role::Buffer, variance)
                .unwrap(),
        );
        self.graph
            .add(name, Op::BatchNorm { eps: 1e-5 }, &inputs)
            .unwrap()
    }

    fn add(&mut self, a: NodeId, b: NodeId) -> NodeId {
        self.graph.binary("sum", Binary::Add, a, b).unwrap()
    }

    fn relu(&mut self, x: NodeId) -> NodeId {
        self.graph.activation("relu", Activation::Relu, x).unwrap()
    }

    fn finish(mut self, output: NodeId) -> (Graph, Tensor) {
        self.graph.set_outputs([output]);
        let shape = self.graph.node(self.x).shape.with_batch(2).sizes().unwrap();
        let input = self.numbers.tensor(&shape);
        (self.graph, input)
    }
}

/// The largest difference between what two graphs compute, as a share of the output's range.
fn difference(a: &Graph, b: &Graph, input: &Tensor) -> f32 {
    let run = |g: &Graph| {
        reference::run(g, std::slice::from_ref(input))
            .unwrap()
            .remove(0)
    };
    let (a, b) = (run(a), run(b));
    assert_eq!(a.shape(), b.shape());
    let (a, b) = (a.as_f32().unwrap(), b.as_f32().unwrap());
    let range =
        a.iter().fold(f32::MIN, |m, &v| m.max(v)) - a.iter().fold(f32::MAX, |m, &v| m.min(v));
    let worst = a.iter().zip(b).fold(0f32, |m, (a, b)| m.max((a - b).abs()));
    worst / range
}

fn count(graph: &Graph, name: &str) -> usize {
    graph.nodes().iter().filter(|n| n.op.name() == name).count()
}

fn repvgg_block(
    net: &mut Net,
    name: &str,
    x: NodeId,
    out: usize,
    stride: usize,
    groups: usize,
) -> NodeId {
    let c3 = Conv::new(2, 3).pad(1).stride(stride).groups(groups);
    let c1 = Conv::new(2, 1).stride(stride).groups(groups);
    let a = net.conv(&format!("{name}.a"), x, out, c3, false);
    let a = net.norm(&format!("{name}.a.bn"), a);
    let b = net.conv(&format!("{name}.b"), x, out, c1, false);
    let b = net.norm(&format!("{name}.b.bn"), b);
    let mut sum = net.add(a, b);
    let channels = net.graph.node(x).shape[1].fixed().unwrap();
    if stride == 1 && channels == out {
        let identity = net.norm(&format!("{name}.identity"), x);
        sum = net.add(sum, identity);
    }
    net.relu(sum)
}

#[test]
fn a_repvgg_block_becomes_one_convolution() {
    for (out, stride, groups) in [(6, 1, 1), (6, 1, 3), (8, 2, 1), (8, 1, 2)] {
        let mut net = Net::new(&[2, 6, 7, 5]);
        let x = net.x;
        let y = repvgg_block(&mut net, "block1", x, out, stride, groups);
        let y = repvgg_block(&mut net, "block2", y, out, 1, groups);
        let (graph, input) = net.finish(y);
        let simple = passes::simplify(&graph).unwrap();
        assert_eq!(
            count(&simple, "Conv"),
            2,
            "out {out} stride {stride} groups {groups}"
        );
        assert_eq!(count(&simple, "BatchNorm") + count(&simple, "Add"), 0);
        let worst = difference(&graph, &simple, &input);
        assert!(
            worst < 1e-6,
            "out {out} stride {stride} groups {groups}: {worst}"
        );
    }
}

#[test]
fn a_residual_around_convolutions_is_not_merged() {
    let mut net = Net::new(&[1, 4, 6, 6]);
    let x = net.x;
    let c3 = Conv::new(2, 3).pad(1);
    let y = net.conv("a", x, 4, c3.clone(), true);
    let y = net.relu(y);
    let y = net.conv("b", y, 4, c3, true);
    let sum = net.add(y, x);
    let (graph, input) = net.finish(sum);
    let simple = passes::simplify(&graph).unwrap();
    assert_eq!((count(&simple, "Conv"), count(&simple, "Add")), (2, 1));
    assert_eq!(difference(&graph, &simple, &input), 0.0);
}

#[test]
fn a_convolution_that_is_used_twice_keeps_its_own_batch_norm() {
    let mut net = Net::new(&[2, 3, 5, 5]);
    let x = net.x;
    let y = net.conv("a", x, 4, Conv::new(2, 3), false);
    let z = net.norm("bn", y);
    let sum = net.add(z, y);
    let (graph, input) = net.finish(sum);
    let simple = passes::simplify(&graph).unwrap();
    assert_eq!(count(&simple, "BatchNorm"), 1);
    assert!(difference(&graph, &simple, &input) < 1e-6);
}

#[test]
fn batch_norm_folds_into_transposed_convolutions_and_into_a_bias() {
    let mut net = Net::new(&[2, 3, 4, 5]);
    let x = net.x;
    let weight = net.parameter("up.weight", &[3, 6, 2, 2]);
    let bias = net.parameter("up.bias", &[6]);
    let op = Op::ConvTranspose(ConvTranspose::upsample(2, 2));
    let y = net.graph.add("up", op, &[x, weight, bias]).unwrap();
    let y = net.norm("bn1", y);
    let y = net.conv("conv", y, 5, Conv::new(2, 3).dilation(2), true);
    let y = net.norm("bn2", y);
    let (graph, input) = net.finish(y);
    let simple = passes::simplify(&graph).unwrap();
    assert_eq!(count(&simple, "BatchNorm"), 0);
    assert!(difference(&graph, &simple, &input) < 1e-6);
}

#[test]
fn a_pointwise_convolution_moves_before_a_nearest_upsampling_and_no_other_does() {
    let nearest = |size: &[usize]| Resize {
        size: size.to_vec(),
        mode: ResizeMode::Nearest,
        coordinates: Coordinates::Asymmetric,
        scales: None,
    };
    let linear = Resize {
        mode: ResizeMode::Linear,
        coordinates: Coordinates::HalfPixel,
        ..nearest(&[8, 6])
    };
    for (name, resize, kernel, moves) in [
        ("nearest x2", nearest(&[8, 6]), 1, true),
        ("nearest, uneven", nearest(&[11, 5]), 1, true),
        ("nearest, shrinking", nearest(&[2, 3]), 1, false),
        ("linear", linear, 1, false),
        ("3x3", nearest(&[8, 6]), 3, false),
    ] {
        let mut net = Net::new(&[2, 3, 4, 3]);
        let (x, size) = (net.x, resize.size.clone());
        let up = net.graph.add("up", Op::Resize(resize), &[x]).unwrap();
        let y = net.conv("mix", up, 5, Conv::new(2, kernel).pad(kernel / 2), true);
        net.graph.set_outputs(vec![y]);
        let moved = passes::convolve_before_upsampling(&net.graph).unwrap();
        let output = moved.node(moved.outputs()[0]);
        assert_eq!(matches!(output.op, Op::Resize(_)), moves, "{name}");
        assert_eq!(
            output.shape,
            Shape::new(&[2, 5, size[0], size[1]]),
            "{name}"
        );
        let input = net.numbers.tensor(&[2, 3, 4, 3]);
        assert_eq!(difference(&net.graph, &moved, &input), 0.0, "{name}");
    }
}

#[test]
fn convolutions_are_composed_with_a_pointwise_one_where_that_multiplies_less() {
    let up = || ConvTranspose::upsample(2, 2);
    let overlapping = ConvTranspose {
        kernel: vec![3, 4],
        pads: vec![(1, 0), (0, 2)],
        output_padding: vec![1, 0],
        ..up()
    };
    let grouped = ConvTranspose { groups: 2, ..up() };
    let of_4 = |spec: ConvTranspose, channels: usize, biased: bool| {
        let mut net = Net::new(&[2, 4, 5, 3]);
        let shape = [&[4, channels / spec.groups], &spec.kernel[..]].concat();
        let mut inputs = vec![net.x, net.parameter("up.weight", &shape)];
        if biased {
            inputs.push(net.parameter("up.bias", &[channels]));
        }
        let y = net.graph.add("up", Op::ConvTranspose(spec), &inputs);
        (net, y.unwrap())
    };
    let kernel_3 = || {
        let mut net = Net::new(&[2, 4, 5, 3]);
        let conv = Conv::new(2, 3).pad(1).stride(2);
        let y = net.conv("first", net.x, 6, conv, true);
        (net, y)
    };
    for (name, (mut net, y), classes, composes) in [
        ("disjoint", of_4(up(), 6, true), 9, true),
        ("without bias", of_4(up(), 6, false), 9, true),
        ("overlapping", of_4(overlapping, 6, true), 5, true),
        ("too many classes", of_4(up(), 2, true), 9, false),
        ("grouped", of_4(grouped, 6, true), 3, false),
        ("3x3", kernel_3(), 4, true),
        ("3x3, more classes", kernel_3(), 8, false),
    ] {
        let y = net.conv("head", y, classes, Conv::new(2, 1), true);
        let (graph, input) = net.finish(y);
        let composed = passes::compose_convolutions(&graph).unwrap();
        let layers = count(&composed, "Conv") + count(&composed, "ConvTranspose");
        assert_eq!(layers == 1, composes, "{name}");
        assert!(difference(&graph, &composed, &input) < 1e-6, "{name}");
    }
    // The value between them is asked for, or an activation stands there.
    let (mut net, up_only) = of_4(up(), 6, true);
    let y = net.conv("head", up_only, 9, Conv::new(2, 1), true);
    net.graph.set_outputs(vec![up_only, y]);
    let kept = passes::compose_convolutions(&net.graph).unwrap();
    assert_eq!(count(&kept, "ConvTranspose"), 1);
    let (mut net, y) = of_4(up(), 6, true);
    let y = net.relu(y);
    let y = net.conv("head", y, 9, Conv::new(2, 1), true);
    let (graph, _) = net.finish(y);
    let kept = passes::compose_convolutions(&graph).unwrap();
    assert_eq!(count(&kept, "Conv"), 1);
}

#[test]
fn constants_are_computed_and_dead_nodes_are_gone() {
    let mut net = Net::new(&[2, 6]);
    let a = net.parameter("a", &[2, 3]);
    let dims = vec![ReshapeDim::Fixed(1), ReshapeDim::Infer];
    let a = net.graph.add("flat", Op::Reshape { dims }, &[a]).unwrap();
    let a = net.graph.activation("tanh", Activation::Tanh, a).unwrap();
    let x = net.x;
    let y = net.add(x, a);
    let _dead = net.relu(y);
    let (graph, input) = net.finish(y);
    let simple = passes::simplify(&graph).unwrap();
    assert_eq!(simple.nodes().len(), 3, "input, constant, sum");
    assert_eq!(difference(&graph, &simple, &input), 0.0);
}

#[test]
fn an_open_batch_is_set_at_compilation() {
    let mut graph = Graph::new("open");
    let shape: Shape = [Dim::Batch, 4.into(), 6.into()].into_iter().collect();
    let x = graph.input("x", shape, DType::F32).unwrap();
    let dims = vec![ReshapeDim::Copy, ReshapeDim::Fixed(2), ReshapeDim::Infer];
    let y = graph.add("split", Op::Reshape { dims }, &[x]).unwrap();
    graph.set_outputs([y]);
    assert_eq!(graph.node(y).shape.to_string(), "[N, 2, 12]");
    let fixed = graph.with_batch(3).unwrap();
    assert_eq!(
        fixed.node(fixed.outputs()[0]).shape,
        Shape::new(&[3, 2, 12])
    );
}

#[test]
fn labels_are_the_first_largest_class_in_the_narrowest_type() {
    for (classes, dtype) in [(3, DType::U8), (256, DType::U8), (257, DType::U16)] {
        let mut graph = Graph::new("labels");
        let x = graph
            .input("x", Shape::new(&[1, classes, 2, 2]), DType::F32)
            .unwrap();
        graph.set_outputs([x]);
        let graph = graph.with_task(Task::Labels).unwrap();
        let output = graph.node(graph.outputs()[0]);
        assert_eq!(
            (output.dtype, output.shape.clone()),
            (dtype, Shape::new(&[1, 2, 2]))
        );
        // Class 1 and the last one tie at every pixel.
        let scores = Tensor::from_fn(&[1, classes, 2, 2], |i| match i / 4 {
            1 => 1.0,
            c if c == classes - 1 => 1.0,
            _ => 0.0,
        });
        let labels = reference::run(&graph, &[scores]).unwrap().remove(0);
        let ones = Tensor::new(&[1, 2, 2], vec![1u8; 4]).unwrap();
        let ones16 = Tensor::new(&[1, 2, 2], vec![1u16; 4]).unwrap();
        assert!(labels == ones || labels == ones16, "{classes} classes");
    }
}

/// ConvNeXt's block: layers on the last axis between two transpositions, scaled and added.
fn convnext_block(net: &mut Net, returned: bool) -> (NodeId, NodeId) {
    let c = net.graph.node(net.x).shape[1].fixed().unwrap();
    let depthwise = Conv::new(2, 3).pad(1).groups(c);
    let y = net.conv("dw", net.x, c, depthwise, true);
    let to = |net: &mut Net, x: NodeId, perm: [usize; 4]| {
        let perm = perm.to_vec();
        net.graph.add("t", Op::Transpose { perm }, &[x]).unwrap()
    };
    let linear = |net: &mut Net, name: &str, x: NodeId, shape: [usize; 2], bias: bool| {
        let mut inputs = vec![x, net.parameter(&format!("{name}.weight"), &shape)];
        if bias {
            inputs.push(net.parameter(&format!("{name}.bias"), &shape[..1]));
        }
        net.graph.add(name, Op::Linear, &inputs).unwrap()
    };
    let y = to(net, y, [0, 2, 3, 1]);
    let (w, b) = (net.parameter("ln.w", &[c]), net.parameter("ln.b", &[c]));
    let norm = Op::LayerNorm { axis: 3, eps: 1e-6 };
    let y = net.graph.add("ln", norm, &[y, w, b]).unwrap();
    let y = linear(net, "fc1", y, [3 * c, c], true);
    let hidden = net.graph.activation("gelu", Activation::GeluErf, y);
    let hidden = hidden.unwrap();
    let y = linear(net, "fc2", hidden, [c, 3 * c], false);
    let gamma = net.parameter("gamma", &[c]);
    let y = net.graph.binary("mul", Binary::Mul, gamma, y).unwrap();
    let y = to(net, y, [0, 3, 1, 2]);
    let y = net.add(net.x, y);
    (y, if returned { hidden } else { y })
}

#[test]
fn a_factor_per_channel_folds_into_the_layer_before_it() {
    let mut net = Net::new(&[2, 6, 7, 5]);
    let (y, _) = convnext_block(&mut net, false);
    let (graph, input) = net.finish(y);
    let folded = passes::fold_scales(&graph).unwrap();
    assert_eq!((count(&graph, "Mul"), count(&folded, "Mul")), (1, 0));
    assert!(difference(&graph, &folded, &input) < 1e-6);
    // Per channel of a map; but not per pixel, nor of a value that is used twice.
    for (shape, twice, left) in [
        (&[6, 1, 1][..], false, 0),
        (&[1, 6, 1, 1], false, 0),
        (&[6, 1, 1], true, 1),
        (&[5], false, 1),
        (&[6, 7, 5], false, 1),
        (&[1], false, 1),
    ] {
        let mut net = Net::new(&[2, 4, 7, 5]);
        let y = net.conv("conv", net.x, 6, Conv::new(2, 3).pad(1), true);
        let factors = net.parameter("factors", shape);
        let mut z = net.graph.binary("mul", Binary::Mul, y, factors).unwrap();
        if twice {
            z = net.add(z, y);
        }
        let (graph, input) = net.finish(z);
        let folded = passes::fold_scales(&graph).unwrap();
        assert_eq!(count(&folded, "Mul"), left, "{shape:?}");
        assert!(difference(&graph, &folded, &input) < 1e-6, "{shape:?}");
    }
}

#[test]
fn layers_between_transpositions_are_computed_with_channels_first() {
    let mut net = Net::new(&[2, 6, 7, 5]);
    let (y, _) = convnext_block(&mut net, false);
    let (graph, input) = net.finish(y);
    let first = passes::channels_first(&passes::fold_scales(&graph).unwrap()).unwrap();
    let counts = ["Transpose", "Linear", "LayerNorm", "Conv"].map(|op| count(&first, op));
    assert_eq!(counts, [0, 0, 1, 3]);
    assert!(difference(&graph, &first, &input) < 1e-6);
    // A factor stays where it is, and what is before it in channels last.
    let first = passes::channels_first(&graph).unwrap();
    assert_eq!(count(&first, "Transpose"), 2);
    assert!(difference(&graph, &first, &input) < 1e-6);
}

#[test]
fn a_value_needed_with_channels_last_stays_so() {
    let mut net = Net::new(&[2, 6, 7, 5]);
    let (y, hidden) = convnext_block(&mut net, true);
    let (mut graph, input) = net.finish(y);
    graph.set_outputs([y, hidden]);
    let graph = passes::fold_scales(&graph).unwrap();
    let first = passes::channels_first(&graph).unwrap();
    let (want, got) = (
        reference::run(&graph, std::slice::from_ref(&input)).unwrap(),
        reference::run(&first, std::slice::from_ref(&input)).unwrap(),
    );
    assert_eq!(want[1], got[1]);
    assert!(difference(&graph, &first, &input) < 1e-6);
    let counts = ["Transpose", "Linear", "Conv"].map(|op| count(&first, op));
    assert_eq!(counts, [2, 1, 2]);
}
