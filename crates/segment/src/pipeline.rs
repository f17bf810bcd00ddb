//! Reading, the network and writing at the same time, an image in the hands of each.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use slicewise_engines::{EngineError, Session};
use slicewise_graph::TensorData;
use slicewise_imaging::Slice;

use crate::SegmentError;
use crate::feed::{Job, Reader};
use crate::images::Images;
use crate::timing::{Clock, Timing};

/// Batches that wait between two stages: enough that a slow slice of one does not stop the other.
const WAITING: usize = 2;

/// Who watches a scan being segmented.
pub(crate) struct Watch<'a> {
    /// Whether to end.
    pub(crate) stop: &'a (dyn Fn() -> bool + Sync),
    /// Told how many images of how many are done.
    pub(crate) progress: &'a mut dyn FnMut(usize, usize),
    /// Images done before this pass, and of all passes.
    pub(crate) done: usize,
    pub(crate) total: usize,
}

/// The network's labels of a batch of images.
pub(crate) struct Done {
    /// For each image its index and, of a file, its stored numbers.
    pub(crate) images: Vec<(usize, Option<Slice>)>,
    /// `[batch, H, W]`.
    pub(crate) labels: TensorData,
}

/// Takes all images of `reader` through the network, in order, to `write`.
pub(crate) fn run(
    session: &mut dyn Session,
    batch: usize,
    mut reader: Reader<'_>,
    mut write: impl FnMut(Done) -> Result<(), SegmentError> + Send,
    watch: &mut Watch<'_>,
    timing: &mut Timing,
) -> Result<(), SegmentError> {
    let images = reader.images;
    let (to_network, from_reader) = sync_channel::<Vec<Job>>(WAITING);
    let (to_writer, from_network) = sync_channel::<Done>(WAITING);
    let mut network = Clock::default();
    let (read, middle, written) = thread::scope(|scope| {
        let read = scope.spawn(move || {
            let mut jobs = Vec::new();
            let result = reader.run(|job| {
                jobs.push(job);
                jobs.len() < batch || to_network.send(std::mem::take(&mut jobs)).is_ok()
            });
            if result.is_ok() && !jobs.is_empty() {
                // Nobody takes it only if there is an error to tell.
                let _ = to_network.send(jobs);
            }
            (result, reader.read, reader.prepare)
        });
        let written = scope.spawn(move || {
            let mut clock = Clock::default();
            for done in from_network {
                let result = clock.time(|| write(done));
                if result.is_err() {
                    return (result, clock);
                }
            }
            (Ok(()), clock)
        });
        let middle = through_network(
            session,
            images,
            batch,
            &from_reader,
            to_writer,
            watch,
            &mut network,
        );
        // The reader waits for nobody.
        drop(from_reader);
        (read.join(), middle, written.join())
    });
    let (Ok((read, read_clock, prepare_clock)), Ok((written, write_clock))) = (read, written)
    else {
        return Err(SegmentError::Options("a thread ended by itself".into()));
    };
    timing.read_ms += read_clock.ms();
    timing.prepare_ms += prepare_clock.ms();
    timing.network_ms += network.ms();
    timing.write_ms += write_clock.ms();
    read?;
    middle?;
    written
}

fn through_network(
    session: &mut dyn Session,
    images: &Images,
    batch: usize,
    from_reader: &Receiver<Vec<Job>>,
    to_writer: SyncSender<Done>,
    watch: &mut Watch<'_>,
    clock: &mut Clock,
) -> Result<(), SegmentError> {
    for jobs in from_reader {
        if (watch.stop)() {
            return Err(SegmentError::Interrupted);
        }
        let mut planes = Vec::new();
        let mut kept = Vec::new();
        for job in jobs {
            planes.push(job.planes);
            kept.push((job.index, job.slice));
        }
        let input = images.tensor(&planes, batch).map_err(EngineError::from)?;
        let outputs = clock.time(|| session.run(&[input]))?;
        let labels = match outputs {
            [output] => output.data().clone(),
            _ => {
                return Err(SegmentError::Options(
                    "the network has another number of outputs than one".into(),
                ));
            }
        };
        watch.done += kept.len();
        (watch.progress)(watch.done, watch.total);
        let done = Done {
            images: kept,
            labels,
        };
        if to_writer.send(done).is_err() {
            // The writer has an error to tell.
            break;
        }
    }
    Ok(())
}
