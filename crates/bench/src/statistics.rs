//! What a handful of durations says: medians, quartiles, the fastest run.

use serde::{Deserialize, Serialize};

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

/// How long one run of an arm takes, in milliseconds.
///
/// Delays add to a run and never shorten it, so `min_ms` says what the machine can do, and the
/// median what one gets. A visit is a series of back-to-back runs; the medians of five or more visits
/// are the sample that median and quartiles are taken of, because runs of one visit share what
/// disturbed it. With fewer visits the sample is all runs.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
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
