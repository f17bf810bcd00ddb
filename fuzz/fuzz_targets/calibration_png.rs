//! No bytes make the reader of calibration images panic, overflow or allocate more than the network takes.
#![no_main]

use std::path::PathBuf;
use std::sync::OnceLock;

use slicewise_graph::{DType, Graph, Shape};
use slicewise_quantize::{Folder, Images, PixelRange};
use tempfile::TempDir;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    static PLACE: OnceLock<(TempDir, PathBuf, Graph)> = OnceLock::new();
    let (folder, file, graph) = PLACE.get_or_init(|| {
        let folder = TempDir::new().expect("a folder");
        let file = folder.path().join("image.png");
        let mut graph = Graph::new("fuzzed");
        let shape = Shape::new(&[1, 3, 8, 8]);
        graph.input("x", shape, DType::F32).expect("an input");
        (folder, file, graph)
    });
    std::fs::write(file, bytes).expect("room");
    let images = Folder::open(folder.path(), graph, 1, PixelRange::default()).expect("one image");
    if let Ok(image) = images.load(0) {
        let values = image.as_f32().expect("floats");
        assert!(values.len() == 192 && values.iter().all(|v| (0.0..=1.0).contains(v)));
    }
});
