//! Arms that did the same work and can be compared, and the series that plots show of them.

use super::Report;
use super::plot::{Mark, Shape};
use super::row::Row;

/// Arms with the same work: the same kind of input, of output and of head.
#[derive(Clone, PartialEq, Debug)]
pub struct Group {
    /// The work in words.
    pub title: String,
    /// A short name for files and links: the suite's.
    pub slug: String,
    /// All arms, measured or not, in the records' order.
    pub rows: Vec<Row>,
    /// What the arms ran on, in order of appearance.
    pub series: Vec<Series>,
}

/// A way of running models: engine, precision, threads and streams, record.
#[derive(Clone, PartialEq, Debug)]
pub struct Series {
    /// Its name: as short as is unambiguous in the group.
    pub label: String,
    pub(super) mark: Mark,
    key: Key,
}

/// Engine, precision, allotment, record.
type Key = (String, String, String, usize);

fn key(row: &Row) -> Key {
    (
        row.engine.clone(),
        row.precision.clone(),
        row.allotment(),
        row.record,
    )
}

impl Group {
    /// All groups of a report, in the order of the records.
    pub(super) fn all(report: &Report) -> Vec<Group> {
        let mut groups: Vec<Group> = Vec::new();
        for (index, (_, record)) in report.records().enumerate() {
            for row in Row::all(index, record) {
                let same =
                    |g: &&mut Group| g.rows.first().is_some_and(|first| same_work(first, &row));
                match groups.iter_mut().find(same) {
                    Some(group) => group.rows.push(row),
                    None => {
                        let slug = unused(&slug(&record.suite), &groups);
                        groups.push(Group {
                            title: title(&row),
                            slug,
                            rows: vec![row],
                            series: Vec::new(),
                        });
                    }
                }
            }
        }
        for group in &mut groups {
            group.series = series(&group.rows, &report.labels());
        }
        groups
    }

    /// The measured arms of a series, an index.
    pub fn of(&self, series: usize) -> impl Iterator<Item = &Row> {
        let key_of = self.series.get(series).map(|s| &s.key);
        self.measured().filter(move |r| Some(&key(r)) == key_of)
    }

    /// The measured arms.
    pub fn measured(&self) -> impl Iterator<Item = &Row> + Clone {
        self.rows.iter().filter(|r| r.is_measured())
    }

    /// The series of an arm, an index.
    pub fn series_of(&self, row: &Row) -> Option<usize> {
        let of_row = key(row);
        self.series.iter().position(|s| s.key == of_row)
    }

    /// The models with figures, the fastest first.
    pub fn models(&self) -> Vec<&str> {
        let mut best: Vec<(&str, f64)> = Vec::new();
        for row in self.measured() {
            let speed = row.speed.unwrap_or(0.0);
            match best.iter_mut().find(|(m, _)| *m == row.model) {
                Some(known) => known.1 = known.1.max(speed),
                None => best.push((&row.model, speed)),
            }
        }
        best.sort_by(|a, b| b.1.total_cmp(&a.1));
        best.into_iter().map(|(m, _)| m).collect()
    }

    /// Whether inputs were all there at once and worked on in several streams.
    pub fn is_offline(&self) -> bool {
        self.rows.first().is_some_and(|r| r.streams > 1)
    }

    /// What is counted per second.
    pub fn unit(&self) -> &'static str {
        self.rows.first().map_or("img", Row::unit)
    }
}

fn same_work(a: &Row, b: &Row) -> bool {
    (a.volume, a.streams > 1, &a.task, &a.input, a.classes)
        == (b.volume, b.streams > 1, &b.task, &b.input, b.classes)
}

fn title(row: &Row) -> String {
    let kind = if row.volume { "Volumes" } else { "Images" };
    let sizes: Vec<String> = row.input.iter().skip(1).map(usize::to_string).collect();
    let what = match row.task.as_str() {
        "labels" => "to label maps",
        "logits" => "to class scores",
        other => return format!("{kind}, {other}"),
    };
    let classes = row.classes.map_or(String::new(), |c| match c {
        1 => " of one class".to_owned(),
        c => format!(" of {c} classes"),
    });
    let offline = if row.streams > 1 {
        ", all there at once"
    } else {
        ""
    };
    format!("{kind} of {} {what}{classes}{offline}", sizes.join(" × "))
}

/// A foreign name as the stem of a file's name.
pub(super) fn slug(name: &str) -> String {
    let kept = name.chars().take(40).map(|c| match c.to_ascii_lowercase() {
        c if c.is_ascii_alphanumeric() => c,
        _ => '-',
    });
    let text: String = kept.collect();
    match text.trim_matches('-') {
        "" => "record".into(),
        text => text.to_owned(),
    }
}

fn unused(slug: &str, groups: &[Group]) -> String {
    let taken = |name: &str| groups.iter().any(|g| g.slug == name);
    let numbered = (2..).map(|n| format!("{slug}-{n}"));
    let names = std::iter::once(slug.to_owned()).chain(numbered);
    names.into_iter().find(|n| !taken(n)).unwrap_or_default()
}

fn series(rows: &[Row], labels: &[String]) -> Vec<Series> {
    let mut keys: Vec<Key> = Vec::new();
    for row in rows.iter().filter(|r| r.is_measured()) {
        let key = key(row);
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    let work = keys.iter().any(|k| k.2 != keys[0].2);
    let records = keys.iter().any(|k| k.3 != keys[0].3);
    (keys.iter().enumerate())
        .map(|(i, key)| {
            let mut label = format!("{} {}", key.0, key.1);
            if work {
                label += &format!(", {}", key.2);
            }
            if records {
                label += &format!(" ({})", labels.get(key.3).map_or("?", |l| l));
            }
            let level = keys[..i].iter().filter(|k| k.0 == key.0).count();
            Series {
                label,
                mark: Mark {
                    shape: Shape::Bar,
                    colour: engine_colour(&key.0),
                    fill: ["", "level1", "level2"][level.min(2)],
                },
                key: key.clone(),
            }
        })
        .collect()
}

/// The marker of an engine that is alone of its kind.
pub(super) fn engine_mark(engine: &str) -> Mark {
    Mark {
        shape: Shape::Bar,
        colour: engine_colour(engine),
        fill: "",
    }
}

/// The colour of an engine, the same in every report.
fn engine_colour(engine: &str) -> usize {
    match engine {
        "native" => 0,
        "onnxruntime" => 1,
        "openvino" => 3,
        "torch" => 2,
        "torch-compile" => 5,
        "tract" => 6,
        "rten" => 4,
        _ => 7,
    }
}

/// Colours and shapes of the families, the same in every report; sisters differ in both.
const FAMILIES: &[(&str, usize, Shape)] = &[
    ("mobilenetv4", 0, Shape::Circle),
    ("mobilenetv3", 4, Shape::Triangle),
    ("mobilenetv2", 7, Shape::Down),
    ("mobileone", 1, Shape::Square),
    ("regnetx", 2, Shape::Diamond),
    ("regnety", 6, Shape::Diamond),
    ("resnet", 3, Shape::Circle),
    ("repvgg", 5, Shape::Square),
    ("efficientnet", 5, Shape::Star),
    ("lcnet", 6, Shape::Triangle),
    ("tinynet", 7, Shape::Circle),
    ("ghostnetv2", 4, Shape::Hexagon),
    ("edgenext", 3, Shape::Down),
    ("convnext", 1, Shape::Hexagon),
    ("densenet", 2, Shape::Cross),
    ("vit", 0, Shape::Cross),
    ("poolformer", 7, Shape::Square),
    ("totalsegmentator", 5, Shape::Circle),
    ("stunet", 2, Shape::Circle),
];

/// The name of a family as a legend has it, and its marker.
pub(super) fn family(row: &Row) -> (String, Mark) {
    let known = FAMILIES
        .iter()
        .find(|f| !row.family.is_empty() && row.family.starts_with(f.0));
    let (name, colour, shape) = match known {
        Some((name, colour, shape)) => (*name, *colour, *shape),
        None => ("other", 7, Shape::Cross),
    };
    let mark = Mark {
        shape,
        colour,
        fill: "see",
    };
    (name.to_owned(), mark)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::sample;
    use crate::report::Source;

    #[test]
    fn every_family_of_the_zoo_has_a_marker_of_its_own() {
        for name in slicewise_zoo::model_names() {
            let family = slicewise_zoo::parse(&name).unwrap().family();
            assert!(FAMILIES.iter().any(|f| family.starts_with(f.0)), "{family}");
        }
        for (i, a) in FAMILIES.iter().enumerate() {
            assert!(
                FAMILIES[..i].iter().all(|b| (a.1, a.2) != (b.1, b.2)),
                "{}",
                a.0
            );
        }
    }

    #[test]
    fn only_what_did_the_same_work_is_compared() {
        let mut record = sample();
        record.arms[0].task = "logits".into();
        let mut later = sample();
        later.arms[1].threads = 1;
        let source =
            |name: &str, r: &crate::record::Record| Source::parse(name, &r.to_json()).unwrap();
        let report = Report::new(vec![source("a.json", &record), source("b.json", &later)]);
        let groups = Group::all(&report);
        let titles: Vec<_> = groups
            .iter()
            .map(|g| (g.title.as_str(), g.rows.len()))
            .collect();
        assert_eq!(
            titles,
            [
                ("Images of 3 × 64 × 64 to class scores of 117 classes", 1),
                ("Images of 3 × 64 × 64 to label maps of 117 classes", 5)
            ]
        );
        let labels: Vec<_> = groups[1].series.iter().map(|s| s.label.as_str()).collect();
        assert_eq!(
            labels,
            [
                "native f32, 2 threads (a)",
                "native f32, 2 threads (b)",
                "native f32, 1 thread (b)"
            ]
        );
        assert_eq!(groups[1].models(), ["fast+fpn", "slow+fpn"]);
        assert_eq!(
            (groups[0].slug.as_str(), groups[1].slug.as_str()),
            ("quick", "quick-2")
        );
    }

    #[test]
    fn a_suites_name_becomes_a_files_name() {
        assert_eq!(slug("2d-vs-3d"), "2d-vs-3d");
        assert_eq!(slug("../../etc/passwd"), "etc-passwd");
        assert_eq!(slug("\u{202e}"), "record");
    }
}
