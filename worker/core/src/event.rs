//! Everything that can happen to a worker, and everything it may want done. The shell keeps descriptors,
//! sockets and processes; here are only their names.

use firesteel_common::block::{BlockCopy, BlockId};
use firesteel_common::error::Error;
use firesteel_common::id::{AppAttemptId, PluginHash, WorkerId};
use firesteel_common::protocol::executor::{ExecutorSetup, FromExecutor, ToExecutor};
use firesteel_common::protocol::worker::{DriverLaunch, FromWorker, ToWorker};
use firesteel_common::sandbox::Ending;
use std::sync::Arc;

/// A fact that reached the worker.
#[derive(Clone, Debug)]
pub enum WorkerEvent {
    /// A connection to the master stands: register.
    MasterConnected,
    /// It is gone; the shell dials again by itself.
    MasterLost,
    /// The master said something.
    FromMaster(ToWorker),
    /// A plugin is on this machine, at this path.
    PluginReady {
        /// Which.
        plugin: PluginHash,
        /// Its path, or why it could not be had.
        path: Result<String, Error>,
    },
    /// An executor said something. A block that came with it is in the store already, sealed (`MapOutput`,
    /// `ResultBlock`, `Store`). A `Store` that the store had no room for does not come here: the shell
    /// answers it with [`ToExecutor::Stored`] itself.
    FromExecutor {
        /// Whose executor.
        app: AppAttemptId,
        /// What.
        message: FromExecutor,
    },
    /// An executor process runs.
    ExecutorStarted {
        /// Whose.
        app: AppAttemptId,
        /// Its number on this machine.
        pid: u32,
    },
    /// An executor process ended; its last messages were delivered before.
    ExecutorExited {
        /// Whose.
        app: AppAttemptId,
        /// How.
        reason: Ending,
    },
    /// A driver process ended.
    DriverExited {
        /// Whose.
        app: AppAttemptId,
        /// How.
        reason: Ending,
    },
    /// A driver or an executor has printed something.
    Output {
        /// Whose.
        app: AppAttemptId,
        /// `driver` or `executor`.
        source: String,
        /// The bytes.
        bytes: firesteel_common::Payload,
    },
    /// Blocks that were dropped by the store itself, or found damaged.
    BlocksLost(Vec<BlockId>),
    /// The store has done what [`WorkerEffect::MakeRoom`] asked for.
    RoomMade {
        /// Of the request.
        ticket: u64,
        /// By how many bytes blocks and execution memory together are still over the budget.
        over: u64,
    },
    /// The process was asked to end: leave, as soon as nothing of this worker is needed any more.
    Terminate,
    /// What became of the copies that [`WorkerEffect::CopyBlocks`] asked for. Those that succeeded are in
    /// the store, sealed.
    BlocksCopied {
        /// Whose they are.
        app: AppAttemptId,
        /// Who held them.
        from: WorkerId,
        /// The blocks, each with its bytes if its copy is there.
        blocks: Vec<(BlockId, Option<u64>)>,
    },
    /// Time has passed. Sent at least every 100 ms of real time.
    Tick,
}

/// What the worker wants done.
#[derive(Clone, Debug)]
pub enum WorkerEffect {
    /// Send a message to the master; dropped if there is no connection.
    Send(FromWorker),
    /// Make a plugin available on this machine, then say [`WorkerEvent::PluginReady`].
    FetchPlugin(PluginHash),
    /// Start the executor process of an application.
    StartExecutor(ExecutorSetup),
    /// Send a message to an executor; dropped if it does not run.
    SendExecutor {
        /// Whose.
        app: AppAttemptId,
        /// What. The shell adds the descriptors: for [`ToExecutor::Block`] it opens the block first.
        message: ToExecutor,
    },
    /// Dial the data server of another worker as a reader of this application, and answer its executor with
    /// [`ToExecutor::Peer`] and the socket (or with `connected: false`).
    ConnectPeer {
        /// Whose executor asked.
        app: AppAttemptId,
        /// Its request.
        request: u64,
        /// The peer.
        worker: WorkerId,
        /// The peer's address.
        address: String,
    },
    /// Stop an executor process, with all its children.
    StopExecutor(AppAttemptId),
    /// Start a driver process; `plugin` is the path of its plugin.
    StartDriver {
        /// What.
        launch: DriverLaunch,
        /// The path of the plugin on this machine.
        plugin: Option<String>,
    },
    /// Stop a driver process: SIGTERM, then SIGKILL.
    StopDriver(AppAttemptId),
    /// So many bytes of the budget are execution memory now. The store is told before anything that follows.
    Execution(u64),
    /// Move blocks out of memory, as far as they have to make room for execution memory, then say
    /// [`WorkerEvent::RoomMade`].
    MakeRoom {
        /// Names the request.
        ticket: u64,
    },
    /// Free blocks. Readers that hold a descriptor keep what they have.
    FreeBlocks(Vec<BlockId>),
    /// Free all blocks and directories of an application attempt.
    FreeApp(AppAttemptId),
    /// Copy blocks from the data server of another worker into the store, then say
    /// [`WorkerEvent::BlocksCopied`]. A copy whose bytes do not fit its status has failed; so has a cached
    /// partition for which there is no room.
    CopyBlocks {
        /// Whose they are.
        app: AppAttemptId,
        /// Who holds them.
        from: WorkerId,
        /// The address of its data server.
        address: Arc<str>,
        /// Which, and what they are.
        blocks: Vec<BlockCopy>,
    },
    /// Nothing of this worker is needed any more: end, without an error.
    Leave,
    /// The master refuses this worker for good: say why and exit.
    Exit(Error),
}
