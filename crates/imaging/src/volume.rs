//! Scans: the numbers of a volume as they are stored, whole or one slice after the other.

use crate::{Grid, ImagingError};

macro_rules! elements {
    ($($variant:ident $t:ty, $text:literal;)*) => {
        /// The type that a scan's numbers are stored in.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[allow(missing_docs)]
        pub enum Element { $($variant),* }

        impl Element {
            /// Bytes of one number.
            pub fn bytes(self) -> usize {
                match self { $(Element::$variant => size_of::<$t>()),* }
            }

            /// The name that NumPy has for it.
            pub fn name(self) -> &'static str {
                match self { $(Element::$variant => $text),* }
            }
        }

        /// Stored numbers, i fastest.
        #[derive(Clone, PartialEq, Debug)]
        #[allow(missing_docs)]
        pub enum Voxels { $($variant(Vec<$t>)),* }

        impl Voxels {
            /// No numbers of a type.
            pub fn empty(element: Element) -> Self {
                match element { $(Element::$variant => Voxels::$variant(Vec::new())),* }
            }

            /// The type of the numbers.
            pub fn element(&self) -> Element {
                match self { $(Voxels::$variant(_) => Element::$variant),* }
            }

            /// How many there are.
            pub fn len(&self) -> usize {
                match self { $(Voxels::$variant(v) => v.len()),* }
            }

            /// The number at position `at` with `scale` applied.
            pub fn get(&self, at: usize, scale: Scale) -> f32 {
                match self { $(Voxels::$variant(v) => scale.of(v[at] as f64)),* }
            }

            /// A plane of numbers with `scale` applied, row after row into `out`: the first number is at
            /// `begin`, neighbours along columns and rows are `steps` apart, a row has `columns` numbers.
            ///
            /// # Panics
            /// If a number of the plane is none of these.
            pub fn plane(
                &self,
                begin: usize,
                steps: [isize; 2],
                columns: usize,
                scale: Scale,
                out: &mut [f32],
            ) {
                match self {
                    $(Voxels::$variant(v) => {
                        let plain = scale == Scale::IDENTITY;
                        for (row, out) in out.chunks_mut(columns.max(1)).enumerate() {
                            let first = begin as isize + row as isize * steps[1];
                            if steps[0] == 1 {
                                let taken = &v[first as usize..][..out.len()];
                                match plain {
                                    true => out.iter_mut().zip(taken).for_each(|(o, &v)| *o = v as f32),
                                    false => out.iter_mut().zip(taken).for_each(|(o, &v)| *o = scale.of(v as f64)),
                                }
                                continue;
                            }
                            for (column, o) in out.iter_mut().enumerate() {
                                let stored = v[(first + column as isize * steps[0]) as usize];
                                *o = if plain { stored as f32 } else { scale.of(stored as f64) };
                            }
                        }
                    })*
                }
            }

            /// Makes room for `more` numbers, or says that there is none.
            pub fn try_reserve(&mut self, more: usize) -> Result<(), std::collections::TryReserveError> {
                match self { $(Voxels::$variant(v) => v.try_reserve_exact(more)),* }
            }

            /// Removes all numbers and keeps the room.
            pub fn clear(&mut self) {
                match self { $(Voxels::$variant(v) => v.clear()),* }
            }

            /// A copy of `count` numbers from position `begin` on.
            fn part(&self, begin: usize, count: usize) -> Voxels {
                match self {
                    $(Voxels::$variant(v) => Voxels::$variant(v[begin..begin + count].to_vec())),*
                }
            }

            /// Appends the numbers of `other`, which must be of the same type.
            fn append(&mut self, other: &Voxels) -> bool {
                match (self, other) {
                    $((Voxels::$variant(v), Voxels::$variant(o)) => { v.extend_from_slice(o); true })*
                    _ => false,
                }
            }

            /// Appends the numbers that `bytes` are, in the byte order given. A rest shorter than a
            /// number is left out.
            pub fn extend_from_bytes(&mut self, bytes: &[u8], big_endian: bool) {
                match self {
                    $(Voxels::$variant(v) => {
                        let (chunks, _) = bytes.as_chunks::<{ size_of::<$t>() }>();
                        match big_endian {
                            true => v.extend(chunks.iter().map(|c| <$t>::from_be_bytes(*c))),
                            false => v.extend(chunks.iter().map(|c| <$t>::from_le_bytes(*c))),
                        }
                    })*
                }
            }
        }
    };
}
elements! {
    U8 u8, "uint8";
    I8 i8, "int8";
    U16 u16, "uint16";
    I16 i16, "int16";
    U32 u32, "uint32";
    I32 i32, "int32";
    U64 u64, "uint64";
    I64 i64, "int64";
    F32 f32, "float32";
    F64 f64, "float64";
}

impl Voxels {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What makes a stored number one of the world: `value = stored · slope + intercept` (HU for CT).
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Scale {
    /// The factor.
    pub slope: f64,
    /// What is added.
    pub intercept: f64,
}

impl Scale {
    /// Stored numbers as they are.
    pub const IDENTITY: Scale = Scale {
        slope: 1.0,
        intercept: 0.0,
    };

    /// The value of a stored number, computed in f64 as nibabel and pydicom do.
    pub fn of(self, stored: f64) -> f32 {
        (stored * self.slope + self.intercept) as f32
    }
}

/// The numbers of one slice as they are stored, row after row: `size[0]` columns, `size[1]` rows.
#[derive(Clone, PartialEq, Debug)]
pub struct Slice {
    /// The stored numbers.
    pub voxels: Voxels,
    /// What makes values of them.
    pub scale: Scale,
}

impl Slice {
    /// Room for slices of a source.
    pub fn of(source: &(impl SliceSource + ?Sized)) -> Self {
        Slice {
            voxels: Voxels::empty(source.element()),
            scale: Scale::IDENTITY,
        }
    }

    /// The values of the slice, as many as `out` takes.
    pub fn values(&self, out: &mut [f32]) {
        let columns = out.len();
        self.voxels.plane(0, [1, 0], columns, self.scale, out);
    }
}

/// A scan that is read slice after slice, along its last axis, from k = 0 on. What is held at a time is
/// a slice, so the scan may be larger than memory.
pub trait SliceSource: Send {
    /// Where the voxels lie.
    fn grid(&self) -> &Grid;

    /// The type that the numbers are stored in, in every slice.
    fn element(&self) -> Element;

    /// Puts the next slice into `slice`, whose room is used again; false after the last one.
    ///
    /// # Errors
    /// If the file ends early, or is damaged.
    fn next_slice(&mut self, slice: &mut Slice) -> Result<bool, ImagingError>;
}

/// A scan in memory, as it is stored.
#[derive(Clone, PartialEq, Debug)]
pub struct Volume {
    grid: Grid,
    voxels: Voxels,
    scales: Vec<Scale>,
}

impl Volume {
    /// A volume of `voxels`, i fastest, with one scale for every slice along k.
    ///
    /// # Errors
    /// If there are not as many voxels, or scales, as the grid says.
    pub fn new(grid: Grid, voxels: Voxels, scales: Vec<Scale>) -> Result<Self, ImagingError> {
        for (what, got, want) in [
            ("voxels of a volume", voxels.len(), grid.voxels()),
            ("slices with a scale", scales.len(), grid.size()[2]),
        ] {
            if got != want {
                return Err(ImagingError::Count { what, got, want });
            }
        }
        Ok(Volume {
            grid,
            voxels,
            scales,
        })
    }

    /// Everything that a source holds.
    ///
    /// # Errors
    /// If the source fails, or its numbers do not fit into memory.
    pub fn read(source: &mut (impl SliceSource + ?Sized)) -> Result<Self, ImagingError> {
        let grid = source.grid().clone();
        let mut slice = Slice::of(source);
        let mut voxels = Voxels::empty(source.element());
        let mut scales = Vec::new();
        let in_slice = grid.size()[0] * grid.size()[1];
        while source.next_slice(&mut slice)? {
            // Room for what is there, not for what a header claims.
            let full = voxels.len() + in_slice;
            let room = match scales.len().is_power_of_two() {
                true => full.min(grid.voxels() - voxels.len()),
                false => in_slice,
            };
            voxels.try_reserve(room).map_err(|_| ImagingError::Memory {
                what: "the scan".into(),
                bytes: (full * source.element().bytes()) as u64,
            })?;
            if !voxels.append(&slice.voxels) {
                return Err(ImagingError::Malformed {
                    file: "scan".into(),
                    problem: format!(
                        "slice {} is of {}, the others are of {}",
                        scales.len(),
                        slice.voxels.element().name(),
                        voxels.element().name()
                    ),
                    mend: "convert all slices to one type",
                });
            }
            scales.push(slice.scale);
        }
        Volume::new(grid, voxels, scales)
    }

    /// Where the voxels lie.
    pub fn grid(&self) -> &Grid {
        &self.grid
    }

    /// The stored numbers, i fastest.
    pub fn voxels(&self) -> &Voxels {
        &self.voxels
    }

    /// What makes values of the stored numbers, for every slice along k.
    pub fn scales(&self) -> &[Scale] {
        &self.scales
    }

    /// A plane of values, row after row into `out`: the first voxel is at position `begin`, neighbours along
    /// columns and rows are `steps` apart, a row has `columns` values.
    ///
    /// # Panics
    /// If a voxel of the plane is none of the volume's.
    pub fn plane(&self, begin: usize, steps: [isize; 2], columns: usize, out: &mut [f32]) {
        let first = self.scales[0];
        if self.scales.iter().all(|s| *s == first) {
            return self.voxels.plane(begin, steps, columns, first, out);
        }
        let in_slice = self.grid.size()[0] * self.grid.size()[1];
        for (at, out) in out.iter_mut().enumerate() {
            let (row, column) = ((at / columns) as isize, (at % columns) as isize);
            let at = (begin as isize + row * steps[1] + column * steps[0]) as usize;
            *out = self.voxels.get(at, self.scales[at / in_slice]);
        }
    }

    /// Slice `k` with its stored numbers.
    pub fn slice(&self, k: usize) -> Slice {
        let in_slice = self.grid.size()[0] * self.grid.size()[1];
        Slice {
            voxels: self.voxels.part(k * in_slice, in_slice),
            scale: self.scales[k],
        }
    }

    /// The value at voxel `(i, j, k)`.
    pub fn value(&self, [i, j, k]: [usize; 3]) -> f32 {
        let [columns, rows, _] = self.grid.size();
        self.voxels
            .get((k * rows + j) * columns + i, self.scales[k])
    }
}
