//! What keeps the processes that run user code apart from everything else, as far as it is in force on a
//! worker. Putting it in force is the worker's work; here are only the words for it.

use crate::error::ErrorCode;
use serde::{Deserialize, Serialize};
use std::fmt;

/// How much of the sandbox must be there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SandboxMode {
    /// What the machine can do; what it cannot do is said.
    #[default]
    BestEffort,
    /// All of it, or no process that runs user code is started.
    Require,
    /// Nothing, for debugging; it is said loudly.
    Off,
}

/// How a process that runs user code ended, as its worker saw it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ending {
    /// In words. Nothing is to be read out of them but by people.
    pub words: String,
    /// Whether it was ended because it used more memory than it may.
    pub out_of_memory: bool,
}

impl Ending {
    /// It was ended because it used more memory than `limit` bytes.
    pub fn memory_exceeded(limit: u64, words: &str) -> Self {
        Self { words: format!("memory limit {limit} exceeded: {words}"), out_of_memory: true }
    }

    /// The code of the error of an application that it costs.
    pub fn code(&self) -> ErrorCode {
        if self.out_of_memory { ErrorCode::OutOfMemory } else { ErrorCode::ProcessDied }
    }
}

impl From<String> for Ending {
    fn from(words: String) -> Self {
        Self { words, out_of_memory: false }
    }
}

impl From<&str> for Ending {
    fn from(words: &str) -> Self {
        words.to_owned().into()
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(&self.words)
    }
}

/// What is in force on a worker for the processes that run user code.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sandbox {
    /// What was asked for.
    pub mode: SandboxMode,
    /// The ABI version of Landlock that restricts files, ports and signals; `None` if it does not.
    pub landlock: Option<u32>,
    /// Whether system calls are filtered.
    pub seccomp: bool,
    /// Which version of cgroups bounds memory and processes (1 or 2); `None` if none does.
    pub cgroup: Option<u32>,
    /// Whether resource limits are set.
    pub rlimits: bool,
    /// The user they run as, if it is not the worker's own.
    pub user: Option<u32>,
    /// What is not in force, and why, in words.
    pub missing: Vec<String>,
}
