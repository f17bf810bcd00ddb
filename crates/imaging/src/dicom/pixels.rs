//! Pixels: where the frames of a file are, and what their bits mean.

use super::Fault;
use super::codec;
use super::data_set::DataSet;
use super::files::{Seekable, read_at};
use super::parse::Located;
use super::syntax::{Compression, Syntax};
use super::tag::{self, Tag};
use crate::{Element, Voxels};

/// The largest frame that is read, in pixels: 8192 x 8192.
const LARGEST_FRAME: u64 = 1 << 26;

/// How the numbers of a frame are stored.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct PixelFormat {
    pub(crate) rows: u32,
    pub(crate) columns: u32,
    pub(crate) frames: u32,
    /// Bits that a number takes: 1, 8, 16, 32 or 64.
    allocated: u32,
    /// Bits that belong to it.
    stored: u32,
    /// Bits below the ones that belong to it.
    shift: u32,
    signed: bool,
    float: bool,
    /// Stored numbers that stand for no measurement, from the lowest to the highest.
    pub(crate) padding: Option<(i64, i64)>,
    /// Whether small numbers are meant to be shown bright.
    pub(crate) inverted: bool,
    pub(crate) compression: Compression,
    big_endian: bool,
    pixels: Located,
}

const CONVERT: &str = "convert it to an image of one number per pixel";

impl PixelFormat {
    /// The format that a data set tells, if its pixels can be read.
    pub(crate) fn of(data: &DataSet, syntax: Syntax, pixels: Located) -> Result<Self, Fault> {
        let need = |tag: Tag| {
            let count = data.count(tag)?;
            count.ok_or_else(|| Fault::malformed(format!("{tag} is missing")))
        };
        let samples = data.count(tag::SAMPLES_PER_PIXEL)?.unwrap_or(1);
        let photometric = data.text(tag::PHOTOMETRIC).unwrap_or_default();
        let grey = matches!(photometric.as_str(), "MONOCHROME1" | "MONOCHROME2" | "");
        if samples != 1 || !grey {
            return Err(Fault::unsupported(
                format!(
                    "its pixels are {photometric} of {samples} numbers each, a picture and no scan"
                ),
                CONVERT,
            ));
        }
        let (rows, columns) = (need(tag::ROWS)?, need(tag::COLUMNS)?);
        let frames = data.count(tag::FRAMES)?.unwrap_or(1);
        let area = u64::from(rows) * u64::from(columns);
        if area == 0 || frames == 0 || rows > 65535 || columns > 65535 {
            return Err(Fault::malformed(format!(
                "it has {frames} frames of {rows} rows and {columns} columns"
            )));
        }
        if area > LARGEST_FRAME {
            return Err(Fault::unsupported(
                format!("a frame of {rows} x {columns} is larger than {LARGEST_FRAME} pixels"),
                "cut it into parts",
            ));
        }
        let float = pixels.tag != tag::PIXELS;
        let allocated = need(tag::BITS_ALLOCATED)?;
        let stored = match float {
            true => allocated,
            false => data.count(tag::BITS_STORED)?.unwrap_or(allocated),
        };
        let high = match float {
            true => stored.saturating_sub(1),
            false => data.count(tag::HIGH_BIT)?.unwrap_or(stored.wrapping_sub(1)),
        };
        let wanted: &[u32] = match pixels.tag {
            tag::FLOAT_PIXELS => &[32],
            tag::DOUBLE_PIXELS => &[64],
            _ => &[1, 8, 16, 32],
        };
        // A number lies within its bits, and its highest bit cannot be below its lowest.
        if !wanted.contains(&allocated) || stored == 0 || high >= allocated || high + 1 < stored {
            return Err(Fault::malformed(format!(
                "{allocated} bits are allocated, {stored} stored, the highest is {high}"
            )));
        }
        let signed = data.count(tag::PIXEL_REPRESENTATION)?.unwrap_or(0) == 1;
        let compression = match (pixels.length, syntax.compression) {
            // Some writers name a compression and leave the pixels as they are.
            (Some(_), _) => Compression::None,
            (None, Compression::None) => {
                return Err(Fault::malformed(format!(
                    "its pixels are encapsulated, which {} does not have",
                    syntax.name
                )));
            }
            (None, compression) => compression,
        };
        let format = PixelFormat {
            rows,
            columns,
            frames,
            allocated,
            stored,
            shift: high + 1 - stored,
            signed,
            float,
            padding: padding(data, allocated, signed, float),
            inverted: photometric == "MONOCHROME1",
            compression,
            big_endian: syntax.big_endian,
            pixels,
        };
        format.check_length()?;
        Ok(format)
    }

    /// Whether as many bytes are there as the sizes say, before anything is allocated.
    fn check_length(&self) -> Result<(), Fault> {
        let Some(length) = self.pixels.length else {
            return Ok(());
        };
        let bits = self.pixels_in_frame() * u64::from(self.allocated) * u64::from(self.frames);
        let needed = bits.div_ceil(8);
        if needed > u64::from(length) {
            return Err(Fault::malformed(format!(
                "{} frames of {} x {} pixels of {} bits need {needed} bytes, its pixel data has {length}",
                self.frames, self.rows, self.columns, self.allocated
            )));
        }
        Ok(())
    }

    fn pixels_in_frame(&self) -> u64 {
        u64::from(self.rows) * u64::from(self.columns)
    }

    /// How many bytes of the file, or of what it inflates to, hold the pixels and what is before them.
    pub(crate) fn needed(&self) -> u64 {
        let length = self.pixels.length.map_or(u64::MAX / 2, u64::from);
        self.pixels.start + length
    }

    /// The type that holds every number of a frame.
    pub(crate) fn element(&self) -> Element {
        match (self.float, self.stored, self.signed) {
            (true, 32, _) => Element::F32,
            (true, ..) => Element::F64,
            (_, 0..=8, false) => Element::U8,
            (_, 0..=8, true) => Element::I8,
            (_, 9..=16, false) => Element::U16,
            (_, 9..=16, true) => Element::I16,
            (.., false) => Element::U32,
            (.., true) => Element::I32,
        }
    }

    /// The number that raw bits stand for.
    fn number(&self, raw: u64) -> i64 {
        let unused = 64 - self.stored;
        let bits = raw >> self.shift << unused;
        match self.signed {
            true => bits as i64 >> unused,
            false => (bits >> unused) as i64,
        }
    }

    /// The stored numbers of a frame, counted from 0, as `element`, which must hold them.
    pub(crate) fn frame(
        &self,
        input: &mut dyn Seekable,
        fragments: &mut Option<Fragments>,
        frame: u32,
        element: Element,
    ) -> Result<Voxels, Fault> {
        if self.compression == Compression::None {
            return self.plain_frame(input, frame, element);
        }
        let fragments = match fragments {
            Some(fragments) => fragments,
            None => fragments.insert(Fragments::find(input, self.pixels.start)?),
        };
        let bytes = fragments.frame(input, frame, self.frames)?;
        let (columns, rows) = (self.columns as usize, self.rows as usize);
        let unsuitable = || {
            Fault::malformed(format!(
                "{} bits are allocated, which {:?} does not have",
                self.allocated, self.compression
            ))
        };
        if self.compression == Compression::Rle {
            if self.allocated < 8 {
                return Err(unsuitable());
            }
            let size = self.allocated as usize / 8;
            let bytes = codec::rle::decode(&bytes, columns * rows, size)?;
            return Ok(self.numbers(&bytes, false, element));
        }
        if !matches!(self.allocated, 8 | 16) {
            return Err(unsuitable());
        }
        let image = match self.compression {
            Compression::Jpeg => codec::jpeg::decode(&bytes, columns, rows)?,
            Compression::JpegLs => codec::jpeg_ls::decode(&bytes, columns, rows)?,
            _ => codec::jpeg_2000::decode(&bytes, columns, rows)?,
        };
        // A codestream has no bits below its numbers, and its own precision where that is less.
        let mut format = self.clone();
        format.shift = 0;
        format.stored = self.stored.min(image.precision);
        let numbers = image.samples.iter();
        Ok(voxels(element, numbers.map(|&s| format.number(s as u64))))
    }

    fn plain_frame(
        &self,
        input: &mut dyn Seekable,
        frame: u32,
        element: Element,
    ) -> Result<Voxels, Fault> {
        let bits = self.pixels_in_frame() * u64::from(self.allocated);
        let first = u64::from(frame) * bits;
        // Big-endian words are swapped, and a frame of bytes or bits may begin inside of one.
        let swap = self.big_endian && self.allocated <= 8 && self.pixels.words;
        let mut begin = first / 8;
        let mut end = (first + bits).div_ceil(8);
        if swap {
            begin &= !1;
            end = end.next_multiple_of(2);
        }
        let mut bytes = read_at(input, self.pixels.start + begin, end - begin)?;
        if swap {
            bytes.chunks_exact_mut(2).for_each(<[u8]>::reverse);
        }
        let offset = first - begin * 8;
        if self.allocated == 1 {
            let n = self.pixels_in_frame();
            let bit = |at: u64| bytes[(at / 8) as usize] >> (at % 8) & 1;
            let bits = (offset..offset + n).map(|at| i64::from(bit(at)));
            return Ok(voxels(element, bits));
        }
        let bytes = &bytes[(offset / 8) as usize..][..(bits / 8) as usize];
        Ok(self.numbers(bytes, self.big_endian, element))
    }

    /// Numbers of whole bytes.
    fn numbers(&self, bytes: &[u8], big_endian: bool, element: Element) -> Voxels {
        if self.float {
            let mut voxels = Voxels::empty(element);
            voxels.extend_from_bytes(bytes, big_endian);
            return voxels;
        }
        macro_rules! numbers {
            ($t:ty) => {{
                let chunks = bytes.as_chunks().0.iter();
                let raw = chunks.map(|&c| match big_endian {
                    true => <$t>::from_be_bytes(c),
                    false => <$t>::from_le_bytes(c),
                });
                voxels(element, raw.map(|r| self.number(r.into())))
            }};
        }
        match self.allocated {
            8 => numbers!(u8),
            16 => numbers!(u16),
            _ => numbers!(u32),
        }
    }
}

/// The stored numbers that stand for no measurement.
fn padding(data: &DataSet, allocated: u32, signed: bool, float: bool) -> Option<(i64, i64)> {
    let number = |tag| {
        let bytes = data.bytes(tag)?;
        let raw = u16::from_le_bytes(*bytes.first_chunk()?);
        // Its representation is that of the pixels, whatever the file says.
        Some(match signed {
            true if allocated == 8 => i64::from(raw as u8 as i8),
            true => i64::from(raw as i16),
            false => i64::from(raw),
        })
    };
    let one = number(tag::PIXEL_PADDING).filter(|_| !float)?;
    let other = number(tag::PIXEL_PADDING_LIMIT).unwrap_or(one);
    Some((one.min(other), one.max(other)))
}

/// Numbers as a type, which they fit.
fn voxels(element: Element, numbers: impl Iterator<Item = i64>) -> Voxels {
    match element {
        Element::U8 => Voxels::U8(numbers.map(|n| n as u8).collect()),
        Element::I8 => Voxels::I8(numbers.map(|n| n as i8).collect()),
        Element::U16 => Voxels::U16(numbers.map(|n| n as u16).collect()),
        Element::I16 => Voxels::I16(numbers.map(|n| n as i16).collect()),
        Element::U32 => Voxels::U32(numbers.map(|n| n as u32).collect()),
        Element::I32 => Voxels::I32(numbers.map(|n| n as i32).collect()),
        Element::U64 => Voxels::U64(numbers.map(|n| n as u64).collect()),
        Element::I64 => Voxels::I64(numbers.collect()),
        Element::F32 => Voxels::F32(numbers.map(|n| n as f32).collect()),
        Element::F64 => Voxels::F64(numbers.map(|n| n as f64).collect()),
    }
}

/// Where the parts of encapsulated pixels are.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Fragments {
    /// Where each frame begins, counted from the first fragment's item; may be empty.
    offsets: Vec<u32>,
    /// The first byte of each fragment and its length.
    parts: Vec<(u64, u32)>,
}

impl Fragments {
    /// Walks over the fragments from `start` on.
    fn find(input: &mut dyn Seekable, start: u64) -> Result<Self, Fault> {
        let item = |input: &mut dyn Seekable, at: u64| -> Result<(Tag, u32), Fault> {
            let bytes = read_at(input, at, 8)?;
            let number = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
            let tag = Tag(u32::from(number(0)) << 16 | u32::from(number(2)));
            let length = u32::from(number(6)) << 16 | u32::from(number(4));
            Ok((tag, length))
        };
        let (tag, length) = item(input, start)?;
        if tag != tag::ITEM {
            return Err(Fault::malformed(format!(
                "its encapsulated pixels begin with {tag} instead of an item"
            )));
        }
        let table = read_at(input, start + 8, length.into())?;
        let offsets = table.as_chunks().0.iter().map(|&c| u32::from_le_bytes(c));
        let offsets = offsets.collect();
        let mut at = start + 8 + u64::from(length);
        let mut parts = Vec::new();
        loop {
            match item(input, at)? {
                (tag::SEQUENCE_END, _) => break,
                (tag::ITEM, length) if length < u32::MAX => {
                    parts.push((at + 8, length));
                    at += 8 + u64::from(length);
                }
                (tag, _) => {
                    return Err(Fault::malformed(format!(
                        "{tag} stands at byte {at} where a fragment of its pixels should begin"
                    )));
                }
            }
        }
        Ok(Fragments { offsets, parts })
    }

    /// The bytes of a frame.
    fn frame(&self, input: &mut dyn Seekable, frame: u32, frames: u32) -> Result<Vec<u8>, Fault> {
        let at = frame as usize;
        let parts = if frames == 1 {
            &self.parts[..]
        } else if self.parts.len() == frames as usize {
            &self.parts[at..=at]
        } else if self.offsets.len() == frames as usize {
            let first = self.parts.first().map_or(0, |p| p.0 - 8);
            let begin = first + u64::from(self.offsets[at]);
            let end = self.offsets.get(at + 1);
            let end = end.map_or(u64::MAX, |&o| first + u64::from(o));
            let from = self.parts.partition_point(|p| p.0 - 8 < begin);
            let to = self.parts.partition_point(|p| p.0 - 8 < end);
            self.parts.get(from..to).unwrap_or_default()
        } else {
            return Err(Fault::malformed(format!(
                "{frames} frames are in {} fragments, and no table says where each begins",
                self.parts.len()
            )));
        };
        if parts.is_empty() {
            return Err(Fault::malformed(format!("frame {frame} has no fragment")));
        }
        let mut bytes = Vec::new();
        for &(start, length) in parts {
            bytes.extend_from_slice(&read_at(input, start, length.into())?);
        }
        Ok(bytes)
    }
}
