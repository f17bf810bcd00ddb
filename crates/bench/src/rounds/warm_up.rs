//! Runs that are not counted, until an arm's time is steady.

use std::time::Duration;

use super::{Clock, Workload, milliseconds, run_once};
use crate::record::WarmUp;
use crate::statistics::median;

/// Runs in a stretch whose median is looked at, at least.
const RUNS: usize = 3;
/// How long a stretch is at least: fast arms run many times while a CPU finds its frequency.
const STRETCH: Duration = Duration::from_millis(30);
/// An arm is steady if a stretch is no more than this fraction faster than the one before.
const STEADY: f64 = 0.02;
/// Stretches at most.
const MOST_STRETCHES: usize = 10;
/// The part of an arm's time that may go into this.
const PART: u32 = 5;

/// How an arm was warmed up.
pub(super) struct Warm {
    /// The first run.
    pub(super) first: Duration,
    /// The last run.
    pub(super) last: Duration,
    /// For the record.
    pub(super) facts: WarmUp,
}

/// Runs `arm` in stretches until one is not faster than the one before, within a fifth of `share`. An
/// arm whose first run took a tenth of its share runs just once.
pub(super) fn until_steady(
    arm: &mut impl Workload,
    share: Duration,
    clock: &dyn Clock,
    stop: &dyn Fn() -> bool,
) -> Result<Warm, String> {
    let begin = clock.now();
    let first = run_once(arm, clock)?.time;
    let mut warm = Warm {
        first,
        last: first,
        facts: WarmUp {
            runs: 1,
            steady: false,
        },
    };
    let over = || clock.now().saturating_sub(begin) > share / PART || stop();
    if first * 10 >= share {
        return Ok(warm);
    }
    let mut before: Option<f64> = None;
    for _ in 0..MOST_STRETCHES {
        let stretch = clock.now();
        let mut ms = Vec::new();
        while ms.len() < RUNS || clock.now().saturating_sub(stretch) < STRETCH {
            warm.last = run_once(arm, clock)?.time;
            warm.facts.runs += 1;
            ms.push(milliseconds(warm.last));
            if over() {
                return Ok(warm);
            }
        }
        let now = median(&ms).unwrap_or_default();
        if before.is_some_and(|before| now >= before * (1.0 - STEADY)) {
            warm.facts.steady = true;
            return Ok(warm);
        }
        before = Some(now);
    }
    Ok(warm)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rounds::Elsewhere;
    use crate::rounds::tests::FakeClock;

    /// An arm whose runs take the given milliseconds, the last one for ever.
    struct Scripted {
        clock: FakeClock,
        ms: Vec<u64>,
        runs: usize,
    }

    impl Workload for Scripted {
        fn run(&mut self) -> Result<Option<Elsewhere>, String> {
            let ms = self.ms[self.runs.min(self.ms.len() - 1)];
            self.runs += 1;
            self.clock.advance(Duration::from_millis(ms));
            Ok(None)
        }
    }

    #[test]
    fn warming_up_ends_when_the_time_is_steady() {
        // The runs, the arm's share in ms, and what comes of it: runs made, and whether steady.
        let falling: Vec<u64> = (0..40).map(|i| 1000 - 20 * i).collect();
        type Case<'a> = (&'a str, &'a [u64], u64, (usize, bool));
        let cases: &[Case] = &[
            ("steady at once", &[50, 20], 10_000, (7, true)),
            ("one slow start", &[90, 60, 60, 60, 20], 10_000, (10, true)),
            ("fast arms run longer", &[5, 1], 10_000, (61, true)),
            (
                "a fifth of the share",
                &[50, 40, 30, 20, 10, 5],
                600,
                (4, false),
            ),
            ("too slow for more than one", &[1000], 9_000, (1, false)),
            ("bounded", &falling, 1_000_000, (31, false)),
        ];
        for (what, ms, share, want) in cases {
            let clock = FakeClock::default();
            let mut arm = Scripted {
                clock: clock.clone(),
                ms: ms.to_vec(),
                runs: 0,
            };
            let share = Duration::from_millis(*share);
            let warm = until_steady(&mut arm, share, &clock, &|| false).unwrap();
            let got = (warm.facts.runs, warm.facts.steady);
            assert_eq!(got, *want, "{what}");
            assert_eq!(warm.first, Duration::from_millis(ms[0]));
        }
    }
}
