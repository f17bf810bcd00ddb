//! The command line: parses, calls, prints.
#![forbid(unsafe_code)]

fn main() -> anyhow::Result<()> {
    Ok(())
}
