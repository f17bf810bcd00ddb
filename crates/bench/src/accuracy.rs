//! How much of the full-precision answer an arm keeps: figures that a record may hold beside its times.

use serde::{Deserialize, Serialize};

/// An arm's answers beside a reference's, for the same inputs. Shares are from 0 to 1; what was not
/// measured is `None`.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Accuracy {
    /// The answers that it was compared with: `native f32`, or the name of a set of expert labels.
    pub against: String,
    /// What the inputs were, in a few words.
    pub data: Option<String>,
    /// How many inputs.
    pub inputs: Option<usize>,
    /// The share of all pixels or voxels with the same label.
    pub label_agreement: Option<f64>,
    /// The same among those that either side calls anything but background (label 0).
    pub foreground_agreement: Option<f64>,
    /// The mean of the classes' Dice coefficients, without background and classes that neither side
    /// has.
    pub mean_dice: Option<f64>,
    /// The smallest of them.
    pub worst_class_dice: Option<f64>,
    /// Signal to quantization noise of the scores in dB: 10·log₁₀(Σ reference² / Σ difference²).
    pub sqnr_db: Option<f64>,
}

/// A figure's name as a table's header, what a line of text calls it, and where it is.
type Figure = (&'static str, &'static str, fn(&Accuracy) -> Option<f64>);

impl Accuracy {
    /// Every figure there may be.
    pub const FIGURES: [Figure; 5] = [
        ("labels", "label agreement", |a| a.label_agreement),
        ("foreground", "foreground agreement", |a| {
            a.foreground_agreement
        }),
        ("Dice", "mean Dice", |a| a.mean_dice),
        ("worst Dice", "worst class's Dice", |a| a.worst_class_dice),
        ("SQNR dB", "SQNR", |a| a.sqnr_db),
    ];

    /// What `--keep-accuracy` looks at, with its name: the smallest of label agreement, foreground agreement and
    /// mean Dice, as far as they were measured. A single rare class may be missed by any network, so that
    /// the worst class is shown and does not decide.
    pub fn kept(&self) -> Option<(&'static str, f64)> {
        let shares = Self::FIGURES[..3].iter();
        let measured = shares.filter_map(|(_, name, of)| Some((*name, finite(of(self))?)));
        measured.min_by(|a, b| a.1.total_cmp(&b.1))
    }

    /// The figures that there are: `label agreement 0.9912, SQNR 31.0 dB against native f32`.
    pub fn told(&self) -> String {
        let figures = Self::FIGURES.iter().filter_map(|(_, name, of)| {
            let value = finite(of(self))?;
            Some(match *name {
                "SQNR" => format!("SQNR {value:.1} dB"),
                name => format!("{name} {}", share(value)),
            })
        });
        let figures: Vec<String> = figures.collect();
        match figures.is_empty() {
            true => "not measured".into(),
            false => format!("{} against {}", figures.join(", "), self.against),
        }
    }
}

/// A figure of a foreign record that is a number.
pub(crate) fn finite(value: Option<f64>) -> Option<f64> {
    value.filter(|v| v.is_finite())
}

/// A share to four digits, and never rounded up to all.
pub(crate) fn share(value: f64) -> String {
    match value {
        v if v < 1.0 => format!("{:.4}", v.min(0.9999)),
        v => format!("{v}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_share_decides_and_a_rare_class_does_not() {
        let accuracy = Accuracy {
            against: "native f32".into(),
            label_agreement: Some(0.999_99),
            mean_dice: Some(0.97),
            worst_class_dice: Some(0.2),
            sqnr_db: Some(31.04),
            ..Accuracy::default()
        };
        assert_eq!(accuracy.kept(), Some(("mean Dice", 0.97)));
        assert_eq!(
            accuracy.told(),
            "label agreement 0.9999, mean Dice 0.9700, worst class's Dice 0.2000, SQNR 31.0 dB against native f32"
        );
        let nonsense = Accuracy {
            label_agreement: Some(f64::NAN),
            ..Accuracy::default()
        };
        assert_eq!(
            (nonsense.kept(), nonsense.told().as_str()),
            (None, "not measured")
        );
    }
}
