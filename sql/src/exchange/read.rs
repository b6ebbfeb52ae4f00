//! The leaf of a stage's plan that reads another stage's rows.
//!
//! Not here: how rows are decoded (`batches`), and which segments a task is given (`place`, and the runtime).

use super::batches::BatchSource;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, internal_datafusion_err, internal_err};
use datafusion::execution::TaskContext;
use datafusion::physical_expr::{EquivalenceProperties, LexOrdering, Partitioning, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType, SchedulingType};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, SendableRecordBatchStream,
};
use firesteel_common::id::StageId;
use std::fmt;
use std::sync::Arc;

/// How the partitions of a [`ShuffleReadExec`] map to the segments of the stage that it reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReadKind {
    /// Partition `p` is what all map tasks wrote for reducer `p`.
    Reducer,
    /// The one partition is everything, in the order of the map tasks.
    Everything,
    /// Partition `m` is what map task `m` wrote: sorted runs, to be merged.
    Runs,
}

/// What a task's plan reads from. It travels as an extension of the task's session configuration.
pub(crate) struct ReadSource(pub(crate) Arc<dyn BatchSource>);

/// Reads the rows that another stage wrote.
#[derive(Clone, Debug)]
pub(crate) struct ShuffleReadExec {
    stage: StageId,
    kind: ReadKind,
    first_input: u32,
    properties: Arc<PlanProperties>,
}

impl ShuffleReadExec {
    /// A leaf of `partitions` partitions. Its input is given by [`Self::at_input`] once its stage is whole.
    pub(crate) fn new(
        stage: StageId,
        kind: ReadKind,
        schema: SchemaRef,
        partitions: usize,
        ordering: Option<LexOrdering>,
    ) -> Self {
        let mut equivalence = EquivalenceProperties::new(schema);
        if let Some(ordering) = ordering {
            equivalence.add_ordering(ordering);
        }
        let properties = PlanProperties::new(
            equivalence,
            Partitioning::UnknownPartitioning(partitions),
            EmissionType::Incremental,
            Boundedness::Bounded,
        )
        .with_scheduling_type(SchedulingType::Cooperative);
        Self { stage, kind, first_input: 0, properties: Arc::new(properties) }
    }

    /// The same leaf, which reads the stage's inputs from `first_input` on.
    pub(crate) fn at_input(&self, first_input: u32) -> Self {
        Self { first_input, ..self.clone() }
    }

    /// The same leaf under another number of its stage.
    pub(crate) fn of_stage(&self, stage: StageId) -> Self {
        Self { stage, ..self.clone() }
    }

    /// The stage whose rows it reads.
    pub(crate) fn stage(&self) -> StageId {
        self.stage
    }

    /// How its partitions map to segments.
    pub(crate) fn kind(&self) -> ReadKind {
        self.kind
    }

    /// The first of the inputs that it reads.
    pub(crate) fn first_input(&self) -> u32 {
        self.first_input
    }

    /// How many partitions it has.
    pub(crate) fn partitions(&self) -> usize {
        self.properties.partitioning.partition_count()
    }

    fn input_of(&self, partition: usize) -> Result<usize> {
        if partition >= self.partitions() {
            return internal_err!("{} has no partition {partition}", self.stage);
        }
        Ok(match self.kind {
            ReadKind::Reducer | ReadKind::Everything => self.first_input as usize,
            ReadKind::Runs => self.first_input as usize + partition,
        })
    }
}

impl DisplayAs for ShuffleReadExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            ReadKind::Reducer => "reducer",
            ReadKind::Everything => "everything",
            ReadKind::Runs => "runs",
        };
        write!(f, "ShuffleReadExec: {}, {kind}, partitions={}", self.stage, self.partitions())
    }
}

impl ExecutionPlan for ShuffleReadExec {
    fn name(&self) -> &'static str {
        "ShuffleReadExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if children.is_empty() { Ok(self) } else { internal_err!("a shuffle read is a leaf") }
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let input = self.input_of(partition)?;
        let source = context
            .session_config()
            .get_extension::<ReadSource>()
            .ok_or_else(|| internal_datafusion_err!("a shuffle read runs outside of a task"))?;
        source.0.open(input, self.schema())
    }
}
