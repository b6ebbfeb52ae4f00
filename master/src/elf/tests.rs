//! Plugins and what only looks like one: the smallest ELF files that show each refusal.

use super::*;
use firesteel_common::plugin::RECORD_MAGIC;

/// A minimal shared object: head, the section's bytes, the names, three section headers.
pub(crate) fn shared_object(section: &str, content: &[u8]) -> Vec<u8> {
    let names = format!("\0{section}\0.shstrtab\0");
    let names_at = 64 + content.len();
    let table_at = (names_at + names.len()).next_multiple_of(8);
    let mut file = vec![0; table_at];
    file[..16].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    file[16..18].copy_from_slice(&elf::ET_DYN.to_le_bytes());
    file[18..20].copy_from_slice(&MACHINE.0.to_le_bytes());
    file[20..24].copy_from_slice(&1u32.to_le_bytes());
    file[40..48].copy_from_slice(&(table_at as u64).to_le_bytes());
    file[52..54].copy_from_slice(&64u16.to_le_bytes());
    file[58..60].copy_from_slice(&64u16.to_le_bytes());
    file[60..62].copy_from_slice(&3u16.to_le_bytes());
    file[62..64].copy_from_slice(&2u16.to_le_bytes());
    file[64..names_at].copy_from_slice(content);
    file[names_at..names_at + names.len()].copy_from_slice(names.as_bytes());
    let mut add = |name: u32, kind: u32, at: usize, len: usize| {
        let mut header = [0; 64];
        header[0..4].copy_from_slice(&name.to_le_bytes());
        header[4..8].copy_from_slice(&kind.to_le_bytes());
        header[24..32].copy_from_slice(&(at as u64).to_le_bytes());
        header[32..40].copy_from_slice(&(len as u64).to_le_bytes());
        file.extend_from_slice(&header);
    };
    add(0, elf::SHT_NULL, 0, 0);
    add(1, elf::SHT_PROGBITS, 64, content.len());
    add(section.len() as u32 + 2, elf::SHT_STRTAB, names_at, names.len());
    file
}

fn record(abi: u32) -> Vec<u8> {
    let text =
        format!(r#"{{"abi":{abi},"sdk":"0.1.0","rustc":"r","entry":{{"name":"count","doc":"","args":[]}}}}"#);
    let mut record = RECORD_MAGIC.to_vec();
    record.extend_from_slice(&(text.len() as u32).to_le_bytes());
    record.extend_from_slice(text.as_bytes());
    record
}

fn read(bytes: &[u8]) -> Result<Descriptor, Error> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("plugin.so");
    std::fs::write(&path, bytes).unwrap();
    read_descriptor(&path)
}

#[test]
fn a_descriptor_is_read() {
    let descriptor = read(&shared_object(SECTION, &record(1))).unwrap();
    assert_eq!(descriptor.entries[0].name, "count");
}

#[test]
fn what_is_no_plugin_is_refused_with_what_was_found() {
    let good = shared_object(SECTION, &record(1));
    let changed = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        bytes
    };
    let cases: [(Vec<u8>, ErrorCode, &str); 10] = [
        (Vec::new(), ErrorCode::PluginInvalid, "an empty file"),
        (b"#!/bin/true\n".to_vec(), ErrorCode::PluginInvalid, "a file of 12 bytes"),
        (vec![b'x'; 100], ErrorCode::PluginInvalid, "a file that is not ELF"),
        (changed(4, 1), ErrorCode::PluginInvalid, "a 32-bit ELF file"),
        (changed(5, 2), ErrorCode::PluginInvalid, "a big-endian ELF file"),
        (changed(18, elf::EM_RISCV as u8), ErrorCode::PluginInvalid, "an ELF file for riscv"),
        (changed(16, 2), ErrorCode::PluginInvalid, "a program"),
        (good[..40].to_vec(), ErrorCode::PluginInvalid, "cut short"),
        (shared_object(".other", &record(1)), ErrorCode::PluginInvalid, "no section .firesteel"),
        (shared_object(SECTION, &record(9)), ErrorCode::PluginAbi, "ABI version 9"),
    ];
    for (bytes, code, found) in cases {
        let error = read(&bytes).unwrap_err();
        assert_eq!(error.code, code, "{error}");
        assert!(error.message.contains(found), "'{}' should say '{found}'", error.message);
    }
}

#[test]
fn a_damaged_file_is_refused_whatever_the_damage() {
    let good = shared_object(SECTION, &record(1));
    for cut in 0..good.len() {
        assert!(read(&good[..cut]).is_err(), "cut at {cut}");
    }
    for at in 0..good.len() {
        let mut bytes = good.clone();
        bytes[at] ^= 0xff;
        // Some bytes mean nothing; the point is that none of them hurts.
        drop(read(&bytes));
    }
}
