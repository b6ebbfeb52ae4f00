//! Frames as bytes: what is read back, what is refused and why.

use super::{FRAME_HEADER_LEN, encode_frame, read_frame, write_frame};
use firesteel_common::error::ErrorCode;
use proptest::prelude::*;

#[test]
fn a_frame_has_a_length_a_codec_and_a_message() {
    let mut bytes = Vec::new();
    write_frame(&mut bytes, &0x0102_0304_u32).unwrap();
    assert_eq!(bytes, [4, 0, 0, 0, 1, 4, 3, 2, 1]);
}

#[test]
fn what_is_cut_short_is_not_a_clean_end() {
    let frame = encode_frame(&"a message".to_owned()).unwrap();
    assert_eq!(read_frame::<String>(&mut [].as_slice(), 100).unwrap(), None);
    for len in 1..frame.len() {
        let error = read_frame::<String>(&mut &frame[..len], 100).unwrap_err();
        assert_eq!(error.code, ErrorCode::Unreachable, "{len}");
    }
}

#[test]
fn hostile_headers_are_refused() {
    let cases = [
        (vec![0xff, 0xff, 0xff, 0xff, 1], ErrorCode::TooLarge),
        (vec![101, 0, 0, 0, 1], ErrorCode::TooLarge),
        (vec![4, 0, 0, 0, 0, 1, 2, 3, 4], ErrorCode::Codec),
        (vec![4, 0, 0, 0, 0x81, 1, 2, 3, 4], ErrorCode::Codec),
        (vec![3, 0, 0, 0, 1, 1, 2, 3], ErrorCode::Codec),
        (vec![5, 0, 0, 0, 1, 1, 2, 3, 4, 5], ErrorCode::Codec),
    ];
    for (bytes, code) in cases {
        assert_eq!(read_frame::<u32>(&mut bytes.as_slice(), 100).unwrap_err().code, code, "{bytes:?}");
    }
}

proptest! {
    #[test]
    fn frames_come_back_in_order(
        messages in prop::collection::vec(prop::collection::vec(any::<u64>(), 0..50), 0..20),
    ) {
        let mut bytes = Vec::new();
        for message in &messages {
            write_frame(&mut bytes, message).unwrap();
        }
        let mut reader = bytes.as_slice();
        for message in &messages {
            prop_assert_eq!(&read_frame::<Vec<u64>>(&mut reader, 1000).unwrap().unwrap(), message);
        }
        prop_assert_eq!(read_frame::<Vec<u64>>(&mut reader, 1000).unwrap(), None);
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut framed = (bytes.len() as u32).to_le_bytes().to_vec();
        framed.push(1);
        framed.extend(&bytes);
        if let Ok(Some(message)) = read_frame::<Vec<String>>(&mut framed.as_slice(), 1000) {
            prop_assert_eq!(&encode_frame(&message).unwrap()[FRAME_HEADER_LEN..], bytes.as_slice());
        }
    }
}
