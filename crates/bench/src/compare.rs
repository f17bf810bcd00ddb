//! Two records beside each other, or two engines within one.
//!
//! Within a record the visits of a round are pairs, and the rule of [`crate::verdict`] holds. Two records
//! were made at different times by processes that lay differently in memory, which no number of rounds of
//! either tells anything about. What is done about it:
//!
//! 1. An arm's time is taken in units of the reference arm's of the same round, if both records have
//!    the same one: drift within a run cancels out.
//! 2. Arms whose code has not changed are a yardstick: those of engines with the same library, or all, if
//!    the program is the same too. What the middle one of them moved by, everything moved by; it is
//!    taken off and told apart (the common shift). With fewer than [`FEWEST_UNCHANGED`] of them all
//!    arms are the yardstick, because a change rarely changes most of them.
//! 3. How far the yardstick's arms scatter is what a new process does to an arm without any change. A
//!    difference counts only beyond [`SCATTER`] times that, beyond both noise floors, and beyond
//!    [`SMALLEST_UNPAIRED`].
//! 4. On a machine that others use, visits are disturbed for many rounds on end, and intervals of all visits are
//!    then too narrow for what differs between runs. Arms whose code is the same show it by intervals that
//!    exclude the common shift; a difference counts only beyond the farthest of them.
//! 5. The interval is the exact one of Mann and Whitney ([`crate::shift`]).

use serde::Serialize;

use crate::arm::{Arm, Status};
use crate::judge;
use crate::lab::NATIVE;
use crate::record::Record;
use crate::shift::shift;
use crate::statistics::{CONFIDENCE, Interval, median};
use crate::verdict::{Comparison, Verdict, margin};

/// The smallest difference that counts between two records.
pub const SMALLEST_UNPAIRED: f64 = 0.025;
/// How many of the yardstick's scatters a difference must exceed.
pub const SCATTER: f64 = 4.0;
/// Fewer arms whose code is known to be the same are no yardstick.
pub const FEWEST_UNCHANGED: usize = 3;
/// Fewer arms than this have no scatter, and their middle is no common shift.
pub const FEWEST_ARMS: usize = 5;

/// What came of a comparison. A ratio is a time of B in units of A's.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct Compared {
    /// Whether visits of the same round were compared.
    pub paired: bool,
    /// The arms that both have, in B's order.
    pub changes: Vec<Change>,
    /// What everything moved by; `None` within one record.
    pub common: Option<Common>,
    /// Arms that A measured and B could not, with the reason.
    pub broken: Vec<Broken>,
    /// Arms that have figures in A alone, because B does not name them.
    pub only_a: Vec<String>,
    /// Arms that have figures in B alone.
    pub only_b: Vec<String>,
    /// What makes the comparison less than it could be.
    pub remarks: Vec<String>,
}

/// One arm before and after.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct Change {
    /// The model.
    pub model: String,
    /// Engine, precision, threads; within a record both sides'.
    pub place: String,
    /// A's median in milliseconds.
    pub a_ms: f64,
    /// B's.
    pub b_ms: f64,
    /// The time of B in units of A's, the common shift taken off.
    pub comparison: Comparison,
}

/// An arm that no longer has figures.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Broken {
    /// The arm.
    pub arm: String,
    /// What became of it.
    pub reason: String,
}

/// What everything moved by between two records.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct Common {
    /// The yardstick's time in B in units of that in A. Its margin also holds how far the machine's speed
    /// drifted within either run.
    pub comparison: Comparison,
    /// What the yardstick is.
    pub yardstick: Yardstick,
    /// The number of its arms.
    pub arms: usize,
    /// The standard deviation of what its arms moved by beyond it, if there are enough of them.
    pub scatter: Option<f64>,
}

/// Which arms tell how the machine's speed differs between two records.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Yardstick {
    /// Arms whose code is the same in both: what they moved by, the machine did.
    Unchanged,
    /// All arms: what they moved by may be the machine or the program.
    #[default]
    All,
    /// The reference arm alone, because there are few.
    Reference,
}

impl Compared {
    /// Whether something takes longer or does not work any more. A common shift counts unless it is the
    /// machine's.
    pub fn is_worse(&self) -> bool {
        let slower = |c: &Comparison| c.verdict == Verdict::Slower;
        let common = |c: &Common| c.yardstick != Yardstick::Unchanged && slower(&c.comparison);
        self.changes.iter().any(|c| slower(&c.comparison))
            || self.common.as_ref().is_some_and(common)
            || !self.broken.is_empty()
    }
}

/// What all comparisons agree on: an arm is faster, slower or the same if every one of them says so. Each is of
/// other processes, so that what one start of a process does to an arm is not taken for a change. `None`
/// for no comparisons.
pub fn recurring(all: Vec<Compared>) -> Option<Compared> {
    let mut all = all.into_iter();
    let mut agreed = all.next()?;
    for other in all {
        for change in &mut agreed.changes {
            let same = |o: &&Change| (&o.model, &o.place) == (&change.model, &change.place);
            match other.changes.iter().find(same) {
                Some(o) => change.comparison = change.comparison.and(&o.comparison),
                None => change.comparison.verdict = Verdict::Inconclusive,
            }
        }
        if let (Some(common), Some(o)) = (&mut agreed.common, &other.common) {
            common.comparison = common.comparison.and(&o.comparison);
        }
        for broken in other.broken {
            if !agreed.broken.iter().any(|b| b.arm == broken.arm) {
                agreed.broken.push(broken);
            }
        }
        for remark in other.remarks {
            if !agreed.remarks.contains(&remark) {
                agreed.remarks.push(remark);
            }
        }
    }
    Some(agreed)
}

fn is_measured(arm: &Arm) -> bool {
    arm.status == Status::Measured && arm.statistics.is_some()
}

/// Compares two arms of every model within a record: `a` and `b` say which.
pub fn within(record: &Record, a: &dyn Fn(&Arm) -> bool, b: &dyn Fn(&Arm) -> bool) -> Compared {
    let margin = margin(record.noise_floor.as_ref());
    let measured = |a: &&Arm| is_measured(a);
    let mut compared = Compared {
        paired: true,
        ..Compared::default()
    };
    for to in record.arms.iter().filter(measured).filter(|arm| b(arm)) {
        let from = record.arms.iter().filter(measured).find(|arm| {
            let likened = Arm {
                engine: to.engine.clone(),
                precision: to.precision.clone(),
                ..(*arm).clone()
            };
            a(arm) && likened.is_like(to)
        });
        let Some(from) = from else {
            compared.only_b.push(to.label());
            continue;
        };
        let logs = judge::against(to, &judge::by_round(from));
        match Comparison::of_pairs(&logs, margin) {
            Some(comparison) => compared.changes.push(Change {
                place: format!("{} → {}", from.place(), to.place()),
                ..change(from, to, comparison)
            }),
            None => compared.remarks.push(format!(
                "{} and {} were not visited in the same rounds",
                from.label(),
                to.label()
            )),
        }
    }
    compared
}

/// An arm that both records have figures of, and what is known of the difference.
struct Pair<'a> {
    from: &'a Arm,
    to: &'a Arm,
    /// The logarithm of B's time in units of A's, beside the reference arm's if there is one.
    log: f64,
    interval: Option<Interval>,
    visits: usize,
    /// Whether the code that ran is the same.
    unchanged: bool,
}

/// Compares the arms that both records have.
pub fn between(a: &Record, b: &Record) -> Compared {
    let mut compared = Compared {
        remarks: remarks(a, b),
        ..Compared::default()
    };
    let reference = common_reference(a, b);
    let mut pairs = Vec::new();
    for to in &b.arms {
        let from = a
            .arms
            .iter()
            .find(|from| from.is_like(to) && is_measured(from));
        match from {
            Some(from) if is_measured(to) => pairs.extend(pair(a, b, from, to, reference)),
            Some(from) if to.status == Status::NotRun => compared.only_a.push(from.label()),
            Some(_) => compared.broken.push(Broken {
                arm: to.label(),
                reason: to.reason.clone().unwrap_or_default(),
            }),
            None if is_measured(to) => compared.only_b.push(to.label()),
            None => {}
        }
    }
    let missing = |from: &&Arm| is_measured(from) && !b.arms.iter().any(|to| to.is_like(from));
    compared
        .only_a
        .extend(a.arms.iter().filter(missing).map(Arm::label));
    let (which, yardstick) = yardstick(&pairs, reference.is_some());
    let logs: Vec<f64> = yardstick.iter().map(|p| p.log).collect();
    let common = median(&logs).unwrap_or(0.0);
    let scatter = scatter(&yardstick, common);
    let untrue = untrue(&yardstick, common, which);
    let floor = |r: &Record| r.noise_floor.map_or(0.0, |f| f.floor);
    let margin = SMALLEST_UNPAIRED
        .max(floor(a))
        .max(floor(b))
        .max(SCATTER * scatter.unwrap_or(0.0))
        .max(untrue.exp_m1());
    compared.common =
        common_shift(&pairs, which, margin, (a, b), reference).map(|comparison| Common {
            comparison,
            yardstick: which,
            arms: yardstick.len(),
            scatter,
        });
    compared.changes = pairs
        .iter()
        .map(|p| {
            let interval = p.interval.map(|i| Interval {
                low: i.low - common,
                high: i.high - common,
            });
            change(
                p.from,
                p.to,
                Comparison::new(p.log - common, interval, p.visits, margin),
            )
        })
        .collect();
    compared
}

fn change(from: &Arm, to: &Arm, comparison: Comparison) -> Change {
    let ms = |a: &Arm| a.statistics.map_or(0.0, |s| s.median_ms);
    Change {
        model: to.model.clone(),
        place: to.place(),
        a_ms: ms(from),
        b_ms: ms(to),
        comparison,
    }
}

/// The arm that both records visited twice a round.
fn common_reference<'a>(a: &'a Record, b: &'a Record) -> Option<(&'a Arm, &'a Arm)> {
    let of = |r: &'a Record| r.arms.iter().find(|a| a.reference && !a.control.is_empty());
    of(a).zip(of(b)).filter(|(a, b)| a.is_like(b))
}

fn pair<'a>(
    a: &Record,
    b: &Record,
    from: &'a Arm,
    to: &'a Arm,
    reference: Option<(&Arm, &Arm)>,
) -> Option<Pair<'a>> {
    let logs = |arm: &Arm, reference: Option<&Arm>| match reference {
        Some(reference) => judge::against(arm, &judge::by_round(reference)),
        None => raw(arm),
    };
    let before = logs(from, reference.map(|r| r.0));
    let after = logs(to, reference.map(|r| r.1));
    let (log, interval) = shift(&before, &after, CONFIDENCE)?;
    Some(Pair {
        from,
        to,
        log,
        interval,
        visits: before.len().min(after.len()),
        unchanged: is_unchanged(a, b, &to.engine),
    })
}

/// The logarithm of each visit's median, in the order of the rounds.
fn raw(arm: &Arm) -> Vec<f64> {
    let log = |v: &crate::arm::Visit| Some(v.median_ms().filter(|ms| *ms > 0.0)?.ln());
    arm.visits.iter().filter_map(log).collect()
}

/// Whether the code of an engine is known to be the same in both: its library if it has one, which
/// the program only calls, else the program. A process of its own is a change.
fn is_unchanged(a: &Record, b: &Record, engine: &str) -> bool {
    if a.options.own_processes != b.options.own_processes && engine != NATIVE {
        return false;
    }
    let facts = |r: &Record| r.engines.iter().find(|e| e.name == engine).cloned();
    let program = a.program_sha256.is_some() && a.program_sha256 == b.program_sha256;
    match facts(a).zip(facts(b)) {
        Some((a, b)) if a.sha256.is_some() || b.sha256.is_some() => a == b,
        _ => program,
    }
}

/// The arms of the yardstick.
fn yardstick<'p, 'r>(pairs: &'p [Pair<'r>], has_reference: bool) -> (Yardstick, Vec<&'p Pair<'r>>) {
    let unchanged: Vec<_> = pairs.iter().filter(|p| p.unchanged).collect();
    if unchanged.len() >= FEWEST_UNCHANGED {
        (Yardstick::Unchanged, unchanged)
    } else if pairs.len() >= FEWEST_ARMS {
        (Yardstick::All, pairs.iter().collect())
    } else if has_reference {
        (Yardstick::Reference, Vec::new())
    } else {
        (Yardstick::All, Vec::new())
    }
}

/// The standard deviation of what arms moved by beyond `middle`, without what their own intervals explain.
/// From the median of the distances, so that a few changed arms do not count.
fn scatter(yardstick: &[&Pair<'_>], middle: f64) -> Option<f64> {
    // A normal distribution's: the standard deviation in units of the median distance, and of a 95 %
    // interval's width.
    const BY_DISTANCE: f64 = 1.4826;
    const BY_WIDTH: f64 = 1.0 / (2.0 * 1.96);
    let distances: Vec<f64> = yardstick.iter().map(|p| (p.log - middle).abs()).collect();
    let widths = yardstick.iter().filter_map(|p| p.interval);
    let widths: Vec<f64> = widths.map(|i| i.high - i.low).collect();
    let seen = BY_DISTANCE * median(&distances)?;
    let explained = BY_WIDTH * median(&widths)?;
    let beyond = (seen * seen - explained * explained).max(0.0).sqrt();
    (yardstick.len() >= FEWEST_ARMS).then_some(beyond)
}

/// How far intervals miss `middle` of arms that cannot have moved from it: the farthest, if their code is the
/// same. Of other arms [`SCATTER`] times the middle one, because some may have changed.
fn untrue(yardstick: &[&Pair<'_>], middle: f64, which: Yardstick) -> f64 {
    let miss = |i: Interval| (i.low - middle).max(middle - i.high).max(0.0);
    let misses = yardstick.iter().filter_map(|p| p.interval.map(miss));
    match which {
        Yardstick::Unchanged => misses.fold(0.0, f64::max),
        _ => SCATTER * median(&misses.collect::<Vec<_>>()).unwrap_or(0.0),
    }
}

/// What the yardstick moved by in milliseconds, not beside the reference arm.
fn common_shift(
    pairs: &[Pair<'_>],
    which: Yardstick,
    margin: f64,
    records: (&Record, &Record),
    reference: Option<(&Arm, &Arm)>,
) -> Option<Comparison> {
    let of = |from: &Arm, to: &Arm| shift(&raw(from), &raw(to), CONFIDENCE);
    let (log, interval, visits) = match (which, reference) {
        (Yardstick::Reference, Some((from, to))) => {
            let (log, interval) = of(from, to)?;
            (log, interval, from.visits.len().min(to.visits.len()))
        }
        _ => {
            let counts = |p: &&Pair<'_>| which != Yardstick::Unchanged || p.unchanged;
            let shifts: Vec<_> = pairs
                .iter()
                .filter(counts)
                .filter_map(|p| of(p.from, p.to))
                .collect();
            let middle = |end: &dyn Fn(&Interval) -> f64| {
                let ends: Vec<f64> = shifts
                    .iter()
                    .filter_map(|s| s.1.as_ref().map(end))
                    .collect();
                median(&ends)
            };
            let logs: Vec<f64> = shifts.iter().map(|s| s.0).collect();
            // Arms share the machine's noise, so that their middle is no surer than one of them.
            let interval = middle(&|i| i.low).zip(middle(&|i| i.high));
            let interval = interval.map(|(low, high)| Interval { low, high });
            (
                median(&logs)?,
                interval,
                pairs.iter().map(|p| p.visits).min().unwrap_or(0),
            )
        }
    };
    let drift = drift(records.0) + drift(records.1);
    Some(Comparison::new(log, interval, visits, margin.max(drift)))
}

/// How far the reference arm's time, or where there is none the first arm's, moved within a run: the
/// range of the medians of four equal parts of it.
fn drift(record: &Record) -> f64 {
    let reference = record.arms.iter().find(|a| a.reference);
    let Some(arm) = reference.or_else(|| record.arms.iter().find(|a| is_measured(a))) else {
        return 0.0;
    };
    let logs = raw(arm);
    let parts = logs.chunks(logs.len().div_ceil(4).max(1));
    let medians: Vec<f64> = parts.filter_map(median).collect();
    let most = medians.iter().copied().max_by(f64::total_cmp);
    let least = medians.iter().copied().min_by(f64::total_cmp);
    most.zip(least)
        .map_or(0.0, |(most, least)| (most - least).exp_m1())
}

/// What makes two records less comparable than they could be.
fn remarks(a: &Record, b: &Record) -> Vec<String> {
    let mut remarks = Vec::new();
    let mut differ = |what: &str, a: &dyn std::fmt::Display, b: &dyn std::fmt::Display| {
        remarks.push(format!("different {what}: {a} and {b}"));
    };
    let text = |t: &Option<String>| t.clone().unwrap_or_else(|| "unknown".into());
    if a.machine.cpu != b.machine.cpu {
        differ("CPUs", &text(&a.machine.cpu), &text(&b.machine.cpu));
    }
    if a.machine.usable_threads != b.machine.usable_threads {
        let (a, b) = (a.machine.usable_threads, b.machine.usable_threads);
        differ("numbers of usable CPUs", &a, &b);
    }
    for engine in &a.engines {
        let other = b.engines.iter().find(|e| e.name == engine.name);
        if let Some(other) = other.filter(|o| o.version != engine.version) {
            let what = format!("versions of {}", engine.name);
            differ(&what, &engine.version, &other.version);
        }
    }
    if a.options.own_processes != b.options.own_processes {
        let place = |r: &Record| match r.options.own_processes {
            true => "in processes of their own",
            false => "within the program",
        };
        differ("places of foreign engines", &place(a), &place(b));
    }
    for (name, record) in [("A", a), ("B", b)] {
        if !record.complete {
            remarks.push(format!("{name} is incomplete"));
        }
    }
    if common_reference(a, b).is_none() {
        remarks.push("no common reference arm: drift within the runs is not taken off".into());
    }
    remarks
}

#[cfg(test)]
mod tests;
