//! Times label heads on scores of different smoothness: `label_head [THREADS] [CLASSES]`.

use std::time::Instant;

use slicewise_graph::{Coordinates, Resize, ResizeMode};
use slicewise_kernels::{Context, Isa, LabelHead, LabelsMut};

/// Scores that change over `period` samples, with a share of noise.
fn scores(classes: usize, size: [usize; 2], period: f32, noise: f32) -> Vec<f32> {
    let mut state = 88_172_645_463_325_252u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    let mut x = Vec::new();
    for _ in 0..classes {
        let waves: [[f32; 4]; 4] = std::array::from_fn(|_| std::array::from_fn(|_| 3.2 * random()));
        for row in 0..size[0] {
            for column in 0..size[1] {
                let (y, x_at) = (row as f32 / period, column as f32 / period);
                let wave = |w: &[f32; 4]| (w[0] * y + w[1] * x_at + w[2]).sin() * w[3];
                let smooth: f32 = waves.iter().map(wave).sum();
                x.push((1.0 - noise) * smooth + noise * 3.0 * random());
            }
        }
    }
    x
}

fn main() {
    let mut args = std::env::args().skip(1).map(|a| a.parse().unwrap_or(2));
    let context = Context::new(Isa::best(), args.next().unwrap_or(2));
    let classes = args.next().unwrap_or(117);
    let (low, high) = ([128, 128], [512, 512]);
    let spec = Resize {
        size: high.to_vec(),
        mode: ResizeMode::Linear,
        coordinates: Coordinates::HalfPixel,
        scales: None,
    };
    let channels = 128;
    let identity = |period, noise| scores(channels, low, period, noise);
    // Weights that pass the first channels on, so that the scores are as smooth as the input.
    let mut weight = vec![0.0; classes * channels];
    for c in 0..classes.min(channels) {
        weight[c * channels + c] = 1.0;
    }
    let given = LabelHead::resampled(&context, &spec, &low, classes).expect("two axes");
    let product = LabelHead::convolved(&context, &spec, &low, classes, &weight, None);
    let product = product.expect("two axes");
    println!(
        "ms on {} threads, {classes} classes, 128² to 512²",
        context.threads()
    );
    for (name, period, noise) in [
        ("16 samples", 16.0, 0.0),
        ("8 samples", 8.0, 0.0),
        ("8 samples, 5 % noise", 8.0, 0.05),
        ("8 samples, 25 % noise", 8.0, 0.25),
        ("noise", 8.0, 1.0),
    ] {
        let x = identity(period, noise);
        let from = scores(classes, low, period, noise);
        let mut labels = vec![0u16; high[0] * high[1]];
        let mut best = [f64::INFINITY; 2];
        for _ in 0..30 {
            for (best, (head, x)) in best.iter_mut().zip([(&given, &from), (&product, &x)]) {
                let start = Instant::now();
                head.run(&context, x, LabelsMut::U16(&mut labels));
                *best = best.min(start.elapsed().as_secs_f64() * 1e3);
            }
        }
        println!(
            "{name:24} resampling {:6.3}, with convolution {:6.3}",
            best[0], best[1]
        );
    }
}
