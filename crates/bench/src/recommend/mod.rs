//! Advice that follows from a record: which network for which use on this machine, and what to avoid.
//!
//! Every rule is a row of a table. Nothing is said that the record does not hold; above all, accuracy
//! is what was measured or "not measured".

mod avoid;
mod limits;
pub mod pareto;
mod sure;
mod text;

use serde::Serialize;
use slicewise_zoo::Decoder;

pub use avoid::Warning;
pub use limits::{Effect, Limits, NearestMiss};
pub use text::render;

use crate::accuracy::{Accuracy, share};
use crate::record::Record;
use crate::report::Row;

/// What [`Advice::kind`] says.
pub const KIND: &str = "slicewise-advice";
/// The version of the advice's layout.
pub const SCHEMA: u32 = 1;

/// A use that networks are recommended for.
struct Use {
    /// As the original's table names it.
    name: &'static str,
    /// What decides, in words.
    rule: &'static str,
    /// The arms that come into question.
    fits: fn(&Row) -> bool,
    /// What decides: more is better.
    merit: fn(&Row) -> Option<f64>,
    unit: &'static str,
    /// What to do if no arm fits.
    missing: &'static str,
}

/// The original's uses, in its order.
const USES: &[Use] = &[
    Use {
        name: "max speed",
        rule: "the highest throughput",
        fits: |_| true,
        merit: |r| r.speed,
        unit: "/s",
        missing: "nothing was measured",
    },
    Use {
        name: "speed and compact",
        rule: "the highest throughput per million parameters",
        fits: |_| true,
        merit: |r| r.efficiency,
        unit: "/s per M",
        missing: "no arm's parameters are known",
    },
    Use {
        name: "proven accuracy",
        rule: "the fastest ResNet in f32: the encoder that most published networks are compared with",
        fits: |r| r.family == "resnet" && r.precision == "f32",
        merit: |r| r.speed,
        unit: "/s",
        missing: "no ResNet was measured; slicewise bench fpn --models resnet18 measures one",
    },
    Use {
        name: "fine segmentation",
        rule: "the fastest with a U-Net decoder, which sees the image at half its resolution",
        fits: |r| r.decoder == Some(Decoder::Unet),
        merit: |r| r.speed,
        unit: "/s",
        missing: "no U-Net was measured; slicewise bench unet or combined measures some",
    },
    Use {
        name: "least memory",
        rule: "the smallest peak memory of a process that loads and runs it",
        fits: |_| true,
        merit: |r| r.memory.map(|m| -m),
        unit: "MB",
        missing: "memory was not measured; leave out --no-trials",
    },
];

/// What a record says about which network to take.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Advice {
    /// Always `slicewise-advice`.
    pub kind: &'static str,
    /// The layout's version: [`SCHEMA`].
    pub schema: u32,
    /// The file that the record was read from.
    pub record: String,
    /// When it was measured.
    pub started: String,
    /// The CPU that it was measured on.
    pub cpu: Option<String>,
    /// What the candidates are: networks, encoders alone, or networks of volumes.
    pub candidates: &'static str,
    /// What was asked for.
    pub limits: Limits,
    /// What each limit left out.
    pub effects: Vec<Effect>,
    /// The arm that misses the limits by the least, if none meets them.
    pub nearest_miss: Option<NearestMiss>,
    /// The uses, each with its recommendations.
    pub uses: Vec<Recommendation>,
    /// What to avoid.
    pub avoid: Vec<Warning>,
    /// The arms that no other beats in speed, parameters and memory at once, the fastest first.
    pub pareto: Vec<Row>,
}

/// What is recommended for one use.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Recommendation {
    /// The use.
    pub name: &'static str,
    /// What decides.
    pub rule: &'static str,
    /// The best first, each model once.
    pub choices: Vec<Choice>,
    /// Why there is no choice.
    pub missing: Option<String>,
}

/// A recommended arm.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Choice {
    /// The arm with its figures.
    pub arm: Row,
    /// How much of a reference's answers it keeps; nothing where that was not measured.
    pub accuracy: Option<Accuracy>,
    /// Why, with figures.
    pub reason: String,
}

/// Works out what a record that was read from `file` advises: at most `top` models for each use.
pub fn advise(file: &str, record: &Record, limits: &Limits, top: usize) -> Advice {
    let rows = Row::all(0, record);
    let (what, candidates) = candidates(&rows);
    let admitted: Vec<&Row> = (candidates.iter().copied())
        .filter(|r| limits.admit(r))
        .collect();
    let left_out = admitted.is_empty() && !candidates.is_empty();
    let uses: Vec<_> = (USES.iter())
        .map(|u| recommend(u, &candidates, &admitted, top))
        .collect();
    let first = uses.iter().filter_map(|u| u.choices.first());
    let spared: Vec<&str> = first.map(|c| c.arm.model.as_str()).collect();
    let merits: Vec<pareto::Merits> = (admitted.iter())
        .map(|r| vec![r.speed, r.params.map(|p| -p), r.memory.map(|m| -m)])
        .collect();
    let mut front: Vec<Row> = (pareto::front(&merits).into_iter())
        .map(|i| admitted[i].clone())
        .collect();
    front.sort_by(|a, b| b.speed.unwrap_or(0.0).total_cmp(&a.speed.unwrap_or(0.0)));
    Advice {
        kind: KIND,
        schema: SCHEMA,
        record: file.to_owned(),
        started: crate::report::name(&record.started),
        cpu: record.machine.cpu.as_deref().map(crate::report::name),
        candidates: what,
        limits: *limits,
        effects: limits.effects(&candidates),
        nearest_miss: left_out.then(|| limits.nearest_miss(&candidates)).flatten(),
        avoid: avoid::warnings(record, &rows, &spared, limits.keep_accuracy),
        uses,
        pareto: front,
    }
}

/// The arms that are recommended from: networks of images, else encoders alone, else networks of
/// volumes.
fn candidates(rows: &[Row]) -> (&'static str, Vec<&Row>) {
    type Kind = (&'static str, fn(&Row) -> bool);
    let kinds: [Kind; 3] = [
        ("networks of images", |r| !r.volume && r.decoder.is_some()),
        ("images, without a decoder", |r| !r.volume),
        ("networks of volumes", |r| r.volume),
    ];
    for (name, fits) in kinds {
        let found: Vec<&Row> = rows.iter().filter(|r| r.is_measured() && fits(r)).collect();
        if !found.is_empty() {
            return (name, found);
        }
    }
    ("nothing", Vec::new())
}

fn recommend(rule: &Use, all: &[&Row], admitted: &[&Row], top: usize) -> Recommendation {
    let merit = |r: &Row| (rule.merit)(r).filter(|_| (rule.fits)(r));
    let mut ranked: Vec<(&Row, f64)> = (admitted.iter())
        .filter_map(|r| Some((*r, merit(r)?)))
        .collect();
    ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
    let mut best: Vec<(&Row, f64)> = Vec::new();
    for (row, merit) in ranked {
        if best.iter().all(|(b, _)| b.model != row.model) {
            best.push((row, merit));
        }
    }
    let choices: Vec<Choice> = (best.iter().enumerate().take(top))
        .map(|(i, (row, merit))| Choice {
            arm: (*row).clone(),
            accuracy: row.accuracy.clone(),
            reason: reason(rule, row, *merit, best.get(i + 1)),
        })
        .collect();
    let fits = all.iter().any(|r| merit(r).is_some());
    let missing = match (choices.is_empty(), fits) {
        (false, _) => None,
        (true, true) => Some("the limits leave none".to_owned()),
        (true, false) => Some(rule.missing.to_owned()),
    };
    Recommendation {
        name: rule.name,
        rule: rule.rule,
        choices,
        missing,
    }
}

/// What the choice has, and how far the next model is behind.
fn reason(rule: &Use, row: &Row, merit: f64, next: Option<&(&Row, f64)>) -> String {
    let kept = row.accuracy.as_ref().and_then(Accuracy::kept);
    let bits = match (row.precision.as_str(), kept) {
        ("f32", _) => String::new(),
        (bits, None) => format!(" in {bits}, whose accuracy was not measured"),
        (bits, Some((what, kept))) => format!(" in {bits}, {what} {}", share(kept)),
    };
    let ours = format!("{} {}{bits}", figure(merit.abs()), unit(rule.unit, row));
    let Some((rival, theirs)) = next else {
        return format!("{ours}; the only one");
    };
    let behind = format!(
        "{ours}; next is {} with {}",
        rival.model,
        figure(theirs.abs())
    );
    // Runs of several streams are piles of different sizes.
    let intervals = row.interval.zip(rival.interval);
    let apart = intervals
        .filter(|_| row.streams == 1 && rival.streams == 1)
        .map(|(a, b)| a.high < b.low || b.high < a.low);
    match apart {
        Some(false) if rule.unit == "/s" => {
            format!("{behind}, not told apart: the intervals overlap")
        }
        _ => behind,
    }
}

fn unit(unit: &str, row: &Row) -> String {
    match unit.starts_with('/') {
        true => format!("{}{unit}", row.unit()),
        false => unit.to_owned(),
    }
}

/// Three significant digits or, for large numbers, no fraction.
pub(crate) fn figure(value: f64) -> String {
    match value.abs() {
        v if v >= 99.95 => format!("{value:.0}"),
        v if v >= 9.995 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::record::tests::sample;

    /// A measured arm: model, mode, images per second, million parameters.
    pub(crate) fn row(model: &str, mode: &str, speed: f64, params: f64) -> Row {
        let mut arm = sample().arms[1].clone();
        let (engine, precision) = mode.split_once(' ').unwrap();
        arm.model = model.into();
        arm.engine = engine.into();
        arm.precision = precision.into();
        arm.parameters = Some((params * 1e6) as u64);
        let mut row = Row::new(0, (0, &arm));
        row.speed = Some(speed);
        row.ms = Some(1000.0 / speed);
        row.efficiency = Some(speed / params);
        row.equivalent = Some(speed);
        row
    }

    fn record(rows: &[(&str, &str, f64, f64)]) -> Record {
        let mut record = sample();
        let template = record.arms[1].clone();
        record.arms.clear();
        for (model, mode, speed, params) in rows {
            let (engine, precision) = mode.split_once(' ').unwrap();
            let mut arm = template.clone();
            arm.model = (*model).into();
            arm.engine = engine.into();
            arm.precision = precision.into();
            arm.parameters = Some((params * 1e6) as u64);
            arm.visits[0].ms = vec![1000.0 / speed];
            arm.summarise();
            record.arms.push(arm);
        }
        record
    }

    fn chosen(advice: &Advice) -> Vec<(&str, Vec<&str>)> {
        (advice.uses.iter())
            .map(|u| {
                (
                    u.name,
                    u.choices.iter().map(|c| c.arm.model.as_str()).collect(),
                )
            })
            .collect()
    }

    const SMALL: &[(&str, &str, f64, f64)] = &[
        ("resnet18+fpn", "native f32", 20.0, 12.0),
        ("resnet18+fpn", "openvino int8", 60.0, 12.0),
        ("regnetx_004+fpn", "native f32", 50.0, 5.6),
        ("mobileone_s0+fpn", "native f32", 40.0, 2.0),
        ("mobileone_s0+unet", "native f32", 30.0, 4.6),
    ];

    #[test]
    fn each_use_takes_the_arm_that_its_rule_says() {
        let advice = advise("r.json", &record(SMALL), &Limits::default(), 1);
        assert_eq!(
            chosen(&advice),
            [
                ("max speed", vec!["resnet18+fpn"]),
                ("speed and compact", vec!["mobileone_s0+fpn"]),
                ("proven accuracy", vec!["resnet18+fpn"]),
                ("fine segmentation", vec!["mobileone_s0+unet"]),
                ("least memory", vec!["resnet18+fpn"]),
            ]
        );
        let proven = &advice.uses[2].choices[0];
        assert_eq!(
            proven.arm.precision, "f32",
            "proven accuracy is not bought with fewer bits"
        );
        assert_eq!(proven.accuracy, None);
        let reason = &advice.uses[0].choices[0].reason;
        assert_eq!(
            reason,
            "60.0 img/s in int8, whose accuracy was not measured; next is regnetx_004+fpn with 50.0"
        );
    }

    #[test]
    fn the_next_best_models_are_shown_on_demand() {
        let advice = advise("r.json", &record(SMALL), &Limits::default(), 2);
        assert_eq!(chosen(&advice)[0].1, ["resnet18+fpn", "regnetx_004+fpn"]);
    }

    #[test]
    fn limits_choose_among_what_meets_them() {
        let limits = Limits {
            max_params: Some(6.0),
            ..Limits::default()
        };
        let advice = advise("r.json", &record(SMALL), &limits, 1);
        assert_eq!(chosen(&advice)[0].1, ["regnetx_004+fpn"]);
        assert_eq!(
            advice.uses[2].missing.as_deref(),
            Some("the limits leave none")
        );
        assert_eq!((advice.effects[0].beyond, advice.effects[0].of), (2, 5));
        assert_eq!(advice.nearest_miss, None);
    }

    #[test]
    fn what_keeps_less_accuracy_than_asked_for_is_not_recommended_and_named() {
        let mut record = record(SMALL);
        record.arms[1].accuracy = Some(Accuracy {
            against: "native f32".into(),
            label_agreement: Some(0.98),
            mean_dice: Some(0.953),
            ..Accuracy::default()
        });
        let asking = |keep_accuracy| {
            let limits = Limits {
                keep_accuracy,
                ..Limits::default()
            };
            advise("r.json", &record, &limits, 1)
        };
        let advice = asking(Some(0.99));
        assert_eq!(chosen(&advice)[0].1, ["regnetx_004+fpn"]);
        let effect = &advice.effects[0];
        assert_eq!((effect.beyond, effect.unknown, effect.unjudged), (1, 0, 4));
        let warning = &advice.avoid[0];
        assert_eq!(warning.what, "resnet18+fpn on openvino int8");
        assert_eq!(
            warning.why,
            "mean Dice 0.9530 is below 0.99 (label agreement 0.9800, mean Dice 0.9530 against native f32)"
        );
        // What keeps enough is recommended with the figure.
        let advice = asking(Some(0.95));
        let best = &advice.uses[0].choices[0];
        assert_eq!(best.arm.mode(), "openvino int8");
        assert!(
            best.reason
                .starts_with("60.0 img/s in int8, mean Dice 0.9530; next")
        );
        assert!(advice.avoid.iter().all(|w| w.rule != warning.rule));
    }

    #[test]
    fn limits_that_nobody_meets_name_the_nearest_miss() {
        let limits = Limits {
            min_speed: Some(66.0),
            ..Limits::default()
        };
        let advice = advise("r.json", &record(SMALL), &limits, 1);
        assert!(advice.uses.iter().all(|u| u.choices.is_empty()));
        let miss = advice.nearest_miss.unwrap();
        assert_eq!(miss.model, "resnet18+fpn");
        assert_eq!(miss.misses, ["--min-speed 66.0 by 10 % (60.0 /s)"]);
    }

    #[test]
    fn the_front_is_over_speed_parameters_and_memory() {
        let advice = advise("r.json", &record(SMALL), &Limits::default(), 1);
        let front: Vec<_> = advice.pareto.iter().map(|r| r.model.as_str()).collect();
        assert_eq!(
            front,
            ["resnet18+fpn", "regnetx_004+fpn", "mobileone_s0+fpn"]
        );
    }

    #[test]
    fn without_networks_encoders_are_compared_and_called_so() {
        let advice = advise(
            "r.json",
            &record(&[("resnet18", "native f32", 20.0, 11.0)]),
            &Limits::default(),
            1,
        );
        assert_eq!(advice.candidates, "images, without a decoder");
        assert!(
            advice.uses[3]
                .missing
                .as_deref()
                .is_some_and(|m| m.contains("bench unet"))
        );
        let advice = advise("r.json", &record(&[]), &Limits::default(), 1);
        assert_eq!(
            advice.uses[0].missing.as_deref(),
            Some("nothing was measured")
        );
    }
}
