//! How one application is run: what a submission may set, as a struct and as the table of keys that users
//! write (`spark.executor.memory`, …). What is not in this table cannot be set by a submission at all;
//! settings of the cluster are [`crate::config`].

mod rules;
#[cfg(test)]
mod tests;

use crate::error::{Error, ErrorCode, Result, nearest};
pub use rules::{Exclusion, Speculation};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How one application is run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AppOptions {
    /// The scheduler pool it belongs to.
    pub pool: String,
    /// Whether its driver is started again when it dies, in cluster mode.
    pub supervise: bool,
    /// What its driver may use.
    pub driver: Limits,
    /// What each of its executors may use.
    pub executor: Limits,
    /// Task slots it may take in the whole cluster; 0 for all.
    pub cores_max: u32,
    /// How often one task may fail by itself; 0 for the cluster's setting.
    pub task_failures_max: u32,
    /// How long one attempt of a task may run, in milliseconds; 0 for ever.
    pub task_timeout_ms: u64,
    /// How long the application may run, in milliseconds; 0 for ever.
    pub timeout_ms: u64,
    /// When a slow attempt gets a rival.
    pub speculation: Speculation,
    /// Which workers are left out after failures.
    pub exclusion: Exclusion,
}

/// What a process may use. It is enforced by the worker, as far as the machine can.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Task slots (executor) or cores (driver); 0 for all that the worker has.
    pub cores: u32,
    /// Bytes of memory; 0 for no bound of its own.
    pub memory: u64,
    /// Whether it may open network connections of its own.
    pub network: bool,
}

impl Default for AppOptions {
    fn default() -> Self {
        Self {
            pool: "default".to_owned(),
            supervise: false,
            driver: Limits::default(),
            executor: Limits::default(),
            cores_max: 0,
            task_failures_max: 0,
            task_timeout_ms: 0,
            timeout_ms: 0,
            speculation: Speculation::default(),
            exclusion: Exclusion::default(),
        }
    }
}

/// A key that a submission may set.
#[derive(Clone, Copy)]
pub struct OptionKey {
    /// Its name.
    pub name: &'static str,
    /// Its default, as one would write it.
    pub default: &'static str,
    /// What it means.
    pub doc: &'static str,
    set: fn(&mut AppOptions, &str) -> Result<(), String>,
}

/// Every key, in the order in which they are shown.
pub const KEYS: &[OptionKey] = &[
    OptionKey {
        name: "spark.driver.cores",
        default: "0",
        doc: "cores of the driver in cluster mode; 0 for all",
        set: |o, text| put(&mut o.driver.cores, number(text)),
    },
    OptionKey {
        name: "spark.driver.memory",
        default: "0",
        doc: "memory of the driver in cluster mode, such as 1g; 0 for no bound of its own",
        set: |o, text| put(&mut o.driver.memory, bytes(text)),
    },
    OptionKey {
        name: "spark.driver.supervise",
        default: "false",
        doc: "start the driver again when it dies (cluster mode)",
        set: |o, text| put(&mut o.supervise, boolean(text)),
    },
    OptionKey {
        name: "spark.executor.cores",
        default: "0",
        doc: "task slots of each executor; 0 for all of its worker",
        set: |o, text| put(&mut o.executor.cores, number(text)),
    },
    OptionKey {
        name: "spark.executor.memory",
        default: "0",
        doc: "memory of each executor, such as 1g; 0 for no bound of its own",
        set: |o, text| put(&mut o.executor.memory, bytes(text)),
    },
    OptionKey {
        name: "spark.cores.max",
        default: "0",
        doc: "task slots in the whole cluster; 0 for all",
        set: |o, text| put(&mut o.cores_max, number(text)),
    },
    OptionKey {
        name: "spark.scheduler.pool",
        default: "default",
        doc: "the scheduler pool",
        set: |o, text| put(&mut o.pool, name(text)),
    },
    OptionKey {
        name: "spark.task.maxFailures",
        default: "4",
        doc: "how often one task may fail by itself before its job fails",
        set: |o, text| put(&mut o.task_failures_max, number(text)),
    },
    OptionKey {
        name: "spark.speculation",
        default: "false",
        doc: "run a second attempt beside a slow one, on another worker; the first success counts",
        set: |o, text| put(&mut o.speculation.enabled, boolean(text)),
    },
    OptionKey {
        name: "spark.speculation.interval",
        default: "100ms",
        doc: "how often slow attempts are looked for",
        set: |o, text| put(&mut o.speculation.interval_ms, millis(text)),
    },
    OptionKey {
        name: "spark.speculation.multiplier",
        default: "3",
        doc: "how many times the median an attempt must have taken to be slow",
        set: |o, text| put(&mut o.speculation.multiplier_permille, permille(text)),
    },
    OptionKey {
        name: "spark.speculation.quantile",
        default: "0.9",
        doc: "which share of the tasks of a stage must be complete before",
        set: |o, text| put(&mut o.speculation.quantile_permille, share(text)),
    },
    OptionKey {
        name: "spark.speculation.minTaskRuntime",
        default: "100ms",
        doc: "how long a slow attempt must have run in any case",
        set: |o, text| put(&mut o.speculation.min_runtime_ms, millis(text)),
    },
    OptionKey {
        name: "spark.speculation.task.duration.threshold",
        default: "0",
        doc: "how long an attempt may run where too few are complete to compare; 0 for ever",
        set: |o, text| put(&mut o.speculation.threshold_ms, millis(text)),
    },
    OptionKey {
        name: "spark.excludeOnFailure.enabled",
        default: "false",
        doc: "leave out workers and hosts on which tasks fail",
        set: |o, text| put(&mut o.exclusion.enabled, boolean(text)),
    },
    OptionKey {
        name: "spark.excludeOnFailure.timeout",
        default: "1h",
        doc: "how long a worker or host stays out for the application",
        set: |o, text| put(&mut o.exclusion.timeout_ms, millis(text)),
    },
    OptionKey {
        name: "spark.excludeOnFailure.task.maxTaskAttemptsPerExecutor",
        default: "1",
        doc: "failed attempts at a task on a worker before the task leaves it out",
        set: |o, text| put(&mut o.exclusion.task_attempts_per_worker, positive(text)),
    },
    OptionKey {
        name: "spark.excludeOnFailure.task.maxTaskAttemptsPerNode",
        default: "2",
        doc: "failed attempts at a task on a host before the task leaves it out",
        set: |o, text| put(&mut o.exclusion.task_attempts_per_host, positive(text)),
    },
    OptionKey {
        name: "spark.excludeOnFailure.stage.maxFailedTasksPerExecutor",
        default: "2",
        doc: "failed tasks of a stage on a worker before the stage leaves it out",
        set: |o, text| put(&mut o.exclusion.stage_tasks_per_worker, positive(text)),
    },
    OptionKey {
        name: "spark.excludeOnFailure.stage.maxFailedExecutorsPerNode",
        default: "2",
        doc: "workers of a host that a stage leaves out before it leaves out the host",
        set: |o, text| put(&mut o.exclusion.stage_workers_per_host, positive(text)),
    },
    OptionKey {
        name: "spark.excludeOnFailure.application.maxFailedTasksPerExecutor",
        default: "2",
        doc: "failed tasks on a worker before the application leaves it out",
        set: |o, text| put(&mut o.exclusion.app_tasks_per_worker, positive(text)),
    },
    OptionKey {
        name: "spark.excludeOnFailure.application.maxFailedExecutorsPerNode",
        default: "2",
        doc: "workers of a host that the application leaves out before it leaves out the host",
        set: |o, text| put(&mut o.exclusion.app_workers_per_host, positive(text)),
    },
    OptionKey {
        name: "firesteel.task.timeout",
        default: "0",
        doc: "how long one attempt of a task may run, such as 10min; 0 for ever",
        set: |o, text| put(&mut o.task_timeout_ms, millis(text)),
    },
    OptionKey {
        name: "firesteel.app.timeout",
        default: "0",
        doc: "how long the application may run; 0 for ever",
        set: |o, text| put(&mut o.timeout_ms, millis(text)),
    },
    OptionKey {
        name: "firesteel.network",
        default: "deny",
        doc: "whether its processes may open network connections of their own: allow or deny",
        set: |o, text| {
            let allowed = match text {
                "allow" => true,
                "deny" => false,
                _ => return Err("is neither allow nor deny".to_owned()),
            };
            o.driver.network = allowed;
            o.executor.network = allowed;
            Ok(())
        },
    },
];

impl AppOptions {
    /// What a submission asks for.
    ///
    /// # Errors
    /// `CONFIG_INVALID` for a key that is not in [`KEYS`], naming the nearest one, and for a value that does
    /// not fit.
    pub fn from_conf(conf: &BTreeMap<String, String>) -> Result<Self> {
        let mut options = Self::default();
        for (key, text) in conf {
            let Some(known) = KEYS.iter().find(|known| known.name == key) else {
                return Err(unknown(key));
            };
            (known.set)(&mut options, text.trim()).map_err(|what| {
                Error::new(ErrorCode::ConfigInvalid, format!("{key}: '{text}' {what}"))
                    .with_help(format!("{} (default: {})", known.doc, known.default))
            })?;
        }
        Ok(options)
    }
}

fn unknown(key: &str) -> Error {
    let error = Error::new(ErrorCode::ConfigInvalid, format!("a submission cannot set {key}"));
    match nearest(key, KEYS.iter().map(|known| known.name)) {
        Some(near) => error.with_help(format!("did you mean {near}?")),
        None => error.with_help("`firesteel config keys` lists what it can set"),
    }
}

fn put<T>(to: &mut T, value: Result<T, String>) -> Result<(), String> {
    *to = value?;
    Ok(())
}

fn number(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| "is not a whole number".to_owned())
}

fn boolean(text: &str) -> Result<bool, String> {
    text.parse().map_err(|_| "is neither true nor false".to_owned())
}

fn positive(text: &str) -> Result<u32, String> {
    match number(text)? {
        0 => Err("must be at least 1".to_owned()),
        some => Ok(some),
    }
}

/// A decimal number, in thousandths; more digits are dropped.
fn permille(text: &str) -> Result<u32, String> {
    let wrong = || "is not a number such as 1.5".to_owned();
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(whole) || !is_number(part) {
        return Err(wrong());
    }
    let whole: u32 = whole.parse().map_err(|_| wrong())?;
    let digits = part.bytes().map(|byte| u32::from(byte - b'0'));
    let part = digits.chain([0, 0]).take(3).fold(0, |sum, digit| sum * 10 + digit);
    whole.checked_mul(1_000).and_then(|whole| whole.checked_add(part)).ok_or_else(wrong)
}

/// A share, from 0 to 1, in thousandths.
fn share(text: &str) -> Result<u32, String> {
    match permille(text)? {
        share @ 0..=1_000 => Ok(share),
        _ => Err("is more than 1".to_owned()),
    }
}

fn name(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if text.is_empty() || text.len() > 64 || !text.chars().all(plain) {
        return Err("is not a name of 1 to 64 letters, digits, '-', '_' or '.'".to_owned());
    }
    Ok(text.to_owned())
}

/// Bytes: a whole number, with a unit of powers of 1024 (`k m g t`, and with `b` behind).
///
/// # Errors
/// What is wrong, as the end of a sentence about the text.
pub fn bytes(text: &str) -> Result<u64, String> {
    let lower = text.to_ascii_lowercase();
    let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    if digits.is_empty() {
        return Err("is not a size such as 512m or 2g".to_owned());
    }
    let shift = match &lower[digits.len()..] {
        "" | "b" => 0,
        "k" | "kb" => 10,
        "m" | "mb" => 20,
        "g" | "gb" => 30,
        "t" | "tb" => 40,
        _ => return Err("has a unit that is none of b, k, m, g, t".to_owned()),
    };
    let value: u64 = digits.parse().map_err(|_| "is not a size such as 512m or 2g".to_owned())?;
    value.checked_mul(1 << shift).ok_or_else(|| "is too large".to_owned())
}

/// Milliseconds: a whole number with a unit (`ms s m min h d`); without one, milliseconds.
///
/// # Errors
/// What is wrong, as the end of a sentence about the text.
pub fn millis(text: &str) -> Result<u64, String> {
    let lower = text.to_ascii_lowercase();
    let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    if digits.is_empty() {
        return Err("is not a time such as 100ms or 3s".to_owned());
    }
    let unit = match &lower[digits.len()..] {
        "" | "ms" => 1,
        "s" => 1_000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err("has a unit that is none of ms, s, m, min, h, d".to_owned()),
    };
    let value: u64 = digits.parse().map_err(|_| "is not a time such as 100ms or 3s".to_owned())?;
    value.checked_mul(unit).ok_or_else(|| "is too large".to_owned())
}
