//! Every operator and every fusion against the reference evaluator, on every instruction set of
//! this CPU and several numbers of threads.

mod fusions;
mod operators;
mod properties;
mod runs;
mod small_numbers;

use slicewise_graph::{DType, Graph, GraphError, NodeId, Op, Role, Shape, Tensor, reference};
use slicewise_kernels::{Context, Isa};

use crate::network::compile_with;

/// Values in [-1, 1) that look random, the same for the same seed.
pub(super) fn noise(seed: u64, shape: &[usize]) -> Tensor {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x2545_f491_4f6c_dd1d;
    Tensor::from_fn(shape, |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    })
}

/// A graph under construction, with inputs and weights of noise.
pub(super) struct Maker {
    pub(super) graph: Graph,
    pub(super) inputs: Vec<Tensor>,
    weights: u64,
}

impl Maker {
    pub(super) fn new() -> Self {
        Maker {
            graph: Graph::new("test"),
            inputs: Vec::new(),
            weights: 100,
        }
    }

    pub(super) fn input(&mut self, shape: &[usize]) -> NodeId {
        let i = self.inputs.len();
        self.inputs.push(noise(i as u64 + 1, shape));
        let name = format!("x{i}");
        self.graph
            .input(&name, Shape::new(shape), DType::F32)
            .expect("an unused name")
    }

    pub(super) fn weight(&mut self, shape: &[usize]) -> NodeId {
        self.weights += 1;
        self.constant(noise(self.weights, shape))
    }

    /// Values from 0.5 to 1.5.
    pub(super) fn positive(&mut self, n: usize) -> NodeId {
        self.weights += 1;
        let noise = noise(self.weights, &[n]);
        let values = noise.as_f32().unwrap_or_default();
        self.constant(Tensor::from_fn(&[n], |i| 1.0 + 0.5 * values[i]))
    }

    pub(super) fn constant(&mut self, tensor: Tensor) -> NodeId {
        self.weights += 1;
        let name = format!("w{}", self.weights);
        self.graph
            .constant_tensor(&name, Role::Trainable, tensor)
            .expect("an unused name")
    }

    pub(super) fn add(&mut self, op: Op, inputs: &[NodeId]) -> NodeId {
        self.try_add(op, inputs).expect("operands that fit")
    }

    pub(super) fn try_add(&mut self, op: Op, inputs: &[NodeId]) -> Result<NodeId, GraphError> {
        self.graph.add("node", op, inputs)
    }

    /// Checks the graph with these outputs; an error says where it differs.
    pub(super) fn check(mut self, outputs: &[NodeId]) -> Result<Vec<String>, String> {
        self.graph.set_outputs(outputs);
        check(&self.graph, &self.inputs)
    }
}

/// Compares a graph with the reference evaluator, on every instruction set, and the numbers of
/// threads with each other. Returns the operators of the steps.
pub(super) fn check(graph: &Graph, inputs: &[Tensor]) -> Result<Vec<String>, String> {
    let want = reference::run(graph, inputs).map_err(|e| e.to_string())?;
    let mut ops = Vec::new();
    for isa in Isa::available() {
        let mut first: Option<Vec<Tensor>> = None;
        // Miri takes a thousand times as long.
        let several: &[usize] = if cfg!(miri) { &[2] } else { &[1, 2, 5] };
        for &threads in several {
            let at = format!("{}, {threads} threads", isa.name());
            let mut network = compile_with(
                graph,
                Context::new(isa, threads),
                crate::Accuracy::Default,
                crate::Precision::F32,
            )
            .map_err(|e| format!("{at}: {e}"))?;
            ops = network.steps().into_iter().map(|s| s.op).collect();
            for run in 0..2 {
                let got = network.run(inputs).map_err(|e| format!("{at}: {e}"))?;
                compare(got, &want).map_err(|e| format!("{at}, run {run}: {e}"))?;
                let same = first.get_or_insert_with(|| got.to_vec());
                if same != got {
                    return Err(format!("{at}, run {run}: differs from one thread"));
                }
            }
        }
    }
    Ok(ops)
}

/// Whether results are within 1e-5 of the range of the reference's, or equal if they are integers.
fn compare(got: &[Tensor], want: &[Tensor]) -> Result<(), String> {
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        if got.shape() != want.shape() || got.dtype() != want.dtype() {
            let (a, b) = (got.shape(), want.shape());
            return Err(format!(
                "output {i} is {} {a:?}, not {} {b:?}",
                got.dtype(),
                want.dtype()
            ));
        }
        let (Some(got), Some(values)) = (got.as_f32(), want.as_f32()) else {
            if got != want {
                return Err(format!("output {i} differs"));
            }
            continue;
        };
        let range = values.iter().fold(0f32, |m, v| m.max(v.abs()));
        for (j, (g, w)) in got.iter().zip(values).enumerate() {
            if (g - w).abs() > 1e-5 * range.max(1e-3) {
                return Err(format!(
                    "output {i} element {j} is {g}, not {w} (range {range})"
                ));
            }
        }
    }
    Ok(())
}

/// Fails with the names and reasons of all cases that failed.
pub(super) fn report(results: impl IntoIterator<Item = (String, Result<Vec<String>, String>)>) {
    let failed: Vec<String> = results
        .into_iter()
        .filter_map(|(name, result)| result.err().map(|e| format!("{name}: {e}")))
        .collect();
    assert!(failed.is_empty(), "\n{}", failed.join("\n"));
}
