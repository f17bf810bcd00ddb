//! Layers that transformers and the convolutional networks modelled on them share.

use slicewise_graph::{Activation, NodeId, ReshapeDim};

use crate::net::{Built, Net};

/// What timm's layer norms add to the variance.
pub(crate) const EPS: f32 = 1e-6;

/// Two linear layers on the last axis with GELU between them, four times as wide inside: `fc1`
/// and `fc2` of timm's `Mlp`.
pub(crate) fn mlp(net: &mut Net, name: &str, x: NodeId) -> Built {
    let width = net.size(x, net.shape(x).rank() - 1);
    let x = net.linear(&format!("{name}.fc1"), x, 4 * width, true)?;
    let x = net.act(Activation::GeluErf, x)?;
    net.linear(&format!("{name}.fc2"), x, width, true)
}

/// Queries, keys and values of every head from tokens `[N, T, D]`: one linear layer `qkv` whose
/// thirds become `[N, T, heads, D/heads]`, axes then ordered as asked.
pub(crate) fn query_key_value(
    net: &mut Net,
    name: &str,
    x: NodeId,
    heads: usize,
    orders: [[usize; 4]; 3],
) -> Built<[NodeId; 3]> {
    let width = net.size(x, 2);
    let qkv = net.linear(&format!("{name}.qkv"), x, 3 * width, true)?;
    let mut third = |i: usize| {
        let y = net.slice(qkv, 2, i * width, (i + 1) * width)?;
        let split = [
            ReshapeDim::Copy,
            ReshapeDim::Copy,
            ReshapeDim::Fixed(heads),
            ReshapeDim::Fixed(width / heads),
        ];
        let y = net.reshape(y, &split)?;
        net.transpose(y, &orders[i])
    };
    Ok([third(0)?, third(1)?, third(2)?])
}

/// Tokens `[N, T, D]` from the results of heads, given the order of axes that leads to
/// `[N, T, heads, D/heads]`, and the linear layer `proj` on them.
pub(crate) fn join_heads(net: &mut Net, name: &str, x: NodeId, order: [usize; 4]) -> Built {
    let x = net.transpose(x, &order)?;
    let width = net.size(x, 2) * net.size(x, 3);
    let x = net.reshape(
        x,
        &[ReshapeDim::Copy, ReshapeDim::Copy, ReshapeDim::Fixed(width)],
    )?;
    net.linear(&format!("{name}.proj"), x, width, true)
}

/// Class scores of a feature map: its mean over space, layer norm `head.norm`, linear `head.fc`.
pub(crate) fn norm_head(net: &mut Net, x: NodeId, classes: usize) -> Built {
    let x = net.global_mean(x, false)?;
    let x = net.layer_norm("head.norm", x, 1, EPS)?;
    net.linear("head.fc", x, classes, true)
}
