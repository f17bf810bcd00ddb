//! The program as a person uses it: what it prints, what it writes, how it exits.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use slicewise_bench::record::{Record, Status};
use slicewise_graph::{DType, Tensor, npy};
use tempfile::TempDir;

/// The program with nothing of this machine's environment: no engine but the native one is found.
fn slicewise(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_slicewise"));
    command
        .current_dir(folder)
        .env_clear()
        .env("SLICEWISE_CACHE", folder.join("cache"));
    command
}

struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

fn ran(output: Output) -> Ran {
    Ran {
        code: output.status.code(),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

fn run_in(folder: &Path, line: &str) -> Ran {
    let output = slicewise(folder).args(line.split_whitespace()).output();
    ran(output.expect("the program starts"))
}

fn run(line: &str) -> Ran {
    let folder = TempDir::new().expect("a folder");
    run_in(folder.path(), line)
}

/// A folder with inputs: `x.npy` [1, 3, 32, 64], `v.npy` [1, 1, 32, 32, 32], `bytes.npy` of uint8, and
/// `torn.npy`, which ends in the middle.
fn folder_with_inputs() -> TempDir {
    let folder = TempDir::new().expect("a folder");
    let wave = |i: usize| (i as f32 * 0.37).sin();
    let write =
        |name: &str, tensor: &Tensor| npy::write(&folder.path().join(name), tensor).expect(name);
    write("x.npy", &Tensor::from_fn(&[1, 3, 32, 64], wave));
    write("v.npy", &Tensor::from_fn(&[1, 1, 32, 32, 32], wave));
    let bytes = Tensor::new(&[1, 3, 32, 64], vec![0u8; 3 * 32 * 64]).expect("sizes fit");
    write("bytes.npy", &bytes);
    let whole = fs::read(folder.path().join("x.npy")).expect("just written");
    fs::write(folder.path().join("torn.npy"), &whole[..whole.len() / 2]).expect("writable");
    folder
}

#[test]
fn bad_usage_exits_with_2_and_one_line_that_says_what_would_be_right() {
    let cases = [
        ("bench resnet18", "possible values: quick, encoders"),
        ("bench --models resnt18+fpn", "did you mean 'resnet18+fpn'"),
        ("bench fpn --models resnet18+unet", "give 'resnet18'"),
        ("bench --models vit_tiny_patch16_224+fpn", "has no +fpn"),
        (
            "bench --engines tensorrt",
            "there are: native, onnxruntime, openvino",
        ),
        ("bench --precision f16", "there are: f32, bf16, int8"),
        ("bench --task masks", "there are: logits, labels"),
        ("bench --size 512xx", "HxW for images"),
        ("bench --threads 0", "from 1 to 1024"),
        ("bench --seconds=-1", "--seconds"),
        ("bench --seconds nan", "--seconds"),
        ("bench --classes 0 --models resnet18+fpn", "classes"),
        ("bench --json --csv", "cannot be used with"),
        ("models show nonesuch", "'nonesuch' is not a model"),
        ("models show stunet_s --size 64", "spatial sizes"),
        (
            "models show totalsegmentator --size 33x32x32",
            "multiple of 32",
        ),
        ("models export resnet18+fpn", "--output <F.onnx>"),
        (
            "models export resnet18+fpn -o x.onnx --batch many",
            "'dynamic'",
        ),
        ("run resnet18+fpn --input x.npy", "--output"),
        ("profile resnt18+fpn", "did you mean 'resnet18+fpn'"),
        ("profile resnet18+fpn --runs 0", "1..=100000"),
        ("profile resnet18+fpn --by layer", "step, kernel"),
        ("profile resnet18+fpn --task masks", "logits, labels"),
        (
            "profile resnet18+fpn --engines native,tensorrt",
            "there are: native, onnxruntime, openvino",
        ),
        ("profile stunet_s --size 64", "spatial sizes"),
        ("profile x.onnx --size 64", "an ONNX file has its own"),
        ("kernels resnt18+fpn", "did you mean 'resnet18+fpn'"),
        ("kernels resnet18+fpn --threads 0", "from 1 to 1024"),
        ("kernels stunet_s --size 64", "spatial sizes"),
        ("engines add tensorrt", "there are: onnxruntime, openvino"),
        ("engines probe onnxruntime", "<PATH>"),
        ("completions tcl", "bash"),
        ("paint", "unrecognized subcommand"),
    ];
    let mut wrong = Vec::new();
    for (line, want) in cases {
        let Ran { code, out, err } = run(line);
        let one_line = err.starts_with("error: ") && err.trim_end().lines().count() == 1;
        if code != Some(2) || !one_line || !err.contains(want) || !out.is_empty() {
            wrong.push(format!(
                "{line}: exit {code:?}, want 2 and '{want}': {err}{out}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn what_fails_exits_with_1_and_one_line() {
    let folder = folder_with_inputs();
    fs::write(folder.path().join("file"), "").expect("writable");
    fs::write(folder.path().join("bad.onnx"), "no model").expect("writable");
    fs::write(folder.path().join("bad.safetensors"), "no weights").expect("writable");
    let to = "--output y.npy";
    let cases = [
        (
            format!("run resnet18+fpn --input none.npy {to}"),
            "none.npy",
        ),
        (
            format!("run resnet18+fpn --input torn.npy {to}"),
            "torn.npy",
        ),
        (
            format!("run resnet18+fpn --input bytes.npy {to}"),
            "float32",
        ),
        (
            format!("run resnet18+fpn --input v.npy {to}"),
            "takes [N, 3, H, W]",
        ),
        (
            format!("run stunet_s --input x.npy {to}"),
            "takes [N, 1, D, H, W]",
        ),
        (format!("run bad.onnx --input x.npy {to}"), "bad.onnx"),
        (
            format!("run resnet18+fpn --weights bad.safetensors --input x.npy {to}"),
            "bad.safetensors",
        ),
        (
            "run resnet18+fpn --input x.npy --output no/y.npy".into(),
            "no folder no",
        ),
        (
            format!("run resnet18+fpn --input x.npy {to} --engine openvino"),
            "slicewise engines add openvino",
        ),
        (
            "bench --engines openvino".into(),
            "slicewise engines add openvino",
        ),
        ("bench --models resnet18+fpn --out file".into(), "file"),
        (
            "models export resnet18+fpn --size 32 -o no/x.onnx".into(),
            "no/x.onnx",
        ),
        ("engines probe onnxruntime none.so".into(), "none.so"),
        ("profile bad.onnx".into(), "bad.onnx"),
        (
            "profile resnet18+fpn --size 32 --engines native,openvino".into(),
            "slicewise engines add openvino",
        ),
        (
            "profile resnet18 --size 32 --runs 1 --json file/x.json".into(),
            "file",
        ),
    ];
    let mut wrong = Vec::new();
    for (line, want) in cases {
        let Ran { code, err, .. } = run_in(folder.path(), &line);
        let errors: Vec<_> = err.lines().filter(|l| l.starts_with("error: ")).collect();
        let notes = err.lines().filter(|l| l.starts_with("note: ")).count();
        let one_line = errors.len() == 1 && errors.len() + notes == err.lines().count();
        if code != Some(1) || !one_line || !errors[0].contains(want) {
            wrong.push(format!("{line}: exit {code:?}, want 1 and '{want}': {err}"));
        }
    }
    assert!(
        !folder.path().join("y.npy").exists(),
        "nothing is written on failure"
    );
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_command_has_a_help_text_with_an_example() {
    let commands = [
        "",
        "bench",
        "models",
        "models list",
        "models show",
        "models export",
        "run",
        "profile",
        "kernels",
        "doctor",
        "engines",
        "engines list",
        "engines add",
        "engines probe",
        "completions",
    ];
    let missing: Vec<_> = commands
        .iter()
        .filter(|command| {
            let Ran { code, out, .. } = run(&format!("{command} --help"));
            let example = format!("  slicewise {command}");
            code != Some(0) || !out.contains("Example") || !out.contains(example.trim_end())
        })
        .collect();
    assert!(missing.is_empty(), "no example: {missing:?}");
    assert_eq!(
        run("--version").out.trim(),
        concat!("slicewise ", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn all_models_are_listed_with_their_parameters() {
    let Ran { code, out, .. } = run("models list --json");
    assert_eq!(code, Some(0));
    let models: Vec<Value> = serde_json::from_str(&out).expect("JSON");
    let of = |name: &str| models.iter().find(|m| m["name"] == name).expect("listed");
    let count = |kind: &str| models.iter().filter(|m| m["type"] == kind).count();
    assert_eq!((count("2D"), count("3D")), (52, 5));
    let small = of("mobilenetv4_conv_small");
    assert_eq!(small["parameters_train"], 3_774_024);
    assert_eq!(small["encoder_parameters_deploy"], 1_261_664);
    assert_eq!(small["fpn_parameters"], 2_162_901);
    assert_eq!(small["unet_parameters"], 4_316_405);
    assert_eq!(
        small["feature_channels"],
        serde_json::json!([32, 32, 64, 96, 960])
    );
    assert_eq!(
        small["feature_strides"],
        serde_json::json!([2, 4, 8, 16, 32])
    );
    assert_eq!(of("vit_tiny_patch16_224")["fpn_parameters"], Value::Null);
    assert_eq!(of("stunet_s")["parameters_deploy"], 14_602_953);
    let Ran { out, .. } = run("models list");
    assert_eq!(
        out.lines()
            .filter(|l| l.contains("  2D  ") || l.contains("  3D  "))
            .count(),
        57
    );
}

#[test]
fn a_model_is_shown_node_by_node() {
    let Ran { code, out, .. } = run("models show resnet18+fpn --size 64x96 --classes 5 --json");
    assert_eq!(code, Some(0));
    let shown: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(shown["output"][0], "[1, 5, 64, 96]");
    let nodes = shown["nodes"].as_array().expect("nodes");
    let sum: u64 = nodes.iter().filter_map(|n| n["macs"].as_u64()).sum();
    assert_eq!(Some(sum), shown["macs"].as_u64());
    assert!(sum > 100_000_000, "{sum}");
}

#[test]
fn an_exported_model_runs_like_the_model_itself() {
    let folder = folder_with_inputs();
    let export = run_in(
        folder.path(),
        "models export resnet18+fpn --size 32x64 --classes 4 -o r.onnx",
    );
    assert_eq!(export.code, Some(0), "{}", export.err);
    assert!(export.err.contains("deterministic fill"), "{}", export.err);
    for (model, output) in [("resnet18+fpn --classes 4", "a.npy"), ("r.onnx", "b.npy")] {
        let line = format!("run {model} --input x.npy --output {output}");
        let Ran { code, err, .. } = run_in(folder.path(), &line);
        assert_eq!(code, Some(0), "{err}");
    }
    let a = npy::read(&folder.path().join("a.npy")).expect("written");
    let b = npy::read(&folder.path().join("b.npy")).expect("written");
    assert_eq!(a.shape(), [1, 4, 32, 64]);
    let (a, b) = (a.as_f32().expect("logits"), b.as_f32().expect("logits"));
    let range = a.iter().fold(0f32, |m, v| m.max(v.abs()));
    let error = a.iter().zip(b).fold(0f32, |m, (a, b)| m.max((a - b).abs()));
    assert!(error <= 1e-5 * range, "{error} of {range}");
}

#[test]
fn labels_are_the_largest_logits_and_as_small_as_they_can_be() {
    let folder = folder_with_inputs();
    let line = |task: &str, classes: u32, output: &str| {
        let line = format!(
            "run mobilenetv4_conv_small+fpn --classes {classes} --input x.npy --task {task} --output {output}"
        );
        let Ran { code, err, .. } = run_in(folder.path(), &line);
        assert_eq!(code, Some(0), "{err}");
        npy::read(&folder.path().join(output)).expect("written")
    };
    let logits = line("logits", 7, "logits.npy");
    let labels = line("labels", 7, "labels.npy");
    assert_eq!((logits.dtype(), labels.dtype()), (DType::F32, DType::U8));
    assert_eq!(labels.shape(), [1, 32, 64]);
    let (slicewise_graph::TensorData::U8(labels), Some(logits)) = (labels.data(), logits.as_f32())
    else {
        panic!("types were checked");
    };
    let pixels = 32 * 64;
    let wrong = (0..pixels).filter(|p| {
        let at = |class: usize| logits[class * pixels + p];
        (0..7).any(|class| at(class) > at(labels[*p] as usize))
    });
    assert_eq!(wrong.count(), 0, "labels that are not the largest logit");
    assert_eq!(line("labels", 300, "many.npy").dtype(), DType::U16);
}

#[test]
fn repeating_a_run_prints_its_times() {
    let folder = folder_with_inputs();
    let line = "run mobilenetv4_conv_small+fpn --input x.npy --output y.npy --repeat 3 --threads 1";
    let Ran { code, out, err } = run_in(folder.path(), line);
    assert_eq!(code, Some(0), "{err}");
    let timing: Value = serde_json::from_str(&out).expect("JSON on standard output");
    assert_eq!(timing["ms"].as_array().map(Vec::len), Some(3));
    assert!(timing["load_ms"].as_f64() > Some(0.0), "{timing}");
    if cfg!(target_os = "linux") {
        assert!(
            timing["peak_rss_bytes"].as_u64() > Some(1 << 20),
            "{timing}"
        );
    }
}

/// A benchmark of two small arms.
const BENCH: &str = "bench --models mobilenetv4_conv_small+fpn,resnet18+fpn --size 32 --classes 3 \
                     --seconds 20 --rounds 3 --threads 1";

#[test]
fn a_profile_names_every_step_and_its_times_add_up() {
    let folder = TempDir::new().expect("a folder");
    let line = "profile mobilenetv4_conv_small+fpn --size 64x96 --classes 5 --runs 3 --json p.json";
    let Ran { code, out, err } = run_in(folder.path(), line);
    assert_eq!(code, Some(0), "{err}");
    for want in [
        "encoder.conv_stem",
        "(between)",
        "(total)",
        "GFLOP/s",
        "labels, input 1x3x64x96",
    ] {
        assert!(out.contains(want), "{want}: {out}");
    }
    let tables = out.split("\nmobilenetv4").next().expect("the tables");
    assert!(tables.lines().all(|l| l.chars().count() <= 120), "{out}");
    let text = fs::read_to_string(folder.path().join("p.json")).expect("written");
    let record: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(
        (&record["kind"], &record["schema"]),
        (&"slicewise-profile".into(), &1.into())
    );
    let native = &record["engines"][0];
    let operations = native["operations"].as_array().expect("a list");
    let ms = |v: &Value| v.as_f64().expect("a time");
    let sum: f64 = operations.iter().map(|o| ms(&o["ms"])).sum();
    assert!((sum + ms(&native["between_ms"]) - ms(&native["total_ms"])).abs() < 1e-9);
    let stem = &operations[0];
    // 32 filters of 3x3x3 at 32x48; input, weights, bias and result of f32.
    assert_eq!(stem["macs"], 32 * 27 * 32 * 48);
    assert_eq!(
        stem["bytes"],
        4 * (3 * 64 * 96 + 32 * 27 + 32 + 32 * 32 * 48)
    );
    assert!(
        stem["nodes"].as_array().expect("a list").len() > 1,
        "{stem}"
    );

    let Ran { code, out, .. } = run(&line.replace("p.json", "-"));
    assert_eq!(code, Some(0));
    assert!(serde_json::from_str::<Value>(&out).is_ok(), "{out}");
    let by_kernel = line.replace("--json p.json", "--by kernel");
    let Ran { code, out, .. } = run(&by_kernel);
    assert_eq!(code, Some(0));
    assert!(
        !out.contains("encoder.conv_stem") && out.contains("steps"),
        "{out}"
    );
}

#[test]
fn the_candidates_of_a_layer_are_timed_once_however_often_it_comes() {
    let Ran { code, out, err } = run("kernels resnet18+fpn --size 64 --threads 1");
    assert_eq!(code, Some(0), "{err}");
    let row = out.lines().find(|l| l.starts_with("3x3 s1 64>64 @16x16"));
    let cells: Vec<&str> = row
        .expect("a layer of the first stage")
        .split("  ")
        .collect();
    let cells: Vec<&str> = cells
        .into_iter()
        .map(str::trim)
        .filter(|c| !c.is_empty())
        .collect();
    assert_eq!(cells[1], "4", "{out}");
    assert!(cells.len() == 6 && cells[4].ends_with('%'), "{out}");
    assert!(out.lines().all(|l| l.chars().count() <= 120), "{out}");
}

#[test]
fn an_onnx_file_is_profiled_like_the_model_it_came_from() {
    let folder = TempDir::new().expect("a folder");
    let export = "models export resnet18+fpn --size 32 --classes 3 --batch dynamic -o m.onnx";
    assert_eq!(run_in(folder.path(), export).code, Some(0));
    let Ran { code, out, err } = run_in(folder.path(), "profile m.onnx --runs 1 --threads 1");
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("m.onnx to logits, input 1x3x32x32"), "{out}");
}

#[test]
fn a_benchmark_ends_with_a_ranked_table_and_files() {
    let folder = TempDir::new().expect("a folder");
    let Ran { code, out, err } = run_in(folder.path(), BENCH);
    assert_eq!(code, Some(0), "{err}");
    let rows = out.lines().filter(|l| l.starts_with(['1', '2']));
    let rows: Vec<_> = rows.collect();
    assert_eq!(rows.len(), 2, "{out}");
    assert!(
        out.contains("onnxruntime: not installed; run: slicewise engines add onnxruntime"),
        "{out}"
    );
    assert!(err.contains("wrote slicewise-bench/quick.json"), "{err}");

    let record = Record::load(&folder.path().join("slicewise-bench/quick.json")).expect("a record");
    assert!(record.complete && record.finished.is_some());
    let absent: Vec<_> = record.absent_engines.iter().map(|e| &*e.name).collect();
    assert!(
        absent.contains(&"onnxruntime") && absent.contains(&"openvino"),
        "{absent:?}"
    );
    assert_eq!(record.engines[0].name, "native");
    for arm in &record.arms {
        assert_eq!(arm.status, Status::Measured, "{:?}", arm.reason);
        assert_eq!(
            (arm.threads, arm.task.as_str(), arm.classes),
            (1, "labels", Some(3))
        );
        assert_eq!(arm.input, [1, 3, 32, 32]);
        assert!(arm.visits.len() == 3 && arm.load_ms.is_some() && arm.macs > Some(0));
        if cfg!(target_os = "linux") {
            assert!(arm.peak_rss_bytes > Some(1 << 20));
        }
    }
    let ranked = record.ranked();
    assert!(ranked[0].throughput >= ranked[1].throughput);
    assert!(rows[0].contains(&ranked[0].model), "{out}");
    let csv = fs::read_to_string(folder.path().join("slicewise-bench/quick.csv")).expect("CSV");
    assert_eq!(csv.lines().count(), 3);
}

#[test]
fn a_benchmark_prints_its_record_or_its_csv_where_asked() {
    let folder = TempDir::new().expect("a folder");
    let Ran { code, out, err } = run_in(folder.path(), &format!("{BENCH} --json --out results"));
    assert_eq!(code, Some(0), "{err}");
    assert_eq!(
        fs::read_to_string(folder.path().join("results/quick.json")).expect("a record"),
        out
    );
    let line =
        "bench combined --models lcnet_100 --size 32 --seconds 2 --rounds 1 --no-trials --csv";
    let Ran { code, out, err } = run_in(folder.path(), line);
    assert_eq!(code, Some(0), "{err}");
    let lines: Vec<_> = out.lines().collect();
    assert_eq!(
        lines[0],
        "encoder_name,decoder_type,total_params_m,encoder_params_m,decoder_params_m,throughput,memory_mb"
    );
    assert!(
        lines[1].starts_with("lcnet_100,FPN,1.877857,1.01616,0.861697,"),
        "{out}"
    );
    assert!(
        lines[2].starts_with("lcnet_100,UNet,4.069121,1.01616,3.052961,"),
        "{out}"
    );
    assert_eq!(lines.len(), 3, "{out}");
}

#[test]
fn an_arm_that_cannot_run_is_listed_with_its_reason() {
    let folder = TempDir::new().expect("a folder");
    // Plain code does not multiply bf16.
    let bench = |precision: &str| {
        let mut command = slicewise(folder.path());
        command.args(BENCH.split_whitespace());
        let command = command.args(["--precision", precision]);
        let output = command.env("SLICEWISE_ISA", "scalar").output();
        ran(output.expect("the program starts"))
    };
    let Ran { code, out, .. } = bench("f32,bf16");
    assert_eq!(code, Some(0));
    assert!(
        out.contains("resnet18+fpn, native bf16, 1 thread: skipped: "),
        "{out}"
    );
    let Ran { code, err, .. } = bench("bf16");
    assert_eq!(code, Some(1));
    assert!(err.contains("error: nothing could be measured"), "{err}");
}

#[test]
fn int8_is_quantized_before_it_is_measured() {
    let folder = TempDir::new().expect("a folder");
    let line = format!("{BENCH} --precision f32,int8 --no-trials");
    let Ran { code, out, err } = run_in(folder.path(), &line);
    assert_eq!(code, Some(0), "{err}");
    assert!(
        out.contains("native int8") && !out.contains("skipped"),
        "{out}"
    );
}

#[cfg(unix)]
#[test]
fn an_interrupted_benchmark_leaves_a_partial_record() {
    use std::process::Stdio;
    use std::time::{Duration, Instant};

    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("slicewise-bench/quick.json");
    let line = "bench --models mobilenetv4_conv_small+fpn --size 64 --seconds 600 --rounds 100000 --threads 1";
    let child = slicewise(folder.path())
        .args(line.split_whitespace())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    // The record grows on the disk while the benchmark runs.
    let begin = Instant::now();
    let measured = || Record::load(&path).is_ok_and(|r| r.arms[0].statistics.is_some());
    while !measured() && begin.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(50));
    }
    let kill = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status();
    assert!(kill.expect("kill is there").success());
    let Ran { code, out, err } = ran(child.wait_with_output().expect("it ends"));
    assert_eq!(code, Some(130), "{err}");
    let record = Record::load(&path).expect("a valid record");
    assert!(!record.complete && record.finished.is_some());
    assert_eq!(record.arms[0].status, Status::Measured);
    assert!(
        out.contains("mobilenetv4_conv_small+fpn") && out.contains("incomplete"),
        "{out}"
    );
}

#[cfg(unix)]
#[test]
fn a_closed_pipe_ends_the_program_quietly() {
    use std::process::Stdio;
    for line in [
        "models list",
        "models list --json",
        "completions bash",
        "doctor",
    ] {
        let folder = TempDir::new().expect("a folder");
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let child = slicewise(folder.path())
            .args(line.split_whitespace())
            .stdout(writer)
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let Ran { code, err, .. } = ran(child.wait_with_output().expect("it ends"));
        assert_eq!((code, err.as_str()), (Some(0), ""), "{line}");
    }
}

#[test]
fn the_doctor_describes_this_machine() {
    let Ran { code, out, .. } = run("doctor --json");
    assert_eq!(code, Some(0));
    let found: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(
        (&found["kind"], &found["schema"]),
        (&"slicewise-doctor".into(), &1.into())
    );
    assert!(found["machine"]["usable_threads"].as_u64() >= Some(1));
    let peak = &found["peak"];
    assert!(
        peak["gflops"].as_f64() > Some(0.1) && peak["read_gb_s"].as_f64() > Some(0.1),
        "{peak}"
    );
    assert_eq!(found["engines"][0]["engine"], "native");
    assert_eq!(found["engines"][1]["status"], "missing");
    assert!(run("doctor").out.contains("usable threads"));
}

#[test]
fn engines_are_listed_with_the_places_they_were_looked_for() {
    let Ran { code, out, .. } = run("engines list");
    assert_eq!(code, Some(0));
    for want in [
        "native",
        "built in",
        "run: slicewise engines add openvino",
        "ORT_DYLIB_PATH",
    ] {
        assert!(out.contains(want), "{want}: {out}");
    }
    let Ran { out, .. } = run("engines list --json");
    let engines: Vec<Value> = serde_json::from_str(&out).expect("JSON");
    let names: Vec<_> = engines.iter().map(|e| e["engine"].as_str()).collect();
    for want in [
        "native",
        "onnxruntime",
        "openvino",
        "torch",
        "torch-compile",
    ] {
        assert!(names.contains(&Some(want)), "{want}: {out}");
    }
}

#[test]
fn every_shell_gets_its_completions() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let Ran { code, out, .. } = run(&format!("completions {shell}"));
        assert_eq!(code, Some(0));
        assert!(
            out.contains("slicewise") && out.contains("2d-vs-3d"),
            "{shell}"
        );
    }
}
