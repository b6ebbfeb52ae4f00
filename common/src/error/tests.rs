//! Codes are stable, errors survive both of their encodings, and a near name is found.

use super::{Error, ErrorCode, nearest};
use crate::protocol::codec;
use std::collections::BTreeSet;

#[test]
fn codes_are_distinct_words_in_capitals() {
    let texts: BTreeSet<&str> = ErrorCode::ALL.iter().map(|code| code.as_str()).collect();
    assert_eq!(texts.len(), ErrorCode::ALL.len());
    for code in ErrorCode::ALL {
        let text = code.as_str();
        assert!(text.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_'), "{text}");
        assert_eq!(serde_json::to_string(code).unwrap(), format!("\"{text}\""));
        let error = Error::new(*code, "what").with_help("help").with_detail("detail");
        assert_eq!(codec::decode::<Error>(&codec::encode(&error).unwrap()).unwrap(), error);
    }
}

#[test]
fn an_error_says_what_and_what_to_do() {
    let error = Error::new(ErrorCode::NotFound, "no such plugin").context("submitting");
    assert_eq!(error.to_string(), "[NOT_FOUND] submitting: no such plugin");
    assert_eq!(
        error.with_help("upload it").to_string(),
        "[NOT_FOUND] submitting: no such plugin (upload it)"
    );
    let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
    assert_eq!(Error::io("writing", &full).code, ErrorCode::DiskFull);
    let other = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
    assert_eq!(Error::io("writing", &other).code, ErrorCode::Io);
}

#[test]
fn the_nearest_name_is_one_that_was_meant() {
    let known = ["input", "output", "partitions", "top"];
    let cases = [
        ("inptu", Some("input")),
        ("outputs", Some("output")),
        ("partition", Some("partitions")),
        ("to", Some("top")),
        ("iterations", None),
        ("completely different", None),
    ];
    for (wanted, expected) in cases {
        assert_eq!(nearest(wanted, known), expected, "{wanted}");
    }
    assert_eq!(nearest("", []), None);
}
