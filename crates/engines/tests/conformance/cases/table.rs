//! How a case is written: a graph under construction and the table that collects it.

use slicewise_graph::{
    Conv, ConvTranspose, DType, Dim, Graph, NodeId, Op, Role, Shape, Task, Tensor,
};

/// One graph to run on every engine.
pub(crate) struct Case {
    /// What it shows.
    pub(crate) name: String,
    /// The graph, with weights.
    pub(crate) graph: Graph,
    /// What is asked of it.
    pub(crate) task: Task,
    /// Images per run.
    pub(crate) batch: usize,
}

/// Uniform values in [-1, 1), the same for the same seed.
pub(crate) fn random(shape: &[usize], seed: u64) -> Tensor {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0xd1b5_4a32_d192_ed03;
    Tensor::from_fn(shape, |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    })
}

/// A graph under construction; names and seeds count up.
pub(super) struct Net {
    pub(super) graph: Graph,
    pub(super) named: u64,
}

impl Net {
    pub(super) fn next(&mut self, kind: &str) -> String {
        self.named += 1;
        format!("{kind}{}", self.named)
    }

    /// An input whose first axis is the open batch.
    pub(super) fn input(&mut self, sizes: &[usize]) -> NodeId {
        let name = self.next("x");
        let dims = sizes.iter().map(|&n| Dim::Fixed(n));
        let shape: Shape = std::iter::once(Dim::Batch).chain(dims).collect();
        self.graph
            .input(&name, shape, DType::F32)
            .expect("a new name")
    }

    pub(super) fn constant(&mut self, tensor: Tensor) -> NodeId {
        let name = self.next("w");
        self.graph
            .constant_tensor(&name, Role::Trainable, tensor)
            .expect("a new name")
    }

    pub(super) fn weight(&mut self, sizes: &[usize]) -> NodeId {
        let tensor = random(sizes, self.named);
        self.constant(tensor)
    }

    /// Values in (0, 2): variances and scales.
    pub(super) fn positive(&mut self, n: usize) -> NodeId {
        let values = random(&[n], self.named);
        let values = values.as_f32().expect("f32").to_vec();
        self.constant(Tensor::from_fn(&[n], |i| 1.05 + values[i]))
    }

    pub(super) fn add(&mut self, op: Op, inputs: &[NodeId]) -> NodeId {
        let name = self.next("node");
        self.graph
            .add(&name, op, inputs)
            .expect("the case's shapes fit")
    }
}

/// The table while it grows.
pub(super) struct Table(pub(super) Vec<Case>);

impl Table {
    pub(super) fn graph(
        &mut self,
        name: &str,
        build: impl FnOnce(&mut Net) -> NodeId,
    ) -> &mut Case {
        let mut net = Net {
            graph: Graph::new(name),
            named: 0,
        };
        let output = build(&mut net);
        net.graph.set_outputs(vec![output]);
        self.0.push(Case {
            name: name.to_owned(),
            graph: net.graph,
            task: Task::Logits,
            batch: 1,
        });
        self.0.last_mut().expect("just pushed")
    }

    /// A case of one operator on one input of these sizes (without the batch), for batches 1 and 2.
    pub(super) fn unary(&mut self, name: &str, sizes: &[usize], op: Op) {
        for batch in [1, 2] {
            let op = op.clone();
            let build = |net: &mut Net| {
                let x = net.input(sizes);
                net.add(op, &[x])
            };
            self.graph(&format!("{name}, batch {batch}"), build).batch = batch;
        }
    }

    /// A convolution, with and without bias.
    pub(super) fn conv(&mut self, name: &str, x: &[usize], out: usize, conv: Conv) {
        for bias in [false, true] {
            let conv = conv.clone();
            let mut weight = vec![out, x[0] / conv.groups];
            weight.extend(&conv.kernel);
            let build = |net: &mut Net| {
                let x = net.input(x);
                let mut inputs = vec![x, net.weight(&weight)];
                if bias {
                    inputs.push(net.weight(&[out]));
                }
                net.add(Op::Conv(conv), &inputs)
            };
            self.graph(&format!("{name}, bias {bias}"), build).batch = 1 + usize::from(bias);
        }
    }

    pub(super) fn conv_transpose(
        &mut self,
        name: &str,
        x: &[usize],
        out: usize,
        conv: ConvTranspose,
    ) {
        let mut weight = vec![x[0], out / conv.groups];
        weight.extend(&conv.kernel);
        self.graph(name, |net| {
            let x = net.input(x);
            let (weight, bias) = (net.weight(&weight), net.weight(&[out]));
            net.add(Op::ConvTranspose(conv), &[x, weight, bias])
        });
    }
}
