//! `slicewise doctor`

use std::process::ExitCode;

use serde::Serialize;
use slicewise_bench::machine::Machine;
use slicewise_engines::{Availability, installed};
use slicewise_kernels::{Isa, peak};

use super::engines;
use crate::output;

/// Show what this machine has and what limits it: CPU, caches, memory, control groups, engines.
///
/// Measures for about a second what the CPU could do at best: multiply-adds in registers (GFLOP/s; a
/// multiply-add counts two) and bytes moved to and from memory.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  slicewise doctor --json")]
pub(crate) struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Findings {
    /// Tells this from other JSON.
    kind: &'static str,
    /// The layout's version.
    schema: u32,
    slicewise: &'static str,
    machine: Machine,
    peak: PeakFound,
    engines: Vec<Availability>,
}

/// What the CPU reached.
#[derive(Serialize)]
struct PeakFound {
    isa: &'static str,
    threads: usize,
    gflops_one_thread: f64,
    gflops: f64,
    read_gb_s: f64,
    triad_gb_s: f64,
}

impl PeakFound {
    fn measure(machine: &Machine) -> anyhow::Result<PeakFound> {
        let last = machine.caches.iter().map(|c| c.bytes).max();
        let cache = usize::try_from(last.unwrap_or(0)).unwrap_or(usize::MAX);
        let peak = peak::measure(Isa::from_env()?, machine.usable_threads, cache);
        Ok(PeakFound {
            isa: peak.isa,
            threads: peak.threads,
            gflops_one_thread: peak.gflops_one,
            gflops: peak.gflops,
            read_gb_s: peak.read_gb_s,
            triad_gb_s: peak.triad_gb_s,
        })
    }

    fn facts(&self) -> [(&'static str, String); 2] {
        [
            (
                "multiply-adds",
                format!(
                    "{:.0} GFLOP/s f32 with {} ({:.0} on one thread, {} threads)",
                    self.gflops, self.isa, self.gflops_one_thread, self.threads
                ),
            ),
            (
                "bandwidth",
                format!(
                    "{:.1} GB/s read, {:.1} GB/s triad",
                    self.read_gb_s, self.triad_gb_s
                ),
            ),
        ]
    }
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let machine = Machine::read();
    let findings = Findings {
        kind: "slicewise-doctor",
        schema: 1,
        slicewise: env!("CARGO_PKG_VERSION"),
        peak: PeakFound::measure(&machine)?,
        machine,
        engines: installed(),
    };
    if args.json {
        output::print_json(&findings)?;
    } else {
        let facts = facts(&findings.machine);
        for (name, value) in facts.into_iter().chain(findings.peak.facts()) {
            output::print(format!("{name:<16} {value}\n"))?;
        }
        output::print(format!("\n{}", engines::table(findings.engines.iter())))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn facts(m: &Machine) -> Vec<(&'static str, String)> {
    let or_unknown = |v: &Option<String>| v.clone().unwrap_or_else(|| "unknown".into());
    let count = |v: Option<usize>| v.map_or("?".into(), |n| n.to_string());
    let gib = |v: Option<u64>| {
        v.map_or("unknown".into(), |b| {
            format!("{:.1} GiB", b as f64 / f64::from(1 << 30))
        })
    };
    let caches = m.caches.iter().map(|c| {
        let shared = if c.shared_by.is_empty() {
            String::new()
        } else {
            format!(" (CPUs {})", c.shared_by)
        };
        format!(
            "L{} {} {} KiB{shared}",
            c.level,
            c.kind.to_lowercase(),
            c.bytes >> 10
        )
    });
    let mut facts = vec![
        ("cpu", or_unknown(&m.cpu)),
        ("vector units", m.isa.join(" ")),
        (
            "cores",
            format!(
                "{} CPUs, {} cores, {} sockets, {} memory nodes",
                m.cpus,
                count(m.cores),
                count(m.sockets),
                count(m.numa_nodes)
            ),
        ),
        ("caches", caches.collect::<Vec<_>>().join(", ")),
        ("affinity", or_unknown(&m.affinity)),
        (
            "cgroup",
            format!(
                "{}, {}",
                m.cgroup_cpus
                    .map_or("no CPU quota".into(), |c| format!("{c:.2} CPUs")),
                m.cgroup_memory_bytes
                    .map_or("no memory limit".into(), |b| gib(Some(b))),
            ),
        ),
        ("usable threads", m.usable_threads.to_string()),
        (
            "memory",
            format!(
                "{}, {} available",
                gib(m.memory_bytes),
                gib(m.available_memory_bytes)
            ),
        ),
        (
            "system",
            format!("{}, kernel {}", m.system, or_unknown(&m.kernel)),
        ),
        ("governor", or_unknown(&m.governor)),
    ];
    if let Some(turbo) = m.turbo {
        facts.push(("turbo", if turbo { "on" } else { "off" }.into()));
    }
    if let Some(v) = &m.virtualization {
        facts.push(("virtualization", v.clone()));
    }
    if let Some([a, b, c]) = m.load_average {
        facts.push(("load average", format!("{a:.2} {b:.2} {c:.2}")));
        if a > 0.5 * m.cpus as f64 {
            facts.push((
                "warning",
                "the machine is busy: measurements will suffer".into(),
            ));
        }
    }
    facts
}
