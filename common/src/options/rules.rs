//! Rules about attempts that a submission may change: when a slow one gets a rival, and which workers are
//! left out after failures. What they mean is that of Spark's settings of the same names; what follows from
//! them the master's scheduler decides.

use serde::{Deserialize, Serialize};

/// When a second attempt is started beside a slow one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Speculation {
    /// Whether it is done at all.
    pub enabled: bool,
    /// How often slow attempts are looked for, in milliseconds.
    pub interval_ms: u64,
    /// How many times the median of the successful attempts one must have taken, in thousandths.
    pub multiplier_permille: u32,
    /// Which share of the tasks of a stage must be complete before, in thousandths.
    pub quantile_permille: u32,
    /// How long an attempt must have run in any case, in milliseconds.
    pub min_runtime_ms: u64,
    /// How long an attempt may run where too few are complete to compare it with, in milliseconds; 0 for
    /// ever. Only where all tasks of the stage have had a slot at once.
    pub threshold_ms: u64,
}

impl Default for Speculation {
    fn default() -> Self {
        Self {
            enabled: false,
            interval_ms: 100,
            multiplier_permille: 3_000,
            quantile_permille: 900,
            min_runtime_ms: 100,
            threshold_ms: 0,
        }
    }
}

/// Which workers and hosts are left out after failures there. (An application has one executor on a worker,
/// so what Spark says of an executor is said of the worker.)
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exclusion {
    /// Whether it is done at all.
    pub enabled: bool,
    /// How many attempts at one task may fail on a worker before that task leaves it out.
    pub task_attempts_per_worker: u32,
    /// How many attempts at one task may fail on a host before that task leaves it out.
    pub task_attempts_per_host: u32,
    /// How many tasks of one stage may fail on a worker before the stage leaves it out.
    pub stage_tasks_per_worker: u32,
    /// How many workers of a host a stage may leave out before it leaves out the host.
    pub stage_workers_per_host: u32,
    /// How many failed tasks of stages that have come to their end put a worker out for the application.
    pub app_tasks_per_worker: u32,
    /// How many workers of a host the application may leave out before it leaves out the host.
    pub app_workers_per_host: u32,
    /// How long a worker or host stays out for the application, in milliseconds.
    pub timeout_ms: u64,
}

impl Default for Exclusion {
    fn default() -> Self {
        Self {
            enabled: false,
            task_attempts_per_worker: 1,
            task_attempts_per_host: 2,
            stage_tasks_per_worker: 2,
            stage_workers_per_host: 2,
            app_tasks_per_worker: 2,
            app_workers_per_host: 2,
            timeout_ms: 3_600_000,
        }
    }
}
