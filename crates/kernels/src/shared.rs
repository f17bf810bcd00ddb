//! One result that several threads write, each its own part.

use std::marker::PhantomData;

/// A slice that threads write disjoint parts of.
#[derive(Clone, Copy)]
pub(crate) struct Shared<'a, T> {
    start: *mut T,
    len: usize,
    slice: PhantomData<&'a mut [T]>,
}

// SAFETY: access goes through unsafe methods whose callers keep to disjoint parts.
unsafe impl<T: Send> Send for Shared<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Shared<'_, T> {}

impl<'a, T> Shared<'a, T> {
    pub(crate) fn new(slice: &'a mut [T]) -> Self {
        Shared {
            start: slice.as_mut_ptr(),
            len: slice.len(),
            slice: PhantomData,
        }
    }

    /// `n` elements from `at` on.
    ///
    /// # Safety
    /// No other thread may touch these elements meanwhile, and no other slice of them may be alive.
    ///
    /// # Panics
    /// If they are not all in the slice.
    pub(crate) unsafe fn part(&self, at: usize, n: usize) -> &'a mut [T] {
        assert!(
            at <= self.len && n <= self.len - at,
            "a part outside the slice"
        );
        // SAFETY: in bounds; the caller vouches for exclusive access.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(at), n) }
    }

    /// The position of element `at`, for kernels that write by pointer.
    ///
    /// # Panics
    /// If it is not in the slice.
    pub(crate) fn pointer(&self, at: usize) -> *mut T {
        assert!(at <= self.len, "a position outside the slice");
        // SAFETY: in bounds, or one past the end.
        unsafe { self.start.add(at) }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }
}

/// Where an element-wise kernel reads: from another slice, or from where it writes.
#[derive(Clone, Copy, Debug)]
pub enum Source<'a> {
    /// Another slice, as long as the output.
    Slice(&'a [f32]),
    /// The output itself.
    InPlace,
}

impl<'a> Source<'a> {
    /// Where reading starts, for an output `y`.
    ///
    /// # Panics
    /// If the slices differ in length.
    pub(crate) fn pointer(self, y: &Shared<'a, f32>) -> SourcePointer<'a> {
        let start = match self {
            Source::Slice(x) => {
                assert_eq!(x.len(), y.len, "an element-wise kernel keeps the size");
                x.as_ptr()
            }
            Source::InPlace => y.start.cast_const(),
        };
        SourcePointer {
            start,
            len: y.len,
            slice: PhantomData,
        }
    }
}

/// The start of what an element-wise kernel reads, for all threads.
#[derive(Clone, Copy)]
pub(crate) struct SourcePointer<'a> {
    start: *const f32,
    len: usize,
    slice: PhantomData<&'a [f32]>,
}

// SAFETY: only read, by threads that keep to their own part of the output.
unsafe impl Send for SourcePointer<'_> {}
// SAFETY: as above.
unsafe impl Sync for SourcePointer<'_> {}

impl SourcePointer<'_> {
    /// The position of element `at`.
    ///
    /// # Panics
    /// If there is none.
    pub(crate) fn at(&self, at: usize) -> *const f32 {
        assert!(at <= self.len, "a position outside the slice");
        // SAFETY: in bounds, or one past the end.
        unsafe { self.start.add(at) }
    }
}
