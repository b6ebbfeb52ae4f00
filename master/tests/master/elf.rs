//! The smallest shared object that is a plugin by its description. Nobody can run it, and nobody here does.

/// A plugin with one entry point `count(path: text, [n: whole number])`. `salt` makes another hash.
pub fn plugin(salt: &str) -> Vec<u8> {
    let text = format!(
        r#"{{"abi":1,"sdk":"{salt}","rustc":"r","entry":{{"name":"count","doc":"Counts.","args":[
        {{"name":"path","type":"string","optional":false}},{{"name":"n","type":"u64","optional":true}}]}}}}"#
    );
    let mut content = firesteel_common::plugin::RECORD_MAGIC.to_vec();
    content.extend_from_slice(&(text.len() as u32).to_le_bytes());
    content.extend_from_slice(text.as_bytes());
    shared_object(&content)
}

fn shared_object(content: &[u8]) -> Vec<u8> {
    let names = b"\0.firesteel\0.shstrtab\0";
    let names_at = 64 + content.len();
    let table_at = (names_at + names.len()).next_multiple_of(8);
    let machine: u16 = if cfg!(target_arch = "aarch64") { 183 } else { 62 };
    let mut file = vec![0; table_at];
    file[..16].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    for (at, value) in [(16, 3), (18, machine), (20, 1), (52, 64), (58, 64), (60, 3), (62, 2)] {
        file[at..at + 2].copy_from_slice(&value.to_le_bytes());
    }
    file[40..48].copy_from_slice(&(table_at as u64).to_le_bytes());
    file[64..names_at].copy_from_slice(content);
    file[names_at..names_at + names.len()].copy_from_slice(names);
    let sections = [(0u32, 0u32, 0, 0), (1, 1, 64, content.len()), (12, 3, names_at, names.len())];
    for (name, kind, at, len) in sections {
        let mut header = [0; 64];
        header[0..4].copy_from_slice(&name.to_le_bytes());
        header[4..8].copy_from_slice(&kind.to_le_bytes());
        header[24..32].copy_from_slice(&(at as u64).to_le_bytes());
        header[32..40].copy_from_slice(&(len as u64).to_le_bytes());
        file.extend_from_slice(&header);
    }
    file
}
