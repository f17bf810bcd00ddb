//! What a name of the file stands for while its nodes are read.
//!
//! A value without the open batch is alike for all its images. Where a file stretches one over the
//! batch (a class token, a position embedding made on the way), the batch counts as 1 instead: what
//! meets it stretches it, and what could tell the difference does not fit and is an error.

use std::sync::Arc;

use slicewise_graph::{Dim, NodeId, Role, Shape, Tensor};

/// What a name of the file stands for.
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// A node of the graph.
    Node(NodeId),
    /// Elements that are known, and become a parameter where a node takes them.
    Constant(Constant),
    /// Whole numbers or truth values that are known but for the batch: shapes and what is made of them.
    Ints(Ints),
    /// A node stretched to more than its own shape.
    Stretched(Stretched),
    /// A part of GELU.
    Erf(Erf),
    /// Positions that count up from image to image.
    Positions(Positions),
    /// A node whose first axes, the open batch among them, count as one.
    Merged(Merged),
}

/// Elements that are known.
#[derive(Clone, Debug)]
pub(super) struct Constant {
    /// The name for the parameter.
    pub(super) name: Arc<str>,
    /// What it is to training.
    pub(super) role: Role,
    /// The elements.
    pub(super) tensor: Tensor,
    /// Tells constants apart: clones of one become one parameter.
    pub(super) key: usize,
}

/// A whole number, or a multiple of the open batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Int {
    /// The number, or the factor of the batch.
    pub(super) value: i64,
    /// Whether the batch is a factor.
    pub(super) batch: bool,
}

impl Int {
    /// A number without the batch.
    pub(super) fn known(value: i64) -> Self {
        Int {
            value,
            batch: false,
        }
    }

    /// The number, if the batch is no part of it.
    pub(super) fn plain(self) -> Option<i64> {
        (!self.batch).then_some(self.value)
    }
}

impl From<Dim> for Int {
    fn from(dim: Dim) -> Self {
        Int {
            value: dim.fixed().map_or(1, |n| n as i64),
            batch: dim == Dim::Batch,
        }
    }
}

/// The element types that [`Ints`] stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum IntKind {
    I64,
    I32,
    Bool,
}

/// Whole numbers, row-major.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Ints {
    pub(super) kind: IntKind,
    pub(super) dims: Vec<usize>,
    pub(super) values: Vec<Int>,
}

impl Ints {
    /// The numbers as a list along one axis.
    pub(super) fn vector(values: Vec<Int>) -> Self {
        Ints {
            kind: IntKind::I64,
            dims: vec![values.len()],
            values,
        }
    }

    /// The numbers, if the batch is a part of none.
    pub(super) fn plain(&self) -> Option<Vec<i64>> {
        self.values.iter().map(|v| v.plain()).collect()
    }
}

/// A node stretched to another shape, which most operators do by themselves.
#[derive(Clone, Debug)]
pub(super) struct Stretched {
    pub(super) of: NodeId,
    pub(super) to: Shape,
}

/// A node `[N, a, b, …]` seen as `[N·a, b, …]`: no shape of a graph says that, but exporters go
/// through it and back around the products of attention.
#[derive(Clone, Copy, Debug)]
pub(super) struct Merged {
    pub(super) of: NodeId,
    /// The axes that count as one, at least 2.
    pub(super) leading: usize,
}

/// Positions `stride · n + offset` of image n, as a strided view of a whole batch is selected by.
#[derive(Clone, Debug)]
pub(super) struct Positions {
    pub(super) stride: i64,
    /// The offsets, with one element along the batch.
    pub(super) offsets: Ints,
    /// The axis along which the images are.
    pub(super) axis: usize,
}

/// `scale · erf(factor · of) + offset`
#[derive(Clone, Copy, Debug)]
pub(super) struct Erf {
    pub(super) of: NodeId,
    pub(super) factor: f32,
    pub(super) scale: f32,
    pub(super) offset: f32,
}
