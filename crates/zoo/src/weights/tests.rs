//! Keys without elements: what a matching makes of whole state dicts.

use std::collections::BTreeMap;

use safetensors::Dtype;
use safetensors::tensor::TensorInfo;

use super::matching::Matching;
use crate::{Decoder, Form, Options, build, encoder_names, model_names};

/// The state dict of a model as a file would hold it.
fn file_of(model: &str, form: Form) -> BTreeMap<String, TensorInfo> {
    let graph = build(model, &Options::default().form(form)).unwrap();
    let parameters = graph.parameters();
    let stored = parameters.filter(|(_, p)| p.role != slicewise_graph::Role::Constant);
    stored
        .map(|(node, _)| (node.name.clone(), info(&node.shape.sizes().unwrap())))
        .collect()
}

fn info(shape: &[usize]) -> TensorInfo {
    TensorInfo {
        dtype: Dtype::F32,
        shape: shape.to_vec(),
        data_offsets: (0, 0),
    }
}

fn matching(model: &str, form: Form, file: &BTreeMap<String, TensorInfo>) -> Matching {
    let graph = build(model, &Options::default().form(form)).unwrap();
    Matching::new(&graph, file)
}

#[test]
fn every_model_takes_its_own_state_dict_and_leaves_nothing() {
    let mut failures = Vec::new();
    for model in model_names() {
        for form in [Form::Train, Form::Deploy] {
            let file = file_of(&model, form);
            let m = matching(&model, form, &file);
            let all = m.sources.len() == file.len() && m.ignored.is_empty() && !m.encoder_only;
            if let Some(problems) = m.problems().or((!all).then(|| "not all".into())) {
                failures.push(format!("{model}, {form:?}: {problems}"));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn every_classifier_checkpoint_loads_into_its_encoder_and_only_its_head_is_left() {
    let mut failures = Vec::new();
    for encoder in encoder_names() {
        for form in [Form::Train, Form::Deploy] {
            let mut file = file_of(encoder, form);
            file.insert("bn1.num_batches_tracked".into(), info(&[]));
            for suffix in ["features", Decoder::Fpn.name(), Decoder::Unet.name()] {
                let model = format!("{encoder}+{suffix}");
                if build(&model, &Options::default()).is_err() {
                    continue;
                }
                let m = matching(&model, form, &file);
                let complete = m.sources.len() + m.ignored.len() == file.len()
                    && !m.ignored.is_empty()
                    && m.encoder_only == (suffix != "features");
                if let Some(problems) = m.problems().or((!complete).then(|| "incomplete".into())) {
                    failures.push(format!("{model}, {form:?}: {problems}"));
                }
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn an_encoder_that_merely_contains_the_wanted_one_is_refused() {
    // Every tensor of ResNet-18 is in ResNet-34 too, of the same shape.
    let file = file_of("resnet34", Form::Train);
    let problems = matching("resnet18+fpn", Form::Train, &file).problems();
    let problems = problems.expect("a ResNet-34 is no ResNet-18");
    assert!(
        problems.contains("unexpected: layer1.2.bn1.bias"),
        "{problems}"
    );
    assert!(!problems.contains("missing"), "{problems}");
}

#[test]
fn nnunets_second_names_stand_in_for_the_first_and_are_ignored_beside_them() {
    let firsts = file_of("totalsegmentator", Form::Train);
    let alias = |key: &str| {
        let key = key
            .replace(".conv.", ".all_modules.0.")
            .replace(".norm.", ".all_modules.1.");
        let encoder = key.strip_prefix("encoder.");
        encoder.map_or(key.clone(), |rest| format!("decoder.encoder.{rest}"))
    };
    let seconds: BTreeMap<_, _> = firsts.iter().map(|(k, v)| (alias(k), v.clone())).collect();
    let mut both = firsts.clone();
    both.extend(seconds.clone());
    for (what, file, ignored) in [
        ("second names alone", &seconds, 0),
        ("both", &both, both.len() - firsts.len()),
    ] {
        let m = matching("totalsegmentator", Form::Train, file);
        assert_eq!(m.problems(), None, "{what}");
        assert_eq!(m.sources.len(), firsts.len(), "{what}");
        assert_eq!(m.ignored.len(), ignored, "{what}");
    }
    let m = matching("totalsegmentator", Form::Train, &both);
    assert!(m.sources.iter().all(|(name, key)| name == key));
}
