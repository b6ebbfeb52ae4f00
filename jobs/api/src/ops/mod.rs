//! The operators: sources, narrow transformations, readers of shuffles, and chains whose type is forgotten.

pub mod cogroup;
pub mod erased;
pub mod keyed;
pub mod narrow;
pub mod shape;
pub mod shuffled;
pub mod source;
pub mod text;

/// Which of two an operator's partition comes from.
#[derive(serde::Serialize, serde::Deserialize)]
pub enum Either<A, B> {
    /// The first.
    First(A),
    /// The second.
    Second(B),
}
