//! The temporary cluster of `--master local[N]`: `firesteel local` as a child, in a directory of its own.

use super::target::Temporary;
use crate::children::{self, Server};
use crate::failure::{Failure, Outcome};
use crate::run_dir;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long it may take to end.
const PATIENCE: Duration = Duration::from_secs(12);

/// A cluster that ends when this is dropped.
pub struct Running {
    servers: Vec<Server>,
    dir: PathBuf,
}

impl Running {
    /// Starts it and waits until every worker is there.
    ///
    /// # Errors
    /// Of the machine, if it cannot be started or is not ready in time.
    pub fn start(cluster: &Temporary) -> Outcome<Self> {
        let number = getrandom::u64().map_err(|cause| {
            Failure::io("drawing a random number", &std::io::Error::other(cause.to_string()))
        })?;
        let dir = run_dir::create(&std::env::temp_dir().join(format!("firesteel-{number:016x}")))?;
        let server = Server::start("the temporary cluster", &arguments(cluster, &dir)).inspect_err(|_| {
            let _ = std::fs::remove_dir_all(&dir);
        })?;
        // From here on dropping it stops the cluster and removes the directory.
        let running = Self { servers: vec![server], dir };
        for server in &running.servers {
            server.ready_line("ready ")?;
        }
        Ok(running)
    }

    /// Its run directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        children::stop(&mut self.servers, PATIENCE);
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn arguments(cluster: &Temporary, dir: &Path) -> Vec<String> {
    let machine = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let cores = cluster.cores.unwrap_or_else(|| u32::try_from(machine).unwrap_or(1));
    let mut args = vec![
        "local".to_owned(),
        "--temporary".to_owned(),
        "--quiet".to_owned(),
        format!("--run-dir={}", dir.display()),
        format!("--workers={}", cluster.workers),
        format!("--cores={cores}"),
    ];
    args.extend(cluster.memory_mib.map(|mib| format!("--memory={mib}M")));
    args
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cluster_is_as_large_as_was_said() {
        let cluster = Temporary { workers: 2, cores: Some(3), memory_mib: Some(512), task_failures: None };
        let args = arguments(&cluster, Path::new("/tmp/x")).join(" ");
        assert_eq!(args, "local --temporary --quiet --run-dir=/tmp/x --workers=2 --cores=3 --memory=512M");
    }
}
