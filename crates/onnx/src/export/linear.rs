//! Linear layers: Gemm on two axes, MatMul with the weight transposed on more.

use slicewise_graph::{Node, NodeId, Op, Tensor, TensorData};

use super::{Exporter, export_error, int, ints};
use crate::OnnxError;
use crate::file::Weight;

/// What the name of a weight `[O, I]` gets when it is stored as `[I, O]`.
pub(crate) const TRANSPOSED: &str = ".transposed";

impl Exporter<'_> {
    pub(super) fn linear(&mut self, node: &Node) -> Result<(), OnnxError> {
        let x = self.value(node.inputs[0])?;
        let bias = match node.inputs.get(2) {
            Some(&bias) => Some(self.value(bias)?),
            None => None,
        };
        if node.shape.rank() == 2 {
            let weight = self.value(node.inputs[1])?;
            let mut inputs = vec![x.as_str(), weight.as_str()];
            inputs.extend(bias.as_deref());
            self.emit("Gemm", &inputs, &node.name, vec![int("transB", 1)]);
            return Ok(());
        }
        let weight = self.transposed(node, node.inputs[1])?;
        match bias {
            None => self.emit("MatMul", &[&x, &weight], &node.name, vec![]),
            Some(bias) => {
                let product = self.step(node, "product", "MatMul", &[&x, &weight], vec![]);
                self.emit("Add", &[&product, &bias], &node.name, vec![]);
            }
        }
        Ok(())
    }

    /// The value `id` `[O, I]` as `[I, O]`. Weights are stored so, because engines pack only what
    /// is constant; a quantized one stays directly under its DequantizeLinear for the same reason.
    fn transposed(&mut self, node: &Node, id: NodeId) -> Result<String, OnnxError> {
        if let Some(name) = self.transposed.get(&id) {
            return Ok(name.clone());
        }
        let graph = self.graph;
        let weight = graph.node(id);
        let name = match &weight.op {
            Op::Parameter(p) => {
                let Some(data) = graph.constant(id) else {
                    return Err(OnnxError::NoData(weight.name.clone()));
                };
                let tensor =
                    transpose(data).ok_or_else(|| export_error(node, "the weight is no matrix"))?;
                let name = self.fresh(&format!("{}{TRANSPOSED}", weight.name));
                self.weights.push(Weight {
                    name: name.clone(),
                    role: p.role,
                    tensor,
                });
                name
            }
            Op::Dequantize { axis } => {
                let integers = self.transposed(weight, weight.inputs[0])?;
                let (scale, attributes) = self.scale(weight, 1 - (*axis).min(1))?;
                let zero_point = self.vector(weight, weight.inputs[2])?;
                let name = self.fresh(&format!("{}{TRANSPOSED}", weight.name));
                let inputs = [integers.as_str(), &scale, &zero_point];
                self.emit("DequantizeLinear", &inputs, &name, attributes);
                name
            }
            _ => {
                let value = self.value(id)?;
                let perm = vec![ints("perm", [1, 0])];
                self.step(node, "weight_transposed", "Transpose", &[&value], perm)
            }
        };
        self.transposed.insert(id, name.clone());
        Ok(name)
    }
}

/// A matrix with its axes swapped; `None` if it is not one.
pub(crate) fn transpose(tensor: &Tensor) -> Option<Tensor> {
    fn swap<T: Copy>(v: &[T], rows: usize, columns: usize) -> Vec<T> {
        let mut out = Vec::with_capacity(v.len());
        for j in 0..columns {
            out.extend((0..rows).map(|i| v[i * columns + j]));
        }
        out
    }
    let &[rows, columns] = tensor.shape() else {
        return None;
    };
    let data = match tensor.data() {
        TensorData::F32(v) => swap(v, rows, columns).into(),
        TensorData::I64(v) => swap(v, rows, columns).into(),
        TensorData::I32(v) => swap(v, rows, columns).into(),
        TensorData::U16(v) => swap(v, rows, columns).into(),
        TensorData::U8(v) => swap(v, rows, columns).into(),
        TensorData::I8(v) => swap(v, rows, columns).into(),
    };
    let data: TensorData = data;
    Tensor::new(&[columns, rows], data).ok()
}
