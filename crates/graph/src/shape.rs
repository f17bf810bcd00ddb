//! Sizes of tensors, with a batch that may stay open until compilation.

use std::fmt;

/// The size of one axis.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Dim {
    /// A size known when the graph is built.
    Fixed(usize),
    /// The batch, left open: every `Batch` axis of a graph takes the same value when it is compiled.
    Batch,
}

impl Dim {
    /// The size, where it is known.
    pub fn fixed(self) -> Option<usize> {
        match self {
            Dim::Fixed(n) => Some(n),
            Dim::Batch => None,
        }
    }
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Dim::Fixed(n) => write!(f, "{n}"),
            Dim::Batch => f.write_str("N"),
        }
    }
}

impl From<usize> for Dim {
    fn from(n: usize) -> Self {
        Dim::Fixed(n)
    }
}

/// The axes of a tensor, outermost first: `[N, C, H, W]` for images, `[N, C, D, H, W]` for volumes.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Shape(Vec<Dim>);

impl Shape {
    /// A shape of known sizes.
    pub fn new(sizes: &[usize]) -> Self {
        sizes.iter().copied().collect()
    }

    /// The axes.
    pub fn dims(&self) -> &[Dim] {
        &self.0
    }

    /// The number of axes.
    pub fn rank(&self) -> usize {
        self.0.len()
    }

    /// The sizes, if none is open.
    pub fn sizes(&self) -> Option<Vec<usize>> {
        self.0.iter().map(|d| d.fixed()).collect()
    }

    /// The number of elements with an open batch counted as one; `None` if it does not fit a `usize`.
    pub fn elements(&self) -> Option<usize> {
        self.0
            .iter()
            .try_fold(1usize, |n, d| n.checked_mul(d.fixed().unwrap_or(1)))
    }

    /// The same shape with every open batch set to `batch`.
    pub fn with_batch(&self, batch: usize) -> Self {
        self.0
            .iter()
            .map(|d| Dim::Fixed(d.fixed().unwrap_or(batch)))
            .collect()
    }

    /// The same shape with one axis replaced.
    pub fn with_axis(&self, axis: usize, size: impl Into<Dim>) -> Self {
        let mut dims = self.0.clone();
        dims[axis] = size.into();
        Shape(dims)
    }

    /// The shape that both operands of an element-wise operator are stretched to, by NumPy's rules;
    /// `None` if they do not fit. An open batch fits itself and 1.
    pub fn broadcast(&self, other: &Shape) -> Option<Shape> {
        let rank = self.rank().max(other.rank());
        let axis = |s: &Shape, i: usize| {
            let missing = rank - s.rank();
            if i < missing {
                Dim::Fixed(1)
            } else {
                s.0[i - missing]
            }
        };
        (0..rank)
            .map(|i| match (axis(self, i), axis(other, i)) {
                (a, b) if a == b => Some(a),
                (Dim::Fixed(1), b) => Some(b),
                (a, Dim::Fixed(1)) => Some(a),
                _ => None,
            })
            .collect()
    }
}

impl std::ops::Index<usize> for Shape {
    type Output = Dim;
    fn index(&self, axis: usize) -> &Dim {
        &self.0[axis]
    }
}

impl FromIterator<Dim> for Shape {
    fn from_iter<I: IntoIterator<Item = Dim>>(dims: I) -> Self {
        Shape(dims.into_iter().collect())
    }
}

impl FromIterator<usize> for Shape {
    fn from_iter<I: IntoIterator<Item = usize>>(sizes: I) -> Self {
        sizes.into_iter().map(Dim::Fixed).collect()
    }
}

impl fmt::Display for Shape {
    /// `[N, 3, 512, 512]`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (i, d) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(", ")?;
            }
            write!(f, "{d}")?;
        }
        f.write_str("]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broadcasting_follows_numpy_and_keeps_the_open_batch() {
        let n = Dim::Batch;
        let open: Shape = [n, 3.into(), 4.into()].into_iter().collect();
        let cases: &[(Shape, Shape, Option<Shape>)] = &[
            (
                Shape::new(&[2, 3]),
                Shape::new(&[3]),
                Some(Shape::new(&[2, 3])),
            ),
            (
                Shape::new(&[2, 1]),
                Shape::new(&[1, 5]),
                Some(Shape::new(&[2, 5])),
            ),
            (Shape::new(&[2]), Shape::new(&[3]), None),
            (open.clone(), Shape::new(&[3, 1]), Some(open.clone())),
            (open.clone(), Shape::new(&[2, 3, 4]), None),
        ];
        for (a, b, want) in cases {
            assert_eq!(a.broadcast(b).as_ref(), want.as_ref(), "{a} with {b}");
            assert_eq!(b.broadcast(a).as_ref(), want.as_ref(), "{b} with {a}");
        }
    }
}
