//! What the user will not go beyond, who is left out by it, and who comes closest.

use serde::Serialize;

use super::figure;
#[cfg(doc)]
use crate::accuracy::Accuracy;
use crate::report::Row;

/// Limits that the user sets; `None` sets none.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize)]
pub struct Limits {
    /// The most parameters, in millions.
    pub max_params: Option<f64>,
    /// The fewest images or volumes per second.
    pub min_speed: Option<f64>,
    /// The most peak memory, in MiB.
    pub memory: Option<f64>,
    /// The least that is kept of a reference's answers ([`Accuracy::kept`]).
    pub keep_accuracy: Option<f64>,
}

/// One kind of limit.
struct Kind {
    option: &'static str,
    unit: &'static str,
    bound: fn(&Limits) -> Option<f64>,
    value: fn(&Row) -> Option<f64>,
    /// Whether the bound is the most that is allowed, not the least.
    most: bool,
    /// Whether what was not measured passes. So it is with accuracy: full precision is what others are
    /// compared with, and is itself compared with nothing.
    unknown_passes: bool,
    /// The bound and figures as text.
    shown: fn(f64) -> String,
}

const KINDS: &[Kind] = &[
    Kind {
        option: "--max-params",
        unit: "M",
        bound: |l| l.max_params,
        value: |r| r.params,
        most: true,
        unknown_passes: false,
        shown: figure,
    },
    Kind {
        option: "--min-speed",
        unit: "/s",
        bound: |l| l.min_speed,
        value: |r| r.speed,
        most: false,
        unknown_passes: false,
        shown: figure,
    },
    Kind {
        option: "--memory",
        unit: "MB",
        bound: |l| l.memory,
        value: |r| r.memory,
        most: true,
        unknown_passes: false,
        shown: figure,
    },
    Kind {
        option: "--keep-accuracy",
        unit: "",
        bound: |l| l.keep_accuracy,
        value: |r| Some(r.accuracy.as_ref()?.kept()?.1),
        most: false,
        unknown_passes: true,
        shown: |v| v.to_string(),
    },
];

/// What one limit did.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Effect {
    /// The option with its bound: `--max-params 2`.
    pub limit: String,
    /// Arms that it leaves out because of their figure.
    pub beyond: usize,
    /// Arms that it leaves out because the figure was not measured.
    pub unknown: usize,
    /// Arms that it lets pass although the figure was not measured.
    pub unjudged: usize,
    /// All arms that it looked at.
    pub of: usize,
}

/// The arm that misses the limits by the least.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct NearestMiss {
    /// The model.
    pub model: String,
    /// What it runs on.
    pub place: String,
    /// What it misses, in words.
    pub misses: Vec<String>,
}

impl Kind {
    /// By which part of the bound a figure is beyond it; 0 within, `None` if it is not known.
    fn beyond(&self, row: &Row, bound: f64) -> Option<f64> {
        let value = (self.value)(row)?;
        let over = if self.most {
            value - bound
        } else {
            bound - value
        };
        Some((over / bound.abs().max(1e-9)).max(0.0))
    }

    /// The same, with 0 for what passes without a figure.
    fn excess(&self, row: &Row, bound: f64) -> Option<f64> {
        let beyond = self.beyond(row, bound);
        beyond.or(self.unknown_passes.then_some(0.0))
    }
}

impl Limits {
    fn set(&self) -> impl Iterator<Item = (&'static Kind, f64)> + '_ {
        KINDS.iter().filter_map(|k| Some((k, (k.bound)(self)?)))
    }

    /// Whether an arm meets all of them; an unknown figure meets none.
    pub fn admit(&self, row: &Row) -> bool {
        self.set()
            .all(|(kind, bound)| kind.excess(row, bound) == Some(0.0))
    }

    /// What each of the limits did to the arms.
    pub fn effects(&self, rows: &[&Row]) -> Vec<Effect> {
        let effect = |(kind, bound): (&Kind, f64)| {
            let found = rows.iter().map(|r| kind.beyond(r, bound));
            let unmeasured = found.clone().filter(Option::is_none).count();
            let (unknown, unjudged) = match kind.unknown_passes {
                true => (0, unmeasured),
                false => (unmeasured, 0),
            };
            Effect {
                limit: format!("{} {}", kind.option, (kind.shown)(bound)),
                beyond: found.filter(|b| b.is_some_and(|b| b > 0.0)).count(),
                unknown,
                unjudged,
                of: rows.len(),
            }
        };
        self.set().map(effect).collect()
    }

    /// Of arms that all are left out, the one that is beyond the limits by the smallest parts.
    pub fn nearest_miss(&self, rows: &[&Row]) -> Option<NearestMiss> {
        // A figure that was not measured counts as twice the bound: worse than a near miss.
        let distance = |r: &Row| -> f64 {
            self.set()
                .map(|(k, bound)| k.excess(r, bound).unwrap_or(1.0))
                .sum()
        };
        let row = (rows.iter()).min_by(|a, b| distance(a).total_cmp(&distance(b)))?;
        let miss = |(kind, bound): (&Kind, f64)| {
            let limit = format!("{} {}", kind.option, (kind.shown)(bound));
            match ((kind.value)(row), kind.excess(row, bound)) {
                (Some(value), Some(beyond)) if beyond > 0.0 => Some(format!(
                    "{limit} by {:.0} % ({})",
                    (100.0 * beyond).ceil(),
                    format!("{} {}", (kind.shown)(value), kind.unit).trim_end()
                )),
                (None, None) => Some(format!("{limit} (not measured)")),
                _ => None,
            }
        };
        Some(NearestMiss {
            model: row.model.clone(),
            place: row.place(),
            misses: self.set().filter_map(miss).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recommend::tests::row;

    #[test]
    fn a_limit_says_whom_it_left_out_and_why() {
        let mut unknown = row("c+fpn", "native f32", 50.0, 1.0);
        unknown.memory = None;
        let rows = [
            row("a+fpn", "native f32", 10.0, 9.0),
            row("b+fpn", "native f32", 20.0, 1.0),
            unknown,
        ];
        let rows: Vec<&Row> = rows.iter().collect();
        let limits = Limits {
            max_params: Some(2.0),
            memory: Some(1000.0),
            ..Limits::default()
        };
        let admitted: Vec<_> = rows.iter().map(|r| limits.admit(r)).collect();
        assert_eq!(admitted, [false, true, false]);
        let effects = limits.effects(&rows);
        assert_eq!(
            (
                effects[0].limit.as_str(),
                effects[0].beyond,
                effects[0].unknown
            ),
            ("--max-params 2.00", 1, 0)
        );
        assert_eq!(
            (effects[1].beyond, effects[1].unknown, effects[1].of),
            (0, 1, 3)
        );
    }

    #[test]
    fn the_nearest_miss_is_the_one_with_the_smallest_excess() {
        let rows = [
            row("a+fpn", "native f32", 80.0, 9.0),
            row("b+fpn", "native f32", 90.0, 1.0),
        ];
        let rows: Vec<&Row> = rows.iter().collect();
        let limits = Limits {
            min_speed: Some(100.0),
            max_params: Some(5.0),
            ..Limits::default()
        };
        let miss = limits.nearest_miss(&rows).unwrap();
        assert_eq!(miss.model, "b+fpn");
        assert_eq!(miss.misses, ["--min-speed 100 by 10 % (90.0 /s)"]);
    }
}
