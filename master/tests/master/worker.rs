//! A worker and a driver that say what they are told to say.

use crate::harness::Master;
use firesteel_common::Payload;
use firesteel_common::error::Error;
use firesteel_common::id::{AppAttemptId, Epoch, Incarnation, PluginHash, WorkerId};
use firesteel_common::protocol::data::{PluginReply, PluginRequest};
use firesteel_common::protocol::driver::{FromDriver, ToDriver};
use firesteel_common::protocol::hello::Role;
use firesteel_common::protocol::worker::{DriverLaunch, FromWorker, Registration, ToMaster, ToWorker};
use firesteel_net::{Key, Link, connect, read_frame, write_frame};
use std::io::Read;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// Nothing here takes so long; a test that waits longer has failed.
const PATIENCE: Duration = Duration::from_secs(20);

fn secret(master: &Master) -> Key {
    Key::load(&master.run_dir.join("secret")).unwrap()
}

/// A worker that has registered.
pub struct Worker {
    link: Link<FromWorker>,
    inbox: Receiver<ToWorker>,
    epoch: Epoch,
    /// Its id.
    pub id: WorkerId,
}

impl Worker {
    /// Dials and registers; `drivers` are those it says it runs.
    pub fn register(master: &Master, drivers: Vec<AppAttemptId>) -> Self {
        let stream = connect(&master.state.master, Role::Worker, &secret(master), PATIENCE).unwrap();
        let (sender, inbox) = channel();
        let link =
            Link::start(stream, "worker", 64, move |message| sender.send(message).is_ok(), |_| ()).unwrap();
        let registration = Registration {
            host: "here".to_owned(),
            address: "127.0.0.1:1".to_owned(),
            slots: 2,
            drivers_max: 4,
            memory: 1 << 20,
            drivers,
            ..Registration::default()
        };
        let mut worker = Self { link, inbox, epoch: Epoch(0), id: WorkerId(0) };
        worker.say(ToMaster::Register(registration));
        let registered = worker.hear(|message| match message {
            ToWorker::Registered { worker, epoch, .. } => Some((worker, epoch)),
            _ => None,
        });
        (worker.id, worker.epoch) = registered;
        worker
    }

    /// The epoch it was registered in.
    pub fn epoch(&self) -> u64 {
        self.epoch.0
    }

    /// Tells the master something.
    pub fn say(&self, message: ToMaster) {
        let incarnation = Incarnation(17);
        self.link.send(FromWorker { epoch: self.epoch, incarnation, message }).unwrap();
    }

    /// Waits for something, with heartbeats meanwhile.
    pub fn hear<T>(&self, mut wanted: impl FnMut(ToWorker) -> Option<T>) -> T {
        for _ in 0..PATIENCE.as_millis() / 100 {
            match self.inbox.recv_timeout(Duration::from_millis(100)) {
                Ok(message) => {
                    if let Some(found) = wanted(message) {
                        return found;
                    }
                }
                Err(_) if self.epoch.0 > 0 => self.say(ToMaster::Heartbeat),
                Err(_) => {}
            }
        }
        panic!("the worker has waited in vain");
    }

    /// Waits for a driver to start.
    pub fn driver(&self) -> DriverLaunch {
        self.hear(|message| match message {
            ToWorker::StartDriver(launch) => Some(launch),
            _ => None,
        })
    }
}

/// Fetches a plugin as a worker does.
pub fn fetch_plugin(master: &Master, plugin: PluginHash) -> Option<Vec<u8>> {
    let mut stream = connect(&master.state.master, Role::Fetcher, &secret(master), PATIENCE).unwrap();
    write_frame(&mut stream, &PluginRequest { plugin }).unwrap();
    match read_frame(&mut stream, 1024).unwrap().unwrap() {
        PluginReply::Missing => None,
        PluginReply::Found { bytes } => {
            let mut content = vec![0; bytes as usize];
            stream.read_exact(&mut content).unwrap();
            Some(content)
        }
    }
}

/// A driver that is attached.
pub struct Driver {
    link: Link<FromDriver>,
    inbox: Receiver<ToDriver>,
}

impl Driver {
    /// Dials and attaches.
    pub fn attach(master: &Master, app: AppAttemptId) -> Self {
        Self::attach_with(master, app, &secret(master).for_app(app)).unwrap()
    }

    /// The same with another key.
    pub fn attach_with(master: &Master, app: AppAttemptId, key: &Key) -> Result<Self, Error> {
        let stream = connect(&master.state.master, Role::Driver(app), key, PATIENCE)?;
        let (sender, inbox) = channel();
        let link = Link::start(stream, "driver", 64, move |message| sender.send(message).is_ok(), |_| ())?;
        link.send(FromDriver::Attach { stages: Vec::new(), jobs: Vec::new() })?;
        let driver = Self { link, inbox };
        assert!(matches!(driver.hear(), ToDriver::Attached { .. }));
        Ok(driver)
    }

    fn hear(&self) -> ToDriver {
        self.inbox.recv_timeout(PATIENCE).unwrap()
    }

    /// Ends the application, and waits until that is durable.
    pub fn finish(&self, outcome: Result<&[u8], Error>) {
        self.link.send(FromDriver::Finish(outcome.map(Payload::from))).unwrap();
        while !matches!(self.hear(), ToDriver::Committed) {}
    }

    /// What it is told next.
    pub fn hears(&self) -> ToDriver {
        self.hear()
    }
}
