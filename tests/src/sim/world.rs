//! The simulated world: everything that exists in a run, what can happen in it, and the loop over it.

use super::checkers::{End, Outcomes};
use super::client::Client;
use super::clock::{Clock, Rng, mix};
use super::driver::DriverProcess;
use super::executor::ToWorkerShell;
use super::faults::{Fault, Plan};
use super::journal::Journal;
use super::master::MasterHost;
use super::network::{Conn, Message};
use super::scenario::{Kept, Scenario};
use super::trace::{Trace, say};
use super::worker::Host;
use super::{Options, Outcome};
use firesteel_common::block::BlockId;
use firesteel_common::config::{PoolConfig, SchedulerConfig, SchedulerMode};
use firesteel_common::id::{AppAttemptId, PluginHash, StageId, TaskId, WorkerId};
use firesteel_common::protocol::executor::ToExecutor;
use firesteel_common::protocol::worker::MapPlace;
use std::collections::BTreeMap;

/// How long after the last fault everything must have come to its end, in microseconds.
pub(crate) const LIVENESS_US: u64 = 60_000_000;
/// How often the shells say that time has passed, in microseconds.
pub(crate) const TICK_US: u64 = 100_000;
/// The most things that may happen in one run; more is an endless loop.
const HAPPENINGS_MAX: u64 = 2_000_000;

/// A process in an executor's family: host, life of the worker, application, life of the executor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ExecutorRef {
    pub(crate) host: usize,
    pub(crate) worker_life: u64,
    pub(crate) app: AppAttemptId,
    pub(crate) life: u64,
}

/// Something that will happen.
#[derive(Clone, Debug)]
pub(crate) enum Happening {
    /// A message arrives at the far end of a connection.
    Arrive {
        conn: u64,
        to_master: bool,
        number: u64,
        message: Message,
    },
    /// A message of an old connection of a host reaches the master a second time.
    Stray {
        conn: u64,
        message: firesteel_common::protocol::worker::FromWorker,
    },
    MasterStarts,
    MasterTick {
        life: u64,
    },
    MasterGoesOn {
        life: u64,
    },
    /// The oldest write under way is durable.
    Durable {
        number: u64,
    },
    ClientActs {
        client: usize,
    },
    WorkerStarts {
        host: usize,
    },
    WorkerTick {
        host: usize,
        life: u64,
    },
    WorkerGoesOn {
        host: usize,
        life: u64,
    },
    WorkerDials {
        host: usize,
        life: u64,
    },
    PluginFetched {
        host: usize,
        life: u64,
        plugin: PluginHash,
    },
    /// The store of a worker has made room for execution memory, as far as it could.
    RoomMade {
        host: usize,
        life: u64,
        ticket: u64,
        over: u64,
    },
    /// A worker has copied, as far as it could, blocks of another one.
    BlocksCopied {
        host: usize,
        life: u64,
        app: AppAttemptId,
        from: WorkerId,
        address: String,
        blocks: Vec<BlockId>,
    },
    /// An executor or a process of a worker says something to its shell.
    ToShell {
        host: usize,
        life: u64,
        message: ToWorkerShell,
    },
    ToExecutor {
        to: ExecutorRef,
        message: ToExecutor,
    },
    ExecutorReady {
        of: ExecutorRef,
    },
    /// An attempt looks for what it still has to read.
    TaskReads {
        of: ExecutorRef,
        task: TaskId,
    },
    /// A place that did not answer is given up.
    FetchTimesOut {
        of: ExecutorRef,
        task: TaskId,
        stage: StageId,
        map: u32,
        place: MapPlace,
    },
    TaskEnds {
        of: ExecutorRef,
        task: TaskId,
    },
    DriverDials {
        life: u64,
    },
    DriverActs {
        life: u64,
    },
    Fault(Fault),
    /// All faults end.
    Heal,
}

/// Everything that exists in a run.
pub(crate) struct World {
    pub(crate) seed: u64,
    pub(crate) options: Options,
    pub(crate) rng: Rng,
    pub(crate) clock: Clock<Happening>,
    pub(crate) trace: Trace,
    pub(crate) config: SchedulerConfig,
    pub(crate) master: MasterHost,
    pub(crate) journal: Journal,
    pub(crate) hosts: Vec<Host>,
    pub(crate) conns: BTreeMap<u64, Conn>,
    pub(crate) next_conn: u64,
    pub(crate) drivers: BTreeMap<u64, DriverProcess>,
    pub(crate) clients: Vec<Client>,
    pub(crate) plan: Plan,
    pub(crate) steps: u64,
    pub(crate) failure: Option<String>,
    pub(crate) outcomes: Outcomes,
    pub(crate) kept: Kept,
    lives: u64,
}

impl World {
    pub(crate) fn new(seed: u64, options: &Options) -> Self {
        let mut rng = Rng::new(seed);
        let hosts = (0..rng.between(2, 5)).map(|number| Host::new(number as usize, &mut rng)).collect();
        let clients = (0..rng.between(1, 3)).map(|number| Client::new(number as usize, &mut rng)).collect();
        let plan = Plan::new(&mut rng, options.scenario);
        let mut world = Self {
            seed,
            options: *options,
            rng,
            clock: Clock::new(),
            trace: Trace::new(options.trace),
            config: config(seed % 2 == 1, options.scenario),
            master: MasterHost::default(),
            journal: Journal::default(),
            hosts,
            conns: BTreeMap::new(),
            next_conn: 0,
            drivers: BTreeMap::new(),
            clients,
            plan,
            steps: 0,
            failure: None,
            outcomes: Outcomes::default(),
            kept: Kept::default(),
            lives: 0,
        };
        world.begin();
        world
    }

    fn begin(&mut self) {
        self.clock.at(0, Happening::MasterStarts);
        for host in 0..self.hosts.len() {
            let at = self.rng.between(1_000, 50_000);
            self.clock.at(at, Happening::WorkerStarts { host });
        }
        for client in 0..self.clients.len() {
            let at = self.rng.between(10_000, 1_500_000);
            self.clock.at(at, Happening::ClientActs { client });
        }
        for (at, fault) in self.plan.times() {
            self.clock.at(at, Happening::Fault(fault));
        }
        self.clock.at(self.plan.heal_at, Happening::Heal);
    }

    /// A number for a new process.
    pub(crate) fn new_life(&mut self) -> u64 {
        self.lives += 1;
        self.lives
    }

    /// A number that looks drawn at random, for this process only.
    pub(crate) fn drawn(&self, life: u64) -> u64 {
        mix(self.seed, life)
    }

    /// What did not hold; the first is kept.
    pub(crate) fn fail(&mut self, what: String) {
        say!(self, "FAILED: {what}");
        if self.failure.is_none() {
            self.failure = Some(format!("{what} (at {} us)", self.clock.now()));
        }
    }

    /// Runs to the end.
    pub(crate) fn run(mut self) -> Outcome {
        let deadline = self.plan.heal_at + LIVENESS_US;
        let mut happened = 0;
        while self.failure.is_none() {
            let Some(happening) = self.clock.next() else {
                self.fail("hung: nothing happens any more".to_owned());
                break;
            };
            happened += 1;
            if happened > HAPPENINGS_MAX {
                self.fail("hung: too much happens, an endless loop".to_owned());
                break;
            }
            if self.clock.now() > deadline {
                let End(missing) = self.end();
                let missing = missing.unwrap_or_else(|| "hung: nothing".to_owned());
                self.fail(format!("{missing}, 60 s after the last fault"));
                break;
            }
            self.happen(happening);
            if self.plan.healed && happened % 64 == 0 && self.end().0.is_none() {
                break;
            }
        }
        self.outcome()
    }

    fn outcome(mut self) -> Outcome {
        if self.failure.is_some() && self.trace.is_on() {
            let state = self.dump();
            self.trace.line(self.clock.now(), format_args!("the end\n{state}"));
        }
        Outcome {
            seed: self.seed,
            ok: self.failure.is_none(),
            faults: self.plan.fired.clone(),
            steps: self.steps,
            apps: self.clients.len() as u32,
            succeeded: self.journal.apps.values().filter(|app| matches!(app.outcome, Some(Ok(_)))).count()
                as u32,
            virtual_us: self.clock.now(),
            failure: self.failure,
            trace: self.trace.into_text(),
        }
    }

    fn happen(&mut self, happening: Happening) {
        let Some(happening) = self.unless_stopped(happening) else { return };
        match happening {
            Happening::Arrive { conn, to_master, number, message } => {
                self.arrive(conn, to_master, number, message);
            }
            Happening::Stray { conn, message } => self.stray_arrives(conn, message),
            Happening::MasterStarts => self.master_starts(),
            Happening::MasterTick { life } => self.master_tick(life),
            Happening::MasterGoesOn { life } => self.master_goes_on(life),
            Happening::Durable { number } => self.durable(number),
            Happening::ClientActs { client } => self.client_acts(client),
            Happening::WorkerStarts { host } => self.worker_starts(host),
            Happening::WorkerTick { host, life } => self.worker_tick(host, life),
            Happening::WorkerGoesOn { host, life } => self.worker_goes_on(host, life),
            Happening::WorkerDials { host, life } => self.worker_dials(host, life),
            Happening::PluginFetched { host, life, plugin } => self.plugin_fetched(host, life, plugin),
            Happening::RoomMade { host, life, ticket, over } => {
                self.worker_step(host, life, firesteel_core::WorkerEvent::RoomMade { ticket, over });
            }
            Happening::BlocksCopied { host, life, app, from, address, blocks } => {
                self.blocks_copied((host, life), (app, from), &address, blocks);
            }
            Happening::ToShell { host, life, message } => self.shell_hears(host, life, message),
            Happening::ToExecutor { to, message } => self.executor_hears(to, message),
            Happening::ExecutorReady { of } => self.executor_ready(of),
            Happening::TaskReads { of, task } => self.task_reads(of, task),
            Happening::FetchTimesOut { of, task, stage, map, place } => {
                self.fetch_times_out(of, task, (stage, map), place);
            }
            Happening::TaskEnds { of, task } => self.task_ends(of, task),
            Happening::DriverDials { life } => self.driver_dials(life),
            Happening::DriverActs { life } => self.driver_acts(life),
            Happening::Fault(fault) => self.fault(fault),
            Happening::Heal => self.heal(),
        }
    }

    /// A process that was stopped (SIGSTOP) hears nothing: what comes waits for it, in order.
    fn unless_stopped(&mut self, happening: Happening) -> Option<Happening> {
        let waiting = match &happening {
            Happening::Arrive { to_master: true, .. }
            | Happening::Stray { .. }
            | Happening::MasterTick { .. } => {
                self.master.up.as_mut().filter(|up| up.stopped).map(|up| &mut up.waiting)
            }
            Happening::Arrive { conn, to_master: false, .. } => {
                let peer = self.conns.get(conn).map(|conn| conn.peer);
                match peer {
                    Some(super::network::Peer::Worker { host, life }) => {
                        waiting_at(&mut self.hosts, host, life)
                    }
                    _ => None,
                }
            }
            Happening::WorkerTick { host, life }
            | Happening::WorkerDials { host, life }
            | Happening::PluginFetched { host, life, .. }
            | Happening::RoomMade { host, life, .. }
            | Happening::BlocksCopied { host, life, .. }
            | Happening::ToShell { host, life, .. } => waiting_at(&mut self.hosts, *host, *life),
            _ => None,
        };
        match waiting {
            Some(waiting) => {
                waiting.push(happening);
                None
            }
            None => Some(happening),
        }
    }
}

fn waiting_at(hosts: &mut [Host], host: usize, life: u64) -> Option<&mut Vec<Happening>> {
    let process = hosts.get_mut(host)?.process.as_mut()?;
    (process.life == life && process.stopped).then_some(&mut process.waiting)
}

/// Short times, so that faults meet work; high limits on repetition, since faults alone must fail nothing.
fn config(fair: bool, scenario: Option<Scenario>) -> SchedulerConfig {
    // A driver of the worker may take its time, and nothing is to be left behind.
    let drain_timeout_ms = if scenario == Some(Scenario::Leaves) { 50_000 } else { 5_000 };
    SchedulerConfig {
        heartbeat_ms: 200,
        worker_timeout_ms: 1_000,
        reconnect_ms: 400,
        task_failures_max: 8,
        stage_attempts_max: 1_000,
        locality_wait_ms: 50,
        no_workers_timeout_ms: 30_000,
        driver_attempts_max: 100,
        drain_timeout_ms,
        mode: if fair { SchedulerMode::Fair } else { SchedulerMode::Fifo },
        pools: vec![PoolConfig { name: "reports".to_owned(), weight: 2, min_share: 1 }],
    }
}
