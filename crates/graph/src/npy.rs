//! Tensors in NumPy's `.npy` files (format 1.0 to 3.0), in and out.
//!
//! The format is one line of text before raw elements. The kept library for it (npyz 0.9) trusts
//! the header: sizes whose product overflows panic, and the header's claimed length is allocated
//! before it is read. Files come from strangers, so this reader is ours.

use std::io::Write;
use std::path::Path;

use crate::{DType, Tensor, TensorData};

/// Why a `.npy` file could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NpyError {
    /// The system could not read or write the file.
    #[error("{file}: {source}")]
    Io {
        /// The file.
        file: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file's contents are not what the format asks for.
    #[error("{file}: not a readable .npy file: {problem}")]
    Format {
        /// The file.
        file: String,
        /// What is wrong and where.
        problem: String,
    },
}

/// Reads a file. Types without a counterpart in [`DType`] (f64, f16, i16, u32, bool …) become f32.
///
/// # Errors
/// If the file cannot be read, or is not a whole `.npy` file of numbers.
pub fn read(path: &Path) -> Result<Tensor, NpyError> {
    let file = || path.display().to_string();
    let bytes = std::fs::read(path).map_err(|source| NpyError::Io {
        file: file(),
        source,
    })?;
    from_bytes(&bytes).map_err(|problem| NpyError::Format {
        file: file(),
        problem,
    })
}

/// Writes a file of format 1.0, at once or not at all.
///
/// # Errors
/// If the system cannot write it.
pub fn write(path: &Path, tensor: &Tensor) -> Result<(), NpyError> {
    let io = |source| NpyError::Io {
        file: path.display().to_string(),
        source,
    };
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    {
        // As any new file, less the umask; a temporary file is its owner's alone by default.
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    let file = builder.tempfile_in(folder).map_err(io)?;
    let mut out = std::io::BufWriter::new(file);
    out.write_all(&header(tensor)).map_err(io)?;
    write_elements(&mut out, tensor.data()).map_err(io)?;
    let file = out.into_inner().map_err(|e| io(e.into_error()))?;
    file.persist(path).map_err(|e| io(e.error))?;
    Ok(())
}

fn header(tensor: &Tensor) -> Vec<u8> {
    let descr = match tensor.dtype() {
        DType::F32 => "<f4",
        DType::I64 => "<i8",
        DType::I32 => "<i4",
        DType::U16 => "<u2",
        DType::U8 => "|u1",
        DType::I8 => "|i1",
    };
    let sizes: String = tensor.shape().iter().map(|n| format!("{n}, ")).collect();
    let mut text = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({sizes}), }}");
    // Elements begin at a multiple of 64 bytes, after a newline.
    let unpadded = 10 + text.len() + 1;
    text.push_str(&" ".repeat(unpadded.next_multiple_of(64) - unpadded));
    text.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((text.len() as u16).to_le_bytes());
    bytes.extend(text.bytes());
    bytes
}

fn write_elements(out: &mut impl Write, data: &TensorData) -> std::io::Result<()> {
    macro_rules! each {
        ($($variant:ident),*) => {
            match data {
                $(TensorData::$variant(v) => {
                    v.iter().try_for_each(|e| out.write_all(&e.to_le_bytes()))
                })*
            }
        };
    }
    each!(F32, I64, I32, U16, U8, I8)
}

/// What the header says.
struct Header {
    /// NumPy's type string: byte order, kind, bytes.
    descr: String,
    fortran_order: bool,
    shape: Vec<usize>,
}

/// Reads a whole file's bytes; the error says what is wrong.
pub fn from_bytes(bytes: &[u8]) -> Result<Tensor, String> {
    let (header, elements) = split(bytes)?;
    let header = parse(header)?;
    let (order, kind) = header.descr.split_at_checked(1).ok_or("empty type")?;
    let width = kind
        .get(1..)
        .and_then(|w| w.parse::<usize>().ok())
        .filter(|w| (1..=8).contains(w))
        .ok_or_else(|| unsupported(&header.descr))?;
    let count = (header.shape.iter()).try_fold(1usize, |n, &d| n.checked_mul(d));
    let wanted = count.and_then(|n| n.checked_mul(width));
    if wanted != Some(elements.len()) {
        return Err(format!(
            "shape {:?} of {width}-byte elements does not match {} bytes of data",
            header.shape,
            elements.len()
        ));
    }
    let big = match order {
        ">" => true,
        "<" | "|" | "=" => false,
        _ => return Err(unsupported(&header.descr)),
    };
    let data = decode(kind, elements, big).ok_or_else(|| unsupported(&header.descr))?;
    let shape = &header.shape;
    if !header.fortran_order || shape.len() < 2 {
        return Tensor::new(shape, data).map_err(|e| e.to_string());
    }
    let reversed: Vec<usize> = shape.iter().rev().copied().collect();
    let perm: Vec<usize> = (0..shape.len()).rev().collect();
    Tensor::new(&reversed, data)
        .and_then(|t| crate::reference::transpose(&t, &perm))
        .map_err(|e| e.to_string())
}

fn unsupported(descr: &str) -> String {
    format!("elements of type '{descr}' are not supported; save numbers, for example as float32")
}

/// The header text and the elements.
fn split(bytes: &[u8]) -> Result<(&str, &[u8]), String> {
    let rest = bytes
        .strip_prefix(b"\x93NUMPY")
        .ok_or("it does not begin with NumPy's signature")?;
    let cut = || "it ends within the header".to_owned();
    let (version, rest) = rest.split_at_checked(2).ok_or_else(cut)?;
    let (length, rest) = match version[0] {
        1 => {
            let (n, rest) = rest.split_first_chunk::<2>().ok_or_else(cut)?;
            (usize::from(u16::from_le_bytes(*n)), rest)
        }
        2 | 3 => {
            let (n, rest) = rest.split_first_chunk::<4>().ok_or_else(cut)?;
            (u32::from_le_bytes(*n) as usize, rest)
        }
        v => return Err(format!("format version {v} is unknown")),
    };
    let (header, elements) = rest.split_at_checked(length).ok_or_else(cut)?;
    let header = std::str::from_utf8(header).map_err(|_| "its header is not text")?;
    Ok((header, elements))
}

/// Reads `{'descr': '<f4', 'fortran_order': False, 'shape': (1, 3), }`.
fn parse(text: &str) -> Result<Header, String> {
    let value = |key: &str| -> Result<&str, String> {
        let quoted = [format!("'{key}'"), format!("\"{key}\"")];
        let found = quoted
            .iter()
            .find_map(|k| Some(text.split_once(k.as_str())?.1));
        let after = found.and_then(|t| t.trim_start().strip_prefix(':'));
        after
            .map(str::trim_start)
            .ok_or_else(|| format!("its header has no '{key}'"))
    };
    let descr = value("descr")?;
    let quote = descr.chars().next().filter(|c| matches!(c, '\'' | '"'));
    let descr = quote
        .and_then(|q| descr[1..].split_once(q))
        .map(|(d, _)| d.to_owned())
        .ok_or("its elements are records, not numbers")?;
    let order = value("fortran_order")?;
    let fortran_order = match (order.starts_with("True"), order.starts_with("False")) {
        (true, _) => true,
        (_, true) => false,
        _ => return Err("'fortran_order' is neither True nor False".into()),
    };
    let shape = value("shape")?;
    let shape = shape
        .strip_prefix('(')
        .and_then(|s| s.split_once(')'))
        .map(|(s, _)| s)
        .ok_or("'shape' is not a tuple")?;
    let shape = (shape.split(','))
        .map(str::trim)
        .filter(|s| !s.is_empty())
        .map(|s| s.trim_end_matches('L').parse::<usize>())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| format!("'shape' ({shape}) holds something else than sizes"))?;
    if shape.len() > 32 {
        return Err(format!("{} axes are more than NumPy has", shape.len()));
    }
    Ok(Header {
        descr,
        fortran_order,
        shape,
    })
}

/// The elements of `kind` (letter and bytes), or nothing for a kind that is not a number.
fn decode(kind: &str, bytes: &[u8], big: bool) -> Option<TensorData> {
    macro_rules! each {
        ($t:ty => $convert:expr) => {{
            let (chunks, _) = bytes.as_chunks::<{ size_of::<$t>() }>();
            let parse = |c: &[u8; size_of::<$t>()]| match big {
                true => <$t>::from_be_bytes(*c),
                false => <$t>::from_le_bytes(*c),
            };
            chunks
                .iter()
                .map(|c| $convert(parse(c)))
                .collect::<Vec<_>>()
                .into()
        }};
    }
    Some(match kind {
        "f4" => each!(f32 => |v: f32| v),
        "f8" => each!(f64 => |v: f64| v as f32),
        "f2" => each!(u16 => half_to_f32),
        "i8" => each!(i64 => |v: i64| v),
        "i4" => each!(i32 => |v: i32| v),
        "i2" => each!(i16 => f32::from),
        "i1" => each!(i8 => |v: i8| v),
        "u8" => each!(u64 => |v: u64| v as f32),
        "u4" => each!(u32 => |v: u32| v as f32),
        "u2" => each!(u16 => |v: u16| v),
        "u1" => each!(u8 => |v: u8| v),
        "b1" => each!(u8 => |v: u8| f32::from(u8::from(v != 0))),
        _ => return None,
    })
}

/// IEEE binary16 to f32, exact.
fn half_to_f32(h: u16) -> f32 {
    let sign = if h & 0x8000 != 0 { -1.0 } else { 1.0 };
    let exponent = i32::from(h >> 10 & 0x1f);
    let fraction = f32::from(h & 0x3ff);
    sign * match exponent {
        0 => fraction * 2f32.powi(-24),
        31 if fraction == 0.0 => f32::INFINITY,
        31 => f32::NAN,
        e => (1024.0 + fraction) * 2f32.powi(e - 25),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(descr: &str, fortran: &str, shape: &str, data: &[u8]) -> Vec<u8> {
        let text =
            format!("{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}, }}\n");
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((text.len() as u16).to_le_bytes());
        bytes.extend(text.bytes());
        bytes.extend(data);
        bytes
    }

    #[test]
    fn every_type_comes_back_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.npy");
        let tensors = [
            Tensor::new(&[2, 3], vec![1.5f32, -0.0, f32::MAX, 3.0, 4.0, 5.0]),
            Tensor::new(&[2], vec![i64::MIN, 7]),
            Tensor::new(&[1, 2], vec![-5i32, 6]),
            Tensor::new(&[3], vec![65535u16, 0, 1]),
            Tensor::new(&[3, 1], vec![255u8, 0, 1]),
            Tensor::new(&[], vec![-128i8]),
            Tensor::new(&[0, 4], Vec::<f32>::new()),
        ];
        for tensor in tensors {
            let tensor = tensor.unwrap();
            write(&path, &tensor).unwrap();
            assert_eq!(read(&path).unwrap(), tensor);
        }
    }

    #[test]
    fn other_byte_orders_layouts_and_types_are_converted() {
        let be: Vec<u8> = [1f64, 2.0, 3.0, 4.0]
            .iter()
            .flat_map(|v| v.to_be_bytes())
            .collect();
        let t = from_bytes(&file(">f8", "True", "(2, 2)", &be)).unwrap();
        assert_eq!(t.as_f32().unwrap(), [1.0, 3.0, 2.0, 4.0]);
        let halves: Vec<u8> = [0x3c00u16, 0xc000, 0x0001, 0x7bff]
            .iter()
            .flat_map(|v| v.to_le_bytes())
            .collect();
        let t = from_bytes(&file("<f2", "False", "(4,)", &halves)).unwrap();
        assert_eq!(t.as_f32().unwrap(), [1.0, -2.0, 5.960_464_5e-8, 65504.0]);
    }

    #[test]
    fn hostile_files_are_refused_with_a_reason() {
        let cases: &[(Vec<u8>, &str)] = &[
            (b"PK\x03\x04".to_vec(), "signature"),
            (b"\x93NUMPY\x01\x00\xff\xff{".to_vec(), "within the header"),
            (
                b"\x93NUMPY\x02\x00\xff\xff\xff\xff{".to_vec(),
                "within the header",
            ),
            (b"\x93NUMPY\x09\x00\x00\x00".to_vec(), "version 9"),
            (
                file("<f4", "False", "(4, 4)", &[0; 60]),
                "does not match 60 bytes",
            ),
            (
                file("<f4", "False", "(4294967296, 4294967296, 4294967296)", &[]),
                "does not match",
            ),
            (file("|O", "False", "(1,)", &[0; 8]), "not supported"),
            (file("<c16", "False", "(1,)", &[0; 16]), "not supported"),
            (
                file("<f4", "False", "(-1,)", &[0; 4]),
                "something else than sizes",
            ),
            (
                file("<f4", "Maybe", "(1,)", &[0; 4]),
                "neither True nor False",
            ),
        ];
        for (bytes, want) in cases {
            let got = from_bytes(bytes).unwrap_err();
            assert!(got.contains(want), "{got} instead of {want}");
        }
    }

    #[test]
    fn no_damage_to_a_file_makes_the_reader_panic() {
        let good = file("<f4", "False", "(2, 2)", &[0; 16]);
        for cut in 0..good.len() {
            let _ = from_bytes(&good[..cut]);
            for bit in 0..8 {
                let mut bad = good.clone();
                bad[cut] ^= 1 << bit;
                let _ = from_bytes(&bad);
            }
        }
    }
}
