//! Which scans there are, and where what is made of them goes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use slicewise_imaging::dicom::{self, SegKind};
use slicewise_imaging::{ImagingError, scan, whole};

use crate::{OutputFiles, SegmentError};

/// A scan, which is a file or the folder of a DICOM series, and the name of what is made of it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Case {
    /// The scan.
    pub input: PathBuf,
    /// Folders below a folder that was given, and the file's name without its end.
    pub stem: PathBuf,
    /// Why it is no scan, where that is known already.
    pub problem: Option<String>,
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
/// made here. An input or a folder that cannot be looked into is a case with a problem, so that it does not
/// stop the others.
///
/// # Errors
/// If none can be looked into or holds a scan, or two scans would have outputs of the same name.
pub fn find(inputs: &[PathBuf], output: &Path) -> Result<Vec<Case>, SegmentError> {
    let output = fs::canonicalize(output).ok();
    let mut cases = Vec::new();
    for input in inputs {
        if let Err(problem) = look_into(input, output.as_deref(), &mut cases) {
            let stem = PathBuf::from(input.file_name().unwrap_or_default());
            cases.push(Case::unreadable(input.clone(), stem, &problem));
        }
    }
    cases.sort();
    cases.dedup();
    if let [
        Case {
            problem: Some(first),
            ..
        },
        ..,
    ] = &cases[..]
        && cases.iter().all(|case| case.problem.is_some())
    {
        return Err(SegmentError::NoScan(first.clone()));
    }
    let mut seen = BTreeMap::new();
    // Nothing is written for what is no scan.
    for case in cases.iter().filter(|case| case.problem.is_none()) {
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

impl Case {
    fn new(input: PathBuf, stem: PathBuf) -> Self {
        Case {
            input,
            stem,
            problem: None,
        }
    }

    fn unreadable(input: PathBuf, stem: PathBuf, problem: &SegmentError) -> Self {
        Case {
            input,
            stem,
            problem: Some(problem.to_string()),
        }
    }
}

/// The scans that one input is or holds.
fn look_into(
    input: &Path,
    output: Option<&Path>,
    cases: &mut Vec<Case>,
) -> Result<(), SegmentError> {
    let io = |e| ImagingError::io(input, e);
    if !fs::metadata(input).map_err(io)?.is_dir() {
        cases.push(case(input.to_owned(), Path::new("")));
        return Ok(());
    }
    if dicom::holds_dicom(input, scan::is_name)? {
        // A path such as `.` has no name of its own.
        let named = fs::canonicalize(input).map_err(io)?;
        let stem = PathBuf::from(named.file_name().unwrap_or_default());
        cases.push(Case::new(input.to_owned(), stem));
        return Ok(());
    }
    let before = cases.len();
    let seen = BTreeSet::new();
    let mut walk = Walk {
        output,
        seen,
        cases,
    };
    walk.folder(input, Path::new(""))?;
    if cases.len() == before {
        return Err(ImagingError::Unsupported {
            file: input.display().to_string(),
            problem: "the folder holds no scan".into(),
            mend: "give a folder with .nii, .nii.gz, .hdr, .mha, .mhd, .nrrd, .nhdr or DICOM files",
        }
        .into());
    }
    Ok(())
}

fn case(input: PathBuf, folder: &Path) -> Case {
    let name = input.file_name().unwrap_or_default().to_string_lossy();
    let stem = folder.join(scan::stem(&name));
    Case::new(input, stem)
}

/// Looks through folders, links included, into each once.
struct Walk<'a> {
    /// The folder of the outputs, in which there are no scans.
    output: Option<&'a Path>,
    seen: BTreeSet<PathBuf>,
    cases: &'a mut Vec<Case>,
}

impl Walk<'_> {
    fn folder(&mut self, folder: &Path, below: &Path) -> Result<(), SegmentError> {
        let io = |e| ImagingError::io(folder, e);
        let own = fs::canonicalize(folder).map_err(io)?;
        if !self.seen.insert(own) {
            return Ok(());
        }
        let mut entries = Vec::new();
        for entry in fs::read_dir(folder).map_err(io)? {
            let entry = entry.map_err(io)?;
            let is_link = entry.file_type().map_err(io)?.is_symlink();
            entries.push((is_link, entry.file_name()));
        }
        // What is here before what links lead to, so that one name is chosen for it each time.
        entries.sort();
        for (_, name) in entries {
            let path = folder.join(&name);
            if path.is_dir() {
                let stem = below.join(&name);
                if let Err(problem) = self.below(&path, &stem) {
                    self.cases.push(Case::unreadable(path, stem, &problem));
                }
            } else if scan::is_name(&name.to_string_lossy()) {
                self.cases.push(case(path, below));
            }
        }
        Ok(())
    }

    fn below(&mut self, path: &Path, stem: &Path) -> Result<(), SegmentError> {
        let own = fs::canonicalize(path).map_err(|e| ImagingError::io(path, e))?;
        if self.output == Some(&own) {
            return Ok(());
        }
        if !dicom::holds_dicom(path, scan::is_name)? {
            return self.folder(path, stem);
        }
        // What is below it belongs to it.
        if self.seen.insert(own) {
            self.cases.push(Case::new(path.to_owned(), stem.to_owned()));
        }
        Ok(())
    }
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

    /// Whether every file can be put in its place, as far as that can be told before.
    ///
    /// # Errors
    /// If not: something is there that is no file, or may not be written.
    pub fn check(&self) -> Result<(), ImagingError> {
        let files = self.files.all();
        let mut files = files.into_iter().chain([self.manifest.as_path()]);
        files.try_for_each(whole::check)
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

/// Whether an output is named like a file of another format than label maps are written in.
pub fn misnamed_file(output: &Path) -> bool {
    let name = output.file_name().unwrap_or_default().to_string_lossy();
    let ends = [".dcm", ".img", ".img.gz"];
    let is_other =
        scan::is_name(&name) || ends.iter().any(|e| name.to_ascii_lowercase().ends_with(e));
    is_other && named_file(output).is_none() && !output.is_dir()
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

    #[cfg(unix)]
    #[test]
    fn links_are_followed_and_every_folder_is_looked_into_once() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("scans");
        let other = folder.path().join("other");
        for path in [
            root.join("x/a.nii"),
            other.join("b.nii"),
            root.join("shut/c.nii"),
        ] {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        symlink(&other, root.join("link")).unwrap();
        symlink(&root, root.join("x/loop")).unwrap();
        symlink("nowhere", root.join("gone.nii")).unwrap();
        let shut = root.join("shut");
        fs::set_permissions(&shut, fs::Permissions::from_mode(0o000)).unwrap();
        let cases = find(std::slice::from_ref(&root), Path::new("out")).unwrap();
        let is_shut = fs::read_dir(&shut).is_err();
        fs::set_permissions(&shut, fs::Permissions::from_mode(0o755)).unwrap();
        let stems: Vec<_> = cases.iter().map(|c| c.stem.to_str().unwrap()).collect();
        // An administrator may look into everything.
        let last = if is_shut { "shut" } else { "shut/c" };
        assert_eq!(stems, ["gone", "link/b", last, "x/a"]);
        assert_eq!(cases[2].problem.is_some(), is_shut);
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
        // Beside others it does not stop them.
        let cases = find(&[root.join("b.nii"), root.join("a.nii")], Path::new("out")).unwrap();
        let problems: Vec<_> = cases.iter().map(|c| c.problem.is_some()).collect();
        assert_eq!(problems, [false, true]);
    }
}
