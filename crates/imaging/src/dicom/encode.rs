//! Writes data sets: PS3.10 files of explicit little-endian elements.

use super::data_set::{DataSet, Value};
use super::tag::{self, Tag};

impl DataSet {
    /// Adds an attribute with the value representation of the data dictionary.
    pub(crate) fn put_bytes(&mut self, tag: Tag, bytes: Vec<u8>) {
        self.insert(tag, tag.vr().unwrap_or(*b"UN"), Value::Bytes(bytes));
    }

    /// Adds a text.
    pub(crate) fn put_text(&mut self, tag: Tag, text: impl Into<String>) {
        self.put_bytes(tag, text.into().into_bytes());
    }

    /// Adds 16-bit numbers.
    pub(crate) fn put_shorts(&mut self, tag: Tag, numbers: &[u16]) {
        self.put_bytes(tag, numbers.iter().flat_map(|n| n.to_le_bytes()).collect());
    }

    /// Adds 32-bit numbers.
    pub(crate) fn put_longs(&mut self, tag: Tag, numbers: &[u32]) {
        self.put_bytes(tag, numbers.iter().flat_map(|n| n.to_le_bytes()).collect());
    }

    /// Adds the numbers of attributes.
    pub(crate) fn put_tag(&mut self, tag: Tag, pointed: Tag) {
        self.put_shorts(tag, &[pointed.group(), pointed.element()]);
    }

    /// Adds decimal strings, with the digits that their 16 letters hold.
    pub(crate) fn put_decimals(&mut self, tag: Tag, numbers: &[f64]) {
        let texts: Vec<String> = numbers.iter().map(|&n| decimal(n)).collect();
        self.put_text(tag, texts.join("\\"));
    }

    /// Adds a sequence.
    pub(crate) fn put_items(&mut self, tag: Tag, items: Vec<DataSet>) {
        self.insert(tag, *b"SQ", Value::Items(items));
    }

    /// The encoded elements.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        for (tag, vr, value) in self.iter() {
            match value {
                Value::Bytes(bytes) => {
                    header(out, tag, vr, bytes.len().next_multiple_of(2) as u32);
                    out.extend_from_slice(bytes);
                    if bytes.len() % 2 == 1 {
                        // UIDs and bytes end in a zero, texts in a blank.
                        out.push(if matches!(&vr, b"UI" | b"OB") {
                            0
                        } else {
                            b' '
                        });
                    }
                }
                Value::Items(items) => {
                    let mut encoded = Vec::new();
                    items
                        .iter()
                        .for_each(|item| encode_item(item, &mut encoded));
                    header(out, tag, *b"SQ", encoded.len() as u32);
                    out.extend_from_slice(&encoded);
                }
            }
        }
    }
}

/// The header of an element whose value follows.
pub(crate) fn header(out: &mut Vec<u8>, tag: Tag, vr: [u8; 2], length: u32) {
    number(out, tag);
    out.extend_from_slice(&vr);
    if matches!(
        &vr,
        b"OB" | b"OD" | b"OF" | b"OL" | b"OV" | b"OW" | b"SQ" | b"UN" | b"UT"
    ) {
        out.extend_from_slice(&[0, 0]);
        out.extend_from_slice(&length.to_le_bytes());
    } else {
        // Values that slicewise writes with a short length are short.
        out.extend_from_slice(&(length as u16).to_le_bytes());
    }
}

fn number(out: &mut Vec<u8>, tag: Tag) {
    out.extend_from_slice(&tag.group().to_le_bytes());
    out.extend_from_slice(&tag.element().to_le_bytes());
}

/// The header of an item, or of a delimiter.
pub(crate) fn item_header(out: &mut Vec<u8>, tag: Tag, length: u32) {
    number(out, tag);
    out.extend_from_slice(&length.to_le_bytes());
}

/// An item of a sequence.
pub(crate) fn encode_item(item: &DataSet, out: &mut Vec<u8>) {
    let mut encoded = Vec::new();
    item.encode(&mut encoded);
    item_header(out, tag::ITEM, encoded.len() as u32);
    out.extend_from_slice(&encoded);
}

/// The preamble and file meta information of a file.
pub(crate) fn encode_meta(sop_class: &str, sop_instance: &str, syntax: &str) -> Vec<u8> {
    let mut meta = DataSet::default();
    meta.insert(tag::META_VERSION, *b"OB", Value::Bytes(vec![0, 1]));
    meta.put_text(tag::MEDIA_SOP_CLASS, sop_class);
    meta.put_text(tag::MEDIA_SOP_INSTANCE, sop_instance);
    meta.put_text(tag::TRANSFER_SYNTAX, syntax);
    meta.put_text(
        tag::IMPLEMENTATION_CLASS,
        super::uid::of(&[b"slicewise implementation class"]),
    );
    meta.put_text(tag::IMPLEMENTATION_VERSION, "SLICEWISE");
    let mut encoded = Vec::new();
    meta.encode(&mut encoded);
    let mut out = vec![0; 128];
    out.extend_from_slice(b"DICM");
    header(&mut out, tag::META_LENGTH, *b"UL", 4);
    out.extend_from_slice(&(encoded.len() as u32).to_le_bytes());
    out.extend(encoded);
    out
}

/// A number in at most 16 letters, as exact as they allow.
pub(crate) fn decimal(number: f64) -> String {
    // No letter is spent on a zero's sign.
    let number = if number == 0.0 { 0.0 } else { number };
    let shortest = number.to_string();
    if shortest.len() <= 16 {
        return shortest;
    }
    let fits = |text: &String| text.len() <= 16;
    let plain = (0..16)
        .rev()
        .map(|digits| format!("{number:.digits$}"))
        .find(fits);
    let scientific = (0..16)
        .rev()
        .map(|digits| format!("{number:.digits$e}"))
        .find(fits);
    // Whichever loses less.
    let off = |text: &String| (text.parse().unwrap_or(f64::NAN) - number).abs();
    match (plain, scientific) {
        (Some(a), Some(b)) if off(&a) <= off(&b) => a,
        (_, Some(b)) => b,
        (Some(a), None) => a,
        (None, None) => "0".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::decimal;

    #[test]
    fn decimals_have_16_letters_and_little_error() {
        for number in [
            0.0,
            -0.0,
            1.0,
            -312.5,
            0.703125,
            1.0 / 3.0,
            -2.0 / 3.0,
            -123.456_789_012_345_6,
            1.0e-20 / 3.0,
            -6.123_233_995_736_766e-17,
            1.0e20 / 3.0,
        ] {
            let text = decimal(number);
            assert!(text.len() <= 16, "{text}");
            let back: f64 = text.parse().unwrap();
            assert!(
                (back - number).abs() <= 1e-9 * number.abs().max(1e-9),
                "{text}"
            );
        }
    }
}
