//! The bounded mailbox of the worker's actor, and how threads wait for room in it.

use super::actor::WorkerActor;
use actix::prelude::*;
use firesteel_common::Error;
use firesteel_common::protocol::worker::FromWorker;
use firesteel_core::WorkerEvent;
use firesteel_net::Link;
use parking_lot::RwLock;
use std::sync::Arc;
use std::time::Duration;

/// Messages that wait in the mailbox at most; whoever has one more waits itself.
pub const MAILBOX_LEN: usize = 1024;
/// The first and the longest pause of a thread that finds the mailbox full.
const PAUSE: (Duration, Duration) = (Duration::from_micros(100), Duration::from_millis(5));

/// What reaches the actor.
pub enum Post {
    /// A fact for the core.
    Event(WorkerEvent),
    /// A connection to the master stands.
    Linked(Link<FromWorker>),
    /// The worker shall end, with an error or because it was told to.
    End(Option<Error>),
}

impl Message for Post {
    type Result = ();
}

/// The way to the actor. Cloning shares it.
#[derive(Clone)]
pub struct Mailbox(Addr<WorkerActor>);

impl Mailbox {
    /// The mailbox of a started actor.
    pub fn new(actor: Addr<WorkerActor>) -> Self {
        Self(actor)
    }

    /// Puts a message in, and waits while there is no room; `false` if the actor has ended. Not for the
    /// actor's own thread.
    pub fn post(&self, post: Post) -> bool {
        let (mut post, mut pause) = (post, PAUSE.0);
        loop {
            match self.0.try_send(post) {
                Ok(()) => return true,
                Err(SendError::Closed(_)) => return false,
                Err(SendError::Full(back)) => post = back,
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(PAUSE.1);
        }
    }

    /// Puts a fact in, and waits while there is no room.
    pub fn event(&self, event: WorkerEvent) -> bool {
        self.post(Post::Event(event))
    }
}

/// A mailbox that is known only after the actor was made. What is posted before is lost, so it is opened
/// before anything can happen.
#[derive(Clone, Default)]
pub struct Slot(Arc<RwLock<Option<Mailbox>>>);

impl Slot {
    /// Says which it is.
    pub fn open(&self, mailbox: Mailbox) {
        *self.0.write() = Some(mailbox);
    }

    /// Puts a fact in, and waits while there is no room.
    pub fn event(&self, event: WorkerEvent) -> bool {
        let mailbox = self.0.read().clone();
        mailbox.is_some_and(|mailbox| mailbox.event(event))
    }
}
