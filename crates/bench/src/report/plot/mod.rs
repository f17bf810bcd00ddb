//! Plots as SVG, drawn once for every place they are shown in: a page, an SVG file, a PNG file.
//!
//! A plot is drawn for a width in pixels, not scaled to it, so that its letters have the size of the
//! text around it on a phone, too.

mod bars;
mod mark;
mod png;
mod scale;
mod scatter;
pub(super) mod theme;

use maud::{Markup, PreEscaped, html};

pub(super) use bars::{Bar, Bars, Cluster};
pub(super) use mark::{Mark, Shape};
pub use png::PngError;
pub(super) use scale::{Scale, tick_text};
pub(super) use scatter::{Line, Point, Scatter};

/// The width that a plot is drawn for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Width {
    /// A page on a desk, and files.
    Wide,
    /// A page on a telephone.
    Narrow,
}

impl Width {
    /// In pixels.
    pub(super) fn pixels(self) -> f64 {
        match self {
            Width::Wide => 760.0,
            Width::Narrow => 340.0,
        }
    }

    fn is_narrow(self) -> bool {
        self == Width::Narrow
    }
}

/// A drawing: what it holds and how high it is.
pub(super) struct Drawing {
    width: f64,
    height: f64,
    body: Markup,
}

/// A plot with what has to be said of it.
pub struct Plot {
    /// The stem of its file's name: letters, digits, dashes.
    pub name: String,
    /// What it shows.
    pub title: String,
    /// How to read it, in a sentence.
    pub note: String,
    /// Where the figures come from, in a line.
    pub caption: String,
    draw: Box<dyn Fn(Width) -> Drawing>,
}

/// Space above and below the drawing in a file.
const HEAD: f64 = 44.0;
const FOOT: f64 = 26.0;
const MARGIN: f64 = 16.0;

impl Plot {
    pub(super) fn new(
        name: impl Into<String>,
        title: impl Into<String>,
        note: impl Into<String>,
        draw: impl Fn(Width) -> Drawing + 'static,
    ) -> Plot {
        Plot {
            name: name.into(),
            title: title.into(),
            note: note.into(),
            caption: String::new(),
            draw: Box::new(draw),
        }
    }

    /// Inside a page, for both widths; the page's style shows one of them.
    pub(super) fn inline(&self) -> Markup {
        let svg = |width: Width, class: &str| {
            let drawing = (self.draw)(width);
            html! {
                svg class={ "plot " (class) } role="img" aria-label={ (self.title) ". " (self.note) }
                    viewBox={ "0 0 " (px(drawing.width)) " " (px(drawing.height)) }
                    width=(px(drawing.width)) height=(px(drawing.height)) { (drawing.body) }
            }
        };
        html! { (svg(Width::Wide, "wide")) (svg(Width::Narrow, "narrow")) }
    }

    /// As a file of its own, with title and caption.
    pub fn svg(&self) -> String {
        self.file(&theme::file_style())
    }

    /// As a PNG file of fixed, light colours.
    ///
    /// # Errors
    /// If the picture cannot be drawn.
    pub fn png(&self) -> Result<Vec<u8>, PngError> {
        png::render(&self.file(&theme::picture_style(png::FONT)))
    }

    fn file(&self, style: &str) -> String {
        let drawing = (self.draw)(Width::Wide);
        let width = drawing.width + 2.0 * MARGIN;
        let height = drawing.height + HEAD + FOOT;
        let svg = html! {
            svg xmlns="http://www.w3.org/2000/svg" class="plot" role="img"
                viewBox={ "0 0 " (px(width)) " " (px(height)) } width=(px(width)) height=(px(height)) {
                title { (self.title) }
                desc { (self.note) }
                style { (PreEscaped(style)) }
                rect class="paper" width=(px(width)) height=(px(height)) {}
                text class="title" x=(px(MARGIN)) y="26" { (self.title) }
                g transform={ "translate(" (px(MARGIN)) " " (px(HEAD)) ")" } { (drawing.body) }
                text class="soft small" x=(px(MARGIN)) y=(px(height - 10.0)) { (self.caption) }
            }
        };
        svg.into_string() + "\n"
    }
}

/// A coordinate, to a tenth of a pixel.
pub(super) fn px(value: f64) -> String {
    let rounded = (value * 10.0).round() / 10.0;
    // Not "-0".
    format!("{}", if rounded == 0.0 { 0.0 } else { rounded })
}

/// How wide a text is in pixels at a size of `size`, after the widths of wide fonts: good for deciding
/// what fits, whatever the font turns out to be.
pub(super) fn text_width(text: &str, size: f64) -> f64 {
    let letter = |c: char| match c {
        'i' | 'j' | 'l' | 'I' | '.' | ',' | ':' | ';' | '\'' | '|' | '!' => 0.3,
        'f' | 't' | 'r' | '(' | ')' | '[' | ']' | ' ' | '-' | '/' => 0.4,
        'm' | 'w' | 'M' | 'W' | '@' | '%' | '…' => 0.95,
        'A'..='Z' | '×' | '+' => 0.75,
        _ if c.is_ascii() => 0.63,
        _ => 0.8,
    };
    text.chars().map(letter).sum::<f64>() * size
}

/// A text that fits into `room` pixels, its end replaced by an ellipsis if need be.
pub(super) fn shortened(text: &str, size: f64, room: f64) -> String {
    if text_width(text, size) <= room {
        return text.to_owned();
    }
    let mut short: String = text.to_owned();
    while !short.is_empty() && text_width(&short, size) + 0.9 * size > room {
        short.pop();
    }
    short + "…"
}

/// Entries of a legend: what stands for something, and its name.
type Entry = (Mark, String);

/// A legend that runs on lines of `width` pixels, and its height.
fn legend(entries: &[Entry], width: f64) -> (Markup, f64) {
    const LINE: f64 = 20.0;
    let (mut x, mut y) = (0.0, 10.0);
    let mut placed = Vec::new();
    for (mark, name) in entries {
        let name = shortened(name, 12.0, width - 20.0);
        let space = 20.0 + text_width(&name, 12.0);
        if x > 0.0 && x + space > width {
            (x, y) = (0.0, y + LINE);
        }
        placed.push((x, y, mark, name));
        x += space + 16.0;
    }
    let markup = html! {
        @for (x, y, mark, name) in placed {
            (mark.draw(x + 7.0, y, 5.5))
            text x=(px(x + 18.0)) y=(px(y + 4.0)) { (name) }
        }
    };
    (markup, if entries.is_empty() { 0.0 } else { y + 14.0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_ends_in_an_ellipsis() {
        assert_eq!(shortened("abc", 12.0, 100.0), "abc");
        let short = shortened("mobilenetv4_conv_small+fpn", 12.0, 80.0);
        assert!(
            short.ends_with('…') && text_width(&short, 12.0) <= 81.0,
            "{short}"
        );
    }

    #[test]
    fn coordinates_are_short() {
        assert_eq!([px(1.0), px(1.26), px(-0.01)], ["1", "1.3", "0"]);
    }
}
