//! The planes of a scan one after the other, and each with its neighbours.

use std::collections::VecDeque;

use slicewise_imaging::{Slice, SliceSource, Volume};

use crate::SegmentError;
use crate::images::{Images, Plane};
use crate::slicing::Slicing;
use crate::timing::Clock;

/// Where planes come from.
pub(crate) enum Feed<'a> {
    /// Slices of a file, in its order.
    File(&'a mut dyn SliceSource),
    /// Planes of a volume in memory, in the order of images.
    Volume(&'a Volume),
}

/// An image for the network.
pub(crate) struct Job {
    /// The slice of the file, or the number of the image.
    pub(crate) index: usize,
    /// The plane and its neighbours, one per channel.
    pub(crate) planes: Vec<Plane>,
    /// The stored numbers, of a file's slice.
    pub(crate) slice: Option<Slice>,
}

/// Makes jobs of planes.
pub(crate) struct Reader<'a> {
    pub(crate) feed: Feed<'a>,
    pub(crate) slicing: Slicing,
    pub(crate) images: &'a Images,
    pub(crate) read: Clock,
    pub(crate) prepare: Clock,
}

impl Reader<'_> {
    /// Hands every image to `take`, which says whether it wants more.
    pub(crate) fn run(&mut self, mut take: impl FnMut(Job) -> bool) -> Result<(), SegmentError> {
        let count = self.slicing.size[2];
        let half = self.images.slices / 2;
        let against = matches!(self.feed, Feed::File(_)) && self.slicing.reversed;
        let mut planes: VecDeque<Plane> = VecDeque::new();
        let mut slices = VecDeque::new();
        // The slice that the first of `planes` is.
        let mut first = 0;
        for index in 0..count + half {
            if index < count {
                let (plane, slice) = self.next(index)?;
                planes.push_back(plane);
                slices.push_back(slice);
            }
            let Some(ready) = index.checked_sub(half) else {
                continue;
            };
            while first + half < ready {
                planes.pop_front();
                first += 1;
            }
            let neighbour = |channel: usize| {
                // Channels run as slices do, which may be against the file's order.
                let channel = if against { 2 * half - channel } else { channel };
                let at = (ready + channel).saturating_sub(half).min(count - 1);
                planes[at - first].clone()
            };
            let job = Job {
                index: ready,
                planes: (0..=2 * half).map(neighbour).collect(),
                slice: slices.pop_front().flatten(),
            };
            if !take(job) {
                break;
            }
        }
        Ok(())
    }

    fn next(&mut self, index: usize) -> Result<(Plane, Option<Slice>), SegmentError> {
        let [columns, rows, _] = self.slicing.size;
        let mut values = vec![0f32; columns * rows];
        let slice = match &mut self.feed {
            Feed::File(source) => {
                let mut slice = Slice::of(*source);
                // A source of as many slices as its grid says.
                self.read.time(|| source.next_slice(&mut slice))?;
                let (begin, steps) = self.slicing.in_file_slice();
                self.prepare.time(|| {
                    (slice.voxels).plane(begin, steps, columns, slice.scale, &mut values);
                });
                Some(slice)
            }
            Feed::Volume(volume) => {
                let (begin, steps) = self.slicing.image(index);
                self.prepare
                    .time(|| volume.plane(begin, steps, columns, &mut values));
                None
            }
        };
        let images = self.images;
        let plane = self.prepare.time(|| images.plane(values, [columns, rows]));
        Ok((plane, slice))
    }
}
