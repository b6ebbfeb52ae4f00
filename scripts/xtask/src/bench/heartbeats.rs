//! Many workers at one master: what their heartbeats cost it.
//!
//! The workers are sockets of this process: each proves the cluster's key, registers, and sends a heartbeat
//! as often as the master wants it. They run nothing. What the master uses of one core is read from `/proc`.

use crate::failed;
use clap::Args;
use firesteel_common::error::{Error, Result};
use firesteel_common::http::WorkerInfo;
use firesteel_common::id::{Epoch, Incarnation};
use firesteel_common::protocol::codec::FRAME_LEN_MAX;
use firesteel_common::protocol::hello::Role;
use firesteel_common::protocol::worker::{FromWorker, Registration, ToMaster, ToWorker};
use firesteel_net::{Key, Socket, read_frame, write_frame};
use firesteel_tests::cluster::{Cluster, Setup};
use firesteel_tests::process;
use std::io::Write;
use std::time::{Duration, Instant};

/// The bar, as a share of one core.
const SHARE: f64 = 0.10;
/// How long the idle master is looked at.
const IDLE: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Debug, Args)]
pub struct HeartbeatsArgs {
    /// Workers
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    workers: u32,
    /// For how long, in seconds
    #[arg(long, default_value_t = 30)]
    seconds: u64,
}

/// A worker that only says that it lives.
struct Pretender {
    socket: Socket,
    /// The frame of its heartbeat.
    heartbeat: Vec<u8>,
}

/// Runs it.
///
/// # Errors
/// If a worker is lost, or the bar is missed.
pub fn run(args: &HeartbeatsArgs) -> Result<()> {
    // The cluster's own settings, not the hasty ones of tests.
    let cluster = Cluster::start(&Setup { settings: Vec::new(), ..Setup::new(0) })?;
    let key = Key::load(&cluster.run_dir().join("secret"))?;
    let master = cluster.pids().first().copied().unwrap_or_default();
    let before = process::cpu_seconds(master)?;
    std::thread::sleep(IDLE);
    let idle = (process::cpu_seconds(master)? - before) / IDLE.as_secs_f64();

    let begin = Instant::now();
    let (mut workers, mut every) = (Vec::new(), Duration::from_secs(2));
    for number in 0..args.workers {
        let (worker, heartbeat_ms) = register(cluster.master(), &key, number)?;
        workers.push(worker);
        every = Duration::from_millis(heartbeat_ms.max(1));
    }
    println!("heartbeats_register workers={} seconds={:.2}", workers.len(), begin.elapsed().as_secs_f64());

    // One round before it counts, so that what the registrations have left to do is done.
    beat(&mut workers, every, every)?;
    let before = process::cpu_seconds(master)?;
    let begin = Instant::now();
    let sent = beat(&mut workers, every, Duration::from_secs(args.seconds))?;
    let share = (process::cpu_seconds(master)? - before) / begin.elapsed().as_secs_f64();
    let memory = process::memory(master)?;
    let alive: Vec<WorkerInfo> = cluster.get_json("/workers")?;
    let alive = alive.iter().filter(|worker| worker.alive).count();
    println!(
        "heartbeats workers={alive} sent={sent} every_ms={} cpu_percent={:.1} idle_percent={:.1} \
         resident_mib={:.1}",
        every.as_millis(),
        share * 100.0,
        idle * 100.0,
        memory.resident
    );
    drop(workers);
    cluster.stop()?;
    if alive != args.workers as usize {
        return Err(failed(format!("{alive} of {} workers are alive", args.workers)));
    }
    if share > SHARE {
        return Err(failed(format!("the master uses {:.1} % of a core", share * 100.0)));
    }
    Ok(())
}

/// Connects a worker; how often the master wants to hear of it comes with it, in milliseconds.
fn register(master: &str, key: &Key, number: u32) -> Result<(Pretender, u64)> {
    let mut socket = firesteel_net::connect(master, Role::Worker, key, PATIENCE)?;
    let incarnation = Incarnation(u64::from(number) + 1);
    let registration = Registration {
        host: format!("host-{number}"),
        address: format!("host-{number}:1"),
        slots: 4,
        drivers_max: 1,
        ..Registration::default()
    };
    let message = ToMaster::Register(registration);
    write_frame(&mut socket, &FromWorker { epoch: Epoch(0), incarnation, message })?;
    match read_frame::<ToWorker>(&mut socket, FRAME_LEN_MAX)? {
        Some(ToWorker::Registered { epoch, heartbeat_ms, .. }) => {
            let message = FromWorker { epoch, incarnation, message: ToMaster::Heartbeat };
            let mut heartbeat = Vec::new();
            write_frame(&mut heartbeat, &message)?;
            Ok((Pretender { socket, heartbeat }, heartbeat_ms))
        }
        other => Err(failed(format!("the master answers a registration with {other:?}"))),
    }
}

/// Every worker sends a heartbeat each `every`, spread evenly, for so long. How many were sent.
fn beat(workers: &mut [Pretender], every: Duration, length: Duration) -> Result<u64> {
    let begin = Instant::now();
    let pause = every / workers.len().max(1) as u32;
    let mut sent = 0;
    while begin.elapsed() < length {
        for worker in workers.iter_mut() {
            let failed = |cause: std::io::Error| Error::io("sending a heartbeat", &cause);
            worker.socket.write_all(&worker.heartbeat).map_err(failed)?;
            sent += 1;
            let due = pause * u32::try_from(sent).unwrap_or(u32::MAX);
            std::thread::sleep(due.saturating_sub(begin.elapsed()));
        }
    }
    Ok(sent)
}
