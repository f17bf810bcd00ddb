//! Tables as CSV files, under the columns of the benchmark that slicewise reproduces.
//!
//! Two columns say more than the original's: "Memory (MB/img)" there is the size of the parameters
//! (bytes / 2²⁰), here the most memory that a process held which only ran that arm; and "Mode" there
//! is a mode of PyTorch, here engine and precision. A suite whose original has no such column
//! gets one file per mode.

mod wide;

use crate::record::{Arm, Record, Status};
use crate::suite::Suite;

/// A table's columns.
type Columns = &'static [(&'static str, fn(&Arm) -> String)];

const QUICK: Columns = &[
    ("Model", |a| a.model.clone()),
    ("Type", |a| a.dimensions.clone()),
    ("Mode", Arm::mode),
    ("Threads", |a| a.threads.to_string()),
    ("Params (M)", |a| millions(a.parameters)),
    ("MACs (G)", |a| number(a.macs.map(|m| m as f64 / 1e9))),
    ("Time (ms)", time),
    ("Throughput (img/s)", throughput),
    ("Efficiency (img/s/M)", |a| number(a.efficiency())),
    ("Memory (MB/img)", memory),
];

const ENCODERS: Columns = &[
    ("Model", |a| a.model.clone()),
    ("Mode", Arm::mode),
    ("Params (M)", |a| millions(a.parameters)),
    ("Throughput (img/s)", throughput),
    ("Memory (MB/img)", memory),
];

const DECODER: Columns = &[
    ("Encoder", |a| encoder(a).to_owned()),
    ("Total Params (M)", |a| millions(a.parameters)),
    ("Encoder Params (M)", |a| millions(a.encoder_parameters)),
    ("Throughput (img/s)", throughput),
    ("Memory (MB/img)", memory),
    ("Efficiency (img/s/M)", |a| number(a.efficiency())),
];

const COMBINED: Columns = &[
    ("encoder_name", |a| encoder(a).to_owned()),
    ("decoder_type", |a| match decoder(a) {
        Some("fpn") => "FPN".into(),
        Some("unet") => "UNet".into(),
        other => other.unwrap_or("-").to_owned(),
    }),
    ("total_params_m", |a| millions(a.parameters)),
    ("encoder_params_m", |a| millions(a.encoder_parameters)),
    ("decoder_params_m", |a| {
        let both = a.parameters.zip(a.encoder_parameters);
        millions(both.and_then(|(all, encoder)| all.checked_sub(encoder)))
    }),
    ("throughput", throughput),
    ("memory_mb", memory),
];

const TWO_VS_THREE: Columns = &[
    ("Model", |a| match decoder(a) {
        Some(d) => format!("{} + {}", encoder(a), d.to_uppercase()),
        None => a.model.clone(),
    }),
    ("Encoder", |a| match decoder(a) {
        Some(_) => encoder(a).to_owned(),
        None => "-".into(),
    }),
    ("Decoder", |a| match decoder(a) {
        Some(d) => d.to_uppercase(),
        None => a.dimensions.clone(),
    }),
    ("Type", |a| a.dimensions.clone()),
    ("Params (M)", |a| millions(a.parameters)),
    ("Time (ms)", time),
    ("Throughput (vol/s)", throughput),
    ("Equiv Throughput (img/s)", |a| {
        number(a.equivalent_images())
    }),
];

/// What a whole scan costs, beside the original's table of single runs.
const SCAN: Columns = &[
    ("Model", |a| a.model.clone()),
    ("Mode", Arm::mode),
    ("Threads", |a| a.threads.to_string()),
    ("Type", |a| a.dimensions.clone()),
    ("Runs per scan", |a| {
        a.scan.map(|s| s.runs.to_string()).unwrap_or_default()
    }),
    ("Time per run (ms)", time),
    ("Network time per scan (s)", |a| {
        number(a.scan.map(|s| s.network_seconds))
    }),
    ("End-to-end time per scan (s)", |a| {
        match a.scan.and_then(|s| s.end_to_end_seconds) {
            Some(seconds) => seconds.to_string(),
            None => "not measured".into(),
        }
    }),
];

/// The files of a record: name and contents. Measured arms only, in the record's order.
pub fn files(record: &Record) -> Vec<(String, String)> {
    let suite: Suite = record.suite.parse().unwrap_or_default();
    let measured = |a: &&Arm| a.status == Status::Measured && a.statistics.is_some();
    let arms: Vec<&Arm> = record.arms.iter().filter(measured).collect();
    match suite {
        Suite::Quick => vec![("quick.csv".into(), table(QUICK, &arms))],
        Suite::Encoders => vec![
            ("encoders.csv".into(), table(ENCODERS, &arms)),
            ("encoders-comparison.csv".into(), wide::encoders(&arms)),
        ],
        Suite::Quantization => vec![
            ("quantization.csv".into(), wide::quantization(&arms)),
            ("quantization-all.csv".into(), table(QUICK, &arms)),
        ],
        Suite::Fpn | Suite::Unet => by_mode(suite, DECODER, &arms),
        Suite::Combined => by_mode(suite, COMBINED, &arms),
        Suite::TwoVsThree => {
            let mut files = by_mode(suite, TWO_VS_THREE, &arms);
            files.push(("2d-vs-3d-scan.csv".into(), table(SCAN, &arms)));
            files
        }
    }
}

/// One file for each mode, where the original has no column for it.
fn by_mode(suite: Suite, columns: Columns, arms: &[&Arm]) -> Vec<(String, String)> {
    let mut modes: Vec<String> = Vec::new();
    for arm in arms {
        let mode = file_mode(arm);
        if !modes.contains(&mode) {
            modes.push(mode);
        }
    }
    modes
        .into_iter()
        .map(|mode| {
            let of_mode = arms.iter().copied().filter(|a| file_mode(a) == mode);
            let arms: Vec<&Arm> = of_mode.collect();
            (format!("{suite}-{mode}.csv"), table(columns, &arms))
        })
        .collect()
}

/// How an arm's mode is written in a file's name: `native-f32-2t`.
fn file_mode(arm: &Arm) -> String {
    let streams = match arm.streams {
        0 | 1 => String::new(),
        n => format!("{n}x"),
    };
    format!("{}-{}-{streams}{}t", arm.engine, arm.precision, arm.threads)
}

fn table(columns: Columns, arms: &[&Arm]) -> String {
    let header: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
    let mut text = header.join(",") + "\n";
    for arm in arms {
        text += &line(columns.iter().map(|(_, cell)| cell(arm)));
    }
    text
}

/// A line of cells as RFC 4180 wants them.
fn line(cells: impl IntoIterator<Item = String>) -> String {
    let cells: Vec<String> = cells.into_iter().map(quote).collect();
    cells.join(",") + "\n"
}

fn quote(cell: String) -> String {
    if cell.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", cell.replace('"', "\"\""))
    } else {
        cell
    }
}

fn number(value: Option<f64>) -> String {
    value.map(|v| v.to_string()).unwrap_or_default()
}

fn millions(parameters: Option<u64>) -> String {
    number(parameters.map(|p| p as f64 / 1e6))
}

fn throughput(arm: &Arm) -> String {
    number(arm.throughput)
}

fn time(arm: &Arm) -> String {
    number(arm.statistics.map(|s| s.median_ms))
}

fn memory(arm: &Arm) -> String {
    let batch = arm.batch() as f64;
    number(
        arm.peak_rss_bytes
            .map(|b| b as f64 / f64::from(1 << 20) / batch),
    )
}

fn encoder(arm: &Arm) -> &str {
    arm.model.split_once('+').map_or(&arm.model, |(e, _)| e)
}

fn decoder(arm: &Arm) -> Option<&str> {
    arm.model.split_once('+').map(|(_, d)| d)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::sample;

    /// The first lines of the original's result files.
    const ORIGINAL: &[(Suite, &str)] = &[
        (
            Suite::Encoders,
            "Model,Mode,Params (M),Throughput (img/s),Memory (MB/img)",
        ),
        (
            Suite::Fpn,
            "Encoder,Total Params (M),Encoder Params (M),Throughput (img/s),Memory (MB/img),Efficiency (img/s/M)",
        ),
        (
            Suite::Unet,
            "Encoder,Total Params (M),Encoder Params (M),Throughput (img/s),Memory (MB/img),Efficiency (img/s/M)",
        ),
        (
            Suite::Combined,
            "encoder_name,decoder_type,total_params_m,encoder_params_m,decoder_params_m,throughput,memory_mb",
        ),
        (
            Suite::TwoVsThree,
            "Model,Encoder,Decoder,Type,Params (M),Time (ms),Throughput (vol/s),Equiv Throughput (img/s)",
        ),
        (
            Suite::Quantization,
            "encoder,params,pt_baseline,pt_autocast,pt_compiled,ort_fp32,ort_int8,baseline_throughput,autocast_throughput,compiled_throughput,ort_fp32_throughput,ort_int8_throughput",
        ),
    ];

    fn of(suite: Suite) -> Vec<(String, String)> {
        let mut record = sample();
        record.suite = suite.name().into();
        files(&record)
    }

    #[test]
    fn headers_are_those_of_the_original() {
        for (suite, want) in ORIGINAL {
            let (name, text) = &of(*suite)[0];
            assert_eq!(text.lines().next(), Some(*want), "{name}");
        }
        let comparison = &of(Suite::Encoders)[1];
        assert_eq!(
            comparison.1.lines().next(),
            Some("Model,baseline,autocast,compile,autocast+compile,Speedup (ac+c vs base)")
        );
    }

    #[test]
    fn rows_hold_what_was_measured() {
        let cases = [
            (
                Suite::Quick,
                "quick.csv",
                "fast+fpn,2D,native f32,2,2,3,10,100,50,100",
            ),
            (
                Suite::Encoders,
                "encoders.csv",
                "fast+fpn,native f32,2,100,100",
            ),
            (Suite::Fpn, "fpn-native-f32-2t.csv", "fast,2,1.5,100,100,50"),
            (
                Suite::Combined,
                "combined-native-f32-2t.csv",
                "fast,FPN,2,1.5,0.5,100,100",
            ),
            (
                Suite::TwoVsThree,
                "2d-vs-3d-native-f32-2t.csv",
                "fast + FPN,fast,FPN,2D,2,10,100,1.5625",
            ),
        ];
        for (suite, file, row) in cases {
            let files = of(suite);
            assert_eq!(files[0].0, file);
            let lines: Vec<_> = files[0].1.lines().collect();
            assert_eq!(lines[2], row, "{suite}");
            assert_eq!(lines.len(), 3, "the arm that was not run has no row");
        }
    }

    #[test]
    fn a_volume_of_the_original_counts_four_images() {
        let mut record = sample();
        record.suite = Suite::TwoVsThree.name().into();
        let arm = &mut record.arms[1];
        arm.model = "stunet_s".into();
        arm.dimensions = "3D".into();
        arm.input = vec![1, 1, 128, 128, 64];
        let text = &files(&record)[0].1;
        assert!(text.contains("\nstunet_s,-,3D,3D,2,10,100,400\n"), "{text}");
    }

    #[test]
    fn a_scan_has_its_own_table_and_nothing_in_it_is_guessed() {
        let mut record = sample();
        record.suite = Suite::TwoVsThree.name().into();
        crate::scan::apply(&mut record);
        let (name, text) = files(&record).pop().unwrap();
        assert_eq!(name, "2d-vs-3d-scan.csv");
        assert!(
            text.contains("\nfast+fpn,native f32,2,2D,300,10,3,not measured\n"),
            "{text}"
        );
    }

    #[test]
    fn a_wrong_arm_is_in_no_table() {
        let mut record = sample();
        record.arms[1].status = Status::Wrong;
        assert!(!files(&record)[0].1.contains("fast+fpn"));
    }

    #[test]
    fn each_mode_has_its_file_where_the_original_has_no_column_for_it() {
        let mut record = sample();
        record.suite = "unet".into();
        record.arms[1].engine = "openvino".into();
        record.arms[1].streams = 4;
        let names: Vec<_> = files(&record).into_iter().map(|f| f.0).collect();
        assert_eq!(
            names,
            ["unet-native-f32-2t.csv", "unet-openvino-f32-4x2t.csv"]
        );
    }

    #[test]
    fn cells_with_commas_and_quotes_are_quoted() {
        assert_eq!(quote("a,\"b\"".into()), "\"a,\"\"b\"\"\"");
        assert_eq!(quote("a b".into()), "a b");
    }
}
