//! EfficientNet (Tan and Le 2019), timm's `EfficientNet`.

use slicewise_graph::{Activation, NodeId};

use super::inverted_residual::{self, Block, Head, Network, round_channels};
use super::{Family, Finest, Part, row};
use crate::net::{Built, Net};

pub(crate) const FAMILY: Family = Family {
    name: "efficientnet",
    encoders: || ROWS.iter().map(|r| r.name).collect(),
    build,
    finest: Finest::Stride2,
};

struct Row {
    name: &'static str,
    width: f64,
    depth: f64,
}

#[rustfmt::skip]
const ROWS: &[Row] = &[
    Row { name: "efficientnet_b0", width: 1.0, depth: 1.0 },
    Row { name: "efficientnet_b1", width: 1.0, depth: 1.1 },
    Row { name: "efficientnet_b2", width: 1.1, depth: 1.2 },
];

/// B0's stages, which TinyNet shrinks.
#[rustfmt::skip]
pub(super) const STAGES: &[&[Block]] = &[
    &[Block::separable(3).to(16).squeeze()],
    &[Block::inverted(3).stride(2).expand(6.0).to(24).times(2).squeeze()],
    &[Block::inverted(5).stride(2).expand(6.0).to(40).times(2).squeeze()],
    &[Block::inverted(3).stride(2).expand(6.0).to(80).times(3).squeeze()],
    &[Block::inverted(5).expand(6.0).to(112).times(3).squeeze()],
    &[Block::inverted(5).stride(2).expand(6.0).to(192).times(4).squeeze()],
    &[Block::inverted(3).expand(6.0).to(320).squeeze()],
];

fn build(encoder: &str, net: &mut Net, x: NodeId, part: Part) -> Built<Vec<NodeId>> {
    let &Row { width, depth, .. } = row(ROWS, |r| r.name, encoder);
    let stem = round_channels(32.0 * width, 8);
    let features = round_channels(1280.0 * width, 8);
    let head = Head::BeforePooling { features };
    let network = Network {
        width,
        depth,
        ..Network::new(stem, STAGES, Activation::Silu, head)
    };
    inverted_residual::build(&network, net, x, part)
}
