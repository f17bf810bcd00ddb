//! Whether one arm takes longer than another for sure, so that nobody is warned of noise.

use crate::judge;
use crate::record::Record;
use crate::report::Row;
use crate::verdict::{Comparison, Verdict, margin};

/// Where there are no intervals, a difference that is spoken of: one tenth. Smaller ones may be noise, or may
/// change from day to day.
pub(super) const CLEARLY: f64 = 1.1;

/// What may be said of an arm's time in units of another's. `factor` is how many times the work of the other the
/// arm takes by whatever is measured: times of single runs, or of all runs of a scan.
///
/// Arms that were visited in the same rounds are compared in pairs, as verdicts are; others by whether their
/// intervals lie apart; arms without intervals by [`CLEARLY`].
pub(super) fn verdict(record: &Record, arm: &Row, other: &Row, factor: f64) -> Verdict {
    let edge = margin(record.noise_floor.as_ref());
    if let Some(paired) = paired(record, arm, other, factor, edge)
        && paired.interval.is_some()
    {
        return paired.verdict;
    }
    let scaled = || {
        let (a, b) = arm.interval.zip(other.interval)?;
        // What an interval of single runs is in the measure.
        let scale = factor * other.ms? / arm.ms?;
        Some((a.low * scale / b.high, a.high * scale / b.low))
    };
    match scaled() {
        Some((low, _)) if low > 1.0 + edge => Verdict::Slower,
        Some((_, high)) if high < 1.0 / (1.0 + edge) => Verdict::Faster,
        Some(_) => Verdict::Inconclusive,
        None if factor > CLEARLY => Verdict::Slower,
        None if factor < 1.0 / CLEARLY => Verdict::Faster,
        None => Verdict::Inconclusive,
    }
}

fn paired(record: &Record, arm: &Row, other: &Row, factor: f64, edge: f64) -> Option<Comparison> {
    let of = |row: &Row| record.arms.get(row.arm);
    let logs = judge::against(of(arm)?, &judge::by_round(of(other)?));
    let scale = factor.ln() - (arm.ms? / other.ms?).ln();
    let logs: Vec<f64> = logs.into_iter().map(|log| log + scale).collect();
    Comparison::of_pairs(&logs, edge)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Visit;
    use crate::record::tests::sample;

    /// Two arms whose visits take the given times, in rounds that begin with the given numbers.
    fn record(a: (&[f64], usize), b: (&[f64], usize)) -> (Record, Vec<Row>) {
        let mut record = sample();
        record.arms.truncate(2);
        for (arm, (ms, first)) in record.arms.iter_mut().zip([a, b]) {
            let visit = |(i, ms): (usize, &f64)| Visit {
                round: first + i,
                ms: vec![*ms],
                ..Visit::default()
            };
            arm.visits = ms.iter().enumerate().map(visit).collect();
            arm.summarise();
        }
        let rows = Row::all(0, &record);
        (record, rows)
    }

    #[test]
    fn noise_is_no_difference_and_pairs_see_more_than_intervals() {
        // A machine that grows slower: 10 ms become 19.
        let drift: Vec<f64> = (0..10).map(|i| 10.0 + f64::from(i)).collect();
        let slower: Vec<f64> = drift.iter().map(|ms| ms * 1.06).collect();
        let noise: Vec<f64> = (0..10).map(|i| 10.0 + 4.0 * f64::from(i % 2)).collect();
        let steady = [10.0; 10];
        let more = [12.0; 10];
        type Case<'a> = (&'a str, (&'a [f64], usize), (&'a [f64], usize), Verdict);
        let cases: &[Case] = &[
            ("pairs", (&slower, 0), (&drift, 0), Verdict::Slower),
            ("the other way", (&drift, 0), (&slower, 0), Verdict::Faster),
            (
                "other rounds",
                (&slower, 20),
                (&drift, 0),
                Verdict::Inconclusive,
            ),
            ("noise", (&noise, 0), (&steady, 0), Verdict::Inconclusive),
            ("equal", (&steady, 0), (&steady, 0), Verdict::Same),
            ("apart", (&more, 20), (&steady, 0), Verdict::Slower),
            (
                "few, clearly",
                (&more[..2], 0),
                (&steady[..2], 0),
                Verdict::Slower,
            ),
            (
                "few",
                (&slower[..2], 0),
                (&drift[..2], 0),
                Verdict::Inconclusive,
            ),
        ];
        for (what, a, b, want) in cases {
            let (record, rows) = record(*a, *b);
            let factor = rows[0].ms.unwrap() / rows[1].ms.unwrap();
            assert_eq!(
                verdict(&record, &rows[0], &rows[1], factor),
                *want,
                "{what}"
            );
        }
    }

    #[test]
    fn what_is_measured_may_be_other_than_single_runs() {
        let (record, rows) = record((&[10.0; 10], 0), (&[10.0; 10], 0));
        assert_eq!(verdict(&record, &rows[0], &rows[1], 3.0), Verdict::Slower);
    }
}
