//! Values that several commands take.

use std::str::FromStr;

use slicewise_graph::Dim;

/// The largest extent that is taken for a size rather than a slip of the hand.
const LARGEST: usize = 16_384;

/// The spatial size of an input.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Size {
    /// Height and width.
    Image([usize; 2]),
    /// Depth, height and width.
    Volume([usize; 3]),
}

impl Size {
    /// The extents, outermost first.
    pub(crate) fn extents(&self) -> &[usize] {
        match self {
            Size::Image(s) => s,
            Size::Volume(s) => s,
        }
    }
}

impl FromStr for Size {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let extents: Option<Vec<usize>> = text
            .split(['x', 'X', '×'])
            .map(|n| n.trim().parse().ok().filter(|n| (1..=LARGEST).contains(n)))
            .collect();
        match extents.as_deref() {
            Some([n]) => Ok(Size::Image([*n, *n])),
            Some([h, w]) => Ok(Size::Image([*h, *w])),
            Some([d, h, w]) => Ok(Size::Volume([*d, *h, *w])),
            _ => Err(format!(
                "write N or HxW for images, DxHxW for volumes, each from 1 to {LARGEST}"
            )),
        }
    }
}

/// Images per run: a number, or `dynamic` to leave it open.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Batch(pub(crate) Dim);

impl FromStr for Batch {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(n @ 1..=LARGEST) => Ok(Batch(Dim::Fixed(n))),
            _ if text == "dynamic" => Ok(Batch(Dim::Batch)),
            _ => Err(format!("write a number from 1 to {LARGEST}, or 'dynamic'")),
        }
    }
}

/// Threads: 1 to 1024.
pub(crate) fn threads(text: &str) -> Result<usize, String> {
    text.parse()
        .ok()
        .filter(|n| (1..=1024).contains(n))
        .ok_or_else(|| "write a number from 1 to 1024".to_owned())
}

/// A finite number above zero.
pub(crate) fn positive(text: &str) -> Result<f64, String> {
    let number = text
        .parse()
        .ok()
        .filter(|n: &f64| n.is_finite() && *n > 0.0);
    number.ok_or_else(|| "write a number above 0".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_they_are_written() {
        let cases = [
            ("512", Ok(Size::Image([512, 512]))),
            ("128x96", Ok(Size::Image([128, 96]))),
            ("128x128x64", Ok(Size::Volume([128, 128, 64]))),
            ("0", Err(())),
            ("512x", Err(())),
            ("1x2x3x4", Err(())),
            ("99999999999999999999", Err(())),
            ("-1", Err(())),
            ("20000", Err(())),
        ];
        for (text, want) in cases {
            assert_eq!(text.parse::<Size>().map_err(|_| ()), want, "{text}");
        }
    }

    #[test]
    fn limits_are_numbers_above_zero() {
        assert_eq!(positive("2.5"), Ok(2.5));
        for text in ["0", "-1", "inf", "NaN", "x", ""] {
            assert!(positive(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_batch_is_a_number_or_open() {
        assert_eq!("4".parse(), Ok(Batch(Dim::Fixed(4))));
        assert_eq!("dynamic".parse(), Ok(Batch(Dim::Batch)));
        assert!("0".parse::<Batch>().is_err());
    }
}
