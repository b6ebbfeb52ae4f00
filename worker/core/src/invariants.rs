//! What is true of a worker after every step. Called by tests and the simulator.

use crate::app::{App, Executor};
use crate::core::{Plugin, WorkerCore};
use crate::drivers::Driver;
use firesteel_common::id::AppAttemptId;

/// Checks everything that is always true of a worker.
///
/// # Errors
/// The first thing that is not, in words.
pub fn invariants(core: &WorkerCore) -> Result<(), String> {
    let granted: u64 = core.apps.values().map(|app| app.granted).sum();
    rule(granted == core.granted, || format!("{granted} bytes granted, {} accounted", core.granted))?;
    rule(core.granted <= core.granted_max(), || "more memory is granted than there is".to_owned())?;
    rule(core.granted == core.told_granted, || "the store was not told what is granted".to_owned())?;
    let owned = core.tickets.values().all(|ticket| core.executor_lives(ticket.app));
    rule(owned, || "room is made for an executor that is not there".to_owned())?;
    rule(core.finished.is_empty(), || "reports were left behind by a step".to_owned())?;
    rule(core.link.kept.is_empty() || !core.link.registered, || {
        "messages are kept on a live link".to_owned()
    })?;
    for (id, driver) in &core.drivers {
        if let Driver::Fetching(plugin, launch) = driver {
            rule(launch.app == *id, || format!("the driver of {id} would be that of {}", launch.app))?;
            let fetching = core.plugins.get(plugin) == Some(&Plugin::Fetching);
            rule(fetching, || format!("the driver of {id} waits for a plugin that nobody fetches"))?;
        }
    }
    core.apps.iter().try_for_each(|(id, app)| check_app(core, *id, app))
}

fn check_app(core: &WorkerCore, id: AppAttemptId, app: &App) -> Result<(), String> {
    let tasks = || app.running.iter().chain(app.queued.iter().map(|launch| &launch.task));
    rule(tasks().all(|task| task.app == id), || format!("{id} has an attempt of another application"))?;
    let blocks_own = app.all_blocks().all(|block| block.app == id);
    rule(blocks_own, || format!("{id} has a block of another application"))?;
    let twice = app.queued.iter().any(|launch| app.running.contains(&launch.task));
    rule(!twice, || format!("an attempt of {id} waits and runs"))?;
    let ready = app.executor == Executor::Ready && !core.leaving.contains(&id);
    rule(app.queued.is_empty() || !ready, || format!("attempts of {id} wait for an executor that is ready"))?;
    let coming = matches!(app.executor, Executor::Starting | Executor::Fetching(_));
    rule(app.queued.is_empty() || coming, || {
        format!("attempts of {id} wait for an executor that is not coming")
    })?;
    rule(app.running.is_empty() || ready, || format!("attempts of {id} run without an executor"))?;
    let told = !app.told_stages.is_empty() || !app.told_inputs.is_empty();
    rule(!told || ready, || format!("an executor of {id} that is not there was told something"))?;
    rule(app.granted == 0 || ready, || format!("an executor of {id} that is not there has memory"))?;
    rule(app.unanswered.keys().all(|(reader, ..)| app.running.contains(reader)), || {
        format!("a reader of {id} that does not run waits for an input")
    })?;
    if let Executor::Fetching(plugin) = app.executor {
        let fetching = core.plugins.get(&plugin) == Some(&Plugin::Fetching);
        rule(fetching, || format!("the executor of {id} waits for a plugin that nobody fetches"))?;
    }
    Ok(())
}

fn rule(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise()) }
}
