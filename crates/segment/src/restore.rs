//! Labels at the network's resolution brought back to the scan's grid.

use slicewise_graph::TensorData;
use slicewise_imaging::Labels;

use crate::bundle::Interface;
use crate::images::nearest;
use crate::slicing::Slicing;

/// Brings label planes back.
pub(crate) struct Restore {
    interface: Interface,
    first_label: u16,
    /// The network's column and row for every one of the image's.
    columns: Vec<usize>,
    rows: Vec<usize>,
}

impl Restore {
    pub(crate) fn new(interface: Interface, first_label: u16, slicing: &Slicing) -> Self {
        Restore {
            interface,
            first_label,
            columns: nearest(interface.width, slicing.size[0]),
            rows: nearest(interface.height, slicing.size[1]),
        }
    }

    /// Whether labels need 16 bits.
    pub(crate) fn is_wide(interface: Interface, first_label: u16) -> bool {
        interface.outputs + usize::from(first_label) > 256
    }

    /// Puts image `n` of a batch of the network's labels where its pixels are in `out`: the first at
    /// `begin`, neighbours `steps` apart. False where the network's labels are none.
    pub(crate) fn put(
        &self,
        network: &TensorData,
        n: usize,
        (begin, steps): (usize, [isize; 2]),
        out: &mut Labels,
    ) -> bool {
        let pixels = self.interface.height * self.interface.width;
        let range = n * pixels..(n + 1) * pixels;
        match (network, out) {
            (TensorData::U8(v), Labels::U8(out)) => {
                let first = self.first_label as u8;
                self.scatter(v.get(range), begin, steps, out, |l| l.saturating_add(first))
            }
            (TensorData::U8(v), Labels::U16(out)) => {
                let first = self.first_label;
                self.scatter(v.get(range), begin, steps, out, |l| u16::from(l) + first)
            }
            (TensorData::U16(v), Labels::U16(out)) => {
                let first = self.first_label;
                self.scatter(v.get(range), begin, steps, out, |l| l.saturating_add(first))
            }
            _ => false,
        }
    }

    fn scatter<A: Copy, B>(
        &self,
        labels: Option<&[A]>,
        begin: usize,
        steps: [isize; 2],
        out: &mut [B],
        convert: impl Fn(A) -> B,
    ) -> bool {
        let Some(labels) = labels else { return false };
        for (y, &row) in self.rows.iter().enumerate() {
            let row = &labels[row * self.interface.width..][..self.interface.width];
            let first = begin as isize + y as isize * steps[1];
            for (x, &column) in self.columns.iter().enumerate() {
                out[(first + x as isize * steps[0]) as usize] = convert(row[column]);
            }
        }
        true
    }
}

/// As many labels of background.
pub(crate) fn background(count: usize, wide: bool) -> Labels {
    match wide {
        false => Labels::U8(vec![0; count]),
        true => Labels::U16(vec![0; count]),
    }
}

/// The label that most of `views` have, voxel by voxel, and that of the first view where none has most.
pub(crate) fn vote(views: Vec<Labels>) -> Option<Labels> {
    fn most<T: Copy + PartialEq>(views: &[&[T]]) -> Vec<T> {
        let at = |voxel: usize| {
            let mut best = (views[0][voxel], 0);
            for view in views {
                let count = views.iter().filter(|v| v[voxel] == view[voxel]).count();
                if count > best.1.max(1) {
                    best = (view[voxel], count);
                }
            }
            best.0
        };
        (0..views[0].len()).map(at).collect()
    }
    if views.len() < 2 {
        return views.into_iter().next();
    }
    let narrow: Option<Vec<&[u8]>> = views
        .iter()
        .map(|v| match v {
            Labels::U8(v) => Some(v.as_slice()),
            Labels::U16(_) => None,
        })
        .collect();
    if let Some(narrow) = narrow {
        return Some(Labels::U8(most(&narrow)));
    }
    let wide = views.iter().filter_map(|v| match v {
        Labels::U16(v) => Some(v.as_slice()),
        Labels::U8(_) => None,
    });
    Some(Labels::U16(most(&wide.collect::<Vec<_>>())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_majority_wins_and_the_first_view_where_there_is_none() {
        let views = [vec![1u8, 1, 1, 0], vec![2, 2, 1, 5], vec![2, 3, 2, 5]];
        let got = vote(views.map(Labels::U8).into());
        assert_eq!(got, Some(Labels::U8(vec![2, 1, 1, 5])));
    }
}
