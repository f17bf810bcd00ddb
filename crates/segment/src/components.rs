//! Pieces of classes: only the largest kept, holes filled. Voxels are neighbours where they share a face
//! (6 in all), as in scipy's default.

use std::collections::BTreeSet;

/// Runs of equal keys along i, joined to pieces.
struct Pieces {
    /// Begin of each run, in voxels; a run ends where the next begins.
    begins: Vec<usize>,
    parents: Vec<u32>,
}

impl Pieces {
    /// The pieces of equal `key` in a volume of `size`, i fastest.
    fn of<T: PartialEq>(size: [usize; 3], key: impl Fn(usize) -> T) -> Pieces {
        let [ni, nj, nk] = size;
        let mut pieces = Pieces {
            begins: Vec::new(),
            parents: Vec::new(),
        };
        // The first run of every row.
        let mut rows = Vec::with_capacity(nj * nk + 1);
        for row in 0..nj * nk {
            rows.push(pieces.begins.len());
            for at in row * ni..(row + 1) * ni {
                if at == row * ni || key(at) != key(at - 1) {
                    pieces.parents.push(pieces.begins.len() as u32);
                    pieces.begins.push(at);
                }
            }
        }
        rows.push(pieces.begins.len());
        pieces.begins.push(ni * nj * nk);
        for row in 0..nj * nk {
            if row % nj > 0 {
                pieces.join_rows(&rows, row, row - 1, ni, &key);
            }
            if row >= nj {
                pieces.join_rows(&rows, row, row - nj, ni, &key);
            }
        }
        pieces
    }

    /// Joins the runs of two rows that touch.
    fn join_rows<T: PartialEq>(
        &mut self,
        rows: &[usize],
        a: usize,
        b: usize,
        ni: usize,
        key: &impl Fn(usize) -> T,
    ) {
        let (mut x, mut y) = (rows[a], rows[b]);
        while x < rows[a + 1] && y < rows[b + 1] {
            if key(self.begins[x]) == key(self.begins[y]) {
                self.join(x as u32, y as u32);
            }
            let end = |run: usize, row: usize| self.begins[run + 1] - row * ni;
            match end(x, a).cmp(&end(y, b)) {
                std::cmp::Ordering::Less => x += 1,
                std::cmp::Ordering::Greater => y += 1,
                std::cmp::Ordering::Equal => {
                    x += 1;
                    y += 1;
                }
            }
        }
    }

    fn root(&mut self, mut run: u32) -> u32 {
        while self.parents[run as usize] != run {
            let up = self.parents[run as usize];
            self.parents[run as usize] = self.parents[up as usize];
            run = up;
        }
        run
    }

    fn join(&mut self, a: u32, b: u32) {
        let (a, b) = (self.root(a), self.root(b));
        // The earlier run is the root, so that a piece is known by its first voxel.
        self.parents[a.max(b) as usize] = a.min(b);
    }

    /// Every run: its piece, its first voxel and the one after its last.
    fn runs(&mut self) -> Vec<(u32, usize, usize)> {
        let roots: Vec<u32> = (0..self.parents.len() as u32)
            .map(|r| self.root(r))
            .collect();
        let ends = self.begins.windows(2);
        roots
            .into_iter()
            .zip(ends)
            .map(|(root, w)| (root, w[0], w[1]))
            .collect()
    }
}

/// Keeps of each of `classes` its largest piece, the first of several that are as large; the rest becomes
/// background.
pub(crate) fn keep_largest<T>(size: [usize; 3], labels: &mut [T], classes: &BTreeSet<u16>)
where
    T: Copy + PartialEq + Into<u16> + Default,
{
    let mut pieces = Pieces::of(size, |at| labels[at]);
    let runs = pieces.runs();
    let mut voxels = vec![0usize; runs.len()];
    for &(piece, begin, end) in &runs {
        voxels[piece as usize] += end - begin;
    }
    let mut largest = std::collections::BTreeMap::new();
    for &(piece, begin, _) in &runs {
        let label: u16 = labels[begin].into();
        if label > 0 && classes.contains(&label) {
            let best = largest.entry(label).or_insert(piece);
            let larger = (voxels[piece as usize], *best) > (voxels[*best as usize], piece);
            if larger {
                *best = piece;
            }
        }
    }
    for &(piece, begin, end) in &runs {
        let label: u16 = labels[begin].into();
        if largest.get(&label).is_some_and(|best| *best != piece) {
            labels[begin..end].fill(T::default());
        }
    }
}

/// Fills the holes of each of `classes`: background that the class encloses becomes the class. Other
/// classes are no holes, and what they fill up is not overwritten.
pub(crate) fn fill_holes<T>(size: [usize; 3], labels: &mut [T], classes: &BTreeSet<u16>)
where
    T: Copy + PartialEq + Into<u16> + Default,
{
    let [ni, nj, nk] = size;
    for &class in classes.iter().filter(|c| **c > 0) {
        let of = |label: T| Into::<u16>::into(label) == class;
        let Some(&filler) = labels.iter().find(|l| of(**l)) else {
            continue;
        };
        let mut pieces = Pieces::of(size, |at| of(labels[at]));
        let runs = pieces.runs();
        let mut open = vec![false; runs.len()];
        for &(piece, begin, end) in &runs {
            let (i, j, k) = (begin % ni, begin / ni % nj, begin / (ni * nj));
            let last = (end - 1) % ni;
            let border = i == 0 || last == ni - 1 || j == 0 || j == nj - 1 || k == 0 || k == nk - 1;
            open[piece as usize] |= border;
        }
        for &(piece, begin, end) in &runs {
            if !open[piece as usize] {
                let background = labels[begin..end]
                    .iter_mut()
                    .filter(|l| **l == T::default());
                background.for_each(|l| *l = filler);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A volume of digits, a text per slice, a line per row.
    fn volume(slices: &[&str]) -> ([usize; 3], Vec<u8>) {
        let rows: Vec<&str> = slices[0].split_whitespace().collect();
        let size = [rows[0].len(), rows.len(), slices.len()];
        let digits = slices.iter().flat_map(|s| s.bytes());
        (
            size,
            digits
                .filter(u8::is_ascii_digit)
                .map(|b| b - b'0')
                .collect(),
        )
    }

    #[test]
    fn the_largest_piece_is_kept_and_other_classes_are_left_alone() {
        let (size, mut labels) = volume(&[
            "11020 10000 00001",
            "00022 00000 11001",
            "00020 00000 01101",
        ]);
        keep_largest(size, &mut labels, &BTreeSet::from([1]));
        // Voxels that touch at an edge only are different pieces.
        let want = volume(&[
            "00020 00000 00000",
            "00022 00000 11000",
            "00020 00000 01100",
        ])
        .1;
        assert_eq!(labels, want);
    }

    #[test]
    fn of_equal_pieces_the_first_is_kept() {
        let (size, mut labels) = volume(&["1101 0001"]);
        keep_largest(size, &mut labels, &BTreeSet::from([1]));
        assert_eq!(labels, volume(&["1100 0000"]).1);
    }

    #[test]
    fn enclosed_background_is_filled_and_enclosed_classes_are_not() {
        let shell = "11111 11111 11111 11111";
        let (size, mut labels) = volume(&[shell, "11111 10201 10001 11111", shell]);
        fill_holes(size, &mut labels, &BTreeSet::from([1]));
        let want = volume(&[shell, "11111 11211 11111 11111", shell]).1;
        assert_eq!(labels, want);
        // A tunnel to the border is no hole.
        let (size, mut open) = volume(&[shell, "11111 00001 11111 11111", shell]);
        let before = open.clone();
        fill_holes(size, &mut open, &BTreeSet::from([1, 3]));
        assert_eq!(open, before);
    }
}
