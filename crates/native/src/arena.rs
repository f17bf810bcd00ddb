//! Places in the arena: values that are never needed at the same time share memory.

/// Regions start on a cache line.
const ALIGN: usize = 64;

/// A block of memory that one value, or several that overwrite each other in place, live in.
#[derive(Clone, Debug)]
pub(crate) struct Storage {
    pub(crate) bytes: usize,
    /// The first and the last step that use it.
    pub(crate) first: usize,
    pub(crate) last: usize,
    /// The storage that it is a part of, and where it begins there.
    pub(crate) within: Option<(usize, usize)>,
    /// Where it was put.
    pub(crate) offset: usize,
}

/// Gives every storage an offset, the largest first, each at the lowest place that is free during
/// its life; parts lie where their whole does. Returns the arena's size.
pub(crate) fn place(storages: &mut [Storage]) -> usize {
    let mut order: Vec<usize> = (0..storages.len())
        .filter(|&i| storages[i].within.is_none())
        .collect();
    order.sort_by_key(|&i| (std::cmp::Reverse(storages[i].bytes), storages[i].first));
    let mut placed: Vec<usize> = Vec::new();
    let mut end = 0;
    for i in order {
        let this = &storages[i];
        // Regions in use during this life, by offset.
        let mut taken: Vec<(usize, usize)> = placed
            .iter()
            .map(|&j| &storages[j])
            .filter(|other| other.first <= this.last && this.first <= other.last)
            .map(|other| (other.offset, other.offset + other.bytes))
            .collect();
        taken.sort_unstable();
        let mut offset = 0;
        for (from, to) in taken {
            if offset + this.bytes <= from {
                break;
            }
            offset = offset.max(to.next_multiple_of(ALIGN));
        }
        end = end.max(offset + this.bytes);
        storages[i].offset = offset;
        placed.push(i);
    }
    for i in 0..storages.len() {
        let (mut whole, mut offset) = (i, 0);
        while let Some((outer, at)) = storages[whole].within {
            (whole, offset) = (outer, offset + at);
        }
        storages[i].offset = storages[whole].offset + offset;
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn storages_that_live_together_do_not_overlap_and_others_share() {
        let lives = [
            (100, 0, 1),
            (200, 1, 2),
            (100, 2, 3),
            (64, 0, 3),
            (1, 3, 4),
            (300, 4, 4),
        ];
        let mut storages: Vec<Storage> = lives
            .iter()
            .map(|&(bytes, first, last)| Storage {
                bytes,
                first,
                last,
                within: None,
                offset: 0,
            })
            .collect();
        let size = place(&mut storages);
        for (i, a) in storages.iter().enumerate() {
            assert_eq!(a.offset % ALIGN, 0);
            assert!(a.offset + a.bytes <= size);
            for b in &storages[..i] {
                let together = a.first <= b.last && b.first <= a.last;
                let apart = a.offset + a.bytes <= b.offset || b.offset + b.bytes <= a.offset;
                assert!(apart || !together, "{a:?} and {b:?}");
            }
        }
        assert!(size < lives.iter().map(|l| l.0).sum(), "{size}");
    }
}
