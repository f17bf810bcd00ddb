//! From figures to places along an axis.

/// How an axis is divided.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// Equal differences are equally far.
    Linear,
    /// Equal ratios are equally far.
    Log,
}

/// An axis: the values that it spans, and the places of its ends.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Scale {
    kind: Kind,
    domain: (f64, f64),
    range: (f64, f64),
}

/// A ratio of the ends from which on a logarithmic axis shows more than a linear one.
const WIDE: f64 = 6.0;

/// Beyond these a logarithmic axis does not go: what it is drawn from has to stay a number.
const SMALLEST: f64 = 1e-200;
const LARGEST: f64 = 1e200;

impl Scale {
    /// From zero to `most`.
    pub(crate) fn from_zero(most: f64, range: (f64, f64)) -> Scale {
        let most = match most > 0.0 && most.is_finite() {
            true => most.clamp(SMALLEST, LARGEST),
            false => 1.0,
        };
        Scale {
            kind: Kind::Linear,
            domain: (0.0, most),
            range,
        }
    }

    /// Around positive values, with some room on both sides: logarithmic if they span a wide range,
    /// else from zero.
    pub(crate) fn around(values: impl Iterator<Item = f64> + Clone, range: (f64, f64)) -> Scale {
        let least = values.clone().fold(f64::INFINITY, f64::min);
        let most = values.fold(0.0, f64::max);
        if most > WIDE * least {
            Scale::log((least, most), range)
        } else {
            Scale::from_zero(1.12 * most, range)
        }
    }

    /// Logarithmic around two positive values, with some room on both sides.
    pub(crate) fn log((least, most): (f64, f64), range: (f64, f64)) -> Scale {
        let valid = least > 0.0 && most.is_finite() && least <= most;
        let (least, most) = match valid {
            true => (
                least.clamp(SMALLEST, LARGEST),
                most.clamp(SMALLEST, LARGEST),
            ),
            false => (1.0, 10.0),
        };
        // One that spans almost nothing gets a factor of two on either side.
        let span = most.ln() - least.ln();
        let room = (0.08 * span).max(if span < 0.4 { 0.7 } else { 0.14 }).exp();
        Scale {
            kind: Kind::Log,
            domain: ((least / room).max(SMALLEST), (most * room).min(LARGEST)),
            range,
        }
    }

    /// The same values between other ends.
    pub(crate) fn with_range(self, range: (f64, f64)) -> Scale {
        Scale { range, ..self }
    }

    /// The ends of what it spans.
    pub(crate) fn domain(&self) -> (f64, f64) {
        self.domain
    }

    /// The place of a value; what is beyond an end is at that end.
    pub(crate) fn at(&self, value: f64) -> f64 {
        let (a, b) = self.domain;
        let part = match self.kind {
            Kind::Linear => (value - a) / (b - a),
            Kind::Log => (value.max(a) / a).ln() / (b / a).ln(),
        };
        self.range.0 + part.clamp(0.0, 1.0) * (self.range.1 - self.range.0)
    }

    /// Round values along the axis, about `count` of them or fewer.
    pub(crate) fn ticks(&self, count: usize) -> Vec<f64> {
        let (a, b) = self.domain;
        let inside = |v: &f64| *v >= a * (1.0 - 1e-9) && *v <= b * (1.0 + 1e-9);
        if self.kind == Kind::Log {
            let decades = (a.log10().floor() as i32, b.log10().ceil() as i32);
            for steps in [&[1.0, 2.0, 5.0][..], &[1.0, 3.0], &[1.0]] {
                let all = (decades.0..=decades.1)
                    .flat_map(|d| steps.iter().map(move |s| s * 10f64.powi(d)));
                let ticks: Vec<f64> = all.filter(inside).collect();
                if ticks.len() <= count && ticks.len() > 1 {
                    return ticks;
                }
            }
        }
        let step = round_step((b - a) / count.max(1) as f64);
        let first = (a / step).ceil() as i64;
        (first..first.saturating_add(count as i64 + 1))
            .map(|i| i as f64 * step)
            .filter(inside)
            .collect()
    }
}

/// 1, 2 or 5 times a power of ten, at least as large as asked.
fn round_step(least: f64) -> f64 {
    if !(least.is_finite() && least > 0.0) {
        return 1.0;
    }
    let unit = 10f64.powf(least.log10().floor());
    let step = [1.0, 2.0, 5.0]
        .into_iter()
        .find(|s| s * unit >= least * (1.0 - 1e-9));
    step.unwrap_or(10.0) * unit
}

/// A tick's number without needless zeros.
pub(crate) fn tick_text(value: f64) -> String {
    let text = match value.abs() {
        v if v >= 1e9 => return format!("{value:.0e}"),
        v if v >= 1e6 => return format!("{}M", tick_text(value / 1e6)),
        v if v >= 1e4 => return format!("{}k", tick_text(value / 1e3)),
        v if v >= 10.0 => format!("{value:.0}"),
        v if v >= 1.0 => format!("{value:.1}"),
        0.0 => return "0".into(),
        _ => format!("{value:.3}"),
    };
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_few() {
        let cases: &[(Scale, usize, &[f64])] = &[
            (
                Scale::from_zero(100.0, (0.0, 1.0)),
                5,
                &[0.0, 20.0, 40.0, 60.0, 80.0, 100.0],
            ),
            (Scale::from_zero(7.3, (0.0, 1.0)), 4, &[0.0, 2.0, 4.0, 6.0]),
            (
                Scale::log((2.0, 30.0), (0.0, 1.0)),
                6,
                &[2.0, 5.0, 10.0, 20.0],
            ),
            (
                Scale::log((1.0, 1e4), (0.0, 1.0)),
                6,
                &[1.0, 10.0, 100.0, 1e3, 1e4],
            ),
        ];
        for (scale, count, want) in cases {
            assert_eq!(scale.ticks(*count), *want, "{scale:?}");
        }
    }

    #[test]
    fn values_land_between_the_ends() {
        let linear = Scale::from_zero(10.0, (100.0, 0.0));
        assert_eq!(
            (linear.at(0.0), linear.at(5.0), linear.at(20.0)),
            (100.0, 50.0, 0.0)
        );
        let log = Scale::log((1.0, 100.0), (0.0, 100.0));
        assert!((log.at(10.0) - 50.0).abs() < 1e-9);
        assert_eq!(log.at(0.0), 0.0);
    }

    #[test]
    fn absurd_values_have_an_axis_all_the_same() {
        for scale in [
            Scale::from_zero(f64::NAN, (0.0, 1.0)),
            Scale::from_zero(0.0, (0.0, 1.0)),
            Scale::log((0.0, 0.0), (0.0, 1.0)),
            Scale::log((5.0, 5.0), (0.0, 1.0)),
            Scale::log((1e-300, 1e300), (0.0, 1.0)),
            Scale::around(std::iter::empty(), (0.0, 1.0)),
        ] {
            assert!(scale.ticks(6).len() < 30, "{scale:?}");
            assert!(scale.at(3.0).is_finite(), "{scale:?}");
        }
    }

    #[test]
    fn numbers_on_an_axis_are_short() {
        let cases = [
            (0.0, "0"),
            (0.5, "0.5"),
            (2.0, "2"),
            (2.5, "2.5"),
            (1000.0, "1000"),
            (20_000.0, "20k"),
            (3e6, "3M"),
            (2e12, "2e12"),
            (f64::INFINITY, "inf"),
        ];
        for (value, want) in cases {
            assert_eq!(tick_text(value), want);
        }
    }
}
