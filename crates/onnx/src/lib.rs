//! Graphs to ONNX files and back.
