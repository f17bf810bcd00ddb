//! Axis orders: which way the voxel axes run, and bringing voxels from one order to another and back.

use std::fmt;
use std::str::FromStr;

use crate::{Affine, Grid};

/// The letters of the world's axes, of their negative and their positive direction.
const LETTERS: [[char; 2]; 3] = [['L', 'R'], ['P', 'A'], ['I', 'S']];

/// The direction that a voxel axis runs in, as indices grow.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Direction {
    /// 0 left-right, 1 posterior-anterior, 2 inferior-superior.
    pub world: usize,
    /// Towards right, anterior or superior.
    pub positive: bool,
}

/// The directions of the three voxel axes; one of 48. Written as nibabel's axis codes: in `RAS` the
/// first axis runs to the patient's right, the second to the front, the third to the head.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Orientation([Direction; 3]);

impl Orientation {
    /// Canonical order: right, anterior, superior.
    pub const RAS: Orientation = Orientation::along([0, 1, 2], [true; 3]);
    /// The order of DICOM and ITK: left, posterior, superior.
    pub const LPS: Orientation = Orientation::along([0, 1, 2], [false, false, true]);

    const fn along(world: [usize; 3], positive: [bool; 3]) -> Self {
        Orientation([
            Direction {
                world: world[0],
                positive: positive[0],
            },
            Direction {
                world: world[1],
                positive: positive[1],
            },
            Direction {
                world: world[2],
                positive: positive[2],
            },
        ])
    }

    /// The orientation that an affine is closest to, chosen as nibabel's `io_orientation` does: axes in
    /// the order of how clearly they follow one of the world's, each taking what is left. The affine
    /// must span the world.
    pub fn of(affine: &Affine) -> Self {
        let mut r = match affine.rotation() {
            Some((rotation, _)) => rotation,
            None => return Orientation::RAS,
        };
        let strength = |axis: usize| (0..3).map(|w| r[w][axis].powi(2)).fold(0.0, f64::max);
        let strengths = [0, 1, 2].map(strength);
        let mut axes = [0, 1, 2];
        axes.sort_by(|&a, &b| strengths[b].total_cmp(&strengths[a]));
        let mut directions = Orientation::RAS.0;
        let mut taken = [false; 3];
        for axis in axes {
            let mut best = None;
            for world in (0..3).filter(|&w| !taken[w]) {
                if best.is_none_or(|b: usize| r[world][axis].abs() > r[b][axis].abs()) {
                    best = Some(world);
                }
            }
            let Some(world) = best else { continue };
            directions[axis] = Direction {
                world,
                positive: r[world][axis] >= 0.0,
            };
            taken[world] = true;
            r[world] = [0.0; 3];
        }
        Orientation(directions)
    }

    /// All 48.
    pub fn all() -> Vec<Orientation> {
        let orders = [
            [0, 1, 2],
            [0, 2, 1],
            [1, 0, 2],
            [1, 2, 0],
            [2, 0, 1],
            [2, 1, 0],
        ];
        let signs = (0..8).map(|n| [n & 4 == 0, n & 2 == 0, n & 1 == 0]);
        let along = |order| {
            signs
                .clone()
                .map(move |sign| Orientation::along(order, sign))
        };
        orders.into_iter().flat_map(along).collect()
    }

    /// The directions of the axes.
    pub fn directions(&self) -> [Direction; 3] {
        self.0
    }

    /// The voxel axis that runs along axis `world` of the world, in either direction.
    pub fn axis_along(&self, world: usize) -> usize {
        self.0.iter().position(|d| d.world == world).unwrap_or(0)
    }
}

impl fmt::Display for Orientation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .try_for_each(|d| write!(f, "{}", LETTERS[d.world][usize::from(d.positive)]))
    }
}

impl FromStr for Orientation {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "'{text}' is no orientation; write one letter each of L or R, P or A, I or S, such as RAS"
            )
        };
        let letters: Vec<char> = text.chars().map(|c| c.to_ascii_uppercase()).collect();
        let letters: [char; 3] = letters.try_into().map_err(|_| wrong())?;
        let mut directions = Orientation::RAS.0;
        for (direction, letter) in directions.iter_mut().zip(letters) {
            let world = LETTERS.iter().position(|l| l.contains(&letter));
            let world = world.ok_or_else(wrong)?;
            *direction = Direction {
                world,
                positive: LETTERS[world][1] == letter,
            };
        }
        let mut worlds = directions.map(|d| d.world);
        worlds.sort_unstable();
        match worlds == [0, 1, 2] {
            true => Ok(Orientation(directions)),
            false => Err(wrong()),
        }
    }
}

/// How voxels of one axis order become those of another: axes are exchanged and reversed, nothing is
/// computed, so that [`Reorder::inverse`] brings every voxel back exactly.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reorder {
    /// For every new axis the old axis that it is, and whether it is reversed.
    axes: [(usize, bool); 3],
}

impl Reorder {
    /// From one orientation to another.
    pub fn between(from: Orientation, to: Orientation) -> Self {
        let axes = to.0.map(|direction| {
            let axis = from.axis_along(direction.world);
            (axis, from.0[axis].positive != direction.positive)
        });
        Reorder { axes }
    }

    /// For every new axis the old axis that it is, and whether it is reversed.
    pub fn axes(&self) -> [(usize, bool); 3] {
        self.axes
    }

    /// The way back.
    pub fn inverse(&self) -> Self {
        let mut axes = [(0, false); 3];
        for (new, &(old, reversed)) in self.axes.iter().enumerate() {
            axes[old] = (new, reversed);
        }
        Reorder { axes }
    }

    /// The size of a volume of `size` in the new order.
    pub fn size(&self, size: [usize; 3]) -> [usize; 3] {
        self.axes.map(|(old, _)| size[old])
    }

    /// The grid in the new order; every voxel stays where it is in the world.
    pub fn grid(&self, grid: &Grid) -> Grid {
        let size = grid.size();
        let mut affine = *grid.affine();
        let mut first = [0.0; 3];
        for (new, &(old, reversed)) in self.axes.iter().enumerate() {
            let sign = if reversed { -1.0 } else { 1.0 };
            for row in 0..3 {
                affine.matrix[row][new] = sign * grid.affine().matrix[row][old];
            }
            first[old] = if reversed {
                (size[old] - 1) as f64
            } else {
                0.0
            };
        }
        affine.origin = grid.affine().apply(first);
        // What spans the world still does after its axes are exchanged.
        Grid::new(self.size(size), affine).unwrap_or_else(|_| grid.clone())
    }

    /// For the voxels of a volume of `size` in the new order: where the first one was, and how far apart
    /// neighbours along the three new axes were.
    pub fn steps(&self, size: [usize; 3]) -> (usize, [isize; 3]) {
        let strides = [1, size[0], size[0] * size[1]];
        let begin = self.axes.iter().filter(|(_, reversed)| *reversed);
        let begin = begin.map(|&(old, _)| (size[old] - 1) * strides[old]).sum();
        let steps = self.axes.map(|(old, reversed)| {
            let step = strides[old] as isize;
            if reversed { -step } else { step }
        });
        (begin, steps)
    }

    /// The voxels of a volume of `size` in the new order, i fastest.
    ///
    /// # Panics
    /// If there are not as many voxels as `size` says.
    pub fn apply<T: Copy>(&self, size: [usize; 3], voxels: &[T]) -> Vec<T> {
        assert_eq!(voxels.len(), size.iter().product::<usize>());
        let (begin, [di, dj, dk]) = self.steps(size);
        let [ni, nj, nk] = self.size(size);
        let mut out = Vec::with_capacity(voxels.len());
        for k in 0..nk as isize {
            for j in 0..nj as isize {
                let row = begin as isize + k * dk + j * dj;
                out.extend((0..ni as isize).map(|i| voxels[(row + i * di) as usize]));
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_48_orientations_and_their_names_are_read_back() {
        let all = Orientation::all();
        let distinct: std::collections::BTreeSet<_> = all.iter().copied().collect();
        assert_eq!(distinct.len(), 48);
        for o in all {
            assert_eq!(o.to_string().parse(), Ok(o));
        }
        for wrong in ["", "RA", "RAA", "RLS", "RASX", "XYZ"] {
            assert!(wrong.parse::<Orientation>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn voxels_come_back_exactly_and_stay_where_they_were_in_every_order() {
        let size = [2, 3, 4];
        let affine = Affine {
            matrix: [[-0.7, 0.1, 0.0], [0.05, 0.9, 0.2], [0.0, -0.1, 2.5]],
            origin: [5.0, -3.0, 11.0],
        };
        let grid = Grid::new(size, affine).unwrap();
        let voxels: Vec<usize> = (0..24).collect();
        for to in Orientation::all() {
            let there = Reorder::between(grid.orientation(), to);
            let moved_grid = there.grid(&grid);
            assert_eq!(moved_grid.orientation(), to);
            let moved = there.apply(size, &voxels);
            let back = there.inverse();
            assert_eq!(back.apply(moved_grid.size(), &moved), voxels, "{to}");
            for (row, want) in back
                .grid(&moved_grid)
                .affine()
                .rows()
                .iter()
                .zip(affine.rows())
            {
                for (got, want) in row.iter().zip(want) {
                    assert!((got - want).abs() < 1e-12, "{to}");
                }
            }
            let [ni, nj, _] = moved_grid.size();
            for (at, &voxel) in moved.iter().enumerate() {
                let new = [at % ni, at / ni % nj, at / (ni * nj)].map(|v| v as f64);
                let old = [voxel % 2, voxel / 2 % 3, voxel / 6].map(|v| v as f64);
                let (a, b) = (moved_grid.affine().apply(new), affine.apply(old));
                assert!((0..3).all(|x| (a[x] - b[x]).abs() < 1e-9), "{to} {at}");
            }
        }
    }
}
