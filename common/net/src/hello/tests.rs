//! Who gets in, who does not, and what each end is told.

use super::{accept_hello, bind_loopback, connect, dial_hello};
use crate::Transport;
use crate::key::Key;
use crate::testing::{app, key, tcp_pair};
use firesteel_common::error::{Error, ErrorCode, Result};
use firesteel_common::protocol::VERSION;
use firesteel_common::protocol::hello::{GREETING_LEN, Greeting, PROOF_LEN, Role};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// The keys of a data server: a fetcher proves the secret, a reader the key of its application.
fn keys_of_server(role: Role) -> Option<Key> {
    match role {
        Role::Fetcher | Role::Worker => Some(key(1)),
        Role::Reader(app) | Role::Driver(app) => Some(key(1).for_app(app)),
        Role::Master => None,
    }
}

/// What both ends say of a hello.
fn hello(role: Role, key: &Key) -> (Result<()>, Result<Role>) {
    let (mut dialler, mut listener) = tcp_pair();
    let accepting = std::thread::spawn(move || accept_hello(&mut listener, Role::Worker, &keys_of_server));
    let dialled = dial_hello(&mut dialler, role, key);
    drop(dialler);
    (dialled, accepting.join().unwrap())
}

#[test]
fn who_proves_the_key_of_its_role_gets_in() {
    let secret = key(1);
    for role in [Role::Worker, Role::Fetcher] {
        assert_eq!(hello(role, &secret), (Ok(()), Ok(role)));
    }
    for role in [Role::Driver(app(1)), Role::Reader(app(2))] {
        let (Role::Driver(app) | Role::Reader(app)) = role else { unreachable!() };
        assert_eq!(hello(role, &secret.for_app(app)), (Ok(()), Ok(role)));
    }
}

#[test]
fn who_has_another_key_does_not() {
    let secret = key(1);
    let cases = [
        (Role::Worker, key(2)),
        (Role::Worker, secret.for_app(app(1))),
        (Role::Fetcher, secret.for_app(app(1))),
        (Role::Driver(app(1)), secret.clone()),
        (Role::Driver(app(1)), secret.for_app(app(2))),
        (Role::Reader(app(2)), secret.for_app(app(1))),
        (Role::Master, secret),
    ];
    for (role, key) in cases {
        let (dialled, accepted) = hello(role, &key);
        assert_eq!(dialled.unwrap_err().code, ErrorCode::Unauthenticated, "{role:?}");
        assert_eq!(accepted.unwrap_err().code, ErrorCode::Unauthenticated, "{role:?}");
    }
}

#[test]
fn a_listener_without_the_key_is_not_believed() {
    // It sends back what it gets: greeting and proof.
    let (mut dialler, mut listener) = tcp_pair();
    let echo = std::thread::spawn(move || {
        let mut bytes = [0; GREETING_LEN + PROOF_LEN];
        listener.read_exact(&mut bytes[..GREETING_LEN]).unwrap();
        listener.write_all(&bytes[..GREETING_LEN]).unwrap();
        listener.read_exact(&mut bytes[GREETING_LEN..]).unwrap();
        listener.write_all(&bytes[GREETING_LEN..]).unwrap();
    });
    let dialled = dial_hello(&mut dialler, Role::Worker, &key(1));
    assert_eq!(dialled.unwrap_err().code, ErrorCode::Unauthenticated);
    echo.join().unwrap();
}

fn mismatch(error: &Error) -> bool {
    error.code == ErrorCode::VersionMismatch
        && error.message.contains(&VERSION.to_string())
        && error.message.contains(&(VERSION + 6).to_string())
}

#[test]
fn another_version_is_named_at_both_ends() {
    let other = Greeting { version: VERSION + 6, role: Role::Worker, nonce: [3; 32] }.encode();

    let (mut peer, mut listener) = tcp_pair();
    peer.write_all(&other).unwrap();
    let error = accept_hello(&mut listener, Role::Master, &keys_of_server).unwrap_err();
    assert!(mismatch(&error), "{error}");
    drop(listener);
    let mut answer = Vec::new();
    peer.read_to_end(&mut answer).unwrap();
    let answer = Greeting::decode(answer.as_slice().try_into().unwrap()).unwrap();
    assert_eq!((answer.version, answer.role), (VERSION, Role::Master));

    let (mut dialler, mut peer) = tcp_pair();
    peer.write_all(&other).unwrap();
    let error = dial_hello(&mut dialler, Role::Worker, &key(1)).unwrap_err();
    assert!(mismatch(&error), "{error}");
    drop(dialler);
    let mut said = Vec::new();
    peer.read_to_end(&mut said).unwrap();
    assert_eq!(said.len(), GREETING_LEN, "no proof is given to a peer of another version");
}

#[test]
fn bytes_that_are_no_greeting_are_answered_with_nothing() {
    for first in ["GET / HTTP/1.1\r\nHost: localhost\r\n", "\0", "FShI"] {
        let (mut peer, mut listener) = tcp_pair();
        peer.write_all(first.as_bytes()).unwrap();
        peer.write_all(&[0; GREETING_LEN][first.len().min(GREETING_LEN)..]).unwrap();
        let error = accept_hello(&mut listener, Role::Master, &keys_of_server).unwrap_err();
        assert_eq!(error.code, ErrorCode::Unauthenticated);
        drop(listener);
        let mut answer = Vec::new();
        peer.read_to_end(&mut answer).unwrap();
        assert_eq!(answer, b"");
    }
}

#[test]
fn a_peer_that_says_nothing_or_too_slowly_is_given_up() {
    let patience = Duration::from_millis(80);
    let accept = |stream: TcpStream| {
        let start = Instant::now();
        let error = Transport::loopback()
            .accept(stream, start + patience, Role::Master, &keys_of_server)
            .unwrap_err();
        assert_eq!(error.code, ErrorCode::Unreachable);
        assert!(start.elapsed() >= patience && start.elapsed() < 20 * patience);
    };
    let (_silent, listener) = tcp_pair();
    accept(listener);
    // One that keeps every single read short has no more time in all.
    let (mut slow, listener) = tcp_pair();
    let trickle = std::thread::spawn(move || {
        let greeting = Greeting { version: VERSION, role: Role::Worker, nonce: [0; 32] }.encode();
        for byte in greeting {
            if slow.write_all(&[byte]).is_err() {
                return;
            }
            std::thread::sleep(patience / 16);
        }
    });
    accept(listener);
    trickle.join().unwrap();
}

#[test]
fn addresses_off_loopback_are_refused() {
    for address in ["0.0.0.0:0", "192.0.2.1:80", "[::]:0"] {
        assert_eq!(bind_loopback(address).unwrap_err().code, ErrorCode::Unsupported, "{address}");
        let dialled = connect(address, Role::Worker, &key(1), Duration::from_secs(1));
        let error = dialled.unwrap_err();
        assert_eq!(error.code, ErrorCode::Unsupported, "{address}");
        assert!(error.help.contains("TLS"));
    }
    assert_eq!(bind_loopback("nonsense").unwrap_err().code, ErrorCode::ConfigInvalid);
    let listener = bind_loopback("127.0.0.1:0").unwrap();
    let free = listener.local_addr().unwrap().to_string();
    drop(listener);
    let error = connect(&free, Role::Worker, &key(1), Duration::from_secs(1)).unwrap_err();
    assert_eq!(error.code, ErrorCode::Unreachable);
}
