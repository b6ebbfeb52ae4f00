//! Answers that go on: output as it is printed, events as they happen, and clients that come back, do not
//! read, or go away.

use crate::harness::Master;
use crate::worker::{Driver, Worker};
use firesteel_common::Payload;
use firesteel_common::http::{LogPiece, LogSource};
use firesteel_common::id::AppAttemptId;
use firesteel_common::protocol::worker::ToMaster;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Nothing here takes so long; a test that waits longer has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// A request whose answer is read as it comes.
struct Following {
    reader: BufReader<TcpStream>,
    head: String,
}

impl Following {
    fn of(master: &Master, path: &str, headers: &str) -> Self {
        let mut stream = TcpStream::connect(&master.state.http).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let token = firesteel_master::read_token(&master.run_dir).unwrap();
        let request = format!(
            "GET /api/firesteel/v1{path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {token}\r\n{headers}\
             Connection: close\r\n\r\n",
            master.state.http
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut reader = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            reader.read_line(&mut head).unwrap();
        }
        Self { reader, head: head.to_ascii_lowercase() }
    }

    /// The next piece; `None` at the end of the answer.
    fn next(&mut self) -> Option<String> {
        let mut size = String::new();
        self.reader.read_line(&mut size).unwrap();
        let size = usize::from_str_radix(size.trim(), 16).unwrap();
        let mut piece = vec![0; size + 2];
        self.reader.read_exact(&mut piece).unwrap();
        piece.truncate(size);
        (size > 0).then(|| String::from_utf8(piece).unwrap())
    }

    /// All that comes until it contains a text.
    fn until(&mut self, text: &str) -> String {
        let mut all = String::new();
        while !all.contains(text) {
            all.push_str(&self.next().unwrap());
        }
        all
    }

    fn rest(mut self) -> String {
        std::iter::from_fn(|| self.next()).collect()
    }
}

struct Running {
    worker: Worker,
    driver: Driver,
    app: AppAttemptId,
}

fn run(master: &Master) -> Running {
    master.submit_sql(None);
    let worker = Worker::register(master, Vec::new());
    let app = worker.driver().app;
    Running { driver: Driver::attach(master, app), worker, app }
}

impl Running {
    fn print(&self, source: &str, text: &str) {
        let bytes = Payload::from(text.as_bytes());
        self.worker.say(ToMaster::Output { app: self.app, source: source.to_owned(), bytes });
    }

    fn end(&self) {
        self.driver.finish(Ok(b"1"));
        self.worker.say(ToMaster::DriverExited { app: self.app, reason: "exit status 0".into() });
    }
}

#[test]
fn output_is_followed_to_its_end_and_told_apart_by_its_source() {
    let dir = tempfile::tempdir().unwrap();
    let master = Master::start(dir.path());
    let running = run(&master);
    let mut all = Following::of(&master, "/applications/1/logs?follow=1", "");
    assert!(all.head.starts_with("http/1.1 200") && all.head.contains("text/plain"), "{}", all.head);
    let one = Following::of(&master, "/applications/1/logs?follow=1&source=executor%20on%20worker-9", "");
    running.print("driver", "first\n");
    assert_eq!(all.until("first\n"), "first\n");
    running.print("executor on worker-9", "task\n");
    running.print("driver", "second\n");
    running.end();
    assert_eq!(all.rest(), "[executor on worker-9] task\nsecond\n");
    assert_eq!(one.rest(), "[executor on worker-9] task\n");
    let sources: Vec<LogSource> = master.get("/applications/1/logs/sources");
    let names: Vec<&str> = sources.iter().map(|source| source.source.as_str()).collect();
    assert_eq!(names, ["driver", "executor on worker-9"]);
    let piece: LogPiece = master.get("/applications/1/logs?source=driver");
    assert_eq!((piece.text.as_str(), piece.end), ("first\nsecond\n", true));
    assert_eq!(master.get_raw("/applications/1/logs?follow=yes").0, 400);
}

#[test]
fn a_reader_that_does_not_keep_up_is_told_what_it_missed() {
    let dir = tempfile::tempdir().unwrap();
    let master = Master::start(dir.path());
    let running = run(&master);
    let slow = Following::of(&master, "/applications/1/logs?follow=1", "");
    let line = format!("{}\n", "x".repeat(64 * 1024 - 1));
    for _ in 0..400 {
        running.print("driver", &line);
    }
    running.print("driver", "the last line\n");
    running.end();
    // The ring of a log holds 4 MiB, 25 MiB were printed: what a socket could not take is gone.
    let text = slow.rest();
    assert!(text.len() < 24 << 20, "{} bytes", text.len());
    assert!(text.contains("[earlier output was dropped]\n") && text.ends_with("the last line\n"));
}

#[test]
fn events_are_followed_and_a_client_that_comes_back_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let master = Master::start(dir.path());
    master.submit_sql(None);
    let path = "/applications/1/events";
    let mut events = Following::of(&master, path, "Accept: text/event-stream\r\n");
    assert!(events.head.contains("text/event-stream"), "{}", events.head);
    let worker = Worker::register(&master, Vec::new());
    let app = worker.driver().app;
    let first = events.until("app_started");
    assert!(first.contains("id: 0\ndata: {\"at\":"), "{first}");
    drop(events);
    let driver = Driver::attach(&master, app);
    let resumed = Following::of(&master, &format!("{path}?follow=1"), "Last-Event-ID: 0\r\n");
    driver.finish(Ok(b"1"));
    let rest = resumed.rest();
    assert!(!rest.contains("id: 0\n") && rest.contains("id: 1\ndata: "), "{rest}");
    assert!(rest.contains("app_ended"), "{rest}");
    assert!(rest.ends_with("event: end\ndata: {\"state\":\"succeeded\"}\n\n"), "{rest}");
    let last = rest.rsplit("id: ").next().unwrap().split('\n').next().unwrap();
    let over =
        Following::of(&master, path, &format!("Accept: text/event-stream\r\nLast-Event-ID: {last}\r\n"));
    assert!(over.head.starts_with("http/1.1 204"), "{}", over.head);
    let again = Following::of(&master, &format!("{path}?follow=1"), "").rest();
    assert!(again.contains("id: 0\n") && again.contains("app_ended"), "{again}");
    let wrong = Following::of(&master, &format!("{path}?follow=1"), "Last-Event-ID: x\r\n");
    assert!(wrong.head.starts_with("http/1.1 400"), "{}", wrong.head);
}

#[test]
fn places_for_followers_are_bounded_and_given_back() {
    let dir = tempfile::tempdir().unwrap();
    let master = Master::start(dir.path());
    let _running = run(&master);
    let follow = || Following::of(&master, "/applications/1/events?follow=1", "");
    let mut followers: Vec<Following> = (0..64).map(|_| follow()).collect();
    assert!(follow().head.starts_with("http/1.1 503"));
    followers.truncate(32);
    // The daemon notices at its own time that they are gone.
    let deadline = std::time::Instant::now() + PATIENCE;
    while !follow().head.starts_with("http/1.1 200") {
        assert!(std::time::Instant::now() < deadline, "no place was given back");
        std::thread::sleep(Duration::from_millis(20));
    }
}
