//! Writing label maps as NIfTI, slice by slice.

use std::io::{self, Write};
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::{Header, Version};
use crate::whole::WholeFile;
use crate::{ClassTable, Grid, ImagingError, LabelMap, Labels, NOTICE, tables};

/// The extension code of Caret's label tables, which TotalSegmentator and Connectome Workbench write.
const CARET: i32 = 30;

/// The intent code of label maps.
const INTENT_LABEL: i32 = 1002;

/// gzip's fastest level: label maps are long runs of equal bytes, of which the slower levels make files
/// about a fifth smaller in several times the time.
const LEVEL: u32 = 1;

enum Sink {
    Plain(WholeFile),
    Gzip(Box<GzEncoder<WholeFile>>),
}

/// Writes a label map of one volume slice by slice, from k = 0 on. The file appears when it is finished.
pub struct LabelWriter {
    sink: Sink,
    wide: bool,
    /// Voxels that are still missing.
    left: usize,
    swapped: Vec<u8>,
}

impl LabelWriter {
    /// Begins the label map at `path` of a scan whose header is `header`: the affine, both its forms and
    /// codes, the units and the version are the scan's own. Gzipped if the name ends in `.gz`. Labels
    /// are `u16` if `wide`, `u8` otherwise. The classes go into an extension.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn create(
        path: &Path,
        header: &Header,
        grid: &Grid,
        wide: bool,
        classes: &ClassTable,
    ) -> Result<Self, ImagingError> {
        let file = WholeFile::create(path)?;
        let gzip = path
            .extension()
            .is_some_and(|e| e.eq_ignore_ascii_case("gz"));
        let sink = match gzip {
            true => Sink::Gzip(Box::new(GzEncoder::new(file, Compression::new(LEVEL)))),
            false => Sink::Plain(file),
        };
        let mut writer = LabelWriter {
            sink,
            wide,
            left: grid.voxels(),
            swapped: Vec::new(),
        };
        let extension = extension(classes);
        let head = header.label_bytes(grid.size(), wide, extension.len());
        writer.put(&head)?;
        writer.put(&extension)?;
        Ok(writer)
    }

    fn out(&mut self) -> &mut dyn Write {
        match &mut self.sink {
            Sink::Plain(file) => file,
            Sink::Gzip(encoder) => encoder,
        }
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), ImagingError> {
        let written = self.out().write_all(bytes);
        written.map_err(|e| self.error(e))
    }

    fn error(&self, error: io::Error) -> ImagingError {
        let file = match &self.sink {
            Sink::Plain(file) => file,
            Sink::Gzip(encoder) => encoder.get_ref(),
        };
        ImagingError::unwritable(file.path(), error)
    }

    /// Writes the next labels.
    ///
    /// # Errors
    /// If they cannot be written, or are more than the grid has.
    pub fn write(&mut self, labels: &Labels) -> Result<(), ImagingError> {
        let Some(left) = self.left.checked_sub(labels.len()) else {
            return Err(ImagingError::Count {
                what: "labels of a label map",
                got: labels.len(),
                want: self.left,
            });
        };
        self.left = left;
        match labels {
            Labels::U8(v) if !self.wide => self.put(v),
            labels => {
                let mut bytes = std::mem::take(&mut self.swapped);
                bytes.clear();
                bytes.extend((0..labels.len()).flat_map(|at| labels.get(at).to_le_bytes()));
                let written = self.put(&bytes);
                self.swapped = bytes;
                written
            }
        }
    }

    /// Puts the file in its place.
    ///
    /// # Errors
    /// If labels are missing, or the rest cannot be written.
    pub fn finish(self) -> Result<(), ImagingError> {
        if self.left > 0 {
            return Err(ImagingError::Count {
                what: "labels missing from a label map",
                got: self.left,
                want: 0,
            });
        }
        let file = match self.sink {
            Sink::Plain(file) => file,
            Sink::Gzip(encoder) => {
                let path = encoder.get_ref().path().to_owned();
                encoder
                    .finish()
                    .map_err(|e| ImagingError::unwritable(&path, e))?
            }
        };
        file.finish()
    }
}

/// Writes a whole label map; see [`LabelWriter`].
///
/// # Errors
/// If the file cannot be written.
pub fn write_labels(path: &Path, header: &Header, map: &LabelMap) -> Result<(), ImagingError> {
    let wide = matches!(map.labels(), Labels::U16(_));
    let mut writer = LabelWriter::create(path, header, map.grid(), wide, map.classes())?;
    writer.write(map.labels())?;
    writer.finish()
}

/// The extender and the label table, whose length is a multiple of 16 as the format asks.
fn extension(classes: &ClassTable) -> Vec<u8> {
    let text = tables::caret(classes);
    let size = (8 + text.len()).next_multiple_of(16);
    let mut bytes = vec![1, 0, 0, 0];
    bytes.extend((size as i32).to_le_bytes());
    bytes.extend(CARET.to_le_bytes());
    bytes.extend(text.bytes());
    bytes.resize(4 + size, 0);
    bytes
}

/// A header that is being filled in, little-endian.
struct Fields(Vec<u8>);

impl Fields {
    fn put(&mut self, at: usize, bytes: &[u8]) {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn f32s(&mut self, at: usize, values: &[f64]) {
        for (i, &v) in values.iter().enumerate() {
            self.put(at + 4 * i, &(v as f32).to_le_bytes());
        }
    }

    fn f64s(&mut self, at: usize, values: &[f64]) {
        for (i, v) in values.iter().enumerate() {
            self.put(at + 8 * i, &v.to_le_bytes());
        }
    }
}

impl Header {
    /// The header of a label map on this header's grid, with `extension` bytes between it and the voxels.
    fn label_bytes(&self, size: [usize; 3], wide: bool, extension: usize) -> Vec<u8> {
        let mut dim = [1i64; 8];
        dim[0] = 3;
        (0..3).for_each(|a| dim[a + 1] = size[a] as i64);
        let mut pixdim = self.pixdim;
        // The axes of time and beyond are gone.
        pixdim[4..].fill(1.0);
        let head = LabelHead {
            dim,
            pixdim,
            datatype: if wide { 512 } else { 2 },
            bitpix: if wide { 16 } else { 8 },
            begin: (self.version.bytes() + extension) as i64,
            units: self.xyzt_units & 7,
        };
        match self.version {
            Version::One => self.bytes_one(&head),
            Version::Two => self.bytes_two(&head),
        }
    }

    fn bytes_one(&self, head: &LabelHead) -> Vec<u8> {
        let mut f = Fields(vec![0; Version::One.bytes()]);
        f.put(0, &348i32.to_le_bytes());
        f.0[38] = b'r'; // Expected of old readers.
        for (i, &n) in head.dim.iter().enumerate() {
            f.put(40 + 2 * i, &(n as i16).to_le_bytes());
        }
        f.put(68, &(INTENT_LABEL as i16).to_le_bytes());
        f.put(70, &head.datatype.to_le_bytes());
        f.put(72, &head.bitpix.to_le_bytes());
        f.f32s(76, &head.pixdim);
        f.f32s(108, &[head.begin as f64, 1.0, 0.0]);
        f.0[123] = head.units as u8;
        f.put(148, NOTICE.as_bytes());
        f.put(252, &(self.qform_code as i16).to_le_bytes());
        f.put(254, &(self.sform_code as i16).to_le_bytes());
        f.f32s(256, &self.quatern);
        f.f32s(268, &self.qoffset);
        f.f32s(280, self.srow.as_flattened());
        f.put(344, b"n+1\0");
        f.0
    }

    fn bytes_two(&self, head: &LabelHead) -> Vec<u8> {
        let mut f = Fields(vec![0; Version::Two.bytes()]);
        f.put(0, &540i32.to_le_bytes());
        f.put(4, b"n+2\0\r\n\x1a\n");
        f.put(12, &head.datatype.to_le_bytes());
        f.put(14, &head.bitpix.to_le_bytes());
        for (i, n) in head.dim.iter().enumerate() {
            f.put(16 + 8 * i, &n.to_le_bytes());
        }
        f.f64s(104, &head.pixdim);
        f.put(168, &head.begin.to_le_bytes());
        f.f64s(176, &[1.0, 0.0]);
        f.put(240, NOTICE.as_bytes());
        f.put(344, &self.qform_code.to_le_bytes());
        f.put(348, &self.sform_code.to_le_bytes());
        f.f64s(352, &self.quatern);
        f.f64s(376, &self.qoffset);
        f.f64s(400, self.srow.as_flattened());
        f.put(500, &head.units.to_le_bytes());
        f.put(504, &INTENT_LABEL.to_le_bytes());
        f.0
    }
}

/// What a label map's header has of its own.
struct LabelHead {
    dim: [i64; 8],
    pixdim: [f64; 8],
    datatype: i16,
    bitpix: i16,
    /// The byte that labels begin at.
    begin: i64,
    units: i32,
}
