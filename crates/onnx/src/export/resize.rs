//! Resampling: ONNX's Resize where engines compute what the graph says, matrix products elsewhere.

use slicewise_graph::{Coordinates, Node, Resize, ResizeMode, Tensor, sampling};

use super::{Exporter, export_error, float, string};
use crate::OnnxError;

/// The most samples along an axis: beyond it 32-bit coordinates are too coarse anyway.
const LONGEST_AXIS: usize = 1 << 16;

/// The most elements of a matrix that stands for resampling along an axis.
const LARGEST_MATRIX: usize = 1 << 24;

impl Exporter<'_> {
    pub(super) fn resize(&mut self, node: &Node, r: &Resize) -> Result<(), OnnxError> {
        let x = self.value(node.inputs[0])?;
        let input = &self.graph.node(node.inputs[0]).shape;
        let spatial: Option<Vec<usize>> = input.dims()[2..].iter().map(|d| d.fixed()).collect();
        let Some(spatial) = spatial else {
            return Err(export_error(node, "the spatial sizes must be fixed"));
        };
        if let Some(size) = spatial.iter().chain(&r.size).find(|&&n| n > LONGEST_AXIS) {
            return Err(export_error(
                node,
                format!("an axis of {size} samples is too long"),
            ));
        }
        // Antialiasing came with opset 18, and engines resample one axis alone in their own ways.
        let native = spatial.len() > 1 && r.mode != (ResizeMode::Cubic { antialias: true });
        match scales(r, &spatial) {
            Some(scales) if native && nearest_agrees(r, &spatial, &scales) => {
                let attributes = vec![
                    string("mode", mode(r.mode)),
                    string("coordinate_transformation_mode", coordinates(r.coordinates)),
                    string("nearest_mode", nearest_mode(r.coordinates)),
                    float("cubic_coeff_a", -0.75),
                ];
                let own_scales = r.scales.is_some() && r.coordinates != Coordinates::AlignCorners;
                let leading = (input[0].fixed(), input[1].fixed());
                if let (false, (Some(n), Some(c))) = (own_scales, leading) {
                    let sizes = [n, c].iter().chain(&r.size).map(|&n| n as i64).collect();
                    let sizes = self.indices(node, "sizes", sizes)?;
                    self.emit("Resize", &[&x, "", "", &sizes], &node.name, attributes);
                } else {
                    let scales =
                        Tensor::from_fn(
                            &[input.rank()],
                            |i| {
                                if i < 2 { 1.0 } else { scales[i - 2] }
                            },
                        );
                    let scales = self.constant(node, "scales", scales);
                    self.emit("Resize", &[&x, "", &scales], &node.name, attributes);
                }
                Ok(())
            }
            _ => self.resize_by_matrices(node, r, x, spatial),
        }
    }

    /// Resampling is linear and works on one axis after the other, so each axis is a product with
    /// the matrix of its taps.
    fn resize_by_matrices(
        &mut self,
        node: &Node,
        r: &Resize,
        mut x: String,
        mut spatial: Vec<usize>,
    ) -> Result<(), OnnxError> {
        let last = spatial.len() - 1;
        let leading: Vec<Option<usize>> =
            node.shape.dims()[..2].iter().map(|d| d.fixed()).collect();
        for axis in (0..=last).rev() {
            let (input, output) = (spatial[axis], r.size[axis]);
            if input * output > LARGEST_MATRIX {
                let problem = format!("resampling {input} to {output} takes too large a matrix");
                return Err(export_error(node, problem));
            }
            let taps = sampling::taps(r, axis, input);
            let mut matrix = vec![0.0f32; input * output];
            for (i, taps) in taps.iter().enumerate() {
                for &(j, share) in taps {
                    // The last axis is multiplied from the right, so its matrix is [in, out].
                    let at = if axis == last {
                        j * output + i
                    } else {
                        i * input + j
                    };
                    matrix[at] += share as f32;
                }
            }
            let sizes = if axis == last {
                [input, output]
            } else {
                [output, input]
            };
            let matrix =
                Tensor::new(&sizes, matrix).map_err(|e| export_error(node, e.to_string()))?;
            let matrix = self.constant(node, &format!("taps_{axis}"), matrix);
            spatial[axis] = output;
            x = if axis == last {
                self.step(node, "resampled", "MatMul", &[&x, &matrix], vec![])
            } else if axis + 1 == last {
                self.step(node, "resampled", "MatMul", &[&matrix, &x], vec![])
            } else {
                let inner: usize = spatial[axis + 1..].iter().product();
                let shape = |sizes: &[usize]| -> Vec<Option<usize>> {
                    leading
                        .iter()
                        .copied()
                        .chain(sizes.iter().map(|&n| Some(n)))
                        .collect()
                };
                let flat = self.reshape(node, "flat", &x, &shape(&[input, inner]))?;
                let product = self.step(node, "resampled", "MatMul", &[&matrix, &flat], vec![]);
                self.reshape(node, "unflattened", &product, &shape(&spatial))?
            };
        }
        self.emit("Identity", &[&x], &node.name, vec![]);
        Ok(())
    }
}

/// Output samples per input sample and axis, such that `floor(scale · size)` is the new size; `None`
/// where no such number is near.
fn scales(r: &Resize, spatial: &[usize]) -> Option<Vec<f32>> {
    let scale = |(axis, &input): (usize, &usize)| {
        let wanted = match (&r.scales, r.coordinates) {
            (Some(steps), Coordinates::HalfPixel | Coordinates::Asymmetric) => 1.0 / steps[axis],
            _ => r.size[axis] as f32 / input as f32,
        };
        // Engines work the new size out in 32 bits, the checker in 64.
        let fits = |s: f32| {
            let single = (s * input as f32).floor() as usize;
            let double = (f64::from(s) * input as f64).floor() as usize;
            single == r.size[axis] && double == r.size[axis]
        };
        // Rounding may leave the product just below a whole number: then the next float reaches it.
        [
            wanted,
            wanted.next_up(),
            wanted.next_up().next_up(),
            wanted.next_down(),
        ]
        .into_iter()
        .find(|&s| s.is_finite() && fits(s))
    };
    spatial.iter().enumerate().map(scale).collect()
}

/// Whether 32-bit coordinates, as engines compute them, select the same samples as exact ones.
fn nearest_agrees(r: &Resize, spatial: &[usize], scales: &[f32]) -> bool {
    if r.mode != ResizeMode::Nearest {
        return true;
    }
    let selected = |axis: usize, i: usize| {
        let i = i as f32;
        let at = match r.coordinates {
            Coordinates::Asymmetric => (i / scales[axis]).floor(),
            Coordinates::HalfPixel => ((i + 0.5) / scales[axis] - 1.0).ceil(),
            Coordinates::AlignCorners if r.size[axis] == 1 => 0.0,
            Coordinates::AlignCorners => {
                (i * (spatial[axis] - 1) as f32 / (r.size[axis] - 1) as f32 - 0.5).ceil()
            }
        };
        (at.max(0.0) as usize).min(spatial[axis] - 1)
    };
    (0..spatial.len()).all(|axis| {
        let taps = sampling::taps(r, axis, spatial[axis]);
        taps.iter()
            .enumerate()
            .all(|(i, taps)| taps.iter().all(|t| t.0 == selected(axis, i)))
    })
}

fn mode(mode: ResizeMode) -> &'static str {
    match mode {
        ResizeMode::Nearest => "nearest",
        ResizeMode::Linear => "linear",
        ResizeMode::Cubic { .. } => "cubic",
    }
}

fn coordinates(coordinates: Coordinates) -> &'static str {
    match coordinates {
        Coordinates::HalfPixel => "half_pixel",
        Coordinates::AlignCorners => "align_corners",
        Coordinates::Asymmetric => "asymmetric",
    }
}

fn nearest_mode(coordinates: Coordinates) -> &'static str {
    match coordinates {
        Coordinates::Asymmetric => "floor",
        Coordinates::HalfPixel | Coordinates::AlignCorners => "round_prefer_floor",
    }
}
