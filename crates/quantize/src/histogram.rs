//! What calibration remembers of a tensor, and how a range is chosen from it.

use std::fmt;
use std::str::FromStr;

/// Bins between the least and the largest value seen.
const BINS: usize = 2048;

/// Steps of a quantized range, and so the bins that entropy compares with (on one side of zero).
const STEPS: usize = 128;

/// How the range of a tensor is chosen from the values seen.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub enum Method {
    /// From the least to the largest value: nothing is clipped.
    MinMax,
    /// So that this share of the values, in percent, lies inside.
    Percentile(f64),
    /// Where the quantized distribution is closest to the real one (Kullback-Leibler divergence,
    /// Migacz 2017, as TensorRT).
    Entropy,
    /// Where the mean squared error of rounding and clipping is least: of all, the least was lost with
    /// it on every network that was measured (`docs/quantization.md`).
    #[default]
    Mse,
}

impl Method {
    /// Whether the distribution is needed, not only its ends.
    pub(crate) fn needs_histogram(self) -> bool {
        self != Method::MinMax
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Method::MinMax => f.write_str("minmax"),
            Method::Percentile(p) => write!(f, "percentile:{p}"),
            Method::Entropy => f.write_str("entropy"),
            Method::Mse => f.write_str("mse"),
        }
    }
}

impl FromStr for Method {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = text
            .split_once(':')
            .map_or((text, None), |(n, v)| (n, Some(v)));
        match (name, value) {
            ("minmax", None) => Ok(Method::MinMax),
            ("entropy", None) => Ok(Method::Entropy),
            ("mse", None) => Ok(Method::Mse),
            ("percentile", value) => match value.unwrap_or("99.99").parse::<f64>() {
                Ok(p) if p > 50.0 && p <= 100.0 => Ok(Method::Percentile(p)),
                _ => Err(format!(
                    "'{text}': the percentile must be above 50 and at most 100"
                )),
            },
            _ => Err(format!(
                "'{text}' is not a method; there are: minmax, percentile[:99.99], entropy, mse"
            )),
        }
    }
}

/// The distribution of a tensor's values over all calibration images.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Histogram {
    low: f64,
    high: f64,
    /// Exact zeros: what ReLU cut off. They are represented exactly by any range.
    zeros: u64,
    bins: Vec<u64>,
}

impl Histogram {
    /// An empty one for values from `low` to `high`.
    pub(crate) fn new(low: f32, high: f32) -> Self {
        Histogram {
            low: f64::from(low),
            high: f64::from(high),
            zeros: 0,
            bins: vec![0; BINS],
        }
    }

    fn width(&self) -> f64 {
        (self.high - self.low) / BINS as f64
    }

    /// The middle of a bin.
    fn middle(&self, bin: usize) -> f64 {
        self.low + (bin as f64 + 0.5) * self.width()
    }

    /// Counts finite values.
    pub(crate) fn add(&mut self, values: &[f32]) {
        let low = self.low as f32;
        let per_width = (BINS as f64 / (self.high - self.low)) as f32;
        for &v in values {
            if v == 0.0 {
                self.zeros += 1;
            } else {
                let bin = ((v - low) * per_width) as usize;
                self.bins[bin.min(BINS - 1)] += 1;
            }
        }
    }

    /// The range by `method`, within the values seen. `levels` is the number of steps in it.
    pub(crate) fn range(&self, method: Method, levels: f64) -> (f32, f32) {
        let (low, high) = match method {
            Method::MinMax => (self.low, self.high),
            Method::Percentile(p) => self.percentile(p / 100.0),
            Method::Entropy => self.entropy(),
            Method::Mse => self.least_squares(levels),
        };
        (low as f32, high as f32)
    }

    fn total(&self) -> u64 {
        self.zeros + self.bins.iter().sum::<u64>()
    }

    /// The range that leaves `1 - share` of the values outside, half of them on each side.
    fn percentile(&self, share: f64) -> (f64, f64) {
        let outside = (self.total() as f64 * (1.0 - share) / 2.0) as u64;
        // The edge of the first bin that would leave too many behind; zero is never clipped.
        let edge = |order: &mut dyn Iterator<Item = usize>| {
            let mut left = outside;
            for bin in order {
                match left.checked_sub(self.bins[bin]) {
                    Some(rest) => left = rest,
                    None => return bin,
                }
            }
            0
        };
        let first = edge(&mut (0..BINS));
        let last = edge(&mut (0..BINS).rev());
        let low = self.low + first as f64 * self.width();
        let high = self.low + (last + 1) as f64 * self.width();
        (low.min(0.0), high.max(0.0))
    }

    /// The mean squared error, times the count, of rounding within `low..high` and clipping outside.
    fn error(&self, low: f64, high: f64, levels: f64) -> f64 {
        let step = (high - low) / levels;
        let rounding = step * step / 12.0;
        let each = |(bin, &n): (usize, &u64)| {
            let v = self.middle(bin);
            let clipped = (low - v).max(v - high).max(0.0);
            n as f64
                * if clipped > 0.0 {
                    clipped * clipped
                } else {
                    rounding
                }
        };
        self.bins
            .iter()
            .enumerate()
            .filter(|(_, n)| **n > 0)
            .map(each)
            .sum()
    }

    /// The ends are moved inwards in turn, each over its whole way, until neither gains.
    fn least_squares(&self, levels: f64) -> (f64, f64) {
        const TRIALS: usize = 64;
        let (mut low, mut high) = (self.low.min(0.0), self.high.max(0.0));
        let candidates = |end: f64| (1..=TRIALS).map(move |i| end * i as f64 / TRIALS as f64);
        for _ in 0..3 {
            let before = (low, high);
            let of = |l: f64, h: f64| match h > l {
                true => self.error(l, h, levels),
                false => f64::INFINITY,
            };
            if self.high > 0.0 {
                high = best(candidates(self.high), |h| of(low, h));
            }
            if self.low < 0.0 {
                low = best(candidates(self.low), |l| of(l, high));
            }
            if (low, high) == before {
                break;
            }
        }
        (low, high)
    }

    /// The threshold on the absolute values at which their distribution, clipped there, loses least
    /// when its bins are merged into as many as there are integers.
    fn entropy(&self) -> (f64, f64) {
        let limit = self.high.max(-self.low);
        let mut folded = vec![0.0; BINS];
        for (bin, &n) in self.bins.iter().enumerate() {
            let at = (self.middle(bin).abs() / limit * BINS as f64) as usize;
            folded[at.min(BINS - 1)] += n as f64;
        }
        let mut beyond = vec![0.0; BINS + 1];
        for bin in (0..BINS).rev() {
            beyond[bin] = beyond[bin + 1] + folded[bin];
        }
        let lengths = (STEPS..=BINS).step_by(8);
        let length = best(lengths.map(|n| n as f64), |n| {
            let n = n as usize;
            divergence(&folded[..n], beyond[n])
        });
        let threshold = limit * length / BINS as f64;
        (
            self.low.max(-threshold).min(0.0),
            self.high.min(threshold).max(0.0),
        )
    }
}

/// The candidate with the least cost.
fn best(candidates: impl Iterator<Item = f64>, cost: impl Fn(f64) -> f64) -> f64 {
    let mut best = (f64::INFINITY, 0.0);
    for candidate in candidates {
        let cost = cost(candidate);
        // On a tie the wider range.
        if cost <= best.0 {
            best = (cost, candidate);
        }
    }
    best.1
}

/// The divergence of `kept`, with what lies `beyond` counted into its last bin, from itself merged
/// into [`STEPS`] bins.
fn divergence(kept: &[f64], beyond: f64) -> f64 {
    let total: f64 = kept.iter().sum::<f64>() + beyond;
    let inside = total - beyond;
    if inside <= 0.0 {
        return f64::INFINITY;
    }
    let last = kept.len() - 1;
    let mut sum = 0.0;
    for step in 0..STEPS {
        let (from, to) = (step * kept.len() / STEPS, (step + 1) * kept.len() / STEPS);
        let bins = &kept[from..to];
        let occupied = bins.iter().filter(|&&n| n > 0.0).count();
        let merged = bins.iter().sum::<f64>() / occupied.max(1) as f64;
        for (i, &n) in bins.iter().enumerate() {
            let p = if from + i == last { n + beyond } else { n } / total;
            if p > 0.0 {
                // A bin that is empty in the clipped distribution but not in the real one costs as
                // much as one count would.
                let q = if n > 0.0 {
                    merged / inside
                } else {
                    1.0 / total
                };
                sum += p * (p / q).ln();
            }
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A rectified bell of values with one far outlier.
    fn rectified() -> Histogram {
        let mut h = Histogram::new(0.0, 100.0);
        for i in 0..100_000u32 {
            // The sum of four fractions of a counter is close to normal.
            let part = |k: u32| f64::from(i.wrapping_mul(k) % 9973) / 9973.0 - 0.5;
            let v = 3.0 * (part(7919) + part(104_729) + part(1_299_709) + part(15_485_863));
            h.add(&[v.max(0.0) as f32]);
        }
        h.add(&[100.0]);
        h
    }

    #[test]
    fn every_method_but_min_max_leaves_a_lone_outlier_outside() {
        let h = rectified();
        assert_eq!(h.range(Method::MinMax, 255.0), (0.0, 100.0));
        for method in [Method::Percentile(99.99), Method::Entropy, Method::Mse] {
            let (low, high) = h.range(method, 255.0);
            assert_eq!(low, 0.0, "{method}");
            // One value of 100 weighs as much as all rounding: the squares give up only a little of it.
            let most = if method == Method::Mse { 99.0 } else { 60.0 };
            assert!(high > 1.0 && high < most, "{method}: {high}");
        }
    }

    #[test]
    fn the_least_squares_range_has_the_least_error_of_all_methods() {
        let h = rectified();
        let error = |m: Method| {
            let (low, high) = h.range(m, 255.0);
            h.error(f64::from(low), f64::from(high), 255.0)
        };
        let least = error(Method::Mse);
        for method in [Method::MinMax, Method::Percentile(99.99), Method::Entropy] {
            assert!(
                least <= error(method) * 1.001,
                "{method}: {} {least}",
                error(method)
            );
        }
    }

    #[test]
    fn a_percentile_counts_from_both_ends_and_never_clips_zero() {
        let mut h = Histogram::new(-1.0, 1.0);
        let values: Vec<f32> = (0..2048).map(|i| (i as f32 + 0.5) / 1024.0 - 1.0).collect();
        h.add(&values);
        let (low, high) = h.range(Method::Percentile(90.0), 255.0);
        assert!(
            (low + 0.9).abs() < 0.01 && (high - 0.9).abs() < 0.01,
            "{low} {high}"
        );
        let mut positive = Histogram::new(5.0, 9.0);
        positive.add(&[5.0, 6.0, 9.0]);
        assert_eq!(positive.range(Method::Percentile(99.0), 255.0).0, 0.0);
    }

    #[test]
    fn methods_are_read_as_they_are_written() {
        for text in ["minmax", "percentile:99.9", "entropy", "mse"] {
            assert_eq!(text.parse::<Method>().unwrap().to_string(), text);
        }
        for wrong in ["max", "percentile:40", "percentile:x", "entropy:3"] {
            assert!(wrong.parse::<Method>().is_err(), "{wrong}");
        }
    }
}
