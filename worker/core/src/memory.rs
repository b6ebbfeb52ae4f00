//! Execution memory: who gets how much of the budget that it shares with the blocks. What the blocks take,
//! and which of them give way, is the store's.
//!
//! A task never has more than the budget's share of one slot, so that all slots together fit. Up to half of
//! that share it always gets, whatever the blocks take: blocks that nobody reads have given way by then. What
//! it asks for beyond is granted as far as there is room.

use crate::core::WorkerCore;
use crate::event::WorkerEffect;
use firesteel_common::id::AppAttemptId;
use firesteel_common::protocol::executor::ToExecutor;

/// A task always gets this much: with less, nothing goes on at a useful pace.
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
    /// What a task always gets, and what it gets at most.
    fn shares(&self) -> (u64, u64) {
        let most = self.options.memory / u64::from(self.options.slots.max(1));
        let least = (most / 2).max(TASK_BYTES_MIN);
        (least, most.max(least))
    }

    /// What all tasks get together at most.
    pub(crate) fn execution_max(&self) -> u64 {
        self.shares().1.saturating_mul(u64::from(self.options.slots.max(1)))
    }

    /// An executor asks for execution memory, for a task that has `held` bytes.
    pub(crate) fn acquire(
        &mut self,
        id: AppAttemptId,
        request: u64,
        bytes: u64,
        held: u64,
        out: &mut Vec<WorkerEffect>,
    ) {
        if !self.executor_lives(id) {
            return;
        }
        let (least, most) = self.shares();
        let left = self.execution_max().saturating_sub(self.granted);
        let mut wanted = bytes.min(most.saturating_sub(held)).min(left);
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
        let least = least.saturating_sub(held).min(wanted);
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
