//! The listener hands over who has proved a key, bounds who has not, and stops.

use super::{Listener, UNPROVED_MAX};
use crate::hello::{bind_loopback, connect};
use crate::testing::key;
use crossbeam::channel::{Receiver, unbounded};
use firesteel_common::protocol::hello::Role;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(10);

fn start() -> (Listener, Receiver<(TcpStream, Role)>) {
    let (sender, receiver) = unbounded();
    let keys = |role| (role == Role::Worker).then(|| key(1));
    let serve = move |stream, role| sender.send((stream, role)).unwrap();
    let socket = bind_loopback("127.0.0.1:0").unwrap();
    (Listener::start(socket, "test", Role::Master, keys, serve).unwrap(), receiver)
}

#[test]
fn a_connection_is_handed_over_after_its_hello() {
    let (listener, connections) = start();
    let address = listener.address().to_string();
    let mut dialled = connect(&address, Role::Worker, &key(1), PATIENCE).unwrap();
    let (mut accepted, role) = connections.recv_timeout(PATIENCE).unwrap();
    assert_eq!(role, Role::Worker);
    dialled.write_all(b"hi").unwrap();
    let mut said = [0; 2];
    accepted.read_exact(&mut said).unwrap();
    assert_eq!(&said, b"hi");
    connect(&address, Role::Worker, &key(2), PATIENCE).unwrap_err();
    listener.stop();
    connect(&address, Role::Worker, &key(1), PATIENCE).unwrap_err();
    assert!(connections.recv().is_err(), "all that could hand over a connection is gone");
}

#[test]
fn peers_that_prove_nothing_do_not_use_up_the_listener() {
    let (listener, connections) = start();
    let address = listener.address();
    let silent: Vec<TcpStream> =
        (0..3 * UNPROVED_MAX).map(|_| TcpStream::connect(address).unwrap()).collect();
    // Those beyond the bound are closed at once: the last one is among them.
    let mut last = silent.last().unwrap();
    last.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(last.read(&mut [0]).unwrap_or(0), 0);
    // Where one gives up there is room for who has a key.
    drop(silent);
    let entered = (0..1000).any(|_| connect(&address.to_string(), Role::Worker, &key(1), PATIENCE).is_ok());
    assert!(entered);
    connections.recv_timeout(PATIENCE).unwrap();
}
