//! From a model's name to its graph.

use slicewise_graph::{Dim, Graph, NodeId};

use crate::families::{self, Family, Part};
use crate::net::Net;
use crate::volumetric::{self, Volumetric};
use crate::{ZooError, decoders};

/// Whether blocks with parallel branches (RepVGG, MobileOne) are built as they are trained or as
/// they are deployed: one convolution each, under timm's `reparam_conv` names.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Form {
    /// All branches.
    #[default]
    Train,
    /// One convolution a block.
    Deploy,
}

/// What a model is built for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    /// Classes of the head; by default 1000 for an encoder alone and 117 for segmentation.
    pub classes: Option<usize>,
    /// Spatial sizes of the input; by default 512×512, or 128×128×64 for volumes.
    pub size: Option<Vec<usize>>,
    /// Images per run.
    pub batch: Dim,
    /// The form of multi-branch blocks.
    pub form: Form,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            classes: None,
            size: None,
            batch: Dim::Fixed(1),
            form: Form::Train,
        }
    }
}

impl Options {
    /// The same with `classes`.
    pub fn classes(mut self, classes: usize) -> Self {
        self.classes = Some(classes);
        self
    }

    /// The same with the input's spatial sizes.
    pub fn size(mut self, size: &[usize]) -> Self {
        self.size = Some(size.to_vec());
        self
    }

    /// The same with a fixed or open batch.
    pub fn batch(mut self, batch: Dim) -> Self {
        self.batch = batch;
        self
    }

    /// The same in another form.
    pub fn form(mut self, form: Form) -> Self {
        self.form = form;
        self
    }
}

/// What follows an encoder.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Decoder {
    /// Semantic FPN on strides 4 to 32.
    Fpn,
    /// U-Net on strides 2 to 32.
    Unet,
}

impl Decoder {
    /// The name behind the `+`.
    pub fn name(self) -> &'static str {
        match self {
            Decoder::Fpn => "fpn",
            Decoder::Unet => "unet",
        }
    }
}

/// What a model's name says.
#[derive(Clone, Copy, Debug)]
pub enum Architecture {
    /// A classifier, `resnet18`.
    Classifier(&'static str),
    /// An encoder's feature maps alone, `resnet18+features`.
    Features(&'static str),
    /// An encoder and a decoder, `resnet18+fpn`.
    Segmentation(&'static str, Decoder),
    /// A 3D network, `stunet_s`.
    Volume(&'static str),
}

impl Architecture {
    /// The spatial axes of the input: 2 or 3.
    pub fn spatial_rank(self) -> usize {
        match self {
            Architecture::Volume(_) => 3,
            _ => 2,
        }
    }

    /// The encoder's family, or the volumetric network's own name.
    pub fn family(self) -> &'static str {
        match self {
            Architecture::Volume(name) => name,
            Architecture::Classifier(e)
            | Architecture::Features(e)
            | Architecture::Segmentation(e, _) => family_of(e).map_or("", |f| f.name),
        }
    }
}

/// The names of all encoders.
pub fn encoder_names() -> Vec<&'static str> {
    families::ALL.iter().flat_map(|f| (f.encoders)()).collect()
}

/// The names of all models: encoders alone, with each decoder they can have, and volumetric nets.
pub fn model_names() -> Vec<String> {
    let mut names: Vec<String> = encoder_names().into_iter().map(String::from).collect();
    for decoder in [Decoder::Fpn, Decoder::Unet] {
        for family in families::ALL {
            if family.lacks(decoder).is_none() {
                let with = |e: &str| format!("{e}+{}", decoder.name());
                names.extend((family.encoders)().into_iter().map(with));
            }
        }
    }
    names.extend(volumetric::ALL.iter().map(|v| v.name.to_owned()));
    names
}

fn family_of(encoder: &str) -> Option<&'static Family> {
    families::ALL
        .iter()
        .find(|f| (f.encoders)().contains(&encoder))
}

fn volumetric_of(name: &str) -> Option<&'static Volumetric> {
    volumetric::ALL.iter().find(|v| v.name == name)
}

/// Reads a model's name. A pretrained tag (`.e2400_r224_in1k`) says nothing of the architecture
/// and is ignored.
///
/// # Errors
/// If there is no such model; the error proposes the closest name.
pub fn parse(name: &str) -> Result<Architecture, ZooError> {
    let unknown = || ZooError::Unknown {
        name: name.to_owned(),
        near: nearest(name),
    };
    if let Some(v) = volumetric_of(name) {
        return Ok(Architecture::Volume(v.name));
    }
    let (encoder, decoder) = match name.split_once('+') {
        Some((encoder, decoder)) => (encoder, Some(decoder)),
        None => (name, None),
    };
    let encoder = encoder.split('.').next().unwrap_or(encoder);
    let encoder = encoder_names()
        .into_iter()
        .find(|e| *e == encoder)
        .ok_or_else(unknown)?;
    let decoder = match decoder {
        None => return Ok(Architecture::Classifier(encoder)),
        Some("features") => return Ok(Architecture::Features(encoder)),
        Some("fpn") => Decoder::Fpn,
        Some("unet") => Decoder::Unet,
        Some(_) => return Err(unknown()),
    };
    match family_of(encoder).and_then(|f| f.lacks(decoder)) {
        Some(reason) => Err(ZooError::NoDecoder {
            encoder: encoder.to_owned(),
            decoder: decoder.name(),
            reason: reason.to_owned(),
        }),
        None => Ok(Architecture::Segmentation(encoder, decoder)),
    }
}

/// The model whose name has the least edit distance to `name`, if any is close.
fn nearest(name: &str) -> Option<String> {
    let (distance, near) = model_names()
        .into_iter()
        .map(|m| (edit_distance(name, &m), m))
        .min()?;
    (distance <= name.chars().count().div_ceil(3)).then_some(near)
}

/// The least number of characters to insert, delete or change between two words.
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let change = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// Builds a model as a graph without weights. One input `input`, `[N, 3, H, W]` or `[N, 1, D, H, W]`;
/// the output is `[N, classes]` for an encoder alone, the feature maps for `+features`, and
/// `[N, classes, spatial…]` at the input's size for segmentation.
///
/// # Errors
/// If the name is unknown or the size does not suit the architecture.
pub fn build(name: &str, options: &Options) -> Result<Graph, ZooError> {
    let architecture = parse(name)?;
    let (default_size, channels): (&[usize], _) = match architecture.spatial_rank() {
        3 => (&[128, 128, 64], 1),
        _ => (&[512, 512], 3),
    };
    let size = options.size.as_deref().unwrap_or(default_size);
    let bad = |problem: String| ZooError::Options {
        model: name.to_owned(),
        problem,
    };
    if size.len() != default_size.len() {
        let (got, want) = (size.len(), default_size.len());
        return Err(bad(format!(
            "the input has {want} spatial sizes, got {got}"
        )));
    }
    if let Architecture::Volume(volume) = architecture
        && let Some(problem) = volumetric_of(volume).and_then(|v| v.refuses(size))
    {
        return Err(bad(problem));
    }
    let default_classes = match architecture {
        Architecture::Classifier(_) => 1000,
        _ => 117,
    };
    let classes = options.classes.unwrap_or(default_classes);
    if !(1..=65536).contains(&classes) {
        return Err(bad(format!("takes 1 to 65536 classes, got {classes}")));
    }
    let mut net = Net::new(name, options.form);
    net.graph.metadata.insert("model".into(), name.into());
    if !matches!(architecture, Architecture::Features(_)) {
        net.graph
            .metadata
            .insert("classes".into(), classes.to_string());
    }
    let x = net.image(options.batch, channels, size)?;
    let outputs = build_onto(&mut net, architecture, x, classes, size)?;
    net.graph.set_outputs(outputs);
    Ok(net.graph)
}

fn build_onto(
    net: &mut Net,
    architecture: Architecture,
    x: NodeId,
    classes: usize,
    size: &[usize],
) -> Result<Vec<NodeId>, ZooError> {
    let encode = |net: &mut Net, encoder: &'static str, part| match family_of(encoder) {
        Some(family) => Ok((family.build)(encoder, net, x, part)?),
        None => Err(ZooError::Unknown {
            name: encoder.to_owned(),
            near: None,
        }),
    };
    match architecture {
        Architecture::Classifier(encoder) => encode(net, encoder, Part::Classifier { classes }),
        Architecture::Features(encoder) => {
            net.set_prefix("encoder.");
            encode(net, encoder, Part::Features)
        }
        Architecture::Segmentation(encoder, decoder) => {
            net.set_prefix("encoder.");
            let levels = encode(net, encoder, Part::Features)?;
            net.set_prefix("decoder.");
            let logits = match decoder {
                Decoder::Fpn => decoders::fpn(net, &levels, classes, size)?,
                Decoder::Unet => decoders::unet(net, &levels, classes, size)?,
            };
            Ok(vec![logits])
        }
        Architecture::Volume(name) => match volumetric_of(name) {
            Some(v) => Ok(vec![(v.build)(net, x, classes)?]),
            None => Ok(Vec::new()),
        },
    }
}
