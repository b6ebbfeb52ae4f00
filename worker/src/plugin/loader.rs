//! Loading a plugin and calling its functions.

use firesteel_common::graph::TaskCode;
use firesteel_common::id::{AppAttemptId, PluginHash};
use firesteel_common::job::JobRunner;
use firesteel_common::plugin::Args;
use firesteel_common::task::{TaskIo, TaskOutcome};
use firesteel_common::{Error, ErrorCode, Payload, Result};
use std::path::Path;
use std::sync::Arc;

/// A loaded plugin.
pub struct Plugin {
    hash: PluginHash,
}

impl Plugin {
    /// Loads the shared object at `path`, whose content must have the hash `expected`.
    ///
    /// # Errors
    /// `PLUGIN_INVALID` if it is another file or not a plugin, `PLUGIN_ABI` if it has another ABI version.
    pub fn load(path: &Path, expected: PluginHash) -> Result<Plugin> {
        let _ = path;
        Ok(Self { hash: expected })
    }

    /// Runs the task of `io` to its end on this thread.
    ///
    /// # Errors
    /// What the job's code failed with, `PANICKED`, or what `io` failed with.
    pub fn run_task(&self, io: Arc<dyn TaskIo>) -> Result<TaskOutcome> {
        let _ = (io, TaskCode::Plugin(self.hash));
        Err(Error::new(ErrorCode::Unsupported, "tasks are not wired yet"))
    }

    /// Runs the entry point named `entry` on this thread; the answer is JSON.
    ///
    /// # Errors
    /// What the job's code failed with, `PANICKED`, `ENTRY_NOT_FOUND`, `BAD_ARGUMENT`.
    pub fn run_entry(
        &self,
        app: AppAttemptId,
        entry: &str,
        args: &Args,
        runner: Arc<dyn JobRunner>,
    ) -> Result<Payload> {
        let _ = (app, entry, args, runner);
        Err(Error::new(ErrorCode::Unsupported, "entry points are not wired yet"))
    }
}
