//! Cuts a physical plan into stages at its exchanges.
//!
//! The rules (each of them guards an answer that would be wrong, silently):
//! - A hash repartition, and a collapse of several partitions into one, is where a stage ends.
//! - A join that collects its left side reads it whole in every task. If it is of a kind that also emits rows
//!   of the left side, it would emit them once for each task, or never: such a join runs as one task (see
//!   also [`crate::session`], which asks for partitioned joins where it can).
//! - Round-robin repartitions are dropped: tasks are balanced by the runtime.
//! - What would change the number of partitions in any other way is refused by [`crate::place`].
//!
//! Not here: what runs in the driver after the last stage's tasks but its choice ([`Head`]).

use crate::codec;
use crate::errors::failed;
use crate::exchange::{ReadKind, ShuffleReadExec};
use crate::ids::Ids;
use crate::place;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::JoinType;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::joins::{HashJoinExec, NestedLoopJoinExec, PartitionMode};
use datafusion::physical_plan::limit::{GlobalLimitExec, LocalLimitExec};
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::recursive_query::RecursiveQueryExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::scalar_subquery::ScalarSubqueryExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, ExecutionPlan, ExecutionPlanProperties, Partitioning, ReplaceChildrenOptions,
};
use firesteel_common::graph::{OutputOrder, StageKind, StageSpec, TaskCode, TaskSpec};
use firesteel_common::id::StageId;
use firesteel_common::{Error, ErrorCode};
use std::sync::Arc;

/// A plan as stages.
pub(crate) struct Cut {
    /// The stages, parents first; the last one is the result stage.
    pub(crate) stages: Vec<StageSpec>,
    /// What the driver does with the rows of the result stage; without it they follow each other as they are.
    pub(crate) head: Option<Head>,
    /// The schema of the result stage's rows.
    pub(crate) task_schema: SchemaRef,
    /// The schema of the query's rows.
    pub(crate) schema: SchemaRef,
}

impl Cut {
    /// The result stage and how many tasks it has.
    pub(crate) fn result(&self) -> Option<(StageId, usize)> {
        self.stages.last().map(|stage| (stage.id, stage.tasks.len()))
    }
}

/// The top of a plan: a final merge, a limit, a projection, the last step of an aggregation without groups.
/// It sees hardly more rows than the query has, so the driver runs it and no further task is waited for.
pub(crate) struct Head {
    /// Operators over one [`ShuffleReadExec`].
    pub(crate) plan: Arc<dyn ExecutionPlan>,
    /// How that one reads the tasks' rows.
    pub(crate) kind: ReadKind,
}

/// Cuts a plan.
///
/// # Errors
/// `UNSUPPORTED` for an operator that cannot run as tasks.
pub(crate) fn cut(plan: &Arc<dyn ExecutionPlan>, ids: &Ids) -> Result<Cut, Error> {
    let mut cutter = Cutter { ids, stages: Vec::new() };
    let schema = plan.schema();
    match cutter.head(plan)? {
        Some((head, task_schema)) => Ok(Cut { stages: cutter.stages, head: Some(head), task_schema, schema }),
        None => {
            let root = cutter.cut(plan)?;
            let task_schema = root.schema();
            cutter.stage(root, StageKind::Result)?;
            Ok(Cut { stages: cutter.stages, head: None, task_schema, schema })
        }
    }
}

struct Cutter<'a> {
    ids: &'a Ids,
    stages: Vec<StageSpec>,
}

impl Cutter<'_> {
    /// The part of the plan that the driver runs, if there is one; the stages under it are made.
    fn head(&mut self, plan: &Arc<dyn ExecutionPlan>) -> Result<Option<(Head, SchemaRef)>, Error> {
        let children = plan.children();
        let [child] = children.as_slice() else { return Ok(None) };
        let child: &Arc<dyn ExecutionPlan> = child;
        if collapses(plan) && partitions(child) > 1 {
            let child = self.cut(child)?;
            let child = limited(plan, child);
            let (ordering, tasks, schema) =
                (child.output_ordering().cloned(), partitions(&child), child.schema());
            let stage = self.stage(child, StageKind::Result)?;
            let (plan, kind) = collapsed(plan, stage, tasks, schema.clone(), ordering)?;
            return Ok(Some((Head { plan, kind }, schema)));
        }
        if !runs_in_driver(plan) {
            return Ok(None);
        }
        let Some((head, schema)) = self.head(child)? else { return Ok(None) };
        Ok(Some((Head { plan: with_children(plan, vec![head.plan])?, kind: head.kind }, schema)))
    }

    /// The plan with everything below its exchanges made into stages.
    fn cut(&mut self, plan: &Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>, Error> {
        refuse(plan)?;
        let plan = one_probe(plan)?;
        let mut children = Vec::new();
        for child in plan.children() {
            children.push(self.cut(child)?);
        }
        if children.is_empty() {
            return Ok(plan);
        }
        if let Some(exchange) = plan.downcast_ref::<RepartitionExec>() {
            return self.repartition(exchange, children.remove(0));
        }
        if collapses(&plan) && partitions(&children[0]) > 1 {
            let child = limited(&plan, children.remove(0));
            let (ordering, tasks, schema) =
                (child.output_ordering().cloned(), partitions(&child), child.schema());
            let stage = self.stage(child, StageKind::ShuffleMap { reducers: 1 })?;
            return Ok(collapsed(&plan, stage, tasks, schema, ordering)?.0);
        }
        if place::collects_left(&plan) && partitions(&plan) > 1 && !place::cheap(&children[0]) {
            let build = children[0].clone();
            let (ordering, schema) = (build.output_ordering().cloned(), build.schema());
            let stage = self.stage(build, StageKind::ShuffleMap { reducers: 1 })?;
            children[0] = Arc::new(ShuffleReadExec::new(stage, ReadKind::Everything, schema, 1, ordering));
        }
        with_children(&plan, children)
    }

    fn repartition(
        &mut self,
        exchange: &RepartitionExec,
        child: Arc<dyn ExecutionPlan>,
    ) -> Result<Arc<dyn ExecutionPlan>, Error> {
        let reducers = match exchange.partitioning() {
            Partitioning::Hash(_, reducers) => *reducers,
            Partitioning::Range(range) => range.partition_count(),
            _ => return Ok(child),
        };
        let (schema, one_map) = (child.schema(), partitions(&child) == 1);
        let ordering = child.output_ordering().cloned();
        let root = RepartitionExec::try_new(child, exchange.partitioning().clone());
        let root = Arc::new(root.map_err(|cause| failed(&cause))?);
        let count = u32::try_from(reducers).map_err(|_| unsupported("so many partitions"))?;
        let stage = self.stage(root, StageKind::ShuffleMap { reducers: count })?;
        // The rows of one map task keep their order; those of several follow each other in the order of the
        // maps.
        let kept = ordering.clone().filter(|_| one_map);
        let read = Arc::new(ShuffleReadExec::new(stage, ReadKind::Reducer, schema, reducers, kept));
        match ordering {
            Some(ordering) if exchange.preserve_order() && !one_map => {
                Ok(Arc::new(SortExec::new(ordering, read).with_preserve_partitioning(true)))
            }
            _ => Ok(read),
        }
    }

    /// Makes a stage of a plan that holds no exchange any more but at its root.
    fn stage(&mut self, root: Arc<dyn ExecutionPlan>, kind: StageKind) -> Result<StageId, Error> {
        let tasks = match root.downcast_ref::<RepartitionExec>() {
            Some(exchange) => partitions(exchange.input()),
            None => partitions(&root),
        };
        let (root, inputs) = place::inputs(root, tasks)?;
        let id = self.ids.stage();
        self.stages.push(StageSpec {
            id,
            name: stage_name(&root),
            kind,
            code: TaskCode::Sql,
            payload: codec::encode(root)?,
            tasks: vec![TaskSpec::default(); tasks],
            inputs,
            order: OutputOrder::Unordered,
        });
        Ok(id)
    }
}

/// How many partitions a plan has.
pub(crate) fn partitions(plan: &Arc<dyn ExecutionPlan>) -> usize {
    plan.output_partitioning().partition_count()
}

/// An operator with other children.
pub(crate) fn with_children(
    plan: &Arc<dyn ExecutionPlan>,
    children: Vec<Arc<dyn ExecutionPlan>>,
) -> Result<Arc<dyn ExecutionPlan>, Error> {
    let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
    plan.clone().replace_children(children, options).map_err(|cause| failed(&cause))
}

/// Whether an operator makes one partition of many.
pub(crate) fn collapses(plan: &Arc<dyn ExecutionPlan>) -> bool {
    plan.is::<CoalescePartitionsExec>() || plan.is::<SortPreservingMergeExec>()
}

/// The collapse of a stage that has `tasks` tasks: a merge of sorted runs, or one after the other.
fn collapsed(
    plan: &Arc<dyn ExecutionPlan>,
    stage: StageId,
    tasks: usize,
    schema: SchemaRef,
    ordering: Option<datafusion::physical_expr::LexOrdering>,
) -> Result<(Arc<dyn ExecutionPlan>, ReadKind), Error> {
    if plan.is::<SortPreservingMergeExec>() {
        let read = ShuffleReadExec::new(stage, ReadKind::Runs, schema, tasks, ordering);
        return Ok((with_children(plan, vec![Arc::new(read)])?, ReadKind::Runs));
    }
    let read = Arc::new(ShuffleReadExec::new(stage, ReadKind::Everything, schema, 1, None));
    Ok(match plan.fetch() {
        Some(fetch) => (Arc::new(GlobalLimitExec::new(read, 0, Some(fetch))), ReadKind::Everything),
        None => (read, ReadKind::Everything),
    })
}

/// The child of a collapse that wants only the first rows gives no more of them in any task.
fn limited(plan: &Arc<dyn ExecutionPlan>, child: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
    match plan.fetch() {
        Some(fetch) if child.fetch().is_none_or(|own| own > fetch) => {
            Arc::new(LocalLimitExec::new(child, fetch))
        }
        _ => child,
    }
}

fn runs_in_driver(plan: &Arc<dyn ExecutionPlan>) -> bool {
    if let Some(aggregate) = plan.downcast_ref::<AggregateExec>() {
        return *aggregate.mode() == AggregateMode::Final && aggregate.group_expr().is_empty();
    }
    plan.is::<ProjectionExec>()
        || plan.is::<GlobalLimitExec>()
        || plan.is::<LocalLimitExec>()
        || collapses(plan)
}

/// Whether a join of this type, when it collects its left side, gives rows of that side at its end.
pub(crate) fn emits_build_rows(join: JoinType) -> bool {
    matches!(
        join,
        JoinType::Left | JoinType::Full | JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark
    )
}

/// Gives a join that collects its left side and emits rows of it one single partition to probe with.
fn one_probe(plan: &Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>, Error> {
    let emits = if let Some(join) = plan.downcast_ref::<HashJoinExec>() {
        *join.partition_mode() == PartitionMode::CollectLeft && emits_build_rows(*join.join_type())
    } else if let Some(join) = plan.downcast_ref::<NestedLoopJoinExec>() {
        emits_build_rows(*join.join_type())
    } else {
        false
    };
    let children: Vec<_> = plan.children().into_iter().cloned().collect();
    match children.as_slice() {
        [left, right] if emits && partitions(right) > 1 => {
            let probe = Arc::new(CoalescePartitionsExec::new(right.clone()));
            with_children(plan, vec![left.clone(), probe])
        }
        _ => Ok(plan.clone()),
    }
}

/// Operators whose parts talk with each other within a process.
fn refuse(plan: &Arc<dyn ExecutionPlan>) -> Result<(), Error> {
    if plan.is::<RecursiveQueryExec>() {
        return Err(unsupported("a recursive query"));
    }
    if plan.is::<ScalarSubqueryExec>() {
        return Err(unsupported("a scalar subquery in this place"));
    }
    if plan.downcast_ref::<HashJoinExec>().is_some_and(|join| *join.partition_mode() == PartitionMode::Auto) {
        return Err(unsupported("a join without a mode"));
    }
    Ok(())
}

pub(crate) fn unsupported(what: &str) -> Error {
    Error::new(ErrorCode::Unsupported, format!("{what} cannot run as tasks"))
        .with_help("write the query in another way")
}

/// What pages call a stage: its operators from the top to the first leaf, without those that say little.
fn stage_name(root: &Arc<dyn ExecutionPlan>) -> String {
    let mut names = Vec::new();
    let mut at = root;
    loop {
        let name = at.name().trim_end_matches("Exec");
        if !matches!(name, "Repartition" | "Projection" | "Cooperative" | "CoalesceBatches") {
            names.push(name.to_owned());
        }
        match at.children().last() {
            Some(child) => at = child,
            None => break,
        }
    }
    names.truncate(4);
    names.join(" ← ")
}
