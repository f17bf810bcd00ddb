//! Transfer syntaxes: how a data set and its pixels are encoded.

use super::Fault;

/// How pixels are compressed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Compression {
    None,
    Rle,
    /// Baseline and extended sequential, and lossless: the frame itself says which.
    Jpeg,
    JpegLs,
    Jpeg2000,
}

/// A transfer syntax that is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Syntax {
    /// Its name in PS3.6.
    pub(crate) name: &'static str,
    /// Whether elements carry their value representation.
    pub(crate) explicit: bool,
    pub(crate) big_endian: bool,
    /// Whether everything after the file meta information is deflated.
    pub(crate) deflated: bool,
    pub(crate) compression: Compression,
}

const fn plain(name: &'static str) -> Syntax {
    compressed(name, Compression::None)
}

const fn compressed(name: &'static str, compression: Compression) -> Syntax {
    Syntax {
        name,
        explicit: true,
        big_endian: false,
        deflated: false,
        compression,
    }
}

pub(crate) const IMPLICIT: Syntax = Syntax {
    explicit: false,
    ..plain("Implicit VR Little Endian")
};
pub(crate) const EXPLICIT: Syntax = plain("Explicit VR Little Endian");
pub(crate) const EXPLICIT_UID: &str = "1.2.840.10008.1.2.1";
pub(crate) const RLE_UID: &str = "1.2.840.10008.1.2.5";

const READ: &[(&str, Syntax)] = &[
    ("1.2.840.10008.1.2", IMPLICIT),
    (EXPLICIT_UID, EXPLICIT),
    (
        "1.2.840.10008.1.2.1.99",
        Syntax {
            deflated: true,
            ..plain("Deflated Explicit VR Little Endian")
        },
    ),
    (
        "1.2.840.10008.1.2.2",
        Syntax {
            big_endian: true,
            ..plain("Explicit VR Big Endian")
        },
    ),
    (
        "1.2.840.10008.1.2.4.50",
        compressed("JPEG Baseline", Compression::Jpeg),
    ),
    (
        "1.2.840.10008.1.2.4.51",
        compressed("JPEG Extended", Compression::Jpeg),
    ),
    (
        "1.2.840.10008.1.2.4.57",
        compressed("JPEG Lossless", Compression::Jpeg),
    ),
    (
        "1.2.840.10008.1.2.4.70",
        compressed("JPEG Lossless, first-order prediction", Compression::Jpeg),
    ),
    (
        "1.2.840.10008.1.2.4.80",
        compressed("JPEG-LS Lossless", Compression::JpegLs),
    ),
    (
        "1.2.840.10008.1.2.4.81",
        compressed("JPEG-LS Near-Lossless", Compression::JpegLs),
    ),
    (
        "1.2.840.10008.1.2.4.90",
        compressed("JPEG 2000 Lossless", Compression::Jpeg2000),
    ),
    (
        "1.2.840.10008.1.2.4.91",
        compressed("JPEG 2000", Compression::Jpeg2000),
    ),
    (RLE_UID, compressed("RLE Lossless", Compression::Rle)),
];

/// Transfer syntaxes that are named when they are refused.
const REFUSED: &[(&str, &str)] = &[
    ("1.2.840.10008.1.2.4.92", "JPEG 2000 Part 2, lossless"),
    ("1.2.840.10008.1.2.4.93", "JPEG 2000 Part 2"),
    ("1.2.840.10008.1.2.4.94", "JPIP referenced"),
    ("1.2.840.10008.1.2.4.95", "JPIP referenced, deflated"),
    ("1.2.840.10008.1.2.4.100", "MPEG-2"),
    ("1.2.840.10008.1.2.4.101", "MPEG-2"),
    ("1.2.840.10008.1.2.4.102", "MPEG-4 AVC/H.264"),
    ("1.2.840.10008.1.2.4.103", "MPEG-4 AVC/H.264"),
    ("1.2.840.10008.1.2.4.107", "HEVC/H.265"),
    ("1.2.840.10008.1.2.4.108", "HEVC/H.265"),
    ("1.2.840.10008.1.2.4.110", "JPEG XL, lossless"),
    ("1.2.840.10008.1.2.4.111", "JPEG XL, recompressed JPEG"),
    ("1.2.840.10008.1.2.4.112", "JPEG XL"),
    (
        "1.2.840.10008.1.2.4.201",
        "High-Throughput JPEG 2000, lossless",
    ),
    (
        "1.2.840.10008.1.2.4.202",
        "High-Throughput JPEG 2000, lossless, RPCL",
    ),
    ("1.2.840.10008.1.2.4.203", "High-Throughput JPEG 2000"),
    ("1.2.840.10008.1.2.8.1", "Deflated Image Frame Compression"),
];

impl Syntax {
    /// The transfer syntax of a UID.
    pub(crate) fn of(uid: &str) -> Result<Syntax, Fault> {
        if let Some((_, syntax)) = READ.iter().find(|(u, _)| *u == uid) {
            return Ok(*syntax);
        }
        let name = REFUSED.iter().find(|(u, _)| *u == uid);
        let name = name.map_or("which slicewise does not know", |(_, name)| name);
        Err(Fault::unsupported(
            format!("its pixels are encoded in {uid}, {name}"),
            "convert it to Explicit VR Little Endian, for instance with gdcmconv --raw",
        ))
    }
}
