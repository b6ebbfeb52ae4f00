//! What is not kept for ever: ended applications and plugins that nobody uses. The journal goes first, files
//! after it; files that a kill has left between the two are removed at the next start.
//!
//! What has not ended is never touched: the journal's writer itself refuses it.

use crate::clock::wall_ms;
use crate::effects::Shared;
use crate::files::{plugin_path, result_path};
use crate::journal::{Record, Recovered};
use firesteel_common::config::MasterConfig;
use firesteel_common::id::{AppId, PluginHash};
use firesteel_common::{Error, ErrorCode};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};
use tokio::sync::oneshot;

/// How often it is looked for what is over.
const INTERVAL: Duration = Duration::from_secs(1);
/// Applications that go at once.
const BATCH: usize = 256;
/// How long an ended application is kept in any case (unless it is said that all are kept for less), so that
/// whoever waited for its end can ask for its result.
const GRACE_MS: u64 = 60_000;
/// Who forgets, in the audit log.
const WHO: &str = "master";

/// Which ended applications are kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keep {
    /// So many; 0 for all.
    pub max: usize,
    /// For so long, in milliseconds; 0 for ever.
    pub ms: u64,
}

impl Keep {
    /// How many of `count` are too many.
    pub(crate) fn surplus(&self, count: usize) -> usize {
        if self.max == 0 { 0 } else { count.saturating_sub(self.max) }
    }

    /// Whether one that ended so long ago goes.
    pub(crate) fn is_over(&self, is_surplus: bool, age_ms: u64) -> bool {
        let too_old = self.ms > 0 && age_ms >= self.ms;
        let grace = if self.ms > 0 { GRACE_MS.min(self.ms) } else { GRACE_MS };
        too_old || (is_surplus && age_ms >= grace)
    }
}

/// Forgets what is over, from time to time, until the master ends.
pub(crate) fn start(shared: Shared, run_dir: PathBuf, config: &MasterConfig) {
    let keep = Keep { max: config.ended_max as usize, ms: config.ended_ms };
    let unused_ms = config.plugin_unused_ms;
    note_uploads(&shared, &run_dir);
    actix_web::rt::spawn(async move {
        loop {
            tokio::time::sleep(INTERVAL).await;
            if let Err(error) = sweep(&shared, &run_dir, &keep, unused_ms).await {
                tracing::warn!(%error, "what is over could not be forgotten; it is tried again");
            }
        }
    });
}

/// When each plugin was uploaded: its file says so.
fn note_uploads(shared: &Shared, run_dir: &Path) {
    for plugin in shared.board.plugins() {
        let modified = std::fs::metadata(plugin_path(run_dir, plugin.hash)).and_then(|file| file.modified());
        let since = modified.ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        // A file without a time is taken for new.
        shared.board.use_plugin(plugin.hash, since.map_or_else(wall_ms, |since| since.as_millis() as u64));
    }
}

async fn sweep(shared: &Shared, run_dir: &Path, keep: &Keep, unused_ms: u64) -> Result<(), Error> {
    loop {
        let over = shared.board.outdated(keep, wall_ms(), BATCH);
        if over.is_empty() || forget(shared, run_dir, over, WHO, "").await? < BATCH {
            break;
        }
    }
    if unused_ms > 0 {
        for hash in shared.board.unused_plugins(wall_ms().saturating_sub(unused_ms)) {
            match remove_plugin(shared, run_dir, hash).await {
                Ok(()) => shared.audit.allowed(WHO, "", "remove plugin that nobody uses", &hash.to_string()),
                // Somebody needs it by now.
                Err(error) if error.code == ErrorCode::Conflict => shared.board.use_plugin(hash, wall_ms()),
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

/// Forgets ended applications on behalf of somebody; gives how many went.
///
/// # Errors
/// If the journal cannot be written; then nothing went.
pub(crate) async fn forget(
    shared: &Shared,
    run_dir: &Path,
    apps: Vec<AppId>,
    who: &str,
    source: &str,
) -> Result<usize, Error> {
    let (of_ack, run_dir) = (shared.clone(), run_dir.to_owned());
    let gone = write(
        shared,
        |ack| Record::Forget(apps, ack),
        move |gone: Vec<AppId>| {
            for app in &gone {
                of_ack.board.forget(*app);
                of_ack.logs.forget(*app);
                of_ack.events.remove(*app);
                remove_result(&run_dir, *app);
            }
            Ok(gone)
        },
    )
    .await?;
    if let (Some(first), Some(last)) = (gone.first(), gone.last()) {
        let object = format!("{} ended applications, {first} to {last}", gone.len());
        shared.audit.allowed(who, source, "forget", &object);
    }
    Ok(gone.len())
}

/// Removes a plugin that no application needs.
///
/// # Errors
/// `NOT_FOUND` if there is none; `CONFLICT` while an application needs it.
pub(crate) async fn remove_plugin(shared: &Shared, run_dir: &Path, hash: PluginHash) -> Result<(), Error> {
    let (board, path) = (shared.board.clone(), plugin_path(run_dir, hash));
    write(
        shared,
        |ack| Record::PluginRemoved(hash, ack),
        move |()| {
            board.remove_plugin(hash);
            std::fs::remove_file(&path)
                .map_err(|cause| Error::io(format_args!("removing {}", path.display()), &cause))
        },
    )
    .await
}

/// Makes a record durable; what follows from it happens in `then`, in the order of the records.
async fn write<T: Send + 'static, U: Send + 'static>(
    shared: &Shared,
    record: impl FnOnce(crate::journal::Ack<T>) -> Record,
    then: impl FnOnce(T) -> Result<U, Error> + Send + 'static,
) -> Result<U, Error> {
    let (answer, written) = oneshot::channel();
    shared.journal.try_write(record(Box::new(move |written: Result<T, Error>| {
        // Whoever asked may be gone.
        answer.send(written.and_then(then)).ok();
    })))?;
    written.await.map_err(|_| Error::new(ErrorCode::Unreachable, "the master is stopping"))?
}

fn remove_result(run_dir: &Path, app: AppId) {
    match std::fs::remove_file(result_path(run_dir, app)) {
        Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => {
            tracing::warn!(%cause, %app, "a result could not be removed; the next start tries again");
        }
        _ => {}
    }
}

/// Removes results and event logs of applications that the journal does not know.
///
/// # Errors
/// `IO` if a directory cannot be read, or a file not removed.
pub(crate) fn tidy(run_dir: &Path, recovered: &Recovered) -> Result<(), Error> {
    let known: BTreeSet<AppId> = recovered.apps.iter().map(|app| app.app).collect();
    for dir in ["results", "events"] {
        let dir = run_dir.join(dir);
        let failed = |cause| Error::io(format_args!("tidying {}", dir.display()), &cause);
        for entry in dir.read_dir().map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let app =
                path.file_stem().and_then(|name| name.to_str()).and_then(|name| name.parse::<AppId>().ok());
            if app.is_some_and(|app| !known.contains(&app)) {
                std::fs::remove_file(&path).map_err(failed)?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_goes_is_too_many_or_too_old_and_never_at_once() {
        let keep = Keep { max: 3, ms: 100_000 };
        assert_eq!((keep.surplus(2), keep.surplus(5)), (0, 2));
        for (is_surplus, age, over) in [
            (false, 99_999, false),
            (false, 100_000, true),
            (true, 59_999, false),
            (true, 60_000, true),
            (false, 60_000, false),
        ] {
            assert_eq!(keep.is_over(is_surplus, age), over, "{is_surplus} {age}");
        }
        let short = Keep { max: 3, ms: 10 };
        assert!(short.is_over(true, 10) && !short.is_over(true, 9));
        let all = Keep { max: 0, ms: 0 };
        assert!(all.surplus(usize::MAX) == 0 && !all.is_over(false, u64::MAX));
    }
}
