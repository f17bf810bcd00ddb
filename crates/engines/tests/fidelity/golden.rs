//! The golden files: samples of the reference's outputs.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::Path;

use safetensors::SafeTensors;
use slicewise_graph::Tensor;

/// Where PyTorch's own f32 output is further than this from its f64 output (relative to the range), the
/// network magnifies rounding, and folding its batch norms alone may move it by more than is allowed.
const ILL_CONDITIONED: f64 = 1e-5;

/// The golden cases of one encoder or volumetric network.
pub(crate) struct Golden {
    /// Its name.
    pub(crate) name: String,
    /// What the fill's weights are multiplied by.
    pub(crate) gain: f32,
    /// The outputs.
    pub(crate) cases: Vec<Case>,
}

/// Samples of one output.
pub(crate) struct Case {
    /// `classifier`, `features.0`, `fpn`, `unet` or `volume`.
    pub(crate) label: String,
    /// The input's spatial sizes.
    pub(crate) size: Vec<usize>,
    shape: Vec<usize>,
    range: f64,
    f32_error: f64,
    samples: Vec<f32>,
}

impl Golden {
    /// All of them, by name. Networks that the plain fill makes chaotic are there twice; of those,
    /// ill-conditioned cases are compared under the gentle fill alone.
    pub(crate) fn all() -> Vec<Golden> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
        let mut paths = Vec::new();
        for folder in [folder.clone(), folder.join("gentle")] {
            let files = fs::read_dir(&folder).expect("golden files are committed");
            paths.extend(files.map(|f| f.expect("it can be listed").path()));
        }
        paths.retain(|p| p.extension().is_some_and(|e| e == "safetensors"));
        paths.sort();
        let mut all: Vec<Golden> = paths.iter().map(|path| Golden::read(path)).collect();
        let gentle = all.iter().filter(|g| g.gain != 1.0);
        let gentle: HashSet<_> = gentle.flat_map(Golden::keys).collect();
        for golden in all.iter_mut().filter(|g| g.gain == 1.0) {
            let name = golden.name.clone();
            golden.cases.retain(|case| {
                case.f32_error <= ILL_CONDITIONED || !gentle.contains(&case.key(&name))
            });
        }
        all
    }

    fn keys(&self) -> Vec<String> {
        self.cases.iter().map(|case| case.key(&self.name)).collect()
    }

    fn read(path: &Path) -> Golden {
        let name = path
            .file_stem()
            .and_then(|n| n.to_str())
            .expect("a name in UTF-8");
        let bytes = fs::read(path).expect("it can be read");
        let (_, header) = SafeTensors::read_metadata(&bytes).expect("a safetensors file");
        let facts = header.metadata().clone().expect("metadata");
        let tensors = SafeTensors::deserialize(&bytes).expect("a safetensors file");
        let cases = tensors.iter().map(|(case, view)| {
            let samples = view.data().chunks_exact(4);
            let samples = samples.map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
            Case::new(name, case, samples.collect(), &facts)
        });
        let gain = facts.get("weight_gain");
        Golden {
            name: name.to_owned(),
            gain: gain.map_or(1.0, |g| g.parse().expect("a number")),
            cases: cases.collect(),
        }
    }
}

impl Case {
    fn new(file: &str, case: &str, samples: Vec<f32>, facts: &HashMap<String, String>) -> Case {
        let fact = |key: &str| {
            let value = facts.get(&format!("{case}.{key}"));
            value.unwrap_or_else(|| panic!("{file}: {case} has no {key}"))
        };
        let number = |key: &str| fact(key).parse::<f64>().expect("a number");
        let sizes = |text: &str, by: char| -> Vec<usize> {
            text.split(by).map(|n| n.parse().expect("a size")).collect()
        };
        let (label, size) = case.split_once('@').expect("label@size");
        assert!(!samples.is_empty(), "{file}: {case} is empty");
        Case {
            label: label.to_owned(),
            size: sizes(size, 'x'),
            shape: sizes(fact("shape"), ','),
            range: number("max") - number("min"),
            f32_error: number("f32_error"),
            samples,
        }
    }

    fn key(&self, file: &str) -> String {
        format!("{file} {}@{}", self.label, self.size_text())
    }

    /// `64x96`
    pub(crate) fn size_text(&self) -> String {
        let sizes: Vec<String> = self.size.iter().map(usize::to_string).collect();
        sizes.join("x")
    }

    /// Which output of the run it is.
    pub(crate) fn level(&self) -> usize {
        let level = self.label.split_once('.').map(|(_, level)| level);
        level.map_or(0, |l| l.parse().expect("a level"))
    }

    /// The largest difference at the sampled positions, as a part of the whole output's range.
    pub(crate) fn error(&self, output: &Tensor) -> Result<f64, String> {
        if output.shape() != self.shape {
            let (got, want) = (output.shape(), &self.shape);
            return Err(format!(
                "'{}' is {got:?}, the reference's {want:?}",
                self.label
            ));
        }
        let values = output.as_f32().ok_or("the output is not f32")?;
        let mut worst = 0f64;
        for (i, want) in self.samples.iter().enumerate() {
            let got = values[i * values.len() / self.samples.len()];
            let error = f64::from(got - want).abs();
            // `max` would pass over a NaN.
            worst = if error.is_nan() {
                f64::NAN
            } else {
                error.max(worst)
            };
            if worst.is_nan() {
                break;
            }
        }
        Ok(worst / self.range)
    }
}
