//! JPEG 2000 Part 1 of one component, decoded by `hayro-jpeg2000`.
//!
//! The sizes and structure that the codestream claims are checked first, so that the decoder allocates
//! no more than the frame's own size asks for.

use hayro_jpeg2000::{DecodeSettings, DecoderContext};

use super::super::Fault;
use super::Image;

/// Tiles, code blocks and precincts that a frame may have; one of 4096 x 4096 in blocks of 16 x 16 has 65536.
const MOST_PARTS: u64 = 1 << 17;

/// Decodes a frame of a known size.
pub(crate) fn decode(bytes: &[u8], columns: usize, rows: usize) -> Result<Image, Fault> {
    let codestream = codestream(bytes)?;
    let size = Size::parse(codestream, columns, rows)?;
    let settings = DecodeSettings {
        resolve_palette_indices: false,
        strict: true,
        target_resolution: None,
    };
    let wrong = |e: &dyn std::fmt::Display| Fault::malformed(format!("a JPEG 2000 frame: {e}"));
    let image = hayro_jpeg2000::Image::new(codestream, &settings).map_err(|e| wrong(&e))?;
    let mut context = DecoderContext::default();
    let decoded = image.decode(&mut context).map_err(|e| wrong(&e))?;
    let samples = decoded
        .components()
        .first()
        .map_or(&[][..], |c| c.samples());
    if samples.len() != columns * rows {
        return Err(Fault::malformed(format!(
            "a JPEG 2000 frame has {} numbers instead of {rows} x {columns}",
            samples.len()
        )));
    }
    // The decoder raises signed numbers as if they were not.
    let (lowest, highest) = (0.0, ((1u64 << size.precision) - 1) as f32);
    let raised = if size.signed {
        1 << (size.precision - 1)
    } else {
        0
    };
    let number = |&s: &f32| s.round_ties_even().clamp(lowest, highest) as i32 - raised;
    Ok(Image {
        samples: samples.iter().map(number).collect(),
        precision: size.precision,
    })
}

/// The codestream of a frame, which DICOM wants bare but some writers wrap in the boxes of a file.
fn codestream(mut bytes: &[u8]) -> Result<&[u8], Fault> {
    let broken = || Fault::malformed("a frame does not begin as a JPEG 2000 image does");
    if bytes.starts_with(&[0xFF, 0x4F, 0xFF, 0x51]) {
        return Ok(bytes);
    }
    loop {
        let (head, _) = bytes.split_first_chunk::<8>().ok_or_else(broken)?;
        let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let end = if length == 0 { bytes.len() } else { length };
        let content = bytes.get(8..end).ok_or_else(broken)?;
        if &head[4..] == b"jp2c" {
            return Ok(content);
        }
        bytes = &bytes[end..];
    }
}

/// What the main header says.
struct Size {
    precision: u32,
    signed: bool,
}

impl Size {
    fn parse(codestream: &[u8], columns: usize, rows: usize) -> Result<Self, Fault> {
        let short = || Fault::malformed("the header of a JPEG 2000 frame is too short");
        let u16_at = |at: usize| number(codestream, at).ok_or_else(short);
        let u32_at = |at: usize| -> Result<u32, Fault> {
            Ok(u32::from(u16_at(at)?) << 16 | u32::from(u16_at(at + 2)?))
        };
        // After SOC: SIZ, its length and capabilities, then sizes and offsets of the image and its tiles.
        let [x1, y1, x0, y0] = [u32_at(8)?, u32_at(12)?, u32_at(16)?, u32_at(20)?];
        let [tile_x, tile_y] = [u32_at(24)?, u32_at(28)?];
        let size = [x1.saturating_sub(x0), y1.saturating_sub(y0)];
        let components = u16_at(40)?;
        let component = codestream.get(42..45).ok_or_else(short)?;
        if components != 1 || component[1..] != [1, 1] {
            return Err(Fault::malformed(format!(
                "a JPEG 2000 frame has {components} components, its file says one"
            )));
        }
        if size.map(|s| s as usize) != [columns, rows] {
            return Err(Fault::malformed(format!(
                "a JPEG 2000 frame has {} columns and {} rows, its file says {columns} and {rows}",
                size[0], size[1]
            )));
        }
        let precision = u32::from(component[0] & 0x7F) + 1;
        if precision > 16 {
            return Err(Fault::unsupported(
                format!("a JPEG 2000 frame has {precision} bits"),
                "convert it to Explicit VR Little Endian, for instance with gdcmconv --raw",
            ));
        }
        let tiles = |size: u32, tile: u32| u64::from(size.div_ceil(tile.max(1)) + 1);
        let parts = tiles(size[0], tile_x) * tiles(size[1], tile_y);
        Self::check_parts(codestream, parts, size)?;
        Ok(Size {
            precision,
            signed: component[0] & 0x80 != 0,
        })
    }

    /// Whether the image is cut into a number of tiles, blocks and precincts that memory can have.
    fn check_parts(codestream: &[u8], tiles: u64, size: [u32; 2]) -> Result<(), Fault> {
        let too_many =
            |parts: u64| Fault::malformed(format!("a JPEG 2000 frame is cut into {parts} parts"));
        if tiles > MOST_PARTS {
            return Err(too_many(tiles));
        }
        let mut layers = 1;
        for (at, marker) in coding_styles(codestream) {
            // COD: length, style, progression, layers, transform; COC: length, component, style. Then both:
            // levels, block width and height, block style, wavelet, precinct sizes.
            let default = marker == 0xFF52;
            let parameters = at + if default { 9 } else { 6 };
            let style = codestream.get(at + if default { 4 } else { 5 });
            let Some(&[levels, width, height, _, _]) = codestream
                .get(parameters..)
                .and_then(|bytes| bytes.first_chunk())
            else {
                continue;
            };
            if default {
                layers = u64::from(number(codestream, at + 6).unwrap_or(1));
            }
            let count = |exponents: [u32; 2]| {
                let along = |n: usize| u64::from(size[n] >> exponents[n].min(31)) + 2;
                along(0) * along(1)
            };
            let blocks = count([width, height].map(|e| u32::from(e & 15) + 2));
            let mut parts = tiles + blocks.saturating_mul(layers.div_ceil(16));
            if style.is_some_and(|style| style & 1 == 1) {
                let precincts = codestream.get(parameters + 5..).unwrap_or_default();
                for (level, &e) in (0..=u32::from(levels.min(32))).rev().zip(precincts) {
                    // The sizes are those of the reduced image.
                    parts += count([e & 15, e >> 4].map(|e| u32::from(e) + level));
                }
            }
            if parts > MOST_PARTS {
                return Err(too_many(parts));
            }
        }
        Ok(())
    }
}

/// The big-endian number at a position.
fn number(codestream: &[u8], at: usize) -> Option<u16> {
    let bytes = codestream.get(at..)?.first_chunk()?;
    Some(u16::from_be_bytes(*bytes))
}

/// Where the coding styles are, in the main header and in those of tiles, and their markers.
fn coding_styles(codestream: &[u8]) -> Vec<(usize, u16)> {
    let mut styles = Vec::new();
    let (mut at, mut tile_end) = (2, 0);
    while let Some(marker) = number(codestream, at) {
        match marker {
            // The data of a tile is passed over, which its header says the length of.
            0xFF93 if tile_end > at => {
                at = tile_end;
                continue;
            }
            0xFF93 | 0xFFD9 => break,
            0xFF90 => {
                let length = [6, 8].map(|n| number(codestream, at + n).unwrap_or(0));
                tile_end = at + (usize::from(length[0]) << 16 | usize::from(length[1]));
            }
            0xFF52 | 0xFF53 => styles.push((at, marker)),
            _ => {}
        }
        let Some(length) = number(codestream, at + 2) else {
            break;
        };
        at += 2 + usize::from(length);
    }
    styles
}
