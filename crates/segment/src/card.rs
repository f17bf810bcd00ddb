//! What a bundle says about its network: classes, input, origin.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use slicewise_imaging::{ClassTable, Orientation};

use crate::intensity::{Intensity, Preset};

/// The version of the card's format.
const FORMAT: u32 = 1;

/// Everything about a network that its weights do not say.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Card {
    /// The version of this format.
    #[serde(default = "format")]
    pub format: u32,
    /// The model's own name.
    pub name: String,
    /// The model's version.
    #[serde(default)]
    pub version: String,
    /// The architecture, as `models list` names it.
    pub architecture: String,
    /// The classes. The score at position c of the network's output is for label `c + first_label`.
    pub classes: ClassTable,
    /// The label of the network's first score: 0 where the first score is for background, 1 where there is
    /// none for it.
    #[serde(default)]
    pub first_label: u16,
    /// How the input is made.
    pub input: InputSpec,
    /// What is done to label maps.
    #[serde(default)]
    pub post_process: PostProcess,
    /// Where the weights come from.
    #[serde(default)]
    pub training: Training,
    /// Under which licence, an SPDX identifier where there is one.
    #[serde(default)]
    pub licence: String,
}

fn format() -> u32 {
    FORMAT
}

/// How the network's input is made of a scan.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InputSpec {
    /// What becomes of values.
    pub intensity: Intensity,
    /// Which way an image's columns, its rows and the slices run, as they grow: `LPS` for slices as DICOM
    /// and ITK have them, `ARS` for what nibabel's `data[:, :, k]` of a canonical volume is.
    #[serde(default = "lps")]
    pub orientation: String,
    /// Neighbouring slices that are the channels, an odd number; 1 to put the same slice into all
    /// channels. Beyond the ends of a scan the last slice is repeated.
    #[serde(default = "one")]
    pub slices: usize,
}

fn lps() -> String {
    Orientation::LPS.to_string()
}

fn one() -> usize {
    1
}

/// What is done to a label map after the network, per class.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PostProcess {
    /// Labels of which only the largest piece is kept.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub largest_component: Vec<u16>,
    /// Labels whose holes are filled.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fill_holes: Vec<u16>,
}

impl PostProcess {
    /// Whether nothing is done.
    pub fn is_empty(&self) -> bool {
        self.largest_component.is_empty() && self.fill_holes.is_empty()
    }
}

/// Where weights come from.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Training {
    /// Whether they were trained; a deterministic fill was not, and its label maps mean nothing.
    pub trained: bool,
    /// The data they were trained on.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub data: String,
    /// Everything else that is known: epochs, loss, Dice.
    #[serde(flatten)]
    pub facts: BTreeMap<String, serde_json::Value>,
}

impl Card {
    /// A card for a network of `outputs` scores, of which nothing else is known: the first score is for
    /// background, CT soft tissue, axial slices as DICOM has them.
    pub fn of_outputs(architecture: &str, outputs: usize) -> Self {
        let classes = u16::try_from(outputs.saturating_sub(1)).unwrap_or(u16::MAX);
        Card {
            format: FORMAT,
            name: architecture.to_owned(),
            version: String::new(),
            architecture: architecture.to_owned(),
            classes: ClassTable::numbered(classes),
            first_label: 0,
            input: InputSpec {
                intensity: Preset::CtSoftTissue.intensity(),
                orientation: lps(),
                slices: 1,
            },
            post_process: PostProcess::default(),
            training: Training::default(),
            licence: String::new(),
        }
    }

    /// This card with the fields that a JSON text has in place of its own; of `input` and `training` those
    /// that are there.
    ///
    /// # Errors
    /// In words, if the text is no card.
    pub fn with_json(&self, text: &str) -> Result<Self, String> {
        let wrong = |e: serde_json::Error| format!("it is no card: {e}");
        let given: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(text).map_err(wrong)?;
        let mut own = serde_json::to_value(self).map_err(wrong)?;
        for (key, value) in given {
            match (key.as_str(), value) {
                ("input" | "training", serde_json::Value::Object(fields)) => {
                    fields
                        .into_iter()
                        .for_each(|(k, v)| own[key.as_str()][k] = v);
                }
                (key, value) => own[key] = value,
            }
        }
        serde_json::from_value(own).map_err(wrong)
    }

    /// Whether the card is one that this version knows, and fits a network of `channels` channels and
    /// `outputs` scores; the error says what does not.
    pub fn check(&self, channels: usize, outputs: usize) -> Result<(), String> {
        if self.format != FORMAT {
            return Err(format!(
                "its card is of format {}, this version reads format {FORMAT}",
                self.format
            ));
        }
        if self.first_label > 1 {
            return Err(format!(
                "its first label is {}, not 0 or 1",
                self.first_label
            ));
        }
        let labels = outputs + usize::from(self.first_label);
        if labels > 1 << 16 {
            return Err(format!("{outputs} classes are more than a label map has"));
        }
        if let Some(class) = self.classes.classes().last()
            && usize::from(class.label) >= labels
        {
            return Err(format!(
                "its class '{}' has label {}, the network's last is {}",
                class.name,
                class.label,
                labels - 1
            ));
        }
        let post = &self.post_process;
        let mut treated = post.largest_component.iter().chain(&post.fill_holes);
        if let Some(label) = treated.find(|&&l| l == 0 || usize::from(l) >= labels) {
            return Err(format!(
                "its post-process is of label {label}, the network has 1 to {}",
                labels - 1
            ));
        }
        let slices = self.input.slices;
        if slices.is_multiple_of(2) || ![1, channels].contains(&slices) {
            return Err(format!(
                "it takes {slices} neighbouring slices, the network has {channels} channels; \
                 the number is odd, and 1 or that of the channels"
            ));
        }
        self.orientation()?;
        self.input.intensity.check(channels)
    }

    /// Which way columns, rows and slices run.
    pub fn orientation(&self) -> Result<Orientation, String> {
        self.input.orientation.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use slicewise_imaging::distinct_colour;

    #[test]
    fn a_card_comes_back_from_json_and_short_ones_are_filled_up() {
        let card = Card::of_outputs("resnet18+fpn", 5);
        let text = serde_json::to_string(&card).unwrap();
        assert_eq!(serde_json::from_str::<Card>(&text).unwrap(), card);
        let short = r#"{"name": "a", "architecture": "b", "classes": [], "input": {"intensity": {}},
                        "training": {"trained": true, "epochs": 4000}}"#;
        let card: Card = serde_json::from_str(short).unwrap();
        assert_eq!(card.input.orientation, "LPS");
        assert_eq!(card.training.facts["epochs"], 4000);
        let named = card.with_json(r#"{"classes": [{"label": 2, "name": "liver"}]}"#);
        let named = named.unwrap().classes;
        assert_eq!(named.get(2).unwrap().colour, distinct_colour(2));
        assert!(
            card.with_json(r#"{"classes": [{"label": 2, "name": "liver", "color": [1, 2, 3]}]}"#)
                .is_err()
        );
        let mended = card.with_json(r#"{"licence": "MIT", "input": {"slices": 3}}"#);
        let mended = mended.unwrap();
        assert_eq!((mended.licence.as_str(), mended.input.slices), ("MIT", 3));
        assert_eq!(mended.input.orientation, "LPS");
        assert!(card.with_json("[]").is_err());
        assert!(serde_json::from_str::<Card>(&short.replace("name", "nome")).is_err());
    }

    #[test]
    fn a_card_that_does_not_fit_its_network_is_refused() {
        let good = Card::of_outputs("resnet18+fpn", 5);
        assert_eq!(good.check(3, 5), Ok(()));
        type Edit = fn(&mut Card);
        let cases: [(Edit, &str); 7] = [
            (|c| c.format = 2, "format 2"),
            (|c| c.first_label = 2, "first label is 2"),
            (|c| c.post_process.fill_holes = vec![5], "label 5"),
            (|c| c.input.slices = 2, "2 neighbouring slices"),
            (|c| c.input.slices = 5, "5 neighbouring slices"),
            (|c| c.input.orientation = "LPX".into(), "no orientation"),
            (|c| c.input.intensity.std = vec![0.0], "std holds 0"),
        ];
        for (edit, want) in cases {
            let mut card = good.clone();
            edit(&mut card);
            let got = card.check(3, 5).unwrap_err();
            assert!(got.contains(want), "{got}, not {want}");
        }
        assert!(good.check(3, 4).unwrap_err().contains("label 4"));
    }
}
