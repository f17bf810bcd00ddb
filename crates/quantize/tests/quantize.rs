//! Small graphs quantized and run by the reference evaluator.

use std::path::Path;

use slicewise_graph::{
    Activation, Binary, Conv, Coordinates, DType, Graph, NodeId, Op, Pool, PoolKind, Resize,
    ResizeMode, Role, Shape, Tensor, npy, reference,
};
use slicewise_quantize::{
    Activations, Calibration, Folder, Granularity, Head, Images, Method, Options, PixelRange,
    Placement, QuantizeError, Quantized, Run, Synthetic, calibrate, compare, equalize,
    keep_accuracy, place, quantize, quantize_on, report,
};

fn compile(graph: &Graph) -> Result<Run, String> {
    let graph = graph.clone();
    Ok(Box::new(move |inputs| {
        reference::run(&graph, inputs).map_err(|e| e.to_string())
    }))
}

fn quiet(_: &str, _: usize, _: usize) {}

/// Numbers between -1 and 1 that look random.
fn noise(shape: &[usize], seed: usize) -> Tensor {
    let mix = |i: usize| (i + 1).wrapping_mul(2_654_435_761).wrapping_add(seed * 977) >> 7;
    Tensor::from_fn(shape, |i| (mix(i) % 2048) as f32 / 1024.0 - 1.0)
}

struct Net(Graph);

impl Net {
    fn new() -> (Self, NodeId) {
        let mut graph = Graph::new("net");
        let x = graph
            .input("x", Shape::new(&[1, 3, 16, 16]), DType::F32)
            .unwrap();
        (Net(graph), x)
    }

    /// A convolution whose channels differ in size by `spread` to the power of their index.
    fn conv(&mut self, name: &str, x: NodeId, conv: Conv, out: usize, spread: f32) -> NodeId {
        let channels = self.0.node(x).shape[1].fixed().unwrap();
        let sizes = [&[out, channels / conv.groups], &conv.kernel[..]].concat();
        let each: usize = sizes[1..].iter().product();
        let plain = noise(&sizes, name.len());
        let plain = plain.as_f32().unwrap();
        let scale = (2.0 / each as f32).sqrt();
        let w = Tensor::from_fn(&sizes, |i| {
            plain[i] * scale * spread.powi((i / each) as i32)
        });
        let w = self
            .0
            .constant_tensor(&format!("{name}.weight"), Role::Trainable, w)
            .unwrap();
        let b = Tensor::from_fn(&[out], |i| 0.05 * i as f32 * spread.min(1.0).powi(i as i32));
        let b = self
            .0
            .constant_tensor(&format!("{name}.bias"), Role::Trainable, b)
            .unwrap();
        self.0.add(name, Op::Conv(conv), &[x, w, b]).unwrap()
    }

    fn relu(&mut self, x: NodeId) -> NodeId {
        let name = format!("{}.relu", self.0.node(x).name);
        self.0.activation(&name, Activation::Relu, x).unwrap()
    }
}

/// Every pattern that is quantized: a residual block, pooling, a depthwise layer, a gate, a float
/// island, resampling and concatenation.
fn network(spread: f32) -> Graph {
    let (mut n, x) = Net::new();
    let stem = n.conv("stem", x, Conv::new(2, 3).pad(1), 8, spread);
    let stem = n.relu(stem);
    let pool = Pool {
        kind: PoolKind::Max,
        kernel: vec![2, 2],
        stride: vec![2, 2],
        pads: vec![(0, 0); 2],
        ceil_mode: false,
    };
    let pooled = n.0.add("pool", Op::Pool(pool), &[stem]).unwrap();
    let a = n.conv(
        "block.conv1",
        pooled,
        Conv::new(2, 3).pad(1).groups(8),
        8,
        1.0,
    );
    let a = n.relu(a);
    let a = n.conv("block.conv2", a, Conv::new(2, 1), 8, 1.0);
    let sum = n.0.binary("block.add", Binary::Add, a, pooled).unwrap();
    let sum = n.relu(sum);
    let swish = n.0.activation("swish", Activation::HardSwish, sum).unwrap();
    let b = n.conv("after", swish, Conv::new(2, 1), 8, 1.0);
    let up = Resize {
        size: vec![16, 16],
        mode: ResizeMode::Nearest,
        coordinates: Coordinates::Asymmetric,
        scales: None,
    };
    let b = n.0.add("up", Op::Resize(up.clone()), &[b]).unwrap();
    let joined =
        n.0.add("concat", Op::Concat { axis: 1 }, &[b, stem])
            .unwrap();
    let scores = n.conv("head", joined, Conv::new(2, 1), 5, 1.0);
    let resized = Resize {
        size: vec![32, 32],
        mode: ResizeMode::Linear,
        coordinates: Coordinates::HalfPixel,
        scales: None,
    };
    let out = n.0.add("resize", Op::Resize(resized), &[scores]).unwrap();
    n.0.set_outputs([out]);
    n.0
}

fn calibrated(graph: &Graph, method: Method, options: &Options) -> (Placement, Calibration) {
    let placement = place(graph, options).unwrap();
    let images = Synthetic::new(graph, 4).unwrap();
    let calibration = calibrate(
        graph,
        &placement.watched(),
        &images,
        method,
        255.0,
        &mut compile,
        &mut quiet,
    )
    .unwrap();
    (placement, calibration)
}

fn quantized(graph: &Graph, method: Method, options: &Options) -> Quantized {
    let images = Synthetic::new(graph, 4).unwrap();
    quantize_on(graph, &images, method, options, &mut compile).unwrap()
}

/// The SQNR of the result in dB.
fn sqnr(graph: &Graph, quantized: &Quantized) -> f64 {
    let images = Synthetic::new(graph, 4).unwrap();
    let compared = compare(graph, quantized, &[], &images, &mut compile, &mut quiet).unwrap();
    compared.agreement.sqnr_db.unwrap()
}

fn names(graph: &Graph, ids: impl IntoIterator<Item = NodeId>) -> Vec<&str> {
    ids.into_iter()
        .map(|id| graph.node(id).name.as_str())
        .collect()
}

#[test]
fn pairs_stand_where_engines_have_integer_operators_and_nowhere_else() {
    let graph = network(1.0);
    let placement = place(&graph, &Options::default()).unwrap();
    let tensors = names(&graph, placement.tensors.keys().copied());
    // The stem's, conv1's and the sum's ReLU come before the pair. HardSwish is computed in f32 between pairs.
    let want = [
        "x",
        "stem.relu",
        "pool",
        "block.conv1.relu",
        "block.conv2",
        "block.add.relu",
        "swish",
        "after",
        "up",
        "concat",
        "head",
        "resize",
    ];
    assert_eq!(tensors, want);
    let root = |name: &str| {
        let shared = placement
            .tensors
            .iter()
            .find(|(id, _)| graph.node(**id).name == name);
        graph.node(*shared.unwrap().1).name.as_str()
    };
    assert_eq!(
        (root("pool"), root("up"), root("resize")),
        ("stem.relu", "after", "head")
    );
}

#[test]
fn the_head_stays_f32_as_far_as_it_is_asked_to() {
    let graph = network(1.0);
    for (head, layers, last) in [
        (Head::F32, 4, "concat"),
        (Head::Scores, 5, "concat"),
        (Head::Int8, 5, "resize"),
    ] {
        let options = Options {
            head,
            ..Options::default()
        };
        let placement = place(&graph, &options).unwrap();
        assert_eq!(placement.layers.len(), layers, "{head:?}");
        let last_quantized = placement.tensors.keys().next_back().copied();
        assert_eq!(names(&graph, last_quantized), [last], "{head:?}");
    }
}

#[test]
fn every_method_and_integer_type_keeps_the_result_close() {
    let graph = network(1.0);
    for method in [
        Method::MinMax,
        Method::Percentile(99.99),
        Method::Entropy,
        Method::Mse,
    ] {
        for (activations, least) in [
            (Activations::Asymmetric, 25.0),
            (Activations::Symmetric, 22.0),
        ] {
            let options = Options {
                activations,
                ..Options::default()
            };
            let db = sqnr(&graph, &quantized(&graph, method, &options));
            // Entropy clips for the shape of the distribution, not for the error.
            let least = if method == Method::Entropy {
                10.0
            } else {
                least
            };
            assert!(db > least, "{method} {activations:?}: {db}");
        }
    }
}

#[test]
fn channels_of_uneven_size_need_equalization() {
    let options = |granularity, equalize| Options {
        granularity,
        equalize,
        ..Options::default()
    };
    let (mut n, x) = Net::new();
    let a = n.conv("first", x, Conv::new(2, 3).pad(1), 8, 0.3);
    let a = n.relu(a);
    // What the first layer makes small, the second makes large again.
    let b = n.conv("second", a, Conv::new(2, 3).pad(1).groups(8), 8, 1.0 / 0.3);
    let b = n.relu(b);
    let c = n.conv("third", b, Conv::new(2, 1), 5, 1.0);
    n.0.set_outputs([c]);
    let (equal, pairs) = equalize(&n.0).unwrap();
    assert_eq!(pairs, 2);
    let input = [noise(&[1, 3, 16, 16], 9)];
    let (before, after) = (
        reference::run(&n.0, &input).unwrap(),
        reference::run(&equal, &input).unwrap(),
    );
    for (a, b) in before[0]
        .as_f32()
        .unwrap()
        .iter()
        .zip(after[0].as_f32().unwrap())
    {
        assert!((a - b).abs() < 1e-5 * (1.0 + a.abs()), "{a} {b}");
    }
    let db = |options: &Options| sqnr(&n.0, &quantized(&n.0, Method::MinMax, options));
    let plain = db(&options(Granularity::PerTensor, false));
    let equalized = db(&options(Granularity::PerTensor, true));
    let fine = db(&options(Granularity::PerChannel, true));
    assert!(
        equalized > plain + 10.0 && fine > plain + 10.0,
        "{plain} {equalized} {fine}"
    );
}

#[test]
fn bias_correction_takes_out_the_mean_error() {
    let (mut n, x) = Net::new();
    let a = n.conv("conv", x, Conv::new(2, 1), 6, 1.0);
    n.0.set_outputs([a]);
    let graph = n.0;
    let options = |correct_bias| Options {
        correct_bias,
        reduce_range: true,
        granularity: Granularity::PerTensor,
        ..Options::default()
    };
    let error = |correct_bias| {
        let quantized = quantized(&graph, Method::MinMax, &options(correct_bias));
        let images = Synthetic::new(&graph, 4).unwrap();
        let mut sums = [0.0f64; 6];
        for i in 0..images.count() {
            let input = [images.load(i).unwrap()];
            let want = reference::run(&graph, &input).unwrap();
            let got = reference::run(&quantized.graph, &input).unwrap();
            let pairs = want[0]
                .as_f32()
                .unwrap()
                .iter()
                .zip(got[0].as_f32().unwrap());
            pairs
                .enumerate()
                .for_each(|(at, (w, g))| sums[at / 256] += f64::from(g - w));
        }
        sums.iter().map(|s| s.abs()).sum::<f64>()
    };
    let (plain, corrected) = (error(false), error(true));
    assert!(corrected < 0.5 * plain, "{corrected} {plain}");
}

#[test]
fn the_worst_layers_go_back_to_f32_until_the_target_holds() {
    let graph = network(0.2);
    let options = Options {
        granularity: Granularity::PerTensor,
        ..Options::default()
    };
    let (placement, calibration) = calibrated(&graph, Method::MinMax, &options);
    let images = Synthetic::new(&graph, 4).unwrap();
    let go = |target: f64| {
        keep_accuracy(
            &graph,
            &calibration,
            &options,
            target,
            &images,
            &mut compile,
            &mut quiet,
        )
    };
    let easy = go(0.0).unwrap();
    assert!(easy.sensitivity.is_empty() && easy.placement == placement);
    let target = (1.0 + easy.agreement.foreground) / 2.0;
    let kept = go(target).unwrap();
    assert!(kept.agreement.foreground >= target);
    assert!(!kept.options.keep.is_empty() && kept.options.keep.len() < placement.layers.len());
    // The layers that went back are the first of the order.
    let first: Vec<&String> = kept
        .sensitivity
        .iter()
        .take(kept.options.keep.len())
        .map(|s| &s.0)
        .collect();
    assert!(first.iter().all(|name| kept.options.keep.contains(*name)));
    assert!(go(1.01).is_err());
}

#[test]
fn a_report_says_what_was_done_to_every_layer() {
    let graph = network(1.0);
    let options = Options {
        head: Head::F32,
        ..Options::default()
    };
    let (placement, calibration) = calibrated(&graph, Method::Mse, &options);
    let quantized = quantize(&graph, &placement, &calibration, &options).unwrap();
    let ends: Vec<NodeId> = placement.layers.iter().map(|l| l.end).collect();
    let images = Synthetic::new(&graph, 2).unwrap();
    let compared = compare(&graph, &quantized, &ends, &images, &mut compile, &mut quiet).unwrap();
    let report = report(
        &graph,
        &quantized.graph,
        &placement,
        &calibration,
        &compared,
        &options,
        Method::Mse,
    );
    assert_eq!(
        (report.layers.len(), report.kept.len(), report.images),
        (4, 1, 4)
    );
    assert!(
        report
            .layers
            .iter()
            .all(|l| l.sqnr_db.is_some_and(|db| db > 15.0) && l.weight_sqnr_db > 30.0)
    );
    assert!(
        report
            .tensors
            .iter()
            .all(|t| t.low <= 0.0 && t.high >= 0.0 && t.min <= t.max)
    );
    assert!(report.bytes_after < report.bytes_before);
}

#[test]
fn wrong_layer_names_and_unsuitable_graphs_are_told() {
    let graph = network(1.0);
    let keep = |name: &str| Options {
        keep: [name.to_owned()].into(),
        ..Options::default()
    };
    let error = place(&graph, &keep("block.conv3")).unwrap_err();
    assert!(
        matches!(&error, QuantizeError::NoLayer { closest, .. } if closest.starts_with("block.conv")),
        "{error}"
    );
    let twice = quantized(&graph, Method::MinMax, &Options::default());
    assert!(matches!(
        place(&twice.graph, &Options::default()),
        Err(QuantizeError::Unsuitable { .. })
    ));
    let (mut n, x) = Net::new();
    let y = n.relu(x);
    n.0.set_outputs([y]);
    assert!(matches!(
        place(&n.0, &Options::default()),
        Err(QuantizeError::Unsuitable { .. })
    ));
}

fn write(folder: &Path, name: &str, tensor: &Tensor) {
    npy::write(&folder.join(name), tensor).unwrap();
}

#[test]
fn bad_calibration_data_is_refused_in_one_line_that_names_the_file() {
    let graph = network(1.0);
    let good = noise(&[3, 16, 16], 1);
    let with = |value: f32| {
        let mut t = good.clone();
        t.as_f32_mut().unwrap()[5] = value;
        t
    };
    let cases: [(&str, Option<Tensor>, &str); 7] = [
        ("empty", None, "holds no calibration image"),
        (
            "nan",
            Some(with(f32::NAN)),
            "1 of its values are NaN or infinite",
        ),
        (
            "infinite",
            Some(with(f32::INFINITY)),
            "1 of its values are NaN or infinite",
        ),
        (
            "shape",
            Some(noise(&[3, 16, 15], 1)),
            "the network takes f32 [3, 16, 16]",
        ),
        (
            "channels",
            Some(noise(&[1, 16, 16], 1)),
            "this is f32 [1, 16, 16]",
        ),
        (
            "type",
            Some(Tensor::new(&[3, 16, 16], vec![1u8; 768]).unwrap()),
            "this is u8",
        ),
        (
            "constant",
            Some(Tensor::from_fn(&[3, 16, 16], |_| 2.5)),
            "every value is 2.5",
        ),
    ];
    for (name, tensor, want) in cases {
        let folder = tempfile::tempdir().unwrap();
        if let Some(tensor) = &tensor {
            write(folder.path(), "a.npy", &good);
            write(folder.path(), "b.npy", tensor);
        }
        let opened = Folder::open(folder.path(), &graph, 100, PixelRange::default());
        let result = opened.and_then(|images| {
            let placement = place(&graph, &Options::default())?;
            calibrate(
                &graph,
                &placement.watched(),
                &images,
                Method::MinMax,
                255.0,
                &mut compile,
                &mut quiet,
            )
        });
        let message = result.unwrap_err().to_string();
        assert!(message.contains(want), "{name}: {message}");
        let named = if tensor.is_some() {
            "b.npy"
        } else {
            folder.path().to_str().unwrap()
        };
        assert!(
            message.contains(named) && message.lines().count() == 1,
            "{name}: {message}"
        );
    }
    let missing = Folder::open(
        Path::new("no/such/folder"),
        &graph,
        1,
        PixelRange::default(),
    );
    assert!(
        missing
            .unwrap_err()
            .to_string()
            .starts_with("no/such/folder: ")
    );
}

#[test]
fn a_network_that_overflows_is_told_by_its_node() {
    let (mut n, x) = Net::new();
    let huge = Tensor::from_fn(&[4, 3, 1, 1], |_| 3e38);
    let w = n.0.constant_tensor("w", Role::Trainable, huge).unwrap();
    let a = n.0.add("huge", Op::Conv(Conv::new(2, 1)), &[x, w]).unwrap();
    let b = n.conv("next", a, Conv::new(2, 1), 2, 1.0);
    n.0.set_outputs([b]);
    let images = Synthetic::new(&n.0, 1).unwrap();
    let placement = place(&n.0, &Options::default()).unwrap();
    let result = calibrate(
        &n.0,
        &placement.watched(),
        &images,
        Method::Mse,
        255.0,
        &mut compile,
        &mut quiet,
    );
    assert!(matches!(result, Err(QuantizeError::Overflow { node, .. }) if node == "huge"));
}

#[test]
fn folders_hold_single_images_stacks_and_pngs() {
    let (n, _) = Net::new();
    let graph = n.0;
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "a.npy", &noise(&[3, 16, 16], 1));
    write(folder.path(), "b.npy", &noise(&[3, 3, 16, 16], 2));
    std::fs::write(folder.path().join("notes.txt"), "ignored").unwrap();
    let file = std::fs::File::create(folder.path().join("c.PNG")).unwrap();
    let mut png = png::Encoder::new(file, 16, 16);
    png.set_color(png::ColorType::Grayscale);
    let pixels: Vec<u8> = (0..=255).collect();
    png.write_header()
        .unwrap()
        .write_image_data(&pixels)
        .unwrap();

    let range = PixelRange {
        low: -1.0,
        high: 1.0,
    };
    let images = Folder::open(folder.path(), &graph, 100, range).unwrap();
    assert_eq!(images.count(), 5);
    assert!(images.name(2).ends_with("b.npy [1]"));
    let all = noise(&[3, 3, 16, 16], 2);
    assert_eq!(
        images.load(2).unwrap().as_f32(),
        all.as_f32().map(|v| &v[768..1536])
    );
    let png = images.load(4).unwrap();
    assert_eq!(png.shape(), [1, 3, 16, 16]);
    let values = png.as_f32().unwrap();
    assert_eq!(
        (values[0], values[255], values[256 + 255]),
        (-1.0, 1.0, 1.0)
    );
    let some = Folder::open(folder.path(), &graph, 2, range).unwrap();
    assert_eq!(
        (some.name(0), some.name(1)),
        (images.name(0), images.name(2))
    );

    std::fs::write(folder.path().join("d.png"), b"\x89PNG\r\n\x1a\nbroken").unwrap();
    let broken = Folder::open(folder.path(), &graph, 100, range).unwrap();
    assert!(broken.load(5).unwrap_err().to_string().contains("d.png"));
}

#[test]
fn pixel_ranges_are_read_as_two_ordered_numbers() {
    assert_eq!(
        "-1:1".parse(),
        Ok(PixelRange {
            low: -1.0,
            high: 1.0
        })
    );
    for wrong in ["1", "1:0", "a:b", "0:inf", "0:1:2"] {
        assert!(wrong.parse::<PixelRange>().is_err(), "{wrong}");
    }
}
