//! Every id is a type of its own, with a name that is printed and parses back. In JSON ids are plain numbers.

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

macro_rules! number_id {
    ($(#[$doc:meta])* $name:ident($inner:ty), $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "-{}"), self.0)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;
            /// As it is printed, or the number alone, as it stands in JSON.
            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                plain_number(text.strip_prefix(concat!($prefix, "-")).unwrap_or(text))
                    .map($name)
                    .ok_or_else(|| ParseIdError { text: text.to_owned(), form: concat!($prefix, "-N") })
            }
        }
    };
}

/// A number as it is printed: digits, without the sign that `parse` would take.
pub(crate) fn plain_number<T: FromStr>(text: &str) -> Option<T> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// A text that was to be an id, and is not one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not an id of the form {form}")]
pub struct ParseIdError {
    text: String,
    form: &'static str,
}

number_id!(
    /// An application: one submission of an entry point with its arguments.
    AppId(u64), "app"
);
number_id!(
    /// What one action (`collect`, a query) asks for; counted by the driver, unique in its application
    /// attempt.
    JobId(u32), "job"
);
number_id!(
    /// Tasks between two shuffle boundaries; counted by the driver, unique in its application attempt.
    /// The output of a shuffle map stage is named by the stage that writes it.
    StageId(u32), "stage"
);
number_id!(
    /// A dataset whose partitions are kept (`cache`); counted by the driver, unique in its application
    /// attempt.
    DatasetId(u32), "dataset"
);
number_id!(
    /// A worker as the master knows it; given at its first registration and kept over reconnections of one
    /// process.
    WorkerId(u64), "worker"
);
number_id!(
    /// How often the master has started on this journal. It fences what an older master has sent.
    Epoch(u64), "epoch"
);
number_id!(
    /// A number drawn at random when a worker process starts. It fences what an earlier process has sent.
    Incarnation(u64), "incarnation"
);

/// One try at running an application's driver. Stages, tasks and blocks belong to an attempt, so that nothing
/// of an earlier driver can be taken for that of a later one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AppAttemptId {
    /// The application.
    pub app: AppId,
    /// Counts from 1.
    pub attempt: u32,
}

impl fmt::Display for AppAttemptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.app, self.attempt)
    }
}

/// One try at one partition of one stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TaskId {
    /// The application attempt that the stage belongs to.
    pub app: AppAttemptId,
    /// The stage.
    pub stage: StageId,
    /// The partition of the stage, from 0.
    pub partition: u32,
    /// Counts every try at this partition from 0, whatever the reason for the try.
    pub attempt: u32,
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}.{}", self.app, self.stage, self.partition, self.attempt)
    }
}

/// The content hash (SHA-256) of a plugin: its name wherever it is stored or asked for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PluginHash(pub [u8; 32]);

impl fmt::Display for PluginHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for PluginHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for PluginHash {
    type Err = ParseIdError;
    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        let wrong = || ParseIdError { text: text.to_owned(), form: "64 hexadecimal digits" };
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        let mut hash = [0; 32];
        for (byte, digits) in hash.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let digits = std::str::from_utf8(digits).map_err(|_| wrong())?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| wrong())?;
        }
        Ok(Self(hash))
    }
}

impl Serialize for PluginHash {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PluginHash {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}
