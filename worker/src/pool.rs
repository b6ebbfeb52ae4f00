//! Threads that are kept: a task or a fetch takes an idle one, and a new one is made only if there is none.

use crossbeam::channel::{Receiver, Sender, unbounded};
use firesteel_common::{Error, Result};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicIsize, AtomicUsize, Ordering};

/// The most threads of one pool. What is given beyond that waits for one.
const THREADS_MAX: usize = 4096;

type Work = Box<dyn FnOnce() + Send>;

/// A pool of threads. They end when the pool is dropped and their work is done.
pub struct Pool {
    name: &'static str,
    // As long as what was given to the pool: the master bounds the tasks, a stream its fetches.
    queue: Sender<Work>,
    waiting: Receiver<Work>,
    /// Idle threads that nothing is meant for; negative while more was given than there are threads.
    idle: Arc<AtomicIsize>,
    threads: AtomicUsize,
}

impl Pool {
    /// A pool without threads.
    pub fn new(name: &'static str) -> Self {
        let (queue, waiting) = unbounded();
        Self { name, queue, waiting, idle: Arc::default(), threads: AtomicUsize::new(0) }
    }

    /// Runs `work` on a thread of its own.
    ///
    /// # Errors
    /// `IO` if there is no idle thread and none can be made; `work` is not run then.
    pub fn run(&self, work: impl FnOnce() + Send + 'static) -> Result<()> {
        // An idle thread is reserved before the work is given, so that two givers never count on the same
        // one.
        let reserved = self.idle.fetch_sub(1, Ordering::AcqRel) > 0;
        if !reserved && self.threads.load(Ordering::Acquire) < THREADS_MAX {
            self.idle.fetch_add(1, Ordering::AcqRel);
            let (waiting, idle) = (self.waiting.clone(), self.idle.clone());
            std::thread::Builder::new()
                .name(self.name.to_owned())
                .spawn(move || {
                    while let Ok(work) = waiting.recv() {
                        // What runs here reports its own panics; the thread must only survive them.
                        let _ = catch_unwind(AssertUnwindSafe(work));
                        idle.fetch_add(1, Ordering::AcqRel);
                    }
                })
                .map_err(|cause| Error::io("starting a thread", &cause))?;
            self.threads.fetch_add(1, Ordering::AcqRel);
        }
        // Cannot fail: this pool holds a receiver itself.
        let _ = self.queue.send(Box::new(work));
        Ok(())
    }
}
