//! Files that lie, and what is said to them.

mod beside;

use prost::Message;
use slicewise_graph::{DType, Graph, GraphError, Op, Role, Shape, Tensor};

use super::{from_bytes, read};
use crate::file::entry;
use crate::proto::tensor_proto::{DataLocation, DataType};
use crate::proto::tensor_shape_proto::{Dimension, dimension};
use crate::proto::{
    AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto,
    TensorProto, TensorShapeProto, TypeProto, ValueInfoProto, type_proto,
};

fn input(name: &str, dims: &[i64]) -> ValueInfoProto {
    let dim = |&n: &i64| Dimension {
        value: (n != -1).then_some(dimension::Value::DimValue(n)),
    };
    let tensor = type_proto::Tensor {
        elem_type: Some(DataType::Float as i32),
        shape: Some(TensorShapeProto {
            dim: dims.iter().map(dim).collect(),
        }),
    };
    ValueInfoProto {
        name: Some(name.into()),
        r#type: Some(TypeProto {
            value: Some(type_proto::Value::TensorType(tensor)),
        }),
    }
}

fn node(op: &str, inputs: &[&str], output: &str, attribute: Vec<AttributeProto>) -> NodeProto {
    NodeProto {
        input: inputs.iter().map(|&s| s.into()).collect(),
        output: vec![output.into()],
        op_type: Some(op.into()),
        attribute,
        ..NodeProto::default()
    }
}

fn int(name: &str, i: i64) -> AttributeProto {
    AttributeProto {
        name: Some(name.into()),
        i: Some(i),
        ..AttributeProto::default()
    }
}

fn ints(name: &str, ints: &[i64]) -> AttributeProto {
    AttributeProto {
        name: Some(name.into()),
        ints: ints.into(),
        ..AttributeProto::default()
    }
}

/// A list of 64-bit integers as an initializer.
fn list(name: &str, values: &[i64]) -> TensorProto {
    TensorProto {
        name: Some(name.into()),
        dims: vec![values.len() as i64],
        data_type: Some(DataType::Int64 as i32),
        int64_data: values.into(),
        ..TensorProto::default()
    }
}

fn floats(name: &str, dims: &[i64], values: &[f32]) -> TensorProto {
    TensorProto {
        name: Some(name.into()),
        dims: dims.into(),
        data_type: Some(DataType::Float as i32),
        float_data: values.into(),
        ..TensorProto::default()
    }
}

/// A model of `x` `[N, 3, 4, 4]` whose output is `y`.
fn model(nodes: Vec<NodeProto>, initializer: Vec<TensorProto>) -> ModelProto {
    ModelProto {
        opset_import: vec![OperatorSetIdProto {
            domain: None,
            version: Some(17),
        }],
        graph: Some(GraphProto {
            node: nodes,
            name: Some("test".into()),
            initializer,
            input: vec![input("x", &[-1, 3, 4, 4])],
            output: vec![input("y", &[])],
        }),
        ..ModelProto::default()
    }
}

fn message(model: &ModelProto) -> String {
    match from_bytes("hostile.onnx", &model.encode_to_vec()) {
        Ok(_) => "no error".into(),
        Err(e) => e.to_string(),
    }
}

#[test]
fn a_plain_model_of_this_kind_is_read() {
    let plain = model(vec![node("Relu", &["x"], "y", vec![])], vec![]);
    let graph = from_bytes("plain.onnx", &plain.encode_to_vec()).unwrap();
    assert_eq!(graph.nodes().len(), 2);
}

#[test]
fn every_lie_is_told_by_name() {
    let relu = || node("Relu", &["x"], "y", vec![]);
    let with = |op: &str, inputs: &[&str], attributes, initializers| {
        model(vec![node(op, inputs, "y", attributes)], initializers)
    };
    let graph = |change: &dyn Fn(&mut GraphProto)| {
        let mut m = model(vec![relu()], vec![]);
        change(m.graph.as_mut().unwrap());
        m
    };
    let huge = i64::MAX / 2;
    let raw = |dims: &[i64], bytes: usize| TensorProto {
        raw_data: Some(vec![0; bytes].into()),
        ..floats("w", dims, &[])
    };
    let cases: Vec<(&str, ModelProto, &str)> = vec![
        ("no graph", ModelProto::default(), "has no graph"),
        (
            "old opset",
            ModelProto {
                opset_import: vec![],
                ..model(vec![relu()], vec![])
            },
            "uses opset 1",
        ),
        (
            "unknown operator",
            with("Einsum", &["x"], vec![], vec![]),
            "operator Einsum of node 'y'",
        ),
        (
            "a loop",
            with("Loop", &["x"], vec![], vec![]),
            "operator Loop of node 'y'",
        ),
        (
            "missing input",
            with("Relu", &["z"], vec![], vec![]),
            "needs 'z'",
        ),
        (
            "its own input",
            with("Relu", &["y"], vec![], vec![]),
            "needs 'y'",
        ),
        (
            "no input at all",
            with("Relu", &[], vec![], vec![]),
            "has no input 0",
        ),
        (
            "a cycle",
            model(
                vec![
                    node("Relu", &["b"], "a", vec![]),
                    node("Relu", &["a"], "b", vec![]),
                ],
                vec![],
            ),
            "needs 'b'",
        ),
        (
            "two values of one name",
            model(vec![relu(), relu()], vec![]),
            "two values are named 'y'",
        ),
        (
            "no value",
            with("Relu", &["x"], vec![], vec![list("y", &[1])]),
            "two values are named 'y'",
        ),
        (
            "missing output",
            graph(&|g| g.output = vec![input("q", &[])]),
            "output 'q' is made by no node",
        ),
        ("no outputs", graph(&|g| g.output.clear()), "has no outputs"),
        (
            "an empty input",
            graph(&|g| g.input = vec![input("x", &[1, 0])]),
            "has size 0 on axis 1",
        ),
        (
            "a negative input",
            graph(&|g| g.input = vec![input("x", &[1, -7])]),
            "has size -7 on axis 1",
        ),
        (
            "an open height",
            graph(&|g| g.input = vec![input("x", &[1, 3, -1, 4])]),
            "leaves axis 2 open",
        ),
        (
            "an enormous input",
            graph(&|g| g.input = vec![input("x", &[huge, huge])]),
            "more than can be addressed",
        ),
        (
            "a large claim",
            with("Add", &["x", "w"], vec![], vec![raw(&[huge], 12)]),
            "holds 12 bytes",
        ),
        (
            "an enormous claim",
            with("Add", &["x", "w"], vec![], vec![raw(&[huge, huge], 12)]),
            "more than can be addressed",
        ),
        (
            "a negative claim",
            with("Add", &["x", "w"], vec![], vec![raw(&[-4], 16)]),
            "negative size",
        ),
        (
            "three quarters of a float",
            with("Add", &["x", "w"], vec![], vec![raw(&[4], 15)]),
            "holds 15 bytes",
        ),
        (
            "too few listed",
            with("Add", &["x", "w"], vec![], vec![floats("w", &[4], &[1.0])]),
            "holds 1 elements",
        ),
        (
            "an empty axis",
            with(
                "Add",
                &["x", "w"],
                vec![],
                vec![floats("w", &[0, huge], &[])],
            ),
            "empty axis",
        ),
        (
            "complex numbers",
            with(
                "Add",
                &["x", "w"],
                vec![],
                vec![TensorProto {
                    data_type: Some(14),
                    ..list("w", &[1])
                }],
            ),
            "elements of type 14",
        ),
        (
            "an enormous constant",
            with(
                "ConstantOfShape",
                &["s"],
                vec![],
                vec![list("s", &[1 << 20, 1 << 20])],
            ),
            "more constant elements",
        ),
        (
            "an enormous range",
            with(
                "Range",
                &["a", "b", "c"],
                vec![],
                vec![list("a", &[0]), list("b", &[1 << 31]), list("c", &[1])],
            ),
            "more constant elements",
        ),
        (
            "an enormous expansion",
            with(
                "Expand",
                &["w", "s"],
                vec![],
                vec![floats("w", &[1], &[1.0]), list("s", &[1 << 40])],
            ),
            "more constant elements",
        ),
        (
            "a small column and a small row that make an enormous table",
            with(
                "Add",
                &["a", "b"],
                vec![],
                vec![
                    TensorProto {
                        dims: vec![8192, 1],
                        ..list("a", &[1; 8192])
                    },
                    list("b", &[1; 8192]),
                ],
            ),
            "more constant elements",
        ),
        (
            "an enormous resize",
            with(
                "Resize",
                &["x", "", "", "s"],
                vec![],
                vec![list("s", &[1, 3, huge, huge])],
            ),
            "resizes axis 0",
        ),
        (
            "a reshape that does not fit",
            with("Reshape", &["x", "s"], vec![], vec![list("s", &[0, 7, -1])]),
            "do not fill",
        ),
        (
            "a reshape below zero",
            with("Reshape", &["x", "s"], vec![], vec![list("s", &[0, -5])]),
            "size -5",
        ),
        (
            "a transpose to nowhere",
            with(
                "Transpose",
                &["x"],
                vec![ints("perm", &[0, 1, 2, 9])],
                vec![],
            ),
            "not a permutation",
        ),
        (
            "an axis beyond",
            with("Softmax", &["x"], vec![int("axis", i64::MIN)], vec![]),
            "is not one of 4",
        ),
        (
            "a division by zero",
            model(
                vec![
                    node("Div", &["s", "t"], "q", vec![]),
                    node("Reshape", &["x", "q"], "y", vec![]),
                ],
                vec![list("s", &[4]), list("t", &[0])],
            ),
            "Div 'q'",
        ),
        (
            "a convolution without groups",
            with(
                "Conv",
                &["x", "w"],
                vec![int("group", 0)],
                vec![floats("w", &[1, 3, 1, 1], &[1.0; 3])],
            ),
            "has 0 groups",
        ),
        (
            "a convolution of another rank",
            with(
                "Conv",
                &["x", "w"],
                vec![],
                vec![floats("w", &[3], &[1.0; 3])],
            ),
            "does not fit 2 spatial axes",
        ),
        (
            "enormous strides",
            with(
                "Conv",
                &["x", "w"],
                vec![ints("dilations", &[huge, huge]), ints("pads", &[huge; 4])],
                vec![floats("w", &[1, 3, 1, 1], &[1.0; 3])],
            ),
            "Conv 'y'",
        ),
        (
            "a pool without size",
            with(
                "MaxPool",
                &["x"],
                vec![ints("kernel_shape", &[0, 0])],
                vec![],
            ),
            "must be above zero",
        ),
        (
            "a step of zero",
            with(
                "Slice",
                &["x", "s", "e", "a", "z"],
                vec![],
                vec![
                    list("s", &[0]),
                    list("e", &[9]),
                    list("a", &[1]),
                    list("z", &[0]),
                ],
            ),
            "step of 0",
        ),
        (
            "a gather beyond",
            with(
                "Gather",
                &["x", "i"],
                vec![int("axis", 1)],
                vec![list("i", &[i64::MIN])],
            ),
            "is not one of 3",
        ),
        (
            "an error function alone",
            model(
                vec![
                    node("Erf", &["x"], "e", vec![]),
                    node("Add", &["e", "x"], "y", vec![]),
                ],
                vec![],
            ),
            "outside of GELU",
        ),
    ];
    let mut failures = Vec::new();
    for (name, model, want) in &cases {
        let got = message(model);
        if !got.contains(want) || !got.contains("hostile.onnx") || got.contains('\n') {
            failures.push(format!("{name}: '{got}' does not say '{want}'"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn functions_are_put_in_place_of_their_calls_within_bounds() {
    let function = |name: &str, nodes: Vec<NodeProto>| FunctionProto {
        name: Some(name.into()),
        domain: Some("own".into()),
        input: vec!["a".into()],
        output: vec!["b".into()],
        node: nodes,
        ..FunctionProto::default()
    };
    let call = |name: &str, from: &str, to: &str| NodeProto {
        domain: Some("own".into()),
        ..node(name, &[from], to, vec![])
    };
    let refer = AttributeProto {
        name: Some("alpha".into()),
        ref_attr_name: Some("slope".into()),
        ..AttributeProto::default()
    };
    let slope = AttributeProto {
        name: Some("slope".into()),
        f: Some(0.25),
        ..AttributeProto::default()
    };
    let mut twice = model(vec![call("twice", "x", "y")], vec![]);
    twice.graph.as_mut().unwrap().node[0].attribute = vec![slope];
    let leaky = |from: &str, to: &str| node("LeakyRelu", &[from], to, vec![refer.clone()]);
    twice.functions = vec![function("twice", vec![leaky("a", "t"), leaky("t", "b")])];
    let graph = from_bytes("twice.onnx", &twice.encode_to_vec()).unwrap();
    let slope = slicewise_graph::Activation::LeakyRelu { slope: 0.25 };
    let leaky = graph
        .nodes()
        .iter()
        .filter(|n| n.op == slicewise_graph::Op::Activation(slope));
    assert_eq!(leaky.count(), 2);

    let mut endless = model(vec![call("f", "x", "y")], vec![]);
    endless.functions = vec![function("f", vec![call("f", "a", "b")])];
    assert!(
        message(&endless).contains("too deeply"),
        "{}",
        message(&endless)
    );

    // Each calls the next one thrice: 3^14 nodes if nobody counted.
    let mut growing = model(vec![call("f0", "x", "y")], vec![]);
    growing.functions = (0..14)
        .map(|i| {
            let next = format!("f{}", i + 1);
            let calls = [
                call(&next, "a", "s"),
                call(&next, "s", "t"),
                call(&next, "t", "b"),
            ];
            function(&format!("f{i}"), calls.to_vec())
        })
        .chain([function("f14", vec![node("Relu", &["a"], "b", vec![])])])
        .collect();
    let got = message(&growing);
    assert!(
        got.contains("by its functions") || got.contains("too often"),
        "{got}"
    );
}

#[test]
fn a_small_file_of_a_million_empty_nodes_is_refused_before_memory_is_set_aside() {
    let mut graph = Vec::new();
    for _ in 0..1_100_000 {
        graph.extend([0x0a, 0x00]);
    }
    let mut bytes = vec![0x3a];
    prost::encoding::encode_varint(graph.len() as u64, &mut bytes);
    bytes.extend(graph);
    let error = from_bytes("many.onnx", &bytes).unwrap_err().to_string();
    assert!(error.contains("more than 1000000 nodes"), "{error}");
}

#[test]
fn what_cannot_be_written_leaves_nothing_behind() {
    let mut graph = Graph::new("empty");
    let x = graph.input("x", Shape::new(&[2, 3]), DType::F32).unwrap();
    let w = graph
        .parameter("fc.weight", &[4, 3], Role::Trainable)
        .unwrap();
    let y = graph.add("y", Op::Linear, &[x, w]).unwrap();
    graph.set_outputs([y]);
    let folder = tempfile::tempdir().unwrap();
    let error = crate::write(&graph, &folder.path().join("m.onnx"))
        .unwrap_err()
        .to_string();
    assert!(error.contains("'fc.weight' has no data"), "{error}");
    graph
        .load(|_, sizes| Ok::<_, GraphError>(Tensor::from_fn(sizes, |_| 1.0)))
        .unwrap();
    let absent = folder.path().join("absent/m.onnx");
    let error = crate::write(&graph, &absent).unwrap_err().to_string();
    assert!(error.contains("absent"), "{error}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn long_values_are_not_multiplied_by_long_chains() {
    let chain = |op: &str, length: usize, first: &str| -> Vec<NodeProto> {
        let name = |i: usize| {
            if i == 0 {
                first.to_owned()
            } else {
                format!("v{i}")
            }
        };
        let nodes = (0..length).map(|i| node(op, &[&name(i)], &name(i + 1), vec![]));
        nodes.collect()
    };
    let truths = TensorProto {
        data_type: Some(DataType::Bool as i32),
        dims: vec![60_000],
        raw_data: Some(vec![1; 60_000].into()),
        name: Some("t".into()),
        ..TensorProto::default()
    };
    let ints = model(chain("Not", 5_000, "t"), vec![truths]);
    let got = message(&ints);
    assert!(got.contains("justif"), "{got}");

    let ones = list("s", &[1; 500]);
    let mut deep = vec![node("Reshape", &["x", "s"], "v0", vec![])];
    deep.extend(chain("Relu", 10, "v0"));
    deep[0].input[0] = "one".into();
    let got = message(&model(deep, vec![ones, floats("one", &[1], &[1.0])]));
    assert!(got.contains("500 axes"), "{got}");
}
