//! Which program measured.

use std::fmt::Write;

use sha2::{Digest, Sha256};

/// The SHA-256 of this program's file in hexadecimal; `None` if it cannot be read.
pub fn sha256() -> Option<String> {
    let bytes = std::fs::read(std::env::current_exe().ok()?).ok()?;
    let mut text = String::new();
    for byte in Sha256::digest(&bytes) {
        // Writing into a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    Some(text)
}
