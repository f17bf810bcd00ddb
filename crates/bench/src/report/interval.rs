//! Intervals of what a record holds: of an arm's time, and of how many times as fast as another it is.

use crate::record::Arm;
use crate::statistics::{CONFIDENCE, Interval, median, median_interval};

/// The interval of the median of an arm's visits, in ms; fewer than six visits have none.
pub(crate) fn of_arm(arm: &Arm) -> Option<Interval> {
    of_median(arm.visits.iter().filter_map(|v| median(&v.ms)).collect())
}

/// Of the median of a foreign sample, which may hold anything.
fn of_median(mut sample: Vec<f64>) -> Option<Interval> {
    sample.retain(|v| v.is_finite());
    median_interval(&sample, CONFIDENCE)
}

/// How many times as fast as `base` an arm gets images or volumes done, with its interval: the median of
/// the ratios in rounds that both visited, so that what slows the machine down for both cancels.
pub fn speed_up(base: &Arm, arm: &Arm) -> Option<(f64, Option<Interval>)> {
    let done = |arm: &Arm| arm.burst.unwrap_or_else(|| arm.batch()) as f64;
    let more = done(arm) / done(base);
    let mut logs = Vec::new();
    for visit in &arm.visits {
        let same = base.visits.iter().find(|v| v.round == visit.round);
        if let Some((ours, theirs)) = median(&visit.ms).zip(same.and_then(|v| median(&v.ms))) {
            let log = (more * theirs / ours).ln();
            if log.is_finite() {
                logs.push(log);
            }
        }
    }
    let middle = median(&logs)?.exp();
    let interval = of_median(logs).map(|i| Interval {
        low: i.low.exp(),
        high: i.high.exp(),
    });
    Some((middle, interval))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Visit;

    fn arm(medians: &[f64]) -> Arm {
        let visit = |(round, ms): (usize, &f64)| Visit {
            round,
            ms: vec![*ms],
            ..Visit::default()
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
            of_arm(&some),
            Some(Interval {
                low: 2.0,
                high: 8.0
            })
        );
        assert_eq!(of_arm(&arm(&[1.0, 2.0, 3.0])), None);
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
        let piles = Arm {
            burst: Some(10),
            ..fast
        };
        let (ratio, _) = speed_up(&base, &piles).unwrap();
        assert!(
            (ratio - 20.0).abs() < 1e-9,
            "a run of ten images counts ten"
        );
    }
}
