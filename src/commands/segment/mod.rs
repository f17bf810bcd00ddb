//! `slicewise segment INPUT... -o OUT --model BUNDLE`

mod status;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Context, bail};
use slicewise_bench::machine::Machine;
use slicewise_engines::{self as engines, CompileOptions, Precision};
use slicewise_imaging::dicom::SegKind;
use slicewise_imaging::{ImagingError, whole};
use slicewise_segment::bundle;
use slicewise_segment::cases::{self, Case, Place};
use slicewise_segment::manifest::{Asked, Manifest};
use slicewise_segment::{
    Card, Intensity, Options, PostProcess, Request, SegmentError, Segmenter, ShardChoice, View,
};

use crate::failure::{INTERRUPTED, Usage};
use crate::options;
use status::{Mode, Outcome, Status};

/// The exit code of a run in which `n` scans failed is this and `n`, up to 100.
const SCANS_FAILED: usize = 10;
const MOST: usize = 100;

/// Ctrl-C was pressed.
static INTERRUPT: AtomicBool = AtomicBool::new(false);

/// Segment scans slice by slice: a label map for every scan, on its grid.
///
/// INPUT is a scan (.nii, .nii.gz, .hdr, .mha, .mhd, .nrrd, .nhdr, a DICOM file or zip archive, a folder with
/// DICOM files in it) or a folder of scans, which become a folder of the same shape. For every scan NAME there are then NAME.nii.gz (labels, with the scan's own affine),
/// NAME.ctbl (3D Slicer), NAME.labels.txt (ITK-SNAP) and NAME.manifest.json, which is written last: scans
/// whose manifest says that the same was done already are skipped. One bad scan does not stop the others.
///
/// The bundle says how the input is made: window, orientation, neighbouring slices. Slices of another size
/// than the network's are resized (linearly, half-pixel), and labels come back to the nearest voxel.
///
/// For research; not a medical device.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  slicewise segment ct.nii.gz -o labels.nii.gz --model organs.onnx
  slicewise segment scans/ -o labels/ --model organs.onnx --statistics --preview
  slicewise segment series/ -o labels/ --model organs.onnx --dicom-seg
  slicewise segment scans/ -o labels/ --model organs.onnx --shard 2/8
  slicewise segment scans/ -o labels/ --model organs.onnx --shard auto --progress json

Exit codes: 0 all done, 10 + the number of scans that failed (100 for 90 or more), 1 nothing could be
begun, 2 bad usage, 130 interrupted.")]
pub(crate) struct Args {
    /// Scans, or folders of scans
    #[arg(required = true)]
    input: Vec<PathBuf>,
    /// The folder for label maps, or for one scan the name of its label map (.nii or .nii.gz)
    #[arg(short, long, value_name = "OUT")]
    output: PathBuf,
    /// The model: a bundle that models export wrote
    #[arg(long, value_name = "BUNDLE.onnx")]
    model: PathBuf,
    /// native, onnxruntime, openvino, torch or torch-compile
    #[arg(long, default_value = "native")]
    engine: String,
    /// f32, bf16 or int8
    #[arg(long, default_value_t = Precision::F32)]
    precision: Precision,
    /// Threads of the network [default: all that this process may use]
    #[arg(long, value_name = "N", value_parser = options::threads)]
    threads: Option<usize>,
    /// Images per run, for a bundle with an open batch
    #[arg(long, value_name = "N", default_value = "1", value_parser = options::threads)]
    batch: usize,
    /// The window instead of the bundle's: ct-soft-tissue, ct-lung, ct-bone, z-score, imagenet, or LOW:HIGH
    #[arg(long, value_name = "WINDOW", allow_hyphen_values = true)]
    window: Option<Intensity>,
    /// axial, coronal, sagittal or thinnest; three of them vote [default: the bundle's]
    #[arg(long, value_delimiter = ',', value_name = "VIEW")]
    view: Vec<View>,
    /// Which volume of a scan with four dimensions, 1 being the first
    #[arg(long, value_name = "N", default_value = "1", value_parser = options::threads)]
    volume: usize,
    /// Keep only the largest piece of these classes: names, labels, all, or none [default: the bundle's]
    #[arg(long, value_delimiter = ',', value_name = "CLASS")]
    largest_component: Vec<String>,
    /// Fill the holes of these classes: names, labels, all, or none [default: the bundle's]
    #[arg(long, value_delimiter = ',', value_name = "CLASS")]
    fill_holes: Vec<String>,
    /// Write NAME.statistics.json: volume in ml, mean value (HU for CT) and place of every class
    #[arg(long)]
    statistics: bool,
    /// Write NAME.preview.png: three planes with the classes over them
    #[arg(long)]
    preview: bool,
    /// Write NAME.seg.dcm, a DICOM segmentation of a DICOM series: binary, for every viewer, or labelmap,
    /// which is smaller
    #[arg(long, value_name = "KIND", num_args = 0..=1, require_equals = true, default_missing_value = "binary")]
    dicom_seg: Option<SegKind>,
    /// The SeriesInstanceUID of the scan, where a DICOM folder or archive holds several
    #[arg(long, value_name = "UID")]
    series: Option<String>,
    /// auto (a bar on a terminal), lines, json (JSON lines on standard output) or none
    #[arg(long, default_value = "auto")]
    progress: Mode,
    /// Do again what is done already
    #[arg(long)]
    force: bool,
    /// Only a share of the scans: i/N, or auto[/N] from Slurm, Kubernetes or AWS Batch
    #[arg(long, value_name = "i/N")]
    shard: Option<ShardChoice>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let cases = chosen_cases(args)?;
    let places: Vec<Place> = cases
        .iter()
        .map(|case| {
            let Args {
                statistics,
                preview,
                dicom_seg,
                ..
            } = *args;
            Place::of(case, &args.output, statistics, preview, dicom_seg)
        })
        .collect();
    for (case, place) in cases.iter().zip(&places) {
        let own = fs::canonicalize(&place.files.labels).ok();
        if own.is_some() && own == fs::canonicalize(&case.input).ok() {
            bail!(Usage(format!(
                "{} would be overwritten by its own label map; choose another output",
                case.input.display()
            )));
        }
    }
    let begin = Instant::now();
    let bundle = bundle::read(&args.model)?;
    let mut segmenter = Segmenter::new(
        &bundle,
        &*engines::load(&args.engine)?,
        Options {
            precision: args.precision,
            threads: args.threads.unwrap_or(CompileOptions::default().threads),
            batch: args.batch,
        },
    )?;
    drop(bundle);
    let load_ms = begin.elapsed().as_secs_f64() * 1e3;
    if let Some(first) = places.first() {
        let root = match cases::named_file(&args.output) {
            Some(_) => first.folder(),
            None => &args.output,
        };
        make_folder(root)?;
    }
    places.iter().for_each(|place| whole::sweep(place.folder()));
    ctrlc::set_handler(|| {
        if INTERRUPT.swap(true, Ordering::Relaxed) {
            std::process::exit(i32::from(INTERRUPTED));
        }
        eprintln!("\nending; again to end at once");
    })
    .context("cannot listen for Ctrl-C")?;
    let requests = requests(args, segmenter.card(), &cases, &places)?;
    let mut status = Status::begin(args.progress, &segmenter, requests.len(), load_ms);
    let mut failed = 0;
    for ((request, place), case) in requests.iter().zip(&places).zip(cases) {
        status.scan(request);
        let outcome = match case.problem {
            Some(problem) => Err(SegmentError::NoScan(problem)),
            None => one(args, &mut segmenter, request, place, &mut status),
        };
        if matches!(outcome, Err(SegmentError::Interrupted)) {
            status.end();
            return Ok(ExitCode::from(INTERRUPTED));
        }
        failed += usize::from(outcome.is_err());
        status.outcome(request, outcome);
    }
    status.end();
    Ok(match failed {
        0 => ExitCode::SUCCESS,
        n => ExitCode::from((SCANS_FAILED + n).min(MOST) as u8),
    })
}

fn make_folder(folder: &Path) -> Result<(), ImagingError> {
    fs::create_dir_all(folder).map_err(|e| ImagingError::unwritable(folder, e))
}

/// The scans of this run.
fn chosen_cases(args: &Args) -> anyhow::Result<Vec<Case>> {
    if cases::misnamed_file(&args.output) {
        bail!(Usage(format!(
            "{} looks like a file, and label maps are NIfTI: end it in .nii or .nii.gz, or give a folder",
            args.output.display()
        )));
    }
    let cases = cases::find(&args.input, &args.output).map_err(|e| match e {
        SegmentError::Options(problem) => anyhow::Error::new(Usage(problem)),
        other => other.into(),
    })?;
    if cases::named_file(&args.output).is_some()
        && (cases.len() > 1 || cases.iter().any(|c| !args.input.contains(&c.input)))
    {
        bail!(Usage(format!(
            "{} is one file, and there are {} scans; give a folder",
            args.output.display(),
            cases.len()
        )));
    }
    let Some(choice) = args.shard else {
        return Ok(cases);
    };
    let shard = choice.resolve(|name| std::env::var(name).ok());
    Ok(shard.map_err(Usage)?.of(cases))
}

/// What is asked for of every scan.
fn requests(
    args: &Args,
    card: &Card,
    cases: &[Case],
    places: &[Place],
) -> anyhow::Result<Vec<Request>> {
    let trained = card.orientation().map_err(Usage)?;
    let views = match args.view.is_empty() {
        true => vec![View::of(trained)],
        false => args.view.clone(),
    };
    if views.len().is_multiple_of(2) {
        bail!(Usage(format!(
            "--view takes 1 or 3 views, which vote; got {}",
            views.len()
        )));
    }
    let own = &card.post_process;
    let post = PostProcess {
        largest_component: labels(&args.largest_component, &own.largest_component, card)?,
        fill_holes: labels(&args.fill_holes, &own.fill_holes, card)?,
    };
    let request = |(case, place): (&Case, &Place)| Request {
        input: case.input.clone(),
        volume: args.volume - 1,
        series: args.series.clone(),
        views: views.clone(),
        intensity: args.window.clone(),
        post_process: Some(post.clone()),
        outputs: place.files.clone(),
        free_memory: None,
    };
    Ok(cases.iter().zip(places).map(request).collect())
}

/// The labels of classes by name or number; the bundle's own where none is named.
fn labels(names: &[String], own: &[u16], card: &Card) -> anyhow::Result<Vec<u16>> {
    let all = card.classes.classes();
    if names.is_empty() {
        return Ok(own.to_vec());
    }
    if names == ["none"] {
        return Ok(Vec::new());
    }
    if names.iter().any(|n| n == "all") {
        return Ok(all.iter().map(|c| c.label).collect());
    }
    let mut labels = Vec::new();
    for name in names {
        let number = name.parse::<u16>().ok();
        let found = all
            .iter()
            .find(|c| c.name == *name || Some(c.label) == number);
        let Some(class) = found else {
            bail!(Usage(format!(
                "'{name}' is no class of {}; there are {}, such as '{}'",
                card.name,
                all.len(),
                all.first().map_or("", |c| &c.name)
            )));
        };
        labels.push(class.label);
    }
    labels.sort_unstable();
    labels.dedup();
    Ok(labels)
}

/// One scan from the first byte to its manifest.
fn one(
    args: &Args,
    segmenter: &mut Segmenter,
    request: &Request,
    place: &Place,
    status: &mut Status,
) -> Result<Outcome, SegmentError> {
    let asked = Asked::new(segmenter, request)?;
    if !args.force && Manifest::is_done(&place.manifest, &asked) {
        return Ok(Outcome::Skipped);
    }
    make_folder(place.folder())?;
    place.check()?;
    // From here on the outputs are not those of an earlier manifest. If it is not there, all the better;
    // if it cannot be removed, writing it will tell.
    let _ = fs::remove_file(&place.manifest);
    let request = Request {
        free_memory: Machine::read().usable_memory_bytes(),
        ..request.clone()
    };
    let stop = || INTERRUPT.load(Ordering::Relaxed);
    let mut progress = |done, total| status.progress(&request, done, total);
    let segmented = segmenter.segment(&request, &mut progress, &stop)?;
    let manifest = Manifest::new(segmenter, &request, asked, &segmented)?;
    manifest.write(&place.manifest)?;
    Ok(Outcome::Done(Box::new(manifest)))
}
