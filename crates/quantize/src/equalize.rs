//! Cross-layer equalization (Nagel et al. 2019, section 4.1): between two convolutions with nothing
//! but a ReLU between them, a channel may be divided by any factor if the next layer multiplies by
//! it. The factors are chosen so that both layers' weights of that channel span equal ranges.

use std::collections::BTreeMap;

use slicewise_graph::{Activation, Conv, Graph, NodeId, Op, Tensor};

use crate::QuantizeError;
use crate::weights::with_parameters;

/// Rounds over all pairs; factors change little after a few.
const ROUNDS: usize = 20;

/// Factors within this of one are not worth another round.
const SETTLED: f32 = 1e-3;

/// A layer and all layers that read it.
struct Link {
    first: NodeId,
    seconds: Vec<NodeId>,
}

/// The same network with its convolutions' ranges equalized, and how many pairs there were. What it
/// computes stays the same but for rounding.
///
/// # Errors
/// If the graph does not hold together.
pub fn equalize(graph: &Graph) -> Result<(Graph, usize), QuantizeError> {
    let links = links(graph);
    let mut values: BTreeMap<NodeId, Vec<f32>> = BTreeMap::new();
    for layer in links
        .iter()
        .flat_map(|l| l.seconds.iter().chain([&l.first]))
    {
        for &input in &graph.node(*layer).inputs[1..] {
            let data = graph.constant(input).and_then(Tensor::as_f32);
            values.insert(input, data.unwrap_or_default().to_vec());
        }
    }
    for _ in 0..ROUNDS {
        let mut largest = 0.0f32;
        for link in &links {
            largest = largest.max(balance(graph, link, &mut values));
        }
        if largest < SETTLED {
            break;
        }
    }
    let pairs = links.iter().map(|l| l.seconds.len()).sum();
    Ok((with_parameters(graph, &values)?, pairs))
}

/// The convolutions whose results only other convolutions read, through a ReLU at most.
fn links(graph: &Graph) -> Vec<Link> {
    let uses = graph.uses();
    let mut readers = vec![Vec::new(); graph.nodes().len()];
    for (id, node) in graph.iter() {
        for input in &node.inputs {
            readers[input.index()].push(id);
        }
    }
    let own_weights = |id: &NodeId| {
        let node = graph.node(*id);
        let constant = |i: &NodeId| graph.constant(*i).is_some_and(|t| t.as_f32().is_some());
        matches!(node.op, Op::Conv(_))
            && node.inputs[1..]
                .iter()
                .all(|i| constant(i) && uses[i.index()] == 1)
    };
    let mut links = Vec::new();
    for (id, _) in graph.iter().filter(|(id, _)| own_weights(id)) {
        let mut end = id;
        if let [reader] = readers[id.index()][..]
            && let Op::Activation(f) = graph.node(reader).op
            && matches!(f, Activation::Relu | Activation::LeakyRelu { .. })
            && !graph.outputs().contains(&id)
        {
            end = reader;
        }
        let seconds = &readers[end.index()];
        let reads_as_input = |r: &NodeId| own_weights(r) && graph.node(*r).inputs[0] == end;
        if !seconds.is_empty()
            && seconds.iter().all(reads_as_input)
            && !graph.outputs().contains(&end)
        {
            links.push(Link {
                first: id,
                seconds: seconds.clone(),
            });
        }
    }
    links
}

fn conv(graph: &Graph, id: NodeId) -> &Conv {
    match &graph.node(id).op {
        Op::Conv(conv) => conv,
        _ => unreachable!("links hold convolutions alone"),
    }
}

/// Equalizes one link; the largest relative change of a factor.
fn balance(graph: &Graph, link: &Link, values: &mut BTreeMap<NodeId, Vec<f32>>) -> f32 {
    let first = graph.node(link.first);
    let channels = graph
        .node(first.inputs[1])
        .shape
        .sizes()
        .map_or(0, |s| s[0]);
    let span = |w: &[f32]| w.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    let weight = &values[&first.inputs[1]];
    let per_channel = weight.len() / channels.max(1);
    let made: Vec<f32> = weight.chunks_exact(per_channel.max(1)).map(span).collect();
    let mut taken = vec![0.0f32; channels];
    for &second in &link.seconds {
        let weight = &values[&graph.node(second).inputs[1]];
        columns(
            conv(graph, second),
            channels,
            weight.len(),
            |channel, at| {
                taken[channel] = taken[channel].max(weight[at].abs());
            },
        );
    }
    let factor = |c: usize| match made[c] > 0.0 && taken[c] > 0.0 {
        true => (made[c] / taken[c]).sqrt(),
        false => 1.0,
    };
    // Divides the first layer's channel; the second's column is multiplied.
    let factors: Vec<f32> = (0..channels)
        .map(factor)
        .map(|f| f.clamp(1e-4, 1e4))
        .collect();
    for (i, &input) in first.inputs[1..].iter().enumerate() {
        let Some(data) = values.get_mut(&input) else {
            continue;
        };
        let each = if i == 0 { per_channel } else { 1 };
        for (c, row) in data.chunks_exact_mut(each.max(1)).enumerate() {
            row.iter_mut().for_each(|v| *v /= factors[c]);
        }
    }
    for &second in &link.seconds {
        let Some(data) = values.get_mut(&graph.node(second).inputs[1]) else {
            continue;
        };
        let len = data.len();
        columns(conv(graph, second), channels, len, |channel, at| {
            data[at] *= factors[channel]
        });
    }
    factors.iter().map(|f| (f - 1.0).abs()).fold(0.0, f32::max)
}

/// Calls `f` with the input channel that each element of a weight multiplies, and its position.
fn columns(conv: &Conv, channels: usize, len: usize, mut f: impl FnMut(usize, usize)) {
    let taps: usize = conv.kernel.iter().product::<usize>().max(1);
    let per_group = (channels / conv.groups.max(1)).max(1);
    let outputs_per_group = (len / (per_group * taps) / conv.groups.max(1)).max(1);
    for at in 0..len {
        let (output, column) = (at / (per_group * taps), at / taps % per_group);
        f(output / outputs_per_group * per_group + column, at);
    }
}
