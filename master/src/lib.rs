//! The control plane: one process that accepts applications, places their work, and tells how they are.
//!
//! Every decision is made by `firesteel-scheduler`; this room is its shell: links, the journal, the HTTP
//! daemon, logs and event logs. It never loads a plugin, never touches a row, and knows nothing of SQL.
#![warn(missing_docs)]
#![cfg_attr(test, expect(clippy::unwrap_used, reason = "tests"))]

mod actor;
mod audit;
mod board;
mod clock;
mod control;
mod effects;
mod elf;
mod events;
mod files;
mod http;
mod journal;
mod logs;
mod options;
mod parent;
mod pending;
mod program;
mod retention;
mod run;
mod sessions;
mod tokens;

pub use audit::{AuditReport, verify_audit};
pub use elf::read_descriptor;
pub use http::route_table;
pub use options::{AUTHORITY_FILE, MasterOptions, MasterState, read_state, read_token};
pub use run::run_master;
