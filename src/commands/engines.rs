//! `slicewise engines list|add|probe`

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::bail;
use serde::Serialize;
use slicewise_bench::table::{Align, Table};
use slicewise_engines::{
    Availability, InstallError, Places, Searched, installed, probe_in_this_process,
};

use crate::failure::Usage;
use crate::output;

/// List, install and try out the engines that run networks.
///
/// The native engine is part of slicewise. ONNX Runtime and OpenVINO are shared libraries that are
/// looked for in the environment (ORT_DYLIB_PATH, SLICEWISE_OPENVINO), in the engine cache, in the active
/// virtual environment and among the packages of python3. PyTorch (torch, torch-compile) runs in a
/// Python that has it: that of SLICEWISE_PYTHON, of the active virtual environment, or python3.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  slicewise engines list
  slicewise engines add onnxruntime openvino")]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(clap::Subcommand)]
enum Action {
    /// What is there, and where it was looked for
    #[command(after_help = "Example:\n  slicewise engines list --json")]
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Download engines into the engine cache, or unpack them from a package file
    ///
    /// They are Python packages in known versions; pip (or uv) downloads them, so its settings
    /// for indexes, proxies and certificates apply. Their checksums are compared with those that
    /// slicewise knows, and only the shared libraries and licences are kept. No Python is needed
    /// to run them.
    #[command(after_help = "\
Examples:
  slicewise engines add onnxruntime openvino
  slicewise engines add onnxruntime --wheel onnxruntime-1.32.0-cp311-cp311-manylinux_2_28_x86_64.whl")]
    Add {
        /// Engines: onnxruntime, openvino
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
        /// A package file that was downloaded before, for one engine
        #[arg(long, value_name = "FILE")]
        wheel: Option<PathBuf>,
    },
    /// Try out the engines that are there, or the library at PATH as engine NAME
    #[command(
        after_help = "Example:\n  slicewise engines probe onnxruntime /opt/ort/libonnxruntime.so.1.32.0"
    )]
    Probe {
        /// The engine
        #[arg(requires = "path")]
        name: Option<String>,
        /// Its library
        path: Option<PathBuf>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Answer the requests of another slicewise with the engine NAME. Not for people
    #[command(hide = true)]
    Serve {
        /// The engine
        name: String,
    },
}

/// Has every foreign library tried out by `slicewise engines probe` before this process loads it, and
/// engines that get a process of their own run by `slicewise engines serve`.
pub(crate) fn probe_libraries_in_children() {
    // Without a path to this program libraries are loaded untried.
    if let Ok(program) = std::env::current_exe() {
        slicewise_engines::probe_with(program.clone(), vec!["engines".into(), "probe".into()]);
        slicewise_engines::serve_with(program, vec!["engines".into(), "serve".into()]);
    }
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.action {
        None => list(false)?,
        Some(Action::List { json }) => list(*json)?,
        Some(Action::Serve { name }) => slicewise_engines::serve(name)?,
        Some(Action::Add { names, wheel }) => add(names, wheel.as_deref())?,
        Some(Action::Probe { name, path, json }) => match (name, path) {
            (Some(name), Some(path)) => {
                let report = probe_in_this_process(name, path)?;
                output::print(serde_json::to_string(&report)? + "\n")?;
            }
            _ => return probe_all(*json),
        },
    }
    Ok(ExitCode::SUCCESS)
}

#[derive(Serialize)]
struct Listed {
    #[serde(flatten)]
    availability: Availability,
    searched: Vec<Searched>,
}

fn list(json: bool) -> anyhow::Result<()> {
    let places = Places::from_environment();
    let engines: Vec<Listed> = installed()
        .into_iter()
        .map(|availability| Listed {
            searched: places.search(availability.engine()),
            availability,
        })
        .collect();
    if json {
        return output::print_json(&engines);
    }
    output::print(table(engines.iter().map(|e| &e.availability)))?;
    for engine in &engines {
        if engine.searched.is_empty() {
            continue;
        }
        output::print(format!(
            "\n{}, looked for in this order:\n",
            engine.availability.engine()
        ))?;
        for place in &engine.searched {
            let what = match &place.result {
                Ok((version, path)) => format!("{version} {}", path.display()),
                Err(why) => why.clone(),
            };
            output::print(format!("  {:<20} {what}\n", place.how.to_string()))?;
        }
    }
    Ok(())
}

fn add(names: &[String], wheel: Option<&Path>) -> anyhow::Result<()> {
    if wheel.is_some() && names.len() > 1 {
        bail!(Usage(
            "--wheel is one engine's package: name that engine alone".into()
        ));
    }
    // A wrong name is found out before anything is downloaded.
    for name in names {
        let is_library = ["onnxruntime", "openvino"].contains(&name.as_str());
        if !is_library {
            bail!(InstallError::Unknown(name.clone()));
        }
    }
    for name in names {
        let done = slicewise_engines::add(name, wheel, &mut |line| eprintln!("{line}"))?;
        let state = if done.was_there {
            "was there already"
        } else {
            "added"
        };
        output::print(format!(
            "{} {} {state}: {}\n",
            done.engine,
            done.version,
            done.library.display()
        ))?;
        for licence in &done.licences {
            output::print(format!("  licence: {}\n", licence.display()))?;
        }
    }
    Ok(())
}

/// Engines by name, state, version and place.
pub(crate) fn table<'a>(engines: impl Iterator<Item = &'a Availability>) -> Table {
    let mut table = Table::new(&[
        ("engine", Align::Left),
        ("state", Align::Left),
        ("version", Align::Left),
        ("where", Align::Left),
    ]);
    for engine in engines {
        table.row(match engine {
            Availability::Found(found) => [
                found.engine.to_owned(),
                "found".into(),
                found.version.clone(),
                match &found.path {
                    Some(path) => format!("{} ({})", path.display(), found.how),
                    None => found.how.to_string(),
                },
            ],
            Availability::Missing { engine, fix } => [
                (*engine).to_owned(),
                "not installed".into(),
                "-".into(),
                fix.clone(),
            ],
            Availability::Broken { engine, path, why } => [
                (*engine).to_owned(),
                "does not work".into(),
                "-".into(),
                format!("{}: {why}", path.display()),
            ],
        });
    }
    table
}

/// Tries every engine out, in children as always; fails if one does not work.
fn probe_all(json: bool) -> anyhow::Result<ExitCode> {
    let engines = installed();
    if json {
        output::print_json(&engines)?;
    } else {
        output::print(table(engines.iter()))?;
    }
    let broken = |e: &&Availability| matches!(e, Availability::Broken { .. });
    match engines.iter().find(broken) {
        Some(engine) => bail!("{} does not work", engine.engine()),
        None => Ok(ExitCode::SUCCESS),
    }
}
