//! Times one 3×3 layer, direct and with each Winograd tile, interleaved:
//! `convolve IN OUT THREADS RUNS [DEPTH] HEIGHT WIDTH`.

use std::time::Instant;

use slicewise_graph::Conv;
use slicewise_kernels::{
    Context, Convolution, Destination, Epilogue, Geometry, Isa, Winograd, WinogradTile,
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<usize> = std::env::args()
        .skip(1)
        .map(|a| a.parse())
        .collect::<Result<_, _>>()?;
    let &[channels, out, threads, runs, ref size @ ..] = &args[..] else {
        return Err("convolve IN OUT THREADS RUNS [DEPTH] HEIGHT WIDTH".into());
    };
    let axes = size.len();
    let spec = Conv {
        kernel: vec![3; axes],
        stride: vec![1; axes],
        dilation: vec![1; axes],
        pads: vec![(1, 1); axes],
        groups: 1,
    };
    let g = Geometry::conv(&spec, size, size);
    let context = Context::new(Isa::from_env()?, threads);
    let value = |i: usize| (i * 2_654_435_761 % 1999) as f32 / 1000.0 - 1.0;
    let x: Vec<f32> = (0..channels * g.input_area()).map(value).collect();
    let x = slicewise_kernels::Buffer::from_slice(&x);
    let x = x.as_f32();
    let w: Vec<f32> = (0..out * channels * g.taps()).map(value).collect();
    let mut y = slicewise_kernels::Buffer::floats(out * g.output_area());
    let y = y.as_f32_mut();

    let direct = Convolution::new(&context, g, 1, 1, out, &w, None);
    let only = std::env::var("ONLY").ok();
    let tiles = [(1, 2), (1, 4), (2, 2), (2, 4), (4, 4)];
    let winograds: Vec<Winograd> = tiles
        .iter()
        .map(|&(depth, plane)| WinogradTile { depth, plane })
        .filter(|tile| tile.fits(&g))
        .map(|tile| Winograd::new(&context, g, tile, 1, out, &w, None))
        .filter(|w| only.as_ref().is_none_or(|o| w.describe().ends_with(o)))
        .collect();
    let mut times = vec![Vec::new(); winograds.len() + 1];
    for run in 0..=runs {
        for (i, times) in times.iter_mut().enumerate() {
            if i == 0 && only.is_some() {
                times.push(f64::NAN);
                continue;
            }
            let start = Instant::now();
            match i.checked_sub(1) {
                None => {
                    let to = Destination::Values(y, Epilogue::default());
                    direct.run(&context, x, to);
                }
                Some(i) => winograds[i].run(&context, x, y, Epilogue::default()),
            }
            if run > 0 {
                times.push(start.elapsed().as_secs_f64() * 1e3);
            }
        }
    }
    let flops = 2e-6 * (out * channels * g.taps() * g.output_area()) as f64;
    for (i, times) in times.iter_mut().enumerate() {
        times.sort_by(f64::total_cmp);
        let name = i
            .checked_sub(1)
            .map_or(direct.describe(), |i| winograds[i].describe());
        let median = times[times.len() / 2];
        println!(
            "{name:20} median {median:8.3} ms  best {:8.3} ms  {:7.1} GFLOP/s",
            times[0],
            flops / median
        );
    }
    Ok(())
}
