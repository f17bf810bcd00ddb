//! The one place where intervals come from, so that they can be replaced at one place.

use serde::Serialize;

use crate::record::Arm;
use crate::statistics::median;

/// How sure an interval has to be at least.
const CONFIDENCE: f64 = 0.95;
/// Samples up to this size are counted out; beyond, 2⁻ⁿ is no longer a number and the normal
/// approximation is as good.
const EXACT: usize = 1000;

/// Bounds that hold the median of what is measured, with 95 % confidence or more.
///
/// They are order statistics of a sample of one value a round: the sign test's interval, which assumes
/// nothing of the distribution but that rounds do not depend on each other (Hahn and Meeker, Statistical
/// Intervals, section 5.2). Fewer than six rounds have none.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Interval {
    /// The lower bound.
    pub low: f64,
    /// The upper bound.
    pub high: f64,
}

impl Interval {
    /// Of the median of an arm's visits, in ms.
    pub fn of(arm: &Arm) -> Option<Interval> {
        let medians = arm.visits.iter().filter_map(|v| median(&v.ms));
        Interval::of_median(medians.collect())
    }

    /// Of the median of a sample.
    fn of_median(mut sample: Vec<f64>) -> Option<Interval> {
        sample.retain(|v| v.is_finite());
        sample.sort_by(f64::total_cmp);
        let outside = values_outside(sample.len())?;
        Some(Interval {
            low: sample[outside],
            high: sample[sample.len() - 1 - outside],
        })
    }
}

/// How many times as fast as `base` an arm is, with its interval: the median of the ratios in rounds
/// that both visited, so that what slows the machine down for both cancels.
pub fn speed_up(base: &Arm, arm: &Arm) -> Option<(f64, Option<Interval>)> {
    let mut logs = Vec::new();
    for visit in &arm.visits {
        let same = base.visits.iter().find(|v| v.round == visit.round);
        if let Some((ours, theirs)) = median(&visit.ms).zip(same.and_then(|v| median(&v.ms))) {
            let log = (theirs / ours).ln();
            if log.is_finite() {
                logs.push(log);
            }
        }
    }
    let middle = median(&logs)?.exp();
    let interval = Interval::of_median(logs).map(|i| Interval {
        low: i.low.exp(),
        high: i.high.exp(),
    });
    Some((middle, interval))
}

/// The most values on either side of a sorted sample of `n` that can be left out while the rest
/// still covers the median; `None` if all of them do not suffice.
fn values_outside(n: usize) -> Option<usize> {
    if n > EXACT {
        let outside = (n as f64 - 1.96 * (n as f64).sqrt()) / 2.0 - 1.0;
        return Some(outside as usize);
    }
    // P(at most k of n values lie below the median) for a fair coin, summed as it goes.
    let mut probability = 0.5f64.powi(i32::try_from(n).ok()?);
    let (mut tail, mut outside) = (0.0, None);
    for k in 0..n / 2 {
        tail += probability;
        if 1.0 - 2.0 * tail < CONFIDENCE {
            break;
        }
        outside = Some(k);
        probability *= (n - k) as f64 / (k + 1) as f64;
    }
    outside
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Visit;

    #[test]
    fn as_many_values_are_left_out_as_tables_of_the_sign_test_say() {
        // Ranks from 1: 9 rounds 2nd to 8th, 11 2nd to 10th, 15 4th to 12th, 20 6th to 15th, 25 8th to 18th.
        let cases = [
            (0, None),
            (5, None),
            (6, Some(0)),
            (9, Some(1)),
            (11, Some(1)),
            (15, Some(3)),
            (20, Some(5)),
            (25, Some(7)),
            (1000, Some(468)),
            (4000, Some(1937)),
        ];
        let got = cases.map(|(n, _)| (n, values_outside(n)));
        assert_eq!(got, cases);
    }

    fn arm(medians: &[f64]) -> Arm {
        let visit = |(round, ms): (usize, &f64)| Visit {
            round,
            ms: vec![*ms],
        };
        Arm {
            visits: medians.iter().enumerate().map(visit).collect(),
            ..Arm::default()
        }
    }

    #[test]
    fn an_interval_is_made_of_the_visits_medians() {
        let some = arm(&[5.0, 1.0, 9.0, 2.0, 8.0, 3.0, 7.0, 4.0, 6.0]);
        assert_eq!(
            Interval::of(&some),
            Some(Interval {
                low: 2.0,
                high: 8.0
            })
        );
        assert_eq!(Interval::of(&arm(&[1.0, 2.0, 3.0])), None);
    }

    #[test]
    fn what_slows_both_down_is_no_speed_up() {
        let base = arm(&[10.0, 20.0, 40.0, 10.0, 30.0, 10.0]);
        let fast = arm(&[5.0, 10.0, 20.0, 5.0, 15.0, 5.0]);
        let (ratio, interval) = speed_up(&base, &fast).unwrap();
        assert!((ratio - 2.0).abs() < 1e-12);
        let interval = interval.unwrap();
        assert!(interval.high - interval.low < 1e-12);
        assert_eq!(speed_up(&base, &Arm::default()), None);
    }
}
