//! A TCP proxy that loses bytes: each direction can be made to swallow what it is given, while both ends stay
//! connected.

use crate::failed;
use firesteel_common::error::{Error, Result};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Connections that it carries in its life at most.
const CONNECTIONS_MAX: usize = 1000;
/// How often a direction looks whether it is over.
const LOOK: Duration = Duration::from_millis(100);

#[derive(Debug, Default)]
struct Shared {
    over: AtomicBool,
    forth: AtomicBool,
    back: AtomicBool,
    swallowed: AtomicU64,
}

/// A proxy; it ends with the value.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Proxy {
    /// Carries connections to `target`.
    ///
    /// # Errors
    /// If there is no port, or no thread.
    pub fn start(target: &str) -> Result<Self> {
        let target: SocketAddr = target.parse().map_err(|_| failed(format!("{target} is no address")))?;
        let listener = TcpListener::bind("127.0.0.1:0").map_err(|cause| Error::io("listening", &cause))?;
        let address = listener.local_addr().map_err(|cause| Error::io("listening", &cause))?;
        let shared = Arc::new(Shared::default());
        let of_listener = shared.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().take(CONNECTIONS_MAX) {
                if of_listener.over.load(Ordering::Relaxed) {
                    return;
                }
                if let Ok(stream) = stream {
                    carry(&stream, target, &of_listener);
                }
            }
        });
        Ok(Self { address, shared })
    }

    /// Where it listens.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// What is lost from now on: what the dialling end says (`forth`), what the other end says (`back`).
    pub fn lose(&self, forth: bool, back: bool) {
        self.shared.forth.store(forth, Ordering::Relaxed);
        self.shared.back.store(back, Ordering::Relaxed);
    }

    /// Bytes that were lost.
    pub fn swallowed(&self) -> u64 {
        self.shared.swallowed.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
        // Wakes the listener.
        let _ = TcpStream::connect(self.address);
    }
}

/// Two threads, one for each direction. What cannot be reached is closed.
fn carry(near: &TcpStream, target: SocketAddr, shared: &Arc<Shared>) {
    let Ok(far) = TcpStream::connect(target) else { return };
    for (from, to, is_forth) in [(near, &far, true), (&far, near, false)] {
        let (Ok(from), Ok(to)) = (from.try_clone(), to.try_clone()) else { return };
        let shared = shared.clone();
        std::thread::spawn(move || pump(from, to, &shared, is_forth));
    }
}

fn pump(mut from: TcpStream, mut to: TcpStream, shared: &Shared, is_forth: bool) {
    let loses = if is_forth { &shared.forth } else { &shared.back };
    let mut buffer = vec![0; 64 * 1024];
    let _ = from.set_read_timeout(Some(LOOK));
    while !shared.over.load(Ordering::Relaxed) {
        match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) if loses.load(Ordering::Relaxed) => {
                shared.swallowed.fetch_add(read as u64, Ordering::Relaxed);
            }
            Ok(read) => {
                if to.write_all(buffer.get(..read).unwrap_or_default()).is_err() {
                    break;
                }
            }
            Err(cause)
                if matches!(cause.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {}
            Err(_) => break,
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_direction_can_be_lost() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = Proxy::start(&listener.local_addr().unwrap().to_string()).unwrap();
        let mut near = TcpStream::connect(proxy.address()).unwrap();
        let (mut far, _) = listener.accept().unwrap();
        let mut byte = [0];
        near.write_all(b"a").unwrap();
        far.read_exact(&mut byte).unwrap();
        proxy.lose(true, false);
        near.write_all(b"b").unwrap();
        far.write_all(b"c").unwrap();
        near.read_exact(&mut byte).unwrap();
        assert_eq!(byte, *b"c");
        while proxy.swallowed() == 0 {
            std::thread::yield_now();
        }
        proxy.lose(false, false);
        near.write_all(b"d").unwrap();
        far.read_exact(&mut byte).unwrap();
        assert_eq!(byte, *b"d");
        drop(proxy);
        assert_eq!(far.read(&mut byte).unwrap(), 0);
    }
}
