//! What a handful of durations says: medians and their exact intervals, quartiles, percentiles, the
//! fastest run.

use serde::{Deserialize, Serialize};

/// The confidence of every interval that slicewise states.
pub const CONFIDENCE: f64 = 0.95;

/// How many runs must lie beyond a percentile before it is stated: p90 needs 100 runs, p99 1000.
const RUNS_BEYOND: f64 = 10.0;

/// The smallest number of visits whose medians are taken as the sample. With fewer, every run is.
const VISITS_FOR_A_SAMPLE: usize = 5;

/// The value below which the fraction `q` of `values` lies, linear between neighbours (type 7 of
/// Hyndman and Fan 1996, NumPy's default). `None` for no values.
pub fn quantile(values: &[f64], q: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().checked_sub(1)?;
    let position = q.clamp(0.0, 1.0) * last as f64;
    let below = position.floor() as usize;
    let above = position.ceil() as usize;
    let weight = position - below as f64;
    Some(sorted[below] + (sorted[above] - sorted[below]) * weight)
}

/// The middle value, or the mean of the two in the middle. `None` for no values.
pub fn median(values: &[f64]) -> Option<f64> {
    quantile(values, 0.5)
}

/// Where a median lies, with [`CONFIDENCE`].
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Interval {
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

/// The interval of the median of the distribution that `values` are drawn from: the `k`-th smallest to
/// the `k`-th largest value, `k` as large as the binomial distribution allows. Exact for independent
/// values of any distribution, so that nothing is assumed about outliers. `None` where even the
/// smallest and the largest value do not reach `confidence`: below 6 values for 95 %.
pub fn median_interval(values: &[f64], confidence: f64) -> Option<Interval> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = interval_rank(sorted.len(), confidence)?;
    Some(Interval {
        low: sorted[rank],
        high: sorted[sorted.len() - 1 - rank],
    })
}

/// The position, from 0, of the interval's ends from either side of `n` sorted values.
fn interval_rank(n: usize, confidence: f64) -> Option<usize> {
    // The chance that at most `i` of n values lie below the median, summed in logarithms because
    // 2^-n underflows.
    let outside = (1.0 - confidence) / 2.0;
    let mut log_term = -(n as f64) * std::f64::consts::LN_2;
    let mut below = 0.0;
    let mut rank = None;
    for i in 0..n.div_ceil(2) {
        below += log_term.exp();
        if below > outside {
            break;
        }
        rank = Some(i);
        log_term += ((n - i) as f64 / (i + 1) as f64).ln();
    }
    rank
}

/// The percentiles of single runs. Those that too few runs support are `None`: at least ten runs must lie
/// beyond one.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Latency {
    /// Half of the runs are faster; from 20 runs.
    pub p50_ms: Option<f64>,
    /// Nine of ten runs are faster; from 100 runs.
    pub p90_ms: Option<f64>,
    /// 99 of 100 runs are faster; from 1000 runs.
    pub p99_ms: Option<f64>,
}

impl Latency {
    /// Of all runs, in milliseconds.
    pub fn of(runs: &[f64]) -> Latency {
        let percentile = |percent: u32| {
            let beyond = runs.len() as f64 * f64::from(100 - percent) / 100.0;
            match beyond >= RUNS_BEYOND {
                true => quantile(runs, f64::from(percent) / 100.0),
                false => None,
            }
        };
        Latency {
            p50_ms: percentile(50),
            p90_ms: percentile(90),
            p99_ms: percentile(99),
        }
    }
}

/// How long one run of an arm takes, in milliseconds.
///
/// Delays add to a run and never shorten it, so `min_ms` says what the machine can do, and the
/// median what one gets. A visit is a series of back-to-back runs; the medians of five or more visits
/// are the sample that median and quartiles are taken of, because runs of one visit share what
/// disturbed it. With fewer visits the sample is all runs.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Summary {
    /// The median of the sample.
    pub median_ms: f64,
    /// The fastest run of all.
    pub min_ms: f64,
    /// A quarter of the sample is faster.
    pub p25_ms: f64,
    /// A quarter of the sample is slower.
    pub p75_ms: f64,
    /// The number of visits.
    pub visits: usize,
    /// The number of runs in all visits.
    pub runs: usize,
}

impl Summary {
    /// Of the runs of each visit, in milliseconds. `None` if there was no run.
    pub fn of<V: AsRef<[f64]>>(visits: &[V]) -> Option<Summary> {
        let runs: Vec<f64> = visits.iter().flat_map(|v| v.as_ref()).copied().collect();
        let medians: Vec<f64> = visits.iter().filter_map(|v| median(v.as_ref())).collect();
        let sample = if medians.len() >= VISITS_FOR_A_SAMPLE {
            &medians
        } else {
            &runs
        };
        Some(Summary {
            median_ms: median(sample)?,
            min_ms: runs.iter().copied().min_by(f64::total_cmp)?,
            p25_ms: quantile(sample, 0.25)?,
            p75_ms: quantile(sample, 0.75)?,
            visits: medians.len(),
            runs: runs.len(),
        })
    }

    /// Images or volumes per second at the median, for `batch` of them in a run.
    pub fn per_second(&self, batch: usize) -> f64 {
        1000.0 * batch as f64 / self.median_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_computed_by_hand() {
        let cases: &[(&[f64], f64, Option<f64>)] = &[
            (&[], 0.5, None),
            (&[7.0], 0.25, Some(7.0)),
            (&[3.0, 1.0], 0.5, Some(2.0)),
            (&[3.0, 1.0, 2.0], 0.5, Some(2.0)),
            (&[4.0, 1.0, 3.0, 2.0], 0.25, Some(1.75)),
            (&[4.0, 1.0, 3.0, 2.0], 0.75, Some(3.25)),
            (&[10.0, 20.0, 30.0, 40.0, 50.0], 0.9, Some(46.0)),
            (&[1.0, 2.0], 0.0, Some(1.0)),
            (&[1.0, 2.0], 1.0, Some(2.0)),
        ];
        let wrong: Vec<_> = cases
            .iter()
            .filter(|(v, q, want)| quantile(v, *q) != *want)
            .map(|(v, q, want)| format!("{v:?} at {q}: {:?}, want {want:?}", quantile(v, *q)))
            .collect();
        assert!(wrong.is_empty(), "{wrong:#?}");
    }

    #[test]
    fn the_intervals_ranks_are_those_of_the_binomial_tables() {
        // The n and the rank (from 1) of the lower end at 95 % in any table of the sign test.
        let cases = [
            (5, None),
            (6, Some(1)),
            (8, Some(1)),
            (9, Some(2)),
            (11, Some(2)),
            (12, Some(3)),
            (15, Some(4)),
            (20, Some(6)),
            (25, Some(8)),
            (50, Some(18)),
            (100, Some(40)),
            (5000, Some(2431)),
        ];
        for (n, want) in cases {
            let rank = interval_rank(n, 0.95).map(|r| r + 1);
            assert_eq!(rank, want, "{n} values");
        }
        let i = median_interval(&[3.0, 1.0, 2.0, 6.0, 5.0, 4.0], 0.95).unwrap();
        assert_eq!((i.low, i.high), (1.0, 6.0));
        assert_eq!(median_interval(&[], 0.95), None);
    }

    #[test]
    fn a_percentile_is_stated_where_ten_runs_lie_beyond_it() {
        let runs = |n: usize| (0..n).map(|i| i as f64).collect::<Vec<_>>();
        let stated = |n: usize| {
            let l = Latency::of(&runs(n));
            (l.p50_ms.is_some(), l.p90_ms.is_some(), l.p99_ms.is_some())
        };
        assert_eq!(stated(19), (false, false, false));
        assert_eq!(stated(20), (true, false, false));
        assert_eq!(stated(99), (true, false, false));
        assert_eq!(stated(100), (true, true, false));
        assert_eq!(stated(999), (true, true, false));
        assert_eq!(stated(1000), (true, true, true));
        assert_eq!(Latency::of(&runs(101)).p90_ms, Some(90.0));
    }

    #[test]
    fn few_visits_are_summarised_by_all_their_runs() {
        let s = Summary::of(&[vec![4.0, 2.0], vec![3.0, 1.0]]).unwrap();
        assert_eq!(
            s,
            Summary {
                median_ms: 2.5,
                min_ms: 1.0,
                p25_ms: 1.75,
                p75_ms: 3.25,
                visits: 2,
                runs: 4
            }
        );
        assert_eq!(s.per_second(2), 800.0);
    }

    #[test]
    fn five_visits_are_summarised_by_their_medians() {
        // Medians 10, 11, 12, 13, 14; the run of 90 disturbs its own visit only.
        let visits = [
            vec![10.0, 9.0, 90.0],
            vec![14.0],
            vec![13.0, 13.0],
            vec![11.0],
            vec![12.0, 8.0, 16.0],
        ];
        let s = Summary::of(&visits).unwrap();
        assert_eq!((s.median_ms, s.p25_ms, s.p75_ms), (12.0, 11.0, 13.0));
        assert_eq!((s.min_ms, s.visits, s.runs), (8.0, 5, 10));
    }

    #[test]
    fn no_run_has_no_summary() {
        assert_eq!(Summary::of::<Vec<f64>>(&[]), None);
        assert_eq!(Summary::of(&[Vec::new()]), None);
    }
}
