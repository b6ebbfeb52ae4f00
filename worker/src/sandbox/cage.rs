//! The worker's side of the sandbox: how each child shall confine itself, and what bounds it from outside.

use super::Confinement;
use super::cgroup::{Group, Groups};
use super::probe::probe;
use super::secrets::home;
use crate::options::WorkerOptions;
use firesteel_common::config::Config;
use firesteel_common::id::Incarnation;
use firesteel_common::options::Limits;
use firesteel_common::sandbox::{Sandbox, SandboxMode};
use firesteel_common::{Error, ErrorCode, Result};
use std::path::{Path, PathBuf};

/// What bounds one child from outside.
#[derive(Debug, Default)]
pub struct Bounds {
    /// Its cgroups.
    pub group: Option<Group>,
    /// Its memory in bytes; 0 for no bound.
    pub memory: u64,
}

/// Makes the sandboxes of a worker's children.
#[derive(Debug)]
pub struct Cages {
    groups: Option<Groups>,
    like: Confinement,
    /// What children may write, as it was configured: what is made later is found by the next child.
    writable: Vec<PathBuf>,
    store: u64,
    found: Sandbox,
}

impl Cages {
    /// Looks what this machine can do.
    ///
    /// # Errors
    /// In `require` mode, if that is not all; and if a setting is wrong.
    pub fn find(options: &WorkerOptions, incarnation: Incarnation) -> Result<Self> {
        let config = &options.config;
        let mode = config.worker.sandbox;
        if mode == SandboxMode::Off {
            tracing::error!("worker.sandbox is off: jobs can do whatever this worker's user can");
        }
        let name = format!("firesteel-{}-{}", std::process::id(), incarnation.0);
        let wanted = mode != SandboxMode::Off && config.worker.cgroups;
        let groups = if wanted { Groups::find(&name) } else { None };
        let like = like(config, &options.run_dir)?;
        let writable = config.worker.data_write.iter().map(PathBuf::from).collect();
        let (store, found) = (config.worker.memory, Sandbox::default());
        let mut cages = Self { groups, like, writable, store, found };
        let trial = cages.groups.as_ref().and_then(|groups| groups.child(0));
        cages.found = probe(&cages.with(trial.as_ref()))?;
        Ok(cages)
    }

    /// What is in force.
    pub fn found(&self) -> &Sandbox {
        &self.found
    }

    /// The sandbox of one child that has this directory, this plugin and these limits.
    ///
    /// # Errors
    /// If its directory cannot be given to its user.
    pub fn cage(
        &self,
        own: &Path,
        plugin: Option<&str>,
        limits: Limits,
        driver: bool,
    ) -> Result<(Confinement, Bounds)> {
        let bound = if limits.memory == 0 { 0 } else { limits.memory.saturating_add(self.store) };
        let group = self.groups.as_ref().and_then(|groups| groups.child(bound));
        let mut confinement = self.with(group.as_ref());
        confinement.write = self.writable.iter().filter_map(|path| writable(path)).collect();
        confinement.own.insert(0, own.to_owned());
        confinement.shown.extend(plugin.map(PathBuf::from));
        confinement.network = limits.network;
        confinement.dials = driver;
        confinement.memory = limits.memory;
        if let Some(user) = self.found.user {
            std::os::unix::fs::chown(own, Some(user), Some(user))
                .map_err(|cause| Error::io("giving a directory to worker.user", &cause))?;
        }
        Ok((confinement, Bounds { group, memory: limits.memory }))
    }

    fn with(&self, group: Option<&Group>) -> Confinement {
        let cgroups = group.map(Group::lists).unwrap_or_default();
        let version = group.and(self.groups.as_ref()).map(Groups::version);
        Confinement { cgroups, cgroup: version, ..self.like.clone() }
    }
}

/// A place that is configured to be written, under the name that it really has: links in it could come to
/// lead elsewhere. `None` if it is not there; what it begins with may be the home directory.
fn writable(path: &Path) -> Option<PathBuf> {
    let path = match path.strip_prefix("~") {
        Ok(rest) => home()?.join(rest),
        Err(_) => path.to_owned(),
    };
    std::fs::canonicalize(path).ok()
}

fn like(config: &Config, run_dir: &Path) -> Result<Confinement> {
    let paths = |texts: &[String]| texts.iter().map(PathBuf::from).collect::<Vec<_>>();
    let worker = &config.worker;
    let user = match worker.user.as_str() {
        "" => None,
        text => Some(text.parse().map_err(|_| {
            let message = format!("worker.user is '{text}', which is not the number of a user");
            Error::new(ErrorCode::ConfigInvalid, message).with_help("use a number, such as 65534")
        })?),
    };
    let hidden = std::fs::canonicalize(run_dir)
        .map_err(|cause| Error::io(format!("finding {}", run_dir.display()), &cause))?;
    Ok(Confinement {
        mode: worker.sandbox,
        hidden,
        hidden_files: paths(std::slice::from_ref(&config.tls.key))
            .into_iter()
            .filter(|key| key.is_file())
            .collect(),
        own: paths(std::slice::from_ref(&config.faults.dir)).into_iter().filter(|dir| dir.is_dir()).collect(),
        read: paths(&worker.data_read),
        user,
        ..Confinement::default()
    })
}
