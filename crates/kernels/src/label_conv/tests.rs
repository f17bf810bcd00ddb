use slicewise_graph::{Conv, ConvTranspose};

use super::*;
use crate::{Convolution, Destination, Epilogue, Geometry, Isa, Upconvolution, arg_max};

/// Values that look random; with `beyond` some are not finite.
fn values(seed: u64, n: usize, beyond: bool) -> Vec<f32> {
    let mut state = seed * 2_654_435_761 + 88_172_645_463_325_252;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state >> 40
    };
    let value = |bits: u64| match bits % 97 {
        0 if beyond => f32::NAN,
        1 if beyond => f32::INFINITY,
        2 if beyond => f32::NEG_INFINITY,
        // Few different values, so that there are ties.
        _ => (bits % 9) as f32 / 4.0 - 1.0,
    };
    (0..n).map(|_| value(next())).collect()
}

fn labels(conv: &LabelConvolution, context: &Context, x: &[f32], n: usize) -> Vec<u16> {
    let mut labels = vec![u16::MAX; n];
    conv.run(context, x, LabelsMut::U16(&mut labels));
    let mut wide = vec![-1i64; n];
    conv.run(context, x, LabelsMut::I64(&mut wide));
    assert!(labels.iter().zip(&wide).all(|(l, w)| i64::from(*l) == *w));
    labels
}

fn strongest(context: &Context, scores: &[f32], classes: usize, area: usize) -> Vec<u16> {
    let mut labels = vec![0; scores.len() / classes];
    arg_max(context, scores, classes, area, LabelsMut::U16(&mut labels));
    labels
}

#[test]
fn labels_are_the_largest_scores_of_the_convolution() {
    let mut failed = Vec::new();
    for isa in Isa::available() {
        let sizes: [&[usize]; 6] = [&[1], &[37], &[7, 9], &[40, 31], &[3, 5, 7], &[1, 1]];
        for (i, size) in sizes.iter().enumerate() {
            for (k, classes) in [1, 2, 3, 7, 16, 17, 21, 117, 300].into_iter().enumerate() {
                let channels = [1, 3, 32, 64, 300][(i + k) % 5];
                let (batch, beyond) = (1 + (i + k) % 2, (i + k) % 3 == 0);
                let area = size.iter().product::<usize>();
                if crate::is_long_for_miri(batch * area * channels * classes) {
                    continue;
                }
                let context = Context::new(isa, [1, 2, 5][k % 3]);
                let x = values(1, batch * channels * area, beyond);
                let (w, b) = (
                    values(2, classes * channels, false),
                    values(3, classes, false),
                );
                let bias = (k % 2 == 0).then_some(&b[..]);

                let geometry = Geometry::conv(&Conv::new(size.len(), 1), size, size);
                let conv = Convolution::new(&context, geometry, batch, 1, classes, &w, bias);
                let mut scores = vec![0.0; batch * classes * area];
                conv.run(
                    &context,
                    &x,
                    Destination::Values(&mut scores, Epilogue::default()),
                );
                let want = strongest(&context, &scores, classes, area);

                let conv = LabelConvolution::new(&context, size, classes, &w, bias);
                let got = labels(&conv.expect("few classes"), &context, &x, want.len());
                if got != want {
                    failed.push(format!("{}, {size:?}, {channels} to {classes}", isa.name()));
                }
            }
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn transposed_labels_are_the_largest_scores_of_the_transposed_convolution() {
    let mut failed = Vec::new();
    for isa in Isa::available() {
        let cases: [(&[usize], &[usize]); 7] = [
            (&[5, 37], &[2, 2]),
            (&[16, 16], &[2, 2]),
            (&[33, 65], &[2, 2]),
            (&[3, 4, 19], &[2, 2, 2]),
            (&[6, 7], &[3, 3]),
            (&[4, 5, 6], &[1, 2, 2]),
            (&[9], &[4]),
        ];
        for (i, (size, factor)) in cases.into_iter().enumerate() {
            for (k, classes) in [2, 17, 117, 300].into_iter().enumerate() {
                let channels = [1, 3, 32, 70][(i + k) % 4];
                let (batch, beyond) = (1 + (i + k) % 2, (i + k) % 3 == 0);
                let taps = factor.iter().product::<usize>();
                let area = size.iter().product::<usize>();
                if crate::is_long_for_miri(batch * area * taps * channels * classes) {
                    continue;
                }
                let context = Context::new(isa, [1, 2, 5][k % 3]);
                let x = values(4, batch * channels * area, beyond);
                let w = values(5, channels * classes * taps, false);
                let b = values(6, classes, false);
                let spec = ConvTranspose {
                    kernel: factor.to_vec(),
                    stride: factor.to_vec(),
                    ..ConvTranspose::upsample(size.len(), 2)
                };
                let output: Vec<usize> = size.iter().zip(factor).map(|(s, f)| s * f).collect();
                let conv = Upconvolution::new(
                    &context,
                    &spec,
                    size,
                    &output,
                    batch,
                    channels,
                    &w,
                    Some(&b),
                );
                let mut scores = vec![0.0; batch * classes * area * taps];
                conv.run(&context, &x, &mut scores, None);
                let want = strongest(&context, &scores, classes, area * taps);

                let conv =
                    LabelConvolution::transposed(&context, &spec, size, classes, &w, Some(&b));
                let got = labels(&conv.expect("no overlap"), &context, &x, want.len());
                if got != want {
                    failed.push(format!("{}, {size:?} by {factor:?}, {classes}", isa.name()));
                }
            }
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn windows_that_overlap_are_left_to_others() {
    let context = Context::new(Isa::best(), 1);
    let spec = ConvTranspose {
        kernel: vec![3, 3],
        ..ConvTranspose::upsample(2, 2)
    };
    let weight = [0.0; 9 * 4];
    assert!(LabelConvolution::transposed(&context, &spec, &[4, 4], 2, &weight, None).is_none());
}
