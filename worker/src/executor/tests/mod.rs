//! Executors in this process, over real sockets, stores and data servers, with an engine of closures.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod held;
mod world;

use firesteel_common::block::{BlockId, BlockKind, SegmentHeader, StorageLevel, StoredBlock};
use firesteel_common::event::FetchCause;
use firesteel_common::graph::ReadRange;
use firesteel_common::id::DatasetId;
use firesteel_common::options::Limits;
use firesteel_common::protocol::executor::ToExecutor;
use firesteel_common::protocol::worker::{CachedPlace, MapPlace, TaskLaunches};
use firesteel_common::task::{ResultValue, TaskIo, TaskOutcome};
use firesteel_common::{Error, ErrorCode, Payload, Result};
use firesteel_net::Key;
use firesteel_store::BlockStore;
use std::collections::BTreeSet;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use world::{APP, Body, MAP, REDUCE, SHARE, Worker, code, failure, inline, launch, reducer};

/// What map task `map` writes for `reducer`, of all the lengths that matter; nothing for some.
fn content(map: u32, reducer: u32) -> Vec<u8> {
    let len = match (map + reducer) % 5 {
        0 => 0,
        1 => 1,
        2 => 64,
        3 => 70_000,
        _ => 3_000_000,
    };
    vec![(map * 16 + reducer) as u8; len]
}

/// A map task writes [`content`]; a reduce task gives one record for each segment: map, reducer, a fold of
/// the payload.
fn body() -> Result<Body> {
    Ok(Arc::new(|io: Arc<dyn TaskIo>| {
        let reducers = io.description().reducers;
        if reducers > 0 {
            let mut output = io.map_output()?;
            for reducer in 0..reducers {
                let bytes = content(io.description().task.partition, reducer);
                if bytes.len() > 100_000 {
                    bytes
                        .chunks(99_999)
                        .try_for_each(|part| output.append_part(7, 1, bytes.len() as u64, part))?;
                } else {
                    output.append(7, u64::from(!bytes.is_empty()), &bytes)?;
                }
            }
            return Ok(TaskOutcome::MapOutput(output.finish(Payload::empty())?));
        }
        let mut input = io.read_input(0)?;
        let mut read = Vec::new();
        while let Some(segment) = input.next()? {
            assert_eq!(segment.payload().as_ptr().align_offset(64), 0);
            assert_eq!((segment.header.type_tag, segment.header.records), (7, 1));
            read.push((segment.map, segment.reducer, segment.payload().to_vec()));
        }
        let text: Vec<String> = read
            .iter()
            .map(|(map, reducer, bytes)| {
                assert!(*bytes == content(*map, *reducer));
                format!("{map}/{reducer}")
            })
            .collect();
        Ok(TaskOutcome::Result(ResultValue::Inline(Payload::from(text.join(" ").into_bytes()))))
    }))
}

fn expected(maps: u32, reducers: std::ops::Range<u32>) -> String {
    let cells = reducers.flat_map(|reducer| (0..maps).map(move |map| (map, reducer)));
    let full = cells.filter(|(map, reducer)| !content(*map, *reducer).is_empty());
    full.map(|(map, reducer)| format!("{map}/{reducer}")).collect::<Vec<_>>().join(" ")
}

#[test]
fn segments_of_both_workers_come_in_their_order() {
    let key = Key::generate().unwrap();
    let (a, b) = (Worker::start(1, &key, body(), None), Worker::start(2, &key, body(), None));
    a.run_maps((0..20).step_by(2), 0, 3);
    b.run_maps((1..20).step_by(2), 0, 3);
    let places = || (0..20).map(|map| Some(if map % 2 == 0 { a.place(0) } else { b.place(0) })).collect();
    for reader in [&a, &b] {
        reader.reduce(places(), 0, reducer(1));
        let report = reader.report();
        assert_eq!(&inline(&report)[..], expected(20, 1..2).as_bytes());
        let metrics = report.metrics;
        let bytes = metrics.local_read_bytes + metrics.remote_read_bytes;
        assert!(metrics.local_read_bytes > 0 && metrics.remote_read_bytes > 0 && metrics.read_records == 16);
        let sum: u64 = (0..20)
            .map(|map| content(map, 1))
            .filter(|bytes| !bytes.is_empty())
            .map(|bytes| segment_len(&bytes))
            .sum();
        assert_eq!(bytes, sum);
    }
    let everything = vec![ReadRange { reducers: 0..3, maps: 0..20 }];
    a.reduce(places(), 1, everything);
    assert_eq!(&inline(&a.report())[..], expected(20, 0..3).as_bytes());
}

fn segment_len(payload: &[u8]) -> u64 {
    SegmentHeader::seal(firesteel_common::block::Encoding::Plain, 0, payload.len() as u64, 1, payload)
        .segment_len()
}

#[test]
fn a_reader_waits_for_what_is_gone_and_goes_on() {
    let key = Key::generate().unwrap();
    let (a, mut b) = (Worker::start(1, &key, body(), None), Worker::start(2, &key, body(), None));
    let c = Worker::start(3, &key, body(), None);
    a.run_maps(0..3, 0, 2);
    b.run_maps(3..6, 0, 2);
    b.stop_serving();
    // 1 was never written by this attempt, 2 has no place, 3 to 5 are at a worker that does not answer.
    let mut places = vec![Some(a.place(0)), Some(a.place(9)), None];
    places.extend([Some(b.place(0)), Some(b.place(0)), Some(b.place(0))]);
    let task = a.reduce(places, 0, reducer(0));
    let complaints: Vec<_> = (0..5).map(|_| a.complaint()).collect();
    assert!(complaints.iter().all(|complaint| complaint.task == task));
    let causes: BTreeSet<(u32, &str)> = complaints
        .iter()
        .map(|complaint| match complaint.cause {
            FetchCause::Missing => (complaint.map, "missing"),
            FetchCause::Unreachable => (complaint.map, "unreachable"),
            FetchCause::Corrupt => (complaint.map, "corrupt"),
        })
        .collect();
    let unreachable = [(3, "unreachable"), (4, "unreachable"), (5, "unreachable")];
    assert_eq!(causes, [(1, "missing"), (2, "missing")].into_iter().chain(unreachable).collect());
    c.run_maps(3..6, 1, 2);
    let moved = |maps: std::ops::Range<u32>, place: MapPlace| maps.map(|map| (map, place.clone())).collect();
    a.send(ToExecutor::InputsChanged { stage: MAP, places: moved(1..3, a.place(0)) });
    a.send(ToExecutor::InputsChanged { stage: MAP, places: moved(3..4, c.place(1)) });
    a.send(ToExecutor::InputsChanged { stage: MAP, places: moved(4..6, c.place(1)) });
    let report = a.report();
    assert_eq!(&inline(&report)[..], expected(6, 0..1).as_bytes());
    assert!(report.metrics.fetch_wait_us > 0);
    assert!(a.complaints.is_empty());
}

#[test]
fn a_waiting_reader_can_be_stopped() {
    let key = Key::generate().unwrap();
    let a = Worker::start(1, &key, body(), None);
    let task = a.reduce(vec![None], 0, reducer(0));
    assert_eq!(a.complaint().map, 0);
    a.send(ToExecutor::Kill(vec![task]));
    assert_eq!(a.report().outcome, TaskOutcome::Killed);
}

#[test]
fn damage_is_found_here_and_over_there_and_read_again() {
    let key = Key::generate().unwrap();
    let tokens = tempfile::tempdir().unwrap();
    for reader in 1..3 {
        let a = Worker::start(1, &key, body(), Some(tokens.path()));
        let b = Worker::start(2, &key, body(), None);
        a.run_maps(0..4, 0, 2);
        std::fs::write(tokens.path().join("worker.data_request:2@worker-1"), "corrupt").unwrap();
        let reader = if reader == 1 { &a } else { &b };
        reader.reduce(vec![Some(a.place(0)); 4], 0, reducer(1));
        let complaint = reader.complaint();
        assert_eq!((complaint.cause, complaint.place), (FetchCause::Corrupt, Some(a.place(0))));
        reader.send(ToExecutor::InputsChanged { stage: MAP, places: vec![(complaint.map, a.place(0))] });
        assert_eq!(&inline(&reader.report())[..], expected(4, 1..2).as_bytes());
        assert!(tokens.path().join("fired-worker.data_request:2@worker-1").exists());
    }
}

#[test]
fn workers_of_one_machine_map_each_others_blocks() {
    let key = Key::generate().unwrap();
    let (run_dir, tokens) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let start = |id| Worker::start_in(Some(run_dir.path()), id, &key, body(), Some(tokens.path()));
    let (a, mut b) = (start(1), start(2));
    b.run_maps(0..20, 0, 3);
    // What comes now does not come over the data port.
    b.stop_serving();
    let mut places = vec![Some(b.place(0)); 20];
    places.push(Some(b.place(4)));
    std::fs::write(tokens.path().join("worker.data_request:2@worker-2"), "corrupt").unwrap();
    a.reduce(places, 0, reducer(2));
    let complaints: BTreeSet<u32> = [a.complaint(), a.complaint()]
        .into_iter()
        .map(|complaint| match complaint.cause {
            FetchCause::Corrupt => 1,
            FetchCause::Missing => complaint.map,
            FetchCause::Unreachable => 0,
        })
        .collect();
    assert_eq!(complaints, [1, 20].into());
    b.run_maps(20..21, 5, 3);
    let again = (0..20).map(|map| (map, b.place(0))).chain([(20, b.place(5))]).collect();
    a.send(ToExecutor::InputsChanged { stage: MAP, places: again });
    let report = a.report();
    assert_eq!(&inline(&report)[..], expected(21, 2..3).as_bytes());
    assert!(report.metrics.remote_read_bytes == 0 && report.metrics.local_read_bytes > 0);
}

#[test]
fn outputs_that_outgrow_the_memory_are_on_disk_and_read_there_by_everybody() {
    let key = Key::generate().unwrap();
    let (run_dir, spill_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    // The first has nothing for its tasks, the second no room for its blocks.
    let start = |id, budget, share, run_dir| {
        let store = BlockStore::new(budget, Some(spill_dir.path().to_owned()));
        Worker::start_with(store, share, run_dir, id, &key, body(), None)
    };
    let a = start(1, 64 << 20, 0, Some(run_dir.path()));
    let b = start(2, 1 << 20, SHARE, None);
    let c = start(3, 64 << 20, SHARE, Some(run_dir.path()));
    a.run_maps([0, 2], 0, 6);
    b.run_maps([1, 3], 0, 6);
    assert_eq!((a.store.used(), b.store.used()), (0, 0));
    assert!(b.store.counts().spilled_bytes > 6_000_000);
    let places = vec![Some(a.place(0)), Some(b.place(0)), Some(a.place(0)), Some(b.place(0))];
    // Each reads its own blocks, and those of the others over TCP or from their files.
    for worker in [&a, &b, &c] {
        for index in 0..6 {
            worker.reduce(places.clone(), index, reducer(index));
            assert_eq!(&inline(&worker.report())[..], expected(4, index..index + 1).as_bytes());
        }
    }
    assert_eq!((a.store.counts().restored, b.store.counts().restored), (0, 0));
    assert_eq!(std::fs::read_dir(spill_dir.path()).unwrap().count(), 0);
}

#[test]
fn a_cached_partition_that_is_damaged_on_disk_is_made_anew() {
    let key = Key::generate().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let block = BlockId { app: APP, kind: BlockKind::Cached { dataset: DatasetId(4), partition: 9 } };
    let body: Body = Arc::new(move |io| {
        let found = io.cached(block)?.map(|segment| segment.payload().to_vec());
        if found.is_none() {
            assert!(io.store(block, StorageLevel::DiskOnly, 3, 2, &[7; 100_000])?);
        }
        Ok(TaskOutcome::Result(ResultValue::Inline(Payload::from(found.unwrap_or_default()))))
    });
    let store = BlockStore::new(0, Some(dir.path().to_owned()));
    let a = Worker::start_with(store, SHARE, None, 1, &key, Ok(body), None);
    let read = |partition| {
        a.reduce(vec![], partition, vec![]);
        inline(&a.report()).len()
    };
    assert_eq!((read(0), read(1)), (0, 100_000));
    let file = std::fs::File::from(a.store.open(&block).unwrap().fd().try_clone_to_owned().unwrap());
    file.write_all_at(&[0x55; 10], 70).unwrap();
    assert_eq!((read(2), read(3)), (0, 100_000), "damaged, and made anew");
    assert_eq!(a.store.counts().corrupt, 1);
}

#[test]
fn a_large_result_becomes_a_block() {
    let key = Key::generate().unwrap();
    let result = Payload::from(vec![5; 1_000_000]);
    let given = result.clone();
    let body: Body = Arc::new(move |_| Ok(TaskOutcome::Result(ResultValue::Inline(given.clone()))));
    let a = Worker::start(1, &key, Ok(body), None);
    let task = a.reduce(vec![], 3, vec![]);
    let TaskOutcome::Result(ResultValue::Block { worker, block, bytes }) = a.report().outcome else {
        panic!("not a block");
    };
    let kind = BlockKind::Result { stage: REDUCE, partition: 3, attempt: 0 };
    assert_eq!((worker, block), (a.id, BlockId { app: task.app, kind }));
    let open = a.store.open(&block).unwrap();
    let mapped = firesteel_store::map_sealed(open.fd(), bytes).unwrap();
    let (_, payload) = SegmentHeader::open(mapped.as_ref()).unwrap();
    assert_eq!(payload, &result[..]);
}

#[test]
fn an_attempt_that_fails_leaves_nothing_and_says_why() {
    let key = Key::generate().unwrap();
    let body: Body = Arc::new(|io| match io.description().task.partition {
        0 => panic!("on purpose"),
        1 => Err(Error::new(ErrorCode::JobFailed, "so it goes")),
        _ => {
            let output = io.map_output()?;
            output.finish(Payload::empty())?;
            Err(Error::new(ErrorCode::JobFailed, "after its output"))
        }
    });
    let a = Worker::start(1, &key, Ok(body), None);
    let mut errors = Vec::new();
    for partition in 0..3 {
        let tasks = vec![launch(MAP, partition, 0, vec![])];
        let stages = vec![code(MAP, 2, vec![])];
        a.send(ToExecutor::Launch(TaskLaunches {
            app: APP,
            limits: Limits::default(),
            stages,
            inputs: vec![],
            tasks,
        }));
        errors.push(failure(&a.report()).to_string());
    }
    assert_eq!(errors[0], "[PANICKED] the task panicked: on purpose");
    assert_eq!(errors[1..], ["[JOB_FAILED] so it goes", "[JOB_FAILED] after its output"]);
    assert!(a.store.list().is_empty());
    let broken = Worker::start(2, &key, Err(Error::new(ErrorCode::PluginAbi, "of another age")), None);
    broken.reduce(vec![], 0, vec![]);
    assert_eq!(failure(&broken.report()).code, ErrorCode::PluginAbi);
}

#[test]
fn a_cached_partition_is_read_where_it_is() {
    let key = Key::generate().unwrap();
    let block = BlockId { app: APP, kind: BlockKind::Cached { dataset: DatasetId(4), partition: 9 } };
    let body: Body = Arc::new(move |io| {
        let found = match io.cached(block)? {
            Some(segment) => segment.payload().to_vec(),
            None if io.description().task.partition == 0 => {
                assert!(io.store(block, StorageLevel::MemoryOnly, 3, 2, b"kept")?);
                assert!(!io.store(
                    BlockId { app: APP, kind: BlockKind::Cached { dataset: DatasetId(4), partition: 1 } },
                    StorageLevel::MemoryOnly,
                    3,
                    1,
                    &vec![0; 80 << 20]
                )?);
                io.cached(block)?.unwrap().payload().to_vec()
            }
            None => b"none".to_vec(),
        };
        let granted = io.acquire_memory(100);
        io.release_memory(granted);
        io.accumulate(granted as u32, Payload::empty());
        Ok(TaskOutcome::Result(ResultValue::Inline(Payload::from(found))))
    });
    let a = Worker::start(1, &key, Ok(body.clone()), None);
    let b = Worker::start(2, &key, Ok(body), None);
    a.reduce(vec![], 0, vec![]);
    let report = a.report();
    assert_eq!(
        (&inline(&report)[..], report.stored),
        (&b"kept"[..], vec![StoredBlock { block, level: StorageLevel::MemoryOnly }])
    );
    assert_eq!(report.accumulators[0].id, 100);
    b.reduce(vec![], 1, vec![]);
    assert_eq!(&inline(&b.report())[..], b"none");
    let mut task = launch(REDUCE, 2, 0, vec![vec![]]);
    let (dataset, partition) = (DatasetId(4), 9);
    task.cached = vec![CachedPlace { dataset, partition, worker: a.id, address: a.address.clone() }];
    b.send(ToExecutor::Launch(TaskLaunches {
        app: APP,
        limits: Limits::default(),
        stages: vec![],
        inputs: vec![],
        tasks: vec![task],
    }));
    let report = b.report();
    assert_eq!(&inline(&report)[..], b"kept");
    assert!(report.metrics.remote_read_bytes > 0);
}

#[test]
fn a_thousand_empty_tasks_are_all_reported() {
    let key = Key::generate().unwrap();
    let body: Body = Arc::new(|_| Ok(TaskOutcome::Result(ResultValue::Inline(Payload::empty()))));
    let a = Worker::start(1, &key, Ok(body), None);
    let started = std::time::Instant::now();
    let tasks =
        |range: std::ops::Range<u32>| range.map(|partition| launch(REDUCE, partition, 0, vec![])).collect();
    let stages = vec![code(REDUCE, 0, vec![])];
    a.send(ToExecutor::Launch(TaskLaunches {
        app: APP,
        limits: Limits::default(),
        stages,
        inputs: vec![],
        tasks: tasks(0..2),
    }));
    for partition in 2..1002 {
        a.report();
        let tasks = tasks(partition..partition + 1);
        a.send(ToExecutor::Launch(TaskLaunches {
            app: APP,
            limits: Limits::default(),
            stages: vec![],
            inputs: vec![],
            tasks,
        }));
    }
    println!("1000 empty tasks, two at once: {:?}", started.elapsed());
}
