//! Which of several things no other one beats in everything.

/// What is compared: figures of which more is better, all in the same order. `None` is not known.
pub type Merits = Vec<Option<f64>>;

/// Whether `a` is at least as good as `b` in everything and better in something. What is unknown on
/// either side decides nothing, but something has to be known of both.
pub fn dominates(a: &Merits, b: &Merits) -> bool {
    let mut better = false;
    for (a, b) in a.iter().zip(b) {
        if let (Some(a), Some(b)) = (a, b) {
            if a < b {
                return false;
            }
            better |= a > b;
        }
    }
    better
}

/// The indices of those that nothing dominates, in the order given.
pub fn front(merits: &[Merits]) -> Vec<usize> {
    let beaten = |i: usize| merits.iter().any(|other| dominates(other, &merits[i]));
    (0..merits.len()).filter(|&i| !beaten(i)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_front_is_what_nothing_beats_in_everything() {
        let of = |values: &[[f64; 2]]| -> Vec<Merits> {
            values
                .iter()
                .map(|v| v.iter().copied().map(Some).collect())
                .collect()
        };
        let cases: &[(&[[f64; 2]], &[usize])] = &[
            (&[], &[]),
            (&[[1.0, 1.0]], &[0]),
            (
                &[[1.0, 3.0], [2.0, 2.0], [3.0, 1.0], [1.0, 1.0]],
                &[0, 1, 2],
            ),
            (&[[2.0, 2.0], [2.0, 2.0]], &[0, 1]),
            (&[[2.0, 2.0], [2.0, 3.0]], &[1]),
        ];
        for (values, want) in cases {
            assert_eq!(front(&of(values)), *want, "{values:?}");
        }
    }

    #[test]
    fn what_is_unknown_decides_nothing() {
        let known = vec![Some(2.0), Some(1.0)];
        assert!(dominates(&known, &vec![Some(1.0), None]));
        assert!(!dominates(&vec![None, None], &known));
        assert!(!dominates(&known, &vec![None, None]));
    }
}
