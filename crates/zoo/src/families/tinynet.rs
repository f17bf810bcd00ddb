//! TinyNet (Han et al. 2020): EfficientNet made smaller, timm's `_gen_tinynet`.

use slicewise_graph::{Activation, NodeId};

use super::inverted_residual::{self, Head, Network, round_channels};
use super::{Family, Finest, Part, efficientnet, row};
use crate::net::{Built, Net};

pub(crate) const FAMILY: Family = Family {
    name: "tinynet",
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
    Row { name: "tinynet_a", width: 1.0, depth: 1.2 },
    Row { name: "tinynet_b", width: 0.75, depth: 1.1 },
    Row { name: "tinynet_c", width: 0.54, depth: 0.85 },
];

fn build(encoder: &str, net: &mut Net, x: NodeId, part: Part) -> Built<Vec<NodeId>> {
    let &Row { width, depth, .. } = row(ROWS, |r| r.name, encoder);
    let features = round_channels(1280.0 * width, 8).max(1280);
    let head = Head::BeforePooling { features };
    let network = Network {
        width,
        depth,
        depth_rounding: f64::round,
        ..Network::new(32, efficientnet::STAGES, Activation::Silu, head)
    };
    inverted_residual::build(&network, net, x, part)
}
