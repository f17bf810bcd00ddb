//! Weights files as people have them, and as they break.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use safetensors::tensor::TensorView;
use safetensors::{Dtype, serialize, serialize_to_file};
use slicewise_graph::{Graph, Role, Tensor};
use slicewise_zoo::{
    Form, Loaded, Options, ZooError, build, build_with_weights, check_safetensors, fill,
    load_safetensors,
};
use tempfile::TempDir;

/// A tensor as it is written: key, element type, sizes, bytes.
type Entry = (String, Dtype, Vec<usize>, Vec<u8>);

const SMALL: &str = "mobilenetv3_small_100";

/// A value that every float type holds exactly and the deterministic fill hardly ever makes.
fn value(name: &str, i: usize) -> f32 {
    ((i * 7 + name.len()) % 61) as f32 * 0.5 - 12.0
}

fn encode(dtype: Dtype, v: f32) -> Vec<u8> {
    // The upper half of an f32 is its bf16; the values above have a short significand.
    match dtype {
        Dtype::F32 => v.to_le_bytes().to_vec(),
        Dtype::F64 => f64::from(v).to_le_bytes().to_vec(),
        Dtype::BF16 => ((v.to_bits() >> 16) as u16).to_le_bytes().to_vec(),
        Dtype::F16 => {
            let (sign, magnitude) = (v.to_bits() >> 16 & 0x8000, v.to_bits() & 0x7fff_ffff);
            let half = if magnitude == 0 {
                0
            } else {
                (magnitude >> 13) - (112 << 10)
            };
            ((sign | half) as u16).to_le_bytes().to_vec()
        }
        _ => unreachable!("not a float"),
    }
}

fn entry(name: &str, key: &str, sizes: &[usize], dtype: Dtype) -> Entry {
    let n = sizes.iter().product();
    let bytes = (0..n).flat_map(|i| encode(dtype, value(name, i))).collect();
    (key.to_owned(), dtype, sizes.to_vec(), bytes)
}

/// The state dict of a graph with [`value`]s, its keys changed by `rename`.
fn entries(graph: &Graph, dtype: Dtype, rename: impl Fn(&str) -> String) -> Vec<Entry> {
    let parameters = graph.parameters().filter(|(_, p)| p.role != Role::Constant);
    parameters
        .map(|(node, _)| {
            let sizes = node.shape.sizes().unwrap();
            entry(&node.name, &rename(&node.name), &sizes, dtype)
        })
        .collect()
}

fn views(entries: &[Entry]) -> Vec<(&str, TensorView<'_>)> {
    entries
        .iter()
        .map(|(key, dtype, sizes, bytes)| {
            let view = TensorView::new(*dtype, sizes.clone(), bytes).unwrap();
            (key.as_str(), view)
        })
        .collect()
}

/// A folder that is removed at the end, and a file in it.
fn save(entries: &[Entry]) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("weights.safetensors");
    serialize_to_file(views(entries), None, &file).unwrap();
    (folder, file)
}

fn model(name: &str) -> Graph {
    build(name, &Options::default()).unwrap()
}

fn load(graph: &mut Graph, entries: &[Entry]) -> Result<Loaded, ZooError> {
    let (_folder, file) = save(entries);
    load_safetensors(graph, &file)
}

/// The parameters, of those that `of` names, that do not hold their [`value`]s under the name
/// that `of` gives.
fn wrong(graph: &Graph, of: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let parameters = graph.parameters().filter(|(_, p)| p.role != Role::Constant);
    parameters
        .filter(|(node, p)| {
            let Some(name) = of(&node.name) else {
                return false;
            };
            let data = p.data.as_ref().and_then(Tensor::as_f32);
            !data.is_some_and(|d| d.iter().enumerate().all(|(i, v)| *v == value(&name, i)))
        })
        .map(|(node, _)| node.name.clone())
        .collect()
}

fn own(name: &str) -> Option<String> {
    Some(name.to_owned())
}

#[test]
fn every_float_type_and_every_wrappers_prefix_loads() {
    let graph = model("mobilenetv3_small_100+fpn");
    let prefixes = [
        "",
        "module.",
        "_orig_mod.",
        "_orig_mod.module.",
        "module._orig_mod.",
    ];
    for (i, dtype) in [Dtype::F32, Dtype::F16, Dtype::BF16, Dtype::F64, Dtype::F32]
        .into_iter()
        .enumerate()
    {
        let mut file = entries(&graph, dtype, |key| format!("{}{key}", prefixes[i]));
        let counter = format!("{}encoder.bn1.num_batches_tracked", prefixes[i]);
        file.push((counter.clone(), Dtype::I64, vec![], vec![0; 8]));
        let mut loaded = graph.clone();
        let report = load(&mut loaded, &file).unwrap();
        assert_eq!(wrong(&loaded, own), Vec::<String>::new(), "{dtype}");
        assert_eq!(report.matched, file.len() - 1);
        assert_eq!(report.ignored, [counter]);
        assert!(!report.encoder_only);
    }
}

#[test]
fn a_part_that_was_compiled_alone_loads() {
    let mut graph = model("mobilenetv3_small_100+fpn");
    let inside = |key: &str| key.replacen("encoder.", "encoder._orig_mod.", 1);
    let file = entries(&graph, Dtype::F32, inside);
    load(&mut graph, &file).unwrap();
    assert_eq!(wrong(&graph, own), Vec::<String>::new());
}

#[test]
fn a_classifier_checkpoint_fills_the_encoder_and_the_decoder_gets_the_fill() {
    // One family whose features_only wrapper keeps the keys and one where it flattens them.
    for (encoder, name) in [
        (SMALL, (|name: &str| name.to_owned()) as fn(&str) -> String),
        ("edgenext_x_small", |name| name.replacen('_', ".", 1)),
    ] {
        let file = entries(&model(encoder), Dtype::F32, |key| format!("module.{key}"));
        let mut graph = model(&format!("{encoder}+fpn"));
        let report = load(&mut graph, &file).unwrap();
        assert!(report.encoder_only, "{encoder}");
        let head = report.ignored.iter().any(|key| key.ends_with("weight"));
        assert!(head, "{encoder}: {:?}", report.ignored);
        let of = |key: &str| key.strip_prefix("encoder.").map(name);
        assert_eq!(wrong(&graph, of), Vec::<String>::new(), "{encoder}");

        let mut filled = model(&format!("{encoder}+fpn"));
        fill(&mut filled).unwrap();
        for ((node, got), (_, want)) in graph.parameters().zip(filled.parameters()) {
            if node.name.starts_with("decoder.") {
                assert_eq!(got.data, want.data, "{}", node.name);
            }
        }
    }
}

#[test]
fn a_decoder_that_has_weights_keeps_them_when_an_encoder_is_loaded() {
    let mut graph = model("mobilenetv3_small_100+fpn");
    let whole = entries(&graph, Dtype::F32, str::to_owned);
    load(&mut graph, &whole).unwrap();
    let encoder = entries(&model(SMALL), Dtype::F32, str::to_owned);
    assert!(load(&mut graph, &encoder).unwrap().encoder_only);
    let of = |key: &str| key.starts_with("decoder.").then(|| key.to_owned());
    assert_eq!(wrong(&graph, of), Vec::<String>::new());
}

#[test]
fn a_features_only_state_dict_loads_without_its_prefix() {
    let mut graph = model("edgenext_x_small+fpn");
    let bare = |name: &str| name.strip_prefix("encoder.").map(str::to_owned);
    let mut file = entries(&graph, Dtype::F32, str::to_owned);
    file.retain(|(key, ..)| key.starts_with("encoder."));
    for (key, ..) in &mut file {
        *key = bare(key).unwrap();
    }
    let report = load(&mut graph, &file).unwrap();
    assert!(report.encoder_only && report.ignored.is_empty());
    let of = |key: &str| key.starts_with("encoder.").then(|| key.to_owned());
    assert_eq!(wrong(&graph, of), Vec::<String>::new());
}

#[test]
fn the_file_decides_the_form_and_the_classes() {
    let cases = [
        ("mobileone_s1", Form::Deploy, "mobileone_s1", 1000),
        ("mobileone_s1", Form::Deploy, "mobileone_s1+fpn", 117),
        ("mobileone_s1", Form::Train, "mobileone_s1+fpn", 117),
        (
            "mobilenetv3_small_100+fpn",
            Form::Train,
            "mobilenetv3_small_100+fpn",
            7,
        ),
        (SMALL, Form::Train, SMALL, 3),
    ];
    for (stored, form, name, classes) in cases {
        let written = Options::default().form(form).classes(classes);
        let file = entries(&build(stored, &written).unwrap(), Dtype::F16, str::to_owned);
        let (_folder, file) = save(&file);
        // Neither what was asked for as form, nor the default number of classes.
        for asked in [Form::Train, Form::Deploy] {
            let options = Options::default().form(asked);
            let (graph, report) = build_with_weights(name, &options, &file).unwrap();
            let merged = graph.parameters().any(|(n, _)| n.name.contains("reparam"));
            assert_eq!(merged, form == Form::Deploy, "{stored} for {name}");
            let want = Some(classes.to_string());
            assert_eq!(graph.metadata.get("classes").cloned(), want, "{name}");
            assert_eq!(report.encoder_only, stored != name);
        }
    }
}

#[test]
fn classes_that_are_asked_for_must_be_the_files() {
    let options = Options::default().classes(7);
    let seven = build("mobilenetv3_small_100+fpn", &options).unwrap();
    let (_folder, file) = save(&entries(&seven, Dtype::F16, str::to_owned));
    let asked = Options::default().classes(5);
    let error = build_with_weights("mobilenetv3_small_100+fpn", &asked, &file).unwrap_err();
    let text = error.to_string();
    let due = "decoder.seg_head.3.weight [7, 128, 1, 1] where [5, 128, 1, 1] is due";
    assert!(
        text.contains(due) && text.contains("2 of another shape"),
        "{text}"
    );
}

#[test]
fn all_that_differs_is_listed_at_once() {
    let mut graph = model(SMALL);
    let mut file = entries(&graph, Dtype::F32, str::to_owned);
    let place = |file: &[Entry], key: &str| file.iter().position(|e| e.0 == key).unwrap();
    let i = place(&file, "conv_stem.weight");
    file[i].2.swap(0, 1);
    let i = place(&file, "bn1.weight");
    file[i].1 = Dtype::I32;
    file.remove(place(&file, "classifier.bias"));
    file.push(entry("x", "module.bn1.bias", &[16], Dtype::F32));
    for i in 0..25 {
        file.push(entry("x", &format!("extra.{i:02}\n"), &[1], Dtype::F32));
    }
    let text = load(&mut graph, &file).unwrap_err().to_string();
    for part in [
        "weights.safetensors does not fit mobilenetv3_small_100: ",
        "1 missing: classifier.bias; ",
        "25 unexpected: extra.00\u{fffd}, ",
        "extra.19\u{fffd} and 5 more; ",
        "1 of another shape: conv_stem.weight [3, 16, 3, 3] where [16, 3, 3, 3] is due",
        "1 not of F32, F16, BF16 and F64: bn1.weight I32",
        "1 two keys of one parameter: bn1.bias and module.bn1.bias",
    ] {
        assert!(text.contains(part), "'{part}' is not in: {text}");
    }
    assert!(!text.contains('\n'), "{text}");
    let untouched = graph.parameters().all(|(_, p)| p.data.is_none());
    assert!(untouched, "a file that does not fit must change nothing");
}

/// A file of this header, stated to have `length` bytes, and `data` zeros.
fn file(length: u64, header: &str, data: usize) -> Vec<u8> {
    let mut bytes = length.to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend(vec![0; data]);
    bytes
}

#[test]
fn hostile_and_damaged_files_are_told_apart() {
    let own = |header: &str, data: usize| file(header.len() as u64, header, data);
    let tensor = |dtype: &str, shape: &str, from: u64, to: u64| {
        format!(r#"{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{from},{to}]}}"#)
    };
    let a = tensor("F32", "[1]", 0, 4);
    let huge = tensor("F32", "[4611686018427387904]", 0, 1 << 63);
    let overflow = tensor("F32", "[4294967296,4294967296,4294967296]", 0, 4);
    let negative = r#"{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}"#;
    let unknown = tensor("Q3_K", "[1]", 0, 4);
    let nested = format!("{}1{}", r#"{"a":"#.repeat(5000), "}".repeat(5000));
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("empty", vec![], "no safetensors file: it has 0 bytes"),
        ("seven bytes", vec![1; 7], "it has 7 bytes"),
        (
            "header beyond the end",
            file(9, "{}", 0),
            "announces a header of 9",
        ),
        (
            "endless header",
            file(u64::MAX, "{}", 0),
            "announces a header of 18446744073709551615",
        ),
        (
            "zip",
            b"PK\x03\x04\x00\x00\x00\x00\x00".to_vec(),
            "is a zip archive",
        ),
        ("no header", own("", 0), "damaged header"),
        ("no json", own("{\"a\"", 0), "damaged header"),
        (
            "no utf-8",
            [&own("{\"a\":1}", 0)[..8], b"{\"\xff\":1}"].concat(),
            "damaged header",
        ),
        ("an array", own("[]", 0), "damaged header"),
        ("deep nesting", own(&nested, 0), "damaged header"),
        (
            "a key twice",
            own(&format!(r#"{{"a":{a},"a":{a}}}"#), 4),
            "the key 'a' comes twice",
        ),
        (
            "an unknown type",
            own(&format!(r#"{{"a":{unknown}}}"#), 4),
            "Q3_K",
        ),
        ("a negative size", own(negative, 4), "damaged header"),
        (
            "a product that overflows",
            own(&format!(r#"{{"a":{overflow}}}"#), 4),
            "damaged header",
        ),
        (
            "more than there is",
            own(&format!(r#"{{"a":{a}}}"#), 3),
            "need 4 bytes, it has 3",
        ),
        (
            "less than there is",
            own(&format!(r#"{{"a":{a}}}"#), 5),
            "need 4 bytes, it has 5",
        ),
        (
            "a huge tensor",
            own(&format!(r#"{{"a":{huge}}}"#), 4),
            "damaged header",
        ),
        (
            "overlap",
            own(
                &format!(r#"{{"a":{a},"b":{}}}"#, tensor("F32", "[1]", 2, 6)),
                6,
            ),
            "damaged header",
        ),
        (
            "a hole",
            own(
                &format!(r#"{{"a":{a},"b":{}}}"#, tensor("F32", "[1]", 8, 12)),
                12,
            ),
            "damaged header",
        ),
        (
            "sizes that are not the offsets'",
            own(&format!(r#"{{"a":{}}}"#, tensor("F32", "[3]", 0, 4)), 4),
            "damaged header",
        ),
    ];
    let mut failures = Vec::new();
    for (what, bytes, want) in cases {
        match check_safetensors(&bytes) {
            Ok(n) => failures.push(format!("{what}: {n} tensors were read")),
            Err(e) => {
                let text = e.to_string();
                if !text.contains(want) || text.contains('\n') {
                    failures.push(format!("{what}: '{text}' lacks '{want}'"));
                }
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert_eq!(check_safetensors(&own("{}", 0)).unwrap(), 0);
    let good = own(&format!(r#"{{"a":{a},"__metadata__":{{"k":"v"}}}}"#), 4);
    assert_eq!(check_safetensors(&good).unwrap(), 1);
}

#[test]
fn a_path_that_is_no_file_is_an_error_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut graph = model(SMALL);
    for path in [folder.path(), Path::new("there/is/no.safetensors")] {
        let error = load_safetensors(&mut graph, path).unwrap_err();
        let text = error.to_string();
        let name = path.display().to_string();
        assert!(
            text.starts_with(&name) && text.contains("cannot be opened"),
            "{text}"
        );
    }
}

/// A small file of several types, and a graph that it fits.
fn sample() -> (Vec<u8>, Graph) {
    let mut graph = Graph::new("sample");
    let sizes: [(&str, &[usize], Dtype); 4] = [
        ("a.weight", &[2, 3], Dtype::F32),
        ("a.bias", &[3], Dtype::F16),
        ("b.weight", &[4], Dtype::BF16),
        ("b.bias", &[1], Dtype::F64),
    ];
    let mut entries = Vec::new();
    for (name, shape, dtype) in sizes {
        graph.parameter(name, shape, Role::Trainable).unwrap();
        entries.push(entry(name, name, shape, dtype));
    }
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    (serialize(views(&entries), Some(metadata)).unwrap(), graph)
}

#[test]
fn no_cut_or_flipped_file_makes_the_reader_panic() {
    let (bytes, graph) = sample();
    assert_eq!(check_safetensors(&bytes).unwrap(), 4);
    for length in 0..bytes.len() {
        let cut = check_safetensors(&bytes[..length]);
        assert!(cut.is_err(), "{length} of {} bytes were read", bytes.len());
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("flipped.safetensors");
    let mut loaded = 0;
    for i in 0..bytes.len() {
        for bit in 0..8 {
            let mut flipped = bytes.clone();
            flipped[i] ^= 1 << bit;
            let checked = check_safetensors(&flipped);
            // A flip inside a key, the metadata or the elements leaves a sound file.
            if checked.is_ok() {
                std::fs::write(&file, &flipped).unwrap();
                let mut graph = graph.clone();
                loaded += usize::from(load_safetensors(&mut graph, &file).is_ok());
            }
        }
    }
    assert!(loaded > 0, "elements may take any bits");
}
