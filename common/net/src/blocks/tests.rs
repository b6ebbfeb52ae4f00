//! The data plane end to end: what is served, to whom, and what ends a connection.

use super::{BlockData, BlockSource, DataClient, DataServer, DiskBlock, OpenBlock};
use crate::hello::{bind_loopback, connect};
use crate::testing::{app, key};
use firesteel_common::block::{BlockId, BlockKind, Frame, MapStatus, SegmentStat};
use firesteel_common::error::{ErrorCode, Result};
use firesteel_common::id::{AppAttemptId, DatasetId, StageId};
use firesteel_common::protocol::data::BlockRequest;
use firesteel_common::protocol::hello::Role;
use rustix::fs::MemfdFlags;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Default)]
struct Source(BTreeMap<BlockId, OpenBlock>);

impl BlockSource for Source {
    fn open(&self, block: &BlockId) -> Option<OpenBlock> {
        self.0.get(block).cloned()
    }
}

fn map(app: AppAttemptId, partition: u32) -> BlockId {
    BlockId { app, kind: BlockKind::MapOutput { stage: StageId(1), partition, attempt: 0 } }
}

fn cached(app: AppAttemptId) -> BlockId {
    BlockId { app, kind: BlockKind::Cached { dataset: DatasetId(1), partition: 0 } }
}

/// Bytes that tell where they stand.
fn content(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at / 7) as u8).collect()
}

fn file(bytes: &[u8]) -> Arc<std::os::fd::OwnedFd> {
    let fd = rustix::fs::memfd_create("test", MemfdFlags::CLOEXEC).unwrap();
    std::fs::File::from(fd.try_clone().unwrap()).write_all(bytes).unwrap();
    Arc::new(fd)
}

/// Segments of these lengths.
fn status(lengths: &[u64]) -> MapStatus {
    let segments =
        lengths.iter().map(|bytes| SegmentStat { bytes: *bytes, rows: 1, checksum: *bytes }).collect();
    MapStatus { segments, statistics: b"for the driver"[..].into() }
}

/// A block on disk that gives a few bytes at a time.
struct Pieces(Vec<u8>);

impl DiskBlock for Pieces {
    fn fd(&self) -> BorrowedFd<'_> {
        unreachable!("it has no file")
    }

    fn frames(&self) -> &[Frame] {
        &[]
    }

    fn read(&self, from: u64, max: u64) -> Result<Vec<u8>> {
        let rest = &self.0[from as usize..];
        Ok(rest[..rest.len().min(max as usize).min(10_007)].to_vec())
    }
}

const LENGTHS: [u64; 5] = [128, 0, 1_000_000, 64, 0];

fn serve() -> DataServer {
    let bytes = content(1_000_192);
    let mut source = Source::default();
    for app in [app(1), app(2)] {
        let index = Some(Arc::new(status(&LENGTHS)));
        let open = OpenBlock::in_memory(file(&bytes), bytes.len() as u64, index.clone());
        source.0.insert(map(app, 0), open);
        let disk = BlockData::Disk(Arc::new(Pieces(bytes.clone())));
        source.0.insert(map(app, 5), OpenBlock { data: disk, bytes: bytes.len() as u64, status: index });
        source.0.insert(cached(app), OpenBlock::in_memory(file(b"cached"), 6, None));
    }
    // Two whose index claims more than there is, by a little and by far.
    let open = OpenBlock::in_memory(file(b"short"), 64, Some(Arc::new(status(&[64]))));
    source.0.insert(map(app(1), 1), open);
    let open = OpenBlock::in_memory(file(b"short"), 5, Some(Arc::new(status(&[u64::MAX, u64::MAX]))));
    source.0.insert(map(app(1), 2), open);
    DataServer::start(bind_loopback("127.0.0.1:0").unwrap(), key(1), Arc::new(source)).unwrap()
}

fn reader(server: &DataServer, app: AppAttemptId) -> DataClient {
    let role = Role::Reader(app);
    DataClient::new(connect(&server.address(), role, &key(1).for_app(app), PATIENCE).unwrap())
}

fn ask(client: &mut DataClient, block: BlockId, reducers: Option<Range<u32>>) {
    client.request(&BlockRequest { block, reducers }).unwrap();
}

fn take(client: &mut DataClient) -> Option<(MapStatus, Vec<u8>)> {
    let (segments, bytes) = client.reply().unwrap()?;
    let mut taken = vec![0; bytes as usize];
    client.read_exact(&mut taken).unwrap();
    Some((segments, taken))
}

#[test]
fn requests_are_answered_in_their_order_with_the_parts_asked_for() {
    let server = serve();
    // In memory, and on disk.
    for partition in [0, 5] {
        let mut client = reader(&server, app(1));
        parts_are_answered(&mut client, partition);
    }
    server.stop();
}

fn parts_are_answered(client: &mut DataClient, partition: u32) {
    let ranges = [0..1, 1..2, 2..4, 0..5, 4..5, 3..3];
    for reducers in &ranges {
        ask(client, map(app(1), partition), Some(reducers.clone()));
    }
    ask(client, map(app(1), partition), None);
    ask(client, cached(app(1)), None);
    let all = content(1_000_192);
    for reducers in ranges {
        let (start, end) = (reducers.start as usize, reducers.end as usize);
        let from = LENGTHS[..start].iter().sum::<u64>() as usize;
        let to = LENGTHS[..end].iter().sum::<u64>() as usize;
        let (segments, bytes) = take(client).unwrap();
        assert_eq!(segments.segments, status(&LENGTHS[start..end]).segments);
        assert!(segments.statistics.is_empty(), "statistics are the driver's");
        assert!(bytes == all[from..to], "{start}..{end}");
    }
    assert!(take(client).unwrap() == (status(&LENGTHS), all));
    assert_eq!(take(client).unwrap(), (MapStatus::default(), b"cached".to_vec()));
}

#[test]
fn an_application_cannot_read_the_blocks_of_another() {
    let server = serve();
    let mut client = reader(&server, app(1));
    ask(&mut client, map(app(2), 0), None);
    ask(&mut client, cached(app(2)), None);
    ask(&mut client, map(AppAttemptId { attempt: 2, ..app(1) }, 0), None);
    ask(&mut client, cached(app(1)), None);
    for _ in 0..3 {
        assert!(take(&mut client).is_none());
    }
    assert!(take(&mut client).is_some(), "its own it can");
    let forged = connect(&server.address(), Role::Reader(app(2)), &key(1).for_app(app(1)), PATIENCE);
    assert_eq!(forged.unwrap_err().code, ErrorCode::Unauthenticated);
    for role in [Role::Driver(app(1)), Role::Worker, Role::Master] {
        for key in [key(1), key(1).for_app(app(1))] {
            let refused = connect(&server.address(), role, &key, PATIENCE);
            assert_eq!(refused.unwrap_err().code, ErrorCode::Unauthenticated, "{role:?}");
        }
    }
    let fetcher = connect(&server.address(), Role::Fetcher, &key(1), PATIENCE).unwrap();
    let mut fetcher = DataClient::new(fetcher);
    for app in [app(1), app(2)] {
        ask(&mut fetcher, cached(app), None);
        assert!(take(&mut fetcher).is_some());
    }
    server.stop();
}

#[test]
fn what_there_is_not_is_missing() {
    let server = serve();
    let mut client = reader(&server, app(1));
    let absent = [
        (map(app(1), 9), None),
        (map(app(1), 0), Some(4..6)),
        (map(app(1), 0), Some(Range { start: 3, end: 2 })),
        (map(app(1), 0), Some(u32::MAX..u32::MAX)),
        (map(app(1), 2), Some(0..2)),
        (map(app(1), 2), Some(1..2)),
        (cached(app(1)), Some(0..1)),
    ];
    for (block, reducers) in absent.clone() {
        ask(&mut client, block, reducers);
    }
    for (block, reducers) in absent {
        assert!(take(&mut client).is_none(), "{block} {reducers:?}");
    }
    server.stop();
}

#[test]
fn a_connection_ends_where_it_cannot_go_on() {
    let server = serve();
    // A file that is shorter than its index says.
    let mut client = reader(&server, app(1));
    ask(&mut client, map(app(1), 1), None);
    let cut = client.reply().and_then(|_| client.read_exact(&mut [0; 64]));
    assert_eq!(cut.unwrap_err().code, ErrorCode::Unreachable);
    // What is no request.
    for garbage in [&[5, 0, 0, 0, 1, 9, 9, 9, 9, 9][..], &[255, 255, 255, 255, 1], &[0; 64]] {
        let mut stream = connect(&server.address(), Role::Fetcher, &key(1), PATIENCE).unwrap();
        stream.write_all(garbage).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        assert_eq!(stream.read(&mut [0]).unwrap_or(0), 0, "closed without an answer");
    }
    // Stopping the server ends what is open.
    let mut client = reader(&server, app(1));
    ask(&mut client, cached(app(1)), None);
    take(&mut client).unwrap();
    server.stop();
    assert_eq!(client.reply().unwrap_err().code, ErrorCode::Unreachable);
}

#[test]
fn a_client_cannot_lose_its_place() {
    let server = serve();
    let mut client = reader(&server, app(1));
    ask(&mut client, cached(app(1)), None);
    client.reply().unwrap().unwrap();
    client.read_exact(&mut [0; 2]).unwrap();
    assert_eq!(client.reply().unwrap_err().code, ErrorCode::Internal);
    assert_eq!(client.read_exact(&mut [0; 5]).unwrap_err().code, ErrorCode::Internal);
    client.read_exact(&mut [0; 4]).unwrap();
    ask(&mut client, cached(app(1)), None);
    assert!(take(&mut client).is_some());
    server.stop();
}
