//! Normalisations, reductions and what ranks elements.

use slicewise_graph::{Activation, Binary, DType, Op, Reduce, ReduceKind, Role, Tensor};

use super::call::Call;
use super::value::Value;
use super::{Importer, Result};

impl Importer<'_> {
    pub(super) fn batch_norm(&mut self, call: &Call) -> Result<Value> {
        if call.flag("training_mode", false) {
            return call.fail("is in training mode; export the model in evaluation mode");
        }
        let mut inputs = Vec::with_capacity(5);
        for i in 0..5 {
            let mut value = self.required(call, i)?;
            if let (Value::Constant(c), true) = (&mut value, i >= 3) {
                c.role = Role::Buffer;
            }
            inputs.push(self.plain_node(call, &value)?);
        }
        let eps = call.float("epsilon", 1e-5);
        self.add(call, Op::BatchNorm { eps }, &inputs)
            .map(Value::Node)
    }

    pub(super) fn group_norm(&mut self, call: &Call) -> Result<Value> {
        let x = self.node(call, 0)?;
        let Some(channels) = self.shape(x).dims().get(1).and_then(|d| d.fixed()) else {
            return call.fail("its input must be [N, C, …] with a fixed number of channels");
        };
        let groups = match call.op {
            "InstanceNormalization" => channels,
            _ => usize::try_from(call.int("num_groups", 0)).unwrap_or(0),
        };
        // Until opset 20, GroupNormalization scales whole groups.
        if call.op == "GroupNormalization" && call.opset < 21 && groups != channels {
            return call.fail("is supported from opset 21 on; export the model for that or for 17");
        }
        let inputs = [x, self.node(call, 1)?, self.node(call, 2)?];
        let eps = call.float("epsilon", 1e-5);
        self.add(call, Op::GroupNorm { groups, eps }, &inputs)
            .map(Value::Node)
    }

    pub(super) fn layer_norm(&mut self, call: &Call) -> Result<Value> {
        let x = self.node(call, 0)?;
        let rank = self.shape(x).rank();
        let axis = call.axis(call.int("axis", -1), rank)?;
        if axis + 1 != rank {
            return call.fail("normalises more than the last axis, which is not supported");
        }
        let weight = self.node(call, 1)?;
        let bias = match call.input(2) {
            Some(_) => self.node(call, 2)?,
            None => {
                let n = self.shape(weight).elements();
                self.charge(call, n)?;
                let zeros = Tensor::from_fn(&[n.unwrap_or(0)], |_| 0.0);
                let name = format!("{}.bias", call.output());
                let zeros = self.constant(&name, Role::Constant, zeros);
                self.plain_node(call, &zeros)?
            }
        };
        let eps = call.float("epsilon", 1e-5);
        self.add(call, Op::LayerNorm { axis, eps }, &[x, weight, bias])
            .map(Value::Node)
    }

    pub(super) fn softmax(&mut self, call: &Call) -> Result<Value> {
        let x = self.node(call, 0)?;
        let rank = self.shape(x).rank();
        // Before opset 13, all axes from this one on are normalised together.
        let together = call.opset < 13;
        let axis = call.axis(call.int("axis", if together { 1 } else { -1 }), rank)?;
        if together && axis + 1 != rank {
            return call
                .fail("normalises several axes together; export the model for opset 13 or later");
        }
        self.add(call, Op::Softmax { axis }, &[x]).map(Value::Node)
    }

    pub(super) fn reduce(&mut self, call: &Call) -> Result<Value> {
        let mut x = self.node(call, 0)?;
        let rank = self.shape(x).rank();
        let axes = match call.ints("axes") {
            Some(axes) => Some(axes.to_vec()),
            None => self.plain_ints(call, 1)?,
        };
        let axes = match axes.filter(|a| !a.is_empty()) {
            Some(axes) => call.axes(&axes, rank)?,
            None if call.flag("noop_with_empty_axes", false) => return Ok(Value::Node(x)),
            None => (0..rank).collect(),
        };
        let keep_dims = call.flag("keepdims", true);
        let norm = call.op == "ReduceL2";
        let kind = match call.op {
            "ReduceMean" => ReduceKind::Mean,
            "ReduceMax" => ReduceKind::Max,
            _ => ReduceKind::Sum,
        };
        if norm {
            x = self.add(call, Op::Binary(Binary::Mul), &[x, x])?;
        }
        let mut result = self.add(
            call,
            Op::Reduce(Reduce {
                kind,
                axes,
                keep_dims,
            }),
            &[x],
        )?;
        if norm {
            result = self.add(call, Op::Activation(Activation::Sqrt), &[result])?;
        }
        Ok(Value::Node(result))
    }

    pub(super) fn arg_max(&mut self, call: &Call) -> Result<Value> {
        let x = self.node(call, 0)?;
        let dims = self.shape(x).dims().to_vec();
        let axis = call.axis(call.int("axis", 0), dims.len())?;
        if call.flag("select_last_index", false) {
            return call.fail("select_last_index is not supported");
        }
        let labels = self.add(
            call,
            Op::ArgMax {
                axis,
                dtype: DType::I64,
            },
            &[x],
        )?;
        if !call.flag("keepdims", true) {
            return Ok(Value::Node(labels));
        }
        let mut kept = dims;
        kept[axis] = 1.into();
        self.reshape_node(call, labels, &kept).map(Value::Node)
    }
}
