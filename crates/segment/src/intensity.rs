//! From a scan's values to the numbers that a network was trained on.

use serde::{Deserialize, Serialize};

/// What a z-score's mean and deviation are taken over.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Every slice by itself.
    Slice,
    /// The whole scan, which is read twice for it.
    Scan,
}

/// How values become the network's input, in this order: clip, scale, z-score, then mean and deviation
/// of each channel. What is absent is left out. Values that are no numbers count as the lowest.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Intensity {
    /// The lowest and the highest value (HU for CT); what is beyond becomes them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip: Option<[f64; 2]>,
    /// Whether the clipped range becomes 0 to 1.
    pub unit: bool,
    /// Whether mean and standard deviation of the clipped values become 0 and 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub z_score: Option<Scope>,
    /// The mean that is taken from each channel, or from all if there is one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mean: Vec<f64>,
    /// What each channel is divided by then, or all if there is one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub std: Vec<f64>,
}

/// Windows with a name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Preset {
    /// -160 to 240 HU (level 40, width 400), to 0..1.
    CtSoftTissue,
    /// -1350 to 150 HU (level -600, width 1500), to 0..1.
    CtLung,
    /// -500 to 1300 HU (level 400, width 1800), to 0..1.
    CtBone,
    /// Every slice to mean 0 and deviation 1.
    ZScore,
    /// The soft tissue window with the statistics of ImageNet, for encoders that were trained on it.
    Imagenet,
}

/// The presets by name.
const PRESETS: [(&str, Preset); 5] = [
    ("ct-soft-tissue", Preset::CtSoftTissue),
    ("ct-lung", Preset::CtLung),
    ("ct-bone", Preset::CtBone),
    ("z-score", Preset::ZScore),
    ("imagenet", Preset::Imagenet),
];

impl Preset {
    /// What it does.
    pub fn intensity(self) -> Intensity {
        let window = |low, high| Intensity {
            clip: Some([low, high]),
            unit: true,
            ..Intensity::default()
        };
        match self {
            Preset::CtSoftTissue => window(-160.0, 240.0),
            Preset::CtLung => window(-1350.0, 150.0),
            Preset::CtBone => window(-500.0, 1300.0),
            Preset::ZScore => Intensity {
                z_score: Some(Scope::Slice),
                ..Intensity::default()
            },
            Preset::Imagenet => Intensity {
                mean: vec![0.485, 0.456, 0.406],
                std: vec![0.229, 0.224, 0.225],
                ..window(-160.0, 240.0)
            },
        }
    }
}

impl std::str::FromStr for Intensity {
    type Err = String;
    /// A preset's name, or `LOW:HIGH` for a window that becomes 0 to 1.
    fn from_str(text: &str) -> Result<Self, String> {
        if let Some((_, preset)) = PRESETS.iter().find(|(name, _)| *name == text) {
            return Ok(preset.intensity());
        }
        let names = PRESETS.map(|(name, _)| name).join(", ");
        let wrong = || format!("'{text}' is no window; there are: {names}, or LOW:HIGH in HU");
        let (low, high) = text.split_once(':').ok_or_else(wrong)?;
        let number = |t: &str| t.trim().parse::<f64>().map_err(|_| wrong());
        let intensity = Intensity {
            clip: Some([number(low)?, number(high)?]),
            unit: true,
            ..Intensity::default()
        };
        intensity.check(1).map(|()| intensity)
    }
}

/// Mean and standard deviation of values.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Moments {
    pub(crate) mean: f64,
    /// Of a population.
    pub(crate) std: f64,
}

/// Sums from which moments are made; they do not depend on how values are grouped into slices.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Sums {
    count: f64,
    sum: f64,
    squares: f64,
}

impl Sums {
    pub(crate) fn add(&mut self, values: &[f32]) {
        for value in values
            .iter()
            .map(|&v| f64::from(v))
            .filter(|v| v.is_finite())
        {
            self.count += 1.0;
            self.sum += value;
            self.squares += value * value;
        }
    }

    pub(crate) fn moments(&self) -> Moments {
        let mean = self.sum / self.count.max(1.0);
        let variance = self.squares / self.count.max(1.0) - mean * mean;
        Moments {
            mean,
            std: variance.max(0.0).sqrt(),
        }
    }
}

impl Intensity {
    /// Whether it makes sense for a network of `channels` channels; the error says what does not.
    pub fn check(&self, channels: usize) -> Result<(), String> {
        let finite = |v: &f64| v.is_finite();
        if let Some([low, high]) = self.clip
            && !(low.is_finite() && high.is_finite() && low < high)
        {
            return Err(format!("a window from {low} to {high} is empty"));
        }
        if self.unit && self.clip.is_none() {
            return Err("scaling to 0..1 needs a window".into());
        }
        for (name, list) in [("mean", &self.mean), ("std", &self.std)] {
            if !list.iter().all(finite) {
                return Err(format!("its {name} {list:?} is not of numbers"));
            }
            if ![0, 1, channels].contains(&list.len()) {
                return Err(format!(
                    "its {name} is of {} channels, the network has {channels}",
                    list.len()
                ));
            }
        }
        match self.std.contains(&0.0) {
            true => Err("its std holds 0".into()),
            false => Ok(()),
        }
    }

    /// Whether the whole scan's moments are needed beforehand.
    pub fn needs_scan(&self) -> bool {
        self.z_score == Some(Scope::Scan)
    }

    /// Clips values where they are.
    pub(crate) fn clip(&self, values: &mut [f32]) {
        if let Some([low, high]) = self.clip {
            let (low, high) = (low as f32, high as f32);
            // NaN fails the comparison and becomes the lowest.
            let clip = |v: f32| if v >= low { v.min(high) } else { low };
            values.iter_mut().for_each(|v| *v = clip(*v));
        }
    }

    /// Clipped values as channel `channel` of the input: `out = value · a + b`. `moments` are those of the
    /// slice or the scan where a z-score is taken.
    pub(crate) fn apply(
        &self,
        values: &[f32],
        channel: usize,
        moments: Option<Moments>,
        out: &mut [f32],
    ) {
        // out = (value - origin) · a + b; the origin is taken away first, so that it becomes 0 exactly.
        let mut origin = 0.0;
        let mut a = 1.0f64;
        if let (true, Some([low, high])) = (self.unit, self.clip) {
            (origin, a) = (low, 1.0 / (high - low));
        }
        if let (Some(_), Some(m)) = (self.z_score, moments) {
            // A window scaled to 0..1 before makes no difference, but to what counts as no deviation.
            (origin, a) = (m.mean, 1.0 / m.std.max(1e-8));
        }
        let of = |list: &[f64], default| match list.len() {
            0 => default,
            1 => list[0],
            _ => list[channel],
        };
        let (mean, std) = (of(&self.mean, 0.0), of(&self.std, 1.0));
        a /= std;
        let b = -mean / std;
        let (origin, a, b) = (origin as f32, a as f32, b as f32);
        let lowest = moments.map_or(origin, |m| m.mean as f32);
        for (o, &v) in out.iter_mut().zip(values) {
            let v = if v.is_finite() { v } else { lowest };
            *o = (v - origin) * a + b;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(intensity: &Intensity, values: &[f32], channel: usize) -> Vec<f32> {
        let mut values = values.to_vec();
        intensity.clip(&mut values);
        let mut sums = Sums::default();
        sums.add(&values);
        let mut out = vec![0.0; values.len()];
        intensity.apply(&values, channel, Some(sums.moments()), &mut out);
        out
    }

    #[test]
    fn presets_do_what_their_names_say() {
        let hu = [-2000.0, -160.0, 40.0, 240.0, 3000.0, f32::NAN];
        let soft = "ct-soft-tissue".parse::<Intensity>().unwrap();
        assert_eq!(applied(&soft, &hu, 0), [0.0, 0.0, 0.5, 1.0, 1.0, 0.0]);
        let imagenet = "imagenet".parse::<Intensity>().unwrap();
        let got = applied(&imagenet, &hu, 2)[2];
        assert!((got - (0.5 - 0.406) / 0.225).abs() < 1e-6, "{got}");
        let z = "z-score".parse::<Intensity>().unwrap();
        let got = applied(&z, &[1.0, 2.0, 3.0, f32::NAN], 0);
        for (got, want) in got.iter().zip([-1.2247449, 0.0, 1.2247449, 0.0]) {
            assert!((got - want).abs() < 1e-6, "{got}");
        }
        let own = "-100:300".parse::<Intensity>().unwrap();
        assert_eq!(applied(&own, &[100.0], 0), [0.5]);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for text in ["", "soft", "1:", "5:5", "9:1", "nan:1", "0:inf"] {
            assert!(text.parse::<Intensity>().is_err(), "{text}");
        }
        let three = Preset::Imagenet.intensity();
        assert!(three.check(3).is_ok());
        assert!(three.check(5).is_err());
        let flat = Intensity {
            std: vec![0.0],
            ..Intensity::default()
        };
        assert!(flat.check(3).is_err());
    }
}
