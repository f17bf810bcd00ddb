//! One DICOM image by itself, whether or not it lies in a patient.

use std::io::{Cursor, Read};
use std::path::Path;

use flate2::read::DeflateDecoder;

use super::Fault;
use super::files::{LARGEST_INFLATED, Seekable};
use super::parse::parse;
use super::pixels::{Fragments, PixelFormat};
use crate::{ImagingError, Voxels};

/// The frames of one file.
pub struct Image {
    name: String,
    format: PixelFormat,
    input: Box<dyn Seekable>,
    fragments: Option<Fragments>,
}

impl Image {
    /// Reads the header of a file.
    ///
    /// # Errors
    /// If it is no DICOM image, or one that is not read.
    pub fn open(path: &Path) -> Result<Self, ImagingError> {
        let bytes = std::fs::read(path).map_err(|e| ImagingError::io(path, e))?;
        Self::from_bytes(&path.display().to_string(), bytes)
    }

    /// Reads the header of a file that is in memory. `name` is for messages.
    ///
    /// # Errors
    /// If it is no DICOM image, or one that is not read.
    pub fn from_bytes(name: &str, bytes: Vec<u8>) -> Result<Self, ImagingError> {
        let open = || {
            let no_dicom = || Fault::unsupported("it is no DICOM file", "give a DICOM image");
            let parsed = parse(&bytes[..])?.ok_or_else(no_dicom)?;
            let no_pixels = || Fault::unsupported("it has no pixels", "give a DICOM image");
            let pixels = parsed.pixels.ok_or_else(no_pixels)?;
            let format = PixelFormat::of(&parsed.data, parsed.syntax, pixels)?;
            let from = parsed.syntax.deflated.then_some(parsed.begin);
            Ok((format, from))
        };
        let (format, deflated_from) = open().map_err(|fault: Fault| fault.of(name))?;
        let bytes = match deflated_from {
            Some(from) => {
                let mut inflated = Vec::new();
                let needed = format.needed().min(LARGEST_INFLATED);
                let read = DeflateDecoder::new(&bytes[from as usize..])
                    .take(needed)
                    .read_to_end(&mut inflated);
                read.map_err(|e| Fault::from(e).of(name))?;
                inflated
            }
            None => bytes,
        };
        Ok(Image {
            name: name.to_owned(),
            format,
            input: Box::new(Cursor::new(bytes)),
            fragments: None,
        })
    }

    /// Columns, rows and frames.
    pub fn size(&self) -> [u32; 3] {
        [self.format.columns, self.format.rows, self.format.frames]
    }

    /// The stored numbers of a frame, counted from 0, row after row.
    ///
    /// # Errors
    /// If the frame cannot be read or decoded.
    pub fn frame(&mut self, frame: u32) -> Result<Voxels, ImagingError> {
        let element = self.format.element();
        let voxels = self
            .format
            .frame(&mut *self.input, &mut self.fragments, frame, element);
        voxels.map_err(|fault| fault.of(&self.name))
    }
}
