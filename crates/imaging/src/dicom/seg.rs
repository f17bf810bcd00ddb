//! DICOM segmentations: a label map written as a SEG object that refers to the images it was made from.
//!
//! `BINARY` (Segmentation Storage) has a bit per pixel and a frame for every slice that a class occurs in;
//! every viewer of segmentations reads it. `LABELMAP` (Label Map Segmentation Storage, supplement 243) has a
//! number per pixel and one frame per slice; it is smaller, and read by newer viewers alone.
//!
//! The same labels of the same series give the same bytes, UIDs included.

use std::io::Write;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::codec::rle;
use super::data_set::{DataSet, Value};
use super::encode::{encode_item, encode_meta, header, item_header};
use super::syntax::{EXPLICIT_UID, RLE_UID};
use super::tag::{self, Tag};
use super::{Fault, Series, uid};
use crate::whole::WholeFile;
use crate::{Class, Code, ImagingError, LabelMap, Labels, distinct_colour};

/// Which kind of segmentation is written.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum SegKind {
    /// A bit per pixel, for every viewer.
    #[default]
    Binary,
    /// A number per pixel, run-length coded, for viewers of 2025 and later.
    LabelMap,
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

/// Writes a label map on the grid of `series` as a DICOM segmentation, at once or not at all.
///
/// Classes that do not occur are left out, as viewers stumble over empty segments; where none occurs, the
/// first class has one empty frame.
///
/// # Errors
/// If the label map is not on the series' grid, is too large for the kind, or the file cannot be written.
pub fn write_seg(
    path: &Path,
    map: &LabelMap,
    series: &Series,
    options: &SegOptions,
) -> Result<(), ImagingError> {
    if map.grid() != series.grid() {
        return Err(Fault::broken(
            format!(
                "a label map of {:?} voxels is not on the grid of {}",
                map.grid().size(),
                series.name()
            ),
            "bring it back to the grid of the scan first",
        )
        .of(path.display().to_string()));
    }
    let segmentation = Segmentation::new(map, series, options);
    let io = |e| ImagingError::io(path, e);
    let header = segmentation
        .header(map)
        .map_err(|f| f.of(path.display().to_string()))?;
    let mut out = WholeFile::create(path)?;
    out.write_all(&header).map_err(io)?;
    match options.kind {
        SegKind::Binary => segmentation.write_bits(map, &mut out).map_err(io)?,
        SegKind::LabelMap => segmentation.write_labels(map, &mut out).map_err(io)?,
    }
    out.finish()
}

/// A segment and the slices it is in.
struct Segment {
    label: u16,
    number: u16,
    class: Class,
    slices: Vec<usize>,
}

struct Segmentation<'a> {
    origin: Origin<'a>,
    series: &'a Series,
    options: &'a SegOptions,
    segments: Vec<Segment>,
    /// Whether texts may be beyond ASCII.
    unicode: bool,
}

impl<'a> Segmentation<'a> {
    fn new(map: &LabelMap, series: &'a Series, options: &'a SegOptions) -> Self {
        let origin = series.origin();
        let named = |label: u16| {
            let class = map.classes().get(label).cloned();
            class.unwrap_or_else(|| Class {
                label,
                name: format!("label {label}"),
                colour: distinct_colour(label),
                category: None,
                kind: None,
            })
        };
        let mut occurring = slices_of_labels(map);
        if occurring.is_empty() {
            let first = map.classes().classes().first().map_or(1, |c| c.label);
            occurring.push((first, vec![0]));
        }
        let segments = (1..)
            .zip(occurring)
            .map(|(number, (label, slices))| Segment {
                label,
                // Numbers of a label map are its pixels; those of bits count from 1.
                number: match options.kind {
                    SegKind::Binary => number,
                    SegKind::LabelMap => label,
                },
                class: named(label),
                slices,
            });
        let charset = origin.study.text(tag::CHARACTER_SET);
        let unicode = charset.is_none_or(|c| matches!(c.as_str(), "ISO_IR 6" | "ISO_IR 192"));
        Segmentation {
            segments: segments.collect(),
            origin,
            series,
            options,
            unicode,
        }
    }

    /// A text in the source's character set, shortened to what is allowed.
    fn text(&self, text: &str, most: usize) -> String {
        let letter = |c: char| match c {
            '\\' => '/',
            c if c.is_control() => ' ',
            c if c.is_ascii() || self.unicode => c,
            _ => '?',
        };
        text.chars().map(letter).take(most).collect()
    }

    /// Everything before the pixels, their element's header included.
    fn header(&self, map: &LabelMap) -> Result<Vec<u8>, Fault> {
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
        let checksum = checksum(map);
        let instance = unique("instance", &checksum);
        let dimensions = unique("dimensions", &checksum);
        let mut data = DataSet::default();
        data.put_text(tag::SOP_CLASS, class);
        data.put_text(tag::SOP_INSTANCE, &instance);
        data.put_text(tag::SERIES_INSTANCE, unique("series", &[]));
        self.put_study(&mut data);
        self.put_series(&mut data);
        self.put_image(&mut data, map);
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
                let [columns, rows, _] = map.grid().size();
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
            Some(set) if !self.unicode => {
                data.insert(tag::CHARACTER_SET, *b"CS", Value::Bytes(set.to_vec()));
            }
            _ => data.put_text(tag::CHARACTER_SET, "ISO_IR 192"),
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
        data.put_text(tag::SERIES_DESCRIPTION, self.text(&description, 64));
        data.put_text(tag::CONTENT_LABEL, "SEGMENTATION");
        data.put_text(tag::CONTENT_DESCRIPTION, DISCLAIMER);
        data.put_text(tag::CONTENT_CREATOR, "");
        data.put_text(tag::MANUFACTURER, "slicewise");
        data.put_text(tag::MODEL_NAME, self.text(model, 64));
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

    fn put_image(&self, data: &mut DataSet, map: &LabelMap) {
        let [columns, rows, _] = map.grid().size();
        let bits = match (self.options.kind, map.labels()) {
            (SegKind::Binary, _) => 1,
            (SegKind::LabelMap, Labels::U8(_)) => 8,
            (SegKind::LabelMap, Labels::U16(_)) => 16,
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
        item.put_text(tag::SEGMENT_LABEL, self.text(&class.name, 64));
        item.put_text(tag::SEGMENT_DESCRIPTION, format!("label {}", segment.label));
        item.put_text(tag::ALGORITHM_TYPE, "AUTOMATIC");
        item.put_text(tag::ALGORITHM_NAME, self.text(&self.options.algorithm, 64));
        item.put_shorts(tag::DISPLAY_CIELAB, &cielab(class.colour));
        let category = class.category.as_ref().unwrap_or(&tissue);
        let kind = class.kind.as_ref().unwrap_or(&tissue);
        item.put_items(tag::PROPERTY_CATEGORY, vec![self.code(category)]);
        item.put_items(tag::PROPERTY_TYPE, vec![self.code(kind)]);
        item
    }

    fn code(&self, code: &Code) -> DataSet {
        let mut item = DataSet::default();
        item.put_text(tag::CODE_VALUE, self.text(&code.value, 16));
        item.put_text(tag::CODING_SCHEME, self.text(&code.scheme, 16));
        item.put_text(tag::CODE_MEANING, self.text(&code.meaning, 64));
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
        let mut instances: Vec<DataSet> = Vec::new();
        let mut last = "";
        for source in &self.origin.slices {
            // Frames of one file follow each other, as a file is one series' stack.
            if source.sop_instance != last {
                instances.push(reference(source));
                last = source.sop_instance;
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
    fn write_bits(&self, map: &LabelMap, out: &mut impl Write) -> std::io::Result<()> {
        let [columns, rows, _] = map.grid().size();
        let area = columns * rows;
        let mut bits = BitWriter::default();
        for segment in &self.segments {
            for &k in &segment.slices {
                match map.labels() {
                    Labels::U8(labels) => {
                        let slice = &labels[k * area..][..area];
                        bits.extend(slice.iter().map(|&l| u16::from(l) == segment.label));
                    }
                    Labels::U16(labels) => {
                        let slice = &labels[k * area..][..area];
                        bits.extend(slice.iter().map(|&l| l == segment.label));
                    }
                }
                out.write_all(&bits.bytes)?;
                bits.bytes.clear();
            }
        }
        let written = (self.frames() * area).div_ceil(8);
        if bits.count > 0 {
            out.write_all(&[bits.byte])?;
        }
        if written % 2 == 1 {
            out.write_all(&[0])?;
        }
        Ok(())
    }

    /// The pixels of a label map: one run-length coded fragment per slice.
    fn write_labels(&self, map: &LabelMap, out: &mut impl Write) -> std::io::Result<()> {
        let [columns, rows, slices] = map.grid().size();
        let area = columns * rows;
        let mut header = Vec::new();
        for k in 0..slices {
            let frame = match map.labels() {
                Labels::U8(labels) => rle::encode(&labels[k * area..][..area], columns, 1),
                Labels::U16(labels) => {
                    let slice = labels[k * area..][..area].iter();
                    let bytes: Vec<u8> = slice.flat_map(|l| l.to_le_bytes()).collect();
                    rle::encode(&bytes, columns, 2)
                }
            };
            header.clear();
            item_header(&mut header, tag::ITEM, frame.len() as u32);
            out.write_all(&header)?;
            out.write_all(&frame)?;
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

/// The labels that occur, ascending, and the slices that each is in.
fn slices_of_labels(map: &LabelMap) -> Vec<(u16, Vec<usize>)> {
    let [columns, rows, slices] = map.grid().size();
    let area = columns * rows;
    let mut found: std::collections::BTreeMap<u16, Vec<usize>> = Default::default();
    let mut seen = vec![usize::MAX; 1 << 16];
    for k in 0..slices {
        for at in k * area..(k + 1) * area {
            let label = map.labels().get(at);
            if label != 0 && seen[usize::from(label)] != k {
                seen[usize::from(label)] = k;
                found.entry(label).or_default().push(k);
            }
        }
    }
    found.into_iter().collect()
}

/// A checksum of all labels.
fn checksum(map: &LabelMap) -> [u8; 32] {
    let mut hash = Sha256::new();
    match map.labels() {
        Labels::U8(labels) => hash.update(labels),
        Labels::U16(labels) => labels.iter().for_each(|l| hash.update(l.to_le_bytes())),
    }
    hash.finalize().into()
}

/// An image that is referred to.
fn reference(source: &SourceFrame) -> DataSet {
    let mut item = DataSet::default();
    item.put_text(tag::REFERENCED_SOP_CLASS, source.sop_class);
    item.put_text(tag::REFERENCED_SOP_INSTANCE, source.sop_instance);
    item
}

/// An sRGB colour in CIELab, each coordinate as 16 bits (PS3.3, C.10.7.1.1). The white is D65, although
/// ICC's is D50: highdicom, dcmqi and OHIF all convert so, and thus show the very colour that was meant.
fn cielab(colour: [u8; 3]) -> [u16; 3] {
    let linear = colour.map(|c| {
        let c = f64::from(c) / 255.0;
        match c <= 0.04045 {
            true => c / 12.92,
            false => ((c + 0.055) / 1.055).powf(2.4),
        }
    });
    // IEC 61966-2-1.
    let matrix = [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ];
    let white = [0.95047, 1.0, 1.08883];
    let mut f = [0.0; 3];
    for row in 0..3 {
        let sum: f64 = (0..3).map(|c| matrix[row][c] * linear[c]).sum();
        let t: f64 = sum / white[row];
        f[row] = match t > 216.0 / 24389.0 {
            true => t.cbrt(),
            false => (24389.0 / 27.0 * t + 16.0) / 116.0,
        };
    }
    let lightness = 116.0 * f[1] - 16.0;
    let (a, b) = (500.0 * (f[0] - f[1]), 200.0 * (f[1] - f[2]));
    let code = |share: f64| (share.clamp(0.0, 1.0) * 65535.0).round() as u16;
    [
        code(lightness / 100.0),
        code((a + 128.0) / 255.0),
        code((b + 128.0) / 255.0),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_what_highdicom_makes_of_them() {
        // highdicom.color.CIELabColor.from_rgb, 0.28.
        for (colour, want) in [
            ([255, 0, 0], [34886, 53484, 50172]),
            ([10, 200, 130], [46887, 18039, 38959]),
        ] {
            for (got, want) in cielab(colour).into_iter().zip(want) {
                assert!(
                    got.abs_diff(want) <= 4,
                    "{colour:?}: {got} instead of {want}"
                );
            }
        }
    }
}
