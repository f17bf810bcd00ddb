//! DenseNet-BC (Huang et al. 2016), timm's `DenseNet`.

use slicewise_graph::{Conv, NodeId, PoolKind};

use super::{Family, Finest, Part, row};
use crate::net::{Built, Net};

pub(crate) const FAMILY: Family = Family {
    name: "densenet",
    encoders: || ROWS.iter().map(|r| r.name).collect(),
    build,
    finest: Finest::Stride2,
};

struct Row {
    name: &'static str,
    /// Layers of the dense blocks.
    layers: [usize; 4],
}

const ROWS: &[Row] = &[
    Row {
        name: "densenet121",
        layers: [6, 12, 24, 16],
    },
    Row {
        name: "densenet169",
        layers: [6, 12, 32, 32],
    },
];

/// Channels that every layer adds.
const GROWTH: usize = 32;

/// Channels, in growths, that a layer works on.
const BOTTLENECK: usize = 4;

fn build(encoder: &str, net: &mut Net, x: NodeId, part: Part) -> Built<Vec<NodeId>> {
    let row = row(ROWS, |r| r.name, encoder);
    // timm's `features_only` wrapper flattens the sequence that holds all but the classifier.
    let features = match part {
        Part::Classifier { .. } => "features.",
        Part::Features => "features_",
    };
    let conv0 = Conv::new(2, 7).stride(2).pad(3);
    let x = net.conv(&format!("{features}conv0"), x, 2 * GROWTH, conv0, false)?;
    let stem = norm_relu(net, &format!("{features}norm0"), x)?;
    let mut levels = vec![stem];
    let mut x = net.max_pool(stem, 3, 2, 1)?;
    for (i, &layers) in (1..).zip(&row.layers) {
        if i > 1 {
            levels.push(x);
            x = transition(net, &format!("{features}transition{}", i - 1), x)?;
        }
        for j in 1..=layers {
            let name = format!("{features}denseblock{i}.denselayer{j}");
            let new = layer(net, &name, x)?;
            x = net.concat(1, &[x, new])?;
        }
    }
    let x = norm_relu(net, &format!("{features}norm5"), x)?;
    levels.push(x);
    match part {
        Part::Features => Ok(levels),
        Part::Classifier { classes } => {
            let x = net.global_mean(x, false)?;
            Ok(vec![net.linear("classifier", x, classes, true)?])
        }
    }
}

/// The channels that a layer adds to what all layers before it made.
fn layer(net: &mut Net, name: &str, x: NodeId) -> Built {
    let c1 = Conv::new(2, 1);
    let c3 = Conv::new(2, 3).pad(1);
    let x = norm_relu(net, &format!("{name}.norm1"), x)?;
    let x = net.conv(&format!("{name}.conv1"), x, BOTTLENECK * GROWTH, c1, false)?;
    let x = norm_relu(net, &format!("{name}.norm2"), x)?;
    net.conv(&format!("{name}.conv2"), x, GROWTH, c3, false)
}

/// Half the channels at half the resolution.
fn transition(net: &mut Net, name: &str, x: NodeId) -> Built {
    let out = net.channels(x) / 2;
    let x = norm_relu(net, &format!("{name}.norm"), x)?;
    let x = net.conv(&format!("{name}.conv"), x, out, Conv::new(2, 1), false)?;
    let mean = PoolKind::Average {
        count_include_pad: true,
    };
    net.pool(x, mean, 2, 2, 0)
}

fn norm_relu(net: &mut Net, name: &str, x: NodeId) -> Built {
    let x = net.batch_norm(name, x)?;
    net.relu(x)
}
