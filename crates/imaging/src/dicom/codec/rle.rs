//! RLE Lossless (PS3.5, annex G): one run-length coded segment per byte of a number, the highest first.

use super::super::Fault;

/// The little-endian numbers of a frame of `pixels` numbers of `size` bytes.
pub(crate) fn decode(bytes: &[u8], pixels: usize, size: usize) -> Result<Vec<u8>, Fault> {
    let (header, _) = bytes
        .split_at_checked(64)
        .ok_or_else(|| Fault::malformed("an RLE frame is shorter than its header"))?;
    let number = |n: usize| {
        let bytes = [0, 1, 2, 3].map(|b| header[4 * n + b]);
        u32::from_le_bytes(bytes) as usize
    };
    if number(0) != size {
        return Err(Fault::malformed(format!(
            "an RLE frame has {} segments instead of {size}",
            number(0)
        )));
    }
    let mut planes = Vec::with_capacity(size);
    for segment in 0..size {
        let begin = number(1 + segment);
        let end = match segment + 1 < size {
            true => number(2 + segment),
            false => bytes.len(),
        };
        let coded = bytes.get(begin..end).ok_or_else(|| {
            Fault::malformed(format!(
                "RLE segment {segment} is said to be bytes {begin} to {end} of {}",
                bytes.len()
            ))
        })?;
        planes.push(unpack(coded, pixels).ok_or_else(|| {
            Fault::malformed(format!("RLE segment {segment} ends before {pixels} bytes"))
        })?);
    }
    let mut numbers = vec![0; pixels * size];
    for (plane, bytes) in planes.iter().enumerate() {
        let at = size - 1 - plane;
        let places = numbers.iter_mut().skip(at).step_by(size);
        places.zip(bytes).for_each(|(place, &byte)| *place = byte);
    }
    Ok(numbers)
}

/// The first `wanted` bytes of a segment, if it has as many.
fn unpack(mut coded: &[u8], wanted: usize) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    while bytes.len() < wanted {
        let (&head, rest) = coded.split_first()?;
        coded = match head {
            0..=127 => {
                let (run, rest) = rest.split_at_checked(usize::from(head) + 1)?;
                bytes.extend_from_slice(run);
                rest
            }
            128 => rest,
            129.. => {
                let (&byte, rest) = rest.split_first()?;
                bytes.resize(bytes.len() + 257 - usize::from(head), byte);
                rest
            }
        };
    }
    bytes.truncate(wanted);
    Some(bytes)
}

/// A frame of little-endian numbers of `size` bytes and `columns` a row, encoded. Runs end with their row,
/// as PS3.5 asks.
pub(crate) fn encode(numbers: &[u8], columns: usize, size: usize) -> Vec<u8> {
    let mut segments = Vec::with_capacity(size);
    for plane in (0..size).rev() {
        let bytes: Vec<u8> = numbers.iter().copied().skip(plane).step_by(size).collect();
        let mut coded = Vec::new();
        bytes.chunks(columns).for_each(|row| pack(row, &mut coded));
        if coded.len() % 2 == 1 {
            coded.push(0);
        }
        segments.push(coded);
    }
    let mut frame = (size as u32).to_le_bytes().to_vec();
    let mut at = 64;
    for segment in &segments {
        frame.extend_from_slice(&(at as u32).to_le_bytes());
        at += segment.len();
    }
    frame.resize(64, 0);
    frame.extend(segments.concat());
    frame
}

fn pack(row: &[u8], coded: &mut Vec<u8>) {
    let mut begin = 0;
    let mut at = 0;
    while at < row.len() {
        let run = row[at..]
            .iter()
            .take(128)
            .take_while(|&&b| b == row[at])
            .count();
        if run < 3 {
            at += run;
            continue;
        }
        literal(&row[begin..at], coded);
        coded.push((257 - run) as u8);
        coded.push(row[at]);
        at += run;
        begin = at;
    }
    literal(&row[begin..], coded);
}

fn literal(bytes: &[u8], coded: &mut Vec<u8>) {
    for part in bytes.chunks(128) {
        coded.push((part.len() - 1) as u8);
        coded.extend_from_slice(part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_decoded() {
        let mut state = 1u32;
        for (columns, rows, size) in [(1, 1, 1), (300, 3, 1), (7, 5, 2), (129, 2, 4)] {
            let mut noise = || {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                // Runs of all lengths, and none.
                (state >> 24) as u8 / 100
            };
            let numbers: Vec<u8> = (0..columns * rows * size).map(|_| noise()).collect();
            let frame = encode(&numbers, columns, size);
            assert_eq!(decode(&frame, columns * rows, size), Ok(numbers));
            assert!(decode(&frame[..frame.len() - 2], columns * rows, size).is_err());
        }
    }
}
