//! Eviction, spilling and coming back, against a model that knows nothing of files.

use super::{app, cached, file, map_output};
use crate::{BlockStore, map_sealed};
use firesteel_common::block::{BlockId, BlockKind, StorageLevel};
use firesteel_common::id::{AppAttemptId, DatasetId, JobId, StageId};
use firesteel_net::BlockData;
use parking_lot::Mutex;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

const LEVELS: [StorageLevel; 3] =
    [StorageLevel::MemoryOnly, StorageLevel::MemoryAndDisk, StorageLevel::DiskOnly];

/// A store that spills, and what it says to have lost.
fn spilling(budget: u64) -> (BlockStore, tempfile::TempDir, Arc<Mutex<Vec<BlockId>>>) {
    let dir = tempfile::tempdir().unwrap();
    let store = BlockStore::new(budget, Some(dir.path().to_owned()));
    let lost: Arc<Mutex<Vec<BlockId>>> = Arc::default();
    let told = lost.clone();
    store.on_lost(Box::new(move |blocks| told.lock().extend(blocks)));
    (store, dir, lost)
}

fn of_dataset(dataset: u32, partition: u32) -> BlockId {
    let kind = BlockKind::Cached { dataset: DatasetId(dataset), partition };
    BlockId { app: app(1, 1), kind }
}

fn put(store: &BlockStore, id: BlockId, bytes: &[u8], level: StorageLevel) -> bool {
    store.put(id, file(bytes), bytes.len() as u64, None, level).unwrap()
}

fn read(store: &BlockStore, id: &BlockId) -> Option<Vec<u8>> {
    let open = store.open(id)?;
    let disk = match &open.data {
        BlockData::Memory(fd) => return Some(map_sealed(fd.as_fd(), open.bytes).unwrap().as_ref().to_vec()),
        BlockData::Disk(disk) => disk,
    };
    let mut bytes = Vec::new();
    while (bytes.len() as u64) < open.bytes {
        match disk.read(bytes.len() as u64, u64::MAX) {
            Ok(piece) => bytes.extend(piece),
            // Whoever reads again learns that it is lost.
            Err(_) => return read(store, id),
        }
    }
    Some(bytes)
}

#[test]
fn the_least_recently_used_partition_of_another_dataset_goes() {
    let (store, _dir, lost) = spilling(40);
    for partition in 0..4 {
        assert!(put(&store, of_dataset(1, partition), &[1; 10], StorageLevel::MemoryOnly));
    }
    assert!(!put(&store, of_dataset(1, 4), &[1; 10], StorageLevel::MemoryOnly), "never its own dataset");
    store.open(&of_dataset(1, 0)).unwrap();
    let reader = store.open(&of_dataset(1, 1)).unwrap();
    assert!(put(&store, of_dataset(2, 0), &[2; 10], StorageLevel::MemoryOnly));
    assert_eq!(*lost.lock(), [of_dataset(1, 2)], "partition 0 was used later, partition 1 is being read");
    drop(reader);
    assert!(put(&store, map_output(app(1, 1), 0), &[3; 20], StorageLevel::MemoryAndDisk));
    assert_eq!(store.counts().dropped, 3);
    assert_eq!((store.used(), store.counts().spilled_bytes), (40, 0));
}

#[test]
fn a_cyclic_scan_keeps_what_fits() {
    let (store, _dir, _) = spilling(50);
    let mut hits = 0;
    for _ in 0..10 {
        for partition in 0..10 {
            let id = of_dataset(1, partition);
            if store.open(&id).is_some() {
                hits += 1;
            } else {
                put(&store, id, &[0; 10], StorageLevel::MemoryOnly);
            }
        }
    }
    assert_eq!(hits, 9 * 5, "half of the partitions fit, and stay");
}

#[test]
fn what_may_be_on_disk_is_spilled_and_comes_back() {
    let (store, dir, lost) = spilling(100);
    let bytes = |number: u8| vec![number; 60];
    for (number, level) in (0..3).zip(LEVELS) {
        assert!(put(&store, of_dataset(number, 0), &bytes(number as u8), level));
    }
    assert_eq!(*lost.lock(), [of_dataset(0, 0)], "memory only is dropped");
    assert_eq!(store.used(), 60);
    assert!(put(&store, of_dataset(3, 0), &bytes(3), StorageLevel::MemoryOnly));
    assert_eq!((store.used(), store.counts().spilled_bytes), (60, 120));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "the files have no names");
    for number in 1..4 {
        assert_eq!(read(&store, &of_dataset(number, 0)), Some(bytes(number as u8)));
    }
    assert_eq!((store.used(), store.counts().restored), (60, 0), "there was no room to come back to");
    store.free(&[of_dataset(3, 0)]);
    for number in 1..3 {
        assert_eq!(read(&store, &of_dataset(number, 0)), Some(bytes(number as u8)));
    }
    assert_eq!(store.used(), 60, "the first one stays in memory now, disk only never does");
    let restored = store.counts().restored;
    assert_eq!(read(&store, &of_dataset(1, 0)), Some(bytes(1)));
    assert_eq!(store.counts().restored, restored);
    store.free_app(app(1, 1));
    assert_eq!((store.used(), store.list().len()), (0, 0));
}

#[test]
fn map_outputs_beyond_the_budget_are_spilled() {
    let (store, _dir, lost) = spilling(50);
    for partition in 0..10 {
        assert!(put(
            &store,
            map_output(app(1, 1), partition),
            &[partition as u8; 20],
            StorageLevel::MemoryAndDisk
        ));
        assert!(store.used() <= 50);
    }
    for partition in 0..10 {
        assert_eq!(read(&store, &map_output(app(1, 1), partition)), Some(vec![partition as u8; 20]));
    }
    assert!(lost.lock().is_empty());
    // One that is alone larger than the budget goes to disk at once.
    assert!(put(&store, map_output(app(2, 1), 0), &[7; 70], StorageLevel::MemoryAndDisk));
    assert!(store.used() <= 50);
    assert_eq!(read(&store, &map_output(app(2, 1), 0)), Some(vec![7; 70]));
    assert_eq!(store.counts().restored, 0, "map outputs are read where they are");
}

#[test]
fn a_directory_that_cannot_be_written_costs_cached_partitions_only() {
    let dir = tempfile::tempdir().unwrap();
    let store = BlockStore::new(50, Some(dir.path().join("missing")));
    assert!(put(&store, cached(app(1, 1), 0), &[1; 40], StorageLevel::MemoryAndDisk));
    assert!(!put(&store, of_dataset(2, 0), &[1; 60], StorageLevel::MemoryAndDisk));
    for partition in 0..3 {
        assert!(put(&store, map_output(app(1, 1), partition), &[2; 40], StorageLevel::MemoryAndDisk));
    }
    assert_eq!(store.counts().dropped, 1);
    assert_eq!(store.used(), 120);
    assert_eq!(read(&store, &map_output(app(1, 1), 1)), Some(vec![2; 40]));
}

#[test]
fn every_flipped_bit_of_a_spilled_block_is_noticed_or_harmless() {
    let content: Vec<u8> = (0..5_000_u32).map(|n| ((n * n) >> 5) as u8).collect();
    let (mut noticed, mut harmless) = (0, 0);
    for flip in 0..1_000 {
        let (store, _dir, lost) = spilling(0);
        let id = of_dataset(1, 0);
        assert!(put(&store, id, &content, StorageLevel::DiskOnly));
        let file = std::fs::File::from(store.open(&id).unwrap().fd().try_clone_to_owned().unwrap());
        let len = file.metadata().unwrap().len();
        let at = flip * 7_919 % len;
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        byte[0] ^= 1 << (flip % 8);
        file.write_all_at(&byte, at).unwrap();
        match read(&store, &id) {
            None => {
                noticed += 1;
                assert_eq!(*lost.lock(), [id]);
                assert!(store.list().is_empty());
            }
            Some(read) => {
                harmless += 1;
                assert_eq!(read, content);
            }
        }
    }
    assert_eq!(noticed + harmless, 1_000);
    assert!(noticed > 990, "{noticed} noticed, {harmless} harmless");
}

/// One thing that is done to a store.
#[derive(Clone, Debug)]
enum Step {
    Put(BlockId, usize, StorageLevel),
    Read(BlockId),
    Free(Vec<BlockId>),
    FreeApp(AppAttemptId),
}

fn any_id() -> impl Strategy<Value = BlockId> {
    let app = (0..3_u64, 1..3_u32).prop_map(|(number, attempt)| app(number, attempt));
    (app, 0..4, 0..2_u32, 0..3_u32).prop_map(|(app, kind, stage, partition)| {
        let kind = match kind {
            0 => BlockKind::MapOutput { stage: StageId(stage), partition, attempt: 0 },
            1 => BlockKind::Cached { dataset: DatasetId(stage), partition },
            2 => BlockKind::Result { stage: StageId(stage), partition, attempt: 0 },
            _ => BlockKind::Broadcast { job: JobId(stage), index: partition },
        };
        BlockId { app, kind }
    })
}

fn any_step() -> impl Strategy<Value = Step> {
    let level = prop::sample::select(LEVELS.to_vec());
    prop_oneof![
        6 => (any_id(), 0..60_usize, level).prop_map(|(id, len, level)| Step::Put(id, len, level)),
        4 => any_id().prop_map(Step::Read),
        2 => prop::collection::vec(any_id(), 0..6).prop_map(Step::Free),
        1 => any_id().prop_map(|id| Step::FreeApp(id.app)),
    ]
}

fn is_cached(id: &BlockId) -> bool {
    matches!(id.kind, BlockKind::Cached { .. })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]


    #[test]
    fn the_store_is_a_map_that_may_forget_cached_partitions(
        steps in prop::collection::vec(any_step(), 0..60),
    ) {
        let (store, _dir, lost) = spilling(200);
        let mut model: BTreeMap<BlockId, (Vec<u8>, StorageLevel)> = BTreeMap::new();
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Step::Put(id, len, level) => {
                    let bytes = vec![number as u8; len];
                    let kept = put(&store, id, &bytes, level);
                    prop_assert!(kept || (is_cached(&id) && level == StorageLevel::MemoryOnly));
                    if kept {
                        model.entry(id).or_insert((bytes, level));
                    }
                }
                Step::Read(id) => {
                    prop_assert_eq!(read(&store, &id), model.get(&id).map(|(bytes, _)| bytes.clone()));
                }
                Step::Free(ids) => {
                    store.free(&ids);
                    model.retain(|id, _| !ids.contains(id));
                }
                Step::FreeApp(app) => {
                    store.free_app(app);
                    model.retain(|id, _| id.app != app);
                }
            }
            for id in std::mem::take(&mut *lost.lock()) {
                let (_, level) = model.remove(&id).unwrap();
                prop_assert!(
                    is_cached(&id) && level == StorageLevel::MemoryOnly,
                    "only these may be dropped"
                );
            }
            prop_assert_eq!(store.list(), model.keys().copied().collect::<Vec<_>>());
            // A single block is smaller than the budget, so there is always something to move out.
            prop_assert!(store.used() <= 200);
        }
        for (id, (bytes, _)) in &model {
            prop_assert_eq!(read(&store, id), Some(bytes.clone()));
        }
    }
}

#[test]
fn execution_pushes_blocks_out_and_blocks_never_push_it_out() {
    let (store, _dir, lost) = spilling(100);
    let unmapped: Arc<Mutex<Vec<BlockId>>> = Arc::default();
    let told = unmapped.clone();
    store.on_unmapped(Box::new(move |blocks| told.lock().extend(blocks)));
    for partition in 0..4 {
        assert!(put(&store, map_output(app(1, 1), partition), &[1; 10], StorageLevel::MemoryAndDisk));
        assert!(put(&store, of_dataset(1, partition), &[2; 10], StorageLevel::MemoryOnly));
    }
    store.set_execution(20);
    assert_eq!((store.make_room_for_execution(), store.used()), (0, 80), "what is free is used first");
    store.open(&map_output(app(1, 1), 0)).unwrap();
    store.set_execution(40);
    assert_eq!((store.make_room_for_execution(), store.used()), (0, 60));
    let spilled = [map_output(app(1, 1), 1), map_output(app(1, 1), 2)];
    assert_eq!(*unmapped.lock(), spilled, "not the one that was read last");
    store.set_execution(90);
    assert_eq!((store.make_room_for_execution(), store.used()), (0, 10));
    assert_eq!(*lost.lock(), [0, 1, 2].map(|partition| of_dataset(1, partition)));
    assert!(!put(&store, of_dataset(1, 5), &[2; 10], StorageLevel::MemoryOnly), "there is no room");
    assert!(put(&store, map_output(app(1, 1), 9), &[1; 10], StorageLevel::MemoryAndDisk));
    assert!(store.used() <= 10, "it is on disk, or another has made room");
    let reader = store.open(&of_dataset(1, 3));
    store.set_execution(100);
    let kept = reader.as_ref().map_or(0, |block| block.bytes);
    assert_eq!(store.make_room_for_execution(), kept, "what is being read stays");
    drop(reader);
    store.set_execution(0);
    assert_eq!(store.make_room_for_execution(), 0);
    for partition in [0, 1, 2, 3, 9] {
        assert_eq!(read(&store, &map_output(app(1, 1), partition)), Some(vec![1; 10]));
    }
}

#[test]
fn one_segment_of_a_spilled_map_output_is_read_without_the_others() {
    let (store, _dir, _) = spilling(100_000);
    let content: Vec<u8> = (0..1_000_000_u32).map(|n| (n >> 4) as u8).collect();
    let id = map_output(app(1, 1), 0);
    assert!(put(&store, id, &content, StorageLevel::MemoryAndDisk));
    let open = store.open(&id).unwrap();
    let BlockData::Disk(disk) = &open.data else { panic!("it is larger than the memory") };
    let file = std::fs::File::from(open.fd().try_clone_to_owned().unwrap());
    // All that is before and behind the frames of the part is gone: nobody misses it.
    let (from, to) = (700_000_u64, 750_000_u64);
    let first = disk.frames().partition_point(|frame| frame.plain_end <= from);
    let last = disk.frames().partition_point(|frame| frame.plain_end < to);
    file.write_all_at(&vec![0xff; disk.frames()[first - 1].stored_end as usize], 0).unwrap();
    file.set_len(disk.frames()[last].stored_end).unwrap();
    let mut part = Vec::new();
    while (part.len() as u64) < to - from {
        part.extend(disk.read(from + part.len() as u64, to - from - part.len() as u64).unwrap());
    }
    assert!(part == content[from as usize..to as usize]);
    assert_eq!(store.counts().restored, 0);
    // What is damaged is lost as soon as somebody says so.
    store.inspect(&id);
    assert!(store.open(&id).is_none());
    assert_eq!((store.counts().corrupt, store.list().len()), (1, 0));
}
