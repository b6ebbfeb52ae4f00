//! What lies in files and blocks: segments, packed payloads, records, plugins.

use super::Target;
use crate::mutate::Rng;
use firesteel::record::{Reader, Record};
use firesteel_common::block::{Encoding, HEADER_LEN, SegmentHeader, padding};
use firesteel_common::plugin::{
    ABI_VERSION, ArgSpec, ArgType, Descriptor, EntryPoint, EntryRecord, RECORD_MAGIC,
};
use firesteel_store::{compress, decompress};
use std::cell::RefCell;
use std::io::{Seek, Write};

pub(super) fn targets() -> Vec<Target> {
    vec![
        Target { name: "segment", run: segment, seeds: segments, base: 16 << 10, times: 2 },
        // A payload is as long as its header says, and a reader prepares 1 MiB before it has seen any of it;
        // unpacked, 64 KiB of input are 16 MiB, and the decoder keeps a block beside.
        Target { name: "packed", run: packed, seeds: packages, base: 4 << 20, times: 600 },
        Target { name: "record", run: records, seeds: encoded, base: 2 << 20, times: 64 },
        Target { name: "descriptor", run: descriptor, seeds: descriptors, base: 16 << 10, times: 16 },
        Target { name: "plugin_file", run: plugin_file, seeds: plugin_files, base: 512 << 10, times: 16 },
    ]
}

/// A whole segment, or a header alone.
fn segment(bytes: &[u8]) {
    if let Ok((header, stored)) = SegmentHeader::open(bytes) {
        assert_eq!(header.encode()[..], bytes[..HEADER_LEN], "another header is written");
        assert_eq!(header.stored_len, stored.len() as u64);
    }
    for available in [bytes.len() as u64, u64::MAX] {
        if let Ok(header) = SegmentHeader::decode(bytes, available) {
            assert!(header.segment_len() <= available);
        }
    }
}

fn sealed(encoding: Encoding, raw_len: usize, stored: &[u8]) -> Vec<u8> {
    let header = SegmentHeader::seal(encoding, 7, raw_len as u64, 3, stored);
    [&header.encode(), stored, &vec![0; padding(stored.len())]].concat()
}

fn segments(rng: &mut Rng) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for len in [0, 1, 63, 64, 65, 500] {
        let payload = rng.bytes(len);
        all.push(sealed(Encoding::Plain, len, &payload));
        if let Ok(stored) = compress(&payload) {
            all.push(sealed(Encoding::Lz4, len, &stored));
        }
    }
    all
}

/// The first eight bytes are the length that a header claims, the rest is what is stored.
fn packed(bytes: &[u8]) {
    let Some((claimed, stored)) = bytes.split_first_chunk::<8>() else { return };
    let raw_len = u64::from_le_bytes(*claimed);
    let header = SegmentHeader { raw_len, ..SegmentHeader::seal(Encoding::Lz4, 7, raw_len, 3, stored) };
    if let Ok(payload) = decompress(&header, stored) {
        assert_eq!(payload.len() as u64, raw_len);
    }
}

fn packages(rng: &mut Rng) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for (len, noise) in [(0, 0), (1, 1), (600, 600), (600, 3), (300_000, 2), (1 << 20, 0)] {
        let mut payload = vec![0; len];
        for _ in 0..noise {
            let at = rng.below(len);
            payload[at] = rng.bytes(1)[0];
        }
        let stored = compress(&payload).unwrap_or_default();
        // As long as it is; much longer; and a bomb, which claims less than comes out of it.
        for claimed in [len as u64, u64::MAX, 10] {
            all.push([claimed.to_le_bytes().as_slice(), &stored].concat());
        }
    }
    all
}

/// Records of several types, as a reduce task reads those of another process.
fn records(bytes: &[u8]) {
    fn read_all<'s, R: Record<'s>>(bytes: &'s [u8]) {
        let mut reader = Reader::new(bytes);
        while !reader.is_empty() {
            if R::decode(&mut reader).is_err() {
                return;
            }
        }
    }
    read_all::<(String, u64)>(bytes);
    read_all::<(Vec<(u32, f64)>, Option<String>)>(bytes);
    read_all::<Vec<Vec<String>>>(bytes);
}

fn encoded(_: &mut Rng) -> Vec<Vec<u8>> {
    let mut words = Vec::new();
    for (word, count) in [("to", 2_u64), ("be", u64::MAX), ("", 0)] {
        (word.to_owned(), count).encode(&mut words);
    }
    let mut pairs = Vec::new();
    (vec![(1_u32, 2.5_f64), (7, f64::NAN)], Some("x".to_owned())).encode(&mut pairs);
    let mut nested = Vec::new();
    vec![vec!["a".to_owned(), "b".to_owned()], vec![]].encode(&mut nested);
    vec![words, pairs, nested]
}

/// The section of a plugin.
fn descriptor(bytes: &[u8]) {
    if let Ok(descriptor) = Descriptor::parse(bytes) {
        assert!(!descriptor.entries.is_empty());
        for entry in &descriptor.entries {
            drop(entry.check_args(&Default::default()));
            drop(descriptor.entry(&entry.name));
        }
        drop(descriptor.entry("no such entry point"));
    }
}

fn section(names: &[&str]) -> Vec<u8> {
    let arg =
        |name: &str| ArgSpec { name: name.into(), kind: ArgType::U64, optional: true, doc: "é".into() };
    let mut bytes = Vec::new();
    for name in names {
        let entry = EntryPoint { name: (*name).into(), doc: String::new(), args: vec![arg("a"), arg("b")] };
        let record = EntryRecord { abi: ABI_VERSION, sdk: "0.1.0".into(), rustc: "1".into(), entry };
        let text = serde_json::to_vec(&record).unwrap_or_default();
        bytes.extend_from_slice(&RECORD_MAGIC);
        bytes.extend_from_slice(&(text.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&text);
        bytes.extend_from_slice(&[0; 5]);
    }
    bytes
}

fn descriptors(_: &mut Rng) -> Vec<Vec<u8>> {
    vec![section(&["wordcount"]), section(&["a", "b", "c"]), section(&["a", "a"]), vec![0; 64]]
}

thread_local! {
    static FILE: RefCell<Option<tempfile::NamedTempFile>> = const { RefCell::new(None) };
}

/// A whole file that says it is a plugin.
fn plugin_file(bytes: &[u8]) {
    FILE.with_borrow_mut(|kept| {
        if kept.is_none() {
            *kept = tempfile::NamedTempFile::new().ok();
        }
        let Some(file) = kept else { return };
        let written = file.rewind().and_then(|()| file.write_all(bytes));
        if written.and_then(|()| file.as_file().set_len(bytes.len() as u64)).is_ok() {
            drop(firesteel_master::read_descriptor(file.path()));
        }
    });
}

/// Small ELF files: a head, the sections' table, names, and the descriptor.
fn plugin_files(_: &mut Rng) -> Vec<Vec<u8>> {
    vec![elf(&section(&["wordcount"])), elf(&[]), b"\x7fELF".to_vec()]
}

/// A 64-bit shared object with nothing but a descriptor.
fn elf(content: &[u8]) -> Vec<u8> {
    const HEAD: usize = 64;
    const ENTRY: usize = 64;
    let machine: u16 = if cfg!(target_arch = "aarch64") { 183 } else { 62 };
    let names = b"\0.shstrtab\0.firesteel\0";
    let table = HEAD + names.len() + content.len();
    let mut file = vec![0; HEAD];
    file[..7].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, 1, 1]);
    file[16..18].copy_from_slice(&3_u16.to_le_bytes());
    file[18..20].copy_from_slice(&machine.to_le_bytes());
    file[20..24].copy_from_slice(&1_u32.to_le_bytes());
    file[40..48].copy_from_slice(&(table as u64).to_le_bytes());
    for (at, value) in [(52, HEAD), (58, ENTRY), (60, 3), (62, 1)] {
        file[at..at + 2].copy_from_slice(&(value as u16).to_le_bytes());
    }
    file.extend_from_slice(names);
    file.extend_from_slice(content);
    let section = |name: u32, kind: u32, offset: usize, size: usize| {
        let mut entry = vec![0; ENTRY];
        entry[..4].copy_from_slice(&name.to_le_bytes());
        entry[4..8].copy_from_slice(&kind.to_le_bytes());
        entry[24..32].copy_from_slice(&(offset as u64).to_le_bytes());
        entry[32..40].copy_from_slice(&(size as u64).to_le_bytes());
        entry
    };
    file.extend(vec![0; ENTRY]);
    file.extend(section(1, 3, HEAD, names.len()));
    file.extend(section(11, 1, HEAD + names.len(), content.len()));
    file
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_that_is_changed_is_a_plugin() -> std::io::Result<()> {
        let mut file = tempfile::NamedTempFile::new()?;
        file.write_all(&elf(&section(&["wordcount"])))?;
        let descriptor = firesteel_master::read_descriptor(file.path());
        assert!(descriptor.is_ok_and(|descriptor| descriptor.entries[0].name == "wordcount"));
        Ok(())
    }
}
