//! The simulated network between the master on one side and workers and drivers on the other: connections
//! whose two directions each keep their order, that delay, break, lose what is under way, and whose last
//! messages may arrive after the connection that replaced them stands.

use super::trace::say;
use super::world::{Happening, World};
use firesteel_common::id::AppAttemptId;
use firesteel_common::protocol::driver::{FromDriver, ToDriver};
use firesteel_common::protocol::worker::{FromWorker, ToWorker};
use std::collections::VecDeque;

/// How many past messages of a worker are remembered, to be said a second time.
const REMEMBERED: usize = 24;

/// How often what cannot get through is sent again, in microseconds.
const RESEND_US: u64 = 10_000;

/// Who is at the far end of a connection to the master.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    /// A worker process on a host.
    Worker { host: usize, life: u64 },
    /// A driver process.
    Driver { life: u64, app: AppAttemptId },
}

/// A message on its way.
#[derive(Clone, Debug)]
pub(crate) enum Message {
    FromWorker(FromWorker),
    ToWorker(ToWorker),
    FromDriver(FromDriver),
    ToDriver(ToDriver),
    /// The sender has closed the connection, or it broke there.
    End,
}

/// One direction of a connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Way {
    /// When the last message arrives; none overtakes it.
    last_arrival: u64,
    sent: u64,
    arrived: u64,
    /// Messages from this number on are lost.
    limit: Option<u64>,
    /// Added to every message's time while a fault lasts.
    pub(crate) slow_us: u64,
}

/// A message that was sent over a connection that is gone.
#[derive(Clone, Debug)]
pub(crate) struct Past {
    pub(crate) conn: u64,
    /// The process of the master that the connection led to.
    pub(crate) master: u64,
    pub(crate) message: FromWorker,
}

/// A connection to the master.
#[derive(Clone, Debug)]
pub(crate) struct Conn {
    pub(crate) id: u64,
    /// Which process of the master it leads to.
    pub(crate) master: u64,
    pub(crate) peer: Peer,
    pub(crate) to_master: Way,
    pub(crate) to_peer: Way,
    /// Whether each end believes that it is open.
    pub(crate) open_at_master: bool,
    pub(crate) open_at_peer: bool,
    /// The last messages of the peer that were sent to the master.
    pub(crate) past: VecDeque<FromWorker>,
}

impl World {
    /// The host whose network a connection goes through; `None` for drivers beside the submitting command.
    fn host_of(&self, peer: Peer) -> Option<usize> {
        match peer {
            Peer::Worker { host, .. } => Some(host),
            Peer::Driver { life, .. } => {
                self.drivers.get(&life).and_then(|driver| driver.home).map(|(host, _)| host)
            }
        }
    }

    /// Until when a peer and the master cannot hear each other.
    fn cut_until(&self, peer: Peer) -> u64 {
        self.host_of(peer).and_then(|host| self.hosts.get(host)).map_or(0, |host| host.master_cut_until)
    }

    /// Dials the master. `None` if nobody answers.
    pub(crate) fn dial(&mut self, peer: Peer) -> Option<u64> {
        let master = self.master.up.as_ref().map(|up| (up.life, up.stopped))?;
        if master.1 || self.cut_until(peer) > self.clock.now() {
            return None;
        }
        self.next_conn += 1;
        let id = self.next_conn;
        let conn = Conn {
            id,
            master: master.0,
            peer,
            to_master: Way::default(),
            to_peer: Way::default(),
            open_at_master: true,
            open_at_peer: true,
            past: VecDeque::new(),
        };
        self.conns.insert(id, conn);
        Some(id)
    }

    /// Sends over a connection; what cannot be sent is dropped.
    pub(crate) fn send(&mut self, conn: u64, to_master: bool, message: Message) {
        let now = self.clock.now();
        let delay = self.rng.between(100, 1_500);
        let Some(link) = self.conns.get_mut(&conn) else { return };
        let open = if to_master { link.open_at_peer } else { link.open_at_master };
        if !open {
            return;
        }
        if let Message::FromWorker(message) = &message {
            link.past.push_back(message.clone());
            if link.past.len() > REMEMBERED {
                link.past.pop_front();
            }
        }
        let way = if to_master { &mut link.to_master } else { &mut link.to_peer };
        let arrival = (now + delay + way.slow_us).max(way.last_arrival);
        way.last_arrival = arrival;
        way.sent += 1;
        let number = way.sent;
        self.clock.at(arrival, Happening::Arrive { conn, to_master, number, message });
    }

    /// One end closes a connection: the other gets what was sent before, then the end of it.
    pub(crate) fn close(&mut self, conn: u64, at_master: bool) {
        self.send(conn, !at_master, Message::End);
        if let Some(link) = self.conns.get_mut(&conn) {
            let open = if at_master { &mut link.open_at_master } else { &mut link.open_at_peer };
            *open = false;
        }
    }

    /// A connection breaks: of what is under way in each direction a random first part still arrives (never
    /// more than was sent), then both ends see the end.
    pub(crate) fn break_link(&mut self, conn: u64, lose: bool) {
        let Some(link) = self.conns.get(&conn) else { return };
        let ways = [(true, link.to_master.clone()), (false, link.to_peer.clone())];
        for (to_master, way) in ways {
            let under_way = way.sent - way.arrived;
            let survive = if lose { self.rng.below(under_way + 1) } else { under_way };
            let limit = way.arrived + survive;
            self.send(conn, to_master, Message::End);
            if let Some(link) = self.conns.get_mut(&conn) {
                let way = if to_master { &mut link.to_master } else { &mut link.to_peer };
                way.limit = Some(limit);
            }
        }
        if let Some(link) = self.conns.get_mut(&conn) {
            link.open_at_master = false;
            link.open_at_peer = false;
        }
    }

    /// A process dies: its ends of all its connections are gone; what it had sent may still arrive.
    pub(crate) fn peer_dies(&mut self, dead: impl Fn(&Conn) -> bool) {
        let gone: Vec<u64> = self.conns.values().filter(|conn| dead(conn)).map(|conn| conn.id).collect();
        for conn in gone {
            self.close(conn, false);
        }
    }

    /// The master dies: what was under way to it is lost, what it had sent may still arrive.
    pub(crate) fn master_conns_die(&mut self) {
        let all: Vec<u64> = self.conns.keys().copied().collect();
        for conn in all {
            self.close(conn, true);
        }
    }

    pub(crate) fn arrive(&mut self, conn: u64, to_master: bool, number: u64, message: Message) {
        let now = self.clock.now();
        let Some(peer) = self.conns.get(&conn).map(|link| link.peer) else { return };
        let cut = self.cut_until(peer) > now;
        let Some(link) = self.conns.get_mut(&conn) else { return };
        let way = if to_master { &mut link.to_master } else { &mut link.to_peer };
        if cut || number > way.arrived + 1 {
            // It is sent again and again until it gets through, and none overtakes another.
            self.clock.after(RESEND_US, Happening::Arrive { conn, to_master, number, message });
            return;
        }
        way.arrived = number;
        let lost = way.limit.is_some_and(|limit| number > limit) && !matches!(message, Message::End);
        if lost {
            say!(self, "lost on link-{conn}: {message:?}");
            return;
        }
        if to_master {
            self.arrive_at_master(conn, message);
        } else {
            self.arrive_at_peer(conn, message);
        }
        self.forget_dead_conns(conn);
    }

    /// Forgets a connection that both ends have closed and on which nothing is under way.
    fn forget_dead_conns(&mut self, conn: u64) {
        let done = self.conns.get(&conn).is_some_and(|link| {
            let idle =
                link.to_master.arrived == link.to_master.sent && link.to_peer.arrived == link.to_peer.sent;
            !link.open_at_master && !link.open_at_peer && idle
        });
        if done
            && let Some(link) = self.conns.remove(&conn)
            && let Peer::Worker { host, .. } = link.peer
        {
            self.remember_past(host, link);
        }
    }

    fn remember_past(&mut self, host: usize, link: Conn) {
        if let Some(host) = self.hosts.get_mut(host) {
            host.past.extend(link.past.into_iter().map(|message| Past {
                conn: link.id,
                master: link.master,
                message,
            }));
            while host.past.len() > REMEMBERED {
                host.past.pop_front();
            }
        }
    }

    fn arrive_at_peer(&mut self, conn: u64, message: Message) {
        let Some(peer) = self.conns.get(&conn).map(|link| link.peer) else { return };
        if matches!(message, Message::End) {
            self.close(conn, false);
        }
        match peer {
            Peer::Worker { host, life } => self.worker_hears(host, life, conn, message),
            Peer::Driver { life, .. } => self.driver_hears(life, conn, message),
        }
    }
}
