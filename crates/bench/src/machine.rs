//! What is known of the machine that a figure was measured on: everything that could explain it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// The vector extensions that inference depends on, as `/proc/cpuinfo` spells them.
const ISA_OF_INTEREST: &[&str] = &[
    "sse4_2",
    "avx",
    "f16c",
    "fma",
    "avx2",
    "avx_vnni",
    "avx512f",
    "avx512bw",
    "avx512dq",
    "avx512vl",
    "avx512_vnni",
    "avx512_bf16",
    "avx512_fp16",
    "avx512vbmi",
    "avx512ifma",
    "amx_tile",
    "amx_int8",
    "amx_bf16",
    "asimd",
    "asimdhp",
    "asimddp",
    "i8mm",
    "bf16",
    "sve",
    "sve2",
];

/// The machine as its operating system describes it. What a system does not tell is `None` or empty.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Machine {
    /// The operating system and the architecture: `linux x86_64`.
    pub system: String,
    /// The kernel's release.
    pub kernel: Option<String>,
    /// The CPU's model name.
    pub cpu: Option<String>,
    /// The vector extensions that matter to inference.
    pub isa: Vec<String>,
    /// The caches that the first CPU sees.
    pub caches: Vec<Cache>,
    /// Logical CPUs that are online.
    pub cpus: usize,
    /// Physical cores.
    pub cores: Option<usize>,
    /// CPU sockets.
    pub sockets: Option<usize>,
    /// Memory nodes.
    pub numa_nodes: Option<usize>,
    /// The CPUs that this process may run on, as a list of ranges: `0-3,8`.
    pub affinity: Option<String>,
    /// The CPUs' worth of time that the control group grants; `None` without a limit.
    pub cgroup_cpus: Option<f64>,
    /// The memory that the control group grants, in bytes; `None` without a limit.
    pub cgroup_memory_bytes: Option<u64>,
    /// The threads that these limits leave.
    pub usable_threads: usize,
    /// Memory in bytes.
    pub memory_bytes: Option<u64>,
    /// Memory in bytes that could be had when the record was begun.
    pub available_memory_bytes: Option<u64>,
    /// How the first CPU's frequency is governed.
    pub governor: Option<String>,
    /// Whether the CPU may exceed its nominal frequency.
    pub turbo: Option<bool>,
    /// Runnable processes on average over 1, 5 and 15 minutes.
    pub load_average: Option<[f64; 3]>,
    /// The virtual machine or container that this seems to be.
    pub virtualization: Option<String>,
}

/// One cache.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Cache {
    /// 1 to 3.
    pub level: u32,
    /// `Data`, `Instruction` or `Unified`.
    pub kind: String,
    /// Its size.
    pub bytes: u64,
    /// The CPUs that share it, as a list of ranges.
    pub shared_by: String,
}

impl Machine {
    /// Asks the operating system.
    pub fn read() -> Machine {
        Machine::read_from(Path::new("/"))
    }

    /// Asks the files of an operating system whose root is at `root`.
    fn read_from(root: &Path) -> Machine {
        let text = |path: &str| read_trimmed(&root.join(path));
        let cpuinfo = text("proc/cpuinfo").unwrap_or_default();
        let meminfo = text("proc/meminfo").unwrap_or_default();
        let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
        let limits = cgroup_limits(root);
        let flags: BTreeSet<&str> = field(&cpuinfo, "flags")
            .or_else(|| field(&cpuinfo, "Features"))
            .unwrap_or_default()
            .split_whitespace()
            .collect();
        let boost = text("sys/devices/system/cpu/cpufreq/boost").map(|v| v == "1");
        let no_turbo = text("sys/devices/system/cpu/intel_pstate/no_turbo").map(|v| v == "0");
        Machine {
            system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            kernel: text("proc/sys/kernel/osrelease"),
            cpu: field(&cpuinfo, "model name").map(str::to_owned),
            isa: ISA_OF_INTEREST
                .iter()
                .filter(|f| flags.contains(**f))
                .map(|f| (*f).to_owned())
                .collect(),
            caches: caches(root),
            cpus: text("sys/devices/system/cpu/online")
                .and_then(|list| count_of_ranges(&list))
                .unwrap_or(threads),
            cores: cores(&cpuinfo),
            sockets: distinct(&cpuinfo, "physical id"),
            numa_nodes: text("sys/devices/system/node/online")
                .and_then(|list| count_of_ranges(&list)),
            affinity: text("proc/self/status")
                .and_then(|s| field(&s, "Cpus_allowed_list").map(str::to_owned)),
            cgroup_cpus: limits.cpus,
            cgroup_memory_bytes: limits.memory_bytes,
            usable_threads: threads,
            memory_bytes: kibibytes(&meminfo, "MemTotal"),
            available_memory_bytes: kibibytes(&meminfo, "MemAvailable"),
            governor: text("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
            turbo: boost.or(no_turbo),
            load_average: text("proc/loadavg").and_then(|s| load_average(&s)),
            virtualization: virtualization(root, &cpuinfo),
        }
    }

    /// The memory that an arm may still take: what is free, within what the control group grants.
    pub fn usable_memory_bytes(&self) -> Option<u64> {
        match (self.available_memory_bytes, self.cgroup_memory_bytes) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }
}

/// The most memory that this process has held at any time, in bytes; `None` where the system does
/// not tell.
pub fn peak_rss_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    kibibytes(&status, "VmHWM")
}

fn read_trimmed(path: &Path) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// The first value of `key` in lines of `key : value`.
fn field<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    fields(text, key).next()
}

fn fields<'a>(text: &'a str, key: &str) -> impl Iterator<Item = &'a str> {
    text.lines().filter_map(move |line| {
        let (k, v) = line.split_once(':')?;
        (k.trim() == key).then(|| v.trim())
    })
}

fn distinct(cpuinfo: &str, key: &str) -> Option<usize> {
    let n = fields(cpuinfo, key).collect::<BTreeSet<_>>().len();
    (n > 0).then_some(n)
}

/// Physical cores: distinct pairs of socket and core.
fn cores(cpuinfo: &str) -> Option<usize> {
    let pairs: BTreeSet<_> = fields(cpuinfo, "physical id")
        .zip(fields(cpuinfo, "core id"))
        .collect();
    (!pairs.is_empty()).then_some(pairs.len())
}

fn kibibytes(text: &str, key: &str) -> Option<u64> {
    let value = field(text, key)?.strip_suffix("kB")?;
    value.trim().parse::<u64>().ok()?.checked_mul(1024)
}

fn load_average(text: &str) -> Option<[f64; 3]> {
    let mut values = text.split_whitespace().map(|v| v.parse().ok());
    Some([values.next()??, values.next()??, values.next()??])
}

/// The number of CPUs in a list such as `0-3,8`.
fn count_of_ranges(list: &str) -> Option<usize> {
    list.split(',').try_fold(0usize, |n, range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let first: usize = first.trim().parse().ok()?;
        let last: usize = last.trim().parse().ok()?;
        n.checked_add(last.checked_sub(first)?.checked_add(1)?)
    })
}

fn caches(root: &Path) -> Vec<Cache> {
    let dir = root.join("sys/devices/system/cpu/cpu0/cache");
    (0..8)
        .map_while(|i| {
            let text = |name: &str| read_trimmed(&dir.join(format!("index{i}/{name}")));
            Some(Cache {
                level: text("level")?.parse().ok()?,
                kind: text("type")?,
                bytes: size_with_suffix(&text("size")?)?,
                shared_by: text("shared_cpu_list").unwrap_or_default(),
            })
        })
        .collect()
}

/// `32768K` or `32M` in bytes.
fn size_with_suffix(text: &str) -> Option<u64> {
    let (number, unit) = match text.chars().last()? {
        'K' => (&text[..text.len() - 1], 1 << 10),
        'M' => (&text[..text.len() - 1], 1 << 20),
        'G' => (&text[..text.len() - 1], 1 << 30),
        _ => (text, 1),
    };
    number.parse::<u64>().ok()?.checked_mul(unit)
}

#[derive(Default)]
struct Limits {
    cpus: Option<f64>,
    memory_bytes: Option<u64>,
}

/// The tightest limits of the control groups that this process is in, versions 1 and 2.
fn cgroup_limits(root: &Path) -> Limits {
    let mut limits = Limits::default();
    let groups = read_trimmed(&root.join("proc/self/cgroup")).unwrap_or_default();
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else {
            continue;
        };
        // Within a container the path may be that of the host, which is not mounted: the mount's
        // root then is the container's own group, and it is always among the ancestors.
        let mount = match controllers {
            "" => "sys/fs/cgroup".to_owned(),
            names => {
                let names: Vec<&str> = names.split(',').collect();
                match ["cpu", "memory"].iter().find(|c| names.contains(c)) {
                    Some(c) => format!("sys/fs/cgroup/{c}"),
                    None => continue,
                }
            }
        };
        for group in Path::new(path.trim_start_matches('/')).ancestors() {
            let dir = root.join(&mount).join(group);
            tighten(&mut limits.cpus, cpu_limit(&dir));
            tighten(&mut limits.memory_bytes, memory_limit(&dir));
        }
    }
    limits
}

fn tighten<T: PartialOrd>(limit: &mut Option<T>, other: Option<T>) {
    if let Some(other) = other
        && limit.as_ref().is_none_or(|l| other < *l)
    {
        *limit = Some(other);
    }
}

fn cpu_limit(dir: &Path) -> Option<f64> {
    let (quota, period) = match read_trimmed(&dir.join("cpu.max")) {
        Some(max) => {
            let (quota, period) = max.split_once(' ')?;
            (quota.parse::<f64>().ok()?, period.parse::<f64>().ok()?)
        }
        None => (
            read_trimmed(&dir.join("cpu.cfs_quota_us"))?.parse().ok()?,
            read_trimmed(&dir.join("cpu.cfs_period_us"))?.parse().ok()?,
        ),
    };
    (quota > 0.0 && period > 0.0).then(|| quota / period)
}

fn memory_limit(dir: &Path) -> Option<u64> {
    // Version 1 says "no limit" with a number close to 2^63.
    const NO_LIMIT: u64 = 1 << 60;
    let text = read_trimmed(&dir.join("memory.max"))
        .or_else(|| read_trimmed(&dir.join("memory.limit_in_bytes")))?;
    text.parse().ok().filter(|&bytes| bytes < NO_LIMIT)
}

fn virtualization(root: &Path, cpuinfo: &str) -> Option<String> {
    let mut found = Vec::new();
    if root.join(".dockerenv").exists() || root.join("run/.containerenv").exists() {
        found.push("container".to_owned());
    }
    let hypervisor = field(cpuinfo, "flags")
        .is_some_and(|flags| flags.split_whitespace().any(|f| f == "hypervisor"));
    if hypervisor {
        let name = read_trimmed(&root.join("sys/class/dmi/id/sys_vendor"));
        found.push(match name {
            Some(name) => format!("virtual machine ({name})"),
            None => "virtual machine".to_owned(),
        });
    }
    (!found.is_empty()).then(|| found.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A root directory with the given files.
    fn root(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        dir
    }

    #[test]
    fn a_linux_machine_is_described_by_its_files() {
        let cpu = |n: usize, core: usize| {
            format!(
                "processor\t: {n}\nmodel name\t: Some CPU 3000\nphysical id\t: 0\ncore id\t\t: {core}\n\
                 flags\t\t: fpu avx2 fma hypervisor avx512_vnni\n\n"
            )
        };
        let cpuinfo = [cpu(0, 0), cpu(1, 0), cpu(2, 1), cpu(3, 1)].concat();
        let index = "sys/devices/system/cpu/cpu0/cache/index0";
        let dir = root(&[
            ("proc/cpuinfo", &cpuinfo),
            (
                "proc/meminfo",
                "MemTotal:  2048 kB\nMemAvailable:  1024 kB\n",
            ),
            ("proc/loadavg", "0.68 1.14 0.64 1/200 4711\n"),
            ("proc/self/status", "Name:\tx\nCpus_allowed_list:\t0-1,3\n"),
            ("proc/sys/kernel/osrelease", "6.1.0\n"),
            ("sys/devices/system/cpu/online", "0-3\n"),
            (&format!("{index}/level"), "1\n"),
            (&format!("{index}/type"), "Data\n"),
            (&format!("{index}/size"), "48K\n"),
            (&format!("{index}/shared_cpu_list"), "0-1\n"),
        ]);
        let m = Machine::read_from(dir.path());
        assert_eq!(m.cpu.as_deref(), Some("Some CPU 3000"));
        assert_eq!(m.isa, ["fma", "avx2", "avx512_vnni"]);
        assert_eq!((m.cpus, m.cores, m.sockets), (4, Some(2), Some(1)));
        assert_eq!(m.memory_bytes, Some(2048 * 1024));
        assert_eq!(m.affinity.as_deref(), Some("0-1,3"));
        assert_eq!(m.load_average, Some([0.68, 1.14, 0.64]));
        assert_eq!(m.kernel.as_deref(), Some("6.1.0"));
        assert_eq!(m.virtualization.as_deref(), Some("virtual machine"));
        assert_eq!(m.caches.len(), 1);
        assert_eq!((m.caches[0].level, m.caches[0].bytes), (1, 48 << 10));
    }

    #[test]
    fn the_tightest_cgroup_limit_of_both_versions_is_found() {
        type Case<'a> = (&'a [(&'a str, &'a str)], Option<f64>, Option<u64>);
        let cases: &[Case] = &[
            (&[], None, None),
            (
                &[
                    ("proc/self/cgroup", "0::/a/b\n"),
                    ("sys/fs/cgroup/a/cpu.max", "150000 100000\n"),
                    ("sys/fs/cgroup/a/b/cpu.max", "max 100000\n"),
                    ("sys/fs/cgroup/a/b/memory.max", "max\n"),
                    ("sys/fs/cgroup/memory.max", "1000000\n"),
                ],
                Some(1.5),
                Some(1_000_000),
            ),
            (
                &[
                    (
                        "proc/self/cgroup",
                        "3:cpu,cpuacct:/c\n2:memory:/not/mounted\n1:pids:/\n",
                    ),
                    ("sys/fs/cgroup/cpu/c/cpu.cfs_quota_us", "50000\n"),
                    ("sys/fs/cgroup/cpu/c/cpu.cfs_period_us", "100000\n"),
                    ("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n"),
                    ("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n"),
                    (
                        "sys/fs/cgroup/memory/memory.limit_in_bytes",
                        "9223372036854771712\n",
                    ),
                ],
                Some(0.5),
                None,
            ),
        ];
        for (files, cpus, memory) in cases {
            let dir = root(files);
            let limits = cgroup_limits(dir.path());
            assert_eq!(
                (limits.cpus, limits.memory_bytes),
                (*cpus, *memory),
                "{files:?}"
            );
        }
    }

    #[test]
    fn nonsense_in_system_files_is_no_panic() {
        let dir = root(&[
            ("proc/cpuinfo", ":::\nflags"),
            ("proc/meminfo", "MemTotal: 99999999999999999999 kB"),
            ("proc/loadavg", "a b"),
            ("sys/devices/system/cpu/online", "9-3,x"),
            ("sys/devices/system/cpu/cpu0/cache/index0/level", "1"),
            ("sys/devices/system/cpu/cpu0/cache/index0/type", "Data"),
            ("sys/devices/system/cpu/cpu0/cache/index0/size", "K"),
        ]);
        let m = Machine::read_from(dir.path());
        assert_eq!(
            (m.memory_bytes, m.load_average, m.caches.len()),
            (None, None, 0)
        );
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_has_held_some_memory() {
        assert!(peak_rss_bytes().unwrap() > 100 << 10);
    }
}
