//! Networks in bf16 and in integers against the same networks in f32.

use slicewise_graph::{
    Activation, Binary, Conv, Coordinates, DType, Graph, NodeId, Op, Resize, ResizeMode, Role,
    Shape, Tensor,
};
use slicewise_kernels::{Context, Isa};

use crate::network::compile_with;
use crate::{Accuracy, Precision, StepInfo};

/// What is rounded to steps.
#[derive(Clone, Copy, PartialEq)]
enum Rounded {
    Nothing,
    Weights,
    Everything,
}

/// A network being made whose values are followed by pairs of quantization and dequantization, if they
/// are rounded.
struct Net {
    graph: Graph,
    rounded: Rounded,
    made: usize,
}

/// Values in [-1, 1) that look random.
fn noise(seed: usize, n: usize) -> Vec<f32> {
    let value = |i: usize| ((i * 7919 + seed * 104_729 + i * i) % 1009) as f32 / 504.5 - 1.0;
    (0..n).map(value).collect()
}

impl Net {
    fn name(&mut self) -> String {
        self.made += 1;
        format!("n{}", self.made)
    }

    fn constant(&mut self, tensor: Tensor) -> NodeId {
        let name = self.name();
        let constant = self.graph.constant_tensor(&name, Role::Constant, tensor);
        constant.expect("an unused name")
    }

    fn add(&mut self, op: Op, inputs: &[NodeId]) -> NodeId {
        let name = self.name();
        self.graph
            .add(&name, op, inputs)
            .expect("operands that fit")
    }

    /// The value rounded to steps, if values are.
    fn rounded(&mut self, x: NodeId, step: f32, zero: u8) -> NodeId {
        if self.rounded != Rounded::Everything {
            return x;
        }
        let scale = self.constant(Tensor::new(&[], vec![step]).unwrap());
        let zero = self.constant(Tensor::new(&[], vec![zero]).unwrap());
        let q = self.add(Op::Quantize { axis: 0 }, &[x, scale, zero]);
        self.add(Op::Dequantize { axis: 0 }, &[q, scale, zero])
    }

    fn conv(&mut self, x: NodeId, spec: Conv, out: usize) -> NodeId {
        let channels = self.graph.node(x).shape.sizes().unwrap()[1];
        let mut shape = vec![out, channels / spec.groups];
        shape.extend(&spec.kernel);
        let n: usize = shape.iter().product();
        let gain = 1.5 / ((n / out) as f32).sqrt();
        let values = noise(self.made, n);
        let weight = match self.rounded {
            Rounded::Weights | Rounded::Everything => {
                let steps: Vec<i8> = values.iter().map(|v| (v * 127.0) as i8).collect();
                let scales = (0..out).map(|o| gain * (1.0 + 0.1 * (o % 3) as f32) / 127.0);
                let steps = self.constant(Tensor::new(&shape, steps).unwrap());
                let scale =
                    self.constant(Tensor::new(&[out], scales.collect::<Vec<f32>>()).unwrap());
                let zero = self.constant(Tensor::new(&[out], vec![0i8; out]).unwrap());
                self.add(Op::Dequantize { axis: 0 }, &[steps, scale, zero])
            }
            Rounded::Nothing => {
                let values: Vec<f32> = values.iter().map(|v| v * gain).collect();
                self.constant(Tensor::new(&shape, values).unwrap())
            }
        };
        let bias: Vec<f32> = noise(self.made, out).iter().map(|v| 0.1 * v).collect();
        let bias = self.constant(Tensor::new(&[out], bias).unwrap());
        self.add(Op::Conv(spec), &[x, weight, bias])
    }

    fn relu(&mut self, x: NodeId) -> NodeId {
        let y = self.add(Op::Activation(Activation::Relu), &[x]);
        self.rounded(y, 0.02, 0)
    }
}

fn strided(kernel: usize, stride: usize, groups: usize) -> Conv {
    Conv {
        stride: vec![stride; 2],
        groups,
        ..Conv::new(2, kernel).pad(kernel / 2)
    }
}

/// A stem, a bottleneck with a residual, a lateral addition, a wide convolution, a classifier.
fn network(rounded: Rounded) -> Graph {
    let mut net = Net {
        graph: Graph::new("net"),
        rounded,
        made: 0,
    };
    let shape = Shape::new(&[1, 3, 40, 64]);
    let x = net.graph.input("x", shape, DType::F32).unwrap();
    let x = net.rounded(x, 2.0 / 255.0, 128);
    let stem = net.conv(x, strided(3, 2, 1), 24);
    let stem = net.relu(stem);
    let wide = net.conv(stem, strided(1, 1, 1), 96);
    let wide = net.relu(wide);
    let windows = net.conv(wide, strided(3, 1, 96), 96);
    let windows = net.relu(windows);
    let narrow = net.conv(windows, strided(1, 1, 1), 24);
    let narrow = net.rounded(narrow, 0.03, 120);
    let sum = net.add(Op::Binary(Binary::Add), &[narrow, stem]);
    let sum = net.rounded(sum, 0.03, 100);
    let deep = net.conv(sum, strided(3, 2, 1), 64);
    let deep = net.relu(deep);
    let coarse = net.conv(deep, strided(1, 1, 1), 64);
    let coarse = net.rounded(coarse, 0.03, 125);
    let resize = Resize {
        size: vec![20, 32],
        mode: ResizeMode::Nearest,
        coordinates: Coordinates::Asymmetric,
        scales: None,
    };
    let up = net.add(Op::Resize(resize), &[coarse]);
    let up = net.rounded(up, 0.03, 125);
    let lateral = net.conv(sum, strided(1, 1, 1), 64);
    let lateral = net.rounded(lateral, 0.03, 125);
    let both = net.add(Op::Binary(Binary::Add), &[lateral, up]);
    let both = net.rounded(both, 0.04, 125);
    let smooth = net.conv(both, strided(3, 1, 1), 64);
    let smooth = net.relu(smooth);
    let scores = net.conv(smooth, strided(1, 1, 1), 7);
    net.graph.set_outputs(vec![scores]);
    net.graph
}

/// The result on every instruction set, with the steps.
fn run(graph: &Graph, precision: Precision) -> Vec<(Isa, Vec<f32>, Vec<StepInfo>)> {
    let input = Tensor::new(&[1, 3, 40, 64], noise(1, 3 * 40 * 64)).unwrap();
    let mut results = Vec::new();
    for isa in Isa::available() {
        let mut first: Option<Vec<f32>> = None;
        for threads in [1, 3] {
            let context = Context::new(isa, threads);
            let mut network = compile_with(graph, context, Accuracy::Default, precision).unwrap();
            for _ in 0..2 {
                let y = network.run(std::slice::from_ref(&input)).unwrap();
                let y = y[0].as_f32().unwrap().to_vec();
                let same = first.get_or_insert_with(|| y.clone());
                assert_eq!(*same, y, "{} with {threads} threads", isa.name());
            }
            if threads == 3 {
                results.push((isa, first.clone().unwrap(), network.steps()));
            }
        }
    }
    results
}

/// The root of the mean square difference, as a part of that of `b`.
fn difference(a: &[f32], b: &[f32]) -> f64 {
    let square = |v: f64| v * v;
    let error: f64 = a.iter().zip(b).map(|(a, b)| square(f64::from(a - b))).sum();
    let size: f64 = b.iter().map(|b| square(f64::from(*b))).sum();
    (error / size).sqrt()
}

#[test]
fn bf16_networks_are_near_f32_ones_and_keep_maps_between_convolutions_as_words() {
    let graph = network(Rounded::Nothing);
    let exact = run(&graph, Precision::F32).remove(0).1;
    for (isa, y, steps) in run(&graph, Precision::Bf16) {
        let error = difference(&y, &exact);
        let kernels: Vec<_> = steps.iter().map(|s| s.kernel).collect();
        let words = steps
            .iter()
            .filter(|s| s.output.starts_with("bf16"))
            .count();
        match isa.products_per_lane()[1] {
            1 => assert!(
                error < 1e-5 && words == 0,
                "{}: {error}, {kernels:?}",
                isa.name()
            ),
            _ => {
                assert!(error < 0.01, "{}: {error}", isa.name());
                assert!(kernels.contains(&"bf16"), "{kernels:?}");
                assert!(words > 0, "{kernels:?}");
            }
        }
    }
}

#[test]
fn quantized_networks_compute_in_integers_no_further_from_floats_than_they_say() {
    let graph = network(Rounded::Everything);
    let plain = run(&network(Rounded::Weights), Precision::F32).remove(0).1;
    let said = run(&graph, Precision::F32).remove(0).1;
    let allowed = difference(&said, &plain);
    assert!(allowed > 0.01, "{allowed}");
    let mut first: Option<Vec<f32>> = None;
    for (isa, y, steps) in run(&graph, Precision::Int8) {
        let kernels: Vec<_> = steps.iter().map(|s| (s.kernel, &s.output)).collect();
        // Nearer to the floats, if anything: roundings before additions are left out.
        let error = difference(&y, &plain);
        assert!(
            error < 1.05 * allowed,
            "{}: {error}, {allowed}, {kernels:?}",
            isa.name()
        );
        let both = difference(&y, &said);
        assert!(both < 1.5 * allowed, "{}: {both}, {allowed}", isa.name());
        assert!(
            steps.iter().all(|s| s.kernel.starts_with("int8")),
            "{kernels:?}"
        );
        let words = steps.iter().filter(|s| s.output.starts_with("u8")).count();
        assert_eq!(
            words,
            steps.len() - 1,
            "the scores alone are floats: {kernels:?}"
        );
        let first = first.get_or_insert_with(|| y.clone());
        assert!(difference(&y, first) < 0.004, "{}", isa.name());
    }
}
