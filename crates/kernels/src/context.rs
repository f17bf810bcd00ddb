//! What kernels compute with.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::isa::{Isa, Task};
use crate::norm::Moments;
use crate::threads::{Scratch, Threads};

/// The instruction set and the threads of one session.
pub struct Context {
    isa: Isa,
    threads: Threads,
    /// Moments of a group normalisation under way; kept, because a run allocates nothing.
    moments: Mutex<Vec<Moments>>,
}

impl Context {
    /// A context of `threads` threads, the caller among them; at least one.
    pub fn new(isa: Isa, threads: usize) -> Self {
        Context {
            isa,
            threads: Threads::new(threads),
            moments: Mutex::default(),
        }
    }

    /// The instruction set.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// The number of threads.
    pub fn threads(&self) -> usize {
        self.threads.count()
    }

    /// Memory for moments, of any content, for one caller at a time.
    pub(crate) fn moments(&self) -> MutexGuard<'_, Vec<Moments>> {
        self.moments.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls `task` for each number below `tasks`, each on one of the threads, with that thread's
    /// scratch memory.
    pub(crate) fn each(&self, tasks: usize, task: impl Fn(usize, &mut Scratch) + Sync) {
        self.threads.run(tasks, &task);
    }

    /// Calls `task` for consecutive ranges that make up `0..n`, none longer than `chunk`.
    pub(crate) fn ranges(
        &self,
        n: usize,
        chunk: usize,
        task: impl Fn(std::ops::Range<usize>) + Sync,
    ) {
        let chunk = chunk.max(1);
        self.each(n.div_ceil(chunk), |i, _| {
            task(i * chunk..n.min((i + 1) * chunk));
        });
    }

    /// Runs one piece of vector code on this thread.
    pub(crate) fn vectorize<T: Task>(&self, task: T) -> T::Output {
        self.isa.run(task)
    }
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Context({}, {} threads)",
            self.isa.name(),
            self.threads()
        )
    }
}
