//! What runs a task: the loaded plugin or the SQL engine, behind one trait, so that tests bring their own.

use crate::plugin::Plugin;
use firesteel_common::graph::TaskCode;
use firesteel_common::protocol::executor::ExecutorSetup;
use firesteel_common::task::{TaskIo, TaskOutcome};
use firesteel_common::{Error, ErrorCode, Result};
use std::path::Path;
use std::sync::{Arc, OnceLock};

/// Runs tasks of one kind. Called from several threads at once.
pub trait Engine: Send + Sync {
    /// Runs one attempt. A result comes as [`firesteel_common::task::ResultValue::Inline`], however large.
    fn run_task(&self, io: Arc<dyn TaskIo>) -> Result<TaskOutcome>;
}

/// The engines of one executor.
pub trait Engines: Send + Sync {
    /// The engine for a stage of this code.
    ///
    /// # Errors
    /// Why there is none; each of the stage's tasks fails with it.
    fn engine(&self, code: TaskCode) -> Result<Arc<dyn Engine>>;
}

impl Engine for Plugin {
    fn run_task(&self, io: Arc<dyn TaskIo>) -> Result<TaskOutcome> {
        Plugin::run_task(self, io)
    }
}

/// The engines of an executor process: the plugin of its application, loaded at once, and SQL, made when it
/// is first asked for.
pub struct BuiltIn {
    plugin: Option<(firesteel_common::id::PluginHash, Result<Arc<dyn Engine>>)>,
    sql: OnceLock<Result<Arc<dyn Engine>>>,
    slots: u32,
    memory: u64,
}

impl BuiltIn {
    /// Loads what the executor is for. A plugin that cannot be loaded is no error yet: its tasks will say so.
    pub fn load(setup: &ExecutorSetup) -> Self {
        let plugin = setup.plugin.as_ref().map(|(hash, path)| {
            let plugin = Plugin::load(Path::new(path), *hash);
            (*hash, plugin.map(|plugin| Arc::new(plugin) as Arc<dyn Engine>))
        });
        let engines = Self { plugin, sql: OnceLock::new(), slots: setup.slots, memory: setup.memory };
        if engines.plugin.is_none() {
            engines.sql();
        }
        engines
    }

    fn sql(&self) -> &Result<Arc<dyn Engine>> {
        self.sql.get_or_init(|| super::plan::engine(self.slots, self.memory))
    }
}

impl Engines for BuiltIn {
    fn engine(&self, code: TaskCode) -> Result<Arc<dyn Engine>> {
        match (code, &self.plugin) {
            (TaskCode::Sql, _) => self.sql().clone(),
            (TaskCode::Plugin(wanted), Some((hash, plugin))) if wanted == *hash => plugin.clone(),
            (TaskCode::Plugin(wanted), _) => {
                let message = format!("a task of plugin {wanted} came to an executor of another plugin");
                Err(Error::new(ErrorCode::Internal, message))
            }
        }
    }
}
