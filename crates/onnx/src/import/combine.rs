//! Values joined and padded.

use slicewise_graph::{Binary, NodeId, Op, Role, Tensor};

use super::call::Call;
use super::value::{Expanded, Int, Ints, Value};
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
        if values.iter().any(|v| matches!(v, Value::Expanded(_))) {
            return self.concat_expanded(call, &values, axis);
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

    /// Constants stretched over the open batch and joined to nodes, as class tokens are: the nodes are
    /// padded with zeros to the joint size, and the constants added in their places.
    fn concat_expanded(&mut self, call: &Call, values: &[Value], axis: usize) -> Result<Value> {
        let mut nodes: Vec<NodeId> = Vec::new();
        let mut ended = false;
        let (mut before, mut after) = (0, 0);
        // What fills each place along the axis, with its length.
        let mut row: Vec<(Option<Expanded>, usize)> = Vec::new();
        for value in values {
            let length = self.dims(call, value)?.get(axis).and_then(|d| d.fixed());
            let Some(length) = length else {
                return call
                    .fail("joins along the open batch; export the model with a fixed batch");
            };
            if let Value::Expanded(e) = value {
                ended = !nodes.is_empty();
                *(if ended { &mut after } else { &mut before }) += length;
                row.push((Some(e.clone()), length));
            } else {
                if ended {
                    return call
                        .fail("joins stretched constants between nodes, which is not supported");
                }
                nodes.push(self.plain_node(call, value)?);
                row.push((None, length));
            }
        }
        let x = match nodes[..] {
            [] => return call.fail("joins only what is stretched over the open batch; export the model with a fixed batch"),
            [one] => one,
            _ => self.add(call, Op::Concat { axis }, &nodes)?,
        };
        let shape = self.shape(x).clone();
        let mut dims: Vec<usize> = shape
            .dims()
            .iter()
            .map(|d| d.fixed().unwrap_or(1))
            .collect();
        let mut pieces = Vec::with_capacity(row.len());
        for (expanded, length) in row {
            dims[axis] = length;
            self.charge(call, array::elements(&dims))?;
            pieces.push(match expanded {
                None => (dims.clone(), vec![0.0; dims.iter().product()]),
                Some(e) => {
                    let fits = e.dims.len() == shape.rank()
                        && (0..shape.rank()).all(|i| i == axis || e.dims[i] == shape[i]);
                    match e.inner.tensor.as_f32() {
                        Some(v) if fits && e.inner.tensor.shape().len() <= dims.len() => (
                            dims.clone(),
                            array::expand(e.inner.tensor.shape(), v, &dims),
                        ),
                        _ => {
                            return call.fail(format!("'{}' does not join the rest", e.inner.name));
                        }
                    }
                }
            });
        }
        let parts: Vec<(&[usize], &[f32])> = pieces
            .iter()
            .map(|(d, v)| (d.as_slice(), v.as_slice()))
            .collect();
        let filled = array::concat(&parts, axis);
        dims[axis] = pieces.iter().map(|p| p.0[axis]).sum();
        let mut pads = vec![(0, 0); shape.rank()];
        pads[axis] = (before, after);
        let padded = self.add(call, Op::Pad { pads, value: 0.0 }, &[x])?;
        let filled = Tensor::new(&dims, filled).map_err(|e| call.error(e.to_string()))?;
        let name = format!("{}.constants", call.output());
        let filled = self.constant(&name, Role::Constant, filled);
        let filled = self.plain_node(call, &filled)?;
        self.add(call, Op::Binary(Binary::Add), &[padded, filled])
            .map(Value::Node)
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
