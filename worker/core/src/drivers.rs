//! Drivers: started when their plugin is here, stopped when the master says so, reported when they end.

use crate::core::WorkerCore;
use crate::event::WorkerEffect;
use firesteel_common::error::Error;
use firesteel_common::id::{AppAttemptId, PluginHash};
use firesteel_common::protocol::worker::{DriverLaunch, DriverProgram, ToMaster};
use firesteel_common::sandbox::Ending;

/// A driver on this worker.
#[derive(Clone, Debug)]
pub(crate) enum Driver {
    /// Its plugin is under way.
    Fetching(PluginHash, DriverLaunch),
    /// Its process was started.
    Running,
    /// Its process was told to stop.
    Stopping,
}

impl WorkerCore {
    /// Starts a driver, or asks for its plugin first. A driver that is here already is left alone.
    pub(crate) fn start_driver(&mut self, launch: DriverLaunch, out: &mut Vec<WorkerEffect>) {
        let app = launch.app;
        if self.drivers.contains_key(&app) {
            return;
        }
        let plugin = match &launch.program {
            DriverProgram::Plugin { plugin, .. } => *plugin,
            DriverProgram::Sql { .. } => {
                self.drivers.insert(app, Driver::Running);
                out.push(WorkerEffect::StartDriver { launch, plugin: None });
                return;
            }
        };
        match self.ensure_plugin(plugin, out) {
            Some(path) => {
                self.drivers.insert(app, Driver::Running);
                out.push(WorkerEffect::StartDriver { launch, plugin: Some(path) });
            }
            None => {
                self.drivers.insert(app, Driver::Fetching(plugin, launch));
            }
        }
    }

    /// Starts the drivers that wait for a plugin, or reports why they cannot be.
    pub(crate) fn drivers_got_plugin(
        &mut self,
        plugin: PluginHash,
        failure: Option<&Error>,
        out: &mut Vec<WorkerEffect>,
    ) {
        let waits = |driver: &Driver| matches!(driver, Driver::Fetching(wanted, _) if *wanted == plugin);
        let waiting: Vec<_> =
            self.drivers.iter().filter(|(_, driver)| waits(driver)).map(|(app, _)| *app).collect();
        for app in waiting {
            let Some(Driver::Fetching(_, launch)) = self.drivers.remove(&app) else {
                continue;
            };
            match failure {
                None => self.start_driver(launch, out),
                Some(error) => {
                    let reason = format!("its plugin could not be had: {error}").into();
                    self.say(ToMaster::DriverExited { app, reason }, out);
                }
            }
        }
    }

    /// Stops a driver. One that is not here is reported as ended: its report may have been lost.
    pub(crate) fn kill_driver(&mut self, app: AppAttemptId, out: &mut Vec<WorkerEffect>) {
        match self.drivers.remove(&app) {
            Some(Driver::Running) => {
                self.drivers.insert(app, Driver::Stopping);
                out.push(WorkerEffect::StopDriver(app));
            }
            Some(Driver::Stopping) => {
                self.drivers.insert(app, Driver::Stopping);
            }
            Some(Driver::Fetching(..)) => {
                let reason = "it was stopped before it was started".into();
                self.say(ToMaster::DriverExited { app, reason }, out);
            }
            None => {
                let reason = "it is not on this worker".into();
                self.say(ToMaster::DriverExited { app, reason }, out);
            }
        }
    }

    /// A driver process has ended.
    pub(crate) fn driver_exited(&mut self, app: AppAttemptId, reason: Ending, out: &mut Vec<WorkerEffect>) {
        if self.drivers.remove(&app).is_some() {
            self.say(ToMaster::DriverExited { app, reason }, out);
        }
    }
}
