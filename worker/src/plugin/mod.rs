//! Plugins: loading a job's shared object, and running its tasks and entry points through the ABI.
//!
//! Only executors and drivers load plugins. A plugin is never unloaded: the process ends with it.

pub mod ffi;
pub mod files;
pub mod loader;
pub mod output;

pub use loader::Plugin;
