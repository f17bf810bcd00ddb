//! Where voxels lie in the world: the affine from voxel indices to mm, and the grid it belongs to.

use crate::Orientation;

/// Directions whose cosines differ from orthogonal ones by more than this are not merely rounded.
/// ITK refuses NIfTI files beyond about this tolerance.
pub const SHEAR_TOLERANCE: f64 = 1e-3;

/// Three vectors of the world, by rows: `m[row][column]`.
pub type Matrix3 = [[f64; 3]; 3];

/// The map from voxel indices `(i, j, k)` to world mm, RAS+: `world = matrix · index + origin`.
/// nibabel's `affine` without its constant last row.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Affine {
    /// A column per voxel axis, a row per world axis.
    pub matrix: Matrix3,
    /// Where voxel `(0, 0, 0)` has its centre.
    pub origin: [f64; 3],
}

impl Affine {
    /// Voxels of `spacing` mm along the world's axes, the first one at the origin.
    pub fn of_spacing(spacing: [f64; 3]) -> Self {
        let mut matrix = [[0.0; 3]; 3];
        (0..3).for_each(|a| matrix[a][a] = spacing[a]);
        Affine {
            matrix,
            origin: [0.0; 3],
        }
    }

    /// From the four rows that nibabel has; the last is not looked at.
    pub fn from_rows(rows: [[f64; 4]; 4]) -> Self {
        let mut affine = Affine::of_spacing([1.0; 3]);
        for r in 0..3 {
            affine.matrix[r].copy_from_slice(&rows[r][..3]);
            affine.origin[r] = rows[r][3];
        }
        affine
    }

    /// The four rows that nibabel has.
    pub fn rows(&self) -> [[f64; 4]; 4] {
        let mut rows = [[0.0; 4]; 4];
        for r in 0..3 {
            rows[r][..3].copy_from_slice(&self.matrix[r]);
            rows[r][3] = self.origin[r];
        }
        rows[3][3] = 1.0;
        rows
    }

    /// The step along voxel axis `axis` in mm.
    pub fn column(&self, axis: usize) -> [f64; 3] {
        [0, 1, 2].map(|r| self.matrix[r][axis])
    }

    /// Where a voxel index, or a point between voxels, lies in the world.
    pub fn apply(&self, index: [f64; 3]) -> [f64; 3] {
        let moved = product(&self.matrix, index);
        [0, 1, 2].map(|r| moved[r] + self.origin[r])
    }

    /// The map from world mm to voxel indices, if the axes span the world.
    pub fn inverse(&self) -> Option<Affine> {
        let matrix = inverse(&self.matrix)?;
        let origin = product(&matrix, self.origin).map(|v| -v);
        Some(Affine { matrix, origin })
    }

    /// The map that applies `first` and then this.
    pub fn after(&self, first: &Affine) -> Affine {
        let mut matrix = [[0.0; 3]; 3];
        for r in 0..3 {
            for c in 0..3 {
                matrix[r][c] = (0..3).map(|x| self.matrix[r][x] * first.matrix[x][c]).sum();
            }
        }
        Affine {
            matrix,
            origin: self.apply(first.origin),
        }
    }

    /// The distances between neighbouring voxels along the three axes, in mm.
    pub fn spacing(&self) -> [f64; 3] {
        [0, 1, 2].map(|a| norm(self.column(a)))
    }

    /// The axes as unit vectors, by columns; those of a sheared affine are not orthogonal.
    pub fn directions(&self) -> Matrix3 {
        let spacing = self.spacing();
        let mut matrix = self.matrix;
        for row in &mut matrix {
            (0..3).for_each(|c| row[c] /= spacing[c]);
        }
        matrix
    }

    /// The orthogonal axes closest to [`Affine::directions`] (the polar factor, as nibabel has it), and
    /// how far the directions are from them; nothing where the axes do not span the world.
    pub fn rotation(&self) -> Option<(Matrix3, f64)> {
        let directions = self.directions();
        let rotation = polar_factor(directions)?;
        let off = (0..9).map(|n| (rotation[n / 3][n % 3] - directions[n / 3][n % 3]).abs());
        Some((rotation, off.fold(0.0, f64::max)))
    }
}

/// A grid of voxels in the world. Sizes are at least 1 and their product is one that memory can have;
/// the affine is finite and spans the world.
#[derive(Clone, PartialEq, Debug)]
pub struct Grid {
    size: [usize; 3],
    affine: Affine,
}

/// Why voxels do not lie on a grid.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GridError {
    /// An extent is zero, or their product is beyond any memory.
    #[error("a size of {0:?} voxels is none that a volume can have")]
    Size([usize; 3]),
    /// The affine holds NaN or infinity.
    #[error("the affine {0:?} is not of numbers; repair the header's orientation")]
    NotFinite(Box<[[f64; 4]; 4]>),
    /// Two axes point the same way, or one nowhere.
    #[error("the axes of the affine {0:?} do not span the world; repair the header's orientation")]
    Singular(Box<[[f64; 4]; 4]>),
}

impl Grid {
    /// A grid of `size` voxels along i (fastest), j and k.
    ///
    /// # Errors
    /// If an extent is zero or too large, or the affine is not finite or does not span the world.
    pub fn new(size: [usize; 3], affine: Affine) -> Result<Self, GridError> {
        let voxels = size.iter().try_fold(1usize, |n, &s| n.checked_mul(s));
        // Eight bytes a voxel must still be an allocation.
        if voxels.is_none_or(|n| n == 0 || n > isize::MAX as usize / 8) {
            return Err(GridError::Size(size));
        }
        let rows = affine.rows();
        if !rows.iter().flatten().all(|v| v.is_finite()) {
            return Err(GridError::NotFinite(Box::new(rows)));
        }
        let spans = affine.spacing().iter().all(|&s| s > 0.0 && s.is_finite())
            && affine.rotation().is_some();
        if !spans {
            return Err(GridError::Singular(Box::new(rows)));
        }
        Ok(Grid { size, affine })
    }

    /// Voxels along i, j and k.
    pub fn size(&self) -> [usize; 3] {
        self.size
    }

    /// How many voxels there are.
    pub fn voxels(&self) -> usize {
        self.size.iter().product()
    }

    /// From voxel indices to world mm, RAS+.
    pub fn affine(&self) -> &Affine {
        &self.affine
    }

    /// The distances between neighbouring voxels, in mm.
    pub fn spacing(&self) -> [f64; 3] {
        self.affine.spacing()
    }

    /// The volume of a voxel in mm³, also where the axes are sheared.
    pub fn voxel_volume(&self) -> f64 {
        determinant(&self.affine.matrix).abs()
    }

    /// The world's directions that the axes are closest to.
    pub fn orientation(&self) -> Orientation {
        Orientation::of(&self.affine)
    }
}

/// `matrix · vector`.
pub(crate) fn product(matrix: &Matrix3, vector: [f64; 3]) -> [f64; 3] {
    [0, 1, 2].map(|r| (0..3).map(|c| matrix[r][c] * vector[c]).sum())
}

/// The length of a vector.
pub(crate) fn norm(vector: [f64; 3]) -> f64 {
    vector.iter().map(|v| v * v).sum::<f64>().sqrt()
}

/// Row `r` of the matrix of cofactors.
fn cofactors(m: &Matrix3, r: usize) -> [f64; 3] {
    let (a, b) = (m[(r + 1) % 3], m[(r + 2) % 3]);
    [
        a[1] * b[2] - a[2] * b[1],
        a[2] * b[0] - a[0] * b[2],
        a[0] * b[1] - a[1] * b[0],
    ]
}

/// The determinant of a matrix.
pub(crate) fn determinant(m: &Matrix3) -> f64 {
    let first = cofactors(m, 0);
    (0..3).map(|c| m[0][c] * first[c]).sum()
}

/// The inverse of a matrix that has one.
pub(crate) fn inverse(m: &Matrix3) -> Option<Matrix3> {
    let rows = [0, 1, 2].map(|r| cofactors(m, r));
    let determinant = determinant(m);
    let mut inverse = [[0.0; 3]; 3];
    for r in 0..3 {
        (0..3).for_each(|c| inverse[r][c] = rows[c][r] / determinant);
    }
    let finite = inverse.iter().flatten().all(|v| v.is_finite());
    (determinant != 0.0 && finite).then_some(inverse)
}

/// The orthogonal factor of the polar decomposition, by Newton's iteration on `(Q + Q⁻ᵀ) / 2`
/// (Higham 1986), of a matrix of unit columns; nothing for one that is singular or nearly so.
fn polar_factor(directions: Matrix3) -> Option<Matrix3> {
    // Unit columns so close to a plane are a damaged header, not a shear.
    if determinant(&directions).abs() < 1e-6 {
        return None;
    }
    let mut q = directions;
    for _ in 0..100 {
        let inverse = inverse(&q)?;
        let mut next = q;
        let mut change = 0.0f64;
        for r in 0..3 {
            for c in 0..3 {
                next[r][c] = 0.5 * (q[r][c] + inverse[c][r]);
                change = change.max((next[r][c] - q[r][c]).abs());
            }
        }
        q = next;
        if change < 1e-15 {
            break;
        }
    }
    Some(q)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn oblique() -> Affine {
        let (s, c) = 0.3f64.sin_cos();
        Affine {
            matrix: [
                [0.7 * c, -0.8 * s, 0.0],
                [0.7 * s, 0.8 * c, 0.0],
                [0.0, 0.0, 2.5],
            ],
            origin: [-10.0, 20.0, 3.5],
        }
    }

    #[test]
    fn an_inverse_brings_points_back() {
        let affine = oblique();
        let back = affine
            .inverse()
            .unwrap()
            .apply(affine.apply([3.0, 4.5, -2.0]));
        for (got, want) in back.iter().zip([3.0, 4.5, -2.0]) {
            assert!((got - want).abs() < 1e-12);
        }
        let unit = affine.after(&affine.inverse().unwrap());
        for (r, row) in unit.matrix.iter().enumerate() {
            for (c, v) in row.iter().enumerate() {
                assert!((v - f64::from(u8::from(r == c))).abs() < 1e-12);
            }
        }
    }

    #[test]
    fn spacing_and_rotation_of_an_oblique_grid_are_known() {
        let grid = Grid::new([2, 3, 4], oblique()).unwrap();
        for (got, want) in grid.spacing().iter().zip([0.7, 0.8, 2.5]) {
            assert!((got - want).abs() < 1e-12);
        }
        assert!((grid.voxel_volume() - 0.7 * 0.8 * 2.5).abs() < 1e-12);
        let (_, shear) = grid.affine().rotation().unwrap();
        assert!(shear < 1e-12);
    }

    #[test]
    fn what_is_no_grid_is_refused() {
        let unit = Affine::of_spacing([1.0; 3]);
        assert!(matches!(
            Grid::new([0, 2, 2], unit),
            Err(GridError::Size(_))
        ));
        assert!(matches!(
            Grid::new([usize::MAX, 2, 2], unit),
            Err(GridError::Size(_))
        ));
        let mut broken = unit;
        broken.origin[1] = f64::NAN;
        assert!(matches!(
            Grid::new([2; 3], broken),
            Err(GridError::NotFinite(_))
        ));
        let mut flat = unit;
        flat.matrix[2][2] = 0.0;
        assert!(matches!(
            Grid::new([2; 3], flat),
            Err(GridError::Singular(_))
        ));
        let mut same = unit;
        same.matrix = [[1.0, 1.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 1.0]];
        assert!(matches!(
            Grid::new([2; 3], same),
            Err(GridError::Singular(_))
        ));
    }
}
