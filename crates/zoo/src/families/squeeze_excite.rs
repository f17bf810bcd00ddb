//! Squeeze-and-excitation (Hu et al. 2017), shared by the families that use it.

use slicewise_graph::{Activation, Conv, NodeId};

use crate::net::{Built, Net};

/// What differs between timm's `SqueezeExcite` of EfficientNet and its `SEModule`.
#[derive(Clone, Copy, Debug)]
pub(super) struct SqueezeExcite {
    /// The name of the 1×1 convolution to fewer channels.
    pub(super) reduce: &'static str,
    /// The name of the 1×1 convolution back.
    pub(super) expand: &'static str,
    /// Between the two.
    pub(super) activation: Activation,
    /// From scores to factors.
    pub(super) gate: Activation,
}

impl SqueezeExcite {
    /// timm's `SEModule`, of RegNet and of the ByobNet families.
    pub(super) const FC: SqueezeExcite = SqueezeExcite {
        reduce: "fc1",
        expand: "fc2",
        activation: Activation::Relu,
        gate: Activation::Sigmoid,
    };

    /// timm's `SqueezeExcite` of the EfficientNet builder, with its default functions.
    pub(super) const CONV: SqueezeExcite = SqueezeExcite {
        reduce: "conv_reduce",
        expand: "conv_expand",
        activation: Activation::Relu,
        gate: Activation::Sigmoid,
    };

    /// Scales every channel of `x` by a gate computed from all channels' means, through
    /// `reduced` channels; parameters under `name`.
    pub(super) fn apply(self, net: &mut Net, name: &str, x: NodeId, reduced: usize) -> Built {
        let channels = net.channels(x);
        let one = Conv::new(2, 1);
        let mean = net.global_mean(x, true)?;
        let reduce = format!("{name}.{}", self.reduce);
        let squeezed = net.conv(&reduce, mean, reduced, one.clone(), true)?;
        let squeezed = net.act(self.activation, squeezed)?;
        let expand = format!("{name}.{}", self.expand);
        let scores = net.conv(&expand, squeezed, channels, one, true)?;
        let gate = net.act(self.gate, scores)?;
        net.mul(x, gate)
    }
}
