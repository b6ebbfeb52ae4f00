//! Execution memory: who gets how much of the budget that it shares with the blocks. What the blocks take,
//! and which of them give way, is the store's.
//!
//! The engine of a task may always have the budget's share of one slot, and never has more: where it spills
//! must not depend on what others do, or a second run would write other bytes. Blocks give way for that. All
//! slots together fit into the budget. What tasks can do without (they hold a fetched segment, or keep an
//! output in memory rather than on disk) is granted only as far as there is room.

use crate::core::WorkerCore;
use crate::event::WorkerEffect;
use firesteel_common::id::AppAttemptId;
use firesteel_common::protocol::executor::ToExecutor;

/// A task may have this much whatever the budget is: with less, nothing goes on at a useful pace.
const TASK_BYTES_MIN: u64 = 4 * 1024 * 1024;
/// Requests of one executor for which room is made at once; further ones get nothing.
const TICKETS_MAX: usize = 256;

/// A request for which room is being made; its bytes count as granted.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Ticket {
    pub(crate) app: AppAttemptId,
    /// The executor's number.
    request: u64,
    bytes: u64,
    /// Of these, what is granted whatever happens.
    least: u64,
}

impl WorkerCore {
    /// What the engine of a task may have.
    fn share(&self) -> u64 {
        (self.options.memory / u64::from(self.options.slots.max(1))).max(TASK_BYTES_MIN)
    }

    /// What all engines may have together.
    fn engines_max(&self) -> u64 {
        self.share().saturating_mul(u64::from(self.options.slots.max(1)))
    }

    /// More is never granted: what tasks can do without was granted while nobody else had it.
    pub(crate) fn granted_max(&self) -> u64 {
        self.engines_max().saturating_mul(2)
    }

    /// An executor asks for execution memory: for an engine that has `held` bytes, or for what a task can do
    /// without.
    pub(crate) fn acquire(
        &mut self,
        id: AppAttemptId,
        request: u64,
        bytes: u64,
        held: Option<u64>,
        out: &mut Vec<WorkerEffect>,
    ) {
        if !self.executor_lives(id) {
            return;
        }
        let mut wanted = match held {
            Some(held) => {
                let left = self.granted_max().saturating_sub(self.granted);
                bytes.min(self.share().saturating_sub(held)).min(left)
            }
            None => bytes.min(self.options.memory.saturating_sub(self.granted)),
        };
        if self.tickets.values().filter(|ticket| ticket.app == id).count() >= TICKETS_MAX {
            wanted = 0;
        }
        let Some(app) = self.apps.get_mut(&id).filter(|_| wanted > 0) else {
            self.answer(id, ToExecutor::Memory { request, granted: 0 }, out);
            return;
        };
        app.granted += wanted;
        self.granted += wanted;
        self.tell_execution(out);
        self.last_ticket += 1;
        let least = if held.is_some() { wanted } else { 0 };
        self.tickets.insert(self.last_ticket, Ticket { app: id, request, bytes: wanted, least });
        out.push(WorkerEffect::MakeRoom { ticket: self.last_ticket });
    }

    /// Room was made for a request, as far as there was any.
    pub(crate) fn room_made(&mut self, ticket: u64, over: u64, out: &mut Vec<WorkerEffect>) {
        // Its executor may have ended; what it had is free already.
        let Some(Ticket { app: id, request, bytes, least }) = self.tickets.remove(&ticket) else { return };
        let granted = bytes.saturating_sub(over).max(least);
        self.take_back(id, bytes - granted);
        self.answer(id, ToExecutor::Memory { request, granted }, out);
    }

    /// An executor returns execution memory; never more than it has.
    pub(crate) fn release(&mut self, id: AppAttemptId, bytes: u64) {
        if self.executor_lives(id) {
            self.take_back(id, bytes);
        }
    }

    fn take_back(&mut self, id: AppAttemptId, bytes: u64) {
        if let Some(app) = self.apps.get_mut(&id) {
            let returned = bytes.min(app.granted);
            app.granted -= returned;
            self.granted = self.granted.saturating_sub(returned);
        }
    }

    /// Tells the store how much of the budget is execution memory, if that has changed.
    pub(crate) fn tell_execution(&mut self, out: &mut Vec<WorkerEffect>) {
        if self.told_granted != self.granted {
            self.told_granted = self.granted;
            out.push(WorkerEffect::Execution(self.granted));
        }
    }
}
