//! `firesteel master`: the control plane and its HTTP daemon, until it is told to stop.

use crate::failure::{Exit, Outcome};
use crate::settings::SettingsArgs;
use crate::{children, print, run_dir};
use clap::Args;
use firesteel_master::{MasterOptions, MasterState};
use std::path::PathBuf;

/// Runs the master of a cluster: membership, scheduling, and the HTTP daemon
///
/// Prints where it listens, and writes the same into master.json of its run
/// directory, where workers and commands on this machine find it. The cluster
/// secret and the token are made at the first start, readable for their owner only.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub struct MasterArgs {
    /// Where it keeps secret, token, journal, plugins and event logs
    #[arg(long, value_name = "DIR", env = "FIRESTEEL_RUN_DIR", hide_env_values = true)]
    run_dir: Option<PathBuf>,
    /// Where workers and drivers dial, HOST:PORT; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Where the HTTP daemon listens, HOST:PORT; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS")]
    http: Option<String>,
    /// Let connections leave this machine without TLS: everybody on the network can read and change them
    #[arg(long)]
    insecure_i_know: bool,
    /// Remove the run directory at the end
    #[arg(long)]
    temporary: bool,
    /// End when this process, the parent, does
    #[arg(long, value_name = "PID", hide = true)]
    die_with_parent: Option<i32>,
    #[command(flatten)]
    settings: SettingsArgs,
}

impl MasterArgs {
    /// Runs until SIGTERM or SIGINT.
    pub fn run(self) -> Outcome<Exit> {
        if let Some(parent) = self.die_with_parent {
            children::die_with_parent(parent)?;
        }
        let insecure = self.insecure_i_know.then(|| "true".to_owned());
        let config = self.settings.load(&[
            ("master.listen", self.listen),
            ("master.http", self.http),
            ("tls.insecure_i_know", insecure),
        ])?;
        let dir = match self.run_dir {
            Some(dir) => dir,
            None => run_dir::default_dir()?,
        };
        let options = MasterOptions {
            temporary: self.temporary,
            on_ready: Box::new(announce),
            ..MasterOptions::new(run_dir::create(&dir)?, config)
        };
        firesteel_master::run_master(options)?;
        Ok(Exit::Done)
    }
}

/// Two lines of data; whoever has started this process reads them.
fn announce(state: &MasterState) {
    let _ = print::line(format!("master {}\nhttp {}", state.master, crate::client::http_url(state)));
}
