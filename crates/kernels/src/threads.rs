//! Threads that stay: woken by a counter, they spin for a moment before they sleep, because the
//! next layer comes within microseconds while a network runs.

use std::cell::UnsafeCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::Buffer;

/// How long a thread without work watches for more before it sleeps.
const SPIN: Duration = Duration::from_micros(100);

/// The CPUs of this process, shared out among the runs of all its pools, so that several sessions at
/// once do not have more threads at work than there are CPUs.
struct Cpus {
    /// Those that affinity and control groups leave to this process.
    count: usize,
    /// Threads at work.
    at_work: AtomicUsize,
}

impl Cpus {
    fn of_process() -> &'static Cpus {
        static CPUS: OnceLock<Cpus> = OnceLock::new();
        CPUS.get_or_init(|| Cpus {
            count: std::thread::available_parallelism().map_or(1, |n| n.get()),
            at_work: AtomicUsize::new(0),
        })
    }

    /// Takes `wanted` of them for a run that has the process to itself, else what others leave; one
    /// at least.
    fn claim(&self, wanted: usize) -> Claim<'_> {
        let share = |others: usize| match others {
            0 => wanted,
            _ => wanted.min(self.count.saturating_sub(others)).max(1),
        };
        let mut others = self.at_work.load(Ordering::Relaxed);
        while let Err(now) = self.at_work.compare_exchange_weak(
            others,
            others + share(others),
            Ordering::Relaxed,
            Ordering::Relaxed,
        ) {
            others = now;
        }
        Claim {
            cpus: self,
            threads: share(others),
        }
    }
}

/// CPUs taken until this is dropped.
struct Claim<'a> {
    cpus: &'a Cpus,
    threads: usize,
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.cpus.at_work.fetch_sub(self.threads, Ordering::Relaxed);
    }
}

/// Memory of one thread that kernels keep intermediate values in. It grows to what the largest
/// kernel asks for and stays.
pub(crate) struct Scratch(Buffer);

impl Scratch {
    pub(crate) fn new() -> Self {
        Scratch(Buffer::new(0))
    }

    /// `n` elements of any content.
    pub(crate) fn floats(&mut self, n: usize) -> &mut [f32] {
        if self.0.len() < n * size_of::<f32>() {
            self.0 = Buffer::floats(n);
        }
        &mut self.0.as_f32_mut()[..n]
    }
}

/// One thread's share of a run: `(thread) -> ()`.
type Share<'a> = dyn Fn(usize) + Sync + 'a;

struct State {
    /// Counts the runs; a change is the signal to start.
    epoch: AtomicUsize,
    /// What to run, valid from a change of `epoch` until `pending` is zero.
    share: UnsafeCell<Option<*const Share<'static>>>,
    /// Threads that have not finished the current run.
    pending: AtomicUsize,
    panicked: AtomicBool,
    stop: AtomicBool,
    /// Threads that sleep or are about to.
    sleepers: AtomicUsize,
    lock: Mutex<()>,
    wake: Condvar,
}

// SAFETY: `share` is written only by the caller of `run` while no worker is pending, and read by
// workers only after they have seen the epoch change that follows the write.
unsafe impl Sync for State {}
// SAFETY: the pointer is used only during `run`, whose caller keeps what it points to alive.
unsafe impl Send for State {}

/// A fixed number of threads, the caller among them.
pub(crate) struct Threads {
    state: Arc<State>,
    workers: Vec<JoinHandle<()>>,
    /// Held during a run: runs of several callers come one after the other.
    scratch: Mutex<Vec<Scratch>>,
}

impl Threads {
    /// Starts `threads - 1` workers; fewer where the system gives no more.
    pub(crate) fn new(threads: usize) -> Self {
        let state = Arc::new(State {
            epoch: AtomicUsize::new(0),
            share: UnsafeCell::new(None),
            pending: AtomicUsize::new(0),
            panicked: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            sleepers: AtomicUsize::new(0),
            lock: Mutex::new(()),
            wake: Condvar::new(),
        });
        let workers: Vec<_> = (1..threads.max(1))
            .map_while(|index| {
                let state = Arc::clone(&state);
                std::thread::Builder::new()
                    .name(format!("slicewise-{index}"))
                    .spawn(move || work(&state, index))
                    .ok()
            })
            .collect();
        let scratch = (0..=workers.len()).map(|_| Scratch::new()).collect();
        Threads {
            state,
            workers,
            scratch: Mutex::new(scratch),
        }
    }

    /// The number of threads that share a run.
    pub(crate) fn count(&self) -> usize {
        self.workers.len() + 1
    }

    /// Calls `task` once for each number below `tasks`, from several threads, and returns when all
    /// are done. Three quarters of the tasks are shared out in equal runs of neighbours, the rest
    /// goes to whoever is free. While other pools of this process are at work, fewer threads are.
    ///
    /// # Panics
    /// If a task panics, after all threads have stopped. A task must not call `run` itself.
    pub(crate) fn run(&self, tasks: usize, task: &(dyn Fn(usize, &mut Scratch) + Sync)) {
        let mut scratch = self.scratch.lock().unwrap_or_else(PoisonError::into_inner);
        if tasks == 0 {
            return;
        }
        let claim = Cpus::of_process().claim(self.count().min(tasks));
        let threads = claim.threads;
        if threads <= 1 {
            for i in 0..tasks {
                task(i, &mut scratch[0]);
            }
            return;
        }
        let fixed = if tasks < 2 * threads {
            1
        } else {
            tasks * 3 / 4 / threads
        };
        let next = AtomicUsize::new(fixed * threads);
        let scratch = crate::shared::Shared::new(&mut scratch);
        let share = |thread: usize| {
            if thread >= threads {
                return;
            }
            // SAFETY: every thread takes the scratch memory of its own number.
            let scratch = &mut unsafe { scratch.part(thread, 1) }[0];
            for i in thread * fixed..(thread + 1) * fixed {
                task(i, scratch);
            }
            loop {
                let i = next.fetch_add(1, Ordering::Relaxed);
                if i >= tasks {
                    break;
                }
                task(i, scratch);
            }
        };
        self.broadcast(&share);
    }

    /// Calls `share` with the number of every thread, on that thread.
    fn broadcast(&self, share: &Share<'_>) {
        let state = &*self.state;
        // SAFETY: only the lifetime is changed; this function returns, and unwinds, only after
        // every worker is done with the pointer.
        let share_static: *const Share<'static> =
            unsafe { std::mem::transmute::<*const Share<'_>, *const Share<'static>>(share) };
        // SAFETY: no worker is pending, so none reads.
        unsafe { *state.share.get() = Some(share_static) };
        state.pending.store(self.workers.len(), Ordering::Relaxed);
        state.epoch.fetch_add(1, Ordering::SeqCst);
        if state.sleepers.load(Ordering::SeqCst) > 0 {
            drop(state.lock.lock().unwrap_or_else(PoisonError::into_inner));
            state.wake.notify_all();
        }
        let own = catch_unwind(AssertUnwindSafe(|| share(0)));
        let start = Instant::now();
        while state.pending.load(Ordering::Acquire) > 0 {
            if start.elapsed() < SPIN {
                std::hint::spin_loop();
            } else {
                std::thread::yield_now();
            }
        }
        // The flag is cleared even where the caller's own share panicked.
        let worker = state.panicked.swap(false, Ordering::Relaxed);
        if let Err(panic) = own {
            std::panic::resume_unwind(panic);
        }
        assert!(!worker, "a worker thread panicked");
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.state.stop.store(true, Ordering::SeqCst);
        self.state.epoch.fetch_add(1, Ordering::SeqCst);
        drop(
            self.state
                .lock
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
        self.state.wake.notify_all();
        for worker in self.workers.drain(..) {
            // A worker catches its panics, so joining cannot fail.
            let _ = worker.join();
        }
    }
}

/// The life of worker `index`.
fn work(state: &State, index: usize) {
    let mut seen = 0;
    loop {
        seen = await_change(state, seen);
        if state.stop.load(Ordering::SeqCst) {
            return;
        }
        // SAFETY: the epoch has changed, so the caller has written `share` and waits for this
        // worker before it touches it again.
        if let Some(share) = unsafe { *state.share.get() } {
            // SAFETY: the caller keeps it alive until `pending` is zero.
            let share = unsafe { &*share };
            if catch_unwind(AssertUnwindSafe(|| share(index))).is_err() {
                state.panicked.store(true, Ordering::Relaxed);
            }
        }
        state.pending.fetch_sub(1, Ordering::Release);
    }
}

/// Waits until the epoch is another than `seen` and returns it.
fn await_change(state: &State, seen: usize) -> usize {
    let start = Instant::now();
    loop {
        for _ in 0..64 {
            let epoch = state.epoch.load(Ordering::Acquire);
            if epoch != seen {
                return epoch;
            }
            std::hint::spin_loop();
        }
        if start.elapsed() > SPIN {
            break;
        }
    }
    let mut guard = state.lock.lock().unwrap_or_else(PoisonError::into_inner);
    // The caller changes the epoch and then looks for sleepers; a sleeper announces itself and then
    // looks at the epoch. One of the two sees the other.
    state.sleepers.fetch_add(1, Ordering::SeqCst);
    let epoch = loop {
        let epoch = state.epoch.load(Ordering::SeqCst);
        if epoch != seen {
            break epoch;
        }
        guard = state
            .wake
            .wait(guard)
            .unwrap_or_else(PoisonError::into_inner);
    };
    state.sleepers.fetch_sub(1, Ordering::SeqCst);
    epoch
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_runs_once_on_any_number_of_threads() {
        for threads in [1, 2, 3, 16] {
            let pool = Threads::new(threads);
            let many = if cfg!(miri) { 70 } else { 1000 };
            for tasks in [0, 1, 2, 5, 31, many] {
                let counts: Vec<AtomicUsize> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
                pool.run(tasks, &|i, scratch| {
                    scratch.floats(i % 100)[..].fill(i as f32);
                    counts[i].fetch_add(1, Ordering::Relaxed);
                });
                for (i, count) in counts.iter().enumerate() {
                    let count = count.load(Ordering::Relaxed);
                    assert_eq!(count, 1, "task {i} of {tasks} on {threads} threads");
                }
            }
        }
    }

    #[test]
    fn a_run_alone_has_all_its_threads_and_others_get_what_is_left() {
        let cpus = Cpus {
            count: 4,
            at_work: AtomicUsize::new(0),
        };
        let alone = cpus.claim(16);
        assert_eq!(alone.threads, 16);
        assert_eq!(cpus.claim(2).threads, 1);
        drop(alone);
        let first = cpus.claim(3);
        let (second, third) = (cpus.claim(2), cpus.claim(2));
        assert_eq!((first.threads, second.threads, third.threads), (3, 1, 1));
        drop((first, second));
        assert_eq!(cpus.claim(4).threads, 3);
        drop(third);
        assert_eq!(cpus.at_work.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn pools_that_run_at_the_same_time_all_finish() {
        std::thread::scope(|scope| {
            for threads in [1, 2, 3, 4, 5] {
                scope.spawn(move || {
                    let pool = Threads::new(threads);
                    for _ in 0..if cfg!(miri) { 10 } else { 200 } {
                        let n = AtomicUsize::new(0);
                        pool.run(9, &|_, _| {
                            n.fetch_add(1, Ordering::Relaxed);
                        });
                        assert_eq!(n.load(Ordering::Relaxed), 9);
                    }
                });
            }
        });
    }

    #[test]
    fn sleeping_threads_wake() {
        let pool = Threads::new(2);
        for _ in 0..3 {
            std::thread::sleep(Duration::from_millis(2));
            let n = AtomicUsize::new(0);
            pool.run(8, &|_, _| {
                n.fetch_add(1, Ordering::Relaxed);
            });
            assert_eq!(n.load(Ordering::Relaxed), 8);
        }
    }

    #[test]
    fn a_panic_in_a_task_reaches_the_caller_and_the_threads_live_on() {
        let pool = Threads::new(3);
        for bad in [0, 4, 9] {
            let run = catch_unwind(AssertUnwindSafe(|| {
                pool.run(10, &|i, _| {
                    assert_ne!(i, bad, "task {bad} fails on purpose")
                });
            }));
            assert!(run.is_err());
            let n = AtomicUsize::new(0);
            pool.run(10, &|_, _| {
                n.fetch_add(1, Ordering::Relaxed);
            });
            assert_eq!(n.load(Ordering::Relaxed), 10);
        }
    }
}
