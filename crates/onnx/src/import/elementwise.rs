//! Functions of each element.

use std::f32::consts::{FRAC_1_SQRT_2, SQRT_2};

use slicewise_graph::{Activation, Binary, DType, NodeId, Op, Role, Shape, Tensor};

use super::call::Call;
use super::value::{Erf, Value};
use super::{Importer, Result, scalar};
use crate::proto::tensor_proto::DataType;

impl Importer<'_> {
    pub(super) fn activation(&mut self, call: &Call) -> Result<Value> {
        let f = match call.op {
            "Relu" => Activation::Relu,
            "LeakyRelu" => Activation::LeakyRelu {
                slope: call.float("alpha", 0.01),
            },
            "HardSwish" => Activation::HardSwish,
            "HardSigmoid" => return self.hard_sigmoid(call),
            "Sigmoid" => Activation::Sigmoid,
            "Tanh" => Activation::Tanh,
            "Sqrt" => Activation::Sqrt,
            "Swish" if call.float("alpha", 1.0) == 1.0 => Activation::Silu,
            "Swish" => return call.fail("alpha must be 1"),
            _ => match call.string("approximate", "none") {
                "none" => Activation::GeluErf,
                "tanh" => Activation::GeluTanh,
                other => return call.fail(format!("approximation '{other}' is not supported")),
            },
        };
        self.unary(call, Op::Activation(f))
    }

    /// The usual slope of 1/6 is an activation of its own; any other is a line and bounds.
    fn hard_sigmoid(&mut self, call: &Call) -> Result<Value> {
        let (alpha, beta) = (call.float("alpha", 0.2), call.float("beta", 0.5));
        if (alpha - 1.0 / 6.0).abs() < 1e-5 && beta == 0.5 {
            return self.unary(call, Op::Activation(Activation::HardSigmoid));
        }
        let x = self.node(call, 0)?;
        let x = self.with_number(call, Binary::Mul, x, alpha)?;
        let x = self.with_number(call, Binary::Add, x, beta)?;
        let clip = Activation::Clip {
            low: 0.0,
            high: 1.0,
        };
        self.add(call, Op::Activation(clip), &[x]).map(Value::Node)
    }

    /// Adds `x f number`.
    fn with_number(&mut self, call: &Call, f: Binary, x: NodeId, number: f32) -> Result<NodeId> {
        let name = format!("{}.number", call.output());
        let number = self.constant(&name, Role::Constant, Tensor::scalar(number));
        let number = self.plain_node(call, &number)?;
        self.add(call, Op::Binary(f), &[x, number])
    }

    pub(super) fn binary(&mut self, call: &Call) -> Result<Value> {
        let f = match call.op {
            "Add" => Binary::Add,
            "Sub" => Binary::Sub,
            "Mul" => Binary::Mul,
            _ => Binary::Div,
        };
        let (a, b) = (self.required(call, 0)?, self.required(call, 1)?);
        match (&a, &b) {
            (Value::Erf(e), other) => return self.erf_with(call, f, *e, other, true),
            (other, Value::Erf(e)) => return self.erf_with(call, f, *e, other, false),
            (Value::Positions(p), other) | (other, Value::Positions(p)) => {
                return self.positions_with(call, f, p, other).map(Value::Positions);
            }
            _ => {}
        }
        let (a, b) = (
            self.unstretched(call, &a, &b)?,
            self.unstretched(call, &b, &a)?,
        );
        let (x, y) = (self.plain_node(call, &a)?, self.plain_node(call, &b)?);
        let (p, q) = (
            number_within(&a, self.shape(y).rank()),
            number_within(&b, self.shape(x).rank()),
        );
        let factor = match (f, p, q) {
            (Binary::Mul, None, Some(c)) => Some((x, c)),
            (Binary::Mul, Some(c), None) => Some((y, c)),
            (Binary::Div, None, Some(c)) => Some((x, c.recip())),
            _ => None,
        };
        if let Some((scaled, c)) = factor
            && let Some(&(base, before)) = self.scaled.get(&scaled)
            && before * c == 1.0
        {
            // Twice a half: the two halves of GELU's formula.
            return Ok(Value::Node(base));
        }
        let result = self.add(call, Op::Binary(f), &[x, y])?;
        if let Some(factor) = factor {
            self.scaled.insert(result, factor);
        }
        Ok(Value::Node(result))
    }

    /// The operand `a` without its stretching, where `b` has the stretched shape anyway.
    fn unstretched(&mut self, call: &Call, a: &Value, b: &Value) -> Result<Value> {
        let Value::Stretched(s) = a else {
            return Ok(a.clone());
        };
        let other: Shape = self.dims(call, b)?.into_iter().collect();
        let same = self.shape(s.of).broadcast(&other) == s.to.broadcast(&other);
        let plain = matches!(b, Value::Node(_) | Value::Constant(_));
        Ok(if plain && same {
            Value::Node(s.of)
        } else {
            a.clone()
        })
    }

    pub(super) fn erf(&mut self, call: &Call) -> Result<Value> {
        let of = self.node(call, 0)?;
        let (of, factor) = self.scaled.get(&of).copied().unwrap_or((of, 1.0));
        Ok(Value::Erf(Erf {
            of,
            factor,
            scale: 1.0,
            offset: 0.0,
        }))
    }

    /// `scale · erf(x/√2) + offset` met by a number stays one; met by x it is GELU when both are alike.
    fn erf_with(
        &mut self,
        call: &Call,
        f: Binary,
        mut erf: Erf,
        other: &Value,
        erf_first: bool,
    ) -> Result<Value> {
        if let Some(c) = number_within(other, self.shape(erf.of).rank()) {
            match f {
                Binary::Add => erf.offset += c,
                Binary::Mul => {
                    erf.scale *= c;
                    erf.offset *= c;
                }
                Binary::Sub if erf_first => erf.offset -= c,
                Binary::Div if erf_first => {
                    erf.scale /= c;
                    erf.offset /= c;
                }
                _ => return call.fail("uses an error function outside of GELU"),
            }
            return Ok(Value::Erf(erf));
        }
        let near = |a: f32, b: f32| (a - b).abs() <= 1e-5 * b.abs();
        let gate = near(erf.factor, FRAC_1_SQRT_2) || near(erf.factor * SQRT_2, 1.0);
        let (Value::Node(y), Binary::Mul, true, true) =
            (other, f, gate, near(erf.offset, erf.scale))
        else {
            return call.fail("uses an error function outside of GELU");
        };
        // y is x or x times a number; 2 · scale · Φ(x) is the other factor.
        let total = match self.scaled.get(y) {
            _ if *y == erf.of => 2.0 * erf.scale,
            Some(&(x, c)) if x == erf.of => 2.0 * erf.scale * c,
            _ => return call.fail("uses an error function outside of GELU"),
        };
        let gelu = self.add(call, Op::Activation(Activation::GeluErf), &[erf.of])?;
        if near(total, 1.0) {
            return Ok(Value::Node(gelu));
        }
        let scaled = self.with_number(call, Binary::Mul, gelu, total)?;
        self.scaled.insert(scaled, (gelu, total));
        Ok(Value::Node(scaled))
    }

    pub(super) fn pow(&mut self, call: &Call) -> Result<Value> {
        let x = self.node(call, 0)?;
        let exponent = match (self.optional(call, 1), self.plain_ints(call, 1)) {
            (_, Ok(Some(list))) if list.len() == 1 => list[0] as f32,
            (Some(value), _) => match scalar(&value) {
                Some(c) => c,
                None => return call.fail("its exponent must be one known number"),
            },
            _ => return call.fail("has no exponent"),
        };
        let square = |this: &mut Self| this.add(call, Op::Binary(Binary::Mul), &[x, x]);
        let power = if exponent == 1.0 {
            x
        } else if exponent == 2.0 {
            square(self)?
        } else if exponent == 3.0 {
            let square = square(self)?;
            self.add(call, Op::Binary(Binary::Mul), &[square, x])?
        } else if exponent == 0.5 {
            self.add(call, Op::Activation(Activation::Sqrt), &[x])?
        } else if exponent == -0.5 {
            let root = self.add(call, Op::Activation(Activation::Sqrt), &[x])?;
            self.inverse(call, root)?
        } else if exponent == -1.0 {
            self.inverse(call, x)?
        } else {
            return call.fail(format!(
                "exponent {exponent} is not supported; 1, 2, 3, ±0.5 and -1 are"
            ));
        };
        Ok(Value::Node(power))
    }

    pub(super) fn negate_or_invert(&mut self, call: &Call) -> Result<Value> {
        let x = self.node(call, 0)?;
        let result = match call.op {
            "Neg" => self.with_number(call, Binary::Mul, x, -1.0)?,
            _ => self.inverse(call, x)?,
        };
        if call.op == "Neg" {
            self.scaled.insert(result, (x, -1.0));
        }
        Ok(Value::Node(result))
    }

    /// Adds `1 / x`.
    fn inverse(&mut self, call: &Call, x: NodeId) -> Result<NodeId> {
        let name = format!("{}.one", call.output());
        let one = self.constant(&name, Role::Constant, Tensor::scalar(1.0));
        let one = self.plain_node(call, &one)?;
        self.add(call, Op::Binary(Binary::Div), &[one, x])
    }

    /// Clip, and Min and Max with one number.
    pub(super) fn clip(&mut self, call: &Call) -> Result<Value> {
        let (mut low, mut high) = (f32::NEG_INFINITY, f32::INFINITY);
        let mut x = self.required(call, 0)?;
        if call.op == "Clip" {
            low = self.number(call, 1)?.unwrap_or(low);
            high = self.number(call, 2)?.unwrap_or(high);
        } else {
            if call.node.input.len() != 2 {
                return call.fail("is supported for two inputs of which one is a number");
            }
            let other = self.required(call, 1)?;
            let bound = match (scalar(&x), scalar(&other)) {
                (_, Some(c)) => c,
                (Some(c), None) => {
                    x = other;
                    c
                }
                (None, None) => return call.fail("is supported with one known number only"),
            };
            *(if call.op == "Max" {
                &mut low
            } else {
                &mut high
            }) = bound;
        }
        let x = self.plain_node(call, &x)?;
        let f = match (low, high) {
            (0.0, f32::INFINITY) => Activation::Relu,
            (0.0, 6.0) => Activation::Relu6,
            _ => Activation::Clip { low, high },
        };
        self.add(call, Op::Activation(f), &[x]).map(Value::Node)
    }

    /// Input 0 as it is.
    pub(super) fn first(&mut self, call: &Call) -> Result<Value> {
        if call.op == "Dropout"
            && self.optional(call, 2).is_some_and(|v| {
                super::as_ints(&v).is_none_or(|t| t.values.iter().any(|b| b.value != 0))
            })
        {
            return call.fail("is in training mode; export the model in evaluation mode");
        }
        self.required(call, 0)
    }

    /// Labels in another type; a number that stays what it is.
    pub(super) fn cast(&mut self, call: &Call) -> Result<Value> {
        if let value @ Value::Positions(_) = self.required(call, 0)? {
            return Ok(value);
        }
        let x = self.node(call, 0)?;
        let to = DataType::try_from(call.int("to", 0) as i32).unwrap_or(DataType::Undefined);
        let dtype = match to {
            DataType::Float | DataType::Double => Some(DType::F32),
            DataType::Int64 => Some(DType::I64),
            DataType::Int32 => Some(DType::I32),
            DataType::Uint16 => Some(DType::U16),
            DataType::Uint8 => Some(DType::U8),
            _ => None,
        };
        let node = self.graph.node(x);
        match (&node.op, dtype) {
            (_, Some(dtype)) if dtype == node.dtype => Ok(Value::Node(x)),
            (Op::ArgMax { axis, .. }, Some(dtype)) if dtype != DType::F32 => {
                let (op, scores) = (Op::ArgMax { axis: *axis, dtype }, node.inputs[0]);
                self.add(call, op, &[scores]).map(Value::Node)
            }
            _ => {
                let from = node.dtype;
                call.fail(format!(
                    "turns {from} into {}; labels and float32 alone are read, so export the model \
                     in float32",
                    to.as_str_name()
                ))
            }
        }
    }
}

/// The one number that a constant is, if it adds no axes to what has `rank`.
fn number_within(value: &Value, rank: usize) -> Option<f32> {
    match value {
        Value::Constant(c) if c.tensor.shape().len() <= rank => scalar(value),
        _ => None,
    }
}
