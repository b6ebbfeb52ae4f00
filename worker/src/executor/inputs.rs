//! The input of a task as a stream of segments in their promised order, wherever they are, and through every
//! loss: what is gone is reported once and waited for.

use super::answers::killed;
use super::fetch::{self, Fetch, FetchJob};
use super::flight::{Cell, CellState, Flight, Loss, Peer};
use super::host::Host;
use super::mapped::Lookup;
use super::memory::TaskMemory;
use super::places::Known;
use super::signal::Signal;
use firesteel_common::block::BlockKind;
use firesteel_common::event::FetchCause;
use firesteel_common::graph::ReadRange;
use firesteel_common::id::{StageId, TaskId};
use firesteel_common::protocol::executor::FromExecutor;
use firesteel_common::task::{Segment, SegmentStream, TaskMetrics};
use firesteel_common::{Error, ErrorCode, Result};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Blocks of the own worker that are asked for ahead of the reader.
const OPEN_AHEAD: usize = 64;

/// The segments of one input.
pub struct Inputs {
    host: Arc<Host>,
    task: TaskId,
    stage: StageId,
    cells: Arc<[Cell]>,
    flight: Arc<Flight>,
    signal: Arc<Signal>,
    memory: Arc<TaskMemory>,
    metrics: Arc<Mutex<TaskMetrics>>,
    /// The cell that comes next.
    next: usize,
    /// The cells before this one were asked of the own worker.
    asked: usize,
    /// What the own worker did not have before this mark may be asked again.
    since: u64,
}

/// What is next.
enum Step {
    Segment(Segment),
    Empty,
    /// Its state has changed.
    Again,
    Wait,
}

/// The cells of ranges, in their promised order.
pub fn cells(ranges: &[ReadRange], maps: u32) -> Vec<Cell> {
    let mut cells = Vec::new();
    for range in ranges {
        for reducer in range.reducers.clone() {
            cells.extend((range.maps.start..range.maps.end.min(maps)).map(|map| Cell { map, reducer }));
        }
    }
    cells
}

impl Inputs {
    /// Begins to read; whatever can be fetched ahead is on its way when this returns.
    pub fn open(
        host: Arc<Host>,
        task: TaskId,
        stage: StageId,
        ranges: &[ReadRange],
        signal: Arc<Signal>,
        memory: Arc<TaskMemory>,
        metrics: Arc<Mutex<TaskMetrics>>,
    ) -> Result<Self> {
        let maps = host.places.of(stage).len() as u32;
        let cells: Arc<[Cell]> = cells(ranges, maps).into();
        let flight = Arc::new(Flight::new(cells.len(), host.share(), signal.clone()));
        let since = host.mappings.now();
        let (next, asked) = (0, 0);
        let inputs = Self { host, task, stage, cells, flight, signal, memory, metrics, next, asked, since };
        inputs.assign()?;
        Ok(inputs)
    }

    /// Decides for every cell from which place it comes, as far as that is known and not known to be wrong.
    fn assign(&self) -> Result<()> {
        let known = self.host.places.of(self.stage);
        let nothing = Known::default();
        let mut jobs: BTreeMap<Peer, Vec<Fetch>> = BTreeMap::new();
        let mut unknown = Vec::new();
        self.flight.assign(self.next, |index, state| {
            let Cell { map, reducer } = self.cells[index];
            let Known { place, version } = known.get(map as usize).unwrap_or(&nothing);
            let version = *version;
            match state {
                CellState::Waiting => {}
                CellState::Gone { version: old } if version > *old => {}
                // It has moved while it is fetched: whoever had it may never answer.
                CellState::Fetching { version: old } if version > *old && place.is_some() => {}
                _ => return None,
            }
            Some(match place {
                None => {
                    unknown.push((map, version));
                    CellState::Gone { version }
                }
                Some(place) if place.worker == self.host.setup.worker => {
                    CellState::Local { attempt: place.attempt, version }
                }
                Some(place) => {
                    let place = place.clone();
                    let peer = (place.worker, place.address.clone());
                    jobs.entry(peer).or_default().push(Fetch { index, map, reducer, place, version });
                    CellState::Fetching { version }
                }
            })
        });
        for (map, version) in unknown {
            if self.flight.first_report(map, version) {
                self.lost(Loss { map, place: None, cause: FetchCause::Missing });
            }
        }
        jobs.keys().for_each(|peer| self.flight.expect(peer));
        jobs.into_iter().try_for_each(|(peer, fetches)| self.start(peer, fetches))
    }

    fn start(&self, peer: Peer, fetches: Vec<Fetch>) -> Result<()> {
        let (stage, flight, signal) = (self.stage, self.flight.clone(), self.signal.clone());
        let report = {
            let (host, task, stage) = (self.host.clone(), self.task, self.stage);
            Arc::new(move |loss: Loss| report_loss(&host, task, stage, loss))
        };
        let memory = self.memory.clone();
        let job = FetchJob { stage, peer, fetches, flight, report, signal, memory };
        let host = self.host.clone();
        self.host.pool.run(move || fetch::run(&host, &job))
    }

    fn lost(&self, loss: Loss) {
        report_loss(&self.host, self.task, self.stage, loss);
    }

    /// Asks the own worker for the blocks that come soon.
    fn open_ahead(&mut self) -> Result<()> {
        let until = self.cells.len().min(self.next + OPEN_AHEAD);
        if self.asked >= until || self.asked > self.next + OPEN_AHEAD / 2 {
            return Ok(());
        }
        let mut blocks = Vec::new();
        let from = self.asked.max(self.next);
        self.flight.assign(from, |index, state| {
            if index < until
                && let CellState::Local { attempt, .. } = state
            {
                blocks.push(self.block(index, *attempt));
            }
            None
        });
        for block in blocks {
            self.host.mappings.look_up(&self.host.worker, block, self.since)?;
        }
        self.asked = until;
        Ok(())
    }

    fn block(&self, index: usize, attempt: u32) -> BlockKind {
        BlockKind::MapOutput { stage: self.stage, partition: self.cells[index].map, attempt }
    }

    fn step(&mut self) -> Result<Step> {
        match self.flight.take(self.next) {
            CellState::Here(Some(segment), _, bytes) => {
                let mut metrics = self.metrics.lock();
                metrics.remote_read_bytes += bytes;
                metrics.read_records += segment.header.records;
                Ok(Step::Segment(segment))
            }
            CellState::Mapped(Some((segment, bytes))) => Ok(self.local_segment(segment, bytes)),
            CellState::Here(None, ..) | CellState::Mapped(None) => Ok(Step::Empty),
            CellState::Local { attempt, version } => self.local(attempt, version),
            CellState::Gone { version } | CellState::Fetching { version } => {
                let known = self.host.places.get(self.stage, self.cells[self.next].map);
                if known.version > version && known.place.is_some() {
                    self.since = self.host.mappings.now();
                    self.asked = self.next;
                    self.assign()?;
                    return Ok(Step::Again);
                }
                Ok(Step::Wait)
            }
            CellState::Failed(error) => Err(error),
            CellState::Waiting | CellState::Taken => {
                Err(Error::new(ErrorCode::Internal, "a segment of an input was not fetched"))
            }
        }
    }

    fn local(&mut self, attempt: u32, version: u64) -> Result<Step> {
        self.open_ahead()?;
        let block = self.block(self.next, attempt);
        let Cell { map, reducer } = self.cells[self.next];
        let cause = match self.host.mappings.look_up(&self.host.worker, block, self.since)? {
            Lookup::Asked => return Ok(Step::Wait),
            Lookup::Missing => FetchCause::Missing,
            Lookup::Corrupt(error) => self.damaged(block, &error),
            Lookup::Mapped(mapped) => match mapped.segment(map, reducer, &self.memory) {
                Ok(Some((segment, bytes))) => return Ok(self.local_segment(segment, bytes)),
                Ok(None) => return Ok(Step::Empty),
                Err(error) => self.damaged(block, &error),
            },
        };
        self.flight.gone(self.next, version);
        if self.flight.first_report(map, version) {
            let known = self.host.places.get(self.stage, map);
            // If it has moved meanwhile, nobody needs to hear of the old place.
            if known.version == version {
                self.lost(Loss { map, place: known.place, cause });
            }
        }
        Ok(Step::Wait)
    }

    fn local_segment(&self, segment: Segment, bytes: u64) -> Step {
        let mut metrics = self.metrics.lock();
        metrics.local_read_bytes += bytes;
        metrics.read_records += segment.header.records;
        Step::Segment(segment)
    }

    fn damaged(&self, block: BlockKind, error: &Error) -> FetchCause {
        tracing::warn!("map {} of {}: {error}", self.cells[self.next].map, self.stage);
        self.host.mappings.drop_block(block);
        FetchCause::Corrupt
    }
}

/// Tells the worker that an input is gone.
fn report_loss(host: &Host, task: TaskId, stage: StageId, loss: Loss) {
    let Loss { map, place, cause } = loss;
    let message = FromExecutor::FetchFailed { task, stage, map, place, cause };
    if let Err(error) = host.worker.send(&message, None) {
        tracing::debug!("reporting a failed fetch: {error}");
    }
}

impl SegmentStream for Inputs {
    fn next(&mut self) -> Result<Option<Segment>> {
        loop {
            if self.signal.stopped() {
                return Err(killed());
            }
            if self.next == self.cells.len() {
                return Ok(None);
            }
            let seen = self.signal.changes();
            match self.step()? {
                Step::Segment(segment) => {
                    self.next += 1;
                    return Ok(Some(segment));
                }
                Step::Empty => self.next += 1,
                Step::Again => {}
                Step::Wait => {
                    let waited = self.signal.wait(seen);
                    self.metrics.lock().fetch_wait_us += waited.as_micros() as u64;
                }
            }
        }
    }
}

impl Drop for Inputs {
    fn drop(&mut self) {
        self.flight.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_ranges_then_reducers_then_maps() {
        let ranges =
            [ReadRange { reducers: 4..6, maps: 0..u32::MAX }, ReadRange { reducers: 1..2, maps: 1..2 }];
        let read: Vec<(u32, u32)> = cells(&ranges, 2).iter().map(|cell| (cell.reducer, cell.map)).collect();
        assert_eq!(read, [(4, 0), (4, 1), (5, 0), (5, 1), (1, 1)]);
    }
}
