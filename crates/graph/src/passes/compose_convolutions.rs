//! Convolutions with nothing but a 1×1 convolution after them, as U-Net's last upsampling and its
//! class convolution.

use super::Rewriter;
use super::fold_batch_norm::with_parameters;
use crate::{Graph, GraphError, Node, NodeId, Op, Tensor, cost};

/// The graph with every convolution or transposed convolution that is alone used by a pointwise
/// convolution replaced, together with it, by the one that both make up, where that multiplies less.
/// The value between them is no longer computed. Weights are multiplied in f64.
///
/// # Errors
/// None on a graph built by [`Graph::add`].
pub fn compose_convolutions(graph: &Graph) -> Result<Graph, GraphError> {
    let uses = graph.uses();
    let mut rewriter = Rewriter::new(graph);
    for (id, node) in graph.iter() {
        match Pair::find(graph, &uses, id) {
            Some(pair) => {
                let x = rewriter.get(pair.first.inputs[0])?;
                let (weight, bias) = pair.composed()?;
                let op = pair.first.op.clone();
                let new = with_parameters(&mut rewriter, &node.name, op, x, weight, bias)?;
                rewriter.replace(id, new);
            }
            None => {
                rewriter.copy(id)?;
            }
        }
    }
    super::remove_dead_code(&rewriter.finish()?)
}

/// A convolution's parameters.
struct Parameters<'a> {
    weight: &'a Tensor,
    values: &'a [f32],
    bias: Option<&'a [f32]>,
}

impl<'a> Parameters<'a> {
    fn of(graph: &'a Graph, node: &Node) -> Option<Self> {
        let weight = graph.constant(*node.inputs.get(1)?)?;
        let bias = match node.inputs.get(2) {
            Some(&bias) => Some(graph.constant(bias)?.as_f32()?),
            None => None,
        };
        Some(Parameters {
            weight,
            values: weight.as_f32()?,
            bias,
        })
    }

    fn bias(&self, channel: usize) -> f64 {
        self.bias.map_or(0.0, |b| f64::from(b[channel]))
    }
}

/// A convolution and the pointwise one after it.
struct Pair<'a> {
    first: &'a Node,
    /// Whether the first is transposed, its weight `[I, O, kernel…]`.
    transposed: bool,
    one: Parameters<'a>,
    two: Parameters<'a>,
}

impl<'a> Pair<'a> {
    /// The pair that ends in the node `id`, if there is one and composing it pays.
    fn find(graph: &'a Graph, uses: &[usize], id: NodeId) -> Option<Self> {
        let node = graph.node(id);
        match &node.op {
            Op::Conv(conv) if conv.is_pointwise() && conv.groups == 1 => {}
            _ => return None,
        }
        let producer = node.inputs[0];
        let first = graph.node(producer);
        let transposed = match &first.op {
            Op::Conv(conv) if conv.groups == 1 => false,
            Op::ConvTranspose(conv) if conv.groups == 1 => true,
            _ => return None,
        };
        if uses[producer.index()] != 1 {
            return None;
        }
        let pair = Pair {
            first,
            transposed,
            one: Parameters::of(graph, first)?,
            two: Parameters::of(graph, node)?,
        };
        let apart = cost::node(graph, producer).macs + cost::node(graph, id).macs;
        let [middle, out] = [pair.middle(), pair.out()];
        let together = cost::node(graph, producer).macs / middle as u64 * out as u64;
        (together < apart).then_some(pair)
    }

    /// Channels between the two.
    fn middle(&self) -> usize {
        self.two.weight.shape()[1]
    }

    /// Channels of the result.
    fn out(&self) -> usize {
        self.two.weight.shape()[0]
    }

    /// The composed weight and bias.
    fn composed(&self) -> Result<(Tensor, Tensor), GraphError> {
        let (middle, out) = (self.middle(), self.out());
        let mut shape = self.one.weight.shape().to_vec();
        // Elements of the weight inside the axis of middle channels, and how many times they come.
        let axis = usize::from(self.transposed);
        let inner: usize = shape[axis + 1..].iter().product();
        let outer: usize = shape[..axis].iter().product();
        shape[axis] = out;
        let mut weight = Vec::with_capacity(outer * out * inner);
        let mut sums = vec![0f64; inner];
        for o in 0..outer {
            let from = &self.one.values[o * middle * inner..][..middle * inner];
            for row in self.two.values.chunks_exact(middle) {
                sums.fill(0.0);
                for (w, from) in row.iter().zip(from.chunks_exact(inner)) {
                    for (sum, v) in sums.iter_mut().zip(from) {
                        *sum += f64::from(*w) * f64::from(*v);
                    }
                }
                weight.extend(sums.iter().map(|sum| *sum as f32));
            }
        }
        let bias = self.two.values.chunks_exact(middle).enumerate();
        let bias = bias.map(|(c, row)| {
            let through = row.iter().enumerate();
            let through: f64 = through.map(|(m, w)| f64::from(*w) * self.one.bias(m)).sum();
            (through + self.two.bias(c)) as f32
        });
        let bias: Vec<f32> = bias.collect();
        Ok((Tensor::new(&shape, weight)?, Tensor::new(&[out], bias)?))
    }
}
