//! What nobody needs any more is freed: stages and datasets that the driver has let go, once no unfinished
//! job has them in its lineage; and everything, when the application is over.

use crate::PlantedBug;
use crate::app::Run;
use crate::cluster::Cluster;
use firesteel_common::error::{Error, ErrorCode};
use firesteel_common::event::AppEvent;
use firesteel_common::id::{DatasetId, StageId, WorkerId};
use firesteel_common::protocol::worker::ToWorker;
use std::collections::{BTreeMap, BTreeSet};

impl Run {
    /// The driver refers to these no longer.
    pub fn release(&mut self, cx: &mut Cluster, stages: &[StageId], datasets: &[DatasetId]) {
        for id in stages {
            if let Some(stage) = self.stages.get_mut(id) {
                stage.released = true;
                self.releasing = true;
            }
        }
        for id in datasets {
            if let Some(dataset) = self.datasets.get_mut(id) {
                dataset.released = true;
                self.releasing = true;
            }
        }
        self.free_released(cx);
    }

    /// Frees what was released and is needed no longer.
    pub fn free_released(&mut self, cx: &mut Cluster) {
        if !self.releasing || cx.is_planted(PlantedBug::Release) {
            return;
        }
        let is_free = |id: &StageId| self.stages.get(id).is_some_and(|s| s.released && s.jobs.is_empty());
        let stages: Vec<StageId> = self.stages.keys().copied().filter(is_free).collect();
        let needed: BTreeSet<DatasetId> = self
            .stages
            .values()
            .filter(|s| !s.jobs.is_empty())
            .flat_map(|s| s.datasets.iter().copied())
            .collect();
        let is_free =
            |id: &DatasetId| !needed.contains(id) && self.datasets.get(id).is_some_and(|d| d.released);
        let datasets: Vec<DatasetId> = self.datasets.keys().copied().filter(is_free).collect();
        let mut holders: BTreeMap<WorkerId, (Vec<StageId>, Vec<DatasetId>)> = BTreeMap::new();
        for id in stages {
            for worker in self.drop_outputs(cx, id) {
                holders.entry(worker).or_default().0.push(id);
            }
        }
        self.remove_unread_stages(cx);
        for id in datasets {
            let Some(dataset) = self.datasets.remove(&id) else { continue };
            let workers: BTreeSet<WorkerId> = dataset.holders.into_values().flatten().collect();
            for worker in workers {
                holders.entry(worker).or_default().1.push(id);
            }
        }
        for (worker, (stages, datasets)) in holders {
            cx.tell_worker(worker, ToWorker::Free { app: self.app, stages, datasets });
        }
        let is_waiting = self.stages.values().any(|s| s.released && !s.jobs.is_empty());
        self.releasing = is_waiting || self.datasets.values().any(|dataset| dataset.released);
    }

    /// Forgets all outputs of a stage; gives the workers that know or hold something of it.
    fn drop_outputs(&mut self, cx: &mut Cluster, id: StageId) -> BTreeSet<WorkerId> {
        self.deactivate(cx, id);
        let Some(stage) = self.stages.get_mut(&id) else { return BTreeSet::new() };
        let mut holders = std::mem::take(&mut stage.code_told);
        holders.append(&mut stage.table_told);
        holders.append(&mut stage.result_holders);
        for partition in 0..stage.tasks.len() as u32 {
            if let Some(output) = stage.clear_output(partition) {
                holders.insert(output.worker);
            }
        }
        stage.table = None;
        stage.changed.clear();
        for worker in &holders {
            if let Some(worker) = cx.workers.get_mut(*worker) {
                worker.told_last = None;
            }
        }
        holders
    }

    /// Removes released stages that no stage reads, then those that only they have read.
    fn remove_unread_stages(&mut self, cx: &mut Cluster) {
        let is_unread = |stage: &crate::stage::Stage| {
            stage.released && stage.consumers.is_empty() && stage.jobs.is_empty()
        };
        let mut unread: Vec<StageId> =
            self.stages.values().filter(|stage| is_unread(stage)).map(|stage| stage.id).collect();
        while let Some(id) = unread.pop() {
            self.graph.remove(id);
            let Some(mut stage) = self.stages.remove(&id) else { continue };
            cx.placement.withdraw(&mut stage);
            for input in &stage.inputs {
                let Some(parent) = self.stages.get_mut(&input.stage) else { continue };
                parent.consumers.retain(|consumer| *consumer != id);
                if is_unread(parent) && !unread.contains(&parent.id) {
                    unread.push(parent.id);
                }
            }
        }
    }

    /// Stops everything, without freeing what workers hold: the driver is gone, or has finished.
    pub fn stop_all(&mut self, cx: &mut Cluster, why: &str) {
        let jobs: Vec<_> = self.jobs.keys().copied().collect();
        for job in jobs {
            let error = Error::new(ErrorCode::Killed, format!("{job} was stopped: {why}"));
            cx.log(self.app, AppEvent::JobEnded { job, error: Some(error) });
        }
        self.jobs.clear();
        self.found_attempts = Default::default();
        let stages: Vec<StageId> = self.stages.keys().copied().collect();
        for id in &stages {
            if let Some(stage) = self.stages.get_mut(id) {
                stage.jobs.clear();
                stage.targeted_by.clear();
            }
        }
        for id in stages {
            if self.stages.get(&id).is_some_and(|stage| stage.active) {
                self.deactivate(cx, id);
            }
        }
    }

    /// Tells all workers that this attempt is over.
    pub fn end(&mut self, cx: &mut Cluster, driver: Option<WorkerId>) {
        let mut workers = std::mem::take(&mut self.workers);
        workers.extend(driver);
        for worker in workers {
            cx.tell_end(worker, self.app);
            if let Some(state) = cx.workers.get_mut(worker) {
                state.told_last = None;
            }
        }
    }
}
