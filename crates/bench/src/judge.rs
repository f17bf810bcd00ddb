//! The verdicts of a record: each arm beside the reference arm, in pairs of visits of the same round.

use std::collections::BTreeMap;

use crate::arm::{Arm, Visit};
use crate::record::Record;
use crate::verdict::{Comparison, NoiseFloor, Verdict, margin};

/// Works out the noise floor and every arm's [`Arm::versus_reference`].
pub fn judge(record: &mut Record) {
    for arm in &mut record.arms {
        arm.versus_reference = None;
    }
    let Some(reference) = record.arms.iter().position(|a| a.reference) else {
        record.noise_floor = None;
        return;
    };
    record.noise_floor = noise_floor(&record.arms[reference]);
    let all: Vec<usize> = (0..record.arms.len()).collect();
    judge_arms(record, reference, &all);
}

/// The same for some arms alone.
pub fn judge_some(record: &mut Record, arms: &[usize]) {
    if let Some(reference) = record.arms.iter().position(|a| a.reference) {
        record.noise_floor = noise_floor(&record.arms[reference]);
        judge_arms(record, reference, arms);
    }
}

fn judge_arms(record: &mut Record, reference: usize, arms: &[usize]) {
    let margin = margin(record.noise_floor.as_ref());
    let rounds = by_round(&record.arms[reference]);
    for &i in arms.iter().filter(|&&i| i != reference) {
        let logs = against(&record.arms[i], &rounds);
        record.arms[i].versus_reference = Comparison::of_pairs(&logs, margin);
    }
}

/// Whether more rounds may decide about the arm.
pub fn is_open(arm: &Arm) -> bool {
    arm.versus_reference
        .is_some_and(|c| c.verdict == Verdict::Inconclusive)
}

/// From the reference arm's pairs of visits.
pub fn noise_floor(reference: &Arm) -> Option<NoiseFloor> {
    let first = medians(&reference.visits);
    let logs: Vec<f64> = medians(&reference.control)
        .into_iter()
        .filter_map(|(round, second)| Some(second - first.get(&round)?))
        .collect();
    NoiseFloor::of(&logs)
}

/// The logarithm of the reference's time by round: the mean of both visits, which lie on both sides
/// of the other arms' visits.
pub fn by_round(reference: &Arm) -> BTreeMap<usize, f64> {
    let second = medians(&reference.control);
    medians(&reference.visits)
        .into_iter()
        .map(|(round, first)| match second.get(&round) {
            Some(second) => (round, (first + second) / 2.0),
            None => (round, first),
        })
        .collect()
}

/// The logarithms of an arm's time in units of the reference's, round by round.
pub fn against(arm: &Arm, reference: &BTreeMap<usize, f64>) -> Vec<f64> {
    medians(&arm.visits)
        .into_iter()
        .filter_map(|(round, log)| Some(log - reference.get(&round)?))
        .collect()
}

/// The logarithm of each visit's median, by round.
fn medians(visits: &[Visit]) -> BTreeMap<usize, f64> {
    let log = |v: &Visit| Some((v.round, v.median_ms().filter(|ms| *ms > 0.0)?.ln()));
    visits.iter().filter_map(log).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::sample;

    fn visit(round: usize, ms: f64) -> Visit {
        Visit {
            round,
            ms: vec![ms; 3],
            ..Visit::default()
        }
    }

    /// A record of a reference of 10 ms on a machine that grows slower, and arms of other factors.
    fn record(factors: &[f64], rounds: usize) -> Record {
        let mut record = sample();
        let drift = |round: usize| 10.0 * (1.0 + 0.05 * round as f64);
        let arm = |factor: f64| Arm {
            visits: (0..rounds).map(|r| visit(r, factor * drift(r))).collect(),
            ..Arm::default()
        };
        record.arms = std::iter::once(&1.0)
            .chain(factors)
            .map(|&f| arm(f))
            .collect();
        record.arms[0].reference = true;
        record.arms[0].control = record.arms[0].visits.clone();
        judge(&mut record);
        record
    }

    #[test]
    fn drift_that_all_arms_share_does_not_matter() {
        let r = record(&[1.0, 1.05, 0.9, 1.02], 15);
        let verdicts: Vec<_> = r.arms[1..]
            .iter()
            .map(|a| a.versus_reference.unwrap().verdict)
            .collect();
        use Verdict::{Faster, Same, Slower};
        assert_eq!(verdicts[..3], [Same, Slower, Faster]);
        assert_eq!(r.noise_floor.unwrap().floor, 0.0);
        assert_eq!(r.arms[0].versus_reference, None);
    }

    #[test]
    fn too_few_rounds_leave_the_verdict_open() {
        let r = record(&[2.0], 5);
        assert!(is_open(&r.arms[1]));
        assert_eq!(r.arms[1].versus_reference.unwrap().pairs, 5);
    }

    #[test]
    fn only_visits_of_the_same_round_are_pairs() {
        let mut r = record(&[2.0], 9);
        for v in &mut r.arms[1].visits {
            v.round += 7;
        }
        judge(&mut r);
        assert_eq!(r.arms[1].versus_reference.unwrap().pairs, 2);
        r.arms[0].reference = false;
        judge(&mut r);
        assert_eq!((r.arms[1].versus_reference, r.noise_floor), (None, None));
    }
}
