//! `slicewise report RECORD…`

use std::path::PathBuf;
use std::process::ExitCode;

use slicewise_bench::report::{Report, Source, newest_record};
use slicewise_bench::store;

/// Write records and profiles as one HTML page that needs no network, and as plots.
///
/// The page opens from disk in any browser, light or dark, on a phone, and prints; it holds the records
/// themselves. It shows every arm in tables that can be sorted, throughput against parameters with the
/// Pareto front, times with intervals, speed-ups, slices against volumes, and what is known of the
/// machine. Profiles (slicewise profile MODEL --json FILE) add their roofline and layers.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  slicewise report                                      the newest record in slicewise-bench/
  slicewise report slicewise-bench/*.json -o all.html
  slicewise report fpn.json profile.json --plots plots  the plots as SVG and PNG files, too
  slicewise report before.json after.json --base 'native f32'")]
pub(crate) struct Args {
    /// Records of slicewise bench and profiles of slicewise profile
    /// [default: the newest record in slicewise-bench/]
    records: Vec<PathBuf>,
    /// The page
    #[arg(short, long, value_name = "FILE", default_value = "report.html")]
    output: PathBuf,
    /// A folder for the plots as SVG and PNG files
    #[arg(long, value_name = "DIR")]
    plots: Option<PathBuf>,
    /// What speed-ups are told against, engine and precision [default: onnxruntime f32 where it ran]
    #[arg(long, value_name = "ENGINE PRECISION")]
    base: Option<String>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let mut paths = args.records.clone();
    if paths.is_empty() {
        paths.push(newest_record("slicewise-bench".as_ref())?.0);
        eprintln!("read {}", paths[0].display());
    }
    let sources: Result<Vec<Source>, _> = paths.iter().map(|p| Source::read(p)).collect();
    let report = Report::new(sources?).base(args.base.clone());
    if let Some(folder) = &args.plots {
        for plot in report.plots() {
            for (ending, bytes) in [("svg", plot.svg().into_bytes()), ("png", plot.png()?)] {
                let path = folder.join(format!("{}.{ending}", plot.name));
                store::write_atomically(&path, &bytes)?;
                eprintln!("wrote {}", path.display());
            }
        }
    }
    store::write_atomically(&args.output, report.html().as_bytes())?;
    eprintln!("wrote {}", args.output.display());
    Ok(ExitCode::SUCCESS)
}
