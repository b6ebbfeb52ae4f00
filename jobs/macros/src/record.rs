//! The record of an entry point, as `firesteel_common::plugin` reads it: magic, length, JSON.

use crate::signature::Entry;

/// The version of the ABI that the generated shims speak. Compared with the one of `firesteel` at compile
/// time.
pub const ABI_VERSION: u32 = 1;

/// The bytes of the record.
pub fn bytes(entry: &Entry) -> Vec<u8> {
    let text = json(entry);
    let mut record = b"FSentry\x01".to_vec();
    record.extend_from_slice(&(text.len() as u32).to_le_bytes());
    record.extend_from_slice(text.as_bytes());
    record
}

fn json(entry: &Entry) -> String {
    let args: Vec<String> = entry
        .args
        .iter()
        .map(|arg| {
            format!(
                r#"{{"name":{},"type":"{}","optional":{},"doc":{}}}"#,
                quoted(&arg.name),
                arg.kind,
                arg.optional,
                quoted(&arg.doc)
            )
        })
        .collect();
    format!(
        r#"{{"abi":{ABI_VERSION},"sdk":{},"rustc":{},"entry":{{"name":{},"doc":{},"args":[{}]}}}}"#,
        quoted(env!("CARGO_PKG_VERSION")),
        quoted(env!("FIRESTEEL_RUSTC")),
        quoted(&entry.name),
        quoted(&entry.doc),
        args.join(",")
    )
}

/// A text as JSON has it.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            control if u32::from(control) < 0x20 => quoted += &format!("\\u{:04x}", u32::from(control)),
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}
