//! The header of NIfTI-1 (348 bytes) and NIfTI-2 (540 bytes) files.
//!
//! Source: the NIfTI-1.1 and NIfTI-2 definitions (nifti1.h, nifti2.h). Where files do not keep to them,
//! what nibabel does is done: see [`Header::affine`].

use crate::geometry::{determinant, norm};
use crate::{Affine, Element, Grid, Scale};

/// The place of patient coordinates of a scanner, for a header that is made anew.
const SCANNER: i32 = 1;

/// The version of the format.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Version {
    /// 16-bit sizes, 32-bit floats.
    One,
    /// 64-bit sizes and floats.
    Two,
}

impl Version {
    /// Bytes of the header.
    pub(crate) fn bytes(self) -> usize {
        match self {
            Version::One => 348,
            Version::Two => 540,
        }
    }
}

/// The fields of a header that say what the voxels are and where they lie, as they are in the file.
#[derive(Clone, PartialEq, Debug)]
pub struct Header {
    /// NIfTI-1 or NIfTI-2.
    pub version: Version,
    /// Whether numbers, here and of the voxels, have their highest byte first.
    pub big_endian: bool,
    /// Whether voxels follow in the same file; otherwise they are in the `.img` beside the `.hdr`.
    pub single: bool,
    /// The number of axes, and the size of each.
    pub dim: [i64; 8],
    /// The code of the voxels' type.
    pub datatype: i32,
    /// Where voxels begin.
    pub vox_offset: f64,
    /// The factor of stored numbers; 0 and NaN for none.
    pub scl_slope: f64,
    /// What is added to them.
    pub scl_inter: f64,
    /// The sense of the third axis of the qform, and the spacing of every axis.
    pub pixdim: [f64; 8],
    /// The units of space and time.
    pub xyzt_units: i32,
    /// What the quaternion's coordinates are; 0 for nothing.
    pub qform_code: i32,
    /// What the matrix's coordinates are; 0 for nothing.
    pub sform_code: i32,
    /// The last three numbers of the quaternion.
    pub quatern: [f64; 3],
    /// The origin that belongs to the quaternion.
    pub qoffset: [f64; 3],
    /// The matrix, a row per world axis.
    pub srow: [[f64; 4]; 3],
}

/// Reads numbers of either byte order out of a header, whose length has been checked.
struct Fields<'a> {
    bytes: &'a [u8],
    big_endian: bool,
}

impl Fields<'_> {
    fn array<const N: usize>(&self, at: usize) -> [u8; N] {
        let mut array = [0; N];
        array.copy_from_slice(&self.bytes[at..at + N]);
        if self.big_endian {
            array.reverse();
        }
        array
    }

    fn i16(&self, at: usize) -> i32 {
        i32::from(i16::from_le_bytes(self.array(at)))
    }

    fn i32(&self, at: usize) -> i32 {
        i32::from_le_bytes(self.array(at))
    }

    fn i64(&self, at: usize) -> i64 {
        i64::from_le_bytes(self.array(at))
    }

    fn f32(&self, at: usize) -> f64 {
        f64::from(f32::from_le_bytes(self.array(at)))
    }

    fn f64(&self, at: usize) -> f64 {
        f64::from_le_bytes(self.array(at))
    }

    fn f32s<const N: usize>(&self, at: usize) -> [f64; N] {
        std::array::from_fn(|i| self.f32(at + 4 * i))
    }

    fn f64s<const N: usize>(&self, at: usize) -> [f64; N] {
        std::array::from_fn(|i| self.f64(at + 8 * i))
    }
}

/// The version and byte order that the first four bytes of a file say, if they begin a header.
pub(crate) fn recognise(first: [u8; 4]) -> Option<(Version, bool)> {
    let versions = [Version::One, Version::Two];
    let both = |v: Version| [(v, false), (v, true)];
    versions.into_iter().flat_map(both).find(|(v, big)| {
        let size = v.bytes() as u32;
        first
            == if *big {
                size.to_be_bytes()
            } else {
                size.to_le_bytes()
            }
    })
}

impl Header {
    /// Reads a header of as many bytes as its version has; the error says what is wrong.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let first = bytes.first_chunk::<4>().copied().unwrap_or_default();
        let (version, big_endian) = recognise(first).ok_or("it does not begin like NIfTI")?;
        if bytes.len() != version.bytes() {
            return Err(format!("its header has {} bytes", bytes.len()));
        }
        let fields = Fields { bytes, big_endian };
        match version {
            Version::One => Header::parse_one(&fields),
            Version::Two => Header::parse_two(&fields),
        }
    }

    fn parse_one(fields: &Fields) -> Result<Self, String> {
        let single = match &fields.bytes[344..348] {
            b"n+1\0" => true,
            b"ni1\0" => false,
            _ => {
                return Err(
                    "it has no NIfTI signature, like Analyze 7.5 files, which do not say \
                            where left and right are"
                        .into(),
                );
            }
        };
        Ok(Header {
            version: Version::One,
            big_endian: fields.big_endian,
            single,
            dim: std::array::from_fn(|i| i64::from(fields.i16(40 + 2 * i))),
            datatype: fields.i16(70),
            vox_offset: fields.f32(108),
            scl_slope: fields.f32(112),
            scl_inter: fields.f32(116),
            pixdim: fields.f32s(76),
            xyzt_units: i32::from(fields.bytes[123]),
            qform_code: fields.i16(252),
            sform_code: fields.i16(254),
            quatern: fields.f32s(256),
            qoffset: fields.f32s(268),
            srow: std::array::from_fn(|r| fields.f32s(280 + 16 * r)),
        })
    }

    fn parse_two(fields: &Fields) -> Result<Self, String> {
        let single = match &fields.bytes[4..12] {
            b"n+2\0\r\n\x1a\n" => true,
            b"ni2\0\r\n\x1a\n" => false,
            _ => return Err("its NIfTI-2 signature is damaged".into()),
        };
        Ok(Header {
            version: Version::Two,
            big_endian: fields.big_endian,
            single,
            dim: std::array::from_fn(|i| fields.i64(16 + 8 * i)),
            datatype: fields.i16(12),
            vox_offset: fields.i64(168) as f64,
            scl_slope: fields.f64(176),
            scl_inter: fields.f64(184),
            pixdim: fields.f64s(104),
            xyzt_units: fields.i32(500),
            qform_code: fields.i32(344),
            sform_code: fields.i32(348),
            quatern: fields.f64s(352),
            qoffset: fields.f64s(376),
            srow: std::array::from_fn(|r| fields.f64s(400 + 32 * r)),
        })
    }

    /// A header for voxels on `grid`, with the same sform and qform, as ITK wants them. Where the axes
    /// are sheared the qform has the closest ones that are not.
    pub fn of_grid(grid: &Grid) -> Self {
        let size = grid.size();
        let mut dim = [1i64; 8];
        dim[0] = 3;
        (0..3).for_each(|a| dim[a + 1] = size[a] as i64);
        let version = match size.iter().any(|&s| s > i16::MAX as usize) {
            true => Version::Two,
            false => Version::One,
        };
        let rows = grid.affine().rows();
        let mut rotation = grid.affine().rotation().map_or([[0.0; 3]; 3], |(r, _)| r);
        let qfac = if determinant(&rotation) < 0.0 {
            -1.0
        } else {
            1.0
        };
        for row in &mut rotation {
            row[2] *= qfac;
        }
        let mut pixdim = [1.0; 8];
        pixdim[0] = qfac;
        pixdim[1..4].copy_from_slice(&grid.spacing());
        Header {
            version,
            big_endian: false,
            single: true,
            dim,
            datatype: 0,
            vox_offset: 0.0,
            scl_slope: 1.0,
            scl_inter: 0.0,
            pixdim,
            xyzt_units: MILLIMETRES,
            qform_code: SCANNER,
            sform_code: SCANNER,
            quatern: quaternion(&rotation),
            qoffset: grid.affine().origin,
            srow: [rows[0], rows[1], rows[2]],
        }
    }

    /// Size along i, j and k, and the number of volumes; the error says which size is wrong.
    pub(crate) fn sizes(&self) -> Result<([usize; 3], usize), String> {
        let axes = self.dim[0];
        if !(2..=7).contains(&axes) {
            return Err(format!("it has {axes} axes (dim[0]), an image has 2 to 7"));
        }
        let mut sizes = [1usize; 8];
        for axis in 1..=axes as usize {
            sizes[axis] = match usize::try_from(self.dim[axis]) {
                Ok(n) if n > 0 => n,
                _ => return Err(format!("its size along axis {axis} is {}", self.dim[axis])),
            };
        }
        let volumes = sizes[4..].iter().try_fold(1usize, |n, &s| n.checked_mul(s));
        let volumes = volumes.ok_or("it has more volumes than can be counted")?;
        Ok(([sizes[1], sizes[2], sizes[3]], volumes))
    }

    /// The type of the voxels; the error says what is not read.
    pub(crate) fn element(&self) -> Result<Element, String> {
        Ok(match self.datatype {
            2 => Element::U8,
            4 => Element::I16,
            8 => Element::I32,
            16 => Element::F32,
            64 => Element::F64,
            256 => Element::I8,
            512 => Element::U16,
            768 => Element::U32,
            1024 => Element::I64,
            1280 => Element::U64,
            other => {
                let names = [
                    (1, "single bits"),
                    (32, "complex numbers"),
                    (128, "RGB colours"),
                    (1536, "128-bit floats"),
                    (1792, "complex numbers"),
                    (2048, "complex numbers"),
                    (2304, "RGBA colours"),
                ];
                let name = names.iter().find(|(code, _)| *code == other);
                return Err(
                    name.map_or(format!("voxels of unknown type {other}"), |(_, n)| {
                        format!("voxels that are {n}")
                    }),
                );
            }
        })
    }

    /// What makes values of stored numbers: nothing where the slope is 0 or not finite, as nibabel has it.
    pub(crate) fn scale(&self) -> Result<Scale, String> {
        match (self.scl_slope, self.scl_inter) {
            (slope, _) if slope == 0.0 || !slope.is_finite() => Ok(Scale::IDENTITY),
            (slope, intercept) if intercept.is_finite() => Ok(Scale { slope, intercept }),
            (_, intercept) => Err(format!("its scl_inter is {intercept}")),
        }
    }

    /// From voxel indices to the world: the sform if its code says that there is one, or else the qform,
    /// or else voxels around the origin with i running to the left; as nibabel. So does ITK since 5.2
    /// where the sform's axes are at right angles; without a form it has i run to the left and j to the back.
    ///
    /// # Errors
    /// In words, if the quaternion is none.
    pub fn affine(&self) -> Result<Affine, String> {
        match (self.sform_code, self.qform_code) {
            (s, _) if s != 0 => Ok(self.sform()),
            (_, q) if q != 0 => self.qform(),
            _ => Ok(self.base_affine()),
        }
    }

    /// The affine of the matrix.
    pub fn sform(&self) -> Affine {
        let [x, y, z] = self.srow;
        Affine::from_rows([x, y, z, [0.0, 0.0, 0.0, 1.0]])
    }

    /// The affine of the quaternion, the spacing and the sense of the third axis.
    ///
    /// # Errors
    /// In words, if the quaternion is none.
    pub fn qform(&self) -> Result<Affine, String> {
        let [x, y, z] = self.quatern;
        let square = 1.0 - (x * x + y * y + z * z);
        // Rounded to 32 bits, the square of a half turn's cosine may be a little below zero.
        if square.is_nan() || square < -1e-3 {
            return Err(format!("its quaternion {:?} is no rotation", self.quatern));
        }
        let tolerance = 3.0
            * match self.version {
                Version::One => f64::from(f32::EPSILON),
                Version::Two => f64::EPSILON,
            };
        let w = if square < tolerance {
            0.0
        } else {
            square.sqrt()
        };
        let s = 2.0 / (w * w + x * x + y * y + z * z);
        let rotation = [
            [
                1.0 - s * (y * y + z * z),
                s * (x * y - w * z),
                s * (x * z + w * y),
            ],
            [
                s * (x * y + w * z),
                1.0 - s * (x * x + z * z),
                s * (y * z - w * x),
            ],
            [
                s * (x * z - w * y),
                s * (y * z + w * x),
                1.0 - s * (x * x + y * y),
            ],
        ];
        let mut spacing = self.usable_spacing();
        if self.pixdim[0] == -1.0 {
            spacing[2] = -spacing[2];
        }
        Ok(Affine {
            matrix: rotation.map(|row| std::array::from_fn(|c| row[c] * spacing[c])),
            origin: self.qoffset,
        })
    }

    /// The spacing along the three axes; one that is missing is 1, a sign is a slip, as nibabel has it.
    fn usable_spacing(&self) -> [f64; 3] {
        [1, 2, 3].map(|a| {
            if self.pixdim[a] == 0.0 {
                1.0
            } else {
                self.pixdim[a].abs()
            }
        })
    }

    fn base_affine(&self) -> Affine {
        let mut spacing = self.usable_spacing();
        spacing[0] = -spacing[0];
        let mut affine = Affine::of_spacing(spacing);
        for axis in 0..3 {
            let last = (self.dim[axis + 1].max(1) - 1) as f64;
            affine.origin[axis] = -0.5 * last * spacing[axis];
        }
        affine
    }

    /// What is doubtful about where the header says that voxels lie.
    pub(crate) fn doubts(&self, grid: &Grid) -> Vec<String> {
        let mut doubts = Vec::new();
        if self.sform_code == 0 && self.qform_code == 0 {
            doubts.push(
                "the header does not say where left and right are; the first axis is taken to run to \
                 the left"
                    .into(),
            );
        }
        if let (true, true, Ok(qform)) = (self.sform_code != 0, self.qform_code != 0, self.qform())
        {
            let far = grid.size().map(|n| (n - 1) as f64);
            let corners = [[0.0; 3], far].map(|corner| {
                let (a, b) = (grid.affine().apply(corner), qform.apply(corner));
                norm([a[0] - b[0], a[1] - b[1], a[2] - b[2]])
            });
            let apart = corners[0].max(corners[1]);
            // Rounding to 32 bits moves a corner by far less than a tenth of a voxel.
            let least = grid.spacing().into_iter().fold(f64::INFINITY, f64::min);
            if apart > 0.1 * least {
                doubts.push(format!(
                    "its sform and qform differ by {apart:.2} mm; the sform is taken"
                ));
            }
        }
        if let Some((_, shear)) = grid.affine().rotation()
            && shear > crate::geometry::SHEAR_TOLERANCE
        {
            doubts.push(format!(
                "its axes are not at right angles (off by {shear:.4}); ITK and 3D Slicer may refuse it"
            ));
        }
        let space = self.xyzt_units & 7;
        if space == 1 || space == 3 {
            let unit = if space == 1 { "metres" } else { "micrometres" };
            doubts.push(format!(
                "its header says {unit}; the numbers are taken as mm"
            ));
        }
        doubts
    }
}

/// The code of millimetres.
const MILLIMETRES: i32 = 2;

/// The last three numbers of the unit quaternion of a rotation, the first being positive, by the largest
/// of the four (Shepperd 1978).
fn quaternion(r: &[[f64; 3]; 3]) -> [f64; 3] {
    let trace = r[0][0] + r[1][1] + r[2][2];
    // Four times the squares of w, x, y, z.
    let squares = [
        1.0 + trace,
        1.0 + 2.0 * r[0][0] - trace,
        1.0 + 2.0 * r[1][1] - trace,
        1.0 + 2.0 * r[2][2] - trace,
    ];
    let largest = (0..4).fold(0, |a, b| if squares[b] > squares[a] { b } else { a });
    let length = squares[largest].max(0.0).sqrt();
    let difference = |a: usize, b: usize| r[a][b] - r[b][a];
    let sum = |a: usize, b: usize| r[a][b] + r[b][a];
    let others = match largest {
        0 => [
            length * length,
            difference(2, 1),
            difference(0, 2),
            difference(1, 0),
        ],
        1 => [difference(2, 1), length * length, sum(0, 1), sum(0, 2)],
        2 => [difference(0, 2), sum(0, 1), length * length, sum(1, 2)],
        _ => [difference(1, 0), sum(0, 2), sum(1, 2), length * length],
    };
    let q = others.map(|v| v / (2.0 * length));
    let sign = if q[0] < 0.0 { -1.0 } else { 1.0 };
    [q[1] * sign, q[2] * sign, q[3] * sign]
}
