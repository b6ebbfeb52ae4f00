//! The rows: one fault each, by its number in `docs/reliability.md`.

mod blocks;
mod clock;
mod drivers;
mod files;
mod frozen;
mod masters;
mod network;
mod spilled;
mod version;
mod workers;

use super::draw::Draw;
use super::lab::Finding;
use firesteel_common::error::Result;

/// What a row may use.
#[derive(Debug)]
pub struct Trial {
    /// Chance.
    pub draw: Draw,
    /// Whether it is to be over soon.
    pub short: bool,
}

impl Trial {
    /// One of two amounts.
    pub fn amount(&self, short: u64, long: u64) -> u64 {
        if self.short { short } else { long }
    }
}

/// A row.
pub struct Row {
    /// Its number.
    pub number: u32,
    /// The fault.
    pub fault: &'static str,
    /// Whether CI runs it.
    pub short: bool,
    /// Runs it.
    pub run: fn(&mut Trial) -> Result<Finding>,
}

const fn row(number: u32, short: bool, run: fn(&mut Trial) -> Result<Finding>, fault: &'static str) -> Row {
    Row { number, fault, short, run }
}

/// Every row that real processes show here, in their order.
pub const ROWS: &[Row] = &[
    row(1, true, workers::dies_while_its_tasks_run, "a worker dies while its tasks run"),
    row(
        2,
        true,
        workers::dies_after_its_map_outputs,
        "a worker dies after its map outputs, before they are read",
    ),
    row(3, true, workers::its_executor_dies, "an executor dies in a task"),
    row(4, true, workers::poison, "the same task kills its executor every time"),
    row(5, true, workers::all_die, "all workers die"),
    row(
        6,
        true,
        workers::comes_back,
        "a worker is started again at its address, before and after it is missed",
    ),
    row(7, true, masters::dies_at_any_moment, "the master dies at any moment"),
    row(8, true, drivers::dies, "a driver dies, or the client that runs it"),
    row(9, true, masters::dies_before_it_answers, "the daemon dies between the journal and its answer"),
    row(10, true, network::cable, "a worker is cut off from the master"),
    row(11, true, network::apart, "workers are cut off from each other only"),
    row(12, true, network::half_open, "a connection goes on in one direction only"),
    row(13, false, network::slow, "a link of 1 Mbit/s"),
    row(14, true, frozen::worker, "a worker is stopped, given up, and goes on"),
    row(15, true, frozen::master, "the master is stopped, and goes on"),
    row(16, true, clock::jumps, "the clock jumps"),
    row(18, true, files::slow_disk, "the master's disk is slow"),
    row(19, true, files::bad_disk, "a read or a write of a file fails"),
    row(
        20,
        true,
        blocks::flipped,
        "a bit flips in a block, in memory or on disk, or in a run that was spilled",
    ),
    row(21, true, blocks::truncated, "a map output is cut short"),
    row(22, true, blocks::unnamed, "somebody deletes, truncates or overwrites the files of blocks"),
    row(36, true, workers::leaves, "a worker is asked to leave"),
    row(38, true, version::skew, "a worker of another version"),
];

#[cfg(test)]
mod tests {
    use super::ROWS;

    #[test]
    fn rows_are_in_order() {
        assert!(ROWS.windows(2).all(|pair| pair[0].number < pair[1].number));
    }
}
