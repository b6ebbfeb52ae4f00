//! The whole state of a worker as text, for tests and for the replay of a simulation.

use crate::core::{Plugin, WorkerCore};
use crate::drivers::Driver;
use std::fmt::Write;

impl WorkerCore {
    /// Everything that this worker knows, in a stable order.
    pub fn dump(&self) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = self.write_dump(&mut text);
        text
    }

    fn write_dump(&self, text: &mut String) -> std::fmt::Result {
        let name =
            self.link.worker.map_or_else(|| "worker without id".to_owned(), |worker| worker.to_string());
        let state = if self.link.registered { "registered" } else { "not registered" };
        writeln!(
            text,
            "{name} {} {}: {state}, {} kept",
            self.options.incarnation,
            self.link.epoch,
            self.link.kept.len()
        )?;
        for (plugin, state) in &self.plugins {
            let state = if *state == Plugin::Fetching { "fetching" } else { "ready" };
            writeln!(text, "  plugin {:.8}: {state}", plugin.to_string())?;
        }
        for (app, driver) in &self.drivers {
            let state = match driver {
                Driver::Fetching(..) => "waits for its plugin",
                Driver::Running => "running",
                Driver::Stopping => "stopping",
            };
            writeln!(text, "  driver of {app}: {state}")?;
        }
        for app in &self.leaving {
            writeln!(text, "  executor of {app}: leaving")?;
        }
        for (id, app) in &self.apps {
            writeln!(text, "  {id}: executor {:?}, {} bytes granted", app.executor, app.granted)?;
            for launch in &app.queued {
                writeln!(text, "    queued {}", launch.task)?;
            }
            for task in &app.running {
                writeln!(text, "    running {task}")?;
            }
            for (task, stage, map) in app.unanswered.keys() {
                writeln!(text, "    {task} waits for {stage} map {map}")?;
            }
            for block in app.all_blocks() {
                writeln!(text, "    holds {block}")?;
            }
            for (stage, table) in &app.inputs {
                let known = table.places.iter().flatten().count();
                writeln!(text, "    table of {stage}: {known} of {} known", table.places.len())?;
            }
        }
        Ok(())
    }
}
