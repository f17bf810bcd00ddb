//! Every model's state-dict keys and shapes against those of timm, nnU-Net and STU-Net, by a
//! fingerprint that `tools/reference/state_dicts.py` took in PyTorch.

use slicewise_graph::Role;
use slicewise_zoo::{Form, Options, build, model_names};

const TABLE: &str = include_str!("state_dicts.csv");

/// The number of tensors and the FNV-1a-64 hash of the lines `key d0xd1x…` in the keys' order.
fn fingerprint(model: &str, form: Form) -> (usize, u64) {
    let graph = build(model, &Options::default().form(form)).expect("the zoo builds its models");
    let tensors = graph.parameters().filter(|(_, p)| p.role != Role::Constant);
    let mut lines: Vec<String> = tensors
        .map(|(node, _)| {
            let sizes = node.shape.sizes().expect("parameters have fixed sizes");
            let sizes: Vec<String> = sizes.iter().map(usize::to_string).collect();
            format!("{} {}\n", node.name, sizes.join("x"))
        })
        .collect();
    lines.sort();
    let hash = lines.concat().bytes().fold(0xcbf2_9ce4_8422_2325, |h, b| {
        (h ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    (lines.len(), hash)
}

#[test]
fn every_model_has_the_keys_and_shapes_of_the_reference_state_dict() {
    let mut failures = Vec::new();
    let mut seen = Vec::new();
    for line in TABLE.lines().skip(1) {
        let cells: Vec<&str> = line.split(',').collect();
        let [model, form, tensors, hash] = cells[..] else {
            panic!("a line of the table: {line}");
        };
        let form = match form {
            "train" => Form::Train,
            _ => Form::Deploy,
        };
        let want = (
            tensors.parse().expect("a number of tensors"),
            u64::from_str_radix(hash, 16).expect("a hash"),
        );
        let got = fingerprint(model, form);
        if got != want {
            failures.push(format!(
                "{model}, {form:?}: got {got:x?}, expected {want:x?}"
            ));
        }
        if form == Form::Train {
            seen.push(model.to_owned());
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    let mut names = model_names();
    names.sort();
    seen.sort();
    assert_eq!(seen, names);
}
