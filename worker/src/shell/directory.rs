//! The worker's own directory, `worker-<incarnation>/` in the run directory: plugins, and a private directory
//! for each child. It goes with the worker.

use firesteel_common::id::{AppAttemptId, Incarnation, PluginHash};
use firesteel_common::{Error, Result};
use std::fs::{DirBuilder, File};
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// The file in it that its worker holds locked as long as it lives.
const LOCK: &str = "lock";

/// The directory; removed by [`WorkDirectory::remove`] or when the last owner goes.
pub struct WorkDirectory {
    path: PathBuf,
    _lock: File,
}

impl WorkDirectory {
    /// Makes it, and removes those of workers that were killed.
    ///
    /// # Errors
    /// If that is not possible, or one of this name is there.
    pub fn create(run_dir: &Path, incarnation: Incarnation) -> Result<Self> {
        make(run_dir)?;
        let run_dir = std::path::absolute(run_dir)
            .map_err(|cause| Error::io(format!("finding {}", run_dir.display()), &cause))?;
        // One worker at a time sweeps and makes, so that nobody's directory is swept while it is made. The
        // lock goes when this returns.
        let turn = File::open(&run_dir).and_then(|run_dir| run_dir.lock().map(|()| run_dir));
        let _turn = turn.map_err(|cause| Error::io(format!("locking {}", run_dir.display()), &cause))?;
        sweep(&run_dir);
        let path = run_dir.join(format!("worker-{}", incarnation.0));
        let failed = |cause| Error::io(format!("making the directory {}", path.display()), &cause);
        // It gets its name only when it is locked, so that nobody takes it for one whose worker is dead.
        let unnamed = run_dir.join(format!(".worker-{}", incarnation.0));
        make(&unnamed)?;
        let lock = File::create(unnamed.join(LOCK)).map_err(failed)?;
        lock.lock().map_err(failed)?;
        std::fs::rename(&unnamed, &path).map_err(failed)?;
        make(&path.join("plugins"))?;
        Ok(Self { path, _lock: lock })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where a plugin lies, or will.
    pub fn plugin(&self, plugin: PluginHash) -> PathBuf {
        self.path.join("plugins").join(plugin.to_string())
    }

    /// Makes the private directory of a child; one that is left of its predecessor is used again.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn child(&self, app: AppAttemptId, role: &str) -> Result<PathBuf> {
        let of_app = self.path.join(app.to_string());
        make(&of_app)?;
        let path = of_app.join(role);
        make(&path)?;
        Ok(path)
    }

    /// Removes what the children of an application attempt have left.
    pub fn remove_app(&self, app: AppAttemptId) {
        remove(&self.path.join(app.to_string()));
    }

    /// Removes everything.
    pub fn remove(&self) {
        remove(&self.path);
    }
}

impl Drop for WorkDirectory {
    fn drop(&mut self) {
        self.remove();
    }
}

/// Removes the directories whose lock nobody holds, and those that did not come to have a name.
fn sweep(run_dir: &Path) {
    let Ok(entries) = std::fs::read_dir(run_dir) else { return };
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        // Whoever makes one has this worker wait for it: a nameless one is left over, even without a lock.
        let nameless = name.starts_with(".worker-");
        if !nameless && !name.starts_with("worker-") {
            continue;
        }
        let free = match File::open(path.join(LOCK)) {
            Ok(lock) => lock.try_lock().is_ok(),
            Err(cause) => nameless && cause.kind() == ErrorKind::NotFound,
        };
        if free {
            tracing::info!("removing {}, whose worker was killed", path.display());
            remove(&path);
        }
    }
}

fn make(path: &Path) -> Result<()> {
    match DirBuilder::new().mode(0o700).recursive(true).create(path) {
        Ok(()) => Ok(()),
        Err(cause) => Err(Error::io(format!("making the directory {}", path.display()), &cause)),
    }
}

fn remove(path: &Path) {
    match std::fs::remove_dir_all(path) {
        Ok(()) => {}
        Err(cause) if cause.kind() == ErrorKind::NotFound => {}
        Err(cause) => tracing::warn!("removing {}: {cause}", path.display()),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn what_a_killed_worker_has_left_is_removed_by_the_next() {
        let run_dir = tempfile::tempdir().unwrap();
        let alive = WorkDirectory::create(run_dir.path(), Incarnation(1)).unwrap();
        let dead = run_dir.path().join("worker-2");
        make(&dead).unwrap();
        File::create(dead.join(LOCK)).unwrap();
        let nameless = [".worker-4", ".worker-5"].map(|name| run_dir.path().join(name));
        nameless.iter().for_each(|path| make(path).unwrap());
        File::create(nameless[0].join(LOCK)).unwrap();
        let next = WorkDirectory::create(run_dir.path(), Incarnation(3)).unwrap();
        assert!(alive.path().join("plugins").exists() && next.path().exists() && !dead.exists());
        assert!(nameless.iter().all(|path| !path.exists()));
        drop((alive, next));
        assert_eq!(std::fs::read_dir(run_dir.path()).unwrap().count(), 0);
    }
}
