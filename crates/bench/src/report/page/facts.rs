//! Where the figures come from: machines, commands, the data itself.

use maud::{Markup, html};

use crate::machine::Machine;
use crate::record::Record;
use crate::report::row::{name, text};
use crate::report::{Content, Report};

/// Who measured when on what, in a line.
pub(super) fn provenance(report: &Report) -> String {
    let of = |machine: &Machine, started: &str| {
        let cpu = machine.cpu.as_deref().map_or("unknown CPU".into(), name);
        format!("{cpu}, {}", name(started))
    };
    let mut all: Vec<String> = (report.sources.iter())
        .map(|s| match &s.content {
            Content::Bench(r) => of(&r.machine, &r.started),
            Content::Profile(p) => of(&p.machine, &p.started),
        })
        .collect();
    all.dedup();
    all.join("; ")
}

/// The machine of every record; one that is the same as before is not repeated.
pub(super) fn machines(report: &Report) -> Markup {
    let mut shown: Vec<(&Machine, Vec<&str>)> = Vec::new();
    for source in &report.sources {
        let machine = match &source.content {
            Content::Bench(r) => &r.machine,
            Content::Profile(p) => &p.machine,
        };
        let same = |m: &Machine| {
            (&m.cpu, &m.kernel, m.usable_threads, m.memory_bytes)
                == (
                    &machine.cpu,
                    &machine.kernel,
                    machine.usable_threads,
                    machine.memory_bytes,
                )
        };
        match shown.iter_mut().find(|(m, _)| same(m)) {
            Some((_, files)) => files.push(&source.file),
            None => shown.push((machine, vec![&source.file])),
        }
    }
    html! {
        @for (machine, files) in shown {
            @if report.sources.len() > 1 { h3 { (files.join(", ")) } }
            dl.facts { @for (fact, value) in facts(machine) { dt { (fact) } dd { (value) } } }
        }
        (engines(report))
    }
}

/// What about a machine makes its figures uncertain.
pub(super) fn warnings(machine: &Machine) -> Vec<String> {
    let mut warnings = Vec::new();
    if let Some([one, _, _]) = machine.load_average
        && one > 0.5 * machine.cpus as f64
    {
        warnings.push(format!(
            "The machine was busy when the measurement began: {one:.2} processes were running on {} CPUs.",
            machine.cpus
        ));
    }
    if let Some(kind) = &machine.virtualization {
        warnings.push(format!(
            "This is a {}: what shares the hardware may take time from the measurement unseen.",
            name(kind)
        ));
    }
    match machine.governor.as_deref() {
        None => warnings.push("How the CPU's frequency is governed is not known: it may have changed during the measurement.".into()),
        Some("performance") => {}
        Some(other) => warnings.push(format!("The frequency is governed by '{}': it follows the load and may change.", name(other))),
    }
    if machine.turbo == Some(true) {
        warnings.push("The CPU may exceed its nominal frequency while it is cool: short runs look faster than long ones.".into());
    }
    warnings
}

fn facts(m: &Machine) -> Vec<(&'static str, String)> {
    let unknown = || "unknown".to_owned();
    let gib = |b: u64| format!("{:.1} GiB", b as f64 / f64::from(1 << 30));
    let caches = m.caches.iter().filter(|c| c.kind != "Instruction");
    let caches: Vec<String> = caches
        .map(|c| format!("L{} {} KiB", c.level, c.bytes >> 10))
        .collect();
    let isa: Vec<String> = m.isa.iter().map(|i| name(i)).collect();
    vec![
        ("CPU", m.cpu.as_deref().map_or_else(unknown, name)),
        (
            "Cores",
            format!(
                "{} CPUs, {} cores; {} threads usable",
                m.cpus,
                m.cores.map_or_else(unknown, |c| c.to_string()),
                m.usable_threads
            ),
        ),
        ("Vector units", text(&isa.join(" "))),
        ("Caches", text(&caches.join(", "))),
        ("Memory", m.memory_bytes.map_or_else(unknown, gib)),
        (
            "Limits",
            format!(
                "{}, {}",
                m.cgroup_cpus
                    .map_or("no CPU quota".into(), |c| format!("{c:.2} CPUs")),
                m.cgroup_memory_bytes.map_or("no memory limit".into(), gib)
            ),
        ),
        (
            "Frequency",
            format!(
                "governor {}, turbo {}",
                m.governor.as_deref().map_or_else(unknown, name),
                m.turbo.map_or("unknown", |t| if t { "on" } else { "off" })
            ),
        ),
        (
            "Load",
            m.load_average
                .map_or_else(unknown, |l| format!("{:.2} {:.2} {:.2}", l[0], l[1], l[2])),
        ),
        (
            "System",
            format!(
                "{}, kernel {}",
                name(&m.system),
                m.kernel.as_deref().map_or_else(unknown, name)
            ),
        ),
        (
            "Kind",
            m.virtualization
                .as_deref()
                .map_or("bare metal, as far as it tells".into(), name),
        ),
    ]
}

/// The engines of all records, each version once, and those that were absent.
fn engines(report: &Report) -> Markup {
    let mut rows: Vec<[String; 3]> = Vec::new();
    for (_, record) in report.records() {
        let found = record.engines.iter().map(|e| {
            let sum = e
                .sha256
                .as_deref()
                .map_or(String::new(), |s| format!(", SHA-256 {}", text(s)));
            let library = e.library.as_deref().map_or("built in".into(), name);
            [name(&e.name), name(&e.version), format!("{library}{sum}")]
        });
        let absent = record
            .absent_engines
            .iter()
            .map(|e| [name(&e.name), "absent".into(), text(&e.reason)]);
        for row in found.chain(absent) {
            if !rows.contains(&row) {
                rows.push(row);
            }
        }
    }
    html! {
        @if !rows.is_empty() {
            h3 { "Engines" }
            dl.facts {
                @for [engine, version, library] in rows {
                    dt { (engine) }
                    dd { (version) br; span.soft.break { (library) } }
                }
            }
        }
    }
}

/// The commands that measured, and the protocol that they followed.
pub(super) fn commands(report: &Report) -> Markup {
    html! {
        @for (source, record) in report.records() {
            h3 { (source.file) }
            pre tabindex="0" { code { (command(record)) } }
            p.soft { (protocol(record)) }
        }
        @for (source, profile) in report.profiles() {
            h3 { (source.file) }
            p.soft {
                "slicewise profile " (name(&profile.model)) ", " (name(&profile.task)) ", " (profile.threads) " threads, "
                (profile.engines.first().map_or(0, |e| e.runs)) " runs, slicewise " (name(&profile.slicewise)) ", " (name(&profile.started))
            }
        }
    }
}

/// The command as a shell takes it. The program's folder names its user and is left out.
fn command(record: &Record) -> String {
    let words = record.command.iter().enumerate().map(|(i, word)| {
        let word = if i == 0 {
            word.rsplit(['/', '\\']).next().unwrap_or(word)
        } else {
            word
        };
        let plain = |c: char| c.is_alphanumeric() || "-_=+,./:@".contains(c);
        let word = text(word);
        match !word.is_empty() && word.chars().all(plain) {
            true => word,
            false => format!("'{}'", word.replace('\'', "'\\''")),
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

fn protocol(record: &Record) -> String {
    let o = &record.options;
    format!(
        "slicewise {}; {} rounds at most in {} s; visits of {} ms after {} ms of rest; batch {}; {}; {} to {}",
        name(&record.slicewise),
        o.rounds,
        o.seconds,
        o.visit_ms,
        o.settle_ms,
        o.batch,
        if o.trials {
            "each arm tried in a process of its own"
        } else {
            "no trials, so no memory"
        },
        name(&record.started),
        record.finished.as_deref().map_or("?".into(), name)
    )
}

/// The files that the page holds.
pub(super) fn data(report: &Report) -> Markup {
    html! {
        p { "The page holds everything that it was made of, every single run included." }
        ul {
            @for (i, source) in report.sources.iter().enumerate() {
                li { (source.file) " " button.save type="button" hidden data-source={ "source-" (i) } { "Save as JSON" } }
            }
        }
    }
}
