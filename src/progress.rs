//! What a benchmark shows while it runs: a bar and the table as it grows on a terminal, plain lines
//! elsewhere. On standard error.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use slicewise_bench::campaign::Event;
use slicewise_bench::ranking;
use slicewise_bench::record::{Arm, Record, Status};

/// Lines of the growing table; a terminal has 24.
const LINES: usize = 14;

/// Shows the events of a campaign.
pub(crate) enum Progress {
    Live(Live),
    Lines,
}

/// A bar over a table.
pub(crate) struct Live {
    all: MultiProgress,
    bar: ProgressBar,
    table: Vec<ProgressBar>,
    begin: Instant,
    limit: Duration,
}

impl Progress {
    /// A bar as long as the time that the campaign may take.
    pub(crate) fn new(time: Duration) -> Progress {
        if !std::io::stderr().is_terminal() {
            return Progress::Lines;
        }
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
        let line = |template: &str| {
            let line = all.add(ProgressBar::new(time.as_secs().max(1)));
            if let Ok(style) = ProgressStyle::with_template(template) {
                line.set_style(style);
            }
            line
        };
        let table = (0..LINES).map(|_| line("{wide_msg}")).collect();
        let bar = line("{bar:24} {elapsed} {prefix} {wide_msg}");
        bar.enable_steady_tick(Duration::from_millis(500));
        Progress::Live(Live {
            table,
            bar,
            all,
            begin: Instant::now(),
            limit: time,
        })
    }

    /// Shows what has just happened.
    pub(crate) fn show(&self, event: Event, record: &Record) {
        let arms = &record.arms;
        match (self, event) {
            (Progress::Live(live), event) => live.show(event, record),
            (Progress::Lines, Event::Trying(i)) => {
                eprintln!("[{}/{}] {}", i + 1, arms.len(), arms[i].label());
            }
            (Progress::Lines, Event::Done(i)) => eprintln!("{}", done(&arms[i])),
            (Progress::Lines, _) => {}
        }
    }

    /// Tells something without disturbing the bar.
    pub(crate) fn say(&self, line: &str) {
        match self {
            Progress::Live(live) => live.all.suspend(|| eprintln!("{line}")),
            Progress::Lines => eprintln!("{line}"),
        }
    }

    /// Takes the bar and the table away.
    pub(crate) fn end(&self) {
        if let Progress::Live(live) = self {
            live.table.iter().for_each(ProgressBar::finish_and_clear);
            live.bar.finish_and_clear();
        }
    }
}

impl Live {
    fn show(&self, event: Event, record: &Record) {
        let arms = &record.arms;
        let elapsed = self.begin.elapsed();
        self.bar.set_position(elapsed.as_secs());
        self.bar.set_prefix(format!(
            "{}/{} arms, {} left",
            arms.iter().filter(|a| a.done).count(),
            arms.len(),
            clock(time_left(arms, elapsed, self.limit))
        ));
        match event {
            Event::Trying(i) => self.bar.set_message(format!("trying {}", arms[i].label())),
            Event::Loading(i) => self.bar.set_message(format!("loading {}", arms[i].label())),
            Event::Visited { arm, round } => self.bar.set_message(visited(&arms[arm], round)),
            Event::Done(_) => {}
        }
        let lines = ranking::leaders(record, LINES - 2);
        for (i, line) in self.table.iter().enumerate() {
            line.set_message(lines.get(i).cloned().unwrap_or_default());
        }
    }
}

/// What is left of the time, or less if the arms so far have taken less than their share. Arms that are
/// being measured together count as half done.
fn time_left(arms: &[Arm], elapsed: Duration, limit: Duration) -> Duration {
    let begun = |a: &Arm| match (a.done || a.status == Status::Skipped, a.visits.is_empty()) {
        (true, _) => 1.0,
        (false, false) => 0.5,
        (false, true) => 0.0,
    };
    let done: f64 = arms.iter().map(begun).sum();
    let left = limit.saturating_sub(elapsed);
    match done > 0.0 {
        true => left.min(elapsed.mul_f64((arms.len() as f64 - done) / done)),
        false => left,
    }
}

/// `4:05`.
fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

fn visited(arm: &Arm, round: Option<usize>) -> String {
    let round = round.map_or("warm-up".into(), |r| format!("round {}", r + 1));
    match arm.statistics {
        Some(s) => format!("{round}: {}: {:.2} ms", arm.label(), s.median_ms),
        None => format!("{round}: {}", arm.label()),
    }
}

fn done(arm: &Arm) -> String {
    match (arm.status, arm.statistics) {
        (Status::Measured, Some(s)) => {
            format!("{}: {:.2} ms ({} runs)", arm.label(), s.median_ms, s.runs)
        }
        _ => format!("{}: {}", arm.label(), arm.reason.as_deref().unwrap_or("-")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_is_that_of_the_arms_so_far_within_the_limit() {
        let arm = |done: bool| Arm {
            done,
            ..Arm::default()
        };
        let seconds = Duration::from_secs;
        let arms = [arm(true), arm(false), arm(false), arm(false)];
        assert_eq!(time_left(&arms, seconds(10), seconds(100)), seconds(30));
        assert_eq!(time_left(&arms, seconds(90), seconds(100)), seconds(10));
        assert_eq!(
            time_left(&arms[1..], seconds(10), seconds(100)),
            seconds(90)
        );
        assert_eq!(clock(seconds(245)), "4:05");
    }
}
