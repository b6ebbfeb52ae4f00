//! One attempt at a task: from its launch to its report, whatever its engine does.

use super::damage::{self, Point};
use super::host::Host;
use super::output;
use super::signal::Signal;
use super::spool::Written;
use super::task_io::TaskContext;
use firesteel_common::block::{BlockId, BlockKind};
use firesteel_common::id::TaskId;
use firesteel_common::protocol::executor::FromExecutor;
use firesteel_common::protocol::worker::{StageCode, TaskLaunch};
use firesteel_common::task::{INLINE_RESULT_MAX, ResultValue, TaskMetrics, TaskOutcome, TaskReport};
use firesteel_common::{Error, ErrorCode, Payload, Result};
use std::any::Any;
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

/// The type tag of a large result: its bytes are the engine's.
const RESULT_TAG: u64 = 0;

/// Runs an attempt and says how it ended. What it leaves behind is with the worker when this returns.
pub fn run(host: &Arc<Host>, code: &StageCode, launch: TaskLaunch, signal: &Arc<Signal>) -> TaskReport {
    let started = Instant::now();
    host.faults.hit("executor.task_start");
    let id = launch.task;
    let context = Arc::new(TaskContext::new(host.clone(), code, launch, signal.clone()));
    let outcome = execute(host, code, &context, signal).unwrap_or_else(|error| {
        if error.code == ErrorCode::Killed && signal.stopped() {
            return TaskOutcome::Killed;
        }
        TaskOutcome::Failed(error)
    });
    context.close();
    host.faults.hit("executor.task_end");
    let mut metrics = context.metrics();
    metrics.run_us = started.elapsed().as_micros() as u64;
    let accumulators = context.take_accumulators();
    TaskReport { task: id, outcome, metrics, accumulators, stored: context.take_stored() }
}

/// The report of an attempt that could not even begin.
pub fn failed(task: TaskId, error: Error) -> TaskReport {
    let metrics = TaskMetrics::default();
    let outcome = TaskOutcome::Failed(error);
    TaskReport { task, outcome, metrics, accumulators: Vec::new(), stored: Vec::new() }
}

/// Returns execution memory to the worker.
pub fn release_memory(host: &Host, bytes: u64) {
    if let Err(error) = host.worker.send(&FromExecutor::ReleaseMemory { bytes }, None) {
        tracing::debug!("returning memory: {error}");
    }
}

fn execute(
    host: &Host,
    code: &StageCode,
    context: &Arc<TaskContext>,
    signal: &Signal,
) -> Result<TaskOutcome> {
    if signal.stopped() {
        return Ok(TaskOutcome::Killed);
    }
    let engine = host.engines.engine(code.code)?;
    let io = context.clone();
    let outcome = catch_unwind(AssertUnwindSafe(|| engine.run_task(io))).unwrap_or_else(|panic| {
        Err(Error::new(ErrorCode::Panicked, format!("the task panicked: {}", panic_message(&*panic))))
    })?;
    match outcome {
        TaskOutcome::MapOutput(_) => hand_over_output(host, context),
        TaskOutcome::Result(ResultValue::Inline(bytes)) => hand_over_result(host, context, bytes),
        other => Ok(other),
    }
}

/// What a panic has to say.
fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message")
}

/// Gives a complete map output to the worker. Only now: an attempt that fails after it has written leaves
/// nothing behind.
fn hand_over_output(host: &Host, context: &TaskContext) -> Result<TaskOutcome> {
    let Some((status, written)) = context.take_output() else {
        return Err(Error::new(ErrorCode::Internal, "a map task ended without finishing its output"));
    };
    let Written { data, charge } = written;
    // From here on it counts among the worker's blocks.
    drop(charge);
    let point = if data.frames().is_empty() { Point::MapOutput } else { Point::SpilledOutput };
    damage::spoil(host, point, context.task(), data.fd(), data.len(&status));
    let message = FromExecutor::MapOutput {
        task: context.task(),
        status: status.clone(),
        frames: data.frames().to_vec(),
    };
    host.worker.send(&message, Some(data.fd()))?;
    Ok(TaskOutcome::MapOutput(status))
}

/// Lets a small result travel with the report, and makes a block of a large one.
fn hand_over_result(host: &Host, context: &TaskContext, bytes: Payload) -> Result<TaskOutcome> {
    if bytes.len() <= INLINE_RESULT_MAX {
        return Ok(TaskOutcome::Result(ResultValue::Inline(bytes)));
    }
    let TaskId { app, stage, partition, attempt } = context.task();
    let block = BlockId { app, kind: BlockKind::Result { stage, partition, attempt } };
    let (fd, len) = output::single_segment("firesteel-result", RESULT_TAG, 1, &bytes)?;
    host.worker.send(&FromExecutor::ResultBlock { block, bytes: len }, Some(fd.as_fd()))?;
    Ok(TaskOutcome::Result(ResultValue::Block { worker: host.setup.worker, block, bytes: len }))
}
