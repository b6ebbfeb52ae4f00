//! Keys: their proof is HMAC-SHA256, their file is private, they do not show themselves.

use super::{KEY_LEN, Key};
use crate::testing::{app, key};
use firesteel_common::error::ErrorCode;
use firesteel_common::id::AppAttemptId;
use std::os::unix::fs::PermissionsExt;

#[test]
fn a_proof_is_hmac_sha256() {
    // RFC 4231, test case 1: its key of 20 bytes is the same key when it is padded with zeros.
    let mut bytes = [0; KEY_LEN];
    bytes[..20].fill(0x0b);
    let proof = Key(bytes).proof(b"Hi There");
    let expected = "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7";
    assert_eq!(Key(proof).to_hex(), expected);
    assert!(Key(bytes).verifies(b"Hi There", &proof));
    for bit in 0..256 {
        let mut wrong = proof;
        wrong[bit / 8] ^= 1 << (bit % 8);
        assert!(!Key(bytes).verifies(b"Hi There", &wrong));
    }
}

#[test]
fn every_application_attempt_has_a_key_of_its_own() {
    let secret = key(1);
    let second = AppAttemptId { attempt: 2, ..app(1) };
    let keys = [secret.clone(), secret.for_app(app(1)), secret.for_app(second), secret.for_app(app(2))];
    let texts: std::collections::BTreeSet<String> = keys.iter().map(Key::to_hex).collect();
    assert_eq!(texts.len(), keys.len());
    assert_eq!(secret.for_app(app(1)).to_hex(), keys[1].to_hex());
}

#[test]
fn a_key_is_not_printed() {
    assert_eq!(format!("{:?}", key(0xab)), "Key(hidden)");
    let error = Key::from_hex("not a key, but perhaps nearly one").unwrap_err();
    assert_eq!(error.to_string(), "[CONFIG_INVALID] a key is 64 hexadecimal digits");
}

#[test]
fn the_key_file_is_private_and_the_same_for_all_who_make_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("secret");
    let makers: Vec<_> = (0..8)
        .map(|_| {
            let path = path.clone();
            std::thread::spawn(move || Key::load_or_create(&path).unwrap().to_hex())
        })
        .collect();
    let made: std::collections::BTreeSet<String> =
        makers.into_iter().map(|maker| maker.join().unwrap()).collect();
    assert_eq!(made.len(), 1);
    assert_eq!(Key::load(&path).unwrap().to_hex(), made.into_iter().next().unwrap());
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "drafts are removed");
}

#[test]
fn a_key_file_that_is_not_one_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("secret");
    assert_eq!(Key::load(&path).unwrap_err().code, ErrorCode::NotFound);
    let write = |text: &str, mode: u32| {
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let good = key(7).to_hex();
    for (text, mode) in [(good.as_str(), 0o640), (&good, 0o604), ("", 0o600), ("0123", 0o600)] {
        write(text, mode);
        assert_eq!(Key::load(&path).unwrap_err().code, ErrorCode::ConfigInvalid, "{text} {mode:o}");
    }
    write(&"ff".repeat(10_000), 0o600);
    assert_eq!(Key::load_or_create(&path).unwrap_err().code, ErrorCode::ConfigInvalid);
    write(&good, 0o600);
    assert_eq!(Key::load(&path).unwrap().to_hex(), good);
}
