//! U-Net's decoder (Ronneberger et al. 2015) on a pretrained encoder.

use slicewise_graph::{Conv, ConvTranspose, NodeId};

use crate::net::{Built, Net};

/// Class scores `[N, classes, size…]` from the five feature maps at strides 2 to 32.
pub(crate) fn unet(net: &mut Net, levels: &[NodeId], classes: usize, size: &[usize]) -> Built {
    let widest = levels.iter().map(|&l| net.channels(l)).max().unwrap_or(0);
    let widths = [
        widest.min(256),
        (widest / 2).min(128),
        (widest / 4).min(64),
        (widest / 8).min(32),
    ];
    let up = ConvTranspose::upsample(2, 2);
    let c3 = Conv::new(2, 3).pad(1);
    let (coarsest, skips) = levels.split_last().expect("an encoder has feature maps");
    let mut x = *coarsest;
    for (i, (&width, &skip)) in widths.iter().zip(skips.iter().rev()).enumerate() {
        x = net.conv_transpose(&format!("upconvs.{i}"), x, width, up.clone(), true)?;
        x = net.resize_linear(x, &net.spatial(skip))?;
        x = net.concat(1, &[x, skip])?;
        for (conv, norm) in [(0, 1), (3, 4)] {
            let block = format!("blocks.{i}.conv");
            x = net.conv(&format!("{block}.{conv}"), x, width, c3.clone(), false)?;
            x = net.batch_norm(&format!("{block}.{norm}"), x)?;
            x = net.relu(x)?;
        }
    }
    x = net.conv_transpose("final_upconv", x, widths[3], up, true)?;
    let x = net.conv("seg_head", x, classes, Conv::new(2, 1), true)?;
    net.resize_linear(x, size)
}
