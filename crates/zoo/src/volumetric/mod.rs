//! The 3D networks that slicewise is compared with.

use slicewise_graph::NodeId;

use crate::net::{Built, Net};

/// All volumetric networks, in the order that they are listed in.
pub(crate) const ALL: &[Volumetric] = &[];

/// A 3D segmentation network.
pub(crate) struct Volumetric {
    pub(crate) name: &'static str,
    /// Builds it on a volume `[N, 1, D, H, W]`: class scores of the same size.
    pub(crate) build: fn(net: &mut Net, x: NodeId, classes: usize) -> Built,
}
