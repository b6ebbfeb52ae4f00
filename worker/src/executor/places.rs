//! Where map outputs are, as far as this executor was told.

use firesteel_common::id::StageId;
use firesteel_common::protocol::worker::{InputTable, MapPlace};
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What is known of one map output.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// Where it is; `None` if it is not there.
    pub place: Option<MapPlace>,
    /// Grows each time something is said about this map output: whoever found a place of an earlier version
    /// wrong may try again.
    pub version: u64,
}

/// The places of all stages that were named.
#[derive(Default)]
pub struct Places {
    stages: RwLock<BTreeMap<StageId, Arc<Vec<Known>>>>,
}

impl Places {
    /// What is known of the map outputs of `stage`, by map partition.
    pub fn of(&self, stage: StageId) -> Arc<Vec<Known>> {
        self.stages.read().get(&stage).cloned().unwrap_or_default()
    }

    /// What is known of one map output.
    pub fn get(&self, stage: StageId, map: u32) -> Known {
        self.stages.read().get(&stage).and_then(|maps| maps.get(map as usize)).cloned().unwrap_or_default()
    }

    /// Takes a whole table.
    pub fn install(&self, table: &InputTable) {
        let places = table.places.iter().enumerate();
        self.set(table.stage, places.map(|(map, place)| (map as u32, place.clone())));
    }

    /// Takes new places.
    pub fn update(&self, stage: StageId, places: Vec<(u32, MapPlace)>) {
        self.set(stage, places.into_iter().map(|(map, place)| (map, Some(place))));
    }

    fn set(&self, stage: StageId, places: impl Iterator<Item = (u32, Option<MapPlace>)>) {
        let mut stages = self.stages.write();
        let maps = Arc::make_mut(stages.entry(stage).or_default());
        for (map, place) in places {
            let map = map as usize;
            if maps.len() <= map {
                maps.resize_with(map + 1, Known::default);
            }
            maps[map] = Known { place, version: maps[map].version + 1 };
        }
    }

    /// Forgets stages.
    pub fn forget(&self, forgotten: &[StageId]) {
        let mut stages = self.stages.write();
        for stage in forgotten {
            stages.remove(stage);
        }
    }
}
