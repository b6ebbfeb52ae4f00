//! Our rules among DataFusion's physical optimizer rules.
//!
//! Not here: cutting the plan that comes out.

use crate::cut::emits_build_rows;
use crate::place::{SMALL_SCAN, scanned_bytes};
use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::config::ConfigOptions;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfig, FileScanConfigBuilder};
use datafusion::datasource::source::DataSourceExec;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::joins::{HashJoinExec, PartitionMode};
use std::sync::Arc;

/// DataFusion's rules, with ours where joins have just got their modes and distributions are not yet
/// enforced.
pub(crate) fn physical() -> Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> {
    let mut rules = PhysicalOptimizer::new().rules;
    let after = rules.iter().position(|rule| rule.name() == "join_selection").map_or(0, |at| at + 1);
    rules.insert(after, Arc::new(SmallScans));
    rules.insert(after, Arc::new(PartitionedBuildSides));
    rules
}

/// Reads the files of a small table as one partition: a task for each of them would cost more than it saves.
#[derive(Debug)]
struct SmallScans;

impl PhysicalOptimizerRule for SmallScans {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        let merged = plan.transform_up(|node| {
            let scan = node.downcast_ref::<DataSourceExec>();
            let files = scan.and_then(|scan| scan.data_source().downcast_ref::<FileScanConfig>());
            Ok(match files {
                Some(files) if small(files) => {
                    Transformed::yes(DataSourceExec::from_data_source(one_group(files)))
                }
                _ => Transformed::no(node),
            })
        })?;
        Ok(merged.data)
    }

    fn name(&self) -> &str {
        "small_scans"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

fn small(files: &FileScanConfig) -> bool {
    let free =
        files.output_partitioning.is_none() && files.output_ordering.is_empty() && !files.preserve_order;
    free && files.file_groups.len() > 1 && scanned_bytes(files) <= SMALL_SCAN
}

fn one_group(files: &FileScanConfig) -> FileScanConfig {
    let all = files.file_groups.iter().flat_map(|group| group.iter().cloned()).collect();
    FileScanConfigBuilder::from(files.clone()).with_file_groups(vec![FileGroup::new(all)]).build()
}

/// Joins that collect their left side and emit rows of it at their end count finished partitions within one
/// process. As partitioned joins they have nothing to count.
#[derive(Debug)]
struct PartitionedBuildSides;

impl PhysicalOptimizerRule for PartitionedBuildSides {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if config.execution.target_partitions == 1 {
            return Ok(plan);
        }
        let demoted = plan.transform_up(|node| {
            let Some(join) = node.downcast_ref::<HashJoinExec>() else { return Ok(Transformed::no(node)) };
            let collects = *join.partition_mode() == PartitionMode::CollectLeft;
            // A null-aware anti join must see the whole probe side: it keeps its mode, and runs as one task.
            if !collects || !emits_build_rows(*join.join_type()) || join.null_aware || join.on().is_empty() {
                return Ok(Transformed::no(node));
            }
            let builder =
                join.builder().with_partition_mode(PartitionMode::Partitioned).recompute_properties();
            Ok(Transformed::yes(builder.build_exec()?))
        })?;
        Ok(demoted.data)
    }

    fn name(&self) -> &str {
        "partitioned_build_sides"
    }

    fn schema_check(&self) -> bool {
        true
    }
}
