//! Resampling.

use slicewise_graph::{Coordinates, Op, Resize, ResizeMode};

use super::call::Call;
use super::value::{Int, Value};
use super::{Importer, Result};

/// How far a scale times a size may be from a whole number to count as the quotient of the sizes.
const WHOLE: f64 = 1e-4;

impl Importer<'_> {
    pub(super) fn resize(&mut self, call: &Call) -> Result<Value> {
        let x = self.node(call, 0)?;
        let input = self.spatial(call, x)?;
        let rank = input.len() + 2;
        let axes = match call.ints("axes") {
            Some(axes) => {
                let axes: Result<Vec<usize>> = axes.iter().map(|&a| call.axis(a, rank)).collect();
                axes?
            }
            None => (0..rank).collect(),
        };
        let policy = call.string("keep_aspect_ratio_policy", "stretch");
        if policy != "stretch" {
            return call.fail(format!(
                "keep_aspect_ratio_policy {policy} is not supported"
            ));
        }
        let (size, scales) = self.target_size(call, &axes, &input)?;
        if size == input && scales.is_none() {
            return Ok(Value::Node(x));
        }
        let (mode, coordinates) = convention(call, &input, &size)?;
        let op = Op::Resize(Resize {
            size,
            mode,
            coordinates,
            scales,
        });
        self.add(call, op, &[x]).map(Value::Node)
    }

    /// The new spatial sizes and, where they are not the quotient of the sizes, the steps.
    #[allow(clippy::type_complexity)]
    fn target_size(
        &mut self,
        call: &Call,
        axes: &[usize],
        input: &[usize],
    ) -> Result<(Vec<usize>, Option<Vec<f32>>)> {
        let scales_at = if call.op == "Upsample" { 1 } else { 2 };
        let mut size = input.to_vec();
        if let Some(sizes) = self.ints(call, 3)?.filter(|s| !s.values.is_empty()) {
            if sizes.values.len() != axes.len() {
                return call.fail(format!(
                    "has {} sizes for {} axes",
                    sizes.values.len(),
                    axes.len()
                ));
            }
            let x = self.node(call, 0)?;
            for (&axis, &v) in axes.iter().zip(&sizes.values) {
                match (axis.checked_sub(2), v.plain()) {
                    (None, _) if v == Int::from(self.shape(x)[axis]) => {}
                    (Some(i), Some(n)) if n > 0 => size[i] = n as usize,
                    _ => return call.fail(format!("resizes axis {axis} to {}", v.value)),
                }
            }
            return Ok((size, None));
        }
        let scales = match self.optional(call, scales_at) {
            Some(Value::Constant(c)) => c.tensor.as_f32().map(<[f32]>::to_vec),
            _ => None,
        };
        let Some(scales) = scales.filter(|s| s.len() == axes.len()) else {
            return call.fail("needs known sizes, or known scales, one per axis");
        };
        let mut steps = vec![1.0; input.len()];
        let mut exact = true;
        for (&axis, &scale) in axes.iter().zip(&scales) {
            let Some(i) = axis.checked_sub(2) else {
                if scale == 1.0 {
                    continue;
                }
                return call.fail(format!("resizes axis {axis} by {scale}"));
            };
            let full = f64::from(scale) * input[i] as f64;
            let nearest = full.round();
            let whole = (full - nearest).abs() <= WHOLE * nearest;
            let new = if whole { nearest } else { full.floor() };
            if !(new >= 1.0 && new < f64::from(u32::MAX)) {
                return call.fail(format!("resizes {} by {scale}", input[i]));
            }
            size[i] = new as usize;
            steps[i] = 1.0 / scale;
            exact &= whole;
        }
        Ok((size, (!exact).then_some(steps)))
    }
}

/// How values between samples are made and where output samples lie.
fn convention(call: &Call, input: &[usize], size: &[usize]) -> Result<(ResizeMode, Coordinates)> {
    let antialias = call.flag("antialias", false);
    let mode = match call.string("mode", "nearest") {
        "nearest" => ResizeMode::Nearest,
        "linear" if antialias && input.iter().zip(size).any(|(i, o)| o < i) => {
            return call.fail("linear resampling with antialiasing is not supported, cubic is");
        }
        "linear" => ResizeMode::Linear,
        "cubic" => {
            let (a, want) = (
                call.float("cubic_coeff_a", -0.75),
                if antialias { -0.5 } else { -0.75 },
            );
            if a != want {
                return call.fail(format!("cubic_coeff_a {a} is not supported, {want} is"));
            }
            if call.flag("exclude_outside", false) != antialias {
                return call.fail("this exclude_outside is not supported");
            }
            ResizeMode::Cubic { antialias }
        }
        other => return call.fail(format!("mode {other} is not supported")),
    };
    let default = if call.op == "Upsample" {
        "asymmetric"
    } else {
        "half_pixel"
    };
    let coordinates = match call.string("coordinate_transformation_mode", default) {
        "half_pixel" => Coordinates::HalfPixel,
        // The same but for a new size of 1, which is then taken from position 0.
        "pytorch_half_pixel" if input.iter().zip(size).all(|(&i, &o)| o > 1 || i == 1) => {
            Coordinates::HalfPixel
        }
        "align_corners" => Coordinates::AlignCorners,
        "asymmetric" => Coordinates::Asymmetric,
        other => return call.fail(format!("coordinates {other} are not supported")),
    };
    if mode == ResizeMode::Nearest {
        let rounding = if call.op == "Upsample" {
            "floor"
        } else {
            "round_prefer_floor"
        };
        let rounding = call.string("nearest_mode", rounding);
        let whole_factors = input.iter().zip(size).all(|(&i, &o)| i > 0 && o % i == 0);
        let fits = match (coordinates, rounding) {
            (Coordinates::Asymmetric, "floor") => true,
            (Coordinates::HalfPixel | Coordinates::AlignCorners, "round_prefer_floor") => true,
            // Enlarged by a whole factor no sample lies half-way between two others.
            (Coordinates::HalfPixel, "round_prefer_ceil") => whole_factors,
            _ => false,
        };
        if !fits {
            return call.fail(format!(
                "nearest_mode {rounding} with these coordinates is not supported"
            ));
        }
    }
    Ok((mode, coordinates))
}
