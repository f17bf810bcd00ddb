//! SVG drawn into pixels, with the one font that is compiled in.

use std::sync::Arc;

use resvg::{tiny_skia, usvg};

/// The family name of the font.
pub(super) const FONT: &str = "Noto Sans";
/// Pixels of the picture for one of the drawing.
const SCALE: f32 = 2.0;

/// Why a picture could not be drawn.
#[derive(Debug, thiserror::Error)]
#[error("cannot draw a picture: {0}")]
pub struct PngError(String);

/// Draws an SVG text.
pub(super) fn render(svg: &str) -> Result<Vec<u8>, PngError> {
    let mut fonts = usvg::fontdb::Database::new();
    fonts.load_font_data(notosans::REGULAR_TTF.to_vec());
    fonts.load_font_data(notosans::BOLD_TTF.to_vec());
    let options = usvg::Options {
        fontdb: Arc::new(fonts),
        font_family: FONT.into(),
        ..usvg::Options::default()
    };
    let tree = usvg::Tree::from_str(svg, &options).map_err(|e| PngError(e.to_string()))?;
    let size = tree.size();
    let pixels = |length: f32| (length * SCALE).ceil() as u32;
    let mut picture = tiny_skia::Pixmap::new(pixels(size.width()), pixels(size.height()))
        .ok_or_else(|| {
            PngError(format!(
                "{} by {} is too large",
                size.width(),
                size.height()
            ))
        })?;
    let scale = tiny_skia::Transform::from_scale(SCALE, SCALE);
    resvg::render(&tree, scale, &mut picture.as_mut());
    picture.encode_png().map_err(|e| PngError(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_drawn_without_any_font_of_the_system() {
        let with = |text: &str| {
            let svg = format!(
                "<svg xmlns='http://www.w3.org/2000/svg' width='60' height='20'><style>text{{font-family:\"{FONT}\"}}\
                 </style><text x='2' y='15'>{text}</text></svg>"
            );
            render(&svg).unwrap()
        };
        assert_eq!(&with("a")[1..4], b"PNG");
        assert_ne!(
            with("ms"),
            with("  "),
            "a text that is not drawn leaves the picture blank"
        );
        assert_ne!(with("×"), with("²"), "signs beyond ASCII are in the font");
    }

    #[test]
    fn what_is_no_svg_is_an_error() {
        assert!(
            render("<p>")
                .unwrap_err()
                .to_string()
                .starts_with("cannot draw a picture: ")
        );
    }
}
