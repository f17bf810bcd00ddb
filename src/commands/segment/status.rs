//! What is told while scans are segmented: a bar, lines, or JSON lines.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};
use slicewise_bench::machine;
use slicewise_imaging::NOTICE;
use slicewise_segment::manifest::{Manifest, UNTRAINED};
use slicewise_segment::{Request, SegmentError, Segmenter};

/// How progress is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(crate) enum Mode {
    /// A bar on a terminal, lines elsewhere.
    Auto,
    /// A line per scan on standard error.
    Lines,
    /// JSON lines on standard output.
    Json,
    /// Errors only.
    None,
}

/// What became of a scan that did not fail.
pub(crate) enum Outcome {
    Done(Box<Manifest>),
    Skipped,
}

/// The least time between two JSON lines about the same scan.
const TICK: Duration = Duration::from_secs(1);

/// Tells what happens.
pub(crate) struct Status {
    mode: Mode,
    bar: ProgressBar,
    scans: usize,
    /// The scan under way, 1 being the first.
    scan: usize,
    counts: [usize; 3],
    begin: Instant,
    told: Instant,
}

impl Status {
    pub(crate) fn begin(mode: Mode, segmenter: &Segmenter, scans: usize, load_ms: f64) -> Self {
        let bar = match (mode, std::io::stderr().is_terminal()) {
            (Mode::Auto, true) => ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr()),
            _ => ProgressBar::hidden(),
        };
        let style = ProgressStyle::with_template("{bar:24} {pos}/{len} {elapsed} {wide_msg}");
        if let Ok(style) = style {
            bar.set_style(style);
        }
        let card = segmenter.card();
        let mut status = Status {
            mode,
            bar,
            scans,
            scan: 0,
            counts: [0; 3],
            begin: Instant::now(),
            told: Instant::now(),
        };
        let engine = segmenter.engine();
        status.json(|| {
            json!({
                "event": "begin", "notice": NOTICE, "scans": scans,
                "model": card.name, "sha256": segmenter.sha256(), "trained": card.training.trained,
                "engine": engine.name, "engine_version": engine.version,
                "threads": segmenter.options().threads, "load_ms": load_ms,
            })
        });
        status.line(&format!(
            "{NOTICE}\n{scans} scan(s), {} on {} with {} thread(s)",
            card.name,
            engine.name,
            segmenter.options().threads
        ));
        if !card.training.trained {
            status.line(&format!("note: {UNTRAINED}"));
        }
        status
    }

    fn json(&mut self, value: impl FnOnce() -> Value) {
        if self.mode == Mode::Json {
            let mut out = std::io::stdout().lock();
            // Whoever read this has gone; the work goes on.
            let _ = writeln!(out, "{}", value());
            let _ = out.flush();
        }
    }

    fn line(&self, text: &str) {
        if matches!(self.mode, Mode::Auto | Mode::Lines) {
            self.bar.suspend(|| eprintln!("{text}"));
        }
    }

    pub(crate) fn scan(&mut self, request: &Request) {
        self.scan += 1;
        self.bar.reset();
        self.bar.set_message(request.input.display().to_string());
        let (scan, scans) = (self.scan, self.scans);
        self.json(
            || json!({"event": "scan", "scan": scan, "scans": scans, "input": request.input}),
        );
    }

    pub(crate) fn progress(&mut self, request: &Request, done: usize, total: usize) {
        self.bar.set_length(total as u64);
        self.bar.set_position(done as u64);
        if self.told.elapsed() >= TICK {
            self.told = Instant::now();
            self.json(|| {
                json!({"event": "progress", "input": request.input, "done": done, "total": total})
            });
        }
    }

    pub(crate) fn outcome(&mut self, request: &Request, outcome: Result<Outcome, SegmentError>) {
        let input = request.input.display();
        let at = format!("[{}/{}]", self.scan, self.scans);
        match outcome {
            Ok(Outcome::Done(manifest)) => {
                self.counts[0] += 1;
                let t = manifest.timing;
                // What is about the model was told once.
                for warning in manifest.warnings.iter().filter(|w| *w != UNTRAINED) {
                    self.line(&format!("{at} {input}: note: {warning}"));
                }
                self.line(&format!(
                    "{at} {input}: done in {:.1} s, the network took {:.1} s",
                    t.wall_ms / 1e3,
                    t.network_ms / 1e3
                ));
                self.json(|| {
                    json!({
                        "event": "done", "input": request.input, "status": "done",
                        "labels": request.outputs.labels, "timing": t,
                        "warnings": manifest.warnings,
                    })
                });
            }
            Ok(Outcome::Skipped) => {
                self.counts[1] += 1;
                self.line(&format!("{at} {input}: done before"));
                self.json(|| {
                    json!({
                        "event": "done", "input": request.input, "status": "skipped",
                        "labels": request.outputs.labels,
                    })
                });
            }
            Err(error) => {
                self.counts[2] += 1;
                let message = error.to_string().lines().collect::<Vec<_>>().join(" ");
                // Errors are told in every mode.
                self.bar.suspend(|| eprintln!("error: {message}"));
                self.json(|| {
                    json!({
                        "event": "done", "input": request.input, "status": "failed",
                        "error": message,
                    })
                });
            }
        }
    }

    pub(crate) fn end(&mut self) {
        self.bar.finish_and_clear();
        let [done, skipped, failed] = self.counts;
        let ms = self.begin.elapsed().as_secs_f64() * 1e3;
        if self.scans > 1 || failed > 0 {
            self.line(&format!(
                "{done} done, {skipped} done before, {failed} failed, {:.1} s",
                ms / 1e3
            ));
        }
        self.json(|| {
            json!({
                "event": "end", "done": done, "skipped": skipped, "failed": failed, "ms": ms,
                "peak_rss_bytes": machine::peak_rss_bytes(),
            })
        });
    }
}
