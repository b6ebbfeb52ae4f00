//! Values that are gathered by key: lists, pairs of lists, lists with a first value beside them. They are
//! spilled in pieces, so that only what is put together at the very end must fit into memory.

use crate::aggregate::Parts;
use firesteel_common::Result;

/// About how many bytes of values a piece has, without what they own.
const PIECE: usize = 16 * 1024;

/// Gives a list in pieces, at least one.
fn pieces<T>(list: Vec<T>, put: &mut dyn FnMut(Vec<T>) -> Result<()>) -> Result<()> {
    let count = (PIECE / size_of::<T>().max(1)).max(1);
    if list.len() <= count {
        return put(list);
    }
    let mut rest = list.into_iter();
    loop {
        let piece: Vec<T> = rest.by_ref().take(count).collect();
        if piece.is_empty() {
            return Ok(());
        }
        put(piece)?;
    }
}

/// All values of a key.
pub struct Lists;

impl<V> Parts<Vec<V>> for Lists {
    const GATHERS: bool = true;

    fn merge(&self, acc: &mut Vec<V>, mut later: Vec<V>) {
        acc.append(&mut later);
    }

    fn cut(&self, acc: Vec<V>, put: &mut dyn FnMut(Vec<V>) -> Result<()>) -> Result<()> {
        pieces(acc, put)
    }
}

/// All values of a key on two sides.
pub struct TwoLists;

impl<V, W> Parts<(Vec<V>, Vec<W>)> for TwoLists {
    const GATHERS: bool = true;

    fn merge(&self, acc: &mut (Vec<V>, Vec<W>), mut later: (Vec<V>, Vec<W>)) {
        acc.0.append(&mut later.0);
        acc.1.append(&mut later.1);
    }

    fn cut(
        &self,
        (left, right): (Vec<V>, Vec<W>),
        put: &mut dyn FnMut((Vec<V>, Vec<W>)) -> Result<()>,
    ) -> Result<()> {
        if !left.is_empty() {
            pieces(left, &mut |left| put((left, Vec::new())))?;
        }
        if right.is_empty() { Ok(()) } else { pieces(right, &mut |right| put((Vec::new(), right))) }
    }
}

/// The values of a key, of which there is mostly one.
pub struct FirstAndList;

impl<V> Parts<(V, Vec<V>)> for FirstAndList {
    const GATHERS: bool = true;

    fn merge(&self, acc: &mut (V, Vec<V>), mut later: (V, Vec<V>)) {
        acc.1.push(later.0);
        acc.1.append(&mut later.1);
    }

    fn cut(&self, (first, rest): (V, Vec<V>), put: &mut dyn FnMut((V, Vec<V>)) -> Result<()>) -> Result<()> {
        let mut first = Some(first);
        pieces(rest, &mut |mut rest| match first.take() {
            Some(first) => put((first, rest)),
            None => {
                let first = rest.remove(0);
                put((first, rest))
            }
        })
    }
}
