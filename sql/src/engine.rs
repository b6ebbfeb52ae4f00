//! Runs the tasks of SQL stages in an executor.
//!
//! Not here: where segments lie, and what becomes of a large result; the executor behind `TaskIo` knows.

use crate::codec;
use crate::errors::failed;
use crate::exchange::{ReadSource, StreamWriter, TaskSource, write_map_output};
use crate::session::task_config;
use datafusion::execution::TaskContext;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::{ExecutionPlan, SendableRecordBatchStream};
use datafusion::prelude::SessionContext;
use datafusion_proto::protobuf::PhysicalPlanNode;
use firesteel_common::id::{AppAttemptId, StageId};
use firesteel_common::task::{ResultValue, TaskIo, TaskOutcome};
use firesteel_common::{Error, ErrorCode, Payload};
use futures_util::StreamExt;
use parking_lot::Mutex;
use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Runtime;

/// How often a running task looks whether it was told to stop.
const CANCEL_POLL: Duration = Duration::from_millis(50);
/// Stage plans that are kept parsed.
const PLANS_KEPT: usize = 32;

/// Runs SQL tasks; one for an executor, shared by its slots.
pub struct SqlEngine {
    runtime: Option<Runtime>,
    env: Arc<RuntimeEnv>,
    session: SessionContext,
    plans: Mutex<Vec<(StageKey, Arc<PhysicalPlanNode>)>>,
}

type StageKey = (AppAttemptId, StageId);

impl SqlEngine {
    /// An engine for `slots` tasks at once, whose operators share `memory` bytes and spill beyond to the
    /// directory for temporary files of this process.
    ///
    /// # Errors
    /// `IO` if threads or the directory cannot be made.
    pub fn new(slots: u32, memory: u64) -> Result<Self, Error> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(slots.max(1) as usize)
            .thread_name("sql-task")
            .enable_time()
            .build()
            .map_err(|cause| Error::io("starting the threads of the SQL engine", &cause))?;
        let memory = usize::try_from(memory).unwrap_or(usize::MAX);
        let disk =
            DiskManagerBuilder::default().with_mode(DiskManagerMode::Directories(vec![std::env::temp_dir()]));
        let env = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(FairSpillPool::new(memory)))
            .with_disk_manager_builder(disk)
            .build_arc()
            .map_err(|cause| failed(&cause))?;
        let session = SessionContext::new_with_config_rt(task_config(), env.clone());
        Ok(Self { runtime: Some(runtime), env, session, plans: Mutex::new(Vec::new()) })
    }

    /// Runs one attempt at a task on the calling thread, and waits for it.
    ///
    /// # Errors
    /// `PANICKED`, `OUT_OF_MEMORY`, `INPUT_NOT_READABLE`, `SQL_FAILED`, or what `io` reports.
    pub fn run_task(&self, io: Arc<dyn TaskIo>) -> Result<TaskOutcome, Error> {
        let outcome = catch_unwind(AssertUnwindSafe(|| self.try_task(&io)))
            .unwrap_or_else(|panic| Err(Error::new(ErrorCode::Panicked, panic_message(panic.as_ref()))));
        match outcome {
            Err(_) if io.cancelled() => Ok(TaskOutcome::Killed),
            Err(error) if error.code == ErrorCode::Killed => Ok(TaskOutcome::Killed),
            other => other,
        }
    }

    fn try_task(&self, io: &Arc<dyn TaskIo>) -> Result<TaskOutcome, Error> {
        let runtime =
            self.runtime.as_ref().ok_or_else(|| Error::new(ErrorCode::Internal, "the engine has ended"))?;
        let description = io.description();
        let context = Arc::new(self.task_context(io));
        let plan = codec::instance(&*self.plan(io)?, &context)?;
        let partition = description.task.partition as usize;
        let outcome = runtime.block_on(until_cancelled(io.as_ref(), async {
            if description.reducers == 0 {
                let rows = plan.execute(partition, context).map_err(|cause| failed(&cause))?;
                return Ok(TaskOutcome::Result(ResultValue::Inline(collect(rows).await?)));
            }
            let (input, partitioning) = match plan.downcast_ref::<RepartitionExec>() {
                Some(exchange) => (exchange.input(), Some(exchange.partitioning())),
                None => (&plan, None),
            };
            let rows = input.execute(partition, context).map_err(|cause| failed(&cause))?;
            let pool = &self.env.memory_pool;
            Ok(TaskOutcome::MapOutput(write_map_output(io.as_ref(), rows, partitioning, pool).await?))
        }))?;
        count_costs(io.as_ref(), &plan);
        Ok(outcome)
    }

    fn task_context(&self, io: &Arc<dyn TaskIo>) -> TaskContext {
        let session = self.session.task_ctx();
        let source = ReadSource(Arc::new(TaskSource::new(io.clone())));
        TaskContext::new(
            Some(io.description().task.to_string()),
            session.session_id(),
            task_config().with_extension(Arc::new(source)),
            session.scalar_functions().clone(),
            session.higher_order_functions().clone(),
            session.aggregate_functions().clone(),
            session.window_functions().clone(),
            self.env.clone(),
        )
    }

    /// The parsed plan of a task's stage.
    fn plan(&self, io: &Arc<dyn TaskIo>) -> Result<Arc<PhysicalPlanNode>, Error> {
        let description = io.description();
        let key = (description.task.app, description.task.stage);
        let mut plans = self.plans.lock();
        if let Some(at) = plans.iter().position(|(known, _)| *known == key) {
            let entry = plans.remove(at);
            plans.push(entry.clone());
            return Ok(entry.1);
        }
        let plan = Arc::new(codec::parse(&description.stage_payload)?);
        if plans.len() >= PLANS_KEPT {
            plans.remove(0);
        }
        plans.push((key, plan.clone()));
        Ok(plan)
    }
}

impl Drop for SqlEngine {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn collect(mut rows: SendableRecordBatchStream) -> Result<Payload, Error> {
    let mut stream = StreamWriter::new(&rows.schema())?;
    while let Some(batch) = rows.next().await {
        stream.push(batch.map_err(|cause| failed(&cause))?)?;
    }
    Ok(Payload::from(stream.finish()?.1))
}

/// Runs a task until it ends or is told to stop.
async fn until_cancelled<T>(
    io: &dyn TaskIo,
    task: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let mut task = std::pin::pin!(task);
    let mut poll = tokio::time::interval(CANCEL_POLL);
    loop {
        if io.cancelled() {
            return Err(Error::new(ErrorCode::Killed, "the attempt was told to stop"));
        }
        tokio::select! {
            biased;
            _ = poll.tick() => {}
            outcome = &mut task => return outcome,
        }
    }
}

/// Adds what the operators have counted to the metrics of the task.
fn count_costs(io: &dyn TaskIo, plan: &Arc<dyn ExecutionPlan>) {
    let (mut bytes, mut rows, mut spilled) = (0, 0, 0);
    let mut waiting = vec![plan.clone()];
    while let Some(node) = waiting.pop() {
        if let Some(metrics) = node.metrics() {
            let sum = |name: &str| metrics.sum_by_name(name).map_or(0, |value| value.as_usize() as u64);
            spilled += metrics.spilled_bytes().unwrap_or(0) as u64;
            if node.is::<datafusion::datasource::source::DataSourceExec>() {
                bytes += sum("bytes_scanned");
                rows += metrics.output_rows().unwrap_or(0) as u64;
            }
        }
        waiting.extend(node.children().into_iter().cloned());
    }
    io.add_metrics(&|metrics| {
        metrics.input_bytes += bytes;
        metrics.input_records += rows;
        metrics.spilled_bytes += spilled;
    });
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    format!("a SQL task panicked: {}", text.unwrap_or_else(|| "without a message".to_owned()))
}
