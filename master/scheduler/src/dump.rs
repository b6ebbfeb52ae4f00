//! The whole state as text, for tests and for whoever looks for the cause of something.

use crate::Scheduler;
use crate::app::{App, Phase, Run};
use crate::stage::{Attempt, Stage, Task, TaskState};
use std::fmt::Write;

impl Scheduler {
    /// The whole state as text, one thing a line.
    pub fn dump(&self) -> String {
        let mut text = String::new();
        for worker in self.cluster.workers.iter() {
            let running: Vec<String> = worker.running.iter().map(|task| task.to_string()).collect();
            let away = if worker.link.is_none() { " away" } else { "" };
            let _ = writeln!(
                text,
                "{} {}/{} slots used, drivers {}{away}: {}",
                worker.id,
                worker.used,
                worker.slots,
                worker.drivers.len(),
                running.join(" ")
            );
        }
        for app in self.apps.values().chain(self.queue.apps.values()) {
            dump_app(&mut text, app);
        }
        text
    }
}

fn dump_app(text: &mut String, app: &App) {
    let phase = match &app.phase {
        Phase::Queued { .. } => "waits for a driver place".to_owned(),
        Phase::Expected { .. } => "is expected to be reported".to_owned(),
        Phase::Journaling => "is being journaled".to_owned(),
        Phase::Running(driver) => {
            let place = driver.worker.map_or("a client".to_owned(), |worker| worker.to_string());
            let state = if driver.connected { "attached" } else { "not attached" };
            format!("runs on {place}, {state}")
        }
        Phase::Ending { error: None, .. } => "ends well".to_owned(),
        Phase::Ending { error: Some(error), .. } => format!("ends: {error}"),
    };
    let _ = writeln!(text, "{} {phase}", app.run.app);
    dump_run(text, &app.run);
}

fn dump_run(text: &mut String, run: &Run) {
    for job in run.jobs.values() {
        let targets: Vec<String> = job.targets.keys().map(|target| target.to_string()).collect();
        let open = if job.open { " open" } else { "" };
        let _ = writeln!(text, "  {}{open} '{}' wants {}", job.id, job.name, targets.join(" "));
    }
    for stage in run.stages.values() {
        let state = match (stage.active, stage.open) {
            (false, _) => "rests",
            (true, false) => "blocked",
            (true, true) => "open",
        };
        let released = if stage.released { " released" } else { "" };
        let blockers: Vec<String> = stage.blockers.iter().map(|blocker| blocker.to_string()).collect();
        let _ = writeln!(text, "  {} {state}{released} {}", stage.id, blockers.join(" "));
        for (partition, task) in stage.tasks.iter().enumerate() {
            let _ = writeln!(text, "    {partition}: {}", dump_task(stage, task));
        }
    }
    for (id, dataset) in &run.datasets {
        for (partition, holders) in dataset.holders.iter().filter(|(_, holders)| !holders.is_empty()) {
            let holders: Vec<String> = holders.iter().map(|holder| holder.to_string()).collect();
            let _ = writeln!(text, "  {id} partition {partition} on {}", holders.join(" "));
        }
    }
}

fn dump_attempt(attempt: &Attempt) -> String {
    let Attempt { number, worker, waits, .. } = attempt;
    match waits {
        0 => format!("attempt {number} runs on {worker}"),
        _ => format!("attempt {number} waits on {worker} for {waits}"),
    }
}

fn dump_task(stage: &Stage, task: &Task) -> String {
    let state = match task.state {
        TaskState::Idle => "idle".to_owned(),
        TaskState::Pending => format!("pending ({:?})", task.cause).to_lowercase(),
        TaskState::Running(_) => task.attempts().map(dump_attempt).collect::<Vec<_>>().join(", "),
    };
    match task.output {
        Some(output) => format!("{state}, output of attempt {} on {}", output.attempt, output.worker),
        None if stage.is_map && task.status.is_some() => format!("{state}, output lost"),
        None => state,
    }
}
