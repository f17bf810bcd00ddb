//! Semantic FPN (Kirillov et al. 2019, "Panoptic Feature Pyramid Networks"), P2 only.

use slicewise_graph::{Conv, NodeId};

use crate::net::{Built, Net};

/// Channels of every pyramid level.
const WIDTH: usize = 128;

/// Class scores `[N, classes, size…]` from feature maps of which the last four, strides 4 to 32,
/// are used.
pub(crate) fn fpn(net: &mut Net, levels: &[NodeId], classes: usize, size: &[usize]) -> Built {
    let levels = &levels[levels.len().saturating_sub(4)..];
    let c1 = Conv::new(2, 1);
    let c3 = Conv::new(2, 3).pad(1);
    let mut pyramid = Vec::with_capacity(levels.len());
    for (i, &level) in levels.iter().enumerate() {
        let name = format!("lateral_convs.{i}");
        pyramid.push(net.conv(&name, level, WIDTH, c1.clone(), true)?);
    }
    for i in (1..pyramid.len()).rev() {
        let finer = net.spatial(pyramid[i - 1]);
        let up = net.resize_nearest(pyramid[i], &finer)?;
        pyramid[i - 1] = net.add(pyramid[i - 1], up)?;
    }
    // All four smoothing convolutions are trained, but only the finest reaches the output.
    let mut finest = None;
    for (i, &level) in pyramid.iter().enumerate() {
        let smooth = net.conv(&format!("smooth_convs.{i}"), level, WIDTH, c3.clone(), true)?;
        finest.get_or_insert(smooth);
    }
    let x = finest.unwrap_or(pyramid[0]);
    let x = net.conv("seg_head.0", x, WIDTH, c3, true)?;
    let x = net.batch_norm("seg_head.1", x)?;
    let x = net.relu(x)?;
    let x = net.conv("seg_head.3", x, classes, c1, true)?;
    net.resize_linear(x, size)
}
