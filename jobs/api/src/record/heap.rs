//! What memory costs: what the allocator takes for an allocation, and how lists grow that are large. The
//! rules are those of the allocator of glibc, which is where records lie.

/// What an allocation takes at least.
const LEAST: usize = 32;
/// From this size on an allocation may be pages of its own.
const PAGES_FROM: usize = 128 * 1024;
const PAGE: usize = 4096;
/// Lists of more bytes get an eighth more room, not twice as much, where memory is short.
const STEPS_FROM: usize = 16 * 1024;
/// A copy of fewer bytes, for a moment, is not worth counting: it is less than what is asked for at once.
const COPY_FROM: usize = 1024 * 1024;
/// From here on the allocator always moves pages and copies nothing, and what is not used yet takes no
/// memory.
const MOVED_FROM: usize = 32 * 1024 * 1024;

/// Bytes that the allocator takes for so many: a header, and what is lost by rounding.
pub const fn allocated(bytes: usize) -> usize {
    match bytes {
        0 => 0,
        1..PAGES_FROM => {
            let chunk = bytes.saturating_add(8).next_multiple_of(16);
            if chunk < LEAST { LEAST } else { chunk }
        }
        _ => bytes.saturating_add(16).saturating_add(PAGE - 1) / PAGE * PAGE,
    }
}

/// What the items of a list take, without what they own.
pub fn list<T>(list: &Vec<T>) -> usize {
    if size_of::<T>() == 0 { 0 } else { allocated(list.capacity().saturating_mul(size_of::<T>())) }
}

/// What a list takes beside what it has while it grows: for a moment it is there twice. Nothing if that is
/// little, or will not happen before it has a quarter more items.
pub fn growth<T>(list: &Vec<T>) -> usize {
    let room = list.capacity().saturating_mul(size_of::<T>());
    let soon = list.len() + list.len() / 4 >= list.capacity();
    if (COPY_FROM..MOVED_FROM).contains(&room) && soon { allocated(room) } else { 0 }
}

/// Appends a list. A large one gets an eighth more room than it needs: by that much it may be larger than was
/// counted, not by as much again.
pub fn append<T>(list: &mut Vec<T>, mut later: Vec<T>) {
    let len = list.len() + later.len();
    if len > list.capacity() && len.saturating_mul(size_of::<T>()) > STEPS_FROM {
        list.reserve_exact(later.len() + len / 8);
    }
    list.append(&mut later);
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use crate::Record;
    use proptest::prelude::*;

    /// What malloc takes: a chunk of a multiple of 16 bytes with a header of 8, of 32 bytes at least; pages
    /// if it is large.
    fn rule(bytes: usize) -> usize {
        match bytes {
            0 => 0,
            1..=131_071 => {
                (16_usize..).step_by(16).find(|chunk| *chunk >= 32 && *chunk >= bytes + 8).unwrap()
            }
            _ => (0..).step_by(4096).find(|pages| *pages >= bytes + 16).unwrap(),
        }
    }

    #[test]
    fn an_allocation_costs_what_the_allocator_takes() {
        for (bytes, takes) in [(0, 0), (1, 32), (24, 32), (25, 48), (96, 112), (104, 112), (105, 128)] {
            assert_eq!(allocated(bytes), takes, "{bytes}");
        }
        assert_eq!(allocated(131_072), 135_168);
    }

    proptest! {
        #[test]
        fn texts_and_lists_of_them_cost_each_allocation(
            texts in prop::collection::vec(".{0,60}", 0..50),
            spare in 0_usize..40,
        ) {
            let mut list = Vec::with_capacity(texts.len() + spare);
            list.extend(texts.iter().cloned());
            let each: usize = list.iter().map(|text: &String| rule(text.capacity())).sum();
            prop_assert_eq!(list.heap(), rule(list.capacity() * size_of::<String>()) + each);
            let pairs: Vec<(u64, String)> = list.into_iter().map(|text| (7, text)).collect();
            let each: usize = pairs.iter().map(|(_, text)| rule(text.capacity())).sum();
            prop_assert_eq!(pairs.heap(), rule(pairs.capacity() * size_of::<(u64, String)>()) + each);
            let nested = Some((vec![pairs], 3_u32));
            let (outer, _) = nested.as_ref().unwrap();
            let outer = rule(outer.capacity() * size_of::<Vec<(u64, String)>>()) + outer[0].heap();
            prop_assert_eq!(nested.heap(), outer);
        }

        #[test]
        fn numbers_cost_their_room(numbers in prop::collection::vec(any::<u64>(), 0..40_000)) {
            prop_assert_eq!(numbers.heap(), rule(numbers.capacity() * 8));
        }

        #[test]
        fn a_list_never_outgrows_what_was_counted(start in 1_usize..300_000, spare in 0_usize..300_000) {
            let mut list: Vec<u64> = Vec::with_capacity(start + spare);
            list.extend(0..start as u64);
            let counted = list.heap() + growth(&list);
            let counted = counted + counted / 4;
            for number in 0..(start / 4) as u64 {
                let before = list.capacity();
                list.push(number);
                // While it grows, both are there, the new one as far as it is used.
                let copied = if list.capacity() == before { 0 } else { before * 8 };
                let both = list.len() * 8 + copied;
                prop_assert!(copied < COPY_FROM || both <= counted, "{both} > {counted}");
            }
        }

        #[test]
        fn a_large_list_grows_in_steps(pieces in prop::collection::vec(1_usize..3_000, 1..60)) {
            let mut list: Vec<u64> = Vec::new();
            for piece in pieces {
                append(&mut list, vec![1; piece]);
                let needed = list.len() * 8;
                prop_assert!(list.capacity() * 8 <= (needed + needed / 8).max(2 * STEPS_FROM));
            }
        }
    }
}
