//! The marker segments that JPEG and JPEG-LS share (ITU-T T.81, annex B).

use super::super::Fault;

/// Start of image.
pub(crate) const SOI: u8 = 0xD8;
/// End of image.
pub(crate) const EOI: u8 = 0xD9;
/// Start of scan, which the coded data follows.
pub(crate) const SOS: u8 = 0xDA;

/// Walks over the marker segments of an image.
pub(crate) struct Markers<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Markers<'a> {
    /// An image, after its first marker.
    pub(crate) fn new(bytes: &'a [u8]) -> Result<Self, Fault> {
        if bytes.get(..2) != Some(&[0xFF, SOI]) {
            return Err(Fault::malformed(
                "a frame does not begin as a JPEG image does",
            ));
        }
        Ok(Markers { bytes, at: 2 })
    }

    /// The next marker and its segment, without the length.
    pub(crate) fn next(&mut self) -> Result<(u8, &'a [u8]), Fault> {
        let ended = || Fault::malformed("a JPEG frame ends before its pixels");
        let byte = |at: usize| self.bytes.get(at).copied().ok_or_else(ended);
        if byte(self.at)? != 0xFF {
            return Err(Fault::malformed(format!(
                "byte {} of a JPEG frame should be a marker",
                self.at
            )));
        }
        // Any number of fill bytes may come first.
        while byte(self.at)? == 0xFF {
            self.at += 1;
        }
        let marker = byte(self.at)?;
        if marker == EOI {
            return Err(ended());
        }
        let length = u16::from_be_bytes([byte(self.at + 1)?, byte(self.at + 2)?]);
        let begin = self.at + 3;
        let end = self.at + 1 + usize::from(length);
        let segment = self.bytes.get(begin..end).ok_or_else(ended)?;
        self.at = end;
        Ok((marker, segment))
    }

    /// What follows the segment that was read last.
    pub(crate) fn rest(&self) -> &'a [u8] {
        &self.bytes[self.at..]
    }
}

/// What a frame header says of an image of one component.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Frame {
    pub(crate) precision: u32,
    /// Which quantisation table it has.
    pub(crate) table: u8,
}

impl Frame {
    /// Reads a frame header, whose size must be the one known.
    pub(crate) fn parse(segment: &[u8], columns: usize, rows: usize) -> Result<Self, Fault> {
        let Some(&[precision, r1, r0, c1, c0, components, ..]) = segment.first_chunk::<6>() else {
            return Err(Fault::malformed("a JPEG frame header is too short"));
        };
        if components != 1 {
            return Err(Fault::malformed(format!(
                "a JPEG frame has {components} components, its file says one"
            )));
        }
        let size = [u16::from_be_bytes([c1, c0]), u16::from_be_bytes([r1, r0])];
        if size.map(usize::from) != [columns, rows] {
            return Err(Fault::malformed(format!(
                "a JPEG frame has {} columns and {} rows, its file says {columns} and {rows}",
                size[0], size[1]
            )));
        }
        let table = segment.get(8).copied().unwrap_or(0);
        Ok(Frame {
            precision: precision.into(),
            table,
        })
    }
}
