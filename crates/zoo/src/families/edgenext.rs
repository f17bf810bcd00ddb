//! EdgeNeXt (Maaz et al. 2022, "EdgeNeXt: Efficiently Amalgamated CNN-Transformer Architecture for
//! Mobile Vision Applications"), timm's `EdgeNeXt`.

use std::f32::consts::TAU;

use slicewise_graph::{Conv, GraphError, NodeId, Op, ReshapeDim, Tensor};

use super::convnext::{block, pixel_mlp, pyramid};
use super::transformer::{EPS, join_heads, query_key_value};
use super::{Family, Finest, Part, row};
use crate::net::{Built, Net};

pub(crate) const FAMILY: Family = Family {
    name: "edgenext",
    encoders: || ROWS.iter().map(|r| r.name).collect(),
    build,
    finest: Finest::Stride4,
};

struct Row {
    name: &'static str,
    widths: [usize; 4],
    heads: usize,
}

#[rustfmt::skip]
const ROWS: &[Row] = &[
    Row { name: "edgenext_x_small", widths: [32, 64, 100, 192], heads: 4 },
    Row { name: "edgenext_small", widths: [48, 96, 160, 304], heads: 8 },
];

/// What all encoders of the family do in a stage.
struct Stage {
    blocks: usize,
    /// The depthwise kernel of the convolutional blocks.
    kernel: usize,
    /// Chunks of channels in the attention block that ends the stage, if one does.
    chunks: Option<usize>,
    /// Whether that block adds the position of its tokens.
    positions: bool,
}

#[rustfmt::skip]
const STAGES: [Stage; 4] = [
    Stage { blocks: 3, kernel: 3, chunks: None, positions: false },
    Stage { blocks: 3, kernel: 5, chunks: Some(2), positions: true },
    Stage { blocks: 9, kernel: 7, chunks: Some(3), positions: false },
    Stage { blocks: 3, kernel: 9, chunks: Some(4), positions: false },
];

fn build(encoder: &str, net: &mut Net, x: NodeId, part: Part) -> Built<Vec<NodeId>> {
    let row = row(ROWS, |r| r.name, encoder);
    pyramid(net, x, part, row.widths, |net, s, name, mut x| {
        let stage = &STAGES[s];
        for i in 0..stage.blocks {
            let name = format!("{name}.blocks.{i}");
            x = match stage.chunks {
                Some(chunks) if i + 1 == stage.blocks => {
                    split_attention(net, &name, x, row.heads, chunks, stage.positions)?
                }
                _ => block(net, &name, x, stage.kernel)?,
            };
        }
        Ok(x)
    })
}

/// timm's `SplitTransposeBlock`: convolutions on ever more chunks of the channels, attention
/// between channels, an MLP on every pixel; added to the input.
fn split_attention(
    net: &mut Net,
    name: &str,
    x: NodeId,
    heads: usize,
    chunks: usize,
    positions: bool,
) -> Built {
    let (width, height, breadth) = (net.channels(x), net.size(x, 2), net.size(x, 3));
    let y = cascade(net, name, x, chunks)?;
    let mut y = tokens(net, y)?;
    if positions {
        let pos = position_tokens(net, &format!("{name}.pos_embd"), width, height, breadth)?;
        y = net.add(y, pos)?;
    }
    let normed = net.layer_norm(&format!("{name}.norm_xca"), y, 2, EPS)?;
    let attended = channel_attention(net, &format!("{name}.xca"), normed, heads)?;
    let gamma = net.parameter(&format!("{name}.gamma_xca"), &[width])?;
    let attended = net.mul(attended, gamma)?;
    let y = net.add(y, attended)?;
    let map = [
        ReshapeDim::Copy,
        ReshapeDim::Fixed(height),
        ReshapeDim::Fixed(breadth),
        ReshapeDim::Fixed(width),
    ];
    let y = net.reshape(y, &map)?;
    let y = pixel_mlp(net, name, y)?;
    net.add(x, y)
}

/// Depthwise 3×3 convolutions on all chunks of the channels but the last, each of which sees its
/// chunk and what the convolution before made.
fn cascade(net: &mut Net, name: &str, x: NodeId, chunks: usize) -> Built {
    let channels = net.channels(x);
    let width = channels.div_ceil(chunks);
    let mut parts = Vec::with_capacity(chunks);
    for i in 0..chunks {
        let mut part = net.slice(x, 1, i * width, channels.min((i + 1) * width))?;
        if i + 1 < chunks {
            if let Some(&before) = parts.last() {
                part = net.add(before, part)?;
            }
            let conv = Conv::new(2, 3).pad(1).groups(width);
            part = net.conv(&format!("{name}.convs.{i}"), part, width, conv, true)?;
        }
        parts.push(part);
    }
    net.concat(1, &parts)
}

/// `[N, H·W, C]` from `[N, C, H, W]`.
fn tokens(net: &mut Net, x: NodeId) -> Built {
    let pixels = net.size(x, 2) * net.size(x, 3);
    let flat = [
        ReshapeDim::Copy,
        ReshapeDim::Copy,
        ReshapeDim::Fixed(pixels),
    ];
    let x = net.reshape(x, &flat)?;
    net.transpose(x, &[0, 2, 1])
}

/// timm's `CrossCovarianceAttn`: every channel of a head attends to the others, by the cosine of
/// their values over all tokens.
fn channel_attention(net: &mut Net, name: &str, x: NodeId, heads: usize) -> Built {
    let channels_first = [0, 2, 3, 1];
    let tokens_first = [0, 2, 1, 3];
    let orders = [channels_first, tokens_first, channels_first];
    let [q, k, v] = query_key_value(net, name, x, heads, orders)?;
    let normalize = |axis| Op::L2Normalize { axis, eps: 1e-12 };
    let q = net.unary("normalize", normalize(3), q)?;
    let k = net.unary("normalize", normalize(2), k)?;
    let cosines = net.matmul(q, k)?;
    let temperature = net.parameter(&format!("{name}.temperature"), &[heads, 1, 1])?;
    let scores = net.mul(cosines, temperature)?;
    let attention = net.softmax(scores, 3)?;
    let y = net.matmul(attention, v)?;
    join_heads(net, name, y, [0, 3, 1, 2])
}

/// Waves per axis in the encoding of positions, sines and cosines together.
const WAVES: usize = 32;
/// The encoding is computed when the graph is built: 1 GiB for this many positions, at stride 8.
const MOST_POSITIONS: usize = 1 << 22;

/// Positions as tokens `[1, H·W, C]`: the Fourier encoding through the 1×1 `token_projection`.
fn position_tokens(
    net: &mut Net,
    name: &str,
    width: usize,
    height: usize,
    breadth: usize,
) -> Built {
    let encoding = format!("{name}.encoding");
    if height.saturating_mul(breadth) > MOST_POSITIONS {
        return Err(GraphError::Unsupported {
            node: encoding,
            op: "Parameter",
            problem: format!(
                "{height}x{breadth} positions are more than {MOST_POSITIONS}: use an image of at \
                 most 16384x16384"
            ),
        });
    }
    let x = net.constant(&encoding, fourier(height, breadth))?;
    let projection = format!("{name}.token_projection");
    let x = net.conv(&projection, x, width, Conv::new(2, 1), true)?;
    tokens(net, x)
}

/// The encoding of timm's `PositionalEncodingFourier`, `[1, 2·WAVES, H, W]`: sine (even channels)
/// and cosine (odd) of the position along the height, then along the width. In f32 and in the
/// reference's order, as trained weights expect its rounding.
fn fourier(height: usize, width: usize) -> Tensor {
    let pixels = height * width;
    Tensor::from_fn(&[1, 2 * WAVES, height, width], |i| {
        let (channel, pixel) = (i / pixels, i % pixels);
        let (position, size) = if channel < WAVES {
            (pixel / width, height)
        } else {
            (pixel % width, width)
        };
        let turn = (position + 1) as f32 / (size as f32 + 1e-6) * TAU;
        let wave = channel % WAVES;
        let exponent = (2 * (wave / 2)) as f32 / WAVES as f32;
        let angle = f64::from(turn / 10000f64.powf(exponent.into()) as f32);
        let value = if wave.is_multiple_of(2) {
            angle.sin()
        } else {
            angle.cos()
        };
        value as f32
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Options, build};

    #[test]
    fn positions_are_encoded_as_timm_encodes_them() {
        // PositionalEncodingFourier on 3 rows and 5 columns, [channel, row, column] and the value.
        let reference: [([usize; 3], f32); 10] = [
            ([0, 0, 0], 0.86602575),
            ([1, 0, 4], -0.49999943),
            ([2, 2, 0], -0.3817612),
            ([17, 1, 3], 0.9991228),
            ([32, 0, 0], 0.9510565),
            ([32, 0, 4], -7.7882873e-07),
            ([33, 1, 3], 0.30901623),
            ([40, 2, 2], 0.3681245),
            ([47, 0, 4], 0.9937644),
            ([63, 1, 1], 0.9999999),
        ];
        let encoding = fourier(3, 5);
        let got = encoding.as_f32().expect("f32");
        let off: Vec<String> = reference
            .iter()
            .filter_map(|&([c, y, x], want)| {
                let got = got[(c * 3 + y) * 5 + x];
                let near = (got - want).abs() <= 1e-6;
                (!near).then(|| format!("[{c}, {y}, {x}] is {got}, not {want}"))
            })
            .collect();
        assert!(off.is_empty(), "{off:#?}");
    }

    #[test]
    fn an_image_too_large_to_encode_is_refused_before_memory_is_asked_for() {
        let options = Options::default().size(&[1 << 28, 1 << 28]);
        let error = build("edgenext_x_small", &options).expect_err("2^50 positions");
        assert!(error.to_string().contains("16384x16384"), "{error}");
    }
}
