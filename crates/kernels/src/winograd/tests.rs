//! Every tile against the definition in f64, over odd sizes, on every instruction set.

use slicewise_graph::{Activation, Conv};

use super::{Winograd, WinogradTile};
use crate::{Context, Epilogue, Geometry, Isa};

/// Values in [-1, 1) that look random.
fn noise(seed: u64, n: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x2545_f491_4f6c_dd1d;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..n).map(|_| next()).collect()
}

/// The geometry of a convolution with `pad` on all sides and a stride in the plane.
fn geometry(kernel: &[usize], input: &[usize], pad: usize, stride: usize) -> Geometry {
    let axes = input.len();
    let pads: Vec<(usize, usize)> = kernel
        .iter()
        .map(|k| (pad * (k / 2), pad * (k / 2)))
        .collect();
    let strides: Vec<usize> = (0..axes)
        .map(|i| if i + 2 < axes { 1 } else { stride })
        .collect();
    let output: Vec<usize> = (0..axes)
        .map(|i| (input[i] + pads[i].0 + pads[i].1 - kernel[i]) / strides[i] + 1)
        .collect();
    let spec = Conv {
        kernel: kernel.to_vec(),
        stride: strides,
        dilation: vec![1; axes],
        pads,
        groups: 1,
    };
    Geometry::conv(&spec, input, &output)
}

/// The convolution by its definition, in f64, of as many groups of channels as the weights make.
fn reference(g: &Geometry, batch: usize, x: &[f32], w: &[f32], b: &[f32]) -> Vec<f64> {
    let (area, taps, out) = (g.input_area(), g.taps(), b.len());
    let all = x.len() / batch / area;
    let channels = w.len() / out / taps;
    let mut y = Vec::with_capacity(batch * out * g.output_area());
    for place in 0..batch * out * g.output_area() {
        let (rest, at) = (place / g.output_area(), place % g.output_area());
        let (image, o) = (rest / out, rest % out);
        let first = image * all + o / (out * channels / all) * channels;
        let at = [
            at / g.output[2] / g.output[1],
            at / g.output[2] % g.output[1],
            at % g.output[2],
        ];
        let mut sum = f64::from(b[o]);
        for tap in 0..taps {
            let tap_at = [
                tap / g.kernel[2] / g.kernel[1],
                tap / g.kernel[2] % g.kernel[1],
                tap % g.kernel[2],
            ];
            let from: [isize; 3] =
                std::array::from_fn(|i| (at[i] * g.stride[i] + tap_at[i]) as isize - g.before[i]);
            if (0..3).all(|i| (0..g.input[i] as isize).contains(&from[i])) {
                let [z, r, c] = from.map(|v| v as usize);
                let from = (z * g.input[1] + r) * g.input[2] + c;
                for channel in 0..channels {
                    let w = w[(o * channels + channel) * taps + tap];
                    sum += f64::from(w) * f64::from(x[(first + channel) * area + from]);
                }
            }
        }
        y.push(sum);
    }
    y
}

struct Case {
    kernel: &'static [usize],
    input: &'static [usize],
    pad: usize,
    stride: usize,
    batch: usize,
    groups: usize,
    channels: usize,
    out: usize,
}

impl Case {
    /// Inputs, and a weight for each output, input of its group and tap.
    fn values(&self, g: &Geometry, seed: u64) -> [Vec<f32>; 2] {
        let weights = self.out * self.channels / self.groups * g.taps();
        [
            noise(seed, self.batch * self.channels * g.input_area()),
            noise(seed + 1, weights),
        ]
    }
}

const fn plane(input: &'static [usize], batch: usize, channels: usize, out: usize) -> Case {
    Case {
        kernel: &[3, 3],
        input,
        pad: 1,
        stride: 1,
        batch,
        groups: 1,
        channels,
        out,
    }
}

const fn strided(input: &'static [usize], batch: usize, channels: usize, out: usize) -> Case {
    Case {
        stride: 2,
        ..plane(input, batch, channels, out)
    }
}

const fn volume(input: &'static [usize], batch: usize, channels: usize, out: usize) -> Case {
    Case {
        kernel: &[3, 3, 3],
        ..plane(input, batch, channels, out)
    }
}

const fn in_groups(groups: usize, case: Case) -> Case {
    Case { groups, ..case }
}

const CASES: &[Case] = &[
    plane(&[1, 1], 1, 1, 1),
    plane(&[4, 4], 1, 1, 8),
    plane(&[5, 3], 2, 3, 5),
    plane(&[7, 64], 1, 5, 9),
    plane(&[9, 67], 1, 2, 17),
    plane(&[16, 16], 3, 4, 8),
    plane(&[13, 33], 2, 67, 3),
    plane(&[6, 130], 1, 130, 41),
    Case {
        pad: 0,
        ..plane(&[8, 19], 2, 3, 7)
    },
    Case {
        pad: 2,
        ..plane(&[3, 15], 1, 3, 7)
    },
    Case {
        kernel: &[1, 3, 3],
        ..plane(&[3, 5, 9], 2, 3, 7)
    },
    strided(&[1, 1], 1, 1, 1),
    strided(&[8, 8], 1, 1, 8),
    strided(&[11, 5], 2, 3, 5),
    strided(&[15, 128], 1, 5, 9),
    strided(&[17, 131], 1, 2, 17),
    strided(&[32, 32], 3, 4, 8),
    strided(&[13, 66], 2, 37, 3),
    strided(&[12, 30], 1, 130, 41),
    Case {
        pad: 0,
        ..strided(&[9, 39], 2, 3, 7)
    },
    Case {
        kernel: &[1, 3, 3],
        ..strided(&[3, 6, 19], 2, 3, 7)
    },
    Case {
        stride: 2,
        ..volume(&[5, 9, 33], 2, 7, 9)
    },
    Case {
        stride: 2,
        ..volume(&[6, 10, 40], 1, 30, 17)
    },
    in_groups(3, plane(&[9, 21], 2, 9, 15)),
    in_groups(2, plane(&[16, 40], 1, 140, 4)),
    in_groups(2, strided(&[13, 34], 2, 6, 26)),
    in_groups(2, volume(&[3, 5, 9], 2, 6, 10)),
    volume(&[1, 1, 1], 1, 1, 1),
    volume(&[3, 5, 7], 2, 3, 5),
    volume(&[5, 4, 33], 1, 70, 9),
    volume(&[6, 9, 16], 1, 2, 37),
    Case {
        pad: 0,
        ..volume(&[4, 7, 18], 2, 3, 7)
    },
];

const TILES: &[(usize, usize)] = &[(1, 2), (1, 4), (2, 2), (2, 4), (4, 4)];

fn check(case: &Case, seed: u64, context: &Context) -> Result<(), String> {
    let g = geometry(case.kernel, case.input, case.pad, case.stride);
    let [x, w] = case.values(&g, seed);
    let b = noise(seed + 2, case.out);
    let want = reference(&g, case.batch, &x, &w, &b);
    let residual = noise(seed + 3, want.len());
    let rms = (want.iter().map(|v| v * v).sum::<f64>() / want.len() as f64).sqrt();
    for &(depth, plane) in TILES {
        let tile = WinogradTile { depth, plane };
        if !tile.fits(&g) {
            continue;
        }
        let (batch, groups) = (case.batch, case.groups);
        let winograd = Winograd::new(context, g, tile, batch, groups, case.out, &w, Some(&b));
        let epilogues = [
            Epilogue::default(),
            Epilogue {
                activation: Some(Activation::Relu),
                ..Epilogue::default()
            },
            Epilogue {
                residual: Some(&residual),
                then: Some(Activation::Relu6),
                ..Epilogue::default()
            },
            Epilogue {
                activation: Some(Activation::HardSwish),
                residual: Some(&residual),
                then: Some(Activation::Tanh),
            },
        ];
        // Under Miri the last, which has every part.
        let first = if cfg!(miri) { 3 } else { 0 };
        for epilogue in epilogues.into_iter().skip(first) {
            let mut y = vec![f32::NAN; want.len()];
            winograd.run(context, &x, &mut y, epilogue);
            for (i, (got, sum)) in y.iter().zip(&want).enumerate() {
                let apply = |f: Option<Activation>, v: f32| f.map_or(v, |f| f.apply(v));
                let sum = apply(epilogue.activation, *sum as f32);
                let sum = sum + epilogue.residual.map_or(0.0, |r| r[i]);
                let sum = apply(epilogue.then, sum);
                // Hard-swish has a slope of up to 1.5.
                if f64::from((got - sum).abs()) > 2e-5 * rms.max(1.0) {
                    return Err(format!(
                        "{:?} {} -> {} in {groups} groups, batch {batch}, with {tile:?} on {} x{}: {got} is not {sum} at {i}",
                        case.input,
                        case.channels,
                        case.out,
                        context.isa().name(),
                        context.threads()
                    ));
                }
            }
        }
    }
    Ok(())
}

#[test]
fn every_tile_equals_the_definition() {
    let mut failed = Vec::new();
    for isa in Isa::available() {
        let several: &[usize] = if cfg!(miri) { &[3] } else { &[1, 3] };
        for &threads in several {
            let context = Context::new(isa, threads);
            for (i, case) in CASES.iter().enumerate() {
                let size: usize = case.input.iter().product();
                if crate::is_long_for_miri(2 * size * case.channels * case.out) {
                    continue;
                }
                failed.extend(check(case, 10 * i as u64 + 1, &context).err());
            }
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn the_number_of_threads_does_not_change_a_bit() {
    let cases = if cfg!(miri) {
        [
            plane(&[9, 9], 1, 2, 9),
            in_groups(2, plane(&[9, 9], 1, 2, 10)),
            strided(&[17, 9], 1, 2, 9),
            volume(&[3, 5, 6], 1, 2, 7),
        ]
    } else {
        [
            plane(&[33, 45], 1, 100, 70),
            in_groups(5, plane(&[33, 45], 2, 80, 80)),
            strided(&[65, 90], 1, 60, 70),
            volume(&[5, 9, 20], 2, 70, 40),
        ]
    };
    for case in cases {
        let g = geometry(case.kernel, case.input, case.pad, case.stride);
        let [x, w] = case.values(&g, 1);
        for &(depth, plane) in TILES {
            let tile = WinogradTile { depth, plane };
            if !tile.fits(&g) {
                continue;
            }
            let run = |threads: usize| {
                let context = Context::new(Isa::best(), threads);
                let (batch, groups) = (case.batch, case.groups);
                let winograd = Winograd::new(&context, g, tile, batch, groups, case.out, &w, None);
                let mut y = vec![0.0; case.batch * case.out * g.output_area()];
                winograd.run(&context, &x, &mut y, Epilogue::default());
                y
            };
            let one = run(1);
            let several: &[usize] = if cfg!(miri) { &[2] } else { &[2, 16] };
            for &threads in several {
                assert!(run(threads) == one, "{tile:?} on {threads} threads");
            }
        }
    }
}

/// Largest and root mean square error of `y`, as parts of the root mean square of `want`.
fn errors(y: &[f32], want: &[f64]) -> (f64, f64) {
    let square = want.iter().map(|v| v * v).sum::<f64>();
    let error = |(y, want): (&f32, &f64)| (f64::from(*y) - want).abs();
    let largest = y.iter().zip(want).map(error).fold(0.0, f64::max);
    let sum = y.iter().zip(want).map(error).map(|e| e * e).sum::<f64>();
    (
        largest / (square / want.len() as f64).sqrt(),
        (sum / square).sqrt(),
    )
}

/// Errors against f64 with inputs as after a ReLU and weights as trained ones, in millionths of the
/// results' root mean square; `--nocapture` prints the table.
#[test]
#[cfg_attr(
    miri,
    ignore = "takes long, and runs nothing that every tile's test does not"
)]
fn errors_stay_near_those_of_the_direct_convolution() {
    let context = Context::new(Isa::best(), 1);
    // Root mean square errors allowed, in millionths, by tile and stride.
    let limits = [
        ((1, 2), 0.6),
        ((1, 4), 1.0),
        ((2, 2), 0.8),
        ((2, 4), 1.2),
        ((4, 4), 2.2),
    ];
    for channels in [32, 64, 128, 256] {
        for (size, kernel, stride) in [
            (&[32, 32][..], &[3, 3][..], 1),
            (&[32, 32][..], &[3, 3][..], 2),
            (&[4, 16, 16][..], &[3, 3, 3][..], 1),
        ] {
            let g = geometry(kernel, size, 1, stride);
            let out = 8;
            let x: Vec<f32> = noise(1, channels * g.input_area())
                .iter()
                .map(|v| v.max(0.0))
                .collect();
            let w = noise(2, out * channels * g.taps());
            let b = vec![0.0; out];
            let want = reference(&g, 1, &x, &w, &b);
            let mut y = vec![0.0; want.len()];
            let direct = crate::Convolution::new(&context, g, 1, 1, out, &w, None);
            direct.run(
                &context,
                &x,
                crate::Destination::Values(&mut y, Epilogue::default()),
            );
            let (largest, rms) = errors(&y, &want);
            println!(
                "{channels:4} direct {:6.2} {:6.2}",
                1e6 * largest,
                1e6 * rms
            );
            for ((depth, plane), limit) in limits {
                let tile = WinogradTile { depth, plane };
                if !tile.fits(&g) {
                    continue;
                }
                let winograd = Winograd::new(&context, g, tile, 1, 1, out, &w, None);
                winograd.run(&context, &x, &mut y, Epilogue::default());
                let (largest, rms) = errors(&y, &want);
                let name = winograd.describe();
                println!(
                    "{channels:4} {name} {:6.2} {:6.2}",
                    1e6 * largest,
                    1e6 * rms
                );
                assert!(1e6 * rms < limit, "{channels} channels, {name}: {rms:e}");
            }
        }
    }
}
