//! Building a network layer by layer under the reference implementation's names.

use slicewise_graph::{
    Activation, Binary, Conv, ConvTranspose, Coordinates, DType, Graph, GraphError, NodeId, Op,
    Pool, PoolKind, Reduce, ReduceKind, ReshapeDim, Resize, ResizeMode, Role, Shape, Slice, Tensor,
};

use crate::Form;

/// What building steps return.
pub(crate) type Built<T = NodeId> = Result<T, GraphError>;

/// A graph under construction. Layers take the reference's module path (`layer1.0.conv1`); their
/// parameters get that path, behind the prefix of the part being built, as state-dict key.
/// Nodes without parameters are named after their input.
pub(crate) struct Net {
    pub(crate) graph: Graph,
    /// Whether multi-branch blocks are built as trained or as deployed.
    pub(crate) form: Form,
    prefix: &'static str,
}

impl Net {
    pub(crate) fn new(name: &str, form: Form) -> Self {
        Net {
            graph: Graph::new(name),
            form,
            prefix: "",
        }
    }

    /// What comes before the names of all layers from here on: `encoder.`, `decoder.` or nothing.
    pub(crate) fn set_prefix(&mut self, prefix: &'static str) {
        self.prefix = prefix;
    }

    pub(crate) fn shape(&self, x: NodeId) -> &Shape {
        &self.graph.node(x).shape
    }

    /// The fixed size of an axis; 0 for an open batch.
    pub(crate) fn size(&self, x: NodeId, axis: usize) -> usize {
        self.shape(x)
            .dims()
            .get(axis)
            .and_then(|d| d.fixed())
            .unwrap_or(0)
    }

    /// The channels of `[N, C, …]`.
    pub(crate) fn channels(&self, x: NodeId) -> usize {
        self.size(x, 1)
    }

    /// The spatial sizes of `[N, C, spatial…]`.
    pub(crate) fn spatial(&self, x: NodeId) -> Vec<usize> {
        (2..self.shape(x).rank()).map(|i| self.size(x, i)).collect()
    }

    fn path(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// The name of a node without parameters.
    fn after(&self, x: NodeId, what: &str) -> String {
        format!("{}/{what}", self.graph.node(x).name)
    }

    /// A learnt tensor of the state dict.
    pub(crate) fn parameter(&mut self, name: &str, sizes: &[usize]) -> Built {
        let path = self.path(name);
        self.graph.parameter(&path, sizes, Role::Trainable)
    }

    /// A tensor computed from the architecture, not in the state dict.
    pub(crate) fn constant(&mut self, name: &str, tensor: Tensor) -> Built {
        let path = self.path(name);
        self.graph.constant_tensor(&path, Role::Constant, tensor)
    }

    /// Convolution to `out` channels, weight (and bias) under `name`.
    pub(crate) fn conv(&mut self, name: &str, x: NodeId, out: usize, c: Conv, bias: bool) -> Built {
        let mut sizes = vec![out, self.channels(x) / c.groups.max(1)];
        sizes.extend(&c.kernel);
        self.weighted(name, Op::Conv(c), x, &sizes, bias.then_some(out))
    }

    /// Transposed convolution to `out` channels, weight (and bias) under `name`.
    pub(crate) fn conv_transpose(
        &mut self,
        name: &str,
        x: NodeId,
        out: usize,
        c: ConvTranspose,
        bias: bool,
    ) -> Built {
        let mut sizes = vec![self.channels(x), out / c.groups.max(1)];
        sizes.extend(&c.kernel);
        self.weighted(name, Op::ConvTranspose(c), x, &sizes, bias.then_some(out))
    }

    /// Linear layer on the last axis, weight (and bias) under `name`.
    pub(crate) fn linear(&mut self, name: &str, x: NodeId, out: usize, bias: bool) -> Built {
        let features = self.size(x, self.shape(x).rank() - 1);
        self.weighted(name, Op::Linear, x, &[out, features], bias.then_some(out))
    }

    fn weighted(
        &mut self,
        name: &str,
        op: Op,
        x: NodeId,
        weight: &[usize],
        bias: Option<usize>,
    ) -> Built {
        let mut inputs = vec![x, self.parameter(&format!("{name}.weight"), weight)?];
        if let Some(n) = bias {
            inputs.push(self.parameter(&format!("{name}.bias"), &[n])?);
        }
        let path = self.path(name);
        self.graph.add(&path, op, &inputs)
    }

    /// Batch norm with PyTorch's eps of 1e-5.
    pub(crate) fn batch_norm(&mut self, name: &str, x: NodeId) -> Built {
        self.batch_norm_eps(name, x, 1e-5)
    }

    /// Batch norm with weight, bias and running statistics under `name`.
    pub(crate) fn batch_norm_eps(&mut self, name: &str, x: NodeId, eps: f32) -> Built {
        let channels = [self.channels(x)];
        let mut inputs = vec![x];
        for (key, role) in [
            ("weight", Role::Trainable),
            ("bias", Role::Trainable),
            ("running_mean", Role::Buffer),
            ("running_var", Role::Buffer),
        ] {
            let path = self.path(&format!("{name}.{key}"));
            inputs.push(self.graph.parameter(&path, &channels, role)?);
        }
        let path = self.path(name);
        self.graph.add(&path, Op::BatchNorm { eps }, &inputs)
    }

    /// Layer norm along one axis, weight and bias under `name`.
    pub(crate) fn layer_norm(&mut self, name: &str, x: NodeId, axis: usize, eps: f32) -> Built {
        let n = self.size(x, axis);
        self.affine_norm(name, Op::LayerNorm { axis, eps }, x, n)
    }

    /// Group norm, weight and bias under `name`; instance norm has as many groups as channels.
    pub(crate) fn group_norm(&mut self, name: &str, x: NodeId, groups: usize, eps: f32) -> Built {
        let n = self.channels(x);
        self.affine_norm(name, Op::GroupNorm { groups, eps }, x, n)
    }

    fn affine_norm(&mut self, name: &str, op: Op, x: NodeId, n: usize) -> Built {
        let weight = self.parameter(&format!("{name}.weight"), &[n])?;
        let bias = self.parameter(&format!("{name}.bias"), &[n])?;
        let path = self.path(name);
        self.graph.add(&path, op, &[x, weight, bias])
    }

    /// Any operator of one input, named after it.
    pub(crate) fn unary(&mut self, what: &str, op: Op, x: NodeId) -> Built {
        let name = self.after(x, what);
        self.graph.add(&name, op, &[x])
    }

    pub(crate) fn act(&mut self, f: Activation, x: NodeId) -> Built {
        self.unary(&f.name().to_lowercase(), Op::Activation(f), x)
    }

    pub(crate) fn relu(&mut self, x: NodeId) -> Built {
        self.act(Activation::Relu, x)
    }

    pub(crate) fn add(&mut self, a: NodeId, b: NodeId) -> Built {
        let name = self.after(a, "add");
        self.graph.binary(&name, Binary::Add, a, b)
    }

    pub(crate) fn sub(&mut self, a: NodeId, b: NodeId) -> Built {
        let name = self.after(a, "sub");
        self.graph.binary(&name, Binary::Sub, a, b)
    }

    pub(crate) fn mul(&mut self, a: NodeId, b: NodeId) -> Built {
        let name = self.after(a, "mul");
        self.graph.binary(&name, Binary::Mul, a, b)
    }

    pub(crate) fn matmul(&mut self, a: NodeId, b: NodeId) -> Built {
        let name = self.after(a, "matmul");
        self.graph.add(&name, Op::MatMul, &[a, b])
    }

    pub(crate) fn concat(&mut self, axis: usize, parts: &[NodeId]) -> Built {
        let name = self.after(parts[0], "concat");
        self.graph.add(&name, Op::Concat { axis }, parts)
    }

    /// Max pooling with PyTorch's `kernel`, `stride` and `pad` on every spatial axis.
    pub(crate) fn max_pool(
        &mut self,
        x: NodeId,
        kernel: usize,
        stride: usize,
        pad: usize,
    ) -> Built {
        self.pool(x, PoolKind::Max, kernel, stride, pad)
    }

    pub(crate) fn pool(
        &mut self,
        x: NodeId,
        kind: PoolKind,
        kernel: usize,
        stride: usize,
        pad: usize,
    ) -> Built {
        let rank = self.spatial(x).len();
        let pool = Pool {
            kind,
            kernel: vec![kernel; rank],
            stride: vec![stride; rank],
            pads: vec![(pad, pad); rank],
            ceil_mode: false,
        };
        self.unary("pool", Op::Pool(pool), x)
    }

    /// The mean over all spatial axes: `[N, C]`, or `[N, C, 1, …]` with `keep_dims`.
    pub(crate) fn global_mean(&mut self, x: NodeId, keep_dims: bool) -> Built {
        let axes = (2..self.shape(x).rank()).collect();
        self.reduce(x, ReduceKind::Mean, axes, keep_dims)
    }

    pub(crate) fn reduce(
        &mut self,
        x: NodeId,
        kind: ReduceKind,
        axes: Vec<usize>,
        keep_dims: bool,
    ) -> Built {
        let reduce = Reduce {
            kind,
            axes,
            keep_dims,
        };
        self.unary("reduce", Op::Reduce(reduce), x)
    }

    /// Nearest-neighbour resampling to `size` as PyTorch's `interpolate(mode="nearest")`.
    pub(crate) fn resize_nearest(&mut self, x: NodeId, size: &[usize]) -> Built {
        self.resize(x, size, ResizeMode::Nearest, Coordinates::Asymmetric)
    }

    /// (Bi/tri)linear resampling to `size`, `align_corners=False`; nothing if that is x's size.
    pub(crate) fn resize_linear(&mut self, x: NodeId, size: &[usize]) -> Built {
        if self.spatial(x) == size {
            return Ok(x);
        }
        self.resize(x, size, ResizeMode::Linear, Coordinates::HalfPixel)
    }

    pub(crate) fn resize(
        &mut self,
        x: NodeId,
        size: &[usize],
        mode: ResizeMode,
        coordinates: Coordinates,
    ) -> Built {
        let resize = Resize {
            size: size.to_vec(),
            mode,
            coordinates,
            scales: None,
        };
        self.unary("resize", Op::Resize(resize), x)
    }

    pub(crate) fn transpose(&mut self, x: NodeId, perm: &[usize]) -> Built {
        let perm = perm.to_vec();
        self.unary("transpose", Op::Transpose { perm }, x)
    }

    pub(crate) fn reshape(&mut self, x: NodeId, dims: &[ReshapeDim]) -> Built {
        let dims = dims.to_vec();
        self.unary("reshape", Op::Reshape { dims }, x)
    }

    /// `start..end` along one axis.
    pub(crate) fn slice(&mut self, x: NodeId, axis: usize, start: usize, end: usize) -> Built {
        let slice = Slice {
            axis,
            start,
            end,
            step: 1,
        };
        self.unary("slice", Op::Slice(slice), x)
    }

    pub(crate) fn softmax(&mut self, x: NodeId, axis: usize) -> Built {
        self.unary("softmax", Op::Softmax { axis }, x)
    }

    /// The image or volume `[N, channels, size…]`.
    pub(crate) fn image(
        &mut self,
        batch: slicewise_graph::Dim,
        channels: usize,
        size: &[usize],
    ) -> Built {
        let dims = [batch, channels.into()];
        let shape = dims
            .into_iter()
            .chain(size.iter().map(|&n| n.into()))
            .collect();
        self.graph.input("input", shape, DType::F32)
    }
}
