//! Lossless JPEG (ITU-T T.81, annex H): each number is predicted from its neighbours, and what is missing
//! is Huffman coded.

use super::super::Fault;
use super::jpeg::{Bits, Scan, Tables, named};
use super::markers::Frame;

/// The numbers of a scan, row after row.
pub(crate) fn decode(
    coded: &[u8],
    tables: &Tables,
    frame: Frame,
    scan: Scan,
    columns: usize,
    rows: usize,
) -> Result<Vec<i32>, Fault> {
    let (precision, shift) = (frame.precision, u32::from(scan.shift));
    if !(2..=16).contains(&precision) || shift >= precision || !(1..=7).contains(&scan.predictor) {
        return Err(Fault::malformed(format!(
            "a lossless JPEG frame has {precision} bits, shift {shift} and predictor {}",
            scan.predictor
        )));
    }
    // A code has one bit at least, so this many bytes cannot hold more numbers.
    if columns * rows > coded.len().saturating_mul(8) {
        return Err(Fault::malformed(format!(
            "{} bytes of a lossless JPEG frame cannot hold {rows} x {columns} numbers",
            coded.len()
        )));
    }
    if !tables.restart.is_multiple_of(columns) {
        return Err(Fault::malformed(format!(
            "a lossless JPEG frame restarts every {} numbers, not at the begin of a row of {columns}",
            tables.restart
        )));
    }
    let table = named(&tables.dc, scan.dc)?;
    let first = 1 << (precision - shift - 1);
    let mut bits = Bits::new(coded);
    let mut samples: Vec<i32> = Vec::with_capacity(columns * rows);
    let restart = tables.restart / columns;
    for row in 0..rows {
        let fresh = row == 0 || restart > 0 && row.is_multiple_of(restart);
        if fresh && row > 0 {
            bits.restart()?;
        }
        for column in 0..columns {
            let category = bits.symbol(table)?;
            let difference = match category {
                0..=15 => bits.signed(category.into())?,
                16 => 1 << 15,
                _ => {
                    return Err(Fault::malformed(format!(
                        "a lossless JPEG frame has a difference of {category} bits"
                    )));
                }
            };
            let at = samples.len();
            let prediction = match (fresh, column) {
                (true, 0) => first,
                (true, _) => samples[at - 1],
                (false, 0) => samples[at - columns],
                (false, _) => {
                    let (left, above) = (samples[at - 1], samples[at - columns]);
                    let diagonal = samples[at - columns - 1];
                    match scan.predictor {
                        1 => left,
                        2 => above,
                        3 => diagonal,
                        4 => left + above - diagonal,
                        5 => left + ((above - diagonal) >> 1),
                        6 => above + ((left - diagonal) >> 1),
                        _ => (left + above) >> 1,
                    }
                }
            };
            samples.push((prediction + difference) & 0xFFFF);
        }
    }
    samples.iter_mut().for_each(|s| *s <<= shift);
    Ok(samples)
}
