//! A DataFusion session that plans for tasks: its tables, its settings, its statements.
//!
//! Not here: running anything that reads rows.

use crate::errors::{failed, invalid};
use crate::rules;
use datafusion::common::TableReference;
use datafusion::dataframe::DataFrame;
use datafusion::error::DataFusionError;
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::context::SQLOptions;
use datafusion::logical_expr::{DdlStatement, LogicalPlan};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::{ParquetReadOptions, SessionConfig, SessionContext};
use datafusion::sql::parser::{DFParser, Statement};
use firesteel_common::{Error, ErrorCode};
use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use tokio::runtime::Runtime;

/// Build sides that are estimated at fewer bytes are collected rather than partitioned.
const COLLECTED_BYTES: usize = 16 * 1024 * 1024;
/// As [`COLLECTED_BYTES`], where only rows can be estimated.
const COLLECTED_ROWS: usize = 1024 * 1024;

/// The settings that a plan and its tasks share.
pub(crate) fn task_config() -> SessionConfig {
    let mut config =
        SessionConfig::new().with_target_partitions(1).with_batch_size(crate::exchange::BATCH_ROWS);
    // Sibling partitions of a scan would share one queue of files: a task, which runs one of them, would read
    // all.
    config.options_mut().execution.enable_file_stream_work_stealing = false;
    config
}

/// The settings of planning for `partitions` partitions after an exchange.
fn plan_config(partitions: usize) -> SessionConfig {
    let mut config = task_config().with_target_partitions(partitions.max(1));
    let optimizer = &mut config.options_mut().optimizer;
    // A build side of this size is read by every task sooner than the other side is written and read again.
    optimizer.hash_join_single_partition_threshold = COLLECTED_BYTES;
    optimizer.hash_join_single_partition_threshold_rows = COLLECTED_ROWS;
    // The runtime balances tasks; a further exchange would only cost.
    optimizer.enable_round_robin_repartition = false;
    // A dynamic filter is filled in one process and waited for in another.
    optimizer.enable_dynamic_filter_pushdown = false;
    optimizer.enable_join_dynamic_filter_pushdown = false;
    optimizer.enable_topk_dynamic_filter_pushdown = false;
    optimizer.enable_aggregate_dynamic_filter_pushdown = false;
    // Those that `subquery` does not find become joins, never a value in a cell of one process.
    optimizer.enable_physical_uncorrelated_scalar_subquery = false;
    // An interleave asks its inputs for a hash partitioning, which the leaves of a stage do not claim.
    optimizer.prefer_existing_union = true;
    config
}

/// A session of a driver.
pub(crate) struct Session {
    runtime: Runtime,
    context: SessionContext,
    tables: Vec<String>,
}

impl Session {
    /// A session with these tables (name → Parquet file or directory) that plans for `partitions`
    /// partitions.
    ///
    /// # Errors
    /// `INPUT_NOT_READABLE` naming the path of a table that is not there or not Parquet.
    pub(crate) fn new(tables: &BTreeMap<String, String>, partitions: usize) -> Result<Self, Error> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("sql-driver")
            .enable_time()
            .build()
            .map_err(|cause| Error::io("starting the threads of a SQL session", &cause))?;
        let state = SessionStateBuilder::new()
            .with_config(plan_config(partitions))
            .with_default_features()
            .with_physical_optimizer_rules(rules::physical())
            .build();
        let mut session =
            Self { runtime, context: SessionContext::new_with_state(state), tables: Vec::new() };
        for (name, path) in tables {
            session.register(name, path)?;
        }
        Ok(session)
    }

    /// Waits for something asynchronous of DataFusion.
    pub(crate) fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    fn register(&mut self, name: &str, path: &str) -> Result<(), Error> {
        let (url, extension) = table_location(name, path)?;
        // Names in a text are folded to lower case unless they are quoted.
        let name = name.to_lowercase();
        let options = ParquetReadOptions::default().file_extension(&extension);
        let table = TableReference::bare(name.clone());
        self.block_on(self.context.register_parquet(table, url, options)).map_err(|cause| {
            let what = format!("table '{name}': {path}: {}", cause.strip_backtrace());
            Error::new(ErrorCode::InputNotReadable, what)
                .with_help("a table is a Parquet file or a directory of them")
        })?;
        self.tables.push(name);
        Ok(())
    }

    /// The statements of a text.
    pub(crate) fn statements(&self, text: &str) -> Result<VecDeque<Statement>, Error> {
        DFParser::parse_sql(text).map_err(|cause| invalid(&cause, &[]))
    }

    /// The logical plan of a statement, if this version can run it.
    pub(crate) fn logical(&self, statement: Statement) -> Result<LogicalPlan, Error> {
        let plan = self
            .block_on(self.context.state().statement_to_plan(statement))
            .map_err(|cause| self.invalid(&cause))?;
        let allowed = SQLOptions::new().with_allow_dml(false).with_allow_statements(false);
        allowed.verify_plan(&plan).map_err(|cause| unsupported_statement(&cause.strip_backtrace()))?;
        match &plan {
            LogicalPlan::Ddl(
                DdlStatement::CreateView(_) | DdlStatement::DropView(_) | DdlStatement::DropTable(_),
            ) => Ok(plan),
            LogicalPlan::Ddl(other) => Err(unsupported_statement(other.name())),
            _ => Ok(plan),
        }
    }

    /// Runs a statement that reads no rows: a definition, an `EXPLAIN`.
    pub(crate) fn execute_here(&mut self, plan: LogicalPlan) -> Result<DataFrame, Error> {
        if let LogicalPlan::Ddl(DdlStatement::CreateView(view)) = &plan {
            self.tables.push(view.name.table().to_owned());
        }
        self.block_on(self.context.execute_logical_plan(plan)).map_err(|cause| self.invalid(&cause))
    }

    /// The physical plan of a logical one.
    pub(crate) fn physical(&self, plan: &LogicalPlan) -> Result<Arc<dyn ExecutionPlan>, Error> {
        self.block_on(self.context.state().create_physical_plan(plan)).map_err(|cause| self.invalid(&cause))
    }

    /// The rows of a plan that runs in this process.
    pub(crate) fn collect_here(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        config: SessionConfig,
    ) -> Result<Vec<datafusion::arrow::array::RecordBatch>, Error> {
        let context = self.context.task_ctx();
        let context = datafusion::execution::TaskContext::new(
            None,
            context.session_id(),
            config,
            context.scalar_functions().clone(),
            context.higher_order_functions().clone(),
            context.aggregate_functions().clone(),
            context.window_functions().clone(),
            context.runtime_env(),
        );
        self.block_on(datafusion::physical_plan::collect(plan, Arc::new(context)))
            .map_err(|cause| failed(&cause))
    }

    fn invalid(&self, cause: &DataFusionError) -> Error {
        invalid(cause, &self.tables)
    }
}

fn unsupported_statement(what: &str) -> Error {
    Error::new(ErrorCode::Unsupported, format!("this statement is not supported: {what}"))
        .with_help("queries, CREATE VIEW, DROP VIEW and EXPLAIN are")
}

/// Where a table lies, as DataFusion wants to hear it, and how the names of its files end.
fn table_location(name: &str, path: &str) -> Result<(String, String), Error> {
    let path = path.strip_prefix("file://").unwrap_or(path);
    let unreadable =
        |what: &str| Error::new(ErrorCode::InputNotReadable, format!("table '{name}': {path}: {what}"));
    if path.contains("://") {
        return Err(Error::new(
            ErrorCode::Unsupported,
            format!("table '{name}': {path}: only local paths are read"),
        ));
    }
    let full = Path::new(path).canonicalize().map_err(|cause| unreadable(&cause.to_string()))?;
    let text = full.to_str().ok_or_else(|| unreadable("the path is not UTF-8"))?;
    if full.is_dir() {
        let files = full.read_dir().map_err(|cause| unreadable(&cause.to_string()))?;
        let parquet = |entry: std::fs::DirEntry| entry.path().extension().is_some_and(|end| end == "parquet");
        if !files.flatten().any(parquet) {
            return Err(unreadable("the directory holds no .parquet file"));
        }
        return Ok((format!("{text}/"), ".parquet".to_owned()));
    }
    let end = full.extension().and_then(|end| end.to_str()).map(|end| format!(".{end}"));
    Ok((text.to_owned(), end.unwrap_or_default()))
}
