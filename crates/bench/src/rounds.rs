//! Interleaved rounds: every arm is visited once a round, each round starts with another arm, so
//! that a machine which grows slower does so for all of them.

use std::time::{Duration, Instant};

use crate::record::Visit;

/// Something whose runs are timed.
pub trait Workload {
    /// Does the work once.
    ///
    /// # Errors
    /// What went wrong, in one line.
    fn run(&mut self) -> Result<(), String>;
}

/// Time, so that the protocol can be tested without waiting for it.
pub trait Clock {
    /// The time since some fixed moment.
    fn now(&self) -> Duration;
    /// Waits.
    fn sleep(&self, time: Duration);
}

/// The system's monotonic clock.
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
}

/// How arms are visited.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Protocol {
    /// Rounds at most.
    pub rounds: usize,
    /// How long a visit's back-to-back runs go on; at least one run is made.
    pub visit: Duration,
    /// The pause before a visit: the pools of foreign engines spin for a while after a run.
    pub settle: Duration,
}

impl Default for Protocol {
    fn default() -> Self {
        Protocol {
            rounds: 15,
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
    /// The timed visits.
    pub visits: Vec<Visit>,
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

/// Measures `arms` in interleaved rounds within about `budget`.
///
/// 1. Each arm runs once to warm up, and a second time if the first took less than a tenth of its
///    share.
/// 2. Each round visits the arms in rotated order. A visit waits [`Protocol::settle`], makes one run
///    that is not counted (other arms have used the caches since), then back-to-back runs for
///    [`Protocol::visit`]. The uncounted run is left out where it is as long as half a visit.
/// 3. An arm that has used its share of the budget, `budget / arms`, rests; all arms are visited
///    in the first round. Where the warm-up alone took the share, it counts as the only run.
/// 4. The rounds end when all arms rest, or after [`Protocol::rounds`], or when `stop` says so.
///
/// The result has one entry per arm, in order. An arm that fails is given up, the others go on.
pub fn measure<W: Workload>(
    arms: &mut [W],
    protocol: &Protocol,
    budget: Duration,
    clock: &dyn Clock,
    stop: &dyn Fn() -> bool,
    step: &mut dyn FnMut(Step<'_>),
) -> Vec<Runs> {
    let mut runs = vec![Runs::default(); arms.len()];
    let mut spent = vec![Duration::ZERO; arms.len()];
    // What a run took when last seen, and a visit.
    let mut run_time = vec![Duration::ZERO; arms.len()];
    let mut visit_time = vec![Duration::ZERO; arms.len()];
    let share = budget / (arms.len().max(1) as u32);
    let visitor = Visitor {
        protocol,
        clock,
        stop,
    };
    for (i, arm) in arms.iter_mut().enumerate() {
        if stop() {
            return runs;
        }
        match visitor.warm_up(arm, share) {
            Ok((first, last)) => {
                run_time[i] = last;
                spent[i] = first;
                runs[i].first_ms = Some(milliseconds(first));
                if first >= share {
                    runs[i].cold = true;
                    let ms = vec![milliseconds(first)];
                    runs[i].visits.push(Visit { round: 0, ms });
                }
            }
            Err(e) => runs[i].error = Some(e),
        }
        step(Step {
            round: None,
            arm: i,
            runs: &runs,
        });
    }
    for round in 0..protocol.rounds {
        let mut rest = true;
        for k in 0..arms.len() {
            let i = (round + k) % arms.len();
            if stop() {
                return runs;
            }
            let tired = round > 0 && spent[i] + visit_time[i] > share;
            if runs[i].error.is_some() || runs[i].cold || tired {
                continue;
            }
            rest = false;
            let begin = clock.now();
            let (ms, error) = visitor.visit(&mut arms[i], run_time[i]);
            visit_time[i] = clock.now().saturating_sub(begin);
            spent[i] += visit_time[i];
            if let Some(&last) = ms.last() {
                run_time[i] = Duration::from_secs_f64(last / 1e3);
                runs[i].visits.push(Visit { round, ms });
            }
            runs[i].error = error;
            step(Step {
                round: Some(round),
                arm: i,
                runs: &runs,
            });
        }
        if rest {
            break;
        }
    }
    runs
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

struct Visitor<'a> {
    protocol: &'a Protocol,
    clock: &'a dyn Clock,
    stop: &'a dyn Fn() -> bool,
}

impl Visitor<'_> {
    fn time(&self, arm: &mut impl Workload) -> Result<Duration, String> {
        let begin = self.clock.now();
        arm.run()?;
        Ok(self.clock.now().saturating_sub(begin))
    }

    /// The time of the first run, and of the last, which is the second where there is time for it.
    fn warm_up(
        &self,
        arm: &mut impl Workload,
        share: Duration,
    ) -> Result<(Duration, Duration), String> {
        let first = self.time(arm)?;
        if first * 10 < share && !(self.stop)() {
            return Ok((first, self.time(arm)?));
        }
        Ok((first, first))
    }

    /// The durations of a visit's runs in milliseconds, and what ended it early.
    fn visit(&self, arm: &mut impl Workload, expected: Duration) -> (Vec<f64>, Option<String>) {
        let mut ms = Vec::new();
        self.clock.sleep(self.protocol.settle);
        if expected < self.protocol.visit / 2
            && let Err(e) = self.time(arm)
        {
            return (ms, Some(e));
        }
        let begin = self.clock.now();
        while ms.is_empty() || self.clock.now().saturating_sub(begin) < self.protocol.visit {
            if (self.stop)() {
                break;
            }
            match self.time(arm) {
                Ok(time) => ms.push(milliseconds(time)),
                Err(e) => return (ms, Some(e)),
            }
        }
        (ms, None)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::cell::{Cell, RefCell};
    use std::rc::Rc;

    use super::*;

    /// A clock that moves only when a fake arm runs or somebody sleeps.
    #[derive(Clone, Default)]
    pub(crate) struct FakeClock(pub(crate) Rc<Cell<Duration>>);

    impl FakeClock {
        pub(crate) fn advance(&self, time: Duration) {
            self.0.set(self.0.get() + time);
        }
    }

    impl Clock for FakeClock {
        fn now(&self) -> Duration {
            self.0.get()
        }

        fn sleep(&self, time: Duration) {
            self.advance(time);
        }
    }

    /// An arm that takes `ms` each time, ten times as long at first, and fails at run `fails_at`.
    pub(crate) struct Fake {
        pub(crate) name: char,
        pub(crate) ms: u64,
        pub(crate) fails_at: Option<usize>,
        pub(crate) clock: FakeClock,
        pub(crate) log: Rc<RefCell<String>>,
        pub(crate) runs: usize,
    }

    impl Workload for Fake {
        fn run(&mut self) -> Result<(), String> {
            self.log.borrow_mut().push(self.name);
            self.runs += 1;
            if Some(self.runs) == self.fails_at {
                return Err(format!("{} broke", self.name));
            }
            let slow = if self.runs == 1 { 10 } else { 1 };
            self.clock.advance(Duration::from_millis(self.ms * slow));
            Ok(())
        }
    }

    struct Setting {
        clock: FakeClock,
        log: Rc<RefCell<String>>,
        arms: Vec<Fake>,
    }

    fn setting(arms: &[(char, u64)]) -> Setting {
        let clock = FakeClock::default();
        let log = Rc::new(RefCell::new(String::new()));
        let arms = arms
            .iter()
            .map(|&(name, ms)| Fake {
                name,
                ms,
                fails_at: None,
                clock: clock.clone(),
                log: log.clone(),
                runs: 0,
            })
            .collect();
        Setting { clock, log, arms }
    }

    fn protocol(rounds: usize, visit_ms: u64) -> Protocol {
        Protocol {
            rounds,
            visit: Duration::from_millis(visit_ms),
            settle: Duration::from_millis(5),
        }
    }

    fn go(s: &mut Setting, protocol: &Protocol, budget_ms: u64) -> Vec<Runs> {
        let budget = Duration::from_millis(budget_ms);
        measure(
            &mut s.arms,
            protocol,
            budget,
            &s.clock,
            &|| false,
            &mut |_| {},
        )
    }

    #[test]
    fn each_round_visits_every_arm_in_rotated_order() {
        // Visits of 25 ms of runs of 10 ms: one uncounted, three counted.
        let mut s = setting(&[('a', 10), ('b', 10), ('c', 10)]);
        let runs = go(&mut s, &protocol(3, 25), 100_000);
        let (a, b, c) = ("aaaa", "bbbb", "cccc");
        let want = format!("aabbcc{a}{b}{c}{b}{c}{a}{c}{a}{b}");
        assert_eq!(*s.log.borrow(), want);
        for r in &runs {
            let rounds: Vec<_> = r.visits.iter().map(|v| v.round).collect();
            assert_eq!(rounds, [0, 1, 2]);
            assert!(r.visits.iter().all(|v| v.ms == [10.0, 10.0, 10.0]), "{r:?}");
            assert_eq!(r.first_ms, Some(100.0), "the slow first run is not counted");
        }
    }

    #[test]
    fn an_arm_that_has_had_its_share_rests_while_the_others_go_on() {
        // A share of 3 s each; s takes 2 s a run (warm-up 20 s is more than its share).
        let mut s = setting(&[('f', 10), ('s', 250)]);
        let runs = go(&mut s, &protocol(100, 100), 6_000);
        assert_eq!(
            runs[1].visits.len(),
            1,
            "2500 + 255, the next would exceed 3000"
        );
        assert_eq!(runs[1].visits[0].ms, [250.0]);
        assert!(runs[0].visits.len() > 20, "{}", runs[0].visits.len());
        assert!(s.clock.now() <= Duration::from_millis(6_000));
    }

    #[test]
    fn an_arm_slower_than_its_share_is_measured_once() {
        let mut s = setting(&[('f', 1), ('s', 2_000)]);
        let runs = go(&mut s, &protocol(3, 10), 10_000);
        assert!(runs[1].cold && !runs[0].cold);
        assert_eq!(runs[1].visits.len(), 1);
        assert_eq!(runs[1].visits[0].ms, [20_000.0]);
        assert_eq!(runs[0].visits.len(), 3);
    }

    #[test]
    fn a_broken_arm_is_given_up_and_the_others_are_measured() {
        let mut s = setting(&[('a', 10), ('b', 10), ('c', 10)]);
        s.arms[0].fails_at = Some(1);
        s.arms[1].fails_at = Some(5);
        let runs = go(&mut s, &protocol(2, 25), 100_000);
        assert_eq!(runs[0].error.as_deref(), Some("a broke"));
        assert!(runs[0].visits.is_empty());
        assert_eq!(runs[1].error.as_deref(), Some("b broke"));
        assert_eq!(runs[1].visits[0].ms, [10.0], "what it had is kept");
        assert_eq!((runs[2].visits.len(), &runs[2].error), (2, &None));
    }

    #[test]
    fn stopping_keeps_what_there_is() {
        let mut s = setting(&[('a', 10), ('b', 10)]);
        let log = s.log.clone();
        let runs = measure(
            &mut s.arms,
            &protocol(50, 25),
            Duration::from_secs(100),
            &s.clock,
            &|| log.borrow().len() >= 18,
            &mut |_| {},
        );
        assert_eq!(runs[1].visits.len(), 2, "{runs:?}");
        assert_eq!(
            runs[0].visits[1].ms,
            [10.0],
            "the visit that was broken off"
        );
    }

    #[test]
    fn no_arms_take_no_time() {
        let mut s = setting(&[]);
        assert!(go(&mut s, &Protocol::default(), 1000).is_empty());
        assert_eq!(s.clock.now(), Duration::ZERO);
    }
}
