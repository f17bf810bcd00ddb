//! What every operator means, written as plainly as possible: the judge of all engines' kernels,
//! and what constants are computed with. Sums are kept in f64, so results carry one rounding.

mod elementwise;
mod layout;
mod norm;
mod window;

pub(crate) use layout::transpose;

use crate::{Graph, GraphError, Node, NodeId, Op, Tensor};

/// Runs a graph on `inputs`, given in the order of [`Graph::inputs`].
///
/// # Errors
/// If an input does not fit, or a parameter has no data.
pub fn run(graph: &Graph, inputs: &[Tensor]) -> Result<Vec<Tensor>, GraphError> {
    let mut values: Vec<Option<Tensor>> = vec![None; graph.nodes().len()];
    let mut uses = graph.uses();
    let mut given = inputs.iter();
    for (id, node) in graph.iter() {
        let value = match &node.op {
            Op::Input => {
                let value = given
                    .next()
                    .ok_or_else(|| GraphError::NoData(node.name.clone()))?;
                check_input(node, value)?;
                value.clone()
            }
            Op::Parameter(p) => match &p.data {
                Some(tensor) => tensor.clone(),
                None => return Err(GraphError::NoData(node.name.clone())),
            },
            _ => {
                let mut operands = Vec::with_capacity(node.inputs.len());
                for input in &node.inputs {
                    operands.push(value_of(graph, &values, *input)?);
                }
                evaluate(node, &operands)?
            }
        };
        for input in &node.inputs {
            uses[input.index()] -= 1;
            if uses[input.index()] == 0 {
                values[input.index()] = None;
            }
        }
        values[id.index()] = Some(value);
    }
    let outputs = graph.outputs().iter();
    outputs
        .map(|&id| value_of(graph, &values, id).cloned())
        .collect()
}

fn value_of<'a>(
    graph: &Graph,
    values: &'a [Option<Tensor>],
    id: NodeId,
) -> Result<&'a Tensor, GraphError> {
    let value = values[id.index()].as_ref();
    value.ok_or_else(|| GraphError::NoData(graph.node(id).name.clone()))
}

fn check_input(node: &Node, value: &Tensor) -> Result<(), GraphError> {
    let fits = node.shape.rank() == value.shape().len()
        && node.dtype == value.dtype()
        && (node.shape.dims().iter().zip(value.shape()))
            .all(|(d, &n)| d.fixed().is_none_or(|d| d == n));
    if fits {
        return Ok(());
    }
    Err(GraphError::Shape {
        node: node.name.clone(),
        op: "Input",
        inputs: format!("{} {:?}", value.dtype(), value.shape()),
        problem: format!("must be {} {}", node.dtype, node.shape),
    })
}

/// Computes one node from its inputs' values.
///
/// # Errors
/// If the operator has no value of its own (inputs and parameters).
pub fn evaluate(node: &Node, inputs: &[&Tensor]) -> Result<Tensor, GraphError> {
    let x = || f32s(node, inputs[0]);
    let optional = |i: usize| inputs.get(i).map(|t| f32s(node, t)).transpose();
    match &node.op {
        Op::Input | Op::Parameter(_) => Err(GraphError::Unsupported {
            node: node.name.clone(),
            op: node.op.name(),
            problem: "has no inputs to be computed from".into(),
        }),
        Op::Conv(c) => {
            let (x, w) = (View::new(node, inputs[0])?, View::new(node, inputs[1])?);
            window::conv(c, x, w, optional(2)?)
        }
        Op::ConvTranspose(c) => {
            let (x, w) = (View::new(node, inputs[0])?, View::new(node, inputs[1])?);
            window::conv_transpose(c, x, w, optional(2)?)
        }
        Op::Pool(p) => window::pool(p, View::new(node, inputs[0])?),
        Op::Resize(r) => window::resize(r, View::new(node, inputs[0])?),
        Op::BatchNorm { eps } => {
            let p: Vec<&[f32]> = (1..5)
                .map(|i| f32s(node, inputs[i]))
                .collect::<Result<_, _>>()?;
            norm::batch_norm(View::new(node, inputs[0])?, [p[0], p[1], p[2], p[3]], *eps)
        }
        Op::GroupNorm { groups, eps } => {
            let (w, b) = (f32s(node, inputs[1])?, f32s(node, inputs[2])?);
            norm::group_norm(View::new(node, inputs[0])?, w, b, *groups, *eps)
        }
        Op::LayerNorm { axis, eps } => {
            let (w, b) = (f32s(node, inputs[1])?, f32s(node, inputs[2])?);
            norm::layer_norm(View::new(node, inputs[0])?, w, b, *axis, *eps)
        }
        Op::L2Normalize { axis, eps } => {
            norm::l2_normalize(View::new(node, inputs[0])?, *axis, *eps)
        }
        Op::Softmax { axis } => norm::softmax(View::new(node, inputs[0])?, *axis),
        Op::Reduce(r) => norm::reduce(r, View::new(node, inputs[0])?),
        Op::ArgMax { axis, dtype } => norm::arg_max(View::new(node, inputs[0])?, *axis, *dtype),
        Op::Linear => {
            let (x, w) = (View::new(node, inputs[0])?, View::new(node, inputs[1])?);
            elementwise::linear(x, w, optional(2)?)
        }
        Op::MatMul => elementwise::matmul(View::new(node, inputs[0])?, View::new(node, inputs[1])?),
        Op::Activation(f) => {
            let data: Vec<f32> = x()?.iter().map(|&v| f.apply(v)).collect();
            Tensor::new(inputs[0].shape(), data)
        }
        Op::Binary(f) => {
            elementwise::binary(*f, View::new(node, inputs[0])?, View::new(node, inputs[1])?)
        }
        Op::Quantize { axis } => elementwise::quantize(node, inputs, *axis),
        Op::Dequantize { axis } => elementwise::dequantize(node, inputs, *axis),
        Op::Concat { axis } => layout::concat(inputs, *axis),
        Op::Transpose { perm } => layout::transpose(inputs[0], perm),
        Op::Reshape { .. } => layout::reshape(node, inputs[0]),
        Op::Slice(s) => layout::slice(inputs[0], s),
        Op::Pad { pads, value } => layout::pad(View::new(node, inputs[0])?, pads, *value),
    }
}

/// The elements of a tensor that the operator needs as f32.
fn f32s<'a>(node: &Node, tensor: &'a Tensor) -> Result<&'a [f32], GraphError> {
    tensor.as_f32().ok_or_else(|| GraphError::Unsupported {
        node: node.name.clone(),
        op: node.op.name(),
        problem: format!("works on f32, got {}", tensor.dtype()),
    })
}

/// A tensor of floats, for reading.
#[derive(Clone, Copy)]
struct View<'a> {
    shape: &'a [usize],
    data: &'a [f32],
}

impl<'a> View<'a> {
    fn new(node: &Node, tensor: &'a Tensor) -> Result<Self, GraphError> {
        Ok(View {
            shape: tensor.shape(),
            data: f32s(node, tensor)?,
        })
    }

    /// The product of the axes before `axis`, its size, and the product of those after it.
    fn around(&self, axis: usize) -> (usize, usize, usize) {
        around(self.shape, axis)
    }
}

/// The product of the axes before `axis`, its size, and the product of those after it.
fn around(shape: &[usize], axis: usize) -> (usize, usize, usize) {
    (
        shape[..axis].iter().product(),
        shape[axis],
        shape[axis + 1..].iter().product(),
    )
}
