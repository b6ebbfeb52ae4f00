//! Row 38: a worker and a master of different versions. Each refuses the other at the hello, names both
//! versions, and goes on.

use super::Trial;
use crate::chaos::lab::{Finding, Lab, ensure, until};
use firesteel_common::error::{Error, Result};
use firesteel_common::protocol::VERSION;
use firesteel_common::protocol::hello::{GREETING_LEN, Greeting, Role};
use firesteel_tests::cluster::Extra;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

/// A version that no build ever has.
const OTHER: u32 = 999_999;

pub fn skew(_: &mut Trial) -> Result<Finding> {
    let failed = |cause: std::io::Error| Error::io("saying hello", &cause);
    let mut lab = Lab::open(&Lab::setup(2))?;
    // An old worker at a new master.
    let mut stream = TcpStream::connect(lab.cluster.master()).map_err(failed)?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).map_err(failed)?;
    let greeting = Greeting { version: OTHER, role: Role::Worker, nonce: [7; 32] };
    stream.write_all(&greeting.encode()).map_err(failed)?;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let version: Option<u32> =
        answer.get(4..8).and_then(|bytes| bytes.try_into().ok()).map(u32::from_le_bytes);
    ensure(answer.len() == GREETING_LEN && version == Some(VERSION), "the master does not say its version")?;
    let both = |text: &str| text.contains(&OTHER.to_string()) && text.contains(&format!("version {VERSION}"));
    until("the master names both versions", || Ok(both(&lab.cluster.tails()).then_some(())))?;

    // A new worker at a master of another version: it says so, and does not register.
    let listener = TcpListener::bind("127.0.0.1:0").map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?.to_string();
    let speaker = std::thread::spawn(move || {
        for stream in listener.incoming().take(3) {
            let Ok(mut stream) = stream else { return };
            let mut theirs = [0; GREETING_LEN];
            let greeting = Greeting { version: OTHER, role: Role::Master, nonce: [8; 32] };
            let _ = stream.read_exact(&mut theirs).and_then(|()| stream.write_all(&greeting.encode()));
        }
    });
    let args = ["--master", address.as_str()];
    lab.cluster.spawn_worker_with(&Extra { args: &args, ..Extra::default() })?;
    let log = lab.cluster.run_dir().join("worker-3.log");
    let said = || std::fs::read_to_string(&log).unwrap_or_default();
    until("the worker names both versions", || Ok(both(&said()).then_some(())))?;
    lab.cluster.kill_worker(2);
    // It may have dialled once only, and ended: the listener is given the rest.
    while !speaker.is_finished() {
        drop(TcpStream::connect(&address));
        std::thread::sleep(Duration::from_millis(10));
    }
    ensure(lab.workers()?.len() == 2, "a worker of another version was registered")?;
    lab.close(2)?;
    Ok(Finding { fired: 2, equal: true, ..Finding::default() }.with("versions_named", "both"))
}
