//! Which scans there are, and where what is made of them goes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use slicewise_imaging::dicom::{self, SegKind};
use slicewise_imaging::{ImagingError, scan};

use crate::{OutputFiles, SegmentError};

/// A scan, which is a file or the folder of a DICOM series, and the name of what is made of it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Case {
    /// The scan.
    pub input: PathBuf,
    /// Folders below a folder that was given, and the file's name without its end.
    pub stem: PathBuf,
}

/// Where the outputs of a case go.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// The outputs.
    pub files: OutputFiles,
    /// What was done, written last.
    pub manifest: PathBuf,
}

/// The scans that `inputs` are or hold, in a fixed order; those below `output` are none, because they were
/// made here.
///
/// # Errors
/// If an input is not there, a folder holds no scan, or two scans would have outputs of the same name.
pub fn find(inputs: &[PathBuf], output: &Path) -> Result<Vec<Case>, SegmentError> {
    let output = fs::canonicalize(output).ok();
    let mut cases = Vec::new();
    for input in inputs {
        let metadata = fs::metadata(input).map_err(|e| ImagingError::io(input, e))?;
        if !metadata.is_dir() {
            cases.push(case(input.clone(), Path::new("")));
            continue;
        }
        if dicom::holds_dicom(input, scan::is_name)? {
            // A path such as `.` has no name of its own.
            let named = fs::canonicalize(input).map_err(|e| ImagingError::io(input, e))?;
            let stem = PathBuf::from(named.file_name().unwrap_or_default());
            let input = input.clone();
            cases.push(Case { input, stem });
            continue;
        }
        let before = cases.len();
        walk(input, Path::new(""), output.as_deref(), &mut cases)?;
        if cases.len() == before {
            return Err(ImagingError::Unsupported {
                file: input.display().to_string(),
                problem: "the folder holds no scan".into(),
                mend: "give a folder with .nii, .nii.gz, .hdr, .mha, .mhd, .nrrd, .nhdr or DICOM files",
            }
            .into());
        }
    }
    cases.sort();
    cases.dedup();
    let mut seen = BTreeMap::new();
    for case in &cases {
        if let Some(other) = seen.insert(&case.stem, &case.input) {
            return Err(SegmentError::Options(format!(
                "{} and {} would both become '{}'; give them in separate runs",
                other.display(),
                case.input.display(),
                case.stem.display()
            )));
        }
    }
    Ok(cases)
}

fn case(input: PathBuf, folder: &Path) -> Case {
    let name = input.file_name().unwrap_or_default().to_string_lossy();
    let stem = folder.join(scan::stem(&name));
    Case { input, stem }
}

fn walk(
    folder: &Path,
    below: &Path,
    output: Option<&Path>,
    cases: &mut Vec<Case>,
) -> Result<(), SegmentError> {
    let io = |e| ImagingError::io(folder, e);
    for entry in fs::read_dir(folder).map_err(io)? {
        let entry = entry.map_err(io)?;
        let kind = entry.file_type().map_err(io)?;
        let path = entry.path();
        if kind.is_dir() {
            let is_output = output.is_some() && fs::canonicalize(&path).ok().as_deref() == output;
            if is_output {
                continue;
            }
            if dicom::holds_dicom(&path, scan::is_name)? {
                // What is below it belongs to it.
                let stem = below.join(entry.file_name());
                cases.push(Case { input: path, stem });
            } else {
                walk(&path, &below.join(entry.file_name()), output, cases)?;
            }
        } else if scan::is_name(&entry.file_name().to_string_lossy()) && path.is_file() {
            cases.push(case(path, below));
        }
    }
    Ok(())
}

impl Place {
    /// The files of `case`: beside each other in `output`, which is a folder, or named after `output` where
    /// that is the name of a NIfTI file.
    pub fn of(
        case: &Case,
        output: &Path,
        statistics: bool,
        preview: bool,
        segmentation: Option<SegKind>,
    ) -> Self {
        let stem = match named_file(output) {
            Some(stem) => output.with_file_name(stem),
            None => output.join(&case.stem),
        };
        let with = |end: &str| {
            let mut path = stem.clone().into_os_string();
            path.push(end);
            PathBuf::from(path)
        };
        let labels = match named_file(output) {
            Some(_) => output.to_owned(),
            None => with(".nii.gz"),
        };
        Place {
            files: OutputFiles {
                labels,
                snap: with(".labels.txt"),
                slicer: with(".ctbl"),
                statistics: statistics.then(|| with(".statistics.json")),
                preview: preview.then(|| with(".preview.png")),
                segmentation: segmentation.map(|kind| (with(".seg.dcm"), kind)),
            },
            manifest: with(".manifest.json"),
        }
    }

    /// The folder of the outputs.
    pub fn folder(&self) -> &Path {
        match self.manifest.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        }
    }
}

/// The stem of an output that is the name of a NIfTI file rather than a folder.
pub fn named_file(output: &Path) -> Option<String> {
    let name = output.file_name()?.to_str()?;
    let lower = name.to_ascii_lowercase();
    let is_file = lower.ends_with(".nii") || lower.ends_with(".nii.gz");
    (is_file && !output.is_dir()).then(|| scan::stem(name).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scans_of_folders_are_found_in_order_and_outputs_are_none() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        for name in [
            "b.nii.gz",
            "a.nii",
            "x/c.NII.GZ",
            "notes.txt",
            "out/a.nii.gz",
            ".d.nii",
            "p.hdr",
            "p.img",
        ] {
            let path = root.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let cases = find(&[root.to_owned()], &root.join("out")).unwrap();
        let stems: Vec<_> = cases.iter().map(|c| c.stem.display().to_string()).collect();
        assert_eq!(stems, ["a", "b", "p", "x/c"]);
        let place = Place::of(&cases[3], Path::new("out"), true, false, None);
        assert_eq!(place.files.labels, Path::new("out/x/c.nii.gz"));
        assert_eq!(
            place.files.statistics.as_deref(),
            Some(Path::new("out/x/c.statistics.json"))
        );
        assert_eq!(place.manifest, Path::new("out/x/c.manifest.json"));
        let named = Place::of(&cases[0], Path::new("out/liver.nii"), false, true, None);
        assert_eq!(named.files.labels, Path::new("out/liver.nii"));
        assert_eq!(
            named.files.preview.as_deref(),
            Some(Path::new("out/liver.preview.png"))
        );
    }

    #[test]
    fn a_folder_of_dicom_files_is_one_scan_named_after_it() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let dicom = [&[0; 128][..], b"DICM"].concat();
        for name in ["p1/ct/0", "p1/ct/below/1", "p1/mr/0", "x.nii"] {
            let path = root.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, &dicom).unwrap();
        }
        let stems = |inputs: &[PathBuf]| -> Vec<String> {
            let cases = find(inputs, Path::new("out")).unwrap();
            cases.iter().map(|c| c.stem.display().to_string()).collect()
        };
        assert_eq!(stems(&[root.to_owned()]), ["p1/ct", "p1/mr", "x"]);
        assert_eq!(stems(&[root.join("p1/ct/")]), ["ct"]);
    }

    #[test]
    fn what_would_overwrite_another_and_what_is_not_there_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let none = find(&[root.to_owned()], Path::new("out")).unwrap_err();
        assert!(none.to_string().contains("holds no scan"), "{none}");
        fs::write(root.join("a.nii"), "").unwrap();
        fs::write(root.join("a.nii.gz"), "").unwrap();
        let both = find(&[root.to_owned()], Path::new("out")).unwrap_err();
        assert!(both.to_string().contains("would both become 'a'"), "{both}");
        let missing = find(&[root.join("b.nii")], Path::new("out")).unwrap_err();
        assert!(missing.to_string().contains("b.nii"), "{missing}");
    }
}
