//! Framed, authenticated links between processes, and the data plane: all sockets of Firesteel but HTTP.
//!
//! Blocking threads throughout; no async runtime. What a message means is not known here: that is the work of
//! the room that starts the link. Nothing a peer sends is decoded before it has proved a key ([`hello`]).
#![warn(missing_docs)]
#![cfg_attr(test, expect(clippy::unwrap_used, reason = "a test that cannot go on fails"))]

pub mod blocks;
pub mod fds;
pub mod frame;
pub mod hello;
pub mod key;
pub mod link;
pub mod listener;
pub mod runner;
pub mod socket;
#[cfg(test)]
mod testing;
pub mod tls;
pub mod transport;

pub use blocks::{BlockData, BlockSource, DataClient, DataServer, DiskBlock, OpenBlock};
pub use fds::{FdReceiver, FdSender, fd_channel, socket_pair};
pub use frame::{read_frame, write_frame};
pub use hello::{accept_hello, bind_loopback, connect, dial_hello};
pub use key::Key;
pub use link::{Link, SendFailed};
pub use listener::Listener;
pub use runner::RemoteJobRunner;
pub use socket::Socket;
pub use tls::Tls;
pub use transport::{Transport, Trust};
