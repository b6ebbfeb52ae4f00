//! What keeps bytes in place for the time of a task, so that records may borrow from them. No unsafe code:
//! the shelves only grow, and what stands on them is never moved.

use std::cell::{Cell, OnceCell};
use std::sync::Arc;

/// Shared bytes that lie still as long as somebody holds them.
pub type Owner = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// Shelf `i` has room for `2^i` owners, so nothing moves when there are more of them.
const SHELVES: usize = 32;

/// The owners of all bytes that a task reads.
#[derive(Default)]
pub struct Arena {
    shelves: [OnceCell<Box<[OnceCell<Owner>]>>; SHELVES],
    held: Cell<usize>,
}

impl Arena {
    /// An arena that holds nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Keeps the owner as long as the arena lives, and lends its bytes for as long.
    pub fn hold(&self, owner: Owner) -> &[u8] {
        let number = self.held.get() + 1;
        self.held.set(number);
        let shelf = number.ilog2() as usize;
        let room = 1_usize << shelf;
        let places = self.shelves[shelf].get_or_init(|| (0..room).map(|_| OnceCell::new()).collect());
        places[number - room].get_or_init(|| owner).as_ref().as_ref()
    }
}
