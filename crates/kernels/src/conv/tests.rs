//! Convolutions against sums in f64, on every instruction set and several numbers of threads.

use slicewise_graph::{Activation, Conv};

use crate::{Context, Convolution, Destination, Epilogue, Geometry, Isa};

/// Values in [-1, 1) that look random.
fn noise(seed: u64, n: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..n).map(next).collect()
}

struct Case {
    batch: usize,
    groups: usize,
    channels: usize,
    out: usize,
    kernel: &'static [usize],
    stride: usize,
    pad: usize,
    size: &'static [usize],
}

impl Case {
    fn geometry(&self) -> Geometry {
        let spec = Conv {
            kernel: self.kernel.to_vec(),
            stride: vec![self.stride; self.size.len()],
            pads: vec![(self.pad, self.pad); self.size.len()],
            ..Conv::new(self.size.len(), 1)
        };
        let output: Vec<usize> = (self.size.iter().zip(self.kernel))
            .map(|(n, k)| (n + 2 * self.pad - k) / self.stride + 1)
            .collect();
        Geometry::conv(&spec, self.size, &output)
    }

    /// Every sum, one product after the other.
    fn reference(&self, x: &[f32], weight: &[f32], bias: &[f32]) -> Vec<f32> {
        let g = self.geometry();
        let (group_in, group_out) = (self.channels / self.groups, self.out / self.groups);
        let mut y = Vec::new();
        for image in 0..self.batch {
            for o in 0..self.out {
                let first = image * self.channels + o / group_out * group_in;
                for at in 0..g.output_area() {
                    let place = [
                        at / g.output[2] / g.output[1],
                        at / g.output[2] % g.output[1],
                        at % g.output[2],
                    ];
                    let mut sum = f64::from(bias[o]);
                    for c in 0..group_in {
                        for t in 0..g.taps() {
                            let tap = [
                                t / g.kernel[2] / g.kernel[1],
                                t / g.kernel[2] % g.kernel[1],
                                t % g.kernel[2],
                            ];
                            let from: Vec<usize> = (0..3)
                                .map(|i| place[i] * g.stride[i] + tap[i])
                                .zip(g.before)
                                .map(|(at, before)| (at as isize - before) as usize)
                                .collect();
                            if (0..3).all(|i| from[i] < g.input[i]) {
                                let area = (first + c) * g.input[0];
                                let line = (area + from[0]) * g.input[1] + from[1];
                                let x = x[line * g.input[2] + from[2]];
                                let w = weight[(o * group_in + c) * g.taps() + t];
                                sum += f64::from(x) * f64::from(w);
                            }
                        }
                    }
                    y.push(sum as f32);
                }
            }
        }
        y
    }
}

const CASES: &[Case] = &[
    // Pointwise: whole registers, tails, one panel, channels of several blocks, few columns.
    case(1, 1, 20, 24, &[1, 1], 1, 0, &[8, 16]),
    case(2, 1, 7, 5, &[1, 1], 1, 0, &[5, 13]),
    case(1, 1, 700, 40, &[1, 1], 1, 0, &[6, 9]),
    case(2, 1, 350, 19, &[1], 1, 0, &[3]),
    case(1, 1, 33, 1, &[1, 1], 1, 0, &[4, 100]),
    case(2, 3, 12, 27, &[1, 1], 1, 0, &[11, 12]),
    // Every second and third element.
    case(2, 1, 30, 21, &[1, 1], 2, 0, &[9, 70]),
    case(1, 2, 10, 12, &[1, 1], 3, 0, &[8, 50]),
    case(1, 1, 400, 9, &[1, 1, 1], 2, 0, &[3, 4, 11]),
    // Windows on rows of whole registers and on narrow ones, channels of several blocks.
    case(1, 1, 45, 20, &[3, 3], 1, 1, &[6, 33]),
    case(2, 1, 3, 11, &[3, 3], 2, 1, &[12, 41]),
    case(1, 1, 70, 64, &[3, 3], 1, 1, &[7, 5]),
    case(2, 1, 14, 70, &[3, 3, 3], 1, 1, &[4, 3, 6]),
    case(1, 1, 30, 65, &[3, 3, 3], 2, 1, &[5, 6, 7]),
    case(1, 2, 36, 128, &[2, 5], 1, 2, &[4, 9]),
    case(1, 4, 32, 40, &[3, 3], 2, 1, &[14, 14]),
    // Enough columns for tiles that are packed or gathered together, and some left over.
    case(1, 1, 20, 15, &[1, 1], 1, 0, &[13, 24]),
    case(2, 2, 14, 26, &[1, 1], 1, 0, &[17, 19]),
    case(1, 1, 700, 13, &[1, 1], 1, 0, &[10, 30]),
    case(1, 1, 9, 20, &[1, 1], 2, 0, &[30, 40]),
    case(1, 1, 10, 64, &[3, 3], 1, 1, &[60, 5]),
    case(1, 1, 3, 20, &[3, 3], 2, 1, &[31, 90]),
    // Small ones, which Miri runs.
    case(1, 1, 3, 4, &[1, 1], 1, 0, &[3, 5]),
    case(1, 1, 2, 3, &[3, 3], 1, 1, &[3, 5]),
    case(1, 2, 4, 4, &[3, 3], 2, 1, &[5, 7]),
];

const fn case(
    batch: usize,
    groups: usize,
    channels: usize,
    out: usize,
    kernel: &'static [usize],
    stride: usize,
    pad: usize,
    size: &'static [usize],
) -> Case {
    Case {
        batch,
        groups,
        channels,
        out,
        kernel,
        stride,
        pad,
        size,
    }
}

#[test]
fn convolutions_with_every_epilogue_equal_their_sums() {
    let relu = Some(Activation::Relu);
    let swish = Some(Activation::HardSwish);
    let mut failed = Vec::new();
    for (i, case) in CASES.iter().enumerate() {
        let g = case.geometry();
        let per_place = case.batch * case.out * case.channels / case.groups * g.taps();
        if crate::is_long_for_miri(per_place * g.output_area()) {
            continue;
        }
        let x = noise(1, case.batch * case.channels * g.input_area());
        let weight = noise(2, case.out * case.channels / case.groups * g.taps());
        let bias = noise(3, case.out);
        let sums = case.reference(&x, &weight, &bias);
        let other = noise(4, sums.len());
        for (activation, add, then) in [
            (None, false, None),
            (relu, false, None),
            (swish, false, None),
            (None, true, None),
            (relu, true, relu),
            (None, true, swish),
        ] {
            let apply = |f: Option<Activation>, v: f32| f.map_or(v, |f| f.apply(v));
            let want: Vec<f32> = (sums.iter().zip(&other))
                .map(|(v, o)| apply(then, apply(activation, *v) + if add { *o } else { 0.0 }))
                .collect();
            let range = want.iter().fold(1f32, |m, v| m.max(v.abs()));
            for isa in Isa::available() {
                let mut first: Option<Vec<f32>> = None;
                for &threads in crate::TEST_THREADS {
                    let context = Context::new(isa, threads);
                    let bias = Some(&bias[..]);
                    let (batch, groups, out) = (case.batch, case.groups, case.out);
                    let conv = Convolution::new(&context, g, batch, groups, out, &weight, bias);
                    let mut y = vec![f32::NAN; want.len()];
                    let epilogue = Epilogue {
                        activation,
                        residual: add.then_some(&other[..]),
                        then,
                    };
                    conv.run(&context, &x, Destination::Values(&mut y, epilogue));
                    let wrong =
                        |(y, want): (&f32, &f32)| y.is_nan() || (y - want).abs() > 1e-5 * range;
                    let at = || format!("case {i} {activation:?} {add} {}", isa.name());
                    if let Some(j) = y.iter().zip(&want).position(wrong) {
                        failed.push(format!("{}: {j} is {}, not {}", at(), y[j], want[j]));
                    }
                    let same = first.get_or_insert_with(|| y.clone());
                    if *same != y {
                        failed.push(format!("{}: {threads} threads differ", at()));
                    }
                }
            }
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
