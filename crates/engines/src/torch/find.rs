//! Which Python has PyTorch.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::process;

/// How long a Python may take to say where its PyTorch is; it does not load it for that.
const LIMIT: Duration = Duration::from_secs(10);

/// The working folder is left out: a torch.py there is not PyTorch.
const QUESTION: &str = "import sys
sys.path[:] = [folder for folder in sys.path if folder]
import importlib.util
spec = importlib.util.find_spec('torch')
print(sys.executable)
print(spec.origin if spec and spec.origin else '')";

/// A Python that has PyTorch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Torch {
    /// The interpreter's absolute path; in a virtual environment the link there, which tells Python
    /// where its packages are.
    pub(crate) python: PathBuf,
    /// The version that the package states.
    pub(crate) version: String,
    /// The file that states it, and the revision it was built from.
    pub(crate) version_file: PathBuf,
}

/// Asks `python` for its PyTorch; `None` if it has none.
///
/// # Errors
/// If it cannot be asked.
pub(crate) fn ask(python: &Path) -> Result<Option<Torch>, String> {
    let mut command = Command::new(python);
    command.args(["-c", QUESTION]);
    let outcome = process::run(&mut command, LIMIT).map_err(|e| e.to_string())?;
    match outcome.status {
        None => return Err(format!("it did not answer within {} s", LIMIT.as_secs())),
        Some(status) if !status.success() => {
            let said = process::last_line(&outcome.stderr);
            return Err(format!("{}: {said}", process::describe(status)));
        }
        Some(_) => {}
    }
    let mut lines = outcome.stdout.lines();
    let (Some(executable), Some(origin)) = (lines.next(), lines.next()) else {
        return Err("it is not a Python".into());
    };
    let Some(package) = Path::new(origin).parent().filter(|_| !origin.is_empty()) else {
        return Ok(None);
    };
    let version_file = package.join("version.py");
    let text = fs::read_to_string(&version_file).unwrap_or_default();
    Ok(Some(Torch {
        python: executable.into(),
        version: stated_version(&text).unwrap_or_default().to_owned(),
        version_file,
    }))
}

/// `2.15.0+cpu` of `__version__ = '2.15.0+cpu'`.
fn stated_version(text: &str) -> Option<&str> {
    let line = text.lines().find_map(|l| l.strip_prefix("__version__"))?;
    let (_, value) = line.split_once('=')?;
    Some(value.trim().trim_matches(['\'', '"']))
}

/// The interpreter of a virtual environment.
pub(crate) fn of_environment(env: &Path) -> PathBuf {
    match cfg!(windows) {
        true => env.join("Scripts").join("python.exe"),
        false => env.join("bin").join("python"),
    }
}

/// What has to be done before `torch.compile` finds the C++ compiler that it needs; `None` if it is
/// there. It takes `$CXX`, else the system's usual one.
pub(crate) fn compiler_remedy() -> Option<String> {
    let named = env::var("CXX").ok().filter(|c| !c.trim().is_empty());
    let usual = if cfg!(target_os = "macos") {
        "clang++"
    } else if cfg!(windows) {
        "cl"
    } else {
        "g++"
    };
    let name = named.as_deref().unwrap_or(usual);
    let program = name.split_whitespace().next().unwrap_or(usual);
    let is_there = |path: &Path| path.is_file() || path.with_extension("exe").is_file();
    let folders = env::var_os("PATH").unwrap_or_default();
    let found = is_there(Path::new(program)) && program.contains(std::path::MAIN_SEPARATOR)
        || env::split_paths(&folders).any(|folder| is_there(&folder.join(program)));
    (!found).then(|| match named {
        Some(name) => {
            format!("CXX names no compiler: '{name}'; torch.compile needs a C++ compiler")
        }
        None => format!("torch.compile needs a C++ compiler: install {usual} or set CXX"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_what_the_package_states() {
        let cases = [
            (
                "__version__ = '2.15.0+cpu'\ndebug = False\n",
                Some("2.15.0+cpu"),
            ),
            (
                "from typing import Optional\n\n__version__ = \"2.4\"",
                Some("2.4"),
            ),
            ("debug = False", None),
            ("", None),
        ];
        for (text, want) in cases {
            assert_eq!(stated_version(text), want, "{text}");
        }
    }

    #[test]
    fn what_is_no_python_is_an_error() {
        assert!(ask(Path::new("/no/such/python")).is_err());
        if cfg!(unix) {
            assert!(ask(Path::new("true")).is_err());
            assert!(ask(Path::new("false")).is_err());
        }
    }
}
