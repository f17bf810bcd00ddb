//! Times every kind of kernel at shapes that the zoo's networks have, against the machine's peak:
//!
//! ```text
//! cargo bench -p slicewise-kernels                      all, on one thread and on all
//! cargo bench -p slicewise-kernels -- depthwise 3x3     those whose name has both words
//! SLICEWISE_ISA=avx2 cargo bench -p slicewise-kernels -- --threads 1
//! ```
//!
//! A harness of its own, because what is wanted are GFLOP/s and the part of the peak that they are,
//! from medians of runs that take turns; criterion would add its statistics and forty packages, and
//! print neither. Without `--bench` (so under `cargo test --benches`) every kernel runs once.

use std::hint::black_box;
use std::time::{Duration, Instant};

use slicewise_graph::{Activation, Conv, ConvTranspose, Coordinates, Resize, ResizeMode, Tensor};
use slicewise_kernels::{
    Context, Convolution, Depthwise, Destination, Epilogue, Geometry, GroupNorm, Isa, LabelsMut,
    Linear, Map, MapMut, PackedConvolution, PackedEpilogue, PackedWeights, Packing, Quantization,
    Resampling, Source, Upconvolution, group_norm, layer_norm, peak,
};

/// How long a kernel is run at a time, and how many times it has its turn.
const TURN: Duration = Duration::from_millis(40);
const TURNS: usize = 3;

/// A kernel ready to run.
struct Case {
    name: String,
    /// Multiply-accumulates of the direct algorithm.
    macs: usize,
    /// Bytes of operands, weights and result.
    bytes: usize,
    run: Box<dyn FnMut(&Context)>,
}

/// Something to compute with: between -1 and 1, no two alike.
fn values(n: usize) -> Vec<f32> {
    let tensor = Tensor::from_fn(&[n], |i| ((i * 7919 + 13) as f32 * 0.37).sin());
    tensor.as_f32().map(<[f32]>::to_vec).unwrap_or_default()
}

/// A window as the networks have them: odd, padded to keep the size at stride 1.
#[derive(Clone, Copy)]
struct Window {
    kernel: usize,
    stride: usize,
}

const fn window(kernel: usize, stride: usize) -> Window {
    Window { kernel, stride }
}

impl Window {
    fn conv(self, rank: usize, groups: usize) -> Conv {
        let pad = self.kernel / 2;
        let conv = Conv::new(rank, self.kernel).stride(self.stride);
        conv.pad(pad).groups(groups)
    }

    fn output(self, input: &[usize]) -> Vec<usize> {
        input.iter().map(|n| n.div_ceil(self.stride)).collect()
    }
}

fn joined(sizes: &[usize]) -> String {
    let sizes: Vec<String> = sizes.iter().map(usize::to_string).collect();
    sizes.join("x")
}

/// `channels` in and out, in `groups`.
fn convolution(
    context: &Context,
    kind: &str,
    channels: (usize, usize),
    groups: usize,
    window: Window,
    input: &[usize],
) -> Case {
    let (from, to) = channels;
    let output = window.output(input);
    let geometry = Geometry::conv(&window.conv(input.len(), groups), input, &output);
    let taps = window.kernel.pow(input.len() as u32);
    let weight = values(to * (from / groups) * taps);
    let conv = Convolution::new(context, geometry, 1, groups, to, &weight, Some(&values(to)));
    let x = values(from * input.iter().product::<usize>());
    let mut y = vec![0.0; to * output.iter().product::<usize>()];
    Case {
        name: format!(
            "{kind} {} s{} {from}>{to}{} @{}",
            joined(&vec![window.kernel; input.len()]),
            window.stride,
            if groups > 1 {
                format!(" by {}", from / groups)
            } else {
                String::new()
            },
            joined(input)
        ),
        macs: y.len() * taps * from / groups,
        bytes: 4 * (x.len() + weight.len() + y.len()),
        run: Box::new(move |context| {
            let epilogue = Epilogue {
                activation: Some(Activation::Relu),
                ..Epilogue::default()
            };
            conv.run(context, &x, Destination::Values(&mut y, epilogue));
        }),
    }
}

/// The same on words, into words.
fn packed(
    context: &Context,
    packing: Packing,
    (from, to): (usize, usize),
    groups: usize,
    window: Window,
    input: &[usize],
) -> Case {
    let output = window.output(input);
    let geometry = Geometry::conv(&window.conv(input.len(), groups), input, &output);
    let taps = window.kernel.pow(input.len() as u32);
    let count = to * (from / groups) * taps;
    let (floats, scale) = (values(count), vec![0.01; to]);
    let steps: Vec<i8> = floats.iter().map(|w| (w * 127.0) as i8).collect();
    let weights = match packing {
        Packing::Bf16 => PackedWeights::Bf16(&floats),
        Packing::U8(input) => PackedWeights::I8 {
            weight: &steps,
            scale: &scale,
            input,
        },
    };
    let bias = values(to);
    let conv = PackedConvolution::new(
        context,
        geometry,
        1,
        groups,
        [from, to],
        weights,
        Some(&bias),
    );
    let words = |channels: usize, sizes: &[usize]| {
        channels.div_ceil(packing.channels()) * sizes.iter().product::<usize>()
    };
    // A word of ones in bf16.
    let x = vec![0x3f80_3f80; words(from, input)];
    let mut y = vec![0; words(to, &output)];
    Case {
        name: format!(
            "{} {} s{} {from}>{to} by {} @{}",
            conv.describe(),
            joined(&vec![window.kernel; input.len()]),
            window.stride,
            from / groups,
            joined(input)
        ),
        macs: to * output.iter().product::<usize>() * taps * from / groups,
        bytes: 4 * (x.len() + y.len() + count / packing.channels()),
        run: Box::new(move |context| {
            let epilogue = PackedEpilogue {
                activation: Some(Activation::Relu),
                ..PackedEpilogue::default()
            };
            let (x, y) = (Map::Words(&x, packing), MapMut::Words(&mut y, packing));
            conv.run(context, x, y, epilogue, 1);
        }),
    }
}

fn depthwise(context: &Context, channels: usize, window: Window, input: &[usize]) -> Case {
    let output = window.output(input);
    let geometry = Geometry::conv(&window.conv(input.len(), channels), input, &output);
    let taps = window.kernel.pow(input.len() as u32);
    let weight = values(channels * taps);
    let conv = Depthwise::new(
        context,
        geometry,
        1,
        channels,
        &weight,
        Some(&values(channels)),
    );
    let x = values(channels * input.iter().product::<usize>());
    let mut y = vec![0.0; channels * output.iter().product::<usize>()];
    Case {
        name: format!(
            "depthwise {} s{} {channels} @{}",
            joined(&vec![window.kernel; input.len()]),
            window.stride,
            joined(input)
        ),
        macs: y.len() * taps,
        bytes: 4 * (x.len() + weight.len() + y.len()),
        run: Box::new(move |context| {
            let epilogue = Epilogue {
                activation: Some(Activation::Relu),
                ..Epilogue::default()
            };
            conv.run(context, &x, &mut y, epilogue);
        }),
    }
}

/// Upsampling by two, where nothing overlaps.
fn transposed(context: &Context, from: usize, to: usize, input: &[usize]) -> Case {
    let rank = input.len();
    let spec = ConvTranspose::upsample(rank, 2);
    let output: Vec<usize> = input.iter().map(|n| 2 * n).collect();
    let taps = 1 << rank;
    let weight = values(from * to * taps);
    let bias = values(to);
    let conv = Upconvolution::new(
        context,
        &spec,
        input,
        &output,
        1,
        from,
        &weight,
        Some(&bias),
    );
    let x = values(from * input.iter().product::<usize>());
    let mut y = vec![0.0; to * output.iter().product::<usize>()];
    Case {
        name: format!(
            "transposed {} s2 {from}>{to} @{}",
            joined(&vec![2; rank]),
            joined(input)
        ),
        macs: x.len() * to * taps,
        bytes: 4 * (x.len() + weight.len() + y.len()),
        run: Box::new(move |context| conv.run(context, &x, &mut y, None)),
    }
}

fn linear(context: &Context, rows: usize, from: usize, to: usize) -> Case {
    let weight = values(from * to);
    let linear = Linear::new(context, from, &weight, Some(&values(to)));
    let x = values(rows * from);
    let mut y = vec![0.0; rows * to];
    Case {
        name: format!("linear {from}>{to} @{rows}"),
        macs: rows * from * to,
        bytes: 4 * (x.len() + weight.len() + y.len()),
        run: Box::new(move |context| linear.run(context, &x, &mut y, Epilogue::default())),
    }
}

/// Scores to a label map, four times larger on each axis.
fn label_head(context: &Context, classes: usize, input: [usize; 2]) -> Case {
    let output = input.map(|n| 4 * n);
    let spec = Resize {
        size: output.to_vec(),
        mode: ResizeMode::Linear,
        coordinates: Coordinates::HalfPixel,
        scales: None,
    };
    let resampling = Resampling::new(context, &spec, &input);
    // Scores of a segmentation are smooth: one class is ahead over some pixels.
    let (height, width) = (input[0], input[1]);
    let x: Vec<f32> = (0..classes * height * width)
        .map(|i| {
            let (class, at) = (i / (height * width), i % (height * width));
            let (row, column) = ((at / width) as f32, (at % width) as f32);
            (row * 0.09 + class as f32).sin() + (column * 0.07 + 2.0 * class as f32).cos()
        })
        .collect();
    let mut labels = vec![0u8; output[0] * output[1]];
    Case {
        name: format!("label head x4 {classes} @{}", joined(&input)),
        macs: 0,
        bytes: 4 * x.len() + labels.len(),
        run: Box::new(move |context| {
            resampling.labels(context, classes, &x, LabelsMut::U8(&mut labels));
        }),
    }
}

/// Group normalisation with its activation; as many groups as channels are instances.
fn normalisation(channels: usize, groups: usize, input: &[usize]) -> Case {
    let area: usize = input.iter().product();
    let x = values(channels * area);
    let mut y = vec![0.0; x.len()];
    let (weight, bias) = (values(channels), values(channels));
    Case {
        name: format!("group norm {groups} of {channels} @{}", joined(input)),
        macs: 0,
        bytes: 8 * x.len(),
        run: Box::new(move |context| {
            let spec = GroupNorm {
                groups,
                eps: 1e-5,
                weight: &weight,
                bias: &bias,
                activation: Some(Activation::Relu),
            };
            group_norm(context, &spec, area, Source::Slice(&x), &mut y);
        }),
    }
}

fn layer_normalisation(rows: usize, n: usize) -> Case {
    let x = values(rows * n);
    let mut y = vec![0.0; x.len()];
    let (weight, bias) = (values(n), values(n));
    Case {
        name: format!("layer norm {n} @{rows}"),
        macs: 0,
        bytes: 8 * x.len(),
        run: Box::new(move |context| {
            layer_norm(context, 1e-6, &weight, &bias, 1, Source::Slice(&x), &mut y);
        }),
    }
}

/// Kind, channels in and out, groups, window, input sizes.
type Dense = (
    &'static str,
    (usize, usize),
    usize,
    Window,
    &'static [usize],
);

/// Shapes of mobilenetv4_conv_small, resnet18, regnetx_004, convnext_tiny and vit_tiny with their
/// decoders at 512×512, and of stunet_s.
const CONVOLUTIONS: [Dense; 22] = [
    ("dense", (3, 32), 1, window(3, 2), &[512, 512]),
    ("dense", (3, 64), 1, window(7, 2), &[512, 512]),
    ("dense", (32, 32), 1, window(3, 1), &[256, 256]),
    ("dense", (64, 64), 1, window(3, 1), &[128, 128]),
    ("dense", (128, 128), 1, window(3, 1), &[128, 128]),
    ("dense", (256, 256), 1, window(3, 1), &[32, 32]),
    ("dense", (512, 512), 1, window(3, 1), &[16, 16]),
    ("dense", (64, 128), 1, window(3, 2), &[128, 128]),
    ("dense", (32, 32), 1, window(3, 1), &[64, 64, 64]),
    ("pointwise", (64, 192), 1, window(1, 1), &[64, 64]),
    ("pointwise", (192, 96), 1, window(1, 1), &[32, 32]),
    ("pointwise", (96, 192), 1, window(1, 1), &[32, 32]),
    ("pointwise", (128, 512), 1, window(1, 1), &[16, 16]),
    ("pointwise", (512, 128), 1, window(1, 1), &[16, 16]),
    ("pointwise", (960, 128), 1, window(1, 1), &[16, 16]),
    ("pointwise", (512, 512), 1, window(1, 1), &[32, 32]),
    ("pointwise", (128, 128), 1, window(1, 1), &[128, 128]),
    ("grouped", (64, 64), 8, window(3, 1), &[64, 64]),
    ("grouped", (64, 64), 4, window(3, 1), &[128, 128]),
    ("grouped", (160, 160), 10, window(3, 1), &[64, 64]),
    ("grouped", (384, 384), 24, window(3, 1), &[32, 32]),
    ("grouped", (96, 96), 4, window(3, 1), &[64, 64]),
];

const DEPTHWISE: [(usize, Window, &[usize]); 7] = [
    (64, window(3, 1), &[128, 128]),
    (192, window(3, 1), &[32, 32]),
    (512, window(3, 1), &[16, 16]),
    (96, window(3, 2), &[128, 128]),
    (192, window(5, 1), &[32, 32]),
    (192, window(5, 2), &[64, 64]),
    (96, window(7, 1), &[128, 128]),
];

const TRANSPOSED: [(usize, usize, &[usize]); 4] = [
    (512, 256, &[16, 16]),
    (64, 32, &[128, 128]),
    (32, 32, &[256, 256]),
    (64, 32, &[32, 32, 32]),
];

/// Rows, features in and out.
const LINEAR: [(usize, usize, usize); 4] = [
    (197, 192, 768),
    (197, 768, 192),
    (3136, 96, 384),
    (1, 1280, 1000),
];

/// Every case, made for a context.
fn cases(context: &Context) -> Vec<Case> {
    let mut cases = Vec::new();
    for (kind, channels, groups, window, input) in CONVOLUTIONS {
        cases.push(convolution(context, kind, channels, groups, window, input));
    }
    for (channels, window, input) in DEPTHWISE {
        cases.push(depthwise(context, channels, window, input));
    }
    let steps = Quantization {
        step: 0.01,
        zero: 0,
    };
    for packing in [Packing::Bf16, Packing::U8(steps)] {
        for (_, (from, to), groups, window, input) in CONVOLUTIONS {
            if PackedConvolution::fits(packing, groups, from, to) {
                cases.push(packed(context, packing, (from, to), groups, window, input));
            }
        }
        for (channels, window, input) in DEPTHWISE {
            let both = (channels, channels);
            cases.push(packed(context, packing, both, channels, window, input));
        }
    }
    for (from, to, input) in TRANSPOSED {
        cases.push(transposed(context, from, to, input));
    }
    for (rows, from, to) in LINEAR {
        cases.push(linear(context, rows, from, to));
    }
    cases.push(label_head(context, 117, [128, 128]));
    cases.push(normalisation(32, 32, &[64, 64, 64]));
    cases.push(normalisation(64, 1, &[56, 56]));
    cases.push(layer_normalisation(3136, 96));
    cases.push(layer_normalisation(197, 192));
    cases
}

/// The median time of a run, in ms, of each case; the cases take turns.
fn measure(context: &Context, cases: &mut [Case]) -> Vec<f64> {
    let mut times: Vec<Vec<f64>> = vec![Vec::new(); cases.len()];
    for _ in 0..TURNS {
        for (case, times) in cases.iter_mut().zip(&mut times) {
            (case.run)(context);
            let turn = Instant::now();
            while turn.elapsed() < TURN {
                let begin = Instant::now();
                black_box(&mut case.run)(context);
                times.push(begin.elapsed().as_secs_f64() * 1e3);
            }
        }
    }
    let median = |mut times: Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    };
    times.into_iter().map(median).collect()
}

fn main() {
    let mut words = Vec::new();
    let mut threads = Vec::new();
    let mut measured = false;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--bench" => measured = true,
            "--threads" => match arguments.next().map(|n| n.parse()) {
                Some(Ok(n)) => threads.push(n),
                _ => panic!("--threads takes a number"),
            },
            option if option.starts_with("--") => {}
            word => words.push(word.to_owned()),
        }
    }
    let isa = match Isa::from_env() {
        Ok(isa) => isa,
        Err(error) => panic!("{error}"),
    };
    if threads.is_empty() {
        let all = std::thread::available_parallelism().map_or(1, |n| n.get());
        threads = if all > 1 { vec![1, all] } else { vec![1] };
    }
    for threads in threads {
        let context = Context::new(isa, threads);
        let mut cases = cases(&context);
        cases.retain(|case| words.iter().all(|word| case.name.contains(word)));
        if !measured {
            for case in &mut cases {
                (case.run)(&context);
            }
            continue;
        }
        let peak = peak::measure(isa, threads, 0).gflops;
        println!(
            "\n{} on {threads} threads, peak {peak:.0} GFLOP/s",
            isa.name()
        );
        println!("       ms  GFLOP/s  peak    GB/s  kernel");
        let times = measure(&context, &mut cases);
        for (case, ms) in cases.iter().zip(times) {
            let rate = |n: usize| n as f64 * 1e-6 / ms;
            let (gflops, of_peak) = match case.macs {
                0 => ("-".to_owned(), "-".to_owned()),
                macs => {
                    let gflops = 2.0 * rate(macs);
                    (
                        format!("{gflops:.0}"),
                        format!("{:.0}%", 100.0 * gflops / peak),
                    )
                }
            };
            let gb_s = rate(case.bytes);
            println!(
                "{ms:9.3}  {gflops:>7}  {of_peak:>4}  {gb_s:6.1}  {}",
                case.name
            );
        }
    }
}
