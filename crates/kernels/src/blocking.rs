//! How a convolution is cut into pieces that fit the caches and are enough for all threads.

use crate::halo::Halo;
use crate::{Context, Geometry, Isa};

/// Products summed before partial sums are stored. On Zen 5, 216 to 320 are equal within 2 %, 144 is
/// 3 % slower (resnet18+fpn); for pointwise layers 128 to 512 are equal.
const DEPTH: usize = 288;
/// Elements of a box in scratch memory: 128 KB. 256 KB is 0 to 2 % slower.
const BOX: usize = 32 * 1024;
/// Elements of a box's results: 512 KB, so that partial sums are still there for the next block.
const RESULTS: usize = 128 * 1024;

/// How the work is cut.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Block {
    /// Input channels per block.
    pub(crate) channels: usize,
    /// Outputs per box.
    pub(crate) size: [usize; 3],
    /// Parts that the panels of output channels are cut into.
    pub(crate) parts: usize,
}

/// Whether windows are gathered into columns first: where rows leave much of a register empty, and
/// enough output channels share the columns. Copying an element takes about as long as 16
/// channels' products with it.
pub(crate) fn gathers(isa: Isa, g: &Geometry, out: usize) -> bool {
    let width = g.output[2];
    let used = width as f64 / width.next_multiple_of(isa.lanes()) as f64;
    g.taps() > 1 && out >= 64 && used < 0.7
}

/// Rows of the tile for `out` output channels: one for a single channel, else a full tile.
pub(crate) fn tile_rows(isa: Isa, out: usize) -> usize {
    match out {
        1 => 1,
        2..=4 => 4,
        _ => isa.tile().0,
    }
}

/// Chooses blocks that fit the caches and are enough for all threads.
pub(crate) fn cut(
    context: &Context,
    g: &Geometry,
    images: usize,
    group_in: usize,
    group_out: usize,
    rows: usize,
) -> Block {
    let lanes = context.isa().lanes();
    let most = (DEPTH / g.taps()).clamp(1, group_in.max(1));
    let channels = group_in.max(1).div_ceil(group_in.max(1).div_ceil(most));
    let fits = |size: [usize; 3]| {
        let area: usize = size.iter().product();
        channels * Halo::new(g, size, lanes).area() <= BOX && group_out * area <= RESULTS
    };
    let step = context.isa().tile().1 * lanes;
    let mut size = [1, 1, g.output[2]];
    while !fits(size) && size[2] > step {
        size[2] = size[2].div_ceil(2).next_multiple_of(step).min(size[2] - 1);
    }
    for axis in [1, 0] {
        let inner_whole = (axis + 1..3).all(|i| size[i] == g.output[i]);
        while inner_whole && size[axis] < g.output[axis] {
            let mut larger = size;
            larger[axis] += 1;
            if !fits(larger) {
                break;
            }
            size = larger;
        }
    }
    let boxes = |size: [usize; 3]| -> usize {
        (0..3)
            .map(|i| g.output[i].div_ceil(size[i]))
            .product::<usize>()
            * images
    };
    let threads = context.threads();
    let wanted = if threads == 1 { 1 } else { 4 * threads };
    // Smaller boxes copy more halo and read the weights more often, so there is a least size.
    let least = if g.taps() == 1 { 4 * step } else { 16 * step };
    while boxes(size) < wanted {
        let axis = (0..3).find(|&i| size[i] > 1).unwrap_or(2);
        let mut smaller = size;
        smaller[axis] = size[axis].div_ceil(2);
        if axis == 2 {
            smaller[2] = smaller[2].next_multiple_of(step);
        }
        if smaller == size || smaller.iter().product::<usize>() < least {
            break;
        }
        size = smaller;
    }
    // Boxes of equal size leave no small one for the end.
    for axis in 0..2 {
        size[axis] = g.output[axis].div_ceil(g.output[axis].div_ceil(size[axis]));
    }
    let panels = group_out.div_ceil(rows);
    let parts = wanted.div_ceil(boxes(size).max(1)).min(panels).max(1);
    Block {
        channels,
        size,
        parts,
    }
}
