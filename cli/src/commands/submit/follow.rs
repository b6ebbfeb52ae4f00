//! What an application prints and how far it is, on stderr while it runs.
//!
//! Two threads ask the master for the log and for the event log, each waiting there for news. They are told
//! when the application has ended, and then get a moment for the last lines.

use crate::client::{Client, WAIT_MS};
use crate::failure::{Failure, Outcome};
use crate::print;
use crossbeam::channel::{Receiver, bounded};
use firesteel_common::event::{AppEvent, LoggedEvent, StartCause};
use firesteel_common::id::{AppId, StageId};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io::Write;
use std::time::Duration;

/// How long the last lines are waited for when the application has ended.
const LAST_LINES: Duration = Duration::from_secs(2);

/// The two threads. The channel closes when both have ended.
pub struct Follower {
    ended: Receiver<Infallible>,
}

/// Starts to follow an application.
pub fn start(client: &Client, app: AppId) -> Outcome<Follower> {
    let (log, ended) = bounded(0);
    let (progress, client_of_log) = (log.clone(), client.clone());
    spawn("log", move || {
        let mut print = |text: &str| {
            let _ = std::io::stderr().write_all(text.as_bytes());
            Ok(())
        };
        // A log that cannot be read does not matter to the application; its end is reported elsewhere.
        let _ = super::super::logs::read(&client_of_log, app, true, &mut print);
        drop(log);
    })?;
    let client = client.clone();
    spawn("progress", move || {
        let _ = follow_events(client, app);
        drop(progress);
    })?;
    Ok(Follower { ended })
}

impl Follower {
    /// Waits for the last lines.
    pub fn finish(self) {
        let _ = self.ended.recv_timeout(LAST_LINES);
    }
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> Outcome<()> {
    let started = std::thread::Builder::new().name(name.into()).spawn(body);
    started.map(drop).map_err(|cause| Failure::io("starting a thread", &cause))
}

/// Prints a line for each stage that ends and each loss, until the application has ended.
fn follow_events(mut client: Client, app: AppId) -> Outcome<()> {
    let mut progress = Progress::default();
    let mut from = 0;
    loop {
        let path = format!("/applications/{app}/events?from={from}&wait_ms={WAIT_MS}");
        let bytes = client.patiently(|client| client.get_bytes(&path))?;
        for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            from += 1;
            // A kind of event that this version does not know is no reason to stop.
            let Ok(logged) = serde_json::from_slice::<LoggedEvent>(line) else { continue };
            let ended = matches!(logged.event, AppEvent::AppEnded { .. });
            if let Some(text) = progress.line(logged.event) {
                print::talk(format!("[{app}] {}", print::safe(&text)));
            }
            if ended {
                return Ok(());
            }
        }
    }
}

/// What the lines are made from.
#[derive(Default)]
struct Progress {
    stages: BTreeMap<StageId, (String, u32)>,
    again: u32,
}

impl Progress {
    /// What to say about an event; mostly nothing.
    fn line(&mut self, event: AppEvent) -> Option<String> {
        match event {
            AppEvent::StageAdded { stage, name, tasks, .. } => {
                self.stages.insert(stage, (name, tasks));
                None
            }
            AppEvent::StageFinished { stage } => {
                let (name, tasks) = self.stages.get(&stage)?;
                let again = std::mem::take(&mut self.again);
                let again = if again > 0 { format!(", {again} run again") } else { String::new() };
                Some(format!("{stage} done: {name}, {tasks} tasks{again}"))
            }
            AppEvent::TaskStarted { cause, .. } => {
                self.again += u32::from(cause != StartCause::First);
                None
            }
            AppEvent::TaskFailed { task, error } => Some(format!("{task} failed: {error}")),
            AppEvent::ExecutorLost { worker, reason } => Some(format!("executor on {worker} lost: {reason}")),
            AppEvent::WorkerLost { worker, .. } => Some(format!("{worker} lost")),
            AppEvent::AppStarted { worker: Some(worker), .. } => Some(format!("driver on {worker}")),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use firesteel_common::id::{TaskId, WorkerId};

    #[test]
    fn a_finished_stage_says_how_many_tasks_ran_again() {
        let mut progress = Progress::default();
        let stage = StageId(0);
        let name = "word count".to_owned();
        assert_eq!(progress.line(AppEvent::StageAdded { stage, name, tasks: 4, inputs: vec![] }), None);
        for cause in [StartCause::First, StartCause::Lost] {
            let worker = WorkerId(1);
            let task = TaskId { app: Default::default(), stage, partition: 0, attempt: 0 };
            assert_eq!(progress.line(AppEvent::TaskStarted { task, worker, cause }), None);
        }
        let line = progress.line(AppEvent::StageFinished { stage }).unwrap();
        assert_eq!(line, "stage-0 done: word count, 4 tasks, 1 run again");
    }
}
