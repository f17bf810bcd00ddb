//! JPEG-LS (ITU-T T.87) of one component, lossless and near-lossless, with or without its own parameters.
//!
//! Ours, because no kept decoder is pure Rust: `charls` binds a C++ library.

use super::super::Fault;
use super::Image;
use super::markers::{Frame, Markers, SOS};

/// The parameters that a preset segment may give (C.2.4.1.1).
#[derive(Clone, Copy, Default)]
struct Preset {
    highest: i32,
    thresholds: [i32; 3],
    reset: i32,
}

/// Decodes a frame of a known size.
pub(crate) fn decode(bytes: &[u8], columns: usize, rows: usize) -> Result<Image, Fault> {
    let mut markers = Markers::new(bytes)?;
    let mut frame: Option<Frame> = None;
    let mut preset = Preset::default();
    loop {
        let (marker, segment) = markers.next()?;
        match marker {
            0xF7 => frame = Some(Frame::parse(segment, columns, rows)?),
            0xF8 => match *segment {
                [1, m1, m0, a1, a0, b1, b0, c1, c0, r1, r0] => {
                    let number = |high, low| i32::from(u16::from_be_bytes([high, low]));
                    preset = Preset {
                        highest: number(m1, m0),
                        thresholds: [number(a1, a0), number(b1, b0), number(c1, c0)],
                        reset: number(r1, r0),
                    };
                }
                _ => return Err(unusual("has tables of its own")),
            },
            0xDD => return Err(unusual("is coded with restart intervals")),
            SOS => {
                let frame =
                    frame.ok_or_else(|| Fault::malformed("a JPEG-LS scan has no frame header"))?;
                let near = match *segment {
                    [1, _, 0, near, 0, 0] => near,
                    _ => {
                        return Err(unusual(
                            "has a scan of several components or a mapping table",
                        ));
                    }
                };
                let decoder = Decoder::new(markers.rest(), frame.precision, near.into(), preset)?;
                return Ok(Image {
                    samples: decoder.image(columns, rows)?,
                    precision: frame.precision,
                });
            }
            _ => {}
        }
    }
}

fn unusual(what: &str) -> Fault {
    Fault::unsupported(
        format!("a JPEG-LS frame {what}"),
        "convert it to Explicit VR Little Endian, for instance with gdcmconv --raw",
    )
}

/// Code lengths of runs (array J of A.2.1).
const RUN_BITS: [u32; 32] = [
    0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 9, 10, 11, 12, 13,
    14, 15,
];

/// What is known of errors in one context: their sum of sizes, bias, correction and number.
#[derive(Clone, Copy)]
struct Context {
    size: i32,
    bias: i32,
    correction: i32,
    count: i32,
}

impl Context {
    /// The bits that a code has beyond its unary part (A.5.1).
    fn bits(count: i32, size: i32) -> u32 {
        (0..31)
            .find(|&k| i64::from(count) << k >= i64::from(size))
            .unwrap_or(31)
    }
}

/// What is known of errors at the ends of runs.
#[derive(Clone, Copy)]
struct RunContext {
    size: i32,
    count: i32,
    negative: i32,
}

struct Decoder<'a> {
    bits: Bits<'a>,
    highest: i32,
    near: i32,
    thresholds: [i32; 3],
    reset: i32,
    range: i32,
    /// Bits of a number in the range.
    range_bits: u32,
    /// The longest code.
    limit: u32,
    contexts: Vec<Context>,
    run_contexts: [RunContext; 2],
    run_index: usize,
}

impl<'a> Decoder<'a> {
    fn new(coded: &'a [u8], precision: u32, near: i32, preset: Preset) -> Result<Self, Fault> {
        if !(2..=16).contains(&precision) {
            return Err(Fault::malformed(format!(
                "a JPEG-LS frame has {precision} bits"
            )));
        }
        let full = (1 << precision) - 1;
        let highest = if preset.highest == 0 {
            full
        } else {
            preset.highest
        };
        let defaults = default_thresholds(highest, near);
        let mut thresholds = preset.thresholds;
        for (threshold, default) in thresholds.iter_mut().zip(defaults) {
            *threshold = if *threshold == 0 { default } else { *threshold };
        }
        let reset = if preset.reset == 0 { 64 } else { preset.reset };
        let [t1, t2, t3] = thresholds;
        let sane = highest <= full
            && near <= highest / 2
            && near < t1
            && t1 <= t2
            && t2 <= t3
            && t3 <= highest
            && reset >= 3;
        if !sane {
            return Err(Fault::malformed(format!(
                "a JPEG-LS frame of {precision} bits has the parameters {highest}, {thresholds:?}, {reset}, near {near}"
            )));
        }
        let range = (highest + 2 * near) / (2 * near + 1) + 1;
        let bits_of = |n: i32| 32 - (n - 1).leading_zeros();
        let bits = bits_of(highest + 1).max(2);
        let size = ((range + 32) / 64).max(2);
        let context = Context {
            size,
            bias: 0,
            correction: 0,
            count: 1,
        };
        let run_context = RunContext {
            size,
            count: 1,
            negative: 0,
        };
        Ok(Decoder {
            bits: Bits::new(coded),
            highest,
            near,
            thresholds,
            reset,
            range,
            range_bits: bits_of(range),
            limit: 2 * (bits + bits.max(8)),
            contexts: vec![context; 365],
            run_contexts: [run_context; 2],
            run_index: 0,
        })
    }

    fn image(mut self, columns: usize, rows: usize) -> Result<Vec<i32>, Fault> {
        let mut samples: Vec<i32> = Vec::new();
        // A row with the number left of it and, for the row above, the one right of it.
        let mut above = vec![0; columns + 2];
        let mut row = vec![0; columns + 2];
        for _ in 0..rows {
            above[columns + 1] = above[columns];
            row[0] = above[1];
            self.row(&above, &mut row)?;
            samples.extend_from_slice(&row[1..=columns]);
            std::mem::swap(&mut above, &mut row);
        }
        Ok(samples)
    }

    /// A row, whose numbers begin at 1.
    fn row(&mut self, above: &[i32], row: &mut [i32]) -> Result<(), Fault> {
        let end = row.len() - 1;
        let mut at = 1;
        while at < end {
            let (a, b, c, d) = (row[at - 1], above[at], above[at - 1], above[at + 1]);
            let gradients = [d - b, b - c, c - a];
            if gradients.iter().any(|g| g.abs() > self.near) {
                let context = gradients.iter().fold(0, |n, &g| 9 * n + self.quantise(g));
                row[at] = self.regular(context, a, b, c)?;
                at += 1;
                continue;
            }
            let run = self.run(end - at)?;
            row[at..at + run].fill(a);
            at += run;
            if at < end {
                row[at] = self.interruption(a, above[at])?;
                at += 1;
            }
        }
        Ok(())
    }

    /// A gradient as one of nine (A.3.3).
    fn quantise(&self, gradient: i32) -> i32 {
        let size = gradient.abs();
        let steps = self.thresholds.iter().filter(|&&t| size >= t).count() as i32;
        let step = if size <= self.near { 0 } else { steps + 1 };
        step * gradient.signum()
    }

    /// A number outside of runs (A.4 to A.6).
    fn regular(&mut self, context: i32, a: i32, b: i32, c: i32) -> Result<i32, Fault> {
        let sign = if context < 0 { -1 } else { 1 };
        // 364 contexts with their mirrors, and none at 0, which is a run.
        let at = context.unsigned_abs() as usize;
        let predicted = if c >= a.max(b) {
            a.min(b)
        } else if c <= a.min(b) {
            a.max(b)
        } else {
            a + b - c
        };
        let Context {
            size,
            bias,
            correction,
            count,
        } = self.contexts[at];
        let predicted = (predicted + sign * correction).clamp(0, self.highest);
        let k = Context::bits(count, size);
        let mapped = self.bits.golomb(k, self.limit, self.range_bits)?;
        let error = if self.near == 0 && k == 0 && 2 * bias <= -count {
            // The errors' order is reversed where they lean down.
            match mapped & 1 {
                1 => (mapped - 1) / 2,
                _ => -mapped / 2 - 1,
            }
        } else {
            match mapped & 1 {
                0 => mapped / 2,
                _ => -(mapped + 1) / 2,
            }
        };
        self.learn(at, error);
        Ok(self.reconstruct(predicted, sign * error))
    }

    /// Takes an error into account (A.6).
    fn learn(&mut self, at: usize, error: i32) {
        let step = 2 * self.near + 1;
        let c = &mut self.contexts[at];
        c.bias = c.bias.saturating_add(error.saturating_mul(step));
        c.size = c.size.saturating_add(error.abs());
        if c.count == self.reset {
            c.size >>= 1;
            c.bias >>= 1;
            c.count >>= 1;
        }
        c.count += 1;
        if c.bias <= -c.count {
            c.bias = (c.bias + c.count).max(1 - c.count);
            c.correction = (c.correction - 1).max(-128);
        } else if c.bias > 0 {
            c.bias = (c.bias - c.count).min(0);
            c.correction = (c.correction + 1).min(127);
        }
    }

    /// The number at an error from its prediction (A.4.5).
    fn reconstruct(&self, predicted: i32, error: i32) -> i32 {
        let step = 2 * self.near + 1;
        let turn = self.range * step;
        let value = predicted.saturating_add(error.saturating_mul(step));
        let value = if value < -self.near {
            value.saturating_add(turn)
        } else if value > self.highest + self.near {
            value - turn
        } else {
            value
        };
        value.clamp(0, self.highest)
    }

    /// The length of a run of at most `left` numbers (A.7.1).
    fn run(&mut self, left: usize) -> Result<usize, Fault> {
        let mut run = 0;
        while self.bits.take(1)? == 1 {
            let whole = 1 << RUN_BITS[self.run_index];
            run += whole;
            if run <= left {
                self.run_index = (self.run_index + 1).min(31);
            }
            if run >= left {
                return Ok(left);
            }
        }
        run += self.bits.take(RUN_BITS[self.run_index])? as usize;
        match run < left {
            true => Ok(run),
            false => Err(Fault::malformed("a JPEG-LS run is longer than its row")),
        }
    }

    /// The number that ends a run (A.7.2).
    fn interruption(&mut self, a: i32, b: i32) -> Result<i32, Fault> {
        let same = (a - b).abs() <= self.near;
        let kind = usize::from(same);
        let RunContext {
            size,
            count,
            negative,
        } = self.run_contexts[kind];
        let expected = if same { size + (count >> 1) } else { size };
        let k = Context::bits(count, expected);
        let limit = self.limit - RUN_BITS[self.run_index] - 1;
        let mapped = self.bits.golomb(k, limit, self.range_bits)?;
        let folded = mapped.saturating_add(kind as i32);
        let odd = folded & 1;
        let magnitude = folded / 2 + odd;
        let leans_down = k != 0 || 2 * negative >= count;
        let error = match leans_down == (odd == 1) {
            true => -magnitude,
            false => magnitude,
        };
        let c = &mut self.run_contexts[kind];
        c.negative += i32::from(error < 0);
        c.size = c
            .size
            .saturating_add(mapped.saturating_add(1 - kind as i32) >> 1);
        if c.count == self.reset {
            c.size >>= 1;
            c.count >>= 1;
            c.negative >>= 1;
        }
        c.count += 1;
        self.run_index = self.run_index.saturating_sub(1);
        let (predicted, sign) = match (same, a > b) {
            (true, _) => (a, 1),
            (false, true) => (b, -1),
            (false, false) => (b, 1),
        };
        Ok(self.reconstruct(predicted, sign * error))
    }
}

/// Where gradients change their class unless the frame says otherwise (C.2.4.1.1).
fn default_thresholds(highest: i32, near: i32) -> [i32; 3] {
    let within = |t: i32, low: i32| if t > highest || t < low { low } else { t };
    let (basic, least) = ([3, 7, 21], [2, 3, 4]);
    let spread = [3, 5, 7];
    let mut thresholds = [0; 3];
    let mut low = near + 1;
    for n in 0..3 {
        let threshold = if highest >= 128 {
            let factor = (highest.min(4095) + 128) / 256;
            factor * (basic[n] - least[n]) + least[n] + spread[n] * near
        } else {
            let factor = 256 / (highest + 1);
            least[n].max(basic[n] / factor + spread[n] * near)
        };
        low = within(threshold, low);
        thresholds[n] = low;
    }
    thresholds
}

/// The bits of coded data. After a byte of ones the next one has seven bits.
struct Bits<'a> {
    bytes: std::slice::Iter<'a, u8>,
    ahead: u32,
    count: u32,
    ones: bool,
}

impl<'a> Bits<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Bits {
            bytes: bytes.iter(),
            ahead: 0,
            count: 0,
            ones: false,
        }
    }

    fn fill(&mut self) -> Result<(), Fault> {
        let ended = || Fault::malformed("the coded data of a JPEG-LS frame ends too early");
        let &byte = self.bytes.next().ok_or_else(ended)?;
        if self.ones && byte >= 0x80 {
            return Err(ended());
        }
        self.count = if self.ones { 7 } else { 8 };
        self.ones = byte == 0xFF;
        self.ahead = byte.into();
        Ok(())
    }

    /// The next `n` bits, up to 32.
    fn take(&mut self, n: u32) -> Result<u32, Fault> {
        let mut value = 0u32;
        let mut left = n;
        while left > 0 {
            if self.count == 0 {
                self.fill()?;
            }
            let some = left.min(self.count);
            self.count -= some;
            value = value << some | (self.ahead >> self.count) & ((1 << some) - 1);
            left -= some;
        }
        Ok(value)
    }

    /// A Golomb code of limited length (A.5.3).
    fn golomb(&mut self, k: u32, limit: u32, range_bits: u32) -> Result<i32, Fault> {
        let longest = limit.saturating_sub(range_bits + 1);
        let mut zeros = 0;
        while self.take(1)? == 0 {
            zeros += 1;
            if zeros > longest {
                return Err(Fault::malformed(
                    "a JPEG-LS frame has a code that is too long",
                ));
            }
        }
        if zeros < longest {
            let value = u64::from(zeros) << k | u64::from(self.take(k)?);
            return Ok(i32::try_from(value)
                .unwrap_or(i32::MAX / 4)
                .min(i32::MAX / 4));
        }
        Ok(self.take(range_bits)? as i32 + 1)
    }
}
