//! Every model's parameter count and feature maps against those of timm and of the published
//! benchmark (`params.csv`), and of the reference volumetric networks.

use std::fmt::Debug;

use slicewise_graph::{Role, cost};
use slicewise_zoo::{Form, Options, build, encoder_names, model_names};

const TABLE: &str = include_str!("params.csv");

/// The volumetric networks' parameters at 117 classes. TotalSegmentator's and STU-Net-S's are the
/// published ones; the others are counted in the PyTorch implementation (`tools/reference`).
const VOLUMETRIC: [(&str, u64); 5] = [
    ("totalsegmentator", 31_288_169),
    ("stunet_s", 14_602_953),
    ("stunet_b", 58_274_633),
    ("stunet_l", 440_326_473),
    ("stunet_h", 1_457_361_993),
];

/// The table's columns that hold parameter counts: form, what follows the encoder, classes.
#[rustfmt::skip]
const COUNTS: [(&str, Form, &str, usize); 7] = [
    ("params_train", Form::Train, "", 1000),
    ("params_deploy", Form::Deploy, "", 1000),
    ("encoder_params_deploy", Form::Deploy, "+features", 1),
    ("fpn_params_1class", Form::Deploy, "+fpn", 1),
    ("fpn_params_117class", Form::Deploy, "+fpn", 117),
    ("unet_params_1class", Form::Deploy, "+unet", 1),
    ("unet_params_117class", Form::Deploy, "+unet", 117),
];

/// One encoder's line of the table.
struct Row {
    encoder: &'static str,
    cells: Vec<(&'static str, &'static str)>,
}

impl Row {
    /// The cell of a column; empty where the encoder has no such model.
    fn cell(&self, column: &str) -> &'static str {
        let cell = self.cells.iter().find(|(name, _)| *name == column);
        cell.map_or("", |(_, value)| value)
    }
}

fn rows() -> Vec<Row> {
    let mut lines = TABLE.lines();
    let header: Vec<&str> = lines.next().expect("a header").split(',').collect();
    lines
        .map(|line| {
            let cells: Vec<_> = header.iter().copied().zip(line.split(',')).collect();
            Row {
                encoder: cells[0].1,
                cells,
            }
        })
        .collect()
}

fn parameters(model: &str, options: &Options) -> Result<u64, String> {
    let graph = build(model, options).map_err(|e| e.to_string())?;
    Ok(cost::total(&graph).parameters)
}

/// What was found to differ, all of it reported at the end.
#[derive(Default)]
struct Failures(Vec<String>);

impl Failures {
    fn compare<T: PartialEq + Debug>(&mut self, what: &str, got: T, want: T) {
        if got != want {
            self.0
                .push(format!("{what}: got {got:?}, expected {want:?}"));
        }
    }

    fn assert_none(self) {
        let n = self.0.len();
        assert!(n == 0, "{n} differ:\n{}", self.0.join("\n"));
    }
}

#[test]
fn every_encoder_has_the_tables_parameters_alone_and_with_each_decoder() {
    let mut failures = Failures::default();
    let mut compared = 0;
    for row in rows() {
        for (column, form, suffix, classes) in COUNTS {
            let cell = row.cell(column);
            if cell.is_empty() {
                continue;
            }
            let model = format!("{}{suffix}", row.encoder);
            let options = Options::default().form(form).classes(classes);
            let want = cell.parse().map_err(|_| format!("the cell '{cell}'"));
            let what = format!("{model}, {column}");
            failures.compare(&what, parameters(&model, &options), want);
            compared += 1;
        }
    }
    failures.compare("cells compared", compared, 52 * 2 + 3 * 49 + 2 * 43);
    failures.assert_none();
}

#[test]
fn every_encoder_has_the_tables_feature_maps_in_both_forms() {
    let mut failures = Failures::default();
    for row in rows() {
        let numbers = |column: &str| -> Vec<usize> {
            let cell = row.cell(column).split(' ');
            cell.map(|n| n.parse().expect("a number")).collect()
        };
        let (channels, strides) = (numbers("feature_channels"), numbers("feature_strides"));
        let levels = channels.iter().zip(&strides);
        let want: Vec<Vec<usize>> = levels
            .map(|(&c, &s)| vec![1, c, 512 / s, 512 / s])
            .collect();
        for form in [Form::Train, Form::Deploy] {
            let model = format!("{}+features", row.encoder);
            let options = Options::default().size(&[512, 512]).form(form);
            let got = build(&model, &options).map_err(|e| e.to_string()).map(|g| {
                let outputs = g.outputs().iter();
                outputs
                    .map(|&o| g.node(o).shape.sizes().unwrap_or_default())
                    .collect::<Vec<_>>()
            });
            failures.compare(&format!("{model}, {form:?}"), got, Ok(want.clone()));
        }
    }
    failures.assert_none();
}

#[test]
fn the_table_and_the_zoo_have_the_same_models_in_the_same_order() {
    let rows = rows();
    let encoders: Vec<&str> = rows.iter().map(|r| r.encoder).collect();
    assert_eq!(encoder_names(), encoders);
    let mut models: Vec<String> = encoders.iter().map(|e| (*e).to_owned()).collect();
    for decoder in ["fpn", "unet"] {
        let has = |r: &&Row| !r.cell(&format!("{decoder}_params_117class")).is_empty();
        let with = |r: &Row| format!("{}+{decoder}", r.encoder);
        models.extend(rows.iter().filter(has).map(with));
    }
    models.extend(VOLUMETRIC.iter().map(|(name, _)| (*name).to_owned()));
    assert_eq!(model_names(), models);
}

#[test]
fn volumetric_networks_have_the_published_parameters() {
    let mut failures = Failures::default();
    for (model, want) in VOLUMETRIC {
        let got = parameters(model, &Options::default().classes(117));
        failures.compare(model, got, Ok(want));
    }
    failures.assert_none();
}

#[test]
fn no_model_has_weights_before_they_are_loaded() {
    for model in model_names() {
        let Ok(graph) = build(&model, &Options::default()) else {
            continue; // reported by the tests above
        };
        for (node, parameter) in graph.parameters() {
            let computed = parameter.role == Role::Constant;
            assert_eq!(parameter.data.is_some(), computed, "{model}: {}", node.name);
        }
    }
}
