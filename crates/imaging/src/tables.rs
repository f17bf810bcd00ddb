//! Label tables in the formats that viewers read: ITK-SNAP's label descriptions, 3D Slicer's colour
//! tables, and Caret's XML as it stands in NIfTI extensions.

use std::fmt::Write;

use crate::{ClassTable, NOTICE};

/// ITK-SNAP's label description file (Segmentation, Import Label Descriptions).
pub fn itk_snap(classes: &ClassTable) -> String {
    let mut text = format!(
        "################################################\n\
         # ITK-SnAP Label Description File\n\
         # {NOTICE}\n\
         # File format:\n\
         # IDX   -R-  -G-  -B-  -A--  VIS MSH  LABEL\n\
         ################################################\n\
         {:5} {:5} {:4} {:4} {:8} {:2} {:2}    \"Clear Label\"\n",
        0, 0, 0, 0, 0, 0, 0
    );
    for class in classes.classes() {
        let [r, g, b] = class.colour;
        let name = plain(&class.name).replace('"', "'");
        // Writing into a string cannot fail.
        let _ = writeln!(
            text,
            "{:5} {r:5} {g:4} {b:4} {:8} {:2} {:2}    \"{name}\"",
            class.label, 1, 1, 1
        );
    }
    text
}

/// 3D Slicer's colour table (`.ctbl`), whose names have no spaces.
pub fn slicer(classes: &ClassTable) -> String {
    let count = classes.classes().len() + 1;
    let mut text =
        format!("# Color table file\n# {NOTICE}\n# {count} values\n0 Background 0 0 0 0\n");
    for class in classes.classes() {
        let [r, g, b] = class.colour;
        let name = plain(&class.name).replace(' ', "_");
        // Writing into a string cannot fail.
        let _ = writeln!(text, "{} {name} {r} {g} {b} 255", class.label);
    }
    text
}

/// Caret's label table as XML.
pub(crate) fn caret(classes: &ClassTable) -> String {
    let mut text = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<CaretExtension>\n\
                    <VolumeInformation Index=\"0\">\n<LabelTable>\n"
        .to_owned();
    let share = |v: u8| f64::from(v) / 255.0;
    for class in classes.classes() {
        let [r, g, b] = class.colour.map(share);
        // The section that holds a name would end at this.
        let name = plain(&class.name).replace("]]>", "]] >");
        // Writing into a string cannot fail.
        let _ = writeln!(
            text,
            "<Label Key=\"{}\" Red=\"{r:.4}\" Green=\"{g:.4}\" Blue=\"{b:.4}\" Alpha=\"1\"><![CDATA[{name}]]></Label>",
            class.label
        );
    }
    text + "</LabelTable>\n<StudyMetaDataLinkSet>\n</StudyMetaDataLinkSet>\n\
            <VolumeType><![CDATA[Label]]></VolumeType>\n</VolumeInformation>\n</CaretExtension>\n"
}

/// A name without line breaks and other control characters.
fn plain(name: &str) -> String {
    let shown = |c: char| if c.is_control() { ' ' } else { c };
    let name: String = name.trim().chars().map(shown).collect();
    if name.is_empty() {
        "unnamed".into()
    } else {
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Class;

    fn table() -> ClassTable {
        let class = |label, name: &str| Class {
            label,
            name: name.into(),
            colour: [216, 101, 79],
            category: None,
            kind: None,
        };
        ClassTable::new(vec![class(2, "left \"kidney\"\n]]>"), class(117, "")]).unwrap()
    }

    #[test]
    fn names_cannot_break_a_table() {
        let snap = itk_snap(&table());
        let lines: Vec<&str> = snap.lines().filter(|l| !l.starts_with('#')).collect();
        assert_eq!(lines.len(), 3);
        assert_eq!(
            lines[1].split_whitespace().collect::<Vec<_>>(),
            [
                "2", "216", "101", "79", "1", "1", "1", "\"left", "'kidney'", "]]>\""
            ]
        );
        let slicer = slicer(&table());
        let lines: Vec<&str> = slicer.lines().filter(|l| !l.starts_with('#')).collect();
        assert_eq!(
            lines,
            [
                "0 Background 0 0 0 0",
                "2 left_\"kidney\"_]]> 216 101 79 255",
                "117 unnamed 216 101 79 255"
            ]
        );
        assert_eq!(caret(&table()).matches("]]>").count(), 3);
    }
}
