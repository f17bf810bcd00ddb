//! Reads a file up to its pixels: PS3.10 files with and without a preamble, and the data sets of PS3.5.
//!
//! Nothing is allocated because a length field says so: values grow as they are read, and only those
//! that slicewise uses are kept. Nesting is bounded, so hostile files end in an error.

use std::io::Read;

use flate2::read::DeflateDecoder;

use super::data_set::{DataSet, Value};
use super::syntax::{EXPLICIT, IMPLICIT, Syntax};
use super::tag::{self, Tag};
use super::{Fault, Skip};

/// Values other than pixels that are longer than this are none that are read.
const LONGEST_VALUE: u32 = 1 << 20;
/// Sequences within sequences; the deepest that are read have three.
const DEEPEST: u32 = 24;
/// A length that is not given: a delimiter follows instead.
const UNDEFINED: u32 = u32::MAX;

/// Where the pixels are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Located {
    /// Which of the three kinds of pixel data.
    pub(crate) tag: Tag,
    /// Whether they are 16-bit words, which matters in big-endian files.
    pub(crate) words: bool,
    /// The first byte of the value, counted from the begin of the file; of a deflated one from the begin of
    /// the inflated data set.
    pub(crate) start: u64,
    /// The number of bytes; nothing where they are encapsulated.
    pub(crate) length: Option<u32>,
}

/// What a file holds before its pixels.
#[derive(Clone, Debug)]
pub(crate) struct Parsed {
    pub(crate) data: DataSet,
    pub(crate) syntax: Syntax,
    /// Where the data set begins; what is deflated begins here.
    pub(crate) begin: u64,
    pub(crate) pixels: Option<Located>,
}

/// Reads a file up to its pixels; nothing if it is not a DICOM file.
pub(crate) fn parse(mut input: impl Skip) -> Result<Option<Parsed>, Fault> {
    let mut head = Vec::new();
    input.by_ref().take(132).read_to_end(&mut head)?;
    let preamble = head.len() == 132 && &head[128..] == b"DICM";
    if !preamble && !looks_like_elements(&head) {
        return Ok(None);
    }
    let (position, ahead) = if preamble {
        (132, Vec::new())
    } else {
        (0, head)
    };
    let mut parser = Parser {
        input: Ahead::new(ahead, input),
        position,
        syntax: EXPLICIT,
    };
    let mut data = DataSet::default();
    parser.meta(&mut data)?;
    let uid = data.text(tag::TRANSFER_SYNTAX);
    let mut syntax = match &uid {
        Some(uid) => Syntax::of(uid)?,
        None => IMPLICIT,
    };
    let begin = parser.position;
    if syntax.deflated {
        let inflated = Inflated(DeflateDecoder::new(parser.input));
        let mut parser = Parser {
            input: Ahead::new(Vec::new(), inflated),
            position: 0,
            syntax,
        };
        let pixels = parser.top(&mut data)?;
        return Ok(Some(Parsed {
            data,
            syntax,
            begin,
            pixels,
        }));
    }
    // Some writers say explicit and write implicit, and without a transfer syntax it must be seen.
    let head = parser.input.peek(6)?;
    if let [_, _, _, _, a, b] = head {
        let letters = a.is_ascii_uppercase() && b.is_ascii_uppercase();
        match (&uid, letters) {
            (None, true) => syntax = EXPLICIT,
            (Some(_), false) if syntax.explicit => syntax.explicit = false,
            _ => {}
        }
    }
    parser.syntax = syntax;
    let pixels = parser.top(&mut data)?;
    Ok(Some(Parsed {
        data,
        syntax,
        begin,
        pixels,
    }))
}

/// Whether a file without a preamble begins with an element of the file meta information or of group 8.
fn looks_like_elements(head: &[u8]) -> bool {
    let Some(&[group, 0, element, high, rest @ ..]) = head.first_chunk::<8>() else {
        return false;
    };
    let letters = rest[..2].iter().all(u8::is_ascii_uppercase);
    let short = rest[1..] == [0; 3] && rest[0] < 128;
    high == 0 && (group == 2 && element <= 3 || group == 8 && element <= 0x23) && (letters || short)
}

/// An input of which some bytes have been looked at.
struct Ahead<R> {
    seen: Vec<u8>,
    at: usize,
    inner: R,
}

impl<R: Skip> Ahead<R> {
    fn new(seen: Vec<u8>, inner: R) -> Self {
        Ahead { seen, at: 0, inner }
    }

    /// The next `n` bytes, or fewer at the end.
    fn peek(&mut self, n: usize) -> std::io::Result<&[u8]> {
        let missing = n.saturating_sub(self.seen.len() - self.at);
        if missing > 0 {
            let inner = self.inner.by_ref();
            inner.take(missing as u64).read_to_end(&mut self.seen)?;
        }
        let end = self.seen.len().min(self.at + n);
        Ok(&self.seen[self.at..end])
    }
}

impl<R: Read> Read for Ahead<R> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        if self.at < self.seen.len() {
            let n = out.len().min(self.seen.len() - self.at);
            out[..n].copy_from_slice(&self.seen[self.at..self.at + n]);
            self.at += n;
            return Ok(n);
        }
        self.inner.read(out)
    }
}

impl<R: Skip> Skip for Ahead<R> {
    fn skip(&mut self, bytes: u64) -> std::io::Result<()> {
        let here = bytes.min((self.seen.len() - self.at) as u64);
        self.at += here as usize;
        self.inner.skip(bytes - here)
    }
}

/// What a deflated data set is inflated to.
struct Inflated<R: Read>(DeflateDecoder<R>);

impl<R: Read> Read for Inflated<R> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(out)
    }
}

impl<R: Read> Skip for Inflated<R> {
    fn skip(&mut self, bytes: u64) -> std::io::Result<()> {
        super::files::read_away(self, bytes)
    }
}

/// The header of an element.
struct Header {
    tag: Tag,
    vr: [u8; 2],
    length: u32,
    /// Whether the file does not know the representation, which makes a sequence implicit within.
    unknown: bool,
}

struct Parser<R> {
    input: Ahead<R>,
    position: u64,
    syntax: Syntax,
}

impl<R: Skip> Parser<R> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let mut bytes = [0; N];
        self.input.read_exact(&mut bytes)?;
        self.position += N as u64;
        Ok(bytes)
    }

    fn u16(&mut self) -> Result<u16, Fault> {
        let bytes = self.take()?;
        Ok(if self.syntax.big_endian {
            u16::from_be_bytes(bytes)
        } else {
            u16::from_le_bytes(bytes)
        })
    }

    fn u32(&mut self) -> Result<u32, Fault> {
        let bytes = self.take()?;
        Ok(if self.syntax.big_endian {
            u32::from_be_bytes(bytes)
        } else {
            u32::from_le_bytes(bytes)
        })
    }

    fn skip(&mut self, bytes: u64) -> Result<(), Fault> {
        self.input.skip(bytes)?;
        self.position += bytes;
        Ok(())
    }

    /// Whether everything has been read.
    fn ended(&mut self) -> Result<bool, Fault> {
        Ok(self.input.peek(1)?.is_empty())
    }

    /// The header of the next element.
    fn header(&mut self) -> Result<Header, Fault> {
        let group = self.u16()?;
        let tag = Tag(u32::from(group) << 16 | u32::from(self.u16()?));
        let dictionary = tag.vr().unwrap_or(*b"UN");
        if group == 0xFFFE || !self.syntax.explicit {
            let length = self.u32()?;
            return Ok(Header {
                tag,
                vr: dictionary,
                length,
                unknown: false,
            });
        }
        let vr = self.take::<2>()?;
        let long = matches!(
            &vr,
            b"OB"
                | b"OD"
                | b"OF"
                | b"OL"
                | b"OV"
                | b"OW"
                | b"SQ"
                | b"SV"
                | b"UC"
                | b"UN"
                | b"UR"
                | b"UT"
                | b"UV"
        );
        let length = if long {
            self.u16()?;
            self.u32()?
        } else {
            u32::from(self.u16()?)
        };
        if !vr.iter().all(u8::is_ascii_uppercase) {
            let at = self.position;
            return Err(Fault::malformed(format!(
                "{tag} before byte {at} has no value representation"
            )));
        }
        let unknown = &vr == b"UN";
        Ok(Header {
            tag,
            vr: if unknown { dictionary } else { vr },
            length,
            unknown,
        })
    }

    /// The file meta information, which is always of explicit little-endian elements.
    fn meta(&mut self, data: &mut DataSet) -> Result<(), Fault> {
        while self.input.peek(2)? == [2, 0] {
            let header = self.header()?;
            if header.length == UNDEFINED {
                return Err(Fault::malformed(format!("{} has no length", header.tag)));
            }
            self.value(&header, data)?;
        }
        Ok(())
    }

    /// The data set of the file, up to its pixels.
    fn top(&mut self, data: &mut DataSet) -> Result<Option<Located>, Fault> {
        while !self.ended()? {
            let header = self.header()?;
            let pixels = [tag::PIXELS, tag::FLOAT_PIXELS, tag::DOUBLE_PIXELS];
            if pixels.contains(&header.tag) {
                return Ok(Some(Located {
                    tag: header.tag,
                    words: &header.vr == b"OW",
                    start: self.position,
                    length: (header.length != UNDEFINED).then_some(header.length),
                }));
            }
            self.element(header, Some(data), 0)?;
        }
        Ok(None)
    }

    /// The value of an element that is not a sequence, kept if it is one that is used.
    fn value(&mut self, header: &Header, data: &mut DataSet) -> Result<(), Fault> {
        let Header {
            tag, vr, length, ..
        } = *header;
        if tag.vr().is_none() {
            return self.skip(length.into());
        }
        if length > LONGEST_VALUE {
            return Err(Fault::malformed(format!(
                "{tag} before byte {} claims {length} bytes",
                self.position
            )));
        }
        let mut bytes = Vec::new();
        let got = self
            .input
            .by_ref()
            .take(length.into())
            .read_to_end(&mut bytes)?;
        if got < length as usize {
            return Err(Fault::malformed(format!(
                "it ends inside of {tag}, {got} of {length} bytes"
            )));
        }
        self.position += u64::from(length);
        if self.syntax.big_endian && tag.group() != 2 {
            let size = match &vr {
                b"US" | b"SS" | b"OW" | b"AT" => 2,
                b"UL" | b"SL" | b"FL" | b"OF" | b"OL" => 4,
                b"FD" | b"OD" | b"OV" | b"SV" | b"UV" => 8,
                _ => 1,
            };
            bytes.chunks_exact_mut(size).for_each(<[u8]>::reverse);
        }
        data.insert(tag, vr, Value::Bytes(bytes));
        Ok(())
    }

    /// An element of any kind; kept in `data`, if given, where it is used.
    fn element(
        &mut self,
        header: Header,
        data: Option<&mut DataSet>,
        depth: u32,
    ) -> Result<(), Fault> {
        let Header {
            tag, vr, length, ..
        } = header;
        let sequence = &vr == b"SQ" || length == UNDEFINED;
        let wanted = tag.vr() == Some(*b"SQ");
        match data {
            Some(data) if sequence && wanted => {
                let mut items = Vec::new();
                self.sequence(&header, Some(&mut items), depth)?;
                data.insert(tag, vr, Value::Items(items));
            }
            Some(data) if !sequence && !wanted => self.value(&header, data)?,
            _ if sequence && length == UNDEFINED => self.sequence(&header, None, depth)?,
            _ => self.skip(length.into())?,
        }
        Ok(())
    }

    /// The items of a sequence, of known length or up to its delimiter.
    fn sequence(
        &mut self,
        header: &Header,
        mut items: Option<&mut Vec<DataSet>>,
        depth: u32,
    ) -> Result<(), Fault> {
        if depth > DEEPEST {
            return Err(Fault::malformed(format!(
                "more than {DEEPEST} sequences are inside each other at byte {}",
                self.position
            )));
        }
        let outer = self.syntax;
        // A sequence of unknown representation is implicit within (PS3.5, 6.2.2).
        if header.unknown {
            self.syntax.explicit = false;
            self.syntax.big_endian = false;
        }
        let end = self.end(header.length);
        while end.is_none_or(|end| self.position < end) {
            let item = self.header()?;
            match item.tag {
                tag::SEQUENCE_END if end.is_none() => break,
                tag::ITEM => {}
                other => {
                    return Err(Fault::malformed(format!(
                        "{other} stands where an item of {} should begin, before byte {}",
                        header.tag, self.position
                    )));
                }
            }
            let mut data = items.is_some().then(DataSet::default);
            self.item(item.length, data.as_mut(), depth + 1)?;
            if let (Some(items), Some(data)) = (items.as_deref_mut(), data) {
                items.push(data);
            }
        }
        self.syntax = outer;
        Ok(())
    }

    /// The elements of an item.
    fn item(
        &mut self,
        length: u32,
        mut data: Option<&mut DataSet>,
        depth: u32,
    ) -> Result<(), Fault> {
        let end = self.end(length);
        if let (Some(end), None) = (end, &data) {
            return self.skip(end - self.position);
        }
        while end.is_none_or(|end| self.position < end) {
            let header = self.header()?;
            if header.tag == tag::ITEM_END && end.is_none() {
                break;
            }
            self.element(header, data.as_deref_mut(), depth)?;
        }
        Ok(())
    }

    /// Where something of a length ends, if that is known.
    fn end(&self, length: u32) -> Option<u64> {
        (length != UNDEFINED).then(|| self.position + u64::from(length))
    }
}
