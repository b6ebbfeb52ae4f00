//! Peers that know the key: workers, drivers, fetchers and readers that were taken over. What they send is
//! mostly well-formed and makes no sense; some of it is no message.

use super::tap::Recording;
use super::wire::{Way, is_timeout};
use super::{PATIENCE, Tally, frame};
use crate::any::{Any, Source};
use crate::mutate::{Rng, mutate};
use firesteel_common::error::{Error, ErrorCode, Result};
use firesteel_common::http::ClientDriver;
use firesteel_common::id::{AppAttemptId, AppId, Epoch, Incarnation};
use firesteel_common::protocol::codec::{self, FRAME_LEN_MAX};
use firesteel_common::protocol::data::{BlockRequest, PluginRequest};
use firesteel_common::protocol::driver::FromDriver;
use firesteel_common::protocol::hello::Role;
use firesteel_common::protocol::worker::{FromWorker, Registration, ToMaster, ToWorker};
use firesteel_net::{Key, Socket, read_frame};
use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::Duration;

/// Messages of one connection.
const TOGETHER: usize = 100;
/// How long it is listened to between messages, so that the other end can go on sending.
const LISTEN: Duration = Duration::from_millis(1);
/// How many messages are sent before that.
const BURST: usize = 20;

/// What an insider needs.
pub(super) struct Insider<'a> {
    /// The control port.
    pub master: &'a str,
    /// Data servers.
    pub data: &'a [String],
    /// The cluster's secret.
    pub key: &'a Key,
    /// Real messages.
    pub known: &'a [Recording],
    /// How connections are made.
    pub way: &'a Way,
}

impl Insider<'_> {
    /// A worker: it registers, and then says anything.
    pub(super) fn worker(&self, rng: &mut Rng, tally: &mut Tally) -> Result<()> {
        let mut stream = self.way.worker.connect(self.master, Role::Worker, self.key, PATIENCE)?;
        let incarnation = Incarnation(1 + rng.below(1000) as u64);
        let address = format!("127.0.0.1:{}", 1 + rng.below(5));
        let registration = Registration {
            host: "rogue".to_owned(),
            address: address.clone(),
            slots: 1 + rng.below(2) as u32,
            drivers_max: rng.below(2) as u32,
            ..Registration::default()
        };
        let message = ToMaster::Register(registration);
        let first = FromWorker { epoch: Epoch(0), incarnation, message };
        drop(stream.write_all(&frame(&codec::encode(&first)?)));
        let answer = read_frame::<ToWorker>(&mut stream, FRAME_LEN_MAX);
        let Ok(Some(ToWorker::Registered { epoch, .. })) = answer else {
            // Another one registers as the same worker at the same time.
            tally.refused += 1;
            return Ok(());
        };
        // What the real worker has said, said by this one. (Whoever has the cluster's secret can also say
        // that it is the real one, which then has no connection: that is not what is looked for here.)
        let as_mine = |message: Vec<u8>| {
            let mut said: FromWorker = codec::decode(&message).ok()?;
            (said.epoch, said.incarnation) = (epoch, incarnation);
            match &mut said.message {
                ToMaster::Draining => return None,
                ToMaster::Register(real) => real.address.clone_from(&address),
                _ => {}
            }
            codec::encode(&said).ok()
        };
        let recorded = self.recorded(|role| matches!(role, Role::Worker));
        let recorded: Vec<Vec<u8>> = recorded.into_iter().filter_map(as_mine).collect();
        let make = |rng: &mut Rng| {
            let FromWorker { message, .. } = any(rng);
            codec::encode(&FromWorker { epoch, incarnation, message })
        };
        talk(&stream, rng, tally, &recorded, make)
    }

    /// The driver of a client: it attaches, and then says anything.
    pub(super) fn driver(
        &self,
        rng: &mut Rng,
        app: AppId,
        driver: &ClientDriver,
        tally: &mut Tally,
    ) -> Result<()> {
        let (key, app) = (Key::from_hex(&driver.key)?, AppAttemptId { app, attempt: driver.attempt });
        let stream = self.way.driver.connect(self.master, Role::Driver(app), &key, PATIENCE)?;
        let recorded = self.recorded(|role| matches!(role, Role::Driver(_)));
        let mut attached = false;
        let make = |rng: &mut Rng| {
            if !std::mem::replace(&mut attached, true) {
                return codec::encode(&FromDriver::Attach { stages: Vec::new(), jobs: Vec::new() });
            }
            // The end would be the end of all of it.
            match any(rng) {
                FromDriver::Finish(_) if rng.below(10) > 0 => codec::encode(&any::<FromDriver>(rng)),
                message => codec::encode(&message),
            }
        };
        talk(&stream, rng, tally, &recorded, make)
    }

    /// A worker that fetches plugins from the master.
    pub(super) fn fetcher(&self, rng: &mut Rng, tally: &mut Tally) -> Result<()> {
        let stream = self.way.worker.connect(self.master, Role::Fetcher, self.key, PATIENCE)?;
        let recorded = self.recorded(|role| matches!(role, Role::Fetcher));
        talk(&stream, rng, tally, &recorded, |rng| codec::encode(&any::<PluginRequest>(rng)))
    }

    /// A reader of blocks, of one application or of all.
    pub(super) fn reader(&self, rng: &mut Rng, tally: &mut Tally) -> Result<()> {
        let Some(address) = rng.pick(self.data) else { return Ok(()) };
        let app = AppAttemptId { app: AppId(1 + rng.below(3) as u64), attempt: 1 };
        let (role, key) = match rng.below(2) {
            0 => (Role::Fetcher, self.key.clone()),
            _ => (Role::Reader(app), self.key.for_app(app)),
        };
        let stream = self.way.worker.connect(address, role, &key, PATIENCE)?;
        talk(&stream, rng, tally, &[], |rng| codec::encode(&any::<BlockRequest>(rng)))
    }

    fn recorded(&self, of: impl Fn(Role) -> bool) -> Vec<Vec<u8>> {
        self.known.iter().filter(|known| of(known.role)).flat_map(|known| known.messages.clone()).collect()
    }
}

fn any<T: Any>(rng: &mut Rng) -> T {
    let len = 16 + rng.below(200);
    T::any(&mut Source::new(&rng.bytes(len)))
}

/// Sends messages until the other end has had enough.
fn talk(
    stream: &Socket,
    rng: &mut Rng,
    tally: &mut Tally,
    recorded: &[Vec<u8>],
    mut make: impl FnMut(&mut Rng) -> Result<Vec<u8>>,
) -> Result<()> {
    let failed = |cause: std::io::Error| Error::io("setting up a connection", &cause);
    let mut reader = stream.try_clone().map_err(failed)?;
    reader.set_read_timeout(Some(LISTEN)).map_err(failed)?;
    let mut writer = stream;
    for number in 0..TOGETHER {
        let mut message = make(rng)?;
        if number > 0 {
            // Few of them are broken: the first that is ends the connection.
            match rng.below(64) {
                0..16 => message = rng.pick(recorded).cloned().unwrap_or(message),
                16 | 17 => mutate(rng, &mut message, recorded),
                _ => {}
            }
        }
        let mut bytes = frame(&message);
        if rng.below(400) == 0 {
            let header = bytes.len().min(5);
            let mut changed = bytes[..header].to_vec();
            mutate(rng, &mut changed, &[]);
            bytes.splice(..header, changed);
        }
        tally.requests += 1;
        if writer.write_all(&bytes).is_err() {
            tally.cut_off += 1;
            break;
        }
        if number % BURST == BURST - 1 && !listen(&mut reader, tally) {
            break;
        }
    }
    drop(stream.shutdown(Shutdown::Write));
    reader.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
    let heard = std::io::copy(&mut reader.take(64 << 20), &mut std::io::sink());
    tally.silent += u64::from(heard.is_err_and(|cause| is_timeout(&cause)));
    Ok(())
}

/// Takes what is there; `false` if the other end has closed.
fn listen(reader: &mut Socket, tally: &mut Tally) -> bool {
    let mut buffer = [0; 64 * 1024];
    for _ in 0..64 {
        match reader.read(&mut buffer) {
            Ok(0) => return false,
            Ok(_) => tally.answered += 1,
            Err(cause) => return is_timeout(&cause),
        }
    }
    true
}

/// Whether a driver of a client can be had; else why.
pub(super) fn client_driver(answer: Option<ClientDriver>) -> Result<ClientDriver> {
    answer.ok_or_else(|| {
        Error::new(ErrorCode::Internal, "a submission in client mode has no key for its driver")
    })
}
