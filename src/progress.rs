//! What a benchmark shows while it runs: a bar on a terminal, plain lines elsewhere. On standard error.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use slicewise_bench::campaign::Event;
use slicewise_bench::record::{Arm, Record, Status};

/// Shows the events of a campaign.
pub(crate) enum Progress {
    Bar(ProgressBar),
    Lines,
}

impl Progress {
    /// A bar as long as the time that the campaign may take.
    pub(crate) fn new(time: Duration) -> Progress {
        if !std::io::stderr().is_terminal() {
            return Progress::Lines;
        }
        let target = ProgressDrawTarget::stderr();
        let bar = ProgressBar::with_draw_target(Some(time.as_secs().max(1)), target);
        let style =
            ProgressStyle::with_template("{bar:24} {elapsed} of {duration_limit} {wide_msg}");
        let limit = format!("{:.0} s", time.as_secs_f64());
        if let Ok(style) = style {
            bar.set_style(style.with_key(
                "duration_limit",
                move |_: &indicatif::ProgressState, w: &mut dyn std::fmt::Write| {
                    // The bar's own buffer takes any text.
                    let _ = w.write_str(&limit);
                },
            ));
        }
        bar.enable_steady_tick(Duration::from_millis(500));
        Progress::Bar(bar)
    }

    /// Shows what has just happened.
    pub(crate) fn show(&self, event: Event, record: &Record) {
        let arms = &record.arms;
        match (self, event) {
            (Progress::Bar(bar), event) => {
                bar.set_position(bar.elapsed().as_secs().min(bar.length().unwrap_or(0)));
                bar.set_message(match event {
                    Event::Trying(i) => format!("trying {}", arms[i].label()),
                    Event::Loading(i) => format!("loading {}", arms[i].label()),
                    Event::Visited { arm, round } => visited(&arms[arm], round),
                    Event::Done(_) => return,
                });
            }
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
            Progress::Bar(bar) => bar.suspend(|| eprintln!("{line}")),
            Progress::Lines => eprintln!("{line}"),
        }
    }

    /// Takes the bar away.
    pub(crate) fn end(&self) {
        if let Progress::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
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
