//! What simulated blocks and results hold: enough to tell a right answer from one that mixes two truths.

use firesteel_common::Payload;
use firesteel_common::id::StageId;
use firesteel_common::protocol::codec;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What a block holds: a value, and which attempts at unordered stages it depends on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Content {
    pub(crate) value: u64,
    pub(crate) truths: BTreeMap<(StageId, u32), u32>,
    /// Whether two attempts at the same unordered task went into it.
    pub(crate) mixed: bool,
}

impl Content {
    /// Takes over what another content depends on.
    pub(crate) fn depend_on(&mut self, other: &Content) {
        self.mixed |= other.mixed;
        for (of, attempt) in &other.truths {
            self.mixed |= *self.truths.entry(*of).or_insert(*attempt) != *attempt;
        }
    }

    pub(crate) fn encode(&self) -> Payload {
        let truths: Vec<_> = self.truths.iter().collect();
        codec::encode(&(self.value, self.mixed, truths)).map(Payload::from).unwrap_or_default()
    }

    pub(crate) fn decode(payload: &Payload) -> Option<Self> {
        type Parts = (u64, bool, Vec<((StageId, u32), u32)>);
        let (value, mixed, truths): Parts = codec::decode(payload).ok()?;
        Some(Self { value, mixed, truths: truths.into_iter().collect() })
    }
}
