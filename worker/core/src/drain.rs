//! How a worker leaves, and how it takes over the map outputs of another that does. What is needed of a
//! worker that leaves, and who takes it, the master decides; bytes are the shell's.

use crate::app::output_block;
use crate::core::WorkerCore;
use crate::event::WorkerEffect;
use firesteel_common::block::MapStatus;
use firesteel_common::id::{AppAttemptId, TaskId, WorkerId};
use firesteel_common::protocol::worker::ToMaster;
use std::sync::Arc;

impl WorkerCore {
    /// The process was asked to end. Without a master nobody could take anything over.
    pub(crate) fn terminate(&mut self, out: &mut Vec<WorkerEffect>) {
        let again = std::mem::replace(&mut self.terminating, true);
        self.draining = true;
        if again || !self.link.registered {
            return out.push(WorkerEffect::Leave);
        }
        self.say(ToMaster::Draining, out);
    }

    /// The master is gone while the process is to end: it waits no longer. A worker that is to leave because
    /// the master wants it waits for the next master.
    pub(crate) fn forsaken(&mut self, out: &mut Vec<WorkerEffect>) {
        if self.terminating {
            out.push(WorkerEffect::Leave);
        }
    }

    /// Says to a master that has answered a registration that this worker wants to leave.
    pub(crate) fn drain_again(&mut self, out: &mut Vec<WorkerEffect>) {
        if self.draining {
            self.say(ToMaster::Draining, out);
        }
    }

    /// Map outputs of a worker that leaves are to be copied.
    pub(crate) fn fetch_outputs(
        &mut self,
        id: AppAttemptId,
        (from, address): (WorkerId, Arc<str>),
        mut outputs: Vec<(TaskId, MapStatus)>,
        out: &mut Vec<WorkerEffect>,
    ) {
        let app = self.apps.entry(id).or_default();
        let here: Vec<(TaskId, bool)> = (outputs.iter())
            .filter(|(task, _)| app.outputs.contains_key(task) && task.app == id)
            .map(|(task, _)| (*task, true))
            .collect();
        outputs.retain(|(task, status)| {
            let fits = task.app == id && !app.outputs.contains_key(task) && !app.knows(task);
            fits && app.copying.insert(*task, status.clone()).is_none()
        });
        if !here.is_empty() {
            self.say(ToMaster::OutputsMoved { app: id, from, outputs: here }, out);
        }
        if !outputs.is_empty() {
            out.push(WorkerEffect::CopyOutputs { app: id, from, address, outputs });
        }
    }

    /// Copies are here, or could not be made. One that nobody waits for any more is freed; so is one of which
    /// the master cannot be told now, since it would not be asked for.
    pub(crate) fn outputs_copied(
        &mut self,
        id: AppAttemptId,
        from: WorkerId,
        outputs: Vec<(TaskId, bool)>,
        out: &mut Vec<WorkerEffect>,
    ) {
        let registered = self.link.registered;
        let mut freed = Vec::new();
        let mut told = Vec::new();
        for (task, copied) in outputs {
            let app = self.apps.get_mut(&id);
            let status = app.and_then(|app| app.copying.remove(&task));
            match (status, self.apps.get_mut(&id)) {
                (Some(status), Some(app)) if copied && registered => {
                    app.outputs.insert(task, status);
                    told.push((task, true));
                }
                (Some(_), _) if !copied => told.push((task, false)),
                _ if copied => freed.push(output_block(&task)),
                _ => {}
            }
        }
        if !freed.is_empty() {
            out.push(WorkerEffect::FreeBlocks(freed));
        }
        if registered && !told.is_empty() {
            self.say(ToMaster::OutputsMoved { app: id, from, outputs: told }, out);
        }
    }
}
