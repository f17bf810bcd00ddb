//! STU-Net (Huang et al. 2023), "Scalable and Transferable Medical Image Segmentation Models".

use slicewise_graph::{Conv, NodeId};

use super::{Volumetric, conv3, instance_norm, leaky_relu};
use crate::net::{Built, Net};

pub(crate) const SMALL: Volumetric = Volumetric {
    name: "stunet_s",
    multiple: MULTIPLE,
    build: |net, x, classes| build(net, x, classes, 16, 1),
};

pub(crate) const BASE: Volumetric = Volumetric {
    name: "stunet_b",
    multiple: MULTIPLE,
    build: |net, x, classes| build(net, x, classes, 32, 1),
};

pub(crate) const LARGE: Volumetric = Volumetric {
    name: "stunet_l",
    multiple: MULTIPLE,
    build: |net, x, classes| build(net, x, classes, 64, 2),
};

pub(crate) const HUGE: Volumetric = Volumetric {
    name: "stunet_h",
    multiple: MULTIPLE,
    build: |net, x, classes| build(net, x, classes, 96, 3),
};

/// Channels of the levels in multiples of the finest one's.
const WIDTHS: [usize; 6] = [1, 2, 4, 8, 16, 16];

const MULTIPLE: usize = 1 << (WIDTHS.len() - 1);

/// The network with `base` channels at full resolution and `depth` blocks a stage.
fn build(net: &mut Net, x: NodeId, classes: usize, base: usize, depth: usize) -> Built {
    let mut x = x;
    let mut skips = Vec::with_capacity(WIDTHS.len());
    for (i, width) in WIDTHS.into_iter().enumerate() {
        let stride = if i == 0 { 1 } else { 2 };
        let name = format!("conv_blocks_context.{i}");
        x = stage(net, &name, x, base * width, stride, depth)?;
        skips.push(x);
    }
    skips.pop();
    let mut scores = x;
    for (i, &skip) in skips.iter().rev().enumerate() {
        let width = net.channels(skip);
        x = net.resize_nearest(x, &net.spatial(skip))?;
        let mix = format!("upsample_layers.{i}.conv");
        x = net.conv(&mix, x, width, Conv::new(3, 1), true)?;
        x = net.concat(1, &[x, skip])?;
        x = stage(
            net,
            &format!("conv_blocks_localization.{i}"),
            x,
            width,
            1,
            depth,
        )?;
        // Deep supervision trains a head at every level; only the finest reaches the output.
        let head = format!("seg_outputs.{i}");
        scores = net.conv(&head, x, classes, Conv::new(3, 1), true)?;
    }
    Ok(scores)
}

/// Residual blocks, of which the first changes size and channels.
fn stage(net: &mut Net, name: &str, x: NodeId, width: usize, stride: usize, depth: usize) -> Built {
    let mut x = x;
    for i in 0..depth {
        let shortcut = (i == 0).then(|| Conv::new(3, 1).stride(stride));
        x = block(net, &format!("{name}.{i}"), x, width, shortcut)?;
    }
    Ok(x)
}

/// Two convolutions with instance norm, added to the input or to its 1×1×1 `shortcut`.
fn block(net: &mut Net, name: &str, x: NodeId, width: usize, shortcut: Option<Conv>) -> Built {
    let stride = shortcut.as_ref().map_or(1, |c| c.stride[0]);
    let y = net.conv(&format!("{name}.conv1"), x, width, conv3(stride), true)?;
    let y = instance_norm(net, &format!("{name}.norm1"), y)?;
    let y = leaky_relu(net, y)?;
    let y = net.conv(&format!("{name}.conv2"), y, width, conv3(1), true)?;
    let y = instance_norm(net, &format!("{name}.norm2"), y)?;
    let x = match shortcut {
        Some(conv) => net.conv(&format!("{name}.conv3"), x, width, conv, true)?,
        None => x,
    };
    let sum = net.add(y, x)?;
    leaky_relu(net, sum)
}
