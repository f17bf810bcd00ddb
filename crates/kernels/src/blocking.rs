//! How a convolution is cut into pieces that fit the caches and are enough for all threads.

use crate::halo::Halo;
use crate::{Context, Geometry, Isa};

/// Products summed before partial sums are stored, with columns packed: 60 KB of 48 columns, read in
/// order. 192 and 256 are 1 to 3 % slower on pointwise layers of 384 to 960 channels, 128 is 5 %.
const PACKED_DEPTH: usize = 320;
/// Registers of columns that a piece has at least, if there are several pieces.
const LEAST_REGISTERS: usize = 4;
/// Products that are worth another piece of work: about 20 µs.
const LEAST_WORK: usize = 2 * 1024 * 1024;
/// Products summed before partial sums are stored. On Zen 5, 216 to 320 are equal within 2 %, 144 is
/// 3 % slower (resnet18+fpn); for pointwise layers 128 to 512 are equal.
const DEPTH: usize = 288;
/// Elements of a box in scratch memory: 128 KB. 256 KB is 0 to 2 % slower.
const BOX: usize = 32 * 1024;
/// Elements of a box's results: 512 KB, so that partial sums are still there for the next block.
const RESULTS: usize = 128 * 1024;

/// Columns in a cache line. Tiles no wider than that run over several neighbours before the next panel of
/// output channels does.
pub(crate) const LINE: usize = 16;

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

/// Rows of the tile for `out` output channels: one for a single channel, else a full tile or, where that
/// would leave rows empty, four. On Zen 3, where a full tile has six, four rows take 11 to 24 % off groups
/// of 8 channels, up to 12 % off 16 channels and 6 to 12 % off Winograd layers of 16 and 32 channels; direct
/// ones of 32 take as long, and where all six rows are used four add 5 to 17 %.
pub(crate) fn tile_rows(isa: Isa, out: usize) -> usize {
    let full = isa.tile().0;
    match out {
        1 => 1,
        _ if 9 * out.next_multiple_of(4) <= 8 * out.next_multiple_of(full) => 4,
        _ => full,
    }
}

/// What is to be cut.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Work {
    /// Images times groups.
    pub(crate) images: usize,
    /// Channels of a group.
    pub(crate) group_in: usize,
    pub(crate) group_out: usize,
    /// Output channels in a panel.
    pub(crate) rows: usize,
}

/// A box of one row of the output, halved until it `fits`, in multiples of `step`.
pub(crate) fn one_row(g: &Geometry, step: usize, fits: impl Fn([usize; 3]) -> bool) -> [usize; 3] {
    let mut size = [1, 1, g.output[2]];
    while !fits(size) && size[2] > step {
        size[2] = size[2].div_ceil(2).next_multiple_of(step).min(size[2] - 1);
    }
    size
}

/// A box with as many rows and planes more as still `fits`.
pub(crate) fn with_rows(
    g: &Geometry,
    mut size: [usize; 3],
    fits: impl Fn([usize; 3]) -> bool,
) -> [usize; 3] {
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
    size
}

/// A box made smaller until there are `enough` of it, but not of fewer than `least` results; in the end
/// boxes are of equal size, so that there is no small one for the end.
pub(crate) fn enough(
    g: &Geometry,
    mut size: [usize; 3],
    step: usize,
    least: usize,
    enough: impl Fn([usize; 3]) -> bool,
) -> [usize; 3] {
    while !enough(size) {
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
    for axis in 0..2 {
        size[axis] = g.output[axis].div_ceil(g.output[axis].div_ceil(size[axis]));
    }
    size
}

/// Chooses blocks of a direct convolution that fit the caches and are enough for all threads.
pub(crate) fn cut(context: &Context, g: &Geometry, work: &Work) -> Block {
    let Work {
        images,
        group_in,
        group_out,
        rows,
    } = *work;
    let lanes = context.isa().lanes();
    let most = (DEPTH / g.taps()).clamp(1, group_in.max(1));
    let channels = group_in.max(1).div_ceil(group_in.max(1).div_ceil(most));
    let fits = |size: [usize; 3]| {
        let area: usize = size.iter().product();
        channels * Halo::new(g, size, lanes).area() <= BOX && group_out * area <= RESULTS
    };
    let step = context.isa().tile().1 * lanes;
    let mut size = with_rows(g, one_row(g, step, fits), fits);
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
    size = enough(g, size, step, least, |size| boxes(size) >= wanted);
    let panels = group_out.div_ceil(rows);
    let parts = wanted.div_ceil(boxes(size).max(1)).min(panels).max(1);
    Block {
        channels,
        size,
        parts,
    }
}

/// Chooses blocks of a convolution over packed columns. Every piece is one stretch of the output.
pub(crate) fn cut_columns(context: &Context, g: &Geometry, work: &Work) -> Block {
    let (threads, lanes) = (context.threads(), context.isa().lanes());
    let group_in = work.group_in.max(1);
    let most = (PACKED_DEPTH / g.taps()).clamp(1, group_in);
    let channels = group_in.div_ceil(group_in.div_ceil(most));
    let area = g.output_area();
    let registers = area.div_ceil(lanes);
    let products = work.images * area * group_in * g.taps() * work.group_out;
    let wanted = match threads {
        1 => 1,
        _ => threads * (products / (threads * LEAST_WORK)).clamp(1, 4),
    };
    // Pieces of one image and group: stretches of columns, then panels.
    let wanted = wanted.div_ceil(work.images.max(1));
    // Partial sums, and results that do not go to the output as they are, stay in the second cache.
    let fitting = (area * work.group_out).div_ceil(RESULTS);
    let mut stretches = wanted.min(registers / LEAST_REGISTERS).max(1).max(fitting);
    if stretches >= threads {
        stretches = stretches.next_multiple_of(threads).min(registers);
    }
    let columns = registers.div_ceil(stretches) * lanes;
    let size = stretch(g, columns, lanes);
    let pieces: usize = (0..3).map(|i| g.output[i].div_ceil(size[i])).product();
    let panels = work.group_out.div_ceil(work.rows);
    let parts = match pieces >= threads {
        true => 1,
        false => wanted.div_ceil(pieces).clamp(1, panels),
    };
    Block {
        channels,
        size,
        parts,
    }
}

/// The size of equal boxes that are one stretch of the output each, of about `columns`.
fn stretch(g: &Geometry, columns: usize, lanes: usize) -> [usize; 3] {
    let [depth, height, width] = g.output;
    let equal = |n: usize, most: usize| n.div_ceil(n.div_ceil(most.clamp(1, n)));
    if depth > 1 && height * width <= columns {
        [equal(depth, columns / (height * width)), height, width]
    } else if height > 1 && width <= columns {
        [1, equal(height, columns / width), width]
    } else {
        let registers = equal(width.div_ceil(lanes), columns / lanes);
        [1, 1, (registers * lanes).min(width)]
    }
}
