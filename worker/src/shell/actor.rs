//! The worker's actor: takes one message, asks the core, does what the core says. It decides nothing.

use super::Ending;
use super::effects::Hands;
use super::mailbox::{MAILBOX_LEN, Post};
use crate::fault::Faults;
use actix::prelude::*;
use firesteel_common::id::WorkerId;
use firesteel_common::protocol::worker::ToWorker;
use firesteel_common::time::Timestamp;
use firesteel_common::{Error, ErrorCode, Result};
use firesteel_core::{WorkerCore, WorkerEffect, WorkerEvent};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often the core is told that time has passed.
const TICK: Duration = Duration::from_millis(50);

/// The actor.
pub struct WorkerActor {
    core: WorkerCore,
    hands: Hands,
    faults: Arc<Faults>,
    on_ready: Option<Box<dyn FnOnce(WorkerId) + Send>>,
    ending: Ending,
    start: Instant,
}

impl WorkerActor {
    /// An actor around a core that nothing has happened to.
    pub fn new(
        core: WorkerCore,
        hands: Hands,
        faults: Arc<Faults>,
        on_ready: Box<dyn FnOnce(WorkerId) + Send>,
        ending: Ending,
    ) -> Self {
        Self { core, hands, faults, on_ready: Some(on_ready), ending, start: Instant::now() }
    }

    fn end(&self, result: Result<()>) {
        self.ending.lock().get_or_insert(result);
        System::current().stop();
    }

    fn step(&mut self, event: WorkerEvent) {
        let registered = match &event {
            WorkerEvent::FromMaster(ToWorker::Registered { worker, .. }) => Some(*worker),
            _ => None,
        };
        let now = Timestamp(self.start.elapsed().as_micros() as u64);
        // A handler that panics would close the actor and leave a worker that does nothing.
        let done = catch_unwind(AssertUnwindSafe(|| {
            let effects = self.core.step(now, event);
            let leaves = effects.iter().any(|effect| matches!(effect, WorkerEffect::Leave));
            effects.into_iter().try_for_each(|effect| self.hands.perform(effect)).map(|()| leaves)
        }));
        match done {
            Ok(Ok(true)) => self.end(Ok(())),
            Ok(Ok(false)) => {}
            Ok(Err(error)) => self.end(Err(error)),
            Err(_) => self.end(Err(Error::new(ErrorCode::Internal, "the worker's core panicked"))),
        }
        if let Some(worker) = registered {
            self.faults.set_worker(worker);
            if let Some(on_ready) = self.on_ready.take() {
                on_ready(worker);
            }
        }
    }
}

impl Actor for WorkerActor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.set_mailbox_capacity(MAILBOX_LEN);
        context.run_interval(TICK, |actor, _| actor.step(WorkerEvent::Tick));
    }
}

impl Handler<Post> for WorkerActor {
    type Result = ();

    fn handle(&mut self, post: Post, _: &mut Self::Context) {
        match post {
            Post::Event(event) => {
                if matches!(event, WorkerEvent::MasterLost) {
                    self.hands.unlink();
                }
                self.step(event);
            }
            Post::Linked(link) => {
                self.hands.link(link);
                self.step(WorkerEvent::MasterConnected);
            }
            Post::End(None) => self.end(Ok(())),
            Post::End(Some(error)) => self.end(Err(error)),
        }
    }
}
