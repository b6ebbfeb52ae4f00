//! Descriptors stay with their frames.

use super::{FdReceiver, FdSender, WITH_DESCRIPTOR, fd_channel, socket_pair};
use crate::frame::encode_frame;
use firesteel_common::Payload;
use firesteel_common::error::ErrorCode;
use rustix::fs::MemfdFlags;
use rustix::io::FdFlags;
use std::collections::BTreeSet;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

fn channel() -> (FdSender, FdReceiver) {
    let (a, b) = socket_pair().unwrap();
    (fd_channel(a).unwrap().0, fd_channel(b).unwrap().1)
}

/// A memory file with a number in it.
fn file_with(number: u64) -> OwnedFd {
    let fd = rustix::fs::memfd_create("test", MemfdFlags::CLOEXEC).unwrap();
    rustix::io::pwrite(&fd, &number.to_le_bytes(), 0).unwrap();
    fd
}

fn number_in(fd: &OwnedFd) -> u64 {
    let mut bytes = [0; 8];
    rustix::io::pread(fd, &mut bytes, 0).unwrap();
    u64::from_le_bytes(bytes)
}

/// Every third message has a descriptor; some are longer than a socket takes at once.
fn payload(number: u64) -> Payload {
    vec![number as u8; if number % 100 == 3 { 700_000 } else { (number % 300) as usize }].into()
}

#[test]
fn frames_and_descriptors_of_many_senders_stay_together() {
    let (sender, mut receiver) = channel();
    let (threads, each) = (4, 400);
    let senders: Vec<_> = (0..threads)
        .map(|thread| {
            let sender = sender.clone();
            std::thread::spawn(move || {
                for number in (0..each).map(|i| thread * each + i) {
                    let file = (number % 3 == 0).then(|| file_with(number));
                    sender.send(&(number, payload(number)), file.as_ref().map(|file| file.as_fd())).unwrap();
                }
            })
        })
        .collect();
    let mut seen = BTreeSet::new();
    for _ in 0..threads * each {
        let ((number, bytes), file) = receiver.recv::<(u64, Payload)>().unwrap().unwrap();
        assert!(bytes == payload(number));
        assert_eq!(file.as_ref().map(number_in), (number % 3 == 0).then_some(number));
        if let Some(file) = file {
            assert!(rustix::io::fcntl_getfd(&file).unwrap().contains(FdFlags::CLOEXEC));
        }
        assert!(seen.insert(number));
    }
    senders.into_iter().for_each(|sender| sender.join().unwrap());
    drop(sender);
    assert!(receiver.recv::<(u64, Payload)>().unwrap().is_none());
}

#[test]
fn a_channel_ends_for_both_when_it_is_closed() {
    let (a, b) = socket_pair().unwrap();
    let (here, there) = (fd_channel(a).unwrap(), fd_channel(b).unwrap());
    let (mut mine, mut theirs) = (here.1, there.1);
    here.0.close();
    assert!(mine.recv::<u64>().unwrap().is_none());
    assert!(theirs.recv::<u64>().unwrap().is_none());
    assert_eq!(there.0.send(&1_u64, None).unwrap_err().code, ErrorCode::Unreachable);
    let file = file_with(1);
    assert_eq!(there.0.send(&1_u64, Some(file.as_fd())).unwrap_err().code, ErrorCode::Unreachable);
}

fn check_raw(bytes: &[u8], code: ErrorCode) {
    let (mut raw, b) = UnixStream::pair().unwrap();
    let mut receiver = fd_channel(b).unwrap().1;
    raw.write_all(bytes).unwrap();
    drop(raw);
    assert_eq!(receiver.recv::<u64>().unwrap_err().code, code, "{bytes:?}");
}

#[test]
fn broken_frames_are_errors() {
    let mut flagged = encode_frame(&5_u64).unwrap();
    for len in 1..flagged.len() {
        check_raw(&flagged[..len], ErrorCode::Unreachable);
    }
    flagged[4] |= WITH_DESCRIPTOR;
    check_raw(&flagged, ErrorCode::Codec);
    check_raw(&[8, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0], ErrorCode::Codec);
    check_raw(&[255, 255, 255, 255, 1], ErrorCode::TooLarge);
}

#[test]
fn descriptors_that_no_frame_mentions_do_not_pile_up() {
    let (a, b) = UnixStream::pair().unwrap();
    let mut receiver = fd_channel(b).unwrap().1;
    let file = file_with(1);
    let frame = encode_frame(&vec![0_u8; 100]).unwrap();
    // A frame that trickles in, with a descriptor beside each byte.
    for byte in &frame {
        super::send_with(&a, &[*byte], file.as_fd()).unwrap();
    }
    assert_eq!(receiver.recv::<Vec<u8>>().unwrap_err().code, ErrorCode::Codec);
    assert!(receiver.descriptors.len() <= super::UNCLAIMED_MAX + 1);
}
