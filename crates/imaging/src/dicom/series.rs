//! Series of slices: found in a folder or archive, ordered, checked, and read slice by slice.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use super::Fault;
use super::data_set::DataSet;
use super::files::{Opener, Place, Seekable, places};
use super::header::{Instance, Plane, Scanned, SeriesFacts, scan};
use super::parse::parse;
use super::pixels::Fragments;
use super::{seg, stack, tag};
use crate::{Element, Grid, ImagingError, Slice, SliceSource, Voxels};

/// HU of air, which padding outside of a CT's field of view becomes.
const AIR: f64 = -1024.0;
/// The highest HU of 12 bits; padding beyond is no measurement.
const HIGHEST_HU: f64 = 3071.0;

/// What a folder, archive or file holds.
#[derive(Debug)]
pub struct Found {
    /// The stacks of slices that can be read, in the order of their series' UIDs. A series whose slices
    /// differ in orientation, size or time is several of them.
    pub series: Vec<Series>,
    /// DICOM files and stacks that cannot be read, and why.
    pub refused: Vec<ImagingError>,
    /// How many files are no DICOM files.
    pub ignored: usize,
}

/// A stack of slices on a regular grid. A clone is cheap.
#[derive(Clone, Debug)]
pub struct Series(Arc<Stack>);

#[derive(Debug)]
struct Stack {
    facts: SeriesFacts,
    /// What sets it apart from other stacks of its series.
    part: Option<String>,
    grid: Grid,
    element: Element,
    instances: Vec<Instance>,
    /// In the order of k.
    planes: Vec<Plane>,
    warnings: Vec<String>,
    /// The attributes of patient and study.
    study: DataSet,
}

/// The files of a series before they are stacked.
struct Group {
    facts: SeriesFacts,
    study: DataSet,
    instances: Vec<Instance>,
    planes: Vec<Plane>,
    /// The images by their UIDs.
    known: HashMap<String, usize>,
    warnings: Vec<String>,
}

impl Series {
    /// Finds the series in a folder and the folders below it, in a zip archive, or in one file. Only headers
    /// are read. Files that are no images or are damaged do not prevent the others from being found.
    ///
    /// # Errors
    /// If the folder or archive cannot be read.
    pub fn find(path: &Path) -> Result<Found, ImagingError> {
        let mut found = Found {
            series: Vec::new(),
            refused: Vec::new(),
            ignored: 0,
        };
        let mut opener = Opener::default();
        let mut groups: HashMap<String, Group> = HashMap::new();
        for place in places(path)? {
            let scanned = opener.stream(&place, |input| match parse(input)? {
                Some(parsed) if is_directory(&parsed.data) => Ok(None),
                Some(parsed) => scan(place.clone(), parsed).map(Some),
                None => Ok(None),
            });
            match scanned {
                Ok(Some(scanned)) => Group::add(&mut groups, scanned),
                Ok(None) => found.ignored += 1,
                Err(error) => found.refused.push(error),
            }
        }
        let mut groups: Vec<Group> = groups.into_values().collect();
        groups.sort_by(|a, b| a.facts.uid.cmp(&b.facts.uid));
        for group in groups {
            group.stack(&mut found);
        }
        Ok(found)
    }

    /// The series' UID.
    pub fn uid(&self) -> &str {
        &self.0.facts.uid
    }

    /// The series' description, which may be empty.
    pub fn description(&self) -> &str {
        &self.0.facts.description
    }

    /// The modality, such as `CT` or `MR`.
    pub fn modality(&self) -> &str {
        &self.0.facts.modality
    }

    /// What sets the stack apart from others of its series, such as `EchoTime 4.6`.
    pub fn part(&self) -> Option<&str> {
        self.0.part.as_deref()
    }

    /// Whether its images show where others lie.
    pub fn is_localizer(&self) -> bool {
        self.0.facts.localizer
    }

    /// Where the voxels lie: i along rows, j along columns, k from slice to slice along the normal.
    pub fn grid(&self) -> &Grid {
        &self.0.grid
    }

    /// What is unusual about the stack, in words.
    pub fn warnings(&self) -> &[String] {
        &self.0.warnings
    }

    /// How many files it has.
    pub fn files(&self) -> usize {
        self.0.instances.len()
    }

    /// Reads it slice by slice.
    pub fn source(&self) -> SeriesSource {
        SeriesSource {
            stack: self.0.clone(),
            opener: Opener::default(),
            open: None,
            next: 0,
        }
    }

    /// The name that messages have for it.
    pub fn name(&self) -> String {
        let stack = &*self.0;
        name(&stack.facts, stack.part.as_deref(), stack.planes.len())
    }

    /// What a segmentation copies from it and refers to.
    pub(crate) fn origin(&self) -> seg::Origin<'_> {
        let stack = &*self.0;
        let slices = stack.planes.iter().map(|plane| {
            let instance = &stack.instances[plane.instance];
            seg::SourceFrame {
                sop_class: &instance.sop_class,
                sop_instance: &instance.sop_instance,
                frame: instance.multi_frame.then_some(plane.frame + 1),
                position: plane.position,
            }
        });
        seg::Origin {
            study: &stack.study,
            series: &stack.facts.uid,
            // Images of one stack are in one space.
            frame_of_reference: &stack.instances[stack.planes[0].instance].frame_of_reference,
            slices: slices.collect(),
        }
    }
}

impl Found {
    /// The one scan that is meant: the stack of the series `uid` if given, otherwise the only one that has
    /// several slices and is no localizer.
    ///
    /// # Errors
    /// If there is none, with the reasons, or if there are several, with their UIDs. `input` is named.
    pub fn one(self, input: &Path, uid: Option<&str>) -> Result<Series, ImagingError> {
        let fault =
            |problem: String, mend| Fault::broken(problem, mend).of(input.display().to_string());
        let wanted = |s: &&Series| match uid {
            Some(uid) => s.uid() == uid,
            None => s.grid().size()[2] > 1 && !s.is_localizer(),
        };
        let mut wanted: Vec<Series> = self.series.iter().filter(wanted).cloned().collect();
        if wanted.is_empty() && uid.is_none() {
            wanted = self.series.clone();
        }
        if wanted.len() == 1 {
            return Ok(wanted.remove(0));
        }
        if wanted.is_empty() {
            // Stacks that are not whole come after files that are no images, and tell more.
            let others = self.refused.len().saturating_sub(1);
            return Err(match (uid, self.refused.into_iter().last()) {
                (None, Some(only)) if others == 0 => only,
                (None, Some(last)) => fault(
                    format!("no scan can be read: {last}, and {others} other files or series"),
                    "give the folder of one whole series",
                ),
                (None, None) => fault(
                    format!("none of its {} files is a DICOM image", self.ignored),
                    "give the folder or zip archive of a series",
                ),
                (Some(uid), _) => fault(
                    format!("it has no readable series {uid}"),
                    "give one of the UIDs of its series",
                ),
            });
        }
        let names: Vec<String> = wanted.iter().map(Series::name).collect();
        let mend = match wanted.iter().all(|s| s.uid() == wanted[0].uid()) {
            true => "they have one UID: put the files of one of them into a folder of their own",
            false => "give the folder of one series, or its UID",
        };
        Err(fault(
            format!("it has {} scans: {}", names.len(), names.join("; ")),
            mend,
        ))
    }
}

fn name(facts: &SeriesFacts, part: Option<&str>, slices: usize) -> String {
    let mut text = format!("series {}", facts.uid);
    if !facts.description.is_empty() {
        text.push_str(&format!(" '{}'", facts.description));
    }
    if let Some(part) = part {
        text.push_str(&format!(", {part}"));
    }
    text.push_str(&format!(" ({} of {slices} slices)", facts.modality));
    text
}

/// Whether a data set lists the files of a medium.
fn is_directory(data: &DataSet) -> bool {
    data.text(tag::MEDIA_SOP_CLASS).as_deref() == Some("1.2.840.10008.1.3.10")
}

impl Group {
    fn add(groups: &mut HashMap<String, Group>, scanned: Scanned) {
        let Scanned {
            facts,
            instance,
            planes,
            data,
        } = scanned;
        let group = groups.entry(facts.uid.clone()).or_insert_with(|| Group {
            facts,
            study: seg::study(&data),
            instances: Vec::new(),
            planes: Vec::new(),
            known: HashMap::new(),
            warnings: Vec::new(),
        });
        let at = group.instances.len();
        if let Some(&first) = group.known.get(&instance.sop_instance) {
            group.warnings.push(format!(
                "{} is the image of {} once more and is left out",
                instance.place, group.instances[first].place
            ));
            return;
        }
        group.known.insert(instance.sop_instance.clone(), at);
        let planes = planes.into_iter();
        group.planes.extend(planes.map(|plane| Plane {
            instance: at,
            ..plane
        }));
        group.instances.push(instance);
    }

    /// Makes stacks of the images.
    fn stack(self, found: &mut Found) {
        let Group {
            facts,
            study,
            instances,
            planes,
            warnings,
            ..
        } = self;
        let size = |plane: &Plane| {
            let format = &instances[plane.instance].format;
            [format.columns, format.rows]
        };
        let id = |plane: &Plane| {
            let id = plane.keys.iter().find(|(name, _)| *name == "StackID");
            let space = instances[plane.instance].frame_of_reference.clone();
            (size(plane), space, id.map(|(_, id)| id.clone()))
        };
        let stacks = stack::split_by_geometry(planes, id);
        let several = stacks.len() > 1;
        for (number, planes) in stacks.into_iter().enumerate() {
            for (key, planes) in stack::part(planes) {
                let orientation = several.then(|| format!("stack {}", number + 1));
                let parts: Vec<String> = orientation.into_iter().chain(key).collect();
                let part = (!parts.is_empty()).then(|| parts.join(", "));
                let file = |plane: &Plane| match &instances[plane.instance] {
                    instance if instance.multi_frame => {
                        format!("{} frame {}", instance.place, plane.frame + 1)
                    }
                    instance => instance.place.to_string(),
                };
                match stack::grid(&planes, size(&planes[0]), file) {
                    Ok((grid, more)) => {
                        let mut warnings = warnings.clone();
                        warnings.extend(more);
                        let facts = facts.clone();
                        let study = study.clone();
                        let stack =
                            Stack::new(facts, part, grid, &instances, planes, warnings, study);
                        found.series.push(Series(Arc::new(stack)));
                    }
                    Err(fault) => {
                        let name = name(&facts, part.as_deref(), planes.len());
                        found.refused.push(fault.of(name));
                    }
                }
            }
        }
    }
}

impl Stack {
    fn new(
        facts: SeriesFacts,
        part: Option<String>,
        grid: Grid,
        all: &[Instance],
        mut planes: Vec<Plane>,
        mut warnings: Vec<String>,
        study: DataSet,
    ) -> Self {
        // Only the files that the stack uses.
        let mut instances: Vec<Instance> = Vec::new();
        let mut moved: HashMap<usize, usize> = HashMap::new();
        for plane in &mut planes {
            plane.instance = *moved.entry(plane.instance).or_insert_with(|| {
                instances.push(all[plane.instance].clone());
                instances.len() - 1
            });
        }
        if instances.iter().any(|i| i.format.inverted) {
            warnings.push("it is MONOCHROME1; values are kept as they are stored".into());
        }
        let elements = instances.iter().map(|i| i.format.element());
        let element = elements.reduce(common).unwrap_or(Element::I16);
        Stack {
            facts,
            part,
            grid,
            element,
            instances,
            planes,
            warnings,
            study,
        }
    }
}

/// A type that holds the numbers of both.
fn common(a: Element, b: Element) -> Element {
    let float = |e| matches!(e, Element::F32 | Element::F64);
    let small = |e: Element| e.bytes() <= 2;
    if a == b {
        a
    } else if float(a) || float(b) {
        Element::F64
    } else if small(a) && small(b) {
        Element::I32
    } else {
        Element::I64
    }
}

/// Reads a series slice by slice, in any order.
pub struct SeriesSource {
    stack: Arc<Stack>,
    opener: Opener,
    /// The file that was read last.
    open: Option<Open>,
    next: usize,
}

struct Open {
    instance: usize,
    input: Box<dyn Seekable>,
    fragments: Option<Fragments>,
}

impl SeriesSource {
    /// Puts slice `k` into `slice`.
    ///
    /// # Errors
    /// If its file cannot be read or decoded.
    ///
    /// # Panics
    /// If there is no such slice.
    pub fn read_slice(&mut self, k: usize, slice: &mut Slice) -> Result<(), ImagingError> {
        let plane = &self.stack.planes[k];
        let instance = &self.stack.instances[plane.instance];
        let open = match &mut self.open {
            Some(open) if open.instance == plane.instance => open,
            open => {
                let needed = instance.format.needed();
                let deflated_from = instance.deflated_from;
                let input = self.opener.open(&instance.place, deflated_from, needed)?;
                open.insert(Open {
                    instance: plane.instance,
                    input,
                    fragments: None,
                })
            }
        };
        let frame = instance.format.frame(
            &mut *open.input,
            &mut open.fragments,
            plane.frame,
            self.stack.element,
        );
        slice.voxels = frame.map_err(|fault| fault.of(instance.place.to_string()))?;
        slice.scale = plane.scale;
        if let Some(padding) = instance.format.padding
            && self.stack.facts.modality == "CT"
        {
            replace_padding(slice, padding);
        }
        Ok(())
    }
}

impl SliceSource for SeriesSource {
    fn grid(&self) -> &Grid {
        &self.stack.grid
    }

    fn element(&self) -> Element {
        self.stack.element
    }

    fn next_slice(&mut self, slice: &mut Slice) -> Result<bool, ImagingError> {
        if self.next == self.stack.planes.len() {
            return Ok(false);
        }
        self.read_slice(self.next, slice)?;
        self.next += 1;
        Ok(true)
    }
}

/// Padding that no CT measures, such as -2000 HU outside of the field of view, becomes air.
fn replace_padding(slice: &mut Slice, (low, high): (i64, i64)) {
    let scale = slice.scale;
    let value = |stored: i64| stored as f64 * scale.slope + scale.intercept;
    let measured = |stored: i64| (AIR..=HIGHEST_HU).contains(&value(stored));
    if measured(low) || measured(high) {
        return;
    }
    let air = ((AIR - scale.intercept) / scale.slope).round() as i64;
    macro_rules! replace {
        ($($variant:ident),*) => {
            match &mut slice.voxels {
                $(Voxels::$variant(voxels) => {
                    let Ok(air) = TryFrom::<i64>::try_from(air) else { return };
                    for v in voxels.iter_mut() {
                        if (low..=high).contains(&i64::from(*v)) {
                            *v = air;
                        }
                    }
                })*
                _ => {}
            }
        };
    }
    replace!(U8, I8, U16, I16, U32, I32);
}

impl SeriesSource {
    /// The file and frame that slice `k` is in, for messages.
    ///
    /// # Panics
    /// If there is no such slice.
    pub fn place(&self, k: usize) -> String {
        let plane = &self.stack.planes[k];
        let place: &Place = &self.stack.instances[plane.instance].place;
        match self.stack.instances[plane.instance].multi_frame {
            true => format!("{place} frame {}", plane.frame + 1),
            false => place.to_string(),
        }
    }
}
