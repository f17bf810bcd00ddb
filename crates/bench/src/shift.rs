//! How far apart two samples lie that are not pairs: the estimate of Hodges and Lehmann with the exact
//! interval of Mann and Whitney's test.

use crate::statistics::{Interval, median};

/// Above this many differences the normal distribution stands in for the exact one.
const MOST_EXACT: usize = 100_000;

/// How far `to` lies above `from`, and where that distance lies with `confidence`. The estimate is the median
/// of all differences between a value of one and a value of the other; the interval reaches from the
/// `c`-th smallest to the `c`-th largest of them. Exact for independent values of any distribution. The
/// interval is `None` where all differences together do not reach `confidence`; `None` for no values.
pub fn shift(from: &[f64], to: &[f64], confidence: f64) -> Option<(f64, Option<Interval>)> {
    let mut differences: Vec<f64> = to
        .iter()
        .flat_map(|t| from.iter().map(move |f| t - f))
        .collect();
    differences.sort_by(f64::total_cmp);
    let middle = median(&differences)?;
    let rank = rank(from.len(), to.len(), confidence);
    let interval = rank.map(|rank| Interval {
        low: differences[rank],
        high: differences[differences.len() - 1 - rank],
    });
    Some((middle, interval))
}

/// The position, from 0, of the interval's ends from either side of the `n * m` sorted differences.
fn rank(n: usize, m: usize, confidence: f64) -> Option<usize> {
    let outside = (1.0 - confidence) / 2.0;
    if n.saturating_mul(m) > MOST_EXACT {
        return Some(normal_rank(n, m, confidence));
    }
    let ways = ways(n, m);
    let all: f64 = ways.iter().sum();
    let mut below = 0.0;
    let mut rank = None;
    for (u, ways) in ways.iter().enumerate() {
        below += ways / all;
        if below > outside {
            break;
        }
        rank = Some(u);
    }
    rank
}

/// In how many orders of `n` and `m` values Mann and Whitney's U is 0, 1, …: the coefficients of
/// the Gaussian binomial, a product of (1 - q^(m+i)) / (1 - q^i) for i from 1 to n.
fn ways(n: usize, m: usize) -> Vec<f64> {
    let mut ways = vec![0.0; n * m + 1];
    ways[0] = 1.0;
    for i in 1..=n {
        for u in (m + i..ways.len()).rev() {
            ways[u] -= ways[u - m - i];
        }
        for u in i..ways.len() {
            ways[u] += ways[u - i];
        }
    }
    ways
}

fn normal_rank(n: usize, m: usize, confidence: f64) -> usize {
    let (n, m) = (n as f64, m as f64);
    // The normal quantile of 95 %, or of 99 % for anything stricter.
    let z = if confidence > 0.95 { 2.5758 } else { 1.96 };
    let spread = (n * m * (n + m + 1.0) / 12.0).sqrt();
    (n * m / 2.0 - z * spread - 0.5).max(0.0) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_those_of_the_tables_of_mann_and_whitney() {
        // Critical values of U, two-sided at 5 %.
        let cases = [
            (3, 3, None),
            (4, 4, Some(0)),
            (5, 5, Some(2)),
            (6, 9, Some(10)),
            (10, 10, Some(23)),
            (15, 15, Some(64)),
            (20, 20, Some(127)),
        ];
        for (n, m, want) in cases {
            assert_eq!(rank(n, m, 0.95), want, "{n} and {m} values");
            assert_eq!(rank(m, n, 0.95), want, "{m} and {n} values");
        }
    }

    #[test]
    fn many_values_are_ranked_as_the_exact_distribution_does() {
        let exact = rank(60, 60, 0.95).unwrap();
        let normal = normal_rank(60, 60, 0.95);
        assert!(exact.abs_diff(normal) <= 2, "{exact} {normal}");
        assert!(rank(400, 400, 0.95).is_some());
    }

    #[test]
    fn a_shift_is_the_median_difference() {
        let from = [1.0, 2.0, 3.0, 4.0, 5.0];
        let to: Vec<f64> = from.iter().map(|x| x + 10.0).collect();
        let (middle, interval) = shift(&from, &to, 0.95).unwrap();
        assert_eq!(middle, 10.0);
        let i = interval.unwrap();
        assert_eq!((i.low, i.high), (7.0, 13.0));
        assert_eq!(shift(&[], &to, 0.95), None);
        assert_eq!(shift(&from[..2], &to[..2], 0.95).unwrap().1, None);
    }
}
