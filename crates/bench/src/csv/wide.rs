//! Tables with a column for each mode: the original's comparison of PyTorch's modes, and its table of 8-bit
//! integers. A mode that was not measured is an empty cell.

use super::{encoder, line, millions, number};
use crate::record::Arm;

/// Where a column's figure comes from: engine and precision.
type Mode = (&'static str, &'static str);

const BASELINE: Mode = ("torch", "f32");
const AUTOCAST: Mode = ("torch", "bf16");
const COMPILE: Mode = ("torch-compile", "f32");
const BOTH: Mode = ("torch-compile", "bf16");

/// The original's "compiled" is both autocast and `torch.compile`: it speeds its networks up as much as both
/// do in its other tables, and more than the compiler alone.
const QUANTIZATION: [(&str, Mode); 5] = [
    ("pt_baseline", BASELINE),
    ("pt_autocast", AUTOCAST),
    ("pt_compiled", BOTH),
    ("ort_fp32", ("onnxruntime", "f32")),
    ("ort_int8", ("onnxruntime", "int8")),
];

const ENCODERS: [(&str, Mode); 4] = [
    ("baseline", BASELINE),
    ("autocast", AUTOCAST),
    ("compile", COMPILE),
    ("autocast+compile", BOTH),
];

/// Seconds and images per second of each mode, one line for each encoder and number of threads.
pub(super) fn quantization(arms: &[&Arm]) -> String {
    let plain = |name: &str| name.trim_start_matches("pt_").to_owned() + "_throughput";
    let names = QUANTIZATION.iter().map(|(name, _)| (*name).to_owned());
    let header = ["encoder", "params"].map(str::to_owned).into_iter();
    let header = header
        .chain(names)
        .chain(QUANTIZATION.iter().map(|(name, _)| plain(name)));
    let mut text = line(header);
    for (first, of_model) in models(arms) {
        let figures = QUANTIZATION.map(|(_, mode)| throughput(&of_model, mode));
        let seconds = figures.map(|t| number(t.map(|t| 1.0 / t)));
        let start = [encoder(first).to_owned(), millions(first.parameters)];
        text += &line(start.into_iter().chain(seconds).chain(figures.map(number)));
    }
    text
}

/// Images per second of PyTorch's modes, and what both together gain.
pub(super) fn encoders(arms: &[&Arm]) -> String {
    let names = ENCODERS.iter().map(|(name, _)| *name);
    let header = std::iter::once("Model").chain(names);
    let header = header.chain(["Speedup (ac+c vs base)"]);
    let mut text = line(header.map(str::to_owned));
    for (first, of_model) in models(arms) {
        let figures = ENCODERS.map(|(_, mode)| throughput(&of_model, mode));
        if figures.iter().all(Option::is_none) {
            continue;
        }
        let speedup = figures[3].zip(figures[0]).map(|(both, base)| both / base);
        let cells = figures.map(number).into_iter().chain([number(speedup)]);
        text += &line(std::iter::once(first.model.clone()).chain(cells));
    }
    text
}

/// The arms of each model and number of threads, in the record's order.
fn models<'a>(arms: &[&'a Arm]) -> Vec<(&'a Arm, Vec<&'a Arm>)> {
    let mut models: Vec<(&Arm, Vec<&Arm>)> = Vec::new();
    for &arm in arms {
        let same = |m: &&mut (&Arm, Vec<&Arm>)| {
            (&m.0.model, m.0.threads, m.0.streams) == (&arm.model, arm.threads, arm.streams)
        };
        match models.iter_mut().find(same) {
            Some(model) => model.1.push(arm),
            None => models.push((arm, vec![arm])),
        }
    }
    models
}

fn throughput(arms: &[&Arm], (engine, precision): Mode) -> Option<f64> {
    let is = |a: &&&Arm| a.engine == engine && a.precision == precision;
    arms.iter().find(is)?.throughput
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arm(model: &str, engine: &str, precision: &str, per_second: f64) -> Arm {
        Arm {
            model: model.into(),
            engine: engine.into(),
            precision: precision.into(),
            throughput: Some(per_second),
            parameters: Some(2_000_000),
            ..Arm::default()
        }
    }

    #[test]
    fn modes_that_were_not_measured_are_empty() {
        let arms = [
            arm("a+fpn", "onnxruntime", "f32", 10.0),
            arm("a+fpn", "native", "f32", 99.0),
            arm("b+fpn", "torch", "f32", 4.0),
        ];
        let text = quantization(&arms.iter().collect::<Vec<_>>());
        let lines: Vec<_> = text.lines().skip(1).collect();
        assert_eq!(lines, ["a,2,,,,0.1,,,,,10,", "b,2,0.25,,,,,4,,,,"]);
    }

    #[test]
    fn the_compilers_gain_is_that_over_eager_f32() {
        let arms = [
            arm("a", "torch", "f32", 10.0),
            arm("a", "torch-compile", "bf16", 25.0),
            arm("b", "native", "f32", 25.0),
        ];
        let text = encoders(&arms.iter().collect::<Vec<_>>());
        let lines: Vec<_> = text.lines().skip(1).collect();
        assert_eq!(lines, ["a,10,,,25,2.5"]);
    }
}
