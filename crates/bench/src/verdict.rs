//! Whether one thing is faster than another: ratios of times, their intervals, and what may be said.
//!
//! All of it works on natural logarithms of time ratios, because a ratio and its inverse then differ
//! by their sign alone.

use serde::{Deserialize, Serialize};

use crate::statistics::{CONFIDENCE, Interval, median, median_interval};

/// The smallest difference that counts: one below two per cent is called none, however surely it is
/// there. Where code lies in memory alone makes that much.
pub const SMALLEST_DIFFERENCE: f64 = 0.02;

/// With a larger margin than this nothing is called the same: on such a machine nobody could tell.
pub const LARGEST_SAME: f64 = 0.1;

/// What may be said of two times.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Verdict {
    /// Less time, by more than the margin.
    Faster,
    /// More time, by more than the margin.
    Slower,
    /// No difference beyond the margin.
    Same,
    /// The interval is too wide to say.
    #[default]
    Inconclusive,
    /// A newer slicewise says something that this one does not know.
    #[serde(other)]
    Unknown,
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Verdict::Faster => "FASTER",
            Verdict::Slower => "SLOWER",
            Verdict::Same => "SAME",
            Verdict::Inconclusive => "INCONCLUSIVE",
            Verdict::Unknown => "?",
        })
    }
}

/// A time in units of another.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Comparison {
    /// The median of the time ratios: above 1 is slower.
    pub ratio: f64,
    /// Where that median lies; `None` with too few pairs.
    pub interval: Option<Interval>,
    /// How many ratios there are.
    pub pairs: usize,
    /// The relative difference that counts as one here.
    pub margin: f64,
    /// What may be said.
    pub verdict: Verdict,
}

impl Comparison {
    /// From logarithms of time ratios, one for each round.
    pub fn of_pairs(logs: &[f64], margin: f64) -> Option<Comparison> {
        let middle = median(logs)?;
        Some(Comparison::new(
            middle,
            median_interval(logs, CONFIDENCE),
            logs.len(),
            margin,
        ))
    }

    /// From the logarithm of the ratio and its interval.
    pub fn new(log: f64, interval: Option<Interval>, pairs: usize, margin: f64) -> Comparison {
        Comparison {
            ratio: log.exp(),
            interval: interval.map(|i| Interval {
                low: i.low.exp(),
                high: i.high.exp(),
            }),
            pairs,
            margin,
            verdict: decide(interval, margin),
        }
    }
}

impl Comparison {
    /// What two independent comparisons of the same things say together: the verdict that both have, the
    /// ratio in their middle, the interval that holds both.
    pub fn and(&self, other: &Comparison) -> Comparison {
        let hull = |(a, b): (Interval, Interval)| Interval {
            low: a.low.min(b.low),
            high: a.high.max(b.high),
        };
        Comparison {
            ratio: (self.ratio * other.ratio).sqrt(),
            interval: self.interval.zip(other.interval).map(hull),
            pairs: self.pairs.min(other.pairs),
            margin: self.margin.max(other.margin),
            verdict: match self.verdict == other.verdict {
                true => self.verdict,
                false => Verdict::Inconclusive,
            },
        }
    }
}

/// The rule: FASTER or SLOWER if the whole interval lies beyond the margin, SAME if all of it lies within
/// and the margin is not above [`LARGEST_SAME`], INCONCLUSIVE otherwise. `interval` is that of the logarithm.
pub fn decide(interval: Option<Interval>, margin: f64) -> Verdict {
    let edge = margin.ln_1p();
    match interval {
        Some(i) if i.low > edge => Verdict::Slower,
        Some(i) if i.high < -edge => Verdict::Faster,
        Some(i) if i.low >= -edge && i.high <= edge && margin <= LARGEST_SAME => Verdict::Same,
        _ => Verdict::Inconclusive,
    }
}

/// How different an arm looks from itself, when it is visited twice in every round: nothing below
/// that is a difference.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct NoiseFloor {
    /// Rounds in which the reference arm was visited twice.
    pub pairs: usize,
    /// The median of its second time in units of its first.
    pub ratio: f64,
    /// Where that median lies; `None` with too few rounds.
    pub interval: Option<Interval>,
    /// The largest relative difference that the interval allows; with too few rounds for one, the
    /// largest that was seen.
    pub floor: f64,
}

impl NoiseFloor {
    /// From logarithms of the second visit's time in units of the first's. `None` without any.
    pub fn of(logs: &[f64]) -> Option<NoiseFloor> {
        let middle = median(logs)?;
        let interval = median_interval(logs, CONFIDENCE);
        let farthest = match interval {
            Some(i) => i.low.abs().max(i.high.abs()),
            None => logs.iter().fold(0.0, |m: f64, d| m.max(d.abs())),
        };
        Some(NoiseFloor {
            pairs: logs.len(),
            ratio: middle.exp(),
            interval: interval.map(|i| Interval {
                low: i.low.exp(),
                high: i.high.exp(),
            }),
            floor: farthest.exp_m1(),
        })
    }
}

/// The margin of a comparison on a machine with that noise floor.
pub fn margin(floor: Option<&NoiseFloor>) -> f64 {
    SMALLEST_DIFFERENCE.max(floor.map_or(0.0, |f| f.floor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verdict_follows_the_interval() {
        let cases = [
            (Some((0.03, 0.05)), Verdict::Slower),
            (Some((-0.05, -0.03)), Verdict::Faster),
            (Some((-0.01, 0.01)), Verdict::Same),
            (Some((0.005, 0.015)), Verdict::Same),
            (Some((0.01, 0.05)), Verdict::Inconclusive),
            (Some((-0.05, 0.05)), Verdict::Inconclusive),
            (None, Verdict::Inconclusive),
        ];
        for (ends, want) in cases {
            let interval = ends.map(|(low, high)| Interval { low, high });
            assert_eq!(decide(interval, 0.02), want, "{ends:?}");
        }
        let equal = Some(Interval {
            low: 0.0,
            high: 0.0,
        });
        assert_eq!(
            decide(equal, 0.3),
            Verdict::Inconclusive,
            "too noisy to say"
        );
    }

    #[test]
    fn the_margin_grows_with_the_noise_floor() {
        assert_eq!(margin(None), SMALLEST_DIFFERENCE);
        let quiet = NoiseFloor::of(&[0.001; 15]).unwrap();
        assert_eq!(margin(Some(&quiet)), SMALLEST_DIFFERENCE);
        let noisy: Vec<f64> = (0..15).map(|i| f64::from(i - 7) / 100.0).collect();
        let floor = NoiseFloor::of(&noisy).unwrap();
        // Ranks 4 and 12 of 15.
        assert!((floor.floor - 0.04f64.exp_m1()).abs() < 1e-12, "{floor:?}");
        assert_eq!(margin(Some(&floor)), floor.floor);
        let few = NoiseFloor::of(&[0.0, -0.1, 0.01]).unwrap();
        assert_eq!(few.interval, None);
        assert!((few.floor - 0.1f64.exp_m1()).abs() < 1e-12, "the largest");
    }

    #[test]
    fn a_comparison_states_ratios() {
        let c = Comparison::of_pairs(&[0.5f64.ln(); 9], 0.02).unwrap();
        assert!((c.ratio - 0.5).abs() < 1e-12 && c.verdict == Verdict::Faster);
        assert_eq!(c.pairs, 9);
        assert_eq!(Comparison::of_pairs(&[], 0.02), None);
    }
}
