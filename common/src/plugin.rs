//! The descriptor of a plugin: what lies in its ELF section and is read without loading it.
//!
//! The section [`SECTION`] holds one record for each entry point, in any order, with zero bytes between them:
//! the eight bytes of [`RECORD_MAGIC`], the length of the text as a little-endian `u32`, and the text, which
//! is a JSON [`EntryRecord`]. Cutting the section out of the ELF file is the work of whoever reads files.

#[cfg(test)]
mod tests;

use crate::error::{Error, ErrorCode, nearest};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The version of the ABI between a plugin and its host.
pub const ABI_VERSION: u32 = 1;
/// The ELF section of the descriptor.
pub const SECTION: &str = ".firesteel";
/// The first bytes of a record.
pub const RECORD_MAGIC: [u8; 8] = *b"FSentry\x01";
/// The longest text of a record that is accepted, in bytes.
pub const RECORD_LEN_MAX: usize = 64 * 1024;
/// The most entry points of one plugin.
pub const ENTRIES_MAX: usize = 256;

/// One entry point as the attribute writes it down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EntryRecord {
    /// [`ABI_VERSION`] of the crate that the plugin was compiled with.
    pub abi: u32,
    /// The version of that crate.
    pub sdk: String,
    /// The compiler; recorded, never compared.
    pub rustc: String,
    /// The entry point.
    pub entry: EntryPoint,
}

/// What a plugin exports to be run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EntryPoint {
    /// Its name, that of the function.
    pub name: String,
    /// Its documentation.
    pub doc: String,
    /// Its arguments, in order.
    pub args: Vec<ArgSpec>,
}

/// An argument of an entry point.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArgSpec {
    /// Its name.
    pub name: String,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: ArgType,
    /// Whether it may be left out.
    pub optional: bool,
    /// Its documentation.
    #[serde(default)]
    pub doc: String,
}

/// The types that an argument can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ArgType {
    /// Text.
    String,
    /// A signed whole number of 64 bits.
    I64,
    /// An unsigned whole number of 64 bits.
    U64,
    /// A number.
    F64,
    /// `true` or `false`.
    Bool,
}

/// The arguments of one application: each by its name, as text.
pub type Args = BTreeMap<String, String>;

/// What a plugin says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Descriptor {
    /// The version of the job author's crate.
    pub sdk: String,
    /// The compiler.
    pub rustc: String,
    /// The entry points, by name.
    pub entries: Vec<EntryPoint>,
}

impl Descriptor {
    /// Reads the content of the section.
    ///
    /// # Errors
    /// `PLUGIN_INVALID` if it is not a list of records; `PLUGIN_ABI` if a record is of another ABI version.
    pub fn parse(section: &[u8]) -> Result<Self, Error> {
        let mut descriptor = Self { sdk: String::new(), rustc: String::new(), entries: Vec::new() };
        let mut rest = section;
        loop {
            let zeros = rest.iter().take_while(|byte| **byte == 0).count();
            rest = &rest[zeros..];
            if rest.is_empty() {
                break;
            }
            let record = next_record(&mut rest)?;
            if descriptor.entries.len() == ENTRIES_MAX {
                return Err(invalid(format!("it has more than {ENTRIES_MAX} entry points")));
            }
            descriptor.sdk = record.sdk;
            descriptor.rustc = record.rustc;
            descriptor.entries.push(record.entry);
        }
        descriptor.entries.sort_by(|a, b| a.name.cmp(&b.name));
        if let Some(pair) = descriptor.entries.windows(2).find(|pair| pair[0].name == pair[1].name) {
            return Err(invalid(format!("it has two entry points named '{}'", pair[0].name)));
        }
        if descriptor.entries.is_empty() {
            return Err(invalid("it has no entry point".to_owned())
                .with_help("mark a function with #[firesteel::entry] and build the crate as a cdylib"));
        }
        Ok(descriptor)
    }

    /// The entry point of this name; the only one if the name is empty.
    ///
    /// # Errors
    /// `ENTRY_NOT_FOUND`, with the nearest name or the list of names.
    pub fn entry(&self, name: &str) -> Result<&EntryPoint, Error> {
        if name.is_empty() && self.entries.len() == 1 {
            return Ok(&self.entries[0]);
        }
        self.entries.iter().find(|entry| entry.name == name).ok_or_else(|| {
            let names = self.entries.iter().map(|entry| entry.name.as_str());
            let help = match nearest(name, names.clone()) {
                Some(near) if !name.is_empty() => format!("did you mean '{near}'?"),
                _ => format!("it has: {}", names.collect::<Vec<_>>().join(", ")),
            };
            let what = if name.is_empty() {
                "the plugin has several entry points and none was named".to_owned()
            } else {
                format!("the plugin has no entry point named '{name}'")
            };
            Error::new(ErrorCode::EntryNotFound, what).with_help(help)
        })
    }
}

fn invalid(what: String) -> Error {
    Error::new(ErrorCode::PluginInvalid, format!("the plugin's descriptor is not usable: {what}"))
}

fn next_record(rest: &mut &[u8]) -> Result<EntryRecord, Error> {
    let (magic, after) = rest.split_at_checked(8).ok_or_else(|| invalid("a record is cut short".into()))?;
    if magic != RECORD_MAGIC {
        return Err(invalid("a record does not begin with its magic bytes".into()));
    }
    let (len, after) =
        after.split_first_chunk::<4>().ok_or_else(|| invalid("a record is cut short".into()))?;
    let len = u32::from_le_bytes(*len) as usize;
    if len > RECORD_LEN_MAX {
        return Err(invalid(format!("a record claims {len} bytes")));
    }
    let (text, after) = after.split_at_checked(len).ok_or_else(|| invalid("a record is cut short".into()))?;
    *rest = after;
    check_abi(text)?;
    serde_json::from_slice(text).map_err(|cause| invalid(format!("a record is not understood: {cause}")))
}

/// The version is read first and alone: the other fields of another version may be others.
fn check_abi(text: &[u8]) -> Result<(), Error> {
    #[derive(Deserialize)]
    struct Version {
        abi: u32,
    }
    let version: Version = serde_json::from_slice(text)
        .map_err(|cause| invalid(format!("a record has no ABI version: {cause}")))?;
    if version.abi == ABI_VERSION {
        return Ok(());
    }
    Err(Error::new(
        ErrorCode::PluginAbi,
        format!("the plugin has ABI version {}, this Firesteel has {ABI_VERSION}", version.abi),
    )
    .with_help("compile it again with the firesteel crate of this version"))
}

impl EntryPoint {
    /// Checks arguments against what is declared.
    ///
    /// # Errors
    /// `BAD_ARGUMENT` naming the first argument that is missing, unknown, or not of its type.
    pub fn check_args(&self, args: &Args) -> Result<(), Error> {
        let bad = |what: String| Error::new(ErrorCode::BadArgument, what).with_help(self.usage());
        for name in args.keys() {
            if !self.args.iter().any(|arg| arg.name == *name) {
                let near = nearest(name, self.args.iter().map(|arg| arg.name.as_str()));
                let hint = near.map(|near| format!("; did you mean '{near}'?")).unwrap_or_default();
                return Err(bad(format!("'{}' has no argument '{name}'{hint}", self.name)));
            }
        }
        for arg in &self.args {
            match args.get(&arg.name) {
                Some(text) if !arg.kind.accepts(text) => {
                    return Err(bad(format!(
                        "argument '{}': '{text}' is not {}",
                        arg.name,
                        arg.kind.words()
                    )));
                }
                None if !arg.optional => return Err(bad(format!("argument '{}' is missing", arg.name))),
                _ => {}
            }
        }
        Ok(())
    }

    /// How to call it, in one line.
    pub fn usage(&self) -> String {
        let args = self.args.iter().map(|arg| {
            let text = format!("{}=<{}>", arg.name, arg.kind.words());
            if arg.optional { format!("[{text}]") } else { text }
        });
        std::iter::once(self.name.clone()).chain(args).collect::<Vec<_>>().join(" ")
    }
}

impl ArgType {
    /// Whether `text` is a value of this type.
    pub fn accepts(self, text: &str) -> bool {
        match self {
            ArgType::String => true,
            ArgType::I64 => text.parse::<i64>().is_ok(),
            ArgType::U64 => text.parse::<u64>().is_ok(),
            ArgType::F64 => text.parse::<f64>().is_ok(),
            ArgType::Bool => text.parse::<bool>().is_ok(),
        }
    }

    /// The type in words.
    pub fn words(self) -> &'static str {
        match self {
            ArgType::String => "text",
            ArgType::I64 => "a whole number",
            ArgType::U64 => "a whole number that is not negative",
            ArgType::F64 => "a number",
            ArgType::Bool => "true or false",
        }
    }
}
