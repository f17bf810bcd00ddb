//! Values joined and padded.

use slicewise_graph::{Binary, Dim, NodeId, Op, Role, Tensor};

use super::call::Call;
use super::value::{Int, Ints, Value};
use super::{Importer, Result, array, as_ints};

impl Importer<'_> {
    pub(super) fn concat(&mut self, call: &Call) -> Result<Value> {
        let count = call.node.input.len();
        let mut values = Vec::with_capacity(count);
        for i in 0..count {
            values.push(self.required(call, i)?);
        }
        let Some(first) = values.first() else {
            return call.fail("has no inputs");
        };
        let rank = self.dims(call, first)?.len();
        let axis = call.axis(call.int("axis", 0), rank)?;
        if values.iter().all(|v| self.known_dims(v).is_some()) {
            return self.concat_known(call, &values, axis);
        }
        let mut dims = Vec::with_capacity(count);
        for value in &values {
            dims.push(self.dims(call, value)?);
        }
        let open = |d: &Vec<Dim>| d.contains(&Dim::Batch);
        if dims.iter().any(open) && !dims.iter().all(open) {
            return self.concat_over_batch(call, &values, &dims, axis);
        }
        let mut nodes = Vec::with_capacity(count);
        for value in &values {
            nodes.push(self.plain_node(call, value)?);
        }
        match nodes[..] {
            [one] => Ok(Value::Node(one)),
            _ => self.add(call, Op::Concat { axis }, &nodes).map(Value::Node),
        }
    }

    fn concat_known(&mut self, call: &Call, values: &[Value], axis: usize) -> Result<Value> {
        let dims: Vec<Vec<usize>> = values.iter().filter_map(|v| self.known_dims(v)).collect();
        let mut to = dims[0].clone();
        let mut total = 0usize;
        for d in &dims {
            let fits = d.len() == to.len() && (0..d.len()).all(|i| i == axis || d[i] == to[i]);
            total = match total.checked_add(if fits { d[axis] } else { 0 }) {
                Some(total) if fits => total,
                _ => return call.fail(format!("{d:?} and {to:?} do not join along axis {axis}")),
            };
        }
        to[axis] = total;
        self.charge(call, array::elements(&to))?;
        let ints: Option<Vec<Ints>> = values.iter().map(as_ints).collect();
        if let Some(ints) = ints {
            let parts: Vec<(&[usize], &[Int])> = ints
                .iter()
                .map(|v| (v.dims.as_slice(), v.values.as_slice()))
                .collect();
            let values = array::concat(&parts, axis);
            return Ok(Value::Ints(Ints {
                kind: ints[0].kind,
                dims: to,
                values,
            }));
        }
        let floats = |v: &Value| match v {
            Value::Constant(c) if c.tensor.as_f32().is_some() => Some(c.tensor.clone()),
            _ => None,
        };
        let Some(tensors) = values.iter().map(floats).collect::<Option<Vec<Tensor>>>() else {
            return call.fail("joins constants of different types");
        };
        let parts: Vec<(&[usize], &[f32])> = tensors
            .iter()
            .map(|t| (t.shape(), t.as_f32().unwrap_or_default()))
            .collect();
        let joined = array::concat(&parts, axis);
        self.floats(call, &to, joined)
    }

    /// What is alike for all images joined to what is not, as class tokens are: every part is padded
    /// with zeros to the joint size, and all of them added up.
    fn concat_over_batch(
        &mut self,
        call: &Call,
        values: &[Value],
        dims: &[Vec<Dim>],
        axis: usize,
    ) -> Result<Value> {
        let lengths: Option<Vec<usize>> = dims
            .iter()
            .map(|d| d.get(axis).and_then(|d| d.fixed()))
            .collect();
        let total = lengths
            .iter()
            .flatten()
            .try_fold(0usize, |a, &b| a.checked_add(b));
        let (Some(lengths), Some(total)) = (lengths, total) else {
            return call.fail("joins along the open batch; export the model with a fixed batch");
        };
        let mut sum = None;
        let mut at = 0;
        // Neighbours that hold the batch are joined before they are padded.
        let mut run: Vec<NodeId> = Vec::new();
        let mut begin = 0;
        for (i, value) in values.iter().enumerate() {
            let x = self.plain_node(call, value)?;
            if dims[i].contains(&Dim::Batch) {
                if run.is_empty() {
                    begin = at;
                }
                run.push(x);
            } else {
                sum = Some(self.placed(call, sum, x, axis, at, total)?);
            }
            at += lengths[i];
            let ends = dims.get(i + 1).is_none_or(|d| !d.contains(&Dim::Batch));
            if ends && !run.is_empty() {
                let joined = match run[..] {
                    [one] => one,
                    _ => self.add(call, Op::Concat { axis }, &run)?,
                };
                run.clear();
                sum = Some(self.placed(call, sum, joined, axis, begin, total)?);
            }
        }
        match sum {
            Some(sum) => Ok(Value::Node(sum)),
            None => call.fail("has no inputs"),
        }
    }

    /// Adds x, padded to `total` along `axis` with its first element at `at`, to `sum`.
    fn placed(
        &mut self,
        call: &Call,
        sum: Option<NodeId>,
        x: NodeId,
        axis: usize,
        at: usize,
        total: usize,
    ) -> Result<NodeId> {
        let shape = self.shape(x).clone();
        let after = shape
            .dims()
            .get(axis)
            .and_then(|d| d.fixed())
            .and_then(|n| total.checked_sub(at + n));
        let Some(after) = after else {
            return call.fail("joins parts that do not fit");
        };
        let padded = match self.graph.constant(x).and_then(|t| t.as_f32()) {
            // A constant is padded here and now.
            Some(v) => {
                let mut dims: Vec<usize> = shape.sizes().unwrap_or_default();
                let own = (dims.clone(), v.to_vec());
                dims[axis] = total;
                self.charge(call, array::elements(&dims))?;
                let zeros = |n: usize| {
                    let mut dims = dims.clone();
                    dims[axis] = n;
                    (dims.clone(), vec![0.0; dims.iter().product()])
                };
                let pieces = [zeros(at), own, zeros(after)];
                let parts: Vec<(&[usize], &[f32])> = pieces
                    .iter()
                    .map(|(d, v)| (d.as_slice(), v.as_slice()))
                    .collect();
                let v = array::concat(&parts, axis);
                let placed = Tensor::new(&dims, v).map_err(|e| call.error(e.to_string()))?;
                let name = format!("{}.placed", call.output());
                let placed = self.constant(&name, Role::Constant, placed);
                self.plain_node(call, &placed)?
            }
            None => {
                let mut pads = vec![(0, 0); shape.rank()];
                pads[axis] = (at, after);
                self.add(call, Op::Pad { pads, value: 0.0 }, &[x])?
            }
        };
        match sum {
            None => Ok(padded),
            Some(sum) => self.add(call, Op::Binary(Binary::Add), &[sum, padded]),
        }
    }

    pub(super) fn pad(&mut self, call: &Call) -> Result<Value> {
        let mode = call.string("mode", "constant");
        if mode != "constant" {
            return call.fail(format!("mode {mode} is not supported, constant is"));
        }
        let x = self.node(call, 0)?;
        let rank = self.shape(x).rank();
        let Some(listed) = self.plain_ints(call, 1)? else {
            return call.fail("has no pads");
        };
        let axes = match self.plain_ints(call, 3)? {
            Some(axes) => axes,
            None => (0..rank as i64).collect(),
        };
        if listed.len() != 2 * axes.len() {
            return call.fail(format!("has {} pads for {} axes", listed.len(), axes.len()));
        }
        let mut pads = vec![(0, 0); rank];
        for (i, &axis) in axes.iter().enumerate() {
            let size = |n: i64| match usize::try_from(n) {
                Ok(n) => Ok(n),
                Err(_) => call.fail(format!("pads by {n}, which is not supported")),
            };
            pads[call.axis(axis, rank)?] = (size(listed[i])?, size(listed[axes.len() + i])?);
        }
        if pads.iter().all(|&p| p == (0, 0)) {
            return Ok(Value::Node(x));
        }
        let value = self.number(call, 2)?.unwrap_or(0.0);
        self.add(call, Op::Pad { pads, value }, &[x])
            .map(Value::Node)
    }
}
