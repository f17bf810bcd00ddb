//! MobileOne (Vasu et al. 2023, "MobileOne: An Improved One millisecond Mobile Backbone"), timm's
//! `ByobNet` with `MobileOneBlock`s.

use slicewise_graph::NodeId;

use super::branches::{Block, Keys, network};
use super::{Family, Finest, Part, row};
use crate::net::{Built, Net};

pub(crate) const FAMILY: Family = Family {
    name: "mobileone",
    encoders: || ROWS.iter().map(|r| r.name).collect(),
    build,
    finest: Finest::Stride2,
};

struct Row {
    name: &'static str,
    stem: usize,
    widths: [usize; 4],
    /// Convolutions of the full kernel in every block of the stages; the stem has one.
    copies: usize,
}

#[rustfmt::skip]
const ROWS: &[Row] = &[
    Row { name: "mobileone_s0", stem: 48, widths: [48, 128, 256, 1024], copies: 4 },
    Row { name: "mobileone_s1", stem: 64, widths: [96, 192, 512, 1280], copies: 1 },
    Row { name: "mobileone_s2", stem: 64, widths: [96, 256, 640, 2048], copies: 1 },
    Row { name: "mobileone_s3", stem: 64, widths: [128, 320, 768, 2048], copies: 1 },
];

/// Pairs of a depthwise 3×3 and a 1×1 block in each stage.
const PAIRS: [usize; 4] = [2, 8, 10, 1];

fn build(encoder: &str, net: &mut Net, x: NodeId, part: Part) -> Built<Vec<NodeId>> {
    let row = row(ROWS, |r| r.name, encoder);
    let stem = Block {
        keys: Keys::MobileOne { copies: 1 },
        width: row.stem,
        kernel: 3,
        depthwise: false,
    };
    let keys = Keys::MobileOne { copies: row.copies };
    let mut stages = Vec::new();
    let mut channels = row.stem;
    for (&width, pairs) in row.widths.iter().zip(PAIRS) {
        let mut blocks = Vec::new();
        for _ in 0..pairs {
            blocks.push(Block {
                keys,
                width: channels,
                kernel: 3,
                depthwise: true,
            });
            blocks.push(Block {
                keys,
                width,
                kernel: 1,
                depthwise: false,
            });
            channels = width;
        }
        stages.push(blocks);
    }
    network(net, x, part, stem, &stages)
}
