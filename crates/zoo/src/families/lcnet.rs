//! PP-LCNet (Cui et al. 2021), timm's `MobileNetV3` of `_gen_lcnet`.

use slicewise_graph::{Activation, NodeId};

use super::inverted_residual::{self, Block, Head, Network, Squeeze, round_channels};
use super::squeeze_excite::SqueezeExcite;
use super::{Family, Finest, Part, row};
use crate::net::{Built, Net};

pub(crate) const FAMILY: Family = Family {
    name: "lcnet",
    encoders: || ROWS.iter().map(|r| r.name).collect(),
    build,
    finest: Finest::Stride2,
};

struct Row {
    name: &'static str,
    width: f64,
}

#[rustfmt::skip]
const ROWS: &[Row] = &[
    Row { name: "lcnet_100", width: 1.0 },
    Row { name: "lcnet_150", width: 1.5 },
];

#[rustfmt::skip]
const STAGES: &[&[Block]] = &[
    &[Block::separable_activated(3).to(32)],
    &[Block::separable_activated(3).stride(2).to(64).times(2)],
    &[Block::separable_activated(3).stride(2).to(128).times(2)],
    &[Block::separable_activated(3).stride(2).to(256), Block::separable_activated(5).to(256)],
    &[Block::separable_activated(5).to(256).times(4)],
    &[Block::separable_activated(5).stride(2).to(512).times(2).squeeze()],
];

fn build(encoder: &str, net: &mut Net, x: NodeId, part: Part) -> Built<Vec<NodeId>> {
    let width = row(ROWS, |r| r.name, encoder).width;
    let stem = round_channels(16.0 * width, 8);
    let head = Head::AfterPooling { features: 1280 };
    let network = Network {
        width,
        squeeze: Squeeze {
            layer: SqueezeExcite {
                gate: Activation::HardSigmoid,
                ..SqueezeExcite::CONV
            },
            reduced: |_, scaled| scaled / 4,
        },
        ..Network::new(stem, STAGES, Activation::HardSwish, head)
    };
    inverted_residual::build(&network, net, x, part)
}
