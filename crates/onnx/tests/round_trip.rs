//! Graphs written and read again compute the same.

mod common;

use slicewise_graph::{Graph, Parameter, Tensor, TensorData};

/// The largest difference of two tensors in parts of the first one's range, or what else differs.
fn difference(want: &Tensor, got: &Tensor) -> Result<f32, String> {
    if want.shape() != got.shape() || want.dtype() != got.dtype() {
        return Err(format!(
            "{} {:?} became {} {:?}",
            want.dtype(),
            want.shape(),
            got.dtype(),
            got.shape()
        ));
    }
    match (want.data(), got.data()) {
        (TensorData::F32(w), TensorData::F32(g)) => {
            let low = w.iter().copied().fold(f32::INFINITY, f32::min);
            let high = w.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let error = w.iter().zip(g.iter()).map(|(a, b)| (a - b).abs());
            let range = (high - low).max(1e-6);
            // A NaN is larger than any difference.
            Ok(error.fold(0.0, |m: f32, e| if e <= m { m } else { e }) / range)
        }
        (w, g) if w == g => Ok(0.0),
        _ => Err("integers differ".into()),
    }
}

fn compare(graph: &Graph, read: &Graph) -> Result<(), String> {
    let want = common::run(graph).map_err(|e| e.to_string())?;
    let got = common::run(read).map_err(|e| e.to_string())?;
    if want.len() != got.len() {
        return Err(format!("{} outputs became {}", want.len(), got.len()));
    }
    for (w, g) in want.iter().zip(&got) {
        let error = difference(w, g)?;
        if error.is_nan() || error > 1e-5 {
            return Err(format!("differs by {error} of the range"));
        }
    }
    Ok(())
}

#[test]
fn every_operator_computes_the_same_after_a_round_trip() {
    let mut failures = Vec::new();
    for case in common::cases() {
        let round = || -> Result<(), String> {
            let bytes = slicewise_onnx::to_bytes(&case.graph).map_err(|e| e.to_string())?;
            let read = slicewise_onnx::from_bytes("memory", &bytes).map_err(|e| e.to_string())?;
            if (&read.name, &read.metadata) != (&case.graph.name, &case.graph.metadata) {
                return Err("name or metadata differ".into());
            }
            compare(&case.graph, &read)?;
            // And once more, so that nothing grows or drifts.
            let again = slicewise_onnx::to_bytes(&read).map_err(|e| e.to_string())?;
            let again = slicewise_onnx::from_bytes("again", &again).map_err(|e| e.to_string())?;
            compare(&case.graph, &again)
        };
        if let Err(problem) = round() {
            failures.push(format!("{}: {problem}", case.name));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// The operators of a graph in order, without parameters.
fn operators(graph: &Graph) -> Vec<&'static str> {
    let names = graph.nodes().iter().map(|n| n.op.name());
    names.filter(|&n| n != "Parameter").collect()
}

#[test]
fn what_was_taken_apart_is_put_together_again() {
    // These are said by other operators in the file, for every engine's sake.
    let said_otherwise = |name: &str| {
        let matrices = ["antialiased", "1d", "six_to_ten", "to_one"];
        (name.starts_with("resize_") && matrices.iter().any(|m| name.contains(m)))
            || name == "pool_mean_with_padding_ceil"
    };
    let mut failures = Vec::new();
    for case in common::cases() {
        let bytes = slicewise_onnx::to_bytes(&case.graph).unwrap();
        let read = slicewise_onnx::from_bytes("memory", &bytes).unwrap();
        let (want, got) = (operators(&case.graph), operators(&read));
        if want != got && !said_otherwise(&case.name) {
            failures.push(format!("{}: {want:?} became {got:?}", case.name));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn parameters_keep_their_names_roles_and_elements() {
    let find = |name: &str| {
        common::cases()
            .into_iter()
            .find(|c| c.name == name)
            .unwrap()
    };
    for name in [
        "batch_norm",
        "conv_3d",
        "linear_3_axes",
        "group_norm",
        "quantize_conv",
    ] {
        let graph = find(name).graph;
        let bytes = slicewise_onnx::to_bytes(&graph).unwrap();
        let read = slicewise_onnx::from_bytes("memory", &bytes).unwrap();
        // The zero point of 32-bit integers is always 0 and not written.
        let kept = |name: &str| !name.ends_with("zero_point");
        let list = |graph: &Graph| -> Vec<(String, Parameter)> {
            let all = graph.parameters().map(|(n, p)| (n.name.clone(), p.clone()));
            all.filter(|(name, _)| kept(name)).collect()
        };
        let (mut want, mut got) = (list(&graph), list(&read));
        want.sort_by_key(|(name, _)| name.clone());
        got.sort_by_key(|(name, _)| name.clone());
        assert_eq!(want, got, "{name}");
    }
}
