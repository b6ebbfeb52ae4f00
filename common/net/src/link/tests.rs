//! Links: order, bounds, and the one end that each has.

use super::{Link, Pulse, SendFailed};
use crate::frame::PULSE as PULSE_FRAME;
use crate::testing::tcp_pair;
use crossbeam::channel::{Receiver, bounded, unbounded};
use firesteel_common::Payload;
use firesteel_common::error::{Error, ErrorCode};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(20);

type Message = (u64, Payload);

/// One end of a link, with what it got and how it ended.
struct End {
    link: Link<Message>,
    messages: Receiver<Message>,
    ends: Receiver<Option<Error>>,
}

fn end(stream: TcpStream, outbox: usize) -> End {
    let (got, messages) = unbounded();
    let (closed, ends) = unbounded();
    let on_message = move |message| got.send(message).is_ok();
    let link = Link::start(stream, "test", outbox, on_message, move |end| closed.send(end).unwrap()).unwrap();
    End { link, messages, ends }
}

fn message(number: u64) -> Message {
    // Now and then one that is longer than a socket buffer.
    let len = if number % 1000 == 7 { 6_000_000 } else { number % 50 };
    (number, vec![number as u8; len as usize].into())
}

/// The end of this link, which comes once.
fn the_end(end: &End) -> Option<Error> {
    let reason = end.ends.recv_timeout(PATIENCE).unwrap();
    assert!(end.ends.recv_timeout(PATIENCE).is_err(), "the end is said once, and its sender dropped");
    reason
}

#[test]
fn messages_keep_their_order_in_both_directions() {
    let (a, b) = tcp_pair();
    let (a, b) = (end(a, 8), end(b, 8));
    let count = 2500;
    let senders = [a.link.clone(), b.link.clone()].map(|link| {
        std::thread::spawn(move || (0..count).for_each(|number| link.send(message(number)).unwrap()))
    });
    for number in 0..count {
        assert!(a.messages.recv_timeout(PATIENCE).unwrap() == message(number));
        assert!(b.messages.recv_timeout(PATIENCE).unwrap() == message(number));
    }
    senders.into_iter().for_each(|sender| sender.join().unwrap());
    a.link.close();
    assert_eq!(the_end(&a), None);
    assert_eq!(the_end(&b), None);
}

#[test]
fn what_was_sent_before_closing_arrives() {
    let (a, b) = tcp_pair();
    let (a, b) = (end(a, 100), end(b, 100));
    for number in 0..10 {
        a.link.send(message(number)).unwrap();
    }
    // The peer talks meanwhile: the close must not reset the connection over its words.
    b.link.send(message(1)).unwrap();
    a.link.close();
    assert_eq!(a.link.try_send(message(0)).unwrap_err(), SendFailed::Closed);
    assert_eq!(a.link.send(message(0)).unwrap_err().code, ErrorCode::Unreachable);
    for number in 0..10 {
        assert!(b.messages.recv_timeout(PATIENCE).unwrap() == message(number));
    }
    assert_eq!((the_end(&a), the_end(&b)), (None, None));
}

#[test]
fn a_link_closes_with_its_last_handle() {
    let (a, b) = tcp_pair();
    let (a, b) = (end(a, 1), end(b, 1));
    let another = a.link.clone();
    drop(a.link);
    another.send(message(3)).unwrap();
    drop(another);
    assert!(b.messages.recv_timeout(PATIENCE).unwrap() == message(3));
    assert_eq!(the_end(&b), None);
}

#[test]
fn a_peer_that_does_not_read_fills_the_outbox_and_no_more() {
    let (a, mut silent) = tcp_pair();
    let a = end(a, 4);
    let big = || (0, vec![0; 1_000_000].into());
    let refused = (0..1000).find_map(|_| a.link.try_send(big()).err());
    assert_eq!(refused, Some(SendFailed::Full));
    // A sender that waits is freed by the close, and the close does not wait for the peer for ever.
    let waiting = std::thread::spawn({
        let link = a.link.clone();
        move || (0..1000).find_map(|_| link.send(big()).err())
    });
    a.link.close();
    assert_eq!(waiting.join().unwrap().unwrap().code, ErrorCode::Unreachable);
    assert_eq!(the_end(&a).unwrap().code, ErrorCode::Unreachable, "not all that was sent arrived");
    silent.read_to_end(&mut Vec::new()).unwrap_or_default();
}

#[test]
fn a_link_that_breaks_says_why() {
    let whole = crate::frame::encode_frame(&message(1)).unwrap();
    let cases: [(&[u8], ErrorCode); 3] = [
        (&[1, 0, 0, 0, 99, 0], ErrorCode::Codec),
        (&[255, 255, 255, 255, 1], ErrorCode::TooLarge),
        (&whole[..whole.len() - 1], ErrorCode::Unreachable),
    ];
    for (bytes, code) in cases {
        let (a, mut peer) = tcp_pair();
        let a = end(a, 4);
        peer.write_all(bytes).unwrap();
        drop(peer);
        assert_eq!(the_end(&a).unwrap().code, code, "{bytes:?}");
        assert_eq!(a.link.try_send(message(1)), Err(SendFailed::Closed));
    }
}

#[test]
fn a_receiver_may_close_or_panic() {
    let (a, b) = tcp_pair();
    let sender = end(a, 4);
    let (closed, ends) = bounded(2);
    let receiver: Link<Message> = Link::start(
        b,
        "test",
        4,
        |(number, _): Message| {
            assert!(number < 2, "this one is not wanted");
            true
        },
        move |end| closed.send(end).unwrap(),
    )
    .unwrap();
    for number in 0..3 {
        sender.link.send(message(number)).unwrap();
    }
    assert_eq!(ends.recv_timeout(PATIENCE).unwrap().unwrap().code, ErrorCode::Internal);
    drop(receiver);
    the_end(&sender);

    let (a, b) = tcp_pair();
    let sender = end(a, 4);
    let (closed, ends) = bounded(2);
    let _receiver: Link<Message> =
        Link::start(b, "test", 4, |_: Message| false, move |end| closed.send(end).unwrap()).unwrap();
    sender.link.send(message(1)).unwrap();
    assert_eq!(ends.recv_timeout(PATIENCE).unwrap(), None);
    assert_eq!(the_end(&sender), None);
}

#[test]
fn a_peer_that_is_silent_is_given_up_and_one_that_pulses_is_not() {
    let (near, mut raw) = tcp_pair();
    let pulse = Pulse { every: Duration::from_millis(5), silence_max: Duration::from_millis(400) };
    let (got, messages) = unbounded();
    let (ended, end) = unbounded();
    let on_message = move |message: u32| got.send(message).is_ok();
    let on_close = move |error| drop(ended.send(error));
    let _link: Link<u32> = Link::start_pulsed(near.into(), "near", (8, pulse), on_message, on_close).unwrap();
    // What it sends by itself is a pulse.
    let mut heard = [1; 2 * PULSE_FRAME.len()];
    raw.read_exact(&mut heard).unwrap();
    assert_eq!(heard, [0; 2 * PULSE_FRAME.len()]);
    // Pulses before, between and after messages are no messages.
    let mut sent = [PULSE_FRAME, PULSE_FRAME].concat();
    sent.extend(crate::frame::encode_frame(&7_u32).unwrap());
    sent.extend(PULSE_FRAME);
    sent.extend(crate::frame::encode_frame(&8_u32).unwrap());
    raw.write_all(&sent).unwrap();
    assert_eq!(messages.recv_timeout(PATIENCE).unwrap(), 7);
    assert_eq!(messages.recv_timeout(PATIENCE).unwrap(), 8);
    // It reads on, as one does whose own words are lost on the way: half a connection is none.
    let error = end.recv_timeout(PATIENCE).unwrap().unwrap();
    assert_eq!(error.code, ErrorCode::Unreachable);
    assert!(error.message.contains("in time"), "{error}");
}
