//! The worker's own directory, `worker-<incarnation>/` in the run directory: plugins, and a private directory
//! for each child. It goes with the worker.

use firesteel_common::id::{AppAttemptId, Incarnation, PluginHash};
use firesteel_common::{Error, Result};
use std::fs::DirBuilder;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// The directory; removed by [`WorkDirectory::remove`] or when the last owner goes.
pub struct WorkDirectory {
    path: PathBuf,
}

impl WorkDirectory {
    /// Makes it.
    ///
    /// # Errors
    /// If that is not possible, or one of this name is there.
    pub fn create(run_dir: &Path, incarnation: Incarnation) -> Result<Self> {
        make(run_dir)?;
        let path = std::path::absolute(run_dir)
            .map_err(|cause| Error::io(format!("finding {}", run_dir.display()), &cause))?
            .join(format!("worker-{}", incarnation.0));
        make(&path)?;
        make(&path.join("plugins"))?;
        Ok(Self { path })
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
