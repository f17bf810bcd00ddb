//! What PyTorch's exporters write computes what PyTorch computed; see `fixtures/make.py`.

use std::path::{Path, PathBuf};

use safetensors::SafeTensors;
use slicewise_graph::{Graph, Tensor, reference};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

/// The files of `fixtures`, by name.
fn files() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(fixtures()).unwrap();
    let paths = entries.map(|e| e.unwrap().path());
    let mut files: Vec<PathBuf> = paths
        .filter(|p| p.extension().is_some_and(|e| e == "onnx"))
        .collect();
    files.sort();
    files
}

/// The subject of a file `subject.exporter.onnx`.
fn subject(file: &Path) -> &str {
    file.file_name()
        .and_then(|n| n.to_str())
        .and_then(|n| n.split('.').next())
        .unwrap()
}

/// A tensor of PyTorch's; integers as floats.
fn tensor(expected: &SafeTensors, name: &str) -> Option<Tensor> {
    let view = expected.tensor(name).ok()?;
    let floats: Vec<f32> = match view.dtype() {
        safetensors::Dtype::F32 => view
            .data()
            .as_chunks::<4>()
            .0
            .iter()
            .map(|&b| f32::from_le_bytes(b))
            .collect(),
        safetensors::Dtype::I64 => view
            .data()
            .as_chunks::<8>()
            .0
            .iter()
            .map(|&b| i64::from_le_bytes(b) as f32)
            .collect(),
        other => panic!("{name} is {other:?}"),
    };
    Some(Tensor::new(view.shape(), floats).unwrap())
}

fn as_floats(t: &Tensor) -> Vec<f32> {
    match t.data() {
        slicewise_graph::TensorData::I64(v) => v.iter().map(|&n| n as f32).collect(),
        _ => t.as_f32().unwrap().to_vec(),
    }
}

fn check(graph: &Graph, subject: &str, expected: &SafeTensors) -> Result<(), String> {
    let x = tensor(expected, &format!("{subject}.x")).unwrap();
    let graph = graph.with_batch(2).map_err(|e| e.to_string())?;
    let got = reference::run(&graph, &[x]).map_err(|e| e.to_string())?;
    for (i, got) in got.iter().enumerate() {
        let want = tensor(expected, &format!("{subject}.y{i}")).ok_or("has too many outputs")?;
        if got.shape() != want.shape() {
            return Err(format!(
                "output {i} is {:?}, not {:?}",
                got.shape(),
                want.shape()
            ));
        }
        let want = want.as_f32().unwrap();
        let largest = want.iter().fold(0.0f32, |m, x| m.max(x.abs()));
        for (at, (g, w)) in as_floats(got).iter().zip(want).enumerate() {
            let error = (g - w).abs();
            if error.is_nan() || error > 1e-5 * largest.max(1.0) {
                return Err(format!("output {i} is {g} at {at}, not {w}"));
            }
        }
    }
    Ok(())
}

#[test]
fn both_exporters_files_compute_what_pytorch_computes() {
    let bytes = std::fs::read(fixtures().join("expected.safetensors")).unwrap();
    let expected = SafeTensors::deserialize(&bytes).unwrap();
    let mut failures = Vec::new();
    let files = files();
    assert!(files.len() > 45, "only {} fixtures", files.len());
    for file in &files {
        let round = || -> Result<(), String> {
            let graph = slicewise_onnx::read(file).map_err(|e| e.to_string())?;
            check(&graph, subject(file), &expected)?;
            let bytes = slicewise_onnx::to_bytes(&graph).map_err(|e| e.to_string())?;
            let again = slicewise_onnx::from_bytes("again", &bytes).map_err(|e| e.to_string())?;
            check(&again, subject(file), &expected).map_err(|e| format!("written again: {e}"))
        };
        if let Err(problem) = round() {
            failures.push(format!(
                "{}: {problem}",
                file.file_name().unwrap().display()
            ));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
