//! Faults: when they happen, what they do, and how often each kind has happened.

use super::clock::Rng;
use super::network::Peer;
use super::scenario::Scenario;
use super::trace::say;
use super::worker::is_map_output;
use super::world::{Happening, World};
use firesteel_common::block::{BlockId, BlockKind};
use firesteel_core::WorkerEvent;
use std::collections::BTreeMap;

macro_rules! kinds {
    ($($name:ident = $text:literal, $weight:literal;)*) => {
        /// The kinds of faults.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Kind { $($name),* }

        impl Kind {
            pub(crate) const ALL: &[Kind] = &[$(Kind::$name),*];

            /// The name under which it is counted.
            pub(crate) fn name(self) -> &'static str {
                match self { $(Kind::$name => $text),* }
            }

            /// How often it is drawn, compared with the others.
            fn weight(self) -> u64 {
                match self { $(Kind::$name => $weight),* }
            }
        }
    };
}

kinds! {
    ExecutorCrash = "executor crash", 10;
    WorkerCrash = "worker crash", 8;
    WorkerRestart = "worker restart", 8;
    WorkerPause = "worker pause", 8;
    MasterCrash = "master crash", 8;
    MasterPause = "master pause", 6;
    CutFromMaster = "partition from master", 8;
    CutFromPeer = "partition between workers", 10;
    Delay = "one-way delay", 8;
    Reorder = "reorder", 12;
    Duplicate = "duplicate", 12;
    LinkBreak = "link break", 8;
    DriverLinkBreak = "driver link break", 8;
    DriverCrash = "driver crash", 3;
    TaskFailure = "task failure", 8;
    CorruptBlock = "corrupt block", 8;
    MissingBlock = "missing block", 8;
    Kill = "kill application", 3;
    Leave = "worker leaves", 8;
    SlowTask = "slow task", 10;
}

/// A fault that is planned.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    /// One of this kind, on somebody chosen when it happens.
    Of(Kind),
    /// The connection breaks, and what was under way to the master arrives late.
    LateBreak(u64),
}

/// The faults of a run.
#[derive(Default)]
pub(crate) struct Plan {
    planned: Vec<(u64, Kind)>,
    pub(crate) heal_at: u64,
    pub(crate) healed: bool,
    pub(crate) fired: BTreeMap<&'static str, u32>,
    /// How often more faults were asked for because too few had happened.
    extensions: u32,
    scenario: Option<Scenario>,
}

/// A run has at least so many faults, of at least so many kinds.
const FAULTS_MIN: u32 = 5;
const KINDS_MIN: usize = 3;
/// How often a run is made longer for the sake of these.
const EXTENSIONS_MAX: u32 = 40;

impl Plan {
    pub(crate) fn new(rng: &mut Rng, scenario: Option<Scenario>) -> Self {
        if let Some(scenario) = scenario {
            let planned: Vec<_> = scenario.times(rng).into_iter().map(|at| (at, scenario.kind())).collect();
            let last = planned.iter().map(|(at, _)| *at).max().unwrap_or_default();
            let heal_at = last + if scenario == Scenario::Pauses { 13_000_000 } else { 500_000 };
            return Self { planned, heal_at, scenario: Some(scenario), ..Self::default() };
        }
        let span = rng.between(1_500_000, 5_000_000);
        let planned: Vec<_> =
            (0..rng.between(7, 16)).map(|_| (rng.between(150_000, span), random_kind(rng))).collect();
        let heal_at = span + 300_000;
        Self { planned, heal_at, ..Self::default() }
    }

    pub(crate) fn times(&self) -> Vec<(u64, Fault)> {
        self.planned.iter().map(|(at, kind)| (*at, Fault::Of(*kind))).collect()
    }

    pub(crate) fn count(&mut self, kind: Kind) {
        *self.fired.entry(kind.name()).or_default() += 1;
    }

    fn enough(&self) -> bool {
        let enough = self.fired.values().sum::<u32>() >= FAULTS_MIN && self.fired.len() >= KINDS_MIN;
        self.scenario.is_some() || enough
    }
}

fn random_kind(rng: &mut Rng) -> Kind {
    let all: u64 = Kind::ALL.iter().map(|kind| kind.weight()).sum();
    let mut drawn = rng.below(all);
    for kind in Kind::ALL {
        if drawn < kind.weight() {
            return *kind;
        }
        drawn -= kind.weight();
    }
    Kind::LinkBreak
}

impl World {
    pub(crate) fn fault(&mut self, fault: Fault) {
        match fault {
            Fault::LateBreak(conn) => self.break_link(conn, false),
            Fault::Of(kind) if self.plan.scenario.is_some() => drop(self.happens(kind)),
            Fault::Of(kind) => {
                // A fault that meets nobody is replaced by one that does; applications are not ended for
                // that.
                for _ in 0..Kind::ALL.len() {
                    let kind = if self.plan.extensions > 0 { random_kind(&mut self.rng) } else { kind };
                    if self.happens(kind) {
                        return;
                    }
                }
                for kind in [Kind::LinkBreak, Kind::WorkerRestart, Kind::CutFromPeer] {
                    if self.happens(kind) {
                        return;
                    }
                }
            }
        }
    }

    /// Makes a fault happen, if there is anybody that it can happen to.
    fn happens(&mut self, kind: Kind) -> bool {
        let done = match kind {
            Kind::ExecutorCrash => self.crash_executor(),
            Kind::WorkerCrash => self.crash_worker(300_000, 2_500_000),
            Kind::WorkerRestart => self.crash_worker(1_000, 50_000),
            Kind::WorkerPause => self.stop_worker(),
            Kind::MasterCrash => self.crash_master(),
            Kind::MasterPause => self.stop_master(),
            Kind::CutFromMaster => self.cut_from_master(),
            Kind::CutFromPeer => self.cut_from_peer(),
            Kind::Delay => self.delay_one_way(),
            Kind::Reorder => return self.begin_reorder(),
            Kind::Duplicate => self.say_twice(),
            Kind::LinkBreak => self.break_some_link(false),
            Kind::DriverLinkBreak => self.break_some_link(true),
            Kind::DriverCrash => self.crash_driver(),
            Kind::TaskFailure => self.fail_task(),
            Kind::CorruptBlock => self.damage_block(true),
            Kind::MissingBlock => self.damage_block(false),
            Kind::Kill => self.kill_application(),
            Kind::Leave => self.leave(),
            Kind::SlowTask => self.slow_task(),
        };
        if done {
            self.plan.count(kind);
            say!(self, "FAULT: {}", kind.name());
        }
        done
    }

    fn live_host(&mut self) -> Option<(usize, u64)> {
        let live = |host: &super::worker::Host| {
            host.process
                .as_ref()
                .filter(|process| !process.stopped)
                .map(|process| (host.number, process.life))
        };
        let live: Vec<_> = self.hosts.iter().filter_map(live).collect();
        self.rng.pick(&live)
    }

    fn crash_executor(&mut self) -> bool {
        let mut all = Vec::new();
        for host in &self.hosts {
            if let Some(process) = &host.process {
                all.extend(process.executors.keys().map(|app| (host.number, process.life, *app)));
            }
        }
        let Some((host, life, app)) = self.rng.pick(&all) else { return false };
        self.note_failure(app.app);
        self.end_executor(host, life, app, "killed by signal 11");
        true
    }

    fn crash_worker(&mut self, soonest: u64, latest: u64) -> bool {
        let Some((host, _)) = self.live_host() else { return false };
        self.worker_dies(host);
        let delay = self.rng.between(soonest, latest);
        self.clock.after(delay, Happening::WorkerStarts { host });
        true
    }

    /// A worker is asked to leave, and comes back as another when it has.
    fn leave(&mut self) -> bool {
        if self.plan.scenario.is_some() && !self.can_spare_one() {
            return false;
        }
        let Some((host, life)) = self.live_host() else { return false };
        let over_http = self.rng.chance(40);
        let worker = self.process(host, life).and_then(|process| process.core.worker());
        match worker.filter(|_| over_http && self.master.up.is_some()) {
            Some(worker) => self.tell_master(firesteel_scheduler::Event::DrainWorker(worker)),
            None => self.worker_step(host, life, WorkerEvent::Terminate),
        }
        true
    }

    fn stop_worker(&mut self) -> bool {
        let Some((host, life)) = self.live_host() else { return false };
        if let Some(process) = self.process(host, life) {
            process.stopped = true;
        }
        let delay = self.rng.between(100_000, 3_000_000);
        self.clock.after(delay, Happening::WorkerGoesOn { host, life });
        true
    }

    fn crash_master(&mut self) -> bool {
        if self.master.up.is_none() {
            return false;
        }
        self.master_crashes();
        let latest = if self.plan.scenario.is_some() { 150_000 } else { 1_500_000 };
        let delay = self.rng.between(20_000, latest);
        self.clock.after(delay, Happening::MasterStarts);
        true
    }

    fn stop_master(&mut self) -> bool {
        let Some(up) = self.master.up.as_mut().filter(|up| !up.stopped) else { return false };
        up.stopped = true;
        let life = up.life;
        let (soonest, latest) =
            if self.plan.scenario.is_some() { (3_000_000, 12_000_000) } else { (100_000, 2_500_000) };
        let delay = self.rng.between(soonest, latest);
        self.clock.after(delay, Happening::MasterGoesOn { life });
        true
    }

    fn cut_from_master(&mut self) -> bool {
        let Some((host, life)) = self.live_host() else { return false };
        let until = self.clock.now() + self.rng.between(100_000, 3_000_000);
        let breaks = self.rng.chance(40);
        let conn = self.process(host, life).and_then(|process| process.conn);
        if let Some(machine) = self.hosts.get_mut(host) {
            machine.master_cut_until = until;
        }
        if let Some(conn) = conn.filter(|_| breaks) {
            self.break_link(conn, true);
        }
        true
    }

    fn cut_from_peer(&mut self) -> bool {
        let count = self.hosts.len() as u64;
        let one = self.rng.below(count) as usize;
        let two = (one + 1 + self.rng.below(count - 1) as usize) % count as usize;
        let until = self.clock.now() + self.rng.between(200_000, 3_000_000);
        for (from, to) in [(one, two), (two, one)] {
            if let Some(host) = self.hosts.get_mut(from) {
                host.peer_cut_until.insert(to, until);
            }
        }
        true
    }

    fn some_conn(&mut self, of_drivers: bool) -> Option<u64> {
        let open: Vec<u64> = self
            .conns
            .values()
            .filter(|conn| conn.open_at_master && conn.open_at_peer)
            .filter(|conn| matches!(conn.peer, Peer::Driver { .. }) == of_drivers)
            .map(|conn| conn.id)
            .collect();
        self.rng.pick(&open)
    }

    fn delay_one_way(&mut self) -> bool {
        let of_drivers = self.rng.chance(25);
        let Some(conn) = self.some_conn(of_drivers) else { return false };
        // A driver beside its client that hears too late of a broken connection is rightly given up.
        let slowest = if of_drivers { 150_000 } else { 1_200_000 };
        let (to_master, slow) = (self.rng.chance(50), self.rng.between(50_000, slowest));
        if let Some(conn) = self.conns.get_mut(&conn) {
            let way = if to_master { &mut conn.to_master } else { &mut conn.to_peer };
            way.slow_us = slow;
        }
        true
    }

    /// The last messages of a link come late, and the link breaks meanwhile: its host will have another one.
    /// Counted when the first of them arrives ([`World::note_late`]).
    fn begin_reorder(&mut self) -> bool {
        let Some(conn) = self.some_conn(false) else { return false };
        let slow = self.rng.between(200_000, 700_000);
        if let Some(conn) = self.conns.get_mut(&conn) {
            conn.to_master.slow_us = slow;
        }
        let soon = self.rng.between(20_000, 150_000);
        self.clock.after(soon, Happening::Fault(Fault::LateBreak(conn)));
        say!(self, "FAULT: the last messages of link-{conn} will come late");
        true
    }

    /// A message of a connection that is gone reaches the master a second time: over that connection, or over
    /// the one that its host has now if it is of an earlier process or an earlier master.
    fn say_twice(&mut self) -> bool {
        let with_past: Vec<usize> =
            self.hosts.iter().filter(|host| !host.past.is_empty()).map(|host| host.number).collect();
        let Some(number) = self.rng.pick(&with_past) else { return false };
        let drawn = self.rng.next() as usize;
        let Some(host) = self.hosts.get(number) else { return false };
        let Some(past) = host.past.get(drawn % host.past.len()).cloned() else { return false };
        let now = host
            .process
            .as_ref()
            .map(|process| (process.conn, (process.core.epoch(), process.core.incarnation())));
        let master = self.master.up.as_ref().map(|up| up.life);
        let mut conn = past.conn;
        if let Some((Some(present), (epoch, incarnation))) = now {
            let old = past.message.incarnation != incarnation || past.message.epoch < epoch;
            if old && past.message.epoch.0 > 0 && (master != Some(past.master) || self.rng.chance(50)) {
                conn = present;
            }
        }
        let delay = self.rng.between(1_000, 300_000);
        self.clock.after(delay, Happening::Stray { conn, message: past.message });
        true
    }

    fn break_some_link(&mut self, of_drivers: bool) -> bool {
        let Some(conn) = self.some_conn(of_drivers) else { return false };
        self.break_link(conn, true);
        true
    }

    fn crash_driver(&mut self) -> bool {
        let all: Vec<(u64, usize)> =
            self.drivers.values().map(|driver| (driver.life, driver.client)).collect();
        let Some((life, client)) = self.rng.pick(&all) else { return false };
        if let Some(client) = self.clients.get_mut(client) {
            client.driver_crashed = true;
        }
        self.end_driver(life, "killed by signal 6");
        true
    }

    fn some_attempt(&mut self) -> Option<&mut super::executor::Attempt> {
        let mut running = Vec::new();
        for host in &self.hosts {
            for (app, executor) in host.process.iter().flat_map(|process| &process.executors) {
                running.extend(executor.attempts.keys().map(|task| (host.number, *app, *task)));
            }
        }
        let (host, app, task) = self.rng.pick(&running)?;
        let process = self.hosts.get_mut(host).and_then(|host| host.process.as_mut());
        process.and_then(|process| process.executors.get_mut(&app))?.attempts.get_mut(&task)
    }

    fn fail_task(&mut self) -> bool {
        let failing = self.some_attempt().map(|attempt| {
            attempt.fails = true;
            attempt.task().app.app
        });
        failing.is_some_and(|app| self.note_failure(app))
    }

    /// An application has been made to suffer a failure that counts against workers.
    fn note_failure(&mut self, app: firesteel_common::id::AppId) -> bool {
        let client = self.journal.apps.get(&app).and_then(|record| self.clients.get_mut(record.client));
        client.map(|client| client.failures_seen = true).is_some()
    }

    /// An attempt takes seconds longer than it should; a rival of it does not.
    fn slow_task(&mut self) -> bool {
        let until = self.clock.now() + self.rng.between(500_000, 12_000_000);
        self.some_attempt().map(|attempt| attempt.slow_until = until).is_some()
    }

    /// Damages a block, or makes it vanish, with or without the store's noticing.
    fn damage_block(&mut self, corrupt: bool) -> bool {
        let may = |block: &BlockId| is_map_output(block) || matches!(block.kind, BlockKind::Cached { .. });
        let mut all = Vec::new();
        for host in &self.hosts {
            if let Some(process) = host.process.as_ref().filter(|process| !process.stopped) {
                let blocks = process.blocks.keys().filter(|block| may(block));
                all.extend(blocks.map(|block| (host.number, process.life, *block)));
            }
        }
        let Some((host, life, block)) = self.rng.pick(&all) else { return false };
        let noticed = self.rng.chance(50);
        let Some(process) = self.process(host, life) else { return false };
        if corrupt {
            if let Some(stored) = process.blocks.get_mut(&block) {
                stored.corrupt = true;
            }
            return true;
        }
        process.blocks.remove(&block);
        if noticed {
            self.worker_step(host, life, WorkerEvent::BlocksLost(vec![block]));
        }
        true
    }

    fn kill_application(&mut self) -> bool {
        let may = |client: &&super::client::Client| client.app.is_some() && !client.done && !client.killed;
        let running: Vec<usize> = self.clients.iter().filter(may).map(|client| client.number).collect();
        let Some(number) = self.rng.pick(&running) else { return false };
        if let Some(client) = self.clients.get_mut(number) {
            client.killed = true;
        }
        self.clock.after(0, Happening::ClientActs { client: number });
        true
    }

    /// All faults end, unless there were too few.
    pub(crate) fn heal(&mut self) {
        if !self.plan.enough() && self.plan.extensions < EXTENSIONS_MAX {
            self.plan.extensions += 1;
            self.clock.after(50_000, Happening::Fault(Fault::Of(Kind::LinkBreak)));
            self.clock.after(150_000, Happening::Heal);
            self.plan.heal_at = self.clock.now() + 150_000;
            return;
        }
        say!(self, "everything heals");
        self.plan.healed = true;
        for conn in self.conns.values_mut() {
            (conn.to_master.slow_us, conn.to_peer.slow_us) = (0, 0);
        }
        if let Some(life) = self.master.up.as_ref().map(|up| up.life) {
            self.master_goes_on(life);
        }
        self.clock.after(0, Happening::MasterStarts);
        for number in 0..self.hosts.len() {
            let Some(host) = self.hosts.get_mut(number) else { continue };
            host.master_cut_until = 0;
            host.peer_cut_until.clear();
            let life = host.process.as_ref().map(|process| process.life);
            match life {
                Some(life) => self.worker_goes_on(number, life),
                None => self.clock.after(0, Happening::WorkerStarts { host: number }),
            }
        }
        if !self.plan.enough() {
            self.fail("wrong: too few faults have happened".to_owned());
        }
    }
}
