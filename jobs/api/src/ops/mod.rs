//! The operators: sources, narrow transformations, readers of shuffles, and chains whose type is forgotten.

pub mod binary;
pub mod cached;
pub mod checkpoint;
pub mod chosen;
pub mod cogroup;
pub mod erased;
pub mod excerpts;
pub mod folded;
pub mod indexed;
pub mod keyed;
pub mod narrow;
pub mod parts;
pub mod pipe;
pub mod product;
pub mod shape;
pub mod shuffled;
pub mod slices;
pub mod source;
pub mod strata;
pub mod text;

/// Which of two an operator's partition comes from.
#[derive(serde::Serialize, serde::Deserialize)]
pub enum Either<A, B> {
    /// The first.
    First(A),
    /// The second.
    Second(B),
}
