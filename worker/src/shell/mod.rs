//! The worker process: everything that `worker/core` is not. Threads turn what happens into events, one actor
//! applies them in order, and `effects.rs` does what comes back.

mod actor;
mod children;
mod copies;
mod directory;
mod effects;
mod executors;
pub mod local;
mod mailbox;
mod master;
mod output;
mod plugins;
mod signals;
mod source;

use crate::fault::Faults;
use crate::isolate;
use crate::options::WorkerOptions;
use crate::sandbox::cage::Cages;
use actix::prelude::*;
use actor::WorkerActor;
use directory::WorkDirectory;
use effects::Hands;
#[cfg(test)]
pub use executors::opened;
use firesteel_common::config::SameHost;
use firesteel_common::id::Incarnation;
use firesteel_common::sandbox::Sandbox;
use firesteel_common::{Error, ErrorCode, Result};
use firesteel_core::{CoreOptions, WorkerCore, WorkerEvent};
use firesteel_net::{DataServer, Transport};
use firesteel_store::BlockStore;
use local::LocalServer;
use mailbox::Mailbox;
use master::MasterAddress;
use parking_lot::Mutex;
pub use source::Blocks;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How a worker ended; set before its actor system stops.
type Ending = Arc<Mutex<Option<Result<()>>>>;

/// Runs a worker to its end. See [`crate::run_worker`].
pub fn run(options: WorkerOptions) -> Result<()> {
    if let Some(parent) = options.die_with_parent {
        isolate::die_with(Some(parent), rustix::process::Signal::TERM)?;
    }
    isolate::raise_descriptors()?;
    let incarnation = Incarnation(random()?);
    let directory = Arc::new(WorkDirectory::create(&options.run_dir, incarnation)?);
    if in_memory(directory.path()) {
        tracing::warn!("{} is in memory: what is spilled there frees none", directory.path().display());
    }
    let cages = Arc::new(Cages::find(&options, incarnation)?);
    // From here on the directory goes whatever happens: by its owner's end, or by the thread of signals.
    let signals = signals::Signals::start(directory.clone(), leave_max(&options))?;
    let faults = Arc::new(Faults::new(Some(&options.config.faults.dir)));
    let store = Arc::new(BlockStore::new(options.config.worker.memory, Some(directory.path().to_owned())));
    let held = store.clone();
    let blocks = Arc::new(Blocks::new(store.clone(), faults.clone()));
    let transport = Transport::from_config(&options.config.tls)?;
    let listener = transport.bind(&options.config.worker.listen)?;
    let server = DataServer::serve(listener, transport.clone(), options.key.clone(), blocks.clone())?;
    let local = local_server(&options, &directory, &server, blocks.clone());
    let core = WorkerCore::new(core_options(&options, incarnation, server.address(), cages.found().clone()));

    let system = System::new();
    let ending = Ending::default();
    let address = MasterAddress::new(options.master.clone(), &options.run_dir, transport);
    let mut hands = Hands::new(&options, &directory, cages, address.clone(), store, blocks, faults.clone())?;
    hands.tell_refusals(&server);
    hands.watch_store();
    let keeper = hands.keeper();
    let actor = WorkerActor::new(core, hands, faults, options.on_ready, ending.clone());
    let mailbox = Mailbox::new(system.block_on(async { actor.start() }));
    let told = mailbox.clone();
    // A mailbox that takes nothing is that of a worker that ends.
    held.on_lost(Box::new(move |blocks| {
        let _ = told.event(WorkerEvent::BlocksLost(blocks));
    }));
    keeper.open(mailbox.clone());
    signals.give(mailbox.clone());
    master::start(address, options.key, mailbox)?;
    let ran = system.run().map_err(|cause| Error::io("running the worker", &cause));

    keeper.stop_everything();
    server.stop();
    drop(local);
    directory.remove();
    let said = ending.lock().take();
    said.unwrap_or(ran)
}

/// Whether a directory is on a file system that is in memory.
fn in_memory(directory: &Path) -> bool {
    const TMPFS_MAGIC: u64 = 0x0102_1994;
    rustix::fs::statfs(directory).is_ok_and(|of| u64::try_from(of.f_type).ok() == Some(TMPFS_MAGIC))
}

/// How long this worker may stay after SIGTERM until others have what they need of it. One that belongs to a
/// parent goes at once: the others go, too.
fn leave_max(options: &WorkerOptions) -> Duration {
    match options.die_with_parent {
        Some(_) => Duration::ZERO,
        None => Duration::from_millis(options.config.scheduler.drain_timeout_ms),
    }
}

/// Descriptors for the other workers of this machine, unless they shall fetch bytes.
fn local_server(
    options: &WorkerOptions,
    directory: &WorkDirectory,
    server: &DataServer,
    blocks: Arc<Blocks>,
) -> Option<LocalServer> {
    if options.config.shuffle.same_host == SameHost::Tcp {
        return None;
    }
    let started = LocalServer::start(directory.path(), &server.address(), options.key.clone(), blocks);
    started
        .inspect_err(|error| tracing::warn!("{error}; other workers of this machine will fetch bytes"))
        .ok()
}

fn core_options(
    options: &WorkerOptions,
    incarnation: Incarnation,
    address: String,
    sandbox: Sandbox,
) -> CoreOptions {
    let config = &options.config;
    CoreOptions {
        incarnation,
        host: options.host.clone(),
        address,
        slots: config.worker.cores,
        drivers_max: config.worker.max_drivers,
        memory: config.worker.memory,
        sandbox,
        fetch_over_tcp: config.shuffle.same_host == SameHost::Tcp,
        faults: Some(config.faults.dir.clone()).filter(|dir| !dir.is_empty()),
    }
}

fn random() -> Result<u64> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes)
        .map_err(|cause| Error::new(ErrorCode::Io, format!("drawing a random number: {cause}")))?;
    Ok(u64::from_le_bytes(bytes))
}
