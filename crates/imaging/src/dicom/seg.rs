//! DICOM segmentations: a label map written as a SEG object that refers to the images it was made from.
//!
//! `BINARY` (Segmentation Storage) has a bit per pixel and a frame for every slice that a class occurs in;
//! every viewer of segmentations reads it. `LABELMAP` (Label Map Segmentation Storage, supplement 243) has a
//! number per pixel and one frame per slice; it is smaller, and read by newer viewers alone.
//!
//! The same labels of the same series give the same bytes, UIDs included.

use std::collections::HashSet;
use std::io::Write;

use super::colour::cielab;
use super::data_set::{DataSet, Value};
use super::encode::{encode_item, encode_meta, header, item_header};
use super::seg_writer::PackedLabels;
use super::syntax::{EXPLICIT_UID, RLE_UID};
use super::tag::{self, Tag};
use super::{Fault, Series, uid};
use crate::{Class, ClassTable, Code, distinct_colour};

/// Which kind of segmentation is written.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum SegKind {
    /// A bit per pixel, for every viewer.
    #[default]
    Binary,
    /// A number per pixel, run-length coded, for viewers of 2025 and later.
    LabelMap,
}

impl std::str::FromStr for SegKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "binary" => Ok(SegKind::Binary),
            "labelmap" => Ok(SegKind::LabelMap),
            _ => Err("the kinds are binary and labelmap".into()),
        }
    }
}

/// What a segmentation says of how it was made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SegOptions {
    /// The kind.
    pub kind: SegKind,
    /// The name of the model.
    pub algorithm: String,
    /// The number that the new series has within the study.
    pub series_number: u32,
    /// The date and time of the segmentation, as `YYYYMMDD` and `HHMMSS`. Without them those of the source
    /// are written, so that the same input gives the same file at any time.
    pub created: Option<[String; 2]>,
}

/// What a segmentation takes from the series that it was made from.
pub(crate) struct Origin<'a> {
    pub(crate) study: &'a DataSet,
    pub(crate) series: &'a str,
    pub(crate) frame_of_reference: &'a str,
    /// In the order of k.
    pub(crate) slices: Vec<SourceFrame<'a>>,
}

/// A frame that a segmentation refers to.
pub(crate) struct SourceFrame<'a> {
    pub(crate) sop_class: &'a str,
    pub(crate) sop_instance: &'a str,
    /// From 1, where its file has several.
    pub(crate) frame: Option<u32>,
    /// The centre of its first pixel, mm in LPS+.
    pub(crate) position: [f64; 3],
}

/// What is said in every segmentation. No more than 64 letters are allowed.
const DISCLAIMER: &str = "Not a medical device. Automatic segmentation for research";

const BINARY_CLASS: &str = "1.2.840.10008.5.1.4.1.1.66.4";
const LABEL_MAP_CLASS: &str = "1.2.840.10008.5.1.4.1.1.66.7";

/// The attributes that a segmentation has in common with the images of its study.
const STUDY: [Tag; 14] = [
    tag::STUDY_DATE,
    tag::STUDY_TIME,
    tag::ACCESSION_NUMBER,
    tag::REFERRING_PHYSICIAN,
    tag::STUDY_DESCRIPTION,
    tag::PATIENT_NAME,
    tag::PATIENT_ID,
    tag::PATIENT_BIRTH_DATE,
    tag::PATIENT_SEX,
    tag::PATIENT_AGE,
    tag::PATIENT_SIZE,
    tag::PATIENT_WEIGHT,
    tag::STUDY_INSTANCE,
    tag::STUDY_ID,
];
/// Those of them that may be empty but not absent.
const NEEDED: [Tag; 9] = [
    tag::STUDY_DATE,
    tag::STUDY_TIME,
    tag::ACCESSION_NUMBER,
    tag::REFERRING_PHYSICIAN,
    tag::PATIENT_NAME,
    tag::PATIENT_ID,
    tag::PATIENT_BIRTH_DATE,
    tag::PATIENT_SEX,
    tag::STUDY_ID,
];
/// What else is looked at.
const OTHERS: [Tag; 8] = [
    tag::CHARACTER_SET,
    tag::TIMEZONE,
    tag::SERIES_DATE,
    tag::SERIES_TIME,
    tag::CONTENT_DATE,
    tag::CONTENT_TIME,
    tag::POSITION_REFERENCE,
    tag::SERIES_DESCRIPTION,
];

/// The attributes of an image that its segmentation needs.
pub(crate) fn study(data: &DataSet) -> DataSet {
    let mut study = DataSet::default();
    for tag in STUDY.into_iter().chain(OTHERS) {
        if let Some((vr, Value::Bytes(bytes))) = data.get(tag) {
            study.insert(tag, vr, Value::Bytes(bytes.clone()));
        }
    }
    study
}

/// A segment and the slices it is in.
struct Segment {
    label: u16,
    number: u16,
    class: Class,
    slices: Vec<usize>,
}

/// What texts are written in: the source's character set.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Letters {
    Ascii,
    Latin1,
    Unicode,
}

pub(crate) struct Segmentation<'a> {
    slices: &'a PackedLabels,
    origin: Origin<'a>,
    series: &'a Series,
    options: &'a SegOptions,
    segments: Vec<Segment>,
    /// What texts are written in.
    letters: Letters,
}

impl<'a> Segmentation<'a> {
    /// The segmentation of `slices`.
    pub(crate) fn new(
        slices: &'a PackedLabels,
        series: &'a Series,
        classes: &ClassTable,
        options: &'a SegOptions,
    ) -> Self {
        let origin = series.origin();
        let named = |label: u16| {
            let class = classes.get(label).cloned();
            class.unwrap_or_else(|| Class {
                label,
                name: format!("label {label}"),
                colour: distinct_colour(label),
                category: None,
                kind: None,
            })
        };
        let mut occurring: Vec<(u16, Vec<usize>)> = slices.occurring.clone().into_iter().collect();
        if occurring.is_empty() {
            let first = classes.classes().first().map_or(1, |c| c.label);
            occurring.push((first, vec![0]));
        }
        let segments = (1..).zip(occurring);
        let segments = segments.map(|(number, (label, slices))| Segment {
            label,
            // Numbers of a label map are its pixels; those of bits count from 1.
            number: match options.kind {
                SegKind::Binary => number,
                SegKind::LabelMap => label,
            },
            class: named(label),
            slices,
        });
        let is_plain = || {
            origin.study.iter().all(|(_, _, value)| match value {
                Value::Bytes(bytes) => bytes.is_ascii(),
                Value::Items(_) => true,
            })
        };
        let letters = match origin.study.text(tag::CHARACTER_SET).as_deref() {
            Some("ISO_IR 192") => Letters::Unicode,
            Some("ISO_IR 100") => Letters::Latin1,
            // Many files have letters beyond ASCII and do not say which; they stay as unclear as they are.
            None | Some("ISO_IR 6") if is_plain() => Letters::Unicode,
            _ => Letters::Ascii,
        };
        Segmentation {
            segments: segments.collect(),
            slices,
            origin,
            series,
            options,
            letters,
        }
    }

    /// Adds a text in the source's character set, shortened to what is allowed.
    fn put(&self, data: &mut DataSet, tag: Tag, text: &str, most: usize) {
        let letter = |c: char| match c {
            '\\' => '/',
            c if c.is_control() => ' ',
            c if c.is_ascii() || self.letters == Letters::Unicode => c,
            c if self.letters == Letters::Latin1 && u8::try_from(c).is_ok() => c,
            _ => '?',
        };
        let text = text.chars().map(letter).take(most);
        data.put_bytes(
            tag,
            match self.letters {
                // The first 256 code points are those of Latin-1.
                Letters::Latin1 => text.filter_map(|c| u8::try_from(c).ok()).collect(),
                _ => text.collect::<String>().into_bytes(),
            },
        );
    }

    /// Everything before the pixels, their element's header included.
    pub(crate) fn header(&self) -> Result<Vec<u8>, Fault> {
        let kind = self.options.kind;
        let (class, syntax) = match kind {
            SegKind::Binary => (BINARY_CLASS, EXPLICIT_UID),
            SegKind::LabelMap => (LABEL_MAP_CLASS, RLE_UID),
        };
        let made_by = [
            self.options.algorithm.as_bytes(),
            env!("CARGO_PKG_VERSION").as_bytes(),
        ];
        let unique = |what: &str, more: &[u8]| {
            let from = self.origin.series.as_bytes();
            uid::of(&[
                what.as_bytes(),
                class.as_bytes(),
                from,
                made_by[0],
                made_by[1],
                more,
            ])
        };
        let checksum = self.slices.checksum();
        let instance = unique("instance", &checksum);
        let dimensions = unique("dimensions", &checksum);
        let mut data = DataSet::default();
        data.put_text(tag::SOP_CLASS, class);
        data.put_text(tag::SOP_INSTANCE, &instance);
        data.put_text(tag::SERIES_INSTANCE, unique("series", &[]));
        self.put_study(&mut data);
        self.put_series(&mut data);
        self.put_image(&mut data);
        self.put_dimensions(&mut data, &dimensions);
        let segments = self.segments.iter().map(|s| self.segment(s)).collect();
        data.put_items(tag::SEGMENTS, segments);
        self.put_references(&mut data);
        self.put_shared_groups(&mut data);
        let mut out = encode_meta(class, &instance, syntax);
        data.encode(&mut out);
        // Thousands of items, so they are encoded one by one, and end where a delimiter says so.
        header(&mut out, tag::PER_FRAME_GROUPS, *b"SQ", u32::MAX);
        match kind {
            SegKind::Binary => {
                // Positions count within the slices that occur.
                for (segment, s) in (1..).zip(&self.segments) {
                    for &k in &s.slices {
                        let index = [segment, k as u32 + 1];
                        encode_item(&self.frame_groups(k, Some(s.number), &index), &mut out);
                    }
                }
            }
            SegKind::LabelMap => {
                for k in 0..self.origin.slices.len() {
                    encode_item(&self.frame_groups(k, None, &[k as u32 + 1]), &mut out);
                }
            }
        }
        item_header(&mut out, tag::SEQUENCE_END, 0);
        match kind {
            SegKind::Binary => {
                let [columns, rows, _] = self.series.grid().size();
                let bytes = (self.frames() * columns * rows)
                    .div_ceil(8)
                    .next_multiple_of(2);
                let length = u32::try_from(bytes).ok().filter(|&l| l < u32::MAX);
                let length = length.ok_or_else(|| {
                    Fault::unsupported(
                        format!(
                            "{} frames of bits are {bytes} bytes, more than a DICOM file can have",
                            self.frames()
                        ),
                        "write a LABELMAP segmentation instead",
                    )
                })?;
                header(&mut out, tag::PIXELS, *b"OB", length);
            }
            SegKind::LabelMap => {
                header(&mut out, tag::PIXELS, *b"OB", u32::MAX);
                // An empty table of offsets.
                item_header(&mut out, tag::ITEM, 0);
            }
        }
        Ok(out)
    }

    fn frames(&self) -> usize {
        match self.options.kind {
            SegKind::Binary => self.segments.iter().map(|s| s.slices.len()).sum(),
            SegKind::LabelMap => self.origin.slices.len(),
        }
    }

    fn put_study(&self, data: &mut DataSet) {
        let study = self.origin.study;
        for tag in STUDY.into_iter().chain([tag::TIMEZONE]) {
            if let Some((vr, Value::Bytes(bytes))) = study.get(tag) {
                data.insert(tag, vr, Value::Bytes(bytes.clone()));
            }
        }
        NEEDED.into_iter().for_each(|tag| data.put_text(tag, ""));
        // A study must have a name of its own.
        data.put_text(
            tag::STUDY_INSTANCE,
            uid::of(&[b"study", self.origin.series.as_bytes()]),
        );
        match study.bytes(tag::CHARACTER_SET) {
            _ if self.letters == Letters::Unicode => {
                data.put_text(tag::CHARACTER_SET, "ISO_IR 192")
            }
            Some(set) => data.insert(tag::CHARACTER_SET, *b"CS", Value::Bytes(set.to_vec())),
            None => {}
        }
    }

    fn put_series(&self, data: &mut DataSet) {
        let study = self.origin.study;
        let [date, time] = match &self.options.created {
            Some(created) => created.clone(),
            None => {
                let first = |tags: [Tag; 3], default: &str| {
                    let found = tags.into_iter().find_map(|t| study.text(t));
                    found.unwrap_or_else(|| default.into())
                };
                [
                    first(
                        [tag::CONTENT_DATE, tag::SERIES_DATE, tag::STUDY_DATE],
                        "19000101",
                    ),
                    first(
                        [tag::CONTENT_TIME, tag::SERIES_TIME, tag::STUDY_TIME],
                        "000000",
                    ),
                ]
            }
        };
        data.put_text(tag::MODALITY, "SEG");
        data.put_text(tag::SERIES_NUMBER, self.options.series_number.to_string());
        data.put_text(tag::INSTANCE_NUMBER, "1");
        for (date_tag, time_tag) in [
            (tag::SERIES_DATE, tag::SERIES_TIME),
            (tag::CONTENT_DATE, tag::CONTENT_TIME),
        ] {
            data.put_text(date_tag, &date);
            data.put_text(time_tag, &time);
        }
        let model = &self.options.algorithm;
        let description = format!("{model} segmentation, not a medical device");
        self.put(data, tag::SERIES_DESCRIPTION, &description, 64);
        data.put_text(tag::CONTENT_LABEL, "SEGMENTATION");
        data.put_text(tag::CONTENT_DESCRIPTION, DISCLAIMER);
        data.put_text(tag::CONTENT_CREATOR, "");
        data.put_text(tag::MANUFACTURER, "slicewise");
        self.put(data, tag::MODEL_NAME, model, 64);
        data.put_text(tag::DEVICE_SERIAL_NUMBER, "0");
        data.put_text(tag::SOFTWARE_VERSIONS, env!("CARGO_PKG_VERSION"));
        data.put_text(tag::FRAME_OF_REFERENCE, self.frame_of_reference());
        let indicator = study.bytes(tag::POSITION_REFERENCE).unwrap_or_default();
        data.insert(
            tag::POSITION_REFERENCE,
            *b"LO",
            Value::Bytes(indicator.to_vec()),
        );
    }

    /// The source's frame of reference, or a new one where it has none.
    fn frame_of_reference(&self) -> String {
        match self.origin.frame_of_reference {
            "" => uid::of(&[b"frame of reference", self.origin.series.as_bytes()]),
            uid => uid.to_owned(),
        }
    }

    fn put_image(&self, data: &mut DataSet) {
        let [columns, rows, _] = self.series.grid().size();
        let bits = match self.options.kind {
            SegKind::Binary => 1,
            SegKind::LabelMap => 8 * self.slices.size as u16,
        };
        data.put_text(tag::IMAGE_TYPE, "DERIVED\\PRIMARY");
        data.put_shorts(tag::SAMPLES_PER_PIXEL, &[1]);
        data.put_text(tag::PHOTOMETRIC, "MONOCHROME2");
        data.put_text(tag::FRAMES, self.frames().to_string());
        data.put_shorts(tag::ROWS, &[rows as u16]);
        data.put_shorts(tag::COLUMNS, &[columns as u16]);
        data.put_shorts(tag::BITS_ALLOCATED, &[bits]);
        data.put_shorts(tag::BITS_STORED, &[bits]);
        data.put_shorts(tag::HIGH_BIT, &[bits - 1]);
        data.put_shorts(tag::PIXEL_REPRESENTATION, &[0]);
        data.put_text(tag::LOSSY, "00");
        data.put_text(tag::SEGMENTS_OVERLAP, "NO");
        match self.options.kind {
            SegKind::Binary => data.put_text(tag::SEGMENTATION_TYPE, "BINARY"),
            SegKind::LabelMap => {
                data.put_text(tag::SEGMENTATION_TYPE, "LABELMAP");
                data.put_shorts(tag::PIXEL_PADDING, &[0]);
            }
        }
    }

    fn put_dimensions(&self, data: &mut DataSet, dimensions: &str) {
        let mut organization = DataSet::default();
        organization.put_text(tag::DIMENSION_ORGANIZATION_UID, dimensions);
        data.put_items(tag::DIMENSION_ORGANIZATIONS, vec![organization]);
        let segment = (
            tag::REFERENCED_SEGMENT,
            tag::SEGMENT_IDENTIFICATION,
            "Segment Number",
        );
        let position = (tag::POSITION, tag::PLANE_POSITION, "Image Position Patient");
        let index = |(pointer, group, label): (Tag, Tag, &str)| {
            let mut item = DataSet::default();
            item.put_text(tag::DIMENSION_ORGANIZATION_UID, dimensions);
            item.put_tag(tag::DIMENSION_INDEX_POINTER, pointer);
            item.put_tag(tag::DIMENSION_GROUP_POINTER, group);
            item.put_text(tag::DIMENSION_LABEL, label);
            item
        };
        let indices = match self.options.kind {
            SegKind::Binary => vec![index(segment), index(position)],
            SegKind::LabelMap => vec![index(position)],
        };
        data.put_items(tag::DIMENSION_INDICES, indices);
    }

    fn segment(&self, segment: &Segment) -> DataSet {
        let class = &segment.class;
        // What 3D Slicer writes for a segment whose kind is not known.
        let tissue = Code {
            value: "85756007".into(),
            scheme: "SCT".into(),
            meaning: "Tissue".into(),
        };
        let mut item = DataSet::default();
        item.put_shorts(tag::SEGMENT_NUMBER, &[segment.number]);
        self.put(&mut item, tag::SEGMENT_LABEL, &class.name, 64);
        item.put_text(tag::SEGMENT_DESCRIPTION, format!("label {}", segment.label));
        item.put_text(tag::ALGORITHM_TYPE, "AUTOMATIC");
        self.put(&mut item, tag::ALGORITHM_NAME, &self.options.algorithm, 64);
        item.put_shorts(tag::DISPLAY_CIELAB, &cielab(class.colour));
        let category = class.category.as_ref().unwrap_or(&tissue);
        let kind = class.kind.as_ref().unwrap_or(&tissue);
        item.put_items(tag::PROPERTY_CATEGORY, vec![self.code(category)]);
        item.put_items(tag::PROPERTY_TYPE, vec![self.code(kind)]);
        item
    }

    fn code(&self, code: &Code) -> DataSet {
        let mut item = DataSet::default();
        self.put(&mut item, tag::CODE_VALUE, &code.value, 16);
        self.put(&mut item, tag::CODING_SCHEME, &code.scheme, 16);
        self.put(&mut item, tag::CODE_MEANING, &code.meaning, 64);
        item
    }

    /// A concept of DICOM's own terminology.
    fn dicom_code(&self, value: &str, meaning: &str) -> DataSet {
        self.code(&Code {
            value: value.into(),
            scheme: "DCM".into(),
            meaning: meaning.into(),
        })
    }

    /// The images that the segmentation was made from.
    fn put_references(&self, data: &mut DataSet) {
        // An image of several frames is one.
        let mut seen = HashSet::new();
        let mut instances = Vec::new();
        for source in &self.origin.slices {
            if seen.insert(source.sop_instance) {
                instances.push(reference(source));
            }
        }
        let mut series = DataSet::default();
        series.put_text(tag::SERIES_INSTANCE, self.origin.series);
        series.put_items(tag::REFERENCED_INSTANCES, instances);
        data.put_items(tag::REFERENCED_SERIES, vec![series]);
    }

    /// What all frames have in common.
    fn put_shared_groups(&self, data: &mut DataSet) {
        let affine = self.series.grid().affine();
        let spacing = affine.spacing();
        let directions = affine.directions();
        let cosine = |row: usize, axis: usize| {
            let sign = if row < 2 { -1.0 } else { 1.0 };
            sign * directions[row][axis]
        };
        let mut cosines = Vec::new();
        for axis in 0..2 {
            cosines.extend((0..3).map(|row| cosine(row, axis)));
        }
        let mut orientation = DataSet::default();
        orientation.put_decimals(tag::ORIENTATION, &cosines);
        let mut measures = DataSet::default();
        // Along the normal, also where slices are shifted sideways.
        let between = self.series.grid().voxel_volume() / (spacing[0] * spacing[1]);
        measures.put_decimals(tag::SLICE_THICKNESS, &[between]);
        measures.put_decimals(tag::SPACING_BETWEEN_SLICES, &[between]);
        measures.put_decimals(tag::PIXEL_SPACING, &[spacing[1], spacing[0]]);
        let mut shared = DataSet::default();
        shared.put_items(tag::PLANE_ORIENTATION, vec![orientation]);
        shared.put_items(tag::PIXEL_MEASURES, vec![measures]);
        data.put_items(tag::SHARED_GROUPS, vec![shared]);
    }

    /// What a frame of slice `k` has of its own.
    fn frame_groups(&self, k: usize, segment: Option<u16>, index: &[u32]) -> DataSet {
        let source = &self.origin.slices[k];
        let mut image = reference(source);
        image.put_text(tag::SPATIAL_LOCATIONS_PRESERVED, "YES");
        let purpose = self.dicom_code("121322", "Source image for image processing operation");
        image.put_items(tag::PURPOSE_OF_REFERENCE, vec![purpose]);
        if let Some(frame) = source.frame {
            image.put_text(tag::REFERENCED_FRAME_NUMBER, frame.to_string());
        }
        let mut derivation = DataSet::default();
        derivation.put_items(tag::SOURCE_IMAGES, vec![image]);
        let segmentation = self.dicom_code("113076", "Segmentation");
        derivation.put_items(tag::DERIVATION_CODES, vec![segmentation]);
        let mut content = DataSet::default();
        content.put_longs(tag::DIMENSION_VALUES, index);
        let mut position = DataSet::default();
        position.put_decimals(tag::POSITION, &source.position);
        let mut groups = DataSet::default();
        groups.put_items(tag::DERIVATION_IMAGES, vec![derivation]);
        groups.put_items(tag::FRAME_CONTENT, vec![content]);
        groups.put_items(tag::PLANE_POSITION, vec![position]);
        if let Some(number) = segment {
            let mut identification = DataSet::default();
            identification.put_shorts(tag::REFERENCED_SEGMENT, &[number]);
            groups.put_items(tag::SEGMENT_IDENTIFICATION, vec![identification]);
        }
        groups
    }

    /// The pixels of a binary segmentation: frames follow each other without filling up bytes.
    pub(crate) fn write_bits(&self, out: &mut impl Write) -> std::io::Result<()> {
        let mut bits = BitWriter::default();
        for segment in &self.segments {
            let label = segment.label.to_le_bytes();
            for &k in &segment.slices {
                let labels = self.slices.unpack(k);
                bits.extend(
                    labels
                        .chunks_exact(self.slices.size)
                        .map(|l| *l == label[..l.len()]),
                );
                out.write_all(&bits.bytes)?;
                bits.bytes.clear();
            }
        }
        if bits.count > 0 {
            out.write_all(&[bits.byte])?;
        }
        let written = (self.frames() * self.slices.area()).div_ceil(8);
        if written % 2 == 1 {
            out.write_all(&[0])?;
        }
        Ok(())
    }

    /// The pixels of a label map: one run-length coded fragment per slice.
    pub(crate) fn write_labels(&self, out: &mut impl Write) -> std::io::Result<()> {
        let mut header = Vec::new();
        for frame in &self.slices.frames {
            header.clear();
            item_header(&mut header, tag::ITEM, frame.len() as u32);
            out.write_all(&header)?;
            out.write_all(frame)?;
        }
        header.clear();
        item_header(&mut header, tag::SEQUENCE_END, 0);
        out.write_all(&header)
    }
}

/// Bits as bytes, the first in the lowest place.
#[derive(Default)]
struct BitWriter {
    bytes: Vec<u8>,
    byte: u8,
    count: u32,
}

impl BitWriter {
    fn extend(&mut self, bits: impl Iterator<Item = bool>) {
        for bit in bits {
            self.byte |= u8::from(bit) << self.count;
            self.count += 1;
            if self.count == 8 {
                self.bytes.push(self.byte);
                (self.byte, self.count) = (0, 0);
            }
        }
    }
}

/// An image that is referred to.
fn reference(source: &SourceFrame) -> DataSet {
    let mut item = DataSet::default();
    item.put_text(tag::REFERENCED_SOP_CLASS, source.sop_class);
    item.put_text(tag::REFERENCED_SOP_INSTANCE, source.sop_instance);
    item
}
