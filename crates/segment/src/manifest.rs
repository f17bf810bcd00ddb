//! What was done to a scan, in a file beside its label map. It is written last, so that where it is,
//! everything is.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};
use slicewise_imaging::whole::WholeFile;
use slicewise_imaging::{Grid, ImagingError, NOTICE, dicom};

use crate::bundle::digest;
use crate::{
    ClassStatistics, Intensity, PostProcess, Request, SegmentError, Segmented, Segmenter, Timing,
};

/// The version of the format.
const FORMAT: u32 = 1;

/// The warning about a model that was not trained.
pub const UNTRAINED: &str = "the model's weights are not trained: its label maps mean nothing";

/// The file of figures.
#[derive(Serialize)]
pub(crate) struct StatisticsFile<'a> {
    notice: &'static str,
    voxel_volume_mm3: f64,
    classes: &'a [ClassStatistics],
}

impl StatisticsFile<'_> {
    pub(crate) fn text(grid: &Grid, classes: &[ClassStatistics]) -> String {
        pretty(&StatisticsFile {
            notice: NOTICE,
            voxel_volume_mm3: grid.voxel_volume(),
            classes,
        })
    }
}

/// The scan as it was found.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Input {
    /// The file's name, without folders.
    pub name: String,
    /// Its size; of a folder that of all files.
    pub bytes: u64,
    /// When it was last changed, in nanoseconds since 1970.
    pub modified_ns: Option<u64>,
    /// Which of its volumes.
    pub volume: usize,
    /// The UID of the DICOM series that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub series: Option<String>,
}

/// The model.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Model {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its architecture.
    pub architecture: String,
    /// The SHA-256 of the bundle.
    pub sha256: String,
    /// Whether its weights were trained.
    pub trained: bool,
    /// Its licence.
    pub licence: String,
}

/// What a result depends on. Two runs that agree in this make the same files.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Asked {
    /// The version of slicewise.
    pub slicewise: String,
    /// The scan.
    pub input: Input,
    /// The model.
    pub model: Model,
    /// The engine's name and version.
    pub engine: [String; 2],
    /// What the network computed in.
    pub precision: String,
    /// The views.
    pub views: Vec<String>,
    /// What became of values.
    pub intensity: Intensity,
    /// What was done to the label map.
    pub post_process: PostProcess,
    /// The names of the files that were to be written.
    pub files: Vec<String>,
}

impl Asked {
    /// What `request` asks of `segmenter`.
    ///
    /// # Errors
    /// If there is no such scan.
    pub fn new(segmenter: &Segmenter, request: &Request) -> Result<Self, SegmentError> {
        let io = |e| ImagingError::io(&request.input, e);
        let metadata = fs::metadata(&request.input).map_err(io)?;
        let (bytes, modified) = match metadata.is_dir() {
            true => dicom::extent(&request.input)?,
            false => (metadata.len(), metadata.modified().ok()),
        };
        let since = modified.and_then(|m| m.duration_since(UNIX_EPOCH).ok());
        let card = segmenter.card();
        let engine = segmenter.engine();
        let intensity = request.intensity.as_ref();
        let post = request.post_process.as_ref();
        Ok(Asked {
            slicewise: env!("CARGO_PKG_VERSION").into(),
            input: Input {
                name: name(&request.input),
                bytes,
                modified_ns: since.and_then(|s| u64::try_from(s.as_nanos()).ok()),
                volume: request.volume,
                series: request.series.clone(),
            },
            model: Model {
                name: card.name.clone(),
                version: card.version.clone(),
                architecture: card.architecture.clone(),
                sha256: segmenter.sha256().to_owned(),
                trained: card.training.trained,
                licence: card.licence.clone(),
            },
            engine: [engine.name.to_owned(), engine.version.clone()],
            precision: segmenter.options().precision.to_string(),
            views: request.views.iter().map(|v| v.name().to_owned()).collect(),
            intensity: intensity.unwrap_or(&card.input.intensity).clone(),
            post_process: post.unwrap_or(&card.post_process).clone(),
            files: request.outputs.all().into_iter().map(name).collect(),
        })
    }
}

/// A file that was written.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Written {
    /// Its name, without folders.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256.
    pub sha256: String,
}

/// What was done to a scan.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Manifest {
    /// That this is no medical device.
    pub notice: String,
    /// The version of this format.
    pub format: u32,
    /// What was asked for.
    pub asked: Asked,
    /// The scan's format.
    pub scan_format: String,
    /// Voxels along the axes of the file.
    pub size: [usize; 3],
    /// Millimetres between them.
    pub spacing_mm: [f64; 3],
    /// The axes' directions, as nibabel names them.
    pub orientation: String,
    /// What is doubtful.
    pub warnings: Vec<String>,
    /// The files.
    pub outputs: Vec<Written>,
    /// Threads of the network; they do not change the result.
    pub threads: usize,
    /// What the engine says of itself.
    pub settings: BTreeMap<String, String>,
    /// Where the time went.
    pub timing: Timing,
}

impl Manifest {
    /// What was asked for and what became of it.
    ///
    /// # Errors
    /// If an output cannot be read back.
    pub fn new(
        segmenter: &Segmenter,
        request: &Request,
        asked: Asked,
        segmented: &Segmented,
    ) -> Result<Self, SegmentError> {
        let mut outputs = Vec::new();
        for path in request.outputs.all() {
            let bytes = fs::read(path).map_err(|e| ImagingError::io(path, e))?;
            outputs.push(Written {
                name: name(path),
                bytes: bytes.len() as u64,
                sha256: digest(&bytes),
            });
        }
        let mut warnings = segmented.warnings.clone();
        if !segmenter.card().training.trained {
            warnings.push(UNTRAINED.into());
        }
        Ok(Manifest {
            notice: NOTICE.into(),
            format: FORMAT,
            asked,
            scan_format: segmented.format.into(),
            size: segmented.grid.size(),
            spacing_mm: segmented.grid.spacing(),
            orientation: segmented.grid.orientation().to_string(),
            warnings,
            outputs,
            threads: segmenter.options().threads,
            settings: segmenter.settings().into_iter().collect(),
            timing: segmented.timing,
        })
    }

    /// Writes it.
    ///
    /// # Errors
    /// If that fails.
    pub fn write(&self, path: &Path) -> Result<(), SegmentError> {
        Ok(WholeFile::write(path, pretty(self).as_bytes())?)
    }

    /// Whether the manifest at `path` says that just what is asked for was done, and its files are there.
    pub fn is_done(path: &Path, asked: &Asked) -> bool {
        let Ok(text) = fs::read(path) else {
            return false;
        };
        let Ok(manifest) = serde_json::from_slice::<Manifest>(&text) else {
            return false;
        };
        let is_there = |w: &Written| {
            let metadata = fs::metadata(path.with_file_name(&w.name));
            metadata.is_ok_and(|m| m.len() == w.bytes)
        };
        manifest.format == FORMAT
            && manifest.asked == *asked
            && manifest.outputs.iter().all(is_there)
    }
}

fn name(path: &Path) -> String {
    let name = path.file_name().unwrap_or(path.as_os_str());
    name.to_string_lossy().into_owned()
}

fn pretty(value: &impl Serialize) -> String {
    // What is written here has string keys; numbers that are not finite become null.
    serde_json::to_string_pretty(value).unwrap_or_default() + "\n"
}
