//! Networks of inverted residuals: what timm's EfficientNet builder makes common to EfficientNet,
//! the MobileNets, LCNet and TinyNet.

use slicewise_graph::{Activation, Conv, NodeId, ReshapeDim};

use super::Part;
use super::squeeze_excite::SqueezeExcite;
use crate::net::{Built, Net};

/// An encoder: a stem of stride 2, stages of blocks, a head.
pub(super) struct Network {
    /// Channels of the stem, already scaled.
    pub(super) stem: usize,
    /// The stages at width and depth 1.
    pub(super) stages: &'static [&'static [Block]],
    /// The factor of the stages' channels.
    pub(super) width: f64,
    /// The factor of every block's repeats.
    pub(super) depth: f64,
    /// What makes a whole number of scaled repeats.
    pub(super) depth_rounding: fn(f64) -> f64,
    /// Where a block names no other.
    pub(super) activation: Activation,
    /// The squeeze-and-excitation of the blocks that have one.
    pub(super) squeeze: Squeeze,
    pub(super) head: Head,
}

impl Network {
    /// The stages as they stand, with the builder's default squeeze-and-excitation.
    pub(super) const fn new(
        stem: usize,
        stages: &'static [&'static [Block]],
        activation: Activation,
        head: Head,
    ) -> Self {
        Network {
            stem,
            stages,
            width: 1.0,
            depth: 1.0,
            depth_rounding: f64::ceil,
            activation,
            squeeze: Squeeze {
                layer: SqueezeExcite {
                    activation,
                    ..SqueezeExcite::CONV
                },
                reduced: |input, _| input / 4,
            },
            head,
        }
    }
}

/// The squeeze-and-excitation of a network's blocks.
pub(super) struct Squeeze {
    pub(super) layer: SqueezeExcite,
    /// The reduced channels, from those of the block's input and those of the map that is scaled.
    pub(super) reduced: fn(input: usize, scaled: usize) -> usize,
}

/// What follows the last stage of a classifier, before its linear layer.
pub(super) enum Head {
    /// 1×1 convolution, batch norm and activation, then the mean over the map.
    BeforePooling { features: usize },
    /// The mean over the map, then 1×1 convolution with bias and activation.
    AfterPooling { features: usize },
    /// The mean over the map, then 1×1 convolution, batch norm and activation.
    AfterPoolingNormed { features: usize },
}

/// One or more alike blocks in a row; only the first has the stride.
#[derive(Clone, Copy)]
pub(super) struct Block {
    kind: Kind,
    repeats: usize,
    stride: usize,
    expand: f64,
    channels: usize,
    squeeze: bool,
    activation: Option<Activation>,
}

#[derive(Clone, Copy)]
enum Kind {
    Conv { kernel: usize },
    Separable { kernel: usize, projected: bool },
    Inverted { kernel: usize },
    Fused { kernel: usize },
    Universal { start: usize, middle: usize },
}

impl Block {
    const fn new(kind: Kind) -> Self {
        Block {
            kind,
            repeats: 1,
            stride: 1,
            expand: 1.0,
            channels: 0,
            squeeze: false,
            activation: None,
        }
    }

    /// Convolution, batch norm, activation; timm's `cn`.
    pub(super) const fn conv(kernel: usize) -> Self {
        Block::new(Kind::Conv { kernel })
    }

    /// Depthwise convolution and 1×1 projection, added to the input where shapes allow; timm's `ds`.
    pub(super) const fn separable(kernel: usize) -> Self {
        let projected = false;
        Block::new(Kind::Separable { kernel, projected })
    }

    /// The same with an activation after the projection and no addition; timm's `dsa`.
    pub(super) const fn separable_activated(kernel: usize) -> Self {
        let projected = true;
        Block::new(Kind::Separable { kernel, projected })
    }

    /// 1×1 expansion, depthwise convolution, 1×1 projection; timm's `ir`.
    pub(super) const fn inverted(kernel: usize) -> Self {
        Block::new(Kind::Inverted { kernel })
    }

    /// Expansion by a full convolution, 1×1 projection; timm's `er`.
    pub(super) const fn fused(kernel: usize) -> Self {
        Block::new(Kind::Fused { kernel })
    }

    /// The universal inverted bottleneck with depthwise kernels before and after its expansion,
    /// 0 for none; timm's `uir`.
    pub(super) const fn universal(start: usize, middle: usize) -> Self {
        Block::new(Kind::Universal { start, middle })
    }

    pub(super) const fn stride(mut self, stride: usize) -> Self {
        self.stride = stride;
        self
    }

    /// The inner channels as a multiple of the input's.
    pub(super) const fn expand(mut self, expand: f64) -> Self {
        self.expand = expand;
        self
    }

    /// The output's channels at width 1.
    pub(super) const fn to(mut self, channels: usize) -> Self {
        self.channels = channels;
        self
    }

    pub(super) const fn times(mut self, repeats: usize) -> Self {
        self.repeats = repeats;
        self
    }

    pub(super) const fn squeeze(mut self) -> Self {
        self.squeeze = true;
        self
    }

    /// Another activation than the network's.
    pub(super) const fn activation(mut self, activation: Activation) -> Self {
        self.activation = Some(activation);
        self
    }
}

/// The multiple of `divisor` nearest to `channels`, one more where that would lose over 10 %.
pub(super) fn round_channels(channels: f64, divisor: usize) -> usize {
    let nearest = (channels + divisor as f64 / 2.0) as usize / divisor * divisor;
    let rounded = nearest.max(divisor);
    if (rounded as f64) < 0.9 * channels {
        rounded + divisor
    } else {
        rounded
    }
}

/// Builds `network` under the names of timm's `EfficientNet` and `MobileNetV3`.
pub(super) fn build(network: &Network, net: &mut Net, x: NodeId, part: Part) -> Built<Vec<NodeId>> {
    let act = Some(network.activation);
    let stem = Conv::new(2, 3).stride(2).pad(1);
    let mut x = conv_norm(net, ("conv_stem", "bn1"), x, network.stem, stem, act)?;
    let mut levels = Vec::new();
    for (i, stage) in network.stages.iter().enumerate() {
        // A level is the last map before each stride.
        if stage.first().is_some_and(|block| block.stride > 1) {
            levels.push(x);
        }
        x = build_stage(network, stage, net, &format!("blocks.{i}"), x)?;
    }
    levels.push(x);
    match part {
        Part::Features => Ok(levels),
        Part::Classifier { classes } => {
            let x = build_head(network, net, x)?;
            Ok(vec![net.linear("classifier", x, classes, true)?])
        }
    }
}

fn build_stage(
    network: &Network,
    stage: &[Block],
    net: &mut Net,
    name: &str,
    mut x: NodeId,
) -> Built {
    let mut index = 0;
    for block in stage {
        let channels = round_channels(block.channels as f64 * network.width, 8);
        let repeats = (network.depth_rounding)(block.repeats as f64 * network.depth).max(1.0);
        for i in 0..repeats as usize {
            let layers = Layers {
                name: format!("{name}.{index}"),
                block,
                channels,
                stride: if i == 0 { block.stride } else { 1 },
                activation: block.activation.unwrap_or(network.activation),
                squeeze: &network.squeeze,
            };
            x = layers.build(net, x)?;
            index += 1;
        }
    }
    Ok(x)
}

fn build_head(network: &Network, net: &mut Net, x: NodeId) -> Built {
    let one = Conv::new(2, 1);
    let act = Some(network.activation);
    let x = match network.head {
        Head::BeforePooling { features } => {
            let x = conv_norm(net, ("conv_head", "bn2"), x, features, one, act)?;
            return net.global_mean(x, false);
        }
        Head::AfterPooling { features } => {
            let x = net.global_mean(x, true)?;
            let x = net.conv("conv_head", x, features, one, true)?;
            net.act(network.activation, x)?
        }
        Head::AfterPoolingNormed { features } => {
            let x = net.global_mean(x, true)?;
            conv_norm(net, ("conv_head", "norm_head"), x, features, one, act)?
        }
    };
    net.reshape(x, &[ReshapeDim::Copy, ReshapeDim::Infer])
}

/// Convolution, batch norm and, if given, an activation; `names` are of the first two.
fn conv_norm(
    net: &mut Net,
    names: (&str, &str),
    x: NodeId,
    out: usize,
    conv: Conv,
    activation: Option<Activation>,
) -> Built {
    let x = net.conv(names.0, x, out, conv, false)?;
    let x = net.batch_norm(names.1, x)?;
    match activation {
        Some(f) => net.act(f, x),
        None => Ok(x),
    }
}

/// One block on its way into the graph.
struct Layers<'a> {
    name: String,
    block: &'a Block,
    /// The output's channels.
    channels: usize,
    stride: usize,
    activation: Activation,
    squeeze: &'a Squeeze,
}

impl Layers<'_> {
    fn build(&self, net: &mut Net, x: NodeId) -> Built {
        let y = match self.block.kind {
            Kind::Conv { kernel } => return self.conv(net, x, kernel),
            Kind::Separable { kernel, projected } => self.separable(net, x, kernel, projected)?,
            Kind::Inverted { kernel } => self.inverted(net, x, kernel)?,
            Kind::Fused { kernel } => self.fused(net, x, kernel)?,
            Kind::Universal { start, middle } => self.universal(net, x, start, middle)?,
        };
        let projected = matches!(self.block.kind, Kind::Separable { projected, .. } if projected);
        if self.stride > 1 || net.channels(x) != self.channels || projected {
            return Ok(y);
        }
        net.add(y, x)
    }

    fn conv(&self, net: &mut Net, x: NodeId, kernel: usize) -> Built {
        let conv = same(kernel).stride(self.stride);
        let act = Some(self.activation);
        self.conv_norm(net, ("conv", "bn1"), x, self.channels, conv, act)
    }

    fn separable(&self, net: &mut Net, x: NodeId, kernel: usize, projected: bool) -> Built {
        let act = Some(self.activation);
        let width = net.channels(x);
        let depthwise = same(kernel).stride(self.stride).groups(width);
        let y = self.conv_norm(net, ("conv_dw", "bn1"), x, width, depthwise, act)?;
        let y = self.squeeze(net, width, y)?;
        let act = act.filter(|_| projected);
        self.conv_norm(net, ("conv_pw", "bn2"), y, self.channels, same(1), act)
    }

    fn inverted(&self, net: &mut Net, x: NodeId, kernel: usize) -> Built {
        let act = Some(self.activation);
        let width = self.expanded(net, x);
        let y = self.conv_norm(net, ("conv_pw", "bn1"), x, width, same(1), act)?;
        let depthwise = same(kernel).stride(self.stride).groups(width);
        let y = self.conv_norm(net, ("conv_dw", "bn2"), y, width, depthwise, act)?;
        let y = self.squeeze(net, net.channels(x), y)?;
        self.conv_norm(net, ("conv_pwl", "bn3"), y, self.channels, same(1), None)
    }

    fn fused(&self, net: &mut Net, x: NodeId, kernel: usize) -> Built {
        let width = self.expanded(net, x);
        let conv = same(kernel).stride(self.stride);
        let act = Some(self.activation);
        let y = self.conv_norm(net, ("conv_exp", "bn1"), x, width, conv, act)?;
        let y = self.squeeze(net, net.channels(x), y)?;
        self.conv_norm(net, ("conv_pwl", "bn2"), y, self.channels, same(1), None)
    }

    fn universal(&self, net: &mut Net, x: NodeId, start: usize, middle: usize) -> Built {
        let act = Some(self.activation);
        let mut y = x;
        if start > 0 {
            let stride = if middle > 0 { 1 } else { self.stride };
            let width = net.channels(x);
            let depthwise = same(start).stride(stride).groups(width);
            let names = ("dw_start.conv", "dw_start.bn");
            y = self.conv_norm(net, names, y, width, depthwise, None)?;
        }
        let width = self.expanded(net, x);
        y = self.conv_norm(net, ("pw_exp.conv", "pw_exp.bn"), y, width, same(1), act)?;
        if middle > 0 {
            let depthwise = same(middle).stride(self.stride).groups(width);
            let names = ("dw_mid.conv", "dw_mid.bn");
            y = self.conv_norm(net, names, y, width, depthwise, act)?;
        }
        let y = self.squeeze(net, net.channels(x), y)?;
        let names = ("pw_proj.conv", "pw_proj.bn");
        self.conv_norm(net, names, y, self.channels, same(1), None)
    }

    fn expanded(&self, net: &Net, x: NodeId) -> usize {
        round_channels(net.channels(x) as f64 * self.block.expand, 8)
    }

    /// `y`, scaled where the block has squeeze-and-excitation; `input` are its input's channels.
    fn squeeze(&self, net: &mut Net, input: usize, y: NodeId) -> Built {
        if !self.block.squeeze {
            return Ok(y);
        }
        let reduced = (self.squeeze.reduced)(input, net.channels(y));
        let layer = self.squeeze.layer;
        layer.apply(net, &format!("{}.se", self.name), y, reduced)
    }

    fn conv_norm(
        &self,
        net: &mut Net,
        names: (&str, &str),
        x: NodeId,
        out: usize,
        conv: Conv,
        activation: Option<Activation>,
    ) -> Built {
        let conv_name = format!("{}.{}", self.name, names.0);
        let norm_name = format!("{}.{}", self.name, names.1);
        conv_norm(net, (&conv_name, &norm_name), x, out, conv, activation)
    }
}

/// A convolution with an odd kernel that keeps the size at stride 1.
fn same(kernel: usize) -> Conv {
    Conv::new(2, kernel).pad(kernel / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_round_to_the_nearest_multiple_but_never_lose_over_a_tenth() {
        let cases = [
            (16.0, 8, 16),
            (24.0 * 1.4, 8, 32),
            (24.0 * 0.54, 8, 16),
            (16.0 * 0.54, 8, 8),
            (18.0, 8, 24),
            (3.0, 8, 8),
            (16.0 * 1.3, 4, 20),
            (18.0, 4, 20),
        ];
        let wrong: Vec<_> = cases
            .iter()
            .map(|&(channels, divisor, want)| {
                (channels, divisor, want, round_channels(channels, divisor))
            })
            .filter(|(_, _, want, got)| want != got)
            .collect();
        assert!(
            wrong.is_empty(),
            "(channels, divisor, want, got): {wrong:?}"
        );
    }
}
