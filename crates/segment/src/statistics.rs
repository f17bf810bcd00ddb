//! What a label map says in figures: volume, intensity and place of every class.

use serde::{Deserialize, Serialize};
use slicewise_imaging::{ClassTable, Grid, Labels};

/// The figures of one class.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ClassStatistics {
    /// Its label.
    pub label: u16,
    /// Its name.
    pub name: String,
    /// How many voxels it has.
    pub voxels: u64,
    /// Their volume.
    pub volume_ml: f64,
    /// The mean of the scan's values in it, HU for CT; absent where it has no voxel.
    pub mean: Option<f64>,
    /// Their standard deviation, of a population.
    pub std: Option<f64>,
    /// The lowest value.
    pub min: Option<f64>,
    /// The highest value.
    pub max: Option<f64>,
    /// Where its centre of mass is, in world mm, RAS+.
    pub centroid_mm: Option<[f64; 3]>,
    /// The first and the last voxel along each axis of the file.
    pub bounding_box: Option<[[usize; 2]; 3]>,
    /// Whether it reaches the border of the scan, so that it may be cut off.
    pub touches_border: bool,
}

/// Sums over the voxels of one class.
#[derive(Clone, Debug)]
struct Sums {
    voxels: u64,
    values: f64,
    squares: f64,
    finite: u64,
    min: f32,
    max: f32,
    indices: [u64; 3],
    low: [usize; 3],
    high: [usize; 3],
}

const NONE: Sums = Sums {
    voxels: 0,
    values: 0.0,
    squares: 0.0,
    finite: 0,
    min: f32::INFINITY,
    max: f32::NEG_INFINITY,
    indices: [0; 3],
    low: [usize::MAX; 3],
    high: [0; 3],
};

impl Sums {
    /// Takes in voxels `first..first + values.len()` of row `j` of slice `k`.
    fn add(&mut self, values: &[f32], first: usize, j: usize, k: usize) {
        let n = values.len() as u64;
        let last = first + values.len() - 1;
        self.voxels += n;
        self.indices[0] += n * (first + last) as u64 / 2;
        self.indices[1] += n * j as u64;
        self.indices[2] += n * k as u64;
        for (axis, (low, high)) in [(first, last), (j, j), (k, k)].into_iter().enumerate() {
            self.low[axis] = self.low[axis].min(low);
            self.high[axis] = self.high[axis].max(high);
        }
        for &value in values.iter().filter(|v| v.is_finite()) {
            self.finite += 1;
            self.values += f64::from(value);
            self.squares += f64::from(value) * f64::from(value);
            self.min = self.min.min(value);
            self.max = self.max.max(value);
        }
    }
}

/// Takes in a label map slice by slice. Sums do not depend on how the work was shared among threads.
#[derive(Clone, Debug)]
pub(crate) struct Statistics {
    sums: Vec<Sums>,
}

impl Statistics {
    pub(crate) fn new(classes: &ClassTable) -> Self {
        let last = classes.classes().last().map_or(0, |c| c.label);
        Statistics {
            sums: vec![NONE; usize::from(last) + 1],
        }
    }

    /// Slice `k` of the file: its labels and values, `columns` in a row.
    pub(crate) fn add(&mut self, k: usize, columns: usize, labels: &Labels, values: &[f32]) {
        match labels {
            Labels::U8(v) => self.add_rows(k, columns, v, values),
            Labels::U16(v) => self.add_rows(k, columns, v, values),
        }
    }

    fn add_rows<T: Copy + PartialEq + Into<u16>>(
        &mut self,
        k: usize,
        columns: usize,
        labels: &[T],
        values: &[f32],
    ) {
        let rows = labels
            .chunks_exact(columns)
            .zip(values.chunks_exact(columns));
        for (j, (labels, values)) in rows.enumerate() {
            let mut first = 0;
            for run in labels.chunk_by(|a, b| a == b) {
                let label: u16 = run[0].into();
                if let (true, Some(sums)) = (label > 0, self.sums.get_mut(usize::from(label))) {
                    sums.add(&values[first..first + run.len()], first, j, k);
                }
                first += run.len();
            }
        }
    }

    /// The figures of every class, also of those without a voxel.
    pub(crate) fn finish(&self, grid: &Grid, classes: &ClassTable) -> Vec<ClassStatistics> {
        let figures = classes.classes().iter().map(|class| {
            let s = &self.sums[usize::from(class.label)];
            let (some, finite) = (s.voxels > 0, s.finite > 0);
            let mean = s.values / s.finite.max(1) as f64;
            let variance = (s.squares / s.finite.max(1) as f64 - mean * mean).max(0.0);
            let centre = s.indices.map(|sum| sum as f64 / s.voxels.max(1) as f64);
            let size = grid.size();
            let bounds = [0, 1, 2].map(|a| [s.low[a], s.high[a]]);
            ClassStatistics {
                label: class.label,
                name: class.name.clone(),
                voxels: s.voxels,
                volume_ml: s.voxels as f64 * grid.voxel_volume() / 1000.0,
                mean: finite.then_some(mean),
                std: finite.then_some(variance.sqrt()),
                min: finite.then_some(f64::from(s.min)),
                max: finite.then_some(f64::from(s.max)),
                centroid_mm: some.then(|| grid.affine().apply(centre)),
                bounding_box: some.then_some(bounds),
                touches_border: some
                    && (0..3).any(|a| bounds[a][0] == 0 || bounds[a][1] == size[a] - 1),
            }
        });
        figures.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use slicewise_imaging::Affine;

    #[test]
    fn figures_of_a_small_label_map_are_those_counted_by_hand() {
        let mut affine = Affine::of_spacing([2.0, 1.0, 5.0]);
        affine.origin = [10.0, 0.0, 0.0];
        let grid = Grid::new([4, 3, 3], affine).unwrap();
        let classes = ClassTable::numbered(3);
        let mut statistics = Statistics::new(&classes);
        for k in 0..3 {
            let mut labels = vec![0u8; 12];
            if k == 1 {
                // Row 1: voxels 1 and 2 of class 2; row 2: voxel 3 of class 1.
                labels[5] = 2;
                labels[6] = 2;
                labels[11] = 1;
            }
            let values: Vec<f32> = (0..12).map(|v| v as f32).collect();
            statistics.add(k, 4, &Labels::U8(labels), &values);
        }
        let got = statistics.finish(&grid, &classes);
        assert_eq!(got.len(), 3);
        assert_eq!((got[1].voxels, got[1].volume_ml), (2, 0.02));
        assert_eq!((got[1].mean, got[1].std), (Some(5.5), Some(0.5)));
        assert_eq!((got[1].min, got[1].max), (Some(5.0), Some(6.0)));
        assert_eq!(got[1].centroid_mm, Some([13.0, 1.0, 5.0]));
        assert_eq!(got[1].bounding_box, Some([[1, 2], [1, 1], [1, 1]]));
        assert!(!got[1].touches_border);
        assert!(got[0].touches_border);
        assert_eq!((got[2].voxels, got[2].mean), (0, None));
    }
}
