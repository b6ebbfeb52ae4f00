//! How a worker leaves, and how it copies blocks of another: of one that leaves, or as replicas. What is
//! copied, and by whom, the master decides; bytes are the shell's.

use crate::app::Held;
use crate::core::WorkerCore;
use crate::event::WorkerEffect;
use firesteel_common::block::{BlockCopy, BlockId, BlockKind};
use firesteel_common::id::{AppAttemptId, WorkerId};
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

    /// Blocks of another worker are to be copied.
    pub(crate) fn fetch_blocks(
        &mut self,
        id: AppAttemptId,
        (from, address): (WorkerId, Arc<str>),
        mut blocks: Vec<BlockCopy>,
        out: &mut Vec<WorkerEffect>,
    ) {
        let app = self.apps.entry(id).or_default();
        let own = blocks.iter().map(|copy| copy.block).filter(|block| block.app == id);
        let here: Vec<(BlockId, bool)> =
            own.filter(|block| app.find(block).is_some()).map(|block| (block, true)).collect();
        blocks.retain(|copy| {
            let may_come = match (copy.block.kind, copy.block.map_task()) {
                (BlockKind::Cached { .. }, _) => copy.status.is_none(),
                (_, Some(task)) => copy.status.is_some() && !app.knows(&task),
                _ => false,
            };
            let fits = may_come && copy.block.app == id && app.find(&copy.block).is_none();
            fits && app.copying.insert(copy.block, copy.clone()).is_none()
        });
        if !here.is_empty() {
            self.say(ToMaster::BlocksCopied { app: id, from, blocks: here }, out);
        }
        if !blocks.is_empty() {
            out.push(WorkerEffect::CopyBlocks { app: id, from, address, blocks });
        }
    }

    /// Copies are here, or could not be made. One that nobody waits for any more is freed; so is one of which
    /// the master cannot be told now, since it would not be asked for.
    pub(crate) fn blocks_copied(
        &mut self,
        id: AppAttemptId,
        from: WorkerId,
        blocks: Vec<(BlockId, Option<u64>)>,
        out: &mut Vec<WorkerEffect>,
    ) {
        let registered = self.link.registered;
        let mut freed = Vec::new();
        let mut told = Vec::new();
        for (block, copied) in blocks {
            let wanted = self.apps.get_mut(&id).and_then(|app| Some((app.copying.remove(&block)?, app)));
            match (wanted, copied) {
                (Some((copy, app)), Some(bytes)) if registered => {
                    match (block.map_task(), copy.status) {
                        (Some(task), Some(status)) => drop(app.outputs.insert(task, status)),
                        _ => drop(app.blocks.insert(block, Held { bytes, level: copy.level })),
                    }
                    told.push((block, true));
                }
                (Some(_), None) => told.push((block, false)),
                (_, Some(_)) => freed.push(block),
                _ => {}
            }
        }
        if !freed.is_empty() {
            out.push(WorkerEffect::FreeBlocks(freed));
        }
        if registered && !told.is_empty() {
            self.say(ToMaster::BlocksCopied { app: id, from, blocks: told }, out);
        }
    }
}
