//! Where the time of a scan goes.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// Milliseconds of each stage. Reading, the network and writing go on at the same time, so that their sum
/// is more than the whole.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Timing {
    /// Reading and unpacking the scan.
    pub read_ms: f64,
    /// Making images of it.
    pub prepare_ms: f64,
    /// The network's runs.
    pub network_ms: f64,
    /// Bringing labels to the scan's grid, packing and writing them, statistics.
    pub write_ms: f64,
    /// Post-processing, and the vote of several views.
    pub post_process_ms: f64,
    /// From opening the scan to the last output but the manifest.
    pub wall_ms: f64,
}

/// Adds up the time that something takes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Clock(Duration);

impl Clock {
    pub(crate) fn time<T>(&mut self, f: impl FnOnce() -> T) -> T {
        let begin = Instant::now();
        let result = f();
        self.0 += begin.elapsed();
        result
    }

    pub(crate) fn ms(self) -> f64 {
        self.0.as_secs_f64() * 1e3
    }
}
