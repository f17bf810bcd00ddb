//! How a packed convolution is cut into pieces for the threads and the caches.

use crate::blocking::{enough, one_row, with_rows};
use crate::halo::Halo;
use crate::{Context, Geometry};

/// Words of a box in scratch memory: 256 KB, a quarter of a second cache.
const BOX: usize = 64 * 1024;
/// Products of words that are worth another piece of work: about 20 µs.
const LEAST_WORK: usize = 2 * 1024 * 1024;

/// What is to be cut.
pub(super) struct Work {
    pub(super) images: usize,
    pub(super) groups: usize,
    /// Words of a group's input.
    pub(super) group_in: usize,
    pub(super) group_out: usize,
    pub(super) rows: usize,
    /// Channels of a word.
    pub(super) channels: usize,
}

/// How the work is cut.
#[derive(Debug)]
pub(super) struct Cut {
    /// Outputs per box.
    pub(super) size: [usize; 3],
    /// Parts that the panels of output channels are cut into.
    pub(super) parts: usize,
    /// Groups of one piece.
    pub(super) step: usize,
    /// The layout of a box; `None` for pointwise layers, whose columns are packed tile by tile.
    pub(super) halo: Option<Halo>,
    /// Where each product finds its column.
    pub(super) offsets: Vec<u32>,
    /// Elements of scratch memory.
    pub(super) scratch: usize,
}

impl Cut {
    pub(super) fn new(context: &Context, g: &Geometry, work: &Work) -> Self {
        let (lanes, _, columns) = context.isa().dot_tile();
        let threads = context.threads();
        let tile = lanes * columns;
        let per_group = g.output_area() * work.group_in * g.taps() * work.group_out;
        let products = per_group * work.groups * work.images;
        let wanted = match threads {
            1 => 1,
            _ => threads * (products / (threads * LEAST_WORK)).clamp(1, 4),
        };
        let pointwise = g.is_pointwise();
        // Planes are packed beside the words that they become.
        let planes = work.group_in + work.channels;
        let fits = |size: [usize; 3]| pointwise || planes * Halo::new(g, size, lanes).area() <= BOX;
        let mut size = with_rows(g, one_row(g, tile, fits), fits);
        let boxes =
            |size: [usize; 3]| -> usize { (0..3).map(|i| g.output[i].div_ceil(size[i])).product() };
        let pieces = |size: [usize; 3]| boxes(size) * work.groups * work.images;
        // Smaller boxes copy more halo and read the weights more often, so there is a least size.
        let least = if pointwise { 2 * tile } else { 8 * tile };
        size = enough(g, size, tile, least, |size| pieces(size) >= wanted);
        if pointwise {
            let registers = g.output[2].div_ceil(tile);
            let equal = registers.div_ceil(registers.div_ceil((size[2] / tile).max(1)));
            size[2] = (equal * tile).min(g.output[2]);
        }
        let panels = work.group_out.div_ceil(work.rows);
        let parts = wanted.div_ceil(pieces(size).max(1)).min(panels).max(1);
        let groups_wanted = wanted.div_ceil((boxes(size) * work.images * parts).max(1));
        let step = work.groups.div_ceil(groups_wanted.clamp(1, work.groups));
        let depth = work.group_in * g.taps();
        let (halo, offsets, scratch) = if pointwise {
            let offsets = (0..depth).map(|k| (k * tile) as u32).collect();
            (None, offsets, depth * tile)
        } else {
            let halo = Halo::new(g, size, lanes);
            let taps = halo.taps(g);
            let offsets = (0..work.group_in)
                .flat_map(|w| taps.iter().map(move |t| (w, t)))
                .map(|(w, t)| (w * halo.area() + t) as u32)
                .collect();
            (Some(halo), offsets, planes * halo.area())
        };
        Cut {
            size,
            parts,
            step,
            halo,
            offsets,
            scratch,
        }
    }
}
