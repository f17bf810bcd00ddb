//! JPEG (ITU-T T.81) of one component: baseline and extended sequential of 8 and 12 bits, and lossless up to
//! 16 bits, all Huffman coded. These are the processes that DICOM has transfer syntaxes for.
//!
//! Ours, because the kept decoder (jpeg-decoder 0.3) lacks 12 bits, which X-ray and nuclear images use, and
//! because the inverse transform here is libjpeg's to the bit, so that pixels equal those of other tools.

use super::super::Fault;
use super::markers::{Frame, Markers, SOS};
use super::{Image, jpeg_dct, jpeg_lossless};

/// The tables that marker segments before the scan define.
#[derive(Default)]
pub(crate) struct Tables {
    /// Quantisation, in zigzag order.
    pub(crate) quantisation: [Option<[u16; 64]>; 4],
    /// Huffman tables of differences, or DC coefficients.
    pub(crate) dc: [Option<Huffman>; 4],
    /// Huffman tables of AC coefficients.
    pub(crate) ac: [Option<Huffman>; 4],
    /// After how many numbers, or blocks, the coder starts again; 0 for never.
    pub(crate) restart: usize,
}

/// A scan header of one component.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scan {
    pub(crate) dc: u8,
    pub(crate) ac: u8,
    /// The predictor of a lossless scan.
    pub(crate) predictor: u8,
    /// Bits that a lossless scan leaves out at the lower end.
    pub(crate) shift: u8,
}

/// Decodes a frame of a known size.
pub(crate) fn decode(bytes: &[u8], columns: usize, rows: usize) -> Result<Image, Fault> {
    let mut markers = Markers::new(bytes)?;
    let mut tables = Tables::default();
    let mut frame = None;
    loop {
        let (marker, segment) = markers.next()?;
        match marker {
            0xC0 | 0xC1 | 0xC3 => {
                frame = Some((marker, Frame::parse(segment, columns, rows)?));
            }
            0xC4 => tables.huffman(segment)?,
            0xDB => tables.quantise(segment)?,
            0xDD => {
                let bytes = segment.first_chunk().ok_or_else(short)?;
                tables.restart = u16::from_be_bytes(*bytes).into();
            }
            0xC2 | 0xC5..=0xC7 | 0xC9..=0xCB | 0xCD..=0xCF => {
                return Err(Fault::unsupported(
                    format!(
                        "a JPEG frame is of process SOF{}, which is neither sequential nor lossless Huffman coded",
                        marker - 0xC0
                    ),
                    "convert it to Explicit VR Little Endian, for instance with gdcmconv --raw",
                ));
            }
            SOS => {
                let scan = scan(segment)?;
                let (kind, frame) =
                    frame.ok_or_else(|| Fault::malformed("a JPEG scan has no frame header"))?;
                let coded = markers.rest();
                let samples = if kind == 0xC3 {
                    jpeg_lossless::decode(coded, &tables, frame, scan, columns, rows)?
                } else {
                    jpeg_dct::decode(coded, &tables, frame, scan, columns, rows)?
                };
                return Ok(Image {
                    samples,
                    precision: frame.precision,
                });
            }
            _ => {}
        }
    }
}

fn short() -> Fault {
    Fault::malformed("a JPEG marker segment is too short")
}

fn scan(segment: &[u8]) -> Result<Scan, Fault> {
    match segment {
        [1, _, tables, predictor, _, approximation, ..] => Ok(Scan {
            dc: tables >> 4,
            ac: tables & 15,
            predictor: *predictor,
            shift: approximation & 15,
        }),
        [n, ..] if *n != 1 => Err(Fault::malformed(format!(
            "a JPEG scan has {n} components, its frame has one"
        ))),
        _ => Err(short()),
    }
}

impl Tables {
    fn quantise(&mut self, mut segment: &[u8]) -> Result<(), Fault> {
        while let Some((&head, rest)) = segment.split_first() {
            let wide = head >> 4 != 0;
            let (values, rest) = rest
                .split_at_checked(if wide { 128 } else { 64 })
                .ok_or_else(short)?;
            let mut table = [0; 64];
            for (n, value) in table.iter_mut().enumerate() {
                *value = match wide {
                    true => u16::from_be_bytes([values[2 * n], values[2 * n + 1]]),
                    false => values[n].into(),
                };
            }
            *at(&mut self.quantisation, head & 15)? = Some(table);
            segment = rest;
        }
        Ok(())
    }

    fn huffman(&mut self, mut segment: &[u8]) -> Result<(), Fault> {
        while let Some((&head, rest)) = segment.split_first() {
            let (counts, rest) = rest.split_first_chunk::<16>().ok_or_else(short)?;
            let total = counts.iter().map(|&c| usize::from(c)).sum();
            let (symbols, rest) = rest.split_at_checked(total).ok_or_else(short)?;
            let tables = match head >> 4 {
                0 => &mut self.dc,
                _ => &mut self.ac,
            };
            *at(tables, head & 15)? = Some(Huffman::new(counts, symbols)?);
            segment = rest;
        }
        Ok(())
    }
}

fn at<T>(tables: &mut [T; 4], number: u8) -> Result<&mut T, Fault> {
    let table = tables.get_mut(usize::from(number));
    table.ok_or_else(|| Fault::malformed(format!("a JPEG table has number {number} of 0 to 3")))
}

/// The table that a scan names.
pub(crate) fn named<T>(tables: &[Option<T>; 4], number: u8) -> Result<&T, Fault> {
    let table = tables.get(usize::from(number)).and_then(Option::as_ref);
    table.ok_or_else(|| {
        Fault::malformed(format!(
            "a JPEG scan names table {number}, which is not there"
        ))
    })
}

/// A Huffman table: for every 16 bits that may come next, the length of the code they begin with, in the
/// upper byte, and its symbol.
pub(crate) struct Huffman(Vec<u16>);

impl Huffman {
    fn new(counts: &[u8; 16], symbols: &[u8]) -> Result<Self, Fault> {
        let mut table = vec![0u16; 1 << 16];
        let mut symbols = symbols.iter();
        let mut code = 0usize;
        for (length, &count) in (1u16..).zip(counts) {
            for &symbol in symbols.by_ref().take(count.into()) {
                let span = 1usize << (16 - length);
                let begin = code * span;
                let places = table
                    .get_mut(begin..begin + span)
                    .ok_or_else(|| Fault::malformed("a Huffman table has more codes than bits"))?;
                places.fill(length << 8 | u16::from(symbol));
                code += 1;
            }
            code *= 2;
        }
        Ok(Huffman(table))
    }
}

/// The bits of coded data, without stuffed bytes, up to the next marker.
pub(crate) struct Bits<'a> {
    bytes: &'a [u8],
    /// Bits that are there, the next one highest.
    ahead: u64,
    count: u32,
    /// Bits that were taken although the data had ended.
    missing: u32,
}

impl<'a> Bits<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Bits {
            bytes,
            ahead: 0,
            count: 0,
            missing: 0,
        }
    }

    fn fill(&mut self) {
        while self.count <= 48 {
            let byte = match *self.bytes {
                [0xFF, 0, ref rest @ ..] => {
                    self.bytes = rest;
                    0xFF
                }
                [byte, ref rest @ ..] if byte != 0xFF => {
                    self.bytes = rest;
                    byte
                }
                // A marker or the end: zeros, which are counted when they are taken.
                _ => {
                    self.missing += 8;
                    0
                }
            };
            self.ahead |= u64::from(byte) << (56 - self.count);
            self.count += 8;
        }
    }

    /// The next `n` bits, up to 16.
    pub(crate) fn take(&mut self, n: u32) -> Result<u32, Fault> {
        if n == 0 {
            return Ok(0);
        }
        self.fill();
        let bits = self.ahead >> (64 - n);
        self.drop(n)?;
        Ok(bits as u32)
    }

    fn drop(&mut self, n: u32) -> Result<(), Fault> {
        self.ahead <<= n;
        self.count -= n;
        if self.missing > self.count {
            return Err(Fault::malformed(
                "the coded data of a JPEG frame ends too early",
            ));
        }
        Ok(())
    }

    /// The next symbol of a table.
    pub(crate) fn symbol(&mut self, table: &Huffman) -> Result<u8, Fault> {
        self.fill();
        let entry = table.0[(self.ahead >> 48) as usize];
        if entry == 0 {
            return Err(Fault::malformed(
                "a JPEG frame has bits that are no Huffman code",
            ));
        }
        self.drop(u32::from(entry >> 8))?;
        Ok(entry as u8)
    }

    /// A number of `category` bits, whose first bit is its sign (T.81, F.2.2.1).
    pub(crate) fn signed(&mut self, category: u32) -> Result<i32, Fault> {
        let bits = self.take(category)? as i32;
        let negative = category > 0 && bits < 1 << (category - 1);
        Ok(bits - if negative { (1 << category) - 1 } else { 0 })
    }

    /// Begins again after a restart marker.
    pub(crate) fn restart(&mut self) -> Result<(), Fault> {
        // What is left of the last byte is padding; whole bytes of coded data are not.
        match self.bytes {
            [0xFF, 0xD0..=0xD7, rest @ ..] => {
                *self = Bits::new(rest);
                Ok(())
            }
            _ => Err(Fault::malformed("a JPEG frame lacks a restart marker")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_end_where_the_data_does() {
        let mut bits = Bits::new(&[0xA5, 0xFF, 0x00, 0x0F, 0xFF, 0xD9]);
        assert_eq!(bits.take(4), Ok(0xA));
        assert_eq!(bits.take(16), Ok(0x5FF0));
        assert_eq!(bits.take(4), Ok(0xF));
        assert!(bits.take(1).is_err());
    }

    #[test]
    fn numbers_have_their_sign() {
        let mut bits = Bits::new(&[0b0100_0110, 0b1100_0000]);
        let numbers = [1, 1, 2, 2, 2, 2].map(|category| bits.signed(category).unwrap());
        assert_eq!(numbers, [-1, 1, -3, -2, 2, 3]);
    }

    #[test]
    fn codes_beyond_their_length_are_refused() {
        let mut counts = [0; 16];
        counts[0] = 3;
        assert!(Huffman::new(&counts, &[1, 2, 3]).is_err());
    }
}
