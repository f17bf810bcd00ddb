//! One suite for every engine that is there: each operator on small tensors against the graph's own
//! definition of it, and what must be refused.

mod cases;
#[path = "../common/mod.rs"]
mod common;
mod together;

use slicewise_engines::{CompileOptions, Engine, EngineError, Precision, is_on_request};
use slicewise_graph::{
    Conv, DType, Dim, Graph, Op, Role, Shape, Task, Tensor, TensorData, reference,
};

use cases::{Case, cases};

/// Largest difference allowed, as a part of the range of the reference: f32 sums in another order.
const TOLERANCE: f32 = 2e-5;

/// What an engine is known to do otherwise where nobody is misled: of equal classes, rten takes the last.
const KNOWN: [(&str, &str); 1] = [("rten", "arg-max takes the first of equals")];

#[test]
fn every_operator_gives_what_the_graph_defines_on_every_engine() {
    let cases = cases();
    let mut failures = Vec::new();
    for engine in common::engines_present() {
        let name = engine.info().name;
        let mut worst = (0.0, "");
        let mut refused = 0;
        // Where a session takes seconds to start, all cases are one network.
        let errors: Vec<Result<Option<f32>, String>> = match is_on_request(name) {
            true => together::run(engine.as_ref(), &cases),
            false => {
                let each = cases.iter().enumerate();
                each.map(|(i, case)| run(engine.as_ref(), case, 1 + i % 2))
                    .collect()
            }
        };
        for (case, error) in cases.iter().zip(errors) {
            match error {
                _ if KNOWN.contains(&(name, &case.name)) => {}
                Ok(None) => refused += 1,
                Ok(Some(error)) if error <= TOLERANCE => {
                    if error > worst.0 {
                        worst = (error, &case.name);
                    }
                }
                Ok(Some(error)) => {
                    failures.push(format!("{name}: {}: off by {error:.1e}", case.name))
                }
                Err(error) => failures.push(format!("{name}: {}: {error}", case.name)),
            }
        }
        println!(
            "{name}: {} cases, {refused} refused, largest error {:.1e} of the range in '{}'",
            cases.len(),
            worst.0,
            worst.1
        );
    }
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

/// The largest error of two runs on different inputs, relative to the range of the reference; `None` if
/// the engine says that it lacks the operator.
fn run(engine: &dyn Engine, case: &Case, threads: usize) -> Result<Option<f32>, String> {
    let options = CompileOptions {
        task: case.task,
        precision: Precision::F32,
        threads,
        batch: case.batch,
    };
    run_graph(engine, &case.graph, &options)
}

fn run_graph(
    engine: &dyn Engine,
    graph: &Graph,
    options: &CompileOptions,
) -> Result<Option<f32>, String> {
    let fixed = graph
        .with_task(options.task)
        .and_then(|g| g.with_batch(options.batch));
    let fixed = fixed.map_err(|e| e.to_string())?;
    let mut session = match engine.compile(graph, options) {
        // Ours has to run everything.
        Err(EngineError::Unsupported { .. }) if engine.info().name != "native" => return Ok(None),
        result => result.map_err(|e| e.to_string())?,
    };
    let mut worst = 0f32;
    for seed in [1, 2] {
        let inputs = inputs(&fixed, seed);
        let want = reference::run(&fixed, &inputs).map_err(|e| e.to_string())?;
        let got = session.run(&inputs).map_err(|e| e.to_string())?;
        if got.len() != want.len() {
            return Err(format!("{} outputs of {}", got.len(), want.len()));
        }
        for (got, want) in got.iter().zip(&want) {
            worst = worst.max(difference(got, want)?);
        }
    }
    Ok(Some(worst))
}

#[test]
fn reduced_precisions_are_close_to_the_reference_and_bf16_is_not_f32() {
    // bf16 keeps 8 bits of each factor; int8 rounds each output to one of 256 steps. Exactly f32
    // would mean that the engine did not do as it was told.
    for engine in common::engines_present() {
        let name = engine.info().name;
        // The kernels of other engines saturate with 8 bits where the CPU has no VNNI; ours do not.
        let most = match name == "native" || slicewise_quantize::sums_in_32_bits() {
            true => 127,
            false => 64,
        };
        let cases = [
            (Precision::Bf16, cases::wide(), 1e-5..2e-2),
            (Precision::Int8, cases::quantized(most), -1.0..1e-2),
        ];
        for (precision, graph, errors) in &cases {
            if !engine.precisions().contains(precision) {
                println!("{name}: does not offer {precision}");
                continue;
            }
            let options = CompileOptions {
                precision: *precision,
                threads: 2,
                ..CompileOptions::default()
            };
            let error = run_graph(engine.as_ref(), graph, &options).expect(name);
            let error = error.expect("the operators are there");
            println!("{name} {precision}: off by {error:.1e}");
            assert!(
                errors.contains(&error),
                "{name} {precision}: off by {error:.1e}"
            );
        }
    }
}

fn inputs(graph: &Graph, seed: u64) -> Vec<Tensor> {
    let ids = graph.inputs();
    let shapes = ids
        .iter()
        .map(|&id| graph.node(id).shape.sizes().expect("a fixed batch"));
    shapes
        .enumerate()
        .map(|(i, shape)| cases::random(&shape, seed * 100 + i as u64))
        .collect()
}

fn difference(got: &Tensor, want: &Tensor) -> Result<f32, String> {
    if got.shape() != want.shape() || got.dtype() != want.dtype() {
        return Err(format!(
            "made {} {:?}, not {} {:?}",
            got.dtype(),
            got.shape(),
            want.dtype(),
            want.shape()
        ));
    }
    let (TensorData::F32(got), TensorData::F32(want)) = (got.data(), want.data()) else {
        return match got.data() == want.data() {
            true => Ok(0.0),
            false => Err(format!("{:?} is not {:?}", got.data(), want.data())),
        };
    };
    let least = want.iter().copied().fold(f32::INFINITY, f32::min);
    let greatest = want.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let largest = got.iter().zip(want.iter()).map(|(a, b)| (a - b).abs());
    // `max` would pass over a NaN.
    let largest = largest.fold(0f32, |m, d| if d <= m { m } else { d });
    Ok(largest / (greatest - least).max(1e-6))
}

/// `conv(x)` with an open batch, with or without weights.
fn small(with_weights: bool) -> Graph {
    let mut graph = Graph::new("small");
    let shape: Shape = [Dim::Batch, 2.into(), 5.into(), 6.into()]
        .into_iter()
        .collect();
    let x = graph.input("x", shape, DType::F32).expect("a new name");
    let weight = match with_weights {
        true => graph.constant_tensor("w", Role::Trainable, cases::random(&[3, 2, 3, 3], 7)),
        false => graph.parameter("w", &[3, 2, 3, 3], Role::Trainable),
    };
    let weight = weight.expect("a new name");
    let y = graph
        .add("conv", Op::Conv(Conv::new(2, 3)), &[x, weight])
        .expect("shapes fit");
    graph.set_outputs(vec![y]);
    graph
}

#[test]
fn a_graph_without_weights_is_refused_by_every_engine() {
    for engine in common::engines_present() {
        let name = engine.info().name;
        match engine.compile(&small(false), &CompileOptions::default()) {
            Err(EngineError::Graph(error)) => {
                assert!(error.to_string().contains("'w'"), "{name}: {error}");
            }
            Err(error) => panic!("{name}: {error}"),
            Ok(_) => panic!("{name} compiled a graph without weights"),
        }
    }
}

#[test]
fn other_inputs_than_the_graph_takes_are_refused_and_the_session_lives_on() {
    let options = CompileOptions {
        batch: 2,
        threads: 1,
        ..CompileOptions::default()
    };
    let good = cases::random(&[2, 2, 5, 6], 1);
    let integers = Tensor::new(&[2, 2, 5, 6], vec![0u8; 120]).expect("the size fits");
    let bad: Vec<(Vec<Tensor>, &str)> = vec![
        (vec![], "takes 1 inputs, got 0"),
        (vec![good.clone(), good.clone()], "takes 1 inputs, got 2"),
        (
            vec![cases::random(&[1, 2, 5, 6], 1)],
            "must be f32 [2, 2, 5, 6], got f32 [1, 2, 5, 6]",
        ),
        (
            vec![cases::random(&[2, 2, 6, 5], 1)],
            "must be f32 [2, 2, 5, 6], got f32 [2, 2, 6, 5]",
        ),
        (
            vec![integers],
            "must be f32 [2, 2, 5, 6], got u8 [2, 2, 5, 6]",
        ),
    ];
    for engine in common::engines_present() {
        let name = engine.info().name;
        let mut session = engine.compile(&small(true), &options).expect(name);
        for (inputs, want) in &bad {
            let error = session.run(inputs).expect_err(name).to_string();
            assert!(error.starts_with(name) && error.contains(want), "{error}");
        }
        session.run(std::slice::from_ref(&good)).expect(name);
    }
}

#[test]
fn int8_needs_a_quantized_graph_and_a_precision_needs_a_cpu() {
    for engine in common::engines_present() {
        let name = engine.info().name;
        for precision in [Precision::F32, Precision::Bf16, Precision::Int8] {
            let options = CompileOptions {
                precision,
                ..CompileOptions::default()
            };
            let offered = engine.precisions().contains(&precision);
            let result = engine.compile(&small(true), &options);
            let as_expected = matches!(
                (precision, offered, &result),
                (_, false, Err(EngineError::Precision { .. }))
                    | (Precision::Int8, true, Err(EngineError::NotQuantized { .. }))
                    | (Precision::F32 | Precision::Bf16, true, Ok(_))
            );
            assert!(as_expected, "{name} {precision}: {:?}", result.err());
        }
        assert!(engine.precisions().contains(&Precision::F32), "{name}");
    }
}

#[test]
fn a_kept_result_is_not_overwritten_by_the_next_run() {
    let options = CompileOptions {
        task: Task::Labels,
        threads: 1,
        ..CompileOptions::default()
    };
    for engine in common::engines_present() {
        let name = engine.info().name;
        let mut session = engine.compile(&small(true), &options).expect(name);
        let first = session.run(&[cases::random(&[1, 2, 5, 6], 1)]).expect(name)[0].clone();
        let copy: Vec<u8> = match first.data() {
            TensorData::U8(labels) => labels.to_vec(),
            other => panic!("{name}: labels are {}", other.dtype()),
        };
        let second = session.run(&[cases::random(&[1, 2, 5, 6], 2)]).expect(name)[0].clone();
        assert_eq!(*first.data(), TensorData::from(copy), "{name}");
        assert_ne!(first, second, "{name}: two images with the same labels");
    }
}

#[test]
fn an_engine_is_loaded_once_and_says_what_it_is() {
    for engine in common::engines_present() {
        let info = engine.info();
        let again = slicewise_engines::load(info.name).expect(info.name);
        assert!(std::sync::Arc::ptr_eq(&engine, &again), "{}", info.name);
        assert!(!info.version.is_empty(), "{}", info.name);
        match &info.library {
            None => assert!(["native", "tract", "rten"].contains(&info.name)),
            Some((path, hash)) => {
                assert!(path.is_absolute(), "{}", path.display());
                assert_eq!(hash.len(), 64, "{hash}");
            }
        }
    }
}

#[test]
fn an_unknown_engine_is_refused_with_the_names_of_the_others() {
    let error = slicewise_engines::load("tensorrt")
        .err()
        .expect("there is none")
        .to_string();
    assert!(
        error.contains("'tensorrt'") && error.contains("native"),
        "{error}"
    );
}
