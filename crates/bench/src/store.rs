//! Files that are whole or not there.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

/// Why a file could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {file}: {source}")]
pub struct StoreError {
    file: String,
    source: std::io::Error,
}

/// Writes a file beside its place and then moves it there, so that no reader and no interruption
/// ever sees half of it. Makes the folders above it.
///
/// # Errors
/// If the folder or the file cannot be written.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    write(path, bytes).map_err(|source| StoreError {
        file: path.display().to_string(),
        source,
    })
}

/// What files are called before they are whole.
const PREFIX: &str = ".slicewise-";
const SUFFIX: &str = ".tmp";

/// Removes what killed programs have left of files that they were writing into `folder`, if it is older
/// than `age`: a younger one may still be in somebody's hands. What cannot be removed stays.
pub fn sweep(folder: &Path, age: Duration) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let modified = entry.metadata().and_then(|m| m.modified());
        let is_old = modified.is_ok_and(|m| m.elapsed().is_ok_and(|e| e >= age));
        if name.starts_with(PREFIX) && name.ends_with(SUFFIX) && is_old {
            // It is only clutter.
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn write(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let folder = match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        _ => Path::new("."),
    };
    fs::create_dir_all(folder)?;
    let mut builder = tempfile::Builder::new();
    builder.prefix(PREFIX).suffix(SUFFIX);
    #[cfg(unix)]
    {
        // The permissions of any new file; the umask still applies. The default is the owner's only.
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    let mut file = builder.tempfile_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|e| e.error)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_as_a_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b.json");
        write_atomically(&path, b"one").unwrap();
        write_atomically(&path, b"three").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"three");
    }

    #[test]
    fn what_killed_programs_left_is_swept_away_when_it_is_old() {
        let dir = tempfile::tempdir().unwrap();
        for name in [".slicewise-abc.tmp", "quick.json", ".other.tmp"] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        let count = || fs::read_dir(dir.path()).unwrap().count();
        sweep(dir.path(), Duration::from_secs(3600));
        assert_eq!(count(), 3);
        sweep(dir.path(), Duration::ZERO);
        assert_eq!(count(), 2);
        sweep(&dir.path().join("none"), Duration::ZERO);
    }

    #[test]
    fn a_folder_that_is_a_file_is_an_error_that_names_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let error = write_atomically(&file.join("x.json"), b"").unwrap_err();
        assert!(error.to_string().starts_with("cannot write "), "{error}");
    }
}
