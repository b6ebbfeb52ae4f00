//! Everything that can happen to the master, as a closed list. The shell makes these; nothing else changes
//! the scheduler.

use firesteel_common::error::Error;
use firesteel_common::id::{AppAttemptId, AppId, WorkerId};
use firesteel_common::options::AppOptions;
use firesteel_common::protocol::driver::FromDriver;
use firesteel_common::protocol::worker::{DriverProgram, FromWorker};
use std::sync::Arc;

/// A connection of a worker, numbered by the shell; never reused in one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

/// A fact that reached the master.
#[derive(Clone, Debug)]
pub enum Event {
    /// A submission is durable. Its first driver attempt is 1.
    SubmitApp(AppSubmission),
    /// What the journal held when the master started: accepted applications without an outcome. Sent once,
    /// before anything else, also when there is none.
    Recovered(Vec<AppSubmission>),
    /// The number of a further driver attempt is durable; it may be started.
    AttemptJournaled(AppAttemptId),
    /// The outcome of an application is durable.
    OutcomeJournaled(AppId),
    /// Somebody asked for the end of an application.
    KillApp {
        /// The application.
        app: AppId,
        /// Why.
        reason: String,
    },
    /// Somebody wants a worker to leave: nothing new for it, and what is needed of it goes elsewhere.
    DrainWorker(WorkerId),
    /// A worker said something.
    FromWorker {
        /// Over which connection.
        link: LinkId,
        /// What.
        message: FromWorker,
    },
    /// The connection of a worker closed.
    WorkerLinkClosed(LinkId),
    /// A driver said something. (It has proved the key of this application attempt.)
    FromDriver {
        /// Which driver.
        app: AppAttemptId,
        /// What.
        message: FromDriver,
    },
    /// The connection of a driver closed.
    DriverLinkClosed(AppAttemptId),
    /// Time has passed. Sent at least every 100 ms of real time.
    Tick,
}

/// An accepted application.
#[derive(Clone, Debug)]
pub struct AppSubmission {
    /// Its id.
    pub app: AppId,
    /// The highest driver attempt that was journaled; 1 for a new submission.
    pub attempt: u32,
    /// When it was accepted, in milliseconds since 1970.
    pub submitted_ms: u64,
    /// What its driver runs; `None` in client mode, where the driver attaches by itself.
    pub program: Option<DriverProgram>,
    /// How it is run.
    pub options: Arc<AppOptions>,
}

/// What the master wants done.
#[derive(Clone, Debug)]
pub enum Effect {
    /// From now on this connection is that of this worker; an older connection of it is closed.
    BindWorker {
        /// The connection.
        link: LinkId,
        /// The worker.
        worker: WorkerId,
    },
    /// Tell the peer of a connection that is bound to no worker something, and close it.
    RefuseLink {
        /// The connection.
        link: LinkId,
        /// Why.
        error: Error,
    },
    /// Close the connection of this worker.
    DropWorker(WorkerId),
    /// Send a message to a worker. Messages to one worker keep their order; one that cannot be sent is
    /// dropped.
    SendWorker {
        /// To whom.
        worker: WorkerId,
        /// What.
        message: firesteel_common::protocol::worker::ToWorker,
    },
    /// Send a message to a driver; dropped if it is not connected.
    SendDriver {
        /// To whom.
        app: AppAttemptId,
        /// What.
        message: firesteel_common::protocol::driver::ToDriver,
    },
    /// Make the number of a further driver attempt durable, then say [`Event::AttemptJournaled`].
    JournalAttempt(AppAttemptId),
    /// Make the outcome durable unless there is one, then say [`Event::OutcomeJournaled`].
    JournalOutcome {
        /// The application.
        app: AppId,
        /// Its result or its error.
        outcome: Result<firesteel_common::Payload, Error>,
    },
    /// Write a line of the event log.
    Log(firesteel_common::event::LoggedEvent),
}
