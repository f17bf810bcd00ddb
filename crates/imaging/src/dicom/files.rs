//! Where the bytes of DICOM files come from: folders, single files, zip archives.

use std::fs::File;
use std::io::{BufReader, Cursor, Error, ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use flate2::read::DeflateDecoder;
use zip::ZipArchive;

use super::Fault;
use crate::ImagingError;

/// What must be held in memory to be read, because it is compressed as a whole, is no larger than this.
pub(crate) const LARGEST_INFLATED: u64 = 1 << 30;

/// Bytes of which some can be passed over.
pub(crate) trait Skip: Read {
    /// Passes over as many bytes; fails where there are fewer.
    fn skip(&mut self, bytes: u64) -> std::io::Result<()>;
}

/// Passes over bytes that cannot be sought over.
pub(crate) fn read_away(input: &mut impl Read, bytes: u64) -> std::io::Result<()> {
    let passed = std::io::copy(&mut input.take(bytes), &mut std::io::sink())?;
    match passed == bytes {
        true => Ok(()),
        false => Err(ErrorKind::UnexpectedEof.into()),
    }
}

impl Skip for &[u8] {
    fn skip(&mut self, bytes: u64) -> std::io::Result<()> {
        read_away(self, bytes)
    }
}

/// A file that knows its length, so that nothing beyond it is passed over.
struct Sized {
    reader: BufReader<File>,
    left: u64,
}

impl Read for Sized {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let n = self.reader.read(out)?;
        self.left = self.left.saturating_sub(n as u64);
        Ok(n)
    }
}

impl Skip for Sized {
    fn skip(&mut self, bytes: u64) -> std::io::Result<()> {
        if bytes > self.left {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let signed = i64::try_from(bytes).map_err(|_| Error::from(ErrorKind::UnexpectedEof))?;
        self.reader.seek_relative(signed)?;
        self.left -= bytes;
        Ok(())
    }
}

/// An entry of an archive, which can only be read.
struct Entry<R>(R);

impl<R: Read> Read for Entry<R> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(out)
    }
}

impl<R: Read> Skip for Entry<R> {
    fn skip(&mut self, bytes: u64) -> std::io::Result<()> {
        read_away(&mut self.0, bytes)
    }
}

/// A file that may be a DICOM file.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Place {
    /// On disk.
    File(PathBuf),
    /// In an archive.
    Zip {
        archive: PathBuf,
        index: usize,
        name: String,
    },
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Place::File(path) => write!(f, "{}", path.display()),
            Place::Zip { archive, name, .. } => {
                // Names in archives are foreign text.
                let name: String = name.chars().filter(|c| !c.is_control()).collect();
                write!(f, "{}/{name}", archive.display())
            }
        }
    }
}

/// What can be read at any position.
pub(crate) trait Seekable: Read + Seek + Send {}
impl<R: Read + Seek + Send> Seekable for R {}

/// Opens files, and keeps an archive open from one entry to the next.
#[derive(Default)]
pub(crate) struct Opener {
    archive: Option<(PathBuf, ZipArchive<BufReader<File>>)>,
}

impl Opener {
    fn archive(&mut self, path: &Path) -> Result<&mut ZipArchive<BufReader<File>>, ImagingError> {
        if self.archive.as_ref().is_none_or(|(open, _)| open != path) {
            let file = File::open(path).map_err(|e| ImagingError::io(path, e))?;
            let archive = ZipArchive::new(BufReader::new(file)).map_err(|e| {
                Fault::broken(
                    format!("not a readable zip archive: {e}"),
                    "extract it and give the folder",
                )
                .of(path.display().to_string())
            })?;
            self.archive = Some((path.to_owned(), archive));
        }
        match &mut self.archive {
            Some((_, archive)) => Ok(archive),
            None => unreachable!("it was opened above"),
        }
    }

    /// Hands the bytes of a file from its begin on to `read`.
    pub(crate) fn stream<T>(
        &mut self,
        place: &Place,
        read: impl FnOnce(&mut dyn Skip) -> Result<T, Fault>,
    ) -> Result<T, ImagingError> {
        let result = match place {
            Place::File(path) => {
                let io = |e| ImagingError::io(path, e);
                let file = File::open(path).map_err(io)?;
                let left = file.metadata().map_err(io)?.len();
                let reader = BufReader::new(file);
                read(&mut Sized { reader, left })
            }
            Place::Zip { archive, index, .. } => match self.archive(archive)?.by_index(*index) {
                Ok(entry) => read(&mut Entry(entry)),
                Err(e) => Err(zip_fault(&e)),
            },
        };
        result.map_err(|fault| fault.of(place.to_string()))
    }

    /// Opens a file for reading at any position. With `deflated_from` it is what the bytes from there on
    /// inflate to, of which `needed` bytes are wanted.
    pub(crate) fn open(
        &mut self,
        place: &Place,
        deflated_from: Option<u64>,
        needed: u64,
    ) -> Result<Box<dyn Seekable>, ImagingError> {
        if let (Place::File(path), None) = (place, deflated_from) {
            let file = File::open(path).map_err(|e| ImagingError::io(path, e))?;
            return Ok(Box::new(BufReader::new(file)));
        }
        let needed = needed.min(LARGEST_INFLATED + 1);
        let bytes = self.stream(place, |input| {
            let mut bytes = Vec::new();
            match deflated_from {
                Some(begin) => {
                    input.skip(begin)?;
                    DeflateDecoder::new(input)
                        .take(needed)
                        .read_to_end(&mut bytes)?;
                }
                None => {
                    input.take(needed).read_to_end(&mut bytes)?;
                }
            }
            if bytes.len() as u64 > LARGEST_INFLATED {
                return Err(Fault::unsupported(
                    format!("it inflates to more than {LARGEST_INFLATED} bytes"),
                    "extract the archive, or convert the file to Explicit VR Little Endian",
                ));
            }
            Ok(bytes)
        })?;
        Ok(Box::new(Cursor::new(bytes)))
    }
}

impl Skip for &mut dyn Skip {
    fn skip(&mut self, bytes: u64) -> std::io::Result<()> {
        (**self).skip(bytes)
    }
}

fn zip_fault(error: &zip::result::ZipError) -> Fault {
    Fault::broken(
        format!("it cannot be read from the archive: {error}"),
        "extract the archive and give the folder",
    )
}

/// `length` bytes from `start` on. Room is made for what is there, not for what is asked for.
pub(crate) fn read_at(input: &mut dyn Seekable, start: u64, length: u64) -> Result<Vec<u8>, Fault> {
    input.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    input.take(length).read_to_end(&mut bytes)?;
    match bytes.len() as u64 == length {
        true => Ok(bytes),
        false => Err(Fault::malformed(format!(
            "it ends inside of its pixels: {} of {length} bytes from byte {start} on are there",
            bytes.len()
        ))),
    }
}

/// Whether a path is to be read as DICOM: a zip archive, a file that begins as DICOM files do, or a folder
/// with such a file in it or below.
///
/// # Errors
/// If it cannot be read.
pub fn is_dicom(path: &Path) -> Result<bool, ImagingError> {
    let io = |e| ImagingError::io(path, e);
    if std::fs::metadata(path).map_err(io)?.is_dir() {
        let begins = |place: &Place| match place {
            Place::File(file) => head(file).is_ok_and(|head| head.get(128..) == Some(b"DICM")),
            Place::Zip { .. } => false,
        };
        return Ok(places(path)?.iter().any(begins));
    }
    let head = head(path).map_err(io)?;
    Ok(is_archive(&head) || head.get(128..) == Some(b"DICM"))
}

/// Whether files directly in a folder, and not only ones below it, begin as DICOM files do. Names that
/// `other` knows are not looked at.
///
/// # Errors
/// If the folder cannot be read.
pub fn holds_dicom(folder: &Path, other: impl Fn(&str) -> bool) -> Result<bool, ImagingError> {
    let io = |e| ImagingError::io(folder, e);
    for entry in std::fs::read_dir(folder).map_err(io)? {
        let entry = entry.map_err(io)?;
        let path = entry.path();
        if other(&entry.file_name().to_string_lossy()) || !path.is_file() {
            continue;
        }
        if head(&path).is_ok_and(|head| head.get(128..) == Some(b"DICM")) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// How many bytes the files in a folder and below it have, and when one was last changed.
///
/// # Errors
/// If the folder or one of its files cannot be read.
pub fn extent(folder: &Path) -> Result<(u64, Option<SystemTime>), ImagingError> {
    let mut files = Vec::new();
    walk(folder, 0, &mut files)?;
    let (mut bytes, mut changed) = (0, None);
    for file in files {
        let metadata = std::fs::metadata(&file).map_err(|e| ImagingError::io(&file, e))?;
        bytes += metadata.len();
        changed = changed.max(metadata.modified().ok());
    }
    Ok((bytes, changed))
}

/// The first bytes of a file, up to the mark of DICOM.
fn head(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut head = Vec::new();
    File::open(path)?.take(132).read_to_end(&mut head)?;
    Ok(head)
}

/// Whether a file that begins so is a zip archive.
fn is_archive(head: &[u8]) -> bool {
    head.starts_with(b"PK\x03\x04") || head.starts_with(b"PK\x05\x06")
}

/// Every file in a folder and below it, every entry of a zip archive, or the one file, in the order of names.
pub(crate) fn places(path: &Path) -> Result<Vec<Place>, ImagingError> {
    let io = |e| ImagingError::io(path, e);
    if std::fs::metadata(path).map_err(io)?.is_dir() {
        let mut files = Vec::new();
        walk(path, 0, &mut files)?;
        files.sort();
        return Ok(files.into_iter().map(Place::File).collect());
    }
    if !is_archive(&head(path).map_err(io)?) {
        return Ok(vec![Place::File(path.to_owned())]);
    }
    let mut opener = Opener::default();
    let archive = opener.archive(path)?;
    let mut places: Vec<Place> = (0..archive.len())
        .filter_map(|index| {
            let name = archive.name_for_index(index)?.to_owned();
            let archive = path.to_owned();
            (!name.ends_with('/')).then_some(Place::Zip {
                archive,
                index,
                name,
            })
        })
        .collect();
    places.sort_by_cached_key(ToString::to_string);
    Ok(places)
}

/// The files below a folder. Links to folders are not followed, so this ends.
fn walk(folder: &Path, depth: u32, files: &mut Vec<PathBuf>) -> Result<(), ImagingError> {
    let io = |e| ImagingError::io(folder, e);
    for entry in std::fs::read_dir(folder).map_err(io)? {
        let entry = entry.map_err(io)?;
        let kind = entry.file_type().map_err(io)?;
        let path = entry.path();
        if kind.is_dir() && depth < 32 {
            walk(&path, depth + 1, files)?;
        } else if kind.is_file() || kind.is_symlink() && path.is_file() {
            files.push(path);
        }
    }
    Ok(())
}
