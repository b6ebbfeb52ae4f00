//! What an application prints and how far it is, on stderr while it runs: lines, and a status line where the
//! screen has one.
//!
//! Two threads ask the master for the log and for the event log, each waiting there for news. They are told
//! when the application has ended, and then get a moment for the last lines.

use super::progress::Progress;
use super::screen::Screen;
use crate::client::{Client, WAIT_MS};
use crate::failure::{Failure, Outcome};
use crate::print;
use crossbeam::channel::{Receiver, bounded};
use firesteel_common::event::{AppEvent, LoggedEvent};
use firesteel_common::id::AppId;
use std::convert::Infallible;
use std::time::Duration;

/// How long the last lines are waited for when the application has ended.
const LAST_LINES: Duration = Duration::from_secs(2);

/// The two threads. The channel closes when both have ended.
pub struct Follower {
    ended: Receiver<Infallible>,
}

/// Starts to follow an application.
pub fn start(client: &Client, app: AppId, screen: &Screen) -> Outcome<Follower> {
    let (log, ended) = bounded(0);
    let (progress, client_of_log) = (log.clone(), client.clone());
    let (screen, screen_of_log) = (screen.clone(), screen.clone());
    spawn("log", move || {
        let mut print = |text: &str| {
            screen_of_log.write(text);
            Ok(())
        };
        // A log that cannot be read does not matter to the application; its end is reported elsewhere.
        let _ = super::super::logs::read(&client_of_log, app, true, &mut print);
        drop(log);
    })?;
    let client = client.clone();
    spawn("progress", move || {
        let _ = follow_events(client, app, &screen);
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
fn follow_events(mut client: Client, app: AppId, screen: &Screen) -> Outcome<()> {
    let mut progress = Progress::default();
    if screen.is_live() {
        screen.status(format!("[{app}] waits for its driver"));
    }
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
                screen.line(&format!("[{app}] {}", print::safe(&text)));
            }
            if ended {
                return Ok(());
            }
        }
        if screen.is_live() {
            screen.status(format!("[{app}] {}", print::safe(&progress.bar())));
        }
    }
}
