//! Parts of a value: Slice, Split and Gather.

use slicewise_graph::{Dim, NodeId, Op, Slice};

use super::call::Call;
use super::evaluate::moves;
use super::value::Value;
use super::{Importer, Result, array};

impl Importer<'_> {
    pub(super) fn slice(&mut self, call: &Call) -> Result<Value> {
        let mut value = self.required(call, 0)?;
        let starts = self.plain_ints(call, 1)?;
        let ends = self.plain_ints(call, 2)?;
        let (Some(starts), Some(ends)) = (starts, ends) else {
            return call.fail("has no bounds");
        };
        let rank = self.dims(call, &value)?.len();
        let axes = match self.plain_ints(call, 3)? {
            Some(axes) => axes,
            None => (0..starts.len() as i64).collect(),
        };
        let steps = self
            .plain_ints(call, 4)?
            .unwrap_or_else(|| vec![1; starts.len()]);
        if starts.len() > rank || [ends.len(), axes.len(), steps.len()] != [starts.len(); 3] {
            return call.fail("has starts, ends, axes and steps that do not belong together");
        }
        for i in 0..starts.len() {
            let axis = call.axis(axes[i], rank)?;
            let dim = self.dims(call, &value)?[axis];
            let Some(size) = dim.fixed() else {
                if starts[i] == 0 && ends[i] >= i64::from(i32::MAX) && steps[i] == 1 {
                    continue;
                }
                return call
                    .fail("selects from the open batch; export the model with a fixed batch");
            };
            let positions = positions(starts[i], ends[i], steps[i], size);
            let Some(positions) = positions else {
                return call.fail("has a step of 0");
            };
            value = self.select(call, &value, axis, &positions)?;
        }
        Ok(value)
    }

    /// The elements at `positions` along `axis`.
    fn select(
        &mut self,
        call: &Call,
        value: &Value,
        axis: usize,
        positions: &Positions,
    ) -> Result<Value> {
        let dims = self.dims(call, value)?;
        if positions.count == 0 && dims.len() > 1 {
            return call.fail(format!("selects nothing from axis {axis}"));
        }
        if positions.start == 0 && positions.step == 1 && dims[axis] == Dim::Fixed(positions.count)
        {
            return Ok(value.clone());
        }
        if let Some(dims) = self.known_dims(value) {
            let mut to = dims.clone();
            to[axis] = positions.count;
            return self.moved(
                call,
                value,
                &to,
                &Select {
                    dims,
                    axis,
                    positions: positions.list(),
                },
            );
        }
        let x = self.plain_node(call, value)?;
        if positions.step < 1 {
            return call.fail("selects backwards, which is not supported");
        }
        let (start, step) = (positions.start, positions.step as usize);
        let end = start + (positions.count - 1) * step + 1;
        let slice = Slice {
            axis,
            start,
            end,
            step,
        };
        self.add(call, Op::Slice(slice), &[x]).map(Value::Node)
    }

    /// A value as a node, with this node's error if it is none.
    pub(super) fn plain_node(&mut self, call: &Call, value: &Value) -> Result<NodeId> {
        self.materialize(value)
            .map_err(|p| call.error(format!("its input {p}")))
    }

    pub(super) fn split(&mut self, call: &Call) -> Result<Vec<Value>> {
        let value = self.required(call, 0)?;
        let dims = self.dims(call, &value)?;
        let axis = call.axis(call.int("axis", 0), dims.len())?;
        let Some(size) = dims[axis].fixed() else {
            return call.fail("splits the open batch; export the model with a fixed batch");
        };
        let outputs = call.node.output.len();
        let listed = match call.ints("split") {
            Some(list) => Some(list.to_vec()),
            None => self.plain_ints(call, 1)?,
        };
        let lengths: Vec<usize> = match listed {
            Some(list) => list
                .iter()
                .map(|&n| usize::try_from(n).unwrap_or(usize::MAX))
                .collect(),
            None => {
                let each = size.div_ceil(outputs);
                let length = |i: usize| size.saturating_sub(i * each).min(each);
                (0..outputs).map(length).collect()
            }
        };
        let total = lengths.iter().try_fold(0usize, |a, &b| a.checked_add(b));
        if lengths.len() != outputs || total != Some(size) || lengths.contains(&0) {
            return call.fail(format!(
                "{lengths:?} does not split axis {axis} of size {size} into {outputs}"
            ));
        }
        let mut start = 0;
        let mut parts = Vec::with_capacity(outputs);
        for count in lengths {
            let positions = Positions {
                start,
                step: 1,
                count,
            };
            parts.push(self.select(call, &value, axis, &positions)?);
            start += count;
        }
        Ok(parts)
    }

    pub(super) fn gather(&mut self, call: &Call) -> Result<Value> {
        let value = self.required(call, 0)?;
        if let (Value::Merged(m), Some(Value::Positions(p))) = (&value, self.optional(call, 1)) {
            return self.strided_view(call, *m, &p);
        }
        let dims = self.dims(call, &value)?;
        let axis = call.axis(call.int("axis", 0), dims.len())?;
        let Some(indices) = self.ints(call, 1)? else {
            return call.fail("has no indices");
        };
        let (Some(plain), Some(size)) = (indices.plain(), dims[axis].fixed()) else {
            return call
                .fail("selects by or from the open batch; export the model with a fixed batch");
        };
        let mut positions = Vec::with_capacity(plain.len());
        for i in plain {
            positions.push(call.axis(i, size)?);
        }
        let mut to: Vec<Dim> = dims.clone();
        to.splice(axis..=axis, indices.dims.iter().map(|&n| Dim::Fixed(n)));
        if let Some(dims) = self.known_dims(&value) {
            let mut selected = dims.clone();
            selected[axis] = positions.len();
            let part = self.moved(
                call,
                &value,
                &selected,
                &Select {
                    dims,
                    axis,
                    positions,
                },
            )?;
            return self.with_shape(call, &part, &to);
        }
        let step = match positions[..] {
            [a, b, ..] => b as i64 - a as i64,
            _ => 1,
        };
        let regular = positions
            .windows(2)
            .all(|w| w[1] as i64 - w[0] as i64 == step);
        let (Some(&start), true) = (positions.first(), regular) else {
            return call.fail("selects irregular positions, which is not supported");
        };
        let positions = Positions {
            start,
            step,
            count: positions.len(),
        };
        let part = self.select(call, &value, axis, &positions)?;
        self.with_shape(call, &part, &to)
    }
}

/// A regular selection.
struct Positions {
    start: usize,
    step: i64,
    count: usize,
}

impl Positions {
    fn list(&self) -> Vec<usize> {
        let at = |i| (self.start as i64 + i as i64 * self.step) as usize;
        (0..self.count).map(at).collect()
    }
}

/// What Slice selects from an axis of `size`; `None` for a step of 0.
fn positions(start: i64, end: i64, step: i64, size: usize) -> Option<Positions> {
    let size = size as i64;
    let from_start = |i: i64| if i < 0 { i.saturating_add(size) } else { i };
    if step == 0 {
        return None;
    }
    if size == 0 {
        return Some(Positions {
            start: 0,
            step: 1,
            count: 0,
        });
    }
    let (start, count) = if step > 0 {
        let start = from_start(start).clamp(0, size);
        let end = from_start(end).clamp(0, size);
        (
            start,
            (end - start).max(0).div_euclid(step) + i64::from((end - start).max(0) % step != 0),
        )
    } else {
        let start = from_start(start).clamp(0, size - 1);
        let end = from_start(end).clamp(-1, size - 1);
        let back = step.saturating_neg();
        let span = (start - end).max(0);
        (start, span / back + i64::from(span % back != 0))
    };
    Some(Positions {
        start: usize::try_from(start).ok()?,
        step,
        count: usize::try_from(count).ok()?,
    })
}

struct Select {
    dims: Vec<usize>,
    axis: usize,
    positions: Vec<usize>,
}

impl Select {
    fn apply<T: Copy>(&self, v: &[T]) -> Vec<T> {
        array::select(&self.dims, v, self.axis, &self.positions)
    }
}
moves!(Select);

#[cfg(test)]
mod tests {
    use super::positions;

    #[test]
    fn slices_select_what_numpy_selects() {
        let (low, high) = (i64::MIN, i64::MAX);
        let cases: &[(i64, i64, i64, usize, &[usize])] = &[
            (0, high, 1, 4, &[0, 1, 2, 3]),
            (1, 3, 1, 4, &[1, 2]),
            (-2, high, 1, 4, &[2, 3]),
            (low, -1, 2, 4, &[0, 2]),
            (9, high, 1, 4, &[]),
            (3, 1, 1, 4, &[]),
            (-1, low, -1, 4, &[3, 2, 1, 0]),
            (high, 0, -2, 4, &[3, 1]),
            (0, high, high, 4, &[0]),
            (3, low, low, 4, &[3]),
            (0, high, 1, 0, &[]),
            (-1, low, -1, 0, &[]),
        ];
        for &(start, end, step, size, want) in cases {
            let got = positions(start, end, step, size).unwrap().list();
            assert_eq!(got, want, "{start}:{end}:{step} of {size}");
        }
        assert!(positions(0, 4, 0, 4).is_none());
    }
}
