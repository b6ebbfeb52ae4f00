//! The state that a reader and its fetching threads share: what became of each segment, and how many bytes
//! are here that the reader has not taken yet. Pure bookkeeping; sockets are in `fetch.rs`.

use super::signal::Signal;
use firesteel_common::Error;
use firesteel_common::event::FetchCause;
use firesteel_common::id::WorkerId;
use firesteel_common::protocol::worker::MapPlace;
use firesteel_common::task::Segment;
use parking_lot::{Condvar, Mutex};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Bytes that one reader lets lie fetched and not yet taken, over all its peers: at most, however much memory
/// there is, and at least.
const FETCHED_MAX: u64 = 32 * 1024 * 1024;
const FETCHED_MIN: u64 = 1024 * 1024;
/// Else that part of what a task may have.
const FETCHED_PART: u64 = 4;

/// A worker's data server.
pub type Peer = (WorkerId, Arc<str>);

/// A segment that a task reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    /// Who wrote it.
    pub map: u32,
    /// For whom.
    pub reducer: u32,
}

/// Where a segment is on its way to the reader.
pub enum CellState {
    /// Nothing was done about it yet.
    Waiting,
    /// It is in a block of the own worker, as of this version of the place.
    Local {
        /// The attempt that wrote it.
        attempt: u32,
        /// The version of the place.
        version: u64,
    },
    /// A thread fetches it from the place of this version.
    Fetching {
        /// The version of the place.
        version: u64,
    },
    /// It is here (`None` if it is empty), and counts as this many bytes of its peer.
    Here(Option<Segment>, Peer, u64),
    /// It is mapped from another worker of this machine (`None` if it is empty), with its length as stored.
    Mapped(Option<(Segment, u64)>),
    /// It was not where it should be, as of this version of the place; that was reported.
    Gone {
        /// The version of the place.
        version: u64,
    },
    /// It cannot be read for a reason that has nothing to do with its place.
    Failed(Error),
    /// The reader has it.
    Taken,
}

impl CellState {
    fn is_fetched_from(&self, version: u64) -> bool {
        matches!(self, CellState::Fetching { version: now } if *now == version)
    }
}

/// What was wrong with a place.
#[derive(Clone, Debug)]
pub struct Loss {
    /// The map partition.
    pub map: u32,
    /// Where it was looked for.
    pub place: Option<MapPlace>,
    /// What was wrong.
    pub cause: FetchCause,
}

/// Shared by one reader and the threads that fetch for it.
pub struct Flight {
    state: Mutex<State>,
    room: Condvar,
    /// Raised when a cell changes.
    signal: Arc<Signal>,
    /// Bytes that may lie here.
    fetched_max: u64,
}

struct State {
    cells: Vec<CellState>,
    held: BTreeMap<Peer, u64>,
    reported: BTreeSet<(u32, u64)>,
    /// The cell that the reader waits for, or takes next.
    next: usize,
    closed: bool,
}

impl Flight {
    /// A flight of `cells` segments for a task that may have `share` bytes.
    pub fn new(cells: usize, share: u64, signal: Arc<Signal>) -> Self {
        let cells = (0..cells).map(|_| CellState::Waiting).collect();
        let (held, reported) = (BTreeMap::new(), BTreeSet::new());
        let state = State { cells, held, reported, next: 0, closed: false };
        let fetched_max = (share / FETCHED_PART).clamp(FETCHED_MIN, FETCHED_MAX);
        Self { state: Mutex::new(state), room: Condvar::new(), signal, fetched_max }
    }

    /// Takes a cell out of its state if it is here; otherwise says what its state is. The reader comes with
    /// one cell after the other: the cells up to this one are let in from now on.
    pub fn take(&self, index: usize) -> CellState {
        let mut state = self.state.lock();
        if index > state.next {
            state.next = index;
            self.room.notify_all();
        }
        let cell = match &state.cells[index] {
            CellState::Here(..) | CellState::Mapped(_) | CellState::Failed(_) => {
                std::mem::replace(&mut state.cells[index], CellState::Taken)
            }
            CellState::Local { attempt, version } => {
                CellState::Local { attempt: *attempt, version: *version }
            }
            CellState::Gone { version } => CellState::Gone { version: *version },
            CellState::Waiting => CellState::Waiting,
            CellState::Fetching { version } => CellState::Fetching { version: *version },
            CellState::Taken => CellState::Taken,
        };
        if let CellState::Here(_, peer, bytes) = &cell {
            if let Some(held) = state.held.get_mut(peer) {
                *held = held.saturating_sub(*bytes);
            }
            self.room.notify_all();
        }
        cell
    }

    /// Looks at the cells from `from` on, and changes those for which `change` gives a new state.
    pub fn assign(&self, from: usize, mut change: impl FnMut(usize, &CellState) -> Option<CellState>) {
        let mut state = self.state.lock();
        for (index, cell) in state.cells.iter_mut().enumerate().skip(from) {
            if let Some(new) = change(index, cell) {
                *cell = new;
            }
        }
    }

    /// Opens the account of the peers that will be fetched from.
    pub fn expect(&self, peer: &Peer) {
        self.state.lock().held.entry(peer.clone()).or_insert(0);
    }

    /// Waits until the `bytes` of a cell may lie here from `peer`; `false` if the reader has gone. What a
    /// peer holds is bounded for itself, and one segment is always let in. So is, whatever the account says,
    /// the cell that the reader waits for: a map output that was lost and made again comes from its new peer
    /// after later cells of that peer, which are not taken, and make no room, before it is here.
    pub fn admit(&self, peer: &Peer, index: usize, bytes: u64) -> bool {
        let mut state = self.state.lock();
        loop {
            if state.closed || self.signal.stopped() {
                return false;
            }
            let share = self.fetched_max / state.held.len().max(1) as u64;
            let awaited = index <= state.next;
            let held = state.held.entry(peer.clone()).or_insert(0);
            // The peer says how many bytes they are, and may say anything.
            let with = held.saturating_add(bytes);
            if awaited || *held == 0 || with <= share {
                *held = with;
                return true;
            }
            self.room.wait_for(&mut state, std::time::Duration::from_millis(100));
        }
    }

    /// Whether the reader has gone.
    pub fn closed(&self) -> bool {
        self.state.lock().closed || self.signal.stopped()
    }

    /// The reader goes: whoever fetches for it stops.
    pub fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        state.cells.clear();
        self.room.notify_all();
    }

    /// Gives a cell that is fetched from the place of this `version` its new state, and tells the reader. If
    /// the reader has meanwhile looked elsewhere, nothing changes but that room is made again.
    pub fn arrived(&self, index: usize, version: u64, cell: CellState) {
        let refused = {
            let mut state = self.state.lock();
            match state.cells.get_mut(index) {
                Some(place) if place.is_fetched_from(version) => {
                    *place = cell;
                    None
                }
                _ => Some(cell),
            }
        };
        if let Some(CellState::Here(_, peer, bytes)) = refused {
            self.give_back(&peer, bytes);
        }
        self.signal.raise();
    }

    /// The reader finds by itself that a cell is not where it should be.
    pub fn gone(&self, index: usize, version: u64) {
        self.assign(index, |at, _| (at == index).then_some(CellState::Gone { version }));
        self.signal.raise();
    }

    /// Takes back what was admitted for a segment that did not arrive.
    pub fn give_back(&self, peer: &Peer, bytes: u64) {
        let mut state = self.state.lock();
        if let Some(held) = state.held.get_mut(peer) {
            *held = held.saturating_sub(bytes);
        }
        self.room.notify_all();
    }

    /// Whether a loss is new to this reader, so that each is reported once.
    pub fn first_report(&self, map: u32, version: u64) -> bool {
        self.state.lock().reported.insert((map, version))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, channel};
    use std::time::Duration;

    fn peer() -> Peer {
        (WorkerId(2), "127.0.0.1:1".into())
    }

    fn flight(cells: usize) -> Arc<Flight> {
        let flight = Arc::new(Flight::new(cells, u64::MAX, Arc::new(Signal::default())));
        flight.expect(&peer());
        flight
    }

    fn admitted(flight: &Arc<Flight>, index: usize, bytes: u64) -> Receiver<bool> {
        let (said, hears) = channel();
        let flight = flight.clone();
        std::thread::spawn(move || said.send(flight.admit(&peer(), index, bytes)));
        hears
    }

    const SOON: Duration = Duration::from_secs(30);

    #[test]
    fn later_cells_of_a_peer_do_not_keep_out_the_one_that_the_reader_waits_for() {
        let flight = flight(4);
        assert!(flight.admit(&peer(), 2, FETCHED_MAX));
        // The first cell was lost elsewhere and is fetched again, from the peer whose account is full.
        assert!(matches!(flight.take(0), CellState::Waiting));
        assert_eq!(admitted(&flight, 0, 1).recv_timeout(SOON), Ok(true));
        let next = admitted(&flight, 1, 1);
        assert!(next.try_recv().is_err(), "the reader does not wait for it yet");
        flight.take(1);
        assert_eq!(next.recv_timeout(SOON), Ok(true));
    }

    #[test]
    fn a_peer_cannot_overflow_its_account() {
        let flight = flight(3);
        assert!(flight.admit(&peer(), 1, 1));
        let refused = admitted(&flight, 2, u64::MAX);
        assert!(refused.try_recv().is_err());
        flight.close();
        assert_eq!(refused.recv_timeout(SOON), Ok(false));
    }
}
