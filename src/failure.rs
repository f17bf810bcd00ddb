//! Errors as the command line tells them: one line, and an exit code.

use std::fmt::Display;
use std::io::IsTerminal;
use std::process::ExitCode;

use anyhow::Error;
use slicewise_bench::plan::PlanError;
use slicewise_engines::{EngineError, InstallError};
use slicewise_zoo::ZooError;

/// The exit code for what could not be done.
const FAILED: u8 = 1;
/// The exit code for what was asked for wrongly.
const BAD_USAGE: u8 = 2;
/// The exit code after Ctrl-C, as shells have it.
pub(crate) const INTERRUPTED: u8 = 130;

/// Something was asked for wrongly.
#[derive(Debug)]
pub(crate) struct Usage(pub(crate) String);

impl std::error::Error for Usage {}

impl Display for Usage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Prints an error and says how the program ends.
pub(crate) fn report(error: &Error) -> ExitCode {
    if is_broken_pipe(error) {
        // Whoever read our output has seen enough.
        return ExitCode::SUCCESS;
    }
    say(message(error));
    ExitCode::from(if is_usage(error) { BAD_USAGE } else { FAILED })
}

/// Prints what the parser of the command line has to say: help as it is, an error as one line.
pub(crate) fn usage(error: &clap::Error, program: &clap::Command) -> ExitCode {
    if !error.use_stderr()
        || error.kind() == clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    {
        // Nobody is left to tell if this cannot be printed.
        let _ = error.print();
        return ExitCode::from(if error.use_stderr() { BAD_USAGE } else { 0 });
    }
    let asked = asked_for(program, std::env::args().skip(1));
    say(usage_line(&error.render().to_string(), &asked));
    ExitCode::from(BAD_USAGE)
}

/// The command that the arguments begin with.
fn asked_for(program: &clap::Command, arguments: impl Iterator<Item = String>) -> String {
    let mut words = vec![program.get_name()];
    let mut command = program;
    for argument in arguments {
        let Some(inner) = command.find_subcommand(&argument) else {
            break;
        };
        words.push(inner.get_name());
        command = inner;
    }
    words.join(" ")
}

/// The parser's error text in one line, with the command whose help explains it: that of the usage it
/// shows, or else the one asked for.
fn usage_line(text: &str, asked: &str) -> String {
    let lines = || text.lines().map(str::trim).filter(|l| !l.is_empty());
    let told: Vec<&str> = lines()
        .take_while(|l| !l.starts_with("Usage:") && !l.starts_with("For more"))
        .collect();
    let told = told.join(" ");
    let told = told.strip_prefix("error: ").unwrap_or(&told);
    let usage = lines().find_map(|l| l.strip_prefix("Usage: "));
    let command = usage.unwrap_or(asked).split(' ');
    let command: Vec<&str> = command
        .take_while(|word| !word.starts_with(['[', '<', '-']))
        .collect();
    format!("{told}; see: {} --help", command.join(" "))
}

fn say(message: impl Display) {
    let bold = std::io::stderr().is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    let label = if bold {
        "\x1b[1;31merror:\x1b[0m"
    } else {
        "error:"
    };
    eprintln!("{label} {message}");
}

/// The error and its causes in one line; a cause that its effect already quotes is not repeated.
fn message(error: &Error) -> String {
    let mut message = String::new();
    for cause in error.chain() {
        let cause = cause.to_string().lines().collect::<Vec<_>>().join(" ");
        if message.is_empty() {
            message = cause;
        } else if !message.contains(&cause) {
            message = format!("{message}: {cause}");
        }
    }
    message
}

fn is_usage(error: &Error) -> bool {
    let zoo = |e: &ZooError| {
        matches!(
            e,
            ZooError::Unknown { .. } | ZooError::NoDecoder { .. } | ZooError::Options { .. }
        )
    };
    error.chain().any(|cause| {
        cause.is::<Usage>()
            || cause.downcast_ref::<ZooError>().is_some_and(zoo)
            || cause.downcast_ref::<PlanError>().is_some_and(|e| match e {
                PlanError::Model(e) => zoo(e),
                PlanError::Suite(_) | PlanError::Reference(_) => true,
                _ => false,
            })
            || matches!(cause.downcast_ref(), Some(EngineError::Unknown(_)))
            || matches!(cause.downcast_ref(), Some(InstallError::Unknown(_)))
    })
}

fn is_broken_pipe(error: &Error) -> bool {
    let kinds = error
        .chain()
        .filter_map(|c| c.downcast_ref::<std::io::Error>());
    kinds
        .into_iter()
        .any(|e| e.kind() == std::io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn causes_are_told_once_and_on_one_line() {
        let cause = std::io::Error::other("no\nspace");
        let error = Err::<(), _>(cause).context("cannot write x").unwrap_err();
        assert_eq!(message(&error), "cannot write x: no space");
        let error = Err::<(), _>(std::io::Error::other("gone"))
            .context("x: gone")
            .unwrap_err();
        assert_eq!(message(&error), "x: gone");
    }

    #[test]
    fn a_parsing_error_is_one_line_that_names_the_help_to_read() {
        let text = "error: the following required arguments were not provided:\n  --input <X>\n\n\
                    Usage: slicewise run --input <X> <MODEL>\n\nFor more information, try '--help'.\n";
        assert_eq!(
            usage_line(text, "slicewise"),
            "the following required arguments were not provided: --input <X>; see: slicewise run --help"
        );
        let line = usage_line("error: no\n", "slicewise models export");
        assert_eq!(line, "no; see: slicewise models export --help");
    }

    #[test]
    fn the_command_asked_for_is_what_the_arguments_begin_with() {
        let export = clap::Command::new("export");
        let program = clap::Command::new("slicewise")
            .subcommand(clap::Command::new("models").subcommand(export))
            .subcommand(clap::Command::new("run"));
        for (arguments, want) in [
            ("", "slicewise"),
            ("run --classes x", "slicewise run"),
            ("models export run", "slicewise models export"),
            ("--classes run", "slicewise"),
        ] {
            let words = arguments.split(' ').map(str::to_owned);
            assert_eq!(asked_for(&program, words), want, "{arguments}");
        }
    }

    #[test]
    fn wrong_names_are_bad_usage_and_missing_files_are_not() {
        let unknown = slicewise_zoo::parse("nonesuch").unwrap_err();
        let engine = EngineError::Unknown("nonesuch".into());
        for (error, want) in [
            (Error::new(unknown), true),
            (Error::new(engine), true),
            (Error::new(Usage("so".into())).context("while"), true),
            (Error::new(std::io::Error::other("gone")), false),
        ] {
            assert_eq!(is_usage(&error), want, "{error:?}");
        }
    }
}
