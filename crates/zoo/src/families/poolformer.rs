//! PoolFormer (Yu et al. 2022, "MetaFormer Is Actually What You Need for Vision"), timm's
//! `MetaFormer` with `Pooling` as token mixer.

use slicewise_graph::{Activation, Conv, NodeId, PoolKind, ReshapeDim};

use super::transformer::norm_head;
use super::{Family, Finest, Part, row};
use crate::net::{Built, Net};

pub(crate) const FAMILY: Family = Family {
    name: "poolformer",
    encoders: || ROWS.iter().map(|r| r.name).collect(),
    build,
    finest: Finest::Stride4,
};

struct Row {
    name: &'static str,
    blocks: [usize; 4],
}

#[rustfmt::skip]
const ROWS: &[Row] = &[
    Row { name: "poolformer_s12", blocks: [2, 2, 6, 2] },
    Row { name: "poolformer_s24", blocks: [4, 4, 12, 4] },
];

const WIDTHS: [usize; 4] = [64, 128, 320, 512];

fn build(encoder: &str, net: &mut Net, x: NodeId, part: Part) -> Built<Vec<NodeId>> {
    let row = row(ROWS, |r| r.name, encoder);
    let patch = Conv::new(2, 7).stride(4).pad(2);
    let mut x = net.conv("stem.conv", x, WIDTHS[0], patch, true)?;
    let mut levels = Vec::new();
    for (s, (&width, &blocks)) in WIDTHS.iter().zip(&row.blocks).enumerate() {
        let stage = part.child("stages", s);
        if s > 0 {
            let halve = Conv::new(2, 3).stride(2).pad(1);
            x = net.conv(&format!("{stage}.downsample.conv"), x, width, halve, true)?;
        }
        for i in 0..blocks {
            x = block(net, &format!("{stage}.blocks.{i}"), x)?;
        }
        levels.push(x);
    }
    match part {
        Part::Features => Ok(levels),
        Part::Classifier { classes } => Ok(vec![norm_head(net, x, classes)?]),
    }
}

/// The difference of every pixel from its neighbours' mean, then an MLP on every pixel; both on
/// normalised maps, scaled per channel and added.
fn block(net: &mut Net, name: &str, x: NodeId) -> Built {
    let width = net.channels(x);
    let y = net.group_norm(&format!("{name}.norm1"), x, 1, 1e-5)?;
    let y = neighbours(net, y)?;
    let x = add_scaled(net, &format!("{name}.layer_scale1"), x, y)?;

    let pointwise = Conv::new(2, 1);
    let y = net.group_norm(&format!("{name}.norm2"), x, 1, 1e-5)?;
    let fc1 = format!("{name}.mlp.fc1");
    let y = net.conv(&fc1, y, 4 * width, pointwise.clone(), true)?;
    let y = net.act(Activation::GeluErf, y)?;
    let y = net.conv(&format!("{name}.mlp.fc2"), y, width, pointwise, true)?;
    add_scaled(net, &format!("{name}.layer_scale2"), x, y)
}

/// The mean of the 3×3 neighbourhood, as much of it as lies inside, less the pixel itself.
fn neighbours(net: &mut Net, x: NodeId) -> Built {
    let kind = PoolKind::Average {
        count_include_pad: false,
    };
    let mean = net.pool(x, kind, 3, 1, 1)?;
    net.sub(mean, x)
}

/// `x + scale · y` with a `scale` per channel.
fn add_scaled(net: &mut Net, name: &str, x: NodeId, y: NodeId) -> Built {
    let width = net.channels(y);
    let scale = net.parameter(&format!("{name}.scale"), &[width])?;
    let per_channel = [
        ReshapeDim::Fixed(width),
        ReshapeDim::Fixed(1),
        ReshapeDim::Fixed(1),
    ];
    let scale = net.reshape(scale, &per_channel)?;
    let y = net.mul(y, scale)?;
    net.add(x, y)
}
