//! How far two label maps agree, and how far two sets of scores.

use serde::{Deserialize, Serialize};
use slicewise_graph::{Tensor, TensorData};

/// Counted over any number of images: pixels that agree, and overlaps per class.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Counts {
    pixels: u64,
    same: u64,
    /// Pixels that either map calls something but background.
    foreground: u64,
    foreground_same: u64,
    /// Per class: pixels in both maps, and the sum of its pixels in each.
    overlaps: Vec<(u64, u64)>,
    signal: f64,
    noise: f64,
}

/// How far a result agrees with its reference: shares from 0 to 1.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Agreement {
    /// Pixels of the same label.
    pub labels: f64,
    /// The same among the pixels that either calls something but background (class 0).
    pub foreground: f64,
    /// Dice over the foreground classes that either map has, mean.
    pub mean_dice: f64,
    /// The worst of them.
    pub worst_dice: f64,
    /// And its class.
    pub worst_class: Option<usize>,
    /// Classes that either map has, background not counted.
    pub classes: usize,
    /// Signal to quantization noise of the scores, in dB; absent where labels were compared.
    pub sqnr_db: Option<f64>,
}

impl Counts {
    /// Counts an image: `reference` and `result` are scores `[N, C, …]` f32 or labels.
    ///
    /// # Errors
    /// If they have other shapes.
    pub fn add(&mut self, reference: &Tensor, result: &Tensor) -> Result<(), String> {
        if let (Some(a), Some(b)) = (reference.as_f32(), result.as_f32()) {
            if a.len() != b.len() {
                return Err(mismatch(reference, result));
            }
            let (signal, noise) = power(a, b);
            self.signal += signal;
            self.noise += noise;
        }
        let (a, b) = (labels(reference), labels(result));
        if a.len() != b.len() {
            return Err(mismatch(reference, result));
        }
        self.add_labels(&a, &b);
        Ok(())
    }

    /// Counts label maps alone.
    pub fn add_labels(&mut self, reference: &[u16], result: &[u16]) {
        for (&a, &b) in reference.iter().zip(result) {
            let same = a == b;
            self.pixels += 1;
            self.same += u64::from(same);
            if a != 0 || b != 0 {
                self.foreground += 1;
                self.foreground_same += u64::from(same);
            }
            let classes = usize::from(a.max(b)) + 1;
            if self.overlaps.len() < classes {
                self.overlaps.resize(classes, (0, 0));
            }
            self.overlaps[usize::from(a)].1 += 1;
            self.overlaps[usize::from(b)].1 += 1;
            self.overlaps[usize::from(a)].0 += u64::from(same);
        }
    }

    /// What was counted, as shares. Where there is no foreground at all, all of it agrees.
    pub fn agreement(&self) -> Agreement {
        let share = |part: u64, whole: u64| match whole {
            0 => 1.0,
            _ => part as f64 / whole as f64,
        };
        let present = self
            .overlaps
            .iter()
            .enumerate()
            .skip(1)
            .filter(|(_, (_, sum))| *sum > 0);
        let dice: Vec<(usize, f64)> = present
            .map(|(c, &(both, sum))| (c, share(2 * both, sum)))
            .collect();
        let worst = dice.iter().min_by(|a, b| a.1.total_cmp(&b.1));
        let mean = dice.iter().map(|d| d.1).sum::<f64>() / dice.len().max(1) as f64;
        Agreement {
            labels: share(self.same, self.pixels),
            foreground: share(self.foreground_same, self.foreground),
            mean_dice: if dice.is_empty() { 1.0 } else { mean },
            worst_dice: worst.map_or(1.0, |w| w.1),
            worst_class: worst.map(|w| w.0),
            classes: dice.len(),
            sqnr_db: (self.signal > 0.0).then(|| decibels(self.signal, self.noise)),
        }
    }
}

fn mismatch(a: &Tensor, b: &Tensor) -> String {
    format!("{:?} cannot be compared with {:?}", b.shape(), a.shape())
}

/// The squares of `a`, and of what `b` differs by.
pub(crate) fn power(a: &[f32], b: &[f32]) -> (f64, f64) {
    let square = |v: f64| v * v;
    let each = a.iter().zip(b).map(|(&a, &b)| (f64::from(a), f64::from(b)));
    each.fold((0.0, 0.0), |(s, n), (a, b)| {
        (s + square(a), n + square(b - a))
    })
}

/// The most that is reported: f32 itself is no better.
const LARGEST_DB: f64 = 150.0;

/// A ratio of powers in dB, within the limits of what is worth telling.
pub(crate) fn decibels(signal: f64, noise: f64) -> f64 {
    match noise > 0.0 {
        true => (10.0 * (signal / noise).log10()).clamp(-LARGEST_DB, LARGEST_DB),
        false => LARGEST_DB,
    }
}

/// The label of every pixel: of scores the class with the largest, the first on a tie.
fn labels(tensor: &Tensor) -> Vec<u16> {
    match tensor.data() {
        TensorData::F32(scores) => arg_max(scores, tensor.shape()),
        TensorData::U8(v) => v.iter().map(|&v| v.into()).collect(),
        TensorData::U16(v) => v.to_vec(),
        TensorData::I8(v) => v.iter().map(|&v| v.max(0) as u16).collect(),
        TensorData::I32(v) => v.iter().map(|&v| v.clamp(0, 65535) as u16).collect(),
        TensorData::I64(v) => v.iter().map(|&v| v.clamp(0, 65535) as u16).collect(),
    }
}

fn arg_max(scores: &[f32], shape: &[usize]) -> Vec<u16> {
    let classes = shape.get(1).copied().unwrap_or(1).max(1);
    let pixels = shape
        .get(2..)
        .unwrap_or_default()
        .iter()
        .product::<usize>()
        .max(1);
    let mut labels = Vec::with_capacity(scores.len() / classes);
    for image in scores.chunks_exact(classes * pixels) {
        let mut best = vec![0u16; pixels];
        let mut most = image[..pixels].to_vec();
        for (class, plane) in image.chunks_exact(pixels).enumerate().skip(1) {
            for ((best, most), &score) in best.iter_mut().zip(&mut most).zip(plane) {
                if score > *most {
                    (*best, *most) = (class as u16, score);
                }
            }
        }
        labels.extend(best);
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agreement_counts_pixels_foreground_and_classes() {
        let mut counts = Counts::default();
        counts.add_labels(&[0, 0, 1, 1, 2, 2], &[0, 1, 1, 1, 2, 0]);
        let got = counts.agreement();
        assert!((got.labels - 4.0 / 6.0).abs() < 1e-12);
        assert!((got.foreground - 3.0 / 5.0).abs() < 1e-12);
        let (one, two) = (4.0 / 5.0, 2.0 / 3.0);
        assert!((got.mean_dice - (one + two) / 2.0).abs() < 1e-12);
        assert_eq!((got.worst_class, got.classes), (Some(2), 2));
        assert!((got.worst_dice - two).abs() < 1e-12);
        assert_eq!(got.sqnr_db, None);
    }

    #[test]
    fn scores_are_compared_as_labels_and_as_a_signal() {
        let scores = |v: Vec<f32>| Tensor::new(&[1, 2, 1, 2], v).unwrap();
        let mut counts = Counts::default();
        let reference = scores(vec![1.0, 0.0, 0.0, 1.0]);
        counts
            .add(&reference, &scores(vec![1.0, 0.0, 0.0, 0.9]))
            .unwrap();
        let got = counts.agreement();
        assert_eq!((got.labels, got.foreground), (1.0, 1.0));
        assert!((got.sqnr_db.unwrap() - 10.0 * (2.0f64 / 0.01).log10()).abs() < 1e-4);
        let labels = Tensor::new(&[1, 1, 2], vec![0u8, 1]).unwrap();
        counts.add(&reference, &labels).unwrap();
        assert_eq!(counts.agreement().labels, 1.0);
        assert!(counts.add(&reference, &Tensor::scalar(1.0)).is_err());
    }

    #[test]
    fn maps_without_foreground_agree_wholly() {
        let mut counts = Counts::default();
        counts.add_labels(&[0, 0], &[0, 0]);
        let got = counts.agreement();
        assert_eq!(
            (got.foreground, got.mean_dice, got.worst_class),
            (1.0, 1.0, None)
        );
    }
}
