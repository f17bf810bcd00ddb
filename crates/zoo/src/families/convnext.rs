//! ConvNeXt (Liu et al. 2022, "A ConvNet for the 2020s"), timm's `ConvNeXt`.

use slicewise_graph::{Conv, NodeId};

use super::transformer::{EPS, mlp, norm_head};
use super::{Family, Finest, Part, row};
use crate::net::{Built, Net};

pub(crate) const FAMILY: Family = Family {
    name: "convnext",
    encoders: || ROWS.iter().map(|r| r.name).collect(),
    build,
    finest: Finest::Stride4,
};

struct Row {
    name: &'static str,
    blocks: [usize; 4],
    widths: [usize; 4],
}

#[rustfmt::skip]
const ROWS: &[Row] = &[
    Row { name: "convnext_tiny", blocks: [3, 3, 9, 3], widths: [96, 192, 384, 768] },
    Row { name: "convnext_small", blocks: [3, 3, 27, 3], widths: [96, 192, 384, 768] },
];

fn build(encoder: &str, net: &mut Net, x: NodeId, part: Part) -> Built<Vec<NodeId>> {
    let row = row(ROWS, |r| r.name, encoder);
    pyramid(net, x, part, row.widths, |net, s, stage, mut x| {
        for i in 0..row.blocks[s] {
            x = block(net, &format!("{stage}.blocks.{i}"), x, 7)?;
        }
        Ok(x)
    })
}

/// The frame that EdgeNeXt has too: 4×4 patches, four stages of blocks with a normalised 2×2
/// convolution of stride 2 before each but the first, and the classifier. `stage` adds the blocks
/// of the stage of that number and key.
pub(crate) fn pyramid(
    net: &mut Net,
    x: NodeId,
    part: Part,
    widths: [usize; 4],
    stage: impl Fn(&mut Net, usize, &str, NodeId) -> Built,
) -> Built<Vec<NodeId>> {
    let patch = Conv::new(2, 4).stride(4);
    let x = net.conv(&part.child("stem", 0), x, widths[0], patch, true)?;
    let mut x = net.layer_norm(&part.child("stem", 1), x, 1, EPS)?;
    let mut levels = Vec::new();
    for (s, &width) in widths.iter().enumerate() {
        let name = part.child("stages", s);
        if s > 0 {
            let halve = Conv::new(2, 2).stride(2);
            x = net.layer_norm(&format!("{name}.downsample.0"), x, 1, EPS)?;
            x = net.conv(&format!("{name}.downsample.1"), x, width, halve, true)?;
        }
        x = stage(net, s, &name, x)?;
        levels.push(x);
    }
    match part {
        Part::Features => Ok(levels),
        Part::Classifier { classes } => Ok(vec![norm_head(net, x, classes)?]),
    }
}

/// Depthwise convolution, then layer norm and an MLP on every pixel, scaled per channel by
/// `gamma` and added to the input.
pub(crate) fn block(net: &mut Net, name: &str, x: NodeId, kernel: usize) -> Built {
    let width = net.channels(x);
    let depthwise = Conv::new(2, kernel).pad(kernel / 2).groups(width);
    let y = net.conv(&format!("{name}.conv_dw"), x, width, depthwise, true)?;
    let y = net.transpose(y, &[0, 2, 3, 1])?;
    let y = pixel_mlp(net, name, y)?;
    net.add(x, y)
}

/// Layer norm, MLP and the scale `gamma` on the last axis of `[N, H, W, C]`; back to `[N, C, H, W]`.
pub(crate) fn pixel_mlp(net: &mut Net, name: &str, x: NodeId) -> Built {
    let y = net.layer_norm(&format!("{name}.norm"), x, 3, EPS)?;
    let y = mlp(net, &format!("{name}.mlp"), y)?;
    let gamma = net.parameter(&format!("{name}.gamma"), &[net.size(x, 3)])?;
    let y = net.mul(y, gamma)?;
    net.transpose(y, &[0, 3, 1, 2])
}
