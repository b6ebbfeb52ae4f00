//! A relay between a worker and its master that keeps what goes towards the master: a real hello, and real
//! frames of workers, drivers and fetchers. Only for connections without TLS.

use firesteel_common::error::{Error, Result};
use firesteel_common::protocol::hello::{GREETING_LEN, Greeting, PROOF_LEN, Role};
use firesteel_net::frame::FRAME_HEADER_LEN;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// Bytes of one connection that are kept at most.
const KEPT: usize = 1 << 20;

/// What one connection said to the master.
#[derive(Clone, Debug)]
pub struct Recording {
    /// As what it greeted.
    pub role: Role,
    /// Its greeting and its proof.
    pub hello: Vec<u8>,
    /// Its messages, without their frames.
    pub messages: Vec<Vec<u8>>,
}

/// What one connection has said so far.
type Bytes = Arc<Mutex<Vec<u8>>>;

/// See the module. Ends when it is dropped; its connections end with their peers.
pub struct Tap {
    address: String,
    stopped: Arc<AtomicBool>,
    kept: Arc<Mutex<Vec<Bytes>>>,
    accepting: Option<JoinHandle<()>>,
}

impl Tap {
    /// Listens on loopback, and relays to `master`.
    ///
    /// # Errors
    /// `IO` if it cannot listen.
    pub fn start(master: &str) -> Result<Self> {
        let failed = |cause: std::io::Error| Error::io("starting a relay", &cause);
        let listener = TcpListener::bind("127.0.0.1:0").map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?.to_string();
        let (stopped, kept) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let accepting = std::thread::spawn({
            let (stopped, kept, master) = (stopped.clone(), kept.clone(), master.to_owned());
            move || {
                for stream in listener.incoming() {
                    if stopped.load(Ordering::SeqCst) {
                        return;
                    }
                    let Ok(near) = stream else { continue };
                    let Ok(far) = TcpStream::connect(&master) else { continue };
                    let bytes = Arc::new(Mutex::new(Vec::new()));
                    kept.lock().unwrap_or_else(PoisonError::into_inner).push(bytes.clone());
                    relay(near, far, bytes);
                }
            }
        });
        Ok(Self { address, stopped, kept, accepting: Some(accepting) })
    }

    /// Where it listens.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// What was said so far, for each connection that said a whole hello.
    pub fn recordings(&self) -> Vec<Recording> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let read =
            |bytes: &Arc<Mutex<Vec<u8>>>| recording(&bytes.lock().unwrap_or_else(PoisonError::into_inner));
        kept.iter().filter_map(read).collect()
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts.
        drop(TcpStream::connect(&self.address));
        if let Some(thread) = self.accepting.take() {
            drop(thread.join());
        }
    }
}

fn relay(near: TcpStream, far: TcpStream, keep: Bytes) {
    let (Ok(near_too), Ok(far_too)) = (near.try_clone(), far.try_clone()) else { return };
    std::thread::spawn(move || copy(near, far, Some(&keep)));
    std::thread::spawn(move || copy(far_too, near_too, None));
}

/// Copies until one end ends; then both do.
fn copy(mut from: TcpStream, mut to: TcpStream, keep: Option<&Mutex<Vec<u8>>>) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(read) = from.read(&mut buffer)
        && read > 0
    {
        if let Some(keep) = keep {
            let mut kept = keep.lock().unwrap_or_else(PoisonError::into_inner);
            let room = KEPT.saturating_sub(kept.len());
            kept.extend_from_slice(&buffer[..read.min(room)]);
        }
        if to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    for end in [from, to] {
        drop(end.shutdown(Shutdown::Both));
    }
}

/// What the bytes of a connection say, as far as they are whole.
fn recording(bytes: &[u8]) -> Option<Recording> {
    let role = Greeting::decode(bytes.first_chunk::<GREETING_LEN>()?)?.role;
    let (hello, mut rest) = bytes.split_at_checked(GREETING_LEN + PROOF_LEN)?;
    let mut messages = Vec::new();
    while let Some((header, after)) = rest.split_at_checked(FRAME_HEADER_LEN) {
        let len = u32::from_le_bytes(*header.first_chunk()?) as usize;
        let Some((message, after)) = after.split_at_checked(len) else { break };
        // A pulse is a frame without a codec.
        if header[4] != 0 {
            messages.push(message.to_vec());
        }
        rest = after;
    }
    Some(Recording { role, hello: hello.to_vec(), messages })
}
