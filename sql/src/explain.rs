//! Stages as a text that people read and tests compare.
//!
//! Not here: DataFusion's own `EXPLAIN`.

use crate::codec;
use crate::exchange::ShuffleReadExec;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::physical_plan::{ExecutionPlan, displayable};
use datafusion::prelude::SessionContext;
use firesteel_common::Error;
use firesteel_common::graph::{ReadPattern, StageKind, StageSpec};
use firesteel_common::id::StageId;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

/// The SQL stages of a job, numbered from 0 in their order, with their inputs and plans.
///
/// # Errors
/// `CODEC` if a stage is none of SQL's.
pub fn stages_text(stages: &[StageSpec]) -> Result<String, Error> {
    let context = SessionContext::new().task_ctx();
    let numbers: BTreeMap<StageId, u32> = stages.iter().map(|stage| stage.id).zip(0..).collect();
    let number = |id: StageId| numbers.get(&id).copied().unwrap_or(id.0);
    let mut text = String::new();
    for stage in stages {
        let kind = match stage.kind {
            StageKind::ShuffleMap { reducers } => format!("map output for {reducers} reducers"),
            StageKind::Result => "result".to_owned(),
        };
        let _ = writeln!(text, "stage {}: {} tasks, {kind}", number(stage.id), stage.tasks.len());
        for (index, input) in stage.inputs.iter().enumerate() {
            let read = match &input.read {
                ReadPattern::SameIndex => "same index".to_owned(),
                ReadPattern::Everything => "everything".to_owned(),
                ReadPattern::PerTask(tasks) => {
                    let range = |reads: &firesteel_common::graph::ReadRange| {
                        let maps = match reads.maps.end {
                            u32::MAX => "all maps".to_owned(),
                            end => format!("maps {}..{end}", reads.maps.start),
                        };
                        format!("reducers {}..{} of {maps}", reads.reducers.start, reads.reducers.end)
                    };
                    let reads = |reads: &Vec<_>| reads.iter().map(range).collect::<Vec<_>>().join(" + ");
                    format!("by task [{}]", tasks.iter().map(reads).collect::<Vec<_>>().join("; "))
                }
            };
            let _ = writeln!(text, "  input {index}: stage {}, {read}", number(input.stage));
        }
        let plan = codec::instance(&codec::parse(&stage.payload)?, &context)?;
        let plan = renumbered(plan, &number)?;
        for line in displayable(plan.as_ref()).indent(false).to_string().lines() {
            let _ = writeln!(text, "  {line}");
        }
    }
    Ok(text)
}

fn renumbered(
    plan: Arc<dyn ExecutionPlan>,
    number: &dyn Fn(StageId) -> u32,
) -> Result<Arc<dyn ExecutionPlan>, Error> {
    let plan = plan.transform_up(|node| {
        Ok(match node.downcast_ref::<ShuffleReadExec>() {
            Some(read) => Transformed::yes(Arc::new(read.of_stage(StageId(number(read.stage()))))),
            None => Transformed::no(node),
        })
    });
    plan.map(|plan| plan.data).map_err(|cause| crate::errors::failed(&cause))
}
