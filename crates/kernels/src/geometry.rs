//! Where windows lie: one description for convolutions, transposed convolutions and pools on one
//! to three axes.

use slicewise_graph::{Conv, ConvTranspose, Pool};

/// A sliding window on three axes (depth, height, width); an axis that the operator does not have
/// is of size 1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Geometry {
    /// Sizes of the input.
    pub input: [usize; 3],
    /// Sizes of the output.
    pub output: [usize; 3],
    /// Taps of the window.
    pub kernel: [usize; 3],
    /// Steps between windows.
    pub stride: [usize; 3],
    /// Steps between taps.
    pub dilation: [usize; 3],
    /// Padding before the input; negative where the input's first elements are skipped.
    pub before: [isize; 3],
    /// Steps that the input's elements are spread by, zeros between them: the stride of the
    /// transposed convolution that this convolution stands for.
    pub spread: [usize; 3],
}

/// Three sizes; leading axes that are missing are `missing`.
fn three<T: Copy>(sizes: &[T], missing: T) -> [T; 3] {
    let mut out = [missing; 3];
    out[3 - sizes.len()..].copy_from_slice(sizes);
    out
}

impl Geometry {
    /// A convolution from an input to an output of these spatial sizes.
    pub fn conv(spec: &Conv, input: &[usize], output: &[usize]) -> Self {
        let pads = three(&spec.pads, (0, 0));
        Geometry {
            input: three(input, 1),
            output: three(output, 1),
            kernel: three(&spec.kernel, 1),
            stride: three(&spec.stride, 1),
            dilation: three(&spec.dilation, 1),
            before: pads.map(|p| p.0 as isize),
            spread: [1; 3],
        }
    }

    /// The convolution that equals a transposed one: its input spread by the stride, its kernel
    /// turned round.
    pub fn conv_transpose(spec: &ConvTranspose, input: &[usize], output: &[usize]) -> Self {
        let (kernel, dilation) = (three(&spec.kernel, 1), three(&spec.dilation, 1));
        let pads = three(&spec.pads, (0, 0));
        let mut before = [0; 3];
        for i in 0..3 {
            before[i] = ((kernel[i] - 1) * dilation[i]) as isize - pads[i].0 as isize;
        }
        Geometry {
            input: three(input, 1),
            output: three(output, 1),
            kernel,
            stride: [1; 3],
            dilation,
            before,
            spread: three(&spec.stride, 1),
        }
    }

    /// A pool.
    pub fn pool(spec: &Pool, input: &[usize], output: &[usize]) -> Self {
        Geometry {
            input: three(input, 1),
            output: three(output, 1),
            kernel: three(&spec.kernel, 1),
            stride: three(&spec.stride, 1),
            dilation: [1; 3],
            before: three(&spec.pads, (0, 0)).map(|p| p.0 as isize),
            spread: [1; 3],
        }
    }

    /// The number of taps.
    pub fn taps(&self) -> usize {
        self.kernel.iter().product()
    }

    /// Elements of one channel of the input.
    pub fn input_area(&self) -> usize {
        self.input.iter().product()
    }

    /// Elements of one channel of the output.
    pub fn output_area(&self) -> usize {
        self.output.iter().product()
    }

    /// Whether every output element is made from the one input element at its place.
    pub fn is_pointwise(&self) -> bool {
        self.taps() == 1
            && self.stride == [1; 3]
            && self.before == [0; 3]
            && self.spread == [1; 3]
            && self.input == self.output
    }

    /// The same window on one long row, if rows do not matter to it.
    pub fn flattened(&self) -> Self {
        if !self.is_pointwise() {
            return *self;
        }
        let row = [1, 1, self.input_area()];
        Geometry {
            input: row,
            output: row,
            ..*self
        }
    }

    /// Whether every output element is made from one input element, of every few in a row.
    pub(crate) fn is_subsampling(&self) -> bool {
        let inside = |i: usize| (self.output[i] - 1) * self.stride[i] < self.input[i];
        self.taps() == 1 && self.before == [0; 3] && self.spread == [1; 3] && (0..3).all(inside)
    }

    /// Elements between the first and the last that a window touches on an axis, both counted.
    pub(crate) fn span(&self, axis: usize) -> usize {
        (self.kernel[axis] - 1) * self.dilation[axis] + 1
    }
}
