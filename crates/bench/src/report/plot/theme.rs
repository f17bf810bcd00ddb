//! Colours and styles of plots, once, for pages, SVG files and PNG files.
//!
//! The eight colours follow Okabe and Ito, darkened or lightened until each has a contrast of 3 to 1
//! with its background. Nothing is told by colour alone: engines also differ in order and fill, families
//! in the shape of their markers.

/// A colour of the theme: its name, and its value on light and on dark pages.
type Colour = (&'static str, &'static str, &'static str);

/// Every colour that pages and plots use.
const COLOURS: &[Colour] = &[
    ("paper", "#ffffff", "#15181d"),
    ("panel", "#f5f6f7", "#1d2127"),
    ("ink", "#1c2127", "#e8ebee"),
    ("soft", "#59636e", "#a3adb8"),
    ("line", "#d5dae0", "#373e47"),
    ("grid", "#e8ebee", "#282e36"),
    ("c0", "#0072b2", "#58aef0"),
    ("c1", "#c77400", "#f0a540"),
    ("c2", "#00805a", "#36c398"),
    ("c3", "#b0417f", "#e88bc0"),
    ("c4", "#2f8dc4", "#8fd0f7"),
    ("c5", "#b23a00", "#ff8a5c"),
    ("c6", "#777000", "#d3cb4a"),
    ("c7", "#5b6470", "#aab4bf"),
    ("bad", "#b42318", "#ff8a80"),
    ("good", "#00805a", "#36c398"),
];

/// How many colours the palette has for series and families.
pub(crate) const PALETTE: usize = 8;

/// What plots are styled with, in terms of the colours.
const RULES: &str = include_str!("plot.css");

/// The family of fonts in a page or a file: whatever its reader's system uses.
const SYSTEM_FONTS: &str = "system-ui,-apple-system,\"Segoe UI\",Roboto,\"Noto Sans\",sans-serif";

/// The colours as custom properties of `selector`, dark where the reader prefers it.
pub(crate) fn properties(selector: &str) -> String {
    let of = |dark: bool| -> String {
        let value = |c: &Colour| format!("--{}:{};", c.0, if dark { c.2 } else { c.1 });
        COLOURS.iter().map(value).collect()
    };
    format!(
        "{selector}{{color-scheme:light dark;{light}}}\
         @media(prefers-color-scheme:dark){{{selector}:not([data-theme=light]){{{dark}}}}}\
         {selector}[data-theme=dark]{{color-scheme:dark;{dark}}}\
         {selector}[data-theme=light]{{color-scheme:light}}\
         @media print{{{selector}{selector}{selector}{{color-scheme:light;{light}}}}}",
        light = of(false),
        dark = of(true),
    )
}

/// The rules of plots inside a page that has the [`properties`].
pub(crate) fn page_rules() -> String {
    rules(SYSTEM_FONTS)
}

/// The style of an SVG file of its own, light or dark as its reader prefers.
pub(super) fn file_style() -> String {
    properties("svg") + &rules(SYSTEM_FONTS)
}

/// The style of a picture of fixed colours whose only font is `font`.
pub(super) fn picture_style(font: &str) -> String {
    let mut style = rules(&format!("\"{font}\""));
    for (name, light, _) in COLOURS {
        style = style.replace(&format!("var(--{name})"), light);
    }
    style
}

fn rules(fonts: &str) -> String {
    RULES.replace("FONTS", fonts)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Relative luminance as WCAG 2 defines it.
    fn luminance(colour: &str) -> f64 {
        let channel = |i: usize| {
            let v = f64::from(u8::from_str_radix(&colour[i..i + 2], 16).unwrap()) / 255.0;
            if v <= 0.04045 {
                v / 12.92
            } else {
                ((v + 0.055) / 1.055).powf(2.4)
            }
        };
        0.2126 * channel(1) + 0.7152 * channel(3) + 0.0722 * channel(5)
    }

    fn contrast(a: &str, b: &str) -> f64 {
        let (a, b) = (luminance(a), luminance(b));
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }

    #[test]
    fn every_colour_can_be_told_from_its_paper() {
        let paper = COLOURS[0];
        for (name, light, dark) in COLOURS {
            let least = match *name {
                "ink" | "soft" | "bad" | "good" => 4.5,
                n if n.starts_with('c') => 3.0,
                _ => continue,
            };
            let found = (contrast(light, paper.1), contrast(dark, paper.2));
            assert!(found.0 >= least && found.1 >= least, "{name}: {found:?}");
        }
    }

    #[test]
    fn pictures_name_no_property_and_no_other_font() {
        let style = picture_style("Noto Sans");
        assert!(
            !style.contains("var(") && !style.contains("system-ui"),
            "{style}"
        );
        assert!(file_style().contains("prefers-color-scheme:dark"));
    }
}
