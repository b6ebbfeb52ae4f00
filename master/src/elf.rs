//! What a plugin says of itself, read from its ELF file without loading it: loading would run its
//! constructors.
//!
//! The file is hostile until it has been understood: only its head, its table of sections with their names,
//! and one section are read, each within a bound.

use firesteel_common::error::{Error, ErrorCode};
use firesteel_common::plugin::{Descriptor, ENTRIES_MAX, RECORD_LEN_MAX, SECTION};
use object::elf::{self, FileHeader64};
use object::read::ReadCache;
use object::read::elf::{FileHeader, SectionHeader};
use object::{LittleEndian, ReadRef};
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

/// The most sections of a plugin; linkers make some forty.
const SECTIONS_MAX: u16 = 1024;
/// The longest table of section names, in bytes.
const NAMES_MAX: u64 = 64 * 1024;
/// The longest descriptor, in bytes; between records there may be padding.
const DESCRIPTOR_MAX: u64 = (ENTRIES_MAX * (RECORD_LEN_MAX + 64)) as u64;

/// What is expected, as the ELF header names it and in words.
#[cfg(target_arch = "x86_64")]
const MACHINE: (u16, &str) = (elf::EM_X86_64, "x86_64");
#[cfg(target_arch = "aarch64")]
const MACHINE: (u16, &str) = (elf::EM_AARCH64, "aarch64");

type Elf = FileHeader64<LittleEndian>;

/// Reads the descriptor of a plugin.
///
/// # Errors
/// `PLUGIN_INVALID` that says what was found and what is expected; `PLUGIN_ABI` for one of another ABI
/// version; `IO` if the file cannot be read.
pub fn read_descriptor(path: &Path) -> Result<Descriptor, Error> {
    let file = File::open(path).map_err(|cause| Error::io("reading a plugin", &cause))?;
    let data = ReadCache::new(BufReader::new(file));
    check_head(&data)?;
    let section = find_section(&data)?;
    Descriptor::parse(section)
}

fn invalid(found: impl std::fmt::Display) -> Error {
    let what = format!("not a plugin: expected a 64-bit ELF shared object for {}, found {found}", MACHINE.1);
    Error::new(ErrorCode::PluginInvalid, what).with_help(
        "build the job with crate-type = [\"cdylib\"] and upload the .so from its target directory",
    )
}

fn check_head<'a>(data: impl ReadRef<'a>) -> Result<(), Error> {
    let len = data.len().map_err(|()| invalid("a file that cannot be read"))?;
    if len == 0 {
        return Err(invalid("an empty file"));
    }
    let Ok(ident) = data.read_bytes_at(0, 16) else { return Err(invalid(format!("a file of {len} bytes"))) };
    if ident[..4] != elf::ELFMAG {
        return Err(invalid("a file that is not ELF"));
    }
    match (ident[4], ident[5]) {
        (elf::ELFCLASS32, _) => return Err(invalid("a 32-bit ELF file")),
        (elf::ELFCLASS64, elf::ELFDATA2LSB) => {}
        (elf::ELFCLASS64, elf::ELFDATA2MSB) => return Err(invalid("a big-endian ELF file")),
        (class, _) => return Err(invalid(format!("an ELF file of class {class}"))),
    }
    let header = data.read_at::<Elf>(0).map_err(|()| invalid("an ELF file that is cut short"))?;
    let machine = header.e_machine.get(LittleEndian);
    if machine != MACHINE.0 {
        return Err(invalid(format!("an ELF file for {}", machine_name(machine))));
    }
    match header.e_type.get(LittleEndian) {
        elf::ET_DYN => Ok(()),
        elf::ET_REL => Err(invalid("an object file that is not linked")),
        elf::ET_EXEC => Err(invalid("a program")),
        kind => Err(invalid(format!("an ELF file of type {kind}"))),
    }
}

fn machine_name(machine: u16) -> String {
    match machine {
        elf::EM_X86_64 => "x86_64".to_owned(),
        elf::EM_AARCH64 => "aarch64".to_owned(),
        elf::EM_386 => "i386".to_owned(),
        elf::EM_ARM => "arm".to_owned(),
        elf::EM_RISCV => "riscv".to_owned(),
        other => format!("machine {other}"),
    }
}

fn find_section<'a>(data: impl ReadRef<'a>) -> Result<&'a [u8], Error> {
    let broken = |cause: object::Error| invalid(format!("an ELF file that is damaged: {cause}"));
    let header = Elf::parse(data).map_err(broken)?;
    let endian = LittleEndian;
    let count = header.e_shnum(endian);
    if count == 0 || count > SECTIONS_MAX {
        return Err(invalid(format!("an ELF file with {count} sections")));
    }
    let headers = header.section_headers(endian, data).map_err(broken)?;
    let names = headers.get(usize::from(header.e_shstrndx(endian)));
    if names.is_none_or(|names| names.sh_size(endian) > NAMES_MAX) {
        return Err(invalid("an ELF file whose sections have no usable names"));
    }
    let sections = header.sections(endian, data).map_err(broken)?;
    let Some((_, section)) = sections.section_by_name(endian, SECTION.as_bytes()) else {
        return Err(Error::new(
            ErrorCode::PluginInvalid,
            format!("not a plugin: the shared object has no section {SECTION}"),
        )
        .with_help("mark a function with #[firesteel::entry] and build the crate as a cdylib"));
    };
    if section.sh_size(endian) > DESCRIPTOR_MAX {
        return Err(invalid(format!("a section {SECTION} of {} bytes", section.sh_size(endian))));
    }
    section.data(endian, data).map_err(broken)
}

#[cfg(test)]
mod tests;
