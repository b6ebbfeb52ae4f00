//! `firesteel doctor`: whether this machine and the cluster are in order, a line for each thing, with what to
//! do where it is not.

use super::{ListFormat, print_json};
use crate::client::{Client, ConnectArgs};
use crate::failure::{Exit, Outcome};
use crate::settings::SettingsArgs;
use crate::{print, run_dir};
use clap::Args;
use firesteel_common::http::{Identity, WorkerInfo};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Below this much free room a disk is a warning, in bytes.
const DISK_FREE_MIN: u64 = 1 << 30;
/// 2024-01-01: a clock before it is wrong, since this program is younger.
const CLOCK_MIN: Duration = Duration::from_secs(1_704_067_200);

/// Checks this machine and the cluster: ports, permissions, sandbox, disk, clock, master, token
///
/// Exit code 0 if nothing has failed; warnings do not count. Exit code 1 otherwise.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub struct DoctorArgs {
    /// How to print it
    #[arg(short = 'o', long = "output", value_enum, default_value_t)]
    format: ListFormat,
    #[command(flatten)]
    connect: ConnectArgs,
    #[command(flatten)]
    settings: SettingsArgs,
}

/// How a thing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
enum Health {
    Ok,
    Warn,
    Fail,
}

/// A line of the answer.
#[derive(Debug, serde::Serialize)]
struct Finding {
    what: &'static str,
    health: Health,
    found: String,
    remedy: String,
}

impl Finding {
    fn ok(what: &'static str, found: impl Into<String>) -> Self {
        Self { what, health: Health::Ok, found: found.into(), remedy: String::new() }
    }

    fn bad(what: &'static str, health: Health, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { what, health, found: found.into(), remedy: remedy.into() }
    }
}

impl DoctorArgs {
    /// Looks at everything, whatever fails.
    pub fn run(self) -> Outcome<Exit> {
        let mut findings = vec![Finding::ok("version", env!("CARGO_PKG_VERSION")), clock(SystemTime::now())];
        findings.extend(self.configuration());
        findings.extend([landlock(), seccomp(), cgroup()]);
        findings.extend(self.directory());
        findings.extend(self.cluster());
        let failed = findings.iter().any(|finding| finding.health == Health::Fail);
        if self.format == ListFormat::Json {
            print_json(&findings)?;
        } else {
            for finding in &findings {
                print::line(print::safe(&text(finding)))?;
            }
        }
        Ok(if failed { Exit::ApplicationFailed } else { Exit::Done })
    }

    /// The settings, and whether the ports that they name are free or held by the cluster.
    fn configuration(&self) -> Vec<Finding> {
        let config = match self.settings.load(&[]) {
            Ok(config) => config,
            Err(failure) => {
                let remedy = failure.error.help.clone();
                return vec![Finding::bad("settings", Health::Fail, failure.error.message, remedy)];
            }
        };
        let held = run_dir::find(self.connect.run_dir.as_deref()).and_then(|dir| run_dir::live_state(&dir));
        let held = held.map(|state| [state.master, state.http]).unwrap_or_default();
        let mut findings = vec![Finding::ok("settings", "understood")];
        for (what, address) in [("port listen", &config.master.listen), ("port http", &config.master.http)] {
            findings.push(port(what, address, &held));
        }
        findings
    }

    /// The run directory: who may read it, and whether its disk has room.
    fn directory(&self) -> Vec<Finding> {
        let dir = match run_dir::find(self.connect.run_dir.as_deref()) {
            Ok(dir) if dir.exists() => dir,
            Ok(dir) => {
                let found = format!("{} is not there", dir.display());
                return vec![Finding::bad(
                    "run directory",
                    Health::Warn,
                    found,
                    "a master makes it at its start",
                )];
            }
            Err(failure) => {
                return vec![Finding::bad(
                    "run directory",
                    Health::Warn,
                    failure.error.message,
                    "give --run-dir DIR",
                )];
            }
        };
        let mut findings = vec![private("run directory", &dir, 0o700)];
        for (what, file) in [("secret", run_dir::SECRET_FILE), ("token file", run_dir::TOKEN_FILE)] {
            let path = dir.join(file);
            if path.exists() {
                findings.push(private(what, &path, 0o600));
            }
        }
        findings.push(disk(&dir));
        findings
    }

    /// Whether the master answers, knows the token, and has workers.
    fn cluster(&self) -> Vec<Finding> {
        let asked = Client::find(&self.connect).and_then(|client| {
            let who: Identity = client.get("/whoami")?;
            Ok((who, client.get::<Vec<WorkerInfo>>("/workers")?))
        });
        match asked {
            Err(failure) => {
                let refused = failure.exit == crate::failure::Exit::Refused;
                let what = if refused { "token" } else { "master" };
                // Without a cluster the machine may be in order all the same.
                let health = if refused { Health::Fail } else { Health::Warn };
                vec![Finding::bad(what, health, failure.error.message, failure.error.help)]
            }
            Ok((who, workers)) => {
                let alive = workers.iter().filter(|worker| worker.alive).count();
                let name = if who.name.is_empty() { "the cluster's own" } else { &who.name };
                let master = Finding::ok("master", "answers");
                let token = Finding::ok("token", format!("{name}, role {}", who.role.as_str()));
                let workers = match alive {
                    0 => {
                        Finding::bad("workers", Health::Warn, "none is alive", "start one: firesteel worker")
                    }
                    _ => Finding::ok("workers", format!("{alive} alive")),
                };
                vec![master, token, workers]
            }
        }
    }
}

fn text(finding: &Finding) -> String {
    let health = match finding.health {
        Health::Ok => "ok",
        Health::Warn => "warn",
        Health::Fail => "FAIL",
    };
    let remedy =
        if finding.remedy.is_empty() { String::new() } else { format!("\n     → {}", finding.remedy) };
    format!("{health:<4} {}: {}{remedy}", finding.what, finding.found)
}

fn clock(now: SystemTime) -> Finding {
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let text = print::utc(u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
    if since < CLOCK_MIN {
        return Finding::bad("clock", Health::Fail, text, "set the clock of this machine, mostly with NTP");
    }
    Finding::ok("clock", text)
}

fn port(what: &'static str, address: &str, held: &[String]) -> Finding {
    if held.iter().any(|of_ours| of_ours == address) {
        return Finding::ok(what, format!("{address}, held by the cluster's own master"));
    }
    match TcpListener::bind(address) {
        Ok(_) => Finding::ok(what, format!("{address} is free")),
        Err(cause) => {
            let remedy = "end what holds it, or set master.listen or master.http to another address";
            Finding::bad(what, Health::Fail, format!("{address} cannot be bound: {cause}"), remedy)
        }
    }
}

/// A path that nobody but its owner, this user, may read.
fn private(what: &'static str, path: &Path, mode: u32) -> Finding {
    let about = match std::fs::symlink_metadata(path) {
        Ok(about) => about,
        Err(cause) => {
            let found = format!("{} cannot be looked at: {cause}", path.display());
            return Finding::bad(what, Health::Fail, found, "run this as the user of the cluster");
        }
    };
    let permissions = about.permissions().mode() & 0o777;
    let found = format!("{} has mode {permissions:o}", path.display());
    if about.file_type().is_symlink() || permissions & !mode != 0 {
        return Finding::bad(what, Health::Fail, found, format!("chmod {mode:o} {}", path.display()));
    }
    if about.uid() != rustix::process::geteuid().as_raw() {
        let found = format!("{} belongs to the user {}", path.display(), about.uid());
        return Finding::bad(what, Health::Warn, found, "run this as the user of the cluster");
    }
    Finding::ok(what, found)
}

fn disk(dir: &Path) -> Finding {
    match rustix::fs::statvfs(dir) {
        Ok(about) => {
            let free = about.f_bavail.saturating_mul(about.f_frsize);
            let found = format!("{} MiB free below {}", free >> 20, dir.display());
            if free < DISK_FREE_MIN {
                return Finding::bad("disk", Health::Warn, found, "free room, or use another --run-dir");
            }
            Finding::ok("disk", found)
        }
        Err(cause) => Finding::bad("disk", Health::Warn, format!("{}: {cause}", dir.display()), ""),
    }
}

fn landlock() -> Finding {
    let modules = std::fs::read_to_string("/sys/kernel/security/lsm").unwrap_or_default();
    if modules.trim().split(',').any(|name| name == "landlock") {
        return Finding::ok("landlock", "the kernel has it");
    }
    let found = if modules.is_empty() { "not known (no securityfs)" } else { "the kernel does not have it" };
    Finding::bad("landlock", Health::Warn, found, "`firesteel workers` shows what is in force on each worker")
}

fn seccomp() -> Finding {
    if Path::new("/proc/sys/kernel/seccomp/actions_avail").exists() {
        return Finding::ok("seccomp", "the kernel has it");
    }
    let remedy = "use a kernel with CONFIG_SECCOMP_FILTER; executors run without a filter otherwise";
    Finding::bad("seccomp", Health::Warn, "the kernel does not have it", remedy)
}

fn cgroup() -> Finding {
    if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        return Finding::ok("cgroup", "version 2");
    }
    if Path::new("/sys/fs/cgroup/memory").exists() {
        return Finding::ok("cgroup", "version 1");
    }
    let remedy = "memory of executors is bounded by resource limits only";
    Finding::bad("cgroup", Health::Warn, "there are none", remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_before_this_program_is_wrong() {
        assert_eq!(clock(UNIX_EPOCH).health, Health::Fail);
        assert_eq!(clock(UNIX_EPOCH + CLOCK_MIN * 2).health, Health::Ok);
    }

    #[test]
    fn a_port_that_is_taken_is_a_failure_unless_the_cluster_has_it() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap().to_string();
        assert_eq!(port("port", &address, &[]).health, Health::Fail);
        assert_eq!(port("port", &address, std::slice::from_ref(&address)).health, Health::Ok);
    }

    #[test]
    fn a_remedy_stands_below_what_was_found() {
        let finding = Finding::bad("disk", Health::Warn, "full", "free room");
        assert_eq!(text(&finding), "warn disk: full\n     → free room");
    }
}
