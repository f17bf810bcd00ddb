//! Memory that starts on a cache line, and one type's view of it.

use std::alloc::{Layout, alloc, alloc_zeroed, dealloc, handle_alloc_error};
use std::ptr::NonNull;

/// Bytes in a cache line, and in the widest register.
const LINE: usize = 64;

/// Bytes in a huge page.
const HUGE: usize = 2 * 1024 * 1024;

/// Where a block of this size starts: a multiple of this many bytes.
fn align(bytes: usize) -> usize {
    if bytes >= HUGE { HUGE } else { LINE }
}

/// Zeros of a layout that is not empty. Large blocks are put on huge pages where the system has
/// them: kernels walk many channels side by side, each on a page of its own.
fn allocate(layout: Layout) -> Option<NonNull<u8>> {
    if layout.size() < HUGE {
        // SAFETY: the layout is not empty.
        return NonNull::new(unsafe { alloc_zeroed(layout) });
    }
    // SAFETY: the layout is not empty.
    let start = NonNull::new(unsafe { alloc(layout) })?;
    advise_huge(start, layout.size() / HUGE * HUGE);
    // SAFETY: just allocated with this size.
    unsafe { start.as_ptr().write_bytes(0, layout.size()) };
    Some(start)
}

#[cfg(all(target_os = "linux", not(miri)))]
fn advise_huge(start: NonNull<u8>, bytes: usize) {
    unsafe extern "C" {
        fn madvise(start: *mut std::ffi::c_void, bytes: usize, advice: i32) -> i32;
    }
    /// `MADV_HUGEPAGE` of Linux on every architecture.
    const HUGE_PAGES: i32 = 14;
    // SAFETY: whole pages of a block just allocated; the advice changes no contents. Where it is
    // refused, pages stay small.
    unsafe { madvise(start.as_ptr().cast(), bytes, HUGE_PAGES) };
}

#[cfg(not(all(target_os = "linux", not(miri))))]
fn advise_huge(_: NonNull<u8>, _: usize) {}

/// What an empty block points to: nothing, but on a cache line.
#[repr(align(64))]
struct Line;

/// A zeroed block of bytes that starts on a cache line.
pub struct Buffer {
    start: NonNull<u8>,
    bytes: usize,
}

// SAFETY: a buffer owns its memory, as a Vec does.
unsafe impl Send for Buffer {}
// SAFETY: shared access only reads.
unsafe impl Sync for Buffer {}

impl Buffer {
    /// `bytes` zeros.
    ///
    /// # Panics
    /// If `bytes` is more than `isize::MAX`.
    pub fn new(bytes: usize) -> Self {
        if bytes == 0 {
            return Buffer {
                start: NonNull::<Line>::dangling().cast(),
                bytes,
            };
        }
        let layout = Self::layout(bytes);
        match allocate(layout) {
            Some(start) => Buffer { start, bytes },
            None => handle_alloc_error(layout),
        }
    }

    /// `bytes` zeros, or `None` if there is not so much memory.
    pub fn try_new(bytes: usize) -> Option<Self> {
        if bytes == 0 {
            return Some(Buffer::new(0));
        }
        let layout = Layout::from_size_align(bytes, align(bytes)).ok()?;
        let start = allocate(layout)?;
        Some(Buffer { start, bytes })
    }

    /// A copy of `elements`.
    pub fn from_slice<T: Element>(elements: &[T]) -> Self {
        let mut buffer = Buffer::new(size_of_val(elements));
        cast_mut::<T>(buffer.bytes_mut()).copy_from_slice(elements);
        buffer
    }

    /// `n` f32 zeros.
    pub fn floats(n: usize) -> Self {
        Buffer::new(n * size_of::<f32>())
    }

    fn layout(bytes: usize) -> Layout {
        Layout::from_size_align(bytes, align(bytes)).expect("a buffer below isize::MAX bytes")
    }

    /// The number of bytes.
    pub fn len(&self) -> usize {
        self.bytes
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// All bytes.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the block holds `bytes` initialised bytes and lives as long as self.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.bytes) }
    }

    /// All bytes, for writing.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and self is borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.bytes) }
    }

    /// The elements as f32.
    pub fn as_f32(&self) -> &[f32] {
        cast(self.bytes())
    }

    /// The elements as f32, for writing.
    pub fn as_f32_mut(&mut self) -> &mut [f32] {
        cast_mut(self.bytes_mut())
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if self.bytes > 0 {
            // SAFETY: allocated in `new` with this layout.
            unsafe { dealloc(self.start.as_ptr(), Self::layout(self.bytes)) }
        }
    }
}

impl std::fmt::Debug for Buffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Buffer({} bytes)", self.bytes)
    }
}

mod sealed {
    pub trait Sealed {}
}

/// The types of tensor elements: every pattern of bits is a value, and none has padding.
pub trait Element: sealed::Sealed + Copy + Default + Send + Sync + 'static {}

macro_rules! elements {
    ($($t:ty),*) => {$(impl sealed::Sealed for $t {} impl Element for $t {})*};
}
elements!(f32, i64, i32, u16, u8, i8);

/// The same bytes as elements of another type.
///
/// # Panics
/// If the bytes do not start on an element's alignment or do not divide into elements.
pub fn cast<T: Element>(bytes: &[u8]) -> &[T] {
    check::<T>(bytes);
    // SAFETY: checked for alignment and length; every pattern of bits is a T.
    unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast(), bytes.len() / size_of::<T>()) }
}

/// The same bytes as elements of another type, for writing.
///
/// # Panics
/// As [`cast`].
pub fn cast_mut<T: Element>(bytes: &mut [u8]) -> &mut [T] {
    check::<T>(bytes);
    // SAFETY: checked for alignment and length; every pattern of bits is a T and every T is bytes.
    unsafe {
        std::slice::from_raw_parts_mut(bytes.as_mut_ptr().cast(), bytes.len() / size_of::<T>())
    }
}

fn check<T>(bytes: &[u8]) {
    assert!(
        bytes.as_ptr().cast::<T>().is_aligned() && bytes.len().is_multiple_of(size_of::<T>()),
        "{} bytes are not a list of {}",
        bytes.len(),
        std::any::type_name::<T>()
    );
}
