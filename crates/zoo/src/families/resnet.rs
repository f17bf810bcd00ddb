//! ResNet (He et al. 2015), timm's `ResNet`.

use slicewise_graph::{Conv, NodeId};

use super::{Family, Finest, Part, row};
use crate::net::{Built, Net};

pub(crate) const FAMILY: Family = Family {
    name: "resnet",
    encoders: || ROWS.iter().map(|r| r.name).collect(),
    build,
    finest: Finest::Stride2,
};

struct Row {
    name: &'static str,
    /// Whether blocks are 1×1–3×3–1×1 with four times the width at their end.
    bottleneck: bool,
    blocks: [usize; 4],
}

#[rustfmt::skip]
const ROWS: &[Row] = &[
    Row { name: "resnet18", bottleneck: false, blocks: [2, 2, 2, 2] },
    Row { name: "resnet34", bottleneck: false, blocks: [3, 4, 6, 3] },
    Row { name: "resnet50", bottleneck: true, blocks: [3, 4, 6, 3] },
];

fn build(encoder: &str, net: &mut Net, x: NodeId, part: Part) -> Built<Vec<NodeId>> {
    let row = row(ROWS, |r| r.name, encoder);
    let x = net.conv("conv1", x, 64, Conv::new(2, 7).stride(2).pad(3), false)?;
    let x = net.batch_norm("bn1", x)?;
    let stem = net.relu(x)?;
    let mut levels = vec![stem];
    let mut x = net.max_pool(stem, 3, 2, 1)?;
    for (stage, &blocks) in row.blocks.iter().enumerate() {
        for i in 0..blocks {
            let name = format!("layer{}.{i}", stage + 1);
            let stride = if i == 0 && stage > 0 { 2 } else { 1 };
            x = block(net, &name, x, 64 << stage, stride, row.bottleneck)?;
        }
        levels.push(x);
    }
    match part {
        Part::Features => Ok(levels),
        Part::Classifier { classes } => {
            let x = net.global_mean(x, false)?;
            Ok(vec![net.linear("fc", x, classes, true)?])
        }
    }
}

/// Convolutions with batch norm, added to the input (or its 1×1 projection), ReLU.
fn block(
    net: &mut Net,
    name: &str,
    x: NodeId,
    width: usize,
    stride: usize,
    bottleneck: bool,
) -> Built {
    let c3 = Conv::new(2, 3).pad(1);
    let c1 = Conv::new(2, 1);
    let convs = if bottleneck {
        vec![
            (width, c1.clone()),
            (width, c3.stride(stride)),
            (4 * width, c1.clone()),
        ]
    } else {
        vec![(width, c3.clone().stride(stride)), (width, c3)]
    };
    let last = convs.len();
    let mut y = x;
    for (i, (out, conv)) in (1..).zip(convs) {
        y = net.conv(&format!("{name}.conv{i}"), y, out, conv, false)?;
        y = net.batch_norm(&format!("{name}.bn{i}"), y)?;
        if i < last {
            y = net.relu(y)?;
        }
    }
    let mut shortcut = x;
    if stride > 1 || net.channels(x) != net.channels(y) {
        let out = net.channels(y);
        let down = format!("{name}.downsample");
        shortcut = net.conv(&format!("{down}.0"), x, out, c1.stride(stride), false)?;
        shortcut = net.batch_norm(&format!("{down}.1"), shortcut)?;
    }
    let sum = net.add(y, shortcut)?;
    net.relu(sum)
}
