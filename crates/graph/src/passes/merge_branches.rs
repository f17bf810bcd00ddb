//! Parallel linear branches: the blocks of RepVGG (Ding et al. 2021) and MobileOne (Vasu et al.
//! 2022), which are trained with several convolutions and deployed as one.

use super::Rewriter;
use super::fold_batch_norm::{affine, with_parameters};
use crate::{Conv, Graph, GraphError, Node, NodeId, Op, Tensor};

/// The graph with every sum of convolutions, batch norms and the identity on the same tensor
/// replaced by one convolution. Batch norms after convolutions must have been folded.
///
/// # Errors
/// None on a graph built by [`Graph::add`].
pub fn merge_branches(graph: &Graph) -> Result<Graph, GraphError> {
    let uses = graph.uses();
    let mut rewriter = Rewriter::new(graph);
    for (id, node) in graph.iter() {
        match Block::find(graph, &uses, node) {
            Some(block) => {
                let x = rewriter.get(block.source)?;
                let (op, weight, bias) = block.merged()?;
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

/// A linear function of the block's input that keeps stride, groups and output size.
enum Branch<'a> {
    Conv {
        conv: &'a Conv,
        weight: &'a Tensor,
        bias: Option<&'a [f32]>,
    },
    /// A batch norm, or nothing at all: `scale · x + shift`.
    Scale { scale: Vec<f64>, shift: Vec<f64> },
}

/// The branches of a sum, all on `source`; at least one is a convolution.
struct Block<'a> {
    source: NodeId,
    branches: Vec<Branch<'a>>,
    /// The convolution with the largest kernel: the merged one has its shape.
    largest: &'a Conv,
    out: usize,
    channels: usize,
}

impl<'a> Block<'a> {
    /// The block that ends in the addition `node`, if it is one.
    fn find(graph: &'a Graph, uses: &[usize], node: &'a Node) -> Option<Self> {
        if !is_sum(node) {
            return None;
        }
        let mut leaves = Vec::new();
        collect(graph, uses, node, &mut leaves);
        let convs = leaves.iter().filter_map(|&l| match &graph.node(l).op {
            Op::Conv(c) if uses[l.index()] == 1 => Some((graph.node(l), c)),
            _ => None,
        });
        let (first, largest) = convs.max_by_key(|(_, c)| c.kernel.iter().product::<usize>())?;
        let source = first.inputs[0];
        let mut block = Block {
            source,
            branches: Vec::new(),
            largest,
            out: first.shape[1].fixed()?,
            channels: graph.node(source).shape[1].fixed()?,
        };
        for leaf in leaves {
            let branch = block.branch(graph, uses, leaf)?;
            block.branches.push(branch);
        }
        Some(block)
    }

    /// The leaf as a branch of this block, if it can be merged with the largest convolution.
    fn branch(&self, graph: &'a Graph, uses: &[usize], leaf: NodeId) -> Option<Branch<'a>> {
        let keeps_size = self.out == self.channels && self.largest.stride.iter().all(|&s| s == 1);
        if leaf == self.source && keeps_size {
            return Some(Branch::Scale {
                scale: vec![1.0; self.out],
                shift: vec![0.0; self.out],
            });
        }
        let node = graph.node(leaf);
        if uses[leaf.index()] != 1 || node.inputs.first() != Some(&self.source) {
            return None;
        }
        match &node.op {
            Op::BatchNorm { .. } if keeps_size => {
                let a = affine(graph, node)?;
                Some(Branch::Scale {
                    scale: a.scale,
                    shift: a.shift,
                })
            }
            Op::Conv(conv) if self.fits_into_largest(conv) => Some(Branch::Conv {
                conv,
                weight: graph
                    .constant(node.inputs[1])
                    .filter(|t| t.as_f32().is_some())?,
                bias: match node.inputs.get(2) {
                    Some(&b) => Some(graph.constant(b)?.as_f32()?),
                    None => None,
                },
            }),
            _ => None,
        }
    }

    /// Whether a smaller kernel lies at the centre of the largest one.
    fn fits_into_largest(&self, conv: &Conv) -> bool {
        let l = self.largest;
        conv.groups == l.groups
            && conv.stride == l.stride
            && l.dilation.iter().chain(&conv.dilation).all(|&d| d == 1)
            && (0..l.kernel.len()).all(|i| {
                let margin = |c: &Conv| c.kernel[i].checked_sub(1 + 2 * c.pads[i].0);
                l.kernel[i] >= conv.kernel[i]
                    && (l.kernel[i] - conv.kernel[i]).is_multiple_of(2)
                    && margin(l) == Some(0)
                    && margin(conv) == Some(0)
                    && l.pads[i].0 == l.pads[i].1
                    && conv.pads[i].0 == conv.pads[i].1
            })
    }

    /// The one convolution that all branches add up to; sums in f64.
    fn merged(&self) -> Result<(Op, Tensor, Tensor), GraphError> {
        let l = self.largest;
        let group_in = self.channels / l.groups;
        let group_out = self.out / l.groups;
        let taps: usize = l.kernel.iter().product();
        let mut weight = vec![0f64; self.out * group_in * taps];
        let mut bias = vec![0f64; self.out];
        for branch in &self.branches {
            match branch {
                Branch::Scale { scale, shift } => {
                    for o in 0..self.out {
                        // Output o continues input channel o: input o % group_in of its own group.
                        let i = o % group_out;
                        weight[(o * group_in + i) * taps + taps / 2] += scale[o];
                        bias[o] += shift[o];
                    }
                }
                Branch::Conv {
                    conv,
                    weight: w,
                    bias: b,
                } => {
                    let places = self.places(conv);
                    let values = w.as_f32().unwrap_or_default().chunks_exact(places.len());
                    for (row, values) in values.enumerate() {
                        for (v, place) in values.iter().zip(&places) {
                            weight[row * taps + place] += f64::from(*v);
                        }
                    }
                    for (sum, b) in bias.iter_mut().zip(b.unwrap_or_default()) {
                        *sum += f64::from(*b);
                    }
                }
            }
        }
        let f32s = |v: &[f64]| v.iter().map(|&v| v as f32).collect::<Vec<f32>>();
        let shape = [&[self.out, group_in], &l.kernel[..]].concat();
        Ok((
            Op::Conv(l.clone()),
            Tensor::new(&shape, f32s(&weight))?,
            Tensor::new(&[self.out], f32s(&bias))?,
        ))
    }

    /// Where the taps of a smaller kernel lie in the largest.
    fn places(&self, conv: &Conv) -> Vec<usize> {
        let mut places = vec![0];
        for (&large, &small) in self.largest.kernel.iter().zip(&conv.kernel) {
            let margin = (large - small) / 2;
            places = (places.iter())
                .flat_map(|p| (0..small).map(move |k| p * large + margin + k))
                .collect();
        }
        places
    }
}

fn is_sum(node: &Node) -> bool {
    matches!(node.op, Op::Binary(crate::Binary::Add))
}

/// The operands of a tree of additions whose inner sums are used nowhere else.
fn collect(graph: &Graph, uses: &[usize], node: &Node, leaves: &mut Vec<NodeId>) {
    let mut open: Vec<NodeId> = node.inputs.iter().rev().copied().collect();
    while let Some(id) = open.pop() {
        let inner = graph.node(id);
        if is_sum(inner) && uses[id.index()] == 1 {
            open.extend(inner.inputs.iter().rev());
        } else {
            leaves.push(id);
        }
    }
}
