//! Files that appear whole or not at all, also when they are written piece by piece.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::NamedTempFile;

use crate::ImagingError;

/// What files are called before they are whole.
const PREFIX: &str = ".slicewise-";
const SUFFIX: &str = ".tmp";

/// Leftovers this old are nobody's, also on a file system without locks.
const ABANDONED: Duration = Duration::from_secs(24 * 3600);

/// A file that is being written beside its place. Dropped, it is gone; [`WholeFile::finish`] moves it to
/// its place.
#[derive(Debug)]
pub struct WholeFile {
    out: BufWriter<NamedTempFile>,
    path: PathBuf,
}

impl WholeFile {
    /// Begins a file that is to be at `path`. Its folder must be there.
    ///
    /// # Errors
    /// If the folder, or a file that is there already, cannot be written to.
    pub fn create(path: &Path) -> Result<Self, ImagingError> {
        check(path)?;
        let folder = match path.parent() {
            Some(p) if !p.as_os_str().is_empty() => p,
            _ => Path::new("."),
        };
        let mut builder = tempfile::Builder::new();
        builder.prefix(PREFIX).suffix(SUFFIX);
        #[cfg(unix)]
        {
            // The permissions of any new file; the umask still applies. The default is the owner's only.
            use std::os::unix::fs::PermissionsExt;
            builder.permissions(fs::Permissions::from_mode(0o666));
        }
        let file = builder.tempfile_in(folder);
        let file = file.map_err(|e| ImagingError::unwritable(path, e))?;
        // Where there are no locks, age tells what is abandoned.
        let _ = file.as_file().try_lock();
        Ok(WholeFile {
            out: BufWriter::with_capacity(1 << 18, file),
            path: path.to_owned(),
        })
    }

    /// Where the file will be.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Moves the file to its place; what was there is replaced.
    ///
    /// # Errors
    /// If the rest cannot be written.
    pub fn finish(self) -> Result<(), ImagingError> {
        let path = self.path;
        let finish = || -> io::Result<()> {
            let file = self.out.into_inner().map_err(|e| e.into_error())?;
            file.as_file().sync_all()?;
            file.persist(&path).map_err(|e| e.error)?;
            Ok(())
        };
        finish().map_err(|e| ImagingError::unwritable(&path, e))
    }

    /// Writes a file of `bytes`.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(path: &Path, bytes: &[u8]) -> Result<(), ImagingError> {
        let mut file = WholeFile::create(path)?;
        file.write_all(bytes)
            .map_err(|e| ImagingError::unwritable(path, e))?;
        file.finish()
    }
}

impl Write for WholeFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Whether a file may be put at `path`: there is none, or one that this user may write. What may not be
/// written is not replaced, although many folders would let it.
///
/// # Errors
/// If not.
pub fn check(path: &Path) -> Result<(), ImagingError> {
    // What is not there yet is no obstacle; where it cannot be looked at, making the file will tell.
    let Ok(metadata) = fs::metadata(path) else {
        return Ok(());
    };
    if !metadata.is_file() {
        return Err(ImagingError::Unsupported {
            file: path.display().to_string(),
            problem: "it is there already, and no file".into(),
            mend: "remove it, or choose another output",
        });
    }
    let opened = OpenOptions::new().write(true).open(path);
    opened.map_err(|e| ImagingError::unwritable(path, e))?;
    Ok(())
}

/// Removes what killed programs have left of files that they were writing into `folder`. What a living
/// program is writing is locked, and stays; so does what cannot be removed.
pub fn sweep(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if !(name.starts_with(PREFIX) && name.ends_with(SUFFIX)) {
            continue;
        }
        let abandoned = match File::open(entry.path()).map(|f| f.try_lock()) {
            Ok(Ok(())) => true,
            Ok(Err(TryLockError::WouldBlock)) => false,
            _ => {
                let modified = entry.metadata().and_then(|m| m.modified());
                modified.is_ok_and(|m| m.elapsed().is_ok_and(|e| e >= ABANDONED))
            }
        };
        if abandoned {
            // It is only clutter.
            let _ = fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_there_when_it_is_finished_and_not_before() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        let mut file = WholeFile::create(&path).unwrap();
        file.write_all(b"one").unwrap();
        assert!(!path.exists());
        sweep(folder.path());
        file.finish().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"one");
        drop(WholeFile::create(&path).unwrap());
        assert_eq!(fs::read(&path).unwrap(), b"one");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_is_no_file_or_may_not_be_written_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        fs::create_dir(&path).unwrap();
        let error = WholeFile::write(&path, b"new").unwrap_err().to_string();
        assert!(error.contains("no file; remove it"), "{error}");
        fs::remove_dir(&path).unwrap();
        fs::write(&path, "old").unwrap();
        let mut permissions = fs::metadata(&path).unwrap().permissions();
        permissions.set_readonly(true);
        fs::set_permissions(&path, permissions).unwrap();
        // An administrator may write everything.
        if OpenOptions::new().write(true).open(&path).is_err() {
            let error = WholeFile::write(&path, b"new").unwrap_err().to_string();
            assert!(error.contains("it cannot be written"), "{error}");
            assert_eq!(fs::read(&path).unwrap(), b"old");
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_a_killed_program_left_is_swept_away() {
        let folder = tempfile::tempdir().unwrap();
        for name in [".slicewise-abc.tmp", "scan.nii", ".other.tmp"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        sweep(folder.path());
        assert!(!folder.path().join(".slicewise-abc.tmp").exists());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}
