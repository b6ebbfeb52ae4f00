//! The one actor: everything that reaches the master becomes an event here, is decided by the scheduler, and
//! has its effects performed by [`crate::effects`]. It decides nothing and touches nothing itself.
//!
//! A panic in the scheduler ends the process: its state can no longer be trusted, actix would close the actor
//! for good anyway, and a restart recovers everything from the journal, the workers and the drivers.

use crate::clock::Clock;
use crate::effects::World;
use crate::pending::{RecordId, Retry};
use actix::{
    Actor, ActorFutureExt, Addr, AsyncContext, Context, Handler, Message, MessageResult, WrapFuture,
};
use firesteel_common::http::{AppProgress, ExecutorInfo, WorkerInfo};
use firesteel_common::id::{AppAttemptId, AppId};
use firesteel_common::protocol::driver::{FromDriver, ToDriver};
use firesteel_common::protocol::worker::ToWorker;
use firesteel_common::time::Timestamp;
use firesteel_net::link::Link;
use firesteel_scheduler::event::{Event, LinkId};
use firesteel_scheduler::{Counters, Scheduler, WorkerView};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

/// Messages that may wait for the actor; then link threads wait, and with them their peers.
const MAILBOX: usize = 4096;
/// How often the scheduler hears that time has passed.
const TICK: Duration = Duration::from_millis(50);
/// How long a link thread waits before it tries a full mailbox again.
const FULL_WAIT: Duration = Duration::from_millis(1);

/// The master.
pub(crate) struct Master {
    scheduler: Scheduler,
    clock: Clock,
    world: World,
}

/// What reaches the master.
pub(crate) enum Fact {
    /// Something the scheduler wants to know as it is.
    Event(Event),
    /// A worker's link said hello; before anything that comes over it.
    WorkerLinked(LinkId, Link<ToWorker>),
    /// A driver's link said hello; before anything that comes over it. Links are numbered, so that what an
    /// earlier link of a driver still says can be told from what a later one does.
    DriverLinked(AppAttemptId, LinkId, Link<ToDriver>),
    /// A driver said something.
    FromDriver(AppAttemptId, LinkId, FromDriver),
    /// A driver's link closed.
    DriverLinkClosed(AppAttemptId, LinkId),
    /// A record of the scheduler could not be made durable; it is to be tried again.
    JournalFailed(RecordId),
}

impl Message for Fact {
    type Result = ();
}

/// Asks for every worker.
pub(crate) struct Workers;

impl Message for Workers {
    type Result = Vec<WorkerInfo>;
}

/// Closes all links; the answer is how many workers were still connected.
pub(crate) struct CloseLinks;

impl Message for CloseLinks {
    type Result = usize;
}

/// Asks for what the scheduler has counted, and for every worker.
pub(crate) struct Numbers;

impl Message for Numbers {
    type Result = (Counters, Vec<WorkerInfo>);
}

/// Asks how far an application is, and what the clock of the event log says. There is nothing to say of one
/// that the scheduler has forgotten: its last event is written.
pub(crate) struct Progress(pub AppId);

impl Message for Progress {
    type Result = (Option<AppProgress>, Timestamp);
}

/// Asks for the executors: all, or those of one application.
pub(crate) struct Executors(pub Option<AppId>);

impl Message for Executors {
    type Result = Vec<ExecutorInfo>;
}

/// Asks how many workers are connected.
pub(crate) struct ConnectedWorkers;

impl Message for ConnectedWorkers {
    type Result = usize;
}

impl Master {
    /// Starts the actor; `recovered` is its first event, and `kills` follow.
    pub(crate) fn start(scheduler: Scheduler, world: World, first: Vec<Event>) -> Addr<Self> {
        Self::create(|ctx| {
            ctx.set_mailbox_capacity(MAILBOX);
            let mut master = Self { scheduler, clock: Clock::start(), world };
            master.world.set_actor(ctx.address());
            for event in first {
                master.event(event);
            }
            master
        })
    }

    fn workers(&self) -> Vec<WorkerInfo> {
        self.scheduler.workers().into_iter().map(worker_info).collect()
    }

    fn event(&mut self, event: Event) {
        let now = self.clock.now();
        let scheduler = &mut self.scheduler;
        let stepped = catch_unwind(AssertUnwindSafe(|| scheduler.step(now, event)));
        let Ok(effects) = stepped else { give_up("the scheduler panicked") };
        for effect in effects {
            self.world.perform(effect);
        }
    }
}

/// Ends the process at once; what is durable is in the journal.
pub(crate) fn give_up(why: &str) -> ! {
    tracing::error!("{why}; the master ends, a new start recovers from its journal");
    eprintln!("firesteel master: {why}; the process ends, a new start recovers from its journal");
    std::process::abort()
}

impl Actor for Master {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(TICK, |master, _| {
            master.world.write_backlog();
            master.event(Event::Tick);
        });
    }
}

impl Handler<Fact> for Master {
    type Result = ();

    fn handle(&mut self, fact: Fact, ctx: &mut Self::Context) {
        match fact {
            Fact::Event(event) => {
                self.world.note(&event);
                self.event(event);
            }
            Fact::WorkerLinked(link, sender) => self.world.add_worker_link(link, sender),
            Fact::DriverLinked(app, link, sender) => self.world.add_driver_link(app, link, sender),
            Fact::FromDriver(app, link, message) => {
                if self.world.is_current(app, link) {
                    self.world.note_driver(app, &message);
                    self.event(Event::FromDriver { app, message });
                }
            }
            Fact::DriverLinkClosed(app, link) => {
                if self.world.remove_driver_link(app, link) {
                    self.event(Event::DriverLinkClosed(app));
                }
            }
            Fact::JournalFailed(record) => match self.world.journal_failed(record) {
                Retry::After(wait) => {
                    let again = actix::clock::sleep(wait).into_actor(self);
                    ctx.spawn(again.map(move |(), master, _| master.world.journal_again(record)));
                }
                Retry::Done => {}
                Retry::GiveUp => give_up("the journal could not be written for a day"),
            },
        }
    }
}

impl Handler<Workers> for Master {
    type Result = Vec<WorkerInfo>;

    fn handle(&mut self, _: Workers, _: &mut Self::Context) -> Self::Result {
        self.workers()
    }
}

impl Handler<CloseLinks> for Master {
    type Result = usize;

    fn handle(&mut self, _: CloseLinks, _: &mut Self::Context) -> usize {
        let connected = self.world.connected_workers();
        self.world.close_links();
        connected
    }
}

impl Handler<Numbers> for Master {
    type Result = MessageResult<Numbers>;

    fn handle(&mut self, _: Numbers, _: &mut Self::Context) -> Self::Result {
        MessageResult((self.scheduler.counters(), self.workers()))
    }
}

impl Handler<Progress> for Master {
    type Result = MessageResult<Progress>;

    fn handle(&mut self, Progress(app): Progress, _: &mut Self::Context) -> Self::Result {
        MessageResult((self.scheduler.progress(app), self.clock.now()))
    }
}

impl Handler<Executors> for Master {
    type Result = Vec<ExecutorInfo>;

    fn handle(&mut self, Executors(wanted): Executors, _: &mut Self::Context) -> Self::Result {
        let executors = self.world.executors().filter(|(app, ..)| wanted.is_none_or(|id| app.app == id));
        let info = |(app, worker, pid, started_ms)| {
            let view = self.scheduler.executor(app, worker)?;
            Some(ExecutorInfo {
                app: app.app,
                attempt: app.attempt,
                worker,
                host: view.host,
                pid,
                started_ms,
                slots: view.slots,
                slots_used: view.running,
                memory: view.memory,
                sandbox: view.sandbox,
            })
        };
        executors.filter_map(info).collect()
    }
}

impl Handler<ConnectedWorkers> for Master {
    type Result = usize;

    fn handle(&mut self, _: ConnectedWorkers, _: &mut Self::Context) -> usize {
        self.world.connected_workers()
    }
}

fn worker_info(view: WorkerView) -> WorkerInfo {
    WorkerInfo {
        worker: view.id,
        host: view.host,
        address: view.address,
        slots: view.slots,
        slots_free: view.free,
        drivers: view.drivers,
        alive: view.alive,
        draining: view.draining,
        memory: view.memory,
        sandbox: view.sandbox,
    }
}

/// Hands a fact to the actor from a link thread: waits while the mailbox is full, so the order of the link is
/// kept and its peer is slowed down. `false` when the actor is gone.
pub(crate) fn feed(actor: &Addr<Master>, fact: Fact) -> bool {
    let mut fact = fact;
    loop {
        match actor.try_send(fact) {
            Ok(()) => return true,
            Err(actix::dev::SendError::Full(refused)) => fact = refused,
            Err(actix::dev::SendError::Closed(_)) => return false,
        }
        std::thread::sleep(FULL_WAIT);
    }
}
