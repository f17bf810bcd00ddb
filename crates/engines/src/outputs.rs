//! Results that foreign engines write in place.

use std::sync::Arc;

use slicewise_graph::{DType, Graph, GraphError, Tensor, TensorData};

/// The tensors that a session returns. The engine writes into them in place, so that no engine is
/// charged for a copy (a 117-class map of 512×512 is 122.7 MB) or for touching fresh memory.
#[derive(Default)]
pub(crate) struct Outputs {
    tensors: Vec<Tensor>,
}

/// One output while an engine writes into it; nobody else holds the elements.
pub(crate) struct Buffer {
    /// The sizes.
    pub(crate) shape: Vec<usize>,
    /// The elements.
    pub(crate) data: TensorData,
}

impl Outputs {
    /// These tensors.
    pub(crate) fn of(tensors: Vec<Tensor>) -> Self {
        Outputs { tensors }
    }

    /// Zeros for every output of `graph`, whose batch must be set.
    pub(crate) fn new(graph: &Graph) -> Result<Self, GraphError> {
        let outputs = graph.outputs().iter().map(|&id| {
            let node = graph.node(id);
            let shape = node.shape.sizes().unwrap_or_default();
            Tensor::new(&shape, zeros(node.dtype, shape.iter().product()))
        });
        Ok(Outputs {
            tensors: outputs.collect::<Result<_, _>>()?,
        })
    }

    /// Whether there is no tensor.
    pub(crate) fn is_empty(&self) -> bool {
        self.tensors.is_empty()
    }

    /// What the last run made.
    pub(crate) fn tensors(&self) -> &[Tensor] {
        &self.tensors
    }

    /// Lets `f` write all outputs. A tensor that a caller kept a clone of stays as it is and is
    /// replaced by a new one.
    pub(crate) fn write<R>(&mut self, f: impl FnOnce(&mut [Buffer]) -> R) -> Result<R, GraphError> {
        let mut buffers: Vec<Buffer> = self.tensors.drain(..).map(Buffer::from).collect();
        for buffer in &mut buffers {
            if !buffer.is_unique() {
                buffer.data = zeros(buffer.data.dtype(), buffer.data.len());
            }
        }
        let result = f(&mut buffers);
        for buffer in buffers {
            self.tensors.push(Tensor::new(&buffer.shape, buffer.data)?);
        }
        Ok(result)
    }
}

impl From<Tensor> for Buffer {
    fn from(tensor: Tensor) -> Self {
        Buffer {
            shape: tensor.shape().to_vec(),
            data: tensor.data().clone(),
        }
    }
}

/// Runs the same expression on the elements of any type.
macro_rules! each_type {
    ($data:expr, $v:ident => $body:expr) => {
        match $data {
            slicewise_graph::TensorData::F32($v) => $body,
            slicewise_graph::TensorData::I64($v) => $body,
            slicewise_graph::TensorData::I32($v) => $body,
            slicewise_graph::TensorData::U16($v) => $body,
            slicewise_graph::TensorData::U8($v) => $body,
            slicewise_graph::TensorData::I8($v) => $body,
        }
    };
}
pub(crate) use each_type;

impl Buffer {
    fn is_unique(&mut self) -> bool {
        each_type!(&mut self.data, v => Arc::get_mut(v).is_some())
    }
}

/// `n` zeros.
pub(crate) fn zeros(dtype: DType, n: usize) -> TensorData {
    match dtype {
        DType::F32 => vec![0f32; n].into(),
        DType::I64 => vec![0i64; n].into(),
        DType::I32 => vec![0i32; n].into(),
        DType::U16 => vec![0u16; n].into(),
        DType::U8 => vec![0u8; n].into(),
        DType::I8 => vec![0i8; n].into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use slicewise_graph::Shape;

    fn outputs() -> Outputs {
        let mut graph = Graph::new("identity");
        let x = graph
            .input("x", Shape::new(&[2]), DType::F32)
            .expect("the first name");
        graph.set_outputs(vec![x]);
        Outputs::new(&graph).expect("the sizes are known")
    }

    fn set(outputs: &mut Outputs, value: f32) {
        let write = |buffers: &mut [Buffer]| match &mut buffers[0].data {
            TensorData::F32(v) => Arc::get_mut(v).expect("unique").fill(value),
            other => panic!("{:?}", other.dtype()),
        };
        outputs.write(write).expect("the size stays");
    }

    #[test]
    fn outputs_are_written_in_place_unless_a_caller_kept_them() {
        let mut outputs = outputs();
        set(&mut outputs, 1.0);
        let first = outputs.tensors()[0].as_f32().expect("f32").as_ptr();
        set(&mut outputs, 2.0);
        assert_eq!(outputs.tensors()[0].as_f32().expect("f32").as_ptr(), first);
        let kept = outputs.tensors()[0].clone();
        set(&mut outputs, 3.0);
        assert_eq!(kept.as_f32(), Some(&[2.0, 2.0][..]));
        assert_eq!(outputs.tensors()[0].as_f32(), Some(&[3.0, 3.0][..]));
    }
}
