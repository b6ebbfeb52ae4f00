//! `firesteel local`: a whole cluster on this machine, as child processes that never outlive the command.

use crate::children::{self, Server};
use crate::failure::{Exit, Failure, Outcome};
use crate::settings::SettingsArgs;
use crate::signals::{self, Stop};
use crate::{print, run_dir};
use clap::{Args, ValueEnum};
use crossbeam::channel::Receiver;
use firesteel_common::error::{Error, ErrorCode};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long workers may take to end, then the master.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often it is looked after the children.
const LOOK: Duration = Duration::from_millis(200);

/// Starts a master and workers on this machine, until Ctrl-C
///
/// They are processes of their own, as on a real cluster, and commands of the same
/// user find them by themselves. At the end nothing of them remains, also after a
/// kill -9; with --run-dir, the journal, plugins and event logs stay.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub struct LocalArgs {
    /// How many workers
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=64))]
    workers: u32,
    /// Tasks that run at once on each worker; else the machine's cores are shared out
    #[arg(long, value_name = "N")]
    cores: Option<u32>,
    /// The budget of each worker's block store, such as 512M or 4G
    #[arg(long, value_name = "BYTES")]
    memory: Option<String>,
    /// How segments of another worker are read: mapped, or over TCP as if it were another machine
    #[arg(long, value_enum, value_name = "HOW")]
    shuffle_same_host: Option<SameHost>,
    /// Where the HTTP daemon listens, HOST:PORT; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS")]
    http: Option<String>,
    /// Keep the cluster's state in this directory, from one start to the next
    #[arg(long, value_name = "DIR")]
    run_dir: Option<PathBuf>,
    /// Remove the run directory at the end, also one that was given
    #[arg(long)]
    temporary: bool,
    /// Say nothing but the addresses
    #[arg(long, hide = true)]
    quiet: bool,
    /// End when this process, the parent, does
    #[arg(long, value_name = "PID", hide = true)]
    die_with_parent: Option<i32>,
    #[command(flatten)]
    settings: SettingsArgs,
}

/// How segments of the same machine are read.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum SameHost {
    /// Mapped from memory.
    Map,
    /// Fetched over TCP.
    Tcp,
}

impl LocalArgs {
    /// Runs the cluster until Ctrl-C, SIGTERM, or the end of its master.
    pub fn run(self) -> Outcome<Exit> {
        if let Some(parent) = self.die_with_parent {
            children::die_with_parent(parent)?;
        }
        let begin = Instant::now();
        // Read here too, so that a wrong setting is told once and at once.
        let machine = std::thread::available_parallelism().map_or(1, |cores| cores.get());
        let share = u32::try_from(machine).unwrap_or(1).div_euclid(self.workers).max(1);
        let config = self.settings.load_over(&[("worker.cores", share.to_string())], &self.flags())?;
        check_address("master.http", &config.master.http)?;
        check_address("master.listen", &config.master.listen)?;
        if !config.tls.cert.is_empty() {
            // One configuration cannot hold the certificates of both roles.
            return Err(Failure::usage("a cluster on this machine speaks no TLS, and tls.cert is set")
                .with_help("start `firesteel master` and `firesteel worker`, each with its own settings"));
        }
        let dir = match &self.run_dir {
            Some(dir) => dir.clone(),
            None => run_dir::default_local_dir()?,
        };
        refuse_second(&dir)?;
        let dir = run_dir::create(&dir)?;
        let stop = signals::stop_requests()?;
        let mut cluster =
            Cluster { servers: Vec::new(), temporary: self.is_temporary().then_some(dir.clone()) };
        let started = self.start(&dir, config.worker.cores, &mut cluster);
        let (master, http) = started.inspect_err(|_| cluster.stop())?;
        let workers = format!("{} with {} core(s) each", self.workers, config.worker.cores);
        let ready = begin.elapsed().as_secs_f64();
        let fields = [
            ("master", master),
            ("http", http),
            ("workers", workers),
            ("run-dir", dir.display().to_string()),
        ];
        for (name, value) in fields {
            print::line(format!("{name:<8} {value}"))?;
        }
        print::line(format!("ready    in {ready:.3} s"))?;
        self.talk("Ctrl-C ends it. In another terminal: firesteel submit PLUGIN.so ARG=VALUE…");
        let end = cluster.watch(&stop);
        if matches!(end, Ok(Exit::Done)) {
            self.talk("stopping");
        }
        cluster.stop();
        end
    }

    fn talk(&self, text: &str) {
        if !self.quiet {
            print::talk(text);
        }
    }

    fn is_temporary(&self) -> bool {
        self.temporary || self.run_dir.is_none()
    }

    /// The settings that this command's own flags stand for.
    fn flags(&self) -> Vec<(&'static str, Option<String>)> {
        let how = self.shuffle_same_host.map(|how| match how {
            SameHost::Map => "map".to_owned(),
            SameHost::Tcp => "tcp".to_owned(),
        });
        vec![
            ("worker.cores", self.cores.map(|cores| cores.to_string())),
            ("worker.memory", self.memory.clone()),
            ("master.http", self.http.clone()),
            ("shuffle.same_host", how),
        ]
    }

    /// Starts everything and waits until it is there; returns the two addresses.
    fn start(&self, dir: &Path, cores: u32, cluster: &mut Cluster) -> Outcome<(String, String)> {
        let mut common = vec!["--run-dir".to_owned(), dir.display().to_string()];
        common.extend(self.settings.to_args());
        for (key, value) in self.flags() {
            common.extend(value.into_iter().flat_map(|value| ["--set".into(), format!("{key}={value}")]));
        }
        common.extend(["--set".into(), format!("worker.cores={cores}")]);
        let server = |name: &str, extra: &[&str]| {
            let kind = name.split(' ').next().unwrap_or(name);
            let mut args = vec![kind.to_owned()];
            args.extend(common.iter().cloned());
            args.extend(extra.iter().map(|text| (*text).to_owned()));
            Server::start(name, &args)
        };
        let temporary: &[&str] = if self.is_temporary() { &["--temporary"] } else { &[] };
        cluster.servers.push(server("master", temporary)?);
        let [master, ..] = cluster.servers.as_slice() else { return Err(Failure::usage("no master")) };
        let addresses = (master.ready_line("master ")?, master.ready_line("http ")?);
        for number in 1..=self.workers {
            cluster.servers.push(server(&format!("worker {number}"), &["--master", &addresses.0])?);
        }
        for worker in &cluster.servers[1..] {
            worker.ready_line("worker ")?;
        }
        Ok(addresses)
    }
}

/// What a child would refuse is refused here, once and as a wrong setting.
fn check_address(key: &str, text: &str) -> Outcome<()> {
    let is_address =
        text.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
    if is_address {
        return Ok(());
    }
    Err(Error::new(ErrorCode::ConfigInvalid, format!("{key}: '{text}' is not an address"))
        .with_help("write HOST:PORT, such as 127.0.0.1:7070; port 0 takes a free one")
        .into())
}

/// Two clusters never share a directory.
fn refuse_second(dir: &Path) -> Outcome<()> {
    match run_dir::live_state(dir) {
        Ok(state) => {
            let message = format!("a cluster runs in {} already (process {})", dir.display(), state.pid);
            Err(Failure::refused(Error::new(ErrorCode::Conflict, message))
                .with_help("use it, end it with Ctrl-C, or give this one a directory with --run-dir"))
        }
        Err(_) => Ok(()),
    }
}

/// The processes: the master first.
struct Cluster {
    servers: Vec<Server>,
    /// The directory to be removed, if it is one.
    temporary: Option<PathBuf>,
}

impl Cluster {
    /// Waits until it shall stop, or cannot go on.
    fn watch(&mut self, stop: &Receiver<Stop>) -> Outcome<Exit> {
        loop {
            if stop.recv_timeout(LOOK).is_ok() {
                return Ok(Exit::Done);
            }
            for index in (0..self.servers.len()).rev() {
                let Some(status) = self.servers[index].ended() else { continue };
                let what = format!("{} ended: {status}", self.servers[index].name);
                if index == 0 {
                    return Err(Error::new(ErrorCode::ProcessDied, what).into());
                }
                print::talk(what);
                self.servers.remove(index);
            }
        }
    }

    /// Workers first, so that the master, which removes the run directory, is the last.
    fn stop(&mut self) {
        let workers = self.servers.split_off(self.servers.len().min(1));
        children::stop(&mut { workers }, PATIENCE);
        children::stop(&mut self.servers, PATIENCE);
        if let Some(dir) = self.temporary.take() {
            // Mostly gone already; after a master that was killed it is not.
            let _ = std::fs::remove_dir_all(dir);
        }
    }
}
