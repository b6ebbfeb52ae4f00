//! What is known of one worker, and the table of them. Ids are never reused, so an id that is held anywhere
//! can at worst point to nothing.

use crate::event::LinkId;
use firesteel_common::id::{AppAttemptId, AppId, Epoch, Incarnation, StageId, TaskId, WorkerId};
use firesteel_common::sandbox::Sandbox;
use firesteel_common::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Every epoch counts its workers from a number of its own, so that ids of different epochs differ.
const IDS_PER_EPOCH: u64 = 1_000_000;

/// How many closed connections are remembered.
const DEAD_LINKS_MAX: usize = 1_024;

/// Beside a task that takes less than this, the way of a report to the master and of the next launch back
/// counts; in microseconds.
const AHEAD_BELOW_US: u64 = 5_000;
/// About so long a slot can go on with what it was given ahead, in microseconds.
const AHEAD_US: u64 = 500;
/// The most tasks that a slot is given ahead.
const AHEAD_MAX: u64 = 32;

/// A host name, numbered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct HostId(pub u32);

/// A worker that is not lost.
#[derive(Debug)]
pub(crate) struct Worker {
    pub id: WorkerId,
    pub incarnation: Incarnation,
    pub host: HostId,
    pub host_name: String,
    pub address: Arc<str>,
    pub slots: u32,
    /// The budget of its block store, in bytes.
    pub memory: u64,
    pub sandbox: Sandbox,
    pub drivers_max: u32,
    /// Drivers that hold a place: they run, or were told to end and have not exited.
    pub drivers: BTreeSet<AppAttemptId>,
    /// Attempts that run here, those that wait for an input included.
    pub running: Vec<TaskId>,
    /// How many of these hold a slot (those that wait do not).
    pub used: u32,
    /// Tasks of a stage that it may be given beyond its slots, see [`Worker::note_run`].
    pub ahead: Option<(AppId, StageId, u32)>,
    /// Whether it is to leave, and how far that is.
    pub drain: Option<Box<crate::drain::Drain>>,
    /// Its connection; `None` while it may come back.
    pub link: Option<LinkId>,
    /// The newest connection that it has registered over.
    pub newest_link: LinkId,
    /// When its connection closed.
    pub disconnected: Timestamp,
    /// When it was last heard of.
    pub last_seen: Timestamp,
    /// Applications that ended while it was not connected.
    pub owed: Vec<AppAttemptId>,
    /// The stage whose code and input tables it was told last: a shortcut around the sets of the stages.
    pub told_last: Option<(AppAttemptId, StageId)>,
    /// Under how many free slots the placement index has it; 0 if it does not.
    pub indexed: u32,
    /// Whether it is in the placement's list of changed workers.
    pub dirty: bool,
    /// Where the launches of this step for it are, if they are.
    pub launch_at: usize,
}

impl Worker {
    /// Whether it is connected and is not to leave.
    pub fn takes_work(&self) -> bool {
        self.link.is_some() && self.drain.is_none()
    }

    /// Slots that a task could be given now.
    pub fn free(&self) -> u32 {
        self.free_beside(0)
    }

    fn free_beside(&self, ahead: u32) -> u32 {
        if self.takes_work() { self.slots.saturating_add(ahead).saturating_sub(self.used) } else { 0 }
    }

    /// Of which stage it may be given tasks ahead, and how many now.
    pub fn free_ahead(&self) -> Option<(AppId, StageId, u32)> {
        let (app, stage, ahead) = self.ahead?;
        Some((app, stage, self.free_beside(ahead))).filter(|(_, _, free)| *free > 0)
    }

    /// Notes how long its last task took. While those of a stage are short beside the way to the master and
    /// back, each slot is given some of them ahead, so that its executor does not stand still between two.
    pub fn note_run(&mut self, task: TaskId, run_us: u64) {
        let short = (1..AHEAD_BELOW_US).contains(&run_us);
        let each = |run_us: u64| (AHEAD_US / run_us).clamp(1, AHEAD_MAX) as u32;
        self.ahead = short.then(|| (task.app.app, task.stage, self.slots.saturating_mul(each(run_us))));
    }
}

/// All workers that are not lost.
#[derive(Debug)]
pub(crate) struct Workers {
    base: u64,
    /// Those that this epoch has named, by id.
    recent: Vec<Option<Box<Worker>>>,
    /// Those that an earlier epoch has named.
    older: BTreeMap<WorkerId, Box<Worker>>,
    /// Ids of earlier epochs that were lost in this one.
    retired: BTreeSet<WorkerId>,
    hosts: BTreeMap<String, HostId>,
    pub links: BTreeMap<LinkId, WorkerId>,
    /// Connections that are closed, or were given up: nothing that still comes over them counts. The newest
    /// ones.
    dead_links: BTreeSet<LinkId>,
    pub incarnations: BTreeMap<Incarnation, WorkerId>,
    pub addresses: BTreeMap<Arc<str>, WorkerId>,
    /// Not lost, whether connected or not.
    pub count: usize,
}

impl Workers {
    pub fn new(epoch: Epoch) -> Self {
        Self {
            base: epoch.0.saturating_sub(1).saturating_mul(IDS_PER_EPOCH) + 1,
            recent: Vec::new(),
            older: BTreeMap::new(),
            retired: BTreeSet::new(),
            hosts: BTreeMap::new(),
            links: BTreeMap::new(),
            dead_links: BTreeSet::new(),
            incarnations: BTreeMap::new(),
            addresses: BTreeMap::new(),
            count: 0,
        }
    }

    pub fn get(&self, id: WorkerId) -> Option<&Worker> {
        match id.0.checked_sub(self.base) {
            Some(at) => self.recent.get(at as usize)?.as_deref(),
            None => self.older.get(&id).map(|worker| &**worker),
        }
    }

    pub fn get_mut(&mut self, id: WorkerId) -> Option<&mut Worker> {
        match id.0.checked_sub(self.base) {
            Some(at) => self.recent.get_mut(at as usize)?.as_deref_mut(),
            None => self.older.get_mut(&id).map(|worker| &mut **worker),
        }
    }

    /// Takes a connection from its worker for good.
    pub fn unbind(&mut self, link: LinkId) {
        self.links.remove(&link);
        self.dead_links.insert(link);
        if self.dead_links.len() > DEAD_LINKS_MAX {
            self.dead_links.pop_first();
        }
    }

    pub fn is_dead(&self, link: LinkId) -> bool {
        self.dead_links.contains(&link)
    }

    /// All of them in the order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = &Worker> {
        self.older
            .values()
            .map(|worker| &**worker)
            .chain(self.recent.iter().filter_map(|slot| slot.as_deref()))
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Worker> {
        let older = self.older.values_mut().map(|worker| &mut **worker);
        older.chain(self.recent.iter_mut().filter_map(|slot| slot.as_deref_mut()))
    }

    /// The number of a host name that some worker had; `None` if none ever had it.
    pub fn host(&self, name: &str) -> Option<HostId> {
        self.hosts.get(name).copied()
    }

    /// The name of a host.
    pub fn host_name(&self, host: HostId) -> String {
        let found = self.hosts.iter().find(|(_, id)| **id == host);
        found.map(|(name, _)| name.clone()).unwrap_or_default()
    }

    pub fn host_or_new(&mut self, name: &str) -> HostId {
        let next = HostId(self.hosts.len() as u32);
        *self.hosts.entry(name.to_owned()).or_insert(next)
    }

    /// Chooses the id of a new worker: that of an earlier epoch if it has one that is not taken.
    pub fn choose_id(&mut self, earlier: Option<WorkerId>) -> WorkerId {
        if let Some(id) = earlier
            && id.0 < self.base
            && !self.older.contains_key(&id)
            && !self.retired.contains(&id)
        {
            return id;
        }
        self.recent.push(None);
        WorkerId(self.base + self.recent.len() as u64 - 1)
    }

    pub fn insert(&mut self, worker: Worker) {
        self.incarnations.insert(worker.incarnation, worker.id);
        self.addresses.insert(worker.address.clone(), worker.id);
        self.count += 1;
        match worker.id.0.checked_sub(self.base) {
            Some(at) => {
                if let Some(slot) = self.recent.get_mut(at as usize) {
                    *slot = Some(Box::new(worker));
                }
            }
            None => {
                self.older.insert(worker.id, Box::new(worker));
            }
        }
    }

    pub fn remove(&mut self, id: WorkerId) -> Option<Worker> {
        let worker = match id.0.checked_sub(self.base) {
            Some(at) => self.recent.get_mut(at as usize)?.take()?,
            None => {
                let worker = self.older.remove(&id)?;
                self.retired.insert(id);
                worker
            }
        };
        self.count -= 1;
        self.incarnations.remove(&worker.incarnation);
        if self.addresses.get(&worker.address) == Some(&id) {
            self.addresses.remove(&worker.address);
        }
        if let Some(link) = worker.link {
            self.unbind(link);
        }
        Some(*worker)
    }
}
