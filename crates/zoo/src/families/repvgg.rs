//! RepVGG (Ding et al. 2021, "RepVGG: Making VGG-style ConvNets Great Again"), timm's `ByobNet`
//! with `RepVggBlock`s.

use slicewise_graph::NodeId;

use super::branches::{Block, Keys, network};
use super::{Family, Finest, Part, row};
use crate::net::{Built, Net};

pub(crate) const FAMILY: Family = Family {
    name: "repvgg",
    encoders: || ROWS.iter().map(|r| r.name).collect(),
    build,
    finest: Finest::Stride2,
};

struct Row {
    name: &'static str,
    stem: usize,
    blocks: [usize; 4],
    widths: [usize; 4],
}

#[rustfmt::skip]
const ROWS: &[Row] = &[
    Row { name: "repvgg_a0", stem: 48, blocks: [2, 4, 14, 1], widths: [48, 96, 192, 1280] },
    Row { name: "repvgg_a1", stem: 64, blocks: [2, 4, 14, 1], widths: [64, 128, 256, 1280] },
    Row { name: "repvgg_a2", stem: 64, blocks: [2, 4, 14, 1], widths: [96, 192, 384, 1408] },
    Row { name: "repvgg_b0", stem: 64, blocks: [4, 6, 16, 1], widths: [64, 128, 256, 1280] },
    Row { name: "repvgg_b1", stem: 64, blocks: [4, 6, 16, 1], widths: [128, 256, 512, 2048] },
    Row { name: "repvgg_b2", stem: 64, blocks: [4, 6, 16, 1], widths: [160, 320, 640, 2560] },
    Row { name: "repvgg_b3", stem: 64, blocks: [4, 6, 16, 1], widths: [192, 384, 768, 2560] },
];

fn build(encoder: &str, net: &mut Net, x: NodeId, part: Part) -> Built<Vec<NodeId>> {
    let row = row(ROWS, |r| r.name, encoder);
    let block = |width| Block {
        keys: Keys::RepVgg,
        width,
        kernel: 3,
        depthwise: false,
    };
    let stages: Vec<Vec<Block>> = row
        .widths
        .iter()
        .zip(row.blocks)
        .map(|(&width, blocks)| vec![block(width); blocks])
        .collect();
    network(net, x, part, block(row.stem), &stages)
}
