//! The jobs that `scripts/bench rdd` measures, beside the word count of `jobs/wordcount`: sorting, joining,
//! grouping, PageRank, k-means and logistic regression over files; and those of `scripts/bench memory`, which
//! make their records. They are written as a user would write them who wants them fast; each answers what
//! tells a right run from a wrong one.
//!
//! What is *not* here: anything that only a benchmark could do.

mod graph;
mod large;
mod pairs;
mod points;
mod records;

pub use graph::pagerank;
pub use large::large;
pub use pairs::{group, join};
pub use points::{kmeans, logistic, logistic_text};
pub use records::sort;
