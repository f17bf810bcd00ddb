//! Markers: a shape and a colour that stand for a series or a family.

use maud::{Markup, html};

use super::{px, theme::PALETTE};

/// The form of a marker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Shape {
    Circle,
    Square,
    Triangle,
    Diamond,
    Down,
    Cross,
    Star,
    Hexagon,
    /// A short bar, for legends of bars.
    Bar,
}

/// A marker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Mark {
    /// Its form.
    pub(crate) shape: Shape,
    /// Its colour, a number of the palette.
    pub(crate) colour: usize,
    /// How it is filled: nothing, `level1`, `level2`, `hollow`, `see`.
    pub(crate) fill: &'static str,
}

impl Mark {
    /// The classes of what is drawn in the marker's colour and fill.
    pub(crate) fn class(&self) -> String {
        format!("mark f{} {}", self.colour % PALETTE, self.fill)
    }

    /// Around a point, as large as a circle of that radius.
    pub(crate) fn draw(&self, x: f64, y: f64, radius: f64) -> Markup {
        let class = self.class();
        let r = radius;
        match self.shape {
            Shape::Circle => html! { circle class=(class) cx=(px(x)) cy=(px(y)) r=(px(r)) {} },
            Shape::Bar => html! {
                rect class=(class) x=(px(x - 6.0)) y=(px(y - 5.0)) width="12" height="10" rx="1" {}
            },
            _ => html! { polygon class=(class) points=(self.points(x, y, r)) {} },
        }
    }

    /// The corners of a polygon with about the area of the circle.
    fn points(&self, x: f64, y: f64, r: f64) -> String {
        let ring = |n: usize, turn: f64, radius: &dyn Fn(usize) -> f64| -> Vec<(f64, f64)> {
            let corner = |i: usize| {
                let angle = (i as f64 / n as f64 + turn) * std::f64::consts::TAU;
                (radius(i) * angle.sin(), -radius(i) * angle.cos())
            };
            (0..n).map(corner).collect()
        };
        let corners = match self.shape {
            Shape::Square => ring(4, 0.125, &|_| 1.25 * r),
            Shape::Diamond => ring(4, 0.0, &|_| 1.25 * r),
            Shape::Triangle => ring(3, 0.0, &|_| 1.45 * r),
            Shape::Down => ring(3, 0.5, &|_| 1.45 * r),
            Shape::Star => ring(10, 0.0, &|i| if i % 2 == 0 { 1.5 * r } else { 0.65 * r }),
            Shape::Hexagon => ring(6, 0.0, &|_| 1.1 * r),
            Shape::Cross => {
                let (a, b) = (1.2 * r, 0.42 * r);
                let quarter = [(b, -a), (b, -b), (a, -b)];
                let turn = |(x, y): (f64, f64), n: usize| (0..n).fold((x, y), |(x, y), _| (-y, x));
                (0..4).flat_map(|n| quarter.map(|c| turn(c, n))).collect()
            }
            Shape::Circle | Shape::Bar => Vec::new(),
        };
        let text = corners
            .iter()
            .map(|(dx, dy)| format!("{},{}", px(x + dx), px(y + dy)));
        text.collect::<Vec<_>>().join(" ")
    }
}
