//! Values that are gathered by key: lists, and pairs of lists. While a table is filled, all values lie side
//! by side in the order in which they came, each with the number of its list; before they are handed on they
//! are put into the order of their lists. They are spilled in pieces, so that only what is put together at
//! the very end must fit into memory.

use crate::aggregate::Parts;
use crate::radix::arrange;
use crate::record::Record;
use crate::record::heap::{append, growth};
use firesteel_common::Result;
use std::cell::RefCell;
use std::mem::needs_drop;

/// About how many bytes of values a piece has, without what they own.
const PIECE: usize = 16 * 1024;
/// Numbers of values and lists stay below this.
const NUMBERS: usize = u32::MAX as usize / 2;

/// The values of one key.
#[derive(Clone, Copy)]
pub struct List {
    /// Which one it is; once it has a place, where that begins.
    number: u32,
    len: u32,
}

/// Places for lists, one behind the other.
struct Places {
    /// Where each list begins.
    starts: Vec<u32>,
    sum: u32,
}

impl Places {
    /// The next place is for this list.
    fn place(&mut self, list: &mut List) {
        let number = std::mem::replace(&mut list.number, self.sum);
        self.starts[number as usize] = self.sum;
        self.sum += list.len;
    }
}

/// The values of all keys.
pub struct Values<V> {
    inner: RefCell<Inner<V>>,
}

struct Inner<V> {
    values: Vec<V>,
    /// The list of each value.
    lists: Vec<u32>,
    /// How many lists there are.
    count: u32,
    /// What the values own, in bytes.
    heap: u64,
    /// The values in order, while they are taken.
    rest: std::vec::IntoIter<V>,
}

impl<'s, V: Record<'s>> Values<V> {
    /// No values yet.
    pub fn new() -> Self {
        let (values, lists, rest) = (Vec::new(), Vec::new(), Vec::new().into_iter());
        Self { inner: RefCell::new(Inner { values, lists, count: 0, heap: 0, rest }) }
    }

    /// A list without values.
    #[inline(always)]
    pub fn list(&self) -> List {
        let mut inner = self.inner.borrow_mut();
        let number = inner.count;
        inner.count += 1;
        List { number, len: 0 }
    }

    /// A list with one value.
    #[inline(always)]
    pub fn first(&self, value: V) -> List {
        let mut list = self.list();
        self.add(&mut list, value);
        list
    }

    /// A further value of a list.
    #[inline(always)]
    pub fn add(&self, list: &mut List, value: V) {
        let mut inner = self.inner.borrow_mut();
        if needs_drop::<V>() {
            inner.heap += value.heap() as u64;
        }
        inner.values.push(value);
        inner.lists.push(list.number);
        list.len += 1;
    }

    /// Puts the values into the order of their lists.
    pub fn arrange<'l>(&self, order: impl Iterator<Item = &'l mut List>) {
        let mut places = self.places();
        order.for_each(|list| places.place(list));
        self.arrange_at(places);
    }

    /// Before the values are put into an order.
    fn places(&self) -> Places {
        Places { starts: vec![0; self.inner.borrow().count as usize], sum: 0 }
    }

    /// Puts the values where their lists have places.
    fn arrange_at(&self, places: Places) {
        let inner = &mut *self.inner.borrow_mut();
        let mut starts = places.starts;
        let mut targets = std::mem::take(&mut inner.lists);
        for target in &mut targets {
            let next = &mut starts[*target as usize];
            *target = *next;
            *next += 1;
        }
        arrange(&mut inner.values, targets);
    }

    /// Shows the values of a list that has a place, in the order in which they came.
    #[inline(always)]
    pub fn show<R>(&self, list: List, show: impl FnOnce(&[V]) -> R) -> R {
        let inner = self.inner.borrow();
        let values = inner.values.get(list.number as usize..).and_then(|rest| rest.get(..list.len as usize));
        show(values.unwrap_or_default())
    }

    /// Begins to take the values, one list after the other as they are arranged.
    fn take(&self) {
        let mut inner = self.inner.borrow_mut();
        inner.rest = std::mem::take(&mut inner.values).into_iter();
    }

    /// The values of the next list.
    fn next(&self, list: List) -> Vec<V> {
        self.inner.borrow_mut().rest.by_ref().take(list.len as usize).collect()
    }

    /// Gives the values of the next list in pieces.
    fn pieces(&self, list: List, put: &mut dyn FnMut(Vec<V>) -> Result<()>) -> Result<()> {
        let most = (PIECE / size_of::<V>().max(1)).max(1);
        let mut left = list.len as usize;
        while left > 0 {
            let piece: Vec<V> = self.inner.borrow_mut().rest.by_ref().take(left.min(most)).collect();
            left -= left.min(most);
            put(piece)?;
        }
        Ok(())
    }

    /// Bytes that they take once they are arranged, when there is a quarter more of them.
    fn bytes_grown(&self) -> u64 {
        let inner = self.inner.borrow();
        let len = inner.values.len();
        let room = if len + len / 4 > inner.values.capacity() { 2 * len } else { inner.values.capacity() };
        let lists = (inner.count as usize + inner.count as usize / 4) * size_of::<u32>();
        let values = room * (size_of::<V>() + size_of::<u32>());
        let copies = growth(&inner.values).max(growth(&inner.lists));
        (values + lists + copies) as u64 + inner.heap + inner.heap / 4
    }

    /// Whether there are no numbers left for another quarter.
    fn is_full(&self) -> bool {
        let inner = self.inner.borrow();
        inner.values.len().max(inner.count as usize) > NUMBERS
    }

    /// Forgets all.
    fn clear(&self) {
        let mut inner = self.inner.borrow_mut();
        inner.values.clear();
        inner.lists.clear();
        inner.rest = Vec::new().into_iter();
        (inner.count, inner.heap) = (0, 0);
    }
}

/// All values of a key.
pub struct Lists<'v, V>(pub &'v Values<V>);

impl<'s, V: Record<'s>> Parts<List> for Lists<'_, V> {
    type Whole = Vec<V>;
    const GATHERS: bool = true;

    fn whole(&self, list: List) -> Vec<V> {
        self.0.next(list)
    }

    fn merge(&self, whole: &mut Vec<V>, later: Vec<V>) {
        append(whole, later);
    }

    fn growth(&self, whole: &Vec<V>) -> usize {
        growth(whole)
    }

    fn cut(&self, list: List, put: &mut dyn FnMut(Vec<V>) -> Result<()>) -> Result<()> {
        self.0.pieces(list, put)
    }

    fn arrange<'l>(&self, order: impl Iterator<Item = &'l mut List>) {
        self.0.arrange(order);
        self.0.take();
    }

    fn bytes_beside(&self) -> u64 {
        self.0.bytes_grown()
    }

    fn is_full(&self) -> bool {
        self.0.is_full()
    }

    fn clear(&self) {
        self.0.clear();
    }
}

/// The lists of a key on two sides.
pub type TwoLists = (List, List);

/// All values of a key on two sides.
pub struct BothSides<'v, V, W>(pub &'v Values<V>, pub &'v Values<W>);

impl<'s, V: Record<'s>, W: Record<'s>> Parts<TwoLists> for BothSides<'_, V, W> {
    type Whole = (Vec<V>, Vec<W>);
    const GATHERS: bool = true;

    fn whole(&self, (left, right): TwoLists) -> Self::Whole {
        (self.0.next(left), self.1.next(right))
    }

    fn merge(&self, whole: &mut Self::Whole, later: Self::Whole) {
        append(&mut whole.0, later.0);
        append(&mut whole.1, later.1);
    }

    fn growth(&self, whole: &Self::Whole) -> usize {
        growth(&whole.0) + growth(&whole.1)
    }

    fn cut(&self, (left, right): TwoLists, put: &mut dyn FnMut(Self::Whole) -> Result<()>) -> Result<()> {
        self.0.pieces(left, &mut |left| put((left, Vec::new())))?;
        self.1.pieces(right, &mut |right| put((Vec::new(), right)))
    }

    fn arrange<'l>(&self, order: impl Iterator<Item = &'l mut TwoLists>) {
        let (mut lefts, mut rights) = (self.0.places(), self.1.places());
        order.for_each(|(left, right)| {
            lefts.place(left);
            rights.place(right);
        });
        self.0.arrange_at(lefts);
        self.1.arrange_at(rights);
        self.0.take();
        self.1.take();
    }

    fn bytes_beside(&self) -> u64 {
        self.0.bytes_grown() + self.1.bytes_grown()
    }

    fn is_full(&self) -> bool {
        self.0.is_full() || self.1.is_full()
    }

    fn clear(&self) {
        self.0.clear();
        self.1.clear();
    }
}
