//! `firesteel worker`: the node agent, until it is told to stop.

use crate::failure::{Exit, Outcome};
use crate::settings::SettingsArgs;
use crate::{children, print, run_dir};
use clap::Args;
use firesteel_net::key::Key;
use firesteel_worker::WorkerOptions;
use std::path::PathBuf;

/// Runs a worker: it keeps blocks, and starts drivers and executors
///
/// It finds the master through the run directory, and dials again when the master
/// restarts. It prints its id once the master has taken it.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub struct WorkerArgs {
    /// The master's control address, HOST:PORT; else the one in the run directory
    #[arg(long, value_name = "ADDRESS")]
    master: Option<String>,
    /// The run directory; the cluster secret is read from it
    #[arg(long, value_name = "DIR", env = "FIRESTEEL_RUN_DIR", hide_env_values = true)]
    run_dir: Option<PathBuf>,
    /// The file of the cluster secret, if it is elsewhere
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
    /// Where the data server listens, HOST:PORT; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Tasks that run at once
    #[arg(long, value_name = "N")]
    cores: Option<u32>,
    /// The budget of the block store, such as 512M or 4G
    #[arg(long, value_name = "BYTES")]
    memory: Option<String>,
    /// Let connections leave this machine without TLS: everybody on the network can read and change them
    #[arg(long)]
    insecure_i_know: bool,
    /// Drivers that run at once
    #[arg(long, value_name = "N")]
    max_drivers: Option<u32>,
    /// The host name that tasks' preferred places are compared with
    #[arg(long, value_name = "NAME")]
    host: Option<String>,
    /// End when this process, the parent, does
    #[arg(long, value_name = "PID", hide = true)]
    die_with_parent: Option<i32>,
    #[command(flatten)]
    settings: SettingsArgs,
}

impl WorkerArgs {
    /// Runs until SIGTERM or SIGINT, or until the master refuses it.
    pub fn run(self) -> Outcome<Exit> {
        if let Some(parent) = self.die_with_parent {
            children::die_with_parent(parent)?;
        }
        let number = |value: Option<u32>| value.map(|number| number.to_string());
        let config = self.settings.load(&[
            ("worker.listen", self.listen),
            ("worker.cores", number(self.cores)),
            ("worker.memory", self.memory),
            ("worker.max_drivers", number(self.max_drivers)),
            ("tls.insecure_i_know", self.insecure_i_know.then(|| "true".to_owned())),
        ])?;
        let dir = run_dir::create(&run_dir::find(self.run_dir.as_deref())?)?;
        let secret = self.secret_file.unwrap_or_else(|| dir.join(run_dir::SECRET_FILE));
        // Made here if the worker is the first to come: the master takes the one it finds.
        let key = Key::load_or_create(&secret)?;
        firesteel_worker::run_worker(WorkerOptions {
            master: self.master,
            run_dir: dir,
            key,
            config,
            host: self.host.unwrap_or_else(host_name),
            die_with_parent: self.die_with_parent.and_then(|parent| u32::try_from(parent).ok()),
            on_ready: Box::new(|worker| drop(print::line(format!("worker {worker}")))),
        })?;
        Ok(Exit::Done)
    }
}

fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    if name.trim().is_empty() { "localhost".into() } else { name.trim().into() }
}
