//! Writes the Rust types for `onnx.proto`: run `cargo run` in this folder after changing it.

use std::error::Error;
use std::path::Path;

const HEADER: &str = "// Written by tools/onnx_proto from onnx.proto (Apache-2.0, ONNX Project Contributors); change that.\n\n";

fn main() -> Result<(), Box<dyn Error>> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let target = here.join("../../crates/onnx/src/proto.rs");
    let descriptors = protox::compile([here.join("onnx.proto")], [here])?;
    let out = here.join("target/generated");
    std::fs::create_dir_all(&out)?;
    prost_build::Config::new()
        // Weights stay slices of the file that was read.
        .bytes([".onnx.TensorProto.raw_data"])
        .out_dir(&out)
        .compile_fds(descriptors)?;
    let code = std::fs::read_to_string(out.join("onnx.rs"))?;
    std::fs::write(target, format!("{HEADER}{code}"))?;
    Ok(())
}
