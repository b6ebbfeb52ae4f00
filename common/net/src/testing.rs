//! What the tests of several files here need.

use crate::key::Key;
use firesteel_common::id::{AppAttemptId, AppId};
use std::net::{TcpListener, TcpStream};

/// Two connected streams.
pub(crate) fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let dialler = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (dialler, listener.accept().unwrap().0)
}

/// A key of 32 equal bytes.
pub(crate) fn key(byte: u8) -> Key {
    Key::from_hex(&format!("{byte:02x}").repeat(32)).unwrap()
}

/// The first attempt at an application.
pub(crate) fn app(number: u64) -> AppAttemptId {
    AppAttemptId { app: AppId(number), attempt: 1 }
}
