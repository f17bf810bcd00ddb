//! Words of others.

/// A foreign message on one line, at most a few hundred characters of it.
pub(crate) fn one_line(message: &str) -> String {
    let lines = message.lines().map(str::trim).filter(|l| !l.is_empty());
    let joined = lines.collect::<Vec<_>>().join("; ");
    match joined.char_indices().nth(500) {
        Some((end, _)) => format!("{}…", &joined[..end]),
        None => joined,
    }
}
