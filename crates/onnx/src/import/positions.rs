//! Strided views of a whole batch, which PyTorch's newer exporter selects by positions that count
//! through all images.

use slicewise_graph::{Binary, Dim};

use super::arithmetic::int_function;
use super::call::Call;
use super::value::{Int, IntKind, Ints, Merged, Positions, Value};
use super::{Importer, Result, array};

impl Positions {
    /// The axes, the batch among them.
    pub(super) fn dims(&self) -> Vec<Dim> {
        let mut dims: Vec<Dim> = self.offsets.dims.iter().map(|&n| Dim::Fixed(n)).collect();
        if let Some(d) = dims.get_mut(self.axis) {
            *d = Dim::Batch;
        }
        dims
    }
}

impl Importer<'_> {
    /// The numbers of all images, if that is what Range asks for: 0 to the open batch.
    pub(super) fn images(&self, call: &Call) -> Result<Option<Positions>> {
        let mut bounds = Vec::with_capacity(3);
        for i in 0..3 {
            match self.optional(call, i).as_ref().and_then(super::as_ints) {
                Some(ints) if ints.values.len() == 1 => bounds.push(ints.values[0]),
                _ => return Ok(None),
            }
        }
        let batch = Int {
            value: 1,
            batch: true,
        };
        let all = bounds == [Int::known(0), batch, Int::known(1)];
        Ok(all.then(|| Positions {
            stride: 1,
            offsets: Ints::vector(vec![Int::known(0)]),
            axis: 0,
        }))
    }

    /// Positions under another shape: axes of size 1 come and go.
    pub(super) fn positions_with_shape(
        &self,
        call: &Call,
        p: &Positions,
        to: &[Dim],
    ) -> Result<Positions> {
        let dims: Vec<usize> = to.iter().map(|d| d.fixed().unwrap_or(1)).collect();
        let plain = p.offsets.values.len() == 1 && array::elements(&dims) == Some(1);
        match to.iter().position(|d| *d == Dim::Batch) {
            Some(axis) if plain => {
                let offsets = Ints {
                    dims,
                    ..p.offsets.clone()
                };
                Ok(Positions {
                    stride: p.stride,
                    offsets,
                    axis,
                })
            }
            _ => call.fail("reshapes positions that count through all images"),
        }
    }

    /// Positions times a number, or plus numbers that are the same for all images.
    pub(super) fn positions_with(
        &mut self,
        call: &Call,
        f: Binary,
        p: &Positions,
        other: &Value,
    ) -> Result<Positions> {
        match (f, super::as_ints(other)) {
            (Binary::Mul, Some(factor)) => self.positions_times(call, p, &factor),
            (Binary::Add, Some(offsets)) => self.positions_plus(call, p, &offsets),
            _ => call.fail("computes with positions that count through all images"),
        }
    }

    fn positions_times(&self, call: &Call, p: &Positions, factor: &Ints) -> Result<Positions> {
        let mut p = p.clone();
        let factor = match factor.values[..] {
            [factor] if factor.plain().is_some() => factor,
            _ => return call.fail("multiplies positions by more than one number"),
        };
        let overflows = || call.error("counts further than 64 bits do");
        p.stride = p.stride.checked_mul(factor.value).ok_or_else(overflows)?;
        for v in &mut p.offsets.values {
            *v = int_function("Mul", *v, factor).ok_or_else(overflows)?;
        }
        Ok(p)
    }

    fn positions_plus(&mut self, call: &Call, p: &Positions, other: &Ints) -> Result<Positions> {
        let Some(dims) = array::broadcast(&p.offsets.dims, &other.dims) else {
            return call.fail("adds positions that do not fit");
        };
        // The images stay where they are, and nothing else is along their axis.
        let axis = p.axis + dims.len() - p.offsets.dims.len();
        if dims.get(axis) != Some(&1) {
            return call.fail("adds positions along the open batch");
        }
        self.charge(call, array::elements(&dims))?;
        let a = array::expand(&p.offsets.dims, &p.offsets.values, &dims);
        let b = array::expand(&other.dims, &other.values, &dims);
        let sums = a.iter().zip(&b).map(|(&a, &b)| int_function("Add", a, b));
        let Some(values) = sums.collect() else {
            return call.fail("counts further than 64 bits do");
        };
        let offsets = Ints {
            kind: IntKind::I64,
            dims,
            values,
        };
        Ok(Positions {
            stride: p.stride,
            offsets,
            axis,
        })
    }

    /// All elements of a batch selected image by image: a reshape, if they stay in their order.
    pub(super) fn strided_view(&mut self, call: &Call, m: Merged, p: &Positions) -> Result<Value> {
        let shape = self.shape(m.of);
        let per_image = shape.elements();
        let all = m.leading == shape.rank() && call.int("axis", 0) == 0;
        let offsets = p.offsets.plain();
        let in_order = offsets.is_some_and(|v| v.iter().copied().eq(0..v.len() as i64));
        let whole = per_image == Some(p.offsets.values.len());
        if !(all && in_order && whole && usize::try_from(p.stride).ok() == per_image) {
            return call.fail("selects from a whole batch in an order that is not supported");
        }
        self.reshape_node(call, m.of, &p.dims()).map(Value::Node)
    }
}
