//! The same elements under another shape.

use slicewise_graph::{Dim, NodeId, Op, ReshapeDim};

use super::call::Call;
use super::evaluate::{fixed, moves};
use super::value::{Int, Merged, Stretched, Value};
use super::{Importer, Result, array};

impl Importer<'_> {
    pub(super) fn reshape(&mut self, call: &Call) -> Result<Value> {
        let value = self.required(call, 0)?;
        if call.op == "Reshape" {
            if let Some(merged) = self.merge(call, &value)? {
                return Ok(Value::Merged(merged));
            }
            if let Value::Merged(m) = value {
                let to = self.target(call, self.shape(m.of).dims(), Some(m.leading))?;
                return self.reshape_node(call, m.of, &to).map(Value::Node);
            }
        }
        let from = self.dims(call, &value)?;
        let to = match call.op {
            "Reshape" => self.target(call, &from, None)?,
            "Flatten" => flatten(call, &from)?,
            "Squeeze" => self.squeeze(call, &from)?,
            _ => self.unsqueeze(call, &from)?,
        };
        self.with_shape(call, &value, &to)
    }

    /// The view of a node that Reshape asks for, if it merges the open batch with the axes after it.
    fn merge(&self, call: &Call, value: &Value) -> Result<Option<Merged>> {
        let (Value::Node(of), Some(shape)) = (value, self.ints(call, 1)?) else {
            return Ok(None);
        };
        let dims = self.shape(*of).dims();
        let Some((first, kept)) = shape.values.split_first() else {
            return Ok(None);
        };
        let kept: Vec<Int> = kept.to_vec();
        let leading = dims.len().saturating_sub(kept.len());
        let own: Vec<Int> = dims.iter().skip(leading).map(|&d| Int::from(d)).collect();
        if leading < 2 || dims[0] != Dim::Batch || own != kept {
            return Ok(None);
        }
        let factor: usize = dims[..leading].iter().filter_map(|d| d.fixed()).product();
        let inferred = *first == Int::known(-1);
        let said = first.batch && first.value == factor as i64;
        let merges = factor > 1 && (inferred || said);
        Ok(merges.then_some(Merged { of: *of, leading }))
    }

    /// The sizes of a value.
    pub(super) fn dims(&self, call: &Call, value: &Value) -> Result<Vec<Dim>> {
        Ok(match value {
            Value::Node(id) => self.shape(*id).dims().to_vec(),
            Value::Stretched(s) => s.to.dims().to_vec(),
            Value::Positions(p) => p.dims(),
            Value::Merged(_) => {
                return call.fail(
                    "takes a view that merges the open batch with other axes; export the model with \
                     a fixed batch",
                );
            }
            Value::Erf(_) => {
                return call.fail("takes an error function, which is read in GELU only");
            }
            Value::Constant(_) | Value::Ints(_) => {
                let dims = self.known_dims(value).unwrap_or_default();
                dims.into_iter().map(Dim::Fixed).collect()
            }
        })
    }

    /// A value under another shape.
    pub(super) fn with_shape(&mut self, call: &Call, value: &Value, to: &[Dim]) -> Result<Value> {
        match value {
            Value::Node(_) | Value::Stretched(_) => {
                let x = self.plain_node(call, value)?;
                self.reshape_node(call, x, to).map(Value::Node)
            }
            Value::Positions(p) => {
                let positions = self.positions_with_shape(call, p, to);
                positions.map(Value::Positions)
            }
            _ => match fixed(to) {
                Some(dims) if self.known_dims(value).is_some() => self.reshaped(call, value, &dims),
                _ => call.fail("reshapes a constant to the open batch"),
            },
        }
    }

    /// Adds a reshape of a node to given axes, unless it has them.
    pub(super) fn reshape_node(&mut self, call: &Call, x: NodeId, to: &[Dim]) -> Result<NodeId> {
        let from = self.shape(x).dims();
        if from == to {
            return Ok(x);
        }
        let dims = to.iter().enumerate().map(|(i, d)| match d {
            Dim::Fixed(n) => ReshapeDim::Fixed(*n),
            Dim::Batch if from.get(i) == Some(&Dim::Batch) => ReshapeDim::Copy,
            Dim::Batch => ReshapeDim::Infer,
        });
        let dims = dims.collect();
        self.add(call, Op::Reshape { dims }, &[x])
    }

    /// The axes that Reshape's second input asks for; `merged` first axes of `from` count as one.
    fn target(&self, call: &Call, from: &[Dim], merged: Option<usize>) -> Result<Vec<Dim>> {
        let Some(shape) = self.ints(call, 1)? else {
            return call.fail("has no shape");
        };
        let keep_zero = call.flag("allowzero", false);
        let copied = |i: usize| match merged {
            None => from.get(i).copied(),
            Some(leading) => from
                .get((i + leading).checked_sub(1)?)
                .copied()
                .filter(|_| i > 0),
        };
        let mut open = None;
        let mut to = Vec::with_capacity(shape.values.len());
        for (i, v) in shape.values.iter().enumerate() {
            to.push(match *v {
                Int { value: 1, batch: true } if !from.contains(&Dim::Batch) => Dim::Fixed(1),
                Int { value: 1, batch: true } => Dim::Batch,
                Int { batch: true, value } => {
                    return call.fail(format!(
                        "merges the open batch with {value} other elements; export the model with a \
                         fixed batch"
                    ));
                }
                Int { value: 0, .. } if !keep_zero => match copied(i) {
                    Some(d) => d,
                    None => return call.fail(format!("copies axis {i}, which its input lacks")),
                },
                Int { value: -1, .. } if open.is_none() => {
                    open = Some(i);
                    Dim::Fixed(1)
                }
                Int { value, .. } => match usize::try_from(value) {
                    Ok(n) if n > 0 => Dim::Fixed(n),
                    _ => return call.fail(format!("asks for size {value} on axis {i}")),
                },
            });
        }
        if let Some(open) = open {
            to[open] = rest(call, from, &to)?;
        }
        Ok(to)
    }

    fn squeeze(&self, call: &Call, from: &[Dim]) -> Result<Vec<Dim>> {
        let axes = match (call.ints("axes"), self.plain_ints(call, 1)?) {
            (Some(axes), _) => call.axes(axes, from.len())?,
            (None, Some(axes)) => call.axes(&axes, from.len())?,
            (None, None) => (0..from.len())
                .filter(|&i| from[i] == Dim::Fixed(1))
                .collect(),
        };
        if let Some(&axis) = axes.iter().find(|&&a| from[a] != Dim::Fixed(1)) {
            return call.fail(format!("axis {axis} has size {}, not 1", from[axis]));
        }
        let kept = from.iter().enumerate().filter(|(i, _)| !axes.contains(i));
        Ok(kept.map(|(_, &d)| d).collect())
    }

    fn unsqueeze(&self, call: &Call, from: &[Dim]) -> Result<Vec<Dim>> {
        let axes = match (call.ints("axes"), self.plain_ints(call, 1)?) {
            (Some(axes), _) => axes.to_vec(),
            (None, Some(axes)) => axes,
            (None, None) => return call.fail("has no axes"),
        };
        if axes.len() > 8 {
            return call.fail(format!("adds {} axes", axes.len()));
        }
        let rank = from.len() + axes.len();
        let added = call.axes(&axes, rank)?;
        if added.len() != axes.len() {
            return call.fail(format!("names an axis twice: {axes:?}"));
        }
        let mut own = from.iter();
        let dim = |i| {
            if added.contains(&i) {
                Some(Dim::Fixed(1))
            } else {
                own.next().copied()
            }
        };
        Ok((0..rank).map_while(dim).collect())
    }

    pub(super) fn transpose(&mut self, call: &Call) -> Result<Value> {
        let value = self.required(call, 0)?;
        if let Value::Merged(m) = value {
            return self.transpose_merged(call, m);
        }
        let rank = self.dims(call, &value)?.len();
        let perm = match call.ints("perm") {
            None => (0..rank).rev().collect(),
            Some(_) => call.sizes("perm", rank, 0)?,
        };
        let mut sorted = perm.clone();
        sorted.sort_unstable();
        if !sorted.iter().copied().eq(0..rank) {
            return call.fail(format!("{perm:?} is not a permutation of {rank} axes"));
        }
        if sorted == perm {
            return Ok(value);
        }
        let Some(dims) = self.known_dims(&value) else {
            return self.unary(call, Op::Transpose { perm });
        };
        let to: Vec<usize> = perm.iter().map(|&p| dims[p]).collect();
        self.moved(call, &value, &to, &Permute { dims, perm })
    }

    /// The axes behind the merged ones reordered.
    fn transpose_merged(&mut self, call: &Call, m: Merged) -> Result<Value> {
        let rank = self.shape(m.of).rank() - m.leading + 1;
        let perm = call.sizes("perm", rank, 0)?;
        let [0, kept @ ..] = perm.as_slice() else {
            return call.fail(
                "moves a batch that is merged with other axes; export the model with a fixed batch",
            );
        };
        let behind = kept.iter().map(|&p| p + m.leading - 1);
        let perm = (0..m.leading).chain(behind).collect();
        let of = self.add(call, Op::Transpose { perm }, &[m.of])?;
        Ok(Value::Merged(Merged { of, ..m }))
    }

    /// Stretches a value: a constant at once.
    pub(super) fn expand(&mut self, call: &Call) -> Result<Value> {
        let value = self.required(call, 0)?;
        let from = self.dims(call, &value)?;
        let Some(shape) = self.ints(call, 1)? else {
            return call.fail("has no shape");
        };
        let mut asked = Vec::with_capacity(shape.values.len());
        for v in &shape.values {
            asked.push(match (v.batch, v.value) {
                (true, 1) if !from.contains(&Dim::Batch) => Dim::Fixed(1),
                (true, 1) => Dim::Batch,
                (false, n) if n > 0 => Dim::Fixed(n as usize),
                (_, n) => return call.fail(format!("asks for size {n}")),
            });
        }
        let asked = asked.into_iter().collect();
        let Some(to) = from
            .iter()
            .copied()
            .collect::<slicewise_graph::Shape>()
            .broadcast(&asked)
        else {
            return call.fail("its input does not stretch to that shape");
        };
        if to.dims() == from {
            return Ok(value);
        }
        let value = match value {
            Value::Stretched(_) => Value::Node(self.plain_node(call, &value)?),
            other => other,
        };
        match (&value, fixed(to.dims())) {
            (Value::Constant(_) | Value::Ints(_), Some(to)) => {
                let dims = self.known_dims(&value).unwrap_or_default();
                self.moved(
                    call,
                    &value,
                    &to,
                    &Stretch {
                        dims,
                        to: to.clone(),
                    },
                )
            }
            (Value::Node(of), _) => Ok(Value::Stretched(Stretched { of: *of, to })),
            _ => call.fail("stretches a value that is not a plain tensor"),
        }
    }
}

fn flatten(call: &Call, from: &[Dim]) -> Result<Vec<Dim>> {
    let axis = call.int("axis", 1);
    let axis = if axis == from.len() as i64 {
        from.len()
    } else {
        call.axis(axis, from.len())?
    };
    let product = |dims: &[Dim]| -> Option<Dim> {
        let n = array::elements(
            &dims
                .iter()
                .map(|d| d.fixed().unwrap_or(1))
                .collect::<Vec<_>>(),
        )?;
        match dims.iter().filter(|d| **d == Dim::Batch).count() {
            0 => Some(Dim::Fixed(n)),
            1 if n == 1 => Some(Dim::Batch),
            _ => None,
        }
    };
    match (product(&from[..axis]), product(&from[axis..])) {
        (Some(a), Some(b)) => Ok(vec![a, b]),
        _ => {
            call.fail("merges the open batch with other axes; export the model with a fixed batch")
        }
    }
}

/// The size left for the one axis that is inferred, while `to` has 1 in its place.
fn rest(call: &Call, from: &[Dim], to: &[Dim]) -> Result<Dim> {
    let count = |dims: &[Dim]| {
        let known: Vec<usize> = dims.iter().map(|d| d.fixed().unwrap_or(1)).collect();
        let batches = dims.iter().filter(|d| **d == Dim::Batch).count();
        (array::elements(&known), batches)
    };
    match (count(from), count(to)) {
        ((Some(have), b), (Some(known), open)) if known > 0 && have % known == 0 && b == open => {
            Ok(Dim::Fixed(have / known))
        }
        ((Some(have), 1), (Some(known), 0)) if have == known => Ok(Dim::Batch),
        _ => call.fail(format!(
            "the elements of {} do not fill {}; with an open batch, export the model with a fixed one",
            from.iter().copied().collect::<slicewise_graph::Shape>(),
            to.iter().copied().collect::<slicewise_graph::Shape>(),
        )),
    }
}

struct Permute {
    dims: Vec<usize>,
    perm: Vec<usize>,
}

impl Permute {
    fn apply<T: Copy>(&self, v: &[T]) -> Vec<T> {
        array::permute(&self.dims, v, &self.perm).1
    }
}
moves!(Permute);

struct Stretch {
    dims: Vec<usize>,
    to: Vec<usize>,
}

impl Stretch {
    fn apply<T: Copy>(&self, v: &[T]) -> Vec<T> {
        array::expand(&self.dims, v, &self.to)
    }
}
moves!(Stretch);
