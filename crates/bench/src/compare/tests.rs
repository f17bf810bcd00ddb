use super::*;
use crate::judge::judge;
use crate::record::tests::sample;
use crate::record::{EngineFacts, Visit};

/// A record of arms named `a`, `b`, … on the given engines that take the given milliseconds with half a per
/// cent of noise, on a machine that takes `slow` times as long.
fn record(arms: &[(&str, f64)], slow: f64, program: &str) -> Record {
    let mut record = sample();
    record.complete = true;
    record.program_sha256 = Some(program.into());
    record.engines = ["native", "openvino"]
        .map(|name| EngineFacts {
            name: name.into(),
            version: "1".into(),
            library: None,
            sha256: (name != "native").then(|| "cafe".into()),
        })
        .to_vec();
    let visits = |ms: f64, arm: usize| -> Vec<Visit> {
        let noise = |r: usize| 1.0 + 0.005 * ((7 * r + 3 * arm) % 11) as f64 / 11.0;
        (0..15)
            .map(|round| Visit {
                round,
                ms: vec![slow * ms * noise(round); 3],
                ..Visit::default()
            })
            .collect()
    };
    record.arms = arms
        .iter()
        .enumerate()
        .map(|(i, &(engine, ms))| {
            let mut arm = Arm {
                model: char::from(b'a' + i as u8).into(),
                engine: engine.into(),
                reference: i == 0,
                visits: visits(ms, i),
                control: if i == 0 { visits(ms, 99) } else { Vec::new() },
                ..Arm::default()
            };
            arm.summarise();
            arm
        })
        .collect();
    judge(&mut record);
    record
}

fn verdicts(compared: &Compared) -> Vec<Verdict> {
    let verdict = |c: &Change| c.comparison.verdict;
    compared.changes.iter().map(verdict).collect()
}

const N: &str = "native";
const O: &str = "openvino";
use Verdict::{Faster, Same, Slower};

#[test]
fn a_slower_machine_is_no_slower_program() {
    let a = record(
        &[(N, 1.0), (N, 2.0), (N, 3.0), (N, 4.0), (N, 5.0)],
        1.0,
        "x",
    );
    let b = record(
        &[(N, 1.0), (N, 2.0), (N, 3.0), (N, 4.0), (N, 5.0)],
        1.2,
        "x",
    );
    let c = between(&a, &b);
    assert_eq!(verdicts(&c), [Same; 5]);
    let common = c.common.clone().unwrap();
    assert_eq!(common.yardstick, Yardstick::Unchanged);
    assert_eq!(common.comparison.verdict, Slower);
    assert!(!c.is_worse(), "the program is the same: {c:#?}");
}

#[test]
fn what_arms_of_the_same_code_differ_by_is_no_change_of_others() {
    // On a machine that others use, two foreign arms take other times for a whole run, with narrow intervals.
    let arms = |native: f64, foreign: f64| {
        let mut arms = vec![(N, 1.0), (N, native)];
        arms.extend([(O, 3.0), (O, 4.0), (O, 5.0), (O, 6.0), (O, foreign)]);
        arms
    };
    let a = record(&arms(2.0, 7.0), 1.0, "x");
    let changed = |native, foreign| {
        let c = between(&a, &record(&arms(native, foreign), 1.0, "y"));
        c.changes[1].comparison.verdict
    };
    assert_eq!(changed(2.2, 7.0), Slower);
    assert_ne!(changed(2.2, 9.1), Slower, "30 % are nothing here");
    assert_eq!(changed(3.0, 9.1), Slower);
    // Nor of themselves.
    let c = between(&a, &record(&arms(2.0, 9.1), 1.0, "x"));
    let named = |v: &Verdict| [Faster, Slower].contains(v);
    assert!(!verdicts(&c).iter().any(named), "{c:#?}");
}

#[test]
fn one_arm_that_changed_is_found_and_the_others_are_not_blamed() {
    let before = [(N, 1.0), (N, 2.0), (N, 3.0), (N, 4.0), (N, 5.0)];
    for changed in 0..5 {
        let mut after = before;
        after[changed].1 *= 1.05;
        let c = between(&record(&before, 1.0, "x"), &record(&after, 1.1, "y"));
        let mut want = [Same; 5];
        want[changed] = Slower;
        assert_eq!(verdicts(&c), want, "the reference is no exception");
        assert!(c.is_worse());
        let back = between(&record(&after, 1.0, "x"), &record(&before, 0.9, "y"));
        want[changed] = Faster;
        assert_eq!(verdicts(&back), want);
    }
}

#[test]
fn engines_that_did_not_change_tell_the_machine_from_the_program() {
    let before = [
        (N, 1.0),
        (N, 2.0),
        (O, 3.0),
        (O, 4.0),
        (O, 5.0),
        (N, 3.0),
        (N, 4.0),
    ];
    let mut after = before;
    for arm in after.iter_mut().filter(|a| a.0 == N) {
        arm.1 *= 1.06;
    }
    let c = between(&record(&before, 1.0, "x"), &record(&after, 1.3, "y"));
    assert_eq!(
        verdicts(&c),
        [Slower, Slower, Same, Same, Same, Slower, Slower]
    );
    assert_eq!(c.common.unwrap().yardstick, Yardstick::Unchanged);
}

#[test]
fn a_change_of_everything_is_a_common_shift_that_counts() {
    let before = [(N, 1.0), (N, 2.0), (N, 3.0), (N, 4.0), (N, 5.0)];
    let after = before.map(|(e, ms)| (e, 1.1 * ms));
    let c = between(&record(&before, 1.0, "x"), &record(&after, 1.0, "y"));
    assert_eq!(verdicts(&c), [Same; 5]);
    assert_eq!(c.common.as_ref().unwrap().comparison.verdict, Slower);
    assert!(c.is_worse());
}

#[test]
fn few_arms_are_compared_beside_the_reference() {
    let a = record(&[(N, 1.0), (N, 2.0)], 1.0, "x");
    let b = record(&[(N, 1.0), (N, 2.2)], 1.2, "y");
    let c = between(&a, &b);
    assert_eq!(verdicts(&c), [Same, Slower]);
    assert_eq!(c.common.unwrap().yardstick, Yardstick::Reference);
}

#[test]
fn what_only_one_record_has_is_listed_and_what_broke_counts() {
    let a = record(&[(N, 1.0), (N, 2.0), (N, 3.0), (N, 4.0)], 1.0, "x");
    let mut b = a.clone();
    b.arms[1].model = "new".into();
    b.arms[2].status = Status::Wrong;
    b.arms[2].reason = Some("off".into());
    b.arms[3].status = Status::NotRun;
    let c = between(&a, &b);
    assert_eq!(c.only_a.len(), 2, "{c:?}");
    assert!(c.only_b[0].starts_with("new"), "{c:?}");
    assert_eq!(c.broken[0].reason, "off");
    assert!(c.is_worse());
}

#[test]
fn engines_within_a_record_are_compared_in_pairs() {
    let mut r = record(&[(N, 1.0), (O, 2.0), (N, 3.0), (O, 3.0)], 1.0, "x");
    for (i, arm) in r.arms.iter_mut().enumerate() {
        arm.model = ["a", "a", "b", "b"][i].into();
    }
    let engine = |name: &'static str| move |a: &Arm| a.engine == name;
    let c = within(&r, &engine(N), &engine(O));
    assert!(c.paired);
    assert_eq!(verdicts(&c), [Slower, Same]);
    assert!((c.changes[0].comparison.ratio - 2.0).abs() < 0.01);
}

#[test]
fn records_of_older_versions_are_compared_without_a_reference() {
    let a = record(&[(N, 1.0), (N, 2.0)], 1.0, "x");
    let mut old = a.clone();
    old.arms[0].reference = false;
    old.arms[0].control.clear();
    old.noise_floor = None;
    old.program_sha256 = None;
    let c = between(&old, &a);
    assert_eq!(verdicts(&c), [Same, Same]);
    assert!(c.remarks.iter().any(|r| r.contains("reference")), "{c:?}");
    let empty = between(&sample(), &sample());
    assert!(empty.changes.len() <= 2);
}

#[test]
fn a_change_that_does_not_recur_is_none() {
    let before = [(N, 1.0), (N, 2.0), (N, 3.0), (N, 4.0), (N, 5.0)];
    let (mut once, mut twice) = (before, before);
    once[1].1 *= 1.1;
    once[2].1 *= 1.1;
    twice[2].1 *= 1.2;
    let a = record(&before, 1.0, "x");
    let pair = |after: &[(&str, f64)]| between(&a, &record(after, 1.0, "y"));
    let c = recurring(vec![pair(&once), pair(&twice)]).unwrap();
    let open = Verdict::Inconclusive;
    assert_eq!(verdicts(&c), [Same, open, Slower, Same, Same]);
    assert!((c.changes[2].comparison.ratio - (1.1f64 * 1.2).sqrt()).abs() < 0.01);
    assert_eq!(recurring(vec![]), None);
}
