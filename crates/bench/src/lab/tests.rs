//! Networks whose sessions pretend to run in other processes.

use slicewise_engines::{ChildRun, EngineError};

use super::*;

/// A session that says what its process took; `None` runs here.
struct Fake {
    ran: Option<ChildRun>,
    discarded: Arc<AtomicUsize>,
}

impl Session for Fake {
    fn run(&mut self, _: &[Tensor]) -> Result<&[Tensor], EngineError> {
        Ok(&[])
    }

    fn run_discarding(&mut self, inputs: &[Tensor]) -> Result<(), EngineError> {
        self.discarded.fetch_add(1, Ordering::Relaxed);
        // Longer than what the child says.
        std::thread::sleep(Duration::from_millis(8));
        self.run(inputs).map(|_| ())
    }

    fn in_child(&self) -> Option<ChildRun> {
        self.ran
    }
}

const MEBIBYTE: u64 = 1 << 20;

/// Streams of the given milliseconds each, as a child tells them, or of sessions that run here.
fn network(children: &[Option<u64>], inputs: usize) -> (Network, Arc<AtomicUsize>) {
    let discarded = Arc::new(AtomicUsize::new(0));
    let stream = |ms: &Option<u64>| -> Box<dyn Session> {
        Box::new(Fake {
            ran: ms.map(|ms| ChildRun {
                time: Duration::from_millis(ms),
                cpu_time: Some(Duration::from_millis(2 * ms)),
                peak_rss_bytes: Some(ms * MEBIBYTE),
            }),
            discarded: discarded.clone(),
        })
    };
    let network = Network {
        streams: children.iter().map(stream).collect(),
        input: slicewise_zoo::fill_input(&[1, 1, 2, 2]),
        inputs,
    };
    (network, discarded)
}

fn trial(children: &[Option<u64>]) -> Trial {
    let (workload, _) = network(children, children.len());
    let loaded = Loaded {
        workload,
        load_ms: 1.0,
        settings: Default::default(),
        check: None,
        accuracy: None,
        first_ms: None,
        burst: None,
    };
    trial_of(loaded).expect("it runs")
}

#[test]
fn a_trial_has_time_and_memory_of_the_process_that_ran_the_network() {
    let of_a_child = trial(&[Some(5)]);
    assert_eq!(of_a_child.ms, [5.0, 5.0]);
    assert_eq!(of_a_child.peak_rss_bytes, Some(5 * MEBIBYTE));
    let here = trial(&[None]);
    assert!(here.ms.iter().all(|ms| *ms >= 8.0), "{here:?}");
    assert_ne!(here.peak_rss_bytes, Some(0));
    assert_eq!(here.peak_rss_bytes.is_some(), cfg!(target_os = "linux"));
}

#[test]
fn streams_in_children_take_as_long_as_the_last_and_all_their_cpu_time() {
    let (mut one, discarded) = network(&[Some(3)], 1);
    let ran = one.run().expect("it runs").expect("in a child");
    assert_eq!(ran.time, Duration::from_millis(3));
    assert_eq!(
        discarded.load(Ordering::Relaxed),
        1,
        "no results are brought here"
    );

    // Each sleeps as long here, so that both take two of the four images.
    let (mut two, discarded) = network(&[Some(3), Some(4)], 4);
    let ran = two.run().expect("it runs").expect("in children");
    assert_eq!(discarded.load(Ordering::Relaxed), 4);
    let images = (ran.cpu_time.expect("told").as_millis() / 2) as u64;
    let by = |fast: u64| 3 * fast + 4 * (4 - fast);
    let fast = (0..=4).find(|n| by(*n) == images).expect("four images");
    assert_eq!(
        ran.time,
        Duration::from_millis((3 * fast).max(4 * (4 - fast)))
    );
    assert_eq!(two.peak_rss_bytes(), Some(7 * MEBIBYTE));

    let (mut here, _) = network(&[None, None], 4);
    assert_eq!(here.run(), Ok(None), "this process's clock counts");
}
