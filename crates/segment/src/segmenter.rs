//! A model ready to run, and scans taken through it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Instant;

use slicewise_engines::{CompileOptions, Engine, EngineInfo, Precision, Session};
use slicewise_graph::Task;
use slicewise_imaging::dicom::{SegKind, SegOptions, SegWriter};
use slicewise_imaging::nifti::LabelWriter;
use slicewise_imaging::whole::WholeFile;
use slicewise_imaging::{
    Grid, ImagingError, Labels, Orientation, Scan, Slice, SliceSource, Volume, scan, tables,
};

use crate::bundle::{Bundle, Interface, interface};
use crate::components::{fill_holes, keep_largest};
use crate::feed::{Feed, Reader};
use crate::forecast::{Forecast, Needs};
use crate::images::Images;
use crate::intensity::{Moments, Sums};
use crate::manifest::StatisticsFile;
use crate::pipeline::{self, Done, Watch};
use crate::preview::Preview;
use crate::restore::{Restore, background, vote};
use crate::statistics::Statistics;
use crate::timing::Clock;
use crate::{Card, ClassStatistics, Intensity, PostProcess, SegmentError, Slicing, Timing, View};

/// The number of a segmentation's series within its study: far from those of scanners.
const SEGMENTATION_SERIES: u32 = 9000;

/// What a model is made ready for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Options {
    /// What the network computes in.
    pub precision: Precision,
    /// Threads of the network.
    pub threads: usize,
    /// Images per run; more than one only for a bundle with an open batch.
    pub batch: usize,
}

/// What is asked for of one scan.
#[derive(Clone, PartialEq, Debug)]
pub struct Request {
    /// The scan.
    pub input: PathBuf,
    /// Which of its volumes, 0 being the first.
    pub volume: usize,
    /// The UID of the series, for a DICOM folder or archive that holds several.
    pub series: Option<String>,
    /// One view, or an odd number of them that vote.
    pub views: Vec<View>,
    /// What becomes of values, in place of what the bundle says.
    pub intensity: Option<Intensity>,
    /// What is done to the label map, in place of what the bundle says.
    pub post_process: Option<PostProcess>,
    /// What to write.
    pub outputs: OutputFiles,
    /// Memory that is free, in bytes; `None` where it is not known.
    pub free_memory: Option<u64>,
}

/// The files that are written; folders must be there.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct OutputFiles {
    /// The label map, NIfTI.
    pub labels: PathBuf,
    /// ITK-SNAP's label descriptions.
    pub snap: PathBuf,
    /// 3D Slicer's colour table.
    pub slicer: PathBuf,
    /// Figures per class, if wanted.
    pub statistics: Option<PathBuf>,
    /// A picture, if wanted.
    pub preview: Option<PathBuf>,
    /// A DICOM segmentation and its kind, if wanted; only of a scan that is a DICOM series.
    pub segmentation: Option<(PathBuf, SegKind)>,
}

impl OutputFiles {
    /// All files that are written.
    pub fn all(&self) -> Vec<&Path> {
        let must = [&self.labels, &self.snap, &self.slicer].map(PathBuf::as_path);
        let segmentation = self.segmentation.as_ref().map(|(path, _)| path.as_path());
        let may = [
            self.statistics.as_deref(),
            self.preview.as_deref(),
            segmentation,
        ];
        must.into_iter().chain(may.into_iter().flatten()).collect()
    }
}

/// What became of a scan.
#[derive(Clone, PartialEq, Debug)]
pub struct Segmented {
    /// Where its voxels lie.
    pub grid: Grid,
    /// The scan's format.
    pub format: &'static str,
    /// What is doubtful about it.
    pub warnings: Vec<String>,
    /// Where the time went.
    pub timing: Timing,
    /// Figures per class, if they were asked for.
    pub statistics: Option<Vec<ClassStatistics>>,
}

/// A model ready to run.
pub struct Segmenter {
    session: Box<dyn Session>,
    interface: Interface,
    card: Card,
    orientation: Orientation,
    sha256: String,
    engine: EngineInfo,
    options: Options,
}

impl Segmenter {
    /// Makes a bundle ready on an engine.
    ///
    /// # Errors
    /// If the engine cannot run the network as asked.
    pub fn new(
        bundle: &Bundle,
        engine: &dyn Engine,
        options: Options,
    ) -> Result<Self, SegmentError> {
        let interface = interface(&bundle.graph).map_err(SegmentError::Options)?;
        let inputs = bundle.graph.inputs();
        let batch = inputs.first().and_then(|&id| {
            let dims = bundle.graph.node(id).shape.dims();
            dims.first().and_then(|d| d.fixed())
        });
        if let Some(fixed) = batch.filter(|&b| b != options.batch) {
            return Err(SegmentError::Options(format!(
                "the bundle takes {fixed} image(s) per run, not {}; export it with --batch dynamic",
                options.batch
            )));
        }
        let session = engine.compile(
            &bundle.graph,
            &CompileOptions {
                task: Task::Labels,
                precision: options.precision,
                threads: options.threads,
                batch: options.batch,
            },
        )?;
        Ok(Segmenter {
            session,
            interface,
            orientation: bundle.card.orientation().map_err(SegmentError::Options)?,
            card: bundle.card.clone(),
            sha256: bundle.sha256.clone(),
            engine: engine.info().clone(),
            options,
        })
    }

    /// What the bundle says about the model.
    pub fn card(&self) -> &Card {
        &self.card
    }

    /// The bundle's SHA-256.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// The engine.
    pub fn engine(&self) -> &EngineInfo {
        &self.engine
    }

    /// What the model was made ready for.
    pub fn options(&self) -> Options {
        self.options
    }

    /// What the engine says of its session.
    pub fn settings(&self) -> Vec<(String, String)> {
        self.session.settings()
    }

    /// Segments a scan and writes every output but the manifest. `progress` is told how many images of how
    /// many are done; `stop` is asked between images whether to end.
    ///
    /// # Errors
    /// If the scan cannot be read, does not fit into memory, or an output cannot be written. Outputs that
    /// were finished before stay.
    pub fn segment(
        &mut self,
        request: &Request,
        progress: &mut dyn FnMut(usize, usize),
        stop: &(dyn Fn() -> bool + Sync),
    ) -> Result<Segmented, SegmentError> {
        let begin = Instant::now();
        let mut timing = Timing::default();
        let scan = open(request)?;
        let plan = self.plan(request, &scan)?;
        let mut outputs = Outputs::create(request, &scan, &self.card, plan.wide)?;
        let mut watch = Watch {
            stop,
            progress,
            done: 0,
            total: plan.slicings.iter().map(|s| s.size[2]).sum(),
        };
        let grid = scan.grid().clone();
        let Scan {
            mut source,
            format,
            warnings,
            ..
        } = scan;
        match plan.whole {
            false => self.stream(
                &plan,
                request,
                &mut *source,
                &mut outputs,
                &mut watch,
                &mut timing,
            ),
            true => self.whole(&plan, &mut *source, &mut outputs, &mut watch, &mut timing),
        }?;
        let mut write = Clock::default();
        let statistics = write.time(|| outputs.finish(request, &self.card, &plan.intensity))?;
        timing.write_ms += write.ms();
        timing.wall_ms = begin.elapsed().as_secs_f64() * 1e3;
        Ok(Segmented {
            grid,
            format,
            warnings,
            timing,
            statistics,
        })
    }

    /// How a scan is taken through the network; refuses what does not fit into memory.
    fn plan(&self, request: &Request, scan: &Scan) -> Result<Plan, SegmentError> {
        let grid = scan.grid();
        let intensity = request.intensity.as_ref();
        let intensity = intensity.unwrap_or(&self.card.input.intensity).clone();
        let checked = intensity.check(self.interface.channels);
        checked.map_err(SegmentError::Options)?;
        let post = request.post_process.as_ref();
        let post = post.unwrap_or(&self.card.post_process).clone();
        if request.views.len().is_multiple_of(2) {
            return Err(SegmentError::Options(
                "views vote, so their number must be odd".into(),
            ));
        }
        let views = request.views.iter();
        let slicings: Vec<Slicing> = views
            .map(|view| Slicing::new(grid, view.orientation(self.orientation, grid)))
            .collect();
        let streams = slicings.len() == 1 && slicings[0].axis == 2 && post.is_empty();
        let wide = Restore::is_wide(self.interface, self.card.first_label);
        let needs = Needs {
            interface: self.interface,
            wide,
            batch: self.options.batch,
            slices: self.card.input.slices,
            label_maps: match (streams, slicings.len()) {
                (true, _) => 0,
                (false, 1) => 1,
                (false, views) => views + 1,
            },
            whole_scan: !streams,
            components: !post.is_empty(),
        };
        let forecast = Forecast::new(grid, scan.source.element(), &needs);
        let what = request.input.display().to_string();
        forecast.check(&what, request.free_memory)?;
        Ok(Plan {
            slicings,
            intensity,
            post,
            wide,
            whole: !streams,
        })
    }

    fn images(&self, plan: &Plan, scan: Option<Moments>) -> Images {
        Images {
            interface: self.interface,
            intensity: plan.intensity.clone(),
            slices: self.card.input.slices,
            scan,
        }
    }

    /// Slice by slice: a slice is written before the next but few is read.
    fn stream(
        &mut self,
        plan: &Plan,
        request: &Request,
        source: &mut dyn SliceSource,
        outputs: &mut Outputs,
        watch: &mut Watch<'_>,
        timing: &mut Timing,
    ) -> Result<(), SegmentError> {
        let slicing = plan.slicings[0];
        let mut clock = Clock::default();
        let moments = match plan.intensity.needs_scan() {
            true => Some(clock.time(|| {
                let mut first_pass = open(request)?;
                scan_moments(&mut *first_pass.source, &plan.intensity)
            })?),
            false => None,
        };
        timing.read_ms += clock.ms();
        let images = self.images(plan, moments);
        let [columns, rows, _] = slicing.size;
        let restore = Restore::new(self.interface, self.card.first_label, &slicing);
        let reader = Reader {
            feed: Feed::File(source),
            slicing,
            images: &images,
            read: Clock::default(),
            prepare: Clock::default(),
        };
        let wide = plan.wide;
        let write = |done: Done| {
            for (n, (index, slice)) in done.images.into_iter().enumerate() {
                let mut labels = background(columns * rows, wide);
                let fits = restore.put(&done.labels, n, slicing.in_file_slice(), &mut labels);
                let (true, Some(slice)) = (fits, slice) else {
                    return Err(no_labels());
                };
                outputs.slice(index, labels, &slice)?;
            }
            Ok(())
        };
        let batch = self.options.batch;
        pipeline::run(&mut *self.session, batch, reader, write, watch, timing)
    }

    /// With scan and label map in memory: for other axes, several views, and post-processing.
    fn whole(
        &mut self,
        plan: &Plan,
        source: &mut dyn SliceSource,
        outputs: &mut Outputs,
        watch: &mut Watch<'_>,
        timing: &mut Timing,
    ) -> Result<(), SegmentError> {
        let mut read = Clock::default();
        let volume = read.time(|| Volume::read(source))?;
        let moments = plan.intensity.needs_scan().then(|| {
            let mut sums = Sums::default();
            for k in 0..volume.grid().size()[2] {
                add_slice(&mut sums, &volume.slice(k), &plan.intensity);
            }
            sums.moments()
        });
        timing.read_ms += read.ms();
        let images = self.images(plan, moments);
        let mut views = Vec::new();
        for slicing in &plan.slicings {
            let mut labels = background(volume.grid().voxels(), plan.wide);
            let restore = Restore::new(self.interface, self.card.first_label, slicing);
            let reader = Reader {
                feed: Feed::Volume(&volume),
                slicing: *slicing,
                images: &images,
                read: Clock::default(),
                prepare: Clock::default(),
            };
            let write = |done: Done| {
                for (n, (index, _)) in done.images.into_iter().enumerate() {
                    if !restore.put(&done.labels, n, slicing.image(index), &mut labels) {
                        return Err(no_labels());
                    }
                }
                Ok(())
            };
            let batch = self.options.batch;
            pipeline::run(&mut *self.session, batch, reader, write, watch, timing)?;
            views.push(labels);
        }
        let mut post = Clock::default();
        let labels = post.time(|| {
            let mut labels = vote(views).unwrap_or_else(|| background(0, false));
            post_process(volume.grid().size(), &mut labels, &plan.post);
            labels
        });
        timing.post_process_ms += post.ms();
        let mut write = Clock::default();
        let [ni, nj, nk] = volume.grid().size();
        for k in 0..nk {
            let range = k * ni * nj..(k + 1) * ni * nj;
            let of_slice = match &labels {
                Labels::U8(v) => Labels::U8(v[range].to_vec()),
                Labels::U16(v) => Labels::U16(v[range].to_vec()),
            };
            write.time(|| outputs.slice(k, of_slice, &volume.slice(k)))?;
        }
        timing.write_ms += write.ms();
        Ok(())
    }
}

/// Opens the scan of a request.
fn open(request: &Request) -> Result<Scan, ImagingError> {
    let scan = match &request.series {
        Some(uid) => scan::open_series(&request.input, uid),
        None => scan::open(&request.input, request.volume),
    }?;
    if request.volume >= scan.volumes {
        return Err(ImagingError::Unsupported {
            file: request.input.display().to_string(),
            problem: format!(
                "volume {} of {} was asked for",
                request.volume + 1,
                scan.volumes
            ),
            mend: "choose one that is there",
        });
    }
    Ok(scan)
}

/// How a scan is taken through the network.
struct Plan {
    slicings: Vec<Slicing>,
    intensity: Intensity,
    post: PostProcess,
    wide: bool,
    /// Whether scan and label map are held in memory.
    whole: bool,
}

fn no_labels() -> SegmentError {
    SegmentError::Options("the network's output is no label map of the expected type".into())
}

fn post_process(size: [usize; 3], labels: &mut Labels, post: &PostProcess) {
    let largest: BTreeSet<u16> = post.largest_component.iter().copied().collect();
    let holes: BTreeSet<u16> = post.fill_holes.iter().copied().collect();
    match labels {
        Labels::U8(v) => {
            (!largest.is_empty()).then(|| keep_largest(size, v, &largest));
            fill_holes(size, v, &holes);
        }
        Labels::U16(v) => {
            (!largest.is_empty()).then(|| keep_largest(size, v, &largest));
            fill_holes(size, v, &holes);
        }
    }
}

fn scan_moments(
    source: &mut dyn SliceSource,
    intensity: &Intensity,
) -> Result<Moments, SegmentError> {
    let mut slice = Slice::of(source);
    let mut sums = Sums::default();
    while source.next_slice(&mut slice)? {
        add_slice(&mut sums, &slice, intensity);
    }
    Ok(sums.moments())
}

fn add_slice(sums: &mut Sums, slice: &Slice, intensity: &Intensity) {
    let mut values = vec![0f32; slice.voxels.len()];
    slice.values(&mut values);
    intensity.clip(&mut values);
    sums.add(&values);
}

/// The DICOM segmentation that a request asks for.
fn segmentation(
    request: &Request,
    scan: &Scan,
    card: &Card,
    wide: bool,
) -> Result<Option<SegWriter>, SegmentError> {
    let Some((path, kind)) = &request.outputs.segmentation else {
        return Ok(None);
    };
    let Some(series) = &scan.series else {
        return Err(SegmentError::Options(format!(
            "{}: a DICOM segmentation refers to the images of a DICOM series, and this is {}; leave it out",
            request.input.display(),
            scan.format
        )));
    };
    let options = SegOptions {
        kind: *kind,
        algorithm: [&*card.name, &*card.version].join(" ").trim().to_owned(),
        series_number: SEGMENTATION_SERIES,
        created: None,
    };
    let writer = SegWriter::new(path, series, wide, &card.classes, options);
    Ok(Some(writer))
}

/// Everything that is made of a label map as its slices come by, in the order of the file.
struct Outputs {
    writer: LabelWriter,
    segmentation: Option<SegWriter>,
    statistics: Option<Statistics>,
    preview: Option<Preview>,
    grid: Grid,
    values: Vec<f32>,
}

impl Outputs {
    fn create(
        request: &Request,
        scan: &Scan,
        card: &Card,
        wide: bool,
    ) -> Result<Self, SegmentError> {
        let files = &request.outputs;
        let grid = scan.grid().clone();
        Ok(Outputs {
            segmentation: segmentation(request, scan, card, wide)?,
            writer: LabelWriter::create(&files.labels, &scan.header, &grid, wide, &card.classes)?,
            statistics: (files.statistics.as_ref()).map(|_| Statistics::new(&card.classes)),
            preview: files.preview.as_ref().map(|_| Preview::new(&grid)),
            values: Vec::new(),
            grid,
        })
    }

    /// Takes slice `k` of the file.
    fn slice(&mut self, k: usize, labels: Labels, slice: &Slice) -> Result<(), SegmentError> {
        let size = self.grid.size();
        if self.statistics.is_some() || self.preview.is_some() {
            self.values.resize(size[0] * size[1], 0.0);
            slice.values(&mut self.values);
        }
        if let Some(statistics) = &mut self.statistics {
            statistics.add(k, size[0], &labels, &self.values);
        }
        if let Some(preview) = &mut self.preview {
            preview.add(k, &labels, &self.values);
        }
        if let Some(segmentation) = &mut self.segmentation {
            segmentation.write(&labels)?;
        }
        Ok(self.writer.write(&labels)?)
    }

    fn finish(
        self,
        request: &Request,
        card: &Card,
        intensity: &Intensity,
    ) -> Result<Option<Vec<ClassStatistics>>, SegmentError> {
        let files = &request.outputs;
        self.writer.finish()?;
        if let Some(segmentation) = self.segmentation {
            segmentation.finish()?;
        }
        WholeFile::write(&files.snap, tables::itk_snap(&card.classes).as_bytes())?;
        WholeFile::write(&files.slicer, tables::slicer(&card.classes).as_bytes())?;
        let statistics = self.statistics.map(|s| s.finish(&self.grid, &card.classes));
        if let (Some(path), Some(classes)) = (&files.statistics, &statistics) {
            let text = StatisticsFile::text(&self.grid, classes);
            WholeFile::write(path, text.as_bytes())?;
        }
        if let (Some(path), Some(preview)) = (&files.preview, &self.preview) {
            WholeFile::write(path, &preview.png(&card.classes, intensity.clip)?)?;
        }
        Ok(statistics)
    }
}
