//! Effects as short lines.

use crate::Effect;
use firesteel_common::block::{BlockCopy, BlockKind};
use firesteel_common::event::{AppEvent, StartCause};
use firesteel_common::id::TaskId;
use firesteel_common::job::JobEvent;
use firesteel_common::protocol::driver::ToDriver;
use firesteel_common::protocol::worker::{TaskLaunches, ToWorker};

/// One line for an effect; `None` for those that a story does not care about.
pub(super) fn line(effect: &Effect) -> Option<String> {
    Some(match effect {
        Effect::BindWorker { worker, .. } => format!("{worker} is bound"),
        Effect::RefuseLink { error, .. } => format!("refused: {}", error.code),
        Effect::DropWorker(worker) => format!("{worker} is dropped"),
        Effect::SendWorker { worker, message } => format!("{worker}: {}", to_worker(message)?),
        Effect::SendDriver { app, message } => format!("{app}: {}", to_driver(message)?),
        Effect::JournalAttempt(app) => format!("journal {app}"),
        Effect::JournalOutcome { app, outcome: Ok(_) } => format!("journal {app} ok"),
        Effect::JournalOutcome { app, outcome: Err(error) } => format!("journal {app} {}", error.code),
        Effect::Log(logged) => format!("log {}", log(&logged.event)?),
    })
}

fn short(task: &TaskId) -> String {
    format!("{}/{}.{}", task.stage.0, task.partition, task.attempt)
}

fn list<T>(items: &[T], name: impl Fn(&T) -> String) -> String {
    items.iter().map(name).collect::<Vec<_>>().join(" ")
}

fn to_worker(message: &ToWorker) -> Option<String> {
    Some(match message {
        ToWorker::Registered { .. } => return None,
        ToWorker::Refused(error) => format!("refused {}", error.code),
        ToWorker::StartDriver(launch) => format!("start driver {}", launch.app),
        ToWorker::KillDriver(app) => format!("kill driver {app}"),
        ToWorker::LaunchTasks(launches) => launch(launches),
        ToWorker::InputsChanged { stage, places, .. } => {
            let places = list(places, |(map, place)| format!("{map}={}.{}", place.worker, place.attempt));
            format!("inputs of {stage} {places}")
        }
        ToWorker::KillTasks { tasks, .. } => format!("kill {}", list(tasks, short)),
        ToWorker::Free { stages, datasets, .. } => {
            let stages = list(stages, |stage| stage.to_string());
            format!("free {stages} {}", list(datasets, |dataset| dataset.to_string()))
        }
        ToWorker::FreeOutputs(tasks) => format!("free outputs {}", list(tasks, short)),
        ToWorker::EndApp(app) => format!("end {app}"),
        ToWorker::FetchBlocks { from, blocks, .. } => {
            let name = |copy: &BlockCopy| match copy.block.kind {
                BlockKind::MapOutput { stage, partition, attempt } => {
                    format!("{}/{partition}.{attempt}", stage.0)
                }
                BlockKind::Cached { partition, .. } => format!("cached {partition}"),
                _ => copy.block.to_string(),
            };
            format!("fetch {} from {from}", list(blocks, name))
        }
        ToWorker::Drain => "drain".to_owned(),
        ToWorker::Drained => "drained".to_owned(),
    })
}

fn launch(launches: &TaskLaunches) -> String {
    let mut text = format!("launch {}", list(&launches.tasks, |launch| short(&launch.task)));
    if !launches.stages.is_empty() {
        text += &format!(" code {}", list(&launches.stages, |code| code.stage.0.to_string()));
    }
    if !launches.inputs.is_empty() {
        text += &format!(" tables {}", list(&launches.inputs, |table| table.stage.0.to_string()));
    }
    text
}

fn to_driver(message: &ToDriver) -> Option<String> {
    Some(match message {
        ToDriver::Attached { slots } => format!("attached, {slots} slots"),
        ToDriver::WorkerAddress { worker, .. } => format!("address of {worker}"),
        ToDriver::Committed => "committed".to_owned(),
        ToDriver::Kill { .. } => "kill".to_owned(),
        ToDriver::Job { job, event } => match event {
            JobEvent::StageFinished { stage, .. } => format!("{job} {stage} finished"),
            JobEvent::TaskResult { stage, partition, accumulators, .. } => {
                let accumulated = if accumulators.is_empty() { "" } else { " accumulated" };
                format!("{job} result {}/{partition}{accumulated}", stage.0)
            }
            JobEvent::Accumulated(_) => format!("{job} accumulated"),
            JobEvent::Progress(_) => return None,
            JobEvent::Finished => format!("{job} finished"),
            JobEvent::Failed(error) => format!("{job} failed {}", error.code),
        },
    })
}

fn by(stage: Option<firesteel_common::id::StageId>) -> String {
    stage.map_or("the application".to_owned(), |stage| stage.to_string())
}

fn log(event: &AppEvent) -> Option<String> {
    Some(match event {
        AppEvent::TaskStarted { cause: StartCause::First, .. } => return None,
        AppEvent::TaskStarted { task, cause, .. } => format!("{} starts: {cause:?}", short(task)),
        AppEvent::TaskFailed { task, error } => format!("{} failed {}", short(task), error.code),
        AppEvent::TaskLost { task, reason } => format!("{} lost: {reason:?}", short(task)),
        AppEvent::OutputLost { task, reason, .. } => format!("output of {} lost: {reason:?}", short(task)),
        AppEvent::FetchFailed { task, stage, map, .. } => {
            format!("{} misses {}/{map}", short(task), stage.0)
        }
        AppEvent::RolledBack { stage, consumers } => {
            format!("{stage} rolls back {}", list(consumers, |consumer| consumer.to_string()))
        }
        AppEvent::WorkerLost { worker, reason } => format!("{worker} lost: {reason:?}"),
        AppEvent::WorkerExcluded { worker, stage, failures } => {
            format!("{worker} excluded by {} after {failures}", by(*stage))
        }
        AppEvent::HostExcluded { host, stage, workers } => {
            format!("{host} excluded by {} after {workers}", by(*stage))
        }
        AppEvent::WorkerIncluded { worker } => format!("{worker} included"),
        AppEvent::HostIncluded { host } => format!("{host} included"),
        AppEvent::TaskAdopted { task, worker } => format!("{} goes on on {worker}", short(task)),
        AppEvent::ExecutorLost { worker, .. } => format!("executor of {worker} lost"),
        _ => return None,
    })
}
