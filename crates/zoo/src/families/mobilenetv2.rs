//! MobileNetV2 (Sandler et al. 2018), timm's `EfficientNet` of `_gen_mobilenet_v2`.

use slicewise_graph::{Activation, NodeId};

use super::inverted_residual::{self, Block, Head, Network, round_channels};
use super::{Family, Finest, Part, row};
use crate::net::{Built, Net};

pub(crate) const FAMILY: Family = Family {
    name: "mobilenetv2",
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
    Row { name: "mobilenetv2_100", width: 1.0 },
    Row { name: "mobilenetv2_140", width: 1.4 },
];

const STAGES: &[&[Block]] = &[
    &[Block::separable(3).to(16)],
    &[Block::inverted(3).stride(2).expand(6.0).to(24).times(2)],
    &[Block::inverted(3).stride(2).expand(6.0).to(32).times(3)],
    &[Block::inverted(3).stride(2).expand(6.0).to(64).times(4)],
    &[Block::inverted(3).expand(6.0).to(96).times(3)],
    &[Block::inverted(3).stride(2).expand(6.0).to(160).times(3)],
    &[Block::inverted(3).expand(6.0).to(320)],
];

fn build(encoder: &str, net: &mut Net, x: NodeId, part: Part) -> Built<Vec<NodeId>> {
    let width = row(ROWS, |r| r.name, encoder).width;
    let stem = round_channels(32.0 * width, 8);
    let features = round_channels(1280.0 * width, 8).max(1280);
    let head = Head::BeforePooling { features };
    let network = Network {
        width,
        ..Network::new(stem, STAGES, Activation::Relu6, head)
    };
    inverted_residual::build(&network, net, x, part)
}
