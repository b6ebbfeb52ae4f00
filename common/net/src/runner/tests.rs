//! The runner against a master that is played by the test: what is said, what is said again, how it ends.

mod session;

use super::RemoteJobRunner;
use crate::blocks::{BlockSource, DataServer, OpenBlock};
use crate::hello::bind_loopback;
use crate::link::Link;
use crate::listener::Listener;
use crate::testing::{app, key};
use crossbeam::channel::{Receiver, bounded, unbounded};
use firesteel_common::Payload;
use firesteel_common::block::{BlockId, BlockKind, Encoding, SegmentHeader};
use firesteel_common::error::ErrorCode;
use firesteel_common::id::{JobId, StageId, WorkerId};
use firesteel_common::job::{JobEvent, JobRunner};
use firesteel_common::protocol::driver::{FromDriver, ToDriver};
use firesteel_common::protocol::hello::Role;
use firesteel_common::task::ResultValue;
use session::{job, result, result_stage};
use std::io::Write;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(20);

/// A master that only listens: its links, each with what came over it.
struct Master {
    listener: Listener,
    links: Receiver<(Link<ToDriver>, Receiver<FromDriver>)>,
}

fn master_at(socket: TcpListener) -> Master {
    let (opened, links) = unbounded();
    let keys = |role| matches!(role, Role::Driver(_)).then(|| key(1).for_app(app(1)));
    let serve = move |stream, _| {
        let (got, messages) = unbounded();
        let on_message = move |message| got.send(message).is_ok();
        let link = Link::<ToDriver>::start(stream, "master", 64, on_message, |_| ()).unwrap();
        opened.send((link, messages)).unwrap();
    };
    Master { listener: Listener::start(socket, "master", Role::Master, keys, serve).unwrap(), links }
}

impl Master {
    /// The next driver that attaches; it is answered.
    fn attach(&self) -> (Link<ToDriver>, Receiver<FromDriver>, FromDriver) {
        let (link, messages) = self.links.recv_timeout(PATIENCE).unwrap();
        let first = messages.recv_timeout(PATIENCE).unwrap();
        link.send(ToDriver::Attached { slots: 6 }).unwrap();
        (link, messages, first)
    }
}

fn dial(master: &Master) -> std::thread::JoinHandle<Arc<RemoteJobRunner>> {
    let address = master.listener.address().to_string();
    let key = key(1).for_app(app(1));
    std::thread::spawn(move || RemoteJobRunner::connect(&address, app(1), key).unwrap())
}

fn event(job: u32, event: JobEvent) -> ToDriver {
    ToDriver::Job { job: JobId(job), event }
}

#[test]
fn a_job_runs_and_the_application_ends() {
    let master = master_at(bind_loopback("127.0.0.1:0").unwrap());
    let dialling = dial(&master);
    let (link, messages, first) = master.attach();
    let runner = dialling.join().unwrap();
    assert_eq!(first, FromDriver::Attach { stages: vec![], jobs: vec![] });
    assert_eq!(runner.slots(), 6);

    let spec = job(0, vec![result_stage(0, 2, &[])]);
    runner.submit(spec.clone()).unwrap();
    assert_eq!(messages.recv_timeout(PATIENCE).unwrap(), FromDriver::Submit(spec.clone()));
    assert_eq!(runner.submit(spec).unwrap_err().code, ErrorCode::GraphInvalid);
    assert_eq!(runner.next_event_within(JobId(0), Duration::ZERO).unwrap(), None);
    for event in [result(0, 0), result(0, 1), JobEvent::Finished] {
        link.send(ToDriver::Job { job: JobId(0), event: event.clone() }).unwrap();
        assert_eq!(runner.next_event_within(JobId(0), Duration::MAX).unwrap(), Some(event));
    }
    assert_eq!(runner.next_event(JobId(0)).unwrap_err().code, ErrorCode::GraphInvalid);

    let finishing = std::thread::spawn(move || runner.finish(Ok(b"the result"[..].into())));
    let outcome = FromDriver::Finish(Ok(b"the result"[..].into()));
    assert_eq!(messages.recv_timeout(PATIENCE).unwrap(), outcome);
    link.send(ToDriver::Committed).unwrap();
    finishing.join().unwrap().unwrap();
}

#[test]
fn a_broken_link_is_replaced_and_everything_unfinished_said_again() {
    let master = master_at(bind_loopback("127.0.0.1:0").unwrap());
    let dialling = dial(&master);
    let (link, messages, _) = master.attach();
    let runner = dialling.join().unwrap();
    let stage = result_stage(0, 2, &[]);
    runner.submit(job(0, vec![stage.clone()])).unwrap();
    messages.recv_timeout(PATIENCE).unwrap();
    link.send(event(0, result(0, 1))).unwrap();
    assert_eq!(runner.next_event(JobId(0)).unwrap(), result(0, 1));
    link.close();

    let (link, messages, again) = master.attach();
    let mut missing = job(0, vec![]);
    missing.targets[0].partitions = Some(vec![0]);
    assert_eq!(again, FromDriver::Attach { stages: vec![stage], jobs: vec![missing] });
    // What was received before is not handed over a second time.
    for event in [result(0, 1), result(0, 0), JobEvent::Finished] {
        link.send(ToDriver::Job { job: JobId(0), event }).unwrap();
    }
    assert_eq!(runner.next_event(JobId(0)).unwrap(), result(0, 0));
    assert_eq!(runner.next_event(JobId(0)).unwrap(), JobEvent::Finished);

    // The outcome is repeated until it is confirmed, also to a master that had to be started again.
    let address = master.listener.address().to_string();
    let finishing = std::thread::spawn(move || runner.finish(Ok(Payload::empty())));
    let outcome = FromDriver::Finish(Ok(Payload::empty()));
    assert_eq!(messages.recv_timeout(PATIENCE).unwrap(), outcome);
    drop(master);
    drop(link);
    let master = master_at(bind_loopback(&address).unwrap());
    let (link, messages, again) = master.attach();
    assert_eq!(again, FromDriver::Attach { stages: vec![], jobs: vec![] });
    assert_eq!(messages.recv_timeout(PATIENCE).unwrap(), outcome);
    link.send(ToDriver::Committed).unwrap();
    finishing.join().unwrap().unwrap();
}

#[test]
fn a_killed_driver_stops_waiting() {
    let master = master_at(bind_loopback("127.0.0.1:0").unwrap());
    let dialling = dial(&master);
    let (link, messages, _) = master.attach();
    let runner = dialling.join().unwrap();
    runner.submit(job(0, vec![result_stage(0, 1, &[])])).unwrap();
    messages.recv_timeout(PATIENCE).unwrap();
    let (told, reasons) = bounded(4);
    let again = told.clone();
    runner.on_kill(move |reason| told.send(reason.to_owned()).unwrap());
    let waiting = std::thread::spawn({
        let runner = runner.clone();
        move || runner.next_event(JobId(0))
    });
    link.send(ToDriver::Kill { reason: "enough".to_owned() }).unwrap();
    assert_eq!(waiting.join().unwrap().unwrap_err().code, ErrorCode::Killed);
    assert_eq!(reasons.recv_timeout(PATIENCE).unwrap(), "enough");
    assert_eq!(runner.finish(Ok(Payload::empty())).unwrap_err().code, ErrorCode::Killed);
    runner.on_kill(move |reason| again.send(reason.to_owned()).unwrap());
    assert_eq!(reasons.recv_timeout(PATIENCE).unwrap(), "enough", "a hook that comes late is called, too");
}

#[test]
fn another_key_is_refused_soon() {
    let master = master_at(bind_loopback("127.0.0.1:0").unwrap());
    let address = master.listener.address().to_string();
    let refused = RemoteJobRunner::connect(&address, app(1), key(1)).map(|_| ());
    assert_eq!(refused.unwrap_err().code, ErrorCode::Unauthenticated);
}

struct Source(BlockId, OpenBlock);

impl BlockSource for Source {
    fn open(&self, block: &BlockId) -> Option<OpenBlock> {
        (*block == self.0).then(|| self.1.clone())
    }
}

fn large(partition: u32, bytes: u64) -> ResultValue {
    let kind = BlockKind::Result { stage: StageId(0), partition, attempt: 0 };
    ResultValue::Block { worker: WorkerId(3), block: BlockId { app: app(1), kind }, bytes }
}

#[test]
fn a_large_result_is_fetched_from_its_worker_and_verified() {
    let payload = vec![5; 500_000];
    let header = SegmentHeader::seal(Encoding::Plain, 1, payload.len() as u64, 1, &payload);
    let mut segment = header.encode().to_vec();
    segment.extend(&payload);
    segment.resize(header.segment_len() as usize, 0);
    let fd = rustix::fs::memfd_create("test", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    let mut file = std::fs::File::from(fd.try_clone().unwrap());
    file.write_all(&segment).unwrap();
    let bytes = segment.len() as u64;
    let ResultValue::Block { block, .. } = large(0, bytes) else { unreachable!() };
    let source = Source(block, OpenBlock::in_memory(Arc::new(fd), bytes, None));
    let server = DataServer::start(bind_loopback("127.0.0.1:0").unwrap(), key(1), Arc::new(source)).unwrap();

    let master = master_at(bind_loopback("127.0.0.1:0").unwrap());
    let dialling = dial(&master);
    let (link, _messages, _) = master.attach();
    let runner = dialling.join().unwrap();
    let inline = ResultValue::Inline(b"small"[..].into());
    assert_eq!(&runner.fetch(&inline).unwrap()[..], b"small");
    // The address may come after the name.
    let fetching = std::thread::spawn({
        let runner = runner.clone();
        move || (0..3).map(|_| runner.fetch(&large(0, bytes)).unwrap()).collect::<Vec<_>>()
    });
    link.send(ToDriver::WorkerAddress { worker: WorkerId(3), address: server.address() }).unwrap();
    for fetched in fetching.join().unwrap() {
        assert!(fetched[..] == payload[..]);
    }
    assert_eq!(runner.fetch(&large(0, bytes + 64)).unwrap_err().code, ErrorCode::BlockCorrupt);
    assert_eq!(runner.fetch(&large(1, bytes)).unwrap_err().code, ErrorCode::BlockMissing);
    file.set_len(bytes).unwrap();
    rustix::io::pwrite(&file, &[6], 1000).unwrap();
    assert_eq!(runner.fetch(&large(0, bytes)).unwrap_err().code, ErrorCode::BlockCorrupt);
    server.stop();
    assert_eq!(runner.fetch(&large(0, bytes)).unwrap_err().code, ErrorCode::Unreachable);
}
