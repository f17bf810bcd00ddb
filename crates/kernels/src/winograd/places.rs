//! Where the tiles of a block lie in the input and in the output.
//!
//! A register holds one element of `LANES` tiles. `m` neighbouring tiles' rows are `m` registers of
//! pixels: a *run* is `LANES` pixels of a row of tiles, the tiles of `m` runs are a *vector* of
//! tiles. The runs of a vector may come from anywhere: narrow maps put several rows of tiles, or
//! several images, into one vector.

use crate::Geometry;

/// Runs of a block at most: 3 vectors of tiles with 4 runs each.
pub(super) const RUNS: usize = 12;

/// All runs of a layer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grid {
    pub(super) geometry: Geometry,
    /// Outputs of a tile on each axis.
    pub(super) tile: [usize; 3],
    /// Rows of tiles on the depth and height axes, runs in a row of tiles.
    count: [usize; 3],
    lanes: usize,
}

/// A run of pixels of one row of one slice of the input.
#[derive(Clone, Copy, Default)]
pub(super) struct Source {
    /// Where it begins, from the first channel of the first image on; it may lie before the row.
    pub(super) offset: isize,
    /// The first lane that lies in the row and the one after the last; the same of the run that begins
    /// a tile further right or, with a stride of 2, of the run that follows; then of the one after.
    pub(super) lanes: [(usize, usize); 3],
}

/// A run of a tile row in the output.
#[derive(Clone, Copy, Default)]
pub(super) struct Place {
    /// Where its first pixel lies in the first channel of its image, and the image.
    pub(super) at: usize,
    pub(super) image: usize,
    /// Slices, rows and pixels that the output has of it.
    pub(super) size: [usize; 3],
}

impl Grid {
    pub(super) fn new(geometry: Geometry, tile: [usize; 3], lanes: usize) -> Self {
        let [depth, height, width] = geometry.output;
        Grid {
            geometry,
            tile,
            count: [
                depth.div_ceil(tile[0]),
                height.div_ceil(tile[1]),
                width.div_ceil(lanes),
            ],
            lanes,
        }
    }

    /// Runs of one image.
    pub(super) fn runs(&self) -> usize {
        self.count.iter().product()
    }

    /// The first output of run `run`, and its image.
    fn start(&self, run: usize) -> (usize, [usize; 3]) {
        let [_, rows, columns] = self.count;
        let (image, at) = (run / self.runs(), run % self.runs());
        let start = [
            at / columns / rows * self.tile[0],
            at / columns % rows * self.tile[1],
            at % columns * self.lanes,
        ];
        (image, start)
    }

    /// Where run `run` of `batch` images goes; nowhere if there is no such run.
    pub(super) fn place(&self, run: usize, batch: usize) -> Place {
        if run >= batch * self.runs() {
            return Place::default();
        }
        let (image, start) = self.start(run);
        let output = self.geometry.output;
        let most = [self.tile[0], self.tile[1], self.lanes];
        Place {
            at: (start[0] * output[1] + start[1]) * output[2] + start[2],
            image,
            size: std::array::from_fn(|i| most[i].min(output[i] - start[i])),
        }
    }

    /// Where row `row` of slice `slice` of run `run` comes from in `[N, channels, spatial…]`;
    /// nothing but zeros if there is no such run.
    pub(super) fn source(
        &self,
        run: usize,
        batch: usize,
        channels: usize,
        slice: usize,
        row: usize,
    ) -> Source {
        if run >= batch * self.runs() {
            return Source::default();
        }
        let g = &self.geometry;
        let (image, start) = self.start(run);
        let place = |axis: usize, at: usize| {
            let at = (start[axis] * g.stride[axis] + at) as isize - g.before[axis];
            (0..g.input[axis] as isize).contains(&at).then_some(at)
        };
        let (Some(z), Some(y)) = (place(0, slice), place(1, row)) else {
            return Source::default();
        };
        let [_, height, width] = g.input.map(|n| n as isize);
        let x = (start[2] * g.stride[2]) as isize - g.before[2];
        let plane = (image * channels * g.input_area()) as isize;
        let lanes = self.lanes as isize;
        // Without a stride lane i of the second run is pixel x + tile + i; a tile's last input is at
        // tile + 1.
        let shift = match g.stride[2] {
            1 => self.tile[2] as isize,
            _ => lanes,
        };
        let lane = |n: isize| n.clamp(0, lanes) as usize;
        let inside = |first: isize| (lane(-first), lane(width - first));
        Source {
            offset: plane + (z * height + y) * width + x,
            lanes: [inside(x), inside(x + shift), inside(x + 2 * shift)],
        }
    }
}
