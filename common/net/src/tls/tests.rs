//! Sessions between an in-process pair: who is let in, what both ends are told, and what a session survives.

use super::authority::{Authority, Issued, Part};
use super::{ROLE_MASTER, Tls};
use crate::listener::{Listener, Service};
use crate::testing::{app, key};
use crate::{Key, Link, Socket, Transport};
use crossbeam::channel::{Receiver, unbounded};
use firesteel_common::error::{Error, ErrorCode};
use firesteel_common::protocol::hello::Role;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

const PATIENCE: Duration = Duration::from_secs(10);
const DAY: Duration = Duration::from_secs(86_400);

struct Cluster {
    authority: Authority,
    pem: String,
}

impl Cluster {
    fn new() -> Self {
        let (authority, issued) = Authority::create(SystemTime::now(), DAY).unwrap();
        Self { authority, pem: issued.certificate }
    }

    fn with(&self, part: Part) -> Transport {
        self.holding(&self.authority.issue(part, &[], SystemTime::now(), DAY).unwrap())
    }

    fn expired(&self, part: Part) -> Transport {
        let then = SystemTime::now() - 3 * DAY;
        self.holding(&self.authority.issue(part, &[], then, DAY).unwrap())
    }

    fn holding(&self, issued: &Issued) -> Transport {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = dir.path().join(name);
            let mut options = std::fs::OpenOptions::new();
            let mut file = options.write(true).create_new(true).mode(0o600).open(&path).unwrap();
            file.write_all(text.as_bytes()).unwrap();
            path
        };
        let (ca, cert) = (file("ca", &self.pem), file("cert", &issued.certificate));
        Transport::tls(Tls::load(&ca, &cert, &file("key", &issued.key)).unwrap())
    }
}

struct Server {
    listener: Listener,
    connections: Receiver<(Socket, Role)>,
    refusals: Receiver<Error>,
}

fn serve(transport: Transport) -> Server {
    let ((told, refusals), (given, connections)) = (unbounded(), unbounded());
    let service = Service {
        on_refusal: Box::new(move |_, _, error| drop(told.send(error.cloned().unwrap()))),
        ..Service::over(transport, "test", Role::Master)
    };
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let keys = |role| match role {
        Role::Worker | Role::Fetcher => Some(key(1)),
        Role::Driver(app) | Role::Reader(app) => Some(key(1).for_app(app)),
        Role::Master => None,
    };
    let listener =
        Listener::serve(socket, service, keys, move |socket, role| given.send((socket, role)).unwrap());
    Server { listener: listener.unwrap(), connections, refusals }
}

fn dial(server: &Server, transport: &Transport, role: Role, key: &Key) -> Result<Socket, Error> {
    transport.connect(&server.listener.address().to_string(), role, key, PATIENCE)
}

#[test]
fn a_worker_and_a_driver_reach_the_master_and_bytes_pass_both_ways() {
    let cluster = Cluster::new();
    let server = serve(cluster.with(Part::Master));
    let driver = Transport::trusting(&cluster.with(Part::Worker).trust()).unwrap();
    let app = app(3);
    let dialled = [
        (cluster.with(Part::Worker), Role::Worker, key(1)),
        (driver, Role::Driver(app), key(1).for_app(app)),
    ];
    for (transport, role, key) in dialled {
        let mut near = dial(&server, &transport, role, &key).unwrap();
        let (mut far, who) = server.connections.recv_timeout(PATIENCE).unwrap();
        assert_eq!(who, role);
        let sent: Vec<u8> = (0..3_000_000_u32).map(|at| (at / 11) as u8).collect();
        let (all, mut back) = (sent.clone(), far.try_clone().unwrap());
        let writing = std::thread::spawn(move || {
            near.write_all(&all).unwrap();
            near.shutdown(Shutdown::Write).unwrap();
            let mut answer = Vec::new();
            near.read_to_end(&mut answer).unwrap();
            answer
        });
        let mut received = Vec::new();
        far.read_to_end(&mut received).unwrap();
        assert!(received == sent);
        back.write_all(&sent).unwrap();
        drop((far, back));
        assert!(writing.join().unwrap() == sent, "what was sent before the end arrives");
    }
}

#[test]
fn whoever_must_not_come_in_is_told_why_and_so_is_the_listener() {
    let (cluster, other) = (Cluster::new(), Cluster::new());
    let (master, worker) = (cluster.with(Part::Master), cluster.with(Part::Worker));
    let driver = Transport::trusting(&worker.trust()).unwrap();
    let plain = Transport::loopback();
    // Listener, dialler, role, what the dialler says, what the listener says.
    let cases = [
        (&master, &other.with(Part::Worker), Role::Worker, "UnknownIssuer", "UnknownCA"),
        (&cluster.expired(Part::Master), &worker, Role::Worker, "xpired", "xpired"),
        (&master, &cluster.expired(Part::Worker), Role::Worker, "xpired", "xpired"),
        (&worker, &worker, Role::Worker, ROLE_MASTER, ""),
        (&master, &driver, Role::Worker, "does not accept", "certificate"),
        (&master, &driver, Role::Fetcher, "does not accept", "certificate"),
        (&master, &plain, Role::Worker, "speaks TLS", "does not speak TLS"),
        (&plain, &worker, Role::Worker, "may not speak TLS", "speaks TLS"),
    ];
    for (number, (listening, dialling, role, near, far)) in cases.into_iter().enumerate() {
        let server = serve(listening.clone());
        let error = dial(&server, dialling, role, &key(1)).unwrap_err();
        assert_eq!(error.code, ErrorCode::Unauthenticated, "{number}: {error}");
        assert!(error.message.contains(near), "{number}: {error}");
        let error = server.refusals.recv_timeout(PATIENCE).unwrap();
        assert!(error.message.contains(far), "{number}: {error}");
        assert!(server.connections.is_empty());
    }
    // A master's certificate is none to dial with.
    let error = dial(&serve(master.clone()), &master, Role::Worker, &key(1)).unwrap_err();
    assert_eq!(error.code, ErrorCode::Unauthenticated, "{error}");
    // The certificate is no substitute for the key.
    let error = dial(&serve(master), &worker, Role::Worker, &key(2)).unwrap_err();
    assert_eq!(error.code, ErrorCode::Unauthenticated, "{error}");
}

#[test]
fn a_flipped_byte_ends_the_connection_and_nothing_wrong_is_handed_over() {
    let cluster = Cluster::new();
    let server = serve(cluster.with(Part::Master));
    let worker = cluster.with(Part::Worker);
    for at in [0, 3, 7, 100, 5_000, 70_000] {
        let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, target) = (proxy.local_addr().unwrap(), server.listener.address());
        let forward = std::thread::spawn(move || {
            let near = proxy.accept().unwrap().0;
            let far = TcpStream::connect(target).unwrap();
            let (from, to) = (far.try_clone().unwrap(), near.try_clone().unwrap());
            let back = std::thread::spawn(move || drop(std::io::copy(&mut &from, &mut &to)));
            (near, far, back)
        });
        // The handshake must pass untouched, so bytes are forwarded from here until it has.
        let dialling = {
            let worker = worker.clone();
            std::thread::spawn(move || {
                worker.connect(&address.to_string(), Role::Worker, &key(1), PATIENCE).unwrap()
            })
        };
        let (near, far, back) = forward.join().unwrap();
        near.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let mut piece = vec![0; 65_536];
        while !dialling.is_finished() {
            if let Ok(read) = (&near).read(&mut piece) {
                (&far).write_all(&piece[..read]).unwrap();
            }
        }
        let mut dialled = dialling.join().unwrap();
        let (mut accepted, _) = server.connections.recv_timeout(PATIENCE).unwrap();
        let flipping = std::thread::spawn(move || {
            let (mut piece, mut passed) = (vec![0; 65_536], 0_usize);
            near.set_read_timeout(Some(PATIENCE)).unwrap();
            while let Ok(read @ 1..) = (&near).read(&mut piece) {
                if (passed..passed + read).contains(&at) {
                    piece[at - passed] ^= 0x10;
                }
                passed += read;
                if (&far).write_all(&piece[..read]).is_err() {
                    break;
                }
            }
            let _ = far.shutdown(Shutdown::Both);
            let _ = near.shutdown(Shutdown::Both);
        });
        let writing = std::thread::spawn(move || {
            let failed = dialled.write_all(&[42; 200_000]).is_err();
            dialled.set_read_timeout(Some(PATIENCE)).unwrap();
            match dialled.read(&mut [0]) {
                Ok(read) => read == 0,
                Err(cause) => failed || cause.kind() != std::io::ErrorKind::WouldBlock,
            }
        });
        let mut received = Vec::new();
        accepted.set_read_timeout(Some(PATIENCE)).unwrap();
        let _ = accepted.read_to_end(&mut received);
        assert!(received.len() < 200_000 && received.iter().all(|byte| *byte == 42), "{at}");
        drop(accepted);
        assert!(writing.join().unwrap(), "{at}: the sender notices too");
        flipping.join().unwrap();
        back.join().unwrap();
    }
}

#[test]
fn a_reader_that_does_not_read_holds_up_the_sender() {
    let cluster = Cluster::new();
    let server = serve(cluster.with(Part::Master));
    let near = dial(&server, &cluster.with(Part::Worker), Role::Worker, &key(1)).unwrap();
    let _unread = server.connections.recv_timeout(PATIENCE).unwrap();
    near.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
    // Far more than all buffers on the way hold together.
    let piece = vec![1; 1 << 20];
    let taken = (0..256).take_while(|_| (&near).write_all(&piece).is_ok()).count();
    assert!(taken < 128, "{taken} MiB were taken by nobody");
}

#[test]
fn links_run_over_a_session() {
    let cluster = Cluster::new();
    let server = serve(cluster.with(Part::Master));
    let near = dial(&server, &cluster.with(Part::Worker), Role::Worker, &key(1)).unwrap();
    let (far, _) = server.connections.recv_timeout(PATIENCE).unwrap();
    let (got, messages) = unbounded();
    let (ended, end) = unbounded();
    let near: Link<Vec<u8>> = Link::start(near, "near", 8, |_: u32| true, |_| {}).unwrap();
    let on_message = move |message: Vec<u8>| got.send(message.len()).is_ok();
    let _far: Link<u32> =
        Link::start(far, "far", 8, on_message, move |error| ended.send(error).unwrap()).unwrap();
    for len in [0, 1, 100_000, 5_000_000] {
        near.send(vec![7; len]).unwrap();
        assert_eq!(messages.recv_timeout(PATIENCE).unwrap(), len);
    }
    near.close();
    assert_eq!(end.recv_timeout(PATIENCE).unwrap(), None, "a clean end");
}

#[test]
fn a_key_that_others_can_read_is_refused_and_so_is_what_is_no_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::new();
    let issued = cluster.authority.issue(Part::Worker, &["w1".into()], SystemTime::now(), DAY).unwrap();
    let [ca, cert, key] =
        [("ca", &cluster.pem), ("cert", &issued.certificate), ("key", &issued.key)].map(|(name, text)| {
            std::fs::write(dir.path().join(name), text).unwrap();
            dir.path().join(name)
        });
    let mode = |mode| std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(mode));
    mode(0o640).unwrap();
    let load = |ca: &Path, cert: &Path, key: &Path| Tls::load(ca, cert, key).map(drop);
    assert!(load(&ca, &cert, &key).unwrap_err().message.contains("read by others"));
    mode(0o600).unwrap();
    load(&ca, &cert, &key).unwrap();
    for (ca, cert) in [(&key, &cert), (&ca, &key), (&ca, &ca), (&ca, &dir.path().join("none"))] {
        assert_eq!(load(ca, cert, &key).unwrap_err().code, ErrorCode::ConfigInvalid);
    }
}
