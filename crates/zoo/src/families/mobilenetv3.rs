//! MobileNetV3 (Howard et al. 2019), timm's `MobileNetV3`.

use slicewise_graph::{Activation, NodeId};

use super::inverted_residual::{self, Block, Head, Network, Squeeze, round_channels};
use super::squeeze_excite::SqueezeExcite;
use super::{Family, Finest, Part, row};
use crate::net::{Built, Net};

pub(crate) const FAMILY: Family = Family {
    name: "mobilenetv3",
    encoders: || ROWS.iter().map(|r| r.name).collect(),
    build,
    finest: Finest::Stride2,
};

struct Row {
    name: &'static str,
    stages: &'static [&'static [Block]],
    /// Channels of the classifier's hidden layer.
    features: usize,
}

#[rustfmt::skip]
const ROWS: &[Row] = &[
    Row { name: "mobilenetv3_small_100", stages: SMALL, features: 1024 },
    Row { name: "mobilenetv3_large_100", stages: LARGE, features: 1280 },
];

const RELU: Activation = Activation::Relu;

#[rustfmt::skip]
const SMALL: &[&[Block]] = &[
    &[Block::separable(3).stride(2).to(16).squeeze().activation(RELU)],
    &[
        Block::inverted(3).stride(2).expand(4.5).to(24).activation(RELU),
        Block::inverted(3).expand(3.67).to(24).activation(RELU),
    ],
    &[
        Block::inverted(5).stride(2).expand(4.0).to(40).squeeze(),
        Block::inverted(5).expand(6.0).to(40).times(2).squeeze(),
    ],
    &[Block::inverted(5).expand(3.0).to(48).times(2).squeeze()],
    &[Block::inverted(5).stride(2).expand(6.0).to(96).times(3).squeeze()],
    &[Block::conv(1).to(576)],
];

#[rustfmt::skip]
const LARGE: &[&[Block]] = &[
    &[Block::separable(3).to(16).activation(RELU)],
    &[
        Block::inverted(3).stride(2).expand(4.0).to(24).activation(RELU),
        Block::inverted(3).expand(3.0).to(24).activation(RELU),
    ],
    &[Block::inverted(5).stride(2).expand(3.0).to(40).times(3).squeeze().activation(RELU)],
    &[
        Block::inverted(3).stride(2).expand(6.0).to(80),
        Block::inverted(3).expand(2.5).to(80),
        Block::inverted(3).expand(2.3).to(80).times(2),
    ],
    &[Block::inverted(3).expand(6.0).to(112).times(2).squeeze()],
    &[Block::inverted(5).stride(2).expand(6.0).to(160).times(3).squeeze()],
    &[Block::conv(1).to(960)],
];

fn build(encoder: &str, net: &mut Net, x: NodeId, part: Part) -> Built<Vec<NodeId>> {
    let row = row(ROWS, |r| r.name, encoder);
    let features = row.features;
    let head = Head::AfterPooling { features };
    let network = Network {
        squeeze: Squeeze {
            layer: SqueezeExcite {
                gate: Activation::HardSigmoid,
                ..SqueezeExcite::CONV
            },
            reduced: |_, scaled| round_channels(scaled as f64 / 4.0, 8),
        },
        ..Network::new(16, row.stages, Activation::HardSwish, head)
    };
    inverted_residual::build(&network, net, x, part)
}
