//! `GET /metrics`: how the master is, in the text format of Prometheus (version 0.0.4).

use super::Daemon;
use super::failure::Failure;
use super::workers::stopping;
use crate::actor::Numbers;
use actix_web::HttpResponse;
use actix_web::web::Data;
use firesteel_common::http::{AppState, WorkerInfo};
use firesteel_scheduler::Counters;
use std::fmt::Write;

/// The format and its version.
const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(super) async fn get(daemon: Data<Daemon>) -> Result<HttpResponse, Failure> {
    let (counters, workers) = daemon.actor.send(Numbers).await.map_err(|_| stopping())?;
    let mut page = Page::default();
    applications(&mut page, &daemon.shared.board.states());
    cluster(&mut page, &counters, &workers);
    page.gauge("firesteel_plugins", "Plugins that the master keeps", daemon.shared.board.plugin_count());
    page.counter(
        "firesteel_requests_refused_total",
        "Requests and connections that were refused for lack of a token, a role, or a proof",
        daemon.shared.audit.refused_total(),
    );
    let events = &daemon.shared.events;
    page.counter("firesteel_events_lost_total", "Events that are not in their log", events.lost());
    let help = "Lines of event logs that were passed over, since they are no events";
    page.counter("firesteel_event_lines_passed_over_total", help, events.passed_over());
    Ok(HttpResponse::Ok().content_type(CONTENT_TYPE).body(page.0))
}

fn applications(page: &mut Page, states: &[(AppState, usize)]) {
    page.head("firesteel_applications", "Applications by their state", "gauge");
    for (state, count) in states {
        page.sample("firesteel_applications", &[("state", state.as_str())], *count);
    }
}

fn cluster(page: &mut Page, counters: &Counters, workers: &[WorkerInfo]) {
    let alive = workers.iter().filter(|worker| worker.alive);
    page.gauge("firesteel_workers_alive", "Workers that are connected", alive.clone().count());
    let slots: u32 = alive.clone().map(|worker| worker.slots).sum();
    page.gauge("firesteel_task_slots", "Task slots of connected workers", slots);
    let free: u32 = alive.map(|worker| worker.slots_free).sum();
    page.gauge("firesteel_task_slots_free", "Task slots that nothing runs in", free);
    for (name, help, value) in [
        ("firesteel_task_attempts_started_total", "Task attempts that were started", counters.launched),
        ("firesteel_task_attempts_finished_total", "Task attempts whose work is used", counters.finished),
        ("firesteel_messages_fenced_total", "Messages that were too old to count", counters.fenced),
        ("firesteel_reports_stale_total", "Reports of attempts that were given up before", counters.stale),
        ("firesteel_workers_lost_total", "Workers that were lost", counters.workers_lost),
    ] {
        page.counter(name, help, value);
    }
}

/// The answer as it grows.
#[derive(Default)]
struct Page(String);

impl Page {
    fn head(&mut self, name: &str, help: &str, kind: &str) {
        // Writing into a string cannot fail.
        writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}").ok();
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        let labels: Vec<String> = labels.iter().map(|(name, text)| format!("{name}=\"{text}\"")).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        writeln!(self.0, "{name}{labels} {value}").ok();
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl std::fmt::Display) {
        self.head(name, help, "gauge");
        self.sample(name, &[], value);
    }

    fn counter(&mut self, name: &str, help: &str, value: impl std::fmt::Display) {
        self.head(name, help, "counter");
        self.sample(name, &[], value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_follow_what_is_said_of_them() {
        let mut page = Page::default();
        applications(&mut page, &[(AppState::Running, 2), (AppState::Failed, 0)]);
        page.counter("x_total", "Some", 7);
        let expected = "# HELP firesteel_applications Applications by their state\n\
            # TYPE firesteel_applications gauge\n\
            firesteel_applications{state=\"running\"} 2\nfiresteel_applications{state=\"failed\"} 0\n\
            # HELP x_total Some\n# TYPE x_total counter\nx_total 7\n";
        assert_eq!(page.0, expected);
    }
}
