//! What a measurement cost and what disturbed it: CPU time, page faults, other processes, time that
//! the hypervisor took away, frequency, energy. Read from files of the Linux kernel; what a system
//! does not tell is `None`.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// Ticks per second in `/proc/stat` and `/proc/PID/stat`: fixed for programs on every architecture
/// that Linux still supports here.
const TICKS_PER_SECOND: f64 = 100.0;

/// Counters that only grow, at one moment.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    /// CPU time of this process and its children, in ticks.
    own: Option<u64>,
    minor_faults: Option<u64>,
    major_faults: Option<u64>,
    /// CPU time of the whole machine in ticks: all, idle, stolen.
    machine: Option<[u64; 3]>,
    /// Microjoules of each package, with the value at which the counter begins anew.
    energy: Vec<(u64, u64)>,
    /// Thermal throttle events of all cores.
    throttled: Option<u64>,
    mhz: Option<f64>,
    celsius: Option<f64>,
}

/// What happened between two moments.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Usage {
    /// CPU time of all threads in milliseconds: to 10 ms that of this process and its children; in a
    /// visit to an engine in a process of its own exactly that of the counted runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_ms: Option<f64>,
    /// Pages that were given to the process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minor_faults: Option<u64>,
    /// Pages that had to be read from a disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub major_faults: Option<u64>,
    /// The share of the machine's CPU time that the hypervisor gave to others, from 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steal: Option<f64>,
    /// The share of the machine's CPU time that other processes used, from 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub others: Option<f64>,
    /// Energy of all packages in joules, other processes' included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub joules: Option<f64>,
    /// Times that a core was slowed down because it was too hot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub throttled: Option<u64>,
    /// The mean frequency of all CPUs at the end, in MHz, as the system states it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mhz: Option<f64>,
    /// The hottest thermal zone at the end, in degrees Celsius.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub celsius: Option<f64>,
}

impl Counters {
    /// Asks the operating system.
    pub fn read() -> Counters {
        Counters::read_from(Path::new("/"))
    }

    /// Asks the files of an operating system whose root is at `root`.
    fn read_from(root: &Path) -> Counters {
        let text = |path: &str| fs::read_to_string(root.join(path)).ok();
        let mut own = text("proc/self/stat").and_then(|s| Process::parse(&s));
        if let Some(own) = &mut own {
            // Those that have ended are in its own figures, those that live are not.
            for child in children(root) {
                let stat = text(&format!("proc/{child}/stat"));
                // It may be gone by now.
                if let Some(child) = stat.and_then(|s| Process::parse(&s)) {
                    own.add(&child);
                }
            }
        }
        Counters {
            own: own.as_ref().map(|p| p.ticks),
            minor_faults: own.as_ref().map(|p| p.minor_faults),
            major_faults: own.as_ref().map(|p| p.major_faults),
            machine: text("proc/stat").and_then(|s| machine_ticks(&s)),
            energy: energy(root),
            throttled: throttled(root),
            mhz: mhz(root),
            celsius: celsius(root),
        }
    }

    /// What happened since `earlier`.
    pub fn since(&self, earlier: &Counters) -> Usage {
        let grown = |now: Option<u64>, then: Option<u64>| now?.checked_sub(then?);
        let own = grown(self.own, earlier.own);
        let mut usage = Usage {
            cpu_ms: own.map(|ticks| ticks as f64 * 1e3 / TICKS_PER_SECOND),
            minor_faults: grown(self.minor_faults, earlier.minor_faults),
            major_faults: grown(self.major_faults, earlier.major_faults),
            joules: joules(&self.energy, &earlier.energy),
            throttled: grown(self.throttled, earlier.throttled),
            mhz: self.mhz,
            celsius: self.celsius,
            ..Usage::default()
        };
        if let (Some(now), Some(then)) = (self.machine, earlier.machine) {
            let [all, idle, stolen] = [0, 1, 2].map(|i| now[i].saturating_sub(then[i]) as f64);
            // Less than this says nothing in ticks of 10 ms.
            if all >= 5.0 {
                usage.steal = Some(stolen / all);
                let others = all - idle - stolen - own.unwrap_or(0) as f64;
                usage.others = Some((others / all).max(0.0));
            }
        }
        usage
    }
}

impl Usage {
    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        *self == Usage::default()
    }

    /// The two together, for a pair of stretches that follow each other: amounts add up, shares are
    /// weighted by `weights`, states are the later ones.
    pub fn and(&self, later: &Usage, weights: [f64; 2]) -> Usage {
        fn sum<T: std::ops::Add<Output = T>>(a: Option<T>, b: Option<T>) -> Option<T> {
            match (a, b) {
                (Some(a), Some(b)) => Some(a + b),
                (a, b) => a.or(b),
            }
        }
        let mean = |a: Option<f64>, b: Option<f64>| match (a, b) {
            (Some(a), Some(b)) => {
                let all = weights[0] + weights[1];
                (all > 0.0).then(|| (a * weights[0] + b * weights[1]) / all)
            }
            (a, b) => a.or(b),
        };
        Usage {
            cpu_ms: sum(self.cpu_ms, later.cpu_ms),
            minor_faults: sum(self.minor_faults, later.minor_faults),
            major_faults: sum(self.major_faults, later.major_faults),
            steal: mean(self.steal, later.steal),
            others: mean(self.others, later.others),
            joules: sum(self.joules, later.joules),
            throttled: sum(self.throttled, later.throttled),
            mhz: later.mhz.or(self.mhz),
            celsius: later.celsius.or(self.celsius),
        }
    }
}

/// What a process and its children that have ended used.
struct Process {
    ticks: u64,
    minor_faults: u64,
    major_faults: u64,
}

impl Process {
    /// From `/proc/PID/stat`.
    fn parse(stat: &str) -> Option<Process> {
        // The name may hold blanks and brackets.
        let (_, rest) = stat.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let field = |i: usize| fields.get(i)?.parse::<u64>().ok();
        // utime, stime, cutime, cstime; minflt and cminflt; majflt and cmajflt.
        let ticks = [11, 12, 13, 14]
            .map(field)
            .into_iter()
            .sum::<Option<u64>>()?;
        Some(Process {
            ticks,
            minor_faults: field(7)? + field(8)?,
            major_faults: field(9)? + field(10)?,
        })
    }

    fn add(&mut self, other: &Process) {
        self.ticks += other.ticks;
        self.minor_faults += other.minor_faults;
        self.major_faults += other.major_faults;
    }
}

/// This process's children that live, where the system lists them.
fn children(root: &Path) -> Vec<u32> {
    let Ok(tasks) = fs::read_dir(root.join("proc/self/task")) else {
        return Vec::new();
    };
    let lists = tasks
        .flatten()
        .filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    let text: String = lists.collect();
    text.split_whitespace()
        .filter_map(|n| n.parse().ok())
        .collect()
}

/// All, idle and stolen ticks of the first line of `/proc/stat`.
fn machine_ticks(stat: &str) -> Option<[u64; 3]> {
    let line = stat.lines().find(|l| l.starts_with("cpu "))?;
    // user nice system idle iowait irq softirq steal; guest time is in user and nice already.
    let mut ticks = line.split_whitespace().skip(1).take(8);
    let mut values = [0u64; 8];
    for value in &mut values {
        *value = ticks.next()?.parse().ok()?;
    }
    let all = values.iter().sum();
    Some([all, values[3] + values[4], values[7]])
}

/// RAPL's counters of whole packages; the zones within a package are part of it.
fn energy(root: &Path) -> Vec<(u64, u64)> {
    let number = |path: &Path| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let Ok(zones) = fs::read_dir(root.join("sys/class/powercap")) else {
        return Vec::new();
    };
    let mut packages: Vec<_> = zones
        .flatten()
        .filter(|zone| {
            let name = zone.file_name().to_string_lossy().into_owned();
            name.starts_with("intel-rapl:") && name.matches(':').count() == 1
        })
        .map(|zone| zone.path())
        .filter(|zone| {
            let name = fs::read_to_string(zone.join("name")).unwrap_or_default();
            name.starts_with("package")
        })
        .collect();
    packages.sort();
    let counter = |zone: &std::path::PathBuf| {
        let range = number(&zone.join("max_energy_range_uj")).unwrap_or(u64::MAX);
        Some((number(&zone.join("energy_uj"))?, range))
    };
    packages.iter().filter_map(counter).collect()
}

/// The energy between two readings; each counter may have begun anew once.
fn joules(now: &[(u64, u64)], then: &[(u64, u64)]) -> Option<f64> {
    if now.is_empty() || now.len() != then.len() {
        return None;
    }
    let microjoules = now.iter().zip(then).map(|(&(now, range), &(then, _))| {
        let wrapped = || range.saturating_sub(then).saturating_add(now);
        now.checked_sub(then).unwrap_or_else(wrapped)
    });
    Some(microjoules.sum::<u64>() as f64 / 1e6)
}

fn throttled(root: &Path) -> Option<u64> {
    let count = |cpu: usize| {
        let file = format!("sys/devices/system/cpu/cpu{cpu}/thermal_throttle/core_throttle_count");
        let text = fs::read_to_string(root.join(file)).ok()?;
        text.trim().parse::<u64>().ok()
    };
    let mut counts = (0..).map_while(count).peekable();
    counts.peek()?;
    Some(counts.sum())
}

fn mhz(root: &Path) -> Option<f64> {
    let cpuinfo = fs::read_to_string(root.join("proc/cpuinfo")).ok()?;
    let values: Vec<f64> = cpuinfo
        .lines()
        .filter_map(|l| {
            l.strip_prefix("cpu MHz")?
                .split_once(':')?
                .1
                .trim()
                .parse()
                .ok()
        })
        .collect();
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

fn celsius(root: &Path) -> Option<f64> {
    let zone = |i: usize| {
        let file = format!("sys/class/thermal/thermal_zone{i}/temp");
        let text = fs::read_to_string(root.join(file)).ok()?;
        text.trim().parse::<f64>().ok()
    };
    let millidegrees = (0..).map_while(zone).max_by(f64::total_cmp)?;
    Some(millidegrees / 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        dir
    }

    /// A system after `own` ticks of this process, with the given ticks of the machine and energy.
    fn system(own: [u64; 2], machine: &str, microjoules: u64) -> Counters {
        let stat = format!(
            "4711 (a (b) c) R 1 2 3 4 5 6 100 0 7 0 {} {} 0 0 20",
            own[0], own[1]
        );
        let child = format!(
            "4712 (d) R 4711 2 3 4 5 6 {} 1 0 0 {} 0 1 1 20",
            own[0],
            own[0] / 10
        );
        let zone = "sys/class/powercap/intel-rapl:0";
        let dir = root(&[
            ("proc/self/stat", &stat),
            // A child that lives, with a tenth of it; another one is gone.
            ("proc/self/task/4711/children", "4712 4713 "),
            ("proc/4712/stat", &child),
            ("proc/stat", &format!("cpu  {machine} 0 0\ncpu0 1 2 3\n")),
            ("proc/cpuinfo", "cpu MHz : 2000.0\n\ncpu MHz : 3000.0\n"),
            ("sys/class/thermal/thermal_zone0/temp", "45000\n"),
            ("sys/class/thermal/thermal_zone1/temp", "61500\n"),
            (&format!("{zone}/name"), "package-0\n"),
            (&format!("{zone}/energy_uj"), &format!("{microjoules}\n")),
            (&format!("{zone}/max_energy_range_uj"), "1000000000\n"),
            ("sys/class/powercap/intel-rapl:0:0/name", "core\n"),
            ("sys/class/powercap/intel-rapl:0:0/energy_uj", "5\n"),
        ]);
        Counters::read_from(dir.path())
    }

    #[test]
    fn usage_is_the_difference_of_two_readings() {
        let begin = system([10, 5], "100 0 50 800 50 0 0 0", 999_000_000);
        let end = system([60, 15], "170 0 60 850 60 0 0 20", 2_000_000);
        let usage = end.since(&begin);
        assert_eq!(usage.cpu_ms, Some(650.0), "the child's 50 are among them");
        assert_eq!(
            (usage.minor_faults, usage.major_faults),
            (Some(50), Some(0))
        );
        // 160 ticks in all: 60 idle, 20 stolen, 65 ours.
        assert_eq!(usage.steal, Some(20.0 / 160.0));
        assert_eq!(usage.others, Some(15.0 / 160.0));
        assert_eq!(usage.joules, Some(3.0), "the counter began anew");
        assert_eq!((usage.mhz, usage.celsius), (Some(2500.0), Some(61.5)));
        assert_eq!(usage.throttled, None);
    }

    #[test]
    fn a_system_that_tells_nothing_has_no_usage() {
        let dir = root(&[]);
        let counters = Counters::read_from(dir.path());
        assert_eq!(counters.since(&counters), Usage::default());
        let torn = root(&[("proc/stat", "cpu  1 2"), ("proc/self/stat", "1 (x")]);
        let counters = Counters::read_from(torn.path());
        assert_eq!(counters.since(&counters), Usage::default());
    }

    #[test]
    fn amounts_add_up_and_shares_are_weighted() {
        let a = Usage {
            cpu_ms: Some(10.0),
            steal: Some(0.1),
            ..Usage::default()
        };
        let b = Usage {
            cpu_ms: Some(30.0),
            steal: Some(0.5),
            mhz: Some(1.0),
            ..Usage::default()
        };
        let both = a.and(&b, [3.0, 1.0]);
        assert_eq!(both.cpu_ms, Some(40.0));
        assert!((both.steal.unwrap() - 0.2).abs() < 1e-12);
        assert_eq!(both.mhz, Some(1.0));
    }
}
