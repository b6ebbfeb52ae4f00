//! The link to the master: dialled again for ever, by one permanent thread.

use super::mailbox::{Mailbox, Post};
use crossbeam::channel::bounded;
use firesteel_common::protocol::hello::Role;
use firesteel_common::protocol::worker::{FromWorker, ToWorker};
use firesteel_common::{Error, ErrorCode, Result};
use firesteel_core::WorkerEvent;
use firesteel_net::{Key, Link, Transport};
use parking_lot::Mutex;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Messages to the master that wait for its socket at most. A master that does not read them is left.
const OUTBOX_LEN: usize = 4096;
/// The first and the longest pause between two dials.
const PAUSE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));
/// How long one dial may take.
const DIAL_MAX: Duration = Duration::from_secs(5);

/// Where the master is, given once and for all or looked up in its state file, and how it is reached.
#[derive(Clone)]
pub struct MasterAddress {
    given: Option<String>,
    state: PathBuf,
    last: Arc<Mutex<String>>,
    transport: Transport,
}

impl MasterAddress {
    /// The address that was given, or else the one of `master.json` in the run directory.
    pub fn new(given: Option<String>, run_dir: &Path, transport: Transport) -> Self {
        let last = Arc::new(Mutex::new(given.clone().unwrap_or_default()));
        Self { given, state: run_dir.join("master.json"), last, transport }
    }

    /// How connections are made, to it and to others.
    pub fn transport(&self) -> &Transport {
        &self.transport
    }

    /// The address that was dialled last; what drivers are told.
    pub fn last(&self) -> String {
        self.last.lock().clone()
    }

    fn look_up(&self) -> Result<String> {
        let address = match &self.given {
            Some(address) => address.clone(),
            None => self.read_state()?,
        };
        self.last.lock().clone_from(&address);
        Ok(address)
    }

    fn read_state(&self) -> Result<String> {
        let name = self.state.display();
        let text = std::fs::read(&self.state)
            .map_err(|cause| Error::io(format!("reading the master's state file {name}"), &cause))?;
        let state: serde_json::Value = serde_json::from_slice(&text)
            .map_err(|cause| Error::new(ErrorCode::Codec, format!("reading {name}: {cause}")))?;
        let address = state.get("master").and_then(|master| master.as_str()).map(str::to_owned);
        address.ok_or_else(|| Error::new(ErrorCode::Codec, format!("reading {name}: it names no master")))
    }
}

/// Starts the thread.
pub fn start(address: MasterAddress, key: Key, mailbox: Mailbox) -> Result<()> {
    std::thread::Builder::new()
        .name("master-dial".to_owned())
        .spawn(move || dial_for_ever(&address, &key, &mailbox))
        .map_err(|cause| Error::io("starting the thread that dials the master", &cause))?;
    Ok(())
}

fn dial_for_ever(address: &MasterAddress, key: &Key, mailbox: &Mailbox) {
    let (mut pause, mut complained) = (PAUSE.0, false);
    loop {
        match hold(address, key, mailbox) {
            Ok(true) => {
                (pause, complained) = (PAUSE.0, false);
                tracing::info!("the connection to the master is gone; dialling again");
            }
            Ok(false) => return,
            Err(error) if error.code == ErrorCode::VersionMismatch => {
                mailbox.post(Post::End(Some(error)));
                return;
            }
            Err(error) if !complained => {
                complained = true;
                tracing::warn!("{error}; dialling again until the master answers");
            }
            Err(error) => tracing::debug!("{error}"),
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(PAUSE.1);
    }
}

/// Dials once and holds the link until it ends. `Ok(false)` if the worker ends.
fn hold(address: &MasterAddress, key: &Key, mailbox: &Mailbox) -> Result<bool> {
    let target = address.look_up()?;
    let stream = address.transport.connect(&target, Role::Worker, key, DIAL_MAX)?;
    let (closed, is_closed) = bounded(1);
    let on_message = {
        let mailbox = mailbox.clone();
        move |message: ToWorker| mailbox.event(WorkerEvent::FromMaster(message))
    };
    let on_close = move |error: Option<Error>| {
        if let Some(error) = error {
            tracing::warn!("{error}");
        }
        let _ = closed.send(());
    };
    let link: Link<FromWorker> = Link::start(stream, "master", OUTBOX_LEN, on_message, on_close)?;
    if !mailbox.post(Post::Linked(link)) {
        return Ok(false);
    }
    // The end is told only after the beginning, hence from here and not from the link's thread.
    let _ = is_closed.recv();
    Ok(mailbox.event(WorkerEvent::MasterLost))
}
