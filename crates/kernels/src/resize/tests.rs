use slicewise_graph::{Coordinates, ResizeMode};

use super::*;
use crate::Isa;

#[test]
fn results_written_past_the_caches_are_the_same() {
    let (input, output) = match cfg!(miri) {
        false => ([41, 33], [2101, 2111]),
        true => ([7, 5], [17, 19]),
    };
    let spec = Resize {
        size: output.to_vec(),
        mode: ResizeMode::Linear,
        coordinates: Coordinates::HalfPixel,
        scales: None,
    };
    let plane = input[0] * input[1];
    let x: Vec<f32> = (0..2 * plane).map(|i| (i * 7919 % 1009) as f32).collect();
    let area = output[0] * output[1];
    assert!(area < STREAMED && 2 * area > STREAMED);
    for isa in Isa::available() {
        let context = Context::new(isa, 2);
        let resampling = Resampling::new(&context, &spec, &input);
        // One element further: rows that begin anywhere.
        let mut both = vec![f32::NAN; 2 * area + 1];
        resampling.run(&context, &x, &mut both[1..]);
        for (x, got) in x.chunks_exact(plane).zip(both[1..].chunks_exact(area)) {
            let mut want = vec![f32::NAN; area];
            resampling.run(&context, x, &mut want);
            assert!(got == want, "{}", isa.name());
        }
    }
}
