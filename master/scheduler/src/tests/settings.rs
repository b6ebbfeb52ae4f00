//! The settings that stories are told under: short times, so that little has to be told.

use super::script::Words;
use firesteel_common::config::{PoolConfig, SchedulerConfig, SchedulerMode};

/// Words such as `reports:2:4` are pools with weight and minimum share.
pub(super) fn fair(words: &Words<'_>) -> SchedulerConfig {
    let pool = |word: &&str| {
        let mut parts = word.split(':');
        let name = parts.next().unwrap().to_owned();
        let mut number = || parts.next().unwrap().parse().unwrap();
        PoolConfig { name, weight: number(), min_share: number() }
    };
    let pools = words.0.iter().map(pool).collect();
    SchedulerConfig { mode: SchedulerMode::Fair, pools, ..config() }
}

pub(super) fn config() -> SchedulerConfig {
    SchedulerConfig {
        heartbeat_ms: 200,
        worker_timeout_ms: 1_000,
        reconnect_ms: 500,
        task_failures_max: 4,
        stage_attempts_max: 4,
        locality_wait_ms: 50,
        no_workers_timeout_ms: 5_000,
        driver_attempts_max: 1,
        drain_timeout_ms: 5_000,
        mode: SchedulerMode::Fifo,
        pools: vec![],
    }
}
