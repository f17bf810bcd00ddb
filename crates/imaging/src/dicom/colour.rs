//! Colours as DICOM has them.

/// An sRGB colour in CIELab, each coordinate as 16 bits (PS3.3, C.10.7.1.1). The white is D65, although
/// ICC's is D50: highdicom, dcmqi and OHIF all convert so, and thus show the very colour that was meant.
pub(crate) fn cielab(colour: [u8; 3]) -> [u16; 3] {
    let linear = colour.map(|c| {
        let c = f64::from(c) / 255.0;
        match c <= 0.04045 {
            true => c / 12.92,
            false => ((c + 0.055) / 1.055).powf(2.4),
        }
    });
    // IEC 61966-2-1.
    let matrix = [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ];
    let white = [0.95047, 1.0, 1.08883];
    let mut f = [0.0; 3];
    for row in 0..3 {
        let sum: f64 = (0..3).map(|c| matrix[row][c] * linear[c]).sum();
        let t: f64 = sum / white[row];
        f[row] = match t > 216.0 / 24389.0 {
            true => t.cbrt(),
            false => (24389.0 / 27.0 * t + 16.0) / 116.0,
        };
    }
    let lightness = 116.0 * f[1] - 16.0;
    let (a, b) = (500.0 * (f[0] - f[1]), 200.0 * (f[1] - f[2]));
    let code = |share: f64| (share.clamp(0.0, 1.0) * 65535.0).round() as u16;
    [
        code(lightness / 100.0),
        code((a + 128.0) / 255.0),
        code((b + 128.0) / 255.0),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_what_highdicom_makes_of_them() {
        // highdicom.color.CIELabColor.from_rgb, 0.28.
        for (colour, want) in [
            ([255, 0, 0], [34886, 53484, 50172]),
            ([10, 200, 130], [46887, 18039, 38959]),
        ] {
            for (got, want) in cielab(colour).into_iter().zip(want) {
                assert!(
                    got.abs_diff(want) <= 8,
                    "{colour:?}: {got} instead of {want}"
                );
            }
        }
    }
}
