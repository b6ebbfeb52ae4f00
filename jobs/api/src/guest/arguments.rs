//! The arguments of an entry point as values.

use firesteel_common::plugin::Args;
use firesteel_common::{Error, ErrorCode, Result};

/// The arguments of one call, by name.
pub struct Arguments(Args);

/// A type that an argument can have.
pub trait Argument: Sized {
    /// The value of a text.
    fn read(text: &str) -> Option<Self>;
}

macro_rules! arguments {
    ($($name:ty),*) => {$(
        impl Argument for $name {
            fn read(text: &str) -> Option<Self> {
                text.parse().ok()
            }
        }
    )*};
}
arguments!(String, i64, u64, f64, bool);

impl Arguments {
    /// Arguments that were checked against what the entry point declares.
    pub fn new(args: Args) -> Self {
        Self(args)
    }

    /// An argument that must be there.
    ///
    /// # Errors
    /// `BAD_ARGUMENT` if it is not, or is not of its type.
    pub fn required<T: Argument>(&self, name: &str) -> Result<T> {
        let missing = || Error::new(ErrorCode::BadArgument, format!("argument '{name}' is missing"));
        self.optional(name)?.ok_or_else(missing)
    }

    /// An argument that may be left out.
    ///
    /// # Errors
    /// `BAD_ARGUMENT` if it is not of its type.
    pub fn optional<T: Argument>(&self, name: &str) -> Result<Option<T>> {
        let Some(text) = self.0.get(name) else { return Ok(None) };
        let wrong =
            || Error::new(ErrorCode::BadArgument, format!("argument '{name}': '{text}' does not fit"));
        T::read(text).map(Some).ok_or_else(wrong)
    }
}
