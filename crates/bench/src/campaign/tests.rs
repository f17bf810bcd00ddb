//! Campaigns with arms that only pretend to run, on a clock that only pretends to tick.

use std::cell::RefCell;
use std::rc::Rc;

use super::*;
use crate::record::tests::sample;
use crate::rounds::tests::{Fake, FakeClock};

/// Arms named after their milliseconds; each holds 100 MB.
struct FakeLab {
    clock: FakeClock,
    log: Rc<RefCell<String>>,
    loads: Vec<String>,
    trial: fn(&Arm) -> Result<Trial, TrialError>,
}

impl Laboratory for FakeLab {
    type Workload = Fake;

    fn trial(&mut self, arm: &Arm, _: Duration) -> Result<Trial, TrialError> {
        let trial = (self.trial)(arm)?;
        let ms = trial.load_ms + trial.ms.iter().sum::<f64>();
        self.clock.advance(Duration::from_secs_f64(ms / 1e3));
        Ok(trial)
    }

    fn load(&mut self, arm: &Arm) -> Result<Loaded<Fake>, Refusal> {
        self.loads.push(arm.model.clone());
        if arm.model == "unloadable" {
            return Err(Refusal::Failed("it does not load".into()));
        }
        Ok(Loaded {
            workload: Fake {
                name: arm.model.chars().next().unwrap_or('?'),
                ms: arm.model.parse().unwrap_or(10),
                fails_at: None,
                clock: self.clock.clone(),
                log: self.log.clone(),
                runs: 0,
            },
            load_ms: 7.0,
            settings: BTreeMap::new(),
            check: None,
            accuracy: None,
            first_ms: None,
            burst: None,
        })
    }
}

fn lab(trial: fn(&Arm) -> Result<Trial, TrialError>) -> FakeLab {
    FakeLab {
        clock: FakeClock::default(),
        log: Rc::default(),
        loads: Vec::new(),
        trial,
    }
}

fn works(arm: &Arm) -> Result<Trial, TrialError> {
    let ms = arm.model.parse::<f64>().unwrap_or(10.0);
    Ok(Trial {
        load_ms: 5.0,
        ms: vec![10.0 * ms, ms],
        peak_rss_bytes: Some(100_000_000),
    })
}

fn record(models: &[&str]) -> Record {
    let mut record = sample();
    record.arms = models
        .iter()
        .map(|m| Arm {
            model: (*m).into(),
            input: vec![1, 3, 8, 8],
            ..Arm::default()
        })
        .collect();
    record
}

const LIMITS: Limits = Limits {
    time: Duration::from_secs(60),
    memory_bytes: 250_000_000,
    patience: Duration::from_secs(60),
    trials: true,
};

fn go(record: &mut Record, lab: &mut FakeLab, limits: &Limits, stop_after: usize) {
    let clock = lab.clock.clone();
    let events = RefCell::new(0);
    run(
        record,
        lab,
        &Protocol::default(),
        limits,
        &clock,
        &|| *events.borrow() >= stop_after,
        &mut |_, _| *events.borrow_mut() += 1,
    );
}

#[test]
fn arms_are_measured_in_groups_that_fit_the_memory() {
    let mut r = record(&["10", "20", "30", "40", "50"]);
    let mut lab = lab(works);
    go(&mut r, &mut lab, &LIMITS, usize::MAX);
    assert!(r.complete && r.finished.is_some());
    let medians: Vec<_> = r
        .arms
        .iter()
        .map(|a| a.statistics.unwrap().median_ms)
        .collect();
    assert_eq!(medians, [10.0, 20.0, 30.0, 40.0, 50.0]);
    assert_eq!(
        lab.loads,
        ["10", "20", "30", "10", "40", "10", "50", "10"],
        "the reference arm is in every group"
    );
    // Three groups of at most two: the first visits of '30' come after the last of '20'.
    let log = lab.log.borrow();
    assert!(log.rfind('2') < log.find('3'), "{log}");
    assert!(log.find('2') < log.rfind('1'), "interleaved: {log}");
    assert!(lab.clock.now() <= LIMITS.time, "{:?}", lab.clock.now());
    assert!(r.arms.iter().all(|a| a.peak_rss_bytes == Some(100_000_000)));
}

#[test]
fn an_arm_slower_than_its_share_keeps_its_trial_and_is_not_loaded() {
    let mut r = record(&["10", "25000"]);
    let mut lab = lab(works);
    let limits = Limits {
        time: Duration::from_secs(30),
        ..LIMITS
    };
    go(&mut r, &mut lab, &limits, usize::MAX);
    assert_eq!(lab.loads, ["10"]);
    let slow = &r.arms[1];
    assert_eq!(slow.status, Status::Measured);
    assert_eq!(slow.statistics.unwrap().runs, 1);
    assert_eq!(slow.visits[0].ms, [25_000.0]);
    assert!(slow.reason.as_ref().unwrap().contains("one run"));
    assert!(r.complete);
}

#[test]
fn slow_trials_leave_time_for_rounds() {
    let mut r = record(&["10", "20"]);
    let mut lab = lab(|arm| {
        let trial = works(arm)?;
        Ok(Trial {
            load_ms: 100_000.0,
            ..trial
        })
    });
    go(&mut r, &mut lab, &LIMITS, usize::MAX);
    for arm in &r.arms {
        let s = arm.statistics.unwrap();
        assert!(s.visits > 5, "{}: {s:?}", arm.model);
    }
}

#[test]
fn early_and_late_groups_have_the_same_time() {
    let mut r = record(&["10"; 8]);
    let mut lab = lab(|arm| {
        let trial = works(arm)?;
        Ok(Trial {
            load_ms: 3_000.0,
            ..trial
        })
    });
    let limits = Limits {
        memory_bytes: 450_000_000,
        ..LIMITS
    };
    go(&mut r, &mut lab, &limits, usize::MAX);
    // The reference arm is in both groups.
    let visits: Vec<_> = r.arms[1..].iter().map(|a| a.visits.len()).collect();
    let (least, most) = (visits.iter().min().unwrap(), visits.iter().max().unwrap());
    assert!(*least >= 6 && *most <= 2 * least, "{visits:?}");
    assert!(lab.clock.now() <= LIMITS.time, "{:?}", lab.clock.now());
}

#[test]
fn what_fails_is_recorded_and_does_not_stop_the_rest() {
    let mut r = record(&["10", "crash", "unloadable", "20"]);
    let mut lab = lab(|arm| match arm.model.as_str() {
        "crash" => Err(TrialError::Failed("killed by signal 11".into())),
        _ => works(arm),
    });
    go(&mut r, &mut lab, &LIMITS, usize::MAX);
    let state: Vec<_> = r
        .arms
        .iter()
        .map(|a| (a.status, a.reason.clone()))
        .collect();
    assert_eq!(state[0], (Status::Measured, None));
    assert_eq!(
        state[1],
        (Status::Failed, Some("killed by signal 11".into()))
    );
    assert_eq!(state[2], (Status::Failed, Some("it does not load".into())));
    assert_eq!(state[3], (Status::Measured, None));
    assert!(r.complete, "a failure is a result");
}

#[test]
fn without_trials_memory_is_not_measured_but_time_is() {
    let mut r = record(&["10", "20"]);
    let mut lab = lab(|_| Err(TrialError::Unavailable("no child process".into())));
    go(&mut r, &mut lab, &LIMITS, usize::MAX);
    for arm in &r.arms {
        assert_eq!((arm.status, arm.peak_rss_bytes), (Status::Measured, None));
        assert_eq!(arm.load_ms, Some(7.0));
    }
}

#[test]
fn an_interruption_leaves_a_partial_record() {
    let mut r = record(&["10", "20", "30", "40"]);
    let mut lab = lab(works);
    // Two trials, two loads, two warm-ups and three visits.
    go(&mut r, &mut lab, &LIMITS, 10);
    assert!(!r.complete);
    let status: Vec<_> = r.arms.iter().map(|a| a.status).collect();
    let (m, n) = (Status::Measured, Status::NotRun);
    assert_eq!(status, [m, m, n, n]);
    assert_eq!(Record::parse(&r.to_json()).unwrap(), r);
}

#[test]
fn arms_that_are_skipped_stay_so() {
    let mut r = record(&["10", "20"]);
    r.arms[0].status = Status::Skipped;
    let mut lab = lab(works);
    go(&mut r, &mut lab, &LIMITS, usize::MAX);
    assert_eq!(r.arms[0].status, Status::Skipped);
    assert!(r.complete);
}
