//! In which order a round visits its arms.

/// One visit of a round.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Turn {
    /// The arm.
    pub(super) arm: usize,
    /// Whether it is the reference arm's second visit.
    pub(super) control: bool,
}

/// The visits of round `round`, from 0. Each round begins with another arm; when each has been the
/// first, the order is turned round, so that no arm always follows the same one and a steady drift
/// cancels out. The reference is visited twice, half a round apart, which is as far as the other arms are
/// from it on average; the two change places every round.
pub(super) fn turns(round: usize, active: &[usize], reference: Option<usize>) -> Vec<Turn> {
    let mut arms = active.to_vec();
    if let Some(reference) = reference
        && !arms.contains(&reference)
    {
        arms.push(reference);
        arms.sort_unstable();
    }
    let n = arms.len().max(1);
    arms.rotate_left(round % n);
    if round / n % 2 == 1 {
        arms.reverse();
    }
    let of = |arm: usize, control: bool| Turn { arm, control };
    let mut turns: Vec<Turn> = arms.iter().map(|&arm| of(arm, false)).collect();
    if let Some(one) = turns.iter().position(|t| Some(t.arm) == reference) {
        let half = arms.len() / 2;
        // The two visits' places: the second is behind the first where there is room.
        let (one, other) = match one + half < arms.len() {
            true => (one, one + half + 1),
            false => (one + 1, one - half),
        };
        turns.insert(other, turns[if one < other { one } else { one - 1 }]);
        let is_control = if round.is_multiple_of(2) {
            one.max(other)
        } else {
            one.min(other)
        };
        turns[is_control].control = true;
    }
    turns
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Arms as letters, the second visit of the reference in upper case.
    fn text(round: usize, arms: &[usize], reference: Option<usize>) -> String {
        turns(round, arms, reference)
            .into_iter()
            .map(|t| {
                let letter = char::from(b'a' + t.arm as u8);
                match t.control {
                    true => letter.to_ascii_uppercase(),
                    false => letter,
                }
            })
            .collect()
    }

    #[test]
    fn rounds_rotate_turn_and_hold_the_reference_twice() {
        let rounds = |reference| {
            (0..4)
                .map(|r| text(r, &[0, 1, 2], reference))
                .collect::<Vec<_>>()
        };
        assert_eq!(rounds(None), ["abc", "bca", "cab", "cba"]);
        assert_eq!(rounds(Some(0)), ["abAc", "bAca", "cabA", "cAba"]);
        assert_eq!(text(0, &[0], Some(0)), "aA");
        assert_eq!(text(1, &[0], Some(0)), "Aa");
        assert_eq!(text(1, &[0, 1], Some(0)), "Aba");
        assert_eq!(text(0, &[2], Some(0)), "acA", "the reference comes along");
        assert_eq!(text(3, &[], None), "");
    }

    #[test]
    fn the_two_visits_of_the_reference_lie_half_a_round_apart() {
        for n in 1..14 {
            let arms: Vec<usize> = (0..n).collect();
            for round in 0..4 * n {
                let turns = turns(round, &arms, Some(0));
                assert_eq!(turns.len(), n + 1);
                let at: Vec<_> = (0..=n).filter(|&i| turns[i].arm == 0).collect();
                let [one, two] = at[..] else {
                    panic!("{n} arms, round {round}: {turns:?}")
                };
                assert_eq!(two - one, n / 2 + 1, "{n} arms, round {round}");
                assert_eq!(turns[two].control, round % 2 == 0);
                assert!(turns[one].control != turns[two].control);
            }
        }
    }
}
