//! Where the libraries of the other engines are on this machine, and the Python that has PyTorch.
//!
//! Looked for, in this order, the first that is there counting: a path in the environment, the
//! engine cache, the active virtual environment, the packages of the `python3` on the path. Within
//! one place the highest version wins. A library is always named by its absolute path: a bare name
//! would load whatever the system has under it. PyTorch is looked for in the same order, without the
//! cache, by asking each Python.

use std::cmp::Ordering;
use std::env;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};

use crate::torch::{self, find::Torch};
use crate::{cache, native, process};

/// What is there of one engine.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(tag = "status", rename_all = "lowercase")]
pub enum Availability {
    /// It can be loaded.
    Found(Found),
    /// Nothing of it was found.
    Missing {
        /// Its name.
        engine: &'static str,
        /// What to do about it.
        fix: String,
    },
    /// Its library is there and cannot be used.
    Broken {
        /// Its name.
        engine: &'static str,
        /// Its library.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
}

impl Availability {
    /// The engine's name.
    pub fn engine(&self) -> &'static str {
        match self {
            Availability::Found(found) => found.engine,
            Availability::Missing { engine, .. } | Availability::Broken { engine, .. } => engine,
        }
    }
}

/// An engine that can be loaded.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Found {
    /// Its name.
    pub engine: &'static str,
    /// Its version, as far as its files tell before it is loaded.
    pub version: String,
    /// Its library, or the Python that has it; the native engine has none.
    pub path: Option<PathBuf>,
    /// By what it was found.
    pub how: How,
}

impl Found {
    /// Whether its sessions run in a process of their own.
    pub fn runs_in_child(&self) -> bool {
        crate::is_on_request(self.engine)
    }
}

/// By what a library is found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum How {
    /// Part of this program.
    BuiltIn,
    /// An environment variable that names it.
    Variable(&'static str),
    /// The engine cache, where `slicewise engines add` puts it.
    Cache,
    /// The packages of the virtual environment that `VIRTUAL_ENV` names.
    VirtualEnv,
    /// The packages of the `python3` on the path.
    Python,
}

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            How::BuiltIn => "built in",
            How::Variable(name) => name,
            How::Cache => "engine cache",
            How::VirtualEnv => "VIRTUAL_ENV",
            How::Python => "python3",
        })
    }
}

impl Serialize for How {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// One place of the search and what was there.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Searched {
    /// The place.
    pub how: How,
    /// The version and path of the library, or why there is none.
    #[serde(flatten, serialize_with = "found_or_not")]
    pub result: Result<(String, PathBuf), String>,
}

/// `{"version": …, "path": …}` or `{"why": …}`.
fn found_or_not<S: Serializer>(
    result: &Result<(String, PathBuf), String>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(None)?;
    match result {
        Ok((version, path)) => {
            map.serialize_entry("version", version)?;
            map.serialize_entry("path", path)?;
        }
        Err(why) => map.serialize_entry("why", why)?,
    }
    map.end()
}

/// The environment variable that names the Python with PyTorch.
const PYTHON: &str = "SLICEWISE_PYTHON";

/// An engine's library: how it is named and where packages keep it.
struct Library {
    engine: &'static str,
    /// The environment variable that names it.
    variable: &'static str,
    /// The file's name without the system's prefix, suffix and version.
    stem: &'static str,
    /// The folder under `site-packages`.
    folder: &'static str,
}

const LIBRARIES: [Library; 2] = [
    Library {
        engine: "onnxruntime",
        variable: "ORT_DYLIB_PATH",
        stem: "onnxruntime",
        folder: "onnxruntime/capi",
    },
    Library {
        engine: "openvino",
        variable: "SLICEWISE_OPENVINO",
        stem: "openvino_c",
        folder: "openvino/libs",
    },
];

/// What `slicewise engines add` leaves beside a library.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Manifest {
    /// The engine's name.
    pub(crate) engine: String,
    /// Its version.
    pub(crate) version: String,
    /// The package's file name.
    pub(crate) wheel: String,
    /// The package's SHA-256.
    pub(crate) wheel_sha256: String,
    /// The library, relative to the manifest.
    pub(crate) library: PathBuf,
    /// The library's SHA-256.
    pub(crate) library_sha256: String,
    /// The licence texts, relative to the manifest.
    pub(crate) licences: Vec<PathBuf>,
}

impl Manifest {
    /// The manifest's file name.
    pub(crate) const FILE: &str = "manifest.json";
}

/// Where to look: a snapshot of the environment, so that a search can be tried out.
#[derive(Debug, Default)]
pub struct Places {
    /// Paths given for engines by name.
    pub explicit: Vec<(&'static str, PathBuf)>,
    /// The cache folder; engines are in its folder `engines`.
    pub cache: Option<PathBuf>,
    /// The active virtual environment.
    pub virtual_env: Option<PathBuf>,
    /// A Python to ask for its packages.
    pub python: Option<PathBuf>,
    /// What the Python said; asked once.
    packages: OnceLock<Vec<PathBuf>>,
}

impl Places {
    /// The places that this process's environment names.
    pub fn from_environment() -> Self {
        let variable = |name: &str| env::var_os(name).filter(|v| !v.is_empty());
        let explicit = LIBRARIES.iter().filter_map(|library| {
            let path = variable(library.variable)?;
            Some((library.engine, PathBuf::from(path)))
        });
        let python = variable(PYTHON).map(|path| (torch::EAGER, PathBuf::from(path)));
        Places {
            explicit: explicit.chain(python).collect(),
            cache: cache::root(),
            virtual_env: variable("VIRTUAL_ENV").map(PathBuf::from),
            python: Some("python3".into()),
            packages: OnceLock::new(),
        }
    }

    /// What is there of `engine`, without loading anything.
    pub fn find(&self, engine: &str) -> Availability {
        let engine = crate::known(engine).unwrap_or(native::NAME);
        let missing = |fix: String| Availability::Missing { engine, fix };
        if !crate::is_built(engine) {
            return missing(format!("build slicewise with: --features {engine}"));
        }
        if [torch::EAGER, torch::COMPILED].contains(&engine) {
            return self.find_torch(engine);
        }
        let Some(library) = LIBRARIES.iter().find(|l| l.engine == engine) else {
            return Availability::Found(Found {
                engine,
                version: crate::built_in_version(engine).into(),
                path: None,
                how: How::BuiltIn,
            });
        };
        for how in library.order() {
            match self.look(library, how) {
                Ok(Some(candidate)) => {
                    return Availability::Found(Found {
                        engine,
                        version: candidate.version,
                        path: Some(candidate.path),
                        how,
                    });
                }
                Ok(None) => {}
                Err((path, why)) => return Availability::Broken { engine, path, why },
            }
        }
        missing(format!("run: slicewise engines add {engine}"))
    }

    /// Every place where `engine` is looked for, in order, and what is there: for display.
    pub fn search(&self, engine: &str) -> Vec<Searched> {
        if [torch::EAGER, torch::COMPILED].contains(&engine) {
            let places = PYTHONS.into_iter().map(|how| Searched {
                how,
                result: match self.ask_python(how) {
                    Ok(Some(torch)) => Ok((torch.version, torch.python)),
                    Ok(None) => Err(self.absence(how)),
                    Err((path, why)) => Err(format!("{}: {why}", path.display())),
                },
            });
            return places.collect();
        }
        let Some(library) = LIBRARIES.iter().find(|l| l.engine == engine) else {
            return Vec::new();
        };
        let places = library.order().into_iter().map(|how| Searched {
            how,
            result: match self.look(library, how) {
                Ok(Some(found)) => Ok((found.version, found.path)),
                Ok(None) => Err(self.absence(how)),
                Err((path, why)) => Err(format!("{}: {why}", path.display())),
            },
        });
        places.collect()
    }

    /// What is there of PyTorch, and of what `engine` needs besides.
    fn find_torch(&self, engine: &'static str) -> Availability {
        for how in PYTHONS {
            let found = match self.ask_python(how) {
                Ok(None) => continue,
                Err((path, why)) => return Availability::Broken { engine, path, why },
                Ok(Some(found)) => found,
            };
            if let Some(fix) = torch::remedy(engine) {
                return Availability::Missing { engine, fix };
            }
            return Availability::Found(Found {
                engine,
                version: found.version,
                path: Some(found.python),
                how,
            });
        }
        let fix = "run: pip install torch".into();
        Availability::Missing { engine, fix }
    }

    /// The PyTorch of one Python. Only a Python that was named by hand is at fault for not having it.
    fn ask_python(&self, how: How) -> Result<Option<Torch>, (PathBuf, String)> {
        let python = match how {
            How::Variable(_) => {
                let given = self.explicit.iter().find(|(e, _)| *e == torch::EAGER);
                given.map(|(_, path)| path.clone())
            }
            How::VirtualEnv => self.virtual_env.as_deref().map(torch::find::of_environment),
            _ => self.python.clone(),
        };
        let Some(python) = python else {
            return Ok(None);
        };
        match (torch::find::ask(&python), how) {
            (Err(why), How::Variable(_)) => {
                Err((python, format!("{why}; set {PYTHON} to a Python")))
            }
            (Ok(None), How::Variable(_)) => {
                let why = "this Python has no torch; run its: -m pip install torch";
                Err((python, why.into()))
            }
            (found, _) => Ok(found.unwrap_or_default()),
        }
    }

    /// Why nothing was found in a place.
    fn absence(&self, how: How) -> String {
        let folder = match how {
            How::Variable(_) => None,
            How::Cache => self.cache.as_ref().map(|root| root.join("engines")),
            How::VirtualEnv => self.virtual_env.clone(),
            How::BuiltIn | How::Python => return "nothing there".into(),
        };
        match folder {
            Some(folder) => format!("nothing in {}", folder.display()),
            None => "not set".into(),
        }
    }

    /// What is in one place; an error if something there is not as it should be.
    fn look(&self, library: &Library, how: How) -> Result<Option<Candidate>, (PathBuf, String)> {
        match how {
            How::BuiltIn => Ok(None),
            How::Variable(name) => {
                let given = self.explicit.iter().find(|(e, _)| *e == library.engine);
                match given {
                    None => Ok(None),
                    Some((_, path)) => match library.at(path) {
                        Some(found) => Ok(Some(found)),
                        None => Err((
                            path.clone(),
                            format!("{name} names no library; set it to the file or unset it"),
                        )),
                    },
                }
            }
            How::Cache => match &self.cache {
                Some(root) => library.in_cache(&root.join("engines")),
                None => Ok(None),
            },
            How::VirtualEnv => Ok(match &self.virtual_env {
                Some(env) => library.in_packages(&site_packages(env)),
                None => None,
            }),
            How::Python => Ok(match &self.python {
                Some(python) => library.in_packages(self.packages.get_or_init(|| ask(python))),
                None => None,
            }),
        }
    }
}

/// Where PyTorch is looked for, in order.
const PYTHONS: [How; 3] = [How::Variable(PYTHON), How::VirtualEnv, How::Python];

/// A library found.
struct Candidate {
    version: String,
    path: PathBuf,
}

fn highest(candidates: impl Iterator<Item = Candidate>) -> Option<Candidate> {
    candidates.max_by(|a, b| compare_versions(&a.version, &b.version))
}

/// Number by number; what is no number counts as 0.
fn compare_versions(a: &str, b: &str) -> Ordering {
    let numbers = |v: &str| -> Vec<u64> {
        let parts = v.split(|c: char| !c.is_ascii_digit());
        parts.map(|n| n.parse().unwrap_or(0)).collect()
    };
    numbers(a).cmp(&numbers(b))
}

impl Library {
    fn order(&self) -> [How; 4] {
        [
            How::Variable(self.variable),
            How::Cache,
            How::VirtualEnv,
            How::Python,
        ]
    }

    /// The library that a path given by hand names: the file itself, or the folder that holds it.
    fn at(&self, path: &Path) -> Option<Candidate> {
        let path = fs::canonicalize(path).ok()?;
        if path.is_dir() {
            return self.in_folder(&path);
        }
        let name = path.file_name()?.to_str()?;
        let version = self.version_in(name).unwrap_or_default();
        Some(Candidate { version, path })
    }

    /// The highest version among the files of a folder.
    fn in_folder(&self, folder: &Path) -> Option<Candidate> {
        let folder = fs::canonicalize(folder).ok()?;
        let files = fs::read_dir(&folder).ok()?.flatten();
        highest(files.filter_map(|file| {
            let version = self.version_in(file.file_name().to_str()?)?;
            let path = file.path();
            path.is_file().then_some(Candidate { version, path })
        }))
    }

    /// The version that a file's name states, `None` if it is not this library's.
    fn version_in(&self, name: &str) -> Option<String> {
        let rest = if cfg!(windows) {
            name.strip_suffix(".dll")?.strip_prefix(self.stem)?
        } else if cfg!(target_os = "macos") {
            let name = name.strip_suffix(".dylib")?.strip_prefix("lib")?;
            name.strip_prefix(self.stem)?
        } else {
            let name = name.strip_prefix("lib")?.strip_prefix(self.stem)?;
            name.strip_prefix(".so")?
        };
        let version = match rest {
            "" => return Some(String::new()),
            rest => rest.strip_prefix('.')?,
        };
        let is_version = version.chars().all(|c| c.is_ascii_digit() || c == '.');
        is_version.then(|| match (self.engine, version.as_bytes()) {
            // OpenVINO writes 2026.4.1 as 2641.
            ("openvino", [_, _, minor, patch]) => {
                let (minor, patch) = (char::from(*minor), char::from(*patch));
                format!("20{}.{minor}.{patch}", &version[..2])
            }
            _ => version.to_owned(),
        })
    }

    /// The highest version in the engine cache, as the manifests tell.
    fn in_cache(&self, engines: &Path) -> Result<Option<Candidate>, (PathBuf, String)> {
        let Ok(entries) = fs::read_dir(engines) else {
            return Ok(None);
        };
        let prefix = format!("{}-", self.engine);
        let mut candidates = Vec::new();
        for entry in entries.flatten() {
            let name = entry.file_name();
            if !name.to_str().is_some_and(|n| n.starts_with(&prefix)) {
                continue;
            }
            let manifest = entry.path().join(Manifest::FILE);
            let read = || -> Result<Candidate, String> {
                let text = fs::read(&manifest).map_err(|e| e.to_string())?;
                let manifest: Manifest =
                    serde_json::from_slice(&text).map_err(|e| e.to_string())?;
                let path = entry.path().join(&manifest.library);
                let path = fs::canonicalize(path).map_err(|e| e.to_string())?;
                let version = manifest.version;
                Ok(Candidate { version, path })
            };
            let remedy = format!("run: slicewise engines add {}", self.engine);
            candidates.push(read().map_err(|e| (manifest.clone(), format!("{e}; {remedy}")))?);
        }
        Ok(highest(candidates.into_iter()))
    }

    /// The highest version among folders of Python packages.
    fn in_packages(&self, folders: &[PathBuf]) -> Option<Candidate> {
        highest(folders.iter().filter_map(|packages| {
            let mut found = self.in_folder(&packages.join(self.folder))?;
            // The package knows its version even where the file's name does not.
            if found.version.is_empty() {
                found.version = self.package_version(packages).unwrap_or_default();
            }
            Some(found)
        }))
    }

    fn package_version(&self, packages: &Path) -> Option<String> {
        let entries = fs::read_dir(packages).ok()?.flatten();
        let mut names = entries.filter_map(|e| e.file_name().into_string().ok());
        names.find_map(|name| {
            let name = name.strip_suffix(".dist-info")?;
            let version = name.strip_prefix(self.engine)?.strip_prefix('-')?;
            Some(version.to_owned())
        })
    }
}

/// The package folders of a virtual environment.
fn site_packages(env: &Path) -> Vec<PathBuf> {
    if cfg!(windows) {
        return vec![env.join("Lib").join("site-packages")];
    }
    let pythons = fs::read_dir(env.join("lib"))
        .into_iter()
        .flatten()
        .flatten();
    let pythons = pythons.filter(|e| e.file_name().to_string_lossy().starts_with("python"));
    pythons.map(|e| e.path().join("site-packages")).collect()
}

/// The package folders of a Python; none if it is not there or does not answer.
fn ask(python: &Path) -> Vec<PathBuf> {
    const QUESTION: &str = "import site, sysconfig
for name in ('purelib', 'platlib'): print(sysconfig.get_path(name))
print(site.getusersitepackages())";
    let mut command = Command::new(python);
    command.args(["-c", QUESTION]);
    let Ok(answer) = process::run(&mut command, Duration::from_secs(5)) else {
        return Vec::new();
    };
    let mut folders: Vec<PathBuf> = answer.stdout.lines().map(PathBuf::from).collect();
    folders.retain(|folder| folder.is_absolute());
    folders.dedup();
    folders
}

#[cfg(test)]
mod tests;
