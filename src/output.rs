//! What goes to standard output. Errors are returned, so that a closed pipe ends the program quietly.

use std::fmt::Display;
use std::io::{self, Write};

use serde::Serialize;
use slicewise_bench::json;

/// Prints a text as it is.
pub(crate) fn print(text: impl Display) -> io::Result<()> {
    let mut out = io::stdout().lock();
    write!(out, "{text}")?;
    out.flush()
}

/// Prints a value as indented JSON.
pub(crate) fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    Ok(print(json::pretty(value))?)
}
