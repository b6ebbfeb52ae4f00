//! Loading a plugin and calling its functions.

#![expect(
    unsafe_code,
    reason = "loads a shared object and calls its functions; the rules are those of the ABI"
)]

use super::call::{Call, Side};
use super::ffi::TABLE;
use super::output::Writer;
use firesteel::abi::{
    ABI_VERSION, Bytes, Ctx, ENTRY_SYMBOL_PREFIX, EntryShim, PLUGIN_SYMBOL, PluginEntry, PluginTable,
    STATUS_OK,
};
use firesteel_common::id::PluginHash;
use firesteel_common::job::JobRunner;
use firesteel_common::plugin::{Args, Descriptor, SECTION};
use firesteel_common::protocol::codec;
use firesteel_common::task::{ResultValue, TaskIo, TaskOutcome};
use firesteel_common::{Error, ErrorCode, Payload, Result};
use libloading::Library;
use object::{Object, ObjectSection};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::Read;
use std::mem::ManuallyDrop;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::Arc;

/// A loaded plugin.
pub struct Plugin {
    hash: PluginHash,
    descriptor: Descriptor,
    table: PluginTable,
    /// Never unloaded: destructors of its threads may run at any later time.
    library: ManuallyDrop<Library>,
}

fn invalid(path: &Path, what: impl std::fmt::Display) -> Error {
    Error::new(ErrorCode::PluginInvalid, format!("{}: {what}", path.display()))
}

impl Plugin {
    /// Loads the shared object at `path`, whose content must have the hash `expected`. What was checked is
    /// what is loaded, whatever becomes of the path meanwhile.
    ///
    /// # Errors
    /// `PLUGIN_INVALID` if it is another file or not a plugin, `PLUGIN_ABI` if it has another ABI version.
    pub fn load(path: &Path, expected: PluginHash) -> Result<Plugin> {
        let failed = |cause: std::io::Error| Error::io(path.display(), &cause);
        let mut file = File::open(path).map_err(failed)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(failed)?;
        let hash = PluginHash(Sha256::digest(&bytes).into());
        if hash != expected {
            return Err(invalid(path, format!("its content hash is {hash}, not {expected}")));
        }
        let descriptor = read_descriptor(path, &bytes)?;
        let opened = format!("/proc/self/fd/{}", file.as_raw_fd());
        // SAFETY: the object's initialisers run. It is what the submitter wants run, in a process made for
        // that.
        let library = unsafe { Library::new(&opened) }.map_err(|cause| invalid(path, cause))?;
        let library = ManuallyDrop::new(library);
        let table = read_table(path, &library)?;
        // SAFETY: the plugin's table says where its start function is; it is called once, here.
        if unsafe { (table.start)() } != STATUS_OK {
            return Err(invalid(path, "it could not be started"));
        }
        Ok(Self { hash, descriptor, table, library })
    }

    /// What the plugin says of itself.
    pub fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    /// Runs the task of `io` to its end on this thread.
    ///
    /// # Errors
    /// What the job's code failed with, `PANICKED`, or what `io` failed with.
    pub fn run_task(&self, io: Arc<dyn TaskIo>) -> Result<TaskOutcome> {
        let is_map = io.description().reducers > 0;
        let call = Call::new(Side::Task(io));
        // SAFETY: the table is the plugin's, ours lives for ever, and the call lives until the plugin
        // returned.
        let status = unsafe { (self.table.run_task)(&raw const TABLE, context(&call)) };
        match call.end(status == STATUS_OK)? {
            (Some(status), None) if is_map => Ok(TaskOutcome::MapOutput(status)),
            (None, Some(value)) if !is_map => Ok(TaskOutcome::Result(ResultValue::Inline(value))),
            _ => Err(Error::new(
                ErrorCode::Internal,
                "a task of the plugin ended without what its stage promises",
            )),
        }
    }

    /// Runs the entry point named `entry` (the only one if the name is empty) on this thread. Its answer is
    /// JSON.
    ///
    /// # Errors
    /// What the job's code failed with, `PANICKED`, `ENTRY_NOT_FOUND`, `BAD_ARGUMENT`.
    pub fn run_entry(
        &self,
        writer: Writer,
        entry: &str,
        args: &Args,
        runner: Arc<dyn JobRunner>,
    ) -> Result<Payload> {
        let entry = self.descriptor.entry(entry)?;
        entry.check_args(args)?;
        let symbol = format!("{ENTRY_SYMBOL_PREFIX}{}", entry.name);
        // SAFETY: a plugin of this ABI version exports a shim of this type for each entry point it describes.
        let shim: EntryShim =
            *unsafe { self.library.get::<EntryShim>(symbol.as_bytes()) }.map_err(|cause| {
                Error::new(
                    ErrorCode::PluginInvalid,
                    format!("the plugin describes '{}': {cause}", entry.name),
                )
            })?;
        let arguments = codec::encode(args)?;
        let call = Call::new(Side::Driver { writer, plugin: self.hash, runner });
        // SAFETY: as in `run_task`; the arguments live until the plugin has returned.
        let status = unsafe { shim(&raw const TABLE, context(&call), Bytes::of(&arguments)) };
        Ok(call.end(status == STATUS_OK)?.1.unwrap_or_default())
    }
}

fn context(call: &Call) -> Ctx {
    std::ptr::from_ref(call).cast_mut().cast()
}

/// The plugin's table, after its version was compared.
fn read_table(path: &Path, library: &Library) -> Result<PluginTable> {
    // SAFETY: the symbol, where it is, is a function of this type in every version.
    let give = *unsafe { library.get::<PluginEntry>(PLUGIN_SYMBOL.as_bytes()) }.map_err(|cause| {
        invalid(path, cause).with_help("build it as a cdylib that uses the firesteel crate")
    })?;
    // SAFETY: the first fields of the table are its size and its version in every version.
    let (table, size, version) = unsafe {
        let table = give();
        (table, (&raw const (*table).size).read(), (&raw const (*table).abi_version).read())
    };
    if version != ABI_VERSION || (size as usize) < size_of::<PluginTable>() {
        return Err(Error::new(
            ErrorCode::PluginAbi,
            format!("the plugin has ABI version {version}, this Firesteel has {ABI_VERSION}"),
        )
        .with_help("compile it again with the firesteel crate of this version"));
    }
    // SAFETY: the table is at least as long as ours, and lives as long as the library.
    Ok(unsafe { table.read() })
}

/// Reads the descriptor out of the file.
fn read_descriptor(path: &Path, bytes: &[u8]) -> Result<Descriptor> {
    let file = object::File::parse(bytes).map_err(|cause| invalid(path, cause))?;
    let section =
        file.section_by_name(SECTION).ok_or_else(|| invalid(path, "it is not a plugin of Firesteel"))?;
    Descriptor::parse(section.data().map_err(|cause| invalid(path, cause))?)
}
