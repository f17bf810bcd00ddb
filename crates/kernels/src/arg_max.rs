//! The largest of many channels at every place, the first one on a tie.

use crate::Context;
use crate::isa::{Simd, Task};
use crate::shared::Shared;

/// Places per task.
const CHUNK: usize = 4096;

macro_rules! labels {
    ($($variant:ident $t:ty),*) => {
        /// Labels to be written, of one of the types that arg-max returns.
        #[derive(Debug)]
        #[allow(missing_docs)]
        pub enum LabelsMut<'a> {
            $($variant(&'a mut [$t]),)*
        }

        /// Labels that threads write disjoint parts of.
        #[derive(Clone, Copy)]
        pub(crate) enum SharedLabels<'a> {
            $($variant(Shared<'a, $t>),)*
        }

        impl<'a> LabelsMut<'a> {
            /// The number of labels.
            pub fn len(&self) -> usize {
                match self {
                    $(LabelsMut::$variant(l) => l.len(),)*
                }
            }

            /// Whether there are none.
            pub fn is_empty(&self) -> bool {
                self.len() == 0
            }

            pub(crate) fn shared(self) -> SharedLabels<'a> {
                match self {
                    $(LabelsMut::$variant(l) => SharedLabels::$variant(Shared::new(l)),)*
                }
            }
        }

        impl SharedLabels<'_> {
            /// Writes labels, given as whole f32, from `at` on.
            ///
            /// # Safety
            /// No other thread may touch these labels meanwhile.
            #[inline(always)]
            pub(crate) unsafe fn write(&self, at: usize, labels: &[f32]) {
                match self {
                    $(SharedLabels::$variant(to) => {
                        // SAFETY: as this function's.
                        let to = unsafe { to.part(at, labels.len()) };
                        for (to, label) in to.iter_mut().zip(labels) {
                            // SAFETY: labels are whole numbers below the number of channels, which
                            // the label type holds; an unchecked conversion vectorises.
                            *to = unsafe { label.to_int_unchecked() };
                        }
                    })*
                }
            }

            /// Writes labels, given as whole f32 in `P` lists of one length, from `at` on: the first
            /// of every list, then the second of every list.
            ///
            /// # Safety
            /// No other thread may touch these labels meanwhile.
            #[inline(always)]
            pub(crate) unsafe fn weave<const P: usize>(&self, at: usize, labels: [&[f32]; P]) {
                let n = labels[0].len();
                assert!(labels.iter().all(|l| l.len() == n), "lists of one length");
                match self {
                    $(SharedLabels::$variant(to) => {
                        // SAFETY: as this function's.
                        let to = unsafe { to.part(at, P * n) };
                        for (i, to) in to.chunks_exact_mut(P).enumerate() {
                            for (to, labels) in to.iter_mut().zip(labels) {
                                // SAFETY: as in `write`.
                                *to = unsafe { labels[i].to_int_unchecked() };
                            }
                        }
                    })*
                }
            }
        }
    };
}
labels!(U8 u8, U16 u16, I32 i32, I64 i64);

/// For each of `n` columns the first of `rows` rows with the largest element, as f32.
///
/// # Safety
/// `x` must be valid for reads of `n` elements from each multiple of `pitch` below `rows * pitch`
/// on, `best` for writes of `n` elements.
#[inline(always)]
pub(crate) unsafe fn arg_max_columns<S: Simd>(
    s: S,
    x: *const f32,
    rows: usize,
    pitch: usize,
    best: *mut f32,
    n: usize,
) {
    let mut i = 0;
    while i + 2 * S::LANES <= n {
        // SAFETY: i + 2 LANES <= n.
        unsafe {
            let x = x.add(i);
            let mut largest = [s.load(x), s.load(x.add(S::LANES))];
            let mut label = [s.splat(0.0); 2];
            for row in 1..rows {
                let this = s.splat(row as f32);
                let x = x.add(row * pitch);
                let v = [s.load(x), s.load(x.add(S::LANES))];
                for j in 0..2 {
                    label[j] = s.select_less(largest[j], v[j], this, label[j]);
                    largest[j] = s.select_less(largest[j], v[j], v[j], largest[j]);
                }
            }
            s.store(best.add(i), label[0]);
            s.store(best.add(i + S::LANES), label[1]);
        }
        i += 2 * S::LANES;
    }
    while i < n {
        let n = S::LANES.min(n - i);
        // SAFETY: n elements from i on.
        unsafe {
            let x = x.add(i);
            let mut largest = s.load_first(x, n);
            let mut label = s.splat(0.0);
            for row in 1..rows {
                let v = s.load_first(x.add(row * pitch), n);
                label = s.select_less(largest, v, s.splat(row as f32), label);
                largest = s.select_less(largest, v, v, largest);
            }
            s.store_first(best.add(i), n, label);
        }
        i += n;
    }
}

struct Columns<'a> {
    x: &'a [f32],
    rows: usize,
    pitch: usize,
    best: &'a mut [f32],
    at: usize,
    to: &'a SharedLabels<'a>,
}

impl Task for Columns<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let n = self.best.len();
        let last = (self.rows - 1) * self.pitch + n;
        assert!(last <= self.x.len(), "columns outside the input");
        // SAFETY: the last row's last column is in x; tasks write disjoint labels.
        unsafe {
            arg_max_columns(
                s,
                self.x.as_ptr(),
                self.rows,
                self.pitch,
                self.best.as_mut_ptr(),
                n,
            );
            self.to.write(self.at, self.best);
        }
    }
}

/// The labels of `x` `[outer, classes, inner]`, as `[outer, inner]`.
///
/// # Panics
/// If `labels` is not of that size.
pub fn arg_max(context: &Context, x: &[f32], classes: usize, inner: usize, labels: LabelsMut<'_>) {
    let image = classes * inner;
    assert_eq!(x.len() / image * inner, labels.len(), "one label per place");
    let to = labels.shared();
    if inner == 1 || classes > 1 << 24 {
        // Rows of their own: no columns to vectorise over (and beyond 2^24 f32 has gaps).
        return rows(context, x, classes, inner, &to);
    }
    let chunks = inner.div_ceil(CHUNK);
    context.each(x.len() / image * chunks, |i, scratch| {
        let (outer, first) = (i / chunks, i % chunks * CHUNK);
        let n = CHUNK.min(inner - first);
        context.vectorize(Columns {
            x: &x[outer * image + first..],
            rows: classes,
            pitch: inner,
            best: scratch.floats(n),
            at: outer * inner + first,
            to: &to,
        });
    });
}

fn rows(context: &Context, x: &[f32], classes: usize, inner: usize, to: &SharedLabels<'_>) {
    let places = x.len() / classes;
    context.ranges(places, CHUNK, |range| {
        for i in range {
            let (outer, column) = (i / inner, i % inner);
            let at = |k: usize| x[(outer * classes + k) * inner + column];
            let best = (1..classes).fold(0, |best, k| if at(k) > at(best) { k } else { best });
            // SAFETY: ranges do not overlap, and the label type holds every class.
            unsafe {
                match to {
                    SharedLabels::U8(to) => to.part(i, 1)[0] = best as u8,
                    SharedLabels::U16(to) => to.part(i, 1)[0] = best as u16,
                    SharedLabels::I32(to) => to.part(i, 1)[0] = best as i32,
                    SharedLabels::I64(to) => to.part(i, 1)[0] = best as i64,
                }
            }
        }
    });
}
