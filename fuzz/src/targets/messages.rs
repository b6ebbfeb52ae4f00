//! What comes over sockets: the greeting, frames, and every message of the protocol.

use super::Target;
use crate::any::{Any, Source};
use crate::mutate::Rng;
use firesteel_common::protocol::VERSION;
use firesteel_common::protocol::codec::{self, FRAME_LEN_MAX};
use firesteel_common::protocol::data::{BlockReply, BlockRequest, PluginReply, PluginRequest};
use firesteel_common::protocol::driver::{FromDriver, ToDriver};
use firesteel_common::protocol::executor::{FromExecutor, ToExecutor};
use firesteel_common::protocol::hello::{GREETING_LEN, Greeting, Role};
use firesteel_common::protocol::worker::{FromWorker, ToWorker};
use firesteel_net::{Key, Socket, accept_hello, fd_channel, read_frame, socket_pair};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::io::{Cursor, Read, Write};

/// A decoder prepares room for the elements that a list claims to have, up to 1 MiB for each list it is in.
const MESSAGE_BASE: usize = 6 << 20;
/// A byte on the wire (an absent option, a number of a range) may be a value of several words.
const MESSAGE_TIMES: usize = 160;
/// Messages that each kind is begun with.
const SEEDS: usize = 48;

pub(super) fn targets() -> Vec<Target> {
    macro_rules! message {
        ($name:literal $type:ty) => {
            Target {
                name: $name,
                run: message::<$type>,
                seeds: messages::<$type>,
                base: MESSAGE_BASE,
                times: MESSAGE_TIMES,
            }
        };
    }
    vec![
        Target { name: "hello", run: hello, seeds: greetings, base: 16 << 10, times: 8 },
        Target { name: "frame", run: frames, seeds: framed, base: MESSAGE_BASE, times: MESSAGE_TIMES },
        Target {
            name: "executor_channel",
            run: executor_channel,
            seeds: of_executor,
            base: MESSAGE_BASE,
            times: MESSAGE_TIMES,
        },
        message!("from_worker" FromWorker),
        message!("to_worker" ToWorker),
        message!("from_driver" FromDriver),
        message!("to_driver" ToDriver),
        message!("from_executor" FromExecutor),
        message!("to_executor" ToExecutor),
        message!("block_request" BlockRequest),
        message!("block_reply" BlockReply),
        message!("plugin_request" PluginRequest),
        message!("plugin_reply" PluginReply),
    ]
}

/// What decodes is written again and read again, and is the same.
fn message<T: Serialize + DeserializeOwned + PartialEq + Debug>(bytes: &[u8]) {
    let Ok(message) = codec::decode::<T>(bytes) else { return };
    let Ok(again) = codec::encode(&message) else { return };
    assert!(again.len() <= bytes.len(), "what was read from {} bytes takes {}", bytes.len(), again.len());
    assert_eq!(codec::decode::<T>(&again).ok(), Some(message), "it is not read as it was written");
}

/// Messages that mean something.
pub(crate) fn messages<T: Any + Serialize>(rng: &mut Rng) -> Vec<Vec<u8>> {
    let message = |_| {
        let len = 16 + rng.below(240);
        codec::encode(&T::any(&mut Source::new(&rng.bytes(len)))).unwrap_or_default()
    };
    (0..SEEDS).map(message).collect()
}

/// Frames one after the other, as a link reads them.
fn frames(bytes: &[u8]) {
    let mut reader = bytes;
    while let Ok(Some(message)) = read_frame::<FromWorker>(&mut reader, FRAME_LEN_MAX) {
        drop(message);
    }
}

fn frame(message: &[u8]) -> Vec<u8> {
    let len = (message.len() as u32).to_le_bytes();
    [len.as_slice(), &[codec::CODEC_BINCODE], message].concat()
}

fn framed(rng: &mut Rng) -> Vec<Vec<u8>> {
    let all: Vec<Vec<u8>> = messages::<FromWorker>(rng).iter().map(|message| frame(message)).collect();
    let several = all.iter().take(5).flatten().copied().collect();
    all.into_iter().chain([several]).collect()
}

/// What a worker reads from its executor, whose code is a user's: frames, some of which say that a descriptor
/// comes beside them. None does.
fn executor_channel(bytes: &[u8]) {
    let Ok((ours, theirs)) = socket_pair() else { return };
    let Ok((_sender, mut receiver)) = fd_channel(ours) else { return };
    // It all finds room in the socket's buffer, so nobody waits.
    let said = Socket::from(theirs).write_all(bytes);
    if said.is_err() {
        return;
    }
    while let Ok(Some((message, descriptor))) = receiver.recv::<FromExecutor>() {
        assert!(descriptor.is_none(), "a descriptor came with {message:?}");
    }
}

fn of_executor(rng: &mut Rng) -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = messages::<FromExecutor>(rng).iter().map(|message| frame(message)).collect();
    let several: Vec<u8> = all.iter().take(6).flatten().copied().collect();
    all.push(several);
    if let Some(first) = all.first_mut() {
        first[4] |= 0x80;
    }
    all
}

/// A peer that says what it says, whatever it hears.
struct Peer<'a>(Cursor<&'a [u8]>);

impl Read for Peer<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Peer<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Nobody who does not know the key proves it.
fn hello(bytes: &[u8]) {
    if let Some(greeting) = bytes.first_chunk::<GREETING_LEN>()
        && let Some(decoded) = Greeting::decode(greeting)
    {
        assert_eq!(Greeting::decode(&decoded.encode()), Some(decoded));
    }
    let Ok(key) = Key::generate() else { return };
    let accepted = accept_hello(&mut Peer(Cursor::new(bytes)), Role::Master, &|_| Some(key.clone()));
    assert!(accepted.is_err(), "a peer without the key was accepted as {accepted:?}");
}

/// Greetings of every role, with something behind them where the proof stands.
pub(crate) fn greetings(rng: &mut Rng) -> Vec<Vec<u8>> {
    let app = firesteel_common::id::AppAttemptId { app: firesteel_common::id::AppId(1), attempt: 1 };
    let roles = [Role::Master, Role::Worker, Role::Fetcher, Role::Driver(app), Role::Reader(app)];
    let greeting = |role| {
        let mut bytes = Greeting { version: VERSION, role, nonce: [7; 32] }.encode().to_vec();
        bytes.extend(rng.bytes(32));
        bytes
    };
    roles.map(greeting).to_vec()
}
