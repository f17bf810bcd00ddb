//! Packed convolutions against sums in f64, on every instruction set and several numbers of threads.

use slicewise_graph::Activation;

use super::*;
use crate::Isa;

/// Whole numbers that look random, below `n`.
fn numbers(seed: usize, count: usize, n: usize) -> Vec<usize> {
    (0..count)
        .map(|i| {
            let mixed =
                (i + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ seed.wrapping_mul(0x1234_5677);
            (mixed.wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 33) % n
        })
        .collect()
}

/// Values in [-1, 1) that bf16 holds exactly.
fn eighths(seed: usize, count: usize) -> Vec<f32> {
    let value = |v: usize| v as f32 / 64.0 - 1.0;
    numbers(seed, count, 128).into_iter().map(value).collect()
}

#[derive(Clone, Copy, Debug)]
struct Case {
    batch: usize,
    groups: usize,
    channels: usize,
    out: usize,
    kernel: [usize; 3],
    stride: usize,
    size: [usize; 3],
}

const fn case(
    batch: usize,
    groups: usize,
    channels: [usize; 2],
    kernel: [usize; 3],
    stride: usize,
    size: [usize; 3],
) -> Case {
    Case {
        batch,
        groups,
        channels: channels[0],
        out: channels[1],
        kernel,
        stride,
        size,
    }
}

const CASES: &[Case] = &[
    // Pointwise: whole registers and tails, words that are not full, several panels and tiles.
    case(1, 1, [16, 24], [1, 1, 1], 1, [1, 8, 32]),
    case(2, 1, [7, 5], [1, 1, 1], 1, [1, 5, 13]),
    case(1, 1, [130, 19], [1, 1, 1], 1, [1, 2, 150]),
    case(1, 1, [3, 8], [1, 1, 1], 2, [1, 9, 70]),
    // Windows, with strides, in volumes, on narrow maps.
    case(1, 1, [3, 32], [1, 3, 3], 2, [1, 20, 33]),
    case(2, 1, [10, 11], [1, 3, 3], 1, [1, 7, 18]),
    case(1, 1, [40, 9], [1, 5, 3], 1, [1, 6, 100]),
    case(1, 1, [6, 4], [3, 3, 3], 2, [5, 6, 9]),
    // Depthwise and grouped.
    case(2, 12, [12, 12], [1, 3, 3], 1, [1, 9, 35]),
    case(1, 10, [10, 10], [1, 5, 5], 2, [1, 12, 41]),
    case(1, 3, [24, 24], [1, 3, 3], 1, [1, 6, 21]),
    // Small ones, which Miri runs.
    case(1, 1, [5, 6], [1, 1, 1], 1, [1, 3, 5]),
    case(1, 1, [3, 2], [1, 3, 3], 2, [1, 5, 7]),
    case(1, 5, [5, 5], [1, 3, 3], 1, [1, 3, 6]),
];

const INPUT: Quantization = Quantization {
    step: 0.02,
    zero: 117,
};
const ADDED: Quantization = Quantization {
    step: 0.05,
    zero: 100,
};
const OUTPUT: Quantization = Quantization {
    step: 0.04,
    zero: 31,
};

impl Case {
    fn geometry(&self) -> Geometry {
        let before = self.kernel.map(|k| k / 2);
        Geometry {
            input: self.size,
            output: std::array::from_fn(|i| {
                (self.size[i] + 2 * before[i] - self.kernel[i]) / self.stride + 1
            }),
            kernel: self.kernel,
            stride: [self.stride; 3],
            dilation: [1; 3],
            before: before.map(|b| b as isize),
            spread: [1; 3],
        }
    }

    /// Every sum, one product after the other.
    fn sums(&self, x: &[f32], weight: &[f32], bias: &[f32]) -> Vec<f64> {
        let g = self.geometry();
        let (group_in, group_out) = (self.channels / self.groups, self.out / self.groups);
        let mut y = Vec::new();
        for o in 0..self.batch * self.out {
            let (image, o) = (o / self.out, o % self.out);
            for at in 0..g.output_area() {
                let place = [
                    at / g.output[2] / g.output[1],
                    at / g.output[2] % g.output[1],
                    at % g.output[2],
                ];
                let mut sum = f64::from(bias[o]);
                for k in 0..group_in * g.taps() {
                    let (c, t) = (k / g.taps(), k % g.taps());
                    let tap = [
                        t / g.kernel[2] / g.kernel[1],
                        t / g.kernel[2] % g.kernel[1],
                        t % g.kernel[2],
                    ];
                    let from: [usize; 3] = std::array::from_fn(|i| {
                        ((place[i] * g.stride[i] + tap[i]) as isize - g.before[i]) as usize
                    });
                    if (0..3).all(|i| from[i] < g.input[i]) {
                        let plane = image * self.channels + o / group_out * group_in + c;
                        let line = (plane * g.input[0] + from[0]) * g.input[1] + from[1];
                        let w = weight[(o * group_in + c) * g.taps() + t];
                        sum += f64::from(x[line * g.input[2] + from[2]]) * f64::from(w);
                    }
                }
                y.push(sum);
            }
        }
        y
    }
}

/// Planes `[N, C, area]` as words.
fn pack(packing: Packing, x: &[f32], channels: usize, area: usize) -> Vec<i32> {
    let c = packing.channels();
    let mut words = Vec::new();
    for image in x.chunks_exact(channels * area) {
        for first in (0..channels).step_by(c) {
            for i in 0..area {
                let at = |j: usize| match first + j < channels {
                    true => image[(first + j) * area + i],
                    false => 0.0,
                };
                words.push(match packing {
                    Packing::Bf16 => halves([at(0), at(1)]) as i32,
                    Packing::U8(q) => i32::from_le_bytes(std::array::from_fn(|j| {
                        ((at(j) / q.step).round_ties_even() + f32::from(q.zero)) as u8
                    })),
                });
            }
        }
    }
    words
}

/// Words as planes.
fn unpack(packing: Packing, words: &[i32], channels: usize, area: usize) -> Vec<f32> {
    let c = packing.channels();
    let mut x = Vec::new();
    for image in words.chunks_exact(channels.div_ceil(c) * area) {
        for channel in 0..channels {
            for i in 0..area {
                let word = image[channel / c * area + i];
                x.push(match packing {
                    Packing::Bf16 => f32::from_bits(((word as u32) >> (16 * (channel % c))) << 16),
                    Packing::U8(q) => {
                        (f32::from(word.to_le_bytes()[channel % c]) - f32::from(q.zero)) * q.step
                    }
                });
            }
        }
    }
    x
}

#[test]
fn packed_convolutions_from_and_to_words_and_planes_equal_their_sums() {
    let mut failed = Vec::new();
    for (case, bytes) in CASES.iter().flat_map(|c| [(c, false), (c, true)]) {
        let g = case.geometry();
        let count = case.batch * case.channels * g.input_area();
        let weights = case.out * case.channels / case.groups * g.taps();
        if crate::is_long_for_miri(case.batch * weights * g.output_area()) {
            continue;
        }
        let bias = eighths(3, case.out);
        let steps: Vec<i8> = numbers(2, weights, 255)
            .iter()
            .map(|v| (*v as i32 - 127) as i8)
            .collect();
        let scale: Vec<f32> = (0..case.out).map(|o| 0.0005 * (1 + o % 3) as f32).collect();
        let per_out = weights / case.out;
        let (input, output, added, x, weight) = match bytes {
            false => (
                Packing::Bf16,
                Packing::Bf16,
                Packing::Bf16,
                eighths(1, count),
                eighths(2, weights),
            ),
            true => (
                Packing::U8(INPUT),
                Packing::U8(OUTPUT),
                Packing::U8(ADDED),
                numbers(1, count, 256)
                    .iter()
                    .map(|v| (*v as f32 - 117.0) * INPUT.step)
                    .collect(),
                steps
                    .iter()
                    .enumerate()
                    .map(|(i, w)| f32::from(*w) * scale[i / per_out])
                    .collect(),
            ),
        };
        if !PackedConvolution::fits(input, case.groups, case.channels, case.out) {
            continue;
        }
        let packed_weights = match bytes {
            false => PackedWeights::Bf16(&weight),
            true => PackedWeights::I8 {
                weight: &steps,
                scale: &scale,
                input: INPUT,
            },
        };
        let sums = case.sums(&x, &weight, &bias);
        let other: Vec<f32> = numbers(5, sums.len(), 80)
            .iter()
            .map(|v| *v as f32 * 0.25 - 10.0)
            .collect();
        // Of what is added, what words of it hold.
        let other = unpack(
            added,
            &pack(added, &other, case.out, g.output_area()),
            case.out,
            g.output_area(),
        );
        let words_of_x = pack(input, &x, case.channels, g.input_area());
        let words_of_other = pack(added, &other, case.out, g.output_area());
        let relu = Some(Activation::Relu);
        let epilogues = [
            (None, false, None),
            (relu, false, None),
            (None, true, Some(Activation::Silu)),
            (Some(Activation::HardSwish), true, relu),
        ];
        // Under Miri the last, which has every part.
        let first_epilogue = if cfg!(miri) { 3 } else { 0 };
        for (activation, add, then) in epilogues.into_iter().skip(first_epilogue) {
            let apply =
                |f: Option<Activation>, v: f64| f.map_or(v, |f| f64::from(f.apply(v as f32)));
            let want: Vec<f64> = (sums.iter().zip(&other))
                .map(|(v, o)| {
                    apply(
                        then,
                        apply(activation, *v) + if add { f64::from(*o) } else { 0.0 },
                    )
                })
                .collect();
            let range = want.iter().fold(1f64, |m, v| m.max(v.abs()));
            for isa in Isa::available() {
                let mut first = None;
                for (from_words, to_words, threads) in [
                    (true, true, 1),
                    (false, true, 2),
                    (true, false, 5),
                    (false, false, 1),
                ] {
                    let context = Context::new(isa, threads);
                    let conv = PackedConvolution::new(
                        &context,
                        g,
                        case.batch,
                        case.groups,
                        [case.channels, case.out],
                        packed_weights,
                        Some(&bias),
                    );
                    let epilogue = PackedEpilogue {
                        activation,
                        added: add.then_some(PackedAdded {
                            map: match from_words {
                                true => Map::Words(&words_of_other, added),
                                false => Map::Planes(&other),
                            },
                            upsampled: false,
                        }),
                        then,
                    };
                    let x = match from_words {
                        true => Map::Words(&words_of_x, input),
                        false => Map::Planes(&x),
                    };
                    let mut planes = vec![f32::NAN; want.len()];
                    let area = g.output_area();
                    let (y, close) = if to_words {
                        let mut words =
                            vec![0; case.batch * case.out.div_ceil(output.channels()) * area];
                        conv.run(
                            &context,
                            x,
                            MapMut::Words(&mut words, output),
                            epilogue,
                            g.output[2],
                        );
                        planes = unpack(output, &words, case.out, area);
                        first.get_or_insert_with(|| words.clone());
                        if first != Some(words) {
                            failed.push(format!("{case:?} {bytes} {}: words differ", isa.name()));
                        }
                        let step = f64::from(OUTPUT.step);
                        let close = move |y: f32, want: f64| match bytes {
                            // Cut at the ends of 8 bits; a sum between two steps may go to either.
                            true => {
                                let want = want.clamp(-31.0 * step, 224.0 * step);
                                (f64::from(y) - want).abs() <= 0.501 * step
                            }
                            false => {
                                (f64::from(y) - want).abs() <= want.abs() / 250.0 + 1e-5 * range
                            }
                        };
                        (&planes, Box::new(close) as Box<dyn Fn(f32, f64) -> bool>)
                    } else {
                        conv.run(
                            &context,
                            x,
                            MapMut::Planes(&mut planes),
                            epilogue,
                            g.output[2],
                        );
                        let close =
                            move |y: f32, want: f64| (f64::from(y) - want).abs() <= 1e-5 * range;
                        (&planes, Box::new(close) as Box<dyn Fn(f32, f64) -> bool>)
                    };
                    let wrong = y.iter().zip(&want).position(|(y, w)| !close(*y, *w));
                    if let Some(i) = wrong {
                        failed.push(format!(
                            "{case:?} bytes {bytes} {activation:?} {add} {}, words {from_words} to {to_words}: {i} is {}, not {}",
                            isa.name(), y[i], want[i]
                        ));
                    }
                }
            }
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn a_map_of_half_the_size_is_added_to_two_by_two_results() {
    let (rows, columns) = if cfg!(miri) { (2, 16) } else { (6, 32) };
    let case = case(2, 1, [9, 11], [1, 1, 1], 1, [1, rows, columns]);
    let g = case.geometry();
    let x = eighths(1, 2 * 9 * g.input_area());
    let (weight, bias) = (eighths(2, 99), eighths(3, 11));
    let coarse_area = rows / 2 * (columns / 2);
    let coarse = eighths(4, 2 * 11 * coarse_area);
    let mut want = case.sums(&x, &weight, &bias);
    for (i, v) in want.iter_mut().enumerate() {
        let (plane, row, column) = (i / (rows * columns), i / columns % rows, i % columns);
        *v += f64::from(coarse[plane * coarse_area + row / 2 * (columns / 2) + column / 2]);
    }
    let words = pack(Packing::Bf16, &coarse, 11, coarse_area);
    for isa in Isa::available() {
        let context = Context::new(isa, 2);
        assert!(PackedConvolution::adds_upsampled(&context, &g));
        let weights = PackedWeights::Bf16(&weight);
        let conv = PackedConvolution::new(&context, g, 2, 1, [9, 11], weights, Some(&bias));
        for map in [Map::Planes(&coarse), Map::Words(&words, Packing::Bf16)] {
            let mut y = vec![f32::NAN; want.len()];
            let epilogue = PackedEpilogue {
                added: Some(PackedAdded {
                    map,
                    upsampled: true,
                }),
                ..PackedEpilogue::default()
            };
            conv.run(
                &context,
                Map::Planes(&x),
                MapMut::Planes(&mut y),
                epilogue,
                columns,
            );
            for (y, want) in y.iter().zip(&want) {
                assert!(
                    (f64::from(*y) - want).abs() < 1e-5,
                    "{y} is not {want} on {}",
                    isa.name()
                );
            }
        }
    }
}
