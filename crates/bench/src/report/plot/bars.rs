//! Horizontal bars in clusters: one cluster a model, one bar an engine.

use maud::{Markup, html};

use super::{Drawing, Mark, Scale, Shape, Width, legend, px, shortened, text_width, tick_text};
use crate::statistics::Interval;

/// One figure.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Bar {
    /// Its series, an index.
    pub(crate) series: usize,
    /// The figure.
    pub(crate) value: f64,
    /// Its interval.
    pub(crate) interval: Option<Interval>,
    /// The figure as it is written beside the bar.
    pub(crate) text: String,
    /// What a pointer that rests on it is told.
    pub(crate) told: String,
}

/// Figures that belong together.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Cluster {
    /// What they are of.
    pub(crate) label: String,
    /// The figures, in the order of their series.
    pub(crate) bars: Vec<Bar>,
}

/// A chart of bars.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Bars {
    /// What the series are.
    pub(crate) series: Vec<(Mark, String)>,
    /// The clusters, from top to bottom.
    pub(crate) clusters: Vec<Cluster>,
    /// What is measured, with its unit.
    pub(crate) axis: String,
    /// A value that the others are compared with.
    pub(crate) base: Option<f64>,
}

/// Bars beyond which each cluster becomes a line of markers.
const MOST: usize = 64;
const THICK: f64 = 13.0;
const STEP: f64 = 16.0;
const LETTERS: f64 = 12.0;

/// The places in a chart.
struct Layout {
    /// Pixels that the labels take, and whether each has a line of its own instead.
    labels: f64,
    above: bool,
    dense: bool,
    scale: Scale,
    /// The right end of the bars' field.
    end: f64,
}

impl Bars {
    /// Whether there is nothing to draw.
    pub(crate) fn is_empty(&self) -> bool {
        self.clusters.iter().all(|c| c.bars.is_empty())
    }

    /// Draws the chart.
    pub(crate) fn draw(&self, width: Width) -> Drawing {
        let (entries, top) = match self.series.len() {
            0 | 1 => legend(&[], 0.0),
            _ => legend(&self.legend(), width.pixels()),
        };
        let layout = self.layout(width);
        let mut y = top + 6.0;
        let mut rows = Vec::new();
        for cluster in &self.clusters {
            let (markup, height) = self.cluster(cluster, &layout, y);
            rows.push(markup);
            y += height;
        }
        let axis = self.axis(&layout, top + 2.0, y, width.pixels());
        Drawing {
            width: width.pixels(),
            height: y + 40.0,
            body: html! { (entries) (axis) @for row in &rows { (row) } },
        }
    }

    fn is_dense(&self) -> bool {
        self.series.len() > 1 && self.clusters.iter().map(|c| c.bars.len()).sum::<usize>() > MOST
    }

    /// The markers of the series that are drawn; those of bars are bars.
    fn legend(&self) -> Vec<(Mark, String)> {
        let dense = self.is_dense();
        let mark = |i: usize, m: &Mark| {
            if dense {
                dot(i, m)
            } else {
                Mark {
                    shape: Shape::Bar,
                    ..*m
                }
            }
        };
        let drawn = |i: usize| {
            self.clusters
                .iter()
                .any(|c| c.bars.iter().any(|b| b.series == i))
        };
        let entries = self.series.iter().enumerate().filter(|(i, _)| drawn(*i));
        entries
            .map(|(i, (m, name))| (mark(i, m), name.clone()))
            .collect()
    }

    fn layout(&self, width: Width) -> Layout {
        let above = width.is_narrow();
        let dense = self.is_dense();
        let longest = |texts: &mut dyn Iterator<Item = &str>| {
            texts.map(|t| text_width(t, LETTERS)).fold(0.0, f64::max)
        };
        let labels = match above {
            true => 0.0,
            false => longest(&mut self.clusters.iter().map(|c| &*c.label)).min(270.0) + 10.0,
        };
        let bars = || self.clusters.iter().flat_map(|c| &c.bars);
        let texts = match dense {
            true => 0.0,
            false => longest(&mut bars().map(|b| &*b.text)),
        };
        let most = bars()
            .map(|b| b.interval.map_or(b.value, |i| i.high.max(b.value)))
            .chain(self.base)
            .fold(0.0, f64::max);
        let end = width.pixels() - texts - 12.0;
        Layout {
            labels,
            above,
            dense,
            scale: Scale::from_zero(most, (labels, end)),
            end,
        }
    }

    fn cluster(&self, cluster: &Cluster, layout: &Layout, y: f64) -> (Markup, f64) {
        let head = if layout.above { 17.0 } else { 0.0 };
        let rows = if layout.dense { 1 } else { cluster.bars.len() };
        let body = rows as f64 * STEP;
        let label = match layout.above {
            true => {
                html! { text class="strong" x="0" y=(px(y + 11.0)) { (shortened(&cluster.label, LETTERS, layout.end)) } }
            }
            false => html! {
                text class="end" x=(px(layout.labels - 8.0)) y=(px(y + body / 2.0 + 3.0)) {
                    (shortened(&cluster.label, LETTERS, layout.labels - 8.0))
                }
            },
        };
        let line = |i: usize| y + head + if layout.dense { 0.0 } else { i as f64 * STEP };
        let markup = html! {
            (label)
            @for (i, bar) in cluster.bars.iter().enumerate() {
                @if layout.dense { (self.dot(bar, layout, line(i))) } @else { (self.bar(bar, layout, line(i))) }
            }
        };
        let gap = if rows > 1 { 11.0 } else { 3.0 };
        (markup, head + body + gap)
    }

    fn bar(&self, bar: &Bar, layout: &Layout, y: f64) -> Markup {
        let class = self
            .series
            .get(bar.series)
            .map(|(m, _)| m.class())
            .unwrap_or_default();
        let start = layout.scale.at(0.0);
        let length = (layout.scale.at(bar.value) - start).max(1.0);
        let reach = bar
            .interval
            .map_or(0.0, |i| layout.scale.at(i.high))
            .max(start + length);
        html! {
            g {
                title { (bar.told) }
                rect class=(class) x=(px(start)) y=(px(y)) width=(px(length)) height=(px(THICK)) {}
                @if let Some(interval) = bar.interval { (whisker(&layout.scale, interval, y + THICK / 2.0)) }
                text class="small tag" x=(px(reach + 6.0)) y=(px(y + 10.5)) { (bar.text) }
            }
        }
    }

    fn dot(&self, bar: &Bar, layout: &Layout, y: f64) -> Markup {
        let Some((mark, _)) = self.series.get(bar.series) else {
            return html! {};
        };
        let middle = y + THICK / 2.0;
        html! {
            g {
                title { (bar.told) }
                @if let Some(interval) = bar.interval { (whisker(&layout.scale, interval, middle)) }
                (dot(bar.series, mark).draw(layout.scale.at(bar.value), middle, 4.5))
            }
        }
    }

    fn axis(&self, layout: &Layout, top: f64, bottom: f64, width: f64) -> Markup {
        let count = ((layout.end - layout.labels) / 70.0) as usize;
        let ticks = layout.scale.ticks(count.clamp(2, 8));
        html! {
            @for tick in &ticks {
                @let x = layout.scale.at(*tick);
                line class=(if *tick == 0.0 { "axis" } else { "grid" }) x1=(px(x)) x2=(px(x)) y1=(px(top)) y2=(px(bottom)) {}
                text class={ "soft small " (if *tick == 0.0 { "" } else { "mid" }) } x=(px(x)) y=(px(bottom + 15.0)) { (tick_text(*tick)) }
            }
            @if let Some(base) = self.base {
                @let x = layout.scale.at(base);
                line class="whisker" x1=(px(x)) x2=(px(x)) y1=(px(top)) y2=(px(bottom)) {}
            }
            text class="soft small" x=(px(layout.labels)) y=(px(bottom + 31.0)) { (shortened(&self.axis, 11.0, width - layout.labels)) }
        }
    }
}

/// The marker that a series has on lines of markers: told apart by its shape, too.
fn dot(series: usize, mark: &Mark) -> Mark {
    const SHAPES: [Shape; 6] = [
        Shape::Circle,
        Shape::Square,
        Shape::Diamond,
        Shape::Triangle,
        Shape::Down,
        Shape::Hexagon,
    ];
    Mark {
        shape: SHAPES[series % SHAPES.len()],
        ..*mark
    }
}

fn whisker(scale: &Scale, interval: Interval, y: f64) -> Markup {
    let (a, b) = (scale.at(interval.low), scale.at(interval.high));
    let path = format!(
        "M{a},{y} H{b} M{a},{up} V{down} M{b},{up} V{down}",
        a = px(a),
        b = px(b),
        y = px(y),
        up = px(y - 3.0),
        down = px(y + 3.0)
    );
    html! { path class="whisker" d=(path) {} }
}
