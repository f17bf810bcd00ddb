//! From a record whose arms are named to one whose arms are measured: trials, groups, rounds.
//!
//! Knows nothing of engines: whoever calls it says how an arm is tried and loaded ([`Laboratory`]).

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::date::now_rfc3339;
use crate::record::{Arm, Record, Status, Visit};
use crate::rounds::{self, Clock, Protocol, Step, Workload};

/// Arms in a group at most. Every arm of a group is loaded at the same time.
const GROUP: usize = 12;

/// What a trial tells of an arm: a process of its own loads it, runs it and ends.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Trial {
    /// The time to make the model ready, in milliseconds.
    pub load_ms: f64,
    /// Each run, the cold one first, in milliseconds.
    pub ms: Vec<f64>,
    /// The most memory the process held.
    pub peak_rss_bytes: Option<u64>,
}

/// Why there is no trial.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TrialError {
    /// Trials cannot be made here; the arm may still be fine.
    Unavailable(String),
    /// The arm does not run, and would not in this process either.
    Failed(String),
}

/// An arm that is ready to run.
pub struct Loaded<W> {
    /// Runs it.
    pub workload: W,
    /// The time it took to make it ready, in milliseconds.
    pub load_ms: f64,
    /// What the engine says of its settings.
    pub settings: BTreeMap<String, String>,
}

/// Where arms are tried and loaded.
pub trait Laboratory {
    /// A loaded arm.
    type Workload: Workload;

    /// Loads and runs the arm in another process, which is ended after `patience`.
    ///
    /// # Errors
    /// If the arm fails or no trial can be made.
    fn trial(&mut self, arm: &Arm, patience: Duration) -> Result<Trial, TrialError>;

    /// Makes the arm ready in this process.
    ///
    /// # Errors
    /// What went wrong, in one line.
    fn load(&mut self, arm: &Arm) -> Result<Loaded<Self::Workload>, String>;
}

/// What a campaign may use.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Limits {
    /// The time for everything. Half of it is kept for rounds, so that it is exceeded where trials
    /// and loading take more than the other half, or where a single run takes more than an arm's share.
    pub time: Duration,
    /// The memory that a group of loaded arms may hold.
    pub memory_bytes: u64,
    /// The time after which a trial is ended.
    pub patience: Duration,
    /// Whether to make trials.
    pub trials: bool,
}

/// What happens, for whoever shows progress or saves the record as it grows.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Event {
    /// The arm of that index is being tried.
    Trying(usize),
    /// The arm of that index is being loaded.
    Loading(usize),
    /// A visit of that arm has ended; the record holds it.
    Visited {
        /// The arm.
        arm: usize,
        /// The round, `None` for the warm-up.
        round: Option<usize>,
    },
    /// That arm will not change any more.
    Done(usize),
}

/// Measures every arm of `record` whose status is [`Status::NotRun`], in groups that fit the memory.
/// Afterwards the record is complete, unless `stop` ended the campaign.
pub fn run<L: Laboratory>(
    record: &mut Record,
    lab: &mut L,
    protocol: &Protocol,
    limits: &Limits,
    clock: &dyn Clock,
    stop: &dyn Fn() -> bool,
    observe: &mut dyn FnMut(Event, &Record),
) {
    let mut waiting: Vec<usize> = (0..record.arms.len())
        .filter(|&i| record.arms[i].status == Status::NotRun)
        .collect();
    waiting.reverse();
    let mut campaign = Campaign {
        record,
        lab,
        protocol,
        limits,
        clock,
        stop,
        observe,
        begin: clock.now(),
        arms: waiting.len(),
        in_rounds: Duration::ZERO,
    };
    while !waiting.is_empty() && !stop() {
        let group = campaign.gather(&mut waiting);
        campaign.measure(&group, waiting.len());
    }
    record.complete = waiting.is_empty() && !stop();
    record.finished = Some(now_rfc3339());
}

struct Campaign<'a, L: Laboratory> {
    record: &'a mut Record,
    lab: &'a mut L,
    protocol: &'a Protocol,
    limits: &'a Limits,
    clock: &'a dyn Clock,
    stop: &'a dyn Fn() -> bool,
    observe: &'a mut dyn FnMut(Event, &Record),
    /// When the campaign began.
    begin: Duration,
    /// How many arms there are to measure.
    arms: usize,
    /// The time that was spent in rounds, as opposed to trials and loading.
    in_rounds: Duration,
}

impl<L: Laboratory> Campaign<'_, L> {
    /// The time that an arm has for its rounds: what is left, less what trying and loading those
    /// that wait will take if they are like those before, shared by the arms in the group and those
    /// that wait. At least half of what it would be if trying and loading took no time.
    fn share(&self, in_group: usize, waiting: usize) -> Duration {
        let spent = self.clock.now().saturating_sub(self.begin);
        let prepared = self.arms.saturating_sub(waiting).max(1) as u32;
        let preparing = spent.saturating_sub(self.in_rounds) / prepared * waiting as u32;
        let left = self.limits.time.saturating_sub(spent + preparing);
        let least = self.limits.time / (2 * self.arms.max(1) as u32);
        (left / (in_group + waiting).max(1) as u32).max(least)
    }

    fn tell(&mut self, event: Event) {
        (self.observe)(event, self.record);
    }

    fn fail(&mut self, i: usize, reason: String) {
        let arm = &mut self.record.arms[i];
        arm.reason = Some(reason);
        if arm.status == Status::NotRun {
            arm.status = Status::Failed;
        }
        self.tell(Event::Done(i));
    }

    /// Takes arms from the end of `waiting`, tries each, and stops when the next would not fit.
    fn gather(&mut self, waiting: &mut Vec<usize>) -> Vec<usize> {
        let mut group = Vec::new();
        let mut memory = 0u64;
        while let Some(&i) = waiting.last() {
            if (self.stop)() || group.len() == GROUP {
                break;
            }
            let tried = self.record.arms[i].peak_rss_bytes.is_some();
            if self.limits.trials && !tried && !self.try_arm(i, group.len(), waiting.len()) {
                if !(self.stop)() {
                    waiting.pop();
                }
                continue;
            }
            let arm = &self.record.arms[i];
            let bytes = arm.peak_rss_bytes.unwrap_or_else(|| estimated_bytes(arm));
            if !group.is_empty() && memory.saturating_add(bytes) > self.limits.memory_bytes {
                break;
            }
            memory = memory.saturating_add(bytes);
            group.push(i);
            waiting.pop();
        }
        group
    }

    /// Whether the arm is worth loading here: it ran, and in less than its share of the time.
    fn try_arm(&mut self, i: usize, in_group: usize, waiting: usize) -> bool {
        self.tell(Event::Trying(i));
        let share = self.share(in_group, waiting);
        let trial = match self.lab.trial(&self.record.arms[i], self.limits.patience) {
            Ok(trial) => trial,
            Err(TrialError::Unavailable(reason)) => {
                self.record.arms[i].reason = Some(format!("memory not measured: {reason}"));
                return true;
            }
            Err(TrialError::Failed(_)) if (self.stop)() => return false,
            Err(TrialError::Failed(reason)) => {
                self.fail(i, reason);
                return false;
            }
        };
        let arm = &mut self.record.arms[i];
        arm.load_ms = Some(trial.load_ms);
        arm.first_ms = trial.ms.first().copied();
        arm.peak_rss_bytes = trial.peak_rss_bytes;
        let Some(&last) = trial.ms.last() else {
            return true;
        };
        if last / 1e3 < share.as_secs_f64() {
            return true;
        }
        let ms = vec![last];
        arm.visits.push(Visit { round: 0, ms });
        arm.reason = Some("one run: it takes longer than the arm's share of the time".into());
        arm.summarise();
        self.tell(Event::Done(i));
        false
    }

    /// Loads the arms of a group and visits them in rounds.
    fn measure(&mut self, group: &[usize], waiting: usize) {
        let mut loaded = Vec::new();
        let mut members = Vec::new();
        for &i in group {
            if (self.stop)() {
                return;
            }
            self.tell(Event::Loading(i));
            match self.lab.load(&self.record.arms[i]) {
                Ok(l) => {
                    let arm = &mut self.record.arms[i];
                    arm.load_ms = Some(l.load_ms);
                    arm.settings = l.settings;
                    loaded.push(l.workload);
                    members.push(i);
                }
                Err(reason) => self.fail(i, reason),
            }
        }
        let budget = self.share(group.len(), waiting) * (group.len() as u32);
        let begin = self.clock.now();
        let (record, observe) = (&mut *self.record, &mut *self.observe);
        let mut step = |s: Step<'_>| {
            let i = members[s.arm];
            take(&mut record.arms[i], &s.runs[s.arm]);
            let round = s.round;
            observe(Event::Visited { arm: i, round }, record);
        };
        rounds::measure(
            &mut loaded,
            self.protocol,
            budget,
            self.clock,
            self.stop,
            &mut step,
        );
        self.in_rounds += self.clock.now().saturating_sub(begin);
        for i in members {
            self.tell(Event::Done(i));
        }
    }
}

/// Puts what was measured into the record's arm.
fn take(arm: &mut Arm, runs: &rounds::Runs) {
    arm.first_ms = runs.first_ms.or(arm.first_ms);
    arm.visits.clone_from(&runs.visits);
    arm.summarise();
    if runs.cold {
        arm.reason = Some("one run: it takes longer than the arm's share of the time".into());
    }
    if let Some(error) = &runs.error {
        arm.reason = Some(error.clone());
        arm.status = Status::Failed;
    }
}

/// What an arm may hold that nobody measured: its parameters thrice (ours, packed, the engine's own
/// copy) and 60 feature maps of the input's size.
fn estimated_bytes(arm: &Arm) -> u64 {
    let input: u64 = arm.input.iter().map(|&d| d as u64).product();
    let parameters = arm.parameters.unwrap_or(50_000_000);
    (parameters.saturating_mul(12)).saturating_add(input.saturating_mul(4 * 60))
}

#[cfg(test)]
mod tests {
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

        fn load(&mut self, arm: &Arm) -> Result<Loaded<Fake>, String> {
            self.loads.push(arm.model.clone());
            if arm.model == "unloadable" {
                return Err("it does not load".into());
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
        assert_eq!(lab.loads, ["10", "20", "30", "40", "50"]);
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
        go(&mut r, &mut lab, &LIMITS, usize::MAX);
        let visits: Vec<_> = r.arms.iter().map(|a| a.visits.len()).collect();
        let (least, most) = (visits.iter().min().unwrap(), visits.iter().max().unwrap());
        assert!(*least >= 8 && 2 * most <= 3 * least, "{visits:?}");
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
}
