//! Unique identifiers made from what they identify, so that the same input gives the same file.

use sha2::{Digest, Sha256};

/// A UID under `2.25` (PS3.5, annex B.2) from a UUID of version 8, whose bits are a checksum of `parts`.
pub(crate) fn of(parts: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    let digest = hash.finalize();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    bytes[6] = bytes[6] & 0x0F | 0x80;
    bytes[8] = bytes[8] & 0x3F | 0x80;
    format!("2.25.{}", u128::from_be_bytes(bytes))
}

#[cfg(test)]
mod tests {
    #[test]
    fn uids_are_valid_repeatable_and_different() {
        let uid = super::of(&[b"a", b"bc"]);
        assert!(uid.len() <= 64 && uid.bytes().all(|b| b.is_ascii_digit() || b == b'.'));
        assert_eq!(uid, super::of(&[b"a", b"bc"]));
        assert_ne!(uid, super::of(&[b"ab", b"c"]));
    }
}
