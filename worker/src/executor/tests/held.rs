//! Large segments that are read over a socket, or from disk: they take no memory, and are checked all the
//! same.

use super::world::{MAP, Worker, inline, reducer};
use super::{body, expected};
use firesteel_common::event::FetchCause;
use firesteel_common::protocol::executor::ToExecutor;
use firesteel_common::task::{ResultValue, TaskIo, TaskOutcome};
use firesteel_common::{Payload, Result};
use firesteel_net::Key;
use firesteel_store::BlockStore;
use std::sync::Arc;

/// Whether an address of this process lies in a file on disk that has no name.
fn is_on_disk(address: *const u8) -> bool {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let found = maps.lines().find(|line| {
        let (from, rest) = line.split_once('-').unwrap();
        let (to, _) = rest.split_once(' ').unwrap();
        let number = |text| usize::from_str_radix(text, 16).unwrap();
        (number(from)..number(to)).contains(&address.addr())
    });
    found.is_some_and(|line| line.ends_with("(deleted)") && !line.contains("/memfd:"))
}

/// As [`body`], but reducers say of each segment how long it is, and whether it is on disk.
fn looking() -> super::Body {
    let maps = body().unwrap();
    Arc::new(move |io: Arc<dyn TaskIo>| {
        if io.description().reducers > 0 {
            return maps(io);
        }
        let mut input = io.read_input(0)?;
        let mut text = String::new();
        while let Some(segment) = input.next()? {
            let payload = segment.payload();
            text += &format!("{} {} {}\n", segment.map, payload.len(), is_on_disk(payload.as_ptr()));
        }
        Ok(TaskOutcome::Result(ResultValue::Inline(Payload::from(text.into_bytes()))))
    })
}

fn start(id: u64, key: &Key, body: Result<super::Body>, tokens: Option<&std::path::Path>) -> Worker {
    Worker::start_with(BlockStore::new(64 << 20, None), 0, None, id, key, body, tokens)
}

#[test]
fn large_segments_lie_on_disk_wherever_they_come_from() {
    let key = Key::generate().unwrap();
    let (a, b) = (start(1, &key, Ok(looking()), None), start(2, &key, Ok(looking()), None));
    a.run_maps(0..4, 0, 2);
    for worker in [&a, &b] {
        worker.reduce(vec![Some(a.place(0)); 4], 0, reducer(1));
        let text = inline(&worker.report());
        assert_eq!(&text[..], b"0 1 false\n1 64 false\n2 70000 false\n3 3000000 true\n");
    }
}

#[test]
fn damage_in_a_large_segment_is_found() {
    let key = Key::generate().unwrap();
    let tokens = tempfile::tempdir().unwrap();
    let (a, b) = (start(1, &key, body(), Some(tokens.path())), start(2, &key, body(), None));
    a.run_maps([3], 0, 2);
    // The only segment that is not small.
    std::fs::write(tokens.path().join("worker.data_request"), "corrupt").unwrap();
    b.reduce(vec![None, None, None, Some(a.place(0))], 0, reducer(1));
    let complaint = std::iter::repeat_with(|| b.complaint()).find(|said| said.map == 3).unwrap();
    assert_eq!((complaint.cause, complaint.place), (FetchCause::Corrupt, Some(a.place(0))));
    a.run_maps(0..3, 0, 2);
    let places = (0..4).map(|map| (map, a.place(0))).collect();
    b.send(ToExecutor::InputsChanged { stage: MAP, places });
    assert_eq!(&inline(&b.report())[..], expected(4, 1..2).as_bytes());
}
