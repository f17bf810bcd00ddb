//! RegNetX and RegNetY (Radosavovic et al. 2020), timm's `RegNet`.

use slicewise_graph::{Conv, NodeId};

use super::squeeze_excite::SqueezeExcite;
use super::{Family, Finest, Part, row};
use crate::net::{Built, Net};

/// RegNet without squeeze-and-excitation.
pub(crate) const X: Family = Family {
    name: "regnetx",
    encoders: || ROWS_X.iter().map(|r| r.name).collect(),
    build: |encoder, net, x, part| build(row(ROWS_X, |r| r.name, encoder), false, net, x, part),
    finest: Finest::Stride2,
};

/// RegNet with squeeze-and-excitation.
pub(crate) const Y: Family = Family {
    name: "regnety",
    encoders: || ROWS_Y.iter().map(|r| r.name).collect(),
    build: |encoder, net, x, part| build(row(ROWS_Y, |r| r.name, encoder), true, net, x, part),
    finest: Finest::Stride2,
};

/// The paper's parameters of the block widths, section 3.4.
struct Row {
    name: &'static str,
    /// w₀: the width that the line starts from.
    initial: f64,
    /// w_a: how much wider each block is on the line.
    slope: f64,
    /// w_m: the factor between the widths of stages.
    multiplier: f64,
    /// Channels that see each other in the 3×3 convolutions.
    group_width: usize,
    /// Blocks of all stages.
    depth: usize,
}

#[rustfmt::skip]
const ROWS_X: &[Row] = &[
    Row { name: "regnetx_002", initial: 24.0, slope: 36.44, multiplier: 2.49, group_width: 8, depth: 13 },
    Row { name: "regnetx_004", initial: 24.0, slope: 24.48, multiplier: 2.54, group_width: 16, depth: 22 },
    Row { name: "regnetx_008", initial: 56.0, slope: 35.73, multiplier: 2.28, group_width: 16, depth: 16 },
    Row { name: "regnetx_016", initial: 80.0, slope: 34.01, multiplier: 2.25, group_width: 24, depth: 18 },
    Row { name: "regnetx_032", initial: 88.0, slope: 26.31, multiplier: 2.25, group_width: 48, depth: 25 },
];

#[rustfmt::skip]
const ROWS_Y: &[Row] = &[
    Row { name: "regnety_002", initial: 24.0, slope: 36.44, multiplier: 2.49, group_width: 8, depth: 13 },
    Row { name: "regnety_004", initial: 48.0, slope: 27.89, multiplier: 2.09, group_width: 8, depth: 16 },
    Row { name: "regnety_008", initial: 56.0, slope: 38.84, multiplier: 2.4, group_width: 16, depth: 14 },
    Row { name: "regnety_016", initial: 48.0, slope: 20.71, multiplier: 2.65, group_width: 24, depth: 27 },
];

const STEM_WIDTH: usize = 32;

/// Consecutive blocks of one width.
#[derive(Debug, PartialEq, Eq)]
struct Stage {
    width: usize,
    blocks: usize,
    group_width: usize,
}

/// The stages: block widths on a line, rounded to powers of the multiplier (equations 2 to 4) and
/// to multiples of 8, then each stage's width to a multiple of its group width.
fn stages(row: &Row) -> Vec<Stage> {
    let mut stages: Vec<Stage> = Vec::new();
    for block in 0..row.depth {
        let on_line = row.initial + row.slope * block as f64;
        let exponent = (on_line / row.initial)
            .log(row.multiplier)
            .round_ties_even();
        let width = round_to(row.initial * row.multiplier.powf(exponent), 8);
        match stages.last_mut() {
            Some(stage) if stage.width == width => stage.blocks += 1,
            _ => stages.push(Stage {
                width,
                blocks: 1,
                group_width: row.group_width.min(width),
            }),
        }
    }
    for stage in &mut stages {
        stage.width = round_to(stage.width as f64, stage.group_width);
    }
    stages
}

/// The multiple of `step` that is nearest to `width`.
fn round_to(width: f64, step: usize) -> usize {
    (width / step as f64).round_ties_even() as usize * step
}

fn build(row: &Row, excite: bool, net: &mut Net, x: NodeId, part: Part) -> Built<Vec<NodeId>> {
    let stem = Conv::new(2, 3).stride(2).pad(1);
    let x = conv_norm(net, "stem", x, STEM_WIDTH, stem)?;
    let mut x = net.relu(x)?;
    let mut levels = vec![x];
    for (i, stage) in (1..).zip(stages(row)) {
        for b in 1..=stage.blocks {
            let stride = if b == 1 { 2 } else { 1 };
            x = block(net, &format!("s{i}.b{b}"), x, &stage, stride, excite)?;
        }
        levels.push(x);
    }
    match part {
        Part::Features => Ok(levels),
        Part::Classifier { classes } => {
            let x = net.global_mean(x, false)?;
            Ok(vec![net.linear("head.fc", x, classes, true)?])
        }
    }
}

/// 1×1, grouped 3×3 (and squeeze-and-excitation), 1×1; added to the input or its projection; ReLU.
fn block(
    net: &mut Net,
    name: &str,
    x: NodeId,
    stage: &Stage,
    stride: usize,
    excite: bool,
) -> Built {
    let width = stage.width;
    let c1 = Conv::new(2, 1);
    let c3 = Conv::new(2, 3).pad(1).stride(stride);
    let grouped = c3.groups(width / stage.group_width);
    let y = conv_norm(net, &format!("{name}.conv1"), x, width, c1.clone())?;
    let y = net.relu(y)?;
    let y = conv_norm(net, &format!("{name}.conv2"), y, width, grouped)?;
    let mut y = net.relu(y)?;
    if excite {
        // A quarter of the block's input, not of what is gated.
        let reduced = net.channels(x) / 4;
        y = SqueezeExcite::FC.apply(net, &format!("{name}.se"), y, reduced)?;
    }
    let y = conv_norm(net, &format!("{name}.conv3"), y, width, c1.clone())?;
    let shortcut = if stride > 1 || net.channels(x) != width {
        conv_norm(
            net,
            &format!("{name}.downsample"),
            x,
            width,
            c1.stride(stride),
        )?
    } else {
        x
    };
    let sum = net.add(y, shortcut)?;
    net.relu(sum)
}

fn conv_norm(net: &mut Net, name: &str, x: NodeId, out: usize, conv: Conv) -> Built {
    let x = net.conv(&format!("{name}.conv"), x, out, conv, false)?;
    net.batch_norm(&format!("{name}.bn"), x)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widths_and_depths_are_the_papers() {
        // Radosavovic et al. 2020, figures 14 and 15; regnetx_032 is the paper's RegNetX-3.2GF.
        let row = row(ROWS_X, |r| r.name, "regnetx_032");
        let got: Vec<(usize, usize)> = stages(row).iter().map(|s| (s.width, s.blocks)).collect();
        assert_eq!(got, [(96, 2), (192, 6), (432, 15), (1008, 2)]);
    }
}
