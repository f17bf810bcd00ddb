//! Segmentations written slice by slice. What is held until all slices are there is their run-length code,
//! since a binary segmentation goes through them class by class.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::codec::rle;
use super::seg::Segmentation;
use super::{Fault, SegKind, SegOptions, Series};
use crate::whole::WholeFile;
use crate::{ClassTable, Grid, ImagingError, LabelMap, Labels};

/// The slices of a label map, run-length coded.
#[derive(Debug)]
pub(crate) struct PackedLabels {
    columns: usize,
    rows: usize,
    /// Bytes of a label.
    pub(crate) size: usize,
    /// In the order of k.
    pub(crate) frames: Vec<Vec<u8>>,
    /// The labels that occur, but for background, and the slices that each is in.
    pub(crate) occurring: BTreeMap<u16, Vec<usize>>,
}

impl PackedLabels {
    /// Labels in a slice.
    pub(crate) fn area(&self) -> usize {
        self.columns * self.rows
    }

    fn push(&mut self, labels: &[u16]) {
        let k = self.frames.len();
        let mut last = 0;
        for &label in labels {
            // Neighbours are mostly alike.
            if label != last && label != 0 {
                let slices = self.occurring.entry(label).or_default();
                if slices.last() != Some(&k) {
                    slices.push(k);
                }
            }
            last = label;
        }
        let bytes: Vec<u8> = match self.size {
            1 => labels.iter().map(|&l| l as u8).collect(),
            _ => labels.iter().flat_map(|l| l.to_le_bytes()).collect(),
        };
        self.frames
            .push(rle::encode(&bytes, self.columns, self.size));
    }

    /// The little-endian labels of slice `k`.
    pub(crate) fn unpack(&self, k: usize) -> Vec<u8> {
        // What was encoded here is decoded without an error; a test has it so.
        rle::decode(&self.frames[k], self.area(), self.size).unwrap_or_default()
    }

    /// A checksum of all labels.
    pub(crate) fn checksum(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        self.frames.iter().for_each(|frame| hash.update(frame));
        hash.finalize().into()
    }
}

/// A DICOM segmentation that is being made, from slices in the order of k. The file appears when it is
/// finished.
pub struct SegWriter {
    path: PathBuf,
    series: Series,
    classes: ClassTable,
    options: SegOptions,
    labels: PackedLabels,
}

impl SegWriter {
    /// Begins a segmentation of `series` that is to be at `path`. `wide` is for labels beyond 255.
    pub fn new(
        path: &Path,
        series: &Series,
        wide: bool,
        classes: &ClassTable,
        options: SegOptions,
    ) -> Self {
        let [columns, rows, _] = series.grid().size();
        SegWriter {
            path: path.to_owned(),
            series: series.clone(),
            classes: classes.clone(),
            options,
            labels: PackedLabels {
                columns,
                rows,
                size: if wide { 2 } else { 1 },
                frames: Vec::new(),
                occurring: BTreeMap::new(),
            },
        }
    }

    /// Takes the labels of the next slice, i fastest.
    ///
    /// # Errors
    /// If it is not as large as the series' slices, or of another type than the first one.
    pub fn write(&mut self, labels: &Labels) -> Result<(), ImagingError> {
        let counted = |what, got, want| match got == want {
            true => Ok(()),
            false => Err(ImagingError::Count { what, got, want }),
        };
        counted("labels of a slice", labels.len(), self.labels.area())?;
        match labels {
            Labels::U8(v) => {
                let wide: Vec<u16> = v.iter().map(|&l| l.into()).collect();
                self.labels.push(&wide);
            }
            Labels::U16(v) => {
                counted("bytes of a label", 2, self.labels.size)?;
                self.labels.push(v);
            }
        }
        Ok(())
    }

    /// Writes the file, at once or not at all.
    ///
    /// Classes that do not occur are left out, as viewers stumble over empty segments; where none occurs,
    /// the first class has one empty frame.
    ///
    /// # Errors
    /// If slices are missing, the segmentation is too large for its kind, or the file cannot be written.
    pub fn finish(self) -> Result<(), ImagingError> {
        let (got, want) = (self.labels.frames.len(), self.series.grid().size()[2]);
        if got != want {
            let what = "slices of a segmentation";
            return Err(ImagingError::Count { what, got, want });
        }
        let segmentation =
            Segmentation::new(&self.labels, &self.series, &self.classes, &self.options);
        let name = || self.path.display().to_string();
        let header = segmentation.header().map_err(|fault| fault.of(name()))?;
        let mut out = WholeFile::create(&self.path)?;
        let written = out
            .write_all(&header)
            .and_then(|()| match self.options.kind {
                SegKind::Binary => segmentation.write_bits(&mut out),
                SegKind::LabelMap => segmentation.write_labels(&mut out),
            });
        written.map_err(|e| ImagingError::unwritable(&self.path, e))?;
        out.finish()
    }
}

/// Writes a label map on the grid of `series` as a DICOM segmentation, as [`SegWriter`] does.
///
/// # Errors
/// If the label map is not on the series' grid, is too large for the kind, or the file cannot be written.
pub fn write_seg(
    path: &Path,
    map: &LabelMap,
    series: &Series,
    options: &SegOptions,
) -> Result<(), ImagingError> {
    if !same_grid(map.grid(), series.grid()) {
        return Err(Fault::broken(
            format!(
                "a label map of {:?} voxels is not on the grid of {}",
                map.grid().size(),
                series.name()
            ),
            "bring it back to the grid of the scan first",
        )
        .of(path.display().to_string()));
    }
    let wide = matches!(map.labels(), Labels::U16(_));
    let mut writer = SegWriter::new(path, series, wide, map.classes(), options.clone());
    let area = writer.labels.area();
    match map.labels() {
        Labels::U8(v) => {
            for slice in v.chunks_exact(area) {
                writer.write(&Labels::U8(slice.to_vec()))?;
            }
        }
        Labels::U16(v) => {
            for slice in v.chunks_exact(area) {
                writer.write(&Labels::U16(slice.to_vec()))?;
            }
        }
    }
    writer.finish()
}

/// Whether grids are the same but for rounding, as that of a NIfTI file is.
fn same_grid(a: &Grid, b: &Grid) -> bool {
    let rows = a.affine().rows().into_iter().zip(b.affine().rows());
    let off = rows.flat_map(|(a, b)| (0..4).map(move |c| (a[c] - b[c]).abs()));
    a.size() == b.size() && off.fold(0.0, f64::max) < 1e-3
}
