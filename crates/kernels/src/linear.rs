//! Matrix products: linear layers with packed weights, and products of two activations.
//!
//! The tile's rows are rows of `x` (tokens), read as they stand; its columns are output features, read
//! from panels `[K, columns]` that are packed once for weights, per task for activations.

use crate::conv::Epilogue;
use crate::isa::{Simd, Task};
use crate::shared::Shared;
use crate::tile::{Finish, Start, Tile};
use crate::{Buffer, Context};

/// Products summed before partial sums are stored: rows (8 × 384) and columns (384 × 48) of a tile
/// are 86 KB on AVX-512, most of it read in order.
const DEPTH: usize = 384;
/// Rows per task.
const ROWS: usize = 64;
/// What sums without a bias start from.
static ZEROS: [f32; 8] = [0.0; 8];

/// A linear layer whose weights are packed.
#[derive(Debug)]
pub struct Linear {
    inner: usize,
    out: usize,
    /// Panels of `[inner, COLUMNS · LANES]`.
    weights: Buffer,
    bias: Buffer,
}

impl Linear {
    /// Packs `weight` `[out, inner]` and `bias` `[out]`.
    ///
    /// # Panics
    /// If the weight is not a whole number of rows.
    pub fn new(context: &Context, inner: usize, weight: &[f32], bias: Option<&[f32]>) -> Self {
        let out = weight.len() / inner;
        assert_eq!(weight.len(), out * inner, "rows of {inner}");
        let width = panel_width(context);
        let mut packed = Buffer::floats(out.div_ceil(width) * width * inner);
        for (p, panel) in packed
            .as_f32_mut()
            .chunks_exact_mut(width * inner)
            .enumerate()
        {
            for j in 0..width.min(out - p * width) {
                let from = &weight[(p * width + j) * inner..][..inner];
                for (k, w) in from.iter().enumerate() {
                    panel[k * width + j] = *w;
                }
            }
        }
        let zeros = vec![0.0; out];
        Linear {
            inner,
            out,
            weights: packed,
            bias: Buffer::from_slice(bias.unwrap_or(&zeros)),
        }
    }

    /// `y [rows, out] = x [rows, inner] · weightᵀ + bias`, finished by `epilogue`.
    ///
    /// # Panics
    /// If a slice is not of that size.
    pub fn run(&self, context: &Context, x: &[f32], y: &mut [f32], epilogue: Epilogue<'_>) {
        let rows = x.len() / self.inner;
        assert_eq!((x.len(), y.len()), (rows * self.inner, rows * self.out));
        assert!(
            epilogue.residual.is_none_or(|r| r.len() == y.len()),
            "the residual's size"
        );
        let width = panel_width(context);
        let panels = self.out.div_ceil(width);
        let strips = rows.div_ceil(ROWS);
        // Few rows: the panels are shared out too.
        let wanted = 4 * context.threads();
        let parts = wanted.div_ceil(strips).clamp(1, panels);
        let y = Shared::new(y);
        context.each(strips * parts, |i, scratch| {
            let (strip, part) = (i / parts, i % parts);
            let first = strip * ROWS;
            let count = ROWS.min(rows - first);
            context.vectorize(Product {
                inner: self.inner,
                out: self.out,
                x: &x[first * self.inner..][..count * self.inner],
                rows: count,
                panels: part * panels / parts..(part + 1) * panels / parts,
                weights: Columns::Packed(self.weights.as_f32()),
                bias: Some(self.bias.as_f32()),
                scratch: scratch.floats(scratch_size(self.inner, context)),
                y: &y,
                at: first * self.out,
                epilogue,
            });
        });
    }
}

/// Columns of a panel: as many as a tile has.
fn panel_width(context: &Context) -> usize {
    context.isa().tile().1 * context.isa().lanes()
}

/// Room for one panel of columns.
fn scratch_size(inner: usize, context: &Context) -> usize {
    let depth = inner.min(DEPTH);
    depth * panel_width(context)
}

/// A product of two activations, prepared for its sizes.
#[derive(Debug)]
pub struct MatMul {
    m: usize,
    k: usize,
    n: usize,
    /// Which matrix of a and of b each product takes.
    pairs: Vec<(usize, usize)>,
}

impl MatMul {
    /// `a` `[…, M, K]` times `b` `[…, K, N]`, the leading axes broadcast.
    ///
    /// # Panics
    /// If the shapes do not fit.
    pub fn new(a: &[usize], b: &[usize]) -> Self {
        let ([.., m, k], [.., kb, n]) = (a, b) else {
            panic!("matrices have two axes, got {a:?} and {b:?}")
        };
        assert_eq!(k, kb, "inner sizes");
        let lead = crate::Broadcast::new(&a[..a.len() - 2], &b[..b.len() - 2]);
        MatMul {
            m: *m,
            k: *k,
            n: *n,
            pairs: lead.pairs(),
        }
    }

    /// Computes all products into `y` `[…, M, N]`.
    ///
    /// # Panics
    /// If a slice is not of that size.
    pub fn run(&self, context: &Context, a: &[f32], b: &[f32], y: &mut [f32]) {
        let (m, k, n) = (self.m, self.k, self.n);
        assert_eq!(y.len(), self.pairs.len() * m * n, "the product's size");
        let width = panel_width(context);
        let panels = n.div_ceil(width);
        let strips = m.div_ceil(ROWS);
        let wanted = 4 * context.threads();
        let parts = wanted
            .div_ceil(strips * self.pairs.len().max(1))
            .clamp(1, panels);
        let y = Shared::new(y);
        context.each(self.pairs.len() * strips * parts, |i, scratch| {
            let (i, part) = (i / parts, i % parts);
            let (pair, strip) = (i / strips, i % strips);
            let first = strip * ROWS;
            let rows = ROWS.min(m - first);
            let (ia, ib) = self.pairs[pair];
            context.vectorize(Product {
                inner: k,
                out: n,
                x: &a[(ia * m + first) * k..][..rows * k],
                rows,
                panels: part * panels / parts..(part + 1) * panels / parts,
                weights: Columns::Rows(&b[ib * k * n..][..k * n]),
                bias: None,
                scratch: scratch.floats(scratch_size(k, context)),
                y: &y,
                at: (pair * m + first) * n,
                epilogue: Epilogue::default(),
            });
        });
    }
}

/// The right-hand matrix.
enum Columns<'a> {
    /// Panels of `[inner, width]`.
    Packed(&'a [f32]),
    /// `[inner, out]` as it stands.
    Rows(&'a [f32]),
}

/// Some rows times some panels, on one thread.
struct Product<'a> {
    inner: usize,
    out: usize,
    x: &'a [f32],
    rows: usize,
    panels: std::ops::Range<usize>,
    weights: Columns<'a>,
    bias: Option<&'a [f32]>,
    scratch: &'a mut [f32],
    y: &'a Shared<'a, f32>,
    /// Where the first row lies in the output.
    at: usize,
    epilogue: Epilogue<'a>,
}

impl Task for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        if self.rows == 1 {
            self.sums::<S, 1>(s);
        } else if S::ROWS == 8 && self.rows > 4 {
            self.sums::<S, 8>(s);
        } else if S::ROWS == 6 && self.rows > 4 {
            self.sums::<S, 6>(s);
        } else {
            self.sums::<S, 4>(s);
        }
        let width = S::COLUMNS * S::LANES;
        let (begin, end) = (
            self.panels.start * width,
            (self.panels.end * width).min(self.out),
        );
        if begin >= end || self.epilogue == Epilogue::default() {
            return;
        }
        for r in 0..self.rows {
            let at = self.at + r * self.out + begin;
            // SAFETY: this task alone writes these columns of these rows.
            unsafe {
                let y = self.y.part(at, end - begin);
                self.epilogue.finish(s, y.as_mut_ptr(), at, y.len());
            }
        }
    }
}

impl Product<'_> {
    #[inline(always)]
    fn sums<S: Simd, const M: usize>(&mut self, s: S) {
        let width = S::COLUMNS * S::LANES;
        let strips = self.rows.div_ceil(M);
        let panel_copy = &mut *self.scratch;
        for from in (0..self.inner).step_by(DEPTH) {
            let depth = DEPTH.min(self.inner - from);
            for panel in self.panels.clone() {
                let columns = (self.out - panel * width).min(width);
                let x = match self.weights {
                    Columns::Packed(w) => w[(panel * self.inner + from) * width..].as_ptr(),
                    Columns::Rows(w) => {
                        for k in 0..depth {
                            let row = &w[(from + k) * self.out + panel * width..][..columns];
                            panel_copy[k * width..][..columns].copy_from_slice(row);
                        }
                        panel_copy.as_ptr()
                    }
                };
                for strip in 0..strips {
                    let weights = self.x[strip * M * self.inner + from..].as_ptr();
                    let place = self.at + strip * M * self.out + panel * width;
                    let tile = Columnwise {
                        weights,
                        row: self.inner,
                        x,
                        depth,
                        y: self.y.pointer(place),
                        pitch: self.out,
                        rows: M.min(self.rows - strip * M),
                        bias: self.bias.map(|b| b[panel * width..].as_ptr()),
                        sum: from > 0,
                    };
                    match columns.div_ceil(S::LANES) {
                        3 if S::COLUMNS == 3 => tile.run::<S, M, 3>(s, columns),
                        2 => tile.run::<S, M, 2>(s, columns),
                        _ => tile.run::<S, M, 1>(s, columns),
                    }
                }
            }
        }
    }
}

/// A tile of one panel.
struct Columnwise {
    weights: *const f32,
    row: usize,
    x: *const f32,
    depth: usize,
    y: *mut f32,
    pitch: usize,
    rows: usize,
    bias: Option<*const f32>,
    sum: bool,
}

impl Columnwise {
    #[inline(always)]
    fn run<S: Simd, const M: usize, const N: usize>(&self, s: S, columns: usize) {
        let at = |p: *const f32| -> [*const f32; N] {
            // SAFETY: register j begins below `columns`, within panel, bias and output.
            std::array::from_fn(|j| unsafe { p.add(j * S::LANES) })
        };
        let start = match self.bias {
            _ if self.sum => Start::Sum,
            Some(bias) => Start::Columns(at(bias)),
            None => Start::Rows(ZEROS.as_ptr()),
        };
        s.vectorize(Tile::<_, M, N, false, false> {
            depth: self.depth,
            weights: self.weights,
            row: self.row,
            offsets: S::COLUMNS * S::LANES,
            x: at(self.x),
            y: at(self.y).map(|p| p.cast_mut()),
            n: std::array::from_fn(|j| S::LANES.min(columns - j * S::LANES)),
            pitch: self.pitch,
            rows: self.rows,
            start,
            finish: Finish::nothing(),
            copy: std::ptr::null_mut(),
        });
    }
}
