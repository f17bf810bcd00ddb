//! MobileNetV4 (Qin et al. 2024), timm's `MobileNetV3` of `_gen_mobilenet_v4`.

use slicewise_graph::{Activation, NodeId};

use super::inverted_residual::{self, Block, Head, Network};
use super::{Family, Finest, Part, row};
use crate::net::{Built, Net};

pub(crate) const FAMILY: Family = Family {
    name: "mobilenetv4",
    encoders: || ROWS.iter().map(|r| r.name).collect(),
    build,
    finest: Finest::Stride2,
};

struct Row {
    name: &'static str,
    stem: usize,
    stages: &'static [&'static [Block]],
}

#[rustfmt::skip]
const ROWS: &[Row] = &[
    Row { name: "mobilenetv4_conv_small", stem: 32, stages: SMALL },
    Row { name: "mobilenetv4_conv_medium", stem: 32, stages: MEDIUM },
    Row { name: "mobilenetv4_conv_large", stem: 24, stages: LARGE },
];

// The instances of the universal inverted bottleneck, as the paper names them.

const fn extra_dw(start: usize, middle: usize) -> Block {
    Block::universal(start, middle)
}

const fn ib(middle: usize) -> Block {
    Block::universal(0, middle)
}

const fn convnext(start: usize) -> Block {
    Block::universal(start, 0)
}

const fn ffn() -> Block {
    Block::universal(0, 0)
}

#[rustfmt::skip]
const SMALL: &[&[Block]] = &[
    &[Block::conv(3).stride(2).to(32), Block::conv(1).to(32)],
    &[Block::conv(3).stride(2).to(96), Block::conv(1).to(64)],
    &[
        extra_dw(5, 5).stride(2).expand(3.0).to(96),
        ib(3).expand(2.0).to(96).times(4),
        convnext(3).expand(4.0).to(96),
    ],
    &[
        extra_dw(3, 3).stride(2).expand(6.0).to(128),
        extra_dw(5, 5).expand(4.0).to(128),
        ib(5).expand(4.0).to(128),
        ib(5).expand(3.0).to(128),
        ib(3).expand(4.0).to(128).times(2),
    ],
    &[Block::conv(1).to(960)],
];

#[rustfmt::skip]
const MEDIUM: &[&[Block]] = &[
    &[Block::fused(3).stride(2).expand(4.0).to(48)],
    &[
        extra_dw(3, 5).stride(2).expand(4.0).to(80),
        extra_dw(3, 3).expand(2.0).to(80),
    ],
    &[
        extra_dw(3, 5).stride(2).expand(6.0).to(160),
        extra_dw(3, 3).expand(4.0).to(160).times(2),
        extra_dw(3, 5).expand(4.0).to(160),
        extra_dw(3, 3).expand(4.0).to(160),
        convnext(3).expand(4.0).to(160),
        ffn().expand(2.0).to(160),
        convnext(3).expand(4.0).to(160),
    ],
    &[
        extra_dw(5, 5).stride(2).expand(6.0).to(256),
        extra_dw(5, 5).expand(4.0).to(256),
        extra_dw(3, 5).expand(4.0).to(256).times(2),
        ffn().expand(4.0).to(256),
        convnext(3).expand(4.0).to(256),
        extra_dw(3, 5).expand(2.0).to(256),
        extra_dw(5, 5).expand(4.0).to(256),
        ffn().expand(4.0).to(256).times(2),
        convnext(5).expand(2.0).to(256),
    ],
    &[Block::conv(1).to(960)],
];

#[rustfmt::skip]
const LARGE: &[&[Block]] = &[
    &[Block::fused(3).stride(2).expand(4.0).to(48)],
    &[
        extra_dw(3, 5).stride(2).expand(4.0).to(96),
        extra_dw(3, 3).expand(4.0).to(96),
    ],
    &[
        extra_dw(3, 5).stride(2).expand(4.0).to(192),
        extra_dw(3, 3).expand(4.0).to(192).times(3),
        extra_dw(3, 5).expand(4.0).to(192),
        extra_dw(5, 3).expand(4.0).to(192).times(5),
        convnext(3).expand(4.0).to(192),
    ],
    &[
        extra_dw(5, 5).stride(2).expand(4.0).to(512).times(4),
        convnext(5).expand(4.0).to(512),
        extra_dw(5, 3).expand(4.0).to(512),
        convnext(5).expand(4.0).to(512).times(2),
        extra_dw(5, 3).expand(4.0).to(512),
        extra_dw(5, 5).expand(4.0).to(512),
        convnext(5).expand(4.0).to(512).times(3),
    ],
    &[Block::conv(1).to(960)],
];

fn build(encoder: &str, net: &mut Net, x: NodeId, part: Part) -> Built<Vec<NodeId>> {
    let row = row(ROWS, |r| r.name, encoder);
    let head = Head::AfterPoolingNormed { features: 1280 };
    let network = Network::new(row.stem, row.stages, Activation::Relu, head);
    inverted_residual::build(&network, net, x, part)
}
