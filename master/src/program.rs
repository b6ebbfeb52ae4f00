//! From what was asked for to what the scheduler is told.

use firesteel_common::http::{DeployMode, SubmitRequest};
use firesteel_common::id::AppId;
use firesteel_common::options::AppOptions;
use firesteel_common::protocol::worker::DriverProgram;
use firesteel_scheduler::event::AppSubmission;
use std::sync::Arc;

/// An accepted application as the scheduler is told of it. The request has been checked: it names either a
/// SQL text or a plugin.
pub(crate) fn app_submission(
    app: AppId,
    attempt: u32,
    submitted_ms: u64,
    request: SubmitRequest,
) -> AppSubmission {
    // It was checked when it was accepted; what an older version accepted and this one does not know has no
    // effect.
    let options = Arc::new(AppOptions::from_conf(&request.conf).unwrap_or_default());
    let program = match (request.deploy_mode, request.plugin, request.sql) {
        (DeployMode::Client, ..) => None,
        (DeployMode::Cluster, Some(plugin), _) => {
            Some(DriverProgram::Plugin { plugin, entry: request.entry, args: request.args })
        }
        (DeployMode::Cluster, None, text) => {
            Some(DriverProgram::Sql { text: text.unwrap_or_default(), tables: request.tables })
        }
    };
    AppSubmission { app, attempt, submitted_ms, program, options }
}
