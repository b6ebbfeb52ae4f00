//! Plugins: loading a job's shared object, and running its tasks and entry points through the ABI.
//!
//! Only executors and drivers load plugins. A plugin is never unloaded: the process ends with it.

mod call;
mod ffi;
mod files;
mod loader;
mod output;
#[cfg(test)]
mod tests;

pub use loader::Plugin;
pub use output::Writer;
