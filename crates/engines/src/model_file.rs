//! A graph on its way to an engine that reads ONNX.

use std::path::{Path, PathBuf};

use slicewise_graph::{Graph, Op};
use tempfile::TempDir;

/// Protocol buffers end at 2 GiB; a model whose weights come near it goes through files.
const LARGEST_IN_MEMORY: usize = 1 << 30;

/// A graph as ONNX.
pub(crate) enum OnnxModel {
    /// One message.
    Bytes(Vec<u8>),
    /// A file with its weights beside it. The folder goes when this is dropped.
    File {
        /// The model's file.
        path: PathBuf,
        /// What keeps the files alive.
        _folder: TempDir,
    },
}

impl OnnxModel {
    /// Writes `graph`, in memory where it fits.
    pub(crate) fn new(graph: &Graph) -> Result<Self, String> {
        Self::with_limit(graph, LARGEST_IN_MEMORY)
    }

    fn with_limit(graph: &Graph, limit: usize) -> Result<Self, String> {
        if weight_bytes(graph) <= limit {
            let bytes = slicewise_onnx::to_bytes(graph).map_err(|e| e.to_string())?;
            return Ok(OnnxModel::Bytes(bytes));
        }
        let folder = tempfile::Builder::new()
            .prefix("slicewise-")
            .tempdir()
            .map_err(|e| format!("no folder for a model over 1 GiB (set TMPDIR): {e}"))?;
        let path = folder.path().join("model.onnx");
        slicewise_onnx::write(graph, Path::new(&path)).map_err(|e| e.to_string())?;
        Ok(OnnxModel::File {
            path,
            _folder: folder,
        })
    }
}

fn weight_bytes(graph: &Graph) -> usize {
    let tensors = graph.nodes().iter().filter_map(|node| match &node.op {
        Op::Parameter(p) => p.data.as_ref(),
        _ => None,
    });
    tensors.map(|t| t.len() * t.dtype().bytes()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use slicewise_graph::{Conv, DType, Role, Shape, Tensor};

    #[test]
    fn a_model_over_the_limit_goes_through_a_file_that_goes_with_it() {
        let mut graph = Graph::new("small");
        let shape = Shape::new(&[1, 1, 4, 4]);
        let x = graph.input("x", shape, DType::F32).expect("a new name");
        let weight = Tensor::from_fn(&[2, 1, 3, 3], |i| i as f32);
        let weight = graph
            .constant_tensor("w", Role::Trainable, weight)
            .expect("a new name");
        let y = graph
            .add("y", Op::Conv(Conv::new(2, 3)), &[x, weight])
            .expect("shapes fit");
        graph.set_outputs(vec![y]);
        assert_eq!(weight_bytes(&graph), 72);
        assert!(matches!(
            OnnxModel::with_limit(&graph, 72),
            Ok(OnnxModel::Bytes(_))
        ));
        let model = OnnxModel::with_limit(&graph, 71).expect("a temporary folder");
        let OnnxModel::File { path, .. } = &model else {
            panic!("72 bytes are over a limit of 71");
        };
        let path = path.clone();
        assert!(path.is_file());
        drop(model);
        assert!(!path.exists());
    }
}
