//! nnU-Net's `PlainConvUNet` (Isensee et al. 2021) as TotalSegmentator uses it.

use slicewise_graph::{Conv, ConvTranspose, NodeId};

use super::{Volumetric, conv3, instance_norm, leaky_relu};
use crate::net::{Built, Net};

pub(crate) const TOTALSEGMENTATOR: Volumetric = Volumetric {
    name: "totalsegmentator",
    multiple: 1 << (WIDTHS.len() - 1),
    build,
};

/// Channels of the stages, each at half the resolution of the one before.
const WIDTHS: [usize; 6] = [32, 64, 128, 256, 320, 320];

fn build(net: &mut Net, x: NodeId, classes: usize) -> Built {
    let mut x = x;
    let mut skips = Vec::with_capacity(WIDTHS.len());
    for (i, width) in WIDTHS.into_iter().enumerate() {
        let stride = if i == 0 { 1 } else { 2 };
        x = double_conv(net, &format!("encoder.stages.{i}.0"), x, width, stride)?;
        skips.push(x);
    }
    skips.pop();
    let mut scores = x;
    for (i, &skip) in skips.iter().rev().enumerate() {
        let width = net.channels(skip);
        let up = ConvTranspose::upsample(3, 2);
        x = net.conv_transpose(&format!("decoder.transpconvs.{i}"), x, width, up, true)?;
        x = net.concat(1, &[x, skip])?;
        x = double_conv(net, &format!("decoder.stages.{i}"), x, width, 1)?;
        // Deep supervision trains a head at every level; only the finest reaches the output.
        let head = format!("decoder.seg_layers.{i}");
        scores = net.conv(&head, x, classes, Conv::new(3, 1), true)?;
    }
    Ok(scores)
}

/// Twice convolution, instance norm and leaky ReLU.
fn double_conv(net: &mut Net, name: &str, x: NodeId, width: usize, stride: usize) -> Built {
    let mut x = x;
    for (i, stride) in [stride, 1].into_iter().enumerate() {
        x = net.conv(
            &format!("{name}.convs.{i}.conv"),
            x,
            width,
            conv3(stride),
            true,
        )?;
        x = instance_norm(net, &format!("{name}.convs.{i}.norm"), x)?;
        x = leaky_relu(net, x)?;
    }
    Ok(x)
}
