//! Weights that are the same on every machine and in PyTorch, for models without a weights file.

use slicewise_graph::{Graph, GraphError, Tensor};

/// Fills every parameter from a hash of its name and the element's index.
///
/// # Errors
/// If the graph's parameters have no fixed size; the zoo's have.
pub fn fill(graph: &mut Graph) -> Result<(), GraphError> {
    graph.load(|name, sizes| Ok(parameter(name, sizes)))
}

/// The input that reference outputs were made from: uniform in [-1, 1).
pub fn fill_input(shape: &[usize]) -> Tensor {
    let seed = fnv1a("input");
    Tensor::from_fn(shape, |i| uniform(seed, i))
}

/// The tensor of one state-dict entry.
pub(crate) fn parameter(name: &str, sizes: &[usize]) -> Tensor {
    let seed = fnv1a(name);
    let key = name.rsplit('.').next().unwrap_or(name);
    let (base, scale) = if key == "running_mean" || key == "bias" || key.ends_with("_bias") {
        (0.0, 0.1)
    } else if key == "running_var" {
        (1.0, 0.5)
    } else if sizes.len() <= 1 {
        (1.0, 0.25)
    } else {
        let fan_in: usize = sizes[1..].iter().product();
        (0.0, (6.0 / fan_in.max(1) as f64).sqrt() as f32)
    };
    Tensor::from_fn(sizes, |i| base + scale * uniform(seed, i))
}

/// FNV-1a, 64 bits.
fn fnv1a(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |h, b| {
        (h ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// The `i`-th value of the SplitMix64 sequence of `seed`, as a float in [-1, 1) with 24 bits.
fn uniform(seed: u64, i: usize) -> f32 {
    let mut z = seed.wrapping_add((i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^= z >> 31;
    (z >> 40) as f32 * (1.0 / (1 << 23) as f32) - 1.0
}
