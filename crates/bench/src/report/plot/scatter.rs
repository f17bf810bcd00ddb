//! Points in a plane, with lines, and names beside as many points as there is room for.

use maud::{Markup, html};

use super::{Drawing, Mark, Scale, Width, legend, px, text_width, tick_text};
use crate::statistics::Interval;

/// A point.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Point {
    pub(crate) x: f64,
    pub(crate) y: f64,
    /// The interval of `y`.
    pub(crate) interval: Option<Interval>,
    /// Its marker and the marker's radius in pixels.
    pub(crate) mark: Mark,
    pub(crate) radius: f64,
    /// Its name. Points that come first are named first.
    pub(crate) name: String,
    /// What a pointer that rests on it is told.
    pub(crate) told: String,
}

/// A line through points of the plane.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Line {
    /// Its classes.
    pub(crate) class: String,
    /// Where it goes.
    pub(crate) through: Vec<(f64, f64)>,
}

/// A plane of points.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Scatter {
    /// The points, the most important first.
    pub(crate) points: Vec<Point>,
    /// The lines below them.
    pub(crate) lines: Vec<Line>,
    /// What the markers stand for.
    pub(crate) legend: Vec<(Mark, String)>,
    /// The axes, of whatever range, with what they show.
    pub(crate) x: (Scale, String),
    pub(crate) y: (Scale, String),
}

const LEFT: f64 = 40.0;
const RIGHT: f64 = 10.0;
const LETTERS: f64 = 11.0;

/// A rectangle: left, top, right, bottom.
type Rect = [f64; 4];

impl Scatter {
    /// Draws the plane.
    pub(crate) fn draw(&self, width: Width) -> Drawing {
        let (w, field) = match width {
            Width::Wide => (width.pixels(), 360.0),
            Width::Narrow => (width.pixels(), 300.0),
        };
        let top = 24.0;
        let bottom = top + field;
        let x = self.x.0.with_range((LEFT, w - RIGHT));
        let y = self.y.0.with_range((bottom, top));
        let (entries, high) = legend(&self.legend, w);
        let below = bottom + 44.0;
        Drawing {
            width: w,
            height: below + high,
            body: html! {
                (self.axes(&x, &y, top, w))
                @for line in &self.lines { (path(line, &x, &y)) }
                @for point in self.points.iter().rev() { (marker(point, &x, &y)) }
                (self.names(&x, &y, [LEFT, top, w, bottom]))
                g transform={ "translate(0 " (px(below)) ")" } { (entries) }
            },
        }
    }

    fn axes(&self, x: &Scale, y: &Scale, top: f64, width: f64) -> Markup {
        let bottom = y.at(y.domain().0);
        html! {
            @for tick in y.ticks(7) {
                line class="grid" x1=(px(LEFT)) x2=(px(width - RIGHT)) y1=(px(y.at(tick))) y2=(px(y.at(tick))) {}
                text class="soft small end" x=(px(LEFT - 6.0)) y=(px(y.at(tick) + 4.0)) { (tick_text(tick)) }
            }
            @for tick in x.ticks((width / 70.0) as usize) {
                line class="grid" x1=(px(x.at(tick))) x2=(px(x.at(tick))) y1=(px(top)) y2=(px(bottom)) {}
                text class="soft small mid" x=(px(x.at(tick))) y=(px(bottom + 16.0)) { (tick_text(tick)) }
            }
            path class="axis" d={ "M" (px(LEFT)) "," (px(top)) " V" (px(bottom)) " H" (px(width - RIGHT)) } {}
            text class="soft small" x="0" y="12" { (self.y.1) }
            text class="soft small end" x=(px(width - RIGHT)) y=(px(bottom + 32.0)) { (self.x.1) }
        }
    }

    /// The upright and level parts of lines: no name is written across them.
    fn level_lines(&self, x: &Scale, y: &Scale) -> Vec<Rect> {
        let ends = self.lines.iter().flat_map(|line| line.through.windows(2));
        ends.map(|ends| {
            ends.iter()
                .map(|&(a, b)| (x.at(a), y.at(b)))
                .collect::<Vec<_>>()
        })
        .filter(|ends| ends[0].0 == ends[1].0 || ends[0].1 == ends[1].1)
        .map(|ends| {
            let (a, b) = (ends[0], ends[1]);
            [
                a.0.min(b.0),
                a.1.min(b.1) - 1.0,
                a.0.max(b.0) + 1.0,
                a.1.max(b.1),
            ]
        })
        .collect()
    }

    /// Names beside points, each at the first free place of eight.
    fn names(&self, x: &Scale, y: &Scale, frame: Rect) -> Markup {
        let mut taken: Vec<Rect> = (self.points.iter())
            .map(|p| square(x.at(p.x), y.at(p.y), p.radius))
            .collect();
        taken.extend(self.level_lines(x, y));
        let mut placed = Vec::new();
        for point in self.points.iter().filter(|p| !p.name.is_empty()) {
            let (px, py, r) = (x.at(point.x), y.at(point.y), point.radius + 3.0);
            let (w, h) = (text_width(&point.name, LETTERS), LETTERS);
            let places = [
                (px + r, py - h / 2.0),
                (px - r - w, py - h / 2.0),
                (px - w / 2.0, py - r - h),
                (px - w / 2.0, py + r),
                (px + 0.6 * r, py - r - 0.7 * h),
                (px + 0.6 * r, py + 0.7 * r),
                (px - 0.6 * r - w, py - r - 0.7 * h),
                (px - 0.6 * r - w, py + 0.7 * r),
            ];
            let rects = places.map(|(left, top)| [left, top, left + w, top + h]);
            let free = |rect: &&Rect| {
                let inside = rect[0] >= frame[0]
                    && rect[2] <= frame[2]
                    && rect[1] >= frame[1]
                    && rect[3] <= frame[3];
                inside && !taken.iter().any(|t| overlap(t, rect))
            };
            if let Some(rect) = rects.iter().find(free).copied() {
                taken.push(rect);
                placed.push((rect[0], rect[1] + 0.85 * h, &point.name));
            }
        }
        html! {
            @for (left, base, name) in placed {
                text class="small tag" x=(px(left)) y=(px(base)) { (name) }
            }
        }
    }
}

fn square(x: f64, y: f64, r: f64) -> Rect {
    [x - r, y - r, x + r, y + r]
}

fn overlap(a: &Rect, b: &Rect) -> bool {
    a[0] < b[2] && b[0] < a[2] && a[1] < b[3] && b[1] < a[3]
}

fn path(line: &Line, x: &Scale, y: &Scale) -> Markup {
    let places: Vec<String> = (line.through.iter())
        .map(|(a, b)| format!("{},{}", px(x.at(*a)), px(y.at(*b))))
        .collect();
    html! { polyline class=(line.class) points=(places.join(" ")) {} }
}

fn marker(point: &Point, x: &Scale, y: &Scale) -> Markup {
    let (left, top) = (x.at(point.x), y.at(point.y));
    html! {
        g {
            title { (point.told) }
            @if let Some(interval) = point.interval {
                line class="leader" x1=(px(left)) x2=(px(left)) y1=(px(y.at(interval.low))) y2=(px(y.at(interval.high))) {}
            }
            (point.mark.draw(left, top, point.radius))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::plot::Shape;

    fn scatter(places: &[(f64, f64)]) -> Scatter {
        let point = |(i, (x, y)): (usize, &(f64, f64))| Point {
            x: *x,
            y: *y,
            interval: None,
            mark: Mark {
                shape: Shape::Circle,
                colour: 0,
                fill: "",
            },
            radius: 5.0,
            name: format!("point{i}"),
            told: String::new(),
        };
        Scatter {
            points: places.iter().enumerate().map(point).collect(),
            lines: vec![],
            legend: vec![],
            x: (Scale::from_zero(10.0, (0.0, 1.0)), "x".into()),
            y: (Scale::from_zero(10.0, (0.0, 1.0)), "y".into()),
        }
    }

    fn named(places: &[(f64, f64)]) -> usize {
        let svg = scatter(places).draw(Width::Wide).body.into_string();
        svg.matches("tag").count()
    }

    #[test]
    fn points_are_named_while_there_is_room() {
        assert_eq!(named(&[(1.0, 1.0), (5.0, 5.0), (9.0, 9.0)]), 3);
        let crowd: Vec<_> = (0..100).map(|i| (5.0 + f64::from(i) * 1e-3, 5.0)).collect();
        assert!((1..30).contains(&named(&crowd)));
    }
}
