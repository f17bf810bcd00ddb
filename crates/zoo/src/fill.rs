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
    fill_parameter(name, sizes, 1.0)
}

/// The tensor of one state-dict entry, weights of rank 2 and more multiplied by `gain`: some networks
/// with many gates are chaotic at gain 1, so that rounding alone changes their answers.
pub fn fill_parameter(name: &str, sizes: &[usize], gain: f32) -> Tensor {
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
        (0.0, (6.0 / fan_in.max(1) as f64).sqrt() as f32 * gain)
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Key, sizes, the bits of the first four elements and of the last one: `fill_vectors.json`
    /// of `tools/reference`, written by the Python implementation.
    #[rustfmt::skip]
    const WEIGHTS: &[(&str, &[usize], [u32; 5])] = &[
        ("encoder.conv_stem.weight", &[32, 3, 3, 3], [0xbe5e5785, 0xbe99cf4b, 0x3daf53e6, 0xbec4be71, 0x3ef11c29]),
        ("encoder.bn1.weight", &[32], [0x3f85c554, 0x3f9dae25, 0x3f9d07d8, 0x3f684f12, 0x3f9b8cde]),
        ("encoder.bn1.bias", &[32], [0x3d7fb74d, 0xbd062cea, 0x3d4d350a, 0x3b2e8700, 0xbce964b3]),
        ("encoder.bn1.running_mean", &[32], [0xbaf28e67, 0xbcb05c87, 0xbd8f8808, 0xbda8c835, 0x3d52501a]),
        ("encoder.bn1.running_var", &[32], [0x3f470c60, 0x3f9d8e74, 0x3fa5fc20, 0x3f8b7707, 0x3f5e223d]),
        ("decoder.lateral_convs.0.weight", &[128, 32, 1, 1], [0x3e99330b, 0x3e3322c4, 0x3e524c09, 0xbe9197b6, 0xbe610212]),
        ("decoder.lateral_convs.0.bias", &[128], [0xbd681090, 0xbd72df47, 0x3d6758cd, 0x3cb5b02d, 0xbbb37a4d]),
        ("decoder.upconvs.0.weight", &[960, 256, 2, 2], [0xbc17d760, 0xbbae9ecf, 0x3ce450bb, 0x3d56b379, 0xbc61f2fb]),
        ("encoder.stages_0.blocks.0.gamma", &[96], [0x3f4dbf32, 0x3f945295, 0x3f76ad82, 0x3f6864f0, 0x3f9a9b23]),
        ("pos_embed", &[1, 197, 192], [0xbbe074bc, 0x3947b0db, 0x3c4dfc28, 0x3c36c416, 0x39a84751]),
        ("cls_token", &[1, 1, 192], [0xbb8433b9, 0xbd5e90ad, 0x3af32cf9, 0x3dd2417d, 0xbdd49f5b]),
        ("head.weight", &[1000, 192], [0x3da4f84e, 0x3dcbb961, 0xb9a57f02, 0x3e059932, 0xbc93cd10]),
        ("classifier.bias", &[1000], [0xbdbf2088, 0x3c8ed7c7, 0x3cad5420, 0x3cd80d27, 0x3c8c045a]),
        ("conv_blocks_context.0.0.conv1.weight", &[16, 1, 3, 3, 3], [0xbd113a43, 0xbeb44a5d, 0x3c1e90a5, 0xbe810283, 0x3eb13d57]),
        ("é.some_bias", &[4, 2], [0x3d2a47e0, 0x3d4895d0, 0xbcefece0, 0xbd773c90, 0xbd5d8c87]),
    ];

    /// The same of the input `[1, 3, 64, 96]`.
    const INPUT: [u32; 5] = [0xbf4deac2, 0x3e9c045c, 0xbf17be90, 0xbee6f7fc, 0x3e952fbc];

    /// The bits of the first four elements and of the last one.
    fn sample(tensor: &Tensor) -> [u32; 5] {
        let values = tensor.as_f32().unwrap();
        [0, 1, 2, 3, values.len() - 1].map(|i| values[i].to_bits())
    }

    #[test]
    fn every_bit_is_the_python_implementations() {
        for (key, sizes, want) in WEIGHTS {
            assert_eq!(sample(&parameter(key, sizes)), *want, "{key}");
        }
        assert_eq!(sample(&fill_input(&[1, 3, 64, 96])), INPUT);
    }
}
