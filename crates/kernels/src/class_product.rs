//! The class scores of pixels, `W · x + b`, made where they are used: a register tile over a copy of
//! some columns that stays in the first two caches.
//!
//! Tile arithmetic: `M` classes by 2 registers of columns; with 32 registers at most 13 × 2 sums, 2
//! columns and a weight, 26 multiply-adds per 15 loads; with 16 registers 6 × 2. `M` is the one that
//! leaves the fewest rows empty: 117 classes are 9 × 13. Measured on Zen 5 for 128 channels: 95 % of
//! the peak; for 32 channels to labels, where each sum is compared after 32 products, 87 %. The columns of a tile are 128 bytes per
//! channel (16 KB of 128 channels, first cache), all weights 60 KB (second cache).

use crate::Buffer;
use crate::isa::{Isa, Simd, Task};
use crate::tile::Steps;

/// Registers of columns in a tile.
pub(crate) const COLUMNS: usize = 2;
/// Elements between the channels of a copy beyond its columns, so that channels do not fall on the
/// same lines of the first cache.
const APART: usize = 16;

/// Packed weights of a class convolution; `taps` of them, one for each place above a pixel.
#[derive(Debug)]
pub(crate) struct ClassProduct {
    pub(crate) classes: usize,
    pub(crate) channels: usize,
    pub(crate) taps: usize,
    /// Classes in a tile.
    rows: usize,
    /// Per tap, per panel of `rows` classes: `[channel, row]`.
    weights: Buffer,
    /// Per tap; of rows past the last class -∞, so that they are never the largest.
    bias: Buffer,
}

impl ClassProduct {
    /// Packs `weight` `[taps, classes, channels]` and `bias` `[classes]`.
    pub(crate) fn new(
        isa: Isa,
        taps: usize,
        classes: usize,
        weight: &[f32],
        bias: Option<&[f32]>,
    ) -> Self {
        let channels = weight.len() / (taps * classes);
        assert_eq!(
            weight.len(),
            taps * classes * channels,
            "a weight per tap, class and channel"
        );
        let sizes: &[usize] = if isa.registers() == 32 {
            &[13, 10, 8, 4]
        } else {
            &[6, 4]
        };
        let padded = |rows: usize| classes.next_multiple_of(rows);
        let rows = sizes
            .iter()
            .copied()
            .min_by_key(|rows| padded(*rows))
            .unwrap_or(4);
        let mut weights = Buffer::floats(taps * padded(rows) * channels);
        let mut biases = Buffer::floats(taps * padded(rows));
        let panels = weights
            .as_f32_mut()
            .chunks_exact_mut((rows * channels).max(1));
        for (p, panel) in panels.enumerate() {
            let (tap, first) = (p / (padded(rows) / rows), p % (padded(rows) / rows) * rows);
            for m in 0..rows.min(classes - first) {
                let from = &weight[(tap * classes + first + m) * channels..][..channels];
                for (k, w) in from.iter().enumerate() {
                    panel[k * rows + m] = *w;
                }
            }
        }
        for to in biases.as_f32_mut().chunks_exact_mut(padded(rows)) {
            match bias {
                Some(bias) => to[..classes].copy_from_slice(&bias[..classes]),
                None => to[..classes].fill(0.0),
            }
            to[classes..].fill(f32::NEG_INFINITY);
        }
        ClassProduct {
            classes,
            channels,
            taps,
            rows,
            weights,
            bias: biases,
        }
    }

    /// Classes in whole panels.
    pub(crate) fn padded(&self) -> usize {
        self.classes.next_multiple_of(self.rows)
    }

    /// Elements from one channel to the next in a copy of `columns` columns, whole registers.
    pub(crate) fn pitch(columns: usize) -> usize {
        columns + APART
    }

    /// Runs `tile` on all panels of tap `tap`.
    #[inline(always)]
    fn panels<'a, const N: usize>(&'a self, tap: usize, columns: Columns<N>) -> Panels<'a, N> {
        let padded = self.padded();
        Panels {
            channels: self.channels,
            weights: &self.weights.as_f32()[tap * padded * self.channels..]
                [..padded * self.channels],
            bias: &self.bias.as_f32()[tap * padded..][..padded],
            columns,
        }
    }

    /// Writes the scores of `N` registers of columns: class `c` of register `j` to
    /// `y[j] + c * y_pitch`, up to whole panels of classes.
    ///
    /// # Safety
    /// `columns` as its description says; `y` must be writable so.
    #[inline(always)]
    pub(crate) unsafe fn scores<S: Simd, const N: usize>(
        &self,
        s: S,
        columns: Columns<N>,
        y: [*mut f32; N],
        y_pitch: usize,
    ) {
        let panels = self.panels(0, columns);
        match self.rows {
            13 if S::REGISTERS == 32 => s.vectorize(Scores::<13, N> { panels, y, y_pitch }),
            10 if S::REGISTERS == 32 => s.vectorize(Scores::<10, N> { panels, y, y_pitch }),
            8 if S::REGISTERS == 32 => s.vectorize(Scores::<8, N> { panels, y, y_pitch }),
            6 if S::REGISTERS == 16 => s.vectorize(Scores::<6, N> { panels, y, y_pitch }),
            _ => s.vectorize(Scores::<4, N> { panels, y, y_pitch }),
        }
    }

    /// Writes the first strongest class of `N` registers of columns as f32, one register after the
    /// other. NaN is never the strongest, unless it is the first class's.
    ///
    /// # Safety
    /// `columns` as its description says; `best` must be valid for writes of `N` registers.
    #[inline(always)]
    pub(crate) unsafe fn labels<S: Simd, const N: usize>(
        &self,
        s: S,
        tap: usize,
        columns: Columns<N>,
        best: *mut f32,
    ) {
        let panels = self.panels(tap, columns);
        match self.rows {
            13 if S::REGISTERS == 32 => s.vectorize(Labels::<13, N> { panels, best }),
            10 if S::REGISTERS == 32 => s.vectorize(Labels::<10, N> { panels, best }),
            8 if S::REGISTERS == 32 => s.vectorize(Labels::<8, N> { panels, best }),
            6 if S::REGISTERS == 16 => s.vectorize(Labels::<6, N> { panels, best }),
            _ => s.vectorize(Labels::<4, N> { panels, best }),
        }
    }
}

/// Registers of columns in a copy: channel `k` of register `j` lies at `x[j] + k * pitch`, readable
/// for every channel.
#[derive(Clone, Copy)]
pub(crate) struct Columns<const N: usize> {
    pub(crate) x: [*const f32; N],
    pub(crate) pitch: usize,
}

/// Asks for a tile's columns of every plane, `x` being those of the first, in time for the next copy:
/// 3 % of U-Net's head and 9 % of a 3D network's, which reads 134 MB; nothing where the input is
/// still in the third cache.
#[inline(always)]
pub(crate) fn prefetch<S: Simd>(s: S, x: *const f32, planes: usize, area: usize) {
    /// Elements of a cache line.
    const LINE: usize = 16;
    for plane in 0..planes {
        for at in (0..COLUMNS * S::LANES).step_by(LINE) {
            s.prefetch(x.wrapping_add(plane * area + at));
        }
    }
}

/// The weights of one tap and the columns they are multiplied with.
struct Panels<'a, const N: usize> {
    channels: usize,
    weights: &'a [f32],
    bias: &'a [f32],
    columns: Columns<N>,
}

impl<const N: usize> Panels<'_, N> {
    /// The scores of panel `panel`.
    ///
    /// # Safety
    /// There must be such a panel, and the columns must be readable as their description says.
    #[inline(always)]
    unsafe fn sums<S: Simd, const M: usize>(&self, s: S, panel: usize) -> [[S::V; N]; M] {
        let mut sums = [[s.splat(0.0); N]; M];
        // SAFETY: weights and bias have whole panels; the caller vouches for the columns.
        unsafe {
            let bias = self.bias.as_ptr().add(panel * M);
            for (m, row) in sums.iter_mut().enumerate() {
                *row = [s.splat(bias.add(m).read()); N];
            }
            let weights = self.weights.as_ptr().add(panel * M * self.channels);
            let steps = Steps::<_, M, N, false> {
                depth: self.channels,
                weights: std::array::from_fn(|m| weights.add(m)),
                width: M,
                x: self.columns.x,
                offsets: self.columns.pitch,
                copy: std::ptr::null_mut(),
            };
            steps.add(s, &mut sums);
        }
        sums
    }
}

struct Scores<'a, const M: usize, const N: usize> {
    panels: Panels<'a, N>,
    y: [*mut f32; N],
    y_pitch: usize,
}

impl<const M: usize, const N: usize> Task for Scores<'_, M, N> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for panel in 0..self.panels.bias.len() / M {
            // SAFETY: there are as many panels; `scores` vouches for the pointers.
            unsafe {
                let sums = self.panels.sums::<S, M>(s, panel);
                for (m, row) in sums.iter().enumerate() {
                    for j in 0..N {
                        s.store(self.y[j].add((panel * M + m) * self.y_pitch), row[j]);
                    }
                }
            }
        }
    }
}

struct Labels<'a, const M: usize, const N: usize> {
    panels: Panels<'a, N>,
    best: *mut f32,
}

impl<const M: usize, const N: usize> Task for Labels<'_, M, N> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let mut label = [s.splat(0.0); N];
        let mut largest = [s.splat(0.0); N];
        for panel in 0..self.panels.bias.len() / M {
            // SAFETY: there are as many panels; `labels` vouches for the columns.
            let sums = unsafe { self.panels.sums::<S, M>(s, panel) };
            if panel == 0 {
                largest = sums[0];
            }
            for (m, row) in sums.iter().enumerate() {
                let this = s.splat((panel * M + m) as f32);
                for j in 0..N {
                    label[j] = s.select_less(largest[j], row[j], this, label[j]);
                    largest[j] = s.max(row[j], largest[j]);
                }
            }
        }
        for (j, label) in label.iter().enumerate() {
            // SAFETY: `labels` vouches for N registers.
            unsafe { s.store(self.best.add(j * S::LANES), *label) };
        }
    }
}
