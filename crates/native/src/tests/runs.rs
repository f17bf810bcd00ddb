use slicewise_graph::*;

use super::{Maker, noise};
use crate::{Accuracy, NativeError, Options, compile};

fn small() -> (Graph, Vec<Tensor>) {
    let mut m = Maker::new();
    let x = m.input(&[1, 2, 3]);
    let a = m.add(Op::Activation(Activation::Tanh), &[x]);
    let y = m.add(Op::Binary(Binary::Add), &[a, x]);
    m.graph.set_outputs(vec![y]);
    (m.graph, m.inputs)
}

#[test]
fn an_input_that_does_not_fit_is_an_error_that_says_what_does() {
    let (graph, inputs) = small();
    let mut network = compile(
        &graph,
        &Options {
            threads: 1,
            ..Options::default()
        },
    )
    .unwrap();
    let message = |r: Result<&[Tensor], NativeError>| r.unwrap_err().to_string();
    assert_eq!(message(network.run(&[])), "takes 1 inputs, got 0");
    assert_eq!(
        message(network.run(&[noise(1, &[1, 3, 3])])),
        "input 'x0' must be f32 [1, 2, 3], got f32 [1, 3, 3]"
    );
    let bytes = Tensor::new(&[1, 2, 3], vec![0u8; 6]).unwrap();
    assert_eq!(
        message(network.run(&[bytes])),
        "input 'x0' must be f32 [1, 2, 3], got u8 [1, 2, 3]"
    );
    assert!(network.run(&inputs).is_ok());
}

#[test]
fn results_that_the_caller_keeps_are_not_overwritten() {
    let (graph, inputs) = small();
    let mut network = compile(
        &graph,
        &Options {
            threads: 1,
            ..Options::default()
        },
    )
    .unwrap();
    let first = network.run(&inputs).unwrap()[0].clone();
    let copy: Vec<f32> = first.as_f32().unwrap().to_vec();
    network.run(&[noise(9, &[1, 2, 3])]).unwrap();
    assert_eq!(first.as_f32().unwrap(), copy);
}

#[test]
fn a_run_writes_where_the_last_one_did() {
    let (graph, inputs) = small();
    let mut network = compile(
        &graph,
        &Options {
            threads: 1,
            ..Options::default()
        },
    )
    .unwrap();
    let at = |t: &[Tensor]| t[0].as_f32().unwrap().as_ptr();
    let first = at(network.run(&inputs).unwrap());
    assert_eq!(first, at(network.run(&inputs).unwrap()));
}

#[test]
fn what_cannot_be_compiled_is_named() {
    let mut m = Maker::new();
    let (x, w) = (m.input(&[1, 2, 8, 8]), m.input(&[3, 2, 1, 1]));
    let y = m.add(Op::Conv(Conv::new(2, 1)), &[x, w]);
    m.graph.set_outputs(vec![y]);
    let error = compile(
        &m.graph,
        &Options {
            threads: 1,
            ..Options::default()
        },
    )
    .err()
    .map(|e| e.to_string());
    let want = "Conv 'node': takes 'x1' as a weight, which is computed at run time";
    assert_eq!(error.as_deref(), Some(want));

    let mut graph = Graph::new("empty");
    let x = graph
        .input("x", Shape::new(&[1, 2, 8, 8]), DType::F32)
        .unwrap();
    let w = graph
        .parameter("conv.weight", &[3, 2, 1, 1], Role::Trainable)
        .unwrap();
    let y = graph
        .add("conv", Op::Conv(Conv::new(2, 1)), &[x, w])
        .unwrap();
    graph.set_outputs(vec![y]);
    let error = compile(
        &graph,
        &Options {
            threads: 1,
            ..Options::default()
        },
    )
    .err()
    .map(|e| e.to_string());
    assert!(error.is_some_and(|e| e.contains("'conv.weight' has no data")));
}

#[test]
fn a_network_can_move_to_another_thread() {
    fn sendable<T: Send>(_: &T) {}
    let (graph, inputs) = small();
    let mut network = compile(
        &graph,
        &Options {
            threads: 2,
            ..Options::default()
        },
    )
    .unwrap();
    sendable(&network);
    std::thread::spawn(move || network.run(&inputs).map(|_| ()))
        .join()
        .unwrap()
        .unwrap();
}

#[test]
fn a_profile_names_every_step_and_its_time() {
    let (graph, inputs) = small();
    let mut network = compile(
        &graph,
        &Options {
            threads: 1,
            ..Options::default()
        },
    )
    .unwrap();
    assert!(network.steps().iter().all(|s| s.ms.is_none()));
    network.run_profiled(&inputs).unwrap();
    let steps = network.steps();
    let ops: Vec<&str> = steps.iter().map(|s| s.op.as_str()).collect();
    assert_eq!(ops, ["Tanh", "Add"]);
    assert!(steps.iter().all(|s| s.ms.is_some()));
}

#[test]
fn a_network_that_does_not_fit_into_memory_is_an_error() {
    let mut graph = Graph::new("large");
    let shape = Shape::new(&[1, 1 << 20, 1 << 20, 1 << 10]);
    let x = graph.input("x", shape, DType::F32).unwrap();
    let y = graph.activation("tanh", Activation::Tanh, x).unwrap();
    let z = graph.activation("relu", Activation::Relu, y).unwrap();
    for outputs in [vec![z], vec![y, z]] {
        graph.set_outputs(outputs);
        let error = compile(
            &graph,
            &Options {
                threads: 1,
                ..Options::default()
            },
        )
        .err();
        assert!(
            matches!(error, Some(NativeError::Memory { .. })),
            "{error:?}"
        );
    }
}

#[test]
fn replicas_run_at_the_same_time_and_give_the_same_results() {
    let mut m = Maker::new();
    let x = m.input(&[1, 8, 24, 24]);
    let w = m.weight(&[8, 8, 3, 3]);
    let y = m.add(Op::Conv(Conv::new(2, 3).pad(1)), &[x, w]);
    m.graph.set_outputs(vec![y]);
    let (graph, inputs) = (m.graph, m.inputs);
    for threads in [1, 3] {
        let mut network = compile(
            &graph,
            &Options {
                threads,
                ..Options::default()
            },
        )
        .unwrap();
        let replicas: Vec<_> = (0..4).map(|_| network.replicate().unwrap()).collect();
        let want = network.run(&inputs).unwrap().to_vec();
        std::thread::scope(|scope| {
            for mut replica in replicas {
                let (inputs, want) = (&inputs, &want);
                scope.spawn(move || {
                    assert_eq!(replica.threads(), threads);
                    for _ in 0..20 {
                        assert_eq!(replica.run(inputs).unwrap(), want);
                    }
                });
            }
        });
    }
}

#[test]
fn the_accuracy_asked_for_decides_the_tiles() {
    let plane: &[usize] = &[1, 64, 64, 64];
    let volume: &[usize] = &[1, 64, 16, 32, 32];
    for (shape, groups, stride, accuracy, kernel) in [
        (plane, 1, 1, Accuracy::Strict, "winograd 2x2"),
        (plane, 1, 1, Accuracy::Default, "winograd 4x4"),
        (plane, 1, 1, Accuracy::Fast, "winograd 4x4"),
        (plane, 1, 2, Accuracy::Strict, "winograd 4x4 strided"),
        (plane, 1, 2, Accuracy::Default, "winograd 4x4 strided"),
        (plane, 4, 1, Accuracy::Default, "winograd 4x4"),
        (plane, 8, 1, Accuracy::Default, "direct grouped"),
        (volume, 1, 1, Accuracy::Strict, "winograd 2x2x2"),
        (volume, 1, 1, Accuracy::Default, "winograd 2x4x4"),
        (volume, 1, 1, Accuracy::Fast, "winograd 4x4x4"),
        (volume, 1, 2, Accuracy::Default, "winograd 4x4 strided"),
    ] {
        let mut m = Maker::new();
        let x = m.input(shape);
        let axes = shape.len() - 2;
        let mut weight = vec![64, 64 / groups];
        weight.extend(vec![3; axes]);
        let w = m.weight(&weight);
        let conv = m.add(
            Op::Conv(slicewise_graph::Conv {
                kernel: vec![3; axes],
                stride: vec![stride; axes],
                dilation: vec![1; axes],
                pads: vec![(1, 1); axes],
                groups,
            }),
            &[x, w],
        );
        m.graph.set_outputs(vec![conv]);
        let options = Options {
            threads: 1,
            accuracy,
            ..Options::default()
        };
        let network = compile(&m.graph, &options).unwrap();
        let kernels: Vec<_> = network.steps().iter().map(|s| s.kernel).collect();
        assert_eq!(
            kernels,
            [kernel],
            "{shape:?} in {groups} groups by {stride} {accuracy:?}"
        );
    }
}

#[test]
fn tensors_that_only_a_concatenation_needs_are_made_in_their_places() {
    let f = |m: &mut Maker, x| m.add(Op::Activation(Activation::Tanh), &[x]);
    let conv = |m: &mut Maker, x: NodeId, from: usize| {
        let w = m.weight(&[4, from, 3, 3]);
        m.add(Op::Conv(Conv::new(2, 3).pad(1)), &[x, w])
    };
    for batch in [1, 2] {
        let mut m = Maker::new();
        let x = m.input(&[batch, 4, 7, 9]);
        // A skip, overwritten in place before it is joined; a deeper path; and joined twice.
        let skip = conv(&mut m, x, 4);
        let skip = f(&mut m, skip);
        let deep = conv(&mut m, skip, 4);
        let deep = conv(&mut m, deep, 4);
        let joined = m.add(Op::Concat { axis: 1 }, &[deep, skip]);
        let again = m.add(Op::Concat { axis: 1 }, &[joined, x]);
        let y = conv(&mut m, again, 12);
        m.graph.set_outputs(vec![y]);
        super::check(&m.graph, &m.inputs).unwrap();
        let options = Options {
            threads: 1,
            ..Options::default()
        };
        let network = compile(&m.graph, &options).unwrap();
        let copies = network
            .steps()
            .iter()
            .filter(|s| s.kernel == "copy")
            .count();
        // The input of the network lies elsewhere; images of a batch are apart.
        assert_eq!(copies, batch, "batch {batch}");
    }
    // Needed after it was joined, joined with itself, or returned: copied.
    let mut m = Maker::new();
    let x = m.input(&[1, 4, 7, 9]);
    let a = f(&mut m, x);
    let b = conv(&mut m, a, 4);
    let joined = m.add(Op::Concat { axis: 1 }, &[a, b]);
    let twice = m.add(Op::Concat { axis: 1 }, &[joined, joined]);
    let y = m.add(Op::Binary(Binary::Add), &[a, b]);
    m.graph.set_outputs(vec![y, twice, b]);
    super::check(&m.graph, &m.inputs).unwrap();
}
