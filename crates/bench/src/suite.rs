//! The suites: which models are measured together, at what size, and for how many classes.

use std::fmt;
use std::str::FromStr;

use slicewise_engines::Precision;

/// The encoders that the original measured alone, in its order of merit.
const ENCODERS: [&str; 49] = [
    "mobileone_s0",
    "mobilenetv4_conv_small",
    "regnetx_002",
    "mobilenetv3_small_100",
    "regnetx_004",
    "mobilenetv2_100",
    "mobileone_s1",
    "lcnet_100",
    "regnetx_008",
    "edgenext_x_small",
    "mobilenetv4_conv_medium",
    "mobilenetv2_140",
    "mobileone_s2",
    "repvgg_a0",
    "lcnet_150",
    "resnet18",
    "regnety_002",
    "mobileone_s3",
    "ghostnetv2_100",
    "mobilenetv3_large_100",
    "edgenext_small",
    "regnetx_016",
    "vit_small_patch32_224",
    "repvgg_a1",
    "ghostnetv2_130",
    "efficientnet_b0",
    "regnety_004",
    "tinynet_c",
    "poolformer_s12",
    "ghostnetv2_160",
    "repvgg_b0",
    "regnety_008",
    "efficientnet_b1",
    "resnet34",
    "mobilenetv4_conv_large",
    "tinynet_b",
    "tinynet_a",
    "densenet121",
    "resnet50",
    "repvgg_a2",
    "vit_tiny_patch16_224",
    "regnety_016",
    "densenet169",
    "poolformer_s24",
    "efficientnet_b2",
    "regnetx_032",
    "convnext_tiny",
    "convnext_small",
    "vit_small_patch16_224",
];

/// Families that the original gave no decoder.
const WITHOUT_DECODER: [&str; 4] = ["vit", "convnext", "edgenext", "poolformer"];

/// The encoders that the original compared both decoders on.
const COMBINED: [&str; 21] = [
    "mobileone_s0",
    "mobileone_s1",
    "mobilenetv4_conv_small",
    "mobilenetv4_conv_medium",
    "regnetx_002",
    "regnetx_004",
    "regnetx_008",
    "regnety_002",
    "regnety_004",
    "lcnet_100",
    "lcnet_150",
    "mobilenetv3_small_100",
    "mobilenetv3_large_100",
    "resnet18",
    "resnet34",
    "repvgg_a0",
    "repvgg_a1",
    "efficientnet_b0",
    "ghostnetv2_100",
    "tinynet_b",
    "tinynet_c",
];

/// What a newcomer learns most from in a minute: the original's champion with both decoders, its
/// rivals, a classic, and a larger sister.
const QUICK: [&str; 6] = [
    "mobilenetv4_conv_small+fpn",
    "mobilenetv4_conv_small+unet",
    "regnetx_004+fpn",
    "mobileone_s0+fpn",
    "resnet18+fpn",
    "mobilenetv4_conv_medium+fpn",
];

/// The original's fastest 2D networks against the two 3D networks that its report names.
const TWO_VS_THREE: [&str; 7] = [
    "mobilenetv4_conv_small+fpn",
    "mobilenetv4_conv_small+unet",
    "mobilenetv4_conv_medium+fpn",
    "regnetx_004+fpn",
    "resnet18+fpn",
    "totalsegmentator",
    "stunet_s",
];

/// The encoders, with an FPN, that the original ran in 8-bit integers.
const QUANTIZATION: [&str; 11] = [
    "resnet18",
    "resnet34",
    "resnet50",
    "regnetx_004",
    "regnetx_008",
    "regnety_004",
    "regnety_008",
    "repvgg_a0",
    "repvgg_a1",
    "mobilenetv4_conv_small",
    "mobilenetv4_conv_medium",
];

/// The original's ten encoders with the most images per second and parameter.
const TOP_TEN: [&str; 10] = [
    "mobileone_s0",
    "regnetx_002",
    "mobilenetv3_small_100",
    "mobilenetv4_conv_small",
    "edgenext_x_small",
    "mobilenetv2_100",
    "lcnet_100",
    "regnetx_004",
    "mobileone_s1",
    "regnety_002",
];

/// A set of models that are measured together.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Suite {
    /// A handful of networks, in a minute or two.
    #[default]
    Quick,
    /// Encoders alone with their classifier head.
    Encoders,
    /// Encoders with the semantic FPN.
    Fpn,
    /// Encoders with the UNet.
    Unet,
    /// FPN against UNet on the same encoders.
    Combined,
    /// 2D networks slice by slice against 3D networks.
    ///
    /// "Equivalent images" of a 3D network are its voxels per second divided by 512², as the
    /// original counts them. That leaves out that 3D networks run on overlapping tiles: with the
    /// usual half-tile overlap every voxel is computed up to eight times. The time of a whole scan
    /// ([`crate::scan`]) has it in.
    TwoVsThree,
    /// f32 against 8-bit integers and PyTorch's modes, with the FPN.
    Quantization,
}

impl Suite {
    /// All suites.
    pub const ALL: [Suite; 7] = [
        Suite::Quick,
        Suite::Encoders,
        Suite::Fpn,
        Suite::Unet,
        Suite::Combined,
        Suite::TwoVsThree,
        Suite::Quantization,
    ];

    /// The name that commands take and records hold.
    pub fn name(self) -> &'static str {
        match self {
            Suite::Quick => "quick",
            Suite::Encoders => "encoders",
            Suite::Fpn => "fpn",
            Suite::Unet => "unet",
            Suite::Combined => "combined",
            Suite::TwoVsThree => "2d-vs-3d",
            Suite::Quantization => "quantization",
        }
    }

    /// The models that are measured unless others are asked for.
    pub fn models(self) -> Vec<String> {
        let with = |encoder: &str, decoder: &str| format!("{encoder}+{decoder}");
        let decoded = ENCODERS
            .iter()
            .filter(|e| !WITHOUT_DECODER.iter().any(|family| e.starts_with(family)));
        match self {
            Suite::Quick => QUICK.iter().map(|m| m.to_string()).collect(),
            Suite::Encoders => ENCODERS.iter().map(|m| m.to_string()).collect(),
            Suite::Fpn => decoded.map(|e| with(e, "fpn")).collect(),
            Suite::Unet => decoded.map(|e| with(e, "unet")).collect(),
            Suite::Combined => COMBINED
                .iter()
                .flat_map(|e| [with(e, "fpn"), with(e, "unet")])
                .collect(),
            Suite::TwoVsThree => TWO_VS_THREE.iter().map(|m| m.to_string()).collect(),
            Suite::Quantization => QUANTIZATION.iter().map(|e| with(e, "fpn")).collect(),
        }
    }

    /// The models that are measured in a hurry: the original's top ten, or the first ten of the suite.
    pub fn quick_models(self) -> Vec<String> {
        let top = |decoder: &str| -> Vec<String> {
            let decoded = TOP_TEN
                .iter()
                .filter(|e| !WITHOUT_DECODER.iter().any(|family| e.starts_with(family)));
            decoded.map(|e| format!("{e}+{decoder}")).collect()
        };
        match self {
            Suite::Encoders => TOP_TEN.iter().map(|m| m.to_string()).collect(),
            Suite::Fpn => top("fpn"),
            Suite::Unet => top("unet"),
            _ => self.models().into_iter().take(10).collect(),
        }
    }

    /// The precisions that are measured unless the user says otherwise.
    pub fn precisions(self) -> &'static [Precision] {
        match self {
            Suite::Quantization => &[Precision::F32, Precision::Bf16, Precision::Int8],
            _ => &[Precision::F32],
        }
    }

    /// The models of this suite that `name` stands for: an encoder's name gets the suite's decoders.
    ///
    /// # Errors
    /// If the name says another decoder than the suite is about.
    pub fn expand(self, name: &str) -> Result<Vec<String>, String> {
        let decoders: &[&str] = match self {
            Suite::Quick | Suite::TwoVsThree => return Ok(vec![name.to_owned()]),
            Suite::Encoders => &[],
            Suite::Fpn | Suite::Quantization => &["fpn"],
            Suite::Unet => &["unet"],
            Suite::Combined => &["fpn", "unet"],
        };
        match name.split_once('+') {
            None if decoders.is_empty() => Ok(vec![name.to_owned()]),
            None => Ok(decoders.iter().map(|d| format!("{name}+{d}")).collect()),
            Some((_, decoder)) if decoders.contains(&decoder) => Ok(vec![name.to_owned()]),
            Some((encoder, _)) => Err(format!(
                "suite '{self}' does not measure '{name}'; give '{encoder}', or use suite 'quick'"
            )),
        }
    }

    /// Classes of the heads, as the original had them; `None` for the classifier's own.
    pub fn classes(self) -> Option<usize> {
        match self {
            Suite::Encoders => None,
            Suite::Fpn | Suite::Unet | Suite::Combined => Some(1),
            Suite::Quick | Suite::TwoVsThree | Suite::Quantization => Some(117),
        }
    }

    /// Whether the label map is asked for unless the user says otherwise. Where the original had one
    /// class there is nothing to choose from, and classifiers have no map.
    pub fn asks_for_labels(self) -> bool {
        matches!(self, Suite::Quick | Suite::TwoVsThree)
    }

    /// The time that the suite may take unless the user says otherwise, in seconds.
    pub fn seconds(self) -> f64 {
        match self {
            Suite::Quick => 90.0,
            Suite::TwoVsThree => 300.0,
            _ => 900.0,
        }
    }
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Suite {
    type Err = String;
    fn from_str(name: &str) -> Result<Suite, String> {
        let found = Suite::ALL.into_iter().find(|s| s.name() == name);
        found.ok_or_else(|| {
            let names: Vec<_> = Suite::ALL.iter().map(|s| s.name()).collect();
            format!("'{name}' is not a suite; there are: {}", names.join(", "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suites_are_as_large_as_the_original() {
        let sizes: Vec<_> = Suite::ALL.iter().map(|s| s.models().len()).collect();
        assert_eq!(sizes, [6, 49, 40, 40, 42, 7, 11]);
    }

    #[test]
    fn every_suite_is_found_by_its_name() {
        for suite in Suite::ALL {
            assert_eq!(suite.name().parse(), Ok(suite));
        }
        let error = "3d".parse::<Suite>().unwrap_err();
        assert!(error.contains("2d-vs-3d"), "{error}");
    }

    #[test]
    fn an_encoder_gets_the_decoders_of_its_suite() {
        let cases: &[(Suite, &str, Option<&[&str]>)] = &[
            (Suite::Fpn, "resnet18", Some(&["resnet18+fpn"])),
            (Suite::Fpn, "resnet18+fpn", Some(&["resnet18+fpn"])),
            (Suite::Fpn, "resnet18+unet", None),
            (Suite::Combined, "a", Some(&["a+fpn", "a+unet"])),
            (Suite::Encoders, "resnet18.tag", Some(&["resnet18.tag"])),
            (Suite::Encoders, "resnet18+fpn", None),
            (Suite::Quick, "stunet_s", Some(&["stunet_s"])),
        ];
        for (suite, name, want) in cases {
            let got = suite.expand(name).ok();
            let want = want.map(|w| w.iter().map(|m| m.to_string()).collect::<Vec<_>>());
            assert_eq!(got, want, "{suite} {name}");
        }
    }
}
