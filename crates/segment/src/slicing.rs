//! Which planes of a scan become images, and which way round.

use std::str::FromStr;

use slicewise_imaging::{Grid, Orientation, Reorder};

/// The direction that slices are taken in.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum View {
    /// From feet to head, as most CT is read.
    Axial,
    /// From back to front.
    Coronal,
    /// From one side to the other.
    Sagittal,
    /// Along the axis whose voxels are furthest apart, so that images are as sharp as they can be; axial
    /// where that is a tie.
    Thinnest,
}

/// The views by name.
const VIEWS: [(&str, View); 4] = [
    ("axial", View::Axial),
    ("coronal", View::Coronal),
    ("sagittal", View::Sagittal),
    ("thinnest", View::Thinnest),
];

impl View {
    /// Its name.
    pub fn name(self) -> &'static str {
        VIEWS
            .iter()
            .find(|(_, v)| *v == self)
            .map_or("", |(n, _)| n)
    }

    /// The view that slices of an orientation are.
    pub fn of(orientation: Orientation) -> Self {
        [View::Sagittal, View::Coronal, View::Axial][orientation.directions()[2].world]
    }

    /// Which way columns, rows and slices run, for a network that was trained on slices of `trained`: its
    /// own way where it is the same view, and as radiologists look at it otherwise (the patient's right
    /// or front on the left, the head or front on top).
    pub fn orientation(self, trained: Orientation, grid: &Grid) -> Orientation {
        let (world, shown) = match self {
            View::Axial => (2, "LPS"),
            View::Coronal => (1, "LIP"),
            View::Sagittal => (0, "PIL"),
            View::Thinnest => return View::coarsest(grid).orientation(trained, grid),
        };
        match trained.directions()[2].world == world {
            true => trained,
            // The three letters above are orientations.
            false => shown.parse().unwrap_or(trained),
        }
    }

    /// The view along the axis of the largest spacing.
    fn coarsest(grid: &Grid) -> View {
        let spacing = grid.spacing();
        let orientation = grid.orientation();
        let along = |world: usize| spacing[orientation.axis_along(world)];
        // Spacings that differ by less than a hundredth are a tie.
        let largest = spacing.into_iter().fold(0.0, f64::max);
        let views = [(View::Axial, 2), (View::Coronal, 1), (View::Sagittal, 0)];
        let found = views.iter().find(|(_, w)| along(*w) > 0.99 * largest);
        found.map_or(View::Axial, |(view, _)| *view)
    }
}

impl FromStr for View {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let found = VIEWS.iter().find(|(name, _)| *name == text);
        found.map(|(_, view)| *view).ok_or_else(|| {
            let names = VIEWS.map(|(name, _)| name).join(", ");
            format!("'{text}' is no view; there are: {names}")
        })
    }
}

/// How the voxels of a grid lie in images: image `n` has its first pixel at voxel
/// `begin + n · steps[2]`, and neighbours along columns and rows are `steps[0]` and `steps[1]` voxels apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Slicing {
    /// The grid axis that the slices run along.
    pub axis: usize,
    /// Whether they run against it.
    pub reversed: bool,
    /// Columns, rows and slices.
    pub size: [usize; 3],
    /// The voxel of the first pixel of the first image.
    begin: usize,
    /// Voxels between neighbouring columns, rows and slices.
    steps: [isize; 3],
}

impl Slicing {
    /// Images whose columns, rows and slices run as `orientation` says.
    pub fn new(grid: &Grid, orientation: Orientation) -> Self {
        let reorder = Reorder::between(grid.orientation(), orientation);
        let (begin, steps) = reorder.steps(grid.size());
        let (axis, reversed) = reorder.axes()[2];
        Slicing {
            axis,
            reversed,
            size: reorder.size(grid.size()),
            begin,
            steps,
        }
    }

    /// The first voxel of image `n` and the steps between its columns and rows.
    pub fn image(&self, n: usize) -> (usize, [isize; 2]) {
        let begin = self.begin as isize + n as isize * self.steps[2];
        (begin as usize, [self.steps[0], self.steps[1]])
    }

    /// The same within one slice of the file, where the images are slices along its last axis.
    pub fn in_file_slice(&self) -> (usize, [isize; 2]) {
        let (begin, steps) = self.image(0);
        let in_slice = self.steps[2].unsigned_abs();
        (begin % in_slice, steps)
    }

    /// The image that slice `k` of the file is, where images are slices along its last axis; also the way
    /// back.
    pub fn image_of(&self, k: usize) -> usize {
        if self.reversed {
            self.size[2] - 1 - k
        } else {
            k
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use slicewise_imaging::Affine;

    fn grid(spacing: [f64; 3]) -> Grid {
        Grid::new([2, 3, 4], Affine::of_spacing(spacing)).unwrap()
    }

    #[test]
    fn the_thinnest_axis_is_that_of_the_largest_spacing() {
        let cases = [
            ([1.0, 1.0, 1.0], "LPS"),
            ([0.7, 0.7, 5.0], "LPS"),
            ([0.7, 5.0, 0.7], "LIP"),
            ([5.0, 0.7, 0.7], "PIL"),
            ([3.0, 3.0, 1.0], "LIP"),
        ];
        for (spacing, want) in cases {
            let got = View::Thinnest.orientation(Orientation::LPS, &grid(spacing));
            assert_eq!(got.to_string(), want, "{spacing:?}");
        }
    }

    #[test]
    fn images_are_made_of_the_voxels_that_the_orientation_says() {
        // RAS: voxel (i, j, k) is at i + 2j + 6k.
        let slicing = Slicing::new(&grid([1.0; 3]), Orientation::LPS);
        assert_eq!(slicing.size, [2, 3, 4]);
        // The first pixel is the leftmost, most posterior one: i = 1, j = 0 … rows run to the back.
        assert_eq!(slicing.image(1), (1 + 2 * 2 + 6, [-1, -2]));
        assert_eq!(slicing.in_file_slice(), (5, [-1, -2]));
        let coronal = Slicing::new(&grid([1.0; 3]), "LIP".parse().unwrap());
        assert_eq!((coronal.axis, coronal.reversed), (1, true));
        assert_eq!(coronal.size, [2, 4, 3]);
        assert_eq!(coronal.image(0), (1 + 2 * 2 + 18, [-1, -6]));
        assert_eq!(coronal.image_of(0), 2);
    }
}
