//! The quantized graph beside the graph of floats, on the same images.

use slicewise_graph::{Graph, NodeId};

use crate::agreement::{decibels, power};
use crate::calibrate::{observe, turns};
use crate::{Agreement, Compile, Counts, Images, Progress, QuantizeError, Quantized};

/// How close one tensor of the quantized graph comes.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Sqnr {
    /// The node in the graph of floats.
    pub node: NodeId,
    /// Signal to quantization noise in dB, the noise of everything before it included.
    pub db: f64,
}

/// How close a quantized graph comes.
#[derive(Clone, PartialEq, Debug)]
pub struct Comparison {
    /// Of the first output.
    pub agreement: Agreement,
    /// Of the tensors asked for.
    pub tensors: Vec<Sqnr>,
}

/// Runs both graphs on all images and compares their first outputs, and `tensors` one by one.
///
/// # Errors
/// If an image cannot be used, or the engine fails.
pub fn compare(
    graph: &Graph,
    quantized: &Quantized,
    tensors: &[NodeId],
    images: &dyn Images,
    compile: &mut Compile<'_>,
    progress: &mut Progress<'_>,
) -> Result<Comparison, QuantizeError> {
    let mut groups = turns(graph, tensors);
    if groups.is_empty() {
        groups.push(Vec::new());
    }
    let total = groups.len() * images.count();
    let mut counts = Counts::default();
    let mut compared = Vec::new();
    for (turn, group) in groups.iter().enumerate() {
        let watched = |graph: &Graph, of: &dyn Fn(NodeId) -> NodeId| {
            let mut copy = graph.clone();
            let outputs = graph.outputs().iter().take(1).copied();
            copy.set_outputs(
                outputs
                    .chain(group.iter().map(|&id| of(id)))
                    .collect::<Vec<_>>(),
            );
            copy
        };
        let mut floats = compile(&watched(graph, &|id| id)).map_err(QuantizeError::Engine)?;
        let of = |id: NodeId| quantized.values[&id];
        let mut integers =
            compile(&watched(&quantized.graph, &of)).map_err(QuantizeError::Engine)?;
        let mut powers = vec![(0.0, 0.0); group.len()];
        for index in 0..images.count() {
            progress("comparing", turn * images.count() + index, total);
            let reference = observe(&mut floats, images, index)?;
            let result = observe(&mut integers, images, index)?;
            if turn == 0 {
                let [Some(a), Some(b)] = [reference.first(), result.first()] else {
                    return Err(QuantizeError::Engine("the graph has no output".into()));
                };
                counts.add(a, b).map_err(QuantizeError::Engine)?;
            }
            let rest = reference.iter().zip(&result).skip(1);
            for (sum, (a, b)) in powers.iter_mut().zip(rest) {
                let (a, b) = (
                    a.as_f32().unwrap_or_default(),
                    b.as_f32().unwrap_or_default(),
                );
                let (signal, noise) = power(a, b);
                sum.0 += signal;
                sum.1 += noise;
            }
        }
        let db = |(&node, (signal, noise)): (&NodeId, (f64, f64))| Sqnr {
            node,
            db: decibels(signal, noise),
        };
        compared.extend(group.iter().zip(powers).map(db));
    }
    progress("comparing", total, total);
    Ok(Comparison {
        agreement: counts.agreement(),
        tensors: compared,
    })
}
