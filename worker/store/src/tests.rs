//! Sealed means sealed; the store does what a map would do.

mod budget;
mod frames;

use crate::{BlockStore, compress, create_memfd, decompress, map_sealed, seal};
use firesteel_common::block::{
    BlockId, BlockKind, Encoding, MapStatus, SegmentHeader, SegmentStat, StorageLevel,
};
use firesteel_common::error::ErrorCode;
use firesteel_common::id::{AppAttemptId, AppId, DatasetId, StageId};
use proptest::prelude::*;
use rustix::io::Errno;
use std::os::fd::{AsFd, OwnedFd};

fn file(bytes: &[u8]) -> OwnedFd {
    let fd = create_memfd("test").unwrap();
    rustix::fs::ftruncate(&fd, bytes.len() as u64).unwrap();
    assert_eq!(rustix::io::pwrite(&fd, bytes, 0).unwrap(), bytes.len());
    fd
}

fn app(number: u64, attempt: u32) -> AppAttemptId {
    AppAttemptId { app: AppId(number), attempt }
}

fn cached(app: AppAttemptId, partition: u32) -> BlockId {
    BlockId { app, kind: BlockKind::Cached { dataset: DatasetId(1), partition } }
}

fn map_output(app: AppAttemptId, partition: u32) -> BlockId {
    BlockId { app, kind: BlockKind::MapOutput { stage: StageId(1), partition, attempt: 0 } }
}

#[test]
fn a_kept_block_cannot_be_changed_by_anybody() {
    let store = BlockStore::new(1000, None);
    let fd = file(b"sealed bytes");
    let filler = fd.try_clone().unwrap();
    let id = cached(app(1, 1), 0);
    assert!(store.put(id, fd, 12, None, StorageLevel::MemoryOnly).unwrap());
    let reader = store.open(&id).unwrap();
    for fd in [filler.as_fd(), reader.fd()] {
        assert_eq!(rustix::io::pwrite(fd, b"x", 0).unwrap_err(), Errno::PERM);
        assert_eq!(rustix::fs::ftruncate(fd, 3).unwrap_err(), Errno::PERM);
        assert_eq!(rustix::fs::ftruncate(fd, 100).unwrap_err(), Errno::PERM);
        let writable = memmap2::MmapOptions::new().map_raw(&fd);
        assert!(writable.is_err(), "a shared writable mapping cannot be made any more");
        assert_eq!(rustix::fs::fcntl_add_seals(fd, rustix::fs::SealFlags::EXEC), Err(Errno::PERM));
    }
    let mapped = map_sealed(reader.fd(), 12).unwrap();
    drop((store, reader, filler));
    assert_eq!(mapped.as_ref(), b"sealed bytes", "a mapping outlives the store");
}

#[test]
fn a_file_that_is_still_mapped_for_writing_is_refused() {
    let fd = file(b"1234");
    let mapping = memmap2::MmapOptions::new().map_raw(&fd).unwrap();
    let error = seal(&fd).unwrap_err();
    assert_eq!(error.code, ErrorCode::Internal);
    assert!(error.message.contains("still mapped for writing"), "{error}");
    let store = BlockStore::new(1000, None);
    let again = fd.try_clone().unwrap();
    assert_eq!(
        store.put(cached(app(1, 1), 0), again, 4, None, StorageLevel::MemoryOnly).unwrap_err().code,
        ErrorCode::Internal
    );
    assert!(store.list().is_empty());
    drop(mapping);
    seal(&fd).unwrap();
    seal(&fd).unwrap();
}

#[test]
fn what_is_no_sealed_file_of_its_length_is_not_mapped() {
    let fd = file(b"1234");
    assert_eq!(map_sealed(fd.as_fd(), 4).unwrap_err().code, ErrorCode::BlockCorrupt, "not sealed");
    seal(&fd).unwrap();
    for bytes in [0, 3, 5, u64::MAX] {
        assert_eq!(map_sealed(fd.as_fd(), bytes).unwrap_err().code, ErrorCode::BlockCorrupt);
    }
    assert_eq!(map_sealed(fd.as_fd(), 4).unwrap().as_ref(), b"1234");
    let empty = create_memfd(&"é".repeat(300)).unwrap();
    seal(&empty).unwrap();
    assert_eq!(map_sealed(empty.as_fd(), 0).unwrap().as_ref(), b"");
    let (socket, _) = std::os::unix::net::UnixStream::pair().unwrap();
    assert_eq!(seal(&socket).unwrap_err().code, ErrorCode::BlockCorrupt);
    // Sealed, but not against everything: it cannot be sealed further, so it is refused.
    let half = file(b"1234");
    rustix::fs::fcntl_add_seals(&half, rustix::fs::SealFlags::SEAL).unwrap();
    assert_eq!(seal(&half).unwrap_err().code, ErrorCode::BlockCorrupt);
}

#[test]
fn a_block_that_is_not_what_was_said_is_refused() {
    let store = BlockStore::new(1000, None);
    let status = |lengths: &[u64]| {
        let stat = |bytes: &u64| SegmentStat { bytes: *bytes, rows: 0, checksum: 0 };
        Some(MapStatus { segments: lengths.iter().map(stat).collect(), ..MapStatus::default() })
    };
    let id = map_output(app(1, 1), 0);
    let cases = [(3, None), (5, None), (4, status(&[3])), (4, status(&[u64::MAX, 5])), (4, status(&[]))];
    for (bytes, status) in cases {
        let refused = store.put(id, file(b"1234"), bytes, status, StorageLevel::MemoryOnly);
        assert_eq!(refused.unwrap_err().code, ErrorCode::BlockCorrupt);
    }
    assert!(store.put(id, file(b"1234"), 4, status(&[1, 0, 3]), StorageLevel::MemoryOnly).unwrap());
    assert_eq!(store.used(), 4);
}

#[test]
fn without_a_directory_cached_partitions_give_way_and_nothing_else_does() {
    let store = BlockStore::new(10, None);
    let put = |id, len: usize| {
        let kept = store.put(id, file(&vec![0; len]), len as u64, None, StorageLevel::MemoryAndDisk);
        kept.unwrap()
    };
    assert!(put(cached(app(1, 1), 0), 10));
    assert!(!put(cached(app(1, 1), 1), 1), "there is no other dataset that could give way");
    assert!(put(map_output(app(1, 1), 0), 7));
    assert_eq!(store.used(), 7);
    assert!(put(map_output(app(1, 1), 1), 7));
    assert_eq!(store.used(), 14);
    store.free(&[map_output(app(1, 1), 1)]);
    assert!(put(cached(app(1, 1), 1), 3) && !put(cached(app(1, 1), 2), 1));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn what_would_be_kept_is_kept(
        blocks in prop::collection::vec((0_u32..3, 0_u32..6, 0_usize..8, any::<bool>()), 1..30),
    ) {
        let store = BlockStore::new(20, None);
        for (dataset, partition, len, is_cached) in blocks {
            if !is_cached {
                let id = map_output(app(1, 1), partition);
                let kept = store.put(id, file(&vec![0; len]), len as u64, None, StorageLevel::MemoryOnly);
                prop_assert!(kept.unwrap());
                continue;
            }
            let kind = BlockKind::Cached { dataset: DatasetId(dataset), partition };
            let id = BlockId { app: app(1, 1), kind };
            let before = store.used();
            let expected = store.would_keep(&id, len as u64, StorageLevel::MemoryOnly);
            prop_assert_eq!(store.used(), before);
            let kept = store.put(id, file(&vec![0; len]), len as u64, None, StorageLevel::MemoryOnly);
            prop_assert_eq!(kept.unwrap(), expected);
        }
    }

    #[test]
    fn a_packed_payload_comes_back(
        payload in prop::collection::vec(prop_oneof![3 => Just(7), 1 => any::<u8>()], 0..2000),
        flipped in any::<prop::sample::Index>(),
    ) {
        let stored = compress(&payload).unwrap();
        let header = SegmentHeader::seal(Encoding::Lz4, 0, payload.len() as u64, 1, &stored);
        let unpacked = decompress(&header, &stored).unwrap();
        prop_assert_eq!(unpacked.as_ref(), payload.as_slice());
        // Damage is either noticed or harmless; the segment around it notices all of it.
        let mut damaged = stored.clone();
        damaged[flipped.index(stored.len())] ^= 1;
        if let Ok(unpacked) = decompress(&header, &damaged) {
            prop_assert_eq!(unpacked.as_ref(), payload.as_slice());
        }
    }
}

#[test]
fn unpacking_stops_at_the_length_that_was_said() {
    let bomb = compress(&vec![0; 20_000_000]).unwrap();
    assert!(bomb.len() < 200_000);
    let header = |raw_len| SegmentHeader::seal(Encoding::Lz4, 0, raw_len, 1, &bomb);
    for raw_len in [0, 1, 100, 19_999_999, 20_000_001, u64::MAX] {
        let error = decompress(&header(raw_len), &bomb).unwrap_err();
        assert_eq!(error.code, ErrorCode::BlockCorrupt, "{raw_len}");
    }
    assert_eq!(decompress(&header(20_000_000), &bomb).unwrap().len(), 20_000_000);
    let small = compress(b"a few bytes").unwrap();
    for len in 0..small.len() {
        let header = SegmentHeader::seal(Encoding::Lz4, 0, 11, 1, &small[..len]);
        match decompress(&header, &small[..len]) {
            // Only the end mark and the last checksum are missing.
            Ok(payload) => {
                assert_eq!((payload.as_ref(), len >= small.len() - 8), (&b"a few bytes"[..], true))
            }
            Err(error) => assert_eq!(error.code, ErrorCode::BlockCorrupt, "{len}"),
        }
    }
    let twice = [small.as_slice(), &small].concat();
    let header = SegmentHeader::seal(Encoding::Lz4, 0, 11, 1, &twice);
    assert_eq!(decompress(&header, &twice).unwrap_err().code, ErrorCode::BlockCorrupt);
    let plain = SegmentHeader::seal(Encoding::Plain, 0, 5, 1, b"plain");
    assert!(matches!(decompress(&plain, b"plain").unwrap(), std::borrow::Cow::Borrowed(b"plain")));
}
