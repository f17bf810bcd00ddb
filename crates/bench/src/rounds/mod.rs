//! Interleaved rounds: every arm is visited once a round and the reference arm twice, each round in
//! another order, so that a machine which grows slower does so for all of them.

mod order;
mod warm_up;

#[cfg(test)]
pub(crate) mod tests;

use std::time::{Duration, Instant};

use crate::conditions::Counters;
use crate::record::{Visit, WarmUp};

/// Something whose runs are timed.
pub trait Workload {
    /// Does the work once; what it took, if another process than this did it. The way there and back
    /// is then not in the figures.
    ///
    /// # Errors
    /// What went wrong, in one line.
    fn run(&mut self) -> Result<Option<Elsewhere>, String>;
}

/// What a run took in the process that made it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Elsewhere {
    /// Its time.
    pub time: Duration,
    /// The CPU time of all threads, where the system tells.
    pub cpu_time: Option<Duration>,
}

/// Time, and what the machine counts beside it, so that the protocol can be tested without waiting.
pub trait Clock {
    /// The time since some fixed moment.
    fn now(&self) -> Duration;
    /// Waits.
    fn sleep(&self, time: Duration);
    /// What the machine has counted so far; by default nothing.
    fn counters(&self) -> Counters {
        Counters::default()
    }
}

/// The system's monotonic clock and counters.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock(Instant);

impl SystemClock {
    /// A clock that starts at zero.
    pub fn start() -> Self {
        SystemClock(Instant::now())
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }

    fn sleep(&self, time: Duration) {
        std::thread::sleep(time);
    }

    fn counters(&self) -> Counters {
        Counters::read()
    }
}

/// How arms are visited.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Protocol {
    /// Rounds in which every arm is visited.
    pub rounds: usize,
    /// Rounds at most: those beyond [`Protocol::rounds`] are for arms whose verdict is open.
    pub most_rounds: usize,
    /// How long a visit's back-to-back runs go on; at least one run is made.
    pub visit: Duration,
    /// The pause before a visit: the pools of foreign engines spin for a while after a run.
    pub settle: Duration,
}

impl Default for Protocol {
    fn default() -> Self {
        Protocol {
            rounds: 15,
            most_rounds: 60,
            visit: Duration::from_millis(300),
            settle: Duration::from_millis(20),
        }
    }
}

/// What was measured of one arm.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Runs {
    /// The first run of all, in milliseconds: it finds no cache and no thread warm.
    pub first_ms: Option<f64>,
    /// How the arm was brought to a steady time.
    pub warm_up: Option<WarmUp>,
    /// The timed visits.
    pub visits: Vec<Visit>,
    /// The second visits of the same rounds, of the reference arm alone.
    pub control: Vec<Visit>,
    /// Whether the only run is the first one, because it took all the time that the arm had.
    pub cold: bool,
    /// Why the arm was given up.
    pub error: Option<String>,
}

/// What happens, for whoever shows progress or saves what there is.
pub struct Step<'a> {
    /// The round, from 0; `None` during warm-up.
    pub round: Option<usize>,
    /// The arm whose turn has just ended.
    pub arm: usize,
    /// Everything measured so far, by arm.
    pub runs: &'a [Runs],
}

/// Whoever follows the rounds.
pub trait Watch {
    /// A turn has ended.
    fn step(&mut self, step: Step<'_>);
    /// Whether more rounds may decide what is still open about an arm.
    fn is_open(&self, arm: usize) -> bool;
}

/// What rounds are made with.
pub struct Conduct<'a> {
    /// How arms are visited.
    pub protocol: &'a Protocol,
    /// The time that there is for all of it.
    pub budget: Duration,
    /// The arm that is visited twice.
    pub reference: Option<usize>,
    /// The number of the first round.
    pub first_round: usize,
    /// Time.
    pub clock: &'a dyn Clock,
    /// Asks for an end after the run that is under way.
    pub stop: &'a dyn Fn() -> bool,
}

/// Measures `arms` in interleaved rounds within about the budget.
///
/// 1. Each arm runs until its time is steady (`warm_up`).
/// 2. Each round visits the arms in another order and the reference arm twice (`order`). A visit waits
///    [`Protocol::settle`], makes one run that is not counted (other arms have used the caches since),
///    then back-to-back runs for [`Protocol::visit`]. The uncounted run is left out where it is as long
///    as half a visit.
/// 3. An arm that has used its share of the budget rests; all arms are visited in the first round,
///    and the reference as long as any other is. Where the first run alone took the share, it counts as
///    the only one.
/// 4. After [`Protocol::rounds`], arms that are still open ([`Watch::is_open`]) go on with the reference
///    until [`Protocol::most_rounds`] or the end of the budget.
///
/// The result has one entry per arm, in order. An arm that fails is given up, the others go on.
pub fn measure<W: Workload>(
    arms: &mut [W],
    conduct: &Conduct<'_>,
    watch: &mut dyn Watch,
) -> Vec<Runs> {
    let turns = arms.len() + usize::from(conduct.reference.is_some());
    let mut rounds = Rounds {
        conduct,
        begin: conduct.clock.now(),
        share: conduct.budget / (turns.max(1) as u32),
        runs: vec![Runs::default(); arms.len()],
        spent: vec![Duration::ZERO; arms.len()],
        run_time: vec![Duration::ZERO; arms.len()],
        visit_time: vec![Duration::ZERO; arms.len()],
    };
    if rounds.warm_up(arms, watch) {
        rounds.go(arms, watch);
    }
    rounds.runs
}

struct Rounds<'a> {
    conduct: &'a Conduct<'a>,
    begin: Duration,
    /// The time that each arm has, and the reference twice.
    share: Duration,
    runs: Vec<Runs>,
    spent: Vec<Duration>,
    /// What a run took when last seen.
    run_time: Vec<Duration>,
    /// What a visit took when last seen.
    visit_time: Vec<Duration>,
}

impl Rounds<'_> {
    /// Whether it came to its end.
    fn warm_up<W: Workload>(&mut self, arms: &mut [W], watch: &mut dyn Watch) -> bool {
        for (i, arm) in arms.iter_mut().enumerate() {
            if (self.conduct.stop)() {
                return false;
            }
            let begin = self.conduct.clock.now();
            match warm_up::until_steady(arm, self.share, self.conduct.clock, self.conduct.stop) {
                Ok(warm) => {
                    self.spent[i] = self.conduct.clock.now().saturating_sub(begin);
                    self.run_time[i] = warm.last;
                    let runs = &mut self.runs[i];
                    runs.first_ms = Some(milliseconds(warm.first));
                    runs.warm_up = Some(warm.facts);
                    if warm.first >= self.share {
                        runs.cold = true;
                        runs.visits.push(Visit {
                            round: self.conduct.first_round,
                            ms: vec![milliseconds(warm.first)],
                            ..Visit::default()
                        });
                    }
                }
                Err(e) => self.runs[i].error = Some(e),
            }
            self.tell(None, i, watch);
        }
        true
    }

    fn tell(&self, round: Option<usize>, arm: usize, watch: &mut dyn Watch) {
        watch.step(Step {
            round,
            arm,
            runs: &self.runs,
        });
    }

    fn go<W: Workload>(&mut self, arms: &mut [W], watch: &mut dyn Watch) {
        let protocol = self.conduct.protocol;
        for round in 0..protocol.most_rounds.max(protocol.rounds) {
            let active = self.active(round, watch);
            if active.is_empty() {
                return;
            }
            let fit = self.conduct.reference.filter(|&r| self.is_fit(r));
            for turn in order::turns(round, &active, fit) {
                if (self.conduct.stop)() {
                    return;
                }
                if self.runs[turn.arm].error.is_some() {
                    continue;
                }
                self.visit(&mut arms[turn.arm], round, turn);
                self.tell(Some(self.conduct.first_round + round), turn.arm, watch);
            }
        }
    }

    /// The arms that this round is for.
    fn active(&self, round: usize, watch: &dyn Watch) -> Vec<usize> {
        let protocol = self.conduct.protocol;
        let arms = (0..self.runs.len()).filter(|&i| self.is_fit(i));
        if round >= protocol.rounds {
            let spent = self.conduct.clock.now().saturating_sub(self.begin);
            let open = |&i: &usize| Some(i) != self.conduct.reference && watch.is_open(i);
            return match spent < self.conduct.budget {
                true => arms.filter(open).collect(),
                false => Vec::new(),
            };
        }
        let rested = |i: usize| round == 0 || self.spent[i] + self.visit_time[i] <= self.share;
        arms.filter(|&i| rested(i)).collect()
    }

    fn is_fit(&self, i: usize) -> bool {
        self.runs[i].error.is_none() && !self.runs[i].cold
    }

    fn visit(&mut self, arm: &mut impl Workload, round: usize, turn: order::Turn) {
        let i = turn.arm;
        let clock = self.conduct.clock;
        let begin = clock.now();
        let (mut visit, error) = self.runs_of_a_visit(arm, self.run_time[i]);
        self.visit_time[i] = clock.now().saturating_sub(begin);
        // The second visit is paid from the share that the reference has beyond the others.
        if !turn.control {
            self.spent[i] += self.visit_time[i];
        }
        let runs = &mut self.runs[i];
        if let Some(&last) = visit.ms.last() {
            self.run_time[i] = Duration::from_secs_f64(last / 1e3);
            visit.round = self.conduct.first_round + round;
            match turn.control {
                true => runs.control.push(visit),
                false => runs.visits.push(visit),
            }
        }
        runs.error = error;
    }

    /// A visit's runs, and what ended it early.
    fn runs_of_a_visit(
        &self,
        arm: &mut impl Workload,
        expected: Duration,
    ) -> (Visit, Option<String>) {
        let Conduct {
            protocol, clock, ..
        } = *self.conduct;
        let mut visit = Visit::default();
        clock.sleep(protocol.settle);
        if expected < protocol.visit / 2
            && let Err(e) = run_once(arm, clock)
        {
            return (visit, Some(e));
        }
        let before = clock.counters();
        let mut error = None;
        let mut cpu_time = Some(Duration::ZERO);
        let begin = clock.now();
        while visit.ms.is_empty() || clock.now().saturating_sub(begin) < protocol.visit {
            if (self.conduct.stop)() {
                break;
            }
            match run_once(arm, clock) {
                Ok(run) => {
                    visit.ms.push(milliseconds(run.time));
                    cpu_time = cpu_time.zip(run.cpu_time).map(|(all, one)| all + one);
                }
                Err(e) => {
                    error = Some(e);
                    break;
                }
            }
        }
        visit.usage = clock.counters().since(&before);
        if let Some(cpu_time) = cpu_time.filter(|_| !visit.ms.is_empty()) {
            visit.usage.cpu_ms = Some(milliseconds(cpu_time));
        }
        (visit, error)
    }
}

/// A run as the process tells it that made it; the CPU time is known of other processes only.
fn run_once(arm: &mut impl Workload, clock: &dyn Clock) -> Result<Elsewhere, String> {
    let begin = clock.now();
    let elsewhere = arm.run()?;
    Ok(elsewhere.unwrap_or_else(|| Elsewhere {
        time: clock.now().saturating_sub(begin),
        cpu_time: None,
    }))
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
