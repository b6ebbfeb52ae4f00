//! Names of blocks parse back; a damaged segment is noticed, whatever is damaged.

use super::{
    ALIGNMENT, BlockId, BlockKind, Encoding, HEADER_LEN, MapStatus, SegmentHeader, SegmentStat, padding,
};
use crate::error::ErrorCode;
use crate::id::{AppAttemptId, AppId, DatasetId, JobId, StageId};
use proptest::prelude::*;

pub(crate) fn any_app() -> impl Strategy<Value = AppAttemptId> {
    (any::<u64>(), any::<u32>()).prop_map(|(app, attempt)| AppAttemptId { app: AppId(app), attempt })
}

pub(crate) fn any_block() -> impl Strategy<Value = BlockId> {
    let numbers = (any::<u32>(), any::<u32>(), any::<u32>());
    (any_app(), 0..4, numbers).prop_map(|(app, kind, (a, partition, attempt))| {
        let kind = match kind {
            0 => BlockKind::MapOutput { stage: StageId(a), partition, attempt },
            1 => BlockKind::Cached { dataset: DatasetId(a), partition },
            2 => BlockKind::Result { stage: StageId(a), partition, attempt },
            _ => BlockKind::Broadcast { job: JobId(a), index: partition },
        };
        BlockId { app, kind }
    })
}

#[test]
fn the_names_of_blocks_are_stable() {
    let app = AppAttemptId { app: AppId(7), attempt: 2 };
    let kinds = [
        (BlockKind::MapOutput { stage: StageId(1), partition: 20, attempt: 3 }, "7.2/map/1/20/3"),
        (BlockKind::Cached { dataset: DatasetId(4), partition: 0 }, "7.2/cached/4/0"),
        (BlockKind::Result { stage: StageId(5), partition: 6, attempt: 0 }, "7.2/result/5/6/0"),
        (BlockKind::Broadcast { job: JobId(8), index: 9 }, "7.2/broadcast/8/9"),
    ];
    for (kind, text) in kinds {
        assert_eq!(BlockId { app, kind }.to_string(), text);
    }
}

#[test]
fn what_is_no_name_of_a_block_is_refused() {
    let texts = [
        "",
        "7.2",
        "7/map/1/2/3",
        "7.2/map/1/2",
        "7.2/map/1/2/3/4",
        "7.2/map/1/2/-3",
        "7.2/map/1/2/4294967296",
        "7.2/cached/1/2/3",
        "7.2/Cached/1/2",
        "7.2/result/1/2/",
        "a.2/broadcast/1/2",
        "../map/1/2/3",
        "7.2/map/1/2/3\n",
        " 7.2/map/1/2/3",
        "7.2/map/1/2/+3",
    ];
    for text in texts {
        let error = text.parse::<BlockId>().unwrap_err();
        assert_eq!(error.code, ErrorCode::BadRequest, "{text:?}");
    }
}

/// A whole segment around a payload.
fn segment(encoding: Encoding, payload: &[u8]) -> Vec<u8> {
    let header = SegmentHeader::seal(encoding, 77, payload.len() as u64, 3, payload);
    let mut bytes = header.encode().to_vec();
    bytes.extend_from_slice(payload);
    bytes.resize(bytes.len() + padding(payload.len()), 0);
    assert_eq!(bytes.len() as u64, header.segment_len());
    bytes
}

#[test]
fn every_flipped_bit_is_noticed() {
    for len in [0, 1, 5, 63, 64, 65, 200] {
        let payload: Vec<u8> = (0..len).map(|at| at as u8).collect();
        for encoding in [Encoding::Plain, Encoding::Lz4] {
            let whole = segment(encoding, &payload);
            let (header, read) = SegmentHeader::open(&whole).unwrap();
            assert_eq!((header.encoding, header.records, read), (encoding, 3, payload.as_slice()));
            for bit in 0..whole.len() * 8 {
                let mut damaged = whole.clone();
                damaged[bit / 8] ^= 1 << (bit % 8);
                let error = SegmentHeader::open(&damaged).unwrap_err();
                assert_eq!(error.code, ErrorCode::BlockCorrupt, "bit {bit} of {len} bytes");
            }
        }
    }
}

#[test]
fn every_other_length_is_noticed() {
    let whole = segment(Encoding::Plain, &[9; 150]);
    for len in 0..whole.len() {
        assert_eq!(SegmentHeader::open(&whole[..len]).unwrap_err().code, ErrorCode::BlockCorrupt, "{len}");
    }
    let longer = [whole.as_slice(), &[0]].concat();
    assert_eq!(SegmentHeader::open(&longer).unwrap_err().code, ErrorCode::BlockCorrupt);
    let twice = [whole.as_slice(), &whole].concat();
    assert_eq!(SegmentHeader::open(&twice).unwrap_err().code, ErrorCode::BlockCorrupt);
}

#[test]
fn a_header_is_not_believed_beyond_what_there_is() {
    let mut header = SegmentHeader::seal(Encoding::Lz4, 1, 10, 1, b"0123456789");
    for stored_len in [65, 1 << 40, u64::MAX - 64, u64::MAX] {
        header.stored_len = stored_len;
        let error = SegmentHeader::decode(&header.encode(), 128).unwrap_err();
        assert_eq!(error.code, ErrorCode::BlockCorrupt, "{stored_len}");
    }
    header.stored_len = 64;
    assert_eq!(SegmentHeader::decode(&header.encode(), 128).unwrap(), header);
    assert_eq!(HEADER_LEN % ALIGNMENT, 0);
}

#[test]
fn spans_are_sums_and_never_overflow() {
    let stat = |bytes| SegmentStat { bytes, rows: 0, checksum: 0 };
    let status = |lengths: &[u64]| MapStatus {
        segments: lengths.iter().copied().map(stat).collect(),
        ..MapStatus::default()
    };
    let four = status(&[64, 0, 128, 256]);
    let cases = [(0..4, (0, 448)), (1..3, (64, 128)), (2..2, (64, 0)), (3..9, (192, 256)), (7..9, (448, 0))];
    for (reducers, expected) in cases {
        assert_eq!(four.span(reducers.clone()), expected, "{reducers:?}");
    }
    assert_eq!(four.bytes(), 448);
    let absurd = status(&[u64::MAX, u64::MAX]);
    assert_eq!((absurd.bytes(), absurd.span(1..2)), (u64::MAX, (u64::MAX, u64::MAX)));
    let backwards = std::ops::Range { start: 3, end: 1 };
    assert_eq!(four.span(backwards), (64, 0));
}

proptest! {
    #[test]
    fn the_name_of_a_block_parses_back(block in any_block()) {
        prop_assert_eq!(block.to_string().parse::<BlockId>().unwrap(), block);
    }

    #[test]
    fn names_are_never_read_from_random_text(text in ".{0,40}") {
        if let Ok(block) = text.parse::<BlockId>() {
            // At most the spelling of a number differs (leading zeros).
            prop_assert_eq!(block.to_string().parse::<BlockId>().unwrap(), block);
        }
    }

    #[test]
    fn headers_read_from_random_bytes_are_checked(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        magic in any::<bool>(),
        available in any::<u64>(),
    ) {
        let mut bytes = bytes;
        if magic && bytes.len() >= 8 {
            bytes[..8].copy_from_slice(b"FSsg\x01\0\x01\0");
        }
        if bytes.len() >= HEADER_LEN {
            bytes[48..HEADER_LEN].fill(0);
        }
        if let Ok(header) = SegmentHeader::decode(&bytes, available) {
            prop_assert!(header.segment_len() <= available);
            prop_assert_eq!(&header.encode()[..], &bytes[..HEADER_LEN]);
        }
        prop_assert!(SegmentHeader::open(&bytes).is_err());
    }
}
