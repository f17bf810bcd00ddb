//! Rounds of arms that only pretend to run, on a clock that only pretends to tick.

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
    fn run(&mut self) -> Result<Option<Elsewhere>, String> {
        self.log.borrow_mut().push(self.name);
        self.runs += 1;
        if Some(self.runs) == self.fails_at {
            return Err(format!("{} broke", self.name));
        }
        let slow = if self.runs == 1 { 10 } else { 1 };
        self.clock.advance(Duration::from_millis(self.ms * slow));
        Ok(None)
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
        most_rounds: rounds,
        visit: Duration::from_millis(visit_ms),
        settle: Duration::from_millis(5),
    }
}

/// A watch that finds some arms open for ever.
struct Open(Vec<usize>);

impl Watch for Open {
    fn step(&mut self, _: Step<'_>) {}
    fn is_open(&self, arm: usize) -> bool {
        self.0.contains(&arm)
    }
}

struct Setup {
    protocol: Protocol,
    budget_ms: u64,
    reference: Option<usize>,
    open: Vec<usize>,
}

fn conducted(s: &mut Setting, setup: Setup, stop: &dyn Fn() -> bool) -> Vec<Runs> {
    let conduct = Conduct {
        protocol: &setup.protocol,
        budget: Duration::from_millis(setup.budget_ms),
        reference: setup.reference,
        first_round: 0,
        clock: &s.clock,
        stop,
    };
    measure(&mut s.arms, &conduct, &mut Open(setup.open))
}

fn go(s: &mut Setting, protocol: &Protocol, budget_ms: u64) -> Vec<Runs> {
    let setup = Setup {
        protocol: *protocol,
        budget_ms,
        reference: None,
        open: Vec::new(),
    };
    conducted(s, setup, &|| false)
}

#[test]
fn each_round_visits_every_arm_in_another_order() {
    // Seven runs to warm up. Visits of 25 ms of runs of 10 ms: one uncounted, three counted.
    let mut s = setting(&[('a', 10), ('b', 10), ('c', 10)]);
    let runs = go(&mut s, &protocol(3, 25), 100_000);
    let (a, b, c) = ("aaaa", "bbbb", "cccc");
    let want = format!("aaaaaaabbbbbbbccccccc{a}{b}{c}{b}{c}{a}{c}{a}{b}");
    assert_eq!(*s.log.borrow(), want);
    for r in &runs {
        let rounds: Vec<_> = r.visits.iter().map(|v| v.round).collect();
        assert_eq!(rounds, [0, 1, 2]);
        assert!(r.visits.iter().all(|v| v.ms == [10.0, 10.0, 10.0]), "{r:?}");
        assert_eq!(r.first_ms, Some(100.0), "the slow first run is not counted");
        let warm_up = r.warm_up.unwrap();
        assert_eq!((warm_up.runs, warm_up.steady), (7, true));
    }
}

/// Work in another process: 4 ms and 7 ms of CPU time there, 10 ms as seen from here.
struct Far(FakeClock);

impl Workload for Far {
    fn run(&mut self) -> Result<Option<Elsewhere>, String> {
        self.0.advance(Duration::from_millis(10));
        Ok(Some(Elsewhere {
            time: Duration::from_millis(4),
            cpu_time: Some(Duration::from_millis(7)),
        }))
    }
}

#[test]
fn what_ran_in_another_process_has_the_figures_of_that_process() {
    let clock = FakeClock::default();
    let protocol = protocol(2, 25);
    let conduct = Conduct {
        protocol: &protocol,
        budget: Duration::from_secs(100),
        reference: None,
        first_round: 0,
        clock: &clock,
        stop: &|| false,
    };
    let runs = measure(&mut [Far(clock.clone())], &conduct, &mut Open(vec![]));
    assert_eq!(runs[0].first_ms, Some(4.0));
    assert_eq!(runs[0].visits.len(), 2);
    for visit in &runs[0].visits {
        // A visit's 25 ms are those of the clock here.
        assert_eq!(visit.ms, [4.0; 3]);
        assert_eq!(visit.usage.cpu_ms, Some(21.0));
    }
}

#[test]
fn the_reference_is_visited_twice_a_round() {
    let mut s = setting(&[('a', 10), ('b', 10), ('c', 10)]);
    let setup = Setup {
        protocol: protocol(4, 25),
        budget_ms: 100_000,
        reference: Some(1),
        open: vec![],
    };
    let runs = conducted(&mut s, setup, &|| false);
    let control: Vec<_> = runs[1].control.iter().map(|v| v.round).collect();
    assert_eq!(control, [0, 1, 2, 3]);
    assert_eq!(runs[1].visits.len(), 4);
    assert!(runs[0].control.is_empty() && runs[2].control.is_empty());
}

#[test]
fn open_arms_go_on_with_the_reference_until_the_rounds_or_the_time_are_over() {
    for (most_rounds, budget_ms, want) in [(8, 100_000, 8), (800, 3_000, 20)] {
        let mut s = setting(&[('a', 10), ('b', 10), ('c', 10)]);
        let setup = Setup {
            protocol: Protocol {
                most_rounds,
                ..protocol(3, 25)
            },
            budget_ms,
            reference: Some(0),
            open: vec![0, 2],
        };
        let runs = conducted(&mut s, setup, &|| false);
        let visits: Vec<_> = runs.iter().map(|r| r.visits.len()).collect();
        assert_eq!(visits, [want, 3, want]);
        assert_eq!(runs[0].control.len(), want);
        assert!(s.clock.now() <= Duration::from_millis(budget_ms + 150));
    }
}

#[test]
fn an_arm_that_has_had_its_share_rests_while_the_others_go_on() {
    // A share of 3 s each; the first run takes 2.5 s of it.
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
    s.arms[1].fails_at = Some(10);
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
    let setup = Setup {
        protocol: protocol(50, 25),
        budget_ms: 100_000,
        reference: None,
        open: vec![],
    };
    // Seven runs each to warm up, and two visits of four runs each; the third is broken off.
    let runs = conducted(&mut s, setup, &|| log.borrow().len() >= 14 + 8 + 2);
    assert_eq!((runs[0].visits.len(), runs[1].visits.len()), (1, 2));
    assert_eq!(
        runs[1].visits[1].ms,
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
