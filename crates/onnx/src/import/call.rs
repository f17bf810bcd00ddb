//! One node of the file with its attributes.

use crate::OnnxError;
use crate::proto::{AttributeProto, NodeProto};

/// One node of the file.
pub(super) struct Call<'a> {
    pub(super) file: &'a str,
    /// The operator.
    pub(super) op: &'a str,
    /// The version of the operator set.
    pub(super) opset: i64,
    pub(super) node: &'a NodeProto,
}

impl<'a> Call<'a> {
    /// The name of what it makes first.
    pub(super) fn output(&self) -> &'a str {
        self.node.output.first().map_or("", String::as_str)
    }

    /// The node's name, or that of its first output.
    pub(super) fn name(&self) -> &'a str {
        match self.node.name.as_deref() {
            Some(name) if !name.is_empty() => name,
            _ => self.output(),
        }
    }

    /// The error of this node.
    pub(super) fn error(&self, problem: impl Into<String>) -> OnnxError {
        OnnxError::Node {
            file: self.file.to_owned(),
            op: self.op.to_owned(),
            node: self.name().to_owned(),
            problem: problem.into(),
        }
    }

    /// Fails with the error of this node.
    pub(super) fn fail<T>(&self, problem: impl Into<String>) -> Result<T, OnnxError> {
        Err(self.error(problem))
    }

    /// The name of input `i`, if the node has it.
    pub(super) fn input(&self, i: usize) -> Option<&'a str> {
        let name = self.node.input.get(i)?;
        (!name.is_empty()).then_some(name.as_str())
    }

    /// An attribute, if it is there.
    pub(super) fn attribute(&self, name: &str) -> Option<&'a AttributeProto> {
        self.node
            .attribute
            .iter()
            .find(|a| a.name.as_deref() == Some(name))
    }

    /// A number.
    pub(super) fn int(&self, name: &str, default: i64) -> i64 {
        self.attribute(name).and_then(|a| a.i).unwrap_or(default)
    }

    /// A switch.
    pub(super) fn flag(&self, name: &str, default: bool) -> bool {
        self.int(name, i64::from(default)) != 0
    }

    /// A fraction.
    pub(super) fn float(&self, name: &str, default: f32) -> f32 {
        self.attribute(name).and_then(|a| a.f).unwrap_or(default)
    }

    /// A list of numbers, if it is there.
    pub(super) fn ints(&self, name: &str) -> Option<&'a [i64]> {
        self.attribute(name).map(|a| a.ints.as_slice())
    }

    /// A word.
    pub(super) fn string(&self, name: &str, default: &'static str) -> &'a str {
        match self.attribute(name).and_then(|a| a.s.as_deref()) {
            Some(bytes) => std::str::from_utf8(bytes).unwrap_or("(not Unicode)"),
            None => default,
        }
    }

    /// A list of `rank` sizes, with a default for all of them.
    pub(super) fn sizes(
        &self,
        name: &str,
        rank: usize,
        default: usize,
    ) -> Result<Vec<usize>, OnnxError> {
        let Some(values) = self.ints(name) else {
            return Ok(vec![default; rank]);
        };
        let sizes: Option<Vec<usize>> = values.iter().map(|&n| usize::try_from(n).ok()).collect();
        match sizes {
            Some(sizes) if sizes.len() == rank => Ok(sizes),
            _ => self.fail(format!("{name} is {values:?}; {rank} sizes are needed")),
        }
    }

    /// An axis that may be counted from the end.
    pub(super) fn axis(&self, axis: i64, rank: usize) -> Result<usize, OnnxError> {
        let from_start = if axis < 0 {
            axis.checked_add(rank as i64)
        } else {
            Some(axis)
        };
        match from_start.and_then(|a| usize::try_from(a).ok()) {
            Some(a) if a < rank => Ok(a),
            _ => self.fail(format!("axis {axis} is not one of {rank}")),
        }
    }

    /// Axes that may be counted from the end, ascending.
    pub(super) fn axes(&self, axes: &[i64], rank: usize) -> Result<Vec<usize>, OnnxError> {
        let axes: Result<Vec<usize>, OnnxError> =
            axes.iter().map(|&a| self.axis(a, rank)).collect();
        let mut axes = axes?;
        axes.sort_unstable();
        axes.dedup();
        Ok(axes)
    }
}
