//! `firesteel workers`: the workers that a master knows, and taking one out of service.

use super::{ListFormat, print_list};
use crate::client::{Client, ConnectArgs};
use crate::failure::{Exit, Outcome};
use crate::print;
use clap::{Args, Subcommand};
use firesteel_common::http::WorkerInfo;
use firesteel_common::id::WorkerId;
use firesteel_common::sandbox::Sandbox;

/// Lists the workers of the cluster, with the sandbox that is in force on each
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct WorkersArgs {
    #[command(subcommand)]
    command: Option<WorkersCommand>,
    /// How to print it
    #[arg(short = 'o', long = "output", alias = "format", value_enum, default_value_t)]
    format: ListFormat,
    #[command(flatten)]
    connect: ConnectArgs,
}

#[derive(Debug, Subcommand)]
enum WorkersCommand {
    /// Gives a worker no further tasks, moves its map outputs, and lets it end
    Drain {
        /// The worker, such as worker-2
        #[arg(value_name = "WORKER")]
        worker: WorkerId,
        #[command(flatten)]
        connect: ConnectArgs,
    },
}

impl WorkersArgs {
    /// One row for each.
    pub fn run(self) -> Outcome<Exit> {
        if let Some(WorkersCommand::Drain { worker, connect }) = self.command {
            Client::find(&connect)?.command(&format!("/workers/{worker}/drain"))?;
            print::talk(format!("{worker} is being drained"));
            return Ok(Exit::Done);
        }
        let workers: Vec<WorkerInfo> = Client::find(&self.connect)?.get("/workers")?;
        let header = ["WORKER", "ALIVE", "SLOTS", "FREE", "DRIVERS", "HOST", "DATA SERVER", "SANDBOX"];
        print_list(&workers, self.format, &header, |worker| {
            let alive = match (worker.alive, worker.draining) {
                (true, true) => "draining",
                (true, false) => "yes",
                (false, _) => "no",
            };
            vec![
                worker.worker.to_string(),
                alive.into(),
                worker.slots.to_string(),
                worker.slots_free.to_string(),
                worker.drivers.to_string(),
                worker.host.clone(),
                worker.address.clone(),
                sandbox(&worker.sandbox),
            ]
        })
    }
}

/// What is in force, in one cell.
pub fn sandbox(sandbox: &Sandbox) -> String {
    let parts = [
        sandbox.landlock.map(|version| format!("landlock {version}")),
        sandbox.seccomp.then(|| "seccomp".to_owned()),
        sandbox.cgroup.map(|version| format!("cgroup v{version}")),
        sandbox.rlimits.then(|| "rlimits".to_owned()),
        sandbox.user.map(|user| format!("user {user}")),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    if parts.is_empty() { "none".to_owned() } else { parts.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sandbox_says_what_is_in_force() {
        assert_eq!(sandbox(&Sandbox::default()), "none");
        let some = Sandbox { landlock: Some(6), seccomp: true, cgroup: Some(2), ..Sandbox::default() };
        assert_eq!(sandbox(&some), "landlock 6, seccomp, cgroup v2");
    }
}
