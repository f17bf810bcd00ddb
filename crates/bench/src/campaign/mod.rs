//! From a record whose arms are named to one whose arms are measured: trials, groups, rounds.
//!
//! Knows nothing of engines: whoever calls it says how an arm is tried and loaded ([`Laboratory`]).

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::accuracy::Accuracy;
use crate::conditions::Counters;
use crate::date::now_rfc3339;
use crate::judge;
use crate::record::{Arm, Check, Record, Status, Visit};
use crate::rounds::{self, Clock, Conduct, Protocol, Step, Watch, Workload};
use crate::scan;

/// Arms in a group at most, the reference arm aside. Every arm of a group is loaded at the same time.
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
    /// The arm does not run, and would not elsewhere either.
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
    /// Its output beside another's, which is close enough.
    pub check: Option<Check>,
    /// How much of the full-precision answers it keeps, if there is something to find that out with.
    pub accuracy: Option<Accuracy>,
    /// The first run of all, if it was made, in milliseconds.
    pub first_ms: Option<f64>,
    /// Images or volumes in a run, if not as many as the input holds.
    pub burst: Option<usize>,
}

/// Why an arm is not ready to run.
#[derive(Clone, PartialEq, Debug)]
pub enum Refusal {
    /// It does not run, for a reason in one line.
    Failed(String),
    /// It runs and its output is wrong.
    Wrong(Check),
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

    /// Makes the arm ready to run and checks its output.
    ///
    /// # Errors
    /// What went wrong.
    fn load(&mut self, arm: &Arm) -> Result<Loaded<Self::Workload>, Refusal>;
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

/// Measures every arm of `record` whose status is [`Status::NotRun`], in groups that fit the memory. The
/// reference arm, the first one unless another is marked, is loaded with every group. Afterwards the
/// record is complete, unless `stop` ended the campaign.
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
    // The reference arm's first group is the first.
    waiting.sort_by_key(|&i| (!record.arms[i].reference, i));
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
        meter: Meter::start(clock),
    };
    while !waiting.is_empty() && !stop() {
        let group = campaign.gather(&mut waiting);
        campaign.measure(&group, waiting.len());
    }
    campaign.meter.add_to(campaign.record, clock);
    judge::judge(record);
    record.complete = waiting.is_empty() && !stop();
    record.finished = Some(now_rfc3339());
}

/// Adds what happens to a record's totals.
struct Meter {
    counters: Counters,
    at: Duration,
    measured: Duration,
}

impl Meter {
    fn start(clock: &dyn Clock) -> Meter {
        Meter {
            counters: clock.counters(),
            at: clock.now(),
            measured: Duration::ZERO,
        }
    }

    fn add_to(&mut self, record: &mut Record, clock: &dyn Clock) {
        let (counters, at) = (clock.counters(), clock.now());
        let usage = counters.since(&self.counters);
        let time = at.saturating_sub(self.at);
        let weights = [self.measured, time].map(|t| t.as_secs_f64());
        record.usage = record.usage.and(&usage, weights);
        self.measured += time;
        (self.counters, self.at) = (counters, at);
    }
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
    meter: Meter,
}

impl<L: Laboratory> Campaign<'_, L> {
    /// The time that a turn has, which is one arm's visits, or the second visits of the reference arm: what
    /// is left, less what trying and loading those that wait will take if they are like those before,
    /// shared by the turns of the group and of those to come. At least half of what it would be if trying
    /// and loading took no time.
    fn share(&self, in_group: usize, waiting: usize) -> Duration {
        let spent = self.clock.now().saturating_sub(self.begin);
        let prepared = self.arms.saturating_sub(waiting).max(1) as u32;
        let preparing = spent.saturating_sub(self.in_rounds) / prepared * waiting as u32;
        let left = self.limits.time.saturating_sub(spent + preparing);
        // The groups to come are taken to be as large as this one.
        let turns = |arms: usize| (arms + 2 * arms.div_ceil(in_group.max(1))).max(1) as u32;
        let least = self.limits.time / (2 * turns(self.arms));
        (left / turns(in_group + waiting)).max(least)
    }

    fn tell(&mut self, event: Event) {
        (self.observe)(event, self.record);
    }

    /// That arm will not change any more.
    fn finish(&mut self, i: usize) {
        self.record.arms[i].done = true;
        scan::apply(self.record);
        self.tell(Event::Done(i));
    }

    fn fail(&mut self, i: usize, refusal: Refusal) {
        let arm = &mut self.record.arms[i];
        let status = match refusal {
            Refusal::Failed(reason) => {
                arm.reason = Some(reason);
                Status::Failed
            }
            Refusal::Wrong(check) => {
                arm.reason = Some(check.to_string());
                arm.check = Some(check);
                Status::Wrong
            }
        };
        if arm.status == Status::NotRun {
            arm.status = status;
        }
        self.finish(i);
    }

    /// Takes arms from the end of `waiting`, tries each, and stops when the next would not fit.
    fn gather(&mut self, waiting: &mut Vec<usize>) -> Vec<usize> {
        let mut group = Vec::new();
        let reference = self.reference().map(|r| memory_of(&self.record.arms[r]));
        let mut memory = reference.unwrap_or(0);
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
            let bytes = memory_of(&self.record.arms[i]);
            if !group.is_empty() && memory.saturating_add(bytes) > self.limits.memory_bytes {
                break;
            }
            memory = memory.saturating_add(bytes);
            group.push(i);
            waiting.pop();
        }
        group
    }

    /// The reference arm, if it has been measured and may be again.
    fn reference(&self) -> Option<usize> {
        let fit = |a: &Arm| a.reference && a.status == Status::Measured && !a.control.is_empty();
        self.record.arms.iter().position(fit)
    }

    /// Whether the arm is worth loading here: it ran, and in less than its share of the time.
    fn try_arm(&mut self, i: usize, in_group: usize, waiting: usize) -> bool {
        self.tell(Event::Trying(i));
        let share = self.share(in_group.max(GROUP / 2), waiting);
        let trial = match self.lab.trial(&self.record.arms[i], self.limits.patience) {
            Ok(trial) => trial,
            Err(TrialError::Unavailable(reason)) => {
                self.record.arms[i].reason = Some(format!("memory not measured: {reason}"));
                return true;
            }
            Err(TrialError::Failed(_)) if (self.stop)() => return false,
            Err(TrialError::Failed(reason)) => {
                self.fail(i, Refusal::Failed(reason));
                return false;
            }
        };
        let round = next_round(self.record);
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
        arm.visits.push(Visit {
            round,
            ms: vec![last],
            ..Visit::default()
        });
        arm.reason = Some(ONE_RUN.into());
        arm.summarise();
        self.finish(i);
        false
    }

    /// Loads the arms of a group and the reference arm, and visits them in rounds.
    fn measure(&mut self, group: &[usize], waiting: usize) {
        let mut arms = group.to_vec();
        if let Some(reference) = self.reference()
            && !group.is_empty()
        {
            arms.push(reference);
        }
        let mut loaded = Vec::new();
        let mut members = Vec::new();
        for i in arms {
            if (self.stop)() {
                return;
            }
            self.tell(Event::Loading(i));
            match self.lab.load(&self.record.arms[i]) {
                Ok(l) => {
                    let arm = &mut self.record.arms[i];
                    // The trial's is the engine's alone; here a process may have been started for it.
                    arm.load_ms = arm.load_ms.or(Some(l.load_ms));
                    arm.first_ms = arm.first_ms.or(l.first_ms);
                    arm.settings = l.settings;
                    arm.check = l.check.or(arm.check.take());
                    arm.accuracy = l.accuracy.or(arm.accuracy.take());
                    arm.burst = l.burst;
                    loaded.push(l.workload);
                    members.push(i);
                }
                // The others can still be measured beside each other.
                Err(_) if self.record.arms[i].done => self.record.arms[i].reference = false,
                Err(refusal) => self.fail(i, refusal),
            }
        }
        let reference = self.appoint(&members);
        let turns = members.len() + usize::from(reference.is_some());
        let budget = self.share(group.len(), waiting) * (turns as u32);
        let begin = self.clock.now();
        let mut follow = Follow {
            earlier: members
                .iter()
                .map(|&i| {
                    (
                        self.record.arms[i].visits.clone(),
                        self.record.arms[i].control.clone(),
                    )
                })
                .collect(),
            members: &members,
            record: self.record,
            observe: self.observe,
            meter: &mut self.meter,
            clock: self.clock,
        };
        let conduct = Conduct {
            protocol: self.protocol,
            budget,
            reference,
            first_round: next_round(follow.record),
            clock: self.clock,
            stop: self.stop,
        };
        rounds::measure(&mut loaded, &conduct, &mut follow);
        self.in_rounds += self.clock.now().saturating_sub(begin);
        if !(self.stop)() {
            for i in group.iter().filter(|i| members.contains(i)) {
                self.finish(*i);
            }
        }
    }

    /// The position of the reference arm among `members`; where there is none yet, or it has not
    /// come to figures, the first of them becomes it.
    fn appoint(&mut self, members: &[usize]) -> Option<usize> {
        let arms = &mut self.record.arms;
        if let Some(at) = members.iter().position(|&i| arms[i].reference) {
            return Some(at);
        }
        let &first = members.first()?;
        for arm in arms.iter_mut() {
            arm.reference = false;
            arm.control.clear();
        }
        arms[first].reference = true;
        Some(0)
    }
}

const ONE_RUN: &str = "one run: it takes longer than the arm's share of the time";

/// A round that no visit is of.
fn next_round(record: &Record) -> usize {
    let visits = |a: &Arm| a.visits.iter().map(|v| v.round + 1).max();
    record.arms.iter().filter_map(visits).max().unwrap_or(0)
}

/// Puts the rounds of a group into the record.
struct Follow<'a> {
    record: &'a mut Record,
    observe: &'a mut dyn FnMut(Event, &Record),
    members: &'a [usize],
    /// The visits that members had before: the reference arm's of earlier groups.
    earlier: Vec<(Vec<Visit>, Vec<Visit>)>,
    meter: &'a mut Meter,
    clock: &'a dyn Clock,
}

impl Watch for Follow<'_> {
    fn step(&mut self, step: Step<'_>) {
        let arm = self.members[step.arm];
        take(
            &mut self.record.arms[arm],
            &self.earlier[step.arm],
            &step.runs[step.arm],
        );
        if step.round.is_some() {
            judge::judge_some(self.record, self.members);
        }
        self.meter.add_to(self.record, self.clock);
        let round = step.round;
        (self.observe)(Event::Visited { arm, round }, self.record);
    }

    fn is_open(&self, arm: usize) -> bool {
        judge::is_open(&self.record.arms[self.members[arm]])
    }
}

/// Puts what was measured into the record's arm.
fn take(arm: &mut Arm, earlier: &(Vec<Visit>, Vec<Visit>), runs: &rounds::Runs) {
    if !arm.done {
        arm.first_ms = arm.first_ms.or(runs.first_ms);
        arm.warm_up = runs.warm_up.or(arm.warm_up);
    }
    let all = |before: &Vec<Visit>, new: &Vec<Visit>| [before.as_slice(), new].concat();
    arm.visits = all(&earlier.0, &runs.visits);
    arm.control = all(&earlier.1, &runs.control);
    arm.summarise();
    if runs.cold && !arm.done {
        arm.reason = Some(ONE_RUN.into());
    }
    if let Some(error) = &runs.error {
        arm.reason = Some(error.clone());
        arm.status = Status::Failed;
    }
}

fn memory_of(arm: &Arm) -> u64 {
    arm.peak_rss_bytes.unwrap_or_else(|| estimated_bytes(arm))
}

/// What an arm may hold that nobody measured: its parameters thrice (ours, packed, the engine's own
/// copy) and 60 feature maps of the input's size, for each stream.
fn estimated_bytes(arm: &Arm) -> u64 {
    let input = (arm.input.iter()).fold(1u64, |n, &d| n.saturating_mul(d as u64));
    let parameters = arm.parameters.unwrap_or(50_000_000);
    let one = (parameters.saturating_mul(12)).saturating_add(input.saturating_mul(4 * 60));
    one.saturating_mul(arm.streams.max(1) as u64)
}

#[cfg(test)]
mod tests;
