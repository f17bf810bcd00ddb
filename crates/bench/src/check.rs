//! Whether an arm computes what it should: its output beside another's for the same input and weights.

use slicewise_engines::Precision;
use slicewise_graph::{Tensor, TensorData};

use crate::arm::Check;

/// What `Check::error` is for scores: the largest difference in units of the largest score.
const RELATIVE: &str = "relative error";
/// What it is for scores of int8 if that is nearer to its limit: root of the mean square of the differences in units of
/// that of the scores.
const NOISE: &str = "noise";
/// What `Check::error` is for label maps.
const LABELS: &str = "labels that differ";

/// How far off the scores of a precision may be.
///
/// f32: engines add in another order, and some use Winograd's algorithm; 1e-5 was seen. bf16: 8 bits of
/// mantissa in every product; 5e-2 was seen. int8: steps of 1/255 of each layer's range add up over layers, and
/// of the millions of scores the worst is many times as far off as most, so that half of the largest score is
/// allowed for one of them and [`INT8_NOISE`] for all together.
fn score_tolerance(precision: Precision) -> f64 {
    match precision {
        Precision::F32 => 1e-3,
        Precision::Bf16 => 0.1,
        Precision::Int8 => 0.5,
    }
}

/// The noise of all int8 scores in units of the scores, as roots of mean squares: 14 dB, where 20 and more are
/// usual after calibration. An output of zeros has 1, one that has nothing to do with the right one √2, and one
/// with 2 % of such scores among right ones 0.2. The check is for wrong code; whether int8 is good enough for a
/// use is what [`crate::accuracy`] is about.
const INT8_NOISE: f64 = 0.2;

/// What share of labels may differ. The weights are not trained, so that many pixels have two classes
/// that score almost the same; a trained network would differ less. Of bf16, 1.6 % were seen, whose noise is
/// 40 dB or more below the scores; the share grows as the noise does, and int8's is ten times that and
/// more. Wrong code agrees in one of `classes` pixels by chance, unless one class is nearly everywhere.
fn label_tolerance(precision: Precision) -> f64 {
    match precision {
        Precision::F32 => 1e-3,
        Precision::Bf16 => 0.05,
        Precision::Int8 => 0.5,
    }
}

/// Compares outputs, in the order of the graph's.
///
/// # Errors
/// If they are not even of the same number, types and shapes.
pub(crate) fn compare(
    got: &[Tensor],
    want: &[Tensor],
    precision: Precision,
    against: &str,
) -> Result<Check, String> {
    if got.len() != want.len() {
        return Err(format!("{} outputs, want {}", got.len(), want.len()));
    }
    let mut worst: Option<Check> = None;
    for (got, want) in got.iter().zip(want) {
        let check = compare_one(got, want, precision, against)?;
        let excess = |c: &Check| c.error / c.tolerance;
        if worst.as_ref().is_none_or(|w| excess(&check) > excess(w)) {
            worst = Some(check);
        }
    }
    worst.ok_or_else(|| "no outputs".into())
}

fn compare_one(
    got: &Tensor,
    want: &Tensor,
    precision: Precision,
    against: &str,
) -> Result<Check, String> {
    let describe = |t: &Tensor| format!("{} {:?}", t.dtype(), t.shape());
    if got.shape() != want.shape() {
        return Err(format!(
            "its output is {}, that of {against} {}",
            describe(got),
            describe(want)
        ));
    }
    let (measure, error, tolerance) = match (got.as_f32(), want.as_f32()) {
        (Some(got), Some(want)) => {
            let tolerance = score_tolerance(precision);
            let worst = relative(got, want);
            let noise = noise(got, want);
            match precision == Precision::Int8 && noise / INT8_NOISE > worst / tolerance {
                true => (NOISE, noise, INT8_NOISE),
                false => (RELATIVE, worst, tolerance),
            }
        }
        (None, None) => {
            let (got, want) = (labels(got), labels(want));
            let differ = got.iter().zip(&want).filter(|(g, w)| g != w).count();
            let share = differ as f64 / want.len().max(1) as f64;
            (LABELS, share, label_tolerance(precision))
        }
        _ => {
            return Err(format!(
                "its output is {}, that of {against} {}",
                describe(got),
                describe(want)
            ));
        }
    };
    Ok(Check {
        against: against.to_owned(),
        measure: measure.to_owned(),
        error,
        tolerance,
    })
}

/// The largest difference in units of the largest score; [`f64::MAX`] if anything is not finite, because
/// a record holds finite numbers only.
fn relative(got: &[f32], want: &[f32]) -> f64 {
    let mut difference = 0f64;
    let mut largest = 0f64;
    for (&got, &want) in got.iter().zip(want) {
        if !got.is_finite() {
            return f64::MAX;
        }
        difference = difference.max((f64::from(got) - f64::from(want)).abs());
        largest = largest.max(f64::from(want).abs());
    }
    let error = difference / largest.max(f64::MIN_POSITIVE);
    if error.is_finite() { error } else { f64::MAX }
}

/// The root of the mean square of the differences in units of that of the scores, finite as [`relative`].
fn noise(got: &[f32], want: &[f32]) -> f64 {
    let square = |v: f64| v * v;
    let difference = |(g, w): (&f32, &f32)| square(f64::from(*g) - f64::from(*w));
    let differences: f64 = got.iter().zip(want).map(difference).sum();
    let scores: f64 = want.iter().map(|w| square(f64::from(*w))).sum();
    let noise = (differences / scores.max(f64::MIN_POSITIVE)).sqrt();
    if noise.is_finite() { noise } else { f64::MAX }
}

/// Labels of any integer type: engines have different ones.
fn labels(tensor: &Tensor) -> Vec<i64> {
    match tensor.data() {
        TensorData::F32(v) => v.iter().map(|&x| x as i64).collect(),
        TensorData::I64(v) => v.to_vec(),
        TensorData::I32(v) => v.iter().map(|&x| x.into()).collect(),
        TensorData::U16(v) => v.iter().map(|&x| x.into()).collect(),
        TensorData::U8(v) => v.iter().map(|&x| x.into()).collect(),
        TensorData::I8(v) => v.iter().map(|&x| x.into()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scores(values: &[f32]) -> Vec<Tensor> {
        vec![Tensor::new(&[values.len()], values.to_vec()).unwrap()]
    }

    #[test]
    fn scores_are_compared_in_units_of_the_largest() {
        let want = scores(&[1.0, -4.0, 0.0]);
        let cases: &[(&[f32], f64, bool)] = &[
            (&[1.0, -4.0, 0.0], 0.0, true),
            (&[1.0, -4.0, 0.002], 0.0005, true),
            (&[1.0, -4.0, 0.4], 0.1, false),
            (&[1.0, f32::NAN, 0.0], f64::MAX, false),
        ];
        for (got, error, passed) in cases {
            let check = compare(&scores(got), &want, Precision::F32, "native f32").unwrap();
            assert!((check.error - error).abs() <= 1e-6 * error, "{check:?}");
            assert_eq!(check.passed(), *passed, "{check}");
        }
        let off = compare(&scores(&[1.0, -4.0, 0.2]), &want, Precision::Bf16, "x").unwrap();
        assert!(off.passed(), "bf16 may be farther off: {off}");
    }

    #[test]
    fn int8_may_be_noisy_and_not_wrong() {
        let right: Vec<f32> = (0..1000).map(|i| (i as f32 * 0.37).sin()).collect();
        let changed = |f: fn(usize, f32) -> f32| -> Vec<f32> {
            right.iter().enumerate().map(|(i, v)| f(i, *v)).collect()
        };
        let cases = [
            (
                "noise of 20 dB",
                changed(|i, v| v + if i % 2 == 0 { 0.07 } else { -0.07 }),
                true,
            ),
            (
                "noise of 12 dB",
                changed(|i, v| v + if i % 2 == 0 { 0.18 } else { -0.18 }),
                false,
            ),
            ("zeros", changed(|_, _| 0.0), false),
            (
                "a twentieth from elsewhere",
                changed(|i, v| if i % 20 == 0 { -v } else { v }),
                false,
            ),
            (
                "one score far off",
                changed(|i, v| if i == 500 { v + 0.7 } else { v }),
                false,
            ),
            (
                "not a number",
                changed(|i, v| if i == 3 { f32::NAN } else { v }),
                false,
            ),
        ];
        for (what, got, passes) in cases {
            let check = compare(&scores(&got), &scores(&right), Precision::Int8, "x").unwrap();
            assert_eq!(check.passed(), passes, "{what}: {check}");
        }
    }

    #[test]
    fn labels_of_different_types_are_compared_by_agreement() {
        let got = vec![Tensor::new(&[4], vec![1i64, 2, 3, 4]).unwrap()];
        let want = vec![Tensor::new(&[4], vec![1u8, 2, 3, 5]).unwrap()];
        let check = compare(&got, &want, Precision::F32, "native f32").unwrap();
        assert_eq!((check.error, check.passed()), (0.25, false));
        assert_eq!(check.measure, LABELS);
    }

    #[test]
    fn outputs_of_another_shape_are_an_error_that_shows_both() {
        let error = compare(&scores(&[1.0]), &scores(&[1.0, 2.0]), Precision::F32, "x");
        assert!(error.unwrap_err().contains("[1]"));
        assert!(compare(&[], &scores(&[1.0]), Precision::F32, "x").is_err());
        assert!(compare(&[], &[], Precision::F32, "x").is_err());
    }
}
