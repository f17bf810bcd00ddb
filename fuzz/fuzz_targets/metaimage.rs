//! No bytes make the reader of MetaImage files panic, overflow or allocate more than they hold.
#![no_main]

use std::io::Write;
use std::sync::OnceLock;

use slicewise_imaging::{Volume, metaimage};
use tempfile::TempDir;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    static FOLDER: OnceLock<TempDir> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| TempDir::new().expect("a folder"));
    let path = folder.path().join("scan.mha");
    let mut file = std::fs::File::create(&path).expect("a file");
    file.write_all(bytes).expect("room");
    drop(file);
    if let Ok(mut scan) = metaimage::read(&path, 0)
        && let Ok(volume) = Volume::read(&mut *scan.source)
    {
        assert!(volume.grid().voxels() <= 1100 * bytes.len());
    }
});
