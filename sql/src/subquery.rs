//! Uncorrelated scalar subqueries: found in a logical plan, and replaced by their values.
//!
//! DataFusion would keep their values in a cell of one process, which no task of another process can see. So
//! they run as jobs of their own first, the innermost ones before those that hold them, and the waiting plan
//! gets literals, which its scans may even prune with.
//!
//! Not here: running them.

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{Expr, LogicalPlan, Subquery};

/// A subquery and its value.
pub(crate) type Known = (Subquery, ScalarValue);

/// The uncorrelated scalar subqueries of a plan that hold no further ones; equal ones once.
pub(crate) fn innermost(plan: &LogicalPlan) -> Result<Vec<Subquery>> {
    let mut found: Vec<Subquery> = Vec::new();
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                if let Some(subquery) = uncorrelated(expr)
                    && !found.contains(subquery)
                    && innermost(&subquery.subquery)?.is_empty()
                {
                    found.push(subquery.clone());
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(found)
}

/// The plan with these subqueries replaced by their values.
pub(crate) fn substitute(plan: LogicalPlan, known: &[Known]) -> Result<LogicalPlan> {
    let replaced = plan.transform_up_with_subqueries(|node| {
        let names = NamePreserver::new(&node);
        let node = node.map_expressions(|expr| {
            let name = names.save(&expr);
            let expr = expr.transform_up(|expr| {
                let value = uncorrelated(&expr).and_then(|subquery| value_of(subquery, known));
                Ok(match value {
                    Some(value) => Transformed::yes(Expr::Literal(value, None)),
                    None => Transformed::no(expr),
                })
            })?;
            Ok(if expr.transformed { expr.update_data(|expr| name.restore(expr)) } else { expr })
        })?;
        // A literal is not nullable where its subquery was: schemas above it may change.
        Ok(Transformed::yes(node.data.recompute_schema()?))
    })?;
    Ok(replaced.data)
}

fn uncorrelated(expr: &Expr) -> Option<&Subquery> {
    match expr {
        Expr::ScalarSubquery(subquery) if subquery.outer_ref_columns.is_empty() => Some(subquery),
        _ => None,
    }
}

fn value_of(subquery: &Subquery, known: &[Known]) -> Option<ScalarValue> {
    known.iter().find(|(candidate, _)| candidate == subquery).map(|(_, value)| value.clone())
}
