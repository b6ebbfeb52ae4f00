//! The life of a master process: start in order, wait for a signal, stop in order.

use crate::actor::{CloseLinks, ConnectedWorkers, Master};
use crate::audit::Audit;
use crate::board::Board;
use crate::control::Control;
use crate::effects::{Shared, World};
use crate::events::EventLogs;
use crate::files::{make_private_dir, plugin_path, replace_file};
use crate::http::{self, Daemon};
use crate::journal::{Journal, Recovered};
use crate::logs::Logs;
use crate::options::{AUTHORITY_FILE, MasterOptions, MasterState, SECRET_FILE, STATE_FILE, TOKEN_FILE};
use crate::parent;
use crate::program::app_submission;
use crate::retention;
use crate::tokens::Tokens;
use actix::Addr;
use actix_web::rt::signal::unix::{Signal, SignalKind, signal};
use firesteel_common::config::Config;
use firesteel_common::{Error, ErrorCode};
use firesteel_net::{Key, Transport};
use firesteel_scheduler::Scheduler;
use firesteel_scheduler::event::Event;
use std::collections::BTreeSet;
use std::fs::{File, TryLockError};
use std::net::TcpListener;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// How long the master of a temporary cluster waits for its workers to leave the run directory.
const LEAVE_WAIT: Duration = Duration::from_secs(2);
/// How often it looks.
const LEAVE_LOOK: Duration = Duration::from_millis(20);

/// Runs a master until SIGTERM or SIGINT. Call it from a thread without an async runtime.
///
/// # Errors
/// If it cannot start (another master in the run directory, an address that is taken or not on loopback, a
/// journal of another version), or if it had to stop by itself.
pub fn run_master(options: MasterOptions) -> Result<(), Error> {
    let MasterOptions { config, run_dir, temporary, die_with_parent, on_ready } = options;
    raise_descriptors();
    make_private_dir(&run_dir)?;
    let run_dir = run_dir
        .canonicalize()
        .map_err(|cause| Error::io(format_args!("finding {}", run_dir.display()), &cause))?;
    let lock = lock_run_dir(&run_dir)?;
    let ended = actix::System::new().block_on(async {
        let signals = Signals::listen()?;
        if let Some(parent) = die_with_parent {
            parent::die_with(parent)?;
        }
        let running = Running::start(&run_dir, config)?;
        (on_ready)(&running.state);
        running.until(signals, temporary).await
    });
    if temporary {
        remove_run_dir(&run_dir)?;
    }
    drop(lock);
    ended
}

/// SIGTERM and SIGINT, asked for before anything could send them.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> Result<Self, Error> {
        let listen = |kind| signal(kind).map_err(|cause| Error::io("listening for signals", &cause));
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    async fn any(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// A master that can be reached.
struct Running {
    state: MasterState,
    run_dir: PathBuf,
    actor: Addr<Master>,
    shared: Shared,
    control: firesteel_net::Listener,
    server: actix_web::dev::Server,
}

impl Running {
    fn start(run_dir: &Path, config: Config) -> Result<Self, Error> {
        prepare(run_dir)?;
        let secret = Key::load_or_create(&run_dir.join(SECRET_FILE))?;
        let token = Key::load_or_create(&run_dir.join(TOKEN_FILE))?.to_hex();
        let transport = Transport::from_config(&config.tls)?;
        if let Some(tls) = transport.certificates() {
            // For the commands of this machine; nothing of it is secret.
            replace_file(&run_dir.join(AUTHORITY_FILE), tls.authority().as_bytes())?;
        }
        let (control, control_address) = bind(&transport, &config.master.listen)?;
        let (http, http_address) = bind(&transport, &config.master.http)?;
        let (journal, mut recovered) = Journal::open(run_dir)?;
        check_plugins(run_dir, &mut recovered)?;
        retention::tidy(run_dir, &recovered)?;
        let epoch = recovered.epoch;
        let shared = Shared {
            board: Arc::new(Board::new(&recovered)),
            journal,
            logs: Arc::new(Logs::new(config.master.log_bytes_max)),
            events: EventLogs::start(run_dir)?,
            workers_changed: Arc::new(Notify::new()),
            tokens: Arc::new(Tokens::new(&token, std::mem::take(&mut recovered.tokens))),
            audit: Arc::new(Audit::start(run_dir)?),
            sessions: Arc::default(),
        };
        let scheduler = Scheduler::new(config.scheduler, epoch);
        let actor = Master::start(scheduler, World::new(shared.clone()), first_events(recovered));
        let (of_control, of_actor) = (shared.clone(), actor.clone());
        let control = Control {
            shared: of_control,
            actor: of_actor,
            secret: secret.clone(),
            run_dir: run_dir.to_owned(),
            transport: transport.clone(),
        }
        .listen(control)?;
        retention::start(shared.clone(), run_dir.to_owned(), &config.master);
        let daemon = Daemon::new(
            shared.clone(),
            actor.clone(),
            secret,
            transport.trust(),
            control_address.clone(),
            run_dir.to_owned(),
            config.master,
        );
        let server = http::start(http, &transport, daemon)?;
        let state = MasterState {
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            master: control_address,
            tls: transport.certificates().is_some(),
            http: http_address,
            epoch: epoch.0,
        };
        write_state(run_dir, &state)?;
        Ok(Self { state, run_dir: run_dir.to_owned(), actor, shared, control, server })
    }

    /// Serves until a signal, then stops: no new requests, no new links, then what waits for the disk.
    async fn until(self, mut signals: Signals, temporary: bool) -> Result<(), Error> {
        let MasterState { master, http, epoch, .. } = &self.state;
        tracing::info!(master, http, epoch, "the master can be reached");
        let server = self.server.handle();
        let mut serving = std::pin::pin!(actix_web::rt::spawn(self.server));
        let ended = tokio::select! {
            name = signals.any() => {
                tracing::info!(signal = name, "the master stops");
                Ok(())
            }
            _ = &mut serving => Err(Error::new(ErrorCode::Internal, "the HTTP daemon ended by itself")),
        };
        let removed = std::fs::remove_file(self.run_dir.join(STATE_FILE));
        self.control.stop();
        server.stop(true).await;
        if temporary {
            wait_for_workers(&self.actor).await;
        }
        if let Err(error) = self.actor.send(CloseLinks).await {
            tracing::error!(%error, "the master's actor is gone");
        }
        self.shared.journal.stop();
        self.shared.audit.stop();
        self.shared.events.stop();
        ended.and(removed.map_err(|cause| Error::io("removing the state file", &cause)))
    }
}

/// The workers of a temporary cluster get the same signal; they remove their directories before this one
/// goes.
async fn wait_for_workers(actor: &Addr<Master>) {
    let deadline = tokio::time::Instant::now() + LEAVE_WAIT;
    while matches!(actor.send(ConnectedWorkers).await, Ok(connected) if connected > 0) {
        if tokio::time::Instant::now() >= deadline {
            return;
        }
        tokio::time::sleep(LEAVE_LOOK).await;
    }
}

/// What the scheduler hears first: every accepted application without an outcome, and which of them are to
/// end.
fn first_events(recovered: Recovered) -> Vec<Event> {
    let mut submissions = Vec::new();
    let mut kills = Vec::new();
    for app in recovered.apps.into_iter().filter(|app| app.outcome.is_none()) {
        kills.extend(app.kill.map(|reason| Event::KillApp { app: app.app, reason }));
        submissions.push(app_submission(app.app, app.attempt, app.submitted_ms, app.request));
    }
    let mut events = vec![Event::Recovered(submissions)];
    events.extend(kills);
    events
}

/// Raises the number of descriptors to what is allowed: each worker, driver and client takes one. With fewer
/// the master works too.
fn raise_descriptors() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Nofile).maximum;
    if let Err(cause) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::warn!(%cause, "the limit of descriptors stays as it is");
    }
}

/// Takes the run directory for this process; the lock goes with the process, however it ends.
fn lock_run_dir(run_dir: &Path) -> Result<File, Error> {
    let path = run_dir.join("master.lock");
    let failed = |cause| Error::io(format_args!("locking {}", path.display()), &cause);
    let mut options = File::options();
    let file = options.create(true).truncate(false).write(true).mode(0o600).open(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::Error(cause)) => Err(failed(cause)),
        Err(TryLockError::WouldBlock) => {
            let what = format!("another master runs in {}", run_dir.display());
            Err(Error::new(ErrorCode::Conflict, what)
                .with_help("stop it, or choose another run directory with --run-dir"))
        }
    }
}

/// Makes the directories, and removes what a killed master left half done.
fn prepare(run_dir: &Path) -> Result<(), Error> {
    for name in ["plugins", "results", "events"] {
        make_private_dir(&run_dir.join(name))?;
    }
    remove_files(&run_dir.join("results"), |name| name.ends_with(".tmp"))
}

/// Forgets plugins whose file is not whole (they can be uploaded again), and removes files that the journal
/// does not know: uploads that a kill has cut short.
fn check_plugins(run_dir: &Path, recovered: &mut Recovered) -> Result<(), Error> {
    recovered.plugins.retain(|plugin| {
        let length = std::fs::metadata(plugin_path(run_dir, plugin.hash)).map(|file| file.len());
        length.is_ok_and(|length| length == plugin.bytes)
    });
    let known: BTreeSet<String> = recovered.plugins.iter().map(|plugin| plugin.hash.to_string()).collect();
    remove_files(&run_dir.join("plugins"), |name| !known.contains(name))
}

fn remove_files(dir: &Path, unwanted: impl Fn(&str) -> bool) -> Result<(), Error> {
    let failed = |cause| Error::io(format_args!("tidying {}", dir.display()), &cause);
    for entry in dir.read_dir().map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if entry.file_name().to_str().is_none_or(&unwanted) {
            std::fs::remove_file(entry.path()).map_err(failed)?;
        }
    }
    Ok(())
}

fn bind(transport: &Transport, listen: &str) -> Result<(TcpListener, String), Error> {
    let listener = transport.bind(listen)?;
    let address = listener.local_addr().map_err(|cause| Error::io("binding an address", &cause))?;
    Ok((listener, address.to_string()))
}

fn write_state(run_dir: &Path, state: &MasterState) -> Result<(), Error> {
    let mut json = serde_json::to_vec(state)
        .map_err(|cause| Error::new(ErrorCode::Codec, format!("writing the state file: {cause}")))?;
    json.push(b'\n');
    replace_file(&run_dir.join(STATE_FILE), &json)
}

/// A worker may still write a file while the directory goes, so it is tried a few times.
fn remove_run_dir(run_dir: &Path) -> Result<(), Error> {
    let mut tries = 0;
    loop {
        match std::fs::remove_dir_all(run_dir) {
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(_) if tries < 10 => tries += 1,
            removed => {
                return removed
                    .map_err(|cause| Error::io(format_args!("removing {}", run_dir.display()), &cause));
            }
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
