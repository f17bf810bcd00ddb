use slicewise_graph::{Conv, Coordinates, Resize, ResizeMode};

use super::*;
use crate::{Convolution, Destination, Epilogue, Geometry, Isa, Resampling, arg_max};

/// A generator of numbers that look random.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// In [-1, 1).
    fn value(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() >> 33) as usize % n
    }
}

const KINDS: [&str; 9] = [
    "noise",
    "smooth",
    "ties",
    "near ties",
    "constant",
    "huge",
    "tiny",
    "beyond",
    "negative",
];

/// Scores `[n, height, width]`.
fn scores(kind: &str, n: usize, [height, width]: [usize; 2], noise: &mut Noise) -> Vec<f32> {
    let waves: Vec<[f32; 4]> = (0..n)
        .map(|_| std::array::from_fn(|_| 3.0 * noise.value()))
        .collect();
    let mut x = Vec::with_capacity(n * height * width);
    for wave in &waves {
        for y in 0..height {
            for column in 0..width {
                let (fy, fx) = (y as f32 / 8.0, column as f32 / 8.0);
                let smooth = (wave[0] * fy + wave[1]).sin() + (wave[2] * fx + wave[3]).cos();
                x.push(match kind {
                    "noise" => noise.value(),
                    "smooth" => smooth,
                    "ties" => noise.below(3) as f32 - 1.0,
                    // The same values at all corners but for the last bits.
                    "near ties" => {
                        let base = 1.0 + ((y / 3 + column / 5) % 4) as f32;
                        f32::from_bits(base.to_bits() + noise.below(3) as u32)
                    }
                    "constant" => 0.7,
                    "huge" => 3.0e38 * noise.value(),
                    "tiny" => 1.0e-40 * noise.value(),
                    "beyond" => match noise.below(60) {
                        0 => f32::NAN,
                        1 => f32::INFINITY,
                        2 => f32::NEG_INFINITY,
                        _ => smooth,
                    },
                    _ => -1.0e6 - 100.0 * noise.value(),
                });
            }
        }
    }
    x
}

fn resize(mode: ResizeMode, coordinates: Coordinates, size: [usize; 2]) -> Resize {
    Resize {
        size: size.to_vec(),
        mode,
        coordinates,
        scales: None,
    }
}

/// The labels of `x` on the long way: all scores at full size, then the first largest.
fn long_way(
    context: &Context,
    spec: &Resize,
    input: [usize; 2],
    classes: usize,
    x: &[f32],
) -> Vec<u16> {
    let area = spec.size.iter().product::<usize>();
    let mut full = vec![0.0; x.len() / (input[0] * input[1]) * area];
    Resampling::new(context, spec, &input).run(context, x, &mut full);
    let mut labels = vec![0u16; full.len() / classes];
    arg_max(context, &full, classes, area, LabelsMut::U16(&mut labels));
    labels
}

/// Runs a head into labels of every type that holds its classes.
fn labels(head: &LabelHead, context: &Context, x: &[f32], n: usize, classes: usize) -> Vec<u16> {
    let mut wide = vec![u16::MAX; n];
    head.run(context, x, LabelsMut::U16(&mut wide));
    let (mut a, mut b) = (vec![-1i32; n], vec![-1i64; n]);
    head.run(context, x, LabelsMut::I32(&mut a));
    head.run(context, x, LabelsMut::I64(&mut b));
    assert!(wide.iter().zip(&a).all(|(w, a)| i32::from(*w) == *a));
    assert!(wide.iter().zip(&b).all(|(w, b)| i64::from(*w) == *b));
    if classes <= 256 {
        let mut narrow = vec![u8::MAX; n];
        head.run(context, x, LabelsMut::U8(&mut narrow));
        assert!(wide.iter().zip(&narrow).all(|(w, n)| *w == u16::from(*n)));
    }
    wide
}

/// `(input, output)`: ratios 4, 2, 1, 3.5, 32, 5/3, less than one, single samples.
const SIZES: [([usize; 2], [usize; 2]); 12] = [
    ([9, 37], [36, 148]),
    ([17, 18], [34, 36]),
    ([8, 50], [16, 100]),
    ([5, 23], [5, 23]),
    ([8, 22], [28, 77]),
    ([3, 5], [96, 160]),
    ([7, 33], [12, 55]),
    ([20, 41], [9, 17]),
    ([30, 40], [5, 10]),
    ([1, 1], [7, 9]),
    ([1, 19], [4, 76]),
    ([13, 1], [52, 4]),
];

#[test]
fn labels_are_those_of_the_resampled_scores() {
    let conventions = [
        (ResizeMode::Linear, Coordinates::HalfPixel),
        (ResizeMode::Linear, Coordinates::AlignCorners),
        (ResizeMode::Linear, Coordinates::Asymmetric),
        (ResizeMode::Nearest, Coordinates::Asymmetric),
        (ResizeMode::Nearest, Coordinates::HalfPixel),
    ];
    let mut failed = Vec::new();
    let mut noise = Noise(77);
    for isa in Isa::available() {
        for (i, (input, output)) in SIZES.iter().enumerate() {
            for (j, (mode, coordinates)) in conventions.iter().enumerate() {
                for (k, kind) in KINDS.iter().enumerate() {
                    let classes = [2, 3, 16, 17, 117, 300][(i + k) % 6];
                    let batch = 1 + (i + k) % 2;
                    let results = classes * output.iter().product::<usize>();
                    // Under Miri one kind in five for each size and convention.
                    let left_out = cfg!(miri) && (i + j + k) % 5 != 0;
                    if left_out || crate::is_long_for_miri(results * batch) {
                        continue;
                    }
                    let context = Context::new(isa, [1, 2, 5][(i + k) % 3]);
                    let spec = resize(*mode, *coordinates, *output);
                    let x = scores(kind, batch * classes, *input, &mut noise);
                    let want = long_way(&context, &spec, *input, classes, &x);
                    let head = LabelHead::resampled(&context, &spec, input, classes);
                    let head = head.expect("two axes, two samples");
                    let got = labels(&head, &context, &x, want.len(), classes);
                    let wrong = got.iter().zip(&want).filter(|(g, w)| g != w).count();
                    if wrong > 0 {
                        failed.push(format!(
                            "{}, {input:?} to {output:?}, {spec:?}, {kind}, {classes} classes: \
                             {wrong} of {} labels differ",
                            isa.name(),
                            want.len()
                        ));
                    }
                }
            }
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn a_head_with_its_convolution_gives_the_labels_of_the_three_operators() {
    let mut failed = Vec::new();
    let mut noise = Noise(5);
    for isa in Isa::available() {
        for (i, (input, output)) in SIZES.iter().enumerate() {
            for (k, kind) in KINDS.iter().enumerate() {
                let classes = [2, 3, 7, 16, 17, 21, 117, 300][(3 * i + k) % 8];
                let channels = [1, 5, 32, 128, 300][(i + k) % 5];
                let batch = 1 + (i + k) % 2;
                let [low, high] = [input, output].map(|s| s.iter().product::<usize>());
                if crate::is_long_for_miri(batch * classes * (channels * low + high)) {
                    continue;
                }
                let context = Context::new(isa, [1, 2, 5][(i + k) % 3]);
                let spec = resize(ResizeMode::Linear, Coordinates::HalfPixel, *output);
                let x = scores(kind, batch * channels, *input, &mut noise);
                let w = scores("noise", classes, [1, channels], &mut noise);
                let bias = scores("noise", classes, [1, 1], &mut noise);
                let bias = (k % 2 == 0).then_some(&bias[..]);

                let geometry = Geometry::conv(&Conv::new(2, 1), input, input);
                let conv = Convolution::new(&context, geometry, batch, 1, classes, &w, bias);
                let mut low = vec![0.0; batch * classes * input[0] * input[1]];
                let to = Destination::Values(&mut low, Epilogue::default());
                conv.run(&context, &x, to);
                let want = long_way(&context, &spec, *input, classes, &low);

                let head = LabelHead::convolved(&context, &spec, input, classes, &w, bias);
                let head = head.expect("two axes, two samples");
                let got = labels(&head, &context, &x, want.len(), classes);
                let wrong = got.iter().zip(&want).filter(|(g, w)| g != w).count();
                if wrong > 0 {
                    failed.push(format!(
                        "{}, {input:?} to {output:?}, {kind}, {channels} channels, {classes} \
                         classes: {wrong} of {} labels differ",
                        isa.name(),
                        want.len()
                    ));
                }
            }
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
#[cfg_attr(miri, ignore = "an hour")]
fn images_wider_than_a_strip_have_no_seams() {
    let (input, output, classes) = ([3, 700], [12, 2800], 117);
    for isa in Isa::available() {
        for kind in ["noise", "smooth", "beyond"] {
            let context = Context::new(isa, 2);
            let spec = resize(ResizeMode::Linear, Coordinates::HalfPixel, output);
            let x = scores(kind, classes, input, &mut Noise(9));
            let head = LabelHead::resampled(&context, &spec, &input, classes);
            let head = head.expect("two axes, two samples");
            assert!(head.strip < input[1], "more than one strip");
            let want = long_way(&context, &spec, input, classes, &x);
            let got = labels(&head, &context, &x, want.len(), classes);
            assert!(got == want, "{kind} on {}", isa.name());
        }
    }
}

#[test]
fn cubic_and_spatial_resamplings_are_left_to_others() {
    let context = Context::new(Isa::best(), 1);
    let cubic = ResizeMode::Cubic { antialias: false };
    let spec = resize(cubic, Coordinates::HalfPixel, [8, 8]);
    assert!(LabelHead::resampled(&context, &spec, &[4, 4], 3).is_none());
    let spec = Resize {
        size: vec![8, 8, 8],
        ..resize(ResizeMode::Linear, Coordinates::HalfPixel, [8, 8])
    };
    assert!(LabelHead::resampled(&context, &spec, &[4, 4, 4], 3).is_none());
}
