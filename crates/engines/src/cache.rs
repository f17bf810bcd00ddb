//! The user's cache folder.

use std::env;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

/// `$SLICEWISE_CACHE`, else `slicewise` in the user's cache folder; `None` where there is no home.
pub(crate) fn root() -> Option<PathBuf> {
    let variable = |name: &str| {
        let value = env::var_os(name).filter(|v| !v.is_empty());
        value.map(PathBuf::from).filter(|p| p.is_absolute())
    };
    if let Some(root) = variable("SLICEWISE_CACHE") {
        return Some(root);
    }
    let cache = match () {
        () if cfg!(windows) => variable("LOCALAPPDATA"),
        () => variable("XDG_CACHE_HOME").or_else(|| Some(variable("HOME")?.join(".cache"))),
    };
    Some(cache?.join("slicewise"))
}

/// Writes a file whole or not at all.
pub(crate) fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let mut file = NamedTempFile::new_in(folder)?;
    file.write_all(content)?;
    file.persist(path).map_err(|e| e.error)?;
    Ok(())
}
