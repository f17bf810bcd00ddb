//! Raw numbers out of a file, gzipped or not, one slice after the other: what NIfTI, MetaImage and NRRD
//! have in common.

use std::fs::File;
use std::io::{self, BufReader, ErrorKind, Read, Seek, SeekFrom};
use std::path::Path;

use flate2::bufread::{MultiGzDecoder, ZlibDecoder};

use crate::{Element, Grid, ImagingError, Scale, Slice, SliceSource};

/// Bytes that are read and converted at a time; a multiple of every element's size.
const CHUNK: usize = 1 << 18;

/// Deflate makes at most this many bytes of one (RFC 1951: 258 bytes of two bits, and a little).
const LARGEST_RATIO: u64 = 1032;

/// How the bytes of a file are packed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Packing {
    /// As they are.
    Plain,
    /// RFC 1952.
    Gzip,
    /// RFC 1950.
    Zlib,
}

/// The bytes of a file, unpacked.
pub(crate) struct Bytes {
    reader: Box<dyn Read + Send>,
    /// The most bytes that there can be, from the file's own size.
    limit: u64,
    pub(crate) packing: Packing,
    pub(crate) file: String,
}

impl Bytes {
    /// Opens a file, which is taken for gzip if it begins like one.
    pub(crate) fn open(path: &Path) -> Result<Self, ImagingError> {
        let io = |e| ImagingError::io(path, e);
        let mut file = File::open(path).map_err(io)?;
        let mut magic = [0; 2];
        let packing = match file.read_exact(&mut magic) {
            Ok(()) if magic == [0x1f, 0x8b] => Packing::Gzip,
            Ok(()) => Packing::Plain,
            Err(e) if e.kind() == ErrorKind::UnexpectedEof => Packing::Plain,
            Err(e) => return Err(io(e)),
        };
        Bytes::from_file(path, file, 0, packing)
    }

    /// Takes a file that is packed as said from byte `offset` on.
    pub(crate) fn from_file(
        path: &Path,
        mut file: File,
        offset: u64,
        packing: Packing,
    ) -> Result<Self, ImagingError> {
        let io = |e| ImagingError::io(path, e);
        let metadata = file.metadata().map_err(io)?;
        if metadata.is_dir() {
            return Err(ImagingError::Unsupported {
                file: path.display().to_string(),
                problem: "it is a folder".into(),
                mend: "name a file",
            });
        }
        let length = metadata.len().saturating_sub(offset);
        file.seek(SeekFrom::Start(offset)).map_err(io)?;
        let plain = BufReader::with_capacity(CHUNK, file);
        let (reader, limit): (Box<dyn Read + Send>, u64) = match packing {
            Packing::Plain => (Box::new(plain), length),
            Packing::Gzip => (
                Box::new(MultiGzDecoder::new(plain)),
                length.saturating_mul(LARGEST_RATIO),
            ),
            Packing::Zlib => (
                Box::new(ZlibDecoder::new(plain)),
                length.saturating_mul(LARGEST_RATIO),
            ),
        };
        Ok(Bytes {
            reader,
            limit,
            packing,
            file: path.display().to_string(),
        })
    }

    /// Fills `out`, which holds `what`.
    pub(crate) fn read_exact(&mut self, out: &mut [u8], what: &str) -> Result<(), ImagingError> {
        let mut done = 0;
        while done < out.len() {
            match self.reader.read(&mut out[done..]) {
                Ok(0) => {
                    return Err(self.ends_early(&format!(
                        "within {what}, after {done} of its {} bytes",
                        out.len()
                    )));
                }
                Ok(n) => done += n,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(self.unreadable(e, what)),
            }
        }
        Ok(())
    }

    /// Passes over `count` bytes.
    pub(crate) fn skip(&mut self, count: u64, what: &str) -> Result<(), ImagingError> {
        let copied = io::copy(&mut self.reader.by_ref().take(count), &mut io::sink());
        match copied {
            Ok(n) if n == count => Ok(()),
            // A packed stream that is cut off says so itself.
            Err(e) if e.kind() != ErrorKind::UnexpectedEof => Err(self.unreadable(e, what)),
            _ => Err(self.ends_early(&format!("before {what}"))),
        }
    }

    /// Refuses a header that claims more bytes than the file can hold.
    pub(crate) fn check_claim(&self, claimed: Option<u64>) -> Result<(), ImagingError> {
        match claimed {
            Some(n) if n <= self.limit => Ok(()),
            claimed => {
                let claimed = claimed.map_or("more bytes than any file has".to_owned(), |n| {
                    format!("{n} bytes of header and voxels")
                });
                let held = match self.packing {
                    Packing::Plain => format!("the file has {}", self.limit),
                    _ => format!("the packed file can hold {} at the most", self.limit),
                };
                Err(self.malformed(
                    format!("its header says {claimed}, {held}"),
                    "copy the file again, or repair its header",
                ))
            }
        }
    }

    /// After the last voxel: that the packed stream ends as its checksum says.
    fn check_end(&mut self) -> Result<(), ImagingError> {
        if self.packing == Packing::Plain {
            return Ok(());
        }
        let mut rest = [0; 1 << 12];
        for _ in 0..256 {
            match self.reader.read(&mut rest) {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                // Whatever follows a whole gzip stream is not part of it.
                Err(e) if e.kind() == ErrorKind::InvalidInput && is_header_error(&e) => {
                    return Ok(());
                }
                Err(e) => return Err(self.unreadable(e, "its end")),
            }
        }
        // More data of another volume: the checksum lies behind it.
        Ok(())
    }

    fn ends_early(&self, place: &str) -> ImagingError {
        self.malformed(
            format!("it ends {place}"),
            "copy or download the file again",
        )
    }

    fn unreadable(&self, error: io::Error, what: &str) -> ImagingError {
        match error.kind() {
            ErrorKind::UnexpectedEof => self.ends_early(&format!("within {what}")),
            ErrorKind::InvalidInput | ErrorKind::InvalidData => self.malformed(
                format!("its compressed data is damaged at {what} ({error})"),
                "copy or download the file again",
            ),
            _ => ImagingError::Io {
                path: self.file.clone().into(),
                error,
            },
        }
    }

    pub(crate) fn malformed(&self, problem: String, mend: &'static str) -> ImagingError {
        ImagingError::Malformed {
            file: self.file.clone(),
            problem,
            mend,
        }
    }
}

/// Whether a gzip member's header was looked for and something else was found.
fn is_header_error(error: &io::Error) -> bool {
    error.to_string().contains("header")
}

/// How the numbers of a volume lie in the bytes of a file.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    pub(crate) grid: Grid,
    pub(crate) element: Element,
    pub(crate) big_endian: bool,
    pub(crate) scale: Scale,
}

impl Layout {
    /// The bytes of the whole volume, if a file can have as many.
    pub(crate) fn bytes(&self) -> Option<u64> {
        (self.grid.voxels() as u64).checked_mul(self.element.bytes() as u64)
    }
}

/// The slices of a volume whose first voxel is the next byte.
pub(crate) struct RawSlices {
    bytes: Bytes,
    layout: Layout,
    next: usize,
    chunk: Vec<u8>,
}

impl RawSlices {
    pub(crate) fn new(bytes: Bytes, layout: Layout) -> Self {
        RawSlices {
            bytes,
            layout,
            next: 0,
            chunk: Vec::new(),
        }
    }
}

impl SliceSource for RawSlices {
    fn grid(&self) -> &Grid {
        &self.layout.grid
    }

    fn element(&self) -> Element {
        self.layout.element
    }

    fn next_slice(&mut self, slice: &mut Slice) -> Result<bool, ImagingError> {
        let [columns, rows, slices] = self.layout.grid.size();
        if self.next == slices {
            return Ok(false);
        }
        let place = format!("slice {} of {slices}", self.next + 1);
        slice.scale = self.layout.scale;
        slice.voxels.clear();
        if slice.voxels.element() != self.layout.element {
            slice.voxels = crate::Voxels::empty(self.layout.element);
        }
        // Room grows with what has been read, so that a header's claim allocates nothing by itself.
        let mut left = columns * rows * self.layout.element.bytes();
        while left > 0 {
            self.chunk.resize(left.min(CHUNK), 0);
            self.bytes.read_exact(&mut self.chunk, &place)?;
            slice
                .voxels
                .extend_from_bytes(&self.chunk, self.layout.big_endian);
            left -= self.chunk.len();
        }
        self.next += 1;
        if self.next == slices {
            self.bytes.check_end()?;
        }
        Ok(true)
    }
}
