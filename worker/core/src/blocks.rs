//! Blocks: which of them this worker holds for whom. Bytes are the shell's.

use crate::app::{Held, result_of};
use crate::core::WorkerCore;
use crate::event::WorkerEffect;
use firesteel_common::block::{BlockId, BlockKind, StorageLevel};
use firesteel_common::id::{AppAttemptId, DatasetId, StageId, TaskId};
use firesteel_common::protocol::executor::ToExecutor;

impl WorkerCore {
    /// A large result is here; the report of its attempt follows.
    pub(crate) fn result_block(
        &mut self,
        id: AppAttemptId,
        block: BlockId,
        bytes: u64,
        out: &mut Vec<WorkerEffect>,
    ) {
        let leaving = self.leaving.contains(&id);
        match (self.apps.get_mut(&id), result_of(&block)) {
            (Some(app), Some(task)) if !leaving && app.running.contains(&task) => {
                app.blocks.insert(block, Held { bytes, level: StorageLevel::MemoryAndDisk });
            }
            _ => out.push(WorkerEffect::FreeBlocks(vec![block])),
        }
    }

    /// A cached partition is here. A block of another kind, or of another application, is not kept.
    pub(crate) fn store(
        &mut self,
        id: AppAttemptId,
        request: u64,
        (block, level): (BlockId, StorageLevel),
        bytes: u64,
        out: &mut Vec<WorkerEffect>,
    ) {
        let fits = block.app == id && block.map_task().is_none() && result_of(&block).is_none();
        let kept = fits && self.executor_lives(id);
        match self.apps.get_mut(&id) {
            Some(app) if kept => {
                app.blocks.insert(block, Held { bytes, level });
            }
            _ => out.push(WorkerEffect::FreeBlocks(vec![block])),
        }
        self.answer(id, ToExecutor::Stored { request, kept }, out);
    }

    /// An executor asks for a block of this worker.
    pub(crate) fn open_block(
        &mut self,
        id: AppAttemptId,
        request: u64,
        block: BlockId,
        out: &mut Vec<WorkerEffect>,
    ) {
        let own = block.app == id;
        let found = self.apps.get(&id).filter(|_| own).and_then(|app| app.find(&block));
        self.answer(id, ToExecutor::Block { request, found }, out);
    }

    pub(crate) fn answer(&mut self, app: AppAttemptId, message: ToExecutor, out: &mut Vec<WorkerEffect>) {
        if self.executor_lives(app) {
            out.push(WorkerEffect::SendExecutor { app, message });
        }
    }

    /// Nobody refers to these any more: their blocks, their code and their tables go.
    pub(crate) fn free(
        &mut self,
        id: AppAttemptId,
        stages: Vec<StageId>,
        datasets: Vec<DatasetId>,
        out: &mut Vec<WorkerEffect>,
    ) {
        let lives = self.executor_lives(id);
        let Some(app) = self.apps.get_mut(&id) else {
            return;
        };
        let goes = |block: &BlockId| match block.kind {
            BlockKind::MapOutput { stage, .. } | BlockKind::Result { stage, .. } => stages.contains(&stage),
            BlockKind::Cached { dataset, .. } => datasets.contains(&dataset),
            BlockKind::Broadcast { .. } => false,
        };
        let freed: Vec<BlockId> = app.all_blocks().filter(goes).collect();
        app.outputs.retain(|task, _| !stages.contains(&task.stage));
        app.copying.retain(|block, _| !goes(block));
        app.blocks.retain(|block, _| !goes(block));
        for stage in &stages {
            app.stages.remove(stage);
            app.inputs.remove(stage);
            app.told_stages.remove(stage);
            app.told_inputs.remove(stage);
        }
        app.unanswered.retain(|(_, stage, _), _| !stages.contains(stage));
        if !freed.is_empty() {
            out.push(WorkerEffect::FreeBlocks(freed));
        }
        if lives {
            let message = ToExecutor::Forget { stages, datasets };
            out.push(WorkerEffect::SendExecutor { app: id, message });
        }
    }

    /// Frees what single attempts have left here.
    pub(crate) fn free_outputs(&mut self, tasks: &[TaskId], out: &mut Vec<WorkerEffect>) {
        let mut freed = Vec::new();
        for task in tasks {
            if let Some(app) = self.apps.get_mut(&task.app) {
                freed.extend(app.take_blocks_of(task));
            }
        }
        if !freed.is_empty() {
            out.push(WorkerEffect::FreeBlocks(freed));
        }
    }

    /// The store has lost blocks: whoever asks for them will be told that they are missing.
    pub(crate) fn blocks_lost(&mut self, blocks: &[BlockId]) {
        for block in blocks {
            if let Some(app) = self.apps.get_mut(&block.app) {
                app.blocks.remove(block);
                if let Some(task) = block.map_task() {
                    app.outputs.remove(&task);
                }
            }
        }
    }
}
