//! A text from its statements to its rows: the driver's conversation with the runtime.
//!
//! Not here: how plans are made (`session`), cut (`cut`) and run (`engine`).

use crate::cut::{Cut, cut};
use crate::depth;
use crate::errors::invalid;
use crate::exchange::{BatchSource, ReadKind, ReadSource, StreamWriter, decode_stream};
use crate::ids::Ids;
use crate::session::{Session, task_config};
use crate::subquery::{self, Known};
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::buffer::Buffer;
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::{Result as DfResult, ScalarValue, internal_datafusion_err};
use datafusion::logical_expr::{LogicalPlan, Subquery};
use datafusion::physical_plan::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use firesteel_common::config::SqlConfig;
use firesteel_common::graph::{StageKind, StageSpec};
use firesteel_common::id::{JobId, StageId};
use firesteel_common::job::{JobEvent, JobRunner, JobSpec, Target};
use firesteel_common::task::ResultValue;
use firesteel_common::{Error, ErrorCode, Payload};
use futures_util::stream;
use prost::bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Runs the statements of a text and gives the rows of its last query, as an Arrow IPC stream. A text without
/// a query gives a stream without columns.
///
/// `tables` maps names to Parquet files, or directories of them, that every executor can read.
///
/// # Errors
/// `SQL_INVALID` for what is not understood (with the nearest known name), `UNSUPPORTED` for statements other
/// than queries and views, `INPUT_NOT_READABLE` for a table that is not there, `SQL_FAILED` for a query that
/// failed while it ran, and whatever error a task or the runtime reports.
pub fn run_sql(
    text: &str,
    tables: &BTreeMap<String, String>,
    config: &SqlConfig,
    runner: Arc<dyn JobRunner>,
) -> Result<Payload, Error> {
    depth::check(text)?;
    std::thread::scope(|scope| {
        std::thread::Builder::new()
            .name("sql".to_owned())
            .stack_size(depth::STACK_BYTES)
            .spawn_scoped(scope, || run_text(text, tables, config, runner))
            .map_err(|cause| Error::io("starting a thread for a SQL text", &cause))?
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn run_text(
    text: &str,
    tables: &BTreeMap<String, String>,
    config: &SqlConfig,
    runner: Arc<dyn JobRunner>,
) -> Result<Payload, Error> {
    let partitions = runner.slots().max(1).saturating_mul(config.partitions_per_slot.max(1));
    let mut session = Session::new(tables, partitions as usize)?;
    let mut last = (Arc::new(Schema::empty()), Vec::new());
    for statement in session.statements(text)? {
        let name: String = statement.to_string().chars().take(120).collect();
        match session.logical(statement)? {
            definition @ LogicalPlan::Ddl(_) => {
                session.execute_here(definition)?;
            }
            explain @ LogicalPlan::Explain(_) => {
                let frame = session.execute_here(explain)?;
                let schema = Arc::new(frame.schema().as_arrow().clone());
                last = (schema, session.block_on(frame.collect()).map_err(|cause| invalid(&cause, &[]))?);
            }
            LogicalPlan::Analyze(_) => {
                return Err(Error::new(ErrorCode::Unsupported, "EXPLAIN ANALYZE is not supported")
                    .with_help("the pages of the job show what its stages cost"));
            }
            query => {
                let mut job = Conversation::new(runner.clone(), name);
                last = run_query(&session, query, &mut job)?;
                job.end()?;
            }
        }
    }
    let mut stream = StreamWriter::new(&last.0)?;
    for batch in last.1 {
        stream.push(batch)?;
    }
    Ok(Payload::from(stream.finish()?.1))
}

/// Runs a query: its scalar subqueries first, the innermost ones before the others, then itself.
fn run_query(
    session: &Session,
    mut plan: LogicalPlan,
    job: &mut Conversation,
) -> Result<(SchemaRef, Vec<RecordBatch>), Error> {
    let ids = Ids::of_process();
    loop {
        let waiting = subquery::innermost(&plan).map_err(|cause| invalid(&cause, &[]))?;
        if waiting.is_empty() {
            break;
        }
        let mut cuts = Vec::new();
        for subquery in &waiting {
            cuts.push(cut(&session.physical(&subquery.subquery)?, &ids)?);
        }
        job.ask(&cuts, true)?;
        let mut known = Vec::new();
        for (subquery, cut) in waiting.into_iter().zip(cuts) {
            let rows = rows_of(session, &cut, job)?;
            known.push(scalar(subquery, &rows)?);
        }
        plan = subquery::substitute(plan, &known).map_err(|cause| invalid(&cause, &[]))?;
    }
    let cut = cut(&session.physical(&plan)?, &ids)?;
    job.ask(std::slice::from_ref(&cut), false)?;
    let rows = rows_of(session, &cut, job)?;
    Ok((cut.schema, rows))
}

/// The value of a scalar subquery.
fn scalar(subquery: Subquery, rows: &[RecordBatch]) -> Result<Known, Error> {
    let planned = subquery.subquery.schema().field(0).data_type().clone();
    let mut rows = rows.iter().filter(|batch| batch.num_rows() > 0);
    let (first, further) = (rows.next(), rows.next());
    let failed = |cause| crate::errors::failed(&cause);
    let value = match first {
        None => ScalarValue::try_from(&planned).map_err(failed)?,
        Some(batch) if batch.num_rows() == 1 && further.is_none() => {
            ScalarValue::try_from_array(batch.column(0), 0).map_err(failed)?
        }
        Some(_) => {
            return Err(Error::new(ErrorCode::SqlFailed, "a scalar subquery gave more than one row")
                .with_help("add an aggregate or LIMIT 1"));
        }
    };
    let value = if value.data_type() == planned { value } else { value.cast_to(&planned).map_err(failed)? };
    Ok((subquery, value))
}

/// Waits for the rows of a cut plan and runs its head over them.
fn rows_of(session: &Session, cut: &Cut, job: &mut Conversation) -> Result<Vec<RecordBatch>, Error> {
    let (stage, tasks) =
        cut.result().ok_or_else(|| Error::new(ErrorCode::Internal, "a plan has no stage"))?;
    let mut inputs = Vec::new();
    for value in job.results(stage, tasks)? {
        inputs.push(decode_stream(Buffer::from(Bytes::from_owner(Lent(value))), &cut.task_schema)?);
    }
    let Some(head) = &cut.head else { return Ok(inputs.into_iter().flatten().collect()) };
    if head.kind == ReadKind::Everything {
        inputs = vec![inputs.into_iter().flatten().collect()];
    }
    let source = ReadSource(Arc::new(Collected(inputs)));
    session.collect_here(head.plan.clone(), task_config().with_extension(Arc::new(source)))
}

struct Lent(Payload);

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Rows that are in the driver already.
struct Collected(Vec<Vec<RecordBatch>>);

impl BatchSource for Collected {
    fn open(&self, input: usize, schema: SchemaRef) -> DfResult<SendableRecordBatchStream> {
        let rows = self.0.get(input).ok_or_else(|| internal_datafusion_err!("there is no input {input}"))?;
        let rows = stream::iter(rows.clone().into_iter().map(Ok));
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
    }
}

/// One job, to which stages are added as long as something must be known first. A conversation that is
/// dropped before its end stops the job.
struct Conversation {
    runner: Arc<dyn JobRunner>,
    name: String,
    job: Option<JobId>,
    ended: bool,
    outputs: Vec<StageId>,
    values: BTreeMap<StageId, BTreeMap<u32, Payload>>,
}

impl Conversation {
    fn new(runner: Arc<dyn JobRunner>, name: String) -> Self {
        Self { runner, name, job: None, ended: false, outputs: Vec::new(), values: BTreeMap::new() }
    }

    /// Wants the results of these plans; with `more`, others will follow.
    fn ask(&mut self, cuts: &[Cut], more: bool) -> Result<(), Error> {
        let stages: Vec<StageSpec> = cuts.iter().flat_map(|cut| cut.stages.iter().cloned()).collect();
        let targets =
            cuts.iter().filter_map(|cut| cut.result()).map(|(stage, _)| Target::all(stage)).collect();
        let writes = |stage: &&StageSpec| matches!(stage.kind, StageKind::ShuffleMap { .. });
        self.outputs.extend(stages.iter().filter(writes).map(|stage| stage.id));
        match self.job {
            Some(job) => self.runner.extend(job, stages, targets, more),
            None => {
                let id = Ids::of_process().job();
                self.job = Some(id);
                let (name, group) = (self.name.clone(), String::new());
                self.runner.submit(JobSpec { id, name, stages, targets, open: more, group })
            }
        }
    }

    /// The values of a result stage, in the order of its tasks.
    fn results(&mut self, stage: StageId, tasks: usize) -> Result<Vec<Payload>, Error> {
        while self.values.get(&stage).map_or(0, BTreeMap::len) < tasks {
            if self.ended {
                return Err(Error::new(
                    ErrorCode::Internal,
                    format!("a job ended without results of {stage}"),
                ));
            }
            self.step()?;
        }
        Ok(self.values.remove(&stage).unwrap_or_default().into_values().collect())
    }

    fn step(&mut self) -> Result<(), Error> {
        let job = self.job.ok_or_else(|| Error::new(ErrorCode::Internal, "no job was submitted"))?;
        match self.runner.next_event(job)? {
            JobEvent::TaskResult { stage, partition, value, .. } => {
                let payload = match value {
                    ResultValue::Inline(payload) => payload,
                    ResultValue::Block { block, .. } => {
                        let payload = self.runner.fetch(&value)?;
                        self.runner.release_result(block);
                        payload
                    }
                };
                self.values.entry(stage).or_default().insert(partition, payload);
            }
            JobEvent::Finished => self.ended = true,
            JobEvent::Failed(error) => {
                self.ended = true;
                return Err(error);
            }
            JobEvent::StageFinished { .. } | JobEvent::Accumulated(_) | JobEvent::Progress(_) => {}
        }
        Ok(())
    }

    /// Waits for the end of a job that has given all that was wanted.
    fn end(mut self) -> Result<(), Error> {
        while !self.ended {
            self.step()?;
        }
        Ok(())
    }
}

impl Drop for Conversation {
    fn drop(&mut self) {
        if let Some(job) = self.job.filter(|_| !self.ended) {
            self.runner.cancel(job, "its query failed in the driver");
        }
        if !self.outputs.is_empty() {
            self.runner.release(std::mem::take(&mut self.outputs), Vec::new());
        }
    }
}
