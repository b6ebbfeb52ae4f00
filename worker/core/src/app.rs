//! What a worker keeps of one application attempt: its executor, its attempts, its blocks, and everything
//! that a new executor would have to be told again.

use firesteel_common::block::{BlockCopy, BlockId, BlockKind, MapStatus, StorageLevel};
use firesteel_common::event::FetchCause;
use firesteel_common::id::{AppAttemptId, PluginHash, StageId, TaskId};
use firesteel_common::options::Limits;
use firesteel_common::protocol::executor::OpenedBlock;
use firesteel_common::protocol::worker::{InputTable, MapPlace, StageCode, TaskLaunch};
use firesteel_common::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Where an executor is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Executor {
    /// There is none.
    #[default]
    Absent,
    /// Its plugin is under way.
    Fetching(PluginHash),
    /// It was started, or will be when its predecessor has ended.
    Starting,
    /// It takes tasks.
    Ready,
}

/// A fetch failure that nobody has answered: the reader waits.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Unanswered {
    pub(crate) place: Option<MapPlace>,
    pub(crate) cause: FetchCause,
}

/// What is known of a block that is no map output.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Held {
    /// Its length.
    pub(crate) bytes: u64,
    /// Where a cached partition may be.
    pub(crate) level: StorageLevel,
}

/// One application attempt on this worker.
#[derive(Clone, Debug, Default)]
pub(crate) struct App {
    pub(crate) executor: Executor,
    /// The process of the executor; 0 if there is none.
    pub(crate) pid: u32,
    /// What the executor may use.
    pub(crate) limits: Limits,
    /// The plugin that the executor has loaded.
    pub(crate) plugin: Option<PluginHash>,
    pub(crate) stages: BTreeMap<StageId, Arc<StageCode>>,
    pub(crate) inputs: BTreeMap<StageId, Arc<InputTable>>,
    /// Of these, what the present executor was told.
    pub(crate) told_stages: BTreeSet<StageId>,
    pub(crate) told_inputs: BTreeSet<StageId>,
    /// Attempts that wait for the executor. Bounded by what the master launches.
    pub(crate) queued: Vec<TaskLaunch>,
    /// Attempts that the executor was told to run and has not reported.
    pub(crate) running: BTreeSet<TaskId>,
    /// Of these, attempts that were told to stop, and until when they should have.
    pub(crate) stopping: BTreeMap<TaskId, Timestamp>,
    /// Whether the executor was stopped because an attempt did not listen.
    pub(crate) stopped: bool,
    /// By reader, stage and map partition.
    pub(crate) unanswered: BTreeMap<(TaskId, StageId, u32), Unanswered>,
    /// Map outputs by the attempt that wrote them.
    pub(crate) outputs: BTreeMap<TaskId, MapStatus>,
    /// Blocks of other workers that are being copied.
    pub(crate) copying: BTreeMap<BlockId, BlockCopy>,
    /// Results and cached partitions.
    pub(crate) blocks: BTreeMap<BlockId, Held>,
    /// Execution memory that its executor has, in bytes.
    pub(crate) granted: u64,
}

impl App {
    /// What is known of a block, if it is held.
    pub(crate) fn find(&self, block: &BlockId) -> Option<OpenedBlock> {
        match block.map_task() {
            Some(task) => self.outputs.get(&task).map(|status| OpenedBlock {
                bytes: status.bytes(),
                status: Some(status.clone()),
                frames: Vec::new(),
            }),
            None => self.blocks.get(block).map(|held| OpenedBlock {
                bytes: held.bytes,
                status: None,
                frames: Vec::new(),
            }),
        }
    }

    /// Whether the attempt waits or runs here.
    pub(crate) fn knows(&self, task: &TaskId) -> bool {
        self.running.contains(task) || self.queued.iter().any(|launch| launch.task == *task)
    }

    /// Takes away what one attempt has left here; its blocks are to be freed.
    pub(crate) fn take_blocks_of(&mut self, task: &TaskId) -> Vec<BlockId> {
        self.copying.remove(&output_block(task));
        let mut taken: Vec<BlockId> =
            self.outputs.remove(task).map(|_| output_block(task)).into_iter().collect();
        let result = result_block(task);
        taken.extend(self.blocks.remove(&result).map(|_| result));
        taken
    }

    /// Every block that is held.
    pub(crate) fn all_blocks(&self) -> impl Iterator<Item = BlockId> {
        self.outputs.keys().map(output_block).chain(self.blocks.keys().copied())
    }
}

/// The map output that an attempt writes.
pub(crate) fn output_block(task: &TaskId) -> BlockId {
    let TaskId { app, stage, partition, attempt } = *task;
    BlockId { app, kind: BlockKind::MapOutput { stage, partition, attempt } }
}

/// The result that an attempt writes if it is large.
pub(crate) fn result_block(task: &TaskId) -> BlockId {
    let TaskId { app, stage, partition, attempt } = *task;
    BlockId { app, kind: BlockKind::Result { stage, partition, attempt } }
}

/// The attempt that wrote a result; `None` for other blocks.
pub(crate) fn result_of(block: &BlockId) -> Option<TaskId> {
    match block.kind {
        BlockKind::Result { stage, partition, attempt } => {
            Some(TaskId { app: block.app, stage, partition, attempt })
        }
        _ => None,
    }
}

/// Whether a task, as named by somebody, is one of this application.
pub(crate) fn is_of(app: AppAttemptId, task: &TaskId) -> bool {
    task.app == app
}
