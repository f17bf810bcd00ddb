//! What a file's header says of its frames: where each lies in the patient, and what its numbers mean.

use super::Fault;
use super::data_set::DataSet;
use super::files::Place;
use super::parse::Parsed;
use super::pixels::PixelFormat;
use super::tag::{self, Tag};
use crate::Scale;

/// A file of a series.
#[derive(Clone, Debug)]
pub(crate) struct Instance {
    pub(crate) place: Place,
    pub(crate) sop_class: String,
    pub(crate) sop_instance: String,
    /// The space that its positions are in; may be empty.
    pub(crate) frame_of_reference: String,
    pub(crate) format: PixelFormat,
    /// Where its data set begins, if that is deflated.
    pub(crate) deflated_from: Option<u64>,
    /// Whether frames are a property of the file, so that a reference has to name them.
    pub(crate) multi_frame: bool,
}

/// What all files of a series say.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct SeriesFacts {
    pub(crate) uid: String,
    pub(crate) description: String,
    pub(crate) modality: String,
    /// Whether it shows where other images lie.
    pub(crate) localizer: bool,
}

/// A frame in space.
#[derive(Clone, Debug)]
pub(crate) struct Plane {
    /// Which file of the series it is in.
    pub(crate) instance: usize,
    /// Which frame of the file, from 0.
    pub(crate) frame: u32,
    /// The centre of its first pixel, mm in LPS+.
    pub(crate) position: [f64; 3],
    /// The directions in which columns and rows follow each other, unit vectors in LPS+.
    pub(crate) directions: [[f64; 3]; 2],
    /// The distances between columns and between rows, mm.
    pub(crate) spacing: [f64; 2],
    /// The distance to the next slice as the file has it, mm; only for a lone slice.
    pub(crate) step: Option<f64>,
    pub(crate) scale: Scale,
    /// What may tell frames at one position apart, by the attribute's name.
    pub(crate) keys: Vec<(&'static str, String)>,
}

/// Everything that is taken from a file.
#[derive(Clone, Debug)]
pub(crate) struct Scanned {
    pub(crate) facts: SeriesFacts,
    pub(crate) instance: Instance,
    /// Its frames; `instance` is set when its place in the series is known.
    pub(crate) planes: Vec<Plane>,
    /// The header, for what a segmentation copies.
    pub(crate) data: DataSet,
}

const NO_SPACE: &str = "give a series of slices of CT, MR or PET";

/// Frames of one file; functional studies have some ten thousand.
const MOST_FRAMES: usize = 1 << 16;

/// Attributes that tell images at one position apart, in the order in which they are tried.
const KEYS: [(&str, Tag); 7] = [
    ("AcquisitionNumber", tag::ACQUISITION_NUMBER),
    ("TemporalPositionIdentifier", tag::TEMPORAL_POSITION),
    ("TemporalPositionIndex", tag::TEMPORAL_INDEX),
    ("EchoTime", tag::ECHO_TIME),
    ("DiffusionBValue", tag::B_VALUE),
    ("TriggerTime", tag::TRIGGER_TIME),
    ("ImageType", tag::IMAGE_TYPE),
];

/// The frames of a file.
pub(crate) fn scan(place: Place, parsed: Parsed) -> Result<Scanned, Fault> {
    let data = parsed.data;
    let modality = data.text(tag::MODALITY).unwrap_or_default();
    let Some(pixels) = parsed.pixels else {
        return Err(Fault::unsupported(
            format!("it is {} without pixels", named(&modality)),
            NO_SPACE,
        ));
    };
    if matches!(modality.as_str(), "SEG" | "RTDOSE") {
        return Err(Fault::unsupported(
            format!("it is {modality}, no image of a patient"),
            NO_SPACE,
        ));
    }
    let format = PixelFormat::of(&data, parsed.syntax, pixels)?;
    let uid = |tag: Tag| {
        let uid = data.text(tag);
        uid.ok_or_else(|| Fault::malformed(format!("{tag} is missing")))
    };
    if let Some((_, super::data_set::Value::Items(items))) = data.get(tag::MODALITY_LUT)
        && !items.is_empty()
    {
        return Err(Fault::unsupported(
            format!("its values come from a table, {}", tag::MODALITY_LUT),
            "convert it to an image with RescaleSlope and RescaleIntercept",
        ));
    }
    let image_type = data.text(tag::IMAGE_TYPE).unwrap_or_default();
    let facts = SeriesFacts {
        uid: uid(tag::SERIES_INSTANCE)?,
        description: data.text(tag::SERIES_DESCRIPTION).unwrap_or_default(),
        modality,
        localizer: image_type.split('\\').any(|t| t == "LOCALIZER"),
    };
    let enhanced =
        data.get(tag::PER_FRAME_GROUPS).is_some() || data.get(tag::SHARED_GROUPS).is_some();
    let planes = if enhanced {
        enhanced_planes(&data, &format)?
    } else if format.frames == 1 {
        vec![plane(&[&data], &data, 0)?]
    } else {
        return Err(Fault::unsupported(
            format!(
                "it has {} frames and does not say where each lies",
                format.frames
            ),
            NO_SPACE,
        ));
    };
    let instance = Instance {
        place,
        sop_class: uid(tag::SOP_CLASS)?,
        sop_instance: uid(tag::SOP_INSTANCE)?,
        frame_of_reference: data.text(tag::FRAME_OF_REFERENCE).unwrap_or_default(),
        format,
        deflated_from: parsed.syntax.deflated.then_some(parsed.begin),
        multi_frame: enhanced || planes.len() > 1,
    };
    Ok(Scanned {
        facts,
        instance,
        planes,
        data,
    })
}

fn named(modality: &str) -> &str {
    if modality.is_empty() {
        "an object"
    } else {
        modality
    }
}

/// The frames of an enhanced image, whose functional groups say where each lies.
fn enhanced_planes(data: &DataSet, format: &PixelFormat) -> Result<Vec<Plane>, Fault> {
    let per_frame = data.items(tag::PER_FRAME_GROUPS);
    if per_frame.len() != format.frames as usize {
        return Err(Fault::malformed(format!(
            "{} frames have {} items in {}",
            format.frames,
            per_frame.len(),
            tag::PER_FRAME_GROUPS
        )));
    }
    if per_frame.len() > MOST_FRAMES {
        return Err(Fault::unsupported(
            format!("it has {} frames, more than {MOST_FRAMES}", per_frame.len()),
            "split it into several files",
        ));
    }
    let shared = data.item(tag::SHARED_GROUPS);
    let macros = [
        tag::PLANE_POSITION,
        tag::PLANE_ORIENTATION,
        tag::PIXEL_MEASURES,
        tag::PIXEL_TRANSFORMATION,
        tag::FRAME_CONTENT,
    ];
    let frames = (0..).zip(per_frame);
    frames
        .map(|(frame, groups)| {
            let own = macros.iter().filter_map(|&m| groups.item(m));
            let common = shared.into_iter();
            let common = common.flat_map(|s| macros.iter().filter_map(|&m| s.item(m)));
            let sources: Vec<&DataSet> = own.chain(common).collect();
            plane(&sources, data, frame)
                .map_err(|fault| fault.prefixed(&format!("frame {}: ", frame + 1)))
        })
        .collect()
}

/// A frame from the data sets that describe it, of which the first that has an attribute counts.
fn plane(sources: &[&DataSet], data: &DataSet, frame: u32) -> Result<Plane, Fault> {
    let find = |tag: Tag| {
        let holder = sources
            .iter()
            .find(|s| s.text(tag).is_some() || s.get(tag).is_some());
        holder.copied()
    };
    let missing = |tag: Tag| {
        Fault::unsupported(
            format!("it has no {tag}, so it has no place in the patient"),
            NO_SPACE,
        )
    };
    fn vector<const N: usize>(
        holder: Option<&DataSet>,
        tag: Tag,
    ) -> Result<Option<[f64; N]>, Fault> {
        holder.map_or(Ok(None), |h| h.vector(tag))
    }
    let number = |tag: Tag| find(tag).map_or(Ok(None), |h| h.number(tag));
    let position: [f64; 3] =
        vector(find(tag::POSITION), tag::POSITION)?.ok_or_else(|| missing(tag::POSITION))?;
    let cosines: [f64; 6] = vector(find(tag::ORIENTATION), tag::ORIENTATION)?
        .ok_or_else(|| missing(tag::ORIENTATION))?;
    let [down, across]: [f64; 2] = vector(find(tag::PIXEL_SPACING), tag::PIXEL_SPACING)?
        .ok_or_else(|| missing(tag::PIXEL_SPACING))?;
    let directions = unit_directions(cosines)?;
    if !(down > 0.0 && across > 0.0) {
        return Err(Fault::malformed(format!(
            "{} is {down} and {across} mm",
            tag::PIXEL_SPACING
        )));
    }
    let slope = number(tag::SLOPE)?.unwrap_or(1.0);
    let intercept = number(tag::INTERCEPT)?.unwrap_or(0.0);
    if slope == 0.0 {
        return Err(Fault::malformed(format!("{} is 0", tag::SLOPE)));
    }
    let positive = |n: Option<f64>| n.map(f64::abs).filter(|&n| n > 0.0);
    let step =
        positive(number(tag::SPACING_BETWEEN_SLICES)?).or(positive(number(tag::SLICE_THICKNESS)?));
    let text = |tag: Tag| match find(tag).or(Some(data)) {
        Some(h) => match h.get(tag) {
            Some((vr, _)) if matches!(&vr, b"FD" | b"UL") => {
                h.number(tag).ok().flatten().map(|n| n.to_string())
            }
            _ => h.text(tag),
        },
        None => None,
    };
    let mut keys: Vec<(&'static str, String)> = KEYS
        .iter()
        .filter_map(|&(name, tag)| Some((name, text(tag)?)))
        .collect();
    keys.extend(text(tag::STACK_ID).map(|id| ("StackID", id)));
    Ok(Plane {
        instance: 0,
        frame,
        position,
        directions,
        spacing: [across, down],
        step,
        scale: Scale { slope, intercept },
        keys,
    })
}

/// The directions of rows and columns as unit vectors, which are rounded in many files.
fn unit_directions(cosines: [f64; 6]) -> Result<[[f64; 3]; 2], Fault> {
    let wrong = || Fault::malformed(format!("{} is {cosines:?}", tag::ORIENTATION));
    let row = [cosines[0], cosines[1], cosines[2]];
    let column = [cosines[3], cosines[4], cosines[5]];
    let lengths = [row, column].map(|v| dot(v, v).sqrt());
    let cross = dot(row, column);
    if lengths.iter().any(|l| (l - 1.0).abs() > 0.02) || cross.abs() > 0.02 {
        return Err(wrong());
    }
    Ok([row.map(|v| v / lengths[0]), column.map(|v| v / lengths[1])])
}

/// The scalar product.
pub(crate) fn dot(a: [f64; 3], b: [f64; 3]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// The vector product.
pub(crate) fn cross(a: [f64; 3], b: [f64; 3]) -> [f64; 3] {
    [
        a[1] * b[2] - a[2] * b[1],
        a[2] * b[0] - a[0] * b[2],
        a[0] * b[1] - a[1] * b[0],
    ]
}

/// `a - b`.
pub(crate) fn minus(a: [f64; 3], b: [f64; 3]) -> [f64; 3] {
    [a[0] - b[0], a[1] - b[1], a[2] - b[2]]
}
