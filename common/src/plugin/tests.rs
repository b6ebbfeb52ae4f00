//! The descriptor: what a section may look like, and what is said of one that is wrong.

use super::{ABI_VERSION, Args, Descriptor, ENTRIES_MAX, EntryPoint, RECORD_LEN_MAX, RECORD_MAGIC};
use crate::error::ErrorCode;
use proptest::prelude::*;

fn record(text: &str) -> Vec<u8> {
    let mut bytes = RECORD_MAGIC.to_vec();
    bytes.extend((text.len() as u32).to_le_bytes());
    bytes.extend(text.as_bytes());
    bytes
}

fn entry(name: &str, abi: u32) -> Vec<u8> {
    let args = r#"[{"name":"input","type":"string","optional":false,"doc":"a file"},
        {"name":"top","type":"u64","optional":true},{"name":"ratio","type":"f64","optional":true},
        {"name":"shift","type":"i64","optional":true},{"name":"exact","type":"bool","optional":true}]"#;
    record(&format!(
        r#"{{"abi":{abi},"sdk":"0.1.0","rustc":"1.95.0","entry":{{"name":"{name}","doc":"","args":{args}}}}}"#
    ))
}

fn code(section: &[u8]) -> ErrorCode {
    Descriptor::parse(section).unwrap_err().code
}

#[test]
fn records_come_in_any_order_with_zeros_between() {
    let section =
        [vec![0; 5], entry("b", ABI_VERSION), vec![0; 16], entry("a", ABI_VERSION), vec![0]].concat();
    let descriptor = Descriptor::parse(&section).unwrap();
    let names: Vec<&str> = descriptor.entries.iter().map(|entry| entry.name.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
    assert_eq!(descriptor.entry("b").unwrap().name, "b");
    let error = descriptor.entry("").unwrap_err();
    assert_eq!((error.code, error.help.as_str()), (ErrorCode::EntryNotFound, "it has: a, b"));
    let one = Descriptor::parse(&entry("wordcount", ABI_VERSION)).unwrap();
    assert_eq!(one.entry("").unwrap().name, "wordcount");
    assert_eq!(one.entry("word_count").unwrap_err().help, "did you mean 'wordcount'?");
}

#[test]
fn what_is_no_descriptor_is_refused() {
    let good = entry("a", ABI_VERSION);
    assert_eq!(code(b""), ErrorCode::PluginInvalid);
    assert_eq!(code(&[0; 100]), ErrorCode::PluginInvalid);
    assert_eq!(code(b"garbage garbage garbage"), ErrorCode::PluginInvalid);
    for len in 1..good.len() {
        assert_eq!(code(&good[..len]), ErrorCode::PluginInvalid, "{len}");
    }
    assert_eq!(code(&[good.clone(), good.clone()].concat()), ErrorCode::PluginInvalid, "two of one name");
    assert_eq!(code(&record(r#"{"abi":1}"#)), ErrorCode::PluginInvalid);
    assert_eq!(code(&record("[]")), ErrorCode::PluginInvalid);
    let long = [RECORD_MAGIC.to_vec(), (RECORD_LEN_MAX as u32 + 1).to_le_bytes().to_vec()].concat();
    assert_eq!(code(&long), ErrorCode::PluginInvalid);
    let many: Vec<u8> = (0..=ENTRIES_MAX).flat_map(|n| entry(&format!("e{n}"), ABI_VERSION)).collect();
    assert_eq!(code(&many), ErrorCode::PluginInvalid);
}

#[test]
fn another_abi_is_named_whatever_else_the_record_says() {
    assert_eq!(code(&entry("a", ABI_VERSION + 1)), ErrorCode::PluginAbi);
    let error = Descriptor::parse(&record(r#"{"abi":99,"of":"a later shape"}"#)).unwrap_err();
    assert_eq!(error.code, ErrorCode::PluginAbi);
    assert!(error.message.contains("99") && error.message.contains(&ABI_VERSION.to_string()));
}

fn args(pairs: &[(&str, &str)]) -> Args {
    pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

#[test]
fn arguments_are_checked_against_what_is_declared() {
    let descriptor = Descriptor::parse(&entry("count", ABI_VERSION)).unwrap();
    let entry: &EntryPoint = descriptor.entry("count").unwrap();
    entry.check_args(&args(&[("input", "")])).unwrap();
    let all = [("input", "x"), ("top", "3"), ("ratio", "-1e3"), ("shift", "-4"), ("exact", "true")];
    entry.check_args(&args(&all)).unwrap();
    let cases: [(&[(&str, &str)], &str); 6] = [
        (&[], "argument 'input' is missing"),
        (&[("input", "x"), ("tpo", "3")], "did you mean 'top'?"),
        (&[("input", "x"), ("top", "-3")], "'-3' is not a whole number that is not negative"),
        (&[("input", "x"), ("ratio", "much")], "'much' is not a number"),
        (&[("input", "x"), ("shift", "1.5")], "'1.5' is not a whole number"),
        (&[("input", "x"), ("exact", "yes")], "'yes' is not true or false"),
    ];
    for (pairs, expected) in cases {
        let error = entry.check_args(&args(pairs)).unwrap_err();
        assert_eq!(error.code, ErrorCode::BadArgument);
        assert!(error.message.contains(expected), "{error}");
        assert!(error.help.starts_with("count input=<text> [top="), "{error}");
    }
}

proptest! {
    #[test]
    fn random_sections_never_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..100),
        headed in any::<bool>(),
    ) {
        let mut section = if headed { RECORD_MAGIC.to_vec() } else { Vec::new() };
        section.extend(bytes);
        prop_assert!(Descriptor::parse(&section).is_err());
    }
}
