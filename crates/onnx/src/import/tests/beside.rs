//! Weights in a file beside the model.

use super::*;

#[test]
fn weights_elsewhere_are_read_from_the_models_folder_and_nowhere_else() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("model");
    std::fs::create_dir(&folder).unwrap();
    let path = folder.join("m.onnx");
    std::fs::write(folder.join("m.data"), [0u8; 64]).unwrap();
    std::fs::create_dir(folder.join("inner")).unwrap();
    std::fs::write(root.path().join("outside"), [0u8; 64]).unwrap();
    let at = |location: &str, offset: &str, length: &str| {
        let w = TensorProto {
            data_location: Some(DataLocation::External as i32),
            external_data: vec![
                entry("location", location),
                entry("offset", offset),
                entry("length", length),
            ],
            ..floats("w", &[4], &[])
        };
        let m = model(vec![node("Add", &["x", "w"], "y", vec![])], vec![w]);
        std::fs::write(&path, m.encode_to_vec()).unwrap();
        read(&path).map_or_else(|e| e.to_string(), |_| "read".into())
    };
    let cases = [
        ("m.data", "16", "16", "read"),
        ("./m.data", "48", "16", "read"),
        ("m.data", "49", "16", "which has 64 bytes"),
        ("m.data", "18446744073709551615", "16", "which has 64 bytes"),
        ("m.data", "0", "32", "but has 32 bytes"),
        ("m.data", "-1", "16", "offset '-1'"),
        ("../outside", "0", "16", "outside the model's folder"),
        (
            "inner/../../outside",
            "0",
            "16",
            "outside the model's folder",
        ),
        ("/etc/hostname", "0", "16", "outside the model's folder"),
        ("", "0", "16", "outside the model's folder"),
        ("inner", "0", "16", "not a file"),
        ("absent.data", "0", "16", "absent.data"),
    ];
    let mut failures = Vec::new();
    for (location, offset, length, want) in cases {
        let got = at(location, offset, length);
        if !got.contains(want) {
            failures.push(format!(
                "{location} {offset} {length}: '{got}' does not say '{want}'"
            ));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(root.path().join("outside"), folder.join("link")).unwrap();
        assert!(at("link", "0", "16").contains("outside the model's folder"));
    }
    let m = at("m.data", "0", "16");
    assert_eq!(m, "read");
    let bytes = std::fs::read(&path).unwrap();
    let error = from_bytes("memory", &bytes).unwrap_err().to_string();
    assert!(error.contains("not from memory"), "{error}");
}

#[test]
fn a_file_beside_the_model_is_not_read_over_and_over() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("m.data"), vec![0u8; 4000]).unwrap();
    let weights = (0..50).map(|i| TensorProto {
        data_location: Some(DataLocation::External as i32),
        external_data: vec![entry("location", "m.data")],
        ..floats(&format!("w{i}"), &[1000], &[])
    });
    let m = model(vec![node("Relu", &["x"], "y", vec![])], weights.collect());
    let path = folder.path().join("m.onnx");
    std::fs::write(&path, m.encode_to_vec()).unwrap();
    let error = read(&path).unwrap_err().to_string();
    assert!(error.contains("again and again"), "{error}");
}

#[test]
fn weights_past_the_limit_go_beside_the_model_and_come_back() {
    let mut graph = Graph::new("large");
    let x = graph.input("x", Shape::new(&[2, 30]), DType::F32).unwrap();
    let large = Tensor::from_fn(&[40, 30], |i| i as f32 * 0.5 - 7.0);
    let small = Tensor::from_fn(&[40], |i| i as f32);
    let w = graph
        .constant_tensor("fc.weight", Role::Trainable, large.clone())
        .unwrap();
    let v = graph
        .constant_tensor("other", Role::Trainable, large)
        .unwrap();
    let b = graph
        .constant_tensor("fc.bias", Role::Trainable, small)
        .unwrap();
    let y = graph.add("y", Op::Linear, &[x, w, b]).unwrap();
    let z = graph.add("z", Op::Linear, &[x, v]).unwrap();
    graph.set_outputs([y, z]);
    let folder = tempfile::tempdir().unwrap();
    let (inside, beside) = (folder.path().join("a.onnx"), folder.path().join("b.onnx"));
    let model = crate::export::model(&graph).unwrap();
    model.write(&inside, u64::MAX).unwrap();
    model.write(&beside, 5000).unwrap();
    assert!(std::fs::metadata(&beside).unwrap().len() < 2000);
    let data = std::fs::metadata(folder.path().join("b.onnx.data"))
        .unwrap()
        .len();
    // The second one begins on the next page after the 4800 bytes of the first.
    assert_eq!(data, 8192 + 4800);
    assert_eq!(read(&inside).unwrap(), read(&beside).unwrap());
    assert_eq!(
        std::fs::read_dir(folder.path()).unwrap().count(),
        3,
        "no partial files stay"
    );
}

#[test]
fn weights_beside_the_model_may_be_turned_like_those_within() {
    let mut graph = Graph::new("beside");
    let x = graph
        .input("x", Shape::new(&[2, 3, 1500]), DType::F32)
        .unwrap();
    let mut y = x;
    for i in 0..4 {
        let w = Tensor::from_fn(&[1500, 1500], |k| (k + i) as f32);
        let w = graph
            .constant_tensor(&format!("fc{i}.weight"), Role::Trainable, w)
            .unwrap();
        y = graph.add(&format!("fc{i}"), Op::Linear, &[y, w]).unwrap();
    }
    graph.set_outputs([y]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.onnx");
    crate::export::model(&graph)
        .unwrap()
        .write(&path, 5000)
        .unwrap();
    let read = read(&path).unwrap();
    assert_eq!(read.parameters().count(), 4);
    assert_eq!(read, graph);
}
