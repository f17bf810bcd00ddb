//! The encoders: one file per family of timm.

mod branches;
mod convnext;
mod densenet;
mod edgenext;
mod efficientnet;
mod ghostnetv2;
mod inverted_residual;
mod lcnet;
mod mobilenetv2;
mod mobilenetv3;
mod mobilenetv4;
mod mobileone;
mod poolformer;
mod regnet;
mod repvgg;
mod resnet;
mod squeeze_excite;
mod tinynet;
mod transformer;
mod vit;

use slicewise_graph::NodeId;

use crate::Decoder;
use crate::net::{Built, Net};

/// All families, in the order that models are listed in.
pub(crate) const ALL: &[Family] = &[
    mobileone::FAMILY,
    mobilenetv4::FAMILY,
    mobilenetv3::FAMILY,
    mobilenetv2::FAMILY,
    regnet::X,
    regnet::Y,
    resnet::FAMILY,
    efficientnet::FAMILY,
    repvgg::FAMILY,
    lcnet::FAMILY,
    tinynet::FAMILY,
    edgenext::FAMILY,
    convnext::FAMILY,
    ghostnetv2::FAMILY,
    densenet::FAMILY,
    vit::FAMILY,
    poolformer::FAMILY,
];

/// Encoders that share one building function and a table of their differences.
pub(crate) struct Family {
    pub(crate) name: &'static str,
    /// The names of its encoders, the rows of its table.
    pub(crate) encoders: fn() -> Vec<&'static str>,
    /// Builds an encoder on an image: returns the class scores alone, or the feature maps from
    /// fine to coarse, as timm's classifier and `features_only` wrapper do.
    pub(crate) build: fn(encoder: &str, net: &mut Net, x: NodeId, part: Part) -> Built<Vec<NodeId>>,
    /// The stride of the finest feature map: 2, 4, or for a plain transformer its patch.
    pub(crate) finest: Finest,
}

/// The finest feature map that a family offers; coarser ones follow down to stride 32.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Finest {
    /// Levels at 2, 4, 8, 16 and 32.
    Stride2,
    /// Levels at 4, 8, 16 and 32.
    Stride4,
    /// All maps at the patch size.
    Patch,
}

/// Which part of an encoder is built.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Part {
    /// All of it, with its classifier.
    Classifier { classes: usize },
    /// The layers that feature maps need.
    Features,
}

impl Part {
    /// The key of child `i` of the container `parent`: where timm's `features_only` wrapper takes
    /// containers apart, `stages.0` becomes `stages_0`.
    pub(crate) fn child(self, parent: &str, i: usize) -> String {
        match self {
            Part::Classifier { .. } => format!("{parent}.{i}"),
            Part::Features => format!("{parent}_{i}"),
        }
    }
}

impl Family {
    /// Why a decoder cannot follow, if it cannot.
    pub(crate) fn lacks(&self, decoder: Decoder) -> Option<&'static str> {
        match (decoder, self.finest) {
            (_, Finest::Patch) => Some("a plain vision transformer has one scale only"),
            (Decoder::Unet, Finest::Stride4) => {
                Some("the encoder has no feature map at stride 2; use +fpn")
            }
            _ => None,
        }
    }
}

/// The row of a table that has this name: names reach families only through their own tables.
pub(crate) fn row<'a, R>(rows: &'a [R], name: fn(&R) -> &'static str, encoder: &str) -> &'a R {
    rows.iter()
        .find(|r| name(r) == encoder)
        .expect("a family is asked only for its own encoders")
}
