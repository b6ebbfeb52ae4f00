//! Performs what the scheduler wants done: the only place where a decision touches the world.
//!
//! Nothing here waits. A link whose peer does not read is closed (the peer comes back and is told everything
//! anew); a record that finds the journal's queue full waits here, in order.

use crate::actor::{Fact, Master};
use crate::audit::Audit;
use crate::board::Board;
use crate::clock::wall_ms;
use crate::events::EventLogs;
use crate::journal::{Journal, Outcome, Record};
use crate::logs::Logs;
use crate::pending::{PendingRecords, RecordId, Retry};
use crate::sessions::Sessions;
use crate::tokens::Tokens;
use actix::Addr;
use firesteel_common::http::DeployMode;
use firesteel_common::id::{AppAttemptId, WorkerId};
use firesteel_common::protocol::driver::{FromDriver, ToDriver};
use firesteel_common::protocol::worker::{ToMaster, ToWorker};
use firesteel_net::link::{Link, SendFailed};
use firesteel_scheduler::event::{Effect, Event, LinkId};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use tokio::sync::Notify;

/// What several rooms of the master share: everything but the scheduler.
#[derive(Clone)]
pub(crate) struct Shared {
    /// How everything is.
    pub board: Arc<Board>,
    /// What is durable.
    pub journal: Journal,
    /// What applications print.
    pub logs: Arc<Logs>,
    /// What happened to them.
    pub events: EventLogs,
    /// Told when a worker comes or goes.
    pub workers_changed: Arc<Notify>,
    /// Browsers that are logged in.
    pub sessions: Arc<Sessions>,
    /// Who may ask for what.
    pub tokens: Arc<Tokens>,
    /// Who did what, and who was refused.
    pub audit: Arc<Audit>,
}

/// The links, and everything that effects are performed on.
pub(crate) struct World {
    shared: Shared,
    actor: Option<Addr<Master>>,
    worker_links: BTreeMap<LinkId, Link<ToWorker>>,
    workers: BTreeMap<WorkerId, LinkId>,
    drivers: BTreeMap<AppAttemptId, (LinkId, Link<ToDriver>)>,
    /// The executors that run, with their processes and since when they are known.
    executors: BTreeMap<(AppAttemptId, WorkerId), (u32, u64)>,
    /// Records that found no room in the journal's queue; at most two for each application.
    backlog: VecDeque<Record>,
    /// The scheduler's records that are not durable yet.
    pending: PendingRecords,
}

impl World {
    /// A world without links.
    pub(crate) fn new(shared: Shared) -> Self {
        Self {
            shared,
            actor: None,
            worker_links: BTreeMap::new(),
            workers: BTreeMap::new(),
            drivers: BTreeMap::new(),
            executors: BTreeMap::new(),
            backlog: VecDeque::new(),
            pending: PendingRecords::default(),
        }
    }

    /// Where answers of the journal go.
    pub(crate) fn set_actor(&mut self, actor: Addr<Master>) {
        self.actor = Some(actor);
    }

    /// Performs one effect.
    pub(crate) fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::BindWorker { link, worker } => self.bind_worker(link, worker),
            Effect::RefuseLink { link, error } => {
                if let Some(sender) = self.worker_links.remove(&link) {
                    send_or_close(&sender, ToWorker::Refused(error));
                    sender.close();
                }
            }
            Effect::DropWorker(worker) => {
                if let Some(link) = self.workers.remove(&worker) {
                    self.close_worker_link(link);
                }
                self.executors.retain(|(_, on), _| *on != worker);
                self.shared.workers_changed.notify_waiters();
            }
            Effect::SendWorker { worker, message } => {
                if let ToWorker::EndApp(app) = &message {
                    self.executors.remove(&(*app, worker));
                }
                let link = self.workers.get(&worker).and_then(|link| self.worker_links.get(link));
                if let Some(link) = link {
                    send_or_close(link, message);
                }
            }
            Effect::SendDriver { app, message } => {
                if let Some((_, link)) = self.drivers.get(&app) {
                    send_or_close(link, message);
                }
            }
            Effect::JournalAttempt(app) => {
                self.shared.board.attempt_wanted(app);
                self.pending.add_attempt(app);
                self.write_attempt(app);
            }
            Effect::JournalOutcome { app, outcome } => {
                let outcome = Outcome { app, outcome, ended_ms: wall_ms() };
                self.pending.add_outcome(outcome.clone());
                self.write_outcome(outcome);
            }
            Effect::Log(event) => {
                self.shared.board.event(event.app, &event.event);
                self.shared.events.write(event);
            }
        }
    }

    fn bind_worker(&mut self, link: LinkId, worker: WorkerId) {
        if let Some(older) = self.workers.insert(worker, link).filter(|older| *older != link) {
            self.close_worker_link(older);
        }
        self.shared.workers_changed.notify_waiters();
    }

    fn close_worker_link(&mut self, link: LinkId) {
        if let Some(sender) = self.worker_links.remove(&link) {
            sender.close();
        }
    }

    /// A worker's link can be sent to.
    pub(crate) fn add_worker_link(&mut self, link: LinkId, sender: Link<ToWorker>) {
        self.worker_links.insert(link, sender);
    }

    fn remove_worker_link(&mut self, link: LinkId) {
        self.worker_links.remove(&link);
        // It names them again when it comes back.
        if let Some(worker) = self.worker_of(link) {
            self.executors.retain(|(_, on), _| *on != worker);
        }
        self.workers.retain(|_, bound| *bound != link);
        self.shared.workers_changed.notify_waiters();
    }

    /// A driver's link can be sent to; an older one of the same driver is closed.
    pub(crate) fn add_driver_link(&mut self, app: AppAttemptId, link: LinkId, sender: Link<ToDriver>) {
        if let Some((_, older)) = self.drivers.insert(app, (link, sender)) {
            older.close();
        }
    }

    /// Whether this is the driver's latest link.
    pub(crate) fn is_current(&self, app: AppAttemptId, link: LinkId) -> bool {
        self.drivers.get(&app).is_some_and(|(current, _)| *current == link)
    }

    /// A driver said something: with its first words, its application runs.
    pub(crate) fn note_driver(&self, app: AppAttemptId, message: &FromDriver) {
        if matches!(message, FromDriver::Attach { .. }) {
            self.shared.board.driver_attached(app);
        }
    }

    /// A driver's link closed; `false` if a later one has replaced it.
    pub(crate) fn remove_driver_link(&mut self, app: AppAttemptId, link: LinkId) -> bool {
        let current = self.is_current(app, link);
        if current {
            self.drivers.remove(&app);
        }
        current
    }

    fn worker_of(&self, link: LinkId) -> Option<WorkerId> {
        self.workers.iter().find(|(_, bound)| **bound == link).map(|(worker, _)| *worker)
    }

    /// What a worker says of its executors.
    fn note_executors(&mut self, link: LinkId, message: &ToMaster) {
        match message {
            ToMaster::ExecutorStarted { app, pid } => {
                if let Some(worker) = self.worker_of(link).filter(|_| self.shared.board.runs(app.app)) {
                    self.executors.entry((*app, worker)).or_insert((*pid, wall_ms())).0 = *pid;
                }
            }
            ToMaster::ExecutorLost { app, .. } => {
                if let Some(worker) = self.worker_of(link) {
                    self.executors.remove(&(*app, worker));
                }
            }
            _ => {}
        }
    }

    /// The executors that run: of which application attempt, on which worker, which process, since when.
    pub(crate) fn executors(&self) -> impl Iterator<Item = (AppAttemptId, WorkerId, u32, u64)> {
        self.executors.iter().map(|((app, worker), (pid, since))| (*app, *worker, *pid, *since))
    }

    /// How many workers are connected.
    pub(crate) fn connected_workers(&self) -> usize {
        self.worker_links.len()
    }

    /// Closes all links, for the end of the process.
    pub(crate) fn close_links(&mut self) {
        self.worker_links.values().for_each(Link::close);
        self.drivers.values().for_each(|(_, link)| link.close());
    }

    fn write_attempt(&mut self, app: AppAttemptId) {
        let Some(actor) = self.actor.clone() else { return };
        self.write(Record::Attempt(
            app,
            Box::new(move |written| {
                actor.do_send(match written {
                    Ok(()) => Fact::Event(Event::AttemptJournaled(app)),
                    Err(_) => Fact::JournalFailed(RecordId::Attempt(app)),
                });
            }),
        ));
    }

    fn write_outcome(&mut self, outcome: Outcome) {
        let Some(actor) = self.actor.clone() else { return };
        let (app, shared) = (outcome.app, self.shared.clone());
        self.write(Record::Outcome(
            outcome,
            Box::new(move |written| {
                actor.do_send(match written {
                    Ok(stored) => {
                        let kind = shared.board.kind(app);
                        shared.board.end_app(app, &stored);
                        let on_worker = kind.is_some_and(|kind| kind.deploy_mode == DeployMode::Cluster);
                        shared.logs.app_ended(app, on_worker);
                        Fact::Event(Event::OutcomeJournaled(app))
                    }
                    Err(_) => Fact::JournalFailed(RecordId::Outcome(app)),
                });
            }),
        ));
    }

    /// Hands a record to the journal, behind those that wait already. (Answers come by `do_send`, which
    /// ignores the mailbox's bound: each answers one record, and those are bounded by the journal's queue.)
    fn write(&mut self, record: Record) {
        self.backlog.push_back(record);
        self.write_backlog();
    }

    /// Hands in what waits, as far as there is room.
    pub(crate) fn write_backlog(&mut self) {
        while let Some(record) = self.backlog.pop_front() {
            if let Err(record) = self.shared.journal.try_write_own(record) {
                self.backlog.push_front(*record);
                return;
            }
        }
    }

    /// Keeps links and pending records in step with what the scheduler is about to hear.
    pub(crate) fn note(&mut self, event: &Event) {
        match event {
            Event::FromWorker { link, message } => self.note_executors(*link, &message.message),
            Event::WorkerLinkClosed(link) => self.remove_worker_link(*link),
            Event::OutcomeJournaled(app) => self.pending.written(RecordId::Outcome(*app)),
            Event::AttemptJournaled(app) => self.pending.written(RecordId::Attempt(*app)),
            _ => {}
        }
    }

    /// A record could not be written: what is to be done about it.
    pub(crate) fn journal_failed(&mut self, record: RecordId) -> Retry {
        self.pending.failed(record)
    }

    /// Writes a record again, if it still is not durable.
    pub(crate) fn journal_again(&mut self, record: RecordId) {
        match record {
            RecordId::Attempt(app) if self.pending.has_attempt(app) => self.write_attempt(app),
            RecordId::Attempt(_) => {}
            RecordId::Outcome(app) => {
                if let Some(outcome) = self.pending.outcome(app) {
                    self.write_outcome(outcome);
                }
            }
        }
    }
}

/// What a message is called in the log.
trait Named {
    fn name(&self) -> &'static str;
}

impl Named for ToWorker {
    fn name(&self) -> &'static str {
        match self {
            ToWorker::Registered { .. } => "Registered",
            ToWorker::Refused(_) => "Refused",
            ToWorker::StartDriver(_) => "StartDriver",
            ToWorker::KillDriver(_) => "KillDriver",
            ToWorker::LaunchTasks(_) => "LaunchTasks",
            ToWorker::InputsChanged { .. } => "InputsChanged",
            ToWorker::KillTasks { .. } => "KillTasks",
            ToWorker::Free { .. } => "Free",
            ToWorker::FreeOutputs(_) => "FreeOutputs",
            ToWorker::EndApp(_) => "EndApp",
            ToWorker::FetchBlocks { .. } => "FetchBlocks",
            ToWorker::Drained => "Drained",
            ToWorker::Drain => "Drain",
        }
    }
}

impl Named for ToDriver {
    fn name(&self) -> &'static str {
        match self {
            ToDriver::Attached { .. } => "Attached",
            ToDriver::Job { .. } => "Job",
            ToDriver::WorkerAddress { .. } => "WorkerAddress",
            ToDriver::Committed => "Committed",
            ToDriver::Kill { .. } => "Kill",
        }
    }
}

/// Sends without waiting; a link whose peer does not keep up is closed.
fn send_or_close<T: Named + serde::Serialize + Send + 'static>(link: &Link<T>, message: T) {
    let name = message.name();
    match link.try_send(message) {
        Ok(()) => {}
        // The peer is not to blame: connected anew, it would be sent the same message again, without end.
        Err(SendFailed::Refused(error)) => {
            tracing::error!(?link, %error, "the message {name} has no frame and is lost");
        }
        Err(SendFailed::Full | SendFailed::Closed) => link.close(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::{Serialize, Serializer};
    use std::net::{TcpListener, TcpStream};
    use std::time::Duration;

    struct Sent(u32);

    impl Named for Sent {
        fn name(&self) -> &'static str {
            "Sent"
        }
    }

    impl Serialize for Sent {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            match self.0 {
                0 => Err(serde::ser::Error::custom("zero has no frame")),
                number => serializer.serialize_u32(number),
            }
        }
    }

    #[test]
    fn a_link_goes_on_after_a_message_that_has_no_frame() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (far, _) = listener.accept().unwrap();
        let (got, messages) = std::sync::mpsc::channel();
        let near: Link<Sent> = Link::start(near, "near", 8, |_: u32| true, |_| {}).unwrap();
        let _far: Link<u32> = Link::start(far, "far", 8, move |n: u32| got.send(n).is_ok(), |_| {}).unwrap();
        for number in [1, 0, 2] {
            send_or_close(&near, Sent(number));
        }
        let received: Vec<u32> =
            (0..2).map(|_| messages.recv_timeout(Duration::from_secs(20)).unwrap()).collect();
        assert_eq!(received, [1, 2]);
    }
}
