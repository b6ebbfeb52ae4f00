//! A worker with real child processes under a master that is made up here. This file has its own `main`,
//! since the children of the worker are this program again: `executor` and `driver` are its subcommands.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use crossbeam::channel::{Receiver, Sender, unbounded};
use firesteel_common::config::{Config, DEFAULT_TOML};
use firesteel_common::graph::TaskCode;
use firesteel_common::id::{AppAttemptId, AppId, Epoch, PluginHash, StageId, TaskId, WorkerId};
use firesteel_common::options::Limits;
use firesteel_common::protocol::data::{PluginReply, PluginRequest};
use firesteel_common::protocol::hello::Role;
use firesteel_common::protocol::worker::{
    DriverLaunch, DriverProgram, FromWorker, StageCode, TaskLaunch, TaskLaunches, ToMaster, ToWorker,
};
use firesteel_common::task::{TaskOutcome, TaskReport};
use firesteel_common::{Error, Payload};
use firesteel_net::{Key, Link, Listener, bind_loopback, read_frame, write_frame};
use firesteel_worker::{WorkerOptions, driver::run_driver, run_executor, run_worker};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

const WAIT: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    let done = match std::env::args().nth(1).as_deref() {
        Some("executor") => run_executor(),
        Some("driver") => run_driver(),
        Some("--list") => return ExitCode::SUCCESS,
        _ => {
            the_life_of_a_worker();
            println!("test the_life_of_a_worker ... ok");
            Ok(())
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// The master's end of the link.
struct Master {
    link: Link<ToWorker>,
    messages: Receiver<FromWorker>,
}

impl Master {
    fn send(&self, message: ToWorker) {
        self.link.send(message).unwrap();
    }

    /// The next message that `pick` takes; others are passed over.
    fn wait<T>(&self, mut pick: impl FnMut(&ToMaster) -> Option<T>) -> T {
        let deadline = Instant::now() + WAIT;
        loop {
            let message = self.messages.recv_deadline(deadline).unwrap().message;
            if let Some(found) = pick(&message) {
                return found;
            }
        }
    }

    fn report(&self) -> TaskReport {
        self.wait(|message| match message {
            ToMaster::TasksFinished(reports) => Some(reports[0].clone()),
            _ => None,
        })
    }
}

/// Listens as a master: links of workers are given out, plugins are answered with bytes of another hash.
fn listen(key: &Key, masters: Sender<Master>) -> Listener {
    let key = key.clone();
    let key_for = move |_| Some(key.clone());
    let on_connection = move |mut stream: firesteel_net::Socket, role| match role {
        Role::Worker => {
            let (sender, messages) = unbounded();
            let on_message = move |message: FromWorker| sender.send(message).is_ok();
            let link = Link::start(stream, "worker", 64, on_message, |_| {}).unwrap();
            masters.send(Master { link, messages }).unwrap();
        }
        Role::Fetcher => {
            let _: Option<PluginRequest> = read_frame(&mut stream, 1024).unwrap();
            write_frame(&mut stream, &PluginReply::Found { bytes: 4 }).unwrap();
            stream.write_all(b"what").unwrap();
        }
        other => panic!("{other:?}"),
    };
    Listener::start(bind_loopback("127.0.0.1:0").unwrap(), "master", Role::Master, key_for, on_connection)
        .unwrap()
}

fn app(number: u64) -> AppAttemptId {
    AppAttemptId { app: AppId(number), attempt: 1 }
}

fn launch(number: u64, code: TaskCode, partition: u32) -> ToWorker {
    let app = app(number);
    let (stage, payload) = (StageId(1), Payload::from(&b"no plan"[..]));
    let task = TaskId { app, stage, partition, attempt: 0 };
    let tasks = vec![TaskLaunch { task, payload: payload.clone(), reads: vec![], cached: vec![] }];
    let code = StageCode { stage, name: "a stage".to_owned(), code, payload, inputs: vec![], reducers: 0 };
    ToWorker::LaunchTasks(TaskLaunches {
        app,
        limits: Limits::default(),
        stages: vec![Arc::new(code)],
        inputs: vec![],
        tasks,
    })
}

fn failed(report: &TaskReport) -> Error {
    match &report.outcome {
        TaskOutcome::Failed(error) => error.clone(),
        other => panic!("{other:?}"),
    }
}

/// The processes whose parent this one is and whose subcommand is `role`.
fn children(role: &str) -> Vec<rustix::process::Pid> {
    let of = |pid: i32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let parent: u32 = stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(1)?.parse().ok()?;
        let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
        (parent == std::process::id() && line.split('\0').nth(1) == Some(role)).then_some(pid)
    };
    let entries = std::fs::read_dir("/proc").unwrap();
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter_map(of).filter_map(rustix::process::Pid::from_raw).collect()
}

fn the_life_of_a_worker() {
    let run_dir = tempfile::tempdir().unwrap();
    let key = Key::generate().unwrap();
    let (masters, master) = unbounded();
    let listener = listen(&key, masters);
    let mut config: Config = toml::from_str(DEFAULT_TOML).unwrap();
    config.worker.cores = 2;
    std::fs::write(run_dir.path().join("master.json"), format!("{{\"master\": \"{}\"}}", listener.address()))
        .unwrap();
    let (ready, is_ready) = unbounded();
    let options = WorkerOptions {
        master: None,
        run_dir: run_dir.path().to_owned(),
        key,
        config,
        host: "here".to_owned(),
        die_with_parent: None,
        on_ready: Box::new(move |worker| ready.send(worker).unwrap()),
    };
    let worker = std::thread::spawn(move || run_worker(options));
    let master: Master = master_registers(&master);
    assert_eq!(is_ready.recv_timeout(WAIT).unwrap(), WorkerId(7));
    tasks_run_in_executors(&master);
    a_dead_executor_is_told(&master);
    a_false_plugin_is_refused(&master);
    a_driver_is_stopped(&master);
    ends_without_a_trace(&master, run_dir.path());
    worker.join().unwrap().unwrap();
    assert!(children("executor").is_empty() && children("driver").is_empty());
    let left: Vec<_> =
        std::fs::read_dir(run_dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["master.json"]);
}

fn master_registers(masters: &Receiver<Master>) -> Master {
    let master = masters.recv_timeout(WAIT).unwrap();
    let registration = master.wait(|message| match message {
        ToMaster::Register(registration) => Some(registration.clone()),
        _ => None,
    });
    assert_eq!((registration.slots, &registration.host[..]), (2, "here"));
    master.send(ToWorker::Registered { worker: WorkerId(7), epoch: Epoch(3), heartbeat_ms: 20 });
    master.wait(|message| matches!(message, ToMaster::Heartbeat).then_some(()));
    master
}

fn tasks_run_in_executors(master: &Master) {
    master.send(launch(1, TaskCode::Sql, 0));
    let report = master.report();
    assert_eq!((report.task.app, report.task.partition), (app(1), 0));
    failed(&report);
    assert_eq!(children("executor").len(), 1);
}

fn a_dead_executor_is_told(master: &Master) {
    let [executor] = children("executor")[..] else { panic!("there should be one executor") };
    rustix::process::kill_process(executor, rustix::process::Signal::ABORT).unwrap();
    let reason = master.wait(|message| match message {
        ToMaster::ExecutorLost { reason, .. } => Some(reason.clone()),
        _ => None,
    });
    assert!(reason.words.contains("SIGABRT"), "{reason}");
    // The next task gets a new executor.
    master.send(launch(1, TaskCode::Sql, 1));
    assert_eq!(master.report().task.partition, 1);
    master.send(ToWorker::EndApp(app(1)));
}

fn a_false_plugin_is_refused(master: &Master) {
    master.send(launch(2, TaskCode::Plugin(PluginHash([9; 32])), 0));
    let error = failed(&master.report());
    assert!(error.message.contains("has the hash"), "{error}");
}

fn a_driver_is_stopped(master: &Master) {
    let program = DriverProgram::Sql { text: "select 1".to_owned(), tables: BTreeMap::new() };
    master.send(ToWorker::StartDriver(DriverLaunch {
        app: app(3),
        submitted_ms: 0,
        program,
        limits: Limits::default(),
    }));
    master.send(ToWorker::KillDriver(app(3)));
    let ended = master.wait(|message| match message {
        ToMaster::DriverExited { app, .. } => Some(*app),
        _ => None,
    });
    assert_eq!(ended, app(3));
}

fn ends_without_a_trace(master: &Master, run_dir: &Path) {
    master.send(launch(4, TaskCode::Sql, 0));
    failed(&master.report());
    let mine = |entry: std::io::Result<std::fs::DirEntry>| {
        entry.unwrap().file_name().to_str().unwrap().starts_with("worker-")
    };
    assert!(std::fs::read_dir(run_dir).unwrap().any(mine));
    rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::TERM).unwrap();
}
