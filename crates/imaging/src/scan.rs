//! Scans of any format: which files are scans, and opening one.

use std::path::Path;

use crate::dicom::{self, Series};
use crate::{Grid, ImagingError, SliceSource, metaimage, nifti, nrrd};

/// A scan that is open at its first slice.
pub struct Scan {
    /// The slices.
    pub source: Box<dyn SliceSource>,
    /// The header that a label map of this scan is written under: that of the scan itself if it is
    /// NIfTI, and one that says the same for other formats.
    pub header: nifti::Header,
    /// The format's name.
    pub format: &'static str,
    /// How many volumes the file has.
    pub volumes: usize,
    /// What is doubtful about it, a sentence each.
    pub warnings: Vec<String>,
    /// The series, where the scan is one of DICOM: what a DICOM segmentation refers to.
    pub series: Option<Series>,
}

impl Scan {
    /// Where the voxels lie.
    pub fn grid(&self) -> &Grid {
        self.source.grid()
    }
}

/// The ends of the names of files that can be scans; the data file of a pair comes with its header.
const ENDS: [&str; 8] = [
    ".nii", ".nii.gz", ".hdr", ".hdr.gz", ".mha", ".mhd", ".nrrd", ".nhdr",
];

/// The ends of the names of DICOM files, which are recognised by what is in them.
const DICOM_ENDS: [&str; 3] = [".dcm", ".ima", ".zip"];

/// Whether a file of this name is looked at where a folder of scans is given.
pub fn is_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    !name.starts_with('.') && ENDS.iter().any(|end| name.ends_with(end))
}

/// A file's name without what says its format.
pub fn stem(name: &str) -> &str {
    let lower = name.to_ascii_lowercase();
    let ends = ENDS
        .iter()
        .chain(&DICOM_ENDS)
        .filter(|end| lower.ends_with(*end));
    let longest = ends.map(|end| end.len()).max().unwrap_or(0);
    // The ends are ASCII, so this is the boundary of a letter.
    name.get(..name.len() - longest).unwrap_or(name)
}

/// Opens a scan at volume `volume`, 0 being the first. A folder or a zip archive is a DICOM series, and must
/// hold one scan; so is a file that begins as DICOM files do.
///
/// # Errors
/// If it cannot be read, or is of no known format.
pub fn open(path: &Path, volume: usize) -> Result<Scan, ImagingError> {
    let end = path.extension().and_then(|e| e.to_str()).unwrap_or("");
    match end.to_ascii_lowercase().as_str() {
        "mha" | "mhd" => return metaimage::read(path, volume),
        "nrrd" | "nhdr" => return nrrd::read(path, volume),
        _ if dicom::is_dicom(path)? => {
            return Ok(of_series(Series::find(path)?.one(path, None)?));
        }
        _ => {}
    }
    let scan = nifti::read(path, volume)?;
    Ok(Scan {
        source: scan.source,
        header: scan.header,
        format: "NIfTI",
        volumes: scan.volumes,
        warnings: scan.warnings,
        series: None,
    })
}

/// Opens one series of a DICOM folder or archive that may hold several, by its UID.
///
/// # Errors
/// If there is no such series, or it cannot be read.
pub fn open_series(path: &Path, uid: &str) -> Result<Scan, ImagingError> {
    if !dicom::is_dicom(path)? {
        return Err(ImagingError::Unsupported {
            file: path.display().to_string(),
            problem: format!("it is no DICOM, so that it has no series {uid}"),
            mend: "leave the series out",
        });
    }
    Ok(of_series(Series::find(path)?.one(path, Some(uid))?))
}

/// Opens a series that was found.
pub fn of_series(series: Series) -> Scan {
    Scan {
        source: Box::new(series.source()),
        header: nifti::Header::of_grid(series.grid()),
        format: "DICOM",
        volumes: 1,
        warnings: series.warnings().to_vec(),
        series: Some(series),
    }
}
