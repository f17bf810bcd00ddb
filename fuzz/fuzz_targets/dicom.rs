//! Any bytes as a DICOM file, and as a file or archive of a series: an error, frames or slices, never a panic
//! or an allocation without measure.
#![no_main]

use std::io::Write;

use libfuzzer_sys::fuzz_target;
use slicewise_imaging::dicom::{Image, Series};
use slicewise_imaging::{Slice, SliceSource};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(mut image) = Image::from_bytes("fuzz.dcm", bytes.to_vec()) {
        let [_, _, frames] = image.size();
        for frame in 0..frames.min(4) {
            let _ = image.frame(frame);
        }
    }
    let Ok(mut file) = tempfile::NamedTempFile::new_in("/dev/shm") else {
        return;
    };
    if file.write_all(bytes).is_err() {
        return;
    }
    let Ok(found) = Series::find(file.path()) else {
        return;
    };
    for series in found.series {
        let mut source = series.source();
        let mut slice = Slice::of(&source);
        for _ in 0..4 {
            match source.next_slice(&mut slice) {
                Ok(true) => {
                    // A slice is of the size that the grid says.
                    let [columns, rows, _] = series.grid().size();
                    assert_eq!(slice.voxels.len(), columns * rows);
                }
                _ => break,
            }
        }
    }
});
