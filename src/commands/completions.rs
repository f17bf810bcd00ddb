//! `slicewise completions SHELL`

use std::process::ExitCode;

use clap_complete::Shell;

use crate::output;

/// Print the completion script of a shell.
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  slicewise completions bash > ~/.local/share/bash-completion/completions/slicewise")]
pub(crate) struct Args {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

pub(crate) fn run(args: &Args, command: &mut clap::Command) -> anyhow::Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, command, "slicewise", &mut script);
    output::print(String::from_utf8_lossy(&script))?;
    Ok(ExitCode::SUCCESS)
}
