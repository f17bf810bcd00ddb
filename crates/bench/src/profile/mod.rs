//! Profiles: where the time of a network goes, on our engine and on others side by side.
//!
//! The first engine asked for leads: its operations are the rows, and what the other engines execute
//! is matched to them by the nodes of the graph that both compute.

mod matching;
mod table;

use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use slicewise_engines::{EngineError, Operation, Profile, Profiler};
use slicewise_graph::Tensor;

use crate::machine::Machine;
use crate::statistics::median;

pub use matching::Found;
pub use table::{By, WIDTH, render};

/// What [`ProfileRecord::kind`] says.
pub const KIND: &str = "slicewise-profile";
/// The version of the record's layout.
pub const SCHEMA: u32 = 1;

/// The pause before each visit, in which the threads of other engines come to rest.
const SETTLE: Duration = Duration::from_millis(20);
/// Runs that count per visit; the one before them does not.
const RUNS_PER_VISIT: usize = 5;

/// A profile of one network on one or several engines.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ProfileRecord {
    /// Always `slicewise-profile`: tells a record from other JSON.
    pub kind: String,
    /// The layout's version: [`SCHEMA`].
    pub schema: u32,
    /// The version of slicewise that measured.
    pub slicewise: String,
    /// When the measurement began: RFC 3339, UTC.
    pub started: String,
    /// The model's name, or its file.
    pub model: String,
    /// What was asked of the network: `labels` or `logits`.
    pub task: String,
    /// What was asked to be computed in: `f32`, `bf16` or `int8`.
    #[serde(default)]
    pub precision: String,
    /// Threads of every engine.
    pub threads: usize,
    /// Sizes of the inputs.
    pub inputs: Vec<Vec<usize>>,
    /// What the machine could do at best.
    pub roof: Roof,
    /// Where it was measured.
    pub machine: Machine,
    /// The engines, the leading one first.
    pub engines: Vec<EngineProfile>,
}

/// What the machine reaches without a network, on as many threads.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Roof {
    /// The instruction set that it was measured with.
    pub isa: String,
    /// Multiply-adds in registers, in 10⁹ operations per second; a multiply-add is two.
    pub gflops: f64,
    /// Bytes read from memory, in 10⁹ per second.
    pub read_gb_s: f64,
}

/// Where one engine's time goes.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct EngineProfile {
    /// The engine's name.
    pub engine: String,
    /// Its version.
    pub version: String,
    /// Runs that count.
    pub runs: usize,
    /// The median of the whole runs, in ms, with the engine's accounting on.
    pub total_ms: f64,
    /// The fastest of them.
    pub min_ms: f64,
    /// What of the total is in no operation; as the total and the operations are medians of their
    /// own, it may be slightly below zero.
    pub between_ms: f64,
    /// What was executed, in order.
    pub operations: Vec<OperationTime>,
}

/// The time of something that an engine executes as one.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct OperationTime {
    /// The engine's name for it.
    pub name: String,
    /// The operators that it computes, as the engine calls them.
    pub operators: String,
    /// The kernel that computes it.
    pub kernel: Option<String>,
    /// Nodes of the graph that it is known to compute.
    pub nodes: Vec<String>,
    /// Type and shape of its result.
    pub output: Option<String>,
    /// Multiply-accumulates of the direct algorithm.
    pub macs: Option<u64>,
    /// Bytes of its operands, weights and result, each counted once.
    pub bytes: Option<u64>,
    /// The median of its times, in ms.
    pub ms: f64,
    /// Its part of the engine's total, from 0 to 1.
    pub share: f64,
    /// Operations of the direct algorithm per second, in 10⁹; a multiply-accumulate is two.
    pub gflops: Option<f64>,
    /// The same as a part of the roof; an algorithm with fewer multiplications may exceed 1.
    pub of_peak: Option<f64>,
    /// [`OperationTime::bytes`] per second, in 10⁹.
    pub gb_s: Option<f64>,
    /// The leading engine's operation (an index from 0) that computes the same, and how it was
    /// found; nothing for the leading engine itself and for what has no counterpart.
    pub counterpart: Option<Counterpart>,
}

/// The leading engine's operation that another engine's belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Counterpart {
    /// Its index among the leading engine's operations.
    pub operation: usize,
    /// How it was found.
    pub found: Found,
}

/// Runs all profilers `runs` times each, in turns of a few runs, so that none has the machine to
/// itself while it is at its best.
///
/// # Errors
/// The first error of an engine.
pub fn measure(
    profilers: Vec<Box<dyn Profiler>>,
    inputs: &[Tensor],
    runs: usize,
) -> Result<Vec<Profile>, EngineError> {
    let mut profilers = profilers;
    let mut left = runs;
    while left > 0 {
        let visit = left.min(RUNS_PER_VISIT);
        for profiler in &mut profilers {
            thread::sleep(SETTLE);
            profiler.run(inputs, false)?;
            for _ in 0..visit {
                profiler.run(inputs, true)?;
            }
        }
        left -= visit;
    }
    profilers.into_iter().map(Profiler::finish).collect()
}

impl EngineProfile {
    /// The medians of a profile, against the machine's roof.
    pub fn new(engine: &str, version: &str, profile: &Profile, roof: &Roof) -> Self {
        let total = median(&profile.runs).unwrap_or(0.0);
        let operations: Vec<_> = (profile.operations.iter())
            .map(|operation| OperationTime::new(operation, total, roof))
            .collect();
        EngineProfile {
            engine: engine.to_owned(),
            version: version.to_owned(),
            runs: profile.runs.len(),
            total_ms: total,
            min_ms: profile.runs.iter().copied().fold(total, f64::min),
            between_ms: total - operations.iter().map(|o| o.ms).sum::<f64>(),
            operations,
        }
    }
}

impl OperationTime {
    fn new(operation: &Operation, total: f64, roof: &Roof) -> Self {
        let ms = median(&operation.ms).unwrap_or(0.0);
        // 10⁹ per second are 10⁶ per millisecond.
        let rate = |n: f64| (ms > 0.0).then_some(n * 1e-6 / ms);
        let macs = operation.macs.filter(|&n| n > 0);
        let gflops = macs.and_then(|n| rate(2.0 * n as f64));
        OperationTime {
            name: operation.name.clone(),
            operators: operation.operators.clone(),
            kernel: operation.kernel.clone(),
            nodes: operation.nodes.clone(),
            output: operation.output.clone(),
            macs: operation.macs,
            bytes: operation.bytes,
            ms,
            share: if total > 0.0 { ms / total } else { 0.0 },
            gflops,
            of_peak: gflops
                .filter(|_| roof.gflops > 0.0)
                .map(|g| g / roof.gflops),
            gb_s: operation.bytes.and_then(|n| rate(n as f64)),
            counterpart: None,
        }
    }

    /// The kernel, or what stands for it where an engine names none.
    fn kind(&self) -> &str {
        self.kernel.as_deref().unwrap_or(&self.operators)
    }
}

/// Finds the counterparts of all engines' operations in the first one's.
pub fn match_engines(engines: &mut [EngineProfile]) {
    if let Some((lead, others)) = engines.split_first_mut() {
        for other in others {
            let found = matching::counterparts(&lead.operations, &other.operations);
            for (operation, found) in other.operations.iter_mut().zip(found) {
                operation.counterpart = found;
            }
        }
    }
}
