//! Frames on disk: what was written comes back from any offset; what was damaged is noticed.

use crate::{FrameFile, Scratch};
use firesteel_common::block::Frame;
use firesteel_common::error::ErrorCode;
use proptest::prelude::*;
use std::fs::File;
use std::os::unix::fs::FileExt;

fn written(pieces: &[Vec<u8>]) -> (FrameFile, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let mut file = FrameFile::create(dir.path()).unwrap();
    pieces.iter().for_each(|piece| file.append(piece).unwrap());
    (file, dir)
}

fn handle(file: &FrameFile) -> File {
    File::from(file.fd().try_clone_to_owned().unwrap())
}

/// Frames that pack well, and others that do not.
fn any_piece() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        (any::<u8>(), 0..3_000_usize).prop_map(|(byte, len)| vec![byte; len]),
        prop::collection::vec(any::<u8>(), 0..3_000),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_part_comes_back(
        pieces in prop::collection::vec(any_piece(), 0..8),
        reads in prop::collection::vec((0..20_000_u64, 0..5_000_u64), 0..20),
    ) {
        let (file, dir) = written(&pieces);
        prop_assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "it has no name");
        let all = pieces.concat();
        prop_assert_eq!(file.plain(), all.len() as u64);
        prop_assert!(file.stored() <= file.plain());
        for (from, max) in reads {
            let read = file.read(from, max).unwrap();
            let rest = all.get(from as usize..).unwrap_or_default();
            prop_assert!(rest.starts_with(&read) && read.len() as u64 <= max);
            prop_assert!(!read.is_empty() || max == 0 || rest.is_empty());
            let wanted = rest.len().min(max as usize);
            let mut exact = vec![0; wanted];
            file.read_exact(from, &mut exact).unwrap();
            prop_assert_eq!(&exact[..], &rest[..wanted]);
        }
        let mut more = vec![0; all.len() + 1];
        prop_assert_eq!(file.read_exact(0, &mut more).unwrap_err().code, ErrorCode::BlockCorrupt);
        let fd = file.fd().try_clone_to_owned().unwrap();
        let adopted = FrameFile::adopt(fd, file.frames().to_vec()).unwrap();
        let mut whole = vec![0; all.len()];
        adopted.read_exact(0, &mut whole).unwrap();
        prop_assert_eq!(whole, all);
    }

    #[test]
    fn a_flipped_bit_and_a_missing_end_are_noticed(
        pieces in prop::collection::vec(any_piece().prop_filter("bytes", |piece| !piece.is_empty()), 1..6),
        at in any::<prop::sample::Index>(),
        bit in 0..8_u32,
        cut in any::<bool>(),
    ) {
        let (file, _dir) = written(&pieces);
        let at = at.index(file.stored() as usize) as u64;
        let raw = handle(&file);
        if cut {
            raw.set_len(at).unwrap();
        } else {
            let mut byte = [0];
            raw.read_exact_at(&mut byte, at).unwrap();
            raw.write_all_at(&[byte[0] ^ (1 << bit)], at).unwrap();
        }
        let damaged = file.frames().partition_point(|frame| frame.stored_end <= at);
        let mut from = 0;
        for (index, piece) in pieces.iter().enumerate() {
            match file.read(from, u64::MAX) {
                Ok(read) => {
                    prop_assert!(index < damaged || (index > damaged && !cut));
                    prop_assert_eq!(&read, piece);
                }
                Err(error) => {
                    prop_assert!(index == damaged || (index > damaged && cut));
                    prop_assert_eq!(error.code, ErrorCode::BlockCorrupt);
                    let named = format!("frame {index}");
                    prop_assert!(error.message.contains(&named), "{error}");
                }
            }
            from += piece.len() as u64;
        }
    }
}

#[test]
fn an_index_that_cannot_be_right_is_refused() {
    let (file, _dir) = written(&[vec![1; 1000], vec![2; 1000]]);
    let good = file.frames().to_vec();
    let refused = |change: &dyn Fn(&mut Vec<Frame>)| {
        let mut frames = good.clone();
        change(&mut frames);
        let adopted = FrameFile::adopt(file.fd().try_clone_to_owned().unwrap(), frames);
        assert_eq!(adopted.unwrap_err().code, ErrorCode::BlockCorrupt);
    };
    refused(&|frames| frames[1].plain_end = u64::MAX);
    refused(&|frames| frames[1].plain_end = 1000);
    refused(&|frames| frames[1].stored_end += 1);
    refused(&|frames| frames[0].stored_end = 5000);
    refused(&|frames| frames.swap(0, 1));
    refused(&|frames| frames.clear());
    let (socket, _) = std::os::unix::net::UnixStream::pair().unwrap();
    assert_eq!(FrameFile::adopt(socket.into(), good.clone()).unwrap_err().code, ErrorCode::BlockCorrupt);
}

#[test]
fn a_frame_that_is_not_packed_can_be_written_again() {
    let (mut file, _dir) = written(&[vec![1; 1000]]);
    let index = file.append_fixed(&[0; 64]).unwrap();
    file.append(&[2; 1000]).unwrap();
    file.rewrite(index, &[9; 64]).unwrap();
    let mut all = vec![0; 2064];
    file.read_exact(0, &mut all).unwrap();
    assert_eq!(all, [&[1; 1000][..], &[9; 64], &[2; 1000]].concat());
    assert_eq!(file.rewrite(index, &[9; 63]).unwrap_err().code, ErrorCode::Internal);
    assert_eq!(file.rewrite(0, &[9; 1000]).unwrap_err().code, ErrorCode::Internal, "it is packed");
    assert_eq!(file.rewrite(7, &[]).unwrap_err().code, ErrorCode::Internal);
}

#[test]
fn a_scratch_file_holds_what_was_said_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let mut scratch = Scratch::create(dir.path(), 100_000).unwrap();
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "it has no name");
    scratch.write(&[1; 60_000]).unwrap();
    assert_eq!(scratch.write(&[2; 40_001]).unwrap_err().code, ErrorCode::Internal);
    scratch.write(&[2; 40_000]).unwrap();
    let mapped = scratch.map().unwrap();
    let bytes = mapped.as_ref();
    assert_eq!(bytes.as_ptr().align_offset(4096), 0);
    assert!(bytes[..60_000].iter().all(|byte| *byte == 1) && bytes[60_000..] == [2; 40_000]);
    let mut short = Scratch::create(dir.path(), 10).unwrap();
    short.write(&[1]).unwrap();
    assert_eq!(short.map().unwrap_err().code, ErrorCode::Internal);
}
