//! GhostNetV2 (Tang et al. 2022), timm's `GhostNet` of version 2.

use slicewise_graph::{Activation, Conv, NodeId, PoolKind, ReshapeDim};

use super::inverted_residual::round_channels;
use super::squeeze_excite::SqueezeExcite;
use super::{Family, Finest, Part, row};
use crate::net::{Built, Net};

pub(crate) const FAMILY: Family = Family {
    name: "ghostnetv2",
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
    Row { name: "ghostnetv2_100", width: 1.0 },
    Row { name: "ghostnetv2_130", width: 1.3 },
    Row { name: "ghostnetv2_160", width: 1.6 },
];

/// A bottleneck at width 1.
struct Block {
    kernel: usize,
    inner: usize,
    channels: usize,
    squeeze: bool,
    stride: usize,
}

#[rustfmt::skip]
const STAGES: &[&[Block]] = &[
    &[Block { kernel: 3, inner: 16, channels: 16, squeeze: false, stride: 1 }],
    &[Block { kernel: 3, inner: 48, channels: 24, squeeze: false, stride: 2 }],
    &[Block { kernel: 3, inner: 72, channels: 24, squeeze: false, stride: 1 }],
    &[Block { kernel: 5, inner: 72, channels: 40, squeeze: true, stride: 2 }],
    &[Block { kernel: 5, inner: 120, channels: 40, squeeze: true, stride: 1 }],
    &[Block { kernel: 3, inner: 240, channels: 80, squeeze: false, stride: 2 }],
    &[
        Block { kernel: 3, inner: 200, channels: 80, squeeze: false, stride: 1 },
        Block { kernel: 3, inner: 184, channels: 80, squeeze: false, stride: 1 },
        Block { kernel: 3, inner: 184, channels: 80, squeeze: false, stride: 1 },
        Block { kernel: 3, inner: 480, channels: 112, squeeze: true, stride: 1 },
        Block { kernel: 3, inner: 672, channels: 112, squeeze: true, stride: 1 },
    ],
    &[Block { kernel: 5, inner: 672, channels: 160, squeeze: true, stride: 2 }],
    &[
        Block { kernel: 5, inner: 960, channels: 160, squeeze: false, stride: 1 },
        Block { kernel: 5, inner: 960, channels: 160, squeeze: true, stride: 1 },
        Block { kernel: 5, inner: 960, channels: 160, squeeze: false, stride: 1 },
        Block { kernel: 5, inner: 960, channels: 160, squeeze: true, stride: 1 },
    ],
];

const SQUEEZE: SqueezeExcite = SqueezeExcite {
    gate: Activation::HardSigmoid,
    ..SqueezeExcite::CONV
};

/// The stages that have no attention gate.
const PLAIN_STAGES: usize = 2;

fn build(encoder: &str, net: &mut Net, x: NodeId, part: Part) -> Built<Vec<NodeId>> {
    let width = row(ROWS, |r| r.name, encoder).width;
    let scaled = |channels: usize| round_channels(channels as f64 * width, 4);
    let three = Conv::new(2, 3).stride(2).pad(1);
    let stem = net.conv("conv_stem", x, scaled(16), three, false)?;
    // timm takes the finest map before its batch norm, and each other one right after its stride.
    let mut levels = vec![stem];
    let mut x = net.batch_norm("bn1", stem)?;
    x = net.relu(x)?;
    let stages = match part {
        Part::Classifier { .. } => STAGES,
        Part::Features => used(STAGES),
    };
    for (i, stage) in stages.iter().enumerate() {
        let name = part.child("blocks", i);
        for (j, block) in stage.iter().enumerate() {
            let bottleneck = Bottleneck {
                name: format!("{name}.{j}"),
                kernel: block.kernel,
                stride: block.stride,
                inner: scaled(block.inner),
                channels: scaled(block.channels),
                squeeze: block.squeeze,
                attention: i >= PLAIN_STAGES,
            };
            x = bottleneck.build(net, x)?;
        }
        if ends_level(stage) {
            levels.push(x);
        }
    }
    match part {
        Part::Features => Ok(levels),
        Part::Classifier { classes } => {
            let last = format!("blocks.{}.0", stages.len());
            let one = Conv::new(2, 1);
            let x = net.conv(&format!("{last}.conv"), x, scaled(960), one.clone(), false)?;
            let x = net.batch_norm(&format!("{last}.bn1"), x)?;
            let x = net.relu(x)?;
            let x = net.global_mean(x, true)?;
            let x = net.conv("conv_head", x, 1280, one, true)?;
            let x = net.relu(x)?;
            let x = net.reshape(x, &[ReshapeDim::Copy, ReshapeDim::Infer])?;
            Ok(vec![net.linear("classifier", x, classes, true)?])
        }
    }
}

/// Whether timm offers the stage's map as a feature level.
fn ends_level(stage: &[Block]) -> bool {
    stage.iter().any(|b| b.stride > 1)
}

/// The stages up to the last feature level.
fn used(stages: &'static [&'static [Block]]) -> &'static [&'static [Block]] {
    let end = stages.iter().rposition(|s| ends_level(s));
    &stages[..end.map_or(0, |last| last + 1)]
}

/// Two ghost modules, the shortcut added.
struct Bottleneck {
    name: String,
    kernel: usize,
    stride: usize,
    inner: usize,
    channels: usize,
    squeeze: bool,
    attention: bool,
}

impl Bottleneck {
    fn build(&self, net: &mut Net, x: NodeId) -> Built {
        let name = &self.name;
        let depthwise = |groups: usize| {
            let conv = Conv::new(2, self.kernel).pad((self.kernel - 1) / 2);
            conv.stride(self.stride).groups(groups)
        };
        let ghost1 = format!("{name}.ghost1");
        let relu = Some(Activation::Relu);
        let mut y = ghost(net, &ghost1, x, self.inner, relu)?;
        if self.attention {
            let gate = attention(net, &ghost1, x, self.inner)?;
            y = net.mul(y, gate)?;
        }
        if self.stride > 1 {
            let conv = depthwise(self.inner);
            y = net.conv(&format!("{name}.conv_dw"), y, self.inner, conv, false)?;
            y = net.batch_norm(&format!("{name}.bn_dw"), y)?;
        }
        if self.squeeze {
            let reduced = round_channels(self.inner as f64 / 4.0, 4);
            y = SQUEEZE.apply(net, &format!("{name}.se"), y, reduced)?;
        }
        y = ghost(net, &format!("{name}.ghost2"), y, self.channels, None)?;
        let input = net.channels(x);
        let mut shortcut = x;
        if self.stride > 1 || input != self.channels {
            let one = Conv::new(2, 1);
            let conv = depthwise(input);
            shortcut = net.conv(&format!("{name}.shortcut.0"), x, input, conv, false)?;
            shortcut = net.batch_norm(&format!("{name}.shortcut.1"), shortcut)?;
            let out = self.channels;
            shortcut = net.conv(&format!("{name}.shortcut.2"), shortcut, out, one, false)?;
            shortcut = net.batch_norm(&format!("{name}.shortcut.3"), shortcut)?;
        }
        net.add(y, shortcut)
    }
}

/// Half the channels by a 1×1 convolution, the other half from those by a depthwise one.
/// `out` is even: all widths are multiples of four.
fn ghost(
    net: &mut Net,
    name: &str,
    x: NodeId,
    out: usize,
    activation: Option<Activation>,
) -> Built {
    let half = out / 2;
    let cheap = Conv::new(2, 3).pad(1).groups(half);
    let mut parts = Vec::new();
    let mut y = x;
    for (part, conv) in [
        ("primary_conv", Conv::new(2, 1)),
        ("cheap_operation", cheap),
    ] {
        y = net.conv(&format!("{name}.{part}.0"), y, half, conv, false)?;
        y = net.batch_norm(&format!("{name}.{part}.1"), y)?;
        if let Some(f) = activation {
            y = net.act(f, y)?;
        }
        parts.push(y);
    }
    net.concat(1, &parts)
}

/// The gate of decoupled fully connected attention, computed at half of `x`'s size.
fn attention(net: &mut Net, name: &str, x: NodeId, out: usize) -> Built {
    let size = net.spatial(x);
    let mean = PoolKind::Average {
        count_include_pad: true,
    };
    let mut y = net.pool(x, mean, 2, 2, 0)?;
    for (i, kernel) in [(0, [1, 1]), (2, [1, 5]), (4, [5, 1])] {
        let conv = Conv {
            kernel: kernel.to_vec(),
            pads: kernel.map(|k| (k / 2, k / 2)).to_vec(),
            ..Conv::new(2, 1).groups(if i == 0 { 1 } else { out })
        };
        y = net.conv(&format!("{name}.short_conv.{i}"), y, out, conv, false)?;
        y = net.batch_norm(&format!("{name}.short_conv.{}", i + 1), y)?;
    }
    let y = net.act(Activation::Sigmoid, y)?;
    net.resize_nearest(y, &size)
}
