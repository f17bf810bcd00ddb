//! A picture to look at: the three planes through the middle of the scan with the classes over them.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use resvg::{tiny_skia, usvg};
use slicewise_imaging::{ClassTable, Grid, Labels, NOTICE, Orientation, Reorder};

use crate::SegmentError;

/// Pixels of the longer side of the largest plane.
const LARGEST: f64 = 360.0;
/// Pixels between things.
const GAP: usize = 12;
/// Pixels of a line of text.
const LINE: usize = 18;
/// Pixels of the legend's width.
const LEGEND: usize = 230;
/// Classes that the legend names.
const NAMED: usize = 18;
/// The share of a class's colour.
const OVERLAY: f32 = 0.5;

/// The planes as radiologists look at them: which way columns, rows and slices run.
const VIEWS: [(&str, &str); 3] = [("axial", "LPS"), ("coronal", "LIP"), ("sagittal", "PIL")];

/// One plane through the middle, at right angles to a voxel axis; the lower of the other axes is faster.
#[derive(Clone, Debug, Default)]
struct Plane {
    values: Vec<f32>,
    labels: Vec<u16>,
}

/// Collects what the picture shows while slices come by.
#[derive(Clone, Debug)]
pub(crate) struct Preview {
    grid: Grid,
    /// The voxel in the middle along every axis; of the two of an even size the one that is further to the
    /// right, front or head, whichever way the axis runs.
    middle: [usize; 3],
    planes: [Plane; 3],
}

impl Preview {
    pub(crate) fn new(grid: &Grid) -> Self {
        let (size, directions) = (grid.size(), grid.orientation().directions());
        let middle = [0, 1, 2].map(|a| match directions[a].positive {
            true => size[a] / 2,
            false => size[a] - 1 - size[a] / 2,
        });
        Preview {
            grid: grid.clone(),
            middle,
            planes: Default::default(),
        }
    }

    /// Slice `k` of the file, in the order of the file.
    pub(crate) fn add(&mut self, k: usize, labels: &Labels, values: &[f32]) {
        let [ni, nj, _] = self.grid.size();
        let middle = self.middle;
        let mut keep = |axis: usize, at: usize| {
            self.planes[axis].values.push(values[at]);
            self.planes[axis].labels.push(labels.get(at));
        };
        (0..nj).for_each(|j| keep(0, j * ni + middle[0]));
        (0..ni).for_each(|i| keep(1, middle[1] * ni + i));
        if k == middle[2] {
            (0..ni * nj).for_each(|at| keep(2, at));
        }
    }

    /// The picture as PNG. Values from `window` become black to white; without one, all but the lowest and
    /// the highest hundredth do.
    pub(crate) fn png(
        &self,
        classes: &ClassTable,
        window: Option<[f64; 2]>,
    ) -> Result<Vec<u8>, SegmentError> {
        let window = window.unwrap_or_else(|| self.usual_range());
        let images: Vec<Image> = VIEWS
            .iter()
            .filter_map(|(name, code)| Some((*name, code.parse().ok()?)))
            .map(|(name, orientation)| self.image(name, orientation, classes, window))
            .collect();
        let height = images.iter().map(|i| i.size[1]).max().unwrap_or(0);
        let legend = self.legend(classes);
        let lines = legend.len() * LINE;
        let height = (height + LINE).max(lines + LINE) + 3 * GAP + LINE;
        let width = images.iter().map(|i| i.size[0] + GAP).sum::<usize>() + GAP + LEGEND;
        let svg = frame(&images, &legend, width, height);
        let mut picture = draw(&svg, width, height)?;
        let mut left = GAP;
        for image in &images {
            image.paint(&mut picture, left, GAP + LINE);
            left += image.size[0] + GAP;
        }
        picture
            .encode_png()
            .map_err(|e| SegmentError::Picture(e.to_string()))
    }

    fn usual_range(&self) -> [f64; 2] {
        let values = self.planes.iter().flat_map(|p| p.values.iter().copied());
        let mut values: Vec<f32> = values.filter(|v| v.is_finite()).collect();
        values.sort_unstable_by(f32::total_cmp);
        let at = |share: usize| {
            let position = values.len().saturating_sub(1) * share / 100;
            values.get(position).map_or(0.0, |v| f64::from(*v))
        };
        let (low, high) = (at(1), at(99));
        [low, if high > low { high } else { low + 1.0 }]
    }

    /// The plane that a view shows, at its true proportions.
    fn image(
        &self,
        name: &'static str,
        orientation: Orientation,
        classes: &ClassTable,
        [low, high]: [f64; 2],
    ) -> Image {
        let [columns, rows, (axis, _)] =
            Reorder::between(self.grid.orientation(), orientation).axes();
        let (size, spacing) = (self.grid.size(), self.grid.spacing());
        let extent = |a: usize| size[a] as f64 * spacing[a];
        let longest = (0..3).map(extent).fold(0.0, f64::max);
        let pixels = |a: usize| ((extent(a) / longest * LARGEST).round() as usize).max(1);
        let shown = [pixels(columns.0), pixels(rows.0)];
        let plane = &self.planes[axis];
        let source = |(a, reversed): (usize, bool), at: usize, of: usize| {
            let at = at * size[a] / of;
            if reversed { size[a] - 1 - at } else { at }
        };
        // The plane's faster axis is the lower one that is left.
        let faster = if axis == 0 { 1 } else { 0 };
        let mut colours = Vec::with_capacity(shown[0] * shown[1]);
        for y in 0..shown[1] {
            let row = source(rows, y, shown[1]);
            for x in 0..shown[0] {
                let column = source(columns, x, shown[0]);
                let (fast, slow) = if columns.0 == faster {
                    (column, row)
                } else {
                    (row, column)
                };
                let at = slow * size[faster] + fast;
                let value = f64::from(plane.values[at]);
                let grey = (255.0 * ((value - low) / (high - low)).clamp(0.0, 1.0)) as f32;
                let class = classes.get(plane.labels[at]);
                colours.push(match class {
                    // NaN becomes black.
                    None => [grey as u8; 3],
                    Some(class) => class
                        .colour
                        .map(|c| (f32::from(c) * OVERLAY + grey.max(0.0) * (1.0 - OVERLAY)) as u8),
                });
            }
        }
        Image {
            name,
            size: shown,
            colours,
        }
    }

    /// The classes in the planes, those with most pixels first.
    fn legend(&self, classes: &ClassTable) -> Vec<(Option<[u8; 3]>, String)> {
        let mut counts = BTreeMap::<u16, usize>::new();
        for label in self.planes.iter().flat_map(|p| &p.labels) {
            *counts.entry(*label).or_default() += 1;
        }
        let mut found: Vec<_> = counts
            .into_iter()
            .filter_map(|(label, count)| Some((count, classes.get(label)?)))
            .collect();
        found.sort_by_key(|(count, class)| (std::cmp::Reverse(*count), class.label));
        let named = found.iter().take(NAMED);
        let mut legend: Vec<_> = named
            .map(|(_, class)| (Some(class.colour), class.name.clone()))
            .collect();
        match found.len() {
            0 => legend.push((None, "no class in these planes".into())),
            n if n > NAMED => legend.push((None, format!("and {} more", n - NAMED))),
            _ => {}
        }
        legend
    }
}

/// One plane as it is shown.
struct Image {
    name: &'static str,
    size: [usize; 2],
    colours: Vec<[u8; 3]>,
}

impl Image {
    fn paint(&self, picture: &mut tiny_skia::Pixmap, left: usize, top: usize) {
        let width = picture.width() as usize;
        let pixels = picture.pixels_mut();
        for (row, colours) in self.colours.chunks_exact(self.size[0]).enumerate() {
            let begin = (top + row) * width + left;
            for (pixel, [r, g, b]) in pixels[begin..].iter_mut().zip(colours) {
                *pixel = tiny_skia::ColorU8::from_rgba(*r, *g, *b, 255).premultiply();
            }
        }
    }
}

/// Everything but the planes, as SVG.
fn frame(
    images: &[Image],
    legend: &[(Option<[u8; 3]>, String)],
    width: usize,
    height: usize,
) -> String {
    let mut svg = format!(
        "<svg xmlns='http://www.w3.org/2000/svg' width='{width}' height='{height}' \
         font-family='Noto Sans' font-size='13' fill='#ddd'>\
         <rect width='{width}' height='{height}' fill='#111'/>"
    );
    let mut left = GAP;
    // Writing into a string cannot fail.
    for image in images {
        let _ = write!(
            svg,
            "<text x='{left}' y='{}'>{}</text>",
            GAP + 11,
            image.name
        );
        left += image.size[0] + GAP;
    }
    for (line, (colour, name)) in legend.iter().enumerate() {
        let y = GAP + LINE + line * LINE;
        if let Some([r, g, b]) = colour {
            let _ = write!(
                svg,
                "<rect x='{left}' y='{y}' width='12' height='12' fill='rgb({r},{g},{b})'/>"
            );
        }
        let _ = write!(
            svg,
            "<text x='{}' y='{}'>{}</text>",
            left + LINE,
            y + 11,
            escape(name)
        );
    }
    let _ = write!(
        svg,
        "<text x='{GAP}' y='{}' fill='#999'>{NOTICE}</text></svg>",
        height - GAP
    );
    svg
}

/// A name as XML, shortened to what the legend has room for.
fn escape(name: &str) -> String {
    let mut text = String::new();
    for c in name.chars().take(30) {
        match c {
            '&' => text += "&amp;",
            '<' => text += "&lt;",
            '>' => text += "&gt;",
            c if c.is_control() => text.push(' '),
            c => text.push(c),
        }
    }
    text
}

fn draw(svg: &str, width: usize, height: usize) -> Result<tiny_skia::Pixmap, SegmentError> {
    let bad = |problem: String| SegmentError::Picture(problem);
    let mut fonts = usvg::fontdb::Database::new();
    fonts.load_font_data(notosans::REGULAR_TTF.to_vec());
    let options = usvg::Options {
        fontdb: Arc::new(fonts),
        font_family: "Noto Sans".into(),
        ..usvg::Options::default()
    };
    let tree = usvg::Tree::from_str(svg, &options).map_err(|e| bad(e.to_string()))?;
    let picture = tiny_skia::Pixmap::new(width as u32, height as u32);
    let mut picture = picture.ok_or_else(|| bad(format!("{width} by {height} is too large")))?;
    resvg::render(
        &tree,
        tiny_skia::Transform::default(),
        &mut picture.as_mut(),
    );
    Ok(picture)
}

#[cfg(test)]
mod tests {
    use super::*;
    use slicewise_imaging::Affine;

    /// A scan of which the right front upper corner is class 2, in any axis order.
    fn preview(orientation: Orientation) -> Preview {
        let mut affine = Affine::of_spacing([1.0; 3]);
        affine.origin = [-5.0, -5.0, -5.0];
        let canonical = Grid::new([10, 10, 10], affine).unwrap();
        let grid = Reorder::between(Orientation::RAS, orientation).grid(&canonical);
        let mut preview = Preview::new(&grid);
        for k in 0..10 {
            let point = |at: usize| {
                grid.affine()
                    .apply([(at % 10) as f64, (at / 10) as f64, k as f64])
            };
            let corner = |at: usize| point(at).iter().all(|v| *v >= -0.5);
            let labels = (0..100).map(|at| if corner(at) { 2 } else { 0 }).collect();
            preview.add(k, &Labels::U8(labels), &[40.0; 100]);
        }
        preview
    }

    #[test]
    fn right_front_and_head_are_where_radiologists_look_for_them_in_every_axis_order() {
        let classes = ClassTable::numbered(2);
        for orientation in Orientation::all() {
            let preview = preview(orientation);
            for (name, code) in VIEWS {
                let image = preview.image(name, code.parse().unwrap(), &classes, [0.0, 80.0]);
                assert_eq!(image.size, [360, 360]);
                let at = |x: usize, y: usize| image.colours[y * 360 + x] != [127; 3];
                // Of all three views the upper left quarter: right or front is left, front or head on top.
                let corners = [at(90, 90), at(270, 90), at(90, 270), at(270, 270)];
                assert_eq!(corners, [true, false, false, false], "{orientation} {name}");
            }
        }
    }

    #[test]
    fn a_picture_is_drawn_with_a_legend() {
        let classes = ClassTable::numbered(2);
        let png = preview(Orientation::RAS).png(&classes, None).unwrap();
        assert_eq!(&png[1..4], b"PNG");
        let other = preview(Orientation::LPS).png(&classes, None).unwrap();
        assert_eq!(png, other, "the same scan in another order looks the same");
    }
}
