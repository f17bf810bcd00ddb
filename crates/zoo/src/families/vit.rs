//! ViT (Dosovitskiy et al. 2021, "An Image is Worth 16x16 Words"), timm's `VisionTransformer` with
//! `dynamic_img_size=True`: trained at 224×224, position embeddings resampled for other sizes.

use slicewise_graph::{Conv, Coordinates, GraphError, NodeId, Op, ReshapeDim, ResizeMode, Tensor};

use super::transformer::{EPS, join_heads, mlp, query_key_value};
use super::{Family, Finest, Part, row};
use crate::net::{Built, Net};

pub(crate) const FAMILY: Family = Family {
    name: "vit",
    encoders: || ROWS.iter().map(|r| r.name).collect(),
    build,
    finest: Finest::Patch,
};

struct Row {
    name: &'static str,
    patch: usize,
    width: usize,
    heads: usize,
}

#[rustfmt::skip]
const ROWS: &[Row] = &[
    Row { name: "vit_tiny_patch16_224", patch: 16, width: 192, heads: 3 },
    Row { name: "vit_small_patch16_224", patch: 16, width: 384, heads: 6 },
    Row { name: "vit_small_patch32_224", patch: 32, width: 384, heads: 6 },
];

const BLOCKS: usize = 12;
/// Blocks at the end whose tokens are feature maps, timm's `out_indices=3`.
const MAPS: usize = 3;
/// The size of the images that position embeddings are learnt on.
const TRAINED_SIZE: usize = 224;

fn build(encoder: &str, net: &mut Net, x: NodeId, part: Part) -> Built<Vec<NodeId>> {
    let row = row(ROWS, |r| r.name, encoder);
    // timm's wrapper for features keeps the whole network under this name.
    let module = match part {
        Part::Features => "model.",
        Part::Classifier { .. } => "",
    };
    let [rows, columns] = grid(net, x, row.patch)?;
    let mut x = embed(net, module, x, row)?;
    let scale = ((row.width / row.heads) as f32).powf(-0.5);
    let scale = net.constant("attention_scale", Tensor::scalar(scale))?;
    let mut maps = Vec::new();
    for i in 0..BLOCKS {
        x = block(net, &format!("{module}blocks.{i}"), x, row.heads, scale)?;
        if matches!(part, Part::Features) && i + MAPS >= BLOCKS {
            maps.push(map(net, x, rows, columns)?);
        }
    }
    let Part::Classifier { classes } = part else {
        return Ok(maps);
    };
    // Layer norm sees tokens one by one, so the class token is all that needs it.
    let token = net.slice(x, 1, 0, 1)?;
    let token = net.reshape(token, &[ReshapeDim::Copy, ReshapeDim::Fixed(row.width)])?;
    let token = net.layer_norm("norm", token, 1, EPS)?;
    Ok(vec![net.linear("head", token, classes, true)?])
}

/// The rows and columns of patches.
fn grid(net: &Net, x: NodeId, patch: usize) -> Built<[usize; 2]> {
    let size = [net.size(x, 2), net.size(x, 3)];
    if size.iter().all(|n| n.is_multiple_of(patch)) {
        return Ok(size.map(|n| n / patch));
    }
    let [height, width] = size.map(|n| n.div_ceil(patch).saturating_mul(patch));
    Err(GraphError::Shape {
        node: "patch_embed.proj".into(),
        op: "Conv",
        inputs: net.shape(x).to_string(),
        problem: format!(
            "height and width must be multiples of the patch, {patch}: try {height}x{width}"
        ),
    })
}

/// Tokens `[N, 1 + patches, D]`: the class token and the patches, with their positions.
fn embed(net: &mut Net, module: &str, x: NodeId, row: &Row) -> Built {
    let cls = net.parameter(&format!("{module}cls_token"), &[1, 1, row.width])?;
    let side = TRAINED_SIZE / row.patch;
    let sizes = [1, 1 + side * side, row.width];
    let positions = net.parameter(&format!("{module}pos_embed"), &sizes)?;
    let patch = Conv::new(2, row.patch).stride(row.patch);
    let proj = format!("{module}patch_embed.proj");
    let x = net.conv(&proj, x, row.width, patch, true)?;
    let (rows, columns) = (net.size(x, 2), net.size(x, 3));
    let flat = [
        ReshapeDim::Copy,
        ReshapeDim::Copy,
        ReshapeDim::Fixed(rows * columns),
    ];
    let x = net.reshape(x, &flat)?;
    let x = net.transpose(x, &[0, 2, 1])?;

    // The class token is the same for every image of an open batch: a zero token in front of each
    // image's patches takes it on in the addition of positions.
    let pads = vec![(0, 0), (1, 0), (0, 0)];
    let x = net.unary("pad", Op::Pad { pads, value: 0.0 }, x)?;
    let first = net.slice(positions, 1, 0, 1)?;
    let first = net.add(first, cls)?;
    let rest = net.slice(positions, 1, 1, sizes[1])?;
    let rest = resample(net, rest, side, rows, columns)?;
    let positions = net.concat(1, &[first, rest])?;
    net.add(x, positions)
}

/// Position embeddings `[1, side², D]` for another grid, as timm's `resample_abs_pos_embed`.
fn resample(net: &mut Net, x: NodeId, side: usize, rows: usize, columns: usize) -> Built {
    if (rows, columns) == (side, side) {
        return Ok(x);
    }
    let x = map_of(net, x, side, side)?;
    let mode = ResizeMode::Cubic { antialias: true };
    let x = net.resize(x, &[rows, columns], mode, Coordinates::HalfPixel)?;
    let x = net.transpose(x, &[0, 2, 3, 1])?;
    let tokens = [
        ReshapeDim::Copy,
        ReshapeDim::Fixed(rows * columns),
        ReshapeDim::Fixed(net.size(x, 3)),
    ];
    net.reshape(x, &tokens)
}

/// `[N, D, rows, columns]` from tokens `[N, rows · columns, D]`.
fn map_of(net: &mut Net, x: NodeId, rows: usize, columns: usize) -> Built {
    let map = [
        ReshapeDim::Copy,
        ReshapeDim::Fixed(rows),
        ReshapeDim::Fixed(columns),
        ReshapeDim::Fixed(net.size(x, 2)),
    ];
    let x = net.reshape(x, &map)?;
    net.transpose(x, &[0, 3, 1, 2])
}

/// The feature map that all tokens but the class token are.
fn map(net: &mut Net, x: NodeId, rows: usize, columns: usize) -> Built {
    let patches = net.slice(x, 1, 1, 1 + rows * columns)?;
    map_of(net, patches, rows, columns)
}

/// Attention between tokens, then an MLP on each; both on normalised tokens and added.
fn block(net: &mut Net, name: &str, x: NodeId, heads: usize, scale: NodeId) -> Built {
    let y = net.layer_norm(&format!("{name}.norm1"), x, 2, EPS)?;
    let y = attention(net, &format!("{name}.attn"), y, heads, scale)?;
    let x = net.add(x, y)?;
    let y = net.layer_norm(&format!("{name}.norm2"), x, 2, EPS)?;
    let y = mlp(net, &format!("{name}.mlp"), y)?;
    net.add(x, y)
}

fn attention(net: &mut Net, name: &str, x: NodeId, heads: usize, scale: NodeId) -> Built {
    let orders = [[0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3]];
    let [q, k, v] = query_key_value(net, name, x, heads, orders)?;
    let q = net.mul(q, scale)?;
    let scores = net.matmul(q, k)?;
    let attention = net.softmax(scores, 3)?;
    let y = net.matmul(attention, v)?;
    join_heads(net, name, y, [0, 2, 1, 3])
}

#[cfg(test)]
mod tests {
    use slicewise_graph::Op;

    use crate::{Options, build};

    fn resizes(size: [usize; 2]) -> Result<usize, String> {
        let options = Options::default().size(&size);
        let graph = build("vit_small_patch32_224", &options).map_err(|e| e.to_string())?;
        let nodes = graph.nodes().iter();
        Ok(nodes.filter(|n| matches!(n.op, Op::Resize(_))).count())
    }

    #[test]
    fn position_embeddings_are_resampled_for_every_grid_but_the_trained_one() {
        // 32x1568 has the trained number of patches, 49, in another shape.
        let cases = [([224, 224], 0), ([96, 512], 1), ([32, 1568], 1)];
        let got = cases.map(|(size, _)| (size, resizes(size).expect("multiples of 32")));
        assert_eq!(got, cases);
    }

    #[test]
    fn a_size_that_cuts_patches_is_refused_with_the_next_one_that_does_not() {
        let error = resizes([75, 101]).expect_err("75 is no multiple of 32");
        assert!(error.contains("try 96x128"), "{error}");
        let huge = resizes([usize::MAX, 1]).expect_err("no multiple of 32 either");
        assert!(huge.contains("multiples of the patch, 32"), "{huge}");
    }
}
