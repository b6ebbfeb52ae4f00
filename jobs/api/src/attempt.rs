//! What code inside a task can know of the attempt that runs it, on the thread that runs it.

use crate::accumulator::{Accumulate, Pending, PendingValue};
use firesteel_common::id::TaskId;
use firesteel_common::task::TaskIo;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

/// The attempt at a task that runs on this thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskContext {
    task: TaskId,
}

/// Called when an attempt ends, with whether it succeeded.
type Listener = Box<dyn FnOnce(bool)>;

#[derive(Default)]
struct Running {
    listeners: Vec<Listener>,
    accumulators: BTreeMap<u32, Box<dyn Pending>>,
}

thread_local! {
    static TASK: Cell<Option<TaskContext>> = const { Cell::new(None) };
    static RUNNING: RefCell<Running> = const {
        RefCell::new(Running { listeners: Vec::new(), accumulators: BTreeMap::new() })
    };
}

impl TaskContext {
    /// The attempt that runs on this thread; `None` in the driver, and on threads that user code made.
    pub fn get() -> Option<Self> {
        TASK.get()
    }

    /// The number of the partition of the stage.
    pub fn partition_id(&self) -> u32 {
        self.task.partition
    }

    /// The number of the stage.
    pub fn stage_id(&self) -> u32 {
        self.task.stage.0
    }

    /// Which attempt at this partition it is, counted from 0.
    pub fn attempt_number(&self) -> u32 {
        self.task.attempt
    }

    /// What names this attempt and no other of the application.
    pub fn task_attempt_id(&self) -> String {
        self.task.to_string()
    }

    /// Calls a function when the attempt ends, with whether it succeeded; the last one added is called first.
    /// It is not called if the process dies.
    pub fn on_completion(&self, listener: impl FnOnce(bool) + 'static) {
        RUNNING.with_borrow_mut(|running| running.listeners.push(Box::new(listener)));
    }
}

/// Whether a task runs on this thread.
pub(crate) fn is_running() -> bool {
    TASK.get().is_some()
}

/// Adds to an accumulator for the attempt on this thread. On a thread that runs none it is lost, as it is on
/// an executor that dies.
pub(crate) fn accumulate<A: Accumulate>(id: u32, add: impl FnOnce(&mut A)) {
    RUNNING.with_borrow_mut(|running| {
        let pending = running.accumulators.entry(id).or_insert_with(|| Box::new(PendingValue(A::zero())));
        if let Some(value) = pending.as_any().downcast_mut() {
            add(value);
        }
    });
}

/// Makes an attempt known on this thread until it is dropped.
pub(crate) struct Guard {
    before: Option<TaskContext>,
    succeeded: bool,
}

impl Guard {
    /// The attempt begins.
    pub(crate) fn enter(task: TaskId) -> Self {
        let before = TASK.replace(Some(TaskContext { task }));
        RUNNING.with_borrow_mut(|running| *running = Running::default());
        Self { before, succeeded: false }
    }

    /// The attempt has succeeded: what it accumulated goes to the runtime.
    pub(crate) fn succeed(mut self, io: &dyn TaskIo) {
        self.succeeded = true;
        let added = RUNNING.with_borrow_mut(|running| std::mem::take(&mut running.accumulators));
        for (id, value) in added {
            io.accumulate(id, value.encode().into());
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let listeners = RUNNING.with_borrow_mut(|running| std::mem::take(&mut running.listeners));
        listeners.into_iter().rev().for_each(|listener| listener(self.succeeded));
        RUNNING.with_borrow_mut(|running| *running = Running::default());
        TASK.set(self.before);
    }
}
