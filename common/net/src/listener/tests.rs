//! The listener hands over who has proved a key, bounds who has not, and stops.

use super::{Listener, Refusal, UNPROVED_MAX, victim};
use crate::Socket;
use crate::hello::{bind_loopback, connect};
use crate::testing::key;
use crossbeam::channel::{Receiver, unbounded};
use firesteel_common::protocol::hello::Role;
use std::io::{Read, Write};
use std::net::{IpAddr, TcpStream};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(10);

fn start() -> (Listener, Receiver<(Socket, Role)>) {
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
fn peers_that_prove_nothing_do_not_keep_out_those_that_do() {
    let (listener, connections) = start();
    let address = listener.address();
    // More than there is room for, and all of them stay.
    let silent: Vec<TcpStream> =
        (0..3 * UNPROVED_MAX).map(|_| TcpStream::connect(address).unwrap()).collect();
    let entered = connect(&address.to_string(), Role::Worker, &key(1), PATIENCE);
    entered.unwrap();
    connections.recv_timeout(PATIENCE).unwrap();
    // Room was made by closing the oldest.
    let mut first = &silent[0];
    first.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(first.read(&mut [0]).unwrap_or(0), 0);
    let refusals = listener.refusals();
    assert!(refusals.count(Refusal::Crowded) >= 2 * UNPROVED_MAX as u64);
    assert_eq!(refusals.count(Refusal::Unproved), 0);
    connect(&address.to_string(), Role::Worker, &key(2), PATIENCE).unwrap_err();
    drop(listener);
    while refusals.count(Refusal::Unproved) == 0 {
        std::thread::yield_now();
    }
}

#[test]
fn who_crowds_makes_room_and_not_who_came_first() {
    let [flood, worker]: [IpAddr; 2] = ["10.0.0.1", "10.0.0.2"].map(|text| text.parse().unwrap());
    let mut connections = vec![(0, worker)];
    connections.extend((1..=UNPROVED_MAX as u64).map(|id| (id, flood)));
    let chosen = |list: &[(u64, IpAddr)]| victim(list.iter().map(|(id, from)| (*id, from)));
    assert_eq!(chosen(&connections), Some(1), "the oldest of the source that has most");
    assert_eq!(chosen(&[(5, worker), (7, flood)]), Some(5), "among equals the oldest");
    assert_eq!(chosen(&[]), None);
}
