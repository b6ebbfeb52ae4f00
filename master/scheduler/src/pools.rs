//! Whose turn it is. Applications are served in the order of their submission; in `fair` mode, pools first:
//! one that has less than its minimum share goes before one that has not, and the rest by what they hold for
//! their weight. (The rule is that of Spark's fair scheduler.)

use crate::Scheduler;
use crate::cluster::SetKey;
use firesteel_common::config::{SchedulerConfig, SchedulerMode};
use firesteel_common::id::{AppId, StageId, WorkerId};
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

/// What a pool is entitled to.
#[derive(Clone, Copy, Debug)]
struct Share {
    weight: u32,
    min_share: u32,
}

/// A pool that nobody has configured.
const PLAIN: Share = Share { weight: 1, min_share: 0 };

/// See the module.
#[derive(Debug)]
pub(crate) struct Pools {
    pub fair: bool,
    shares: BTreeMap<String, Share>,
    /// Slots that attempts of each pool hold, in fair mode.
    held: BTreeMap<String, u32>,
}

impl Pools {
    pub fn new(config: &SchedulerConfig) -> Self {
        let share = |pool: &firesteel_common::config::PoolConfig| {
            (pool.name.clone(), Share { weight: pool.weight.max(1), min_share: pool.min_share })
        };
        Self {
            fair: config.mode == SchedulerMode::Fair,
            shares: config.pools.iter().map(share).collect(),
            held: BTreeMap::new(),
        }
    }

    pub fn took_slot(&mut self, pool: &str) {
        if !self.fair {
            return;
        }
        match self.held.get_mut(pool) {
            Some(held) => *held += 1,
            None => drop(self.held.insert(pool.to_owned(), 1)),
        }
    }

    pub fn gave_slot_back(&mut self, pool: &str) {
        if let Some(held) = self.held.get_mut(pool) {
            *held = held.saturating_sub(1);
            if *held == 0 {
                self.held.remove(pool);
            }
        }
    }

    /// The weight of a pool.
    pub fn weight(&self, pool: &str) -> u32 {
        self.share(pool).weight
    }

    /// Which of two pools goes first.
    fn order(&self, a: &str, b: &str) -> Ordering {
        let held = |pool| self.held.get(pool).copied().unwrap_or(0);
        order((held(a), self.share(a)), (held(b), self.share(b))).then_with(|| a.cmp(b))
    }

    fn share(&self, pool: &str) -> Share {
        self.shares.get(pool).copied().unwrap_or(PLAIN)
    }
}

/// Which of two pools goes first, by the slots that they hold and their shares.
fn order((held_a, a): (u32, Share), (held_b, b): (u32, Share)) -> Ordering {
    // Fractions are compared by their cross products.
    let ratio = |x: u32, of_x: u32, y: u32, of_y: u32| {
        (u64::from(x) * u64::from(of_y)).cmp(&(u64::from(y) * u64::from(of_x)))
    };
    match (held_a < a.min_share, held_b < b.min_share) {
        (true, false) => Ordering::Less,
        (false, true) => Ordering::Greater,
        (true, true) => ratio(held_a, a.min_share.max(1), held_b, b.min_share.max(1)),
        (false, false) => ratio(held_a, a.weight, held_b, b.weight),
    }
}

impl Scheduler {
    /// Gives the free slots of one worker away one by one, each to the pool whose turn it is.
    pub(crate) fn fill_fairly(&mut self, id: WorkerId) {
        let mut passed = BTreeSet::new();
        while let Some(worker) = self.cluster.workers.get(id)
            && worker.free() > 0
        {
            let host = worker.host;
            let Some(app) = self.fairest(&passed) else { break };
            let sets: Vec<StageId> = self.sets_of(app).map(|key| key.2).collect();
            let Some(run) = self.apps.get_mut(&app).map(|app| &mut app.run) else { break };
            let cx = &mut self.cluster;
            let started = sets.into_iter().any(|stage| run.fill_from(cx, stage, id, host, 1) > 0);
            if !started {
                passed.insert(app);
            }
        }
        self.index(id);
    }

    fn sets_of(&self, app: AppId) -> impl Iterator<Item = &SetKey> {
        let from = (app, Default::default(), Default::default());
        self.cluster.placement.ready.range(from..).take_while(move |key| key.0 == app)
    }

    /// The application whose turn it is, of those that have pending tasks and were not passed over.
    fn fairest(&self, passed: &BTreeSet<AppId>) -> Option<AppId> {
        let ready = &self.cluster.placement.ready;
        let mut best: Option<(AppId, &str)> = None;
        let mut next = ready.first();
        while let Some(key) = next {
            let app = key.0;
            let last = (app, firesteel_common::id::JobId(u32::MAX), StageId(u32::MAX));
            next = ready.range((Bound::Excluded(last), Bound::Unbounded)).next();
            let Some(run) = self.apps.get(&app).map(|app| &app.run) else { continue };
            if passed.contains(&app) || !run.may_take_slot() {
                continue;
            }
            let pool = run.options.pool.as_str();
            if best.is_none_or(|(_, known)| self.cluster.pools.order(pool, known) == Ordering::Less) {
                best = Some((app, pool));
            }
        }
        best.map(|(app, _)| app)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn needy_pools_go_first_then_those_that_hold_least_for_their_weight() {
        let share = |weight, min_share| Share { weight, min_share };
        let check = |a, b, expect| assert_eq!(order(a, b), expect, "{a:?} {b:?}");
        check((1, share(1, 0)), (2, share(1, 0)), Ordering::Less);
        check((2, share(3, 0)), (1, share(1, 0)), Ordering::Less);
        check((3, share(1, 4)), (0, share(9, 0)), Ordering::Less);
        check((1, share(1, 4)), (1, share(1, 2)), Ordering::Less);
        check((4, share(1, 4)), (4, share(1, 0)), Ordering::Equal);
    }
}
