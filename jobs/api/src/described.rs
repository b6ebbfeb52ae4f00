//! What a dataset is, in words: for people who look at a plan.

use crate::operator::Operator;
use crate::plan::{Parents, Shuffle};
use crate::rdd::Rdd;
use firesteel_common::Result;
use firesteel_common::block::StorageLevel;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::sync::Arc;

/// The operators of a chain by its type, the last one first.
pub(crate) fn operators<Op>() -> String {
    let names = std::any::type_name::<Op>().split(['<', '>', ',', ' ']).filter_map(|path| {
        let (_, path) = path.split_once("firesteel::ops::")?;
        path.rsplit("::").next()
    });
    names.collect::<Vec<_>>().join(" <- ")
}

impl<'s, Op: Operator<'s>> Rdd<'s, Op> {
    /// The same dataset with a name, for [`Rdd::to_debug_string`].
    pub fn set_name(&self, name: &str) -> Self {
        let mut named = self.clone();
        named.name = Some(name.into());
        named
    }

    /// The name that was given.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Where its partitions are kept; `None` if they are not.
    pub fn storage_level(&self) -> Option<StorageLevel> {
        self.op.storage_level()
    }

    /// How it is made, a line for each stage: its partitions, its operators (the last one first), and
    /// indented below it the shuffles that it reads.
    ///
    /// # Errors
    /// What its operators fail with.
    pub fn to_debug_string(&self) -> Result<String> {
        let mut text = format!("({}) {}", self.partitions()?, self.op.label());
        // Writing to a string cannot fail.
        if let Some(name) = &self.name {
            let _ = write!(text, " \"{name}\"");
        }
        if let Some(level) = self.storage_level() {
            let _ = write!(text, " {level:?}");
        }
        let mut parents = Parents::default();
        self.op.parents(&mut parents);
        // A list of what is to be written rather than a recursion: lineages of loops are long.
        let mut open: Vec<(usize, Arc<Shuffle<'s>>)> = Vec::new();
        let below = |depth, parents: Parents<'s>, open: &mut Vec<_>| {
            let mut shuffles = parents.into_shuffles();
            shuffles.reverse();
            open.extend(shuffles.into_iter().map(|shuffle| (depth, shuffle)));
        };
        below(1, parents, &mut open);
        let mut seen = BTreeSet::new();
        while let Some((depth, shuffle)) = open.pop() {
            let _ = write!(text, "\n{}+-({}) {}", "  ".repeat(depth), shuffle.reducers, shuffle.id);
            if !seen.insert(shuffle.id) {
                text.push_str(", as above");
                continue;
            }
            let _ = write!(text, " {}", shuffle.label());
            below(depth + 1, shuffle.read(), &mut open);
        }
        Ok(text)
    }
}
