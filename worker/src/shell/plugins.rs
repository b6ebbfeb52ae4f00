//! Plugins on this machine: asked for at the master by their hash, and believed only if the bytes have it.

use super::directory::WorkDirectory;
use super::mailbox::Slot;
use super::master::MasterAddress;
use firesteel_common::id::PluginHash;
use firesteel_common::protocol::data::{DATA_FRAME_LEN_MAX, PluginReply, PluginRequest};
use firesteel_common::protocol::hello::Role;
use firesteel_common::{Error, ErrorCode, Result};
use firesteel_core::WorkerEvent;
use firesteel_net::{Key, Socket, read_frame, write_frame};
use sha2::{Digest, Sha256};
use std::fs::{File, OpenOptions};
use std::io::{BufReader, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How often a plugin is asked for before its tasks fail.
const TRIES_MAX: u32 = 5;
/// The pause after the first try; it doubles.
const PAUSE: Duration = Duration::from_millis(50);
/// How long the master may take for a connection, and between two pieces.
const SILENCE_MAX: Duration = Duration::from_secs(10);
const PIECE_LEN: usize = 256 * 1024;

/// Fetches plugins.
#[derive(Clone)]
pub struct Plugins {
    directory: Arc<WorkDirectory>,
    master: MasterAddress,
    key: Key,
    events: Slot,
}

impl Plugins {
    /// Fetches from the master into the directory.
    pub fn new(directory: Arc<WorkDirectory>, master: MasterAddress, key: Key, events: Slot) -> Self {
        Self { directory, master, key, events }
    }

    /// Makes a plugin available and says so; waits for the network.
    pub fn fetch(&self, plugin: PluginHash) {
        let path = self.directory.plugin(plugin);
        let mut pause = PAUSE;
        let mut fetched = self.once(plugin, &path);
        for _ in 1..TRIES_MAX {
            match &fetched {
                Err(error) if error.code != ErrorCode::NotFound => tracing::warn!("{error}"),
                _ => break,
            }
            std::thread::sleep(pause);
            pause *= 2;
            fetched = self.once(plugin, &path);
        }
        let path = fetched.map(|()| path.to_string_lossy().into_owned());
        self.events.event(WorkerEvent::PluginReady { plugin, path });
    }

    fn once(&self, plugin: PluginHash, path: &Path) -> Result<()> {
        if path.exists() {
            return Ok(());
        }
        let doing = format_args!("fetching plugin {plugin}").to_string();
        let transport = self.master.transport();
        let mut stream = transport
            .connect(&self.master.last(), Role::Fetcher, &self.key, SILENCE_MAX)
            .map_err(|error| error.context(&doing))?;
        stream.set_read_timeout(Some(SILENCE_MAX)).map_err(|cause| Error::io(&doing, &cause))?;
        write_frame(&mut stream, &PluginRequest { plugin }).map_err(|error| error.context(&doing))?;
        let mut stream = BufReader::new(stream);
        match read_frame(&mut stream, DATA_FRAME_LEN_MAX).map_err(|error| error.context(&doing))? {
            Some(PluginReply::Found { bytes }) => {
                let part = path.with_extension("part");
                let received = receive(&mut stream, bytes, &part, plugin).and_then(|()| {
                    std::fs::rename(&part, path).map_err(|cause| Error::io("naming a plugin", &cause))
                });
                if received.is_err() {
                    let _ = std::fs::remove_file(&part);
                }
                received.map_err(|error| error.context(&doing))
            }
            Some(PluginReply::Missing) => {
                Err(Error::new(ErrorCode::NotFound, format!("the master does not have plugin {plugin}")))
            }
            None => {
                Err(Error::new(ErrorCode::Unreachable, format!("{doing}: the master closed the connection")))
            }
        }
    }
}

/// Writes what comes to `path`, readable for whoever gets to see its directory, if it has the right hash.
fn receive(stream: &mut BufReader<Socket>, bytes: u64, path: &Path, expected: PluginHash) -> Result<()> {
    let failed = |cause: std::io::Error| Error::io("storing it", &cause);
    let _ = std::fs::remove_file(path);
    let mut file: File =
        OpenOptions::new().write(true).create_new(true).mode(0o555).open(path).map_err(failed)?;
    let mut hasher = Sha256::new();
    let mut piece = vec![0; PIECE_LEN];
    let mut left = bytes;
    while left > 0 {
        let len = piece.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let read = stream.read(&mut piece[..len]).map_err(failed)?;
        if read == 0 {
            return Err(Error::new(
                ErrorCode::Unreachable,
                "the master closed the connection in the middle of it",
            ));
        }
        hasher.update(&piece[..read]);
        file.write_all(&piece[..read]).map_err(failed)?;
        left -= read as u64;
    }
    let hash = PluginHash(hasher.finalize().into());
    if hash != expected {
        return Err(Error::new(ErrorCode::BlockCorrupt, format!("what the master sent has the hash {hash}")));
    }
    Ok(())
}
