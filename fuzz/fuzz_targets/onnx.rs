//! Any bytes as an ONNX model: an error or a graph, never a panic or an allocation without measure.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(graph) = slicewise_onnx::from_bytes("fuzz.onnx", bytes) {
        // What was read can be written, unless ONNX cannot say it, and read again.
        if let Ok(written) = slicewise_onnx::to_bytes(&graph) {
            let _ = slicewise_onnx::from_bytes("again.onnx", &written);
        }
    }
});
