//! How much memory a scan will take, before it is taken.

use slicewise_imaging::{Element, Grid};

use crate::SegmentError;
use crate::bundle::Interface;

/// What is held at a time beyond the model, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Forecast {
    /// The scan, where it is held as a whole.
    pub(crate) scan: u64,
    /// Label maps, where they are held as a whole.
    pub(crate) labels: u64,
    /// Pieces of label maps.
    pub(crate) pieces: u64,
    /// Images on their way through the network.
    pub(crate) images: u64,
}

/// What decides how much is held.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Needs {
    pub(crate) interface: Interface,
    pub(crate) wide: bool,
    pub(crate) batch: usize,
    pub(crate) slices: usize,
    /// Label maps that are held as a whole.
    pub(crate) label_maps: usize,
    pub(crate) whole_scan: bool,
    pub(crate) components: bool,
}

impl Forecast {
    pub(crate) fn new(grid: &Grid, element: Element, needs: &Needs) -> Self {
        let voxels = grid.voxels() as u64;
        let [ni, nj, nk] = grid.size().map(|n| n as u64);
        let largest = (ni * nj).max(ni * nk).max(nj * nk);
        let i = needs.interface;
        let input = (i.channels * i.height * i.width * 4) as u64;
        let plane = largest * (4 + element.bytes() as u64) + (i.height * i.width * 5) as u64;
        // Batches at the reader, waiting, in the network, waiting, and at the writer.
        let in_flight = (7 * needs.batch + needs.slices) as u64;
        Forecast {
            scan: u64::from(needs.whole_scan) * voxels * element.bytes() as u64,
            labels: needs.label_maps as u64 * voxels * (1 + u64::from(needs.wide)),
            // A run of equal labels takes 28 bytes; eight voxels a run are few.
            pieces: u64::from(needs.components) * voxels * 28 / 8,
            images: in_flight * plane + 2 * needs.batch as u64 * input,
        }
    }

    pub(crate) fn total(&self) -> u64 {
        self.scan + self.labels + self.pieces + self.images
    }

    /// Refuses what does not fit into `free` bytes.
    pub(crate) fn check(&self, what: &str, free: Option<u64>) -> Result<(), SegmentError> {
        let Some(free) = free.filter(|free| *free < self.total()) else {
            return Ok(());
        };
        let parts = [
            ("the scan", self.scan),
            ("label maps", self.labels),
            ("pieces of classes", self.pieces),
            ("images", self.images),
        ];
        let parts = parts.iter().filter(|(_, bytes)| *bytes > 0);
        let parts: Vec<String> = parts
            .map(|(name, b)| format!("{name} {}", size(*b)))
            .collect();
        Err(SegmentError::Memory {
            what: what.to_owned(),
            need: size(self.total()),
            have: size(free),
            parts: parts.join(", "),
            mend: match self.scan > 0 {
                true => {
                    "slices along the file's last axis, with one view and no post-processing, need little"
                }
                false => "free memory, or use a smaller batch",
            },
        })
    }
}

/// Bytes as people read them.
fn size(bytes: u64) -> String {
    match bytes {
        b if b >= 1 << 30 => format!("{:.1} GiB", b as f64 / f64::from(1 << 30)),
        b => format!("{:.0} MiB", (b as f64 / f64::from(1 << 20)).ceil()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use slicewise_imaging::Affine;

    #[test]
    fn a_scan_beyond_memory_is_refused_with_figures() {
        let grid = Grid::new([2048, 2048, 4000], Affine::of_spacing([1.0; 3])).unwrap();
        let needs = Needs {
            interface: Interface {
                channels: 3,
                height: 512,
                width: 512,
                outputs: 117,
            },
            wide: false,
            batch: 1,
            slices: 1,
            label_maps: 1,
            whole_scan: true,
            components: false,
        };
        let whole = Forecast::new(&grid, Element::I16, &needs);
        assert_eq!((whole.scan >> 30, whole.labels >> 30), (31, 15));
        let error = whole
            .check("scan.nii.gz", Some(8 << 30))
            .unwrap_err()
            .to_string();
        for part in [
            "scan.nii.gz needs about 4",
            "8.0 GiB are free",
            "the scan 31.2 GiB",
        ] {
            assert!(error.contains(part), "{error}");
        }
        let streamed = Needs {
            label_maps: 0,
            whole_scan: false,
            ..needs
        };
        // Slice by slice the same scan takes less than a gigabyte.
        let little = Forecast::new(&grid, Element::I16, &streamed);
        assert!(
            little.check("scan.nii.gz", Some(1 << 30)).is_ok(),
            "{little:?}"
        );
    }
}
