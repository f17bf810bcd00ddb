//! What follows from shapes and constants alone, worked out while a file is read.

use slicewise_graph::{Dim, Role, Tensor, TensorData};

use super::arithmetic::{float_comparison, float_function, int_function};
use super::call::Call;
use super::value::{Int, IntKind, Ints, Value};
use super::{Importer, Result, array, as_ints};
use crate::proto::tensor_proto::DataType;

/// A constant for arithmetic.
enum Known {
    Floats(Vec<usize>, Vec<f32>),
    Ints(Ints),
}

impl Importer<'_> {
    /// The value of a node that takes only what is known; `None` if it takes more, or is no operator
    /// of this kind.
    pub(super) fn evaluate(&mut self, call: &Call) -> Result<Option<Value>> {
        match call.op {
            "Shape" => return self.shape_of(call).map(Some),
            "ConstantOfShape" => return self.constant_of_shape(call).map(Some),
            "Range" => return self.range(call).map(Some),
            _ => {}
        }
        let known = |name: &String| {
            name.is_empty()
                || self
                    .values
                    .get(name)
                    .is_some_and(|v| self.known_dims(v).is_some())
        };
        if !call.node.input.iter().all(known) {
            return Ok(None);
        }
        match call.op {
            "Add" | "Sub" | "Mul" | "Div" | "Pow" | "Equal" | "Less" | "Greater" | "And" | "Or"
            | "Mod" => self.two(call),
            "Where" => self.choose(call),
            "Not" | "Neg" | "Abs" | "Floor" | "Ceil" | "Round" | "Sin" | "Cos" | "Exp" | "Log"
            | "Sqrt" | "Reciprocal" => self.one(call),
            "Cast" => self.cast_known(call),
            "CumSum" => self.running_sum(call),
            "ReduceProd" => self.product(call),
            _ => Ok(None),
        }
    }

    /// Input `i` for arithmetic, if it is known.
    fn known(&mut self, call: &Call, i: usize) -> Result<Option<Known>> {
        let Some(value) = self.optional(call, i) else {
            return Ok(None);
        };
        let known = match (&value, as_ints(&value)) {
            (_, Some(ints)) => Known::Ints(ints),
            (Value::Constant(c), None) => match c.tensor.as_f32() {
                Some(v) => {
                    self.charge(call, Some(v.len()))?;
                    Known::Floats(c.tensor.shape().to_vec(), v.to_vec())
                }
                None => return Ok(None),
            },
            _ => return Ok(None),
        };
        Ok(Some(known))
    }

    /// A new constant of f32.
    pub(super) fn floats(&mut self, call: &Call, dims: &[usize], v: Vec<f32>) -> Result<Value> {
        let tensor = Tensor::new(dims, v).map_err(|e| call.error(e.to_string()))?;
        Ok(self.constant(call.output(), self.role(call), tensor))
    }

    /// What a constant made of this node's inputs is to training.
    fn role(&self, call: &Call) -> Role {
        let trainable = |i| matches!(self.optional(call, i), Some(Value::Constant(c)) if c.role == Role::Trainable);
        if (0..call.node.input.len().min(4)).any(trainable) {
            Role::Trainable
        } else {
            Role::Constant
        }
    }

    fn shape_of(&mut self, call: &Call) -> Result<Value> {
        let dims: Vec<Int> = match self.required(call, 0)? {
            Value::Node(id) => self
                .shape(id)
                .dims()
                .iter()
                .map(|&d| Int::from(d))
                .collect(),
            Value::Constant(c) => c
                .tensor
                .shape()
                .iter()
                .map(|&n| Int::known(n as i64))
                .collect(),
            Value::Ints(ints) => ints.dims.iter().map(|&n| Int::known(n as i64)).collect(),
            Value::Stretched(s) => s.to.dims().iter().map(|&d| Int::from(d)).collect(),
            Value::Erf(e) => self
                .shape(e.of)
                .dims()
                .iter()
                .map(|&d| Int::from(d))
                .collect(),
            value @ Value::Positions(_) => {
                let dims = self.dims(call, &value)?;
                dims.into_iter().map(Int::from).collect()
            }
            Value::Merged(m) => {
                let (merged, kept) = self.shape(m.of).dims().split_at(m.leading);
                let factor: usize = merged.iter().filter_map(|d| d.fixed()).product();
                let first = Int {
                    value: factor as i64,
                    batch: true,
                };
                std::iter::once(first)
                    .chain(kept.iter().map(|&d| Int::from(d)))
                    .collect()
            }
        };
        let bound = |name: &str, default: usize| match call.attribute(name).and_then(|a| a.i) {
            None => default,
            Some(i) if i < 0 => i.saturating_add(dims.len() as i64).max(0) as usize,
            Some(i) => (i as usize).min(dims.len()),
        };
        let (start, end) = (bound("start", 0), bound("end", dims.len()));
        Ok(Value::Ints(Ints::vector(
            dims[start..end.max(start)].to_vec(),
        )))
    }

    /// Along the open batch all elements are alike, so the constant has one there and is stretched
    /// by whatever takes it.
    fn constant_of_shape(&mut self, call: &Call) -> Result<Value> {
        let Some(shape) = self.ints(call, 0)? else {
            return call.fail("has no shape");
        };
        let mut dims = Vec::with_capacity(shape.values.len());
        for v in &shape.values {
            match usize::try_from(v.value) {
                Ok(_) if v.batch => dims.push(1),
                Ok(n) => dims.push(n),
                Err(_) => return call.fail(format!("size {} is negative", v.value)),
            }
        }
        let elements = array::elements(&dims);
        self.charge(call, elements)?;
        let elements = elements.unwrap_or(0);
        if elements == 0 && dims.len() > 1 {
            return call.fail(format!("has an empty axis: {dims:?}"));
        }
        let Some(t) = call.attribute("value").and_then(|a| a.t.as_ref()) else {
            return self.floats(call, &dims, vec![0.0; elements]);
        };
        let decoded = super::tensor::decode(t, &mut Default::default());
        let decoded = decoded.map_err(|p| call.error(format!("its value {p}")))?;
        let value = self.decoded("value", decoded, false);
        match (super::scalar(&value), as_ints(&value)) {
            (Some(x), _) => self.floats(call, &dims, vec![x; elements]),
            (None, Some(ints)) if ints.values.len() == 1 => Ok(Value::Ints(Ints {
                kind: ints.kind,
                dims,
                values: vec![ints.values[0]; elements],
            })),
            _ => call.fail("its value must be one number"),
        }
    }

    fn range(&mut self, call: &Call) -> Result<Value> {
        if let Some(positions) = self.images(call)? {
            return Ok(Value::Positions(positions));
        }
        let known = [
            self.known(call, 0)?,
            self.known(call, 1)?,
            self.known(call, 2)?,
        ];
        let number = |k: &Option<Known>| match k {
            Some(Known::Floats(_, v)) if v.len() == 1 => Some(f64::from(v[0])),
            Some(Known::Ints(v)) if v.values.len() == 1 => v.values[0].plain().map(|n| n as f64),
            _ => None,
        };
        let (Some(start), Some(limit), Some(delta)) =
            (number(&known[0]), number(&known[1]), number(&known[2]))
        else {
            return call.fail("its bounds must be known numbers without the open batch");
        };
        let count = ((limit - start) / delta).ceil();
        if !count.is_finite() || count > f64::from(u32::MAX) {
            return call.fail(format!("{start} to {limit} by {delta} is no range"));
        }
        let count = count.max(0.0) as usize;
        self.charge(call, Some(count))?;
        let at = |i: usize| start + i as f64 * delta;
        if matches!(known[0], Some(Known::Floats(..))) {
            return self.floats(call, &[count], (0..count).map(|i| at(i) as f32).collect());
        }
        let values = (0..count).map(|i| Int::known(at(i) as i64)).collect();
        Ok(Value::Ints(Ints::vector(values)))
    }

    /// Arithmetic and comparisons of two known values.
    fn two(&mut self, call: &Call) -> Result<Option<Value>> {
        // Two weights are left to the graph: their product would be a third one.
        match (self.known(call, 0)?, self.known(call, 1)?) {
            (Some(Known::Floats(da, a)), Some(Known::Floats(db, b))) => {
                let (dims, a, b) = self.stretch(call, (&da, &a), (&db, &b))?;
                let Some(f) = float_function(call.op) else {
                    let Some(f) = float_comparison(call.op) else {
                        return Ok(None);
                    };
                    let values = a
                        .iter()
                        .zip(&b)
                        .map(|(&a, &b)| Int::known(i64::from(f(a, b))));
                    let values = values.collect();
                    return Ok(Some(Value::Ints(Ints {
                        kind: IntKind::Bool,
                        dims,
                        values,
                    })));
                };
                let v = a.iter().zip(&b).map(|(&a, &b)| f(a, b)).collect();
                self.floats(call, &dims, v).map(Some)
            }
            (Some(Known::Ints(a)), Some(Known::Ints(b))) => {
                let kind = match call.op {
                    "Equal" | "Less" | "Greater" | "And" | "Or" => IntKind::Bool,
                    _ => a.kind,
                };
                let (dims, a, b) =
                    self.stretch(call, (&a.dims, &a.values), (&b.dims, &b.values))?;
                let mut values = Vec::with_capacity(a.len());
                for (&a, &b) in a.iter().zip(&b) {
                    match int_function(call.op, a, b) {
                        Some(v) => values.push(v),
                        None => {
                            return call.fail(
                                "computes with the open batch in a way that no fixed graph \
                                 follows from; export the model with a fixed batch",
                            );
                        }
                    }
                }
                Ok(Some(Value::Ints(Ints { kind, dims, values })))
            }
            _ => Ok(None),
        }
    }

    /// Two arrays stretched to one shape.
    #[allow(clippy::type_complexity)]
    fn stretch<T: Copy>(
        &mut self,
        call: &Call,
        a: (&[usize], &[T]),
        b: (&[usize], &[T]),
    ) -> Result<(Vec<usize>, Vec<T>, Vec<T>)> {
        let Some(dims) = array::broadcast(a.0, b.0) else {
            return call.fail(format!("{:?} and {:?} do not broadcast", a.0, b.0));
        };
        self.charge(call, array::elements(&dims))?;
        let (a, b) = (
            array::expand(a.0, a.1, &dims),
            array::expand(b.0, b.1, &dims),
        );
        Ok((dims, a, b))
    }

    fn choose(&mut self, call: &Call) -> Result<Option<Value>> {
        let Some(Known::Ints(condition)) = self.known(call, 0)? else {
            return Ok(None);
        };
        match (self.known(call, 1)?, self.known(call, 2)?) {
            (Some(Known::Ints(a)), Some(Known::Ints(b))) => {
                let kind = a.kind;
                let (dims, a, b) =
                    self.stretch(call, (&a.dims, &a.values), (&b.dims, &b.values))?;
                let (dims, values) = self.pick(call, &condition, &dims, a, b)?;
                Ok(Some(Value::Ints(Ints { kind, dims, values })))
            }
            (Some(Known::Floats(da, a)), Some(Known::Floats(db, b))) => {
                let (dims, a, b) = self.stretch(call, (&da, &a), (&db, &b))?;
                let (dims, v) = self.pick(call, &condition, &dims, a, b)?;
                self.floats(call, &dims, v).map(Some)
            }
            _ => Ok(None),
        }
    }

    fn pick<T: Copy>(
        &mut self,
        call: &Call,
        condition: &Ints,
        dims: &[usize],
        a: Vec<T>,
        b: Vec<T>,
    ) -> Result<(Vec<usize>, Vec<T>)> {
        let Some(to) = array::broadcast(&condition.dims, dims) else {
            return call.fail("its inputs do not broadcast");
        };
        self.charge(call, array::elements(&to))?;
        let condition = array::expand(&condition.dims, &condition.values, &to);
        let (a, b) = (array::expand(dims, &a, &to), array::expand(dims, &b, &to));
        let pairs = a.into_iter().zip(b).zip(condition);
        let v = pairs
            .map(|((a, b), c)| if c.value != 0 { a } else { b })
            .collect();
        Ok((to, v))
    }

    /// A function of the elements of one known value.
    fn one(&mut self, call: &Call) -> Result<Option<Value>> {
        match self.known(call, 0)? {
            Some(Known::Floats(dims, v)) => {
                let f: fn(f32) -> f32 = match call.op {
                    "Neg" => |x| -x,
                    "Abs" => f32::abs,
                    "Floor" => f32::floor,
                    "Ceil" => f32::ceil,
                    "Round" => f32::round_ties_even,
                    "Sin" => f32::sin,
                    "Cos" => f32::cos,
                    "Exp" => f32::exp,
                    "Log" => f32::ln,
                    "Sqrt" => f32::sqrt,
                    "Reciprocal" => f32::recip,
                    _ => return Ok(None),
                };
                self.floats(call, &dims, v.into_iter().map(f).collect())
                    .map(Some)
            }
            Some(Known::Ints(mut ints)) => {
                for v in &mut ints.values {
                    let new = match call.op {
                        "Neg" => v.value.checked_neg(),
                        "Abs" => v.value.checked_abs(),
                        "Not" if !v.batch => Some(i64::from(v.value == 0)),
                        "Floor" | "Ceil" | "Round" => Some(v.value),
                        _ => None,
                    };
                    match new {
                        Some(new) => v.value = new,
                        None => return Ok(None),
                    }
                }
                Ok(Some(Value::Ints(ints)))
            }
            None => Ok(None),
        }
    }

    fn cast_known(&mut self, call: &Call) -> Result<Option<Value>> {
        let to = DataType::try_from(call.int("to", 0) as i32).unwrap_or(DataType::Undefined);
        let kind = match to {
            DataType::Int64 => Some(IntKind::I64),
            DataType::Int32 => Some(IntKind::I32),
            DataType::Bool => Some(IntKind::Bool),
            _ => None,
        };
        let to_float = matches!(to, DataType::Float | DataType::Double);
        match (self.known(call, 0)?, kind) {
            (Some(Known::Floats(dims, v)), Some(kind)) => {
                let number = |x: f32| match kind {
                    IntKind::Bool => i64::from(x != 0.0),
                    _ => x as i64,
                };
                let values = v.into_iter().map(|x| Int::known(number(x))).collect();
                Ok(Some(Value::Ints(Ints { kind, dims, values })))
            }
            (Some(Known::Floats(..)), None) if to_float => self.required(call, 0).map(Some),
            (Some(Known::Ints(mut ints)), Some(kind)) => {
                if kind == IntKind::Bool {
                    ints.values
                        .iter_mut()
                        .for_each(|v| *v = Int::known(i64::from(v.value != 0)));
                }
                Ok(Some(Value::Ints(Ints { kind, ..ints })))
            }
            (Some(Known::Ints(ints)), None) if to_float => {
                let Some(plain) = ints.plain() else {
                    return call.fail(
                        "makes a fraction of the open batch; export the model with a fixed batch",
                    );
                };
                self.charge(call, Some(plain.len()))?;
                let v = plain.into_iter().map(|n| n as f32).collect();
                self.floats(call, &ints.dims, v).map(Some)
            }
            _ => Ok(None),
        }
    }

    fn running_sum(&mut self, call: &Call) -> Result<Option<Value>> {
        let axis = self.plain_ints(call, 1)?;
        let (Some(known), Some(&[axis])) = (self.known(call, 0)?, axis.as_deref()) else {
            return Ok(None);
        };
        if call.flag("exclusive", false) || call.flag("reverse", false) {
            return call.fail("exclusive and reverse sums are not supported");
        }
        match known {
            Known::Floats(dims, v) => {
                let axis = call.axis(axis, dims.len())?;
                let v = array::running_sums(&dims, &v, axis);
                self.floats(call, &dims, v).map(Some)
            }
            Known::Ints(ints) => {
                let axis = call.axis(axis, ints.dims.len())?;
                let Some(plain) = ints.plain() else {
                    return Ok(None);
                };
                // Exact: what is summed here counts the rows of a map.
                let v: Vec<f32> = plain.iter().map(|&n| n as f32).collect();
                let sums = array::running_sums(&ints.dims, &v, axis);
                let values = sums.into_iter().map(|x| Int::known(x as i64)).collect();
                Ok(Some(Value::Ints(Ints { values, ..ints })))
            }
        }
    }

    fn product(&mut self, call: &Call) -> Result<Option<Value>> {
        let Some(Known::Ints(ints)) = self.known(call, 0)? else {
            return Ok(None);
        };
        let all = call.ints("axes").is_none_or(|a| a.len() == ints.dims.len());
        let first = Int::known(1);
        let product = ints
            .values
            .iter()
            .try_fold(first, |a, &b| int_function("Mul", a, b));
        match product {
            Some(product) if all => {
                let dims = if call.flag("keepdims", true) {
                    vec![1; ints.dims.len()]
                } else {
                    vec![]
                };
                Ok(Some(Value::Ints(Ints {
                    kind: ints.kind,
                    dims,
                    values: vec![product],
                })))
            }
            _ => {
                call.fail("a product over all axes, at most once with the open batch, is supported")
            }
        }
    }

    /// The sizes that a known value has, if it is one whose elements can be moved about.
    pub(super) fn known_dims(&self, value: &Value) -> Option<Vec<usize>> {
        match value {
            Value::Constant(c) => Some(c.tensor.shape().to_vec()),
            Value::Ints(ints) => Some(ints.dims.clone()),
            Value::Node(_)
            | Value::Stretched(_)
            | Value::Erf(_)
            | Value::Positions(_)
            | Value::Merged(_) => None,
        }
    }

    /// A known value with its elements moved about: `dims` are the new sizes, and `f` does the same
    /// to an array of any type.
    pub(super) fn moved(
        &mut self,
        call: &Call,
        value: &Value,
        dims: &[usize],
        f: &dyn Move,
    ) -> Result<Value> {
        let elements = array::elements(dims);
        self.charge(call, elements)?;
        if elements == Some(0) && dims.len() > 1 {
            return call.fail(format!("makes an empty axis: {dims:?}"));
        }
        let c = match value {
            Value::Ints(ints) => {
                return Ok(Value::Ints(Ints {
                    kind: ints.kind,
                    dims: dims.to_vec(),
                    values: f.ints(&ints.values),
                }));
            }
            Value::Constant(c) => c,
            _ => return call.fail("takes constants only"),
        };
        let data: TensorData = match c.tensor.data() {
            TensorData::F32(v) => f.f32(v).into(),
            TensorData::I64(v) => f.i64(v).into(),
            TensorData::I32(v) => f.i32(v).into(),
            TensorData::U16(v) => f.u16(v).into(),
            TensorData::U8(v) => f.u8(v).into(),
            TensorData::I8(v) => f.i8(v).into(),
        };
        let tensor = Tensor::new(dims, data).map_err(|e| call.error(e.to_string()))?;
        let (name, role) = (c.name.clone(), c.role);
        Ok(self.constant(&name, role, tensor))
    }

    /// A known value under another shape.
    pub(super) fn reshaped(&mut self, call: &Call, value: &Value, dims: &[usize]) -> Result<Value> {
        match value {
            Value::Constant(c) => {
                let tensor = c
                    .tensor
                    .reshaped(dims)
                    .map_err(|e| call.error(e.to_string()))?;
                let (name, role) = (c.name.clone(), c.role);
                Ok(self.constant(&name, role, tensor))
            }
            Value::Ints(ints) if array::elements(dims) == Some(ints.values.len()) => {
                Ok(Value::Ints(Ints {
                    dims: dims.to_vec(),
                    ..ints.clone()
                }))
            }
            _ => call.fail(format!("its input does not fill {dims:?}")),
        }
    }
}

/// Something that moves the elements of an array of any type about.
pub(super) trait Move {
    fn f32(&self, v: &[f32]) -> Vec<f32>;
    fn i64(&self, v: &[i64]) -> Vec<i64>;
    fn i32(&self, v: &[i32]) -> Vec<i32>;
    fn u16(&self, v: &[u16]) -> Vec<u16>;
    fn u8(&self, v: &[u8]) -> Vec<u8>;
    fn i8(&self, v: &[i8]) -> Vec<i8>;
    fn ints(&self, v: &[Int]) -> Vec<Int>;
}

/// Implements [`Move`] for a type by its generic method `apply`.
macro_rules! moves {
    ($t:ty) => {
        impl $crate::import::evaluate::Move for $t {
            fn f32(&self, v: &[f32]) -> Vec<f32> {
                self.apply(v)
            }
            fn i64(&self, v: &[i64]) -> Vec<i64> {
                self.apply(v)
            }
            fn i32(&self, v: &[i32]) -> Vec<i32> {
                self.apply(v)
            }
            fn u16(&self, v: &[u16]) -> Vec<u16> {
                self.apply(v)
            }
            fn u8(&self, v: &[u8]) -> Vec<u8> {
                self.apply(v)
            }
            fn i8(&self, v: &[i8]) -> Vec<i8> {
                self.apply(v)
            }
            fn ints(&self, v: &[$crate::import::value::Int]) -> Vec<$crate::import::value::Int> {
                self.apply(v)
            }
        }
    };
}
pub(super) use moves;

/// The sizes of axes that are all known.
pub(super) fn fixed(dims: &[Dim]) -> Option<Vec<usize>> {
    dims.iter().map(|d| d.fixed()).collect()
}
