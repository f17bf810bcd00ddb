//! Label maps: a class per voxel, and what the classes are.

use serde::{Deserialize, Serialize};

use crate::{Grid, ImagingError};

/// A concept of a terminology, such as SNOMED CT.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Code {
    /// The code value, such as `10200004`.
    pub value: String,
    /// The coding scheme as DICOM writes it, such as `SCT`.
    pub scheme: String,
    /// The meaning in words, such as `Liver`.
    pub meaning: String,
}

/// One class of a label map. Read from JSON, one without a colour has that of [`distinct_colour`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(from = "Described")]
pub struct Class {
    /// Its number in the label map, above 0.
    pub label: u16,
    /// Its name.
    pub name: String,
    /// The colour that it is shown in: red, green, blue.
    pub colour: [u8; 3],
    /// What kind of thing it is, such as an anatomical structure: DICOM's segmented property category.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<Code>,
    /// What it is: DICOM's segmented property type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<Code>,
}

/// A class as people write it down.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Described {
    label: u16,
    name: String,
    colour: Option<[u8; 3]>,
    category: Option<Code>,
    kind: Option<Code>,
}

impl From<Described> for Class {
    fn from(class: Described) -> Self {
        Class {
            label: class.label,
            name: class.name,
            colour: class.colour.unwrap_or(distinct_colour(class.label)),
            category: class.category,
            kind: class.kind,
        }
    }
}

/// The classes of a label map in the order of their labels. Background, label 0, is not among them.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize)]
#[serde(transparent)]
pub struct ClassTable {
    classes: Vec<Class>,
}

impl ClassTable {
    /// A table of `classes`, sorted by label.
    ///
    /// # Errors
    /// In words, if a label is 0 or occurs twice.
    pub fn new(mut classes: Vec<Class>) -> Result<Self, String> {
        classes.sort_by_key(|c| c.label);
        if classes.first().is_some_and(|c| c.label == 0) {
            return Err("label 0 is the background and no class".into());
        }
        let twice = classes.windows(2).find(|w| w[0].label == w[1].label);
        match twice {
            Some(w) => Err(format!(
                "label {} is both '{}' and '{}'",
                w[0].label, w[0].name, w[1].name
            )),
            None => Ok(ClassTable { classes }),
        }
    }

    /// Classes `class_1` to `class_n`, for a model that does not say what it segments.
    pub fn numbered(n: u16) -> Self {
        let class = |label| Class {
            label,
            name: format!("class_{label}"),
            colour: distinct_colour(label),
            category: None,
            kind: None,
        };
        ClassTable {
            classes: (1..=n).map(class).collect(),
        }
    }

    /// The classes in the order of their labels.
    pub fn classes(&self) -> &[Class] {
        &self.classes
    }

    /// The class of a label.
    pub fn get(&self, label: u16) -> Option<&Class> {
        let at = self
            .classes
            .binary_search_by_key(&label, |c| c.label)
            .ok()?;
        Some(&self.classes[at])
    }
}

impl<'de> Deserialize<'de> for ClassTable {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        ClassTable::new(Vec::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// A colour for a class that has none: hues a golden angle apart, in three strengths, so that
/// neighbouring labels differ.
pub fn distinct_colour(label: u16) -> [u8; 3] {
    let turn = f64::from(label) * 0.618_033_988_749_895 % 1.0;
    let (saturation, value) = [(0.75, 0.95), (0.55, 0.85), (0.9, 0.7)][usize::from(label) % 3];
    let channel = |offset: f64| {
        // The piecewise linear hue wheel.
        let k = (offset + turn * 6.0) % 6.0;
        let share = k.min(4.0 - k).clamp(0.0, 1.0);
        (255.0 * value * (1.0 - saturation * share)).round() as u8
    };
    [channel(5.0), channel(3.0), channel(1.0)]
}

/// The labels of a label map, i fastest.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Labels {
    /// Of up to 255 classes.
    U8(Vec<u8>),
    /// Of more.
    U16(Vec<u16>),
}

impl Labels {
    /// The number of voxels.
    pub fn len(&self) -> usize {
        match self {
            Labels::U8(v) => v.len(),
            Labels::U16(v) => v.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The label of the voxel at position `at`.
    pub fn get(&self, at: usize) -> u16 {
        match self {
            Labels::U8(v) => u16::from(v[at]),
            Labels::U16(v) => v[at],
        }
    }
}

/// A segmentation: one label for every voxel of a grid. 0 is background.
#[derive(Clone, PartialEq, Debug)]
pub struct LabelMap {
    grid: Grid,
    labels: Labels,
    classes: ClassTable,
}

impl LabelMap {
    /// A label map on `grid`, `labels` with i fastest. Labels that `classes` does not name are allowed.
    ///
    /// # Errors
    /// If there is not one label for every voxel.
    pub fn new(grid: Grid, labels: Labels, classes: ClassTable) -> Result<Self, ImagingError> {
        if labels.len() != grid.voxels() {
            return Err(ImagingError::Count {
                what: "labels of a label map",
                got: labels.len(),
                want: grid.voxels(),
            });
        }
        Ok(LabelMap {
            grid,
            labels,
            classes,
        })
    }

    /// Where the voxels lie.
    pub fn grid(&self) -> &Grid {
        &self.grid
    }

    /// The labels, i fastest.
    pub fn labels(&self) -> &Labels {
        &self.labels
    }

    /// The labels for writing, i fastest. Their number cannot change.
    pub fn labels_mut(&mut self) -> LabelsMut<'_> {
        match &mut self.labels {
            Labels::U8(v) => LabelsMut::U8(v),
            Labels::U16(v) => LabelsMut::U16(v),
        }
    }

    /// What the labels are.
    pub fn classes(&self) -> &ClassTable {
        &self.classes
    }
}

/// The labels of a label map for writing.
#[derive(Debug)]
pub enum LabelsMut<'a> {
    /// Of up to 255 classes.
    U8(&'a mut [u8]),
    /// Of more.
    U16(&'a mut [u16]),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_sorted_and_has_no_label_twice() {
        let class =
            |label: u16| ClassTable::numbered(label).classes()[usize::from(label) - 1].clone();
        let table = ClassTable::new(vec![class(7), class(2)]).unwrap();
        assert_eq!(table.get(7).unwrap().name, "class_7");
        assert_eq!(table.classes()[0].label, 2);
        assert!(table.get(3).is_none());
        assert!(ClassTable::new(vec![class(2), class(2)]).is_err());
        let background = Class {
            label: 0,
            ..class(1)
        };
        assert!(ClassTable::new(vec![background]).is_err());
    }

    #[test]
    fn colours_of_a_hundred_classes_differ() {
        let colours: std::collections::BTreeSet<_> = (1..=117).map(distinct_colour).collect();
        assert_eq!(colours.len(), 117);
    }
}
