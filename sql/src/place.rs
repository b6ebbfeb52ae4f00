//! Which segments the tasks of a stage read: follows each task's partition from the root of the stage's plan
//! down to the leaves that read other stages.
//!
//! Not here: where a plan is cut.

use crate::cut::{collapses, partitions, unsupported, with_children};
use crate::exchange::{ReadKind, ShuffleReadExec};
use datafusion::datasource::physical_plan::FileScanConfig;
use datafusion::datasource::source::DataSourceExec;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::joins::{CrossJoinExec, HashJoinExec, NestedLoopJoinExec, PartitionMode};
use datafusion::physical_plan::placeholder_row::PlaceholderRowExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::union::UnionExec;
use firesteel_common::Error;
use firesteel_common::graph::{ReadPattern, ReadRange, StageInput};
use std::ops::Range;
use std::sync::Arc;

/// Files of up to this many bytes are one partition, and are read again by every task that collects them
/// rather than by a stage of their own.
pub(crate) const SMALL_SCAN: u64 = 1024 * 1024;

/// Which partitions of an operator a task runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Runs {
    None,
    One(usize),
    All,
}

/// Gives each leaf of a stage's plan that reads another stage its inputs.
///
/// # Errors
/// `UNSUPPORTED` for an operator that changes the number of partitions in a way that is not known here.
pub(crate) fn inputs(
    root: Arc<dyn ExecutionPlan>,
    tasks: usize,
) -> Result<(Arc<dyn ExecutionPlan>, Vec<StageInput>), Error> {
    let mut inputs = Vec::new();
    let own: Vec<Runs> = (0..tasks).map(Runs::One).collect();
    let root = place(&root, &own, &mut inputs)?;
    Ok((root, inputs))
}

fn place(
    plan: &Arc<dyn ExecutionPlan>,
    tasks: &[Runs],
    inputs: &mut Vec<StageInput>,
) -> Result<Arc<dyn ExecutionPlan>, Error> {
    if let Some(read) = plan.downcast_ref::<ShuffleReadExec>() {
        let first = u32::try_from(inputs.len()).map_err(|_| unsupported("so many inputs"))?;
        inputs.extend(reads(read, tasks));
        return Ok(Arc::new(read.at_input(first)));
    }
    let mut children = Vec::new();
    let mut before = 0;
    for (index, child) in plan.children().into_iter().enumerate() {
        let below = below(plan, index, child, before, tasks)?;
        before += partitions(child);
        children.push(place(child, &below, inputs)?);
    }
    if children.is_empty() { Ok(plan.clone()) } else { with_children(plan, children) }
}

/// Which partitions of its child number `index` the tasks run that run `tasks` of an operator.
fn below(
    plan: &Arc<dyn ExecutionPlan>,
    index: usize,
    child: &Arc<dyn ExecutionPlan>,
    before: usize,
    tasks: &[Runs],
) -> Result<Vec<Runs>, Error> {
    let count = partitions(child);
    let whole = if count == 1 { Runs::One(0) } else { Runs::All };
    let map = |f: &dyn Fn(usize) -> Runs| {
        tasks.iter().map(|runs| if let Runs::One(own) = runs { f(*own) } else { *runs }).collect()
    };
    if plan.is::<UnionExec>() {
        let own = |own: usize| match own.checked_sub(before) {
            Some(own) if own < count => Runs::One(own),
            _ => Runs::None,
        };
        return Ok(map(&own));
    }
    if collapses(plan) || (index == 0 && collects_left(plan)) {
        let any = |runs: &Runs| if *runs == Runs::None { Runs::None } else { whole };
        return Ok(tasks.iter().map(any).collect());
    }
    // A stage's root may repartition: its tasks run the partitions below, and split what these give.
    if plan.is::<RepartitionExec>() || count == partitions(plan) {
        return Ok(tasks.to_vec());
    }
    Err(unsupported(&format!("{} over {count} partitions", plan.name())))
}

fn reads(read: &ShuffleReadExec, tasks: &[Runs]) -> Vec<StageInput> {
    let all = u32::try_from(read.partitions()).unwrap_or(u32::MAX);
    let input = |read_pattern| StageInput { stage: read.stage(), read: read_pattern, unless_cached: None };
    match read.kind() {
        ReadKind::Reducer => {
            let own = tasks.iter().enumerate().all(|(task, runs)| *runs == Runs::One(task));
            if own && tasks.len() == read.partitions() {
                return vec![input(ReadPattern::SameIndex)];
            }
            let of = |runs: &Runs| match runs {
                Runs::None => Vec::new(),
                Runs::One(reducer) => vec![range(one(*reducer), 0..u32::MAX)],
                Runs::All => vec![range(0..all, 0..u32::MAX)],
            };
            vec![input(ReadPattern::PerTask(tasks.iter().map(of).collect()))]
        }
        ReadKind::Everything => {
            if tasks.iter().all(|runs| *runs != Runs::None) {
                return vec![input(ReadPattern::Everything)];
            }
            let of = |runs: &Runs| match runs {
                Runs::None => Vec::new(),
                _ => vec![range(0..1, 0..u32::MAX)],
            };
            vec![input(ReadPattern::PerTask(tasks.iter().map(of).collect()))]
        }
        ReadKind::Runs => (0..read.partitions())
            .map(|run| {
                let of = |runs: &Runs| match runs {
                    Runs::One(own) if *own != run => Vec::new(),
                    Runs::None => Vec::new(),
                    _ => vec![range(0..1, one(run))],
                };
                input(ReadPattern::PerTask(tasks.iter().map(of).collect()))
            })
            .collect(),
    }
}

fn range(reducers: Range<u32>, maps: Range<u32>) -> ReadRange {
    ReadRange { reducers, maps }
}

fn one(index: usize) -> Range<u32> {
    let index = u32::try_from(index).unwrap_or(u32::MAX - 1);
    index..index + 1
}

/// Whether each partition of a join reads the one partition of its left side.
pub(crate) fn collects_left(plan: &Arc<dyn ExecutionPlan>) -> bool {
    match plan.downcast_ref::<HashJoinExec>() {
        Some(join) => *join.partition_mode() == PartitionMode::CollectLeft,
        None => plan.is::<NestedLoopJoinExec>() || plan.is::<CrossJoinExec>(),
    }
}

/// Whether every task may as well compute this by itself.
pub(crate) fn cheap(plan: &Arc<dyn ExecutionPlan>) -> bool {
    if plan.is::<FilterExec>() || plan.is::<ProjectionExec>() || plan.is::<CooperativeExec>() {
        return plan.children().into_iter().all(cheap);
    }
    if let Some(scan) = plan.downcast_ref::<DataSourceExec>() {
        return match scan.data_source().downcast_ref::<FileScanConfig>() {
            Some(files) => scanned_bytes(files) <= SMALL_SCAN,
            None => true,
        };
    }
    plan.is::<ShuffleReadExec>() || plan.is::<EmptyExec>() || plan.is::<PlaceholderRowExec>()
}

/// Bytes of the files of a scan.
pub(crate) fn scanned_bytes(files: &FileScanConfig) -> u64 {
    let files = files.file_groups.iter().flat_map(|group| group.iter());
    files.map(|file| file.object_meta.size).sum()
}
