//! Reading NIfTI files slice by slice.

use std::path::{Path, PathBuf};

use super::Header;
use super::header::recognise;
use crate::stream::{Bytes, Layout, RawSlices};
use crate::{Grid, ImagingError, SliceSource};

/// A NIfTI file, open at one of its volumes.
pub struct NiftiScan {
    /// The volume's slices.
    pub source: Box<dyn SliceSource>,
    /// What the file says of itself.
    pub header: Header,
    /// How many volumes the file has.
    pub volumes: usize,
    /// What is doubtful about it.
    pub warnings: Vec<String>,
}

/// Opens `.nii`, `.hdr`, `.img` or any of them gzipped, at volume `volume`, 0 being the first.
///
/// # Errors
/// If the file is not NIfTI, contradicts itself, is shorter than it says, or has no such volume.
pub fn read(path: &Path, volume: usize) -> Result<NiftiScan, ImagingError> {
    let header_path = match pair(path) {
        Some((header, _)) => header,
        None => path.to_owned(),
    };
    let mut bytes = Bytes::open(&header_path)?;
    let header = read_header(&mut bytes)?;
    let (size, volumes) = header.sizes().map_err(|p| repair(&bytes, p))?;
    let element = header
        .element()
        .map_err(|problem| ImagingError::Unsupported {
            file: bytes.file.clone(),
            problem,
            mend: "convert it to numbers, such as int16 or float32",
        })?;
    let affine = header.affine().map_err(|p| repair(&bytes, p))?;
    let grid = Grid::new(size, affine).map_err(|error| ImagingError::Grid {
        file: bytes.file.clone(),
        error,
    })?;
    let scale = header.scale().map_err(|p| repair(&bytes, p))?;
    if volume >= volumes {
        return Err(ImagingError::Unsupported {
            file: bytes.file.clone(),
            problem: format!("volume {} of {volumes} was asked for", volume + 1),
            mend: "choose one that is there",
        });
    }
    let layout = Layout {
        grid,
        element,
        big_endian: header.big_endian,
        scale,
    };
    let begin = header.data_begin().map_err(|p| repair(&bytes, p))?;
    let mut passed = header.version.bytes() as u64 + 4;
    if !header.single {
        bytes = Bytes::open(&data_path(path)?)?;
        passed = 0;
    }
    let one = layout.bytes();
    let before = one.and_then(|n| n.checked_mul(volume as u64));
    let before = before.and_then(|n| n.checked_add(begin));
    let all = one.and_then(|n| n.checked_mul(volumes as u64));
    bytes.check_claim(all.and_then(|n| n.checked_add(begin)))?;
    // Both are known where the claim was possible.
    bytes.skip(before.unwrap_or(begin) - passed, "its voxels")?;
    let mut warnings = header.doubts(&layout.grid);
    if volumes > 1 {
        warnings.push(format!(
            "it has {volumes} volumes; number {} is taken",
            volume + 1
        ));
    }
    Ok(NiftiScan {
        source: Box::new(RawSlices::new(bytes, layout)),
        header,
        volumes,
        warnings,
    })
}

impl Header {
    /// The byte of the data file that voxels begin at.
    fn data_begin(&self) -> Result<u64, String> {
        let least = if self.single {
            self.version.bytes() as u64 + 4
        } else {
            0
        };
        match self.vox_offset {
            0.0 => Ok(least),
            v if v >= least as f64 && v < 1e15 => Ok(v as u64),
            v => Err(format!(
                "its voxels are said to begin at byte {v}, the first possible is {least}"
            )),
        }
    }
}

/// Reads the header and, of a single file, the four bytes after it.
fn read_header(bytes: &mut Bytes) -> Result<Header, ImagingError> {
    let mut first = [0; 4];
    bytes.read_exact(&mut first, "its header")?;
    let Some((version, _)) = recognise(first) else {
        return Err(bytes.malformed(
            "it does not begin like NIfTI-1 (348) or NIfTI-2 (540)".into(),
            "give a .nii or .nii.gz file, or the .hdr of a pair",
        ));
    };
    let mut raw = [0; 540];
    let raw = &mut raw[..version.bytes()];
    raw[..4].copy_from_slice(&first);
    bytes.read_exact(&mut raw[4..], "its header")?;
    let header = Header::parse(raw).map_err(|problem| {
        bytes.malformed(problem, "convert it to NIfTI with a known orientation")
    })?;
    if header.single {
        let mut extender = [0; 4];
        bytes.read_exact(&mut extender, "its header")?;
    }
    Ok(header)
}

fn repair(bytes: &Bytes, problem: String) -> ImagingError {
    bytes.malformed(problem, "repair the header, or write the file again")
}

/// The ends of the names of a pair's two files.
const PAIRS: [[&str; 2]; 2] = [[".hdr", ".img"], [".hdr.gz", ".img.gz"]];

/// The header and the data file of a pair, from the name of either.
fn pair(path: &Path) -> Option<(PathBuf, PathBuf)> {
    let name = path.file_name()?.to_str()?;
    let lower = name.to_ascii_lowercase();
    let end = PAIRS.iter().flatten().find(|end| lower.ends_with(*end))?;
    let stem = &name[..name.len() - end.len()];
    // Header and data of a pair may be packed differently.
    let beside = |which: usize| {
        let named = if PAIRS[0].contains(end) {
            [0, 1]
        } else {
            [1, 0]
        };
        let candidates = named.map(|p| path.with_file_name(format!("{stem}{}", PAIRS[p][which])));
        let found = candidates.iter().find(|c| c.exists());
        found.unwrap_or(&candidates[0]).clone()
    };
    let is_header = PAIRS.iter().any(|p| p[0] == *end);
    Some(match is_header {
        true => (path.to_owned(), beside(1)),
        false => (beside(0), path.to_owned()),
    })
}

fn data_path(path: &Path) -> Result<PathBuf, ImagingError> {
    pair(path)
        .map(|(_, data)| data)
        .ok_or_else(|| ImagingError::Malformed {
            file: path.display().to_string(),
            problem: "it is the header of a pair, but is not named so".into(),
            mend: "name the two files .hdr and .img",
        })
}

/// Whether a name is one of those that NIfTI files have.
pub fn is_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    [".nii", ".nii.gz", ".hdr", ".hdr.gz", ".img", ".img.gz"]
        .iter()
        .any(|end| name.ends_with(end))
}
