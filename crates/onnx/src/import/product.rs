//! Matrix products and quantization.

use slicewise_graph::{Binary, DType, NodeId, Op, Role, Tensor, TensorData};

use super::call::Call;
use super::value::{Constant, Value};
use super::{Importer, Result};
use crate::export::{TRANSPOSED, transpose};

impl Importer<'_> {
    pub(super) fn matmul(&mut self, call: &Call) -> Result<Value> {
        let a = self.node(call, 0)?;
        if let Some(c) = self.weight(call, 1)?
            && c.tensor.dtype() == DType::F32
            && c.tensor.shape().len() == 2
        {
            let weight = self.transposed(call, &c)?;
            return self.add(call, Op::Linear, &[a, weight]).map(Value::Node);
        }
        if let Some(Value::Node(b)) = self.optional(call, 1)
            && let Some(weight) = self.transposed_quantized(call, b)?
        {
            return self.add(call, Op::Linear, &[a, weight]).map(Value::Node);
        }
        let b = self.node(call, 1)?;
        self.add(call, Op::MatMul, &[a, b]).map(Value::Node)
    }

    /// The parameter that a constant matrix becomes with its axes swapped.
    fn transposed(&mut self, call: &Call, c: &Constant) -> Result<NodeId> {
        // A weight that several products share is swapped once.
        if let Some(&id) = self.swapped.get(&c.key) {
            return Ok(id);
        }
        self.charge(call, Some(c.tensor.len()))?;
        let Some(tensor) = transpose(&c.tensor) else {
            return call.fail("its weight is no matrix");
        };
        let name = c
            .name
            .strip_suffix(TRANSPOSED)
            .unwrap_or(&c.name)
            .to_owned();
        let value = self.constant(&name, c.role, tensor);
        let id = self.plain_node(call, &value)?;
        self.swapped.insert(c.key, id);
        Ok(id)
    }

    /// A dequantized constant matrix with its axes swapped, if `id` is one.
    fn transposed_quantized(&mut self, call: &Call, id: NodeId) -> Result<Option<NodeId>> {
        let node = self.graph.node(id);
        let &Op::Dequantize { axis } = &node.op else {
            return Ok(None);
        };
        let (weight, scale, zero) = (node.inputs[0], node.inputs[1], node.inputs[2]);
        let name = node
            .name
            .strip_suffix(TRANSPOSED)
            .unwrap_or(&node.name)
            .to_owned();
        let weight_node = self.graph.node(weight);
        let stored = weight_node
            .name
            .strip_suffix(TRANSPOSED)
            .unwrap_or(&weight_node.name)
            .to_owned();
        let Some(swapped) = self.graph.constant(weight).and_then(transpose) else {
            return Ok(None);
        };
        self.charge(call, Some(swapped.len()))?;
        let swapped = self.constant(&stored, Role::Constant, swapped);
        let swapped = self.plain_node(call, &swapped)?;
        let op = Op::Dequantize {
            axis: 1 - axis.min(1),
        };
        let added = self.graph.add(&name, op, &[swapped, scale, zero]);
        added.map(Some).map_err(|e| self.graph_error(e))
    }

    pub(super) fn gemm(&mut self, call: &Call) -> Result<Value> {
        let mut a = self.node(call, 0)?;
        if self.shape(a).rank() != 2 {
            return call.fail("its first input must have two axes");
        }
        if call.flag("transA", false) {
            a = self.add(call, Op::Transpose { perm: vec![1, 0] }, &[a])?;
        }
        let turned = call.flag("transB", false);
        let constant = self
            .weight(call, 1)?
            .filter(|c| c.tensor.dtype() == DType::F32);
        let weight = match &constant {
            Some(c) if !turned && c.tensor.shape().len() == 2 => self.transposed(call, c)?,
            _ => {
                let b = self.node(call, 1)?;
                if turned {
                    b
                } else {
                    self.add(call, Op::Transpose { perm: vec![1, 0] }, &[b])?
                }
            }
        };
        let (alpha, beta) = (call.float("alpha", 1.0), call.float("beta", 1.0));
        let features = self.shape(weight).dims().first().and_then(|d| d.fixed());
        let bias = self.optional(call, 2);
        if let (Some(Value::Constant(c)), Some(n), true) =
            (&bias, features, alpha == 1.0 && beta == 1.0)
            && c.tensor.len() == n
            && c.tensor.shape().last() == Some(&n)
        {
            let flat = self.reshaped(call, &Value::Constant(c.clone()), &[n])?;
            let bias = if c.tensor.shape().len() == 1 {
                Value::Constant(c.clone())
            } else {
                flat
            };
            let bias = self.plain_node(call, &bias)?;
            return self
                .add(call, Op::Linear, &[a, weight, bias])
                .map(Value::Node);
        }
        let mut result = self.add(call, Op::Linear, &[a, weight])?;
        if alpha != 1.0 {
            result = self.times(call, result, alpha)?;
        }
        if let Some(bias) = bias {
            let mut bias = self.plain_node(call, &bias)?;
            if beta != 1.0 {
                bias = self.times(call, bias, beta)?;
            }
            result = self.add(call, Op::Binary(Binary::Add), &[result, bias])?;
        }
        Ok(Value::Node(result))
    }

    fn times(&mut self, call: &Call, x: NodeId, factor: f32) -> Result<NodeId> {
        let name = format!("{}.factor", call.output());
        let factor = self.constant(&name, Role::Constant, Tensor::scalar(factor));
        let factor = self.plain_node(call, &factor)?;
        self.add(call, Op::Binary(Binary::Mul), &[x, factor])
    }

    pub(super) fn quantize(&mut self, call: &Call) -> Result<Value> {
        let x = self.node(call, 0)?;
        let scale = self.node(call, 1)?;
        if call.int("block_size", 0) != 0 {
            return call.fail("quantization in blocks is not supported");
        }
        let zero = match self.optional(call, 2) {
            Some(value) => self.plain_node(call, &value)?,
            None => {
                let from = self.graph.node(x).dtype;
                let sizes = self.shape(scale).sizes().unwrap_or_default();
                let n = sizes.iter().product();
                self.charge(call, Some(n))?;
                let data: TensorData = match from {
                    DType::I32 => vec![0i32; n].into(),
                    DType::I8 => vec![0i8; n].into(),
                    _ => vec![0u8; n].into(),
                };
                let zeros = Tensor::new(&sizes, data).map_err(|e| call.error(e.to_string()))?;
                let name = format!("{}.zero_point", call.output());
                let zeros = self.constant(&name, Role::Constant, zeros);
                self.plain_node(call, &zeros)?
            }
        };
        let rank = self.shape(x).rank();
        // Without an axis of its own, one scale is for all.
        let axis = match call.attribute("axis") {
            None if rank <= 1 => 0,
            _ if self.shape(scale).elements() == Some(1) => 0,
            _ => call.axis(call.int("axis", 1), rank)?,
        };
        let op = match call.op {
            "QuantizeLinear" => Op::Quantize { axis },
            _ => Op::Dequantize { axis },
        };
        self.add(call, op, &[x, scale, zero]).map(Value::Node)
    }
}
