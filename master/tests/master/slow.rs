//! Clients that never finish: each is closed in the end, and until then others are served.

use crate::harness::Master;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// Connections of each kind.
const EACH: usize = 125;
/// When one that is still open has been forgotten. The bounds themselves are a few seconds.
const FORGOTTEN: Duration = Duration::from_secs(40);

struct Client {
    kind: usize,
    stream: TcpStream,
    open: bool,
}

impl Client {
    /// Sends one byte more where the kind does so, reads what is there, and sees whether it was closed.
    fn turn(&mut self, kinds: &[Kind]) {
        let more = kinds[self.kind].more;
        let sent = if more.is_empty() { Ok(0) } else { self.stream.write(more) };
        let mut bytes = [0; 4096];
        let closed = |read: &std::io::Result<usize>| match read {
            Ok(0) => true,
            Ok(_) => false,
            Err(cause) => cause.kind() != ErrorKind::WouldBlock,
        };
        let read = self.stream.read(&mut bytes);
        self.open = !(closed(&read) || sent.is_err_and(|cause| cause.kind() != ErrorKind::WouldBlock));
    }
}

struct Kind {
    name: &'static str,
    head: String,
    more: &'static [u8],
}

fn kinds(token: &str) -> Vec<Kind> {
    let post = |token: &str, body: &str| {
        format!(
            "POST /api/firesteel/v1/plugins HTTP/1.1\r\nHost: localhost\r\n\
             Authorization: Bearer {token}\r\n{body}\r\n"
        )
    };
    let chunked = "Transfer-Encoding: chunked\r\n";
    let long = "Content-Length: 60000\r\n";
    vec![
        Kind { name: "says nothing", head: String::new(), more: b"" },
        Kind { name: "a head byte by byte", head: "GET / HTTP/1.1\r\nX: ".into(), more: b"x" },
        Kind { name: "chunks, no token", head: post("none", chunked), more: b"1\r\nx\r\n" },
        Kind { name: "a long body, no token", head: post("none", long), more: b"x" },
        Kind { name: "chunks, a token", head: post(token, chunked), more: b"1\r\nx\r\n" },
        Kind { name: "a long body, a token", head: post(token, long), more: b"x" },
    ]
}

#[test]
fn slow_clients_are_closed_and_lock_nobody_out() {
    let dir = tempfile::tempdir().unwrap();
    let master = Master::start(dir.path());
    let kinds = kinds(&firesteel_master::read_token(dir.path()).unwrap());
    let mut clients: Vec<Client> = (0..kinds.len() * EACH)
        .map(|number| {
            let kind = number % kinds.len();
            let mut stream = TcpStream::connect(&master.state.http).unwrap();
            stream.write_all(kinds[kind].head.as_bytes()).unwrap();
            stream.set_nonblocking(true).unwrap();
            Client { kind, stream, open: true }
        })
        .collect();
    let started = Instant::now();
    while clients.iter().any(|client| client.open) {
        assert_eq!(master.get_raw("/healthz").0, 200);
        for client in clients.iter_mut().filter(|client| client.open) {
            client.turn(&kinds);
        }
        if started.elapsed() > FORGOTTEN {
            let open: Vec<_> =
                clients.iter().filter(|client| client.open).map(|c| kinds[c.kind].name).collect();
            panic!("{} connections are still open, among them: {:?}", open.len(), open.first());
        }
        std::thread::park_timeout(Duration::from_millis(250));
    }
    assert_eq!(master.get_raw("/readyz").0, 200);
}

#[test]
fn a_head_that_is_too_long_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let master = Master::start(dir.path());
    let mut stream = TcpStream::connect(&master.state.http).unwrap();
    let head = format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(17 * 1024));
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    assert!(answer.contains("longer than 16384 bytes"), "{answer}");
    assert_eq!(master.get_raw("/healthz").0, 200);
}
