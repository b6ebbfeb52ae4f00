//! The simulated shell of the master: events in, effects out, links by number. What the scheduler decides is
//! the scheduler's own, here is only what the real shell does around it.

use super::journal::Write;
use super::network::{Message, Peer};
use super::trace::say;
use super::world::{Happening, TICK_US, World};
use firesteel_common::id::{AppAttemptId, Epoch, WorkerId};
use firesteel_common::protocol::driver::ToDriver;
use firesteel_common::protocol::worker::{FromWorker, ToMaster, ToWorker};
use firesteel_common::time::Timestamp;
use firesteel_scheduler::{Effect, Event, LinkId, Scheduler, invariants};
use std::collections::BTreeMap;

/// A running master.
pub(crate) struct MasterProcess {
    pub(crate) life: u64,
    pub(crate) scheduler: Scheduler,
    pub(crate) started: u64,
    pub(crate) bound: BTreeMap<WorkerId, u64>,
    pub(crate) drivers: BTreeMap<AppAttemptId, u64>,
    pub(crate) stopped: bool,
    /// What waits while it is stopped.
    pub(crate) waiting: Vec<Happening>,
    /// Facts from inside its process that wait while it is stopped.
    facts: Vec<Event>,
}

/// The machine of the master.
#[derive(Default)]
pub(crate) struct MasterHost {
    pub(crate) up: Option<MasterProcess>,
}

impl World {
    pub(crate) fn master_starts(&mut self) {
        if self.master.up.is_some() {
            return;
        }
        let life = self.new_life();
        let (epoch, recovered) = self.journal_opens();
        let mut scheduler = Scheduler::new(self.config.clone(), Epoch(epoch));
        if let Some(bug) = self.options.bug {
            scheduler.plant(bug);
        }
        self.master.up = Some(MasterProcess {
            life,
            scheduler,
            started: self.clock.now(),
            bound: BTreeMap::new(),
            drivers: BTreeMap::new(),
            stopped: false,
            waiting: Vec::new(),
            facts: Vec::new(),
        });
        say!(self, "master starts: epoch {epoch}, {} applications recovered", recovered.len());
        self.step(Event::Recovered(recovered));
        self.clock.after(TICK_US, Happening::MasterTick { life });
    }

    pub(crate) fn master_crashes(&mut self) {
        say!(self, "master crashes");
        self.note_kept();
        self.outcomes.forget();
        self.master.up = None;
        self.journal_crashes();
        self.master_conns_die();
    }

    pub(crate) fn master_tick(&mut self, life: u64) {
        if self.master.up.as_ref().is_some_and(|up| up.life == life) {
            self.step(Event::Tick);
            self.clock.after(TICK_US, Happening::MasterTick { life });
        }
    }

    /// A stopped master goes on: what has waited for it comes at once, in order.
    pub(crate) fn master_goes_on(&mut self, life: u64) {
        let Some(up) = self.master.up.as_mut().filter(|up| up.life == life && up.stopped) else { return };
        up.stopped = false;
        let (waiting, facts) = (std::mem::take(&mut up.waiting), std::mem::take(&mut up.facts));
        say!(self, "master goes on: {} messages wait", waiting.len());
        for event in facts {
            self.step(event);
        }
        for happening in waiting {
            self.clock.after(0, happening);
        }
    }

    /// Tells the scheduler something, now or when its process goes on.
    pub(crate) fn tell_master(&mut self, event: Event) {
        let Some(up) = &mut self.master.up else { return };
        if up.stopped {
            up.facts.push(event);
            return;
        }
        self.step(event);
    }

    pub(crate) fn arrive_at_master(&mut self, conn: u64, message: Message) {
        let Some(life) = self.master.up.as_ref().map(|up| up.life) else { return };
        let Some(link) = self.conns.get(&conn) else { return };
        let (peer, master, was_open) = (link.peer, link.master, link.open_at_master);
        if matches!(message, Message::End) {
            self.close(conn, true);
        }
        if master != life {
            return;
        }
        match message {
            Message::FromWorker(message) => {
                if let Peer::Worker { host, .. } = peer {
                    self.note_late(host, conn);
                }
                // A message of a link that was closed here may already have been in the mailbox.
                if was_open || self.rng.chance(50) {
                    self.step(Event::FromWorker { link: LinkId(conn), message });
                }
            }
            Message::FromDriver(message) => {
                if let Peer::Driver { app, .. } = peer
                    && self.is_driver_conn(app, conn)
                {
                    self.step(Event::FromDriver { app, message });
                }
            }
            Message::End => match peer {
                Peer::Worker { .. } => self.step(Event::WorkerLinkClosed(LinkId(conn))),
                Peer::Driver { app, .. } => {
                    if self.is_driver_conn(app, conn) {
                        if let Some(up) = &mut self.master.up {
                            up.drivers.remove(&app);
                        }
                        self.step(Event::DriverLinkClosed(app));
                    }
                }
            },
            Message::ToWorker(_) | Message::ToDriver(_) => {}
        }
    }

    fn is_driver_conn(&self, app: AppAttemptId, conn: u64) -> bool {
        self.master.up.as_ref().is_some_and(|up| up.drivers.get(&app) == Some(&conn))
    }

    /// A driver has said hello on a connection: it is that of its application attempt from now on, and an
    /// older one is closed first.
    pub(crate) fn accept_driver(&mut self, app: AppAttemptId, conn: u64) {
        let old = self.master.up.as_mut().and_then(|up| up.drivers.remove(&app));
        if let Some(old) = old {
            self.close(old, true);
            self.step(Event::DriverLinkClosed(app));
        }
        if let Some(up) = &mut self.master.up {
            up.drivers.insert(app, conn);
        }
    }

    /// A message of an old connection, said a second time: over that connection, or, if a later master runs,
    /// over the one that its host has now.
    pub(crate) fn stray_arrives(&mut self, conn: u64, message: FromWorker) {
        if self.master.up.is_some() {
            self.step(Event::FromWorker { link: LinkId(conn), message });
        }
    }

    /// One step of the scheduler, with everything that follows from it.
    pub(crate) fn step(&mut self, event: Event) {
        let now = self.clock.now();
        let Some(up) = &mut self.master.up else { return };
        if self.trace.is_on() {
            let beat = |message: &FromWorker| message.message == ToMaster::Heartbeat;
            let is_beat = matches!(&event, Event::FromWorker { message, .. } if beat(message));
            if !is_beat && !matches!(event, Event::Tick) {
                self.trace.line(now, format_args!("master hears {event:?}"));
            }
        }
        let effects = up.scheduler.step(Timestamp(now - up.started), event);
        self.steps += 1;
        let checked = invariants::check(&up.scheduler);
        for effect in effects {
            say!(self, "  master wants {effect:?}");
            self.perform(effect);
        }
        if let Err(broken) = checked {
            self.fail(format!("inconsistent: the scheduler: {broken}"));
        }
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::BindWorker { link, worker } => {
                let old = self.master.up.as_mut().and_then(|up| up.bound.insert(worker, link.0));
                if let Some(old) = old
                    && old != link.0
                {
                    self.close(old, true);
                }
            }
            Effect::RefuseLink { link, error } => {
                self.send(link.0, false, Message::ToWorker(ToWorker::Refused(error)));
                self.close(link.0, true);
            }
            Effect::DropWorker(worker) => {
                let conn = self.master.up.as_mut().and_then(|up| up.bound.remove(&worker));
                if let Some(conn) = conn {
                    self.close(conn, true);
                }
            }
            Effect::SendWorker { worker, message } => {
                let conn = self.master.up.as_ref().and_then(|up| up.bound.get(&worker).copied());
                if let Some(conn) = conn {
                    self.send(conn, false, Message::ToWorker(message));
                }
            }
            Effect::SendDriver { app, message } => self.send_driver(app, message),
            Effect::JournalAttempt(attempt) => self.write(Write::Attempt(attempt)),
            Effect::JournalOutcome { app, outcome } => self.write(Write::Outcome(app, outcome)),
            Effect::Log(event) => self.check_log(&event),
        }
    }

    fn send_driver(&mut self, app: AppAttemptId, message: ToDriver) {
        let conn = self.master.up.as_ref().and_then(|up| up.drivers.get(&app).copied());
        if let Some(conn) = conn {
            self.send(conn, false, Message::ToDriver(message));
        }
    }
}
