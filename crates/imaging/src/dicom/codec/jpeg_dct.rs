//! Sequential JPEG of 8 and 12 bits: Huffman coded blocks of 8 x 8 cosine coefficients.
//!
//! The inverse transform is the one of libjpeg's `jidctint.c` (Loeffler, Ligtenberg and Moschytz 1989, with
//! 12 multiplications), in the same fixed-point arithmetic, because DICOM toolkits decode with it.

use super::super::Fault;
use super::jpeg::{Bits, Scan, Tables, named};
use super::markers::Frame;

/// Where the coefficients of a zigzag walk are in their block.
const ZIGZAG: [usize; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20,
    13, 6, 7, 14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59,
    52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63,
];

/// The numbers of a scan, row after row.
pub(crate) fn decode(
    coded: &[u8],
    tables: &Tables,
    frame: Frame,
    scan: Scan,
    columns: usize,
    rows: usize,
) -> Result<Vec<i32>, Fault> {
    let precision = frame.precision;
    if !matches!(precision, 8 | 12) {
        return Err(Fault::malformed(format!(
            "a sequential JPEG frame has {precision} bits instead of 8 or 12"
        )));
    }
    let (across, down) = (columns.div_ceil(8), rows.div_ceil(8));
    // A block has two codes at least.
    if across * down > coded.len().saturating_mul(4) {
        return Err(Fault::malformed(format!(
            "{} bytes of a JPEG frame cannot hold {rows} x {columns} numbers",
            coded.len()
        )));
    }
    let (dc, ac) = (named(&tables.dc, scan.dc)?, named(&tables.ac, scan.ac)?);
    let steps = named(&tables.quantisation, frame.table)?;
    let mut bits = Bits::new(coded);
    let mut samples = vec![0; columns * rows];
    let mut mean = 0i32;
    for block in 0..across * down {
        if tables.restart > 0 && block > 0 && block % tables.restart == 0 {
            bits.restart()?;
            mean = 0;
        }
        let mut coefficients = [0i64; 64];
        let category = bits.symbol(dc)?;
        if category > 15 {
            return Err(too_long(category));
        }
        mean = mean.wrapping_add(bits.signed(category.into())?);
        coefficients[0] = i64::from(mean) * i64::from(steps[0]);
        let mut at = 1;
        while at < 64 {
            let symbol = bits.symbol(ac)?;
            let (zeros, category) = (usize::from(symbol >> 4), symbol & 15);
            match (zeros, category) {
                (15, 0) => at += 16,
                (_, 0) => break,
                _ => {
                    at += zeros;
                    let place = ZIGZAG.get(at).ok_or_else(|| {
                        Fault::malformed("a JPEG block has more than 64 coefficients")
                    })?;
                    let value = bits.signed(category.into())?;
                    coefficients[*place] = i64::from(value) * i64::from(steps[at]);
                    at += 1;
                }
            }
        }
        let numbers = inverse(&coefficients, precision);
        let (x, y) = (block % across * 8, block / across * 8);
        for (row, numbers) in (y..rows.min(y + 8)).zip(numbers.chunks(8)) {
            let width = 8.min(columns - x);
            samples[row * columns + x..][..width].copy_from_slice(&numbers[..width]);
        }
    }
    Ok(samples)
}

fn too_long(category: u8) -> Fault {
    Fault::malformed(format!("a JPEG frame has a difference of {category} bits"))
}

/// Bits behind the point of the constants.
const POINT: u32 = 13;

/// `x · 2^13`, rounded.
const fn fixed(x: f64) -> i64 {
    (x * 8192.0 + 0.5) as i64
}

/// The numbers of a block.
fn inverse(coefficients: &[i64; 64], precision: u32) -> [i32; 64] {
    // Bits kept between the passes: fewer for 12 bits, whose sums must fit 32 bits in libjpeg.
    let kept = if precision == 8 { 2 } else { 1 };
    let mut middle = [0i64; 64];
    for column in 0..8 {
        let line = [0, 1, 2, 3, 4, 5, 6, 7].map(|row| coefficients[row * 8 + column]);
        let line = pass(line, POINT - kept);
        (0..8).for_each(|row| middle[row * 8 + column] = line[row]);
    }
    let centre = 1i64 << (precision - 1);
    let highest = (1i64 << precision) - 1;
    let mut numbers = [0; 64];
    for row in 0..8 {
        let line = [0, 1, 2, 3, 4, 5, 6, 7].map(|column| middle[row * 8 + column]);
        let line = pass(line, POINT + kept + 3);
        for (column, value) in line.into_iter().enumerate() {
            numbers[row * 8 + column] = (value + centre).clamp(0, highest) as i32;
        }
    }
    numbers
}

/// One line of eight, scaled down by `down` bits.
fn pass(c: [i64; 8], down: u32) -> [i64; 8] {
    // Even part: a rotation, and sums.
    let z = (c[2] + c[6]) * fixed(0.541196100);
    let even2 = z - c[6] * fixed(1.847759065);
    let even3 = z + c[2] * fixed(0.765366865);
    let even0 = (c[0] + c[4]) << POINT;
    let even1 = (c[0] - c[4]) << POINT;
    let even = [even0 + even3, even1 + even2, even1 - even2, even0 - even3];
    // Odd part.
    let (z1, z2) = (c[7] + c[1], c[5] + c[3]);
    let (z3, z4) = (c[7] + c[3], c[5] + c[1]);
    let z5 = (z3 + z4) * fixed(1.175875602);
    let z1 = -z1 * fixed(0.899976223);
    let z2 = -z2 * fixed(2.562915447);
    let z3 = z5 - z3 * fixed(1.961570560);
    let z4 = z5 - z4 * fixed(0.390180644);
    let odd = [
        c[1] * fixed(1.501321110) + z1 + z4,
        c[3] * fixed(3.072711026) + z2 + z3,
        c[5] * fixed(2.053119869) + z2 + z4,
        c[7] * fixed(0.298631336) + z1 + z3,
    ];
    let half = 1 << (down - 1);
    let mut line = [0; 8];
    for n in 0..4 {
        line[n] = (even[n] + odd[n] + half) >> down;
        line[7 - n] = (even[n] - odd[n] + half) >> down;
    }
    line
}
